import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Option } from "effect"
import { TestClock } from "effect/testing"
import { OneAtATime } from "../src/OneAtATime.ts"

describe("OneAtATime", () => {
  it.effect("answers with the exit of the work", () =>
    Effect.gen(function*() {
      const one = new OneAtATime()
      assert.deepStrictEqual(yield* one.run(Effect.succeed(7), 100), Option.some(Exit.succeed(7)))
      assert.deepStrictEqual(yield* one.run(Effect.fail("no"), 100), Option.some(Exit.fail("no")))
    }))

  it.effect("does not begin work while earlier work has not ended, and answers with new work only", () =>
    Effect.gen(function*() {
      const one = new OneAtATime()
      const first = yield* Deferred.make<string>()
      let begun = 0
      const work = Effect.suspend(() => ++begun === 1 ? Deferred.await(first) : Effect.succeed("new"))
      const run = Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(one.run(Effect.uninterruptible(work), 100), { startImmediately: true })
        yield* TestClock.adjust(100)
        return yield* Fiber.join(fiber)
      })
      assert.deepStrictEqual(yield* run, Option.none())
      assert.deepStrictEqual(yield* run, Option.none())
      assert.strictEqual(begun, 1)
      yield* Deferred.succeed(first, "old")
      assert.deepStrictEqual(yield* run, Option.some(Exit.succeed("new")))
      assert.strictEqual(begun, 2)
    }))

  it.effect("begins anew after it has forgotten", () =>
    Effect.gen(function*() {
      const one = new OneAtATime()
      const fiber = yield* Effect.forkChild(one.run(Effect.never, 100), { startImmediately: true })
      yield* TestClock.adjust(100)
      yield* Fiber.join(fiber)
      one.forget()
      assert.deepStrictEqual(yield* one.run(Effect.succeed(7), 100), Option.some(Exit.succeed(7)))
    }))
})
