import { assert, describe, it } from "@effect/vitest"
import type { Budget, PolicyProvider } from "@rego/core"
import { Attempt, Backoff, Classifier, Deadline, Hedge, Outcome, Rego } from "@rego/core"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Logger, ManagedRuntime, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { AsyncLocalStorage } from "node:async_hooks"
import { describeExit, Flaky, fork, key, Logs, policies, policiesWith, slowToStop, stubborn } from "./probes.ts"

const constant = (millis: number) => Backoff.constant(millis, { jitter: "none" })

const note = (events: Array<string>, event: string) => Effect.sync(() => void events.push(event))

/** A resource that notes when it is opened and with which exit it is closed. */
const resource = (events: Array<string>, name: string, millis = 0) =>
  Effect.acquireRelease(
    Effect.as(note(events, `open ${name}`), name),
    (_, exit) => Effect.andThen(Effect.sleep(millis), note(events, `close ${name}: ${describeExit(exit)}`))
  )

const withoutScope = (context: Context.Context<PolicyProvider.PolicyProvider>) =>
  Context.omit(Scope.Scope)(context as Context.Context<any>) as typeof context

describe("Executor", () => {
  it.effect("a value that is tried again is discarded when the next attempt starts, without any scope", () => {
    const discarded: Array<number> = []
    let runs = 0
    return Effect.gen(function*() {
      const classifier = Classifier.make((exit: Exit.Exit<unknown, unknown>) =>
        Exit.isSuccess(exit) && exit.value !== 3 ? Outcome.retryable({ reason: "http_503" }) : undefined
      )
      const onDiscard = (value: number) => Effect.sync(() => void discarded.push(value))
      const resilient = Rego.resilient(Effect.sync(() => ++runs), key, { classifier, onDiscard })
      const call = yield* fork(Effect.updateContext(resilient, withoutScope))
      assert.deepStrictEqual(discarded, [])
      yield* TestClock.adjust(10)
      assert.deepStrictEqual(discarded, [1])
      yield* TestClock.adjust(10)
      assert.strictEqual(describeExit(call.pollUnsafe()), "success 3")
      assert.deepStrictEqual(discarded, [1, 2])
    }).pipe(Effect.provide(policies({ retry: { maxAttempts: 3, backoff: constant(10) } })))
  })

  describe("the scope of an attempt", () => {
    it.effect("is its own: neither the caller's nor that of another attempt", () =>
      Effect.gen(function*() {
        const seen: Array<Scope.Scope> = []
        const attempt = Effect.andThen(Effect.map(Effect.scope, (scope) => seen.push(scope)), Effect.fail("no"))
        const caller = yield* Scope.make()
        yield* attempt.pipe(Rego.resilient(key), Effect.provideService(Scope.Scope, caller), Effect.exit)
        assert.strictEqual(new Set([caller, ...seen]).size, 4)
      }).pipe(Effect.provide(policies({ retry: { maxAttempts: 3, backoff: Backoff.none } }))))

    for (const success of [true, false]) {
      it.effect(`lives on with the caller's when its ${success ? "success" : "failure"} is returned, in order`, () => {
        const events: Array<string> = []
        return Effect.gen(function*() {
          const attempt = Effect.andThen(
            resource(events, "attempt"),
            success ? Effect.succeed("ok") : Effect.fail("no")
          )
          yield* Effect.scoped(Effect.gen(function*() {
            yield* resource(events, "before")
            yield* Effect.exit(Rego.resilient(attempt, key))
            yield* note(events, "returned")
            yield* resource(events, "after")
          }))
          assert.deepStrictEqual(events, [
            "open before",
            "open attempt",
            "returned",
            "open after",
            "close after: success undefined",
            "close attempt: success undefined",
            "close before: success undefined"
          ])
        }).pipe(Effect.provide(policies({})))
      })
    }

    // the budget is asked again after a wait longer than its window, and may say no
    const againDenied = () => {
      let asked = 0
      const tryAcquire = (): Budget.Decision =>
        ++asked === 1
          ? { _tag: "Granted", permit: { settle: () => {} } }
          : { _tag: "Denied", reason: "no" }
      return policiesWith({ retry: { backoff: constant(100) } }, { tryAcquire, window: Duration.millis(10) })
    }

    it.effect("stays open where a call ends after its wait with the exit it already had", () => {
      const events: Array<string> = []
      return Effect.gen(function*() {
        const attempt = Effect.as(resource(events, "attempt"), 503)
        const classifier = Classifier.make(() => Outcome.retryable({ reason: "http_503" }))
        const onDiscard = (value: number) => note(events, `discard ${value}`)
        const scope = yield* Scope.make()
        const call = yield* fork(
          Effect.provideService(Rego.resilient(attempt, key, { classifier, onDiscard }), Scope.Scope, scope)
        )
        yield* TestClock.adjust("1 second")
        assert.strictEqual(describeExit(call.pollUnsafe()), "success 503")
        assert.deepStrictEqual(events, ["open attempt"])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(events, ["open attempt", "close attempt: success undefined"])
      }).pipe(Effect.provide(againDenied()))
    })

    it.effect("is closed with the attempt's exit when the next attempt starts, which does not wait for it", () => {
      const events: Array<string> = []
      let runs = 0
      const attempt = Effect.suspend(() => {
        const run = ++runs
        return Effect.gen(function*() {
          yield* resource(events, `${run}`, 50)
          yield* Effect.sleep(5)
          yield* note(events, `end ${run}`)
          if (run < 3) return yield* Effect.fail(`failure ${run}`)
          return "ok"
        })
      })
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const call = yield* fork(Effect.provideService(Rego.resilient(attempt, key), Scope.Scope, scope))
        yield* TestClock.adjust(34)
        assert.deepStrictEqual(events, ["open 1", "end 1", "open 2", "end 2", "open 3"])
        yield* TestClock.adjust(1)
        assert.strictEqual(events.at(-1), "end 3")
        assert.strictEqual(describeExit(call.pollUnsafe()), "success ok")
        yield* TestClock.adjust(1_000)
        assert.deepStrictEqual(events.slice(6), ["close 1: failure failure 1", "close 2: failure failure 2"])
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust(49)
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.isDefined(closing.pollUnsafe())
        assert.strictEqual(events.at(-1), "close 3: success undefined")
      }).pipe(Effect.provide(policies({ retry: { maxAttempts: 3, backoff: constant(10) } })))
    })

    it.effect("stays open while it is asked whether there is another attempt, and is kept when there is none", () => {
      const events: Array<string> = []
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const attempt = Effect.andThen(resource(events, "body"), Effect.fail("503"))
        yield* attempt.pipe(Rego.resilient(key), Effect.provideService(Scope.Scope, scope), Effect.exit)
        assert.deepStrictEqual(events, ["open body"])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(events, ["open body", "close body: success undefined"])
      }).pipe(Effect.provide(policiesWith({ retry: {} }, { tryAcquire: () => ({ _tag: "Denied", reason: "no" }) })))
    })

    it.effect("lets the caller read the body of a failure that is returned", () => {
      let open = false
      const response = Effect.acquireRelease(
        Effect.sync(() => {
          open = true
          return { read: Effect.suspend(() => open ? Effect.succeed("not found") : Effect.die("body closed")) }
        }),
        () => Effect.sync(() => void (open = false))
      )
      return Effect.gen(function*() {
        const body = yield* response.pipe(
          Effect.flatMap((error) => Effect.fail(error)),
          Rego.resilient(key, { classifier: () => Outcome.nonRetryable({ reason: "http_404" }) }),
          Effect.catch((error) => "read" in error ? error.read : Effect.die(error)),
          Effect.scoped
        )
        assert.strictEqual(body, "not found")
        assert.isFalse(open)
      }).pipe(Effect.provide(policies({ retry: {} })))
    })

    it.effect("is closed as interrupted for a success that is tried again", () => {
      const events: Array<string> = []
      let runs = 0
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const attempt = Effect.suspend(() => resource(events, `${++runs}`))
        const call = yield* attempt.pipe(
          Rego.resilient(key, {
            classifier: (exit) =>
              exit._tag === "Success" && exit.value === "1" ? Outcome.retryable({ reason: "busy" }) : undefined
          }),
          Effect.provideService(Scope.Scope, scope),
          fork
        )
        yield* TestClock.adjust(10)
        assert.strictEqual(describeExit(call.pollUnsafe()), "success 2")
        assert.deepStrictEqual(events, ["open 1", "close 1: interrupted", "open 2"])
      }).pipe(Effect.provide(policies({ retry: { backoff: constant(10) } })))
    })

    it.effect("is closed for an attempt that acquires after it has timed out", () => {
      const events: Array<string> = []
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const attempt = Effect.andThen(Effect.uninterruptible(Effect.sleep(50)), Effect.void).pipe(
          Effect.andThen(resource(events, "late")),
          Effect.uninterruptible
        )
        const call = yield* fork(Effect.provideService(Rego.resilient(attempt, key), Scope.Scope, scope))
        yield* TestClock.adjust(10)
        assert.strictEqual(describeExit(call.pollUnsafe()), "failure AttemptTimedOut")
        yield* TestClock.adjust(40)
        assert.deepStrictEqual(events, ["open late", "close late: interrupted"])
        assert.strictEqual(scope.state._tag, "Empty")
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 10 } })))
    })

    it.effect("leaves nothing in the caller's: 10,000 calls inside one scope", () =>
      Effect.gen(function*() {
        const scope = yield* Effect.scope
        let failures = 0
        for (let i = 0; i < 5_000; i++) {
          yield* Rego.resilient(Effect.succeed(i), key)
          const exit = yield* Effect.exit(Rego.resilient(Effect.fail(i), key))
          if (Exit.isFailure(exit)) failures++
        }
        assert.strictEqual(failures, 5_000)
        assert.strictEqual(scope.state._tag, "Empty")
      }).pipe(Effect.scoped, Effect.provide(policies({}))))

    it("does not exist where the caller has none", async () => {
      const seen = Effect.contextWith((context: Context.Context<never>) =>
        Effect.succeed(Option.isSome(Context.getOption(context, Scope.Scope)))
      )
      const runtime = ManagedRuntime.make(policies({}))
      const call = Rego.resilient(seen, key)
      assert.strictEqual(await runtime.runPromise(call), false)
      assert.strictEqual(await runtime.runPromise(Effect.scoped(call)), true)
      await runtime.dispose()
    })
  })

  describe("onDiscard", () => {
    const discarding = () => {
      const discarded: Array<unknown> = []
      const onDiscard = (value: unknown) => Effect.sync(() => void discarded.push(value))
      return { discarded, onDiscard }
    }
    const busy = (exit: Exit.Exit<unknown, unknown>) =>
      exit._tag === "Success" && String(exit.value).startsWith("busy")
        ? Outcome.retryable({ reason: "busy" })
        : undefined

    it.effect("runs once for each success that is tried again, never for the one that is returned", () => {
      const { discarded, onDiscard } = discarding()
      let runs = 0
      return Effect.gen(function*() {
        const attempt = Effect.sync(() => ++runs < 3 ? `busy ${runs}` : "ok")
        const call = yield* fork(Rego.resilient(attempt, key, { onDiscard, classifier: busy }))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(describeExit(call.pollUnsafe()), "success ok")
        assert.deepStrictEqual(discarded, ["busy 1", "busy 2"])
      }).pipe(Effect.provide(policies({ retry: { maxAttempts: 3, backoff: constant(10) } })))
    })

    it.effect("does not run for a value that is returned although it was Retryable", () => {
      const { discarded, onDiscard } = discarding()
      return Effect.gen(function*() {
        const attempt = Effect.succeed("busy")
        const call = yield* fork(Rego.resilient(attempt, key, { onDiscard, classifier: busy }))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(describeExit(call.pollUnsafe()), "success busy")
        assert.deepStrictEqual(discarded, ["busy"])
      }).pipe(Effect.provide(policies({ retry: { maxAttempts: 2, backoff: constant(10) } })))
    })

    it.effect("runs for a success that comes too late: the attempt had ended its own call before", () => {
      const { discarded, onDiscard } = discarding()
      let runs = 0
      return Effect.gen(function*() {
        const caller: Fiber.Fiber<unknown, unknown> = yield* fork(Rego.resilient(
          Effect.suspend(() => {
            if (++runs === 1) return Effect.fail("no")
            caller.interruptUnsafe()
            return Effect.succeed("late")
          }),
          key,
          { onDiscard }
        ))
        yield* TestClock.adjust(10)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
        assert.deepStrictEqual(discarded, ["late"])
      }).pipe(Effect.provide(policies({ retry: { backoff: constant(10) } })))
    })

    // Effect drops the value of an uninterruptible region whose fiber was interrupted: a scope is the way to keep hold of it
    it.effect("finds no success in an attempt that had timed out, whatever it computed; its scope is closed", () => {
      const { discarded, onDiscard } = discarding()
      const events: Array<string> = []
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const attempt = Effect.uninterruptible(Effect.tap(stubborn(50), () => resource(events, "late")))
        const call = yield* attempt.pipe(
          Rego.resilient(key, { onDiscard }),
          Effect.provideService(Scope.Scope, scope),
          fork
        )
        yield* TestClock.adjust(10)
        assert.strictEqual(describeExit(call.pollUnsafe()), "failure AttemptTimedOut")
        yield* TestClock.adjust(40)
        assert.deepStrictEqual(discarded, [])
        assert.deepStrictEqual(events, ["open late", "close late: interrupted"])
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 10 } })))
    })

    it.effect("runs once for the value of a call whose caller was interrupted before the next attempt", () => {
      const { discarded, onDiscard } = discarding()
      return Effect.gen(function*() {
        const call = yield* fork(Rego.resilient(Effect.succeed("busy"), key, { onDiscard, classifier: busy }))
        yield* TestClock.adjust(5)
        yield* Fiber.interrupt(call)
        assert.deepStrictEqual(discarded, ["busy"])
      }).pipe(Effect.provide(policies({ retry: { maxAttempts: 2, backoff: constant(10) } })))
    })

    it.effect("is not waited for, and has its own time: the layer waits for it", () => {
      const logs = new Logs()
      const closed: Array<string> = []
      return Effect.gen(function*() {
        let runs = 0
        const latch = yield* Deferred.make<void>()
        const attempt = Effect.sync(() => ++runs === 1 ? "busy" : "ok")
        const onDiscard = () => Effect.andThen(Deferred.await(latch), note(closed, "discarded"))
        const call = yield* fork(Rego.resilient(attempt, key, { onDiscard, classifier: busy }))
        yield* TestClock.adjust(10)
        assert.strictEqual(describeExit(call.pollUnsafe()), "success ok")
        assert.deepStrictEqual(closed, [])
        yield* fork(Effect.andThen(Effect.yieldNow, Deferred.succeed(latch, undefined)))
      }).pipe(
        Effect.provide(policies({ retry: { backoff: constant(10) } }, { shutdownTimeout: "2 seconds" })),
        Effect.andThen(Effect.sync(() => assert.deepStrictEqual(closed, ["discarded"]))),
        logs.watch
      )
    })
  })

  describe("what outlives a call", () => {
    it.effect("sees an attempt and a deadline that are no longer active", () =>
      Effect.gen(function*() {
        const fibers: Array<Fiber.Fiber<ReadonlyArray<unknown>>> = []
        const look = Effect.gen(function*() {
          const attempt = yield* Attempt.CurrentAttempt
          const left = yield* Deadline.remaining
          return [
            Option.map(attempt, (current) => current.active),
            Option.map(left, Duration.toMillis)
          ]
        })
        const background = Effect.gen(function*() {
          const before = yield* look
          yield* Effect.sleep(100)
          return [before, yield* look]
        })
        const attempt = Effect.andThen(
          Effect.forkDetach(background, { startImmediately: true }),
          (fiber) => Effect.sync(() => void fibers.push(fiber))
        )
        yield* Rego.resilient(attempt, key)
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(yield* Fiber.join(fibers[0]!), [
          [Option.some(true), Option.some(50)],
          [Option.some(false), Option.none()]
        ])
      }).pipe(Effect.provide(policies({ timeout: { overall: 50 } }))))

    for (const how of ["succeeds", "fails", "times out", "is interrupted"] as const) {
      it.effect(`is bound by its own call only: the heartbeat of a connection whose call ${how}`, () =>
        Effect.gen(function*() {
          const beats: Array<string> = []
          const heartbeat = Effect.as(Effect.sleep(40), "beat").pipe(Rego.resilient("pool.Heartbeat"), Effect.exit)
          const connection = Effect.gen(function*() {
            for (let i = 0; i < 2; i++) {
              yield* Effect.sleep(100)
              beats.push(describeExit(yield* heartbeat))
            }
          })
          const then = {
            succeeds: Effect.void,
            fails: Effect.fail("no"),
            "times out": Effect.never,
            "is interrupted": Effect.never
          }[how]
          const call = yield* Effect.forkDetach(connection, { startImmediately: true }).pipe(
            Effect.andThen(then),
            Rego.resilient(key),
            fork
          )
          yield* TestClock.adjust(10)
          if (how === "is interrupted") yield* Fiber.interrupt(call)
          yield* TestClock.adjust("1 second")
          assert.isDefined(call.pollUnsafe())
          assert.deepStrictEqual(beats, ["success beat", "success beat"])
        }).pipe(Effect.provide(policies({ timeout: { overall: 80, perAttempt: 60 } }))))
    }

    it.effect("an attempt that was given up is bound by nothing of its call either", () =>
      Effect.gen(function*() {
        let inside: Exit.Exit<string, unknown> | undefined
        const nested = Effect.as(Effect.sleep(30), "nested").pipe(Rego.resilient("svc.Inner"), Effect.exit)
        const attempt = Effect.uninterruptible(Effect.andThen(Effect.sleep(50), nested)).pipe(
          Effect.tap((exit) => Effect.sync(() => void (inside = exit)))
        )
        yield* fork(Rego.resilient(Effect.uninterruptible(attempt), key))
        yield* TestClock.adjust(100)
        assert.strictEqual(describeExit(inside), "success nested")
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 40 } }))))
  })

  describe("AsyncLocalStorage, on the live clock", () => {
    const store = new AsyncLocalStorage<string>()
    const current = Effect.sync(() => store.getStore())

    it(
      "attempts after a backoff and after a timeout see the store of their own call, many calls interleaved",
      async () => {
        const runtime = ManagedRuntime.make(Layer.mergeAll(
          Logger.layer([]),
          Layer.provide(
            policies({
              idempotent: true,
              retry: { maxAttempts: 4, backoff: Backoff.constant(5) },
              timeout: { perAttempt: 100, overall: "20 seconds" }
            }),
            Logger.layer([])
          )
        ))
        const call = (name: string) => {
          const seen: Array<string | undefined> = []
          let runs = 0
          const attempt = Effect.suspend(() => {
            const run = ++runs
            return Effect.gen(function*() {
              seen.push(yield* current)
              if (run === 1) return yield* Effect.fail("no")
              if (run === 2) return yield* Effect.never
              if (run === 3) return yield* slowToStop(250)
              seen.push(yield* Effect.andThen(Effect.yieldNow, current))
              return name
            })
          })
          return store.run(
            name,
            () => runtime.runPromise(Rego.resilient(attempt, key)).then((result) => ({ name, result, seen }))
          )
        }
        const names = Array.from({ length: 25 }, (_, index) => `request ${index}`)
        const results = await Promise.all(names.map(call))
        for (const { name, result, seen } of results) {
          assert.strictEqual(result, name)
          assert.deepStrictEqual(new Set(seen), new Set([name]))
          assert.strictEqual(seen.length, 5)
        }
        await runtime.dispose()
      },
      20_000
    )

    it.for(["20 seconds", undefined] as const)(
      "hedges see the store of their own call, with a deadline of %s",
      async (overall) => {
        const runtime = ManagedRuntime.make(Layer.provide(
          policies({ idempotent: true, hedge: { trigger: Hedge.after(5) }, timeout: { overall } }),
          Logger.layer([])
        ))
        const hedged = Effect.flatMap(
          Attempt.CurrentAttempt,
          (attempt) => Option.exists(attempt, ({ hedge }) => hedge === 1) ? current : Effect.never
        )
        const call = (name: string) => store.run(name, () => runtime.runPromise(Rego.resilient(hedged, key)))
        const names = Array.from({ length: 25 }, (_, index) => `request ${index}`)
        assert.deepStrictEqual(await Promise.all(names.map(call)), names)
        await runtime.dispose()
      }
    )
  })

  it.effect("an attempt's own finalizers run in its fiber, before its exit counts", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      const flaky = new Flaky(1)
      const attempt = Effect.scoped(Effect.andThen(resource(events, "inside", 5), flaky.effect))
      const call = yield* fork(Rego.resilient(attempt, key))
      yield* TestClock.adjust(20)
      assert.strictEqual(describeExit(call.pollUnsafe()), "success ok")
      assert.deepStrictEqual(events, [
        "open inside",
        "close inside: failure failure 1",
        "open inside",
        "close inside: success ok"
      ])
    }).pipe(Effect.provide(policies({ retry: { backoff: constant(10) } }))))
})
