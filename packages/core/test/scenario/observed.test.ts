/** Whoever listens, a call is the same; and whoever listens hears the same. */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Hedge, Observer, Rego, Timeline } from "@rego/core"
import { Arbitrary, Clock, Effect, Exit, Fiber, Random, Schema, Tracer } from "effect"
import { TestClock } from "effect/testing"
import type { Step } from "../support.ts"
import {
  countingBudget,
  hangs,
  integers,
  judged,
  key,
  makeTracer,
  resilient,
  script,
  seed,
  stepThat,
  under,
  withBudget
} from "../support.ts"

// -----------------------------------------------------------------------------
// arbitrary calls
// -----------------------------------------------------------------------------

const StepInput = Schema.Struct({
  kind: Schema.Literals(["ok", "fail", "asked", "final", "abort", "die", "hang", "stubborn"]),
  after: integers(0, 70)
})

const Scenario = Schema.Struct({
  maxAttempts: integers(1, 4),
  delay: integers(0, 40),
  hedge: Schema.Union([Schema.Undefined, integers(1, 60)]),
  maxHedges: integers(1, 2),
  perAttempt: integers(5, 80),
  overall: Schema.Union([Schema.Undefined, integers(1, 200)]),
  idempotent: Schema.Boolean,
  interruptedAt: Schema.Union([Schema.Undefined, Schema.Undefined, integers(0, 150)]),
  maxAttemptRecords: integers(2, 6),
  denies: integers(1, 5),
  budgetTakes: Schema.Union([Schema.Undefined, integers(10, 30)]),
  steps: Schema.NonEmptyArray(StepInput),
  seed: integers(0, 1_000_000)
})
type Scenario = typeof Scenario.Type

const scenarios = Arbitrary.schema(Scenario)

const policyOf = (
  { delay, hedge, idempotent, maxAttempts, maxHedges, overall, perAttempt }: Scenario
): Policy.Input => ({
  retry: { maxAttempts, backoff: Backoff.constant(delay, { jitter: "full" }) },
  hedge: hedge === undefined ? "off" : { trigger: Hedge.after(hedge), maxHedges },
  timeout: { perAttempt, overall },
  idempotent,
  classifier: judged
})

const stepOf = ({ after, kind }: typeof StepInput.Type, n: number): Step<unknown, Error> =>
  kind === "stubborn" ? hangs : stepThat(kind, after, n)

/** Some attempts do not stop when they are told to. */
const effectOf = ({ steps }: Scenario) => {
  const scripted = script<unknown, Error>(...steps.map(stepOf))
  let runs = 0
  const stubborn = Effect.uninterruptible(Effect.sleep(300))
  const effect = Effect.suspend((): Effect.Effect<unknown, Error> => {
    const step = steps[Math.min(runs++, steps.length - 1)]
    return step?.kind === "stubborn" ? Effect.andThen(stubborn, scripted.effect) : scripted.effect
  })
  return { effect, scripted }
}

// -----------------------------------------------------------------------------
// a call, and what was seen of it
// -----------------------------------------------------------------------------

const reasonsOf = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<string> =>
  exit._tag === "Success" ? [String(exit.value)] : exit.cause.reasons.map((reason) => {
    if (reason._tag === "Fail") return String(reason.error)
    return reason._tag === "Die" ? String(reason.defect) : "interrupted"
  })

/** What the caller and the dependency saw: the result, when it came, and when each attempt started. */
interface Seen {
  readonly result: ReadonlyArray<string>
  readonly took: number
  readonly startedAt: ReadonlyArray<number>
}

type Watch = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

type Operator = typeof resilient

const withTimeline: Operator = (self, name) => Effect.map(Rego.resilientWithTimeline(self, name), ([value]) => value)

/** One call, watched, on a clock of its own. Ten seconds pass after it, so that what it left behind ends as well. */
const run = (scenario: Scenario, watch: Watch, operator: Operator = resilient): Effect.Effect<Seen> =>
  Effect.gen(function*() {
    const { effect, scripted } = effectOf(scenario)
    const limits = { maxAttemptRecords: scenario.maxAttemptRecords }
    const budget = countingBudget({
      takes: scenario.budgetTakes ?? 0,
      grants: (asked) => scenario.denies === 1 || asked % scenario.denies !== 0
    })
    let took = NaN
    const call = Effect.onExit(operator(effect, key), () =>
      Effect.map(Clock.currentTimeMillis, (now) => {
        took = now
      }))
    return yield* Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(watch(call), { startImmediately: true })
      const { interruptedAt } = scenario
      if (interruptedAt !== undefined) {
        yield* TestClock.adjust(interruptedAt)
        yield* Effect.forkChild(Fiber.interrupt(fiber), { startImmediately: true })
      }
      yield* TestClock.adjust("10 seconds")
      const exit = yield* Fiber.await(fiber)
      return { result: [exit._tag, ...reasonsOf(exit)], took, startedAt: scripted.startedAt }
    }).pipe(
      (self) => under(self, withBudget(policyOf(scenario), budget.make, limits)),
      Random.withSeed(scenario.seed),
      Effect.provide(TestClock.layer())
    )
  })

/** Fails when a span is made, or later, when it ends. */
const throwing = (when: "made" | "ended") =>
  Tracer.make({
    span: (options) => {
      if (when === "made") throw new Error("tracer")
      return Object.assign(new Tracer.NativeSpan(options), {
        end: () => {
          throw new Error("tracer")
        }
      })
    }
  })

const observed = (...observers: ReadonlyArray<Observer.Observer>): Watch => (self) =>
  Effect.provideService(self, Observer.CurrentObservers, new Set(observers))

/** An observer is told in turns of its own: on a busy machine some of them come after the call. */
const runTold = (scenario: Scenario, observer: Observer.Observer, watch: Watch = quiet): Effect.Effect<Seen> =>
  Effect.tap(
    run(scenario, (self) => observed(observer)(watch(self))),
    () => observed(observer)(Observer.flush)
  )

/** One for all runs, because the first defect of an observer is logged. */
const throws = Observer.make({
  name: "the one that throws, which is logged once",
  onEvent: () => {
    throw new Error("observer")
  },
  onCallEnd: () => Effect.die(new Error("observer"))
})

const quiet: Watch = (self) => self

describe("the result of a call", () => {
  it.effect.prop(
    "is the same whoever listens: the exit, the attempts, their times and their order",
    { scenario: scenarios },
    ({ scenario }) =>
      Effect.gen(function*() {
        const { tracer } = makeTracer()
        const heard: Array<unknown> = []
        const keeps = Observer.make({
          onEvent: (event) => void heard.push(event),
          onCallEnd: (t) => void heard.push(t)
        })
        const hangs = Observer.make({ capacity: 2, onEvent: () => Effect.never, onCallEnd: () => Effect.never })
        const slow = Observer.make({ onEvent: () => Effect.sleep("1 hour") })
        const traced: Watch = (self) => Effect.withTracer(self, tracer)
        const captured: Watch = (self) => Effect.flatMap(Timeline.capture(self), ([exit]) => exit)
        const watches: ReadonlyArray<Watch> = [
          observed(keeps),
          observed(throws, hangs, slow, keeps),
          traced,
          (self) => observed(keeps)(traced(Effect.withSpan(self, "caller"))),
          observed(Observer.spans("attempts")),
          observed(Observer.spans("call")),
          (self) => Effect.withSpan(self, "caller"),
          (self) => Effect.withTracer(self, throwing("made")),
          (self) => Effect.withTracer(self, throwing("ended")),
          (self) => observed(Observer.spans("event"))(Effect.withSpan(self, "caller")),
          captured,
          (self) => captured(traced(captured(self)))
        ]
        const plain = yield* run(scenario, quiet)
        for (const watch of watches) assert.deepStrictEqual(yield* run(scenario, watch), plain)
        for (const watch of [quiet, captured, traced]) {
          assert.deepStrictEqual(yield* run(scenario, watch, withTimeline), plain)
        }
        assert.isAbove(heard.length, 0)
      }),
    { arbitrary: { seed, runs: 60 } }
  )
})

describe("Timeline.fromSpans", () => {
  it.effect.prop(
    "rebuilds what a capture collects: hedges, timeouts, attempts that were given up, interrupted calls, dropped records",
    { scenario: scenarios },
    ({ scenario }) =>
      Effect.gen(function*() {
        const { spans, tracer } = makeTracer()
        let captured: ReadonlyArray<Timeline.Timeline> = []
        const capture: Watch = (self) =>
          Effect.flatMap(Timeline.captureWith({})(self), ({ exit, timelines }) => {
            captured = timelines
            return exit
          })
        // An interrupted caller interrupts the capture as well, so that nobody is left to look at it.
        yield* run({ ...scenario, interruptedAt: undefined }, (self) => Effect.withTracer(capture(self), tracer))
        assert.strictEqual(captured.length, 1)
        assert.deepStrictEqual(Timeline.fromSpans(spans), captured)
        assert.deepStrictEqual(Timeline.fromSpans(spans.toReversed()), captured)
      }),
    { arbitrary: { seed, runs: 150 } }
  )

  it.effect.prop(
    "tells an observer's timelines apart by nothing, interrupted calls included",
    { scenario: scenarios },
    ({ scenario }) =>
      Effect.gen(function*() {
        const { spans, tracer } = makeTracer()
        const told: Array<Timeline.Timeline> = []
        const observer = Observer.make({ onCallEnd: (timeline) => void told.push(timeline) })
        yield* runTold(scenario, observer, (self) => Effect.withTracer(self, tracer))
        assert.deepStrictEqual(Timeline.fromSpans(spans), told)
      }),
    { arbitrary: { seed, runs: 150 } }
  )
})

// -----------------------------------------------------------------------------
// what an observer hears
// -----------------------------------------------------------------------------

const label = ({ attempt }: { readonly attempt: { readonly retry: number; readonly hedge: number } }): string =>
  `${attempt.retry}.${attempt.hedge}`

const isLate = ({ _tag }: Timeline.Event): boolean => _tag === "AbandonedEnded" || _tag === "AttemptAbandoned"

describe("events", () => {
  it.effect.prop(
    "are what the timeline says, in order, and the timeline comes after them",
    { scenario: scenarios },
    ({ scenario }) =>
      Effect.gen(function*() {
        const order: Array<Timeline.Event | Timeline.Timeline> = []
        const observer = Observer.make({
          onEvent: (event) => void order.push(event),
          onCallEnd: (timeline) => void order.push(timeline)
        })
        yield* runTold(scenario, observer)
        const timeline = order.find((one) => one instanceof Timeline.Timeline)!
        const events = order.filter((one): one is Timeline.Event => !(one instanceof Timeline.Timeline))
        const during = order.slice(0, order.indexOf(timeline)).filter((one) => one !== timeline) as Array<
          Timeline.Event
        >
        const of = <Tag extends Timeline.Event["_tag"]>(tag: Tag) =>
          events.filter((event): event is Extract<Timeline.Event, { readonly _tag: Tag }> => event._tag === tag)

        for (const event of events) assert.isTrue(Schema.is(Timeline.Event)(event), JSON.stringify(event))
        assert.strictEqual(events[0]?._tag, "PolicyResolved")
        assert.strictEqual(during.at(-1)?._tag, "CallEnded")
        assert.isTrue(events.slice(during.length).every(isLate))
        assert.deepStrictEqual(events.map(({ at }) => at), events.map(({ at }) => at).toSorted((a, b) => a - b))

        const started = of("AttemptStarted").map(label)
        assert.deepStrictEqual(of("AttemptEnded").map(label).toSorted(), started.toSorted())
        const dropped = Number(timeline.attributes["droppedAttempts"] ?? 0)
        assert.strictEqual(started.length, timeline.attempts.length + dropped)
        for (const { at, attempt, backoffBefore } of of("AttemptStarted")) {
          const record = timeline.attempts.find((one) => label(one) === label({ attempt }))
          if (record === undefined) continue
          assert.deepStrictEqual([record.startedAt, record.backoffBefore ?? 0], [at, backoffBefore])
          const end = of("AttemptEnded").find((event) => label(event) === label({ attempt }))!
          assert.deepStrictEqual([end.outcome, end.reason, end.error], [record.outcome, record.reason, record.error])
          assert.deepStrictEqual(end.attributes, record.attributes)
          if (record.endedBy !== "abandoned") {
            assert.deepStrictEqual([end.endedBy, end.at], [record.endedBy, record.endedAt])
          }
        }

        const waits = timeline.decisions.filter((decision) => decision._tag === "BackoffScheduled")
        assert.deepStrictEqual(
          of("BackoffScheduled").map(({ at, delay }) => [at, delay]),
          waits.map((w) => [w.at, w.delay])
        )
        const denied = timeline.decisions.flatMap((one) => one._tag === "Denied" ? Array(one.count).fill(one.kind) : [])
        assert.deepStrictEqual(of("BudgetDenied").map(({ kind }) => kind).toSorted(), denied.toSorted())
        const stop = timeline.decisions.flatMap((one) => one._tag === "Stopped" ? [one.reason] : [])
        assert.deepStrictEqual(of("Stopped").map(({ reason }) => reason), stop)
        assert.deepStrictEqual(of("CallEnded").map(({ result }) => result), [timeline.result])

        const hedges = started.filter((one) => !one.endsWith(".0"))
        assert.deepStrictEqual(of("HedgeStarted").map(label), hedges)
        assert.deepStrictEqual([...of("HedgeWon"), ...of("HedgeWasted")].map(label).toSorted(), hedges.toSorted())
        assert.isAtLeast(of("HedgeDue").length, hedges.length)
        assert.deepStrictEqual(of("AbandonedEnded").map(label).toSorted(), of("AttemptAbandoned").map(label).toSorted())
      }),
    { arbitrary: { seed, runs: 200 } }
  )
})
