import { assert, describe, it } from "@effect/vitest"
import { Backoff, Budget, Hedge, Outcome, PolicyLayer } from "@rego/core"
import type { Policy } from "@rego/core"
import { Effect, Layer } from "effect"
import { SuccessTokens } from "../src/SuccessTokens.ts"
import { decide, failed, grants, outcomes, take, untilEnded } from "./budgetSupport.ts"
import { budgetLaws } from "./laws.ts"
import { fails, inVirtualTime, resilient, script, under } from "./support.ts"

const granted = (budget: SuccessTokens) => decide(budget)._tag === "Granted"

const balance = (budget: SuccessTokens) => Effect.runSync(budget.state).balance

/** `retryThrottling` of the specification's example, under any policy. */
const throttled = (policy: Policy.Input) =>
  PolicyLayer.make({ policies: { "*": { ...policy, budget: "a6" } } }).pipe(
    Layer.provide(Budget.layer("a6", Budget.successTokens({ maxTokens: 10, tokenRatio: 0.1 })))
  )

/** 50 calls, one after the other, to a server that fails `after` milliseconds; gives how many attempts there were. */
const attemptsOf50 = (policy: Policy.Input, after = 0) =>
  Effect.gen(function*() {
    const s = script(fails("UNAVAILABLE", after))
    const one = Effect.ignore(resilient(s.effect, "svc.Method"))
    yield* untilEnded(Effect.replicateEffect(one, 50)).pipe((self) => under(self, throttled(policy)))
    return s.runs
  })

describe("SuccessTokens", () => {
  budgetLaws("successTokens", Budget.successTokens({ maxTokens: 10, tokenRatio: 0.1 }), {
    gives: "never",
    costs: false
  })

  describe("the half rule of gRFC A6", () => {
    it("grants while more than half of the tokens are left: not with exactly half", () => {
      const budget = new SuccessTokens(10, 0.1)
      outcomes(budget, failed, 4)
      assert.isTrue(granted(budget))
      outcomes(budget, failed, 1)
      assert.isFalse(granted(budget))
      outcomes(budget, Outcome.success, 1)
      assert.isTrue(granted(budget))
    })

    it("holds for an odd number of tokens and for a fraction of one", () => {
      const odd = new SuccessTokens(5, 1)
      outcomes(odd, failed, 2)
      assert.isTrue(granted(odd))
      outcomes(odd, failed, 1)
      assert.isFalse(granted(odd))
      const small = new SuccessTokens(0.5, 0.1)
      assert.isTrue(granted(small))
      outcomes(small, failed, 1)
      assert.strictEqual(balance(small), 0)
      outcomes(small, Outcome.success, 2)
      assert.isFalse(granted(small))
      outcomes(small, Outcome.success, 1)
      assert.isTrue(granted(small))
    })

    it("keeps tokens between 0 and maxTokens", () => {
      const budget = new SuccessTokens(10, 0.1)
      outcomes(budget, Outcome.success, 1_000)
      assert.strictEqual(balance(budget), 10)
      outcomes(budget, failed, 1_000)
      assert.strictEqual(balance(budget), 0)
    })

    it("ignores decimals beyond three, as gRFC A6 says: 0.5466 is 0.546", () => {
      for (const [tokenRatio, kept] of [[0.5466, 0.546], [0.0019, 0.001], [1.001, 1.001], [1.005, 1.005]]) {
        const budget = new SuccessTokens(10, tokenRatio!)
        outcomes(budget, failed, 10)
        outcomes(budget, Outcome.success, 1)
        assert.strictEqual(balance(budget), kept, String(tokenRatio))
      }
    })

    it("keeps three decimals: a thousand successes at 0.001 are one token, exactly", () => {
      const budget = new SuccessTokens(10, 0.001)
      outcomes(budget, failed, 10)
      outcomes(budget, Outcome.success, 5_000)
      assert.strictEqual(balance(budget), 5)
      assert.isFalse(granted(budget))
      outcomes(budget, Outcome.success, 1)
      assert.strictEqual(balance(budget), 5.001)
      assert.isTrue(granted(budget))
    })

    it("does not lose tenths that binary fractions cannot hold", () => {
      const budget = new SuccessTokens(1_000, 0.29)
      outcomes(budget, failed, 1_000)
      outcomes(budget, Outcome.success, 100)
      assert.strictEqual(balance(budget), 29)
    })

    it("changes nothing on NonRetryable and Abort", () => {
      const budget = new SuccessTokens(10, 0.1)
      outcomes(budget, failed, 2)
      outcomes(budget, Outcome.nonRetryable({ reason: "INVALID_ARGUMENT" }), 100)
      outcomes(budget, Outcome.abort({ reason: "CANCELLED" }), 100)
      assert.strictEqual(balance(budget), 8)
    })

    it("charges attempts by their failure, not by their cost, for retries and hedges alike", () => {
      const budget = new SuccessTokens(10, 0.1)
      assert.strictEqual(grants(budget, 100, { cost: 100, kind: "hedge" }), 100)
      const permit = take(budget)
      permit.settle("used")
      assert.strictEqual(balance(budget), 10)
    })
  })

  describe("in a total outage", () => {
    const backoff = Backoff.none

    it.effect("50 calls of up to 4 attempts make 53 with retries", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* attemptsOf50({ retry: { maxAttempts: 4, backoff } }), 53)
      }))

    it.effect("50 calls of up to 4 attempts make 53 with hedges, and not 200", () =>
      Effect.gen(function*() {
        const hedge = { trigger: Hedge.after("1 second"), maxHedges: 3, maxFailing: 1 }
        assert.strictEqual(yield* attemptsOf50({ hedge, idempotent: true }), 53)
      }))

    it.effect("hedges that start before anything has failed are bounded as well: 56", () =>
      Effect.gen(function*() {
        // the first two calls start all of their hedges while more than half of the tokens are left
        const hedge = { trigger: Hedge.after("10 millis"), maxHedges: 3, maxFailing: 1 }
        assert.strictEqual(yield* attemptsOf50({ hedge, idempotent: true }, 100), 56)
      }))

    it.effect("without a budget it is 200", () =>
      Effect.gen(function*() {
        const s = script(fails("UNAVAILABLE"))
        const one = Effect.ignore(resilient(s.effect, "svc.Method"))
        const policies = PolicyLayer.make({
          policies: { "*": { retry: { maxAttempts: 4, backoff }, budget: "unlimited" } }
        })
        yield* inVirtualTime(Effect.replicateEffect(one, 50)).pipe((self) => under(self, policies))
        assert.strictEqual(s.runs, 200)
      }))
  })

  it("refuses what the specification refuses: no tokens, more than 1,000, no ratio", () => {
    for (const bad of [0, -1, 1_001, NaN, Infinity]) {
      assert.throws(() => Budget.successTokens({ maxTokens: bad, tokenRatio: 0.1 }), RangeError)
    }
    for (const bad of [0, -1, NaN]) {
      assert.throws(() => Budget.successTokens({ maxTokens: 10, tokenRatio: bad }), RangeError)
    }
  })

  describe("retuned", () => {
    it("keeps how many tokens are left in proportion, and ignores decimals of the ratio as one that is new", () => {
      const budget = new SuccessTokens(10, 0.1)
      outcomes(budget, failed, 5)
      budget.retune(20, 0.5466)
      assert.strictEqual(balance(budget), 10)
      outcomes(budget, Outcome.success, 1)
      assert.strictEqual(balance(budget), 10.546)
    })

    it("drained, has nothing left to grant", () => {
      const budget = new SuccessTokens(10, 0.1)
      budget.drain()
      assert.strictEqual(balance(budget), 0)
      assert.isFalse(granted(budget))
    })
  })
})
