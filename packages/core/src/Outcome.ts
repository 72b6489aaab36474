/**
 * The verdict of a classifier on one attempt.
 *
 * - `Success`: the dependency did what was asked.
 * - `Retryable`: it did not, and asking again may help.
 * - `NonRetryable`: it answered, and asking again would get the same answer.
 * - `Abort`: nobody waits for the answer any more; never counted as a failure of the dependency.
 *
 * **Example** (Verdicts on an HTTP status)
 *
 * ```ts
 * import { Outcome } from "@rego/core"
 *
 * const ofStatus = (status: number) =>
 *   status < 400 ? Outcome.success
 *     : status === 429 ? Outcome.retryable({ reason: "http_429", executed: "no", throttled: true })
 *     : status === 503 ? Outcome.retryable({ reason: "http_503", retryAfter: "2 seconds" })
 *     : Outcome.nonRetryable({ reason: `http_${status}` })
 *
 * ofStatus(404) // => { _tag: "NonRetryable", reason: "http_404" }
 * ```
 *
 * @since 0.1.0
 */
import { Duration, Predicate } from "effect"
import { parseDuration } from "./Issue.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * What an attempt came to: one of four verdicts, made by the constructors below.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = Success | Retryable | NonRetryable | Abort

/**
 * Details for timelines and spans. Never a metric label.
 *
 * @category models
 * @since 0.1.0
 */
export type Attributes = Readonly<Record<string, string | number | boolean>>

/**
 * The dependency did what was asked: the call ends with the exit of the attempt.
 *
 * @category models
 * @since 0.1.0
 */
export interface Success {
  readonly _tag: "Success"
}

/**
 * The attempt did not succeed, and another one may. The rules of `docs/retry.md` decide whether there is one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Retryable {
  readonly _tag: "Retryable"
  /** a word for timelines, from a set of few */
  readonly reason: string
  /** wait asked for by the server: the next attempt never starts earlier; infinite where it wants no further attempt */
  readonly retryAfter?: Duration.Duration | undefined
  /** nothing is added to `retryAfter` to spread callers (gRPC pushback asks for exactly that) */
  readonly exact?: boolean | undefined
  /** the server asked for less load: without a `retryAfter` the backoff starts from at least one second */
  readonly throttled?: boolean | undefined
  /** `"no"`: the server surely did nothing, so that even a call that must not run twice may be sent again */
  readonly executed: "no" | "maybe"
  readonly attributes?: Attributes | undefined
}

/**
 * Asking again would get the same answer: the call ends with the exit of the attempt.
 *
 * @category models
 * @since 0.1.0
 */
export interface NonRetryable {
  readonly _tag: "NonRetryable"
  readonly reason: string
  readonly attributes?: Attributes | undefined
}

/**
 * Nobody wants the answer any more: the call ends, and it counts neither for nor against the dependency.
 *
 * @category models
 * @since 0.1.0
 */
export interface Abort {
  readonly _tag: "Abort"
  readonly reason: string
  readonly attributes?: Attributes | undefined
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * The verdict on an attempt that did what was asked.
 *
 * @category constructors
 * @since 0.1.0
 */
export const success: Outcome = { _tag: "Success" }

/** A hint from a server is foreign input: what is no duration is no hint, and a negative one means now. */
const parseRetryAfter = (input: Duration.Input): Duration.Duration | undefined => {
  const parsed = parseDuration(input)
  return typeof parsed === "string" ? undefined : Duration.max(parsed, Duration.zero)
}

/**
 * The attempt did not succeed, and another one may.
 *
 * **Details**
 *
 * `executed` defaults to `"maybe"`. Claim `"no"` only for what the server surely did not do: a refused or unresolved
 * connection, a TLS failure before the request, HTTP/2 `REFUSED_STREAM`, a 429. A 503 is `"maybe"`, with or without
 * `Retry-After`: gateways also send it after the request was executed.
 *
 * @category constructors
 * @since 0.1.0
 */
export const retryable = (options: {
  readonly reason: string
  readonly retryAfter?: Duration.Input | undefined
  readonly exact?: boolean | undefined
  readonly throttled?: boolean | undefined
  readonly executed?: "no" | "maybe" | undefined
  readonly attributes?: Attributes | undefined
}): Outcome => ({
  ...options,
  _tag: "Retryable",
  executed: options.executed ?? "maybe",
  retryAfter: options.retryAfter === undefined ? undefined : parseRetryAfter(options.retryAfter)
})

/**
 * The dependency answered: trying again would only repeat the answer. Ends the call with the exit of the attempt, and pays
 * into its budget, since the dependency is well. A `reason` is a word from a set of few, such as `http_404`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const nonRetryable = (options: {
  readonly reason: string
  readonly attributes?: Attributes | undefined
}): Outcome => ({ _tag: "NonRetryable", ...options })

/**
 * Nobody wants the answer any more, as after an interruption. Ends the call; counts neither for nor against the dependency.
 *
 * @category constructors
 * @since 0.1.0
 */
export const abort = (options: {
  readonly reason: string
  readonly attributes?: Attributes | undefined
}): Outcome => ({ _tag: "Abort", ...options })

// -----------------------------------------------------------------------------
// getters
// -----------------------------------------------------------------------------

/**
 * The wait that was asked for. A hint is foreign input, whoever made the outcome: what is no number is no hint, and a
 * negative one means now.
 *
 * @internal
 */
export const retryAfterMillis = (outcome: Retryable): number | undefined => {
  if (outcome.retryAfter === undefined) return undefined
  const millis = Duration.toMillis(outcome.retryAfter)
  return Number.isNaN(millis) ? undefined : Math.max(0, millis)
}

// -----------------------------------------------------------------------------
// guards
// -----------------------------------------------------------------------------

const tags: ReadonlySet<unknown> = new Set(["Success", "Retryable", "NonRetryable", "Abort"])

/**
 * Whether a value is an `Outcome`: a known tag, and a reason and a wait where they belong.
 *
 * @category guards
 * @since 0.1.0
 */
export const isOutcome = (u: unknown): u is Outcome => {
  if (!Predicate.hasProperty(u, "_tag") || !tags.has(u._tag)) return false
  if (u._tag === "Success") return true
  const { reason, retryAfter } = u as { reason?: unknown; retryAfter?: unknown }
  return typeof reason === "string" && (retryAfter === undefined || Duration.isDuration(retryAfter))
}
