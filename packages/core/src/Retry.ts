/**
 * The rules that decide what happens after an attempt (or a group of attempts) ended Retryable. Pure functions: the
 * driver asks them and holds no rule of its own. `docs/retry.md` states them for users, in the same order.
 *
 * @internal
 */
import * as Backoff from "./Backoff.ts"
import type { Outcome, Retryable } from "./Outcome.ts"
import { retryAfterMillis } from "./Outcome.ts"
import type { Plan } from "./Plan.ts"
import type { StopReason } from "./Reasons.ts"

// -----------------------------------------------------------------------------
// the verdict of a group
// -----------------------------------------------------------------------------

const longer = (a: Retryable, b: Retryable): Retryable =>
  (retryAfterMillis(b) ?? -1) > (retryAfterMillis(a) ?? -1) ? b : a

/**
 * One verdict for attempts that all ended Retryable, given in the order of their hedge index: the reason of the first, the
 * longest `retryAfter`, `maybe` executed if any was. It does not depend on the order in which they ended.
 */
export const combine = (outcomes: ReadonlyArray<Retryable>): Retryable => {
  const [first, ...rest] = outcomes as [Retryable, ...Array<Retryable>]
  if (rest.length === 0) return first
  const longest = outcomes.reduce(longer)
  return {
    ...first,
    retryAfter: longest.retryAfter,
    exact: longest.exact,
    throttled: outcomes.some((outcome) => outcome.throttled === true),
    // A classifier may be foreign code without types: only a word says that nothing was done.
    executed: outcomes.every((outcome) => outcome.executed === "no") ? "no" : "maybe"
  }
}

// -----------------------------------------------------------------------------
// may there be another attempt at all?
// -----------------------------------------------------------------------------

export interface Situation {
  readonly plan: Plan
  /** index of the group that failed */
  readonly retry: number
  readonly outcome: Retryable
  /** an attempt was ended by our timeout: its work may still go on at the server */
  readonly mayStillRun: boolean
  /** the effect can run a second time at all */
  readonly replayable: boolean
  readonly idempotent: boolean | undefined
  readonly switchedOff: boolean
}

/**
 * | `idempotent` | `executed: "no"` | Retryable, the attempt has ended | our attempt timeout |
 * | --- | --- | --- | --- |
 * | `true` | retried | retried | retried |
 * | unstated | retried | retried | not |
 * | `false` | retried | not | not |
 */
export const idempotencyAllows = (
  idempotent: boolean | undefined,
  executed: Retryable["executed"],
  mayStillRun: boolean
): boolean => {
  if (idempotent === true) return true
  if (executed === "no" && !mayStillRun) return true
  return idempotent === undefined && !mayStillRun
}

export const refusal = (situation: Situation): StopReason | undefined => {
  const { idempotent, mayStillRun, outcome, plan, retry } = situation
  if (!plan.retries) return "no_retries"
  if (retry + 1 >= plan.maxAttempts) return "attempts_exhausted"
  if (!situation.replayable) return "not_replayable"
  if (!idempotencyAllows(idempotent, outcome.executed, mayStillRun)) return "not_idempotent"
  return situation.switchedOff ? "switched_off" : undefined
}

// -----------------------------------------------------------------------------
// how long to wait
// -----------------------------------------------------------------------------

/** Where a server that throttles names no time, the curve of the waits starts from a second. */
export const throttledFloor = 1_000

export const floorOf = (outcome: Retryable): number =>
  outcome.throttled === true && outcome.retryAfter === undefined ? throttledFloor : 0

const maxScheduleDelay = 30_000

/** A user's schedule may answer anything; what is no number must not become a hot loop. */
export const clampScheduleDelay = (millis: number): number =>
  Number.isNaN(millis) ? maxScheduleDelay : Math.min(maxScheduleDelay, Math.max(0, millis))

export interface Wait {
  readonly plan: Plan
  readonly outcome: Retryable
  /** what the backoff says, in milliseconds */
  readonly delay: number
  /** time left until the deadline, `Infinity` for none */
  readonly left: number
  readonly random: () => number
}

/** Added to what a server asks for, so that the callers it refused together do not come back together. */
const spread = ({ delay, left, outcome, plan, random }: Wait, retryAfter: number): number => {
  const exact = outcome.exact === true || (Backoff.isBackoff(plan.backoff) && !Backoff.hasJitter(plan.backoff))
  if (exact) return 0
  const room = Math.max(0, left - retryAfter - 1)
  return Math.min(room, Math.floor(random() * Math.max(delay, retryAfter / 4)))
}

/** The wait before the next attempt, or why there is none. Never earlier than the server asked, never past the deadline. */
export const wait = (options: Wait): number | StopReason => {
  const retryAfter = retryAfterMillis(options.outcome)
  if (retryAfter === undefined) return options.delay >= options.left ? "deadline_would_pass" : options.delay
  if (retryAfter > options.plan.maxRetryAfter) return "retry_after_too_long"
  if (retryAfter >= options.left) return "deadline_would_pass"
  return retryAfter + spread(options, retryAfter)
}

// -----------------------------------------------------------------------------
// ends of a group
// -----------------------------------------------------------------------------

export const endReason = (outcome: Outcome): StopReason | undefined => {
  switch (outcome._tag) {
    case "NonRetryable":
      return "non_retryable"
    case "Abort":
      return "abort"
    default:
      return undefined
  }
}

/** Of outcomes that arrive in one tick the better one counts; of equal ones that of the lower hedge index. */
const rank = { Success: 0, NonRetryable: 1, Abort: 2, Retryable: 3 } as const

interface Arrived {
  readonly facts: { readonly hedge: number; readonly outcome: Outcome | undefined }
}

const rankOf = ({ facts }: Arrived): number => rank[facts.outcome?._tag ?? "Retryable"]

export const best = <A extends Arrived>(arrived: ReadonlyArray<A>): A =>
  arrived.reduce((a, b) => {
    const difference = rankOf(a) - rankOf(b) || a.facts.hedge - b.facts.hedge
    return difference <= 0 ? a : b
  })
