import { afterEach, assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect } from "effect"
import { TestClock } from "effect/testing"
import type { Holder, Queued, Sharing } from "../src/Timer.ts"
import { Alarm, SharedTimer, TimerSlot } from "../src/Timer.ts"
import { Fibers, Sleeps } from "./driver/probes.ts"

const live = Context.get(Context.empty(), Clock.Clock)
const now = () => Number(live.monotonicTimeNanosUnsafe()) / 1e6

const arm = (
  clock: Clock.Clock,
  context: Context.Context<never>,
  millis: number,
  fire: () => void
): TimerSlot => {
  const slot = new TimerSlot()
  slot.set(clock, context, millis, fire)
  return slot
}

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

    it("waits on where the host fires early", () => {
      const pending: Array<() => void> = []
      globalThis.setTimeout = ((f: () => void) => {
        pending.push(f)
        return 0
      }) as unknown as typeof setTimeout
      let fired = false
      const timer = arm(live, Context.empty(), 60_000, () => (fired = true))
      pending[0]!()
      assert.isFalse(fired)
      assert.strictEqual(pending.length, 2)
      timer.cancel()
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

  describe("armShared, on the live clock", () => {
    class Bell extends Alarm implements Queued {
      holder: Holder | undefined = undefined
      ahead: Sharing | undefined = undefined
      behind: Sharing | undefined = undefined
      due = 0
      rung = 0
      at = 0
      private readonly onRing: (bell: Bell) => void
      constructor(onRing: (bell: Bell) => void = () => {}) {
        super()
        this.onRing = onRing
      }
      arm(millis: number): this {
        this.due = now() + millis
        this.armShared(live, Context.empty(), millis)
        return this
      }
      ring(): void {
        this.rung++
        this.at = now()
        this.onRing(this)
      }
    }
    const timeouts = () => process.getActiveResourcesInfo().filter((resource) => resource === "Timeout").length
    const sleep = (millis: number) => new Promise((resolve) => host(resolve, millis))
    const shares = (millis: number) => SharedTimer.lengths.has(millis)
    /** until the timer of this length has been given up, as each is when nobody waited at its end */
    const settled = async (millis: number): Promise<void> => {
      for (let waited = 0; shares(millis) && waited < 2_000; waited += 10) await sleep(10)
      assert.isFalse(shares(millis))
    }

    it("rings each once, not before its time, in the order in which they were armed", async () => {
      await settled(12)
      const order: Array<number> = []
      const startedAt = now()
      const bells = [0, 1, 2, 3].map((index) => new Bell(() => order.push(index)).arm(12))
      await sleep(4)
      const late = new Bell(() => order.push(4)).arm(12)
      const lateAt = now()
      await sleep(40)
      assert.deepStrictEqual(order, [0, 1, 2, 3, 4])
      for (const bell of bells) assert.isAtLeast(bell.at - startedAt, 12)
      assert.isAtLeast(late.at - lateAt, 11.9)
      assert.deepStrictEqual(
        [...bells, late].map((bell) => [bell.rung, bell.armed]),
        Array.from({ length: 5 }, () => [1, false])
      )
    })

    it("is one timer of the host, however many wait, and none that holds the process when nobody does", async () => {
      await settled(30)
      const before = timeouts()
      const bells = Array.from({ length: 100 }, () => new Bell().arm(30))
      assert.strictEqual(timeouts(), before + 1)
      for (const bell of bells) bell.cancel()
      assert.strictEqual(timeouts(), before)
      const again = new Bell().arm(30)
      assert.strictEqual(timeouts(), before + 1)
      again.cancel()
      again.cancel()
      assert.strictEqual(timeouts(), before)
      assert.isTrue(shares(30))
      await settled(30)
      assert.deepStrictEqual([...bells, again].map((bell) => bell.rung), Array(101).fill(0))
    })

    it("takes one out of the beginning, the middle and the end, and rings the others", async () => {
      for (const out of [0, 2, 4]) {
        const bells = Array.from({ length: 5 }, () => new Bell().arm(8))
        bells[out]!.cancel()
        await sleep(25)
        assert.deepStrictEqual(bells.map((bell) => bell.rung), [0, 1, 2, 3, 4].map((index) => index === out ? 0 : 1))
      }
    })

    it("one that waits again after an idle time waits its whole length", async () => {
      new Bell().arm(30).cancel()
      await sleep(20)
      const startedAt = now()
      const bell = new Bell().arm(30)
      while (bell.rung === 0) await sleep(1)
      assert.isAtLeast(bell.at - startedAt, 30)
    })

    it("what rings may arm itself again, cancel the next, and be the last", async () => {
      await settled(5)
      const last = new Bell()
      const held: Array<number> = []
      let pending = 0
      globalThis.setTimeout = ((f: () => void, millis: number) => {
        pending++
        return host(() => {
          pending--
          f()
        }, millis)
      }) as typeof setTimeout
      const again = (bell: Bell) => {
        if (bell.rung < 3) bell.arm(5)
        setImmediate(() => held.push(pending))
      }
      const bells = [new Bell(again), new Bell(() => last.cancel()), last]
      for (const bell of bells) bell.arm(5)
      while (held.length < 3) await new Promise(setImmediate)
      assert.deepStrictEqual(bells.map((bell) => bell.rung), [3, 1, 0])
      // one timer of the host while it waits again, and none after the last
      assert.deepStrictEqual(held, [1, 1, 0])
      await settled(5)
    })

    it("asks the host for what is left, where the code that began to wait has taken time since", () => {
      const asked: Array<number> = []
      globalThis.setTimeout = ((_: () => void, millis: number) => asked.push(millis)) as unknown as typeof setTimeout
      const bell = new Bell()
      bell.due = now() + 20_000
      bell.armShared(live, Context.empty(), 100_000)
      assert.lengthOf(asked, 1)
      assert.isAtMost(asked[0]!, 20_000)
      bell.cancel()
    })

    it("waits in vain for nobody: what is due at once or at no time has a timer of its own", async () => {
      const bells = [0, 0.5, -3, NaN].map((millis) => new Bell().arm(millis))
      for (const millis of [0, 0.5, -3, NaN]) assert.isFalse(shares(millis))
      await sleep(10)
      assert.deepStrictEqual(bells.map((bell) => bell.rung), [1, 1, 1, 1])
    })

    it("shares at most 256 lengths; an alarm of one more has a timer of its own", async () => {
      const bells = Array.from({ length: 300 }, (_, index) => new Bell().arm(1 + index / 100))
      assert.strictEqual(SharedTimer.lengths.size, 256)
      while (bells.some((bell) => bell.armed)) await sleep(5)
      await sleep(5)
      assert.isTrue(bells.every((bell) => bell.rung === 1))
    })

    it("clears its timer where the host has numbers that hold nothing", async () => {
      await settled(17)
      const cleared: Array<unknown> = []
      const clear = globalThis.clearTimeout
      globalThis.setTimeout = (() => 7) as unknown as typeof setTimeout
      globalThis.clearTimeout = ((handle: unknown) => cleared.push(handle)) as typeof clearTimeout
      const bell = new Bell().arm(17)
      bell.cancel()
      globalThis.clearTimeout = clear
      assert.deepStrictEqual(cleared, [7])
      assert.isFalse(shares(17))
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
