import { assert, describe, it } from "@effect/vitest"
import { Budget, Outcome } from "@rego/core"
import { Clock, Context, Effect, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { BudgetData } from "../src/BudgetData.ts"
import { BudgetStates } from "../src/BudgetStates.ts"
import * as PolicyDocument from "../src/PolicyDocument.ts"
import * as PolicyKey from "../src/PolicyKey.ts"
import { effectProperty, integer } from "./arbitraries.ts"
import { makeRandom } from "./random.ts"

const keyA = PolicyKey.make("svc.A")

/** Budgets as a document has them. */
const read = (budgets: object): Readonly<Record<string, BudgetData>> => {
  const found = PolicyDocument.read({ schemaVersion: "1.0", revision: "1", policies: {}, budgets })
  if (found.document === undefined) throw new Error(found.issues.map(({ message }) => message).join())
  return found.document.budgets ?? {}
}

class Harness {
  readonly states: BudgetStates
  readonly own = new Map<string, Map<string, Budget.Budget>>()
  constructor(registries: Context.Context<never> = Context.empty()) {
    this.states = new BudgetStates(registries, Context.make(Scope.Scope, Scope.makeUnsafe()))
  }

  apply(budgets: object, now = 0): void {
    this.states.apply(read(budgets), now)
  }

  find(name: string, key: string = keyA): Budget.Budget {
    const own = this.own.get(key) ?? new Map<string, Budget.Budget>()
    this.own.set(key, own)
    return this.states.find(name, key, own)!
  }

  ask(now: number, name = "p", key: string = keyA): Budget.Decision {
    const decision = this.find(name, key).tryAcquire({
      key: keyA,
      kind: "retry",
      cost: 1,
      attempt: { retry: 1, hedge: 0 },
      now,
      random: () => 0
    })
    if (Effect.isEffect(decision)) throw new Error("the answer takes time")
    return decision
  }

  /** How many it grants at one instant. */
  take(now: number, atMost = 1_000, name = "p", key: string = keyA): number {
    let granted = 0
    while (granted < atMost && this.ask(now, name, key)._tag === "Granted") granted++
    return granted
  }

  answer(count: number, now: number, name = "p"): void {
    for (let i = 0; i < count; i++) this.find(name).onOutcome?.(Outcome.success, now)
  }
}

const bucket = (capacity: number, refillPerSecond = 0) => ({ type: "tokenBucket", capacity, refillPerSecond })
const noReserve = { burst: 0, start: 0, perSecond: 0 }

describe("BudgetStates", () => {
  describe("a budget whose numbers change", () => {
    it("is as full as before: a bucket", () => {
      for (
        const [before, taken, after, left] of [[10, 5, 20, 10], [10, 5, 4, 2], [10, 10, 100, 0], [8, 0, 2, 2]] as const
      ) {
        const harness = new Harness()
        harness.apply({ p: bucket(before) })
        assert.strictEqual(harness.take(0, taken), taken)
        harness.apply({ p: bucket(after) })
        assert.strictEqual(harness.take(0), left, `${before} - ${taken} -> ${after}`)
      }
    })

    it("refills at the old rate until then, and at the new one after", () => {
      const harness = new Harness()
      harness.apply({ p: bucket(10, 1) })
      harness.take(0)
      harness.apply({ p: bucket(10, 5) }, 2_000)
      assert.strictEqual(harness.take(2_000), 2)
      assert.strictEqual(harness.take(3_000), 5)
    })

    it("is as full as before: the reserve of a ratio", () => {
      const harness = new Harness()
      const ratio = (burst: number) => ({
        p: { type: "ratio", ratio: 0, reserve: { burst, start: burst, perSecond: 0 } }
      })
      harness.apply(ratio(10))
      harness.take(0, 5)
      harness.apply(ratio(20))
      assert.strictEqual(harness.take(0), 10)
      harness.apply(ratio(0))
      harness.apply(ratio(10))
      assert.strictEqual(harness.take(0), 0)
    })

    it("applies its new ratio to the traffic that it has seen", () => {
      const harness = new Harness()
      const ratio = (value: number) => ({ p: { type: "ratio", ratio: value, reserve: noReserve } })
      harness.apply(ratio(0.1))
      harness.answer(100, 0)
      assert.strictEqual(harness.take(0, 4), 4)
      harness.apply(ratio(0.2))
      assert.strictEqual(harness.take(0), 16)
      harness.apply(ratio(0.1))
      assert.strictEqual(harness.take(0), 0)
    })

    it("is as full as before: the tokens of successes", () => {
      const harness = new Harness()
      harness.apply({ p: { type: "successTokens", maxTokens: 10, tokenRatio: 1 } })
      for (let i = 0; i < 4; i++) harness.find("p").onOutcome?.(Outcome.retryable({ reason: "x" }), 0)
      assert.strictEqual(harness.ask(0)._tag, "Granted")
      harness.apply({ p: { type: "successTokens", maxTokens: 100, tokenRatio: 1 } })
      assert.strictEqual(Effect.runSync(harness.find("p").state).balance, 60)
    })

    it("counts what exists: a bound on what runs at once", () => {
      const harness = new Harness()
      harness.apply({ p: { type: "concurrency", max: 4 } })
      const permits = [harness.ask(0), harness.ask(0), harness.ask(0)]
      harness.apply({ p: { type: "concurrency", max: 2 } })
      assert.strictEqual(harness.ask(0)._tag, "Denied")
      for (const permit of permits.slice(0, 2)) if (permit._tag === "Granted") permit.permit.settle("used")
      assert.strictEqual(harness.take(0), 1)
    })

    it.effect("keeps what it has counted: a throttle", () =>
      Effect.gen(function*() {
        const throttle = (k: number, window = "30 seconds") => ({
          p: { type: "adaptiveThrottle", k, minRequests: 1, window }
        })
        yield* TestClock.adjust("1 second")
        const now = Number(yield* Clock.monotonicTimeNanos) / 1e6
        const harness = new Harness()
        harness.apply(throttle(10))
        for (let i = 0; i < 50; i++) harness.ask(now)
        harness.answer(10, now)
        const share = Effect.map(harness.find("p").state, ({ balance }) => 1 - balance)
        assert.strictEqual(yield* share, 0)
        harness.apply(throttle(2), now)
        assert.closeTo(yield* share, 30 / 51, 1e-9)
        harness.apply(throttle(2, "10 minutes"), now)
        assert.closeTo(yield* share, 30 / 51, 1e-9)
        yield* TestClock.adjust("31 seconds")
        assert.closeTo(yield* share, 30 / 51, 1e-9)
      }))

    it("settles permits of before, whatever became of it", () => {
      const harness = new Harness()
      harness.apply({ p: bucket(10) })
      const decision = harness.ask(0)
      harness.take(0)
      harness.apply({ p: bucket(20) })
      if (decision._tag === "Granted") decision.permit.settle("unused")
      assert.strictEqual(harness.take(0), 1)
    })

    it("carries the state of each key, and the one that keys share", () => {
      const harness = new Harness()
      harness.apply({ p: bucket(4), q: { ...bucket(4), scope: "shared" } })
      assert.strictEqual(harness.take(0, 2, "p", "a"), 2)
      assert.strictEqual(harness.take(0, 3, "q", "a"), 3)
      harness.apply({ p: bucket(8), q: { ...bucket(8), scope: "shared" } })
      assert.strictEqual(harness.take(0, 9, "p", "a"), 4)
      assert.strictEqual(harness.take(0, 9, "p", "b"), 8)
      assert.strictEqual(harness.take(0, 9, "q", "b"), 2)
    })
  })

  describe("a ratio whose window changes", () => {
    interface Event {
      readonly at: number
      readonly kind: "deposit" | "extra"
    }

    effectProperty(
      "is never laxer than an exact count over the history that it has",
      { seed: integer(0, 1_000_000) },
      ({ seed }) =>
        Effect.sync(() => {
          const random = makeRandom(seed)
          const draw = <A>(values: ReadonlyArray<A>): A => values[Math.floor(random() * values.length)]!
          const windows = [1_000, 2_000, 5_000, 10_000, 60_000]
          const harness = new Harness()
          let window = draw(windows)
          let ratio = 0.5
          let known = -Infinity
          let now = 1_000
          const events: Array<Event> = []
          const apply = () => harness.apply({ p: { type: "ratio", ratio, window, reserve: noReserve } }, now)
          apply()
          const count = (kind: Event["kind"]) =>
            events.filter((event) => event.kind === kind && event.at > now - window && event.at > known).length
          for (let step = 0; step < 300; step++) {
            now += Math.floor(random() * 300)
            if (random() < 0.05) {
              known = Math.max(known, now - window)
              window = draw(windows)
              ratio = draw([0.1, 0.2, 0.5])
              apply()
            } else if (random() < 0.5) {
              harness.answer(1, now)
              events.push({ at: now, kind: "deposit" })
            } else if (harness.ask(now)._tag === "Granted") {
              events.push({ at: now, kind: "extra" })
              assert.isAtMost(count("extra"), ratio * count("deposit") + 1e-9, `step ${step}, window ${window}`)
            }
          }
        }),
      200
    )

    it("keeps the traffic that is still inside, within a slot", () => {
      const harness = new Harness()
      const ratio = (window: number) => ({ p: { type: "ratio", ratio: 0.5, window, reserve: noReserve } })
      harness.apply(ratio(10_000))
      harness.answer(20, 1_000)
      harness.answer(20, 9_000)
      harness.apply(ratio(5_000), 9_500)
      assert.strictEqual(harness.take(9_500), 10)
      harness.answer(20, 10_000)
      harness.apply(ratio(60_000), 10_000)
      assert.strictEqual(harness.take(10_000), 10)
      assert.strictEqual(harness.take(50_000), 0)
    })

    it("keeps a grant spent that comes back after the change: nobody knows its slot any more", () => {
      const harness = new Harness()
      const ratio = (window: number) => ({ p: { type: "ratio", ratio: 0.5, window, reserve: noReserve } })
      harness.apply(ratio(10_000))
      harness.answer(4, 1_000)
      const decision = harness.ask(1_000)
      harness.apply(ratio(20_000), 1_000)
      if (decision._tag === "Granted") decision.permit.settle("unused")
      assert.strictEqual(harness.take(1_000), 1)
    })
  })

  describe("a budget that changes its type or its scope", () => {
    it("starts with nothing", () => {
      const rows = [
        [bucket(10), { type: "ratio", reserve: { burst: 10, start: 10, perSecond: 0 } }],
        [{ type: "ratio" }, bucket(10)],
        [bucket(10), { type: "successTokens", maxTokens: 10, tokenRatio: 1 }],
        [bucket(10), { ...bucket(10), scope: "shared" }]
      ] as const
      for (const [before, after] of rows) {
        const harness = new Harness()
        harness.apply({ p: before })
        harness.ask(0)
        harness.apply({ p: after })
        assert.strictEqual(harness.take(0), 0, JSON.stringify(after))
      }
    })

    it("so that a document that changes to and fro fills nothing up", () => {
      const harness = new Harness()
      harness.apply({ p: bucket(10) })
      harness.take(0)
      for (let i = 0; i < 10; i++) {
        harness.apply({ p: { type: "ratio" } })
        assert.strictEqual(harness.take(0), 0)
        harness.apply({ p: bucket(10) })
        assert.strictEqual(harness.take(0), 0)
      }
    })
  })

  describe("a budget that goes", () => {
    it("is what it was when it comes back", () => {
      const harness = new Harness()
      harness.apply({ p: bucket(10) })
      assert.strictEqual(harness.take(0, 7), 7)
      harness.apply({})
      harness.apply({ p: bucket(10) })
      assert.strictEqual(harness.take(0), 3)
    })

    it("is unknown to new policies, and still there for entries that use their last good version", () => {
      const harness = new Harness()
      harness.apply({ p: bucket(10) })
      const before = harness.find("p")
      harness.apply({})
      assert.isFalse(harness.states.has("p"))
      assert.strictEqual(harness.find("p"), before)
    })

    it("is forgotten when too many have gone after it", () => {
      const harness = new Harness()
      for (let i = 0; i <= 200; i++) harness.apply({ [`b${i}`]: bucket(2) })
      harness.apply({})
      assert.isUndefined(harness.find("b0"))
      assert.isDefined(harness.find("b200"))
    })

    it("is not forgotten while it is in force, however many there are", () => {
      const harness = new Harness()
      harness.apply(Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`b${i}`, bucket(2)])))
      assert.isDefined(harness.find("b0"))
    })
  })

  describe("names", () => {
    it("that no document defines have one state for each key, and those that nobody knows have none", () => {
      const harness = new Harness()
      assert.strictEqual(harness.find("default"), harness.find("default"))
      assert.notStrictEqual(harness.find("default"), harness.find("default", "svc.B"))
      assert.isUndefined(harness.find("unknown"))
      assert.deepStrictEqual([...harness.own.get(keyA)!.keys()], ["default"])
    })

    it.effect("of a document come before those that were provided, and after the built-in ones", () =>
      Effect.gen(function*() {
        const registries = yield* Effect.context<never>()
        const harness = new Harness(registries)
        assert.strictEqual(harness.take(0, 3, "p"), 3)
        assert.strictEqual(harness.find("p"), harness.find("p"))
        harness.apply({ p: bucket(1) })
        assert.strictEqual(harness.take(0, 3, "p"), 1)
        harness.apply({})
        assert.strictEqual(harness.take(0, 3, "p"), 3)
        for (const name of ["default", "unlimited", "none", "p"]) assert.isTrue(harness.states.has(name), name)
        assert.isFalse(harness.states.has("q"))
        assert.isUndefined(harness.states.find("q", "k", new Map()))
      }).pipe(Effect.provide(Budget.layer("p", Budget.unlimited))))

    it("say the highest cost that can be granted, of the document that is looked at", () => {
      const harness = new Harness()
      harness.apply({ p: bucket(3) })
      assert.strictEqual(harness.states.sample("p")?.maxCost, 3)
      assert.strictEqual(harness.states.sampleUnder("p", read({ p: bucket(7) })["p"])?.maxCost, 7)
      assert.strictEqual(harness.states.sampleUnder("p", undefined)?.maxCost, 3)
      assert.isUndefined(harness.states.sample("default")?.maxCost)
      assert.isUndefined(harness.states.sample("unknown"))
    })

    it.effect("say it of what is provided, where the document that is looked at defines it no longer", () =>
      Effect.gen(function*() {
        const harness = new Harness(yield* Effect.context<never>())
        harness.apply({ p: bucket(3) })
        assert.strictEqual(harness.states.sample("p")?.maxCost, 3)
        assert.isUndefined(harness.states.sampleUnder("p", undefined)?.maxCost)
        harness.apply({})
        assert.isUndefined(harness.states.sample("p")?.maxCost)
      }).pipe(Effect.provide(Budget.layer("p", Budget.unlimited))))
  })
})
