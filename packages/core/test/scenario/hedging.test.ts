/**
 * Hedging against what the Go library's suite checks and what goes wrong in it (their ids in brackets: `H`, `E`, and the
 * numbers of its defects), and against the schedule of gRFC A6.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Classifier, Hedge, Outcome, PolicyProvider, Timeline } from "@rego/core"
import { Data, Deferred, Effect, Exit, Fiber, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { Row } from "../support.ts"
import {
  askedToWait,
  assertFailsWith,
  assertSucceedsWith,
  call,
  countingBudget,
  countingSleeps,
  fails,
  hangs,
  inVirtualTime,
  Judged,
  judged,
  key,
  policiesOf,
  regoErrorOf,
  resilient,
  script,
  succeeds,
  under,
  withBudget
} from "../support.ts"

const boom = new Error("boom")

const hedged = (delay: number, maxHedges = 1, more: Policy.Input = {}): Policy.Input => ({
  idempotent: true,
  hedge: { trigger: Hedge.after(delay), maxHedges, maxFailing: 1 },
  ...more
})

class HttpError extends Data.TaggedError("HttpError")<{ readonly status: number }> {}
const http = Classifier.byTag<HttpError>({
  HttpError: ({ status }) =>
    status >= 500 ? Outcome.retryable({ reason: "http_5xx" }) : Outcome.nonRetryable({ reason: `http_${status}` })
})

const elapsed = (timeline: Timeline.Timeline) => timeline.endedAt - timeline.startedAt

const endedBy = (timeline: Timeline.Timeline) =>
  timeline.attempts.map(({ attempt, endedBy }) => `${attempt.retry}.${attempt.hedge} ${endedBy}`)

const hedges = Effect.gen(function*() {
  const provider = yield* PolicyProvider.PolicyProvider
  return Option.getOrThrow(Option.getOrThrow(yield* provider.statistics(key)).hedging).hedges
})

describe("upstream's rows on hedging", () => {
  it.effect("fixed 100 ms: at 50 ms nothing, at 100 ms a hedge [H01]", () =>
    Effect.gen(function*() {
      const early = script(succeeds("ok", 50), hangs)
      yield* call(early.effect, { policy: hedged(100) })
      assert.deepStrictEqual(early.startedAt, [0])
      const late = script(succeeds("ok", 150), hangs)
      yield* call(late.effect, { policy: hedged(100) })
      assert.deepStrictEqual(late.startedAt, [0, 100])
    }))

  it.effect("fixed 40 ms: three attempts with at most two hedges, no more [H02]", () =>
    Effect.gen(function*() {
      const s = script(succeeds("ok", 500), hangs, hangs)
      yield* call(s.effect, { policy: hedged(40, 2) })
      assert.deepStrictEqual(s.startedAt, [0, 40, 80])
    }))

  it.effect("samples of 1 to 100 ms: p50, p90 and p99 hedge at those times within 3 %, an empty window never [H03 H05]", () =>
    Effect.gen(function*() {
      const startOf = (q: number, samples: number) =>
        Effect.gen(function*() {
          for (let ms = 1; ms <= samples; ms++) yield* resilient(Effect.delay(Effect.succeed("ok"), ms), key)
          const s = script(succeeds("slow", 500), hangs)
          yield* resilient(s.effect, key)
          return s.startedAt[1]
        }).pipe(
          (self) => inVirtualTime(self),
          Effect.flatten,
          (self) =>
            under(self, policiesOf({ idempotent: true, hedge: { trigger: Hedge.quantile(q, { minSamples: 100 }) } }))
        )
      for (const q of [0.5, 0.9, 0.99]) assert.closeTo((yield* startOf(q, 100))!, q * 100, q * 100 * 0.035)
      assert.isUndefined(yield* startOf(0.5, 0))
    }))

  it.effect("a NonRetryable failure of any attempt ends the group with that failure [E35]", () =>
    Effect.gen(function*() {
      const notFound = new HttpError({ status: 404 })
      const s = script<string, HttpError>(hangs, fails(notFound, 5))
      const ran = yield* call(s.effect, { policy: hedged(10, 3, { classifier: http }) })
      assertFailsWith(ran.exit, notFound)
      assert.strictEqual(elapsed(ran.timeline), 15)
    }))

  it.effect("a trigger that says not now is asked again for the next attempt [E36]", () =>
    Effect.gen(function*() {
      const trigger = Hedge.quantile(0.9, { minSamples: 1 })
      const starts = yield* Effect.gen(function*() {
        const first = script(succeeds("no samples yet", 20), hangs)
        yield* resilient(first.effect, key)
        const second = script(succeeds("slow", 100), hangs)
        yield* resilient(second.effect, key)
        return [first.runs, second.runs]
      }).pipe(
        (self) => inVirtualTime(self),
        Effect.flatten,
        (self) => under(self, policiesOf({ idempotent: true, hedge: { trigger } }))
      )
      assert.deepStrictEqual(starts, [1, 2])
    }))

  it.effect("a caller that goes away ends the group: both attempts are interrupted, and written down so [E37]", () =>
    Effect.gen(function*() {
      const s = script(hangs)
      const [exit, [timeline]] = yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(Timeline.capture(Effect.timeoutOption(resilient(s.effect, key), 15)), {
          startImmediately: true
        })
        yield* TestClock.adjust(15)
        return yield* Fiber.join(fiber)
      }).pipe((self) => under(self, policiesOf(hedged(10))))
      assertSucceedsWith(Exit.map(exit, Option.isNone), true)
      assert.deepStrictEqual(endedBy(timeline!), ["0.0 interrupted_caller", "0.1 interrupted_caller"])
      assert.deepStrictEqual([timeline!.result, s.interrupts], ["interrupted", 2])
    }))

  it.effect("primary and hedge both run, the primary wins [E38]", () =>
    Effect.gen(function*() {
      const s = script(succeeds("ok", 20), succeeds("hedge", 50))
      const ran = yield* call(s.effect, { policy: hedged(10) })
      assertSucceedsWith(ran.exit, "ok")
      assert.deepStrictEqual(endedBy(ran.timeline), ["0.0 returned", "0.1 interrupted_loser"])
    }))

  it.effect("the hedge wins, the primary is interrupted, both are in the timeline [E39 4.3-1]", () =>
    Effect.gen(function*() {
      const s = script(hangs, succeeds("hedge", 5))
      const ran = yield* call(s.effect, { policy: hedged(10) })
      assertSucceedsWith(ran.exit, "hedge")
      assert.deepStrictEqual(endedBy(ran.timeline), ["0.0 interrupted_loser", "0.1 returned"])
      assert.strictEqual(s.interrupts, 1)
    }))

  it.effect("two groups of two attempts that all time out make four records [E40]", () =>
    Effect.gen(function*() {
      const s = script(hangs)
      const ran = yield* call(s.effect, {
        policy: hedged(10, 1, { timeout: { perAttempt: 50 }, retry: { maxAttempts: 2, backoff: Backoff.none } })
      })
      assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "AttemptTimedOut")
      assert.deepStrictEqual(endedBy(ran.timeline), ["0.0", "0.1", "1.0", "1.1"].map((name) => `${name} timed_out`))
      assert.strictEqual(s.runs, 4)
    }))

  it.effect("20 calls of 5 ms, then a primary of 50 ms: the hedge's 100 wins, one primary and one hedge [E41]", () =>
    Effect.gen(function*() {
      const seen = yield* Effect.gen(function*() {
        for (let i = 0; i < 20; i++) yield* resilient(Effect.delay(Effect.succeed(1), 5), key)
        const s = script(succeeds(1, 50), succeeds(100))
        const value = yield* resilient(s.effect, key)
        return { value, runs: s.runs, hedges: yield* hedges }
      }).pipe(
        (self) => inVirtualTime(self),
        Effect.flatten,
        (self) =>
          under(self, policiesOf({ idempotent: true, hedge: { trigger: Hedge.quantile(0.5, { minSamples: 20 }) } }))
      )
      assert.deepStrictEqual([seen.value, seen.runs], [100, 2])
      assert.deepStrictEqual([seen.hedges.started, seen.hedges.won], [1, 1])
    }))
})

describe("the reverse of upstream's defects", () => {
  it.effect("a hedged call that fails ends, whatever the order in which its attempts do [4.1-1]", () =>
    Effect.gen(function*() {
      for (let primary = 1; primary <= 30; primary++) {
        for (const hedge of [1, 5, 10, 15, 20]) {
          for (const retry of [undefined, { maxAttempts: 1 }]) {
            const s = script(fails(boom, primary), fails(boom, hedge))
            const ran = yield* call(s.effect, { policy: hedged(10, 1, { retry }) })
            assertFailsWith(ran.exit, boom)
          }
        }
      }
    }))

  it.effect("a denied hedge leaves a healthy call alone: the primary succeeds at 50 ms [4.1-7]", () =>
    Effect.gen(function*() {
      const { counts, make } = countingBudget({ grants: () => false })
      const s = script(succeeds("ok", 50))
      const ran = yield* call(s.effect, { layer: withBudget(hedged(10, 3), make) })
      assertSucceedsWith(ran.exit, "ok")
      assert.deepStrictEqual([elapsed(ran.timeline), s.runs, counts.asked], [50, 1, 3])
      assert.deepStrictEqual(ran.timeline.attempts.length, 1)
    }))

  it.effect("a 400 of a hedge is final, although the primary's 503 would come later: 2 executions, not 6 [4.2-4]", () =>
    Effect.gen(function*() {
      const bad = new HttpError({ status: 400 })
      const s = script<string, HttpError>(fails(new HttpError({ status: 503 }), 20), fails(bad, 5))
      const ran = yield* call(s.effect, { policy: hedged(10, 1, { classifier: http, retry: { maxAttempts: 3 } }) })
      assertFailsWith(ran.exit, bad)
      assert.strictEqual(s.runs, 2)
    }))

  it.effect("nothing is sent twice at a time unless someone says that it may be [4.2-19]", () =>
    Effect.gen(function*() {
      for (const idempotent of [undefined, false] as const) {
        const s = script(succeeds("ok", 100), hangs)
        yield* call(s.effect, { policy: hedged(10, 3, { idempotent }) })
        assert.strictEqual(s.runs, 1)
      }
      const post = script(succeeds("ok", 100), hangs)
      yield* call(post.effect, { policy: hedged(10, 3), options: { idempotent: false } })
      assert.strictEqual(post.runs, 1)
    }))

  it.effect("no hedge starts after a final failure, although another attempt goes on [4.2-19]", () =>
    Effect.gen(function*() {
      let runs = 0
      const stubborn = Effect.uninterruptible(Effect.delay(Effect.succeed("late"), 500))
      const final = Effect.fail(new Judged(Outcome.nonRetryable({ reason: "final" })))
      const ran = yield* call(Effect.suspend((): Effect.Effect<string, Judged> => runs++ === 0 ? stubborn : final), {
        policy: hedged(10, 3, { classifier: judged })
      })
      assert.strictEqual(elapsed(ran.timeline), 10)
      assert.deepStrictEqual(endedBy(ran.timeline), ["0.0 abandoned", "0.1 returned"])
      assert.strictEqual(runs, 2)
    }))

  it.effect("an overall timeout leaves a record for each attempt that it cut [4.3-1]", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(hangs).effect, { policy: hedged(10, 2, { timeout: { overall: 25 } }) })
      assert.deepStrictEqual(endedBy(ran.timeline), ["0.0 timed_out", "0.1 timed_out", "0.2 timed_out"])
    }))

  it.effect("losers say why they ended [4.3-2]", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(hangs, hangs, succeeds("ok", 1)).effect, { policy: hedged(10, 2) })
      assert.deepInclude(ran.rows, [21, "interrupted_loser 0"] as Row)
      assert.deepInclude(ran.rows, [21, "interrupted_loser 0.1"] as Row)
    }))

  it.effect(
    "3,000 calls whose hedges are due at once start nothing after their end [4.3-3]",
    () =>
      Effect.gen(function*() {
        const seen = { ended: 0, late: 0, runs: 0 }
        yield* countingSleeps((pending) =>
          Effect.gen(function*() {
            for (let i = 0; i < 3_000; i++) {
              let over = false
              const attempt = Effect.suspend(() => {
                seen.runs++
                if (over) seen.late++
                return i % 3 === 0 ? Effect.succeed("sync") : Effect.delay(Effect.succeed("ok"), 1 + i % 3)
              })
              const fiber = yield* Effect.forkChild(
                Effect.onExit(resilient(attempt, key), () =>
                  Effect.sync(() => {
                    over = true
                    seen.ended++
                  })),
                { startImmediately: true }
              )
              if (i % 100 === 99) {
                yield* TestClock.adjust(5)
                assert.isDefined(fiber.pollUnsafe())
              }
            }
            yield* TestClock.adjust("1 minute")
            assert.strictEqual(pending(), 0)
          }).pipe((self) => under(self, policiesOf(hedged(1, 3))))
        )
        assert.deepStrictEqual([seen.ended, seen.late], [3_000, 0])
        assert.isAbove(seen.runs, 3_000)
      }),
    30_000
  )

  it.effect("three hedges of a quantile start at their own due times, not all at once [4.4-4]", () =>
    Effect.gen(function*() {
      const startedAt = yield* Effect.gen(function*() {
        for (let i = 0; i < 50; i++) yield* resilient(Effect.delay(Effect.succeed("ok"), 2.4), key)
        const s = script(succeeds("slow", 100), hangs)
        yield* resilient(s.effect, key)
        return s.startedAt
      }).pipe(
        (self) => inVirtualTime(self),
        Effect.flatten,
        (self) => under(self, policiesOf({ idempotent: true, hedge: { trigger: Hedge.quantile(0.5), maxHedges: 3 } }))
      )
      assert.strictEqual(startedAt.length, 4)
      for (const [i, at] of startedAt.entries()) assert.closeTo(at, i * 2.4, i * 2.4 * 0.03 + 0.001)
    }))

  it.effect("a cold key hedges after the fallback, and min holds for quantiles too [4.4-5]", () =>
    Effect.gen(function*() {
      const trigger = Hedge.quantile(0.5, { fallback: 30, min: 10, minSamples: 10 })
      const starts = yield* Effect.gen(function*() {
        const cold = script(succeeds("slow", 100), hangs)
        yield* resilient(cold.effect, key)
        for (let i = 0; i < 50; i++) yield* resilient(Effect.delay(Effect.succeed("ok"), 2), key)
        const warm = script(succeeds("slow", 100), hangs)
        yield* resilient(warm.effect, key)
        return [cold.startedAt, warm.startedAt]
      }).pipe(
        (self) => inVirtualTime(self),
        Effect.flatten,
        (self) => under(self, policiesOf({ idempotent: true, hedge: { trigger, maxFailing: 1 } }))
      )
      assert.deepStrictEqual(starts, [[0, 30], [0, 10]])
    }))

  it.effect("the delay of a trigger is its own: 15 ms are 15 ms, and not a default of 200 [4.4-7]", () =>
    Effect.gen(function*() {
      const s = script(succeeds("ok", 120), hangs)
      yield* call(s.effect, { policy: hedged(15) })
      assert.deepStrictEqual(s.startedAt, [0, 15])
    }))

  it.effect("a success that lost is given to onDiscard, and its scope is closed [4.5]", () =>
    Effect.gen(function*() {
      const events: Array<string> = []
      let runs = 0
      yield* Effect.gen(function*() {
        const scope = yield* Scope.make()
        const arrived = yield* Deferred.make<void>()
        const response = Effect.gen(function*() {
          const name = `response ${runs++}`
          yield* Effect.addFinalizer((exit) => Effect.sync(() => events.push(`close ${name}: ${exit._tag}`)))
          yield* Deferred.await(arrived)
          return name
        })
        const onDiscard = (name: string) => Effect.sync(() => void events.push(`discard ${name}`))
        const fiber = yield* Effect.forkChild(
          Effect.provideService(resilient(response, key, { onDiscard }), Scope.Scope, scope),
          { startImmediately: true }
        )
        yield* TestClock.adjust(10)
        yield* Deferred.succeed(arrived, undefined)
        assertSucceedsWith(yield* Fiber.await(fiber), "response 0")
        assert.deepStrictEqual(events.toSorted(), ["close response 1: Failure", "discard response 1"])
      }).pipe((self) => under(self, policiesOf(hedged(10))))
    }))

  it.effect("a hedge that ignores its interruption keeps its permit until it ends, and no longer [4.5]", () =>
    Effect.gen(function*() {
      const { counts, make } = countingBudget()
      let runs = 0
      const stubborn = Effect.uninterruptible(Effect.delay(Effect.succeed("late"), 1_000))
      const effect = Effect.suspend(() => runs++ === 0 ? Effect.delay(Effect.succeed("ok"), 20) : stubborn)
      yield* Effect.gen(function*() {
        assertSucceedsWith(yield* inVirtualTime(resilient(effect, key), 20), "ok")
        assert.deepStrictEqual([counts.taken, counts.used], [1, 0])
        yield* TestClock.adjust(989)
        assert.deepStrictEqual([counts.taken, counts.used], [1, 0])
        yield* TestClock.adjust(1)
        assert.deepStrictEqual([counts.taken, counts.used, counts.unused, counts.again], [1, 1, 0, 0])
      }).pipe((self) => under(self, withBudget(hedged(10), make)))
    }))
})

describe("gRFC A6", () => {
  /** A policy without a retry section: a method has a retry policy or a hedging policy, never both. */
  const policy = (attempts: number, delay = 100): Policy.Input => hedged(delay, attempts - 1, { classifier: judged })
  const unavailable = new Judged(Outcome.retryable({ reason: "UNAVAILABLE" }))
  const invalid = new Judged(Outcome.nonRetryable({ reason: "INVALID_ARGUMENT" }))

  it.effect("attempt k is sent at (k - 1) × hedgingDelay", () =>
    Effect.gen(function*() {
      for (const attempts of [2, 3, 4]) {
        const s = script(succeeds("ok", 1_000), hangs)
        yield* call(s.effect, { policy: policy(attempts) })
        assert.deepStrictEqual(s.startedAt, Array.from({ length: attempts }, (_, k) => k * 100))
      }
    }))

  it.effect("the first success cancels all others", () =>
    Effect.gen(function*() {
      const s = script(hangs, succeeds("second", 50), hangs)
      const ran = yield* call(s.effect, { policy: policy(4) })
      assertSucceedsWith(ran.exit, "second")
      assert.deepStrictEqual([s.runs, s.interrupts, elapsed(ran.timeline)], [2, 1, 150])
    }))

  it.effect("a non-fatal status sends the next hedge at once, and the one after it a delay later", () =>
    Effect.gen(function*() {
      const s = script<string, unknown>(fails(unavailable, 30), hangs, hangs, succeeds("fourth", 10))
      const ran = yield* call(s.effect, { policy: policy(4) })
      assertSucceedsWith(ran.exit, "fourth")
      assert.deepStrictEqual(s.startedAt, [0, 30, 130, 230])
    }))

  it.effect("each of them sends the next at once", () =>
    Effect.gen(function*() {
      const s = script<string, unknown>(...[1, 2, 3].map(() => fails(unavailable, 10)), succeeds("fourth", 10))
      const ran = yield* call(s.effect, { policy: policy(4) })
      assertSucceedsWith(ran.exit, "fourth")
      assert.deepStrictEqual(s.startedAt, [0, 10, 20, 30])
    }))

  it.effect("any other status ends the call", () =>
    Effect.gen(function*() {
      const s = script<string, unknown>(hangs, fails(invalid, 20), succeeds("never"))
      const ran = yield* call(s.effect, { policy: policy(4) })
      assertFailsWith(ran.exit, invalid)
      assert.deepStrictEqual([s.runs, elapsed(ran.timeline)], [2, 120])
    }))

  it.effect("when all fail, the call fails after the last one", () =>
    Effect.gen(function*() {
      const s = script(fails(unavailable, 10))
      const ran = yield* call(s.effect, { policy: policy(4) })
      assertFailsWith(ran.exit, unavailable)
      assert.deepStrictEqual([s.startedAt, elapsed(ran.timeline)], [[0, 10, 20, 30], 40])
    }))

  it.effect("a pushback of n ms sends the next hedge at n, then every hedgingDelay", () =>
    Effect.gen(function*() {
      const s = script<string, unknown>(fails(askedToWait(250), 30), hangs, hangs, succeeds("fourth", 10))
      const ran = yield* call(s.effect, { policy: policy(4) })
      assertSucceedsWith(ran.exit, "fourth")
      assert.deepStrictEqual(s.startedAt, [0, 280, 380, 480])
    }))

  it.effect("a pushback while others run moves the next hedge as well", () =>
    Effect.gen(function*() {
      const s = script<string, unknown>(hangs, fails(askedToWait(20), 10), hangs, succeeds("fourth", 10))
      const ran = yield* call(s.effect, { policy: policy(4) })
      assertSucceedsWith(ran.exit, "fourth")
      assert.deepStrictEqual(s.startedAt, [0, 100, 130, 230])
    }))

  it.effect("a throttled hedge does not hang to the deadline: the call ends with what it has [grpc-java 7222]", () =>
    Effect.gen(function*() {
      const { make } = countingBudget({ grants: () => false })
      const s = script(fails(unavailable, 30))
      const ran = yield* call(s.effect, {
        layer: withBudget({ ...policy(4), timeout: { overall: 10_000 } }, make)
      })
      assertFailsWith(ran.exit, unavailable)
      assert.strictEqual(elapsed(ran.timeline), 30)
    }))
})

describe("the reverse of peers' defects", () => {
  it.effect("a hedge does not wait out its delay after the primary failed (alfred: 503 ms instead of 0)", () =>
    Effect.gen(function*() {
      const s = script<string, Error>(fails(boom), succeeds("hedge"))
      const ran = yield* call(s.effect, { policy: hedged(500) })
      assertSucceedsWith(ran.exit, "hedge")
      assert.strictEqual(elapsed(ran.timeline), 0)
    }))

  it.effect("no timer of a hedge is left when the primary has won (alfred: 3 s)", () =>
    countingSleeps((pending) =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(resilient(Effect.delay(Effect.succeed("ok"), 5), key), {
          startImmediately: true
        })
        yield* TestClock.adjust(5)
        assertSucceedsWith(fiber.pollUnsafe()!, "ok")
        assert.strictEqual(pending(), 0)
      }).pipe((self) => under(self, policiesOf(hedged(3_000))))
    ))

  it.effect("the first answer wins only if it is one: an error does not beat a success (bhope/hedge)", () =>
    Effect.gen(function*() {
      const s = script<string, Error>(succeeds("ok", 50), fails(boom, 5))
      const ran = yield* call(s.effect, { policy: hedged(10) })
      assertSucceedsWith(ran.exit, "ok")
    }))

  it.effect("no hedge is launched after the caller has gone (Kevlar 46)", () =>
    Effect.gen(function*() {
      const s = script(hangs)
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(resilient(s.effect, key), { startImmediately: true })
        yield* TestClock.adjust(9)
        yield* Fiber.interrupt(fiber)
        yield* TestClock.adjust("1 minute")
      }).pipe((self) => under(self, policiesOf(hedged(10, 3))))
      assert.deepStrictEqual([s.runs, s.interrupts], [1, 1])
    }))

  it.effect("a hedged call ends in its timeout (dotnet/extensions 5699)", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(hangs).effect, { policy: hedged(10, 3, { timeout: { overall: 100 } }) })
      assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "DeadlineExceeded")
      assert.strictEqual(elapsed(ran.timeline), 100)
    }))
})
