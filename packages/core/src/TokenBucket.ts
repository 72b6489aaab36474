/**
 * The state behind `Budget.tokenBucket`.
 *
 * @internal
 */
import { Clock, Effect } from "effect"
import { Bucket } from "./Bucket.ts"
import type { Budget, Decision, Request } from "./Budget.ts"

export class TokenBucket implements Budget {
  maxCost: number
  private readonly bucket: Bucket
  private now = -Infinity
  constructor(capacity: number, refillPerSecond: number) {
    this.maxCost = capacity
    this.bucket = new Bucket(capacity, capacity, refillPerSecond)
  }

  /** A clock that goes back counts as no time passed. */
  private advance(now: number): void {
    if (now <= this.now) return
    if (this.now !== -Infinity) this.bucket.refill(now - this.now)
    this.now = now
  }

  /** Keeps how full it is, in proportion. */
  retune(capacity: number, refillPerSecond: number, now: number): void {
    this.advance(now)
    this.maxCost = capacity
    this.bucket.resize(capacity, refillPerSecond)
  }

  drain(): void {
    this.bucket.tokens = 0
  }

  readonly tryAcquire = ({ cost, now }: Request): Decision => {
    this.advance(now)
    if (this.bucket.holds(cost)) return this.bucket.take(cost)
    return { _tag: "Denied", reason: "bucket_empty", retryAfter: this.bucket.wait(cost) }
  }

  readonly state = Effect.map(Clock.monotonicTimeNanos, (nanos) => {
    this.advance(Number(nanos) / 1e6)
    return { balance: this.bucket.tokens }
  })
}
