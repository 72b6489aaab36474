/**
 * The state behind `Budget.ratio`: its law is stated there.
 *
 * @internal
 */
import { Clock, Duration, Effect } from "effect"
import { Bucket } from "./Bucket.ts"
import type { Budget, Call, Decision, Permit, RatioOptions, Request } from "./Budget.ts"
import { isAnswer } from "./Classifier.ts"
import type { Outcome } from "./Outcome.ts"
import { Grant } from "./Permit.ts"
import { beforeAllSlots, SlidingSum } from "./SlidingSum.ts"

type Options = typeof RatioOptions.Type

/** Slots of the window: deposits leave up to a twentieth of it too early, extras as much too late, never the reverse. */
const slots = 20

/** Sums of tenths are not exact in binary: without it 3 deposits of 0.1 would be a little more than 0.3. */
const epsilon = 1e-9

/** The numbers, with those that the options do not state. */
export const numbersOf = (options: Options) => {
  const { keepForRetries = 0.2, of = "successes", ratio = 0.1, window = Duration.seconds(10) } = options
  const { burst = 10, perSecond = 0.1, start = 5 } = options.reserve ?? {}
  return { burst, keepForRetries, of, perSecond, ratio, start, window }
}

/** Paid from the deposits of the window, in a slot of it. */
class RatioGrant extends Grant {
  readonly _tag = "Granted"
  readonly permit: Permit = this
  protected settled = false
  private readonly budget: RatioBudget
  private readonly extras: SlidingSum
  private readonly slot: number
  private readonly cost: number
  private readonly hedge: boolean
  constructor(budget: RatioBudget, extras: SlidingSum, slot: number, cost: number, hedge: boolean) {
    super()
    this.budget = budget
    this.extras = extras
    this.slot = slot
    this.cost = cost
    this.hedge = hedge
  }

  protected onSettled(use: "used" | "unused"): void {
    if (use === "unused") this.budget.giveBack(this.extras, this.slot, this.cost, this.hedge)
  }
}

export class RatioBudget implements Budget {
  // What all calls touch stands side by side, and in the object itself: see `beforeAllSlots`.
  /** each budget has the one that deposits, so that calls are not told for nothing */
  onCall: Budget["onCall"] = undefined
  onOutcome: Budget["onOutcome"] = undefined
  private slotMillis = 0
  private slot = beforeAllSlots
  /** deposits of the current slot that are not in their sum yet */
  private unsummed = 0

  window: Duration.Duration = Duration.zero
  maxCost: number | undefined = undefined
  private ratio = 0
  private keep = 0
  private deposits = new SlidingSum(slots)
  /** One slot more than the deposits have: what was paid in the slot that the window has half left still counts. */
  private extras = new SlidingSum(slots + 1)
  private hedges = new SlidingSum(slots + 1)
  private readonly reserve: Bucket
  /** tokens of the reserve that hedges leave to retries */
  private kept = 0
  private now = -Infinity
  private refilledAt = 0

  constructor(options: Options) {
    const numbers = numbersOf(options)
    this.reserve = new Bucket(numbers.burst, numbers.start, numbers.perSecond)
    this.configure(numbers)
  }

  private configure({ burst, keepForRetries, of, ratio, window }: ReturnType<typeof numbersOf>): void {
    this.ratio = ratio
    const ofCalls = of === "calls"
    // Bound, not arrows: one object for each budget, not two.
    this.onCall = ofCalls ? this.depositForCall.bind(this) : undefined
    this.onOutcome = ofCalls ? undefined : this.depositForAnswer.bind(this)
    this.maxCost = ratio > 0 ? undefined : burst
    this.window = window
    this.slotMillis = Duration.toMillis(this.window) / slots
    this.keep = keepForRetries
    this.kept = keepForRetries * burst
  }

  /** Deposits and extras stay what they were, and count for as long as the new window says; the reserve stays as full. */
  retune(options: Options, now: number): void {
    this.refill(now)
    const before = this.slotMillis
    const numbers = numbersOf(options)
    this.configure(numbers)
    this.reserve.resize(numbers.burst, numbers.perSecond)
    if (this.slotMillis !== before) this.reslice(before)
  }

  /** As `advance`: deposits are taken to be as old as they can be, extras as young. */
  private reslice(before: number): void {
    this.slot = Math.floor(this.now / this.slotMillis)
    const start = (slot: number) => Math.floor(slot * before / this.slotMillis)
    const end = (slot: number) => Math.floor(Math.min((slot + 1) * before, this.now) / this.slotMillis)
    this.deposits = this.deposits.resliced(this.slot, start)
    this.extras = this.extras.resliced(this.slot, end)
    this.hedges = this.hedges.resliced(this.slot, end)
  }

  /** What pays for hedges is the reserve alone where they get nothing of the ratio part. */
  get maxHedgeCost(): number | undefined {
    return this.ratio > 0 && this.keep < 1 ? undefined : this.reserve.capacity - this.kept
  }

  drain(): void {
    this.reserve.tokens = 0
  }

  /** A clock that goes back (a layer used under two clocks) counts as no time passed. */
  private advance(now: number): void {
    if (now <= this.now) return
    if (this.now === -Infinity) this.refilledAt = now
    this.now = now
    const slot = Math.floor(now / this.slotMillis)
    if (slot === this.slot) return
    this.sumUp()
    this.slot = slot
    this.deposits.advance(slot)
  }

  private sumUp(): void {
    if (this.unsummed > 0) this.deposits.add(this.slot, this.unsummed)
    this.unsummed = 0
  }

  /** Asked for by few calls, while all of them deposit: what refills at a constant rate can wait until then. */
  private refill(now: number): void {
    this.advance(now)
    this.sumUp()
    this.extras.advance(this.slot)
    this.hedges.advance(this.slot)
    this.reserve.refill(this.now - this.refilledAt)
    this.refilledAt = this.now
  }

  private ratioHolds(cost: number, hedge: boolean): boolean {
    const allowance = this.ratio * this.deposits.sum + epsilon
    return this.extras.sum + cost <= allowance &&
      (!hedge || this.hedges.sum + cost <= allowance * (1 - this.keep))
  }

  private deposit(now: number): void {
    if (Math.floor(now / this.slotMillis) > this.slot) this.advance(now)
    this.unsummed++
  }

  private depositForCall({ now }: Call): void {
    this.deposit(now)
  }

  private depositForAnswer(outcome: Outcome, now: number): void {
    if (isAnswer(outcome)) this.deposit(now)
  }

  readonly tryAcquire = ({ cost, kind, now }: Request): Decision => {
    this.refill(now)
    const hedge = kind === "hedge"
    if (this.ratioHolds(cost, hedge)) return this.fromRatio(cost, hedge)
    const kept = hedge ? this.kept : 0
    if (this.reserve.holds(cost, kept)) return this.reserve.take(cost)
    return { _tag: "Denied", reason: "ratio_exhausted", retryAfter: this.reserve.wait(cost, kept) }
  }

  private fromRatio(cost: number, hedge: boolean): Decision {
    const { extras, hedges, slot } = this
    extras.add(slot, cost)
    if (hedge) hedges.add(slot, cost)
    return new RatioGrant(this, extras, slot, cost, hedge)
  }

  /** Where the window has got another length meanwhile nobody knows the slot any more: the grant stays spent. */
  giveBack(extras: SlidingSum, slot: number, cost: number, hedge: boolean): void {
    if (this.extras !== extras) return
    extras.add(slot, -cost)
    if (hedge) this.hedges.add(slot, -cost)
  }

  readonly state = Effect.map(Clock.monotonicTimeNanos, (nanos) => {
    this.refill(Number(nanos) / 1e6)
    return { balance: Math.max(0, this.ratio * this.deposits.sum - this.extras.sum) + this.reserve.tokens }
  })
}
