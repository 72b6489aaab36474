import { afterEach, assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect } from "effect"
import { TestClock } from "effect/testing"
import { arm } from "../src/Timer.ts"
import { Fibers, Sleeps } from "./driver/probes.ts"

const live = Context.get(Context.empty(), Clock.Clock)
const now = () => Number(live.monotonicTimeNanosUnsafe()) / 1e6

/** Arms a timer on the live clock and waits until it fires; gives how long that took. */
const firesAfter = (millis: number) =>
  new Promise<number>((resolve) => {
    const startedAt = now()
    arm(live, Context.empty(), millis, () => resolve(now() - startedAt))
  })

describe("Timer", () => {
  const host = globalThis.setTimeout
  afterEach(() => {
    globalThis.setTimeout = host
  })

  describe("arm, on the live clock", () => {
    it("fires once, and not before its time", async () => {
      for (const millis of [0, 1, 1.4, 3.9, 10]) assert.isAtLeast(await firesAfter(millis), millis)
    })

    it("waits on where the host fires early", async () => {
      const asked: Array<number> = []
      globalThis.setTimeout = ((f: () => void, millis: number) => {
        asked.push(millis)
        return host(f, asked.length < 3 ? millis / 2 : millis)
      }) as typeof setTimeout
      assert.isAtLeast(await firesAfter(20), 20)
      assert.isAtLeast(asked.length, 2)
    })

    it("never fires after it was cancelled, nor when it waits on", async () => {
      let fired = 0
      const timer = arm(live, Context.empty(), 5, () => fired++)
      timer.cancel()
      timer.cancel()
      globalThis.setTimeout = ((f: () => void, millis: number) => host(f, millis / 4)) as typeof setTimeout
      const early = arm(live, Context.empty(), 20, () => fired++)
      await new Promise((resolve) => host(resolve, 8))
      early.cancel()
      globalThis.setTimeout = host
      await firesAfter(25)
      assert.strictEqual(fired, 0)
    })

    it("takes a negative wait as none", async () => {
      assert.isBelow(await firesAfter(-1_000), 1_000)
    })

    it("asks the host for no more than it can count, and waits on", () => {
      const asked: Array<number> = []
      const pending: Array<() => void> = []
      globalThis.setTimeout = ((f: () => void, millis: number) => {
        asked.push(millis)
        pending.push(f)
        return 0
      }) as unknown as typeof setTimeout
      let fired = false
      const month = 30 * 24 * 3_600_000
      const timer = arm(live, Context.empty(), month, () => (fired = true))
      pending[0]!()
      assert.isFalse(fired)
      assert.isTrue(asked.length === 2 && asked.every((millis) => millis <= 2_147_483_647))
      timer.cancel()
    })

    it("leaves no timer of the host behind when it is cancelled", () => {
      const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length
      const before = timers()
      const armed = Array.from({ length: 20 }, () => arm(live, Context.empty(), 60_000, () => {}))
      assert.isAtLeast(timers(), before + 20)
      for (const timer of armed) timer.cancel()
      assert.isAtMost(timers(), before)
    })
  })

  describe("arm, on any other clock", () => {
    it.effect("fires at its exact time", () =>
      Effect.gen(function*() {
        const context = yield* Effect.context<never>()
        const clock = yield* Clock.clockWith(Effect.succeed)
        const fired: Array<number> = []
        arm(clock, context, 40 * 24 * 3_600_000, () => fired.push(clock.currentTimeMillisUnsafe()))
        yield* TestClock.adjust(40 * 24 * 3_600_000 - 1)
        assert.deepStrictEqual(fired, [])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(fired, [40 * 24 * 3_600_000])
      }))

    it.effect("never fires after it was cancelled, and leaves no sleep and no fiber", () => {
      const sleeps = new Sleeps()
      const fibers = new Fibers()
      return Effect.gen(function*() {
        const before = fibers.live
        const context = yield* Effect.context<never>()
        const clock = yield* Clock.clockWith(Effect.succeed)
        let fired = false
        const timer = arm(clock, context, 10, () => (fired = true))
        assert.strictEqual(sleeps.pending, 1)
        timer.cancel()
        timer.cancel()
        assert.strictEqual(sleeps.pending, 0)
        yield* TestClock.adjust(20)
        assert.isFalse(fired)
        assert.strictEqual(fibers.live, before)
      }).pipe(fibers.watch, sleeps.watch)
    })

    it.effect("fires before it returns where there is nothing to wait for", () =>
      Effect.gen(function*() {
        const context = yield* Effect.context<never>()
        const clock = yield* Clock.clockWith(Effect.succeed)
        for (const millis of [0, -5]) {
          let fired = 0
          const timer = arm(clock, context, millis, () => fired++)
          assert.strictEqual(fired, 1)
          timer.cancel()
          assert.strictEqual(fired, 1)
        }
      }))
  })
})
