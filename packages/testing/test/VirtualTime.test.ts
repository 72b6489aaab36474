import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { VirtualTime } from "../src/VirtualTime.ts"

const run = (time: VirtualTime): void => {
  let next = true
  while (next) next = time.step()
}

describe("VirtualTime", () => {
  it("lets events happen in the order of their instants, and those of one instant in the order they were scheduled", () => {
    const time = new VirtualTime(0)
    const seen: Array<string> = []
    for (const [at, name] of [[5, "c"], [1, "a"], [5, "d"], [2, "b"], [5, "e"]] as const) {
      time.after(at, () => seen.push(`${name} at ${time.now}`))
    }
    run(time)
    assert.deepStrictEqual(seen, ["a at 1", "b at 2", "c at 5", "d at 5", "e at 5"])
  })

  it("forgets what is cancelled, wherever it stands: against a sorted list, a thousand events", () => {
    const time = new VirtualTime(0)
    const seen: Array<number> = []
    const expected: Array<number> = []
    const events = Array.from({ length: 1_000 }, (_, i) => {
      const at = (i * 7_919) % 1_009
      return [at, time.after(at, () => seen.push(at))] as const
    })
    for (const [i, [at, event]] of events.entries()) {
      if (i % 3 === 0) time.cancel(event)
      else expected.push(at)
    }
    assert.strictEqual(time.pending, expected.length)
    run(time)
    assert.deepStrictEqual(seen, expected.toSorted((a, b) => a - b))
  })

  it("cancels twice without harm, and what has happened", () => {
    const time = new VirtualTime(0)
    const [first, second] = [time.after(1, () => {}), time.after(2, () => {})]
    time.cancel(second)
    time.cancel(second)
    run(time)
    time.cancel(first)
    assert.strictEqual(time.pending, 0)
  })

  it("is the clock of the fibers in it: sleeps take no time, and interrupted ones leave nothing", () => {
    const time = new VirtualTime(1_000)
    const fork = Effect.runForkWith(time.context)
    const sleeper = fork(Effect.andThen(Effect.sleep("1 hour"), Clock.currentTimeMillis))
    const never = fork(Effect.sleep("2 hours"))
    assert.strictEqual(time.pending, 2)
    never.interruptUnsafe()
    assert.strictEqual(time.pending, 1)
    run(time)
    assert.deepStrictEqual(sleeper.pollUnsafe(), Effect.runSyncExit(Effect.succeed(3_601_000)))
  })

  it("runs fibers that give way at the same instant, before time passes", () => {
    const time = new VirtualTime(0)
    let at = NaN
    const fiber = Effect.runForkWith(time.context)(Effect.gen(function*() {
      yield* Effect.sleep(3)
      const other = yield* Effect.forkChild(Effect.yieldNow)
      yield* Fiber.join(other)
      at = time.now
    }))
    time.after(3, () => {})
    time.after(4, () => {})
    run(time)
    assert.strictEqual(at, 3)
    assert.isDefined(fiber.pollUnsafe())
  })

  it("adds up waits exactly: whole nanoseconds", () => {
    const time = new VirtualTime(0)
    const waits = Array.from({ length: 1_000 }, () => 0.1)
    const next = (): void => {
      if (waits.pop() !== undefined) time.after(0.1, next)
    }
    next()
    run(time)
    assert.strictEqual(time.now, 100)
    assert.strictEqual(time.monotonicTimeNanosUnsafe(), 100_000_000n)
  })
})
