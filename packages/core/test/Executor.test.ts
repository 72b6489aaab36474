import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import {
  Backoff,
  Budget,
  Classifier,
  Deadline,
  Hedge,
  Outcome,
  PolicyLayer,
  Rego,
  RegoError,
  Timeline
} from "@rego/core"
import { Cause, Clock, Duration, Effect, Exit, Fiber, Option, Random, Schedule } from "effect"
import { TestClock } from "effect/testing"
import type { Line, Policies, Row, Step } from "./support.ts"
import {
  askedToWait,
  assertDiesWith,
  assertFailsWith,
  assertSucceedsWith,
  call,
  countingBudget,
  dies,
  fails,
  hangs,
  inVirtualTime,
  Judged,
  judged,
  key,
  policiesOf,
  regoErrorOf,
  resilient,
  rows,
  script,
  stoppedAtOnce,
  succeeds,
  under,
  withBudget
} from "./support.ts"

const exact = Backoff.exponential({ initial: "10 millis", max: "250 millis", jitter: "none" })
const retry = { maxAttempts: 3, backoff: exact } satisfies Policy.RetryInput

const retryableTwice: ReadonlyArray<Row> = [
  [0, "start 0"],
  [0, "end 0 Retryable typed_failure"],
  [0, "wait 10"],
  [10, "start 1"],
  [10, "end 1 Retryable typed_failure"]
]

describe("Executor", () => {
  describe("stop reasons", () => {
    const stopOf = (timeline: Timeline.Timeline): Timeline.StopReason | undefined => {
      const reasons = timeline.decisions.flatMap((decision) => decision._tag === "Stopped" ? [decision.reason] : [])
      assert.isAtMost(reasons.length, 1)
      return reasons[0]
    }

    it.effect("records no stop when the call succeeds", () =>
      Effect.gen(function*() {
        const value = { id: "ada" }
        const failure = new Error("503")
        const s = script<typeof value, Error>(fails(failure), succeeds(value, 5))
        const ran = yield* call(s.effect, { policy: { retry } })
        assertSucceedsWith(ran.exit, value)
        assert.strictEqual(stopOf(ran.timeline), undefined)
        assert.deepStrictEqual(ran.rows, [
          [0, "start 0"],
          [0, "end 0 Retryable typed_failure"],
          [0, "wait 10"],
          [10, "start 1"],
          [15, "end 1 Success"],
          [15, "success"]
        ])
      }))

    // The type makes a reason without a test a compile error.
    const cases: Record<Timeline.StopReason, readonly [title: string, test: () => Effect.Effect<void>]> = {
      non_retryable: ["the dependency answered, and would answer the same again", () =>
        Effect.gen(function*() {
          const error = new Judged(Outcome.nonRetryable({ reason: "http_404" }))
          const ran = yield* call(script(fails(error)).effect, { policy: { retry, classifier: judged } })
          assertFailsWith(ran.exit, error)
          assert.strictEqual(stopOf(ran.timeline), "non_retryable")
          assert.deepStrictEqual(ran.rows, stoppedAtOnce("non_retryable", "NonRetryable http_404"))
        })],

      abort: ["nobody waits for the answer any more", () =>
        Effect.gen(function*() {
          const error = new Judged(Outcome.abort({ reason: "gone" }))
          const ran = yield* call(script(fails(error)).effect, { policy: { retry, classifier: judged } })
          assertFailsWith(ran.exit, error)
          assert.strictEqual(stopOf(ran.timeline), "abort")
          assert.deepStrictEqual(ran.rows, stoppedAtOnce("abort", "Abort gone"))
        })],

      no_retries: ["the policy has no retry section", () =>
        Effect.gen(function*() {
          const error = new Error("503")
          const ran = yield* call(script(fails(error)).effect, { policy: {} })
          assertFailsWith(ran.exit, error)
          assert.strictEqual(stopOf(ran.timeline), "no_retries")
          assert.deepStrictEqual(ran.rows, stoppedAtOnce("no_retries"))
        })],

      attempts_exhausted: ["the last attempt's own error comes back", () =>
        Effect.gen(function*() {
          const errors = [new Error("1"), new Error("2"), new Error("3")]
          const ran = yield* call(script(...errors.map((error) => fails(error))).effect, { policy: { retry } })
          assertFailsWith(ran.exit, errors[2])
          assert.strictEqual(stopOf(ran.timeline), "attempts_exhausted")
          assert.deepStrictEqual(ran.rows, [
            ...retryableTwice,
            [10, "wait 20"],
            [30, "start 2"],
            [30, "end 2 Retryable typed_failure"],
            [30, "stop attempts_exhausted"],
            [30, "failure"]
          ])
        })],

      not_replayable: [
        "what uses up its input runs once, even where the server surely did nothing",
        () =>
          Effect.gen(function*() {
            const error = new Judged(Outcome.retryable({ reason: "refused", executed: "no" }))
            const ran = yield* call(script(fails(error)).effect, {
              policy: { retry, classifier: judged, idempotent: true },
              options: { replayable: false }
            })
            assertFailsWith(ran.exit, error)
            assert.strictEqual(stopOf(ran.timeline), "not_replayable")
            assert.deepStrictEqual(ran.rows, stoppedAtOnce("not_replayable", "Retryable refused"))
          })
      ],

      not_idempotent: ["what must not run twice does not", () =>
        Effect.gen(function*() {
          const error = new Error("503")
          const ran = yield* call(script(fails(error)).effect, { policy: { retry, idempotent: false } })
          assertFailsWith(ran.exit, error)
          assert.strictEqual(stopOf(ran.timeline), "not_idempotent")
          assert.deepStrictEqual(ran.rows, stoppedAtOnce("not_idempotent"))
        })],

      switched_off: ["the kill switch of the document covers the key", () =>
        Effect.gen(function*() {
          const error = new Error("503")
          const layer = PolicyLayer.fromDocument({
            schemaVersion: "1.0",
            revision: "r1",
            policies: { "svc.*": { retry: {}, budget: "unlimited" } },
            off: ["svc.*"]
          })
          const ran = yield* call(script(fails(error)).effect, { layer })
          assertFailsWith(ran.exit, error)
          assert.strictEqual(stopOf(ran.timeline), "switched_off")
          assert.deepStrictEqual(ran.rows, stoppedAtOnce("switched_off"))
        })],

      schedule_done: ["the backoff of the policy has ended", () =>
        Effect.gen(function*() {
          const errors = [new Error("1"), new Error("2")]
          const backoff = Schedule.spaced("10 millis").pipe(Schedule.upTo({ times: 1 }))
          const ran = yield* call(script(...errors.map((error) => fails(error))).effect, {
            policy: { retry: { maxAttempts: 5, backoff } }
          })
          assertFailsWith(ran.exit, errors[1])
          assert.strictEqual(stopOf(ran.timeline), "schedule_done")
          assert.deepStrictEqual(ran.rows, [...retryableTwice, [10, "stop schedule_done"], [10, "failure"]])
        })],

      schedule_defect: [
        "a backoff that dies ends the call with the last exit and one log line",
        () =>
          Effect.gen(function*() {
            const error = new Error("503")
            const log: Array<Line> = []
            const backoff = Schedule.spaced("10 millis").pipe(Schedule.tap(() => Effect.die(new Error("bad schedule"))))
            const layer = policiesOf({ retry: { backoff } })
            const s = script(fails(error))
            const twice = Effect.all([1, 2].map(() => Timeline.capture(s.effect.pipe(Rego.resilient(key)))))
            const ended = yield* inVirtualTime(twice).pipe(Effect.flatten, (self) => under(self, layer, log))
            for (const [exit, [timeline]] of ended) {
              assertFailsWith(exit, error)
              assert.strictEqual(stopOf(timeline!), "schedule_defect")
              assert.deepStrictEqual(rows(timeline!), stoppedAtOnce("schedule_defect"))
            }
            const lines = log.filter((line) => line.message.includes("schedule"))
            assert.strictEqual(lines.length, 1)
            assert.include(Cause.pretty(lines[0]!.cause), "bad schedule")
          })
      ],

      retry_after_too_long: ["the server asks for more than the policy waits", () =>
        Effect.gen(function*() {
          const error = askedToWait("11 seconds")
          const ran = yield* call(script(fails(error)).effect, { policy: { retry, classifier: judged } })
          assertFailsWith(ran.exit, error)
          assert.strictEqual(stopOf(ran.timeline), "retry_after_too_long")
          assert.deepStrictEqual(ran.rows, stoppedAtOnce("retry_after_too_long", "Retryable asked"))
        })],

      deadline_would_pass: ["stops at once, without sleeping, with the last exit", () =>
        Effect.gen(function*() {
          const errors = [new Error("1"), new Error("2")]
          const ran = yield* call(script(...errors.map((error) => fails(error))).effect, {
            policy: { retry, timeout: { overall: "30 millis" } }
          })
          assertFailsWith(ran.exit, errors[1])
          assert.strictEqual(stopOf(ran.timeline), "deadline_would_pass")
          // 10 + 20 would be the deadline itself
          assert.deepStrictEqual(ran.rows, [...retryableTwice, [10, "stop deadline_would_pass"], [10, "failure"]])
        })],

      deadline_exceeded: ["the deadline passes while an attempt runs", () =>
        Effect.gen(function*() {
          const error = new Error("503")
          const s = script(fails(error), hangs)
          const ran = yield* call(s.effect, { policy: { retry, timeout: { overall: "100 millis" } } })
          assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "DeadlineExceeded")
          assert.strictEqual(stopOf(ran.timeline), "deadline_exceeded")
          assert.deepStrictEqual(ran.rows, [
            ...retryableTwice.slice(0, 4),
            [100, "timed_out 1"],
            [100, "stop deadline_exceeded"],
            [100, "failure"]
          ])
          assert.deepStrictEqual([s.runs, s.interrupts], [2, 1])
        })],

      budget_denied: ["the retry was not paid for, and nothing is slept", () =>
        Effect.gen(function*() {
          const error = new Error("503")
          const ran = yield* call(script(fails(error)).effect, { policy: { retry, budget: "none" } })
          assertFailsWith(ran.exit, error)
          assert.strictEqual(stopOf(ran.timeline), "budget_denied")
          assert.deepStrictEqual(ran.rows, [
            [0, "start 0"],
            [0, "end 0 Retryable typed_failure"],
            [0, "retry denied by none: none"],
            [0, "stop budget_denied"],
            [0, "failure"]
          ])
        })],

      abandoned: ["too many abandoned attempts of the key still run", () =>
        Effect.gen(function*() {
          const stuck = Effect.uninterruptible(Effect.sleep("1 second"))
          const layer = policiesOf({ retry, timeout: { perAttempt: "10 millis" }, idempotent: true }, {
            maxAbandoned: 1
          })
          const ran = yield* call(stuck, { layer })
          assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "AttemptTimedOut")
          assert.strictEqual(stopOf(ran.timeline), "abandoned")
          assert.deepStrictEqual(ran.rows, [
            [0, "start 0"],
            [10, "abandoned 0 Retryable attempt_timeout"],
            [10, "stop abandoned"],
            [10, "failure"]
          ])
        })],

      admission_denied: [
        "a budget that gates calls refuses one before its first attempt",
        () =>
          Effect.gen(function*() {
            const s = script(succeeds(1))
            const closed: Budget.Make = Effect.map(Budget.none, (none) => ({
              ...none,
              admit: () => ({ _tag: "Denied" as const, reason: "overloaded", retryAfter: Duration.seconds(3) })
            }))
            const ran = yield* call(s.effect, { layer: withBudget({ retry }, closed) })
            const error = regoErrorOf(ran.exit)
            assert.deepStrictEqual(error.reason, {
              _tag: "AdmissionDenied",
              budget: "own",
              detail: "overloaded",
              retryAfter: Option.some(Duration.seconds(3))
            })
            assert.strictEqual(error.message, "svc.Method: the budget \"own\" refused the call: overloaded")
            assert.strictEqual(s.runs, 0)
            assert.strictEqual(stopOf(ran.timeline), "admission_denied")
            assert.deepStrictEqual(ran.rows, [[0, "stop admission_denied"], [0, "failure"]])
          })
      ],

      policy_missing: ["the layer was told to fail keys that it does not know", () =>
        Effect.gen(function*() {
          const s = script(succeeds(1))
          const ran = yield* call(s.effect, { layer: PolicyLayer.make({ policies: {}, onMissing: "fail" }) })
          const error = regoErrorOf(ran.exit)
          assert.deepStrictEqual(error.reason, { _tag: "PolicyMissing" })
          assert.strictEqual(error.message, "svc.Method: no policy matches this key")
          assert.strictEqual(s.runs, 0)
          assert.strictEqual(stopOf(ran.timeline), "policy_missing")
          assert.deepStrictEqual(ran.rows, [[0, "stop policy_missing"], [0, "failure"]])
        })],

      interrupted: ["the caller goes away in the middle of a backoff", () =>
        Effect.gen(function*() {
          const s = script(fails(new Error("503")))
          const [exit, timelines] = yield* Effect.gen(function*() {
            const fiber = yield* Effect.forkChild(s.effect.pipe(Rego.resilient(key)), { startImmediately: true })
            yield* TestClock.adjust("4 millis")
            yield* Fiber.interrupt(fiber)
            return yield* Fiber.await(fiber)
          }).pipe(
            Timeline.capture,
            Effect.flatMap(([exit, timelines]) => Effect.map(exit, (e) => [e, timelines] as const)),
            (
              self
            ) => under(self, policiesOf({ retry }))
          )
          assert.isTrue(Exit.hasInterrupts(exit))
          assert.strictEqual(stopOf(timelines[0]!), "interrupted")
          assert.deepStrictEqual(rows(timelines[0]!), [
            ...retryableTwice.slice(0, 3),
            [4, "stop interrupted"],
            [4, "interrupted"]
          ])
        })]
    }
    for (const [reason, [title, test]] of Object.entries(cases)) it.effect(`${reason}: ${title}`, test)

    it.effect("an effect that interrupts itself ends as an abort with its own exit", () =>
      Effect.gen(function*() {
        const ran = yield* call(Effect.interrupt, { policy: { retry } })
        assert.isTrue(Exit.hasInterrupts(ran.exit))
        assert.strictEqual(stopOf(ran.timeline), "abort")
        assert.deepStrictEqual(ran.rows, [
          [0, "start 0"],
          [0, "end 0 Abort interrupted"],
          [0, "stop abort"],
          [0, "interrupted"]
        ])
      }))

    it.effect("a defect stays the defect that it was", () =>
      Effect.gen(function*() {
        const defect = new Error("bug")
        const s = script(dies(defect))
        const ran = yield* call(s.effect, { policy: { retry } })
        assertDiesWith(ran.exit, defect)
        assert.strictEqual(s.runs, 1)
        assert.deepStrictEqual(ran.rows, [
          [0, "start 0"],
          [0, "end 0 NonRetryable defect"],
          [0, "stop non_retryable"],
          [0, "defect"]
        ])
      }))
  })

  describe("idempotency", () => {
    const server = new Judged(Outcome.retryable({ reason: "refused", executed: "no" }))
    const maybe = new Error("503")
    const failuresOf: Record<string, Step<never, Error>> = {
      "executed: \"no\"": fails(server),
      "Retryable, the attempt has ended": fails(maybe),
      "our attempt timeout": hangs
    }
    // [idempotent, failure, retried]
    const cells: ReadonlyArray<readonly [boolean | undefined, string, boolean]> = [
      [true, "executed: \"no\"", true],
      [true, "Retryable, the attempt has ended", true],
      [true, "our attempt timeout", true],
      [undefined, "executed: \"no\"", true],
      [undefined, "Retryable, the attempt has ended", true],
      [undefined, "our attempt timeout", false],
      [false, "executed: \"no\"", true],
      [false, "Retryable, the attempt has ended", false],
      [false, "our attempt timeout", false]
    ]
    const policy = (idempotent: boolean | undefined): Policy.Input => ({
      retry,
      timeout: { perAttempt: "20 millis" },
      classifier: judged,
      idempotent
    })

    for (const [idempotent, failure, retried] of cells) {
      const verb = retried ? "retries" : "does not retry"
      const check = (policyOf: boolean | undefined, callSite: boolean | undefined) =>
        Effect.gen(function*() {
          const s = script<string, Error>(failuresOf[failure]!, succeeds("second"))
          const ran = yield* call(s.effect, { policy: policy(policyOf), options: { idempotent: callSite } })
          assert.strictEqual(s.runs, retried ? 2 : 1)
          if (retried) return assertSucceedsWith(ran.exit, "second")
          const last = ran.timeline.decisions.at(-1)
          assert.strictEqual(last?._tag === "Stopped" ? last.reason : undefined, "not_idempotent")
          if (failure === "our attempt timeout") {
            assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "AttemptTimedOut")
          } else assertFailsWith(ran.exit, failure === "executed: \"no\"" ? server : maybe)
        })

      it.effect(`idempotent ${idempotent ?? "unstated"} in the policy ${verb}: ${failure}`, () =>
        check(idempotent, undefined))
      if (idempotent !== undefined) {
        it.effect(`idempotent ${idempotent} at the call site wins over the policy's opposite and ${verb}: ${failure}`, () =>
          check(!idempotent, idempotent))
      }
    }

    // the fourth column of the table, hedges, is in driver/hedging.test.ts
    for (const idempotent of [true, undefined, false]) {
      it.effect(`idempotent ${idempotent ?? "unstated"} never has two attempts running at the same time`, () =>
        Effect.gen(function*() {
          let running = 0
          let most = 0
          const attempt = Effect.acquireUseRelease(
            Effect.sync(() => {
              most = Math.max(most, ++running)
            }),
            () => Effect.andThen(Effect.sleep("15 millis"), Effect.fail(new Error("503"))),
            () => Effect.sync(() => running--)
          )
          yield* call(attempt, { policy: policy(idempotent) })
          assert.strictEqual(most, 1)
        }))
    }

    it.effect("a timeout is not retried when unstated even if the classifier says that nothing was executed", () =>
      Effect.gen(function*() {
        const nothingDone = Classifier.make(() => Outcome.retryable({ reason: "sure", executed: "no" }))
        const s = script(hangs)
        const ran = yield* call(s.effect, {
          policy: { retry, timeout: { perAttempt: "20 millis" }, classifier: nothingDone }
        })
        assert.strictEqual(s.runs, 1)
        assert.strictEqual(ran.rows.at(-2)?.[1], "stop not_idempotent")
      }))
  })

  describe("the exit that is returned", () => {
    it.effect("503 and then the deadline while attempt 2 runs: DeadlineExceeded with the 503 as last cause", () =>
      Effect.gen(function*() {
        const error = new Error("503")
        const ran = yield* call(script(fails(error), hangs).effect, {
          policy: { retry, timeout: { overall: "100 millis" } }
        })
        const { message, reason } = regoErrorOf(ran.exit)
        assert.strictEqual(reason._tag, "DeadlineExceeded")
        if (reason._tag !== "DeadlineExceeded") return
        assert.deepStrictEqual(reason.overall, Duration.millis(100))
        assert.strictEqual(reason.attempts, 2)
        assertFailsWith(Option.match(reason.lastCause, { onNone: () => Exit.void, onSome: Exit.failCause }), error)
        assert.strictEqual(message, "svc.Method: the deadline of 100ms passed after 2 attempts")
      }))

    it.effect("the deadline while the first attempt runs: DeadlineExceeded without a last cause", () =>
      Effect.gen(function*() {
        const ran = yield* call(script(hangs).effect, { policy: { retry, timeout: { overall: "100 millis" } } })
        const { message, reason } = regoErrorOf(ran.exit)
        assert.deepStrictEqual(reason, {
          _tag: "DeadlineExceeded",
          overall: Duration.millis(100),
          attempts: 1,
          lastCause: Option.none()
        })
        assert.strictEqual(message, "svc.Method: the deadline of 100ms passed after 1 attempt")
      }))

    it.effect("the last attempt timed out: AttemptTimedOut of that attempt, not the failure before", () =>
      Effect.gen(function*() {
        const ran = yield* call(script(fails(new Error("503")), hangs).effect, {
          policy: { retry: { maxAttempts: 2, backoff: exact }, timeout: { perAttempt: "50 millis" } }
        })
        const { key: of, message, reason } = regoErrorOf(ran.exit)
        assert.strictEqual(of, key)
        assert.deepStrictEqual(reason, {
          _tag: "AttemptTimedOut",
          perAttempt: Duration.millis(50),
          attempt: { retry: 1, hedge: 0 }
        })
        assert.strictEqual(message, "svc.Method: the attempt (retry 1) did not end within 50ms")
        assert.deepStrictEqual(ran.rows, [
          ...retryableTwice.slice(0, 4),
          [60, "timed_out 1 Retryable attempt_timeout"],
          [60, "stop attempts_exhausted"],
          [60, "failure"]
        ])
      }))

    it.effect("the only attempt timed out: the message calls it the primary", () =>
      Effect.gen(function*() {
        const ran = yield* call(script(hangs).effect, { policy: { timeout: { perAttempt: "50 millis" } } })
        assert.strictEqual(
          regoErrorOf(ran.exit).message,
          "svc.Method: the attempt (primary) did not end within 50ms"
        )
      }))

    it.effect("both timers due at once: the deadline wins", () =>
      Effect.gen(function*() {
        const ran = yield* call(script(hangs).effect, {
          policy: { retry, timeout: { perAttempt: "50 millis", overall: "50 millis" }, idempotent: true }
        })
        assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "DeadlineExceeded")
      }))

    it.effect("an attempt that ends in the same instant as its timeout wins over it", () =>
      Effect.gen(function*() {
        const ran = yield* call(script(succeeds("in time", 50)).effect, {
          policy: { timeout: { perAttempt: "50 millis" } }
        })
        assertSucceedsWith(ran.exit, "in time")
      }))

    it.effect("an attempt that ends in the same instant as the deadline wins over it", () =>
      Effect.gen(function*() {
        const error = new Error("503")
        const ran = yield* call(script(fails(error, 50)).effect, {
          policy: { retry, timeout: { overall: "50 millis" } }
        })
        assertFailsWith(ran.exit, error)
        assert.deepStrictEqual(ran.rows, [
          [0, "start 0"],
          [50, "end 0 Retryable typed_failure"],
          [50, "stop deadline_would_pass"],
          [50, "failure"]
        ])
      }))

    it.effect("the deadline fires at its millisecond, whatever fractions jitter has added on the way", () =>
      Effect.gen(function*() {
        let late = 0
        for (let i = 0; i < 50; i++) {
          const attempt = script<never, Error>(fails(new Error("503")), fails(new Error("503")), hangs).effect
          yield* Effect.gen(function*() {
            const fiber = yield* Effect.forkChild(attempt.pipe(Rego.resilient(key)), { startImmediately: true })
            yield* TestClock.adjust("100 millis")
            if (fiber.pollUnsafe() === undefined) late++
          }).pipe(
            (self) => under(self, policiesOf({ retry: {}, timeout: { overall: "100 millis" } })),
            Random.withSeed(`fractions ${i}`)
          )
        }
        assert.strictEqual(late, 0)
      }))

    it.effect("the enclosing deadline has passed: DeadlineExceeded with no attempts, and nothing has run", () =>
      Effect.gen(function*() {
        const s = script(succeeds(1))
        const late = Effect.andThen(Effect.sleep("100 millis"), s.effect.pipe(Rego.resilient(key)))
        const [exit, timelines] = yield* late.pipe(
          Deadline.withDeadline("100 millis"),
          Timeline.capture,
          inVirtualTime,
          Effect.flatten,
          (self) => under(self, policiesOf({ retry, timeout: { overall: "1 second" } }))
        )
        const { message, reason } = regoErrorOf(exit)
        assert.deepStrictEqual(reason, {
          _tag: "DeadlineExceeded",
          overall: undefined,
          attempts: 0,
          lastCause: Option.none()
        })
        assert.strictEqual(message, "svc.Method: the deadline of the enclosing call passed after 0 attempts")
        assert.strictEqual(s.runs, 0)
        assert.deepStrictEqual(rows(timelines[0]!), [[0, "stop deadline_exceeded"], [0, "failure"]])
      }))

    it.effect("the enclosing deadline has passed: no admission is asked for either", () =>
      Effect.gen(function*() {
        let asked = 0
        const gate: Budget.Make = Effect.map(Budget.none, (none) => ({
          ...none,
          admit: () => {
            asked++
            return { _tag: "Granted" as const, permit: { settle: () => {} } }
          }
        }))
        const exit = yield* script(succeeds(1)).effect.pipe(
          Rego.resilient(key),
          Deadline.withDeadline(0),
          inVirtualTime,
          (self) => under(self, withBudget({ retry }, gate))
        )
        assert.strictEqual(regoErrorOf(exit).reason._tag, "DeadlineExceeded")
        assert.strictEqual(asked, 0)
      }))

    it.effect("an admission that took all the time, on a busy host, is given back, and followed by no attempt", () =>
      Effect.gen(function*() {
        let busy = 0n
        const settled: Array<string> = []
        const gate: Budget.Make = Effect.map(Budget.none, (none) => ({
          ...none,
          admit: () =>
            Effect.sync(() => {
              busy = 50_000_000n
              return { _tag: "Granted" as const, permit: { settle: (use) => settled.push(use) } }
            })
        }))
        const s = script(succeeds(1))
        const late = Clock.clockWith((clock) =>
          Effect.provideService(s.effect.pipe(Rego.resilient(key)), Clock.Clock, {
            ...clock,
            monotonicTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + busy
          })
        )
        const exit = yield* inVirtualTime(late).pipe((self) =>
          under(self, withBudget({ retry, timeout: { overall: "40 millis" } }, gate))
        )
        assert.strictEqual(regoErrorOf(exit).reason._tag, "DeadlineExceeded")
        assert.deepStrictEqual([s.runs, settled], [0, ["unused"]])
      }))

    it.effect("a wait that ends too late, on a busy host, is followed by no attempt that would be cut at once", () =>
      Effect.gen(function*() {
        const error = new Error("503")
        const s = script(fails(error))
        const late = Clock.clockWith((clock) =>
          Effect.provideService(s.effect.pipe(Rego.resilient(key)), Clock.Clock, {
            ...clock,
            sleep: (duration) => clock.sleep(Duration.sum(duration, Duration.millis(50)))
          })
        )
        const [exit, [timeline]] = yield* inVirtualTime(Timeline.capture(late)).pipe(
          Effect.flatten,
          (self) => under(self, policiesOf({ retry, timeout: { overall: "40 millis" } }))
        )
        assertFailsWith(exit, error)
        assert.strictEqual(s.runs, 1)
        assert.deepStrictEqual(rows(timeline!).slice(2), [
          [0, "wait 10"],
          [60, "stop deadline_would_pass"],
          [60, "failure"]
        ])
      }))

    it.effect("an inherited deadline that passes while an attempt runs names no overall timeout", () =>
      Effect.gen(function*() {
        const [exit] = yield* script(hangs).effect.pipe(
          Rego.resilient(key),
          Deadline.withDeadline("100 millis"),
          Timeline.capture,
          inVirtualTime,
          Effect.flatten,
          (self) => under(self, policiesOf({ timeout: { overall: "1 second" } }))
        )
        const { reason } = regoErrorOf(exit)
        assert.strictEqual(reason._tag === "DeadlineExceeded" ? reason.overall : "other", undefined)
        assert.strictEqual(reason._tag === "DeadlineExceeded" ? reason.attempts : "other", 1)
      }))

    it.effect("a success that is classified Retryable is tried again, and returned as it is when giving up", () =>
      Effect.gen(function*() {
        const responses = [{ status: 503, n: 1 }, { status: 503, n: 2 }, { status: 503, n: 3 }]
        const by503 = Classifier.make<{ status: number }>((exit) =>
          exit._tag === "Success" && exit.value.status === 503 ? Outcome.retryable({ reason: "http_503" }) : undefined
        )
        const s = script(...responses.map((response) => succeeds(response)))
        const ran = yield* call(s.effect, { policy: { retry }, options: { classifier: by503 } })
        assertSucceedsWith(ran.exit, responses[2])
        assert.strictEqual(ran.rows.at(-2)?.[1], "stop attempts_exhausted")
        assert.strictEqual(ran.timeline.result, "success")
      }))

    it.effect("a success that is classified NonRetryable is returned at once", () =>
      Effect.gen(function*() {
        const never = Classifier.make(() => Outcome.nonRetryable({ reason: "http_404" }))
        const s = script(succeeds("404"))
        const ran = yield* call(s.effect, { policy: { retry, classifier: never } })
        assertSucceedsWith(ran.exit, "404")
        assert.deepStrictEqual(ran.rows.map(([, event]) => event), [
          "start 0",
          "end 0 NonRetryable http_404",
          "stop non_retryable",
          "success"
        ])
      }))

    it.effect("a failure that is classified Success ends the call with that failure", () =>
      Effect.gen(function*() {
        const error = new Error("already exists")
        const fine = Classifier.make(() => Outcome.success)
        const ran = yield* call(script(fails(error)).effect, { policy: { retry, classifier: fine } })
        assertFailsWith(ran.exit, error)
        assert.deepStrictEqual(ran.rows, [[0, "start 0"], [0, "end 0 Success"], [0, "failure"]])
      }))

    it.effect("a cause with several reasons comes back with all of them", () =>
      Effect.gen(function*() {
        const cause = Cause.combine(Cause.fail("a"), Cause.fail("b"))
        const ran = yield* call(Effect.failCause(cause), { policy: { retry } })
        assert.deepStrictEqual(
          ran.exit._tag === "Failure" && ran.exit.cause.reasons.map((r) => Cause.isFailReason(r) ? r.error : r),
          ["a", "b"]
        )
      }))
  })

  describe("RegoError", () => {
    it.effect("is handled by reason with Effect.catchReason", () =>
      Effect.gen(function*() {
        const handled = script<never, Error>(hangs).effect.pipe(
          Rego.resilient(key),
          Effect.catchReason("RegoError", "AttemptTimedOut", (reason) => Effect.succeed(reason.attempt.retry)),
          Effect.catchReason("RegoError", "DeadlineExceeded", (reason) => Effect.succeed(-reason.attempts))
        )
        const both: Array<Policy.Input> = [
          { timeout: { perAttempt: "10 millis" } },
          { timeout: { overall: "10 millis" } }
        ]
        const seen = yield* Effect.forEach(both, (policy) =>
          inVirtualTime(handled).pipe(Effect.flatten, (self) => under(self, policiesOf(policy))))
        assert.deepStrictEqual(seen, [0, -1])
      }))

    it.effect("is left alone by a handler of another reason", () =>
      Effect.gen(function*() {
        const exit = yield* script<never, Error>(hangs).effect.pipe(
          Rego.resilient(key),
          Effect.catchReason("RegoError", "PolicyMissing", () => Effect.succeed("missing")),
          inVirtualTime,
          (self) => under(self, policiesOf({ timeout: { overall: "10 millis" } }))
        )
        assert.isTrue(RegoError.isRegoError(regoErrorOf(exit)))
      }))
  })

  describe("retryAfter", () => {
    const asking = (retryAfter: Duration.Input, more?: Parameters<typeof askedToWait>[1]) =>
      script<string, Error>(fails(askedToWait(retryAfter, more)), succeeds("second"))
    const waitOf = (timeline: Timeline.Timeline) =>
      timeline.decisions.flatMap((d) => d._tag === "BackoffScheduled" ? [[d.delay, d.retryAfter] as const] : [])

    it.effect("is waited exactly when the backoff has no jitter, even beyond the longest backoff", () =>
      Effect.gen(function*() {
        const s = asking("2 seconds")
        const ran = yield* call(s.effect, { policy: { retry, classifier: judged } })
        assertSucceedsWith(ran.exit, "second")
        assert.deepStrictEqual(s.startedAt, [0, 2_000])
        assert.deepStrictEqual(ran.rows[2], [0, "wait 2000 asked 2000"])
      }))

    it.effect("is waited exactly when it is marked exact, whatever the jitter", () =>
      Effect.gen(function*() {
        for (const seed of ["1", "2", "3"]) {
          const s = asking("2 seconds", { exact: true })
          yield* call(s.effect, { policy: { retry: {}, classifier: judged }, seed })
          assert.deepStrictEqual(s.startedAt, [0, 2_000])
        }
      }))

    it.effect("is spread over a quarter of itself, never shortened, with jitter", () =>
      Effect.gen(function*() {
        const waits: Array<number> = []
        for (let i = 0; i < 50; i++) {
          const ran = yield* call(asking("2 seconds").effect, {
            policy: { retry: {}, classifier: judged },
            seed: `spread ${i}`
          })
          waits.push(...waitOf(ran.timeline).map(([delay]) => delay))
        }
        assert.strictEqual(waits.length, 50)
        assert.isAtLeast(Math.min(...waits), 2_000)
        assert.isBelow(Math.max(...waits), 2_500)
        assert.isAbove(Math.max(...waits) - Math.min(...waits), 300)
      }))

    it.effect("cuts what it adds, and never what was asked for, to fit the deadline", () =>
      Effect.gen(function*() {
        for (let i = 0; i < 20; i++) {
          const s = asking("2 seconds")
          const ran = yield* call(s.effect, {
            policy: { retry: {}, classifier: judged, timeout: { overall: "2020 millis" } },
            seed: `cut ${i}`
          })
          assertSucceedsWith(ran.exit, "second")
          assert.isAtLeast(s.startedAt[1]!, 2_000)
          assert.isBelow(s.startedAt[1]!, 2_020)
        }
      }))

    it.effect("is spread by the caller's Random, so that a seed reproduces it", () =>
      Effect.gen(function*() {
        const waits = (seed: string) =>
          Effect.map(
            call(asking("2 seconds").effect, { policy: { retry: {}, classifier: judged }, seed }),
            (ran) => waitOf(ran.timeline)
          )
        assert.deepStrictEqual(yield* waits("a"), yield* waits("a"))
        assert.notDeepEqual(yield* waits("a"), yield* waits("b"))
      }))

    it.effect("stops when it reaches the deadline", () =>
      Effect.gen(function*() {
        for (const [overall, stops] of [["2 seconds", true], ["2001 millis", false]] as const) {
          const s = asking("2 seconds")
          const ran = yield* call(s.effect, { policy: { retry, classifier: judged, timeout: { overall } } })
          assert.strictEqual(s.runs, stops ? 1 : 2)
          if (stops) assert.deepStrictEqual(ran.rows, stoppedAtOnce("deadline_would_pass", "Retryable asked"))
        }
      }))

    it.effect("stops above maxRetryAfter, and waits when it is equal", () =>
      Effect.gen(function*() {
        for (const [asked, runs] of [["5 seconds", 2], ["5001 millis", 1]] as const) {
          const s = asking(asked)
          yield* call(s.effect, { policy: { retry: { ...retry, maxRetryAfter: "5 seconds" }, classifier: judged } })
          assert.strictEqual(s.runs, runs)
        }
      }))

    it.effect("of infinity stops, of zero or a negative one retries at once, and of no duration is no hint", () =>
      Effect.gen(function*() {
        const waits = (retryAfter: Duration.Input) =>
          Effect.map(call(asking(retryAfter).effect, { policy: { retry, classifier: judged } }), (ran) => ran.rows)
        assert.deepStrictEqual(
          yield* waits(Duration.infinity),
          stoppedAtOnce("retry_after_too_long", "Retryable asked")
        )
        const atOnce: ReadonlyArray<Row> = [
          [0, "start 0"],
          [0, "end 0 Retryable asked"],
          [0, "start 1"],
          [0, "end 1 Success"],
          [0, "success"]
        ]
        assert.deepStrictEqual(yield* waits(0), atOnce)
        assert.deepStrictEqual(yield* waits(-5), atOnce)
        assert.deepStrictEqual((yield* waits(Number.NaN))[2], [0, "wait 10"])
      }))

    it.effect("a throttled outcome without a hint keeps away for a second at least", () =>
      Effect.gen(function*() {
        const throttled = new Judged(Outcome.retryable({ reason: "http_429", throttled: true, executed: "no" }))
        const s = script<string, Error>(fails(throttled), succeeds("second"))
        yield* call(s.effect, { policy: { retry, classifier: judged } })
        assert.deepStrictEqual(s.startedAt, [0, 1_000])
      }))

    it.effect("a throttled outcome with a hint waits as long as the hint says", () =>
      Effect.gen(function*() {
        const s = asking("300 millis", { throttled: true })
        yield* call(s.effect, { policy: { retry, classifier: judged } })
        assert.deepStrictEqual(s.startedAt, [0, 300])
      }))
  })

  describe("a Schedule as the backoff", () => {
    const failing = () => script(fails(new Error("503")))

    it.effect("gives its delays, and sees exit, outcome and attempt of each failure", () =>
      Effect.gen(function*() {
        const seen: Array<unknown> = []
        const backoff = Schedule.exponential("100 millis").pipe(
          Schedule.setInputType<Backoff.Input>(),
          Schedule.tap(({ input }) =>
            Effect.sync(() => seen.push([input.exit._tag, input.outcome.reason, input.attempt]))
          )
        )
        const s = failing()
        yield* call(s.effect, { policy: { retry: { maxAttempts: 3, backoff } } })
        assert.deepStrictEqual(s.startedAt, [0, 100, 300])
        assert.deepStrictEqual(seen, [
          ["Failure", "typed_failure", { retry: 0, hedge: 0 }],
          ["Failure", "typed_failure", { retry: 1, hedge: 0 }]
        ])
      }))

    it.effect("is built once per call, at the first failure only", () =>
      Effect.gen(function*() {
        let built = 0
        const backoff = Schedule.fromStep(Effect.sync(() => {
          built++
          return () => Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(10)])
        }))
        const layer = policiesOf({ retry: { maxAttempts: 4, backoff } })
        yield* call(script(succeeds(1)).effect, { layer })
        assert.strictEqual(built, 0)
        yield* call(failing().effect, { layer })
        assert.strictEqual(built, 1)
        yield* call(failing().effect, { layer })
        assert.strictEqual(built, 2)
      }))

    it.effect("cannot wait longer than 30 seconds, nor less than nothing, and NaN counts as 30 seconds", () =>
      Effect.gen(function*() {
        const delays = [Duration.hours(1), Duration.infinity, Duration.millis(-5)]
        const nan = Duration.millis(1)
        const odd = Object.create(nan, {
          value: { value: { _tag: "Millis", millis: Number.NaN } }
        }) as Duration.Duration
        const waited = (delay: Duration.Duration) =>
          Effect.gen(function*() {
            const backoff = Schedule.fromStep(
              Effect.succeed(() => Effect.succeed<[number, Duration.Duration]>([0, delay]))
            )
            const s = script<number, Error>(fails(new Error("503")), succeeds(1))
            yield* call(s.effect, { policy: { retry: { backoff } }, during: "2 hours" })
            return s.startedAt[1]
          })
        assert.strictEqual(yield* waited(delays[0]!), 30_000)
        assert.strictEqual(yield* waited(delays[1]!), 30_000)
        assert.strictEqual(yield* waited(delays[2]!), 0)
        assert.isNaN(Duration.toMillis(odd))
        assert.strictEqual(yield* waited(odd), 30_000)
      }))

    const sleepingStep = (millis: number) => Schedule.spaced("10 millis").pipe(Schedule.tap(() => Effect.sleep(millis)))

    it.effect("may take time in a step, which counts against the deadline", () =>
      Effect.gen(function*() {
        const s = failing()
        const ran = yield* call(s.effect, {
          policy: { retry: { backoff: sleepingStep(50) }, timeout: { overall: "100 millis" } }
        })
        // step to 50, wait to 60, attempt, then the step itself reaches the deadline
        assert.deepStrictEqual(s.startedAt, [0, 60])
        assert.deepStrictEqual(ran.rows.slice(-2), [[100, "stop deadline_would_pass"], [100, "failure"]])
      }))

    it.effect("is interrupted in a step together with the caller", () =>
      Effect.gen(function*() {
        let interrupted = false
        const backoff = Schedule.spaced("10 millis").pipe(
          Schedule.tap(() =>
            Effect.onInterrupt(Effect.never, () =>
              Effect.sync(() => {
                interrupted = true
              }))
          )
        )
        const s = failing()
        yield* Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(s.effect.pipe(Rego.resilient(key)), { startImmediately: true })
          yield* TestClock.adjust("5 millis")
          yield* Fiber.interrupt(fiber)
        }).pipe((self) => under(self, policiesOf({ retry: { backoff } })))
        assert.isTrue(interrupted)
        assert.strictEqual(s.runs, 1)
      }))

    it.effect("that throws synchronously ends the call like one that dies", () =>
      Effect.gen(function*() {
        const error = new Error("503")
        const backoff = Schedule.fromStep(Effect.succeed((): Effect.Effect<[number, Duration.Duration]> => {
          throw new Error("bad step")
        }))
        const ran = yield* call(script(fails(error)).effect, { policy: { retry: { backoff } } })
        assertFailsWith(ran.exit, error)
        assert.deepStrictEqual(ran.rows, stoppedAtOnce("schedule_defect"))
      }))

    it.effect("starts anew for each call", () =>
      Effect.gen(function*() {
        const layer: Policies = policiesOf({ retry: { maxAttempts: 3, backoff: Schedule.exponential("100 millis") } })
        const first = failing()
        const second = failing()
        const both = Effect.all([first, second].map((s) => Effect.exit(s.effect.pipe(Rego.resilient(key)))))
        yield* inVirtualTime(both).pipe((self) => under(self, layer))
        assert.deepStrictEqual(first.startedAt, [0, 100, 300])
        assert.deepStrictEqual(second.startedAt, [0, 100, 300])
      }))
  })

  describe("a budget that listens", () => {
    /** What it heard, in order. */
    const listening = (throws?: "onOutcome" | "onCall" | "onCallEnd") => {
      const heard: Array<unknown> = []
      const hear = (what: "onOutcome" | "onCall" | "onCallEnd", said: unknown): void => {
        heard.push([what, said])
        if (what === throws) throw new Error("boom")
      }
      const make: Budget.Make = Effect.succeed({
        tryAcquire: () => ({ _tag: "Denied", reason: "no" }),
        onCall: ({ key, now, random }) => hear("onCall", [key, now, random() < 1]),
        onCallEnd: ({ key, now, random }) => hear("onCallEnd", [key, now, random() < 1]),
        onOutcome: (outcome, now) => hear("onOutcome", ["reason" in outcome ? outcome.reason : outcome._tag, now]),
        state: Effect.succeed({ balance: 0 })
      })
      return { heard, make }
    }

    it.effect("hears of a call when it begins and when it ends, and of each attempt between", () =>
      Effect.gen(function*() {
        const { heard, make } = listening()
        yield* call(script(succeeds(1, 5)).effect, { layer: withBudget({}, make) })
        assert.deepStrictEqual(heard, [
          ["onCall", [key, 0, true]],
          ["onOutcome", ["Success", 5]],
          ["onCallEnd", [key, 5, true]]
        ])
      }))

    it.effect("hears of a first attempt whose caller went away, and of no other", () =>
      Effect.gen(function*() {
        for (const [self, reason] of [[hangs, "caller_interrupted"], [fails("no"), "typed_failure"]] as const) {
          const { heard, make } = listening()
          yield* Effect.gen(function*() {
            const effect = script(self, hangs).effect.pipe(Rego.resilient(key))
            const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
            yield* Fiber.interrupt(fiber)
          }).pipe((program) => under(program, withBudget({ retry: { backoff: exact } }, make)))
          assert.deepStrictEqual(
            heard.flatMap((said) => (said as [string, [string]])[0] === "onOutcome" ? [(said as any)[1][0]] : []),
            [reason]
          )
        }
      }))

    for (const what of ["onCall", "onCallEnd", "onOutcome"] as const) {
      it.effect(`changes nothing with a defect in its ${what}, which is reported under that name`, () =>
        Effect.gen(function*() {
          const { make } = listening(what)
          const log: Array<Line> = []
          const ran = yield* call(script(succeeds(1)).effect, { layer: withBudget({}, make), log })
          assertSucceedsWith(ran.exit, 1)
          assert.include(log.map(({ message }) => message).join(), `a defect in the budget.${what} changes nothing`)
        }))
    }
  })

  it.effect("a key that is no text is its text: a call never fails because of its key", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(succeeds(1)).effect, { key: 7 as never })
      assertSucceedsWith(ran.exit, 1)
      assert.strictEqual(ran.timeline.key as string, "7")
    }))

  describe("permits", () => {
    it.effect("are not asked for by a first attempt", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget({ grants: () => false })
        const ran = yield* call(script(succeeds(1)).effect, { layer: withBudget({ retry }, make) })
        assertSucceedsWith(ran.exit, 1)
        assert.strictEqual(counts.asked, 0)
      }))

    it.effect("are asked for before the backoff and held through it", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const s = script(fails(new Error("503")), hangs)
        yield* Effect.gen(function*() {
          const fiber = yield* Effect.forkChild(s.effect.pipe(Rego.resilient(key)), { startImmediately: true })
          assert.deepStrictEqual({ ...counts }, { asked: 1, taken: 1, used: 0, unused: 0, again: 0 })
          yield* TestClock.adjust("10 millis")
          assert.strictEqual(s.runs, 2)
          assert.strictEqual(counts.used, 0)
          yield* Fiber.interrupt(fiber)
          assert.deepStrictEqual({ ...counts }, { asked: 1, taken: 1, used: 1, unused: 0, again: 0 })
        }).pipe((self) => under(self, withBudget({ retry }, make)))
      }))

    it.effect("come back unused when the caller goes away in the backoff", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        yield* Effect.gen(function*() {
          const effect = script(fails(new Error("503"))).effect.pipe(Rego.resilient(key))
          const fiber = yield* Effect.forkChild(effect, { startImmediately: true })
          yield* Fiber.interrupt(fiber)
        }).pipe((self) => under(self, withBudget({ retry }, make)))
        assert.deepStrictEqual({ ...counts }, { asked: 1, taken: 1, used: 0, unused: 1, again: 0 })
      }))

    it.effect("that are older than the budget's window are asked for again before the attempt", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget({ window: Duration.seconds(1), grants: (asked) => asked === 1 })
        const s = script(fails(askedToWait("2 seconds")))
        const ran = yield* call(s.effect, { layer: withBudget({ retry, classifier: judged }, make) })
        assert.deepStrictEqual({ ...counts }, { asked: 2, taken: 1, used: 0, unused: 1, again: 0 })
        assert.strictEqual(s.runs, 1)
        assert.deepStrictEqual(ran.rows.slice(-3), [
          [2_000, "retry denied by own: counted"],
          [2_000, "stop budget_denied"],
          [2_000, "failure"]
        ])
      }))

    it.effect("that are as old as the budget's window still count", () =>
      Effect.gen(function*() {
        for (const [window, asked] of [["9 millis", 2], ["10 millis", 1]] as const) {
          const { counts, make } = countingBudget({ window: Duration.fromInputUnsafe(window) })
          const policy = { retry: { backoff: exact, maxAttempts: 2 } }
          yield* call(script(fails(new Error("503"))).effect, { layer: withBudget(policy, make) })
          assert.strictEqual(counts.asked, asked, window)
        }
      }))

    it.effect("are not asked for by a wait that would reach the deadline", () =>
      Effect.gen(function*() {
        for (const error of [new Error("503"), askedToWait("10 millis")]) {
          for (const [overall, asked] of [["10 millis", 0], ["11 millis", 1]] as const) {
            const { counts, make } = countingBudget()
            const policy = { retry: { backoff: exact, maxAttempts: 2 }, timeout: { overall }, classifier: judged }
            yield* call(script(fails(error)).effect, { layer: withBudget(policy, make) })
            assert.strictEqual(counts.asked, asked, overall)
          }
        }
      }))

    it.effect("of a budget that takes time to answer are refused once the deadline would pass", () =>
      Effect.gen(function*() {
        for (const takes of [40, 45]) {
          const { counts, make } = countingBudget({ takes })
          const error = new Error("503")
          const ran = yield* call(script(fails(error)).effect, {
            layer: withBudget({ retry, timeout: { overall: "50 millis" } }, make)
          })
          assertFailsWith(ran.exit, error)
          assert.deepStrictEqual(ran.rows.slice(-2), [[takes, "stop deadline_would_pass"], [takes, "failure"]])
          assert.deepStrictEqual({ ...counts }, { asked: 1, taken: 1, used: 0, unused: 1, again: 0 })
        }
      }))

    it.effect("of a budget that does not answer before the deadline are given up", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget({ takes: 100 })
        const error = new Error("503")
        const ran = yield* call(script(fails(error)).effect, {
          layer: withBudget({ retry, timeout: { overall: "50 millis" } }, make)
        })
        assertFailsWith(ran.exit, error)
        assert.deepStrictEqual(ran.rows.slice(-2), [[50, "stop deadline_would_pass"], [50, "failure"]])
        assert.strictEqual(counts.taken, counts.unused)
      }))
  })

  it.effect("a classifier that answers with no outcome has a defect, which is logged with its answer", () =>
    Effect.gen(function*() {
      const log: Array<Line> = []
      const wrong = (() => "retry") as unknown as Classifier.Classifier<unknown, unknown>
      const ran = yield* call(script(fails("503")).effect, { policy: { retry }, options: { classifier: wrong }, log })
      assertFailsWith(ran.exit, "503")
      assert.isTrue(
        log.some(({ cause }) =>
          Cause.pretty(cause).includes(`a classifier must return an Outcome or undefined, got "retry"`)
        )
      )
    }))

  it.effect("a group that only waits for the budget of a hedge ends at the deadline, with what has failed", () =>
    Effect.gen(function*() {
      const { make } = countingBudget({ takes: 10_000 })
      const policy = { hedge: { trigger: Hedge.after("1 minute") }, timeout: { overall: 50 }, idempotent: true }
      const error = new Error("503")
      const ran = yield* call(script(fails(error, 10)).effect, {
        layer: withBudget(policy, make)
      })
      assertFailsWith(ran.exit, error)
      assert.deepStrictEqual(ran.rows.slice(-2), [[50, "stop deadline_would_pass"], [50, "failure"]])
    }))

  const policies = {
    retry: { retry },
    deadline: { retry, timeout: { perAttempt: 5, overall: 100 } },
    hedge: { retry, hedge: { trigger: Hedge.after(1) }, idempotent: true }
  } satisfies Record<string, Policy.Input>
  for (const [name, policy] of Object.entries<Policy.Input>(policies)) {
    it.effect(`a clock that throws at one reading leaves no call with a ${name} waiting, whichever reading it is`, () =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        const broken = new Error("no time")
        let reads = Infinity
        for (let at = 1; reads >= at - 1; at++) {
          reads = 0
          const failing: Clock.Clock = {
            ...clock,
            monotonicTimeNanosUnsafe: () => {
              if (++reads === at) throw broken
              return clock.monotonicTimeNanosUnsafe()
            }
          }
          const s = Effect.delay(Effect.fail("503"), 2)
          const one = Effect.provideService(resilient(s, key), Clock.Clock, failing)
          const exit = yield* under(inVirtualTime(one, 500), policiesOf(policy))
          if (reads >= at) assertDiesWith(exit, broken)
          else assertFailsWith(exit, "503")
        }
        assert.isAbove(reads, 10)
      }))
  }
})
