import { assert, describe, it } from "@effect/vitest"
import { Budget, Outcome, PolicyKey, PolicyLayer } from "@rego/core"
import { Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { TokenBucket } from "../src/TokenBucket.ts"
import { seed, withSeed } from "./arbitraries.ts"
import { decide, decideLater, denialOf, failed, grants, outcomes, take } from "./budgetSupport.ts"
import { budgetLaws } from "./laws.ts"
import { makeRandom } from "./random.ts"
import { fails, inVirtualTime, resilient, script, under } from "./support.ts"

/** Calls one after the other in a total outage; gives how many attempts there were. */
const outage = (calls: number, policies: Parameters<typeof under>[1]) =>
  Effect.gen(function*() {
    const s = script(fails("down"))
    const one = Effect.ignore(resilient(s.effect, "svc.Method"))
    yield* inVirtualTime(Effect.replicateEffect(one, calls), "1 hour").pipe((self) => under(self, policies))
    return s.runs
  })

describe("TokenBucket", () => {
  budgetLaws("tokenBucket", Budget.tokenBucket({ capacity: 20, refillPerSecond: 1 }))

  it("is full at first, lets out its capacity, then denies [B01]", () => {
    const budget = new TokenBucket(1_000, 0)
    assert.strictEqual(grants(budget, 2_000), 1_000)
    assert.deepStrictEqual(decide(budget), { _tag: "Denied", reason: "bucket_empty", retryAfter: undefined })
  })

  it("refills with time: emptied two seconds ago at 1 a second, cost 1 leaves exactly 1, cost 2 is denied [B04]", () => {
    const budget = new TokenBucket(2, 1)
    assert.strictEqual(grants(budget, 2), 2)
    take(budget, { now: 2_000 })
    assert.strictEqual(decide(budget, { now: 2_000, cost: 2 })._tag, "Denied")
    take(budget, { now: 2_000, cost: 1 })
  })

  it("refills no further than its capacity", () => {
    const budget = new TokenBucket(3, 1)
    grants(budget, 3)
    assert.strictEqual(grants(budget, 10, { now: 1e9 }), 3)
  })

  it("keeps fractions: ten tenths of a token are one", () => {
    const budget = new TokenBucket(1, 0.1)
    take(budget)
    for (let second = 1; second < 10; second++) denialOf(decide(budget, { now: second * 1_000 }))
    take(budget, { now: 10_000 })
  })

  it("charges retries and hedges to the same tokens", () => {
    const budget = new TokenBucket(4, 0)
    take(budget, { kind: "hedge", cost: 3 })
    take(budget, { kind: "retry" })
    denialOf(decide(budget, { kind: "hedge" }))
  })

  it("does not hear of outcomes", () => {
    const budget = new TokenBucket(1, 0)
    take(budget)
    outcomes(budget, Outcome.success, 100)
    outcomes(budget, failed, 100)
    denialOf(decide(budget))
  })

  it("counts a clock that goes back as no time passed, and the way back as none either", () => {
    const budget = new TokenBucket(1, 1)
    take(budget, { now: 10_000 })
    denialOf(decide(budget, { now: -1e12 }))
    denialOf(decide(budget, { now: 10_999 }))
    take(budget, { now: 11_000 })
  })

  it("lets out no more than its capacity at one instant, late refunds included", () => {
    const budget = new TokenBucket(10, 1)
    const waiting = Array.from({ length: 10 }, () => take(budget))
    const afterRefill = grants(budget, 20, { now: 10_000 })
    for (const { settle } of waiting) settle("unused")
    assert.strictEqual(afterRefill + grants(budget, 20, { now: 10_000 }), 10)
  })

  describe("retryAfter", () => {
    it("is when asking again is granted, at any rate", () => {
      const random = makeRandom(seed)
      for (let i = 0; i < 5_000; i++) {
        const capacity = 1 + Math.floor(random() * 100)
        const refillPerSecond = random() < 0.5 ? 0.001 + random() * 10 : random() * 1_000_000
        const budget = new TokenBucket(capacity, refillPerSecond)
        const now = random() * 1e6
        grants(budget, capacity, { now })
        const cost = 1 + Math.floor(random() * (capacity - 1) * 10) / 10
        const decision = decide(budget, { now, cost })
        if (decision._tag === "Granted") continue
        const again = decide(budget, { now: now + Duration.toMillis(decision.retryAfter!), cost })
        assert.strictEqual(again._tag, "Granted", withSeed(JSON.stringify({ capacity, refillPerSecond, now, cost })))
      }
    })

    it("is unknown where nothing refills, or where no bucket could ever hold the cost", () => {
      const still = new TokenBucket(1, 0)
      take(still)
      assert.isUndefined(denialOf(decide(still)).retryAfter)
      assert.isUndefined(denialOf(decide(new TokenBucket(1, 1), { cost: 2 })).retryAfter)
    })
  })

  describe("state", () => {
    it.effect("is what is left at that time of the clock", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.tokenBucket({ capacity: 5, refillPerSecond: 2 })
        for (let i = 0; i < 4; i++) yield* decideLater(budget)
        assert.deepStrictEqual(yield* budget.state, { balance: 1 })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* budget.state, { balance: 3 })
      }))
  })

  describe("AWS vectors", () => {
    for (const [cost, retries] of [[5, 100], [14, 35]] as const) {
      it.effect(`500 tokens at ${cost} a retry make ${retries} retries in a total outage, then none`, () =>
        Effect.gen(function*() {
          const policies = PolicyLayer.make({
            policies: { "*": { retry: { maxAttempts: 3 }, budget: { name: "aws", retryCost: cost } } }
          }).pipe(
            Layer.provide(Budget.layer("aws", Budget.tokenBucket({ capacity: 500, refillPerSecond: 0 })))
          )
          const calls = 200
          assert.strictEqual(yield* outage(calls, policies), calls + retries)
        }))
    }

    it.effect("hedges are charged their own cost", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.tokenBucket({ capacity: 500, refillPerSecond: 0 })
        assert.strictEqual(grants(budget, 1_000, { kind: "hedge", cost: 10, key: PolicyKey.make("a.b") }), 50)
      }))
  })

  it("refuses sizes and rates that are no numbers in range [B05]", () => {
    assert.throws(
      () => Budget.tokenBucket({ capacity: -1, refillPerSecond: NaN }),
      "Budget.tokenBucket: capacity: must be a number between 0.001 and 1000000, got -1\n" +
        "refillPerSecond: must be a number between 0 and 1000000, got NaN"
    )
  })
})
