/** The spans of a call: their tree, their times, what they say, and how they end. */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Attempt, Backoff, Hedge, Observer, Rego, Timeline } from "@rego/core"
import { Cause, Effect, Exit, Option, Tracer } from "effect"
import { fails, hangs, inVirtualTime, key, makeTracer, policiesOf, script, succeeds, under } from "../support.ts"

/** The spans of a program under a policy, in virtual time. */
const spansOf = <A, E>(self: Effect.Effect<A, E>, policy: Policy.Input = {}, ...observers: Array<Observer.Observer>) =>
  Effect.gen(function*() {
    const { spans, tracer } = makeTracer()
    const call = Rego.resilient(self, key).pipe(Effect.withTracer(tracer), Effect.exit)
    yield* inVirtualTime(call).pipe(
      Effect.provideService(Observer.CurrentObservers, new Set(observers)),
      (program) => under(program, policiesOf(policy))
    )
    return spans
  })

const parentOf = ({ parent }: Tracer.NativeSpan): string | undefined =>
  Option.getOrUndefined(parent)?._tag === "Span" ? (Option.getOrThrow(parent) as Tracer.Span).name : undefined

const tree = (spans: ReadonlyArray<Tracer.NativeSpan>) => spans.map((span) => [span.name, span.kind, parentOf(span)])

const times = ({ status }: Tracer.NativeSpan): ReadonlyArray<number> =>
  [status.startTime, status._tag === "Ended" ? status.endTime : -1n].map((nanos) => Number(nanos / 1_000_000n))

const exitOf = ({ status }: Tracer.NativeSpan): Exit.Exit<unknown, unknown> =>
  status._tag === "Ended" ? status.exit : assert.fail("the span has not ended")

/** As exporters see it: a success, an interruption, which is no error, or an error. */
const statusOf = (span: Tracer.NativeSpan): string => {
  const exit = exitOf(span)
  return exit._tag === "Success" ? "ok" : Cause.hasInterruptsOnly(exit.cause) ? "interrupted" : "error"
}

const attributesOf = ({ attributes }: Tracer.NativeSpan) => Object.fromEntries(attributes)

const none = Backoff.constant(20, { jitter: "none" })

describe("Spans", () => {
  it.live("begin before the spans inside them on the clock of the host, after a call that took long to begin as well", () =>
    Effect.gen(function*() {
      const { spans, tracer } = makeTracer()
      const inner = Effect.withSpan(Effect.yieldNow, "inside")
      const keys = Array.from({ length: 10 }, (_, n) => `spans.New${n}`)
      const calls = Effect.forEach(keys, (each) => Effect.replicateEffect(Rego.resilient(inner, each), 5))
      yield* under(Effect.withTracer(calls, tracer), policiesOf({ retry: {} }))
      const late = spans.filter(({ parent, status }) =>
        Option.exists(parent, (around) => around._tag === "Span" && around.status.startTime > status.startTime)
      )
      assert.deepStrictEqual([spans.length, late.map(({ name }) => name)], [150, []])
    }))

  it.effect("of a retried call: one for the call, one for each attempt, with their times", () =>
    Effect.gen(function*() {
      const s = script<string, string>(fails("503", 5), succeeds("ada", 5))
      const spans = yield* spansOf(Effect.andThen(Attempt.annotate("replica", "eu-2"), s.effect), {
        retry: { backoff: none }
      })
      assert.deepStrictEqual(tree(spans), [
        [key, "client", undefined],
        [`${key} attempt`, "internal", key],
        [`${key} attempt`, "internal", key]
      ])
      assert.deepStrictEqual(spans.map(times), [[0, 30], [0, 5], [25, 30]])
      assert.deepStrictEqual(spans.map(statusOf), ["ok", "error", "ok"])
      assert.deepStrictEqual(spans.map(attributesOf), [
        {
          "rego.key": key,
          "rego.result": "success",
          "rego.attempts": 2,
          "rego.policy.revision": "local",
          "rego.policy.source": "local"
        },
        {
          "rego.key": key,
          "rego.attempt.retry": 0,
          "rego.attempt.hedge": 0,
          "rego.attempt.ended_by": "returned",
          "rego.outcome": "Retryable",
          "rego.reason": "typed_failure",
          "rego.annotation.replica": "eu-2"
        },
        {
          "rego.key": key,
          "rego.attempt.retry": 1,
          "rego.attempt.hedge": 0,
          "rego.attempt.ended_by": "returned",
          "rego.attempt.backoff_before": 20,
          "rego.outcome": "Success",
          "rego.annotation.replica": "eu-2"
        }
      ])
      assert.deepStrictEqual(spans[0]!.events, [["rego.BackoffScheduled", 5_000_000n, { "rego.delay": 20 }]])
    }))

  it.effect("of a hedged call: the loser is interrupted, which is no error, and linked to the winner", () =>
    Effect.gen(function*() {
      const s = script<string, never>(hangs, succeeds("ada", 10))
      const [call, loser, winner] = yield* spansOf(s.effect, { hedge: { trigger: Hedge.after(50) }, idempotent: true })
      assert.deepStrictEqual([call!, loser!, winner!].map(statusOf), ["ok", "interrupted", "ok"])
      assert.deepStrictEqual([loser!, winner!].map(times), [[0, 60], [50, 60]])
      assert.strictEqual(loser!.attributes.get("rego.attempt.ended_by"), "interrupted_loser")
      assert.deepStrictEqual(loser!.links, [{ span: winner!, attributes: { "rego.link": "winner" } }])
      assert.deepStrictEqual(winner!.links, [{ span: loser!, attributes: { "rego.link": "loser" } }])
    }))

  it.effect("of an attempt that timed out and still runs: over when its call gave it up", () =>
    Effect.gen(function*() {
      const stubborn = Effect.uninterruptible(Effect.sleep(500))
      const [call, attempt] = yield* spansOf(stubborn, { timeout: { perAttempt: 100 } })
      assert.deepStrictEqual([call!, attempt!].map(times), [[0, 100], [0, 100]])
      assert.deepStrictEqual([call!, attempt!].map(statusOf), ["error", "error"])
      assert.strictEqual(attempt!.attributes.get("rego.attempt.ended_by"), "abandoned")
      assert.strictEqual(call!.attributes.get("rego.reason"), "no_retries")
    }))

  it.effect("of a call inside a call: under the attempt that made it", () =>
    Effect.gen(function*() {
      const inner = Effect.withSpan(Effect.succeed("ada"), "query").pipe(Rego.resilient("db.User"))
      const spans = yield* Effect.gen(function*() {
        const { spans, tracer } = makeTracer()
        yield* Effect.withSpan(Rego.resilient(inner, key), "request").pipe(Effect.withTracer(tracer))
        return spans
      }).pipe((self) => under(self, policiesOf({})))
      assert.deepStrictEqual(tree(spans), [
        ["request", "internal", undefined],
        [key, "client", "request"],
        [`${key} attempt`, "internal", key],
        ["db.User", "client", `${key} attempt`],
        ["db.User attempt", "internal", "db.User"],
        ["query", "internal", "db.User attempt"]
      ])
      assert.deepStrictEqual(Timeline.fromSpans(spans).map((timeline) => timeline.key), ["db.User", key])
    }))

  it.effect("have the annotations and links that the program gives all its spans", () =>
    Effect.gen(function*() {
      const linked = Tracer.externalSpan({ spanId: "1", traceId: "2" })
      const { spans, tracer } = makeTracer()
      yield* Rego.resilient(Effect.succeed(1), key).pipe(
        Effect.annotateSpans("tenant", "acme"),
        Effect.linkSpans(linked),
        Effect.withTracer(tracer),
        (self) => under(self, policiesOf({}))
      )
      assert.deepStrictEqual(spans.map((span) => span.attributes.get("tenant")), ["acme", "acme"])
      assert.deepStrictEqual(spans.map((span) => span.links.map((link) => link.span)), [[linked], [linked]])
    }))

  it.effect("are not sampled under a parent that is not", () =>
    Effect.gen(function*() {
      const { spans, tracer } = makeTracer()
      const parent = Tracer.externalSpan({ spanId: "1", traceId: "2", sampled: false })
      yield* Rego.resilient(Effect.succeed(1), key).pipe(
        Effect.withParentSpan(parent),
        Effect.withTracer(tracer),
        (self) => under(self, policiesOf({}))
      )
      assert.deepStrictEqual(spans.map((span) => [span.sampled, span.traceId]), [[false, "2"], [false, "2"]])
    }))

  describe("of each level", () => {
    /** What is seen by a tracer, and by Effect's own, of a call inside a span. */
    const seen = (...observers: Array<Observer.Observer>) =>
      Effect.gen(function*() {
        const { spans, tracer } = makeTracer()
        const call = Effect.withSpan(Rego.resilient(Effect.currentParentSpan, key), "caller")
        const run = (self: typeof call) =>
          self.pipe(
            Effect.provideService(Observer.CurrentObservers, new Set(observers)),
            (program) => under(program, policiesOf({}))
          )
        yield* run(call.pipe(Effect.withTracer(tracer)))
        const inside = yield* run(call)
        const events = spans[0]!.events.map(([name]) => name)
        return [spans.length - 1, events, inside._tag === "Span" ? inside.name : undefined]
      })

    it.effect("auto, the default: nothing for Effect's own tracer", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* seen(), [2, [], "caller"])
        assert.deepStrictEqual(yield* seen(Observer.spans("auto")), [2, [], "caller"])
      }))

    it.effect("attempts, call, event, off", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* seen(Observer.spans("attempts")), [2, [], `${key} attempt`])
        assert.deepStrictEqual(yield* seen(Observer.spans("call")), [1, [], key])
        assert.deepStrictEqual(yield* seen(Observer.spans("event")), [0, ["rego.call"], "caller"])
        assert.deepStrictEqual(yield* seen(Observer.spans("off")), [0, [], "caller"])
      }))

    it.effect("the last of several counts", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* seen(Observer.spans("off"), Observer.spans("call")), [1, [], key])
      }))
  })

  it.effect("are not made where tracing is switched off", () =>
    Effect.gen(function*() {
      const { spans, tracer } = makeTracer()
      yield* Rego.resilient(Effect.succeed(1), key).pipe(
        Effect.withTracerEnabled(false),
        Effect.withTracer(tracer),
        (self) => under(self, policiesOf({}))
      )
      assert.deepStrictEqual(spans, [])
    }))
})
