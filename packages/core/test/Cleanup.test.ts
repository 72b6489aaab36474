import { assert, describe, it } from "@effect/vitest"
import { PolicyKey } from "@rego/core"
import { Deferred, Effect, Exit, Scope } from "effect"
import { AttemptRun } from "../src/AttemptRun.ts"
import { Cleanup } from "../src/Cleanup.ts"
import { Supervisor } from "../src/Supervisor.ts"
import { liveClock } from "../src/Time.ts"
import { fork } from "./driver/probes.ts"

const attemptWith = (exit: Exit.Exit<unknown, unknown> | undefined, parentScope?: Scope.Scope): AttemptRun => {
  const host = {
    binding: { key: PolicyKey.make("svc.Get") } as never,
    clock: liveClock,
    retry: 0,
    previous: undefined,
    delayBefore: 0,
    parentScope,
    onTime: () => {},
    onFiberExit: () => {}
  }
  const attempt = new AttemptRun(host, 0, 0, Infinity, undefined)
  attempt.fiberExit = exit
  return attempt
}

const make = Effect.map(Effect.context<never>(), (context) => {
  const supervisor = new Supervisor()
  const discarded: Array<unknown> = []
  const defects: Array<unknown> = []
  const discard = (value: unknown) => Effect.sync(() => void discarded.push(value))
  const cleanup = new Cleanup({
    context,
    supervisor,
    onDiscard: discard as (value: never) => Effect.Effect<void>,
    reportDefect: (_, defect) => void defects.push(defect)
  })
  return { cleanup, supervisor, discarded, defects }
})

describe("Cleanup", () => {
  describe("release", () => {
    it.effect("closes the scope with the attempt's failure", () =>
      Effect.gen(function*() {
        const { cleanup, discarded } = yield* make
        const attempt = attemptWith(Exit.fail("no"), yield* Scope.make())
        const seen: Array<Exit.Exit<unknown, unknown>> = []
        yield* Scope.addFinalizerExit(attempt.scope!, (exit) => Effect.sync(() => void seen.push(exit)))
        cleanup.release(attempt)
        assert.deepStrictEqual(seen, [Exit.fail("no")])
        assert.deepStrictEqual(discarded, [])
      }))

    it.effect("closes the scope of a success as interrupted, and discards the value", () =>
      Effect.gen(function*() {
        const { cleanup, discarded } = yield* make
        const attempt = attemptWith(Exit.succeed(1), yield* Scope.make())
        const seen: Array<Exit.Exit<unknown, unknown>> = []
        yield* Scope.addFinalizerExit(attempt.scope!, (exit) => Effect.sync(() => void seen.push(exit)))
        cleanup.release(attempt)
        assert.isTrue(seen[0] !== undefined && Exit.hasInterrupts(seen[0]))
        assert.deepStrictEqual(discarded, [1])
      }))

    it.effect("does it once, and not before the fiber has ended", () =>
      Effect.gen(function*() {
        const { cleanup, discarded } = yield* make
        const attempt = attemptWith(undefined)
        cleanup.release(attempt)
        assert.deepStrictEqual(discarded, [])
        attempt.fiberExit = Exit.succeed(1)
        cleanup.release(attempt)
        cleanup.release(attempt)
        assert.deepStrictEqual(discarded, [1])
      }))

    it.effect("hands what takes time to the supervisor", () =>
      Effect.gen(function*() {
        const { cleanup, supervisor } = yield* make
        const done = yield* Deferred.make<void>()
        const attempt = attemptWith(Exit.succeed(1), yield* Scope.make())
        yield* Scope.addFinalizer(attempt.scope!, Deferred.await(done))
        cleanup.release(attempt)
        assert.strictEqual(supervisor.size, 1)
        yield* Deferred.succeed(done, undefined)
        assert.strictEqual(supervisor.size, 0)
      }))

    it.effect("reports a finalizer that dies and discards the value all the same", () =>
      Effect.gen(function*() {
        const { cleanup, defects, discarded } = yield* make
        const attempt = attemptWith(Exit.succeed(1), yield* Scope.make())
        yield* Scope.addFinalizer(attempt.scope!, Effect.die("boom"))
        cleanup.release(attempt)
        assert.strictEqual(defects.length, 1)
        assert.deepStrictEqual(discarded, [1])
      }))
  })

  describe("keep", () => {
    it.effect("closes the attempt's scope when the caller's closes, with the same exit", () =>
      Effect.gen(function*() {
        const { cleanup } = yield* make
        const parent = yield* Scope.make()
        const attempt = attemptWith(Exit.succeed(1), parent)
        const seen: Array<Exit.Exit<unknown, unknown>> = []
        yield* Scope.addFinalizerExit(attempt.scope!, (exit) => Effect.sync(() => void seen.push(exit)))
        cleanup.keep(attempt.scope!, parent)
        assert.deepStrictEqual(seen, [])
        yield* Scope.close(parent, Exit.fail("later"))
        assert.deepStrictEqual(seen, [Exit.fail("later")])
      }))

    it.effect("closes at once when the caller's scope has been closed", () =>
      Effect.gen(function*() {
        const { cleanup } = yield* make
        const parent = yield* Scope.make()
        const attempt = attemptWith(Exit.succeed(1), parent)
        let closed = false
        yield* Scope.addFinalizer(attempt.scope!, Effect.sync(() => void (closed = true)))
        yield* Scope.close(parent, Exit.void)
        cleanup.keep(attempt.scope!, parent)
        assert.isTrue(closed)
      }))
  })

  describe("quiet", () => {
    it.effect("is there at once when nothing was counted", () =>
      Effect.gen(function*() {
        const { cleanup } = yield* make
        const waiting = yield* fork(cleanup.quiet)
        assert.isDefined(waiting.pollUnsafe())
      }))

    it.effect("waits for everything that was counted, and for scopes that close meanwhile", () =>
      Effect.gen(function*() {
        const { cleanup, supervisor } = yield* make
        const done = yield* Deferred.make<void>()
        const attempt = attemptWith(Exit.succeed(1), yield* Scope.make())
        yield* Scope.addFinalizer(attempt.scope!, Deferred.await(done))
        cleanup.waiting = true
        cleanup.oneMore()
        const waiting = yield* fork(cleanup.quiet)
        cleanup.release(attempt)
        cleanup.oneLess()
        assert.isUndefined(waiting.pollUnsafe())
        yield* Deferred.succeed(done, undefined)
        assert.isDefined(waiting.pollUnsafe())
        assert.strictEqual(supervisor.size, 0)
      }))

    it.effect("does not wait for what an abandoned attempt leaves: that is supervised", () =>
      Effect.gen(function*() {
        const { cleanup, supervisor } = yield* make
        const done = yield* Deferred.make<void>()
        const attempt = attemptWith(Exit.succeed(1), yield* Scope.make())
        attempt.left = "abandoned"
        yield* Scope.addFinalizer(attempt.scope!, Deferred.await(done))
        cleanup.waiting = true
        cleanup.release(attempt)
        const waiting = yield* fork(cleanup.quiet)
        assert.isDefined(waiting.pollUnsafe())
        assert.strictEqual(supervisor.size, 1)
        yield* Deferred.succeed(done, undefined)
      }))
  })
})
