import { assert, describe, it } from "@effect/vitest"
import type { PolicyProvider, Timeline } from "@rego/core"
import { Backoff, Hedge, Observer, Rego } from "@rego/core"
import { Clock, Duration, Effect, Exit, Tracer } from "effect"
import { TestClock } from "effect/testing"
import type { Line, Policies } from "./support.ts"
import {
  askedToWait,
  fails,
  inVirtualTime,
  judged,
  key,
  makeTracer,
  policiesOf,
  script,
  succeeds,
  under
} from "./support.ts"

// which events a call tells, and when: driver/events.test.ts

const backoff = Backoff.constant(20, { jitter: "none" })

type Event<Tag> = Extract<Timeline.Event, { readonly _tag: Tag }>

/** What a program that makes calls in virtual time tells, by the names of events. */
const eventsOf = (program: Effect.Effect<unknown, unknown, PolicyProvider.PolicyProvider>, policies: Policies) =>
  Effect.gen(function*() {
    const events: Array<Timeline.Event> = []
    yield* inVirtualTime(Effect.andThen(Effect.exit(program), Observer.flush)).pipe(
      Effect.provide(Observer.layer([{ onEvent: (event) => void events.push(event) }])),
      (self) => under(self, policies)
    )
    return <Tag extends Timeline.Event["_tag"]>(tag: Tag): ReadonlyArray<Event<Tag>> =>
      events.filter((event): event is Event<Tag> => event._tag === tag)
  })

const call = (effect: Effect.Effect<unknown, unknown>) => Rego.resilient(effect, key)

const plain = call(Effect.succeed("ada"))

describe("CallEvents", () => {
  it.effect("have the times of the wall clock, whatever the clock that measures says", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("3 seconds")
      const clock = yield* Clock.Clock
      const ahead: Clock.Clock = {
        ...clock,
        currentTimeNanosUnsafe: () => clock.monotonicTimeNanosUnsafe() + 1_000_000_000n
      }
      const s = script(fails("503", 5), succeeds("ada", 5))
      const told = yield* eventsOf(
        call(s.effect).pipe(Effect.provideService(Clock.Clock, ahead)),
        policiesOf({ retry: { backoff } })
      )
      assert.deepStrictEqual(told("PolicyResolved").map(({ at, startedAt }) => [at, startedAt]), [[4_000, 4_000]])
      assert.deepStrictEqual(told("AttemptEnded").map(({ at, startedAt }) => [at, startedAt]), [
        [4_005, 4_000],
        [4_030, 4_025]
      ])
      assert.deepStrictEqual(told("CallEnded").map(({ at, startedAt }) => [at, startedAt]), [[4_030, 4_000]])
    }))

  it.effect("say for how long a server asked to wait, where it did", () =>
    Effect.gen(function*() {
      const s = script(fails(askedToWait(Duration.millis(50))), fails(new Error("503")), succeeds("ada"))
      const told = yield* eventsOf(call(s.effect), policiesOf({ retry: { backoff }, classifier: judged }))
      const [asked, not] = told("BackoffScheduled")
      assert.strictEqual(asked!.retryAfter, 50)
      assert.notProperty(not, "retryAfter")
    }))

  it.effect("name no budget where none was asked", () =>
    Effect.gen(function*() {
      // too many attempts of the key fail: the hedge is refused before any budget is asked
      const program = Effect.gen(function*() {
        for (let i = 0; i < 10; i++) yield* Effect.exit(call(Effect.fail("no")))
        yield* call(script(succeeds("ada", 50)).effect)
      })
      const told = yield* eventsOf(
        program,
        policiesOf({ hedge: { trigger: Hedge.after("10 millis") }, idempotent: true })
      )
      const [denied] = told("BudgetDenied")
      assert.strictEqual(denied?.reason, "unhealthy")
      assert.notProperty(denied, "budget")
    }))

  it.effect("count at the end attempts of which there is no record any more", () =>
    Effect.gen(function*() {
      const s = script(fails("503"))
      const policies = policiesOf({ retry: { backoff, maxAttempts: 5 } }, { maxAttemptRecords: 2 })
      const told = yield* eventsOf(call(s.effect), policies)
      assert.deepStrictEqual(told("CallEnded").map(({ attempts }) => attempts), [5])
    }))

  it.effect("ask a tracer that throws no more for the call, and say so", () =>
    Effect.gen(function*() {
      const lines: Array<Line> = []
      const { spans, tracer } = makeTracer()
      let asked = 0
      const breaks = Tracer.make({
        span: (options) => {
          if (++asked > 1) throw new Error("tracer")
          return tracer.span(options)
        }
      })
      const exit = yield* inVirtualTime(call(script(fails("503"), succeeds("ada")).effect)).pipe(
        Effect.withTracer(breaks),
        (self) => under(self, policiesOf({ retry: { backoff } }), lines)
      )
      assert.deepStrictEqual(exit, Exit.succeed("ada"))
      assert.deepStrictEqual([asked, spans.length], [2, 1])
      assert.deepStrictEqual(lines.flatMap(({ level, message }) => level === "Error" ? [message] : []), [
        `rego ${key}: a defect in the tracer changes nothing for the caller`
      ])
    }))

  it.effect("are written on no span where there is none of this process, and that is no defect", () =>
    Effect.gen(function*() {
      const external = Tracer.externalSpan({ spanId: "1", traceId: "2" })
      for (const around of [(self: typeof plain) => self, Effect.withParentSpan(external)]) {
        const lines: Array<Line> = []
        yield* around(plain).pipe(
          Effect.provideService(Observer.CurrentObservers, new Set([Observer.spans("event")])),
          Effect.withTracer(makeTracer().tracer),
          (self) => under(self, policiesOf({}), lines)
        )
        assert.deepStrictEqual(lines, [])
      }
    }))

  it.effect("are told to nobody where the observers are none, and the call goes on", () =>
    Effect.gen(function*() {
      const lines: Array<Line> = []
      const exit = yield* Effect.exit(call(Effect.succeed("ada"))).pipe(
        Effect.provideService(Observer.CurrentObservers, new Set([null]) as never),
        (self) => under(self, policiesOf({}), lines)
      )
      assert.deepStrictEqual(exit, Exit.succeed("ada"))
      assert.deepStrictEqual(lines.map(({ level, message }) => [level, message]), [
        ["Error", `rego ${key}: a defect in the observers changes nothing for the caller`]
      ])
    }))
})
