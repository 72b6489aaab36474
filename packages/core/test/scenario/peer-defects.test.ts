/** What goes wrong in other libraries that do the same job (cockatiel, opossum, p-retry, undici, grpc-js …), reversed. */
import { assert, describe, it } from "@effect/vitest"
import { Backoff, Classifier, Deadline, Outcome, PolicyLayer, Rego } from "@rego/core"
import { Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import {
  askedToWait,
  assertFailsWith,
  assertSucceedsWith,
  call,
  countingSleeps,
  fails,
  hangs,
  inVirtualTime,
  judged,
  key,
  policiesOf,
  regoErrorOf,
  script,
  seed,
  succeeds,
  under
} from "../support.ts"

const boom = new Error("boom")

describe("the reverse of peers' defects", () => {
  it.effect("an abort at 100 ms of a backoff of 1 s settles in the same tick, and nothing runs again", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const backoff = Backoff.constant("1 second", { jitter: "none" })
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(s.effect.pipe(Rego.resilient(key)), { startImmediately: true })
        yield* TestClock.adjust("100 millis")
        assert.isUndefined(fiber.pollUnsafe())
        fiber.interruptUnsafe()
        assert.isDefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 hour")
      }).pipe((self) => under(self, policiesOf({ retry: { maxAttempts: 5, backoff } })))
      assert.strictEqual(s.runs, 1)
    }))

  it.effect("an abort while an attempt runs settles in the same tick", () =>
    Effect.gen(function*() {
      const s = script(hangs)
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(s.effect.pipe(Rego.resilient(key)), { startImmediately: true })
        fiber.interruptUnsafe()
        assert.isDefined(fiber.pollUnsafe())
      }).pipe((self) => under(self, policiesOf({ retry: {}, timeout: { perAttempt: "1 second" } })))
      assert.deepStrictEqual([s.runs, s.interrupts], [1, 1])
    }))

  describe("no trap at 2^31 milliseconds", () => {
    // A timer that overflows fires after 1 ms; anything that ends later than that shows that none did.
    const aWhile = Effect.promise(() => new Promise<string>((resolve) => setTimeout(resolve, 5, "in time")))

    it.live("a deadline of 60 days does not fire at once on the live clock", () =>
      Effect.gen(function*() {
        const value = yield* aWhile.pipe(
          Rego.resilient(key),
          Deadline.withDeadline("60 days"),
          (self) => under(self, policiesOf({ retry: {} }))
        )
        assert.strictEqual(value, "in time")
      }))

    it.live("an overall timeout of 24 hours does not fire at once on the live clock", () =>
      Effect.gen(function*() {
        const value = yield* aWhile.pipe(
          Rego.resilient(key),
          (self) => under(self, policiesOf({ timeout: { overall: "24 hours", perAttempt: "24 hours" } }))
        )
        assert.strictEqual(value, "in time")
      }))

    it.effect("an overall timeout of 24 hours fires after 24 hours", () =>
      Effect.gen(function*() {
        const ran = yield* call(script(hangs).effect, {
          policy: { timeout: { overall: "24 hours" } },
          during: "24 hours"
        })
        assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "DeadlineExceeded")
        assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 24 * 3_600_000)
      }))

    it.effect("a deadline of 60 days fires after 60 days", () =>
      Effect.gen(function*() {
        const bounded = script(hangs).effect.pipe(Rego.resilient(key), Deadline.withDeadline("60 days"))
        yield* Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(bounded, { startImmediately: true })
          yield* TestClock.adjust(Duration.subtract(Duration.days(60), Duration.millis(1)))
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          assert.isDefined(fiber.pollUnsafe())
        }).pipe((self) => under(self, policiesOf({})))
      }))

    it.effect("a Retry-After of 2^31 ms, or of a day, ends the call instead of starting a storm", () =>
      Effect.gen(function*() {
        for (const asked of [2 ** 31, 2 ** 31 - 1, 2_147_484_000, 86_400_000, Number.MAX_SAFE_INTEGER]) {
          const s = script(fails(askedToWait(asked)))
          const ran = yield* call(s.effect, {
            policy: { retry: { maxAttempts: 10, maxRetryAfter: "5 minutes" }, classifier: judged }
          })
          assert.strictEqual(s.runs, 1)
          assert.strictEqual(ran.rows.at(-2)?.[1], "stop retry_after_too_long")
        }
      }))
  })

  it.effect("the timeout of one call never touches another that began 5 ms before", () =>
    Effect.gen(function*() {
      const first = script(hangs)
      const second = script(succeeds("second", 30))
      const both = Effect.all([
        Effect.exit(first.effect.pipe(Rego.resilient(key))),
        Effect.exit(Effect.andThen(Effect.sleep("45 millis"), second.effect.pipe(Rego.resilient(key))))
      ], { concurrency: "unbounded" })
      const exit = yield* inVirtualTime(both).pipe(
        Effect.flatten,
        (self) => under(self, policiesOf({ timeout: { perAttempt: "50 millis" } }))
      )
      assert.strictEqual(regoErrorOf(exit[0]).reason._tag, "AttemptTimedOut")
      assertSucceedsWith(exit[1], "second")
      assert.deepStrictEqual([first.interrupts, second.interrupts], [1, 0])
    }))

  it.effect("an overall timeout of 100 ms over retries holds, and no attempt starts afterwards", () =>
    Effect.gen(function*() {
      const s = script(fails(boom, 30))
      const layer = policiesOf({
        retry: { maxAttempts: 10, backoff: Backoff.constant("15 millis", { jitter: "none" }) },
        timeout: { overall: "100 millis" }
      })
      yield* Effect.gen(function*() {
        const exit = yield* inVirtualTime(s.effect.pipe(Rego.resilient(key)), "100 millis")
        assert.strictEqual(regoErrorOf(exit).reason._tag, "DeadlineExceeded")
        yield* TestClock.adjust("1 hour")
      }).pipe((self) => under(self, layer))
      assert.deepStrictEqual(s.startedAt, [0, 45, 90])
    }))

  it.effect("one attempt of 1,500 ms under an overall timeout of 300 ms ends at 300 ms", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(succeeds(1, 1_500)).effect, {
        policy: { retry: {}, timeout: { overall: "300 millis" } }
      })
      assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 300)
    }))

  it.effect("retry with everything default is bounded: 3 attempts, and up to 10 ms and 20 ms between them", () =>
    Effect.gen(function*() {
      const waited = [0, 0]
      for (let i = 0; i < 50; i++) {
        const s = script(fails(boom))
        yield* call(s.effect, { layer: PolicyLayer.defaults, seed: `${seed} ${i}` })
        assert.strictEqual(s.runs, 3)
        const [, second, third] = s.startedAt as [number, number, number]
        for (const [n, wait] of [second, third - second].entries()) {
          assert.isAtMost(wait, 10 * (n + 1))
          waited[n]! += wait
        }
      }
      // with full jitter half of the longest wait on average
      assert.isAbove(waited[0]!, 50 * 3)
      assert.isAbove(waited[1]!, 50 * 6)
    }))

  it.effect("a dead dependency gets 1,005 requests for 1,000 calls by default, not 3,000", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const calls = Effect.all(Array.from({ length: 1_000 }, () => Effect.exit(s.effect.pipe(Rego.resilient(key)))), {
        concurrency: "unbounded"
      })
      // the ratio pays nothing while nothing succeeds; the reserve of a key holds 5 at first
      yield* inVirtualTime(calls, "1 second").pipe((self) => under(self, PolicyLayer.defaults))
      assert.strictEqual(s.runs, 1_005)
    }))

  it.effect("503 as a value and network errors count together: 3 requests, not 9", () =>
    Effect.gen(function*() {
      const by503 = Classifier.make<{ status: number }, Error>((exit) =>
        exit._tag === "Success" && exit.value.status === 503 ? Outcome.retryable({ reason: "http_503" }) : undefined
      )
      const answers = [succeeds({ status: 503 }), succeeds({ status: 503 }), fails(boom)]
      const s = script<{ status: number }, Error>(...answers, ...answers, ...answers)
      const ran = yield* call(s.effect, { policy: { retry: {} }, options: { classifier: by503 } })
      assertFailsWith(ran.exit, boom)
      assert.strictEqual(s.runs, 3)
    }))

  it.effect("asked to wait 2 s with a longest backoff of 100 ms, it is never back sooner", () =>
    Effect.gen(function*() {
      const s = script(fails(askedToWait("2 seconds")))
      yield* call(s.effect, {
        policy: {
          retry: { maxAttempts: 3, backoff: Backoff.exponential({ initial: "10 millis", max: "100 millis" }) },
          classifier: judged
        }
      })
      assert.strictEqual(s.runs, 3)
      assert.isAtLeast(s.startedAt[1]!, 2_000)
      assert.isAtLeast(s.startedAt[2]! - s.startedAt[1]!, 2_000)
    }))

  it.effect("the factor counts under every jitter", () =>
    Effect.gen(function*() {
      for (const jitter of ["full", "equal", "decorrelated"] as const) {
        const backoff = Backoff.exponential({ initial: "10 millis", max: "10 seconds", factor: 9, jitter })
        let longest = 0
        for (let i = 0; i < 40; i++) {
          const s = script(fails(boom))
          yield* call(s.effect, { policy: { retry: { backoff } }, seed: `${jitter} ${i}` })
          longest = Math.max(longest, s.startedAt[2]! - s.startedAt[1]!)
        }
        // a factor of 2 would end at 20 ms, one of 3 at 30 ms
        assert.isAbove(longest, 45, jitter)
      }
    }))

  it.effect("calls that fail together cannot all pass a budget that was checked before they paid", () =>
    Effect.gen(function*() {
      const s = script(fails(boom, 10))
      const calls = Effect.all(Array.from({ length: 100 }, () => Effect.exit(s.effect.pipe(Rego.resilient(key)))), {
        concurrency: "unbounded"
      })
      const layer = PolicyLayer.make({ policies: { [key]: { retry: { maxAttempts: 2 } } } })
      yield* inVirtualTime(calls, "1 second").pipe((self) => under(self, layer))
      assert.strictEqual(s.runs, 105)
    }))

  it.effect("no timer is left behind by a call that ended before its timeouts", () =>
    countingSleeps((pending) =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom), succeeds("ok", 5))
        const exit = yield* inVirtualTime(s.effect.pipe(Rego.resilient(key)), "1 second")
        assertSucceedsWith(exit, "ok")
        assert.strictEqual(pending(), 0)
      }).pipe((self) =>
        under(self, policiesOf({ retry: {}, timeout: { perAttempt: "10 minutes", overall: "1 hour" } }))
      )
    ))
})
