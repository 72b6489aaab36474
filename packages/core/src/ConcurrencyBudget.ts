/**
 * The state behind `Budget.concurrency`: a bound on extra attempts that exist at the same time, waiting ones included.
 *
 * @internal
 */
import { Effect } from "effect"
import type { Budget, Decision, Request } from "./Budget.ts"
import { settledOnce } from "./Permit.ts"

export class ConcurrencyBudget implements Budget {
  private extras = 0
  private calls = 0
  private readonly min: number
  private readonly ratio: number
  private readonly max: number
  readonly maxCost: number | undefined
  constructor(options: { readonly min: number; readonly ratio: number; readonly max: number }) {
    this.min = options.min
    this.ratio = options.ratio
    this.max = options.max
    this.maxCost = options.ratio > 0 ? undefined : Math.min(options.max, options.min)
  }

  private limit(): number {
    return Math.min(this.max, Math.max(this.min, this.ratio * this.calls))
  }

  readonly tryAcquire = ({ cost }: Request): Decision => {
    if (this.extras + cost > this.limit()) return { _tag: "Denied", reason: "too_many_in_flight" }
    this.extras += cost
    return settledOnce(() => {
      this.extras -= cost
    })
  }

  readonly onCall = (): void => {
    this.calls++
  }

  readonly onCallEnd = (): void => {
    this.calls--
  }

  readonly state = Effect.sync(() => ({ balance: Math.max(0, this.limit() - this.extras) }))
}
