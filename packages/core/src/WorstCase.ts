/**
 * The most that a call of a plan can do: an upper bound, whatever the dependency does and whatever budgets say. Pure; the
 * property tests of `Explanation` hold it against the executor.
 *
 * @internal
 */
import { Schedule } from "effect"
import * as Backoff from "./Backoff.ts"
import * as Hedge from "./Hedge.ts"
import type * as Plan from "./Plan.ts"
import * as Retry from "./Retry.ts"

export interface Circumstances {
  readonly plan: Plan.Plan
  /** as the call site and the policy state it */
  readonly idempotent: boolean | undefined
  readonly retriesOff: boolean
  readonly hedgesOff: boolean
}

/** Milliseconds; `Infinity` for no bound. */
export interface WorstCase {
  readonly groups: number
  readonly perGroup: number
  readonly waits: ReadonlyArray<number>
  readonly waitsAsked: ReadonlyArray<number>
  readonly duration: number
  readonly durationAsked: number
}

/** A hedge that is refused waits for another tick: at most so often in a group, as the third refusal ends its hedges. */
const maxDenied = 2

const hedgesOf = ({ hedgesOff, idempotent, plan: { budget, hedge } }: Circumstances): number =>
  hedge === undefined || idempotent !== true || hedgesOff || budget === "none" || hedge.budget === "none"
    ? 0
    : hedge.maxHedges

const groupsOf = ({ plan, retriesOff }: Circumstances): number =>
  retriesOff || plan.budget === "none" ? 1 : plan.maxAttempts

/** The longest delay of a trigger, `Infinity` where only the latency of the key says it. */
const longestDelay = ({ hedge }: Plan.Plan): number => {
  if (!Hedge.isTrigger(hedge?.trigger)) return Infinity
  const { fallback, fixed, max } = Hedge.delaysOf(hedge.trigger)
  return fixed ?? (max === undefined ? Infinity : Math.max(max, fallback ?? 0))
}

/**
 * From the start of a group to the end of its last attempt. A hedge starts while another attempt runs; where no retry
 * would follow it also starts when the others have failed. So no gap between two starts is longer than an attempt.
 */
const longestGroup = (circumstances: Circumstances, asked: boolean): number => {
  const { plan } = circumstances
  const hedges = hedgesOf(circumstances)
  const { overall, perAttempt } = plan
  if (hedges === 0) return perAttempt
  const full = hedges * perAttempt
  // a server that asks for a wait moves the next hedge; where nothing would follow, the group waits for it
  if (!plan.retries) return asked ? overall : full + perAttempt
  const delay = longestDelay(plan)
  if (delay > perAttempt && delay !== Infinity) return perAttempt
  return perAttempt + (asked ? full : Math.min(full, (hedges + maxDenied) * delay))
}

const most = () => 1

/** The longest waits that the rules of `Retry` allow: random parts at their most. */
const longestWaits = (circumstances: Circumstances, asked: boolean): ReadonlyArray<number> => {
  const { plan } = circumstances
  const waits: Array<number> = []
  for (let retry = 0; retry < groupsOf(circumstances) - 1; retry++) {
    const by = (floor: number) =>
      Schedule.isSchedule(plan.backoff)
        ? 30_000
        : Backoff.delayMillis(plan.backoff, retry, waits.at(-1) ?? 0, most, floor)
    const wait = asked ? Math.max(longestAsked(plan, by(0)), by(Retry.throttledFloor)) : by(0)
    // one that would pass the deadline ends the call instead
    waits.push(Math.min(wait, plan.overall))
  }
  return waits
}

const longestAsked = (plan: Plan.Plan, delay: number): number =>
  plan.maxRetryAfter + (Backoff.isBackoff(plan.backoff) && !Backoff.hasJitter(plan.backoff)
    ? 0
    : Math.max(delay, plan.maxRetryAfter / 4))

const sum = (numbers: ReadonlyArray<number>): number => numbers.reduce((a, b) => a + b, 0)

export const make = (circumstances: Circumstances): WorstCase => {
  const groups = groupsOf(circumstances)
  const { overall } = circumstances.plan
  const waits = longestWaits(circumstances, false)
  const waitsAsked = longestWaits(circumstances, true)
  const duration = (asked: boolean, all: ReadonlyArray<number>) =>
    Math.min(overall, groups * longestGroup(circumstances, asked) + sum(all))
  return {
    groups,
    perGroup: 1 + hedgesOf(circumstances),
    waits,
    waitsAsked,
    duration: duration(false, waits),
    durationAsked: duration(true, waitsAsked)
  }
}
