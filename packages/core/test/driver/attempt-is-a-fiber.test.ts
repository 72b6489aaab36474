import { assert, describe, it } from "@effect/vitest"
import { Backoff, Rego, RegoError } from "@rego/core"
import type { PolicyProvider } from "@rego/core"
import {
  Clock,
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  ManagedRuntime,
  Request,
  RequestResolver,
  TxReentrantLock
} from "effect"
import { TestClock } from "effect/testing"
import { describeExit, fork, key, Logs, policies, policiesWith, slowToStop } from "./probes.ts"

/** How a call ended, and at which millisecond. */
const answer = <A, E>(call: Effect.Effect<A, E, PolicyProvider.PolicyProvider>, during = 1_000) =>
  Effect.gen(function*() {
    const startedAt = yield* Clock.currentTimeMillis
    const timed = Effect.flatMap(
      Effect.exit(call),
      (exit) => Effect.map(Clock.currentTimeMillis, (now) => `${describeExit(exit)} at ${now - startedAt}`)
    )
    const fiber = yield* fork(timed)
    yield* TestClock.adjust(during)
    return describeExit(fiber.pollUnsafe()).replace(/^success /, "")
  })

describe("An attempt is a fiber", () => {
  describe("of its own", () => {
    it.effect("not the caller's, and another one for each attempt", () =>
      Effect.gen(function*() {
        const seen = [yield* Effect.fiberId]
        const attempt = Effect.flatMap(Effect.fiberId, (id) => {
          seen.push(id)
          return Effect.fail("no")
        })
        yield* Effect.exit(Rego.resilient(attempt, key))
        assert.strictEqual(new Set(seen).size, 4)
      }).pipe(Effect.provide(policies({ retry: { maxAttempts: 3, backoff: Backoff.none } }))))

    it.effect("under the same policy with and without timeouts: there is one path", () =>
      Effect.gen(function*() {
        const own = yield* Effect.fiberId
        assert.notStrictEqual(yield* Rego.resilient(Effect.fiberId, key), own)
      }).pipe(Effect.provide(policies({}))))

    it.effect("which sees the caller's services and references", () =>
      Effect.gen(function*() {
        const Locale = Context.Reference<string>("Locale", { defaultValue: () => "en" })
        const seen = yield* Effect.service(Locale).pipe(Rego.resilient(key), Effect.provideService(Locale, "de"))
        assert.strictEqual(seen, "de")
      }).pipe(Effect.provide(policies({}))))
  })

  describe("its children", () => {
    const withChild = (cleanup: number) =>
      Effect.andThen(
        Effect.forkChild(slowToStop(cleanup), { startImmediately: true }),
        Effect.as(Effect.sleep(10), "ok")
      )

    it.effect("are interrupted when it ends, and its exit arrives after their finalizers", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(withChild(300), key)), "success ok at 310")
      }).pipe(Effect.provide(policies({}))))

    it.effect("can make a success of 10 ms count as timed out", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(withChild(300), key)), "failure AttemptTimedOut at 100")
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 100 } }))))

    it.effect("go on when they were detached", () =>
      Effect.gen(function*() {
        const done = yield* Deferred.make<string>()
        const child = Effect.andThen(Effect.sleep(300), Deferred.succeed(done, "done"))
        const attempt = Effect.andThen(
          Effect.forkDetach(child, { startImmediately: true }),
          Effect.as(Effect.sleep(10), "ok")
        )
        assert.strictEqual(yield* answer(Rego.resilient(attempt, key), 100), "success ok at 10")
        yield* TestClock.adjust(210)
        assert.strictEqual(yield* Deferred.await(done), "done")
      }).pipe(Effect.provide(policies({}))))

    it.effect("live as long as the caller's scope when they were forked in theirs and the attempt's exit is returned", () =>
      Effect.gen(function*() {
        let child: Fiber.Fiber<never> | undefined
        const attempt = Effect.map(Effect.forkScoped(Effect.never, { startImmediately: true }), (fiber) => {
          child = fiber
          return "ok"
        })
        yield* Effect.scoped(Effect.gen(function*() {
          assert.strictEqual(yield* Rego.resilient(attempt, key), "ok")
          yield* TestClock.adjust("1 hour")
          assert.isUndefined(child?.pollUnsafe())
        }))
        assert.strictEqual(describeExit(child?.pollUnsafe()), "interrupted")
      }).pipe(Effect.provide(policies({}))))
  })

  describe("always interruptible", () => {
    it.effect("also inside an uninterruptible region of the caller: timeouts pierce it", () =>
      Effect.gen(function*() {
        let interrupted = false
        const attempt = Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted = true)))
        const call = Effect.uninterruptible(Rego.resilient(attempt, key))
        assert.strictEqual(yield* answer(call), "failure AttemptTimedOut at 10")
        assert.isTrue(interrupted)
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 10 } }))))

    it.effect("an acquisition is cut in the middle with the call inside, and not with the call outside", () =>
      Effect.gen(function*() {
        const steps: Array<string> = []
        const step = (name: string) => Effect.sync(() => void steps.push(name))
        const acquire = Effect.andThen(step("connected"), Effect.andThen(Effect.sleep(30), step("logged in")))
        const release = () => step("closed")

        const inside = Effect.scoped(Effect.acquireRelease(Rego.resilient(acquire, key), release))
        assert.strictEqual(yield* answer(inside), "failure AttemptTimedOut at 10")
        assert.deepStrictEqual(steps, ["connected"])

        steps.length = 0
        const outside = Effect.scoped(Rego.resilient(Effect.acquireRelease(acquire, release), key))
        assert.strictEqual(yield* answer(outside), "failure AttemptTimedOut at 10")
        assert.deepStrictEqual(steps, ["connected", "logged in", "closed"])
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 10 } }))))

    /** How long the caller takes to hear that it is interrupted while the attempt has 180 ms to go. */
    const interrupted = (call: Effect.Effect<unknown, unknown, PolicyProvider.PolicyProvider>) =>
      Effect.gen(function*() {
        const caller = yield* fork(call)
        yield* TestClock.adjust(20)
        const interrupting = yield* fork(Fiber.interrupt(caller))
        let took = 0
        while (interrupting.pollUnsafe() === undefined && took < 1_000) {
          yield* TestClock.adjust(10)
          took += 10
        }
        return took
      })
    const slow = Effect.sleep(200)

    it.effect("with `restore` inside, the caller's interruption is heard only when the attempt has ended", () =>
      Effect.gen(function*() {
        const call = Effect.uninterruptibleMask((restore) => Rego.resilient(restore(slow), key))
        assert.strictEqual(yield* interrupted(call), 180)
      }).pipe(Effect.provide(policies({}))))

    it.effect("with `restore` around the call it is heard at once", () =>
      Effect.gen(function*() {
        const call = Effect.uninterruptibleMask((restore) => restore(Rego.resilient(slow, key)))
        assert.strictEqual(yield* interrupted(call), 0)
      }).pipe(Effect.provide(policies({}))))

    it.effect("a region of its own is respected: the caller has its answer and the attempt goes on", () =>
      Effect.gen(function*() {
        let finished = false
        const attempt = Effect.uninterruptible(Effect.andThen(Effect.sleep(50), Effect.sync(() => (finished = true))))
        assert.strictEqual(yield* answer(Rego.resilient(attempt, key), 20), "failure AttemptTimedOut at 10")
        assert.isFalse(finished)
        yield* TestClock.adjust(50)
        assert.isTrue(finished)
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 10 } }))))
  })

  describe("locks that know their holder by its fiber", () => {
    it.effect("are entered again in plain Effect", () =>
      Effect.gen(function*() {
        const lock = yield* TxReentrantLock.make()
        const program = TxReentrantLock.withWriteLock(
          lock,
          TxReentrantLock.withWriteLock(lock, Effect.succeed("twice"))
        )
        assert.strictEqual(yield* answer(program), "success twice at 0")
      }).pipe(Effect.provide(policies({}))))

    it.effect("are not entered again by an attempt while the caller holds one", () =>
      Effect.gen(function*() {
        const lock = yield* TxReentrantLock.make()
        const attempt = TxReentrantLock.withWriteLock(lock, Effect.succeed("twice"))
        const program = TxReentrantLock.withWriteLock(lock, Rego.resilient(attempt, key))
        assert.strictEqual(yield* answer(program), "failure AttemptTimedOut at 100")
        assert.isFalse(yield* TxReentrantLock.locked(lock))
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 100 } }))))

    it.effect("work when they are taken inside only, or outside only", () =>
      Effect.gen(function*() {
        const lock = yield* TxReentrantLock.make()
        const twice = TxReentrantLock.withWriteLock(lock, TxReentrantLock.withWriteLock(lock, Effect.succeed("twice")))
        assert.strictEqual(yield* answer(Rego.resilient(twice, key)), "success twice at 0")
        const outside = TxReentrantLock.withWriteLock(lock, Rego.resilient(Effect.succeed("once"), key))
        assert.strictEqual(yield* answer(outside), "success once at 0")
        assert.isFalse(yield* TxReentrantLock.locked(lock))
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: 100 } }))))
  })

  describe("what does not change", () => {
    it("a synchronous attempt can be run with `runSync`, retries without a wait included", async () => {
      const runtime = ManagedRuntime.make(policiesWith({
        retry: { maxAttempts: 3, backoff: Backoff.none },
        timeout: { perAttempt: "1 second", overall: "2 seconds" }
      }, {}))
      await runtime.context()
      let runs = 0
      const attempt = Effect.suspend(() => ++runs < 3 ? Effect.fail("no") : Effect.succeed(runs))
      assert.strictEqual(runtime.runSync(Rego.resilient(attempt, key)), 3)
      await runtime.dispose()
    })

    it.effect("requests of concurrent calls go out in one batch", () => {
      interface GetUser extends Request.Request<string> {
        readonly _tag: "GetUser"
        readonly id: number
      }
      const GetUser = Request.tagged<GetUser>("GetUser")
      const batches: Array<ReadonlyArray<number>> = []
      const resolver = RequestResolver.fromFunctionBatched<GetUser>((entries) => {
        batches.push(entries.map((entry) => entry.request.id))
        return entries.map((entry) => `user ${entry.request.id}`)
      })
      const getUser = (id: number) => Effect.request(GetUser({ id }), resolver).pipe(Rego.resilient(key))
      return Effect.gen(function*() {
        const users = yield* Effect.forEach([1, 2, 3], getUser, { concurrency: "unbounded" })
        assert.deepStrictEqual(users, ["user 1", "user 2", "user 3"])
        assert.deepStrictEqual(batches, [[1, 2, 3]])
      }).pipe(Effect.provide(policies({ timeout: { perAttempt: "1 second" } })))
    })

    it.effect("values, errors and defects come out as the same objects", () =>
      Effect.gen(function*() {
        const value = { id: 1 }
        assert.strictEqual(yield* Rego.resilient(Effect.succeed(value), key), value)
        const error = { _tag: "NotFound" as const }
        assert.strictEqual(yield* Effect.flip(Rego.resilient(Effect.fail(error), key)), error)
        const defect = new Error("bug")
        const exit = yield* Effect.exit(Rego.resilient(Effect.die(defect), key))
        assert.strictEqual(
          Exit.isFailure(exit) && exit.cause.reasons[0]?._tag === "Die" && exit.cause.reasons[0].defect,
          defect
        )
        const success = Exit.succeed(value)
        assert.strictEqual(yield* Effect.exit(Rego.resilient(success, key)), success)
      }).pipe(Effect.provide(policies({}))))

    it.effect("an attempt that fails, dies or is given up logs nothing of its own", () => {
      const logs = new Logs()
      return Effect.gen(function*() {
        for (const attempt of [Effect.fail("no"), Effect.die("bug"), Effect.never]) {
          yield* answer(Rego.resilient(attempt, key))
        }
        assert.deepStrictEqual(logs.lines, [])
      }).pipe(logs.watch, Effect.provide(policies({ timeout: { perAttempt: 10 } })))
    })
  })

  describe("nesting", () => {
    const nested = (depth: number): Effect.Effect<string, RegoError.RegoError, PolicyProvider.PolicyProvider> =>
      depth === 0 ? Effect.succeed("bottom") : Effect.suspend(() => nested(depth - 1)).pipe(Rego.resilient(key))

    it.effect("works 300 synchronous calls deep: each takes a part of the stack", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* nested(300), "bottom")
      }).pipe(Effect.provide(policies({ retry: {}, timeout: { perAttempt: "1 second", overall: "2 seconds" } }))))

    it.effect("works as deep where each level suspends", () =>
      Effect.gen(function*() {
        const suspending = (depth: number): ReturnType<typeof nested> =>
          depth === 0
            ? Effect.succeed("bottom")
            : Effect.andThen(Effect.sleep(1), Effect.suspend(() => suspending(depth - 1))).pipe(Rego.resilient(key))
        assert.strictEqual(yield* answer(suspending(300)), "success bottom at 300")
      }).pipe(Effect.provide(policies({ timeout: { overall: "10 seconds" } }))))
  })
})
