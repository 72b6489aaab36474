import { assert, describe, it } from "@effect/vitest"
import type { Budget, Rego as RegoTypes } from "@rego/core"
import { Attempt, Backoff, Deadline, Outcome, PolicyLayer, PolicyProvider, Rego, Timeline } from "@rego/core"
import { Clock, Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, Option, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Collector } from "../../src/CallRecord.ts"
import {
  describeExit,
  Fibers,
  Flaky,
  fork,
  key,
  Logs,
  Permits,
  policies,
  policiesWith,
  Sleeps,
  uncaught
} from "./probes.ts"

const tenMillis = Backoff.constant("10 millis", { jitter: "none" })
const threeAttempts = { retry: { maxAttempts: 3, backoff: tenMillis } } as const

/** Runs a call and gives the fiber that made it, so that whatever runs inside can interrupt it. */
const caught = <A, E, R>(call: (caller: () => Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E, R>) => {
  let caller: Fiber.Fiber<unknown, unknown> | undefined
  return Effect.withFiber<A, E, R>((fiber) => {
    caller = fiber
    return call(() => caller!)
  })
}

describe("Executor", () => {
  describe("an attempt that ends something in its first step", () => {
    it.effect("completes what the attempt of another call waits for, in a first attempt and in a retry", () =>
      Effect.gen(function*() {
        for (const failures of [0, 1]) {
          const latch = yield* Deferred.make<string>()
          const waiting = yield* fork(Rego.resilient(Deferred.await(latch), key))
          const settling = new Flaky(failures)
          const completes = Effect.andThen(settling.effect, Deferred.succeed(latch, "hello"))
          const other = yield* fork(Rego.resilient(completes, key))
          yield* TestClock.adjust("10 millis")
          assert.strictEqual(describeExit(waiting.pollUnsafe()), "success hello")
          assert.strictEqual(describeExit(other.pollUnsafe()), "success true")
        }
      }).pipe(Effect.provide(policies(threeAttempts))))

    it.effect("completes what its own caller's other fiber waits for, which then interrupts the caller", () =>
      Effect.gen(function*() {
        const latch = yield* Deferred.make<void>()
        const caller = yield* fork(
          Rego.resilient(
            Effect.andThen(Effect.sleep(5), Effect.andThen(Deferred.done(latch, Exit.void), Effect.never)),
            key
          )
        )
        const interrupter = yield* fork(Effect.andThen(Deferred.await(latch), Fiber.interrupt(caller)))
        yield* TestClock.adjust(5)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
        assert.strictEqual(describeExit(interrupter.pollUnsafe()), "success undefined")
      }).pipe(Effect.provide(policies({}))))

    const endings: Record<string, { readonly rest: Effect.Effect<string, string>; readonly millis: number }> = {
      "and succeeds": { rest: Effect.succeed("ok"), millis: 0 },
      "and fails": { rest: Effect.fail("no"), millis: 0 },
      "and waits": { rest: Effect.never, millis: 0 },
      "and takes time to clean up": { rest: Effect.onInterrupt(Effect.never, () => Effect.sleep(50)), millis: 50 },
      "and cannot be interrupted": { rest: Effect.uninterruptible(Effect.as(Effect.sleep(50), "late")), millis: 50 }
    }
    for (const [name, { millis, rest }] of Object.entries(endings)) {
      for (const retry of [0, 1]) {
        it.effect(`interrupts its own caller ${name}, in attempt ${retry}`, () => {
          const permits = new Permits()
          const fibers = new Fibers()
          let runs = 0
          const call = caught((caller) =>
            Effect.suspend(() => {
              if (runs++ < retry) return Effect.fail("first")
              caller().interruptUnsafe()
              return rest
            }).pipe(Rego.resilient(key))
          )
          return Effect.gen(function*() {
            const before = fibers.live
            const caller = yield* fork(call)
            yield* TestClock.adjust(retry * 10)
            assert.strictEqual(describeExit(caller.pollUnsafe()), millis === 0 ? "interrupted" : "running")
            yield* TestClock.adjust(millis)
            assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
            yield* TestClock.adjust("1 second")
            assert.strictEqual(runs, retry + 1)
            assert.deepStrictEqual([permits.used, permits.open, permits.settledTwice], [retry, 0, 0])
            assert.strictEqual(fibers.live, before)
          }).pipe(
            Effect.provide(
              policiesWith({ ...threeAttempts, timeout: { perAttempt: "200 millis", overall: "1 second" } }, {
                tryAcquire: permits.grant
              })
            ),
            fibers.watch
          )
        })
      }
    }

    it.effect("closes its caller's scope: its own resource is then released once, when it ends", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const released: Array<string> = []
        const resource = Effect.acquireRelease(
          Effect.succeed("body"),
          () => Effect.sync(() => void released.push("body"))
        )
        const attempt = Effect.tap(resource, () => Scope.close(scope, Exit.void))
        const exit = yield* attempt.pipe(Rego.resilient(key), Effect.provideService(Scope.Scope, scope), Effect.exit)
        assert.strictEqual(describeExit(exit), "success body")
        assert.deepStrictEqual(released, ["body"])
      }).pipe(Effect.provide(policies({}))))
  })

  // ---------------------------------------------------------------------------
  // callbacks
  // ---------------------------------------------------------------------------

  describe("a callback that throws", () => {
    const boom = (): never => {
      throw new Error("boom")
    }
    const granted: Budget.Decision = { _tag: "Granted", permit: { settle: () => {} } }
    const late = Effect.andThen(Effect.sleep(1), Effect.die("boom"))

    interface Row {
      readonly callback: string
      readonly policy?: Parameters<typeof policiesWith>[0]
      readonly budget?: Partial<Budget.Budget>
      readonly options?: RegoTypes.Options
      /** instead of an effect that fails once and then succeeds */
      readonly effect?: (millis: number) => Effect.Effect<string, string, Scope.Scope>
      readonly result: string
      readonly reports: number
    }

    const scoped = (millis: number): Effect.Effect<string, string, Scope.Scope> => {
      let runs = 0
      return Effect.suspend(() =>
        Effect.addFinalizer((): Effect.Effect<void> => boom()).pipe(
          Effect.andThen(Effect.sleep(millis)),
          Effect.andThen(++runs === 1 ? Effect.fail("failure 1") : Effect.succeed("ok"))
        )
      )
    }
    const busy = Outcome.retryable({ reason: "busy" })
    const busyOnce = () => {
      let calls = 0
      return (): Outcome.Outcome | undefined => ++calls % 2 === 1 ? busy : undefined
    }

    const rows: ReadonlyArray<Row> = [
      { callback: "classifier of the policy", policy: { classifier: boom }, result: "failure failure 1", reports: 1 },
      {
        callback: "classifier of the call site",
        options: { classifier: boom },
        result: "failure failure 1",
        reports: 1
      },
      {
        callback: "classifier that answers nonsense",
        policy: { classifier: (() => ({ retry: true })) as never },
        result: "failure failure 1",
        reports: 1
      },
      { callback: "tryAcquire", budget: { tryAcquire: boom }, result: "failure failure 1", reports: 1 },
      {
        callback: "tryAcquire, as an effect",
        budget: { tryAcquire: () => Effect.die("boom") },
        result: "failure failure 1",
        reports: 1
      },
      { callback: "tryAcquire, later", budget: { tryAcquire: () => late }, result: "failure failure 1", reports: 1 },
      { callback: "onCall", budget: { onCall: boom }, result: "success ok", reports: 1 },
      { callback: "onOutcome", budget: { onOutcome: boom }, result: "success ok", reports: 1 },
      {
        callback: "settle",
        budget: { tryAcquire: () => ({ _tag: "Granted", permit: { settle: boom } }) },
        result: "success ok",
        reports: 1
      },
      { callback: "admit", budget: { admit: boom }, result: "success ok", reports: 1 },
      {
        callback: "admit, as an effect",
        budget: { admit: () => Effect.die("boom") },
        result: "success ok",
        reports: 1
      },
      { callback: "admit, later", budget: { admit: () => late }, result: "success ok", reports: 1 },
      {
        callback: "settle of an admission",
        budget: { admit: () => ({ _tag: "Granted", permit: { settle: boom } }) },
        result: "success ok",
        reports: 1
      },
      {
        callback: "schedule",
        policy: { retry: { backoff: Schedule.fromStep(Effect.succeed(boom)) } },
        result: "failure failure 1",
        reports: 1
      },
      {
        callback: "schedule that cannot be built",
        policy: { retry: { backoff: Schedule.fromStep(Effect.die("boom")) } },
        result: "failure failure 1",
        reports: 1
      },
      {
        callback: "schedule, later",
        policy: { retry: { backoff: Schedule.fromStep(Effect.succeed(() => late)) } },
        result: "failure failure 1",
        reports: 1
      },
      {
        callback: "onDiscard",
        options: { onDiscard: boom, classifier: busyOnce() },
        effect: (millis) => Effect.as(Effect.sleep(millis), "ok"),
        result: "success ok",
        reports: 1
      },
      {
        callback: "onDiscard, later",
        options: { onDiscard: () => late, classifier: busyOnce() },
        effect: (millis) => Effect.as(Effect.sleep(millis), "ok"),
        result: "success ok",
        reports: 1
      },
      { callback: "finalizer of a scope", effect: scoped, result: "success ok", reports: 1 }
    ]

    for (const { budget = {}, callback, effect, options, policy = {}, reports, result } of rows) {
      for (const millis of [0, 5]) {
        it.effect(`${callback}: reported once, same result, when the attempt takes ${millis} ms`, () =>
          Effect.gen(function*() {
            const logs = new Logs()
            const scope = yield* Scope.make()
            const program = Effect.gen(function*() {
              for (let i = 0; i < 3; i++) {
                const self = effect?.(millis) ?? new Flaky(1, millis).effect
                const call = yield* self.pipe(
                  Rego.resilient(key, options),
                  Effect.provideService(Scope.Scope, scope),
                  fork
                )
                yield* TestClock.adjust("100 millis")
                assert.strictEqual(describeExit(call.pollUnsafe()), result)
              }
            }).pipe(
              Effect.provide(policiesWith({ retry: { backoff: tenMillis }, ...policy }, {
                tryAcquire: () => granted,
                ...budget
              })),
              logs.watch
            )
            const program1 = Effect.exit(program)
            let exit: Exit.Exit<void, unknown> = Exit.void
            const errors = yield* uncaught(Effect.tap(program1, (e) =>
              Effect.sync(() => {
                exit = e
              })))
            yield* exit
            assert.deepStrictEqual(errors, [])
            assert.strictEqual(logs.matching("a defect in").length, reports)
          }))
      }
    }

    it.effect("a logger: what it was to report changes nothing either", () =>
      Effect.gen(function*() {
        const attempt = new Flaky(1, 5)
        const results: Array<string> = []
        const errors = yield* uncaught(
          Effect.gen(function*() {
            for (const self of [new Flaky(1).effect, attempt.effect]) {
              const call = yield* fork(Rego.resilient(self, key, { classifier: boom }))
              yield* TestClock.adjust(20)
              results.push(describeExit(call.pollUnsafe()))
            }
          }).pipe(Effect.provide(Logger.layer([Logger.make(boom)])), Effect.provide(policies(threeAttempts)))
        )
        assert.deepStrictEqual(results, ["failure failure 1", "failure failure 1"])
        assert.deepStrictEqual(errors, [])
      }))

    it.effect("keys are reported apart", () =>
      Effect.gen(function*() {
        const logs = new Logs()
        const call = (name: string) => Effect.exit(Rego.resilient(Effect.fail("no"), name, { classifier: boom }))
        yield* Effect.forEach(["svc.A", "svc.B", "svc.A"], call).pipe(Effect.provide(policies({})), logs.watch)
        assert.strictEqual(logs.matching("svc.A").length, 1)
        assert.strictEqual(logs.matching("svc.B").length, 1)
      }))
  })

  describe("a callback that interrupts the caller", () => {
    const denial: Budget.Decision = { _tag: "Denied", reason: "no" }
    interface Hooks {
      readonly call: () => void
    }
    const granting = (permits: Permits, f: () => void) => () => {
      f()
      return permits.grant()
    }
    type Setup = (permits: Permits, hook: Hooks) => {
      readonly budget?: Partial<Budget.Budget>
      readonly options?: RegoTypes.Options<string, string>
      readonly attempt?: (self: Effect.Effect<string, string>) => Effect.Effect<string, string, Scope.Scope>
      readonly policy?: Parameters<typeof policiesWith>[0]
      readonly runs?: number
    }
    const setups: Record<string, Setup> = {
      "the classifier": (_permits, hook) => ({
        options: { classifier: () => (hook.call(), undefined) }
      }),
      "onOutcome": (_permits, hook) => ({ budget: { onOutcome: () => hook.call() } }),
      "tryAcquire": (permits, hook) => ({ budget: { tryAcquire: granting(permits, () => hook.call()) } }),
      "tryAcquire, as an effect": (permits, hook) => ({
        budget: { tryAcquire: () => Effect.sync(granting(permits, () => hook.call())) }
      }),
      "tryAcquire, as an effect that then hangs": (_permits, hook) => ({
        budget: { tryAcquire: () => Effect.andThen(Effect.sync(hook.call), Effect.never) }
      }),
      "tryAcquire, as an effect that cannot be interrupted": (_permits, hook) => ({
        budget: {
          tryAcquire: () =>
            Effect.andThen(Effect.sync(hook.call), Effect.uninterruptible(Effect.as(Effect.sleep(5), denial)))
        }
      }),
      "admit, later": (permits, hook) => ({
        budget: { admit: () => Effect.delay(Effect.andThen(Effect.sync(hook.call), Effect.sync(permits.grant)), 5) },
        runs: 0
      }),
      "onCall, after an admission that took time": (permits, hook) => ({
        budget: { admit: () => Effect.delay(Effect.sync(permits.grant), 5), onCall: () => hook.call() },
        runs: 0
      }),
      "the schedule": (_permits, hook) => ({
        policy: { retry: { backoff: Schedule.fromStep(Effect.succeed(() => (hook.call(), Effect.never))) } }
      }),
      "settle": (permits, hook) => ({
        budget: {
          tryAcquire: () => {
            const decision = permits.grant()
            if (decision._tag !== "Granted") return decision
            return { _tag: "Granted", permit: { settle: (use) => (decision.permit.settle(use), hook.call()) } }
          }
        },
        runs: 2
      }),
      "a finalizer of the attempt's scope": (_permits, hook) => ({
        attempt: (self) => Effect.andThen(Effect.addFinalizer(() => Effect.sync(hook.call)), self)
      }),
      "onDiscard": (_permits, hook) => ({
        attempt: (self) => Effect.orElseSucceed(self, () => "busy"),
        options: {
          onDiscard: () => Effect.sync(hook.call),
          classifier: (exit) => exit._tag === "Success" ? Outcome.retryable({ reason: "busy" }) : undefined
        }
      })
    }
    for (const [name, setup] of Object.entries(setups)) {
      for (const backoff of [0, 10]) {
        it.effect(`${name}: nothing starts after it, every permit is settled once (backoff ${backoff} ms)`, () => {
          const permits = new Permits()
          const fibers = new Fibers()
          const sleeps = new Sleeps()
          const hook = { call: () => {} }
          const { attempt = (self) => self, budget = {}, options, policy = {}, runs = 1 } = setup(permits, hook)
          const flaky = new Flaky(9, 20)
          const call = caught((caller) => {
            hook.call = () => caller().interruptUnsafe()
            return Rego.resilient(attempt(flaky.effect), key, options)
          })
          return Effect.gen(function*() {
            const before = fibers.live
            const scope = yield* Scope.make()
            const fiber = yield* fork(Effect.provideService(call, Scope.Scope, scope))
            yield* TestClock.adjust("1 second")
            assert.strictEqual(describeExit(fiber.pollUnsafe()), "interrupted")
            assert.strictEqual(flaky.runs, runs)
            assert.deepStrictEqual([permits.open, permits.settledTwice], [0, 0])
            assert.strictEqual(sleeps.pending, 0)
            assert.strictEqual(fibers.live, before)
          }).pipe(
            Effect.provide(policiesWith(
              {
                retry: { maxAttempts: 4, backoff: Backoff.constant(backoff, { jitter: "none" }) },
                timeout: { perAttempt: "100 millis", overall: "10 seconds" },
                ...policy
              },
              { tryAcquire: permits.grant, ...budget }
            )),
            fibers.watch,
            sleeps.watch
          )
        })
      }
    }
  })

  describe("a defect of the driver's own", () => {
    it.effect("ends the call as a defect and never hangs it: a collector that throws", () =>
      Effect.gen(function*() {
        const collector = new Collector(1, undefined)
        collector.add = () => {
          throw new Error("no room")
        }
        const call = yield* fork(
          Effect.provideService(Rego.resilient(new Flaky(1, 5).effect, key), Timeline.CurrentCollector, collector)
        )
        yield* TestClock.adjust("1 second")
        assert.match(describeExit(call.pollUnsafe()), /^defect /)
      }).pipe(Effect.provide(policies(threeAttempts))))
  })

  // ---------------------------------------------------------------------------
  // calls inside calls
  // ---------------------------------------------------------------------------

  describe("a call inside a call inside a call", () => {
    const nested = <A, E>(self: Effect.Effect<A, E>) =>
      self.pipe(Rego.resilient("svc.C"), Rego.resilient("svc.B"), Rego.resilient("svc.A"))
    const layer = PolicyLayer.make({
      policies: {
        "svc.A": { timeout: { overall: "300 millis", perAttempt: "250 millis" } },
        "svc.B": { timeout: { overall: "1 second" } },
        "svc.C": { timeout: { perAttempt: "100 millis" } }
      },
      limits: { shutdownTimeout: 0 }
    })

    it.effect("each has its own timeline, and a failure carries all three, outermost first", () =>
      Effect.gen(function*() {
        const [exit, timelines] = yield* Timeline.capture(nested(Effect.fail("no")))
        assert.deepStrictEqual(timelines.map((timeline) => timeline.key), ["svc.C", "svc.B", "svc.A"])
        assert.isTrue(Exit.isFailure(exit))
        if (Exit.isSuccess(exit)) return
        assert.deepStrictEqual(Timeline.fromCause(exit.cause).map((timeline) => timeline.key), [
          "svc.A",
          "svc.B",
          "svc.C"
        ])
      }).pipe(Effect.provide(layer)))

    it.effect("the earliest deadline holds, and each attempt sees its own", () =>
      Effect.gen(function*() {
        const left = Effect.map(Deadline.remaining, Option.map(Duration.toMillis))
        const seen: Array<number | undefined> = []
        const look = Effect.flatMap(left, (millis) => Effect.sync(() => void seen.push(Option.getOrUndefined(millis))))
        const program = Effect.gen(function*() {
          yield* look
          yield* Effect.gen(function*() {
            yield* look
            yield* Rego.resilient(look, "svc.C")
            yield* Effect.sleep(200)
            yield* Rego.resilient(look, "svc.C")
            yield* look
          }).pipe(Rego.resilient("svc.B"))
        }).pipe(Rego.resilient("svc.A"))
        const fiber = yield* fork(program)
        yield* TestClock.adjust(200)
        assert.strictEqual(describeExit(fiber.pollUnsafe()), "success undefined")
        assert.deepStrictEqual(seen, [250, 250, 100, 50, 50])
      }).pipe(Effect.provide(layer)))

    it.effect("the attempt seen is that of the innermost call, and the outer one's again behind it", () =>
      Effect.gen(function*() {
        const current = Effect.map(
          Attempt.CurrentAttempt,
          (attempt) => Option.isSome(attempt) ? `${attempt.value.key} ${attempt.value.retry}` : "none"
        )
        const inner = new Flaky(1)
        const seen = yield* Effect.gen(function*() {
          const before = yield* current
          const inside = yield* Effect.andThen(inner.effect, current).pipe(Rego.resilient("svc.Inner"))
          return [before, inside, yield* current]
        }).pipe(Rego.resilient("svc.Outer"))
        assert.deepStrictEqual(seen, ["svc.Outer 0", "svc.Inner 1", "svc.Outer 0"])
      }).pipe(Effect.provide(policies({ retry: { backoff: Backoff.none } }))))

    it.effect("the outer attempt's timeout interrupts the innermost, and the finalizers run from the inside out", () =>
      Effect.gen(function*() {
        const ended: Array<string> = []
        const note = (name: string) => <A, E, R>(self: Effect.Effect<A, E, R>) =>
          Effect.onExit(self, (exit) => Effect.sync(() => void ended.push(`${name} ${describeExit(exit)}`)))
        const program = Effect.never.pipe(
          note("effect"),
          Rego.resilient("svc.Slow"),
          note("C"),
          Rego.resilient("svc.B"),
          note("B"),
          Rego.resilient("svc.A")
        )
        const fiber = yield* fork(program)
        yield* TestClock.adjust(250)
        assert.strictEqual(describeExit(fiber.pollUnsafe()), "failure AttemptTimedOut")
        assert.deepStrictEqual(ended.map((line) => line.split(" ", 1)[0]), ["effect", "C", "B"])
      }).pipe(Effect.provide(layer)))

    it.effect("the outer attempt's timeout is its own whichever timer is first, and so it is retried", () =>
      Effect.gen(function*() {
        for (const before of [Effect.void, Effect.sleep(1)]) {
          let runs = 0
          const inner = Effect.suspend(() => ++runs === 1 ? Effect.never : Effect.succeed("second"))
          const fiber = yield* before.pipe(
            Effect.andThen(Rego.resilient(inner, "svc.Inner")),
            Rego.resilientWithTimeline("svc.Outer"),
            fork
          )
          yield* TestClock.adjust(100)
          const [value, timeline] = yield* Fiber.join(fiber)
          assert.strictEqual(value, "second")
          assert.deepStrictEqual(timeline.attempts.map((attempt) => attempt.endedBy), ["timed_out", "returned"])
        }
      }).pipe(Effect.provide(PolicyLayer.make({
        policies: {
          "svc.Outer": { idempotent: true, retry: { backoff: Backoff.none }, timeout: { perAttempt: 50 } },
          "svc.Inner": { timeout: { overall: "1 second" } }
        }
      }))))

    it.effect("a deadline inside that is earlier than the attempt's is no timeout of the attempt", () =>
      Effect.gen(function*() {
        const inner = Rego.resilient(Effect.never, "svc.Inner").pipe(Deadline.withDeadline(20))
        const fiber = yield* fork(Rego.resilient(inner, "svc.Outer"))
        yield* TestClock.adjust(20)
        assert.strictEqual(describeExit(fiber.pollUnsafe()), "failure DeadlineExceeded")
      }).pipe(Effect.provide(policies({ idempotent: true, retry: {}, timeout: { perAttempt: 50 } }))))

    it.effect("interrupting the outermost caller waits for the finalizers of the innermost", () =>
      Effect.gen(function*() {
        const fiber = yield* fork(nested(Effect.onInterrupt(Effect.never, () => Effect.sleep(40))))
        const interrupted = yield* fork(Fiber.interrupt(fiber))
        yield* TestClock.adjust(39)
        assert.isUndefined(interrupted.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isDefined(interrupted.pollUnsafe())
        assert.strictEqual(describeExit(fiber.pollUnsafe()), "interrupted")
      }).pipe(Effect.provide(layer)))

    it.effect("a failure that was retried at the bottom is not retried by the layers above", () =>
      Effect.gen(function*() {
        const effect = new Flaky(99)
        const exit = yield* Effect.exit(nested(effect.effect))
        assert.strictEqual(describeExit(exit), "failure failure 3")
        assert.strictEqual(effect.runs, 3)
      }).pipe(Effect.provide(policies({ retry: { maxAttempts: 3, backoff: Backoff.none } }))))
  })

  // ---------------------------------------------------------------------------
  // layers and clocks
  // ---------------------------------------------------------------------------

  describe("a layer that is closed", () => {
    const open = (layer: ReturnType<typeof policies>) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const context = yield* Layer.buildWithScope(layer, scope)
        return { scope, provider: Context.get(context, PolicyProvider.PolicyProvider) }
      })

    it.effect("lets calls that run go on, retries and timeouts included", () =>
      Effect.gen(function*() {
        const { provider, scope } = yield* open(policies({
          ...threeAttempts,
          timeout: { perAttempt: "20 millis", overall: "1 second" },
          idempotent: true
        }))
        const slow = new Flaky(1, 10)
        const hung = Effect.andThen(slow.effect, Effect.never)
        const call = (self: Effect.Effect<string, string>) =>
          fork(Effect.provideService(Rego.resilient(self, key), PolicyProvider.PolicyProvider, provider))
        const first = yield* call(new Flaky(2, 10).effect)
        const second = yield* call(hung)
        yield* TestClock.adjust(5)
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust(45)
        assert.strictEqual(describeExit(first.pollUnsafe()), "success ok")
        yield* TestClock.adjust(50)
        assert.strictEqual(describeExit(second.pollUnsafe()), "failure AttemptTimedOut")
        const third = yield* call(Effect.succeed("after"))
        assert.strictEqual(describeExit(third.pollUnsafe()), "success after")
      }))

    it.effect("does not wait for what calls give up after it has closed", () =>
      Effect.gen(function*() {
        const { provider, scope } = yield* open(
          policies({ timeout: { perAttempt: "20 millis" } }, { shutdownTimeout: "5 seconds" })
        )
        const call = Effect.uninterruptible(Effect.sleep(100)).pipe(
          Rego.resilient(key),
          Effect.provideService(PolicyProvider.PolicyProvider, provider)
        )
        const first = yield* fork(call)
        yield* Scope.close(scope, Exit.void)
        yield* TestClock.adjust(20)
        assert.strictEqual(describeExit(first.pollUnsafe()), "failure AttemptTimedOut")
      }))

    it.effect("waits for given up attempts, and then for the scopes that they leave", () =>
      Effect.gen(function*() {
        const { provider, scope } = yield* open(
          policies({ timeout: { perAttempt: "20 millis" } }, { shutdownTimeout: "4 seconds" })
        )
        const ended = yield* Deferred.make<void>()
        const released = yield* Deferred.make<void>()
        const attempt = Effect.addFinalizer(() => Deferred.await(released)).pipe(
          Effect.andThen(Effect.uninterruptible(Deferred.await(ended)))
        )
        yield* attempt.pipe(
          Rego.resilient(key),
          Effect.provideService(Scope.Scope, Scope.makeUnsafe()),
          Effect.provideService(PolicyProvider.PolicyProvider, provider),
          fork
        )
        yield* TestClock.adjust(20)
        const closing = yield* fork(Scope.close(scope, Exit.void))
        assert.isUndefined(closing.pollUnsafe())
        yield* Deferred.succeed(ended, undefined)
        assert.isUndefined(closing.pollUnsafe())
        yield* Deferred.succeed(released, undefined)
        yield* Fiber.join(closing)
      }))

    it.effect("waits for given up attempts at most `shutdownTimeout` of real time, and says how many it left", () =>
      Effect.gen(function*() {
        const logs = new Logs()
        const { provider, scope } = yield* open(
          policies({ timeout: { perAttempt: "20 millis" } }, { shutdownTimeout: "50 millis" })
        )
        const call = Effect.uninterruptible(Effect.sleep("1 hour")).pipe(
          Rego.resilient(key),
          Effect.provideService(PolicyProvider.PolicyProvider, provider)
        )
        yield* fork(call)
        yield* fork(call)
        yield* TestClock.adjust(20)
        const startedAt = performance.now()
        yield* logs.watch(Scope.close(scope, Exit.void))
        const took = performance.now() - startedAt
        assert.isAtLeast(took, 49)
        assert.isBelow(took, 2_000)
        assert.deepStrictEqual(logs.lines, [
          "PolicyLayer: 2 abandoned attempts or finalizers still ran after 50ms and were left"
        ])
        yield* TestClock.adjust("1 hour")
      }))
  })

  describe("one layer under two clocks", () => {
    const policy = {
      retry: { maxAttempts: 3, backoff: tenMillis },
      timeout: { perAttempt: "1 second", overall: "10 seconds" }
    } as const
    const build = Layer.buildWithScope(
      PolicyLayer.make({ policies: { "*": policy }, limits: { shutdownTimeout: 0 } }),
      Scope.makeUnsafe()
    )
    const live = Context.get(Context.empty(), Clock.Clock)

    const shape = (timeline: Timeline.Timeline) => ({
      attempts: timeline.attempts.map((attempt) => attempt.outcome),
      waits: timeline.attempts.map((attempt) => attempt.backoffBefore)
    })
    const expected: ReturnType<typeof shape> = { attempts: ["Retryable", "Success"], waits: [undefined, 10] }
    const call = Effect.suspend(() => Rego.resilientWithTimeline(new Flaky(1).effect, key))

    it.effect("built on the live clock and used under TestClock", () =>
      Effect.gen(function*() {
        const context = yield* Effect.provideService(build, Clock.Clock, live)
        const fiber = yield* fork(Effect.provideContext(call, context))
        yield* TestClock.adjust(10)
        const [, timeline] = yield* Fiber.join(fiber)
        assert.deepStrictEqual(shape(timeline), expected)
        assert.strictEqual(timeline.startedAt, 0)
        assert.strictEqual(timeline.endedAt, 10)
        const [, real] = yield* Effect.provideContext(call, context).pipe(Effect.provideService(Clock.Clock, live))
        assert.deepStrictEqual(shape(real), expected)
        assert.isAtLeast(real.endedAt - real.startedAt, 10)
        assert.isBelow(Math.abs(real.startedAt - Date.now()), 5_000)
      }))

    it.effect("built under TestClock and used on the live clock", () =>
      Effect.gen(function*() {
        yield* TestClock.adjust("1 hour")
        const context = yield* build
        const [, timeline] = yield* Effect.provideContext(call, context).pipe(Effect.provideService(Clock.Clock, live))
        assert.deepStrictEqual(shape(timeline), expected)
        assert.isAtLeast(timeline.endedAt - timeline.startedAt, 10)
        assert.isBelow(timeline.endedAt - timeline.startedAt, 2_000)
      }))
  })
})
