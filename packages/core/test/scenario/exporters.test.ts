/** What exporters that people already have make of our metrics and spans. */
import * as OtelMetrics from "@effect/opentelemetry/OtelMetrics"
import * as OtelResource from "@effect/opentelemetry/Resource"
import { assert, describe, it } from "@effect/vitest"
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  PeriodicExportingMetricReader
} from "@opentelemetry/sdk-metrics"
import { Backoff, Hedge, Observer, PolicyLayer, Rego, RegoMetrics } from "@rego/core"
import { Effect, Layer, Metric } from "effect"
import { FetchHttpClient } from "effect/http"
import { Otlp, OtlpExporter } from "effect/observability"
import * as Collector from "../otlpCollector.ts"
import { fails, hangs, script, succeeds } from "../support.ts"

const Policies = PolicyLayer.make({
  policies: {
    "users.Get": { retry: { maxAttempts: 3, backoff: Backoff.none }, timeout: { overall: "5 seconds" } },
    "orders.List": { hedge: { trigger: Hedge.after("1 millis") }, timeout: { overall: "5 seconds" }, idempotent: true }
  }
})

const App = RegoMetrics.layer().pipe(Layer.provideMerge(Policies))

/** A request that makes two calls: one that is retried, and one that a hedge wins. */
const request = Effect.gen(function*() {
  yield* Rego.resilient(script(fails("503"), succeeds("ada")).effect, "users.Get")
  yield* Rego.resilient(script<string, never>(hangs, succeeds("book")).effect, "orders.List")
}).pipe(Effect.withSpan("GET /profile"))

const isolated = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, Metric.MetricRegistry, new Map())

/** Of the metrics that the request adds to: their attributes, and a count or a value. */
const expected = [
  ["rego.call.duration", { key: "users.Get", result: "success" }, 1],
  ["rego.call.duration", { key: "orders.List", result: "success" }, 1],
  ["rego.call.attempts", { key: "users.Get" }, 1],
  ["rego.call.attempts", { key: "orders.List" }, 1],
  ["rego.call.retries", { key: "users.Get" }, 1],
  ["rego.call.hedges", { key: "orders.List" }, 1],
  ["rego.attempt.duration", { key: "users.Get", kind: "primary", outcome: "retryable", reason: "typed_failure" }, 1],
  ["rego.attempt.duration", { key: "users.Get", kind: "retry", outcome: "success" }, 1],
  ["rego.attempt.duration", { key: "orders.List", kind: "primary", outcome: "lost" }, 1],
  ["rego.attempt.duration", { key: "orders.List", kind: "hedge", outcome: "success" }, 1],
  ["rego.attempts.active", { key: "users.Get" }, 0],
  ["rego.attempts.active", { key: "orders.List" }, 0],
  ["rego.attempts.abandoned", { key: "users.Get" }, 0],
  ["rego.attempts.abandoned", { key: "orders.List" }, 0],
  ["rego.hedge.won", { key: "orders.List" }, 1],
  ["rego.policy.info", { state: "local", revision: "local" }, 1]
] as const

/** What is not known beforehand: an estimate, and what is left of a budget in real time. */
const varying: ReadonlySet<string> = new Set(["rego.hedge.saved", "rego.budget.available"])

type Row = readonly [name: string, attributes: object, value: number | undefined]

const sorted = (rows: ReadonlyArray<Row>): ReadonlyArray<Row> =>
  rows.filter(([name]) => !varying.has(name)).map((row) => [JSON.stringify(row), row] as const)
    .toSorted(([a], [b]) => a < b ? -1 : 1).map(([, row]) => row)

const withoutUnit = (attributes: Collector.Attributes): Collector.Attributes =>
  Object.fromEntries(Object.entries(attributes).filter(([name]) => name !== "unit"))

describe("OTLP", () => {
  it.live("carries the metrics of the table, with their units and attributes", () =>
    Effect.gen(function*() {
      const collector = yield* Collector.make
      const Exporter = Otlp.layerJson({ baseUrl: collector.url, resource: { serviceName: "profiles" } }).pipe(
        Layer.provide(FetchHttpClient.layer)
      )
      const exported = yield* Effect.gen(function*() {
        yield* request
        yield* Observer.flush
        const { flush } = yield* OtlpExporter.Flusher
        yield* flush
        return collector.metrics()
      }).pipe(Effect.provide(App), Effect.provide(Exporter))
      assert.deepStrictEqual(collector.problems, [])

      const ours = exported.filter(({ name }) => name.startsWith("rego."))
      const pointsOf = ({ gauge, histogram, sum }: Collector.Metric) => (histogram ?? sum ?? gauge)!.dataPoints
      const rows = ours.flatMap((metric) =>
        pointsOf(metric).map(({ asDouble, attributes, count }): Row => [
          metric.name,
          withoutUnit(Collector.attributesOf(attributes)),
          count ?? asDouble
        ])
      )
      assert.deepStrictEqual(sorted(rows), sorted(expected))

      for (const { description, histogram, name, sum, unit } of ours) {
        const instrument = RegoMetrics.instruments.find((one) => one.name === name)!
        assert.strictEqual(unit, instrument.unit, name)
        assert.strictEqual(description, instrument.description, name)
        const type = histogram !== undefined ? "histogram" : sum !== undefined ? "counter" : "gauge"
        assert.strictEqual(type, instrument.type, name)
        if (sum !== undefined) assert.isTrue(sum.isMonotonic, name)
        for (const { explicitBounds } of histogram?.dataPoints ?? []) {
          assert.deepStrictEqual(explicitBounds, instrument.boundaries)
        }
      }
    }).pipe(Effect.scoped, isolated))
})

describe("the SDK of OpenTelemetry", () => {
  it.live("collects the metrics of the table, with their units and attributes", () =>
    Effect.gen(function*() {
      const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
      const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 60_000 })
      const Sdk = OtelMetrics.layer(() => reader).pipe(Layer.provide(OtelResource.layer({ serviceName: "profiles" })))
      yield* Effect.gen(function*() {
        yield* request
        yield* Observer.flush
        yield* Effect.promise(() => reader.forceFlush())
      }).pipe(Effect.provide(App), Effect.provide(Sdk))

      const ours = exporter.getMetrics().at(0)!.scopeMetrics.flatMap(({ metrics }) => metrics)
        .filter(({ descriptor }) => descriptor.name.startsWith("rego."))
      const rows = ours.flatMap(({ dataPoints, descriptor }) =>
        dataPoints.map(({ attributes, value }): Row => [
          descriptor.name,
          withoutUnit(attributes as Collector.Attributes),
          typeof value === "number" ? value : value.count
        ])
      )
      assert.deepStrictEqual(sorted(rows), sorted(expected))
      const types = {
        [DataPointType.HISTOGRAM]: "histogram",
        [DataPointType.EXPONENTIAL_HISTOGRAM]: "exponential",
        [DataPointType.SUM]: "counter",
        [DataPointType.GAUGE]: "gauge"
      } as const
      for (const { dataPointType, descriptor } of ours) {
        const instrument = RegoMetrics.instruments.find(({ name }) => name === descriptor.name)!
        assert.strictEqual(descriptor.unit, instrument.unit, descriptor.name)
        assert.strictEqual(types[dataPointType], instrument.type, descriptor.name)
      }
    }).pipe(isolated))
})
