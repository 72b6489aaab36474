/**
 * Tokens that refill at a constant rate, and grants of them that can be given back.
 *
 * @internal
 */
import { Duration } from "effect"
import type { Decision, Permit } from "./Budget.ts"
import type { Place } from "./Line.ts"
import { Line } from "./Line.ts"
import { Grant } from "./Permit.ts"

/** Sums of tenths are not exact in binary: ten refills of 0.1 must make a whole token. */
const epsilon = 1e-9

class BucketGrant extends Grant implements Place<BucketGrant> {
  readonly _tag = "Granted"
  readonly permit: Permit = this
  protected settled = false
  ahead: BucketGrant | undefined = undefined
  behind: BucketGrant | undefined = undefined
  /** what of the cost can still be given back; while it is more than nothing the grant stands in line */
  refundable: number
  private readonly bucket: Bucket
  constructor(bucket: Bucket, cost: number) {
    super()
    this.bucket = bucket
    this.refundable = cost
  }

  protected onSettled(use: "used" | "unused"): void {
    this.bucket.giveBack(this, use)
  }
}

export class Bucket {
  tokens: number
  capacity: number
  private perMilli: number
  /** grants that are not settled yet and can still be given back, oldest first */
  private readonly waiting = new Line<BucketGrant>()
  private held = 0
  /** the wait that was said last: those who are refused at the same time hear the same one */
  private said = Duration.zero
  private saidMillis = 0
  constructor(capacity: number, start: number, refillPerSecond: number) {
    this.capacity = capacity
    this.tokens = Math.min(capacity, start)
    this.perMilli = refillPerSecond / 1_000
  }

  /**
   * What would have spilled over the rim, had the grants that still wait never been taken, is not given back: else a late
   * refund would let out more than the capacity at once.
   */
  refill(millis: number): void {
    this.tokens = Math.min(this.capacity, this.tokens + millis * this.perMilli)
    if (this.held === 0) return
    let spilled = this.tokens + this.held - this.capacity
    for (let grant = this.waiting.first; grant !== undefined && spilled > 0; grant = this.waiting.first) {
      const lost = Math.min(spilled, grant.refundable)
      grant.refundable -= lost
      this.held -= lost
      spilled -= lost
      if (grant.refundable <= 0) this.waiting.leave(grant)
    }
  }

  /** Keeps how full it is, in proportion. */
  resize(capacity: number, refillPerSecond: number): void {
    this.tokens = this.capacity === 0 ? 0 : this.tokens * capacity / this.capacity
    this.capacity = capacity
    this.perMilli = refillPerSecond / 1_000
    this.refill(0)
  }

  /** `kept`: tokens that this cost must leave. */
  holds(cost: number, kept = 0): boolean {
    return this.tokens - kept + epsilon >= cost
  }

  take(cost: number): Decision {
    const grant = new BucketGrant(this, cost)
    this.tokens -= cost
    this.held += cost
    if (cost > 0) this.waiting.join(grant)
    return grant
  }

  giveBack(grant: BucketGrant, use: "used" | "unused"): void {
    if (grant.refundable > 0) this.waiting.leave(grant)
    this.held = this.waiting.first === undefined ? 0 : this.held - grant.refundable
    if (use === "unused") this.tokens += grant.refundable
  }

  /** How long until it holds the cost; unknown where it never will. */
  wait(cost: number, kept = 0): Duration.Duration | undefined {
    const needed = cost + kept
    if (this.perMilli === 0 || needed > this.capacity) return undefined
    const millis = Math.ceil((needed - this.tokens) / this.perMilli)
    if (millis !== this.saidMillis) {
      this.said = Duration.millis(millis)
      this.saidMillis = millis
    }
    return this.said
  }
}
