import { assert, describe, it } from "@effect/vitest"
import { Backoff, Deadline, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Clock, Duration, Effect, Option } from "effect"
import {
  assertFailsWith,
  assertSucceedsWith,
  call,
  fails,
  hangs,
  inVirtualTime,
  key,
  policiesOf,
  regoErrorOf,
  rows,
  script,
  succeeds,
  under
} from "./support.ts"

const left = Effect.map(Deadline.remaining, Option.map(Duration.toMillis))

describe("Deadline", () => {
  it.effect("is none where nothing bounds the code", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* Deadline.CurrentDeadline, Option.none())
    }))

  describe("remaining", () => {
    it.effect("is none where nothing bounds the code", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* left, Option.none())
        assert.deepStrictEqual((yield* call(left)).exit._tag, "Success")
        assertSucceedsWith((yield* call(Effect.map(left, Option.isNone))).exit, true)
      }))

    it.effect("is what the overall timeout leaves, less with each attempt", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const attempt = left.pipe(
          Effect.tap((millis) => Effect.sync(() => seen.push(Option.getOrThrow(millis)))),
          Effect.andThen(Effect.sleep("30 millis")),
          Effect.andThen(Effect.fail("503"))
        )
        yield* call(attempt, {
          policy: {
            retry: { maxAttempts: 3, backoff: Backoff.constant("10 millis", { jitter: "none" }) },
            timeout: { overall: "200 millis" }
          }
        })
        assert.deepStrictEqual(seen, [200, 160, 120])
      }))

    it.effect("is the attempt's own timeout where that comes first", () =>
      Effect.gen(function*() {
        const ran = yield* call(Effect.map(left, Option.getOrThrow), {
          policy: { timeout: { perAttempt: "50 millis", overall: "200 millis" } }
        })
        assertSucceedsWith(ran.exit, 50)
      }))

    it.effect("is never negative", () =>
      Effect.gen(function*() {
        const late = Effect.andThen(Effect.sleep("100 millis"), left).pipe(Deadline.withDeadline("10 millis"))
        assert.deepStrictEqual(yield* Effect.flatten(inVirtualTime(late)), Option.some(0))
      }))
  })

  describe("withDeadline", () => {
    it.effect("bounds all calls inside as an enclosing call would", () =>
      Effect.gen(function*() {
        const s = script(succeeds("ok", 40))
        const calls = Effect.forEach([1, 2, 3], () => Effect.exit(s.effect.pipe(Rego.resilient(key))))
        const exits = yield* inVirtualTime(Deadline.withDeadline(calls, "100 millis")).pipe(
          Effect.flatten,
          (self) => under(self, policiesOf({}))
        )
        assertSucceedsWith(exits[0]!, "ok")
        assertSucceedsWith(exits[1]!, "ok")
        assert.strictEqual(regoErrorOf(exits[2]!).reason._tag, "DeadlineExceeded")
        assert.deepStrictEqual([s.runs, s.interrupts], [3, 1])
      }))

    it.effect("does not interrupt the code between calls", () =>
      Effect.gen(function*() {
        const slow = Effect.as(Effect.sleep("1 second"), "done").pipe(Deadline.withDeadline("10 millis"))
        assertSucceedsWith(yield* inVirtualTime(slow), "done")
      }))

    it.effect("cannot extend a deadline around it, and can shorten it", () =>
      Effect.gen(function*() {
        const inside = (own: Duration.Input) =>
          left.pipe(Deadline.withDeadline(own), Deadline.withDeadline("100 millis"))
        assert.deepStrictEqual(yield* inside("1 hour"), Option.some(100))
        assert.deepStrictEqual(yield* inside("20 millis"), Option.some(20))
      }))

    it.effect("ends with its effect: what was forked inside and outlives it is free", () =>
      Effect.gen(function*() {
        const seen: Array<Option.Option<number>> = []
        const later = Effect.delay(left, "50 millis").pipe(
          Effect.tap((millis) => Effect.sync(() => seen.push(millis)))
        )
        yield* inVirtualTime(Effect.forkDetach(later).pipe(Deadline.withDeadline("10 millis")))
        assert.deepStrictEqual(seen, [Option.none()])
      }))

    it.effect("of nothing lets no call begin", () =>
      Effect.gen(function*() {
        const s = script(succeeds(1))
        const exit = yield* inVirtualTime(s.effect.pipe(Rego.resilient(key), Deadline.withDeadline(0))).pipe((self) =>
          under(self, policiesOf({}))
        )
        assert.strictEqual(regoErrorOf(exit).reason._tag, "DeadlineExceeded")
        assert.strictEqual(s.runs, 0)
      }))

    it.effect("of infinity bounds nothing", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* left.pipe(Deadline.withDeadline(Duration.infinity)), Option.none())
      }))
  })

  describe("withDeadline, given what is no bound", () => {
    it("throws at once, and says what it was given", () => {
      assert.throws(
        () => Deadline.withDeadline(Effect.void, "soon" as "1 second"),
        RangeError,
        /^Deadline\.withDeadline: .*soon/
      )
      assert.throws(
        () => Deadline.withDeadline(Effect.void, -5),
        RangeError,
        "Deadline.withDeadline: must not be negative, got -5ms"
      )
    })
  })

  describe("on another clock", () => {
    it.effect("a deadline counts for nothing: its instants are none of that clock", () =>
      Effect.gen(function*() {
        const clock = yield* Clock.Clock
        const inside = Effect.provideService(Deadline.remaining, Clock.Clock, { ...clock })
        assert.deepStrictEqual(yield* Deadline.withDeadline(inside, "1 second"), Option.none())
      }))
  })

  describe("none", () => {
    it.effect("frees an effect from the deadline around it", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(
          yield* left.pipe(Deadline.none, Deadline.withDeadline("10 millis")),
          Option.none()
        )
        const s = script(succeeds("ok", 50))
        const free = s.effect.pipe(Rego.resilient(key), Deadline.none, Deadline.withDeadline("10 millis"))
        assertSucceedsWith(yield* inVirtualTime(free).pipe((self) => under(self, policiesOf({}))), "ok")
      }))
  })

  describe("calls inside calls", () => {
    it.effect("an attempt whose inner call ran out of its instant has timed out, and is retried as such", () =>
      Effect.gen(function*() {
        const inner = script<string, never>(hangs, succeeds("second"))
        const layer = PolicyLayer.make({
          policies: {
            [key]: {
              retry: { maxAttempts: 2, backoff: Backoff.constant("10 millis", { jitter: "none" }) },
              timeout: { perAttempt: "30 millis" },
              idempotent: true
            },
            "svc.Inner": {}
          }
        })
        const nested = inner.effect.pipe(Rego.resilient("svc.Inner"), Rego.resilient(key))
        const [exit, timelines] = yield* inVirtualTime(Timeline.capture(nested)).pipe(
          Effect.flatten,
          (self) => under(self, layer)
        )
        assertSucceedsWith(exit, "second")
        assert.strictEqual(inner.interrupts, 1)
        assert.deepStrictEqual(timelines.map((timeline) => [timeline.key, ...rows(timeline)]), [
          ["svc.Inner", [0, "start 0"], [30, "timed_out 0"], [30, "stop deadline_exceeded"], [30, "failure"]],
          ["svc.Inner", [0, "start 0"], [0, "end 0 Success"], [0, "success"]],
          [
            key,
            [0, "start 0"],
            [30, "timed_out 0 Retryable attempt_timeout"],
            [30, "wait 10"],
            [40, "start 1"],
            [40, "end 1 Success"],
            [40, "success"]
          ]
        ])
      }))

    it.effect("a retry of the inner call that would pass the outer deadline is not waited for", () =>
      Effect.gen(function*() {
        const error = new Error("503")
        const inner = script(fails(error)).effect.pipe(
          Rego.resilient(key),
          (self) => under(self, policiesOf({ retry: { backoff: Backoff.constant("50 millis", { jitter: "none" }) } }))
        )
        const ran = yield* call(inner, { policy: { timeout: { overall: "40 millis" } } })
        assertFailsWith(ran.exit, error)
        assert.strictEqual(ran.timeline.endedAt, ran.timeline.startedAt)
      }))

    it.effect("a connection opened inside an 800 ms call may make 500 ms calls for ever after", () =>
      Effect.gen(function*() {
        const beats: Array<string> = []
        const heartbeat = Effect.succeed("beat").pipe(
          Effect.delay("100 millis"),
          Rego.resilient("pool.Heartbeat"),
          Effect.exit,
          Effect.tap((exit) => Effect.sync(() => beats.push(exit._tag))),
          Effect.delay("1 second"),
          Effect.repeat({ times: 9 })
        )
        const open = Effect.as(Effect.forkDetach(heartbeat), "connection")
        const layer = policiesOf({ timeout: { overall: "800 millis" } })
        const exit = yield* inVirtualTime(open.pipe(Rego.resilient(key))).pipe((self) => under(self, layer))
        assertSucceedsWith(exit, "connection")
        assert.deepStrictEqual(beats, Array.from({ length: 10 }, () => "Success"))
      }))

    it.effect("a cache filled by an attempt that was cut is not bounded by the attempt's instant", () =>
      Effect.gen(function*() {
        const seen: Array<Option.Option<number>> = []
        const refresh = Effect.delay(left, "20 millis").pipe(Effect.tap((m) => Effect.sync(() => seen.push(m))))
        const ran = yield* call(Effect.andThen(Effect.forkDetach(refresh), Effect.never), {
          policy: { timeout: { perAttempt: "10 millis" } }
        })
        assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "AttemptTimedOut")
        assert.deepStrictEqual(seen, [Option.none()])
      }))
  })
})
