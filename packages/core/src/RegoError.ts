/**
 * The one error that this library adds to the error channel, used only where the effect has no exit to return.
 *
 * **Details**
 *
 * A call returns the effect's own exit whenever there is one: running out of attempts, an exhausted budget or a wait
 * that would pass the deadline never replaces the error of the dependency. Why the call stopped is in its timeline.
 *
 * - `AttemptTimedOut`: the attempt after which the call stopped was ended by the per-attempt timeout.
 * - `DeadlineExceeded`: the deadline passed while an attempt ran, or before the first one.
 * - `AdmissionDenied`: a budget that gates primaries refused the call; nothing ran.
 * - `PolicyMissing`: no policy matches the key, and the layer was told to fail then; nothing ran.
 *
 * **Example** (Recovering from one reason)
 *
 * ```ts
 * import { PolicyLayer, Rego } from "@rego/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.never.pipe(
 *   Rego.resilient("users.Get"),
 *   Effect.catchReason("RegoError", "DeadlineExceeded", (reason) => Effect.succeed(`gave up after ${reason.attempts}`)),
 *   Effect.provide(PolicyLayer.make({ policies: { "users.Get": { timeout: { overall: "10 millis" } } } }))
 * )
 *
 * await Effect.runPromise(program) // => "gave up after 1"
 * ```
 *
 * @since 0.1.0
 */
import { Cause, Data, Duration, Option } from "effect"
import * as Attempt from "./Attempt.ts"
import type { PolicyKey } from "./PolicyKey.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * Why there is no exit to return. `Effect.catchReason("RegoError", …)` handles one of them by its tag.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = DeadlineExceeded | AttemptTimedOut | AdmissionDenied | PolicyMissing

/**
 * The deadline passed while an attempt ran, or before the first one. Work may still go on at the server.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadlineExceeded {
  readonly _tag: "DeadlineExceeded"
  /** the call's own overall timeout; `undefined` when the deadline came from an enclosing call */
  readonly overall: Duration.Duration | undefined
  /** attempts that were started */
  readonly attempts: number
  /** how the attempt before the one that ran out of time failed */
  readonly lastCause: Option.Option<Cause.Cause<unknown>>
}

/**
 * The attempt after which the call stopped was cut off by `timeout.perAttempt`. Work may still go on at the server.
 *
 * @category models
 * @since 0.1.0
 */
export interface AttemptTimedOut {
  readonly _tag: "AttemptTimedOut"
  /** of the policy */
  readonly perAttempt: Duration.Duration
  /** the one that was cut off */
  readonly attempt: Attempt.Id
}

/**
 * A budget that gates first attempts refused the call; nothing ran. Only budgets with `admit` do that, such as
 * `Budget.adaptiveThrottle`.
 *
 * @category models
 * @since 0.1.0
 */
export interface AdmissionDenied {
  readonly _tag: "AdmissionDenied"
  /** its name */
  readonly budget: string
  /** why, in the words of the budget */
  readonly detail: string
  /** when asking again can help, where the budget knows it */
  readonly retryAfter: Option.Option<Duration.Duration>
}

/**
 * No policy matches the key, and the layer has `onMissing: "fail"`; nothing ran.
 *
 * @category models
 * @since 0.1.0
 */
export interface PolicyMissing {
  readonly _tag: "PolicyMissing"
}

const describe = (reason: Reason): string => {
  switch (reason._tag) {
    case "DeadlineExceeded": {
      const what = reason.overall === undefined
        ? "the deadline of the enclosing call passed"
        : `the deadline of ${Duration.format(reason.overall)} passed`
      return `${what} after ${reason.attempts} ${reason.attempts === 1 ? "attempt" : "attempts"}`
    }
    case "AttemptTimedOut":
      return `the attempt (${Attempt.format(reason.attempt)}) did not end within ${Duration.format(reason.perAttempt)}`
    case "AdmissionDenied":
      return `the budget ${JSON.stringify(reason.budget)} refused the call: ${reason.detail}`
    case "PolicyMissing":
      return "no policy matches this key"
  }
}

/**
 * A call ended without an exit of its own to return. It has no stack, which would show the library and not the caller;
 * the timeline of the call is in its cause (`Timeline.fromCause`).
 *
 * @category errors
 * @since 0.1.0
 */
export class RegoError extends Data.TaggedError("RegoError")<{
  readonly key: PolicyKey
  readonly reason: Reason
}> {
  override get message(): string {
    return `${this.key}: ${describe(this.reason)}`
  }
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/** A host without this setting ignores it. */
const host = Error as { stackTraceLimit?: number | undefined }

/**
 * Makes the error without capturing a stack: it would show the driver, and cost more than the rest of the call.
 *
 * @internal
 */
export const makeWithoutStack = (key: PolicyKey, reason: Reason): RegoError => {
  const limit = host.stackTraceLimit
  host.stackTraceLimit = 0
  try {
    return new RegoError({ key, reason })
  } finally {
    host.stackTraceLimit = limit
  }
}

/**
 * Whether a value is a `RegoError`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isRegoError = (u: unknown): u is RegoError => u instanceof RegoError

/**
 * Whether a failure is that of a call which ran out of a deadline it had inherited.
 *
 * @internal
 */
export const isInheritedDeadline = (cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.findErrorOption(cause)
  return Option.isSome(error) && isRegoError(error.value) && error.value.reason._tag === "DeadlineExceeded" &&
    error.value.reason.overall === undefined
}
