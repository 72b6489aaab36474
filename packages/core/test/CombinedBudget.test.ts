import { assert, describe, it } from "@effect/vitest"
import { Budget, Outcome } from "@rego/core"
import { Context, Deferred, Duration, Effect, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import { CombinedBudget } from "../src/CombinedBudget.ts"
import { callOf, decide, decideLater, denialOf, grants, outcomes, permitOf, requestOf, take } from "./budgetSupport.ts"
import { budgetLaws } from "./laws.ts"
import { countingBudget } from "./support.ts"

const bucket = (capacity: number) => Budget.tokenBucket({ capacity, refillPerSecond: 0 })

const dies: Budget.Budget = {
  tryAcquire: () => {
    throw new Error("tryAcquire")
  },
  state: Effect.succeed({ balance: 0 })
}

const counted = (options?: Parameters<typeof countingBudget>[0]) => {
  const { counts, make } = countingBudget(options)
  return { counts, budget: Effect.runSync(make as Effect.Effect<Budget.Budget>) }
}

const denies = () => counted({ grants: () => false })

/** Names of one layer, each with the budget of a new key whenever it is asked. */
const built = <N>(layer: Layer.Layer<N>) =>
  Effect.map(
    Layer.build(layer),
    (context) => (name: string) =>
      Budget.findNamed(context as Context.Context<never>, name)?.forKey() ?? assert.fail(`${name} is not registered`)
  )

describe("CombinedBudget", () => {
  budgetLaws("all", Budget.all(Budget.tokenBucket({ capacity: 20, refillPerSecond: 1 }), Budget.ratio()))
  budgetLaws("all of buckets that take time", Budget.all(countedBucket(5), countedBucket(8)))
  budgetLaws("child", Budget.child(bucket(7), bucket(12)))

  describe("all", () => {
    it.effect("grants what both grant", () =>
      Effect.gen(function*() {
        assert.strictEqual(grants(yield* Budget.all(bucket(3), bucket(5)), 10), 3)
        assert.strictEqual(grants(yield* Budget.all(bucket(5), bucket(3)), 10), 3)
      }))

    it("can hold no more than the smaller half can, and as long as the shorter window says", () => {
      const half = (maxCost: number | undefined, millis: number | undefined): Budget.Budget => ({
        ...counted().budget,
        maxCost,
        window: millis === undefined ? undefined : Duration.millis(millis)
      })
      const rows = [[2, 5, 2], [5, 2, 2], [undefined, 5, 5], [2, undefined, 2], [
        undefined,
        undefined,
        undefined
      ]] as const
      for (const [first, second, expected] of rows) {
        const combined = new CombinedBudget(half(first, first), half(second, second))
        assert.strictEqual(combined.maxCost, expected)
        assert.deepStrictEqual(combined.window, expected === undefined ? undefined : Duration.millis(expected))
      }
    })

    it.effect("a refusal of a first half that has a name carries it, whether it takes time or not", () =>
      Effect.gen(function*() {
        const later = counted({ grants: () => false, takes: 1 })
        for (const { budget } of [denies(), later]) {
          const named = new CombinedBudget(budget, counted().budget, "load").tryAcquire(requestOf())
          const fiber = yield* Effect.forkChild(Effect.isEffect(named) ? named : Effect.succeed(named), {
            startImmediately: true
          })
          yield* TestClock.adjust(1)
          assert.deepStrictEqual<object>(yield* Fiber.join(fiber), {
            _tag: "Denied",
            reason: "counted",
            budget: "load"
          })
        }
        const silent = decide(new CombinedBudget(denies().budget, counted().budget))
        assert.notProperty(silent, "budget")
        assert.notProperty(decide(new CombinedBudget(counted().budget, denies().budget, "load")), "budget")
        assert.strictEqual(decide(new CombinedBudget(counted().budget, counted().budget, "load"))._tag, "Granted")
      }))

    it("listens to calls only where a part does", () => {
      const deaf = new CombinedBudget(counted().budget, counted().budget)
      assert.deepStrictEqual([deaf.onCall, deaf.onCallEnd, deaf.onOutcome], [undefined, undefined, undefined])
    })

    it("settles both halves of a permit, once each", () => {
      for (const use of ["used", "unused"] as const) {
        const [one, two] = [counted(), counted()]
        const permit = take(new CombinedBudget(one.budget, two.budget))
        permit.settle(use)
        for (const { counts } of [one, two]) {
          assert.deepStrictEqual([counts.taken, counts[use], counts.again], [1, 1, 0])
        }
      }
    })

    it("gives back what the first granted when the second denies, with the reason of the second", () => {
      const [one, two] = [counted(), denies()]
      const denial = denialOf(decide(new CombinedBudget(one.budget, two.budget)))
      assert.strictEqual(denial.reason, "counted")
      assert.deepStrictEqual([one.counts.taken, one.counts.unused, one.counts.used], [1, 1, 0])
    })

    it("does not ask the second when the first denies", () => {
      const [one, two] = [denies(), counted()]
      denialOf(decide(new CombinedBudget(one.budget, two.budget)))
      assert.strictEqual(two.counts.asked, 0)
    })

    it("gives back what the first granted when the second has a defect", () => {
      const one = counted()
      assert.throws(() => decide(new CombinedBudget(one.budget, dies)), "tryAcquire")
      assert.deepStrictEqual([one.counts.taken, one.counts.unused], [1, 1])
    })

    it("settles the second half when the first has a defect", () => {
      const two = counted()
      const broken: Budget.Budget = {
        tryAcquire: () => ({
          _tag: "Granted",
          permit: {
            settle: () => {
              throw new Error("settle")
            }
          }
        }),
        state: Effect.succeed({ balance: 1 })
      }
      const permit = take(new CombinedBudget(broken, two.budget))
      assert.throws(() => permit.settle("used"), "settle")
      assert.strictEqual(two.counts.used, 1)
    })

    it("lets both hear of calls and outcomes, even when one has a defect", () => {
      const heard: Array<string> = []
      const hears = (name: string, fails: boolean): Budget.Budget => {
        const hear = (what: string) => () => {
          heard.push(`${name} ${what}`)
          if (fails) throw new Error(name)
        }
        return {
          tryAcquire: () => ({ _tag: "Denied", reason: "no" }),
          onCall: hear("call"),
          onCallEnd: hear("end"),
          onOutcome: hear("outcome"),
          state: Effect.succeed({ balance: 0 })
        }
      }
      const budget = new CombinedBudget(hears("one", true), hears("two", false))
      assert.throws(() => budget.onCall?.(callOf()), Error, "one")
      assert.throws(() => budget.onCallEnd?.(callOf()), Error, "one")
      assert.throws(() => budget.onOutcome?.(Outcome.success, 0), Error, "one")
      assert.deepStrictEqual(heard, ["one call", "two call", "one end", "two end", "one outcome", "two outcome"])
    })

    it.effect("lets a parent that both halves have hear of a call once", () =>
      Effect.gen(function*() {
        const heard: Array<string> = []
        const parent: Budget.Make = Effect.succeed({
          tryAcquire: () => ({ _tag: "Denied", reason: "no" }),
          onCall: () => void heard.push("call"),
          onCallEnd: () => void heard.push("end"),
          onOutcome: (outcome) => void heard.push(outcome._tag),
          state: Effect.succeed({ balance: 0 })
        })
        const find = yield* built(Budget.layers({
          a: Budget.child(bucket(1), parent),
          b: Budget.all(bucket(1), Budget.child(Budget.unlimited, parent))
        }))
        // as a policy has them whose budget is one and whose hedge.budget is the other
        const budget = new CombinedBudget(find("a"), find("b"))
        budget.onCall?.(callOf())
        budget.onOutcome?.(Outcome.success, 0)
        budget.onCallEnd?.(callOf())
        assert.deepStrictEqual(heard, ["call", "Success", "end"])
      }))

    it.effect("has the smaller balance, and the shorter window", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.all(bucket(3), Budget.ratio({ window: "5 seconds" }))
        assert.deepStrictEqual(yield* budget.state, { balance: 3 })
        assert.deepStrictEqual(budget.window, Duration.seconds(5))
        const both = yield* Budget.all(Budget.ratio({ window: "5 seconds" }), Budget.ratio({ window: "2 seconds" }))
        assert.deepStrictEqual(both.window, Duration.seconds(2))
        assert.isUndefined((yield* Budget.all(bucket(1), bucket(1))).window)
      }))

    it.effect("gates first attempts only where a half does", () =>
      Effect.gen(function*() {
        assert.isUndefined((yield* Budget.all(bucket(1), bucket(1))).admit)
        const throttle = Budget.adaptiveThrottle()
        const refuses = { ...callOf(), random: () => 0 }
        for (const recipe of [Budget.all(throttle, bucket(1)), Budget.all(bucket(1), throttle)]) {
          const budget = yield* recipe
          const admit = () => {
            const decision = budget.admit!(refuses)
            return Effect.isEffect(decision) ? assert.fail("takes time") : decision
          }
          assert.strictEqual(admit()._tag, "Granted")
          for (let i = 0; i < 30; i++) {
            admit()
            outcomes(budget, Outcome.retryable({ reason: "http_503" }), 1)
          }
          assert.strictEqual(denialOf(admit()).reason, "throttled")
        }
      }))

    it("asks a half for admission that is a class, as a method of it", () => {
      class Door implements Budget.Budget {
        private readonly open: boolean
        readonly state = Effect.succeed({ balance: 0 })
        constructor(open: boolean) {
          this.open = open
        }

        tryAcquire(): Budget.Decision {
          return this.admit()
        }

        admit(): Budget.Decision {
          return this.open
            ? { _tag: "Granted", permit: { settle: () => {} } }
            : { _tag: "Denied", reason: "shut" }
        }
      }
      const answerOf = (first: Budget.Budget, second: Budget.Budget) => {
        const decision = new CombinedBudget(first, second).admit!(callOf())
        return Effect.isEffect(decision) ? assert.fail("takes time") : decision._tag
      }
      assert.strictEqual(answerOf(new Door(true), counted().budget), "Granted")
      assert.strictEqual(answerOf(counted().budget, new Door(true)), "Granted")
      assert.strictEqual(answerOf(new Door(true), new Door(true)), "Granted")
      assert.strictEqual(answerOf(new Door(true), new Door(false)), "Denied")
    })

    it("takes what is no decision for no grant, and gives back what the other half granted", () => {
      for (const answer of [{}, undefined, "yes"]) {
        const untyped: Budget.Budget = { tryAcquire: () => answer as never, state: Effect.succeed({ balance: 0 }) }
        const one = counted()
        assert.strictEqual(decide(new CombinedBudget(one.budget, untyped)), answer)
        assert.deepStrictEqual([one.counts.taken, one.counts.unused, one.counts.again], [1, 1, 0])
        assert.strictEqual(decide(new CombinedBudget(untyped, one.budget, "load")), answer)
        assert.strictEqual(one.counts.asked, 1)
      }
    })

    it("gives an admission back when the second half refuses it", () => {
      const one = counted()
      const two = denies()
      const admits = ({ budget }: { readonly budget: Budget.Budget }): Budget.Budget => ({
        ...budget,
        admit: () => budget.tryAcquire(requestOf())
      })
      const decision = new CombinedBudget(admits(one), admits(two)).admit!(callOf())
      assert.isTrue(!Effect.isEffect(decision) && decision._tag === "Denied")
      assert.deepStrictEqual([one.counts.taken, one.counts.unused], [1, 1])
    })
  })

  describe("halves that take time", () => {
    const held = (answer: Deferred.Deferred<Budget.Decision>): Budget.Budget => ({
      tryAcquire: () => Deferred.await(answer),
      state: Effect.succeed({ balance: 1 })
    })

    for (const order of ["first", "second"] as const) {
      it.effect(`grants when the ${order} answers later`, () =>
        Effect.gen(function*() {
          const answer = yield* Deferred.make<Budget.Decision>()
          const quick = counted()
          const slow = held(answer)
          const budget = order === "first"
            ? new CombinedBudget(slow, quick.budget)
            : new CombinedBudget(quick.budget, slow)
          const fiber = yield* Effect.forkChild(decideLater(budget), { startImmediately: true })
          assert.isUndefined(fiber.pollUnsafe())
          const uses: Array<string> = []
          yield* Deferred.succeed(answer, { _tag: "Granted", permit: { settle: (use) => uses.push(use) } })
          permitOf(yield* Fiber.join(fiber)).settle("used")
          assert.deepStrictEqual(uses, ["used"])
          assert.deepStrictEqual([quick.counts.taken, quick.counts.used, quick.counts.unused], [1, 1, 0])
        }))
    }

    it.effect("holds the first grant while the second thinks, and gives it back when that denies", () =>
      Effect.gen(function*() {
        const answer = yield* Deferred.make<Budget.Decision>()
        const one = counted()
        const fiber = yield* Effect.forkChild(decideLater(new CombinedBudget(one.budget, held(answer))), {
          startImmediately: true
        })
        assert.deepStrictEqual([one.counts.taken, one.counts.unused], [1, 0])
        yield* Deferred.succeed(answer, { _tag: "Denied", reason: "remote", retryAfter: Duration.seconds(1) })
        const denial = denialOf(yield* Fiber.join(fiber))
        assert.deepStrictEqual([denial.reason, denial.retryAfter], ["remote", Duration.seconds(1)])
        assert.deepStrictEqual([one.counts.unused, one.counts.used, one.counts.again], [1, 0, 0])
      }))

    for (const takes of [0, 5]) {
      it.effect(`gives the first grant back when it is interrupted while the second thinks, after ${takes} ms`, () =>
        Effect.gen(function*() {
          const one = counted({ takes: 0 })
          const fiber = yield* Effect.forkChild(
            decideLater(new CombinedBudget(one.budget, held(yield* Deferred.make<Budget.Decision>()))),
            { startImmediately: true }
          )
          assert.strictEqual(one.counts.taken, 1)
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual([one.counts.unused, one.counts.again], [1, 0])
        }))
    }

    it.effect("gives the first grant back when the second dies", () =>
      Effect.gen(function*() {
        const one = counted()
        const dying: Budget.Budget = { ...dies, tryAcquire: () => Effect.andThen(Effect.yieldNow, Effect.die("redis")) }
        const exit = yield* Effect.exit(decideLater(new CombinedBudget(one.budget, dying)))
        assert.strictEqual(exit._tag, "Failure")
        assert.deepStrictEqual([one.counts.unused, one.counts.again], [1, 0])
      }))

    it.effect("gives the first grant back when the second has a defect after the first took time", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const one = yield* make
        const later: Budget.Budget = {
          ...one,
          tryAcquire: (request) => Effect.andThen(Effect.yieldNow, Effect.sync(() => decide(one, request)))
        }
        const exit = yield* Effect.exit(decideLater(new CombinedBudget(later, dies)))
        assert.strictEqual(exit._tag, "Failure")
        assert.deepStrictEqual([counts.taken, counts.unused, counts.again], [1, 1, 0])
      }))
  })

  describe("child", () => {
    const parent = bucket(5)

    it.effect("has a state for each key: one operation cannot drain another's", () =>
      Effect.gen(function*() {
        const forKey = yield* built(Budget.layer("own", Budget.child(bucket(3), bucket(100))))
        const [get, list] = [forKey("own"), forKey("own")]
        assert.strictEqual(grants(get, 10), 3)
        assert.strictEqual(grants(list, 10), 3)
      }))

    it.effect("keeps all keys together within the parent", () =>
      Effect.gen(function*() {
        const forKey = yield* built(Budget.layer("own", Budget.child(bucket(3), parent)))
        const keys = [forKey("own"), forKey("own"), forKey("own")] as const
        assert.deepStrictEqual(keys.map((budget) => grants(budget, 10)), [3, 2, 0])
      }))

    it.effect("takes nothing of its own when the parent denies", () =>
      Effect.gen(function*() {
        const forKey = yield* built(Budget.layer("own", Budget.child(bucket(3), parent)))
        const [get, list] = [forKey("own"), forKey("own")]
        const permits = [...Array(3)].map(() => take(get))
        assert.strictEqual(grants(list, 10), 2)
        permits[0]!.settle("unused")
        assert.strictEqual(grants(list, 10), 1)
        assert.deepStrictEqual(yield* list.state, { balance: 0 })
      }))

    it.effect("has one parent for all names of a layer, in both scopes", () =>
      Effect.gen(function*() {
        for (const scope of ["key", "shared"] as const) {
          const forKey = yield* built(
            Budget.layers({ one: Budget.child(bucket(3), parent), two: Budget.child(bucket(4), parent) }, { scope })
          )
          assert.deepStrictEqual([grants(forKey("one"), 10), grants(forKey("two"), 10)], [3, 2], scope)
        }
      }))

    it.effect("has another parent in another layer", () =>
      Effect.gen(function*() {
        const layer = Budget.layer("own", Budget.child(bucket(4), parent))
        const one = yield* built(layer)
        const two = yield* built(Layer.fresh(layer))
        assert.deepStrictEqual([grants(one("own"), 10), grants(two("own"), 10)], [4, 4])
      }))

    it.effect("builds its parent once, even one that takes time while several keys are first seen", () =>
      Effect.gen(function*() {
        let builds = 0
        const slow: Budget.Make = Effect.gen(function*() {
          builds++
          yield* Effect.yieldNow
          return yield* bucket(5)
        })
        const forKey = yield* built(Budget.layer("own", Budget.child(bucket(3), slow)))
        const keys = [forKey("own"), forKey("own"), forKey("own")] as const
        const granted = yield* Effect.forEach(keys, (budget) =>
          Effect.map(
            Effect.replicateEffect(decideLater(budget), 10),
            (decisions) => decisions.filter(({ _tag }) => _tag === "Granted").length
          ))
        assert.strictEqual(builds, 1)
        assert.deepStrictEqual(granted, [3, 2, 0])
      }))

    it.effect("may have a parent that has one itself", () =>
      Effect.gen(function*() {
        const region = Budget.child(bucket(4), bucket(6))
        const forKey = yield* built(Budget.layers({
          get: Budget.child(bucket(3), region),
          list: Budget.child(bucket(3), region)
        }))
        assert.deepStrictEqual([grants(forKey("get"), 9), grants(forKey("list"), 9)], [3, 1])
      }))
  })
})

/** A bucket that answers after a step of the scheduler. */
function countedBucket(capacity: number): Budget.Make {
  return Effect.map(bucket(capacity), (budget): Budget.Budget => ({
    ...budget,
    tryAcquire: (request) => Effect.andThen(Effect.yieldNow, decideLater(budget, request))
  }))
}
