/**
 * Budgets as they stand in a policy document: `{ "type": "ratio", "scope": "shared", "ratio": 0.1 }`.
 *
 * @internal
 */
import { Schema } from "effect"
import { AdaptiveThrottle } from "./AdaptiveThrottle.ts"
import * as Budget from "./Budget.ts"
import { ConcurrencyBudget } from "./ConcurrencyBudget.ts"
import { RatioBudget } from "./RatioBudget.ts"
import { SuccessTokens } from "./SuccessTokens.ts"
import { TokenBucket } from "./TokenBucket.ts"

/** What every budget of a document has besides its numbers. */
const common = {
  scope: Schema.optional(Schema.Literals(["key", "shared"])),
  /** lets a change pass that the guard of a live layer would refuse */
  force: Schema.optional(Schema.Boolean)
}

const BoundedConcurrency = Schema.Struct({
  type: Schema.Literal("concurrency"),
  ...common,
  ...Budget.ConcurrencyNumbers.fields
}).pipe(
  Schema.check(
    Schema.makeFilter(({ max, ratio }) =>
      (max === undefined) !== (ratio === undefined) || "must have either ratio or max, and not both"
    )
  )
)

export const BudgetData = Schema.Union([
  Schema.Struct({ type: Schema.Literal("ratio"), ...common, ...Budget.RatioOptions.fields }),
  Schema.Struct({ type: Schema.Literal("tokenBucket"), ...common, ...Budget.TokenBucketNumbers.fields }),
  Schema.Struct({ type: Schema.Literal("successTokens"), ...common, ...Budget.SuccessTokensNumbers.fields }),
  BoundedConcurrency,
  Schema.Struct({ type: Schema.Literal("adaptiveThrottle"), ...common, ...Budget.ThrottleNumbers.fields })
])

export type BudgetData = typeof BudgetData.Type

const numbersOf = <D extends BudgetData>(
  { force: _force, scope: _scope, type: _type, ...numbers }: D
): Omit<D, "type" | "scope" | "force"> => numbers

/** The state of a budget of a document. */
export type State = RatioBudget | TokenBucket | SuccessTokens | ConcurrencyBudget | AdaptiveThrottle

export const toState = (data: BudgetData): State => {
  switch (data.type) {
    case "ratio":
      return new RatioBudget(numbersOf(data))
    case "tokenBucket":
      return new TokenBucket(data.capacity, data.refillPerSecond)
    case "successTokens":
      return new SuccessTokens(data.maxTokens, data.tokenRatio)
    case "concurrency":
      return new ConcurrencyBudget(Budget.boundsOf(data))
    case "adaptiveThrottle":
      return new AdaptiveThrottle(Budget.throttleOf(data))
  }
}

/** Other numbers for a budget of the same type: what it holds is carried over, in proportion where its size changes. */
export const retune = (state: State, data: BudgetData, now: number): void => {
  switch (data.type) {
    case "ratio":
      return (state as RatioBudget).retune(numbersOf(data), now)
    case "tokenBucket":
      return (state as TokenBucket).retune(data.capacity, data.refillPerSecond, now)
    case "successTokens":
      return (state as SuccessTokens).retune(data.maxTokens, data.tokenRatio)
    case "concurrency":
      return (state as ConcurrencyBudget).retune(Budget.boundsOf(data))
    case "adaptiveThrottle":
      return (state as AdaptiveThrottle).retune(Budget.throttleOf(data), now)
  }
}

/** A budget with nothing to give at first: the one that had this name before may have spent it already. */
export const toEmptyState = (data: BudgetData): State => {
  const state = toState(data)
  if ("drain" in state) state.drain()
  return state
}
