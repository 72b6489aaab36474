/**
 * Budgets as they stand in a policy document: `{ "type": "ratio", "scope": "shared", "ratio": 0.1 }`.
 *
 * @internal
 */
import { Schema } from "effect"
import * as Budget from "./Budget.ts"

const scope = Schema.optional(Schema.Literals(["key", "shared"]))

const BoundedConcurrency = Schema.Struct({
  type: Schema.Literal("concurrency"),
  scope,
  ...Budget.ConcurrencyNumbers.fields
}).pipe(
  Schema.check(
    Schema.makeFilter(({ max, ratio }) =>
      (max === undefined) !== (ratio === undefined) || "must have either ratio or max, and not both"
    )
  )
)

export const BudgetData = Schema.Union([
  Schema.Struct({ type: Schema.Literal("ratio"), scope, ...Budget.RatioOptions.fields }),
  Schema.Struct({ type: Schema.Literal("tokenBucket"), scope, ...Budget.TokenBucketNumbers.fields }),
  Schema.Struct({ type: Schema.Literal("successTokens"), scope, ...Budget.SuccessTokensNumbers.fields }),
  BoundedConcurrency,
  Schema.Struct({ type: Schema.Literal("adaptiveThrottle"), scope, ...Budget.ThrottleNumbers.fields })
])

export type BudgetData = typeof BudgetData.Type

const numbersOf = <D extends BudgetData>({ scope: _scope, type: _type, ...numbers }: D): Omit<D, "type" | "scope"> =>
  numbers

export const toMake = (data: BudgetData): Budget.Make => {
  switch (data.type) {
    case "ratio":
      return Budget.ratio(numbersOf(data))
    case "tokenBucket":
      return Budget.tokenBucket(numbersOf(data))
    case "successTokens":
      return Budget.successTokens(numbersOf(data))
    case "concurrency":
      return Budget.concurrency(numbersOf(data) as Parameters<typeof Budget.concurrency>[0])
    case "adaptiveThrottle":
      return Budget.adaptiveThrottle(numbersOf(data))
  }
}
