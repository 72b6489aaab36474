import { assert, describe, it } from "@effect/vitest"
import { Budget, Outcome, PolicyKey } from "@rego/core"
import { Clock, Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import { numbersOf, RatioBudget } from "../src/RatioBudget.ts"
import { seed, withSeed } from "./arbitraries.ts"
import { makeRandom } from "./random.ts"

const key = PolicyKey.make("users.Get")
const failed = Outcome.retryable({ reason: "http_503" })

const random = () => 0.5

const ask = (budget: RatioBudget, now: number, options: { kind?: "retry" | "hedge"; cost?: number } = {}) =>
  budget.tryAcquire({
    key,
    kind: options.kind ?? "retry",
    cost: options.cost ?? 1,
    attempt: { retry: 0, hedge: 0 },
    random,
    now
  })

const permit = (decision: Budget.Decision): Budget.Permit =>
  decision._tag === "Granted" ? decision.permit : assert.fail(`denied: ${decision.reason}`)

const grants = (budget: RatioBudget, now: number, times: number, kind: "retry" | "hedge" = "retry"): number => {
  let granted = 0
  for (let i = 0; i < times; i++) if (ask(budget, now, { kind })._tag === "Granted") granted++
  return granted
}

const succeed = (budget: RatioBudget, now: number, times: number): void => {
  for (let i = 0; i < times; i++) budget.onOutcome?.(Outcome.success, now)
}

const noReserve = { burst: 0, start: 0, perSecond: 0 }

describe("RatioBudget", () => {
  it.effect("is asked, told and looked at the same through what was copied from it", () =>
    Effect.gen(function*() {
      for (const source of ["calls", "successes"] as const) {
        const copy: Budget.Budget = { ...new RatioBudget({ of: source, reserve: noReserve }) }
        for (let i = 0; i < 10; i++) {
          copy.onCall?.({ key, now: 0, random })
          copy.onOutcome?.(Outcome.success, 0)
        }
        assert.deepStrictEqual(yield* copy.state, { balance: 1 })
        assert.strictEqual(grants(copy as RatioBudget, 0, 5), 1)
      }
    }))

  // the random model test of the laws is in BudgetModel.test.ts
  describe("law", () => {
    it("L2 holds when a reserve that has refilled meanwhile gets a late refund", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 10, start: 10, perSecond: 1 } })
      const waiting = Array.from({ length: 10 }, () => permit(ask(budget, 0)))
      const afterRefill = grants(budget, 10_000, 20)
      for (const { settle } of waiting) settle("unused")
      assert.isAtMost(afterRefill + grants(budget, 10_000, 20), 10)
    })

    it("is not much stricter than the exact window: what fits with one slot less is granted", () => {
      for (const [deposits, at] of [[100, 0], [1_000, 777], [10, 123_456]] as const) {
        const budget = new RatioBudget({ ratio: 0.1, window: Duration.seconds(10), reserve: noReserve })
        succeed(budget, at, deposits)
        assert.strictEqual(grants(budget, at + 9_500 - 1, deposits), deposits / 10)
      }
    })

    it("forgets deposits after one window, and extras not before", () => {
      const budget = new RatioBudget({ ratio: 0.1, window: Duration.seconds(10), reserve: noReserve })
      succeed(budget, 0, 10)
      assert.strictEqual(grants(budget, 10_000, 1), 0)
      succeed(budget, 10_000, 10)
      assert.strictEqual(grants(budget, 15_000, 2), 1)
      succeed(budget, 20_000, 10)
      assert.strictEqual(grants(budget, 24_999, 1), 0)
      assert.strictEqual(grants(budget, 26_000, 2), 1)
    })

    it("counts a clock that goes back as no time passed", () => {
      const budget = new RatioBudget({
        ratio: 0.1,
        window: Duration.seconds(10),
        reserve: { burst: 1, start: 0, perSecond: 1 }
      })
      succeed(budget, 100_000, 10)
      assert.strictEqual(grants(budget, -1e15, 5), 1)
      assert.strictEqual(grants(budget, 100_500, 5), 0)
      assert.strictEqual(grants(budget, 101_000, 5), 1)
    })

    it("pays from the reserve when a clock goes back, as if no time had passed", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 2, start: 2, perSecond: 1 } })
      assert.strictEqual(grants(budget, 100_000, 1), 1)
      assert.strictEqual(grants(budget, -1e15, 5), 1)
    })

    it("counts a deposit of the instant at which a slot begins in that slot", () => {
      const budget = new RatioBudget({ ratio: 0.5, window: Duration.seconds(10), reserve: noReserve })
      succeed(budget, 0, 4)
      succeed(budget, 500, 2)
      assert.strictEqual(grants(budget, 10_000, 5), 1)
    })

    it("is not a grant short where binary fractions are: 0.29 of 100 is 29", () => {
      const budget = new RatioBudget({ ratio: 0.29, reserve: noReserve })
      succeed(budget, 0, 100)
      assert.strictEqual(grants(budget, 0, 100), 29)
    })
  })

  describe("grants", () => {
    const make = () => {
      const budget = new RatioBudget({ ratio: 0.5, keepForRetries: 0.5, reserve: noReserve })
      succeed(budget, 0, 8)
      return budget
    }

    it("stay spent when they were used, and are given back when they were not", () => {
      const budget = make()
      for (let i = 0; i < 4; i++) permit(ask(budget, 0)).settle("used")
      assert.strictEqual(grants(budget, 0, 1), 0)
      const other = make()
      for (let i = 0; i < 4; i++) permit(ask(other, 0)).settle("unused")
      assert.strictEqual(grants(other, 0, 5), 4)
    })

    it("of retries that come back make no room for hedges", () => {
      const budget = make()
      const retries = Array.from({ length: 2 }, () => permit(ask(budget, 0)))
      assert.strictEqual(grants(budget, 0, 3, "hedge"), 2)
      for (const { settle } of retries) settle("unused")
      assert.strictEqual(grants(budget, 0, 1, "hedge"), 0)
    })

    it("of hedges count for as long as those of retries", () => {
      const budget = make()
      assert.strictEqual(grants(budget, 0, 3, "hedge"), 2)
      succeed(budget, 9_999, 8)
      assert.strictEqual(grants(budget, 9_999, 5, "hedge"), 2)
      succeed(budget, 10_000, 8)
      assert.strictEqual(grants(budget, 10_000, 5, "hedge"), 0)
    })
  })

  it("fills its reserve at the old rate until it is told of another", () => {
    const budget = new RatioBudget({ ratio: 0, reserve: { burst: 10, start: 0, perSecond: 0 } })
    assert.strictEqual(grants(budget, 0, 1), 0)
    budget.retune({ ratio: 0, reserve: { burst: 10, start: 0, perSecond: 1 } }, 5_000)
    assert.strictEqual(grants(budget, 6_000, 5), 1)
  })

  describe("deposits", () => {
    const balance = (budget: RatioBudget) => grants(budget, 0, 100)
    const make = (of: "successes" | "calls") => new RatioBudget({ ratio: 0.5, of, reserve: noReserve })

    it("come from what the dependency answered: Success and NonRetryable", () => {
      const budget = make("successes")
      budget.onCall?.({ key, now: 0, random })
      succeed(budget, 0, 2)
      for (let i = 0; i < 2; i++) budget.onOutcome?.(Outcome.nonRetryable({ reason: "not_found" }), 0)
      assert.strictEqual(balance(budget), 2)
    })

    it("do not come from failures, from what was given up, or from verdicts that say nothing about the dependency", () => {
      const budget = make("successes")
      const reasons = ["defect", "classifier_defect", "rejected_locally", "retried_below", "nested_stop"]
      for (let i = 0; i < 10; i++) {
        budget.onOutcome?.(failed, 0)
        budget.onOutcome?.(Outcome.abort({ reason: "interrupted" }), 0)
        for (const reason of reasons) budget.onOutcome?.(Outcome.nonRetryable({ reason }), 0)
      }
      assert.strictEqual(balance(budget), 0)
    })

    it("come from every call at its start, and from nothing else, with of: calls", () => {
      const budget = make("calls")
      succeed(budget, 0, 10)
      assert.strictEqual(balance(budget), 0)
      for (let i = 0; i < 4; i++) budget.onCall?.({ key, now: 0, random })
      assert.strictEqual(balance(budget), 2)
    })
  })

  describe("hedges", () => {
    it("leave keepForRetries of the ratio part to retries", () => {
      const budget = new RatioBudget({ ratio: 0.1, keepForRetries: 0.2, reserve: noReserve })
      succeed(budget, 0, 100)
      assert.strictEqual(grants(budget, 0, 100, "hedge"), 8)
      assert.strictEqual(grants(budget, 0, 100), 2)
    })

    it("leave keepForRetries × burst of the reserve to retries", () => {
      const budget = new RatioBudget({ ratio: 0, keepForRetries: 0.2, reserve: { burst: 10, start: 10, perSecond: 0 } })
      assert.strictEqual(grants(budget, 0, 100, "hedge"), 8)
      assert.strictEqual(grants(budget, 0, 100), 2)
    })

    it("get nothing with keepForRetries 1, and all with 0", () => {
      for (const [keepForRetries, hedges] of [[1, 0], [0, 10]] as const) {
        const budget = new RatioBudget({ ratio: 0.1, keepForRetries, reserve: noReserve })
        succeed(budget, 0, 100)
        assert.strictEqual(grants(budget, 0, 100, "hedge"), hedges)
      }
    })
  })

  describe("permits", () => {
    it("give the grant back once when their attempt never started", () => {
      const budget = new RatioBudget({ ratio: 0.1, reserve: noReserve })
      succeed(budget, 0, 10)
      const one = permit(ask(budget, 0))
      assert.strictEqual(grants(budget, 0, 1), 0)
      for (let i = 0; i < 3; i++) one.settle("unused")
      assert.strictEqual(grants(budget, 0, 3), 1)
    })

    it("give back what the reserve paid", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 3, start: 3, perSecond: 0.1 } })
      const open = [permit(ask(budget, 0)), permit(ask(budget, 0)), permit(ask(budget, 0))]
      for (const { settle } of open) settle("unused")
      assert.strictEqual(grants(budget, 0, 10), 3)
    })

    it("give nothing back once they are used, however often they are settled", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 1, start: 1, perSecond: 0 } })
      const one = permit(ask(budget, 0))
      one.settle("used")
      one.settle("unused")
      assert.strictEqual(grants(budget, 0, 1), 0)
    })

    it("give back what a hedge took of the hedges' share", () => {
      const budget = new RatioBudget({ ratio: 0.1, keepForRetries: 0.5, reserve: noReserve })
      succeed(budget, 0, 20)
      const hedge = permit(ask(budget, 0, { kind: "hedge" }))
      assert.strictEqual(grants(budget, 0, 1, "hedge"), 0)
      hedge.settle("unused")
      assert.strictEqual(grants(budget, 0, 2, "hedge"), 1)
    })

    it("give back nothing that the window has already forgotten", () => {
      const budget = new RatioBudget({ ratio: 0.1, window: Duration.seconds(1), reserve: noReserve })
      succeed(budget, 0, 10)
      const old = permit(ask(budget, 0))
      succeed(budget, 5_000, 10)
      old.settle("unused")
      assert.strictEqual(grants(budget, 5_000, 5), 1)
    })

    it("never fill the reserve above its burst", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 3, start: 3, perSecond: 1 } })
      const open = [permit(ask(budget, 0)), permit(ask(budget, 0))]
      assert.strictEqual(grants(budget, 60_000, 0), 0)
      for (const { settle } of open) settle("unused")
      assert.strictEqual(grants(budget, 60_000, 10), 3)
    })
  })

  describe("reserve", () => {
    it("starts at start, which is at most burst", () => {
      const make = (burst: number, start: number) =>
        new RatioBudget({ ratio: 0, reserve: { burst, start, perSecond: 0 } })
      assert.strictEqual(grants(make(10, 5), 0, 100), 5)
      assert.strictEqual(grants(make(2, 9), 0, 100), 2)
      assert.strictEqual(grants(make(0, 0), 0, 100), 0)
    })

    it("refills by perSecond up to burst", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 2, start: 2, perSecond: 0.5 } })
      assert.strictEqual(grants(budget, 0, 5), 2)
      assert.strictEqual(grants(budget, 1_999, 5), 0)
      assert.strictEqual(grants(budget, 2_000, 5), 1)
      assert.strictEqual(grants(budget, 3_600_000, 5), 2)
    })

    it("pays what it holds: 2 s after it was emptied, cost 1 leaves exactly 1, and cost 2 is denied [B04]", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 2, start: 2, perSecond: 1 } })
      permit(ask(budget, 0, { cost: 2 }))
      permit(ask(budget, 2_000, { cost: 1 }))
      assert.strictEqual(ask(budget, 2_000, { cost: 2 })._tag, "Denied")
      permit(ask(budget, 2_000, { cost: 1 }))
      assert.strictEqual(ask(budget, 2_000, { cost: 1 })._tag, "Denied")
    })

    it("grants what it holds and not one more when many ask: 100 of 200 [B01]", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 100, start: 100, perSecond: 0 } })
      assert.strictEqual(grants(budget, 0, 200), 100)
    })
  })

  describe("retryAfter", () => {
    const hint = (decision: Budget.Decision) =>
      decision._tag === "Denied" ? decision.retryAfter : assert.fail("was granted")

    it("is when the reserve will hold the cost", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 5, start: 0, perSecond: 0.5 } })
      assert.deepStrictEqual(hint(ask(budget, 0)), Duration.seconds(2))
      assert.deepStrictEqual(hint(ask(budget, 0, { cost: 3 })), Duration.seconds(6))
      assert.deepStrictEqual(hint(ask(budget, 0, { kind: "hedge" })), Duration.seconds(4))
    })

    it("is unknown where the reserve never refills, or never holds that much", () => {
      assert.isUndefined(hint(ask(new RatioBudget({ ratio: 0, reserve: noReserve }), 0)))
      const small = new RatioBudget({ ratio: 0, reserve: { burst: 2, start: 0, perSecond: 1 } })
      assert.isUndefined(hint(ask(small, 0, { cost: 3 })))
    })

    it("is long enough: asking again then is granted", () => {
      const random = makeRandom(seed)
      for (let i = 0; i < 5_000; i++) {
        const perSecond = 0.001 + random() * 9.999
        const reserve = { burst: 10, start: Math.floor(random() * 10), perSecond }
        const budget = new RatioBudget({ ratio: 0, keepForRetries: Math.round(random() * 10) / 10, reserve })
        grants(budget, 0, 10)
        const asked = { kind: random() < 0.5 ? "retry" : "hedge", cost: 1 + Math.floor(random() * 30) / 10 } as const
        const now = Math.floor(random() * 1_000)
        const decision = ask(budget, now, asked)
        if (decision._tag === "Granted" || decision.retryAfter === undefined) continue
        const again = ask(budget, now + Duration.toMillis(decision.retryAfter), asked)
        assert.strictEqual(again._tag, "Granted", withSeed(`${JSON.stringify({ reserve, asked, now })}`))
      }
    })
  })

  describe("in a total outage", () => {
    it("attempts per call fall to 1 + perSecond ÷ call rate within one window", () => {
      const rate = 100
      const perSecond = 2
      const budget = new RatioBudget({
        ratio: 0.1,
        window: Duration.seconds(10),
        reserve: { burst: 10, start: 5, perSecond }
      })
      let attempts = 0
      let calls = 0
      const second = (from: number, healthy: boolean) => {
        attempts = 0
        calls = 0
        for (let i = 0; i < rate; i++) {
          const now = from + i * 1_000 / rate
          calls++
          attempts++
          budget.onCall?.({ key, now, random })
          if (!healthy) { for (let retry = 0; retry < 2 && ask(budget, now)._tag === "Granted"; retry++) attempts++ }
          budget.onOutcome?.(healthy ? Outcome.success : failed, now)
        }
        return attempts / calls
      }
      let at = 0
      for (; at < 60_000; at += 1_000) assert.strictEqual(second(at, true), 1)
      const outage = at
      const perCall: Array<number> = []
      for (; at < outage + 60_000; at += 1_000) perCall.push(second(at, false))
      assert.isAbove(perCall[0]!, 1.5)
      for (const [i, ratio] of perCall.entries()) {
        // the reserve may pay one more in a second whose refill began in the one before
        if (i >= 10) assert.isAtMost(ratio, 1 + (perSecond + 1) / rate, `second ${i}`)
      }
      const afterwards = perCall.slice(10).reduce((a, b) => a + b) / perCall.slice(10).length
      assert.closeTo(afterwards, 1 + perSecond / rate, 0.001)
    })
  })

  describe("state", () => {
    it.effect("shows what is left, with the reserve as it is at that time of the clock", () =>
      Effect.gen(function*() {
        const budget = new RatioBudget({ ratio: 0.1, reserve: { burst: 10, start: 5, perSecond: 1 } })
        const now = yield* Clock.currentTimeMillis
        succeed(budget, now, 20)
        assert.deepStrictEqual(yield* budget.state, { balance: 7 })
        permit(ask(budget, now))
        assert.deepStrictEqual(yield* budget.state, { balance: 6 })
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* budget.state, { balance: 8 })
      }))
  })

  describe("retune", () => {
    const seconds = (window: number) => ({ ratio: 0.5, window: Duration.seconds(window), reserve: noReserve })

    it("of the window keeps what was paid for as long as what was deposited", () => {
      for (const [before, after] of [[10, 60], [60, 10], [10, 9]] as const) {
        const budget = new RatioBudget(seconds(before))
        succeed(budget, 9_000, 20)
        assert.strictEqual(grants(budget, 9_000, 20), 10)
        budget.retune(seconds(after), 9_500)
        for (let at = 9_500; at < 9_000 + after * 1_000; at += 500) {
          assert.strictEqual(grants(budget, at, 1), 0, `${at}`)
        }
        const later = 9_000 + (after + Math.max(before, after) / 10) * 1_000
        succeed(budget, later, 20)
        assert.strictEqual(grants(budget, later, 20), 10)
      }
    })

    it("of the window forgets what was paid long before when it would have been forgotten in the new one", () => {
      const budget = new RatioBudget(seconds(10))
      succeed(budget, 0, 20)
      assert.strictEqual(grants(budget, 0, 20), 10)
      budget.retune(seconds(20), 9_000)
      succeed(budget, 19_000, 20)
      assert.strictEqual(grants(budget, 20_000, 20), 0)
      // a slot of each window later at most
      assert.strictEqual(grants(budget, 21_500, 20), 10)
    })

    it("of a budget that nobody has asked yet is its first word", () => {
      const budget = new RatioBudget(seconds(10))
      budget.retune(seconds(60), 0)
      succeed(budget, 1_000, 20)
      assert.strictEqual(grants(budget, 55_000, 20), 10)
    })

    it("of the ratio alone takes grants back, one of the window does not, of hedges neither", () => {
      for (const [window, again] of [[10, 1], [20, 0]] as const) {
        const budget = new RatioBudget({ ...seconds(10), keepForRetries: 0.2 })
        succeed(budget, 0, 20)
        const hedge = permit(ask(budget, 0, { kind: "hedge" }))
        assert.strictEqual(grants(budget, 0, 20, "hedge"), 7)
        budget.retune({ ...seconds(window), keepForRetries: 0.2 }, 0)
        hedge.settle("unused")
        assert.strictEqual(grants(budget, 0, 20, "hedge"), again)
      }
    })

    it("takes the reserve of a budget for which none is stated", () => {
      const budget = new RatioBudget({ ratio: 0, reserve: { burst: 5, start: 5, perSecond: 0 } })
      budget.retune({ ratio: 0 }, 0)
      assert.strictEqual(grants(budget, 0, 20), 10)
      assert.strictEqual(grants(budget, 9_000, 1), 0)
      assert.strictEqual(grants(budget, 10_000, 20), 1)
    })
  })

  it("costs of retries take nothing of the share of hedges, but of the whole", () => {
    const budget = new RatioBudget({ ratio: 0.5, keepForRetries: 0.2, reserve: noReserve })
    succeed(budget, 0, 20)
    assert.strictEqual(grants(budget, 0, 4), 4)
    assert.strictEqual(grants(budget, 0, 20, "hedge"), 6)
  })

  it("knows the highest cost that it can ever pay, for a hedge as well", () => {
    const costs = (options: ConstructorParameters<typeof RatioBudget>[0]) => {
      const { maxCost, maxHedgeCost } = new RatioBudget(options)
      return [maxCost, maxHedgeCost]
    }
    assert.deepStrictEqual(costs({}), [undefined, undefined])
    assert.deepStrictEqual(costs({ ratio: 0 }), [10, 8])
    assert.deepStrictEqual(costs({ ratio: 0, reserve: { burst: 5 }, keepForRetries: 0 }), [5, 5])
    assert.deepStrictEqual(costs({ keepForRetries: 1 }), [undefined, 0])
    assert.deepStrictEqual(costs({ ratio: 0, keepForRetries: 1 }), [10, 0])
  })

  it("has numbers for all that is not stated", () => {
    const unstated = {
      burst: 10,
      keepForRetries: 0.2,
      of: "successes",
      perSecond: 0.1,
      ratio: 0.1,
      start: 5,
      window: Duration.seconds(10)
    }
    assert.deepStrictEqual<unknown>(numbersOf({}), unstated)
    const { burst, perSecond, start, ...others } = unstated
    const reserve = { burst: burst + 1, perSecond: perSecond + 1, start: start + 1 }
    assert.deepStrictEqual<unknown>(numbersOf({ reserve }), { ...others, ...reserve })
  })

  describe("window", () => {
    it("is 10 seconds unless given: the age at which a permit is asked for again", () => {
      assert.deepStrictEqual(new RatioBudget({}).window, Duration.seconds(10))
      assert.deepStrictEqual(new RatioBudget({ window: Duration.minutes(1) }).window, Duration.minutes(1))
    })
  })
})
