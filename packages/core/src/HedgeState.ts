/**
 * What is known about a key that hedges: its latency, its health, and what its hedges did. Made only for keys whose policy
 * has a hedge section; outlives a change of the policy.
 *
 * @internal
 */
import { Duration } from "effect"
import { isAnswer } from "./Classifier.ts"
import type { Statistics } from "./Hedge.ts"
import type { Latency } from "./Latency.ts"
import { makeUnsafe } from "./Latency.ts"
import type { Outcome } from "./Outcome.ts"
import { retryAfterMillis } from "./Outcome.ts"
import { beforeAllSlots, SlidingCounts } from "./SlidingSum.ts"
import { oneMicrosecond } from "./Time.ts"

/** Why a hedge is refused before any budget is asked. */
export type Unfit = "unhealthy" | "pushback" | "allowance"

const windowMillis = 10_000
const slots = 20
const slotMillis = windowMillis / slots

/** Where the sums stand of attempts that ended and that failed, of calls, and of hedges. */
const [ended, failed, calls, hedges] = [0, 1, 2, 3]
const counters = 4

/** A hint is foreign input: one of a year must not switch the hedges of a key off for so long. */
const maxPushback = 300_000

/** So few failures say nothing about a key. */
const minFailures = 5

/** The allowance of `maxExtraLoad`: slow attempts come in clusters, so the ceiling lies above the target. */
const allowanceFactor = 1.25
const allowanceBase = 10

export class HedgeState {
  // What all calls touch stands side by side, and in the object itself: see `beforeAllSlots`.
  readonly latency: Latency
  private slot = beforeAllSlots
  /** of the current slot and not in the sums yet, as the other three */
  private calls = 0
  private ended = 0
  private failed = 0
  private hedges = 0

  private readonly sums = new SlidingCounts(slots, counters)
  readonly precise: boolean
  private pushbackUntil = -Infinity
  private started = 0
  private won = 0
  private wasted = 0
  private denied = 0
  private saved = 0

  constructor(precise: boolean) {
    this.latency = makeUnsafe({ precise })
    this.precise = precise
  }

  /** A clock that goes back counts as no time passed. */
  private advance(now: number): void {
    const slot = Math.floor(now / slotMillis)
    if (slot <= this.slot) return
    this.sumUp()
    this.slot = slot
    this.sums.advance(slot)
  }

  private sumUp(): void {
    const { sums } = this
    sums.add(ended, this.ended)
    sums.add(failed, this.failed)
    sums.add(calls, this.calls)
    sums.add(hedges, this.hedges)
    this.ended = 0
    this.failed = 0
    this.calls = 0
    this.hedges = 0
  }

  onCall(now: number): void {
    this.advance(now)
    this.calls++
  }

  /**
   * An attempt ended with a verdict. An answer is a complete sample; any other end is right-censored at its duration; a
   * rejection on this side is no sample at all.
   */
  onOutcome(outcome: Outcome, startedAt: number, endedAt: number): void {
    if (outcome._tag === "Abort") return this.onCut(endedAt - startedAt, endedAt)
    if (outcome._tag === "NonRetryable" && outcome.reason === "rejected_locally") return
    this.advance(endedAt)
    this.ended++
    this.latency.record(endedAt - startedAt, isAnswer(outcome), endedAt)
    if (outcome._tag !== "Retryable") return
    this.failed++
    const retryAfter = retryAfterMillis(outcome)
    // A wait without an end is about the call that was told, and names no instant for the others.
    if (retryAfter === undefined || retryAfter === Infinity) return
    this.pushbackUntil = Math.max(this.pushbackUntil, endedAt + Math.min(retryAfter, maxPushback))
  }

  /** An attempt was cut short: it took at least so long, and says nothing about health. */
  onCut(millis: number, now: number): void {
    this.latency.record(millis, false, now)
  }

  onStarted(now: number): void {
    this.advance(now)
    this.hedges++
    this.started++
  }

  onDenied(): void {
    this.denied++
  }

  /** A group is over: `won` is the index of the hedge whose answer was returned, if one was. Answers with what it saved. */
  onGroupEnd(hedges: number, won: number, elapsed: number, now: number): number {
    this.wasted += won > 0 ? hedges - 1 : hedges
    if (won === 0) return 0
    const saved = this.latency.residualMillis(elapsed, now)
    this.won++
    this.saved += saved
    return saved
  }

  unfit(maxFailing: number, extraLoad: number | undefined, now: number): Unfit | undefined {
    this.advance(now)
    this.sumUp()
    const failures = this.sums.sum(failed)
    if (failures >= minFailures && failures > maxFailing * this.sums.sum(ended)) return "unhealthy"
    if (this.pushbackUntil - now >= oneMicrosecond) return "pushback"
    if (extraLoad === undefined) return undefined
    const allowance = allowanceFactor * extraLoad * this.sums.sum(calls) + allowanceBase
    return this.sums.sum(hedges) + 1 > allowance ? "allowance" : undefined
  }

  get statistics(): Statistics {
    const { denied, saved, started, wasted, won } = this
    return { started, won, wasted, denied, saved: Duration.millis(saved) }
  }
}
