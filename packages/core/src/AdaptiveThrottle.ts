/**
 * The state behind `Budget.adaptiveThrottle`: client-side throttling after "Handling Overload", Site Reliability
 * Engineering (O'Reilly 2016), chapter 21, with a ceiling.
 *
 * @internal
 */
import { Clock, Duration, Effect } from "effect"
import type { Budget, Call, Decision, Request } from "./Budget.ts"
import { isAnswer } from "./Classifier.ts"
import type { Outcome } from "./Outcome.ts"
import { settledOnce, spent } from "./Permit.ts"
import { SlidingSum } from "./SlidingSum.ts"

const slots = 30

export interface ThrottleNumbers {
  readonly k: number
  readonly window: Duration.Duration
  readonly maxReject: number
  readonly minRequests: number
}

const throttled: Decision = { _tag: "Denied", reason: "throttled" }

export class AdaptiveThrottle implements Budget {
  private requests = new SlidingSum(slots)
  private accepts = new SlidingSum(slots)
  private slotMillis: number
  private now = -Infinity
  private slot = 0
  private numbers: ThrottleNumbers
  constructor(numbers: ThrottleNumbers) {
    this.numbers = numbers
    this.slotMillis = Duration.toMillis(numbers.window) / slots
  }

  /** What was counted still counts, for as long as the new window says. */
  retune(numbers: ThrottleNumbers, now: number): void {
    this.advance(now)
    this.numbers = numbers
    const before = this.slotMillis
    this.slotMillis = Duration.toMillis(numbers.window) / slots
    if (this.slotMillis === before) return
    this.slot = Math.floor(this.now / this.slotMillis)
    const to = (slot: number) => Math.floor(slot * before / this.slotMillis)
    this.requests = this.requests.resliced(this.slot, to)
    this.accepts = this.accepts.resliced(this.slot, to)
  }

  private advance(now: number): void {
    if (now <= this.now) return
    this.now = now
    this.slot = Math.floor(now / this.slotMillis)
    this.requests.advance(this.slot)
    this.accepts.advance(this.slot)
  }

  /** Without a ceiling a long outage would leave nobody to find out that it is over. */
  private rejectShare(): number {
    const requests = this.requests.sum
    if (requests < this.numbers.minRequests) return 0
    const share = (requests - this.numbers.k * this.accepts.sum) / (requests + 1)
    return Math.min(this.numbers.maxReject, Math.max(0, share))
  }

  private refuses(random: () => number): boolean {
    const share = this.rejectShare()
    return share > 0 && random() < share
  }

  /** Every attempt that is wanted counts as a request, refused ones included. */
  private decide(now: number, random: () => number): Decision {
    this.advance(now)
    const refused = this.refuses(random)
    this.requests.add(this.slot, 1)
    return refused ? throttled : spent
  }

  /** Of a group one answer counts and the rest are interrupted, so a hedge is a request only while it runs. */
  private decideHedge(now: number, random: () => number): Decision {
    this.advance(now)
    if (this.refuses(random)) return throttled
    const { requests, slot } = this
    requests.add(slot, 1)
    return settledOnce(() => {
      if (this.requests === requests) requests.add(slot, -1)
      else this.requests.removeOldest()
    })
  }

  readonly admit = ({ now, random }: Call): Decision => this.decide(now, random)

  readonly tryAcquire = ({ kind, now, random }: Request): Decision =>
    kind === "hedge" ? this.decideHedge(now, random) : this.decide(now, random)

  readonly onOutcome = (outcome: Outcome, now: number): void => {
    this.advance(now)
    if (isAnswer(outcome)) this.accepts.add(this.slot, 1)
    // An abort says nothing about the dependency: it counts as neither. Its request was made some time ago.
    if (outcome._tag === "Abort") this.requests.removeOldest()
  }

  readonly state = Effect.map(Clock.monotonicTimeNanos, (nanos) => {
    this.advance(Number(nanos) / 1e6)
    return { balance: 1 - this.rejectShare() }
  })
}
