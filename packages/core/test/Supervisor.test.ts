import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { Supervisor } from "../src/Supervisor.ts"
import { fork, Logs, stubborn } from "./driver/probes.ts"

const start = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.map(Effect.context<never>(), (context) => Effect.runForkWith(context)(effect))

const second = Duration.seconds(1)

describe("Supervisor", () => {
  describe("add", () => {
    it.effect("keeps a fiber for as long as it runs", () =>
      Effect.gen(function*() {
        const supervisor = new Supervisor()
        supervisor.add(yield* start(stubborn(10)))
        assert.strictEqual(supervisor.size, 1)
        yield* TestClock.adjust(10)
        assert.strictEqual(supervisor.size, 0)
      }))

    it.effect("keeps a fiber once that is added twice, and none that has ended", () =>
      Effect.gen(function*() {
        const supervisor = new Supervisor()
        const fiber = yield* start(stubborn(10))
        supervisor.add(fiber)
        supervisor.add(fiber)
        supervisor.add(yield* start(Effect.void))
        assert.strictEqual(supervisor.size, 1)
        yield* TestClock.adjust(10)
      }))

    it.effect("keeps nothing after it has been closed", () =>
      Effect.gen(function*() {
        const supervisor = new Supervisor()
        yield* supervisor.close(second)
        const fiber = yield* start(stubborn(10))
        supervisor.add(fiber)
        assert.strictEqual(supervisor.size, 0)
        yield* TestClock.adjust(10)
        assert.deepStrictEqual(fiber.pollUnsafe(), Exit.succeed("late"))
      }))
  })

  describe("close", () => {
    it.effect("ends at once when nothing is left", () =>
      Effect.gen(function*() {
        const closing = yield* fork(new Supervisor().close(second))
        assert.isDefined(closing.pollUnsafe())
      }))

    it.effect("interrupts what is left and waits for its end", () =>
      Effect.gen(function*() {
        const supervisor = new Supervisor()
        const done = yield* Deferred.make<void>()
        const fiber = yield* start(Effect.onInterrupt(Effect.never, () => Deferred.await(done)))
        supervisor.add(fiber)
        const closing = yield* fork(supervisor.close(second))
        assert.isUndefined(closing.pollUnsafe())
        yield* Deferred.succeed(done, undefined)
        yield* Fiber.join(closing)
        assert.isDefined(fiber.pollUnsafe())
      }))

    it.effect("waits as well for what a fiber leaves behind when it ends", () =>
      Effect.gen(function*() {
        const supervisor = new Supervisor()
        const closed = yield* Deferred.make<void>()
        const scope = Effect.runForkWith(yield* Effect.context<never>())
        const fiber = yield* start(Effect.never)
        fiber.addObserver(() => supervisor.add(scope(Deferred.await(closed), { uninterruptible: true })))
        supervisor.add(fiber)
        const closing = yield* fork(supervisor.close(second))
        assert.isDefined(fiber.pollUnsafe())
        assert.isUndefined(closing.pollUnsafe())
        yield* Deferred.succeed(closed, undefined)
        yield* Fiber.join(closing)
      }))

    it.effect("gives up after its timeout, in real time and inside a finalizer, and says how many it left", () =>
      Effect.gen(function*() {
        const supervisor = new Supervisor()
        const logs = new Logs()
        const left = [yield* start(stubborn(1_000)), yield* start(stubborn(1_000))]
        left.forEach((fiber) => supervisor.add(fiber))
        supervisor.add(yield* start(Effect.never))
        const startedAt = performance.now()
        yield* logs.watch(Effect.uninterruptible(supervisor.close(Duration.millis(30))))
        assert.isAtLeast(performance.now() - startedAt, 29)
        assert.deepStrictEqual(logs.lines, [
          "PolicyLayer: 2 abandoned attempts or finalizers still ran after 30ms and were left"
        ])
        yield* TestClock.adjust(1_000)
      }))

    it.effect("says nothing when all have ended in time", () =>
      Effect.gen(function*() {
        const supervisor = new Supervisor()
        const logs = new Logs()
        supervisor.add(yield* start(Effect.never))
        yield* logs.watch(supervisor.close(Duration.zero))
        assert.deepStrictEqual(logs.lines, [])
      }))
  })
})
