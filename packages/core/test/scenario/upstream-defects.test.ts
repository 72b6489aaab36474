/** The reverse of what went wrong in the Go library, where it belongs to a whole call. */
import { assert, describe, it } from "@effect/vitest"
import { Backoff, Budget, Classifier, Outcome, Policy, PolicyKey, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Cause, Duration, Effect, Exit, Layer, Random, Schedule } from "effect"
import { TestClock } from "effect/testing"
import type { Line } from "../support.ts"
import {
  askedToWait,
  assertDiesWith,
  assertFailsWith,
  assertSucceedsWith,
  call,
  countingBudget,
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
  under,
  withBudget
} from "../support.ts"

const boom = new Error("boom")

describe("the reverse of the Go library's defects", () => {
  it.effect("a call ends in every interleaving of attempt, budget and backoff", () =>
    Effect.gen(function*() {
      const yields = (n: number) => n === 0 ? Effect.void : Effect.repeat(Effect.yieldNow, { times: n - 1 })
      const microtasks = (n: number) =>
        Effect.promise(async () => {
          for (let i = 0; i < n; i++) await Promise.resolve()
        })
      let ended = 0
      for (const attemptYields of [0, 1, 2, 5]) {
        for (const budgetYields of [0, 1, 3]) {
          for (const stepYields of [undefined, 0, 1, 4]) {
            for (const kind of [yields, microtasks]) {
              const taken = { granted: 0, settled: 0 }
              const granted: Budget.Decision = {
                _tag: "Granted",
                permit: {
                  settle: () => {
                    taken.settled++
                  }
                }
              }
              const answer = Effect.sync(() => {
                taken.granted++
                return granted
              })
              const budget: Budget.Make = Effect.succeed({
                tryAcquire: () =>
                  budgetYields === 0 ? Effect.runSync(answer) : Effect.andThen(kind(budgetYields), answer),
                state: Effect.succeed({ balance: 0 })
              })
              const backoff = stepYields === undefined
                ? Backoff.none
                : Schedule.fromStep(
                  Effect.succeed(() => Effect.as(kind(stepYields), [0, Duration.zero] as [number, Duration.Duration]))
                )
              const effect = Effect.andThen(kind(attemptYields), Effect.fail(boom))
              const calls = Effect.all(
                Array.from({ length: 20 }, () => Effect.exit(effect.pipe(Rego.resilient(key)))),
                { concurrency: "unbounded" }
              )
              const exits = yield* under(calls, withBudget({ retry: { maxAttempts: 4, backoff } }, budget))
              for (const exit of exits) assertFailsWith(exit, boom)
              assert.deepStrictEqual(taken, { granted: 60, settled: 60 })
              ended += exits.length
            }
          }
        }
      }
      assert.strictEqual(ended, 1_920)
    }))

  it.effect("a defect of the effect comes back to its caller, with nobody recovering anything", () =>
    Effect.gen(function*() {
      const defect = new Error("panic")
      const ran = yield* call(
        Effect.sync(() => {
          throw defect
        }),
        { policy: { retry: {} } }
      )
      assertDiesWith(ran.exit, defect)
    }))

  it.effect("what must not run twice is not repeated because it timed out", () =>
    Effect.gen(function*() {
      for (const idempotent of [false, undefined]) {
        const s = script(hangs)
        yield* call(s.effect, { policy: { retry: {}, timeout: { perAttempt: "5 millis" }, idempotent } })
        assert.strictEqual(s.runs, 1)
      }
    }))

  describe("observing changes nothing", () => {
    const observed = <A>(
      effect: () => Effect.Effect<A, Error>,
      layer: () => ReturnType<typeof policiesOf>
    ) =>
      Effect.gen(function*() {
        const at = (ended: { at: number }) =>
          Effect.ensuring(
            Effect.suspend(() => effect().pipe(Rego.resilient(key))),
            TestClock.testClockWith((clock) =>
              Effect.sync(() => {
                ended.at = clock.currentTimeMillisUnsafe()
              })
            )
          )
        const run = (observe: boolean) =>
          Effect.gen(function*() {
            const ended = { at: Number.NaN }
            const from = yield* TestClock.testClockWith((clock) => Effect.succeed(clock.currentTimeMillisUnsafe()))
            const plain = yield* inVirtualTime(
              observe ? Effect.map(Timeline.capture(at(ended)), ([e]) => e) : Effect.exit(at(ended))
            )
              .pipe(Effect.flatten, (self) => under(self, layer()), Random.withSeed(seed))
            return { exit: plain, after: ended.at - from }
          })
        const plain = yield* run(false)
        const captured = yield* run(true)
        assert.strictEqual(captured.after, plain.after)
        assert.strictEqual(captured.exit._tag, plain.exit._tag)
        if (plain.exit._tag === "Failure" && captured.exit._tag === "Failure") {
          assert.deepStrictEqual(Cause.squash(captured.exit.cause), Cause.squash(plain.exit.cause))
        }
        return plain
      })

    it.effect("of an effect that ignores interruption: both end at the overall timeout", () =>
      Effect.gen(function*() {
        const stubborn = () => Effect.uninterruptible(Effect.sleep("203 millis"))
        const ran = yield* observed(stubborn, () => policiesOf({ timeout: { overall: "20 millis" } }))
        assert.strictEqual(ran.after, 20)
        assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "DeadlineExceeded")
      }))

    it.effect("of a denied budget: both end with the failure of the dependency", () =>
      Effect.gen(function*() {
        const ran = yield* observed(() => Effect.fail(boom), () => policiesOf({ retry: {}, budget: "none" }))
        assertFailsWith(ran.exit, boom)
      }))

    it.effect("of a classifier that throws: both end with the failure of the dependency", () =>
      Effect.gen(function*() {
        const bad = Classifier.make(() => {
          throw new Error("bad")
        })
        const ran = yield* observed(() => Effect.fail(boom), () => policiesOf({ retry: {}, classifier: bad }))
        assertFailsWith(ran.exit, boom)
      }))

    it.effect("of a success of null: both give null", () =>
      Effect.gen(function*() {
        const ran = yield* observed(() => Effect.succeed(null), () => policiesOf({ retry: {} }))
        assertSucceedsWith(ran.exit, null)
      }))
  })

  it.effect("a key that no policy matches is served once, not refused and not retried", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const ran = yield* call(s.effect, { layer: PolicyLayer.make({ policies: { "other.Key": { retry: {} } } }) })
      assertFailsWith(ran.exit, boom)
      assert.strictEqual(s.runs, 1)
      assert.strictEqual(ran.timeline.policySource, "missing")
    }))

  it("a backoff never exceeds 30 s because its first wait does", () => {
    assert.throws(
      () => Policy.make({ retry: { backoff: Backoff.exponential({ initial: "1 hour", max: "1 hour" }) } }),
      /must be 0 or between 1ms and 30s/
    )
  })

  it.effect("a number that is no number never makes a hot loop", () =>
    Effect.gen(function*() {
      const nan = Number.NaN
      assert.throws(() => Policy.make({ retry: { maxAttempts: nan } }), /maxAttempts/)
      assert.throws(() => Backoff.exponential({ initial: nan, max: 250 }), /initial/)
      assert.throws(
        () => Policy.make({ retry: { backoff: Backoff.exponential({ initial: 10, max: 250, factor: nan }) } }),
        /factor/
      )
      // and one that comes from a classifier is no hint
      const s = script(fails(askedToWait(nan)))
      yield* call(s.effect, {
        policy: {
          retry: { maxAttempts: 3, backoff: Backoff.constant("100 millis", { jitter: "none" }) },
          classifier: judged
        }
      })
      assert.deepStrictEqual(s.startedAt, [0, 100, 200])
    }))

  it("one bad field never drops the others: a policy is refused whole, with every issue", () => {
    const bad = () =>
      Policy.make({ retry: { maxAttempts: 99, maxRetryAfter: -1 }, timeout: { overall: 0 }, budget: "" })
    try {
      bad()
      assert.fail("it was accepted")
    } catch (error) {
      assert.instanceOf(error, Policy.PolicyInvalid)
      assert.deepStrictEqual(error.issues.map((issue) => issue.path.join(".")).toSorted(), [
        "budget",
        "retry.maxAttempts",
        "retry.maxRetryAfter",
        "timeout.overall"
      ])
    }
  })

  it.effect("healthy calls are never limited by a retry budget that is empty", () =>
    Effect.gen(function*() {
      const { make } = countingBudget({ grants: () => false })
      const s = script(succeeds("ok"))
      const twenty = Effect.all(Array.from({ length: 20 }, () => s.effect.pipe(Rego.resilient(key))))
      const exit = yield* inVirtualTime(twenty).pipe((self) => under(self, withBudget({ retry: {} }, make)))
      assert.strictEqual(exit._tag === "Success" ? exit.value.length : 0, 20)
    }))

  it.effect("retryAfter is exact or the call stops: asked for 1 s with a longest backoff of 250 ms, it waits 1 s", () =>
    Effect.gen(function*() {
      const s = script<string, Error>(fails(askedToWait("1 second")), succeeds("ok"))
      yield* call(s.effect, { policy: { retry: {}, classifier: judged } })
      assert.isAtLeast(s.startedAt[1]!, 1_000)
      const huge = script(fails(askedToWait("9999999999999 seconds")))
      const ran = yield* call(huge.effect, { policy: { retry: {}, classifier: judged } })
      assert.strictEqual(huge.runs, 1)
      assert.strictEqual(ran.rows.at(-2)?.[1], "stop retry_after_too_long")
    }))

  it.effect("nothing sleeps past the deadline, and the last error is kept", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(fails(boom)).effect, {
        policy: {
          retry: { backoff: Backoff.constant("10 seconds", { jitter: "none" }) },
          timeout: { overall: "1 second" }
        }
      })
      assertFailsWith(ran.exit, boom)
      assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 0)
    }))

  it.effect("keys that print alike are the same key", () =>
    Effect.gen(function*() {
      const spellings = [
        "pkg.Service.Method",
        " pkg.Service.Method ",
        "pkg . Service.Method",
        PolicyKey.make("pkg.Service.Method")
      ]
      for (const spelling of spellings) {
        const s = script(fails(boom))
        const layer = PolicyLayer.make({ policies: { "pkg.Service.Method": { retry: { maxAttempts: 4 } } } })
        yield* call(s.effect, { layer, key: spelling })
        assert.strictEqual(s.runs, 4, JSON.stringify(spelling))
      }
    }))

  it.effect("an attempt that was cut by the deadline has its record", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(hangs).effect, { policy: { timeout: { overall: "20 millis" } } })
      assert.deepStrictEqual(
        ran.timeline.attempts.map(({ endedAt, endedBy }) => [endedAt! - ran.timeline.startedAt, endedBy]),
        [
          [20, "timed_out"]
        ]
      )
    }))

  it.effect("nothing starts after the call has ended", () =>
    Effect.gen(function*() {
      const s = script(fails(boom, 7))
      const layer = policiesOf({
        retry: { maxAttempts: 10, backoff: Backoff.constant("5 millis") },
        timeout: { overall: "30 millis" }
      })
      const runs: Array<number> = []
      yield* Effect.gen(function*() {
        yield* inVirtualTime(Effect.exit(s.effect.pipe(Rego.resilient(key))), "31 millis")
        runs.push(s.runs)
        yield* TestClock.adjust("1 hour")
        runs.push(s.runs)
      }).pipe((self) => under(self, layer))
      assert.strictEqual(runs[0], runs[1])
      assert.isAbove(runs[0]!, 1)
    }))

  it.effect("overall timeout holds against an attempt that cannot be interrupted", () =>
    Effect.gen(function*() {
      const stubborn = Effect.uninterruptible(Effect.sleep("10 seconds"))
      const ran = yield* call(stubborn, { policy: { retry: {}, timeout: { overall: "20 millis" } } })
      assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "DeadlineExceeded")
      assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 20)
      assert.strictEqual(ran.timeline.attempts[0]?.endedBy, "abandoned")
    }))

  it.effect("a defect in a classifier is isolated, and said once for the key", () =>
    Effect.gen(function*() {
      const log: Array<Line> = []
      const bad = Classifier.make(() => {
        throw new Error("bad classifier")
      })
      const calls = Effect.all(
        Array.from({ length: 5 }, () => Effect.exit(Effect.fail(boom).pipe(Rego.resilient(key))))
      )
      const exits = yield* under(calls, policiesOf({ retry: {}, classifier: bad }), log)
      for (const exit of exits) assertFailsWith(exit, boom)
      const lines = log.filter((line) => line.message.includes("classifier"))
      assert.strictEqual(lines.length, 1)
      assert.include(Cause.pretty(lines[0]!.cause), "bad classifier")
    }))

  it.effect("attributes that a classifier reuses are not changed", () =>
    Effect.gen(function*() {
      const attributes = Object.freeze({ zone: "a" })
      const reusing = Classifier.make(() => Outcome.retryable({ reason: "busy", attributes }))
      const ran = yield* call(script(fails(boom)).effect, { policy: { retry: {}, classifier: reusing } })
      assertFailsWith(ran.exit, boom)
      assert.deepStrictEqual(attributes, { zone: "a" })
    }))

  it.effect("a success that is tried again is disposed of, once, and the one that is returned is not", () =>
    Effect.gen(function*() {
      const discarded: Array<string> = []
      const busy = Classifier.make<string>((exit) =>
        exit._tag === "Success" && exit.value !== "good" ? Outcome.retryable({ reason: "busy" }) : undefined
      )
      const s = script(succeeds("first"), succeeds("second"), succeeds("good"))
      const ran = yield* call(s.effect, {
        policy: { retry: {} },
        options: { classifier: busy, onDiscard: (value) => Effect.sync(() => discarded.push(value)) }
      })
      assertSucceedsWith(ran.exit, "good")
      assert.deepStrictEqual(discarded, ["first", "second"])
    }))

  it.effect("the same seed gives the same waits", () =>
    Effect.gen(function*() {
      const waits = (seed: string) =>
        Effect.gen(function*() {
          const ran = yield* call(script(fails(boom)).effect, { policy: { retry: { maxAttempts: 5 } }, seed })
          return ran.timeline.decisions.map((decision) => decision._tag === "BackoffScheduled" ? decision.delay : 0)
        })
      assert.deepStrictEqual(yield* waits("a"), yield* waits("a"))
      assert.notDeepEqual(yield* waits("a"), yield* waits("b"))
    }))

  it.effect("options that mean nothing are refused rather than ignored", () =>
    Effect.gen(function*() {
      const boot = (options: object) =>
        Effect.exit(Effect.scoped(Layer.build(PolicyLayer.make({ policies: {}, ...options }))))
      assert.isTrue(Exit.isFailure(yield* boot({ limits: { maxKey: 3 } })))
      assert.isTrue(Exit.isFailure(yield* boot({ defaults: { retrys: {} } })))
    }))
})
