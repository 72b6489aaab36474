import { assert, describe, it } from "@effect/vitest"
import { PolicySource } from "@rego/core"
import { Clock, Duration, Effect, Fiber, Queue, Random, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as Refresh from "../src/Refresh.ts"

const timing: Refresh.Timing = {
  interval: 10_000,
  backoff: { initial: 1_000, max: 60_000 },
  maxRetryAfter: 600_000
}

const document = PolicySource.document({ revision: "1" })

const failed = (retryAfter?: Duration.Input): PolicySource.Found =>
  PolicySource.failed(
    new PolicySource.SourceError({
      source: "test",
      reason: {
        _tag: "Unavailable",
        detail: "down",
        retryAfter: retryAfter === undefined ? undefined : Duration.fromInputUnsafe(retryAfter)
      }
    })
  )

/** Runs a source for a while: when it looked, in milliseconds. */
const looksAt = (
  answers: (look: number) => Refresh.Look,
  duration: Duration.Input,
  changed?: Queue.Dequeue<void>
) =>
  Effect.gen(function*() {
    const at: Array<number> = []
    const look = Effect.map(Clock.currentTimeMillis, (now) => {
      at.push(now)
      return answers(at.length)
    })
    const fiber = yield* Effect.forkChild(
      Stream.runDrain(Refresh.stream(timing, Effect.succeed({ look, changed }))),
      { startImmediately: true }
    )
    yield* TestClock.adjust(duration)
    yield* Fiber.interrupt(fiber)
    return at
  }).pipe(Random.withSeed("refresh"))

const gaps = (at: ReadonlyArray<number>) => at.slice(1).map((time, i) => time - at[i]!)

describe("Refresh", () => {
  describe("afterSuccess", () => {
    it("stays within a fifth of the interval", () => {
      assert.deepStrictEqual([0, 0.5, 1].map((random) => Refresh.afterSuccess(1_000, random)), [800, 1_000, 1_200])
    })
  })

  describe("afterFailure", () => {
    it("draws from a range that doubles up to the maximum, and never from zero", () => {
      const longest = [1, 2, 3, 6, 7, 50, 5_000].map((failures) => Refresh.afterFailure(timing, { failures }, 1))
      assert.deepStrictEqual(longest, [1_000, 2_000, 4_000, 32_000, 60_000, 60_000, 60_000])
      assert.strictEqual(Refresh.afterFailure(timing, { failures: 50 }, 0), 100)
      assert.strictEqual(Refresh.afterFailure(timing, { failures: 50 }, 0.5), 30_050)
    })

    it("never comes back earlier than the origin asked, up to a maximum", () => {
      const waits = [0, 0.5, 1].map((random) =>
        Refresh.afterFailure(timing, { failures: 1, retryAfter: 8_000 }, random)
      )
      assert.deepStrictEqual(waits, [8_000, 9_000, 10_000])
      assert.strictEqual(Refresh.afterFailure(timing, { failures: 1, retryAfter: 86_400_000 }, 0), 600_000)
    })

    it("keeps its own wait where that is longer", () => {
      assert.strictEqual(Refresh.afterFailure(timing, { failures: 50, retryAfter: 1 }, 1), 60_000)
    })
  })

  describe("stream", () => {
    it.effect("looks at once, then about every interval", () =>
      Effect.gen(function*() {
        const at = yield* looksAt(() => ({ found: [document] }), "1 hour")
        assert.strictEqual(at[0], 0)
        for (const gap of gaps(at)) {
          assert.isAtLeast(gap, 8_000)
          assert.isAtMost(gap, 12_000)
        }
        assert.isAbove(new Set(gaps(at)).size, 100)
      }))

    it.effect("backs off while it fails, and comes back to the interval", () =>
      Effect.gen(function*() {
        const at = yield* looksAt((look) => ({ found: [look <= 20 ? failed() : document] }), "1 hour")
        const waits = gaps(at).slice(0, 20)
        for (const [i, wait] of waits.entries()) {
          assert.isAtLeast(wait, 100)
          assert.isAtMost(wait, Math.min(1_000 * 2 ** i, 60_000) + 1)
        }
        assert.isAbove(Math.max(...waits), 30_000)
        for (const gap of gaps(at).slice(20)) assert.isAtMost(gap, 12_000)
      }))

    it.effect("counts failures anew after a good look", () =>
      Effect.gen(function*() {
        const at = yield* looksAt((look) => ({ found: [look % 2 === 1 ? failed() : document] }), "1 hour")
        const afterFailures = gaps(at).filter((_, i) => i % 2 === 0)
        for (const gap of afterFailures) assert.isAtMost(gap, 1_001)
      }))

    it.effect("waits as long as a failure asks", () =>
      Effect.gen(function*() {
        const at = yield* looksAt((look) => ({ found: [look === 1 ? failed("2 minutes") : document] }), "10 minutes")
        assert.isAtLeast(gaps(at)[0]!, 120_000)
        assert.isAtMost(gaps(at)[0]!, 150_000)
      }))

    it.effect("waits for the pause of a look in place of the interval", () =>
      Effect.gen(function*() {
        const at = yield* looksAt(() => ({ found: [PolicySource.unchanged], pause: 500 }), "10 seconds")
        for (const gap of gaps(at)) assert.isAtMost(gap, 601)
      }))

    it.effect("looks when something has changed, once for many signals, also while it backs off", () =>
      Effect.gen(function*() {
        const changed = yield* Refresh.signal
        const at: Array<number> = []
        const look = Effect.map(Clock.currentTimeMillis, (now): Refresh.Look => {
          at.push(now)
          return { found: [at.length === 1 ? document : failed("1 minute")] }
        })
        yield* Effect.forkChild(Stream.runDrain(Refresh.stream(timing, Effect.succeed({ look, changed }))), {
          startImmediately: true
        })
        for (const second of [1, 2]) {
          yield* TestClock.setTime(second * 1_000)
          yield* Effect.forEach([1, 2, 3], () => Queue.offer(changed, undefined))
          yield* TestClock.adjust("900 millis")
        }
        assert.deepStrictEqual(at, [0, 1_050, 2_050])
      }))

    it.effect("looks at most twenty times a second, however many signals there are", () =>
      Effect.gen(function*() {
        const changed = yield* Refresh.signal
        const signals = Effect.forever(Effect.andThen(Queue.offer(changed, undefined), Effect.sleep("1 millis")))
        yield* Effect.forkChild(signals, { startImmediately: true })
        const at = yield* looksAt(() => ({ found: [document] }), "1 second", changed)
        assert.isAtLeast(at.length, 19)
        assert.isAtMost(at.length, 21)
      }))

    it.effect("closes its origin when it is interrupted", () =>
      Effect.gen(function*() {
        let open = 0
        const origin = Effect.acquireRelease(
          Effect.sync(() => {
            open++
            return { look: Effect.succeed({ found: [document] }) }
          }),
          () => Effect.sync(() => open--)
        )
        const fiber = yield* Effect.forkChild(Stream.runDrain(Refresh.stream(timing, origin)), {
          startImmediately: true
        })
        assert.strictEqual(open, 1)
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(open, 0)
      }))
  })
})
