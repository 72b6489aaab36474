/**
 * The state behind `Budget.concurrency`: a bound on extra attempts that exist at the same time, waiting ones included.
 *
 * @internal
 */
import { Effect } from "effect"
import type { Budget, Decision, Request } from "./Budget.ts"
import { settledOnce } from "./Permit.ts"

export interface Numbers {
  readonly min: number
  readonly ratio: number
  readonly max: number
}

export class ConcurrencyBudget implements Budget {
  private extras = 0
  private calls = 0
  private numbers: Numbers
  constructor(numbers: Numbers) {
    this.numbers = numbers
  }

  /** What exists goes on, even where it is more than the new limit. */
  retune(numbers: Numbers): void {
    this.numbers = numbers
  }

  get maxCost(): number | undefined {
    const { max, min, ratio } = this.numbers
    return ratio > 0 ? undefined : Math.min(max, min)
  }

  private limit(): number {
    const { max, min, ratio } = this.numbers
    return Math.min(max, Math.max(min, ratio * this.calls))
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
