import { assert, describe, it } from "@effect/vitest"
import { Budget } from "@rego/core"
import type { Scope } from "effect"
import { Deferred, Effect } from "effect"
import { ConcurrencyBudget } from "../src/ConcurrencyBudget.ts"
import { callOf, decide, denialOf, grants, take } from "./budgetSupport.ts"
import { budgetLaws } from "./laws.ts"

const begin = (budget: Budget.Budget, calls: number) => {
  for (let i = 0; i < calls; i++) budget.onCall?.(callOf())
}

const end = (budget: Budget.Budget, calls: number) => {
  for (let i = 0; i < calls; i++) budget.onCallEnd?.(callOf())
}

describe("ConcurrencyBudget", () => {
  budgetLaws("concurrency, max", Budget.concurrency({ max: 8 }), { gives: "always" })
  budgetLaws("concurrency, ratio", Budget.concurrency({ ratio: 0.2 }), { gives: "always" })

  it.effect("holds max at the same time, and grants again when one ends, used or not", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.concurrency({ max: 2 })
      const [one, two] = [take(budget), take(budget, { kind: "hedge" })]
      assert.strictEqual(denialOf(decide(budget)).reason, "too_many_in_flight")
      one.settle("used")
      take(budget)
      two.settle("unused")
      assert.strictEqual(grants(budget, 5), 1)
    }))

  it.effect("counts costs", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.concurrency({ max: 5 })
      take(budget, { cost: 3 })
      denialOf(decide(budget, { cost: 3 }))
      take(budget, { cost: 2 })
    }))

  it.effect("follows the calls in flight with a ratio, and is at least 3", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.concurrency({ ratio: 0.2 })
      assert.strictEqual((yield* budget.state).balance, 3)
      begin(budget, 15)
      assert.strictEqual((yield* budget.state).balance, 3)
      begin(budget, 35)
      assert.strictEqual(grants(budget, 100), 10)
      assert.strictEqual((yield* budget.state).balance, 0)
    }))

  it.effect("takes nothing back from extras that exist when calls have ended", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.concurrency({ ratio: 0.5, min: 0 })
      begin(budget, 10)
      const permits = Array.from({ length: 5 }, () => take(budget))
      end(budget, 10)
      denialOf(decide(budget))
      assert.strictEqual((yield* budget.state).balance, 0)
      for (const { settle } of permits) settle("used")
      begin(budget, 2)
      assert.strictEqual(grants(budget, 5), 1)
    }))

  it.effect("with min: 0 and no calls grants nothing", () =>
    Effect.gen(function*() {
      const budget = yield* Budget.concurrency({ ratio: 0.5, min: 0 })
      denialOf(decide(budget))
    }))

  it.effect("with max is max, whatever min says", () =>
    Effect.gen(function*() {
      for (const min of [undefined, 0, 2, 10]) {
        const budget = yield* Budget.concurrency({ max: 5, min })
        assert.strictEqual(grants(budget, 20), 5, `min ${min}`)
      }
    }))

  it.effect("with ratio and max follows the ratio up to max", () =>
    Effect.gen(function*() {
      const options = { ratio: 0.5, max: 10, min: 2 }
      for (const [calls, limit] of [[0, 2], [8, 4], [100, 10]] as const) {
        const budget = yield* Budget.concurrency(options)
        begin(budget, calls)
        assert.strictEqual(grants(budget, 50), limit)
      }
      const budget = yield* Budget.concurrency({ ratio: 0.5, max: 10 })
      assert.strictEqual(grants(budget, 50), 3)
    }))

  it.effect("is not short of calls that began before its recipe was done and ended after", () =>
    Effect.gen(function*() {
      const ready = yield* Deferred.make<void>()
      const recipe = Effect.andThen(Deferred.await(ready), Budget.concurrency({ ratio: 0.5, min: 0 }))
      const budget = Budget.build(recipe, yield* Effect.context<Scope.Scope>())
      begin(budget, 10)
      yield* Deferred.succeed(ready, undefined)
      yield* budget.state
      end(budget, 10)
      begin(budget, 10)
      assert.deepStrictEqual(yield* budget.state, { balance: 5 })
    }))

  it("could never grant more than its limit, where that does not depend on the traffic", () => {
    const maxCost = (min: number, ratio: number, max: number) => new ConcurrencyBudget({ min, ratio, max }).maxCost
    assert.strictEqual(maxCost(3, 0, 8), 3)
    assert.strictEqual(maxCost(8, 0, 3), 3)
    assert.isUndefined(maxCost(3, 0.1, 8))
  })
})
