import { assert, describe, it } from "@effect/vitest"
import { Backoff, Rego, Timeline } from "@rego/core"
import type { Budget, PolicyProvider } from "@rego/core"
import { Duration, Effect, Fiber, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  describeExit,
  Fibers,
  Flaky,
  fork,
  key,
  Permits,
  policies,
  policiesWith,
  Sleeps,
  slowToStop,
  stubborn
} from "./probes.ts"

const constant = (millis: number) => Backoff.constant(millis, { jitter: "none" })

/** Runs a call, interrupts it after `at`, and tells how many milliseconds the interruption took. */
const interruptAfter = <A, E>(at: number, call: Effect.Effect<A, E, PolicyProvider.PolicyProvider>) =>
  Effect.gen(function*() {
    const caller = yield* fork(call)
    yield* TestClock.adjust(at)
    assert.isUndefined(caller.pollUnsafe(), "the call has ended before it could be interrupted")
    const interrupting = yield* fork(Fiber.interrupt(caller))
    let took = 0
    while (interrupting.pollUnsafe() === undefined && took < 1_000) {
      yield* TestClock.adjust(1)
      took++
    }
    assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
    return took
  })

const failing = (millis: number) => new Flaky(99, millis)

describe("Executor", () => {
  describe("interrupting the caller", () => {
    interface Phase {
      readonly name: string
      readonly policy?: Parameters<typeof policiesWith>[0]
      readonly budget?: (permits: Permits) => Partial<Budget.Budget>
      readonly attempt: () => { readonly runs: number; readonly effect: Effect.Effect<unknown, unknown> }
      readonly at: number
      /** how long the caller waits for what it was doing */
      readonly waits: number
      /** how many attempts had started */
      readonly runs: number
    }
    /** Runs the first effect in the first attempt, the second in the others, and counts. */
    class Script {
      runs = 0
      readonly effect: Effect.Effect<unknown, unknown>
      constructor(first: Effect.Effect<unknown, unknown>, then: Effect.Effect<unknown, unknown> = first) {
        this.effect = Effect.suspend(() => ++this.runs === 1 ? first : then)
      }
    }
    const retry = { maxAttempts: 4, backoff: constant(50) }
    const timeout = { perAttempt: "500 millis", overall: "10 seconds" } as const
    const step = (effect: Effect.Effect<unknown>) =>
      Schedule.fromStep(
        Effect.succeed(() => Effect.as(effect, [0, Duration.zero] as [number, Duration.Duration]))
      )
    const denied: Budget.Decision = { _tag: "Denied", reason: "no" }

    const phases: ReadonlyArray<Phase> = [
      { name: "in an attempt", attempt: () => new Script(Effect.never), at: 10, waits: 0, runs: 1 },
      {
        name: "in an attempt that takes 30 ms to stop",
        attempt: () => new Script(slowToStop(30)),
        at: 10,
        waits: 30,
        runs: 1
      },
      {
        name: "in an attempt that cannot be interrupted",
        attempt: () => new Script(stubborn(40)),
        at: 10,
        waits: 30,
        runs: 1
      },
      { name: "in a retry", attempt: () => failing(20), at: 80, waits: 0, runs: 2 },
      { name: "in a backoff", attempt: () => failing(20), at: 30, waits: 0, runs: 1 },
      {
        name: "in a step of a schedule",
        policy: { retry: { backoff: step(Effect.never) } },
        attempt: () => failing(0),
        at: 10,
        waits: 0,
        runs: 1
      },
      {
        name: "in a step of a schedule that takes 30 ms to stop",
        policy: { retry: { backoff: step(slowToStop(30)) } },
        attempt: () => failing(0),
        at: 10,
        waits: 30,
        runs: 1
      },
      {
        name: "in an answer of the budget",
        budget: () => ({ tryAcquire: () => Effect.never }),
        attempt: () => failing(0),
        at: 10,
        waits: 0,
        runs: 1
      },
      {
        name: "in an answer of the budget that cannot be interrupted",
        budget: () => ({ tryAcquire: () => Effect.uninterruptible(Effect.as(Effect.sleep(40), denied)) }),
        attempt: () => failing(0),
        at: 10,
        waits: 30,
        runs: 1
      },
      {
        name: "in an admission",
        budget: () => ({ admit: () => Effect.never }),
        attempt: () => failing(0),
        at: 10,
        waits: 0,
        runs: 0
      },
      {
        name: "in an admission that takes 30 ms to stop",
        budget: () => ({ admit: () => slowToStop(30) }),
        attempt: () => failing(0),
        at: 10,
        waits: 30,
        runs: 0
      },
      {
        name: "in an attempt after an admission",
        budget: (permits) => ({ admit: permits.grant }),
        attempt: () => new Script(slowToStop(30)),
        at: 10,
        waits: 30,
        runs: 1
      },
      {
        name: "in a backoff, with an attempt given up before that still runs",
        policy: { idempotent: true, timeout: { perAttempt: 20 } },
        attempt: () => new Script(stubborn(500)),
        at: 30,
        waits: 0,
        runs: 1
      },
      {
        name: "in a retry that takes 30 ms to stop, with an attempt given up before that still runs",
        policy: { idempotent: true, timeout: { perAttempt: 20 } },
        attempt: () => new Script(stubborn(500), slowToStop(30)),
        at: 75,
        waits: 30,
        runs: 2
      },
      {
        name: "in a retry that takes 30 ms to stop, with an attempt given up before that ends meanwhile",
        policy: { idempotent: true, timeout: { perAttempt: 20 } },
        attempt: () => new Script(stubborn(85), slowToStop(30)),
        at: 75,
        waits: 30,
        runs: 2
      }
    ]

    for (const { at, attempt, budget, name, policy, runs, waits } of phases) {
      it.effect(`${name}: takes ${waits} ms, nothing starts after it, permits are settled, nothing is left`, () => {
        const permits = new Permits()
        const fibers = new Fibers()
        const sleeps = new Sleeps()
        return Effect.gen(function*() {
          const before = fibers.live
          const script = attempt()
          assert.strictEqual(yield* interruptAfter(at, Rego.resilient(script.effect, key)), waits)
          yield* TestClock.adjust("1 second")
          assert.strictEqual(script.runs, runs)
          assert.deepStrictEqual([permits.open, permits.settledTwice], [0, 0])
          assert.strictEqual(sleeps.pending, 0)
          assert.strictEqual(fibers.live, before)
        }).pipe(
          Effect.provide(
            policiesWith({ retry, timeout, ...policy }, { tryAcquire: permits.grant, ...budget?.(permits) })
          ),
          fibers.watch,
          sleeps.watch
        )
      })
    }

    it.effect("gives the permit of a backoff back at once", () => {
      const permits = new Permits()
      return Effect.gen(function*() {
        yield* interruptAfter(10, Rego.resilient(failing(0).effect, key))
        assert.deepStrictEqual(permits.counts, { granted: 1, used: 0, unused: 1, twice: 0 })
      }).pipe(Effect.provide(policiesWith({ retry }, { tryAcquire: permits.grant })))
    })

    it.effect("settles the permit of an attempt in flight as used, when the attempt has ended", () => {
      const permits = new Permits()
      let runs = 0
      const attempt = Effect.suspend(() => runs++ === 0 ? Effect.fail("no") : slowToStop(30))
      return Effect.gen(function*() {
        const caller = yield* fork(Rego.resilient(attempt, key))
        yield* TestClock.adjust(60)
        const interrupting = yield* fork(Fiber.interrupt(caller))
        yield* TestClock.adjust(29)
        assert.strictEqual(permits.open, 1)
        yield* TestClock.adjust(1)
        assert.isDefined(interrupting.pollUnsafe())
        assert.deepStrictEqual(permits.counts, { granted: 1, used: 1, unused: 0, twice: 0 })
      }).pipe(Effect.provide(policiesWith({ retry }, { tryAcquire: permits.grant })))
    })

    it.effect("a grant made by the very step that ends the call is settled unused", () => {
      const permits = new Permits()
      let caller: Fiber.Fiber<unknown, unknown> | undefined
      const tryAcquire = () =>
        Effect.sync(() => {
          caller?.interruptUnsafe()
          return permits.grant()
        })
      return Effect.gen(function*() {
        caller = yield* fork(Rego.resilient(failing(5).effect, key))
        yield* TestClock.adjust(5)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
        assert.deepStrictEqual(permits.counts, { granted: 1, used: 0, unused: 1, twice: 0 })
      }).pipe(Effect.provide(policiesWith({ retry }, { tryAcquire })))
    })

    it.effect("a question to the budget that is interrupted can take its grant back itself", () => {
      const permits = new Permits()
      const tryAcquire = () =>
        Effect.suspend(() => {
          const decision = permits.grant()
          return Effect.onInterrupt(Effect.as(Effect.sleep(40), decision), () =>
            Effect.sync(() => decision._tag === "Granted" && decision.permit.settle("unused")))
        })
      return Effect.gen(function*() {
        yield* interruptAfter(10, Rego.resilient(failing(0).effect, key))
        assert.deepStrictEqual(permits.counts, { granted: 1, used: 0, unused: 1, twice: 0 })
      }).pipe(Effect.provide(policiesWith({ retry }, { tryAcquire })))
    })

    it.effect("closes the scope of the attempt in flight and waits for it, not for scopes that were left before", () => {
      const events: Array<string> = []
      let runs = 0
      const attempt = Effect.suspend(() => {
        const run = ++runs
        const closing = Effect.andThen(
          Effect.sleep(run === 1 ? 300 : 30),
          Effect.sync(() => void events.push(`closed ${run}`))
        )
        return Effect.addFinalizer(() => closing).pipe(Effect.andThen(run === 1 ? Effect.fail("no") : Effect.never))
      })
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const call = Effect.provideService(Rego.resilient(attempt, key), Scope.Scope, scope)
        assert.strictEqual(yield* interruptAfter(60, call), 30)
        assert.deepStrictEqual(events, ["closed 2"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(events, ["closed 2", "closed 1"])
      }).pipe(Effect.provide(policies({ retry })))
    })

    it.effect("does not wait for the scope of an attempt that was given up and ends meanwhile", () => {
      let runs = 0
      const attempt = Effect.suspend(() =>
        ++runs === 1
          ? Effect.andThen(Effect.addFinalizer(() => Effect.sleep(300)), stubborn(85))
          : slowToStop(30)
      )
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const call = Effect.provideService(Rego.resilient(attempt, key), Scope.Scope, scope)
        assert.strictEqual(yield* interruptAfter(75, call), 30)
        yield* TestClock.adjust("1 second")
      }).pipe(Effect.provide(policies({ retry, idempotent: true, timeout: { perAttempt: 20 } })))
    })

    it.effect("is written down: the attempt was ended by the caller, and so was the call", () =>
      Effect.gen(function*() {
        const [, timelines] = yield* Timeline.capture(
          Effect.exit(Effect.andThen(
            fork(Rego.resilient(Effect.never, key)),
            (caller) => Effect.andThen(TestClock.adjust(10), Fiber.interrupt(caller))
          ))
        )
        const [timeline] = timelines
        assert.deepStrictEqual(timeline?.attempts.map((attempt) => attempt.endedBy), ["interrupted_caller"])
        assert.strictEqual(timeline?.result, "interrupted")
        assert.deepStrictEqual(timeline?.decisions, [{ _tag: "Stopped", at: 10, reason: "interrupted" }])
      }).pipe(Effect.provide(policies({ retry }))))

    it.effect("an interruption of the attempt by someone else ends the call, and the caller runs on", () =>
      Effect.gen(function*() {
        let attempt: Fiber.Fiber<unknown, unknown> | undefined
        const effect = Effect.withFiber<never>((fiber) => {
          attempt = fiber
          return Effect.never
        })
        const caller = yield* fork(Effect.exit(Rego.resilient(effect, key)))
        yield* Fiber.interrupt(attempt!)
        assert.strictEqual(describeExit(yield* Fiber.join(caller)), "interrupted")
      }).pipe(Effect.provide(policies({ retry }))))
  })
})
