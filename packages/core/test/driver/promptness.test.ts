import { assert, describe, it } from "@effect/vitest"
import { Backoff, Outcome, Rego, Timeline } from "@rego/core"
import type { Budget, PolicyProvider } from "@rego/core"
import { Clock, Duration, Effect, Fiber, Schedule } from "effect"
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

/** The millisecond at which a call ended, and how. */
const answer = <A, E>(call: Effect.Effect<A, E, PolicyProvider.PolicyProvider>) =>
  Effect.gen(function*() {
    const startedAt = yield* Clock.currentTimeMillis
    const fiber = yield* fork(Effect.flatMap(Effect.exit(call), (exit) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        `${describeExit(exit)} at ${now - startedAt}`)))
    yield* TestClock.adjust("1 minute")
    return yield* Fiber.join(fiber)
  })

const attempts: Record<string, Effect.Effect<string>> = {
  "an attempt that cannot be interrupted": stubborn(10_000),
  "an attempt that takes 10 s to clean up": slowToStop(10_000),
  "an attempt whose child takes 10 s to clean up": Effect.andThen(
    Effect.forkChild(slowToStop(10_000), { startImmediately: true }),
    Effect.never
  ),
  "an attempt whose scope takes 10 s to close": Effect.scoped(
    Effect.andThen(Effect.addFinalizer(() => Effect.sleep(10_000)), Effect.never)
  )
}

describe("Executor", () => {
  describe("the answer does not wait", () => {
    for (const [name, attempt] of Object.entries(attempts)) {
      it.effect(`for ${name}: per-attempt timeout`, () =>
        Effect.gen(function*() {
          assert.strictEqual(yield* answer(Rego.resilient(attempt, key)), "failure AttemptTimedOut at 25")
        }).pipe(Effect.provide(policies({ timeout: { perAttempt: 25 } }))))

      it.effect(`for ${name}: overall timeout`, () =>
        Effect.gen(function*() {
          assert.strictEqual(yield* answer(Rego.resilient(attempt, key)), "failure DeadlineExceeded at 25")
        }).pipe(Effect.provide(policies({ timeout: { overall: 25 } }))))

      it.effect(`for ${name}: the retry starts on time`, () =>
        Effect.gen(function*() {
          let runs = 0
          const effect = Effect.suspend(() => ++runs === 1 ? attempt : Effect.succeed("second"))
          assert.strictEqual(yield* answer(Rego.resilient(effect, key)), "success second at 32")
        }).pipe(
          Effect.provide(policies({ idempotent: true, retry: { backoff: constant(7) }, timeout: { perAttempt: 25 } }))
        ))
    }

    it.effect("a layer that is still open at the end waits for none of them either when it is told so", () =>
      Effect.gen(function*() {
        yield* fork(Rego.resilient(stubborn(10_000), key))
        yield* TestClock.adjust(25)
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 25 } }, { shutdownTimeout: 0 }))))
  })

  describe("timeouts", () => {
    it.effect("the deadline wins where both are due", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(Effect.never, key)), "failure DeadlineExceeded at 25")
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 25, overall: 25 } }))))

    it.effect("an attempt that ends in the instant of its timer wins", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(Effect.as(Effect.sleep(25), "ok"), key)), "success ok at 25")
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 25 } }))))

    it.effect("the last attempt is cut at the deadline and tells how the one before failed", () =>
      Effect.gen(function*() {
        const first = new Flaky(1, 20)
        const effect = Effect.andThen(first.effect, Effect.never)
        assert.strictEqual(yield* answer(Rego.resilient(effect, key)), "failure DeadlineExceeded at 100")
      }).pipe(
        Effect.provide(policies({ retry: { backoff: constant(10) }, timeout: { overall: 100, perAttempt: 90 } }))
      ))

    it.effect("what is left of the deadline is counted from when an attempt began, however busy its first step was", () =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        const asked: Array<number> = []
        let ahead = 0n
        let runs = 0
        const busy: Clock.Clock = {
          ...clock,
          monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + ahead,
          sleep: (duration) =>
            Effect.suspend(() => {
              asked.push(Duration.toMillis(duration))
              return clock.sleep(duration)
            })
        }
        const attempt = Effect.suspend(() => {
          if (++runs === 1) return Effect.delay(Effect.fail("503"), 10)
          ahead = 80_000_000n
          return Effect.never
        })
        yield* Effect.provideService(
          Effect.andThen(fork(Rego.resilient(attempt, key)), TestClock.adjust(10)),
          Clock.Clock,
          busy
        )
        assert.deepStrictEqual([runs, asked.at(-1)], [2, 10])
      }).pipe(Effect.provide(policies({ retry: { backoff: Backoff.none }, timeout: { overall: 100 } }))))

    it.effect("no attempt starts after an admission that used up the time", () =>
      Effect.gen(function*() {
        const attempt = new Flaky(0)
        assert.strictEqual(yield* answer(Rego.resilient(attempt.effect, key)), "failure DeadlineExceeded at 25")
        assert.strictEqual(attempt.runs, 0)
      }).pipe(Effect.provide(policiesWith({ timeout: { overall: 25 } }, {
        admit: () => Effect.as(Effect.sleep(25), granted)
      }))))

    it.effect("no attempt starts after a second answer of the budget that used up the time", () => {
      let asked = 0
      return Effect.gen(function*() {
        const attempt = new Flaky(9)
        assert.strictEqual(yield* answer(Rego.resilient(attempt.effect, key)), "failure failure 1 at 100")
        assert.strictEqual(attempt.runs, 1)
        assert.strictEqual(asked, 2)
      }).pipe(Effect.provide(policiesWith({ retry: { backoff: constant(60) }, timeout: { overall: 100 } }, {
        window: Duration.millis(50),
        tryAcquire: () => ++asked === 1 ? granted : Effect.as(Effect.sleep(40), granted)
      })))
    })

    it.effect("an answer of the budget that comes too late ends the call with its last failure, on time", () =>
      Effect.gen(function*() {
        const attempt = new Flaky(9)
        assert.strictEqual(yield* answer(Rego.resilient(attempt.effect, key)), "failure failure 1 at 100")
        assert.strictEqual(attempt.runs, 1)
      }).pipe(Effect.provide(policiesWith({ retry: { backoff: constant(60) }, timeout: { overall: 100 } }, {
        tryAcquire: () => Effect.uninterruptible(Effect.as(Effect.sleep(200), granted))
      }))))
  })

  describe("maxAbandoned", () => {
    const policy = {
      idempotent: true,
      retry: { maxAttempts: 3, backoff: constant(5) },
      timeout: { perAttempt: 10 }
    } as const

    it.effect("denies extra attempts while that many run, never first attempts, and counts down when they end", () =>
      Effect.gen(function*() {
        let runs = 0
        const hangs = Effect.suspend(() => (runs++, stubborn(100)))
        const call = Timeline.capture(Effect.exit(Rego.resilient(hangs, key)))
        const first = yield* fork(call)
        yield* TestClock.adjust(40)
        assert.strictEqual(runs, 2)
        const [exit, timelines] = yield* Fiber.join(first)
        assert.strictEqual(describeExit(exit._tag === "Success" ? exit.value : exit), "failure AttemptTimedOut")
        assert.deepStrictEqual(timelines[0]?.decisions.slice(1), [
          { _tag: "Stopped", at: 25, reason: "abandoned" }
        ])
        assert.deepStrictEqual(timelines[0]?.attempts.map((attempt) => attempt.endedBy), ["abandoned", "abandoned"])

        const second = yield* fork(Rego.resilient(Effect.succeed("primary"), key))
        assert.strictEqual(describeExit(second.pollUnsafe()), "success primary")
        const refused = new Flaky(1)
        assert.strictEqual(describeExit(yield* Effect.exit(Rego.resilient(refused.effect, key))), "failure failure 1")
        assert.strictEqual(refused.runs, 1)
        const other = new Flaky(1)
        const elsewhere = yield* fork(Rego.resilient(other.effect, "svc.Other"))

        yield* TestClock.adjust(80)
        assert.strictEqual(describeExit(elsewhere.pollUnsafe()), "success ok")
        const allowed = new Flaky(1)
        const third = yield* fork(Rego.resilient(allowed.effect, key))
        yield* TestClock.adjust(5)
        assert.strictEqual(describeExit(third.pollUnsafe()), "success ok")
      }).pipe(Effect.provide(policies(policy, { maxAbandoned: 2 }))))

    it.effect("an attempt that stops at once when it is told so is not counted", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(Effect.never, key)), "failure AttemptTimedOut at 40")
      }).pipe(Effect.provide(policies(policy, { maxAbandoned: 1 }))))

    it.effect("an abandoned attempt keeps its permit until it ends", () => {
      const permits = new Permits()
      return Effect.gen(function*() {
        const call = yield* fork(Rego.resilient(stubborn(100), key))
        yield* TestClock.adjust(40)
        assert.strictEqual(describeExit(call.pollUnsafe()), "failure AttemptTimedOut")
        assert.deepStrictEqual(permits.counts, { granted: 2, used: 0, unused: 0, twice: 0 })
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(permits.counts, { granted: 2, used: 2, unused: 0, twice: 0 })
      }).pipe(Effect.provide(policiesWith(policy, { tryAcquire: permits.grant })))
    })
  })

  describe("a call that has ended", () => {
    const late: Budget.Decision = { _tag: "Denied", reason: "late" }
    interface Ending {
      readonly name: string
      readonly effect: () => Effect.Effect<unknown, unknown>
      readonly policy?: Parameters<typeof policiesWith>[0]
      readonly budget?: Partial<Budget.Budget>
      readonly result: string
    }
    const all = { retry: { maxAttempts: 3, backoff: constant(10) }, timeout: { perAttempt: 50, overall: 500 } } as const
    const endings: ReadonlyArray<Ending> = [
      { name: "success at once", effect: () => Effect.succeed("ok"), result: "success ok" },
      { name: "success later", effect: () => Effect.as(Effect.sleep(5), "ok"), result: "success ok" },
      { name: "success in a retry", effect: () => new Flaky(2, 5).effect, result: "success ok" },
      { name: "attempts used up", effect: () => new Flaky(9, 5).effect, result: "failure failure 3" },
      { name: "defect", effect: () => Effect.andThen(Effect.sleep(5), Effect.die("bug")), result: "defect bug" },
      { name: "timed out", effect: () => Effect.never, result: "failure AttemptTimedOut" },
      {
        name: "timed out and retried",
        effect: () => Effect.never,
        policy: { idempotent: true },
        result: "failure AttemptTimedOut"
      },
      {
        name: "deadline",
        effect: () => Effect.never,
        policy: { timeout: { overall: 50 } },
        result: "failure DeadlineExceeded"
      },
      {
        name: "no time for a backoff",
        effect: () => new Flaky(9, 5).effect,
        policy: { timeout: { overall: 12 } },
        result: "failure failure 1"
      },
      {
        name: "budget denied",
        effect: () => new Flaky(9, 5).effect,
        budget: { tryAcquire: () => late },
        result: "failure failure 1"
      },
      {
        name: "budget denied later",
        effect: () => new Flaky(9, 5).effect,
        budget: { tryAcquire: () => Effect.as(Effect.sleep(5), late) },
        result: "failure failure 1"
      },
      {
        name: "budget that never answers",
        effect: () => new Flaky(9, 5).effect,
        budget: { tryAcquire: () => Effect.never },
        result: "failure failure 1"
      },
      {
        name: "admission that never answers",
        effect: () => Effect.succeed("ok"),
        budget: { admit: () => Effect.never },
        result: "failure DeadlineExceeded"
      },
      {
        name: "admission denied",
        effect: () => Effect.succeed("ok"),
        budget: { admit: () => Effect.as(Effect.sleep(5), late) },
        result: "failure AdmissionDenied"
      },
      {
        name: "schedule done",
        effect: () => new Flaky(9, 5).effect,
        policy: { retry: { maxAttempts: 9, backoff: Schedule.recurs(1) } },
        result: "failure failure 2"
      },
      {
        name: "schedule that never answers",
        effect: () => new Flaky(9, 5).effect,
        policy: { retry: { backoff: Schedule.fromStep(Effect.succeed(() => Effect.never)) } },
        result: "failure failure 1"
      },
      { name: "attempt that ran on for a while", effect: () => stubborn(200), result: "failure AttemptTimedOut" }
    ]

    for (const { budget, effect, name, policy, result } of endings) {
      it.effect(`has left no timer, no fiber and no permit, and starts nothing: ${name}`, () => {
        const permits = new Permits()
        const fibers = new Fibers()
        const sleeps = new Sleeps()
        let runs = 0
        return Effect.gen(function*() {
          const before = fibers.live
          const own = effect()
          const counted = Effect.suspend(() => (runs++, own))
          const fiber = yield* fork(Rego.resilient(counted, key))
          yield* TestClock.adjust(500)
          assert.strictEqual(describeExit(fiber.pollUnsafe()), result)
          assert.strictEqual(sleeps.pending, 0)
          assert.strictEqual(fibers.live, before)
          assert.deepStrictEqual([permits.open, permits.settledTwice], [0, 0])
          const started = runs
          yield* TestClock.adjust("1 hour")
          assert.strictEqual(runs, started)
        }).pipe(
          Effect.provide(policiesWith({ ...all, ...policy }, { tryAcquire: permits.grant, ...budget })),
          fibers.watch,
          sleeps.watch
        )
      })
    }

    it.effect("has cancelled its timers in the instant it ended, not when they would have been due", () => {
      const sleeps = new Sleeps()
      return Effect.gen(function*() {
        const fiber = yield* fork(Rego.resilient(Effect.as(Effect.sleep(5), "ok"), key))
        assert.strictEqual(sleeps.pending, 2)
        yield* TestClock.adjust(5)
        assert.strictEqual(describeExit(fiber.pollUnsafe()), "success ok")
        assert.strictEqual(sleeps.pending, 0)
      }).pipe(Effect.provide(policies(all)), sleeps.watch)
    })

    it.live("has left no timer of the host on the live clock", () =>
      Effect.gen(function*() {
        const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length
        const before = timers()
        const promised = Effect.promise(() => Promise.resolve("ok"))
        yield* Effect.forEach(Array.from({ length: 50 }), () => Rego.resilient(promised, key), {
          concurrency: "unbounded"
        })
        const hung = yield* Effect.forEach(Array.from({ length: 50 }), () => fork(Rego.resilient(Effect.never, key)))
        // one for all of them: their timeouts are of one length
        assert.isAtLeast(timers(), before + 1)
        yield* Fiber.interruptAll(hung)
        assert.isAtMost(timers(), before)
        const waiting = yield* Effect.forEach(Array.from({ length: 50 }), () =>
          fork(Rego.resilient(Effect.fail("no"), key)))
        assert.isAtLeast(timers(), before + 50)
        yield* Fiber.interruptAll(waiting)
        assert.isAtMost(timers(), before)
      }).pipe(Effect.provide(policiesWith({
        retry: { backoff: constant(20_000) },
        timeout: { perAttempt: "30 seconds", overall: "1 minute" }
      }, {}))))
  })

  describe("a clock that ends short sleeps at once", () => {
    // a virtual clock near the present has steps of a quarter of a microsecond: shorter waits are none
    const coarse = (clock: Clock.Clock): Clock.Clock => ({
      ...clock,
      sleep: (duration) => Duration.toMillis(duration) < 1 ? Effect.void : clock.sleep(duration)
    })

    it.effect("loses no timer of what follows the wait", () => {
      let asked = 0
      return Effect.gen(function*() {
        const clock = coarse(yield* Clock.clockWith(Effect.succeed))
        const attempt = new Flaky(1)
        const effect = Effect.andThen(attempt.effect, Effect.as(Effect.sleep(50), "ok"))
        const fiber = yield* fork(Effect.provideService(Rego.resilient(effect, key), Clock.Clock, clock))
        yield* TestClock.adjust(40)
        assert.strictEqual(describeExit(fiber.pollUnsafe()), "running")
        assert.strictEqual(asked, 2)
        yield* TestClock.adjust(10)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(describeExit(fiber.pollUnsafe()), "success ok")
      }).pipe(
        Effect.provide(policiesWith({ retry: { backoff: Schedule.spaced("500 micros") }, timeout: { overall: 80 } }, {
          window: Duration.zero,
          tryAcquire: () => ++asked === 1 ? granted : Effect.as(Effect.sleep(20), granted)
        }))
      )
    })

    it.effect("interrupting after such a wait leaves no sleep", () => {
      const sleeps = new Sleeps()
      let asked = 0
      return Effect.gen(function*() {
        const clock = coarse(yield* Clock.clockWith(Effect.succeed))
        const fiber = yield* fork(Effect.provideService(Rego.resilient(new Flaky(9).effect, key), Clock.Clock, clock))
        yield* TestClock.adjust(5)
        assert.strictEqual(asked, 2)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(sleeps.pending, 0)
      }).pipe(
        Effect.provide(policiesWith({ retry: { backoff: Schedule.spaced("500 micros") }, timeout: { overall: 80 } }, {
          window: Duration.zero,
          tryAcquire: () => ++asked === 1 ? granted : Effect.as(Effect.sleep(20), granted)
        })),
        sleeps.watch
      )
    })
  })

  it.effect("a value that is retried and then given up is returned as it is", () =>
    Effect.gen(function*() {
      const busy = Rego.resilient(Effect.succeed("503"), key, {
        classifier: () => Outcome.retryable({ reason: "busy" })
      })
      assert.strictEqual(yield* answer(busy), "success 503 at 10")
    }).pipe(Effect.provide(policies({ retry: { maxAttempts: 2, backoff: constant(10) } }))))
})

const granted: Budget.Decision = { _tag: "Granted", permit: { settle: () => {} } }
