/** What a server of Prometheus scrapes, against the timelines of the same calls. */
import { assert, describe, it } from "@effect/vitest"
import { Observer, PolicyProvider, RegoMetrics, Timeline } from "@rego/core"
import { Duration, Effect, Layer, Metric, Option, Random } from "effect"
import { HttpClient, HttpRouter } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { loopback } from "../loopback.ts"
import type { Family, Sample } from "../prometheusText.ts"
import { parse } from "../prometheusText.ts"
import { seed, withLog } from "../support.ts"
import * as Traffic from "../traffic.ts"

type Families = ReadonlyMap<string, Family>

/** A real server on a free port of this machine, and a client that knows its address. */
const Server = HttpRouter.serve(PrometheusMetrics.layerHttp({ metricNameMapper: RegoMetrics.prometheusName }), {
  disableLogger: true,
  disableListenLog: true
}).pipe(Layer.provideMerge(loopback))

const scrape = Effect.gen(function*() {
  const response = yield* HttpClient.get("/metrics")
  assert.strictEqual(response.status, 200)
  assert.strictEqual(response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
  return parse(yield* response.text)
})

// -----------------------------------------------------------------------------
// what was scraped, as a table
// -----------------------------------------------------------------------------

type Table = ReadonlyMap<string, number>

const line = (labels: Readonly<Record<string, string>>): string =>
  Object.keys(labels).toSorted().filter((name) => labels[name] !== "").map((name) => `${name}=${labels[name]}`).join(
    " "
  )

const table = (families: Families, name: string, suffix = ""): Table =>
  new Map(
    (families.get(name)?.samples ?? [])
      .filter((sample: Sample) => sample.name === name + suffix)
      .map(({ labels, value }) => [line(labels), value])
  )

/** What the timelines say: a sum for each combination of labels. */
const tally = <A>(
  items: ReadonlyArray<A>,
  labelsOf: (item: A) => Readonly<Record<string, string>>,
  valueOf: (item: A) => number = () => 1
): Table => {
  const sums = new Map<string, number>()
  for (const item of items) {
    const name = line(labelsOf(item))
    sums.set(name, (sums.get(name) ?? 0) + valueOf(item))
  }
  return sums
}

const withBound = (labels: string, le: string): string => [...labels.split(" "), `le=${le}`].toSorted().join(" ")

const sorted = (of: Table) => [...of].toSorted(([a], [b]) => a < b ? -1 : 1)

const assertEqual = (scraped: Table, expected: Table, what: string): void =>
  assert.deepStrictEqual(sorted(scraped), sorted(expected), what)

/** Sums of floating point numbers depend on their order. */
const assertClose = (scraped: Table, expected: Table, what: string): void => {
  assert.deepStrictEqual([...scraped.keys()].toSorted(), [...expected.keys()].toSorted(), what)
  for (const [name, value] of expected) {
    assert.approximately(scraped.get(name)!, value, 1e-6 * (1 + value), `${what} ${name}`)
  }
}

// -----------------------------------------------------------------------------
// the definitions, once more and in other words
// -----------------------------------------------------------------------------

type Call = Timeline.Timeline
type One = Timeline.AttemptRecord

const own: ReadonlySet<string> = new Set(Traffic.keys)
const labelOf = ({ key }: Call): string => own.has(key) ? key : "_overflow"
const byKey = (call: Call) => ({ key: labelOf(call) })

const stopsOf = (call: Call) =>
  call.decisions.flatMap((decision) => decision._tag === "Stopped" ? [decision.reason] : [])

const resultOf = (call: Call): string => {
  const [stop] = stopsOf(call)
  if (call.result === "interrupted") return "interrupted"
  if (call.result === "success") return "success"
  if (stop === "deadline_exceeded") return "deadline"
  return stop === "admission_denied" ? "denied" : "failure"
}

const listed: ReadonlySet<string> = new Set([
  "http_503",
  "http_429",
  "http_404",
  "aborted",
  "reset",
  "defect",
  "attempt_timeout",
  "typed_failure",
  "interrupted"
])

const reasonOf = ({ reason }: One): string => reason === undefined ? "" : listed.has(reason) ? reason : "other"

const kindOf = ({ attempt }: One): string => attempt.hedge > 0 ? "hedge" : attempt.retry > 0 ? "retry" : "primary"

const verdicts = { Success: "success", Retryable: "retryable", NonRetryable: "non_retryable", Abort: "abort" } as const

const outcomeOf = (call: Call, one: One): string => {
  if (one.endedBy === "returned") return verdicts[one.outcome!]
  const [stop] = stopsOf(call)
  const byTime = one.endedBy === "timed_out" || one.outcome !== undefined || stop === "deadline_exceeded"
  if (byTime) return "timed_out"
  return stop === "interrupted" ? "abort" : "lost"
}

const durationOf = (call: Call, one: One): number => ((one.endedAt ?? call.endedAt) - one.startedAt) / 1_000

const hedgesOf = (call: Call) => call.attempts.filter(({ attempt }) => attempt.hedge > 0)
const retriesOf = (call: Call) => call.attempts.filter(({ attempt }) => attempt.hedge === 0 && attempt.retry > 0)

/** Waits that came to their end stand before an attempt; the last one may have been cut short. */
const waitedBy = (call: Call): number => {
  const done = call.attempts.filter(({ attempt }) => attempt.hedge === 0).reduce(
    (sum, one) => sum + (one.backoffBefore ?? 0),
    0
  )
  const waits = call.decisions.filter((decision) => decision._tag === "BackoffScheduled")
  const last = waits.length > retriesOf(call).length ? waits.at(-1) : undefined
  return done + (last === undefined ? 0 : Math.min(last.delay, call.endedAt - last.at))
}

const check = (families: Families, calls: ReadonlyArray<Call>): void => {
  const attempts = calls.flatMap((call) => call.attempts.map((one) => ({ call, one })))
  const denials = calls.flatMap((call) =>
    call.decisions.flatMap((decision) => decision._tag === "Denied" ? [{ call, decision }] : [])
  )

  const histogram = <A>(
    name: string,
    items: ReadonlyArray<A>,
    labels: (item: A) => Readonly<Record<string, string>>,
    value: (item: A) => number
  ): void => {
    assertEqual(table(families, name, "_count"), tally(items, labels), `${name}_count`)
    assertClose(table(families, name, "_sum"), tally(items, labels, value), `${name}_sum`)
    const bounds = [...new Set(families.get(name)!.samples.flatMap(({ labels }) => labels["le"] ?? []))]
    const values = items.map((item) => ({ name: line(labels(item)), value: value(item) }))
    const expected = new Map(
      bounds.flatMap((le) => {
        const bound = le === "+Inf" ? Infinity : Number(le)
        return [...tally(values, ({ name }) => ({ name }), (it) => it.value <= bound ? 1 : 0)].map(
          ([text, count]) => [withBound(text.slice("name=".length), le), count] as const
        )
      })
    )
    assertEqual(table(families, name, "_bucket"), expected, `${name}_bucket`)
  }

  histogram(
    "rego_call_duration_seconds",
    calls,
    (call) => ({ ...byKey(call), result: resultOf(call) }),
    (call) => (call.endedAt - call.startedAt) / 1_000
  )
  histogram(
    "rego_call_attempts",
    calls.filter((call) => call.attempts.length > 0),
    byKey,
    (call) => call.attempts.length
  )
  histogram(
    "rego_call_retries",
    calls.filter((call) => retriesOf(call).length > 0),
    byKey,
    (call) => retriesOf(call).length
  )
  histogram(
    "rego_call_hedges",
    calls.filter((call) => hedgesOf(call).length > 0),
    byKey,
    (call) => hedgesOf(call).length
  )
  histogram(
    "rego_call_backoff_seconds",
    calls.filter((call) => waitedBy(call) > 0),
    byKey,
    (call) => waitedBy(call) / 1_000
  )
  histogram(
    "rego_attempt_duration_seconds",
    attempts,
    ({ call, one }) => ({ ...byKey(call), kind: kindOf(one), outcome: outcomeOf(call, one), reason: reasonOf(one) }),
    ({ call, one }) => durationOf(call, one)
  )
  assertEqual(
    table(families, "rego_call_stopped_total"),
    tally(calls.filter((call) => stopsOf(call).length > 0), (call) => ({ ...byKey(call), reason: stopsOf(call)[0]! })),
    "stopped"
  )
  assertEqual(
    table(families, "rego_budget_denied_total"),
    tally(
      denials,
      ({ call, decision }) => ({
        ...byKey(call),
        kind: decision.kind,
        reason: decision.reason,
        budget: decision.budget ?? ""
      }),
      ({ decision }) => decision.count
    ),
    "denied"
  )
}

/** What the provider has counted by itself, in the driver. */
const checkHedges = Effect.fnUntraced(
  function*(families: Families, provider: PolicyProvider.PolicyProvider["Service"]) {
    for (const key of ["hedged.Get", "cautious.Get"]) {
      const { hedging } = Option.getOrThrow(yield* provider.statistics(key))
      const { saved, started, wasted, won } = Option.getOrThrow(hedging).hedges
      const read = (name: string) => table(families, name).get(`key=${key}`)
      assert.strictEqual(read("rego_hedge_won_total"), won)
      assert.strictEqual(read("rego_hedge_wasted_total"), wasted)
      assert.strictEqual(read("rego_hedge_saved_seconds_total"), Duration.toSeconds(saved))
      assert.strictEqual(won + wasted, started)
      assert.isAbove(won, key === "hedged.Get" ? 100 : 0)
    }
  }
)

// -----------------------------------------------------------------------------

const measured = 10_000

const Traffic10k = Effect.gen(function*() {
  const others = Array.from({ length: 20 }, (_, i) => `many.key${String.fromCharCode(97 + i)}`)
  // first those that get series of their own
  yield* Traffic.run(measured - 500, Traffic.keys, Observer.flush)
  yield* Traffic.run(500, [...others, ...Traffic.keys], Observer.flush)
})

describe("Prometheus", () => {
  it.live("scrapes exactly what the timelines of 10,000 random calls say", () =>
    Effect.gen(function*() {
      const provider = yield* PolicyProvider.PolicyProvider
      const { dropped, timelines } = yield* Timeline.captureWith({ maxTimelines: measured })(Traffic10k)
      assert.strictEqual(dropped, 0)
      assert.strictEqual(timelines.length, measured)
      const families = yield* scrape
      check(families, timelines)
      yield* checkHedges(families, provider)

      // the traffic was varied enough to prove something
      const results = new Set(timelines.map(resultOf))
      assert.deepStrictEqual([...results].toSorted(), ["deadline", "denied", "failure", "interrupted", "success"])
      const outcomes = new Set(timelines.flatMap((call) => call.attempts.map((one) => outcomeOf(call, one))))
      assert.strictEqual(outcomes.size, 6)
      assert.isAbove(new Set(timelines.flatMap(stopsOf)).size, 8)
      assert.isTrue(timelines.some((call) => call.attempts.some(({ endedBy }) => endedBy === "abandoned")))
      assert.isTrue(table(families, "rego_call_duration_seconds", "_count").has("key=_overflow result=success"))

      // all of it has ended
      for (const name of ["rego_attempts_active", "rego_attempts_abandoned"]) {
        assert.deepStrictEqual(new Set(table(families, name).values()), new Set([0]))
      }
    }).pipe(
      Effect.provide(
        Layer.mergeAll(
          RegoMetrics.layer({ maxKeys: Traffic.keys.length }).pipe(Layer.provideMerge(Traffic.layer)),
          Server
        ).pipe(Layer.provideMerge(TestClock.layer()))
      ),
      Effect.provideService(Metric.MetricRegistry, new Map()),
      Random.withSeed(seed),
      (self) => withLog(self)
    ), 120_000)
})
