import { assert, describe, it } from "@effect/vitest"
import { Budget, Outcome, PolicyKey } from "@rego/core"
import { Cause, Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Scope } from "effect"
import type { Line } from "./support.ts"
import { refusal, withLog } from "./support.ts"

const key = PolicyKey.make("users.Get")

const request: Budget.Request = {
  key,
  kind: "retry",
  cost: 1,
  attempt: { retry: 0, hedge: 0 },
  now: 0,
  random: () => 0.5
}

const decide = (budget: Budget.Budget): Effect.Effect<Budget.Decision> =>
  Effect.suspend(() => {
    const decision = budget.tryAcquire(request)
    return Effect.isEffect(decision) ? decision : Effect.succeed(decision)
  })

const grants = (budget: Budget.Budget, times: number) =>
  Effect.map(
    Effect.replicateEffect(decide(budget), times),
    (decisions) => decisions.filter((decision) => decision._tag === "Granted").length
  )

const registered = (context: Context.Context<never>, name: string): Budget.Registered =>
  Budget.findNamed(context, name) ?? assert.fail(`${name} is not registered`)

const buildLayer = <N>(layer: Layer.Layer<N>) =>
  Effect.map(Layer.build(layer), (context) => context as Context.Context<never>)

/** What `Budget.build` needs: the scope of a layer. */
const scopeOf = Effect.context<Scope.Scope>()

const small = Budget.ratio({ ratio: 0, reserve: { burst: 2, start: 2, perSecond: 0 } })

describe("Budget", () => {
  describe("ratio", () => {
    it.effect("has a ratio of 0.1 of answered calls, a reserve of 5 of 10, and keeps a fifth for retries", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.ratio()
        assert.strictEqual(yield* grants(budget, 20), 5)
        for (let i = 0; i < 100; i++) budget.onOutcome?.(Outcome.success, 0)
        assert.strictEqual(yield* grants(budget, 20), 10)
        assert.deepStrictEqual(budget.window, Duration.seconds(10))
      }))

    it("throws a RangeError that lists every option out of range [B05]", () => {
      const options = {
        ratio: 0.6,
        of: "all",
        window: "1 sec",
        reserve: { burst: 101, start: -1, perSecond: NaN },
        keepForRetries: 2,
        rate: 1
      }
      assert.deepStrictEqual(refusal(() => Budget.ratio(options as unknown as Budget.RatioOptions)).split("\n"), [
        "Budget.ratio: rate: is not a field that is known here, got 1",
        "ratio: must be a number between 0 and 0.5, got 0.6",
        "of: Expected \"successes\" | \"calls\", got \"all\"",
        "window: must be a duration such as \"250 millis\", \"2 seconds\" or a number of milliseconds, got \"1 sec\"",
        "reserve.burst: must be an integer between 0 and 100, got 101",
        "reserve.start: must be an integer between 0 and 100, got -1",
        "reserve.perSecond: must be a number between 0 and 10, got NaN",
        "keepForRetries: must be a number between 0 and 1, got 2"
      ])
    })

    it("refuses NaN and infinities wherever they stand", () => {
      for (const bad of [NaN, Infinity, -Infinity]) {
        const all = {
          ratio: bad,
          window: bad,
          keepForRetries: bad,
          reserve: { burst: bad, start: bad, perSecond: bad }
        }
        assert.lengthOf(refusal(() => Budget.ratio(all)).split("\n"), 6)
      }
    })

    it("accepts the ends of its limits", () => {
      const low = {
        ratio: 0,
        window: "1 second",
        keepForRetries: 0,
        reserve: { burst: 0, start: 0, perSecond: 0 }
      } as const
      const high = {
        ratio: 0.5,
        window: "10 minutes",
        keepForRetries: 1,
        reserve: { burst: 100, start: 100, perSecond: 10 }
      } as const
      assert.isTrue(Effect.isEffect(Budget.ratio(low)))
      assert.isTrue(Effect.isEffect(Budget.ratio(high)))
    })

    it.effect("is a recipe: each run has a state of its own", () =>
      Effect.gen(function*() {
        const [one, two] = [yield* small, yield* small]
        assert.strictEqual(yield* grants(one, 5), 2)
        assert.strictEqual(yield* grants(two, 5), 2)
      }))
  })

  it("each refuses what is out of range under its own name", () => {
    const bad = NaN as never
    const refused: ReadonlyArray<readonly [refused: string, make: () => unknown]> = [
      ["ratio: ratio: must be a number between 0 and 0.5", () => Budget.ratio({ ratio: bad })],
      [
        "tokenBucket: capacity: must be a number between 0.001 and 1000000",
        () => Budget.tokenBucket({ capacity: bad, refillPerSecond: 1 })
      ],
      [
        "successTokens: maxTokens: must be a number between 0.001 and 1000",
        () => Budget.successTokens({ maxTokens: bad, tokenRatio: 1 })
      ],
      ["concurrency: max: must be a number between 0 and 1000000", () => Budget.concurrency({ max: bad })],
      ["adaptiveThrottle: k: must be a number between 1.5 and 10", () => Budget.adaptiveThrottle({ k: bad })]
    ]
    for (const [message, make] of refused) assert.strictEqual(refusal(make), `Budget.${message}, got NaN`)
  })

  describe("the numbers that are not stated", () => {
    it("of a bound on what exists at the same time leave room for 3, or for `max` where that is all it says", () => {
      const bounds = ({ max, min, ratio }: { max?: number; min?: number; ratio?: number }) => {
        const numbers = Budget.boundsOf({ max, min, ratio })
        return [numbers.min, numbers.max, numbers.ratio]
      }
      assert.deepStrictEqual(bounds({ ratio: 0.5 }), [3, Infinity, 0.5])
      assert.deepStrictEqual(bounds({ ratio: 0.5, min: 1, max: 9 }), [1, 9, 0.5])
      assert.deepStrictEqual(bounds({ max: 9 }), [9, 9, 0])
      assert.deepStrictEqual(bounds({ min: 2 }), [2, Infinity, 0])
    })

    it("of a throttle are those of the handbook, with a ceiling of 0.9", () => {
      const stated = { k: 3, window: Duration.seconds(5), maxReject: 0.5, minRequests: 7 }
      assert.deepStrictEqual(Budget.throttleOf(stated), stated)
      assert.deepStrictEqual(Budget.throttleOf({}), {
        k: 2,
        window: Duration.seconds(30),
        maxReject: 0.9,
        minRequests: 20
      })
    })
  })

  describe("unlimited", () => {
    it.effect("grants everything [B02]", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.unlimited
        assert.strictEqual(yield* grants(budget, 1_000), 1_000)
        for (const use of ["used", "unused"] as const) {
          const decision = yield* decide(budget)
          if (decision._tag === "Granted") decision.permit.settle(use)
        }
        assert.deepStrictEqual(yield* budget.state, { balance: Infinity })
      }))
  })

  describe("none", () => {
    it.effect("denies everything", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.none
        assert.deepStrictEqual(yield* decide(budget), { _tag: "Denied", reason: "none" })
        assert.deepStrictEqual(yield* budget.state, { balance: 0 })
      }))
  })

  describe("build", () => {
    it.effect("runs a recipe that takes no time at once", () =>
      Effect.gen(function*() {
        const budget = Budget.build(small, yield* scopeOf)
        assert.isFalse(Effect.isEffect(budget.tryAcquire(request)))
        assert.strictEqual(yield* grants(budget, 5), 1)
      }))

    it.effect("lets who asks wait for a recipe that takes time, and answers from its state afterwards", () =>
      Effect.gen(function*() {
        const ready = yield* Deferred.make<void>()
        const budget = Budget.build(Effect.andThen(Deferred.await(ready), small), yield* scopeOf)
        const asking = yield* Effect.forkChild(grants(budget, 3), { startImmediately: true })
        assert.isUndefined(asking.pollUnsafe())
        yield* Deferred.succeed(ready, undefined)
        assert.strictEqual(yield* Fiber.join(asking), 2)
        assert.strictEqual(yield* grants(budget, 3), 0)
        assert.deepStrictEqual(yield* budget.state, { balance: 0 })
      }))

    it.effect("does not count what happened before such a recipe was done, and counts what happens after", () =>
      Effect.gen(function*() {
        const ready = yield* Deferred.make<void>()
        const recipe = Budget.ratio({ ratio: 0.5, reserve: { burst: 0, start: 0, perSecond: 0 } })
        const budget = Budget.build(Effect.andThen(Deferred.await(ready), recipe), yield* scopeOf)
        const succeed = () => {
          const call: Budget.Call = { key, now: 0, random: () => 0.5 }
          budget.onCall?.(call)
          budget.onOutcome?.(Outcome.success, 0)
          budget.onCallEnd?.(call)
        }
        for (let i = 0; i < 10; i++) succeed()
        yield* Deferred.succeed(ready, undefined)
        assert.strictEqual(yield* grants(budget, 5), 0)
        for (let i = 0; i < 4; i++) succeed()
        assert.strictEqual(yield* grants(budget, 5), 2)
      }))

    it.effect("tells such a budget of the ends of calls whose start it was told of, and of no others", () =>
      Effect.gen(function*() {
        const ready = yield* Deferred.make<void>()
        const heard: Array<string> = []
        const recipe: Budget.Make = Effect.as(Deferred.await(ready), {
          tryAcquire: () => ({ _tag: "Denied", reason: "no" }),
          onCall: () => void heard.push("call"),
          onCallEnd: () => void heard.push("end"),
          window: Duration.seconds(3),
          state: Effect.succeed({ balance: 0 })
        })
        const budget = Budget.build(recipe, yield* scopeOf)
        const call: Budget.Call = { key, now: 0, random: () => 0.5 }
        const begin = () => budget.onCall?.(call)
        const end = () => budget.onCallEnd?.(call)
        for (const step of [begin, begin, end]) step()
        assert.isUndefined(budget.window)
        yield* Deferred.succeed(ready, undefined)
        yield* decide(budget)
        assert.deepStrictEqual(budget.window, Duration.seconds(3))
        for (const step of [begin, end, end, begin, end]) step()
        // the first of these ends is that of a call from before
        assert.deepStrictEqual(heard, ["call", "end", "call", "end"])
        budget.onOutcome?.(Outcome.success, 0)
      }))

    it.effect("asks such a budget for admission as a method of it, once it is there", () =>
      Effect.gen(function*() {
        class Door implements Budget.Budget {
          private readonly said: Budget.Decision = { _tag: "Denied", reason: "shut" }
          readonly state = Effect.succeed({ balance: 0 })

          tryAcquire(): Budget.Decision {
            return this.said
          }

          admit(): Budget.Decision {
            return this.said
          }
        }
        const ready = yield* Deferred.make<void>()
        const budget = Budget.build(Effect.as(Deferred.await(ready), new Door()), yield* scopeOf)
        assert.isUndefined(budget.admit)
        yield* Deferred.succeed(ready, undefined)
        yield* decide(budget)
        assert.deepStrictEqual<unknown>(budget.admit!({ key, now: 0, random: () => 0.5 }), {
          _tag: "Denied",
          reason: "shut"
        })
      }))

    it.effect("asks a budget that answers with an effect", () =>
      Effect.gen(function*() {
        const ready = yield* Deferred.make<void>()
        const remote: Budget.Make = Effect.as(Deferred.await(ready), {
          tryAcquire: () => Effect.succeed<Budget.Decision>({ _tag: "Denied", reason: "remote" }),
          state: Effect.succeed({ balance: 0 })
        })
        const budget = Budget.build(remote, yield* scopeOf)
        yield* Deferred.succeed(ready, undefined)
        assert.deepStrictEqual(yield* decide(budget), { _tag: "Denied", reason: "remote" })
      }))

    for (
      const [what, recipe] of [
        ["at once", Effect.die(new Error("no database"))],
        ["later", Effect.andThen(Effect.yieldNow, Effect.die(new Error("no database")))]
      ] as ReadonlyArray<readonly [string, Budget.Make]>
    ) {
      it.effect(`denies everything when its recipe dies ${what}, and says so in the log`, () =>
        Effect.gen(function*() {
          const lines: Array<Line> = []
          const budget = yield* withLog(Effect.map(scopeOf, (context) => Budget.build(recipe, context)), lines)
          assert.deepStrictEqual(yield* decide(budget), { _tag: "Denied", reason: "budget_defect" })
          assert.deepStrictEqual(
            lines.map(({ level, message }) => [level, message.split("\n")[0]]),
            [["Error", "a budget could not be built Error: no database"]]
          )
          const call: Budget.Call = { key, now: 0, random: () => 0.5 }
          budget.onCall?.(call)
          for (let i = 0; i < 2; i++) budget.onCallEnd?.(call)
          budget.onOutcome?.(Outcome.success, 0)
          assert.deepStrictEqual([budget.admit, budget.window], [undefined, undefined])
          assert.deepStrictEqual(yield* budget.state, { balance: 0 })
        }))
    }
  })

  describe("layer", () => {
    it.effect("keeps a state for each key unless told otherwise: one operation cannot drain another's", () =>
      Effect.gen(function*() {
        const { forKey } = registered(yield* buildLayer(Budget.layer("own", small)), "own")
        assert.strictEqual(yield* grants(forKey(), 5), 2)
        assert.strictEqual(yield* grants(forKey(), 5), 2)
      }))

    it.effect("keeps one state for all keys with scope: shared", () =>
      Effect.gen(function*() {
        const { forKey } = registered(yield* buildLayer(Budget.layer("own", small, { scope: "shared" })), "own")
        assert.strictEqual(yield* grants(forKey(), 1), 1)
        assert.strictEqual(yield* grants(forKey(), 5), 1)
      }))

    it.effect("shares nothing with another build of the same layer", () =>
      Effect.gen(function*() {
        const layer = Budget.layer("own", small, { scope: "shared" })
        const build = Effect.gen(function*() {
          const context = yield* Layer.buildWithMemoMap(layer, yield* Layer.makeMemoMap, yield* Effect.scope)
          return registered(context as Context.Context<never>, "own").forKey()
        })
        const [one, other] = [yield* build, yield* build]
        assert.strictEqual(yield* grants(one, 5), 2)
        assert.strictEqual(yield* grants(other, 5), 2)
      }))

    it.effect("merges with other layers; names that nobody registered are unknown [B09]", () =>
      Effect.gen(function*() {
        const context = yield* buildLayer(
          Layer.merge(Budget.layer("one", small), Budget.layers({ two: small, three: small }))
        )
        for (const name of ["one", "two", "three"]) assert.isDefined(Budget.findNamed(context, name))
        for (const name of ["", "four", "default", "constructor"]) assert.isUndefined(Budget.findNamed(context, name))
      }))

    it.effect("gives the recipe its services, and closes what it opened with the layer", () =>
      Effect.gen(function*() {
        class Size extends Context.Service<Size, number>()("test/Size") {}
        const log: Array<string> = []
        const recipe = Effect.gen(function*() {
          const burst = yield* Size
          yield* Effect.addFinalizer(() => Effect.sync(() => log.push("closed")))
          return yield* Budget.ratio({ ratio: 0, reserve: { burst, start: burst, perSecond: 0 } })
        })
        const scope = yield* Scope.make()
        const layer = Layer.provide(Budget.layer("own", recipe), Layer.succeed(Size, 3))
        const context = yield* Layer.buildWithScope(layer, scope)
        const { forKey } = registered(context as Context.Context<never>, "own")
        assert.strictEqual(yield* grants(forKey(), 5), 3)
        forKey()
        assert.deepStrictEqual(log, [])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(log, ["closed", "closed"])
      }))

    it.effect("fails to build when the recipe of a shared budget dies", () =>
      Effect.gen(function*() {
        const dying: Budget.Make = Effect.die(new Error("no database"))
        const exit = yield* Effect.exit(Layer.build(Budget.layer("own", dying, { scope: "shared" })))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }))

    it("refuses the names default, unlimited and none", () => {
      for (const name of ["default", "unlimited", "none"]) {
        assert.strictEqual(refusal(() => Budget.layer(name, small)), `Budget.layer: ${name} cannot be redefined`)
      }
      const taken = { own: small, none: small, default: small }
      assert.strictEqual(refusal(() => Budget.layers(taken)), "Budget.layer: none, default cannot be redefined")
    })
  })
})
