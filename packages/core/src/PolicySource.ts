/**
 * Where policy documents come from: a control plane, a file, a flag service.
 *
 * **When to use**
 *
 * Provide one to `PolicyLayer.live`. `@rego/control-plane` has sources for HTTP, files, Redis and OpenFeature; write one
 * of your own as a stream of what was found.
 *
 * **Details**
 *
 * A source only finds documents: it does not judge them. The layer validates each one, and tells the source what became
 * of it (`report`). A source that cannot reach its origin says so with an item (`Failed`) and goes on: its stream neither
 * fails nor ends. The layer starts one that does again, after a wait.
 *
 * **Example** (A source of one's own)
 *
 * ```ts
 * import { PolicySource } from "@rego/core"
 * import { Stream } from "effect"
 *
 * const document = { schemaVersion: "1.0", revision: "7", policies: {} }
 *
 * const source = PolicySource.make({
 *   name: "constant",
 *   found: Stream.concat(Stream.make(PolicySource.document(document)), Stream.never)
 * })
 *
 * const error = new PolicySource.SourceError({
 *   source: "https://policies.example",
 *   reason: { _tag: "TooLarge", limit: 1_048_576 }
 * })
 *
 * source.name // => "constant"
 * error.message // => "policy source https://policies.example: the document is larger than 1048576 bytes"
 * ```
 *
 * @since 0.1.0
 */
import type { Duration, Option, Stream } from "effect"
import { Context, Data, Effect } from "effect"
import type { Issue } from "./Issue.ts"

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/**
 * Why nothing was found.
 *
 * **Details**
 *
 * - `Unavailable`: not reached, no answer in time, a broken connection, an error of the server.
 * - `Unauthorized`: who asks is not known, or may not read. Never hidden behind a cache.
 * - `NotFound`: the origin answers and has no document.
 * - `Malformed`: what was found is no JSON, or not of the type that was asked for.
 * - `TooLarge`: reading was stopped at the limit.
 * - `Untrusted`: it came from where it must not come from, such as a redirect to another host.
 *
 * `detail` is shown to people, in logs and in `status`: it never holds a token, a header or a body.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason =
  | {
    readonly _tag: "Unavailable"
    readonly detail: string
    /** the wait that the origin asks for */
    readonly retryAfter?: Duration.Duration | undefined
  }
  | { readonly _tag: "Unauthorized"; readonly detail: string }
  | { readonly _tag: "NotFound"; readonly detail: string }
  | { readonly _tag: "Malformed"; readonly detail: string }
  | { readonly _tag: "TooLarge"; readonly limit: number }
  | { readonly _tag: "Untrusted"; readonly detail: string }

const describe = (reason: Reason): string => {
  switch (reason._tag) {
    case "Unavailable":
      return `unavailable, ${reason.detail}`
    case "Unauthorized":
      return `not authorized, ${reason.detail}`
    case "NotFound":
      return `no document, ${reason.detail}`
    case "Malformed":
      return `not a document, ${reason.detail}`
    case "TooLarge":
      return `the document is larger than ${reason.limit} bytes`
    case "Untrusted":
      return `not trusted, ${reason.detail}`
  }
}

/**
 * What a source says when it found nothing. An item of its stream, never its failure.
 *
 * @category errors
 * @since 0.1.0
 */
export class SourceError extends Data.TaggedError("SourceError")<{
  /** the name of the source */
  readonly source: string
  readonly reason: Reason
}> {
  override get message(): string {
    return `policy source ${this.source}: ${describe(this.reason)}`
  }
}

// -----------------------------------------------------------------------------
// what a source says
// -----------------------------------------------------------------------------

/**
 * What was found: a document, as unknown JSON; or that the last one is still the current one, which ends the staleness
 * that a failure began; or nothing, and why.
 *
 * @category models
 * @since 0.1.0
 */
export type Found =
  | { readonly _tag: "Document"; readonly json: unknown }
  | { readonly _tag: "Unchanged" }
  | { readonly _tag: "Failed"; readonly error: SourceError }

/**
 * Says that a document was found: any JSON, not yet checked.
 *
 * @category constructors
 * @since 0.1.0
 */
export const document = (json: unknown): Found => ({ _tag: "Document", json })

/**
 * Says that the last document is still the current one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unchanged: Found = { _tag: "Unchanged" }

/**
 * Says that nothing was found, and why. Calls go on with what is in force.
 *
 * @category constructors
 * @since 0.1.0
 */
export const failed = (error: SourceError): Found => ({ _tag: "Failed", error })

// -----------------------------------------------------------------------------
// what a source is told
// -----------------------------------------------------------------------------

/**
 * A value outside of the limits that was moved to the nearest one, where that can do no harm.
 *
 * @category models
 * @since 0.1.0
 */
export interface Clamped {
  readonly path: ReadonlyArray<PropertyKey>
  /** as it stood in the document */
  readonly value: unknown
  /** what it was changed to */
  readonly limit: unknown
}

/**
 * What became of the last document.
 *
 * **Details**
 *
 * `Accepted`: in force, for all keys at once. `clamped` lists the values that were changed, `issues` the entries that were
 * not taken, each of which keeps its last good version. `Rejected`: nothing of it is in force, except its kill switches;
 * `revision` is `None` when it could not be read.
 *
 * @category models
 * @since 0.1.0
 */
export type Report =
  | {
    readonly _tag: "Accepted"
    readonly revision: string
    /** it was in force before the one that it replaces */
    readonly rolledBack: boolean
    readonly clamped: ReadonlyArray<Clamped>
    readonly issues: ReadonlyArray<Issue>
  }
  | { readonly _tag: "Rejected"; readonly revision: Option.Option<string>; readonly issues: ReadonlyArray<Issue> }

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * The service that `PolicyLayer.live` requires.
 *
 * @category services
 * @since 0.1.0
 */
export class PolicySource extends Context.Service<PolicySource, {
  /** shown in `status`, in logs and in errors; never holds a secret */
  readonly name: string
  /** run once, by the layer; it neither fails nor ends */
  readonly found: Stream.Stream<Found>
  /** called after each document; runs beside the stream, and is interrupted after 10 seconds */
  readonly report: (report: Report) => Effect.Effect<void>
}>()("@rego/core/PolicySource") {}

/**
 * Makes a source from a stream of what was found. Without `report` it does not hear what became of its documents.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: {
  readonly name: string
  readonly found: Stream.Stream<Found>
  readonly report?: ((report: Report) => Effect.Effect<void>) | undefined
}): PolicySource["Service"] =>
  PolicySource.of({ name: options.name, found: options.found, report: options.report ?? (() => Effect.void) })
