/**
 * The state behind `Budget.ratio`: its law is stated there.
 *
 * @internal
 */
import { Clock, Duration, Effect } from "effect"
import type { Budget, Call, Decision, RatioOptions, Request } from "./Budget.ts"
import { notAnAnswer } from "./Classifier.ts"
import type { Outcome } from "./Outcome.ts"

type Options = typeof RatioOptions.Type

/** Slots of the window: deposits leave up to a twentieth of it too early, extras as much too late, never the reverse. */
const slots = 20

/** Sums over the last `size` slots, moved forward by whole slots. */
class SlidingSum {
  sum = 0
  private readonly ring: Float64Array
  private current = -Infinity
  constructor(size: number) {
    this.ring = new Float64Array(size)
  }

  private index(slot: number): number {
    const size = this.ring.length
    return ((slot % size) + size) % size
  }

  advance(slot: number): void {
    if (slot - this.current >= this.ring.length) {
      this.ring.fill(0)
      this.sum = 0
      this.current = slot
    }
    while (this.current < slot) {
      const leaving = this.index(++this.current)
      this.sum -= this.ring[leaving]!
      this.ring[leaving] = 0
    }
  }

  add(slot: number, amount: number): void {
    if (slot <= this.current - this.ring.length) return
    this.ring[this.index(slot)]! += amount
    this.sum += amount
  }
}

/** Sums of tenths are not exact in binary: without it 3 deposits of 0.1 would be a little more than 0.3. */
const epsilon = 1e-9

export class RatioBudget implements Budget {
  readonly window: Duration.Duration
  private readonly ratio: number
  private readonly of: "successes" | "calls"
  private readonly slotMillis: number
  private readonly burst: number
  private readonly perMilli: number
  private readonly keep: number
  private readonly deposits = new SlidingSum(slots)
  /** One slot more than the deposits have: what was paid in the slot that the window has half left still counts. */
  private readonly extras = new SlidingSum(slots + 1)
  private readonly hedges = new SlidingSum(slots + 1)
  private reserve: number
  /** grants from the reserve that are not settled yet, oldest first: at most as many as the burst */
  private readonly waiting: Array<{ refundable: number }> = []
  private now = -Infinity
  private slot = 0

  constructor(options: Options) {
    this.ratio = options.ratio ?? 0.1
    this.of = options.of ?? "successes"
    this.window = options.window ?? Duration.seconds(10)
    this.slotMillis = Duration.toMillis(this.window) / slots
    this.burst = options.reserve?.burst ?? 10
    this.reserve = Math.min(this.burst, options.reserve?.start ?? 5)
    this.perMilli = (options.reserve?.perSecond ?? 0.1) / 1_000
    this.keep = options.keepForRetries ?? 0.2
  }

  /** A clock that goes back (a layer used under two clocks) counts as no time passed. */
  private advance(now: number): void {
    if (now <= this.now) return
    if (this.now !== -Infinity) this.refill((now - this.now) * this.perMilli)
    this.now = now
    this.slot = Math.floor(now / this.slotMillis)
    this.deposits.advance(this.slot)
    this.extras.advance(this.slot)
    this.hedges.advance(this.slot)
  }

  private ratioHolds(cost: number, hedge: boolean): boolean {
    const allowance = this.ratio * this.deposits.sum + epsilon
    return this.extras.sum + cost <= allowance &&
      (!hedge || this.hedges.sum + cost <= allowance * (1 - this.keep))
  }

  private reserveHolds(cost: number, hedge: boolean): boolean {
    return this.reserve - (hedge ? this.keep * this.burst : 0) + epsilon >= cost
  }

  readonly onCall = ({ now }: Call): void => {
    this.advance(now)
    if (this.of === "calls") this.deposits.add(this.slot, 1)
  }

  readonly onOutcome = (outcome: Outcome, now: number): void => {
    this.advance(now)
    if (this.of === "successes" && isAnswer(outcome)) this.deposits.add(this.slot, 1)
  }

  readonly tryAcquire = ({ cost, kind, now }: Request): Decision => {
    this.advance(now)
    const hedge = kind === "hedge"
    if (this.ratioHolds(cost, hedge)) return this.fromRatio(cost, hedge)
    if (this.reserveHolds(cost, hedge)) return this.fromReserve(cost)
    return { _tag: "Denied", reason: "ratio_exhausted", retryAfter: this.nextInReserve(cost, hedge) }
  }

  private fromRatio(cost: number, hedge: boolean): Decision {
    const paidIn = this.slot
    this.extras.add(paidIn, cost)
    if (hedge) this.hedges.add(paidIn, cost)
    return settledOnce((use) => {
      if (use === "used") return
      this.extras.add(paidIn, -cost)
      if (hedge) this.hedges.add(paidIn, -cost)
    })
  }

  /**
   * What would have spilled over the rim, had the grants that still wait never been taken, is not given back: else a late
   * refund would let out more than the burst at once.
   */
  private refill(amount: number): void {
    this.reserve = Math.min(this.burst, this.reserve + amount)
    let spilled = this.waiting.reduce((sum, grant) => sum + grant.refundable, this.reserve - this.burst)
    for (const grant of this.waiting) {
      if (spilled <= 0) return
      const lost = Math.min(spilled, grant.refundable)
      grant.refundable -= lost
      spilled -= lost
    }
  }

  private fromReserve(cost: number): Decision {
    this.reserve -= cost
    const grant = { refundable: cost }
    this.waiting.push(grant)
    return settledOnce((use) => {
      this.waiting.splice(this.waiting.indexOf(grant), 1)
      if (use === "unused") this.reserve += grant.refundable
    })
  }

  private nextInReserve(cost: number, hedge: boolean): Duration.Duration | undefined {
    const needed = cost + (hedge ? this.keep * this.burst : 0)
    return this.perMilli === 0 || needed > this.burst
      ? undefined
      : Duration.millis(Math.ceil((needed - this.reserve) / this.perMilli))
  }

  readonly state = Effect.map(Clock.monotonicTimeNanos, (nanos) => {
    this.advance(Number(nanos) / 1e6)
    return { balance: Math.max(0, this.ratio * this.deposits.sum - this.extras.sum) + this.reserve }
  })
}

const isAnswer = (outcome: Outcome): boolean =>
  outcome._tag === "Success" || (outcome._tag === "NonRetryable" && !notAnAnswer.has(outcome.reason))

/** A grant that hears of its end at most once, however often it is settled. */
const settledOnce = (onSettle: (use: "used" | "unused") => void): Decision => {
  let settled = false
  return {
    _tag: "Granted",
    permit: {
      settle: (use) => {
        if (settled) return
        settled = true
        onSettle(use)
      }
    }
  }
}
