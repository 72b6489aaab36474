/**
 * What docs/comparison.md says about others and can be run here. When a new version of one of them makes a row fail, the
 * page is out of date: mend both.
 */
import { assert, describe, it } from "@effect/vitest"
import { ExponentialBackoff, handleAll, retry, timeout, TimeoutStrategy, wrap } from "cockatiel"
import { Effect, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import CircuitBreaker from "opossum"
import pRetry from "p-retry"
import { afterEach, beforeEach, vi } from "vitest"

const calls = Array.from({ length: 1_000 })

/** A dependency that answers nobody, and counts. */
const dead = () => {
  let requests = 0
  return {
    requests: () => requests,
    request: (): Promise<never> => {
      requests++
      return Promise.reject(new Error("503"))
    }
  }
}

/** Follows a promise: how it ended, and at which time of the fake clock. */
const follow = (promise: Promise<unknown>) => {
  const start = Date.now()
  const seen: { ended?: readonly [how: string, at: number] } = {}
  promise.then(
    () => seen.ended = ["resolved", Date.now() - start],
    () => seen.ended = ["rejected", Date.now() - start]
  )
  return seen
}

describe("peers", () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  describe("cockatiel", () => {
    it("has no budget: 1,000 calls of 3 attempts to a dead dependency are 3,000 requests", async () => {
      const { request, requests } = dead()
      const policy = retry(handleAll, { maxAttempts: 2, backoff: new ExponentialBackoff({ initialDelay: 1 }) })
      const all = Promise.allSettled(calls.map(() => policy.execute(request)))
      await vi.advanceTimersByTimeAsync(60_000)
      await all
      assert.strictEqual(requests(), 3_000)
    })

    it("retries for ever and without a wait unless it is told otherwise", async () => {
      let attempts = 0
      const ended = follow(
        retry(handleAll, {}).execute(() => {
          if (++attempts < 1_000) throw new Error("503")
        })
      )
      await vi.advanceTimersByTimeAsync(5_000)
      assert.strictEqual(attempts, 1_000)
      // a timer of no time is a millisecond at most
      assert.isAtMost(ended.ended![1], 1_000)
    })

    it("hears an abort in a backoff when the backoff is over, after it ran the function once more", async () => {
      const { request, requests } = dead()
      const controller = new AbortController()
      const backoff = new ExponentialBackoff({
        initialDelay: 1_000,
        maxDelay: 1_000,
        generator: (state) => [1_000, state]
      })
      const ended = follow(retry(handleAll, { maxAttempts: 1, backoff }).execute(request, controller.signal))
      await vi.advanceTimersByTimeAsync(100)
      controller.abort()
      await vi.advanceTimersByTimeAsync(100)
      assert.strictEqual(ended.ended, undefined)
      await vi.advanceTimersByTimeAsync(10_000)
      assert.deepStrictEqual([ended.ended?.[1], requests()], [1_000, 2])
    })

    it("goes on behind the back of a caller whose aggressive timeout has passed", async () => {
      const { request, requests } = dead()
      const backoff = new ExponentialBackoff({ initialDelay: 200, generator: (state) => [200, state] })
      const policy = wrap(timeout(100, TimeoutStrategy.Aggressive), retry(handleAll, { maxAttempts: 1, backoff }))
      const ended = follow(policy.execute(request))
      await vi.advanceTimersByTimeAsync(100)
      assert.deepStrictEqual([ended.ended, requests()], [["rejected", 100], 1])
      await vi.advanceTimersByTimeAsync(1_000)
      assert.strictEqual(requests(), 2)
    })
  })

  describe("p-retry", () => {
    it("has no budget either", async () => {
      const { request, requests } = dead()
      const all = Promise.allSettled(calls.map(() => pRetry(request, { retries: 2, minTimeout: 1 })))
      await vi.advanceTimersByTimeAsync(60_000)
      await all
      assert.strictEqual(requests(), 3_000)
    })

    it("waits without jitter unless it is told otherwise", async () => {
      const at: Array<number> = []
      const start = Date.now()
      const call = pRetry(() => {
        at.push(Date.now() - start)
        throw new Error("503")
      }, { retries: 2 }).catch(() => {})
      await vi.advanceTimersByTimeAsync(60_000)
      await call
      assert.deepStrictEqual(at, [0, 1_000, 3_000])
    })

    it("looks at maxRetryTime between attempts, and not while one runs", async () => {
      const slow = () => new Promise((_, reject) => setTimeout(() => reject(new Error("503")), 1_500))
      const ended = follow(pRetry(slow, { retries: 2, maxRetryTime: 300 }))
      await vi.advanceTimersByTimeAsync(60_000)
      assert.deepStrictEqual(ended.ended, ["rejected", 1_500])
    })
  })

  describe("opossum", () => {
    it("does not retry", async () => {
      const { request, requests } = dead()
      const breaker = new CircuitBreaker(request)
      await breaker.fire().catch(() => {})
      breaker.shutdown()
      assert.strictEqual(requests(), 1)
    })

    it("has one signal for all calls: the timeout of one aborts another that has just begun", async () => {
      const abortController = new AbortController()
      const breaker = new CircuitBreaker(() => new Promise(() => {}), { timeout: 50, abortController })
      const first = follow(breaker.fire())
      await vi.advanceTimersByTimeAsync(45)
      const second = follow(breaker.fire())
      await vi.advanceTimersByTimeAsync(5)
      assert.deepStrictEqual([first.ended, second.ended], [["rejected", 50], undefined])
      assert.isTrue(abortController.signal.aborted)
      breaker.shutdown()
    })
  })
})

describe("Effect alone", () => {
  const attemptsOf = <A, E, R>(schedule: Schedule.Schedule<A, string, E, R>) =>
    Effect.gen(function*() {
      let requests = 0
      const request = Effect.suspend(() => Effect.fail(`failure ${++requests}`))
      const all = yield* Effect.forEach(calls, () => Effect.ignore(Effect.retry(request, schedule)), {
        concurrency: "unbounded"
      }).pipe(Effect.forkChild({ startImmediately: true }))
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(all)
      return requests
    })

  it.effect("has no budget: a schedule knows its own call only", () =>
    Effect.gen(function*() {
      const schedule = Schedule.exponential("1 millis").pipe(Schedule.jittered, Schedule.upTo({ times: 2 }))
      assert.strictEqual(yield* attemptsOf(schedule), 3_000)
    }))

  const uninterruptible = Effect.uninterruptible(Effect.sleep("300 millis"))

  it.effect("waits with Effect.timeout for what cannot be interrupted", () =>
    Effect.gen(function*() {
      const call = yield* Effect.forkChild(Effect.timeout(uninterruptible, "10 millis"), { startImmediately: true })
      yield* TestClock.adjust("299 millis")
      assert.strictEqual(call.pollUnsafe(), undefined)
      yield* TestClock.adjust("1 millis")
      assert.isDefined(call.pollUnsafe())
    }))

  it.effect("waits with Effect.raceFirst for a loser that cannot be interrupted", () =>
    Effect.gen(function*() {
      const race = Effect.raceFirst(uninterruptible, Effect.sleep("10 millis"))
      const call = yield* Effect.forkChild(race, { startImmediately: true })
      yield* TestClock.adjust("299 millis")
      assert.strictEqual(call.pollUnsafe(), undefined)
      yield* TestClock.adjust("1 millis")
      assert.isDefined(call.pollUnsafe())
    }))
})
