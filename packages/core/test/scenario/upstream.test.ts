/**
 * The rows of the Go library's own suite on whole calls that exist in this design, with their numbers. Rows on one module
 * (P keys and policies, C classifiers, B budgets, H hedging) stand in the tests of that module, E35 to E41 in
 * `hedging.test.ts`. These are left out, because the design decides otherwise or has no such thing:
 *
 * | rows | why |
 * | --- | --- |
 * | P02, P03, P06, P15 | a key is its text; bad numbers are refused with every issue, not replaced, and there is no circuit section |
 * | C02 to C12, C15, X* | HTTP and gRPC are packages of their own |
 * | B03, B06 to B08, E18, E21, E23, E24, E26 | no registry to be nil or missing: names are requirements of the layer |
 * | K*, E33, E34, E42, E45 | the circuit breaker is Effect's, inside the attempt |
 * | L*, E84, E86, E87 | remote policies and their caches are the control plane's |
 * | O01, O03 to O09, F*, I01 | contexts, captures and executors passed by hand: the fiber's context and one layer do that |
 * | E52 to E55, E58, E65, E72 to E76, E78, E80 to E83 | modes for what is missing, options of an executor, observers of one |
 */
import { assert, describe, it } from "@effect/vitest"
import { Attempt, Backoff, Classifier, Outcome, Policy, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Data, Effect, Exit, Fiber, Option, Schedule } from "effect"
import { TestClock } from "effect/testing"
import {
  askedToWait,
  assertFailsWith,
  assertSucceedsWith,
  call,
  countingBudget,
  fails,
  hangs,
  inVirtualTime,
  Judged,
  judged,
  key,
  policiesOf,
  regoErrorOf,
  script,
  succeeds,
  under,
  withBudget
} from "../support.ts"

const boom = new Error("boom")
const failing = () => script(fails(boom))
const attempts = (maxAttempts: number): Policy.Input => ({ retry: { maxAttempts } })
const exponential = (jitter: Backoff.Jitter): Policy.Input => ({
  retry: { maxAttempts: 3, backoff: Backoff.exponential({ initial: "10 millis", max: "250 millis", jitter }) }
})
const waits = (timeline: Timeline.Timeline): ReadonlyArray<number> =>
  timeline.attempts.slice(1).map((attempt) => attempt.backoffBefore ?? 0)

class HttpError extends Data.TaggedError("HttpError")<{ readonly status: number }> {}
const http = Classifier.byTag<HttpError>({
  HttpError: ({ status }) =>
    status >= 500 ? Outcome.retryable({ reason: "http_5xx" }) : Outcome.nonRetryable({ reason: `http_${status}` })
})

describe("upstream rows", () => {
  describe("basic loop", () => {
    it.effect("runs once under a key without a policy [E01]", () =>
      Effect.gen(function*() {
        const s = script(succeeds("ok"))
        const ran = yield* call(s.effect, { layer: PolicyLayer.make({ policies: {} }), key: "Anything" })
        assertSucceedsWith(ran.exit, "ok")
        assert.strictEqual(s.runs, 1)
      }))

    for (const [id, max, runs] of [["E02", 1, 1], ["E03", 3, 3]] as const) {
      it.effect(`runs a failing effect ${runs} times with maxAttempts ${max} [${id}]`, () =>
        Effect.gen(function*() {
          const s = failing()
          const ran = yield* call(s.effect, { policy: attempts(max) })
          assertFailsWith(ran.exit, boom)
          assert.strictEqual(s.runs, runs)
        }))
    }

    for (const [id, value] of [["E04", undefined], ["E05", 42]] as const) {
      it.effect(`runs 3 times with maxAttempts 5 when the third succeeds with ${value} [${id}]`, () =>
        Effect.gen(function*() {
          const s = script<number | undefined, Error>(fails(boom), fails(boom), succeeds(value))
          const ran = yield* call(s.effect, { policy: attempts(5) })
          assertSucceedsWith(ran.exit, value)
          assert.strictEqual(s.runs, 3)
        }))
    }

    it.effect("waits exactly 10 ms and 20 ms without jitter [E06]", () =>
      Effect.gen(function*() {
        const ran = yield* call(failing().effect, { policy: exponential("none") })
        assert.deepStrictEqual(waits(ran.timeline), [10, 20])
      }))

    const ranges = {
      full: ["E07", 0, 10, 0, 20],
      equal: ["E08", 5, 10, 10, 20]
    } as const
    for (const jitter of ["full", "equal"] as const) {
      const [id, from1, to1, from2, to2] = ranges[jitter]
      it.effect(`waits within [${from1}, ${to1}] and [${from2}, ${to2}] ms with ${jitter} jitter [${id}]`, () =>
        Effect.gen(function*() {
          const seen: Array<readonly [number, number]> = []
          for (let i = 0; i < 100; i++) {
            const ran = yield* call(failing().effect, { policy: exponential(jitter), seed: `${id} ${i}` })
            const [first, second] = waits(ran.timeline)
            assert.isTrue(first! >= from1 && first! <= to1, `first wait ${first}`)
            assert.isTrue(second! >= from2 && second! <= to2, `second wait ${second}`)
            seen.push([first!, second!])
          }
          // the range is used, not only respected
          for (const [i, width] of [[0, to1 - from1], [1, to2 - from2]] as const) {
            const of = seen.map((pair) => pair[i]!)
            assert.isAtLeast(Math.max(...of) - Math.min(...of), width * 0.8)
          }
        }))
    }

    it.effect("cuts each of 3 attempts after 5 ms and ends with their timeout [E09]", () =>
      Effect.gen(function*() {
        const s = script(hangs)
        const ran = yield* call(s.effect, {
          policy: { ...exponential("none"), timeout: { perAttempt: "5 millis" }, idempotent: true }
        })
        assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "AttemptTimedOut")
        assert.deepStrictEqual([s.runs, s.interrupts], [3, 3])
        assert.deepStrictEqual(s.startedAt, [0, 15, 40])
      }))

    it.effect("runs once when a backoff of 100 ms does not fit into 5 ms, and keeps the error [E10]", () =>
      Effect.gen(function*() {
        const s = failing()
        const ran = yield* call(s.effect, {
          policy: {
            retry: { maxAttempts: 10, backoff: Backoff.constant("100 millis", { jitter: "none" }) },
            timeout: { overall: "5 millis" }
          }
        })
        assertFailsWith(ran.exit, boom)
        assert.strictEqual(s.runs, 1)
        assert.strictEqual(ran.timeline.endedAt, ran.timeline.startedAt)
      }))

    it.effect("runs nothing for a caller that is interrupted before [E11]", () =>
      Effect.gen(function*() {
        const s = failing()
        yield* Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(s.effect.pipe(Rego.resilient(key)))
          yield* Fiber.interrupt(fiber)
          yield* TestClock.adjust("1 minute")
          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        }).pipe((self) => under(self, policiesOf(attempts(3))))
        assert.strictEqual(s.runs, 0)
      }))

    it.effect("runs once for a caller that is interrupted in the backoff [E12]", () =>
      Effect.gen(function*() {
        const s = failing()
        yield* Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(s.effect.pipe(Rego.resilient(key)), { startImmediately: true })
          yield* TestClock.adjust("5 millis")
          yield* Fiber.interrupt(fiber)
          yield* TestClock.adjust("1 minute")
          assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(fiber)))
        }).pipe((self) => under(self, policiesOf(exponential("none"))))
        assert.strictEqual(s.runs, 1)
      }))

    it.effect("runs once without a policy where missing ones are let through [E13]", () =>
      Effect.gen(function*() {
        const s = failing()
        const ran = yield* call(s.effect, { layer: PolicyLayer.make({ policies: {}, onMissing: "single-attempt" }) })
        assertFailsWith(ran.exit, boom)
        assert.strictEqual(s.runs, 1)
      }))

    it.effect("runs nothing without a policy where missing ones are refused [E14]", () =>
      Effect.gen(function*() {
        const s = failing()
        const ran = yield* call(s.effect, { layer: PolicyLayer.make({ policies: {}, onMissing: "fail" }) })
        assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "PolicyMissing")
        assert.strictEqual(s.runs, 0)
      }))

    it.effect("runs 5 times without a policy where missing ones get defaults of 5 attempts [E15]", () =>
      Effect.gen(function*() {
        const s = failing()
        const defaults = { ...attempts(5), budget: "unlimited" as const }
        yield* call(s.effect, { layer: PolicyLayer.make({ policies: {}, defaults, onMissing: "defaults" }) })
        assert.strictEqual(s.runs, 5)
      }))
  })

  describe("budgets", () => {
    for (const id of ["E16", "E43"]) {
      it.effect(`returns the first error and keeps one record when the second attempt is denied [${id}]`, () =>
        Effect.gen(function*() {
          const { make } = countingBudget({ grants: () => false })
          const s = failing()
          const captured = id === "E43"
            ? Rego.resilientWithTimeline(s.effect, key)
            : Rego.resilient(s.effect, key)
          const exit = yield* inVirtualTime(captured).pipe((self) => under(self, withBudget(attempts(3), make)))
          assertFailsWith(exit, boom)
          assert.strictEqual(s.runs, 1)
          const [timeline] = exit._tag === "Failure" ? Timeline.fromCause(exit.cause) : []
          assert.strictEqual(timeline?.attempts.length, 1)
          assert.deepStrictEqual(timeline?.decisions.map((decision) => decision._tag), ["Denied", "Stopped"])
          const [denial] = timeline?.decisions ?? []
          assert.deepStrictEqual(denial?._tag === "Denied" ? [denial.reason, denial.detail] : undefined, [
            "other",
            "counted"
          ])
        }))
    }

    it.effect("does not boot with the name of a budget that nobody provides [E17]", () =>
      Effect.gen(function*() {
        const budget: string = "missing"
        const boot = yield* Effect.exit(call(failing().effect, { policy: { ...attempts(3), budget } }))
        assert.isTrue(Exit.hasDies(boot))
        assert.include(String(boot), "must name a budget that is provided, got \"missing\"")
      }))

    it.effect("asks once and settles once when the second attempt succeeds [E19]", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const s = script<number, Error>(fails(boom), succeeds(1))
        yield* call(s.effect, { layer: withBudget(attempts(3), make) })
        assert.deepStrictEqual({ ...counts }, { asked: 1, taken: 1, used: 1, unused: 0, again: 0 })
      }))

    it.effect("settles each permit exactly once over a call of 4 attempts [E20]", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        yield* call(failing().effect, { layer: withBudget(attempts(4), make) })
        assert.deepStrictEqual({ ...counts }, { asked: 3, taken: 3, used: 3, unused: 0, again: 0 })
      }))

    it("refuses a blank name of a budget [E22]", () => {
      assert.throws(() => Policy.make({ budget: "" }), /budget/)
    })

    it.effect("counts a budget that throws as a refusal, and keeps the error of the attempt [E25]", () =>
      Effect.gen(function*() {
        const { make } = countingBudget({
          grants: () => {
            throw new Error("bad budget")
          }
        })
        const s = failing()
        const ran = yield* call(s.effect, { layer: withBudget(attempts(3), make) })
        assertFailsWith(ran.exit, boom)
        assert.strictEqual(s.runs, 1)
        assert.deepStrictEqual(ran.rows.slice(-3).map(([, event]) => event), [
          "retry denied by own: budget_defect",
          "stop budget_denied",
          "failure"
        ])
      }))
  })

  describe("classifiers", () => {
    for (const id of ["E27", "E28"]) {
      it.effect(`does not boot with the name of a classifier that nobody provides, and so runs nothing [${id}]`, () =>
        Effect.gen(function*() {
          const classifier: string = "missing"
          const s = failing()
          const boot = yield* Effect.exit(call(s.effect, { policy: { ...attempts(3), classifier } }))
          assert.isTrue(Exit.hasDies(boot))
          assert.include(String(boot), "must name a classifier that is provided, got \"missing\"")
          assert.strictEqual(s.runs, 0)
        }))
    }

    for (const [id, status, max, runs] of [["E29", 500, 3, 3], ["E30", 404, 5, 1]] as const) {
      it.effect(`runs ${runs} times on ${status} with maxAttempts ${max} [${id}]`, () =>
        Effect.gen(function*() {
          const error = new HttpError({ status })
          const s = script(fails(error))
          const ran = yield* call(s.effect, { policy: { ...attempts(max), classifier: http } })
          assertFailsWith(ran.exit, error)
          assert.strictEqual(s.runs, runs)
        }))
    }

    it.effect("runs once and waits for nothing on an abort [E31]", () =>
      Effect.gen(function*() {
        const s = script(fails(new Judged(Outcome.abort({ reason: "abort" }))))
        const ran = yield* call(s.effect, { policy: { ...attempts(3), classifier: judged } })
        assert.strictEqual(s.runs, 1)
        assert.deepStrictEqual(waits(ran.timeline), [])
        assert.strictEqual(ran.timeline.endedAt, ran.timeline.startedAt)
      }))

    it.effect("waits exactly 200 ms when asked for 200 ms and the backoff has no jitter [E32]", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(askedToWait("200 millis")), succeeds("ok"))
        const ran = yield* call(s.effect, { policy: { ...exponential("none"), classifier: judged } })
        assert.deepStrictEqual(waits(ran.timeline), [200])
      }))

    it.effect("waits from 200 ms to 250 ms when asked for 200 ms with full jitter [E32]", () =>
      Effect.gen(function*() {
        for (let i = 0; i < 20; i++) {
          const s = script<string, Error>(fails(askedToWait("200 millis")), succeeds("ok"))
          const ran = yield* call(s.effect, {
            policy: { ...exponential("full"), classifier: judged },
            seed: `E32 ${i}`
          })
          const [wait] = waits(ran.timeline)
          assert.isTrue(wait! >= 200 && wait! < 250, `waited ${wait}`)
        }
      }))

    it.effect("ends with the failure that is not retryable [E35]", () =>
      Effect.gen(function*() {
        const last = new HttpError({ status: 422 })
        const s = script(fails(new HttpError({ status: 500 })), fails(last))
        const ran = yield* call(s.effect, { policy: { ...attempts(5), classifier: http } })
        assertFailsWith(ran.exit, last)
        assert.strictEqual(s.runs, 2)
      }))

    it.effect("ends as interrupted, without a verdict, when the caller cancels a running attempt [E37]", () =>
      Effect.gen(function*() {
        const s = script(hangs)
        const [, timelines] = yield* Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(s.effect.pipe(Rego.resilient(key)), { startImmediately: true })
          yield* TestClock.adjust("7 millis")
          yield* Fiber.interrupt(fiber)
        }).pipe(Timeline.capture, (self) => under(self, policiesOf(attempts(3))))
        assert.strictEqual(s.interrupts, 1)
        const [timeline] = timelines
        assert.strictEqual(timeline?.result, "interrupted")
        assert.strictEqual(timeline?.attempts[0]?.endedBy, "interrupted_caller")
        assert.isUndefined(timeline?.attempts[0]?.outcome)
      }))

    it.effect("asks the next classifier where one has no opinion, down to the default one [E64]", () =>
      Effect.gen(function*() {
        const s = failing()
        yield* call(s.effect, {
          policy: { ...attempts(3), classifier: Classifier.never },
          options: { classifier: Classifier.never }
        })
        assert.strictEqual(s.runs, 3)
      }))

    for (const id of ["E64", "E85"]) {
      it.effect(`ends with the attempt's own error when the classifier throws [${id}]`, () =>
        Effect.gen(function*() {
          const bad = Classifier.make(() => {
            throw new Error("bad classifier")
          })
          const s = failing()
          const ran = yield* call(s.effect, {
            policy: id === "E85" ? { ...attempts(3), classifier: bad } : attempts(3),
            ...(id === "E64" ? { options: { classifier: bad } } : {})
          })
          assertFailsWith(ran.exit, boom)
          assert.strictEqual(s.runs, 1)
          assert.strictEqual(ran.rows[1]?.[1], "end 0 NonRetryable classifier_defect")
        }))
    }
  })

  describe("timelines", () => {
    it.effect("keeps one attempt and the last error when the wait itself fails [E44]", () =>
      Effect.gen(function*() {
        const s = failing()
        const backoff = Schedule.fromStep(Effect.succeed(() => Effect.die(new Error("sleep failed"))))
        const ran = yield* call(s.effect, { policy: { retry: { backoff } } })
        assertFailsWith(ran.exit, boom)
        assert.strictEqual(s.runs, 1)
        assert.strictEqual(ran.timeline.attempts.length, 1)
      }))

    it.effect("captures the key and one attempt [E46]", () =>
      Effect.gen(function*() {
        const ran = yield* call(script(succeeds(1)).effect)
        assert.strictEqual(ran.timeline.key, key)
        assert.strictEqual(ran.timeline.attempts.length, 1)
      }))

    it.effect("captures a nested call beside its caller, not in place of it [E47]", () =>
      Effect.gen(function*() {
        const nested = Effect.succeed(1).pipe(Rego.resilient("svc.Inner"), Rego.resilient("svc.Outer"))
        const [, timelines] = yield* Timeline.capture(nested).pipe((self) => under(self, PolicyLayer.defaults))
        assert.deepStrictEqual(timelines.map((timeline) => timeline.key), ["svc.Inner", "svc.Outer"])
      }))

    it.effect("fills both captures when a nested call has one of its own [E48]", () =>
      Effect.gen(function*() {
        const inner: Array<string> = []
        const nested = Timeline.capture(Effect.succeed(1).pipe(Rego.resilient("svc.Inner"))).pipe(
          Effect.tap(([, timelines]) => Effect.sync(() => inner.push(...timelines.map((timeline) => timeline.key)))),
          Rego.resilient("svc.Outer")
        )
        const [, timelines] = yield* Timeline.capture(nested).pipe((self) => under(self, PolicyLayer.defaults))
        assert.deepStrictEqual(inner, ["svc.Inner"])
        assert.deepStrictEqual(timelines.map((timeline) => timeline.key), ["svc.Inner", "svc.Outer"])
      }))

    it.effect("numbers attempts 0 to 2 in records and for the effect itself: fail, fail, 42 [E49]", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const s = script<number, Error>(fails(boom), fails(boom), succeeds(42))
        const effect = Effect.andThen(
          Effect.flatMap(
            Attempt.CurrentAttempt,
            (attempt) => Effect.sync(() => seen.push(Option.getOrThrow(attempt).retry))
          ),
          s.effect
        )
        const ran = yield* call(effect, { policy: attempts(3) })
        assertSucceedsWith(ran.exit, 42)
        assert.deepStrictEqual(seen, [0, 1, 2])
        assert.deepStrictEqual(ran.timeline.attempts.map(({ attempt }) => attempt.retry), [0, 1, 2])
        assert.deepStrictEqual(ran.timeline.attempts.map(({ outcome }) => outcome), [
          "Retryable",
          "Retryable",
          "Success"
        ])
        assert.strictEqual(ran.timeline.result, "success")
      }))

    it.effect("ends with 2 attempts and one failure when an effect always fails with maxAttempts 2 [E50]", () =>
      Effect.gen(function*() {
        const ran = yield* call(failing().effect, { policy: attempts(2) })
        assert.strictEqual(ran.timeline.attempts.length, 2)
        assert.strictEqual(ran.timeline.result, "failure")
        assert.strictEqual(ran.timeline.attempts[1]?.error, "Error: boom")
      }))

    it.effect("shows { retry: 0, hedge: 0 } to the first attempt, with nobody observing [E51]", () =>
      Effect.gen(function*() {
        const attempt = yield* Effect.map(Attempt.CurrentAttempt, Option.getOrThrow).pipe(
          Rego.resilient(key),
          (self) => under(self, policiesOf(attempts(1)))
        )
        assert.deepStrictEqual([attempt.key as string, attempt.retry, attempt.hedge], [key, 0, 0])
      }))
  })

  describe("waits and wiring", () => {
    it.effect("starts the next attempt in the same instant with a backoff of nothing [E56]", () =>
      Effect.gen(function*() {
        const s = failing()
        yield* call(s.effect, { policy: { retry: { maxAttempts: 3, backoff: Backoff.none } } })
        assert.deepStrictEqual(s.startedAt, [0, 0, 0])
      }))

    it.effect("names the key when no policy matches [E57]", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({ policies: {}, onMissing: "fail" })
        const ran = yield* call(failing().effect, { layer, key: "pay.Charge" })
        assert.strictEqual(regoErrorOf(ran.exit).message, "pay.Charge: no policy matches this key")
      }))

    it.effect("returns the effect's own error object, unwrapped [E59]", () =>
      Effect.gen(function*() {
        const ran = yield* call(failing().effect, { policy: attempts(3) })
        assertFailsWith(ran.exit, boom)
      }))

    it.effect("waits 100 ms and then 150 ms when doubling passes a maximum of 150 ms [E60] [E62]", () =>
      Effect.gen(function*() {
        const backoff = Backoff.exponential({ initial: "100 millis", max: "150 millis", jitter: "none" })
        const ran = yield* call(failing().effect, { policy: { retry: { maxAttempts: 4, backoff } } })
        assert.deepStrictEqual(waits(ran.timeline), [100, 150, 150])
      }))

    for (const [jitter, from, to] of [["none", 100, 100], ["full", 0, 100], ["equal", 50, 100]] as const) {
      it.effect(`waits from ${from} to ${to} ms at 100 ms with jitter ${jitter} [E61]`, () =>
        Effect.gen(function*() {
          for (let i = 0; i < 50; i++) {
            const backoff = Backoff.constant("100 millis", { jitter })
            const ran = yield* call(failing().effect, {
              policy: { retry: { maxAttempts: 2, backoff } },
              seed: `E61 ${i}`
            })
            const [wait] = waits(ran.timeline)
            assert.isTrue(wait! >= from && wait! <= to, `waited ${wait}`)
          }
        }))
    }

    for (const [asked, waited] of [[500, 500], [50, 50]] as const) {
      it.effect(`waits ${waited} ms when asked for ${asked} ms, whatever the longest backoff [E63]`, () =>
        Effect.gen(function*() {
          const backoff = Backoff.exponential({ initial: "100 millis", max: "200 millis", jitter: "none" })
          const s = script<string, Error>(fails(askedToWait(asked)), succeeds("ok"))
          const ran = yield* call(s.effect, { policy: { retry: { backoff }, classifier: judged } })
          assert.deepStrictEqual(waits(ran.timeline), [waited])
        }))
    }

    for (const id of ["E66", "E68", "E70"]) {
      it(`refuses an unknown jitter at boot, whatever happens to missing policies [${id}]`, () => {
        const jitter = "bogus" as Backoff.Jitter
        const policy = () => Policy.make({ retry: { backoff: Backoff.exponential({ initial: 10, max: 250, jitter }) } })
        assert.throws(policy, /jitter/)
      })
    }

    it.effect("runs 4 times where missing policies get defaults of 4 attempts [E67] [E69]", () =>
      Effect.gen(function*() {
        const s = failing()
        const layer = PolicyLayer.make({ policies: {}, defaults: attempts(4), onMissing: "defaults" })
        const ran = yield* call(s.effect, { layer })
        assert.strictEqual(s.runs, 4)
        assert.strictEqual(ran.timeline.key, key)
      }))

    it.effect("runs 3 times under the default layer, and under another key as well [E71] [E79]", () =>
      Effect.gen(function*() {
        for (const name of ["a.B", "C"]) {
          const s = failing()
          yield* call(s.effect, { layer: PolicyLayer.defaults, key: name })
          assert.strictEqual(s.runs, 3)
        }
      }))

    it.effect("runs 5 times under a policy of 5 attempts, and a value of 1 comes back [E77]", () =>
      Effect.gen(function*() {
        const s = script<number, Error>(fails(boom), fails(boom), fails(boom), fails(boom), succeeds(1))
        const ran = yield* call(s.effect, { policy: attempts(5) })
        assertSucceedsWith(ran.exit, 1)
        assert.strictEqual(s.runs, 5)
      }))
  })
})
