/** Budgets as calls meet them: who holds a permit and for how long, what a denial does, and what they do to a fleet. */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Budget, Hedge, PolicyLayer, Rego } from "@rego/core"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Random, Schema, Scope } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { TestClock } from "effect/testing"
import { seed as numericSeed, withSeed } from "../arbitraries.ts"
import { stubborn } from "../driver/probes.ts"
import { makeRandom } from "../random.ts"
import type { Counts, Policies } from "../support.ts"
import {
  assertDiesWith,
  assertFailsWith,
  assertSucceedsWith,
  call,
  countingBudget,
  countingSleeps,
  dies,
  fails,
  hangs,
  inVirtualTime,
  key,
  regoErrorOf,
  resilient,
  script,
  succeeds,
  under,
  withBudget
} from "../support.ts"

const settled = ({ again, taken, unused, used }: Counts) => ({ taken, used, unused, again })

const used = (times: number) => ({ taken: times, used: times, unused: 0, again: 0 })
const unused = (times: number) => ({ taken: times, used: 0, unused: times, again: 0 })

const retrying: Policy.Input = {
  retry: { maxAttempts: 3, backoff: Backoff.constant("100 millis", { jitter: "none" }) }
}
const hedging: Policy.Input = {
  hedge: { trigger: Hedge.after("10 millis"), maxHedges: 1, maxFailing: 1 },
  idempotent: true
}

/**
 * A budget that grants at once and takes its time to say so. When nobody waits any more it gives back what it granted: an
 * answer that is interrupted is lost, so nobody else could.
 */
const saysLate = (budget: Budget.Budget, millis: number): Budget.Budget => ({
  ...budget,
  tryAcquire: (request) =>
    Effect.suspend(() => {
      const decision = budget.tryAcquire(request) as Budget.Decision
      return Effect.onInterrupt(
        Effect.as(Effect.sleep(millis), decision),
        () => Effect.sync(() => decision._tag === "Granted" ? decision.permit.settle("unused") : undefined)
      )
    })
})

/** Runs a call until `at`, interrupts it there, and lets everything settle. */
const interruptedAt = (at: number, effect: Effect.Effect<unknown, unknown>, layer: Policies) =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(resilient(effect, key), { startImmediately: true })
    yield* TestClock.adjust(at)
    yield* Fiber.interrupt(fiber)
    yield* TestClock.adjust("1 minute")
  }).pipe((self) => under(self, layer))

describe("a permit", () => {
  describe("is settled used, once, when its attempt", () => {
    it.effect("succeeds", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const ran = yield* call(script(fails("503"), succeeds("ada", 5)).effect, { layer: withBudget(retrying, make) })
        assertSucceedsWith(ran.exit, "ada")
        assert.deepStrictEqual(settled(counts), used(1))
      }))

    it.effect("fails, each of them", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const ran = yield* call(script(fails("503", 5)).effect, { layer: withBudget(retrying, make) })
        assertFailsWith(ran.exit, "503")
        assert.deepStrictEqual(settled(counts), used(2))
      }))

    it.effect("dies", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const ran = yield* call(script(fails("503"), dies("bug", 5)).effect, { layer: withBudget(retrying, make) })
        assertDiesWith(ran.exit, "bug")
        assert.deepStrictEqual(settled(counts), used(1))
      }))

    it.effect("is interrupted with its caller", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const s = script(fails("503"), hangs)
        yield* interruptedAt(150, s.effect, withBudget(retrying, make))
        assert.strictEqual(s.runs, 2)
        assert.deepStrictEqual(settled(counts), used(1))
      }))

    it.effect("is cut by the deadline", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const layer = withBudget({ ...retrying, timeout: { overall: "150 millis" } }, make)
        const ran = yield* call(script(fails("503"), hangs).effect, { layer })
        assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "DeadlineExceeded")
        assert.deepStrictEqual(settled(counts), used(1))
      }))

    it.effect("loses to the primary, and when it wins", () =>
      Effect.gen(function*() {
        for (const [primary, hedge] of [[20, 100], [100, 20]] as const) {
          const { counts, make } = countingBudget()
          const ran = yield* call(script(succeeds("ada", primary), succeeds("ada", hedge)).effect, {
            layer: withBudget(hedging, make)
          })
          assertSucceedsWith(ran.exit, "ada")
          assert.deepStrictEqual(settled(counts), used(1))
        }
      }))

    it.effect("runs on although its layer has closed", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(Layer.orDie(withBudget(retrying, make)), scope)
        const operator = yield* Effect.provide(Rego.makeResilient, context)
        const s = script(fails("503", 10), fails("503", 10), succeeds("ada", 10))
        const operated = operator(key)(s.effect as Effect.Effect<string, string>)
        const fiber = yield* Effect.forkChild(operated, { startImmediately: true })
        yield* TestClock.adjust(50)
        assert.deepStrictEqual(settled(counts), { taken: 1, used: 0, unused: 0, again: 0 })
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust("1 minute")
        assertSucceedsWith(fiber.pollUnsafe()!, "ada")
        assert.deepStrictEqual(settled(counts), used(2))
      }))
  })

  describe("is held", () => {
    it.effect("from before the backoff to the end of the attempt", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const s = script(fails("503", 10), succeeds("ada", 30))
        const at = function*(millis: number) {
          yield* TestClock.adjust(millis)
          return [counts.taken, counts.used, counts.unused]
        }
        yield* Effect.gen(function*() {
          yield* Effect.forkChild(resilient(s.effect, key), { startImmediately: true })
          assert.deepStrictEqual(yield* at(9), [0, 0, 0])
          assert.deepStrictEqual(yield* at(1), [1, 0, 0])
          assert.deepStrictEqual(yield* at(100), [1, 0, 0])
          assert.strictEqual(s.runs, 2)
          assert.deepStrictEqual(yield* at(29), [1, 0, 0])
          assert.deepStrictEqual(yield* at(1), [1, 1, 0])
        }).pipe((self) => under(self, withBudget(retrying, make)))
      }))

    it.effect("until the fiber of an attempt that was given up has ended", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        let runs = 0
        const effect = Effect.suspend(() => ++runs === 1 ? Effect.fail("503") : stubborn(500))
        const policy = {
          ...retrying,
          retry: { ...retrying.retry as object, maxAttempts: 2 },
          timeout: { perAttempt: 20 }
        }
        yield* Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(resilient(effect, key), { startImmediately: true })
          yield* TestClock.adjust(120)
          assert.isDefined(fiber.pollUnsafe())
          assert.deepStrictEqual(settled(counts), { taken: 1, used: 0, unused: 0, again: 0 })
          yield* TestClock.adjust(500)
          assert.deepStrictEqual(settled(counts), used(1))
        }).pipe((self) => under(self, withBudget(policy, make)))
      }))
  })

  describe("is given back unused, once, when its attempt never starts:", () => {
    it.effect("interrupted in the backoff", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const s = script(fails("503"))
        yield* interruptedAt(50, s.effect, withBudget(retrying, make))
        assert.strictEqual(s.runs, 1)
        assert.deepStrictEqual(settled(counts), unused(1))
      }))

    it.effect("interrupted while a budget that takes time thinks", () =>
      Effect.gen(function*() {
        for (const policy of [retrying, hedging]) {
          const { counts, make } = countingBudget()
          const thinks = Effect.map(make, (budget) => saysLate(budget, 100))
          const s = script(policy === hedging ? hangs : fails("503"))
          const layer = withBudget(policy, thinks)
          yield* interruptedAt(50, s.effect, layer)
          assert.strictEqual(s.runs, 1)
          assert.deepStrictEqual(settled(counts), unused(1))
        }
      }))

    it.effect("the deadline passed while a budget that takes time thought", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const slow = Effect.map(make, (budget) => saysLate(budget, 200))
        const layer = withBudget({ ...retrying, timeout: { overall: "150 millis" } }, slow)
        const ran = yield* call(script(fails("503")).effect, { layer })
        assertFailsWith(ran.exit, "503")
        assert.deepStrictEqual(ran.rows.slice(2), [[150, "stop deadline_would_pass"], [150, "failure"]])
        assert.deepStrictEqual(settled(counts), unused(1))
      }))

    it.effect("the other half of all denied it", () =>
      Effect.gen(function*() {
        for (const policy of [retrying, hedging]) {
          const { counts, make } = countingBudget()
          const layer = withBudget(policy, Budget.all(make, Budget.none))
          yield* call(script(policy === hedging ? succeeds("ada", 100) : fails("503")).effect, { layer })
          assert.isAbove(counts.taken, 0)
          assert.deepStrictEqual(settled(counts), unused(counts.taken))
        }
      }))

    it.effect("interrupted while the second half of all thinks", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const layer = withBudget(retrying, Budget.all(make, countingBudget({ takes: 50 }).make))
        yield* interruptedAt(20, script(fails("503")).effect, layer)
        assert.deepStrictEqual(settled(counts), unused(1))
      }))

    it.effect("its group ended while a budget that takes time thought about a hedge", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const slow = Effect.map(make, (budget) => saysLate(budget, 50))
        const s = script(fails("503", 30), succeeds("ada", 100))
        const ran = yield* call(s.effect, { layer: withBudget({ ...hedging, ...retrying }, slow) })
        assertSucceedsWith(ran.exit, "ada")
        // the hedge of the first group was thought about from 10 to 60 ms, and its primary failed at 30 ms
        assert.isAbove(counts.unused, 0)
        assert.strictEqual(counts.taken, counts.used + counts.unused)
        assert.strictEqual(counts.used, s.runs - 1)
        assert.strictEqual(counts.again, 0)
      }))

    it.effect("it became older than the window of the budget, and is asked for again", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget({ window: Duration.millis(60) })
        yield* call(script(fails("503"), succeeds("ada")).effect, { layer: withBudget(retrying, make) })
        assert.deepStrictEqual(settled(counts), { taken: 2, used: 1, unused: 1, again: 0 })
      }))
  })

  // ---------------------------------------------------------------------------
  // everything at once
  // ---------------------------------------------------------------------------

  const integer = (minimum: number, maximum: number) =>
    Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum, maximum })))

  const Scenario = Schema.Struct({
    maxAttempts: integer(1, 4),
    maxHedges: integer(0, 2),
    backoff: integer(0, 40),
    trigger: integer(1, 40),
    perAttempt: Schema.Union([Schema.Undefined, integer(1, 60)]),
    overall: Schema.Union([Schema.Undefined, integer(1, 200)]),
    steps: Schema.NonEmptyArray(Schema.Struct({
      kind: Schema.Literals(["ok", "fail", "die", "hang", "stubborn"]),
      after: integer(0, 60)
    })),
    denies: integer(1, 6),
    takes: Schema.Literals([0, 0, 1, 20]),
    early: Schema.Boolean,
    window: Schema.Union([Schema.Undefined, integer(1, 30)]),
    half: Schema.Literals(["none", "first", "second"]),
    gate: Schema.Boolean,
    at: integer(0, 250)
  })

  const policyOf = (scenario: typeof Scenario.Type): Policy.Input => ({
    retry: { maxAttempts: scenario.maxAttempts, backoff: Backoff.constant(scenario.backoff) },
    hedge: scenario.maxHedges === 0 ? "off" : {
      trigger: Hedge.after(scenario.trigger),
      maxHedges: scenario.maxHedges,
      maxFailing: 1,
      ...(scenario.gate ? { budget: "gate" } : {})
    },
    timeout: { perAttempt: scenario.perAttempt, overall: scenario.overall },
    idempotent: true,
    budget: "own"
  })

  const effectOf = ({ steps }: typeof Scenario.Type) => {
    let runs = 0
    let running = 0
    const step = (n: number): Effect.Effect<unknown, unknown> => {
      const { after, kind } = steps[Math.min(n, steps.length - 1)]!
      const wait = Effect.sleep(after)
      switch (kind) {
        case "ok":
          return Effect.as(wait, n)
        case "fail":
          return Effect.andThen(wait, Effect.fail(n))
        case "die":
          return Effect.andThen(wait, Effect.die(n))
        case "hang":
          return Effect.never
        case "stubborn":
          return stubborn(after)
      }
    }
    return {
      effect: Effect.suspend(() => {
        running++
        return Effect.onExit(step(runs++), () => Effect.sync(() => void running--))
      }),
      runs: () => runs,
      running: () => running
    }
  }

  const counting = (scenario: typeof Scenario.Type, nth: number) => {
    const { counts, make } = countingBudget({
      grants: (asked) => scenario.denies === 1 || (asked + nth) % scenario.denies !== 0,
      ...(scenario.window === undefined ? {} : { window: Duration.millis(scenario.window) })
    })
    const later: Budget.Make = Effect.map(make, (budget): Budget.Budget => ({
      ...budget,
      tryAcquire: (request) => {
        if (scenario.takes === 0) return budget.tryAcquire(request)
        if (scenario.early) return saysLate(budget, scenario.takes).tryAcquire(request)
        const answer = Effect.sync(() => budget.tryAcquire(request) as Budget.Decision)
        return Effect.andThen(Effect.sleep(scenario.takes), answer)
      }
    }))
    return { counts, make: later }
  }

  it.effect.prop(
    "that is taken is settled: random retries, hedges, budgets and instants of interruption",
    { scenario: Arbitrary.schema(Scenario) },
    ({ scenario }) =>
      Effect.gen(function*() {
        const [own, other, gate] = [counting(scenario, 0), counting(scenario, 1), counting(scenario, 2)]
        const recipe = scenario.half === "none"
          ? own.make
          : scenario.half === "first"
          ? Budget.all(own.make, other.make)
          : Budget.all(other.make, own.make)
        const layer = PolicyLayer.make({
          policies: { [key]: policyOf(scenario) },
          limits: { shutdownTimeout: 0 }
        }).pipe(Layer.provide(Budget.layers({ own: recipe, gate: gate.make })))
        const attempts = effectOf(scenario)
        yield* countingSleeps((pending) =>
          Effect.gen(function*() {
            const fiber = yield* Effect.forkChild(resilient(attempts.effect, key), { startImmediately: true })
            yield* TestClock.adjust(scenario.at)
            fiber.interruptUnsafe()
            yield* TestClock.adjust("1 minute")
            assert.isDefined(fiber.pollUnsafe())
            assert.strictEqual(attempts.running(), 0)
            assert.strictEqual(pending(), 0)
            for (const { counts } of [own, other, gate]) {
              assert.strictEqual(counts.taken, counts.used + counts.unused)
              assert.strictEqual(counts.again, 0)
            }
            assert.strictEqual(own.counts.used, Math.max(0, attempts.runs() - 1))
          }).pipe((self) => under(self, layer), Random.withSeed(scenario.at))
        )
      }).pipe(Effect.catchDefect((defect) =>
        Effect.die(new Error(withSeed(defect instanceof Error ? defect.message : String(defect)), { cause: defect }))
      )),
    { arbitrary: { seed: numericSeed, runs: 600 } }
  )
})

describe("one allowance for retries and hedges", () => {
  it.effect("a hedge that was granted is a retry less", () =>
    Effect.gen(function*() {
      const asked: Array<string> = []
      const bucket = Effect.map(Budget.tokenBucket({ capacity: 2, refillPerSecond: 0 }), (budget): Budget.Budget => ({
        ...budget,
        tryAcquire: (request) => {
          asked.push(`${request.kind} ${request.attempt.retry}.${request.attempt.hedge}`)
          return budget.tryAcquire(request)
        }
      }))
      const s = script(fails("503", 30))
      const ran = yield* call(s.effect, { layer: withBudget({ ...hedging, ...retrying }, bucket) })
      assertFailsWith(ran.exit, "503")
      // the hedge of the first group, its retry; no hedge and no retry for the second
      assert.strictEqual(s.runs, 3)
      assert.deepStrictEqual(asked.slice(0, 3), ["hedge 0.1", "retry 1.0", "hedge 1.1"])
      assert.strictEqual(asked.at(-1), "retry 2.0")
    }))

  // as when both attempts wait for the same batch of requests
  it.effect("a call deposits once, even when two of its attempts answer in one tick", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const own: Budget.Make = Effect.succeed({
        tryAcquire: () => ({ _tag: "Granted", permit: { settle: () => {} } }),
        onOutcome: (outcome) => void heard.push(outcome._tag),
        state: Effect.succeed({ balance: 0 })
      })
      const policy: Policy.Input = { idempotent: true, hedge: { trigger: Hedge.after("10 millis"), maxFailing: 1 } }
      const program = Effect.gen(function*() {
        const batch = yield* Deferred.make<string>()
        const fiber = yield* Effect.forkChild(resilient(Deferred.await(batch), key), { startImmediately: true })
        yield* Effect.sleep("50 millis")
        yield* Deferred.succeed(batch, "ada")
        return yield* Fiber.join(fiber)
      })
      const exit = yield* under(inVirtualTime(program), withBudget(policy, own))
      assert.deepStrictEqual([exit, heard], [Exit.succeed("ada"), ["Success"]])
    }))

  it.effect("a caller who leaves while only a hedge runs takes no failure of the dependency back", () =>
    Effect.gen(function*() {
      const heard: Array<string> = []
      const own: Budget.Make = Effect.succeed({
        tryAcquire: () => ({ _tag: "Granted", permit: { settle: () => {} } }),
        onOutcome: (outcome) => void heard.push(outcome._tag),
        state: Effect.succeed({ balance: 0 })
      })
      const policy: Policy.Input = {
        idempotent: true,
        retry: { maxAttempts: 2 },
        hedge: { trigger: Hedge.after("10 millis"), maxFailing: 1 }
      }
      const program = Effect.gen(function*() {
        const s = script(fails("503", 20), hangs)
        const fiber = yield* Effect.forkChild(resilient(s.effect, key), { startImmediately: true })
        yield* Effect.sleep("50 millis")
        yield* Fiber.interrupt(fiber)
        return s.runs
      })
      const exit = yield* under(inVirtualTime(program), withBudget(policy, own))
      // an Abort would take back the request of the first attempt, which has failed; that of a hedge ends with it
      assert.deepStrictEqual([exit, heard], [Exit.succeed(2), ["Retryable"]])
    }))

  it.effect("each kind is charged its own cost", () =>
    Effect.gen(function*() {
      const costs: Array<readonly [string, number]> = []
      const own: Budget.Make = Effect.succeed({
        tryAcquire: ({ cost, kind }) => {
          costs.push([kind, cost])
          return { _tag: "Granted", permit: { settle: () => {} } }
        },
        state: Effect.succeed({ balance: 0 })
      })
      const layer = PolicyLayer.make({
        policies: {
          [key]: {
            retry: { maxAttempts: 2, backoff: Backoff.none },
            hedge: { trigger: Hedge.after("10 millis"), maxFailing: 1 },
            idempotent: true,
            budget: { name: "own", retryCost: 3, hedgeCost: 7 }
          }
        }
      }).pipe(Layer.provide(Budget.layer("own", own)))
      yield* call(script(fails("503", 20)).effect, { layer })
      assert.deepStrictEqual(costs, [["hedge", 7], ["retry", 3], ["hedge", 7]])
    }))

  it.effect("each key has its own: one operation cannot drain another's", () =>
    Effect.gen(function*() {
      const policies = PolicyLayer.make({
        policies: { "svc.*": { retry: { maxAttempts: 2, backoff: Backoff.none }, budget: "own" } }
      }).pipe(Layer.provide(Budget.layer("own", Budget.tokenBucket({ capacity: 3, refillPerSecond: 0 }))))
      const [list, get] = [script(fails("down")), script(fails("down"))]
      yield* inVirtualTime(Effect.gen(function*() {
        for (let i = 0; i < 10; i++) yield* Effect.ignore(resilient(list.effect, "svc.List"))
        for (let i = 0; i < 10; i++) yield* Effect.ignore(resilient(get.effect, "svc.Get"))
      })).pipe((self) => under(self, policies))
      assert.deepStrictEqual([list.runs, get.runs], [13, 13])
    }))

  it.effect("each child has its own, and all of them are within the parent", () =>
    Effect.gen(function*() {
      const bucket = (capacity: number) => Budget.tokenBucket({ capacity, refillPerSecond: 0 })
      const policies = PolicyLayer.make({
        policies: { "svc.*": { retry: { maxAttempts: 2, backoff: Backoff.none }, budget: "own" } }
      }).pipe(Layer.provide(Budget.layer("own", Budget.child(bucket(3), bucket(5)))))
      const scripts = [script(fails("down")), script(fails("down")), script(fails("down"))]
      yield* inVirtualTime(Effect.gen(function*() {
        for (const [n, s] of scripts.entries()) {
          for (let i = 0; i < 10; i++) yield* Effect.ignore(resilient(s.effect, `svc.Method${n}`))
        }
      })).pipe((self) => under(self, policies))
      assert.deepStrictEqual(scripts.map((s) => s.runs), [13, 12, 10])
    }))
})

describe("a denial", () => {
  const denying = (retryAfter?: Duration.Duration): Budget.Make =>
    Effect.succeed({
      tryAcquire: () => ({ _tag: "Denied", reason: "spent", retryAfter }),
      state: Effect.succeed({ balance: 0 })
    })

  it.effect("of a retry ends the call with the last exit, and is in the timeline with its reason and retryAfter", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(fails("503")).effect, {
        layer: withBudget(retrying, denying(Duration.seconds(3)))
      })
      assertFailsWith(ran.exit, "503")
      assert.deepStrictEqual(ran.timeline.decisions.map(({ at: _, ...decision }) => decision), [
        { _tag: "Denied", kind: "retry", budget: "own", reason: "other", detail: "spent", count: 1, retryAfter: 3_000 },
        { _tag: "Stopped", reason: "budget_denied" }
      ])
    }))

  it.effect("of a hedge suppresses the hedge only: what runs goes on and is returned", () =>
    Effect.gen(function*() {
      const s = script(succeeds("ada", 100))
      const ran = yield* call(s.effect, { layer: withBudget(hedging, denying()) })
      assertSucceedsWith(ran.exit, "ada")
      assert.strictEqual(s.runs, 1)
      assert.deepStrictEqual(ran.rows, [
        [0, "start 0"],
        [100, "end 0 Success"],
        [100, "hedge denied by own: spent"],
        [100, "success"]
      ])
    }))

  it.effect("of a hedge leaves a failing call to the retries", () =>
    Effect.gen(function*() {
      const retriesOnly: Budget.Make = Effect.succeed({
        tryAcquire: ({ kind }) =>
          kind === "hedge"
            ? { _tag: "Denied", reason: "spent" }
            : { _tag: "Granted", permit: { settle: () => {} } },
        state: Effect.succeed({ balance: 0 })
      })
      const s = script(fails("503", 50), succeeds("ada"))
      const ran = yield* call(s.effect, { layer: withBudget({ ...hedging, ...retrying }, retriesOnly) })
      assertSucceedsWith(ran.exit, "ada")
      assert.strictEqual(s.runs, 2)
    }))

  it.effect("of a hedge is in the timeline with its retryAfter where it is known", () =>
    Effect.gen(function*() {
      const layer = withBudget(hedging, denying(Duration.seconds(3)))
      const ran = yield* call(script(succeeds("ada", 100)).effect, { layer })
      const [denied] = ran.timeline.decisions
      assert.strictEqual(denied?._tag === "Denied" ? denied.retryAfter : undefined, 3_000)
    }))

  it.effect("of the default budget says when the reserve will hold one more", () =>
    Effect.gen(function*() {
      const s = script(fails("503"))
      const policies = PolicyLayer.make({ policies: { [key]: { retry: { maxAttempts: 10, backoff: Backoff.none } } } })
      const ran = yield* call(s.effect, { layer: policies })
      assert.strictEqual(s.runs, 6)
      const [denied] = ran.timeline.decisions
      assert.deepStrictEqual(
        denied?._tag === "Denied" ? [denied.budget, denied.reason, denied.retryAfter] : undefined,
        ["default", "ratio_exhausted", 10_000]
      )
    }))
})

// -----------------------------------------------------------------------------
// what they do to a fleet
// -----------------------------------------------------------------------------

/** Starts calls at a constant rate for so long, whatever becomes of them, and lets them all end. */
const openLoop = (
  options: { readonly perSecond: number; readonly seconds: number; readonly effect: Effect.Effect<unknown, unknown> },
  onSecond: (second: number) => void = () => {}
) =>
  Effect.gen(function*() {
    const ended = { well: 0, badly: 0 }
    const one = Effect.onExit(resilient(options.effect, key), (exit) =>
      Effect.sync(() => {
        if (Exit.isSuccess(exit)) ended.well++
        else ended.badly++
      }))
    const every = 1_000 / options.perSecond
    const generate = Effect.gen(function*() {
      for (let i = 0; i < options.perSecond * options.seconds; i++) {
        yield* Effect.forkChild(Effect.ignore(one), { startImmediately: true })
        yield* Effect.sleep(every)
      }
      yield* Effect.sleep("10 seconds")
    })
    const fiber = yield* Effect.forkChild(generate, { startImmediately: true })
    for (let second = 1; second <= options.seconds + 11; second++) {
      yield* TestClock.adjust("1 second")
      onSecond(second)
    }
    assert.isDefined(fiber.pollUnsafe())
    return ended
  })

describe("in a total outage", () => {
  const rows = [
    // calls a second, attempts a call in the first 10 s, and over 60 s
    [100, 1.11, 1.02],
    [1, 2.1, 1.3]
  ] as const

  for (const [perSecond, first10, all60] of rows) {
    it.effect(`at ${perSecond} calls/s the default budget allows ${first10} attempts a call, then ${all60}`, () =>
      Effect.gen(function*() {
        let down = false
        let runs = 0
        const effect = Effect.suspend(() => {
          runs++
          return down ? Effect.fail("down") : Effect.succeed("ada")
        })
        const policies = PolicyLayer.make({ policies: { "*": { retry: { maxAttempts: 3 } } } })
        yield* Effect.gen(function*() {
          // a minute of health, so that the reserve is full and the window has deposits
          yield* openLoop({ perSecond, seconds: 60, effect })
          yield* TestClock.adjust("1 minute")
          const healthy = openLoop({ perSecond, seconds: 10, effect })
          yield* healthy
          down = true
          runs = 0
          let in10 = 0
          yield* openLoop({ perSecond, seconds: 60, effect }, (second) => {
            if (second === 10) in10 = runs
          })
          const [a, b] = [in10 / (10 * perSecond), runs / (60 * perSecond)]
          assert.isAtMost(a, first10, "first 10 s")
          assert.isAtMost(b, all60, "60 s")
          assert.isAbove(a, 1, "nothing was retried at all")
        }).pipe((self) => under(self, policies), Random.withSeed(numericSeed))
      }))
  }
})

describe("a latency incident", () => {
  /** Callers' errors in 60 s at 200 calls/s: 2 % transient errors, latency × 3, a hedge after 40 ms. */
  const incident = (keepForRetries: number) =>
    Effect.gen(function*() {
      const random = makeRandom(numericSeed)
      const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
      const latency = () => 3 * 10 * Math.exp(0.5 * normal())
      const effect = Effect.suspend(() =>
        Effect.andThen(
          Effect.sleep(Math.round(latency())),
          random() < 0.02 ? Effect.fail("503") : Effect.succeed("ada")
        )
      )
      const policies = PolicyLayer.make({
        policies: {
          "*": {
            retry: { maxAttempts: 3 },
            hedge: { trigger: Hedge.after("40 millis") },
            idempotent: true,
            budget: "own"
          }
        }
      }).pipe(Layer.provide(Budget.layer("own", Budget.ratio({ keepForRetries }))))
      const { badly, well } = yield* openLoop({ perSecond: 200, seconds: 60, effect }).pipe(
        (self) => under(self, policies),
        Random.withSeed(numericSeed)
      )
      assert.strictEqual(well + badly, 12_000)
      return badly / 12_000
    })

  it.effect(
    "does not become an incident of availability: hedges leave retries their share",
    () =>
      Effect.gen(function*() {
        const [kept, shared] = [yield* incident(0.2), yield* incident(0)]
        const percent = (share: number) => `${(100 * share).toFixed(2)} %`
        console.log(`callers' errors: ${percent(kept)} with keepForRetries 0.2, ${percent(shared)} with 0`)
        assert.isAtMost(kept, 0.003)
        assert.isAbove(shared, 0.01)
      }),
    30_000
  )
})
