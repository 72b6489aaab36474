/**
 * Generators of timelines, events, outcomes and policies, for property tests of code that works with them.
 *
 * **When to use**
 *
 * With `it.prop` and `it.effect.prop` of `@effect/vitest`, or with `Arbitrary.checkEffect` of Effect. They are made of
 * `effect/Arbitrary`, and shrink.
 *
 * **Example** (A property of all timelines)
 *
 * ```ts
 * import { Timeline } from "@rego/core"
 * import { Arbitraries } from "@rego/testing"
 * import { Effect } from "effect"
 * import * as Arbitrary from "effect/Arbitrary"
 *
 * const hasOneLinePerAttempt = (timeline: Timeline.Timeline) =>
 *   Effect.succeed(Timeline.render(timeline).split("\n").length > timeline.attempts.length)
 *
 * const checked = await Effect.runPromise(Arbitrary.checkEffect(Arbitraries.timeline, hasOneLinePerAttempt, { runs: 50 }))
 * checked._tag // => "Passed"
 * ```
 *
 * @since 0.1.0
 */
import type { Policy } from "@rego/core"
import { Backoff, Hedge, Outcome, Timeline } from "@rego/core"
import * as Arbitrary from "effect/Arbitrary"
import { boolean, decimal, integer, oneOf, partial, pick } from "./Generate.ts"

// -----------------------------------------------------------------------------
// outcomes
// -----------------------------------------------------------------------------

const reason = pick(["http_503", "http_429", "connect_refused", "typed_failure", "not_found"])

/**
 * Every kind of verdict, with and without what a server asks for.
 *
 * @category generators
 * @since 0.1.0
 */
export const outcome: Arbitrary.Arbitrary<Outcome.Outcome> = oneOf(
  Arbitrary.Constant(Outcome.success),
  Arbitrary.map(
    Arbitrary.all([
      reason,
      partial({ retryAfter: integer(0, 60_000), executed: pick(["no", "maybe"]), throttled: boolean, exact: boolean })
    ]),
    ([reason, options]) => Outcome.retryable({ reason, ...options })
  ),
  Arbitrary.map(reason, (reason) => Outcome.nonRetryable({ reason })),
  Arbitrary.Constant(Outcome.abort({ reason: "interrupted" }))
)

// -----------------------------------------------------------------------------
// policies
// -----------------------------------------------------------------------------

const jitter = pick(["none", "full", "equal"])

const bounds = Arbitrary.map(Arbitrary.all([integer(1, 1_000), integer(0, 29_000)]), ([initial, more]) => ({
  initial,
  max: initial + more
}))

/**
 * Backoffs within the limits of a policy.
 *
 * @category generators
 * @since 0.1.0
 */
export const backoff: Arbitrary.Arbitrary<Backoff.Backoff> = oneOf<Backoff.Backoff>(
  Arbitrary.Constant(Backoff.none),
  Arbitrary.map(Arbitrary.all([integer(1, 30_000), jitter]), ([delay, jitter]) => Backoff.constant(delay, { jitter })),
  Arbitrary.map(
    Arbitrary.all([bounds, decimal(1, 10), jitter]),
    ([bounds, factor, jitter]) => Backoff.exponential({ ...bounds, factor, jitter })
  ),
  Arbitrary.map(bounds, Backoff.decorrelated)
)

/**
 * Triggers within the limits of a policy.
 *
 * @category generators
 * @since 0.1.0
 */
export const trigger: Arbitrary.Arbitrary<Hedge.Trigger> = oneOf<Hedge.Trigger>(
  Arbitrary.map(integer(1, 10_000), Hedge.after),
  Arbitrary.map(
    Arbitrary.all([decimal(0.5, 0.999), partial({ fallback: integer(1, 1_000), minSamples: integer(1, 1_000) })]),
    ([q, options]) => Hedge.quantile(q, options)
  ),
  Arbitrary.map(decimal(0.001, 0.5), Hedge.maxExtraLoad)
)

const mostAttempts = 12

const retryAndHedge = Arbitrary.flatMap(integer(1, mostAttempts / 2), (maxAttempts) =>
  Arbitrary.all([
    partial({ maxAttempts: Arbitrary.Constant(maxAttempts), backoff, maxRetryAfter: integer(1, 300_000) }),
    Arbitrary.all({ trigger, maxHedges: integer(1, Math.min(3, Math.floor(mostAttempts / maxAttempts) - 1)) })
  ]))

const withoutHedge = partial({ maxAttempts: integer(1, 10), backoff, nested: pick(["allow", "refuse"]) })

const common = partial({
  timeout: oneOf<Policy.TimeoutInput | "off">(
    Arbitrary.Constant("off"),
    Arbitrary.map(Arbitrary.all([integer(1, 10_000), integer(0, 60_000)]), ([perAttempt, more]) => ({
      perAttempt,
      overall: perAttempt + more
    })),
    Arbitrary.map(integer(1, 60_000), (overall) => ({ overall }))
  ),
  budget: pick(["default", "unlimited", "none"]),
  idempotent: boolean
})

/**
 * Policies that a local layer accepts: each field may be absent, and sections may be off.
 *
 * @category generators
 * @since 0.1.0
 */
export const policy: Arbitrary.Arbitrary<Policy.Input<"default" | "unlimited" | "none", never, never>> = Arbitrary.map(
  Arbitrary.all([
    common,
    oneOf<Policy.Input<never, never, never>>(
      Arbitrary.map(retryAndHedge, ([retry, hedge]) => ({ retry, hedge })),
      Arbitrary.map(withoutHedge, (retry) => ({ retry })),
      Arbitrary.map(trigger, (trigger) => ({ hedge: { trigger } })),
      Arbitrary.Constant({ retry: "off", hedge: "off" }),
      Arbitrary.Constant({})
    )
  ]),
  ([common, sections]) => ({ ...common, ...sections })
)

// -----------------------------------------------------------------------------
// events
// -----------------------------------------------------------------------------

/**
 * Events of every kind, one by one: they are of no particular call.
 *
 * @category generators
 * @since 0.1.0
 */
export const event: Arbitrary.Arbitrary<Timeline.Event> = Arbitrary.schema(Timeline.Event)

// -----------------------------------------------------------------------------
// timelines
// -----------------------------------------------------------------------------

const ends = [
  "success",
  "hedge_won",
  "abandoned",
  "not_found",
  "defect",
  "exhausted",
  "denied",
  "would_pass",
  "deadline",
  "interrupted",
  "refused"
] as const

type End = typeof ends[number]

const group = Arbitrary.all({
  millis: integer(1, 5_000),
  wait: integer(0, 2_000),
  hedges: integer(0, 2),
  timesOut: boolean,
  fault: boolean
})

type Group = typeof group extends Arbitrary.Arbitrary<infer A> ? A : never

type Attempt = ConstructorParameters<typeof Timeline.AttemptRecord>[0]
type Ending = Pick<Attempt, "endedBy" | "outcome" | "reason" | "error">

const retryable: Ending = { endedBy: "returned", outcome: "Retryable", reason: "http_503", error: "503" }
const timedOut: Ending = { endedBy: "timed_out", outcome: "Retryable", reason: "attempt_timeout", error: "RegoError" }
const lost: Ending = { endedBy: "interrupted_loser" }

/** How an attempt of the last group ended, by its place in the group. */
const endingOf = (end: End, hedge: number, last: number): Ending => {
  switch (end) {
    case "success":
      return hedge === 0 ? { endedBy: "returned", outcome: "Success" } : lost
    case "hedge_won":
      return hedge === last ? { endedBy: "returned", outcome: "Success" } : lost
    case "abandoned":
      return hedge === last ? { endedBy: "returned", outcome: "Success" } : { endedBy: "abandoned" }
    case "not_found":
      return hedge === 0 ? { endedBy: "returned", outcome: "NonRetryable", reason: "not_found", error: "404" } : lost
    case "defect":
      return hedge === 0 ? { endedBy: "returned", outcome: "NonRetryable", reason: "defect", error: "TypeError" } : lost
    case "deadline":
      return { endedBy: "timed_out" }
    case "interrupted":
      return { endedBy: "interrupted_caller" }
    default:
      return retryable
  }
}

const attemptsOf = (
  { fault, hedges, millis }: Group,
  retry: number,
  at: number,
  waited: number,
  ending: (hedge: number) => Ending
): ReadonlyArray<Timeline.AttemptRecord> =>
  Array.from({ length: hedges + 1 }, (_, hedge) => {
    const { endedBy, ...rest } = ending(hedge)
    return new Timeline.AttemptRecord({
      attempt: { retry, hedge },
      startedAt: at + Math.floor(hedge * millis / (hedges + 1)),
      endedBy,
      ...rest,
      ...endedBy === "abandoned" ? {} : { endedAt: at + millis },
      ...hedge === 0 && waited > 0 ? { backoffBefore: waited } : {},
      ...fault && hedge === 0 ? { attributes: { fault: "latency 1s" } } : {}
    })
  })

const stopOf = (end: End): Timeline.StopReason | undefined => {
  switch (end) {
    case "success":
    case "hedge_won":
    case "abandoned":
      return undefined
    case "not_found":
    case "defect":
      return "non_retryable"
    case "exhausted":
      return "attempts_exhausted"
    case "denied":
      return "budget_denied"
    case "would_pass":
      return "deadline_would_pass"
    case "deadline":
      return "deadline_exceeded"
    case "interrupted":
      return "interrupted"
    case "refused":
      return "admission_denied"
  }
}

const resultOf = (end: End): Timeline.Timeline["result"] => {
  if (stopOf(end) === undefined) return "success"
  return end === "defect" || end === "interrupted" ? end : "failure"
}

const lastDecisions = (end: End, at: number): ReadonlyArray<Timeline.Decision> => {
  const reason = stopOf(end)
  return [
    ...end === "denied"
      ? [{ _tag: "Denied", at, kind: "retry", budget: "default", reason: "ratio_exhausted", count: 1 } as const]
      : [],
    ...reason === undefined ? [] : [{ _tag: "Stopped", at, reason } as const]
  ]
}

interface Told {
  readonly at: number
  readonly attempts: ReadonlyArray<Timeline.AttemptRecord>
  readonly decisions: ReadonlyArray<Timeline.Decision>
}

/** All groups but the last one fail, and are waited after. */
const tell = (groups: ReadonlyArray<Group>, end: End, startedAt: number): Told => {
  let told: Told = { at: startedAt, attempts: [], decisions: [] }
  let waited = 0
  for (const [retry, each] of groups.entries()) {
    const isLast = retry === groups.length - 1
    const ending = (hedge: number) => isLast ? endingOf(end, hedge, each.hedges) : each.timesOut ? timedOut : retryable
    const at = told.at + each.millis
    const attempts = [...told.attempts, ...attemptsOf(each, retry, told.at, waited, ending)]
    if (isLast) return { at, attempts, decisions: [...told.decisions, ...lastDecisions(end, at)] }
    waited = each.wait
    const wait: Timeline.Decision = { _tag: "BackoffScheduled", at, delay: waited }
    told = { at: at + waited, attempts, decisions: [...told.decisions, wait] }
  }
  return { ...told, decisions: [...told.decisions, ...lastDecisions(end, told.at)] }
}

/**
 * Timelines as calls write them: attempts in order, hedges inside of their groups, waits between groups, and an end that
 * fits the result.
 *
 * @category generators
 * @since 0.1.0
 */
export const timeline: Arbitrary.Arbitrary<Timeline.Timeline> = Arbitrary.map(
  Arbitrary.all({
    key: pick(["users.Get", "orders.Place", "ping"]),
    policySource: pick(["local", "live", "stale", "lkg", "bundled"]),
    policyRevision: pick(["local", "7", "2026-11-26"]),
    startedAt: integer(0, 2_000_000_000_000),
    groups: Arbitrary.array(group, { minLength: 1, maxLength: 4 }),
    end: pick(ends)
  }),
  ({ end, groups, startedAt, ...rest }) => {
    const { at, attempts, decisions } = tell(end === "refused" ? [] : groups, end, startedAt)
    return new Timeline.Timeline({
      ...rest,
      startedAt,
      endedAt: at,
      attempts,
      decisions,
      result: resultOf(end),
      attributes: {}
    })
  }
)
