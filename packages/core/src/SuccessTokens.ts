/**
 * The state behind `Budget.successTokens`: the retry throttling of gRPC (gRFC A6, "Throttling Retry Attempts and Hedged
 * RPCs"), for retries and hedges alike.
 *
 * @internal
 */
import { Effect } from "effect"
import type { Budget, Decision } from "./Budget.ts"
import type { Outcome } from "./Outcome.ts"
import { spent } from "./Permit.ts"

/** The specification ignores further decimals of the ratio: 0.5466 is 0.546. */
const decimals = 1_000

/** 1.001 * 1000 is a little less than 1001 in binary. */
const thousandthsOf = (ratio: number): number => Math.floor(ratio * decimals + 1e-6)

export class SuccessTokens implements Budget {
  private thousandths: number
  private max: number
  private perSuccess: number
  constructor(maxTokens: number, tokenRatio: number) {
    this.max = Math.round(maxTokens * decimals)
    this.perSuccess = thousandthsOf(tokenRatio)
    this.thousandths = this.max
  }

  /** Keeps how many are left, in proportion. */
  retune(maxTokens: number, tokenRatio: number): void {
    const max = Math.round(maxTokens * decimals)
    this.thousandths = Math.round(this.thousandths * max / this.max)
    this.max = max
    this.perSuccess = thousandthsOf(tokenRatio)
  }

  drain(): void {
    this.thousandths = 0
  }

  /** Attempts are not charged when they start: what they cost is known when they fail. */
  readonly tryAcquire = (): Decision =>
    this.thousandths > this.max / 2 ? spent : { _tag: "Denied", reason: "tokens_below_half" }

  readonly onOutcome = (outcome: Outcome): void => {
    if (outcome._tag === "Success") this.thousandths = Math.min(this.max, this.thousandths + this.perSuccess)
    if (outcome._tag === "Retryable") this.thousandths = Math.max(0, this.thousandths - decimals)
  }

  readonly state = Effect.sync(() => ({ balance: this.thousandths / decimals }))
}
