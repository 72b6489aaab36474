/**
 * A source that says what a test tells it to say.
 *
 * **Details**
 *
 * What is published waits until the layer takes it, in order; nothing is lost. Reports are kept for the test to read, the
 * last 1,000 of them.
 *
 * **Example** (Publishing, and what became of it)
 *
 * ```ts
 * import { PolicySource } from "@rego/core"
 * import * as MemorySource from "@rego/control-plane/MemorySource"
 * import { Effect, Stream } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const memory = yield* MemorySource.make()
 *   yield* memory.publish({ schemaVersion: "1.0", revision: "7", policies: {} })
 *   yield* memory.fail({ _tag: "Unavailable", detail: "down" })
 *   const found = yield* memory.source.found.pipe(Stream.take(2), Stream.runCollect)
 *   found.map((it) => it._tag) // => ["Document", "Failed"]
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @since 0.1.0
 */
import * as PolicySource from "@rego/core/PolicySource"
import { Effect, Layer, Queue, Stream } from "effect"

/**
 * A source in memory, and what a test says through it.
 *
 * @category models
 * @since 0.1.0
 */
export interface MemorySource {
  readonly source: PolicySource.PolicySource["Service"]
  /** the same, for `PolicyLayer.live` */
  readonly layer: Layer.Layer<PolicySource.PolicySource>
  /** says that a document was found, as unknown JSON */
  readonly publish: (json: unknown) => Effect.Effect<void>
  /** says that the last document is still the current one */
  readonly confirm: Effect.Effect<void>
  /** says that nothing was found, and why */
  readonly fail: (reason: PolicySource.Reason) => Effect.Effect<void>
  /** what the layer said of each document, oldest first */
  readonly reports: Effect.Effect<ReadonlyArray<PolicySource.Report>>
}

const maxReports = 1_000

/**
 * Makes a source that has found nothing yet. `name` is `"memory"` unless given. The last 1,000 reports are kept.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: { readonly name?: string | undefined } = {}): Effect.Effect<MemorySource> =>
  Effect.map(Queue.unbounded<PolicySource.Found>(), (queue) => {
    const name = options.name ?? "memory"
    const reports: Array<PolicySource.Report> = []
    const source = PolicySource.make({
      name,
      found: Stream.fromQueue(queue),
      report: (report) =>
        Effect.sync(() => {
          reports.push(report)
          if (reports.length > maxReports) reports.shift()
        })
    })
    const say = (found: PolicySource.Found) => Effect.asVoid(Queue.offer(queue, found))
    return {
      source,
      layer: Layer.succeed(PolicySource.PolicySource, source),
      publish: (json) => say(PolicySource.document(json)),
      confirm: say(PolicySource.unchanged),
      fail: (reason) => say(PolicySource.failed(new PolicySource.SourceError({ source: name, reason }))),
      reports: Effect.sync(() => [...reports])
    }
  })
