/** What a call tells while it runs. */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Attempt, Backoff, Budget, Hedge, Observer, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Duration, Effect, Fiber, Option, Schema } from "effect"
import { TestClock } from "effect/testing"
import {
  askedToWait,
  fails,
  hangs,
  inVirtualTime,
  judged,
  key,
  policiesOf,
  script,
  succeeds,
  under,
  withBudget
} from "../support.ts"

type Event = Timeline.Event

/** An observer that keeps what it is told. */
const collecting = () => {
  const events: Array<Event> = []
  const timelines: Array<Timeline.Timeline> = []
  const order: Array<string> = []
  const observer = Observer.make({
    onEvent: (event) => {
      events.push(event)
      order.push(event._tag)
    },
    onCallEnd: (timeline) => {
      timelines.push(timeline)
      order.push("timeline")
    }
  })
  return { events, timelines, order, observer }
}

/** The events of one call under a policy in virtual time, in words: when, what, and what else they say. */
const eventsOf = <A, E>(
  effect: Effect.Effect<A, E>,
  policy: Policy.Input,
  options: { readonly layer?: ReturnType<typeof policiesOf>; readonly after?: Duration.Input } = {}
) =>
  Effect.gen(function*() {
    const { events, observer, order } = collecting()
    const call = Effect.andThen(
      Effect.exit(Rego.resilient(effect, key)),
      options.after === undefined ? Effect.void : Effect.sleep(options.after)
    )
    yield* inVirtualTime(Effect.andThen(call, Observer.flush)).pipe(
      Effect.provide(Observer.layer([observer])),
      (self) => under(self, options.layer ?? policiesOf(policy))
    )
    for (const event of events) assert.isTrue(Schema.is(Timeline.Event)(event), JSON.stringify(event))
    assert.isTrue(events.every((event) => event.key === key && event.call === events[0]!.call && event.call > 0))
    return { events, order, rows: events.map(row) }
  })

const row = ({ _tag, at, call: _, key: __, ...rest }: Event): ReadonlyArray<unknown> => [
  at,
  _tag,
  ...Object.values(rest).map((value) => typeof value === "object" ? Object.values(value).join(".") : value)
]

const none = Backoff.constant(20, { jitter: "none" })

describe("Events", () => {
  it.effect("of a call that succeeds at once", () =>
    Effect.gen(function*() {
      const { order, rows } = yield* eventsOf(Effect.succeed("ada"), {})
      assert.deepStrictEqual(rows, [
        [0, "PolicyResolved", "local", "local", 0],
        [0, "AttemptStarted", "0.0", 0],
        [0, "AttemptEnded", "0.0", 0, "returned", "Success"],
        [0, "CallEnded", "success", 0, 1]
      ])
      assert.deepStrictEqual(order, ["PolicyResolved", "AttemptStarted", "AttemptEnded", "CallEnded", "timeline"])
    }))

  it.effect("of a retry: the budget, the wait, the second attempt", () =>
    Effect.gen(function*() {
      const s = script<string, Error>(fails(new Error("503"), 5), succeeds("ada", 5))
      const { events, rows } = yield* eventsOf(s.effect, { retry: { backoff: none } })
      assert.deepStrictEqual(rows, [
        [0, "PolicyResolved", "local", "local", 0],
        [0, "AttemptStarted", "0.0", 0],
        [5, "AttemptEnded", "0.0", 0, "returned", "Retryable", "typed_failure", "Error: 503"],
        [5, "BudgetGranted", "retry", "unlimited", "1.0"],
        [5, "BackoffScheduled", 20],
        [25, "AttemptStarted", "1.0", 20],
        [30, "AttemptEnded", "1.0", 25, "returned", "Success"],
        [30, "CallEnded", "success", 0, 2]
      ])
      assert.strictEqual(events.filter((event) => event._tag === "AttemptEnded")[1]?.error, undefined)
    }))

  it.effect("of an attempt that was written on: the end has its attributes", () =>
    Effect.gen(function*() {
      const s = script<string, Error>(fails(new Error("503"), 5), succeeds("ada"))
      const read = Effect.flatMap(Attempt.CurrentAttempt, (attempt) =>
        Option.getOrThrow(attempt).retry === 0 ? Attempt.annotate("replica", "eu-2") : Effect.void)
      const { events } = yield* eventsOf(Effect.andThen(read, s.effect), { retry: { backoff: none } })
      const ends = events.filter((event) =>
        event._tag === "AttemptEnded"
      )
      assert.deepStrictEqual(ends.map(({ attributes }) => attributes), [{ replica: "eu-2" }, undefined])
    }))

  it.effect("of a server that asks to wait, and of a budget that refuses in its own words", () =>
    Effect.gen(function*() {
      const denies: Budget.Make = Effect.succeed({
        tryAcquire: () => ({ _tag: "Denied", reason: "not on Sundays", retryAfter: Duration.seconds(2) }),
        state: Effect.succeed({ balance: 0 })
      })
      const s = script(fails(askedToWait("1 second"), 5))
      const layer = withBudget({ retry: {}, classifier: judged }, denies)
      const { rows } = yield* eventsOf(s.effect, {}, { layer })
      assert.deepStrictEqual(rows.slice(2), [
        [5, "AttemptEnded", "0.0", 0, "returned", "Retryable", "asked", "Error: Retryable"],
        [5, "Pushback", "0.0", 1_000],
        [5, "BudgetDenied", "retry", "1.0", "other", "not on Sundays", "own", 2_000],
        [5, "Stopped", "budget_denied"],
        [5, "CallEnded", "failure", 0, 1, "budget_denied"]
      ])
    }))

  it.effect("of a budget of JavaScript, whose denial has no reason and a wait that is none", () =>
    Effect.gen(function*() {
      const denies = Effect.succeed({
        tryAcquire: () => ({ _tag: "Denied", retryAfter: "soon" }),
        state: Effect.succeed({ balance: 0 })
      }) as unknown as Budget.Make
      const s = script(fails(new Error("503"), 5))
      const { rows } = yield* eventsOf(s.effect, {}, { layer: withBudget({ retry: {} }, denies) })
      assert.deepStrictEqual(rows.slice(3), [
        [5, "BudgetDenied", "retry", "1.0", "other", "undefined", "own"],
        [5, "Stopped", "budget_denied"],
        [5, "CallEnded", "failure", 0, 1, "budget_denied"]
      ])
    }))

  it.effect("of a hedge that wins", () =>
    Effect.gen(function*() {
      const s = script<string, never>(hangs, succeeds("ada", 10))
      const { rows } = yield* eventsOf(s.effect, { hedge: { trigger: Hedge.after(50) }, idempotent: true })
      assert.deepStrictEqual(rows.slice(1), [
        [0, "AttemptStarted", "0.0", 0],
        [50, "HedgeDue", "0.1"],
        [50, "BudgetGranted", "hedge", "unlimited", "0.1"],
        [50, "HedgeStarted", "0.1"],
        [50, "AttemptStarted", "0.1", 0],
        [60, "AttemptEnded", "0.1", 50, "returned", "Success"],
        [60, "AttemptEnded", "0.0", 0, "interrupted_loser"],
        [60, "HedgeWon", "0.1", 0],
        [60, "CallEnded", "success", 0, 2]
      ])
    }))

  it.effect("of hedges that are refused, each time, and of one that was wasted", () =>
    Effect.gen(function*() {
      let asked = 0
      const second: Budget.Make = Effect.succeed({
        tryAcquire: () =>
          ++asked === 1 ? { _tag: "Denied", reason: "none" } : { _tag: "Granted", permit: { settle: () => {} } },
        state: Effect.succeed({ balance: 0 })
      })
      const s = script<string, never>(succeeds("ada", 120), hangs)
      const layer = withBudget({ hedge: { trigger: Hedge.after(50) }, idempotent: true }, second)
      const { rows } = yield* eventsOf(s.effect, {}, { layer })
      assert.deepStrictEqual(rows.slice(2), [
        [50, "HedgeDue", "0.1"],
        [50, "BudgetDenied", "hedge", "0.1", "none", "own"],
        [100, "HedgeDue", "0.1"],
        [100, "BudgetGranted", "hedge", "own", "0.1"],
        [100, "HedgeStarted", "0.1"],
        [100, "AttemptStarted", "0.1", 0],
        [120, "AttemptEnded", "0.0", 0, "returned", "Success"],
        [120, "AttemptEnded", "0.1", 100, "interrupted_loser"],
        [120, "HedgeWasted", "0.1"],
        [120, "CallEnded", "success", 0, 2]
      ])
    }))

  it.effect("of a timeout that does not stop: given up, and its end after the end of the call", () =>
    Effect.gen(function*() {
      const stubborn = Effect.uninterruptible(Effect.sleep(500))
      const { rows } = yield* eventsOf(stubborn, { timeout: { perAttempt: 100 } }, { after: "1 second" })
      assert.deepStrictEqual(rows.slice(2), [
        [
          100,
          "AttemptEnded",
          "0.0",
          0,
          "timed_out",
          "Retryable",
          "attempt_timeout",
          "RegoError: svc.Method: the attempt (primary) did not end within 100ms"
        ],
        [100, "AttemptAbandoned", "0.0"],
        [100, "Stopped", "no_retries"],
        [100, "CallEnded", "failure", 0, 1, "no_retries"],
        [500, "AbandonedEnded", "0.0"]
      ])
    }))

  it.effect("of a deadline that passes while an attempt runs", () =>
    Effect.gen(function*() {
      const { rows } = yield* eventsOf(Effect.never, { timeout: { overall: 100 } })
      assert.deepStrictEqual(rows.slice(2), [
        [100, "DeadlinePassed", 1],
        [100, "AttemptEnded", "0.0", 0, "timed_out"],
        [100, "Stopped", "deadline_exceeded"],
        [100, "CallEnded", "failure", 0, 1, "deadline_exceeded"]
      ])
    }))

  it.effect("of a call that is not admitted, and of one that is", () =>
    Effect.gen(function*() {
      let calls = 0
      const every: Budget.Make = Effect.succeed({
        tryAcquire: () => ({ _tag: "Denied", reason: "none" }),
        admit: () =>
          ++calls === 1 ? { _tag: "Denied", reason: "throttled" } : { _tag: "Granted", permit: { settle: () => {} } },
        state: Effect.succeed({ balance: 0 })
      })
      const layer = withBudget({}, every)
      const { observer, events } = collecting()
      const twice = Effect.all(
        [Rego.resilient(Effect.succeed(1), key), Rego.resilient(Effect.succeed(1), key)].map(Effect.exit)
      )
      yield* inVirtualTime(Effect.andThen(twice, Observer.flush)).pipe(
        Effect.provide(Observer.layer([observer])),
        (self) => under(self, layer)
      )
      assert.deepStrictEqual(events.map((event) => row(event).slice(1)).map((r) => r.join(" ")), [
        "PolicyResolved local local 0",
        "BudgetDenied call 0.0 throttled own",
        "Stopped admission_denied",
        "CallEnded failure 0 0 admission_denied",
        "PolicyResolved local local 0",
        "BudgetGranted call own 0.0",
        "AttemptStarted 0.0 0",
        "AttemptEnded 0.0 0 returned Success",
        "CallEnded success 0 1"
      ])
    }))

  it.effect("of a caller that goes away", () =>
    Effect.gen(function*() {
      const { events, observer } = collecting()
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(Rego.resilient(Effect.never, key), { startImmediately: true })
        yield* TestClock.adjust(40)
        yield* Fiber.interrupt(fiber)
        yield* Observer.flush
      }).pipe(Effect.provide(Observer.layer([observer])), (self) => under(self, policiesOf({})))
      assert.deepStrictEqual(events.slice(2).map(row), [
        [40, "AttemptEnded", "0.0", 0, "interrupted_caller"],
        [40, "Stopped", "interrupted"],
        [40, "CallEnded", "interrupted", 0, 1, "interrupted"]
      ])
    }))

  it.effect("of a caller that goes away while the policy is on its way: no policy is told of", () =>
    Effect.gen(function*() {
      const { events, observer } = collecting()
      const layer = PolicyLayer.fetch({ fetch: () => Effect.never, ttl: "1 minute" })
      yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(Rego.resilient(Effect.never, key), { startImmediately: true })
        yield* TestClock.adjust(40)
        yield* Fiber.interrupt(fiber)
        yield* Observer.flush
      }).pipe(Effect.provide(Observer.layer([observer])), (self) => under(self, layer))
      assert.deepStrictEqual(events.map(row), [
        [40, "Stopped", "interrupted"],
        [40, "CallEnded", "interrupted", 0, 0, "interrupted"]
      ])
    }))

  it.effect("of a key that no policy matches, where that is an error", () =>
    Effect.gen(function*() {
      const layer = PolicyLayer.make({ policies: {}, onMissing: "fail" })
      const { rows } = yield* eventsOf(Effect.succeed(1), {}, { layer })
      assert.deepStrictEqual(rows.map((r) => r[1]), ["PolicyResolved", "Stopped", "CallEnded"])
      assert.strictEqual(rows[0]?.[3], "missing")
    }))

  it.effect("number the calls of a process", () =>
    Effect.gen(function*() {
      const { events, observer } = collecting()
      const outer = Rego.resilient(Rego.resilient(Effect.succeed(1), "svc.Inner"), key)
      yield* Effect.andThen(outer, Observer.flush).pipe(
        Effect.provide(Observer.layer([observer])),
        (self) => under(self, policiesOf({}))
      )
      const [first, second] = new Set(events.map((event) => event.call))
      assert.strictEqual(second, first! + 1)
      assert.deepStrictEqual(events.map((event) => `${event.call - first!} ${event._tag}`), [
        "0 PolicyResolved",
        "0 AttemptStarted",
        "1 PolicyResolved",
        "1 AttemptStarted",
        "1 AttemptEnded",
        "1 CallEnded",
        "0 AttemptEnded",
        "0 CallEnded"
      ])
    }))
})
