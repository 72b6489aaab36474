/** Registers a test for each law of a suite. */
import { describe, it } from "@effect/vitest"
import type { Budget } from "@rego/core"
import { BudgetLaws } from "@rego/testing"
import { seed } from "./arbitraries.ts"

export const budgetLaws = (name: string, make: Budget.Make, options: BudgetLaws.Options = {}): void => {
  describe(`laws of ${name}`, () => {
    for (const law of BudgetLaws.make(make, { seed, ...options })) it.effect(law.name, () => law.run)
  })
}
