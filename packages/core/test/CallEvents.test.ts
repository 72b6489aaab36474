import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, Observer, Rego, Timeline } from "@rego/core"
import { Clock, Effect, Tracer } from "effect"
import { TestClock } from "effect/testing"
import type { Line } from "./support.ts"
import {
  askedToWait,
  assertSucceedsWith,
  fails,
  inVirtualTime,
  judged,
  key,
  policiesOf,
  script,
  succeeds,
  under
} from "./support.ts"

const wall = 1_700_000_000_000

/** On a clock whose wall time is far from its monotonic line. */
const onWallTime = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Clock.clockWith((clock) => {
    const millis = () => clock.currentTimeMillisUnsafe() + wall
    const nanos = () => clock.currentTimeNanosUnsafe() + BigInt(wall) * 1_000_000n
    return Effect.provideService(self, Clock.Clock, {
      ...clock,
      currentTimeMillisUnsafe: millis,
      currentTimeMillis: Effect.sync(millis),
      currentTimeNanosUnsafe: nanos,
      currentTimeNanos: Effect.sync(nanos)
    })
  })

/** What is told of a call. */
const told = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<ReadonlyArray<Timeline.Event>, never, R> => {
  const events: Array<Timeline.Event> = []
  const observer = Observer.make({ onEvent: (event) => void events.push(event) })
  return Effect.andThen(Effect.exit(self), Observer.flush).pipe(
    Effect.provide(Observer.layer([observer])),
    Effect.as(events)
  )
}

const exactly20 = Backoff.constant(20, { jitter: "none" })

describe("CallEvents", () => {
  it.effect("have the wall time of the call, derived from its monotonic line", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("1 second")
      const s = script<string, string>(fails("503", 10), succeeds("ada", 5))
      const events = yield* inVirtualTime(onWallTime(told(Rego.resilient(s.effect, key)))).pipe(
        Effect.flatten,
        (self) => under(self, policiesOf({ retry: { backoff: exactly20 } }))
      )
      const times = events.flatMap((event) =>
        "startedAt" in event ? [[event.at - wall - 1_000, event.startedAt - wall - 1_000]] : []
      )
      assert.deepStrictEqual(times, [[0, 0], [10, 0], [35, 30], [35, 0]])
    }))

  it.effect("have no field for what is not known", () =>
    Effect.gen(function*() {
      const policy = { retry: { backoff: exactly20 }, hedge: { trigger: Hedge.after(10) }, idempotent: true } as const
      const s = script<string, Error>(fails(new Error("503")), fails(askedToWait(30)), succeeds("ada", 20))
      const events = yield* inVirtualTime(told(Rego.resilient(s.effect, key))).pipe(
        Effect.flatten,
        (self) => under(self, policiesOf({ ...policy, classifier: judged }))
      )
      const fields = events.flatMap(({ _tag, at: _, call: __, key: ___, ...rest }) =>
        _tag === "BackoffScheduled" ? [rest] : []
      )
      assert.deepStrictEqual(fields, [{ delay: 20 }, { delay: 30, retryAfter: 30 }])
      for (const event of events) assert.notInclude(Object.values(event), undefined, event._tag)
    }))

  it.effect("count also the attempts of which no record is kept", () =>
    Effect.gen(function*() {
      const policy = { retry: { maxAttempts: 6, backoff: exactly20 } }
      const events = yield* inVirtualTime(told(Rego.resilient(script(fails("503")).effect, key))).pipe(
        Effect.flatten,
        (self) => under(self, policiesOf(policy, { maxAttemptRecords: 3 }))
      )
      const end = events.at(-1)
      assert.strictEqual(end?._tag === "CallEnded" ? end.attempts : end?._tag, 6)
    }))

  it.effect("ask a tracer that threw no more, say so, and leave the call alone", () =>
    Effect.gen(function*() {
      let asked = 0
      const log: Array<Line> = []
      const tracer = Tracer.make({
        span: (options) => {
          if (++asked > 1) throw new Error("full")
          return new Tracer.NativeSpan(options)
        }
      })
      const s = script<string, string>(fails("503"), fails("503"), succeeds("ada"))
      const exit = yield* inVirtualTime(Effect.withTracer(Rego.resilient(s.effect, key), tracer)).pipe(
        (self) => under(self, policiesOf({ retry: { backoff: exactly20 } }), log)
      )
      assertSucceedsWith(exit, "ada")
      assert.strictEqual(asked, 2)
      assert.deepStrictEqual(log.map(({ message }) => message).filter((message) => message.includes("defect")), [
        `rego ${key}: a defect in the tracer changes nothing for the caller`
      ])
    }))

  it.effect("are told to nobody where the observers are none, which is said", () =>
    Effect.gen(function*() {
      const log: Array<Line> = []
      const observers = new Set([undefined]) as ReadonlySet<unknown> as ReadonlySet<Observer.Observer>
      const exit = yield* inVirtualTime(Rego.resilient(Effect.succeed("ada"), key)).pipe(
        Effect.provideService(Observer.CurrentObservers, observers),
        (self) => under(self, policiesOf({}), log)
      )
      assertSucceedsWith(exit, "ada")
      assert.deepStrictEqual(log.map(({ message }) => message), [
        `rego ${key}: a defect in the observers changes nothing for the caller`
      ])
    }))
})
