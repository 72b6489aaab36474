import { assert, describe, it } from "@effect/vitest"
import type { Budget } from "@rego/core"
import { Outcome } from "@rego/core"
import * as BudgetShared from "@rego/core/BudgetShared"
import { Clock, Duration, Effect, Fiber, Layer } from "effect"
import { RateLimiter } from "effect/persistence"
import { TestClock } from "effect/testing"
import { callOf, decideLater, denialOf, outcomes, permitOf } from "./budgetSupport.ts"
import { Fibers } from "./driver/probes.ts"
import { budgetLaws } from "./laws.ts"

type Store = RateLimiter.RateLimiterStore["Service"]

const memory = RateLimiter.layerStoreMemory

/** What the store does when it is asked, on top of a memory store; and how often it was. */
interface Fault {
  mode: "well" | "hangs" | "resists" | "fails" | "dies" | "slow"
  asked: number
  millis: number
}

const faulty = (fault: Fault): Layer.Layer<RateLimiter.RateLimiterStore> =>
  Layer.effect(
    RateLimiter.RateLimiterStore,
    Effect.map(RateLimiter.RateLimiterStore, (store): Store => ({
      ...store,
      fixedWindow: (options) =>
        Effect.suspend(() => {
          fault.asked++
          const answer = store.fixedWindow(options)
          switch (fault.mode) {
            case "well":
              return answer
            case "hangs":
              return Effect.never
            case "resists":
              return Effect.uninterruptible(Effect.andThen(Effect.sleep("1 hour"), answer))
            case "slow":
              return Effect.andThen(Effect.sleep(fault.millis), answer)
            case "dies":
              return Effect.die(new Error("redis"))
            case "fails":
              return Effect.fail(
                new RateLimiter.RateLimiterError({
                  reason: new RateLimiter.RateLimitStoreError({ message: "connection refused" })
                })
              )
          }
        })
    }))
  ).pipe(Layer.provide(Layer.fresh(memory)))

/** A budget on a store of its own. */
const on = (store: Layer.Layer<RateLimiter.RateLimiterStore>) => (options: BudgetShared.Options): Budget.Make =>
  Effect.flatMap(
    Layer.build(RateLimiter.layer.pipe(Layer.provide(store), Layer.fresh)),
    (context) => Effect.provide(BudgetShared.make(options), context)
  )

const onMemory = on(Layer.fresh(memory))

const broken = (mode: Fault["mode"], millis = 0) => {
  const fault: Fault = { mode, asked: 0, millis }
  return { fault, make: on(faulty(fault)) }
}

const nowMillis = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

/** Asks at the time of the clock, and lets so much time pass that the answer must be there. */
const askWithin = (budget: Budget.Budget, within: Duration.Input, asked: Partial<Budget.Request> = {}) =>
  Effect.gen(function*() {
    const now = yield* nowMillis
    const fiber = yield* Effect.forkChild(decideLater(budget, { now, ...asked }), { startImmediately: true })
    if (Duration.toMillis(within) > 0) yield* TestClock.adjust(within)
    return yield* (fiber.pollUnsafe() ?? assert.fail(`no answer within ${String(within)}`))
  })

const grantsWithin = (budget: Budget.Budget, times: number, within: Duration.Input) =>
  Effect.map(
    Effect.replicateEffect(askWithin(budget, within), times),
    (decisions) => decisions.filter(({ _tag }) => _tag === "Granted").length
  )

const floor = { ratio: 0, reserve: { burst: 2, start: 2, perSecond: 0 } }

describe("BudgetShared", () => {
  budgetLaws("shared, on the memory store", onMemory({ limit: 10, window: "10 seconds" }), { gives: "never" })
  budgetLaws("shared, with a store that is down", broken("fails").make({ limit: 10, window: "10 seconds" }))

  describe("with a store that is well", () => {
    it.effect("lets out the limit in a window, then denies and says when to ask again", () =>
      Effect.gen(function*() {
        const budget = yield* onMemory({ limit: 4, window: "1 second" })
        assert.strictEqual(yield* grantsWithin(budget, 10, 0), 4)
        const denial = denialOf(yield* askWithin(budget, 0))
        assert.strictEqual(denial.reason, "limit_exceeded")
        assert.deepStrictEqual(denial.retryAfter, Duration.seconds(1))
        yield* TestClock.adjust(denial.retryAfter!)
        assert.strictEqual((yield* askWithin(budget, 0))._tag, "Granted")
      }))

    it.effect("is one limit for all budgets of its name, and another for another name", () =>
      Effect.gen(function*() {
        const context = yield* Layer.build(RateLimiter.layer.pipe(Layer.provide(Layer.fresh(memory)), Layer.fresh))
        const make = (name?: string) =>
          Effect.provide(BudgetShared.make({ limit: 5, window: "1 second", name }), context)
        const [one, two, other] = [yield* make(), yield* make("default"), yield* make("other")]
        assert.strictEqual(yield* grantsWithin(one, 3, 0), 3)
        assert.strictEqual(yield* grantsWithin(two, 10, 0), 2)
        assert.strictEqual(yield* grantsWithin(other, 10, 0), 5)
      }))

    it.effect("charges costs", () =>
      Effect.gen(function*() {
        const budget = yield* onMemory({ limit: 10, window: "1 second" })
        permitOf(yield* askWithin(budget, 0, { cost: 7.5 }))
        denialOf(yield* askWithin(budget, 0, { cost: 3 }))
        permitOf(yield* askWithin(budget, 0, { cost: 2.5, kind: "hedge" }))
      }))

    it.effect("knows no time at which a cost above its limit would be granted", () =>
      Effect.gen(function*() {
        const budget = yield* onMemory({ limit: 10, window: "1 second" })
        assert.isUndefined(denialOf(yield* askWithin(budget, 0, { cost: 11 })).retryAfter)
        permitOf(yield* askWithin(budget, 0))
        assert.isDefined(denialOf(yield* askWithin(budget, 0, { cost: 10 })).retryAfter)
      }))

    it.effect("takes nothing back", () =>
      Effect.gen(function*() {
        const budget = yield* onMemory({ limit: 1, window: "1 second" })
        permitOf(yield* askWithin(budget, 0)).settle("unused")
        denialOf(yield* askWithin(budget, 0))
      }))

    it.effect("waits for an answer that comes in time", () =>
      Effect.gen(function*() {
        const { fault, make } = broken("slow", 49)
        const budget = yield* make({ limit: 1, window: "1 second", onStoreError: "deny" })
        permitOf(yield* askWithin(budget, 49))
        assert.strictEqual(denialOf(yield* askWithin(budget, 49)).reason, "limit_exceeded")
        assert.strictEqual(fault.asked, 2)
      }))
  })

  for (const mode of ["hangs", "resists", "fails", "dies", "slow"] as const) {
    const wait = mode === "fails" || mode === "dies" ? 0 : 50

    describe(`with a store that ${mode === "slow" ? "is slow" : mode}`, () => {
      it.effect("has a floor that heard of all calls before", () =>
        Effect.gen(function*() {
          const { make } = broken(mode, 1_000)
          const noReserve = { burst: 0, start: 0, perSecond: 0 }
          const budget = yield* make({
            limit: 1_000,
            window: "1 second",
            floor: { ratio: 0.5, of: "calls", reserve: noReserve }
          })
          for (let i = 0; i < 4; i++) budget.onCall?.(callOf(yield* nowMillis))
          outcomes(budget, Outcome.success, 100)
          yield* askWithin(budget, wait)
          assert.strictEqual(yield* grantsWithin(budget, 10, 0), 1)
        }))

      it.effect(`answers within ${wait} ms from the floor, which is the default`, () =>
        Effect.gen(function*() {
          const { make } = broken(mode, 1_000)
          const budget = yield* make({ limit: 1_000, window: "1 second", floor })
          permitOf(yield* askWithin(budget, wait))
          permitOf(yield* askWithin(budget, 0))
          assert.strictEqual(denialOf(yield* askWithin(budget, 0)).reason, "ratio_exhausted")
        }))

      it.effect(`denies within ${wait} ms with onStoreError: deny`, () =>
        Effect.gen(function*() {
          const { make } = broken(mode, 1_000)
          const budget = yield* make({ limit: 1_000, window: "1 second", onStoreError: "deny", floor })
          assert.strictEqual(denialOf(yield* askWithin(budget, wait)).reason, "store_error")
          assert.strictEqual(denialOf(yield* askWithin(budget, 0)).reason, "store_error")
        }))

      it.effect("asks it once a second while it is down, however many ask at the same time", () =>
        Effect.gen(function*() {
          const { fault, make } = broken(mode, 1_000)
          const budget = yield* make({ limit: 1_000, window: "1 second", onStoreError: "deny" })
          yield* askWithin(budget, wait)
          assert.strictEqual(fault.asked, 1)
          for (let second = 1; second <= 5; second++) {
            yield* TestClock.adjust("1 second")
            const now = yield* nowMillis
            const crowd = yield* Effect.forEach(
              Array.from({ length: 20 }),
              () => Effect.forkChild(decideLater(budget, { now }), { startImmediately: true })
            )
            yield* TestClock.adjust(wait)
            yield* Fiber.joinAll(crowd)
            assert.strictEqual(fault.asked, 1 + second)
          }
        }))

      it.effect("recovers by itself, and is the limit of all again", () =>
        Effect.gen(function*() {
          const { fault, make } = broken(mode, 1_000)
          const budget = yield* make({ limit: 3, window: "1 minute", floor })
          yield* askWithin(budget, wait)
          fault.mode = "well"
          const asked = fault.asked
          yield* askWithin(budget, 0)
          assert.strictEqual(fault.asked, asked)
          yield* TestClock.adjust("1 second")
          assert.strictEqual(yield* grantsWithin(budget, 10, 0), 3)
          assert.strictEqual(denialOf(yield* askWithin(budget, 0)).reason, "limit_exceeded")
        }))

      it.effect("leaves no fiber behind that could end", () =>
        Effect.gen(function*() {
          const fibers = new Fibers()
          const { make } = broken(mode, 60_000)
          const budget = yield* make({ limit: 3, window: "1 minute", retryStoreAfter: 0 })
          for (let i = 0; i < 10; i++) yield* fibers.watch(askWithin(budget, wait))
          assert.strictEqual(fibers.live, mode === "resists" ? 10 : 0)
        }))
    })
  }

  it.effect("lets the store go when who asked is interrupted", () =>
    Effect.gen(function*() {
      const fibers = new Fibers()
      const { make } = broken("hangs")
      const budget = yield* make({ limit: 3, window: "1 minute" })
      const asking = yield* fibers.watch(Effect.forkChild(decideLater(budget), { startImmediately: true }))
      assert.isAbove(fibers.live, 0)
      yield* Fiber.interrupt(asking)
      assert.strictEqual(fibers.live, 0)
    }))

  it.effect("waits as long as it is told, and leaves a store that failed alone for as long as it is told", () =>
    Effect.gen(function*() {
      const { fault, make } = broken("hangs")
      const budget = yield* make({
        limit: 3,
        window: "1 minute",
        timeout: "200 millis",
        retryStoreAfter: "10 seconds",
        onStoreError: "deny"
      })
      const now = yield* nowMillis
      const fiber = yield* Effect.forkChild(decideLater(budget, { now }), { startImmediately: true })
      yield* TestClock.adjust(199)
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust(1)
      assert.isDefined(fiber.pollUnsafe())
      yield* TestClock.adjust("9 seconds")
      yield* askWithin(budget, 0)
      assert.strictEqual(fault.asked, 1)
      yield* TestClock.adjust("1 second")
      yield* askWithin(budget, 200)
      assert.strictEqual(fault.asked, 2)
    }))

  it.effect("keeps its floor warm while the store is well", () =>
    Effect.gen(function*() {
      const { fault, make } = broken("well")
      const reserve = { burst: 0, start: 0, perSecond: 0 }
      const budget = yield* make({ limit: 1_000, window: "1 second", floor: { ratio: 0.1, reserve } })
      const now = yield* nowMillis
      for (let i = 0; i < 50; i++) budget.onCall?.(callOf(now))
      outcomes(budget, Outcome.success, 50, now)
      yield* grantsWithin(budget, 20, 0)
      assert.deepStrictEqual(yield* budget.state, { balance: 5 })
      fault.mode = "fails"
      assert.strictEqual(yield* grantsWithin(budget, 20, 0), 5)
    }))

  it("refuses numbers out of range, the floor's included", () => {
    assert.throws(
      () => BudgetShared.make({ limit: 0, window: 1, timeout: "2 seconds", retryStoreAfter: "1 hour", name: "" }),
      /limit: .*\nwindow: .*\nname: .*\ntimeout: .*\nretryStoreAfter: /
    )
    assert.throws(() => BudgetShared.make({ limit: 1, window: "1 second", floor: { ratio: 2 } }), /ratio: /)
  })
})
