/** What exporters that people already have make of our metrics and spans. */
import * as OtelMetrics from "@effect/opentelemetry/OtelMetrics"
import * as OtelTracer from "@effect/opentelemetry/OtelTracer"
import * as OtelResource from "@effect/opentelemetry/Resource"
import { assert, describe, it } from "@effect/vitest"
import { SpanKind, SpanStatusCode } from "@opentelemetry/api"
import {
  AggregationTemporality,
  DataPointType,
  InMemoryMetricExporter,
  PeriodicExportingMetricReader
} from "@opentelemetry/sdk-metrics"
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base"
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
  const user = script(fails("503"), succeeds("ada")).effect
  const orders = script<string, never>(hangs, succeeds("book")).effect
  yield* Rego.resilient(Effect.withSpan(user, "SELECT user"), "users.Get")
  yield* Rego.resilient(Effect.withSpan(orders, "SELECT orders"), "orders.List")
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

// -----------------------------------------------------------------------------
// spans as a tree
// -----------------------------------------------------------------------------

/** What spans of both exporters have in common. */
interface Flat {
  readonly id: string
  readonly parent: string | undefined
  readonly trace: string
  readonly name: string
  readonly kind: "internal" | "client"
  readonly failed: boolean
  readonly attributes: Collector.Attributes
  readonly links: ReadonlyArray<{ readonly to: string; readonly attributes: Collector.Attributes }>
}

interface Tree {
  readonly name: string
  readonly kind?: "client"
  readonly failed?: true
  readonly attributes?: Collector.Attributes
  readonly links?: ReadonlyArray<string>
  readonly children?: ReadonlyArray<Tree>
}

/** Of a call and of an attempt, what the request of this test decides. */
const shown = [
  "rego.key",
  "rego.result",
  "rego.reason",
  "rego.attempts",
  "rego.policy.revision",
  "rego.attempt.retry",
  "rego.attempt.hedge",
  "rego.attempt.ended_by",
  "rego.outcome"
]

const attemptOf = ({ attributes }: Flat): string =>
  `${attributes["rego.attempt.retry"]}.${attributes["rego.attempt.hedge"]}`

const treeOf = (span: Flat, all: ReadonlyArray<Flat>): Tree => {
  const attributes = Object.fromEntries(
    shown.flatMap((name) => name in span.attributes ? [[name, span.attributes[name]]] : [])
  )
  const links = span.links.map(({ attributes, to }) =>
    `${attributes["rego.link"]} ${attemptOf(all.find(({ id }) => id === to)!)}`
  )
  const children = all.filter(({ parent }) => parent === span.id).map((child) => treeOf(child, all))
  return {
    name: span.name,
    ...(span.kind === "client" ? { kind: "client" } : {}),
    ...(span.failed ? { failed: true } : {}),
    ...(Object.keys(attributes).length === 0 ? {} : { attributes }),
    ...(links.length === 0 ? {} : { links }),
    ...(children.length === 0 ? {} : { children })
  }
}

/** Exporters give spans in the order of their ends. */
const byAttempt = (a: Flat, b: Flat): number => attemptOf(a) < attemptOf(b) ? -1 : 1

const treesOf = (spans: ReadonlyArray<Flat>): ReadonlyArray<Tree> => {
  assert.lengthOf(new Set(spans.map(({ trace }) => trace)), 1, "one request, one trace")
  const ordered = [
    ...spans.filter(({ attributes }) => !("rego.attempt.retry" in attributes)),
    ...spans.filter(({ attributes }) => "rego.attempt.retry" in attributes).toSorted(byAttempt)
  ]
  return ordered.filter(({ parent }) => parent === undefined).map((root) => treeOf(root, ordered))
}

const attempt = (key: string, retry: number, hedge: number, endedBy: string, more: Collector.Attributes = {}) => ({
  "rego.key": key,
  ...more,
  "rego.attempt.retry": retry,
  "rego.attempt.hedge": hedge,
  "rego.attempt.ended_by": endedBy
})

const expectedTree: ReadonlyArray<Tree> = [{
  name: "GET /profile",
  children: [
    {
      name: "users.Get",
      kind: "client",
      attributes: {
        "rego.key": "users.Get",
        "rego.result": "success",
        "rego.attempts": 2,
        "rego.policy.revision": "local"
      },
      children: [
        {
          name: "users.Get attempt",
          failed: true,
          attributes: {
            ...attempt("users.Get", 0, 0, "returned", { "rego.reason": "typed_failure" }),
            "rego.outcome": "Retryable"
          },
          children: [{ name: "SELECT user", failed: true }]
        },
        {
          name: "users.Get attempt",
          attributes: { ...attempt("users.Get", 1, 0, "returned"), "rego.outcome": "Success" },
          children: [{ name: "SELECT user" }]
        }
      ]
    },
    {
      name: "orders.List",
      kind: "client",
      attributes: {
        "rego.key": "orders.List",
        "rego.result": "success",
        "rego.attempts": 2,
        "rego.policy.revision": "local"
      },
      children: [
        {
          // a loser is no error
          name: "orders.List attempt",
          attributes: attempt("orders.List", 0, 0, "interrupted_loser"),
          links: ["winner 0.1"],
          children: [{ name: "SELECT orders" }]
        },
        {
          name: "orders.List attempt",
          attributes: { ...attempt("orders.List", 0, 1, "returned"), "rego.outcome": "Success" },
          links: ["loser 0.0"],
          children: [{ name: "SELECT orders" }]
        }
      ]
    }
  ]
}]

// -----------------------------------------------------------------------------

const kindOf = { 1: "internal", 3: "client" } as const

describe("OTLP", () => {
  it.live("carries a span for each call and each attempt, in one tree", () =>
    Effect.gen(function*() {
      const collector = yield* Collector.make
      const Exporter = Otlp.layerJson({ baseUrl: collector.url, resource: { serviceName: "profiles" } }).pipe(
        Layer.provide(FetchHttpClient.layer)
      )
      yield* request.pipe(Effect.provide(App), Effect.provide(Exporter))
      assert.deepStrictEqual(collector.problems, [])
      const spans = collector.spans().map((span): Flat => ({
        id: span.spanId,
        parent: span.parentSpanId,
        trace: span.traceId,
        name: span.name,
        kind: kindOf[span.kind as keyof typeof kindOf],
        failed: span.status.code === 2,
        attributes: Collector.attributesOf(span.attributes),
        links: span.links.map(({ attributes, spanId }) => ({
          to: spanId,
          attributes: Collector.attributesOf(attributes)
        }))
      }))
      for (const { endTimeUnixNano, startTimeUnixNano } of collector.spans()) {
        assert.isTrue(BigInt(startTimeUnixNano) <= BigInt(endTimeUnixNano))
      }
      assert.deepStrictEqual(treesOf(spans), expectedTree)
    }).pipe(Effect.scoped, isolated))

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
  it.live("has a span for each call and each attempt, in one tree", () =>
    Effect.gen(function*() {
      const exporter = new InMemorySpanExporter()
      const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] })
      const Sdk = OtelTracer.layer.pipe(Layer.provide(Layer.succeed(OtelTracer.OtelTracerProvider, provider)))
      yield* request.pipe(Effect.provide(App), Effect.provide(Sdk))
      const spans = exporter.getFinishedSpans().map((span): Flat => ({
        id: span.spanContext().spanId,
        parent: span.parentSpanContext?.spanId,
        trace: span.spanContext().traceId,
        name: span.name,
        kind: span.kind === SpanKind.CLIENT ? "client" : "internal",
        failed: span.status.code === SpanStatusCode.ERROR,
        attributes: span.attributes as Collector.Attributes,
        links: span.links.map(({ attributes = {}, context }) => ({
          to: context.spanId,
          attributes: attributes as Collector.Attributes
        }))
      }))
      assert.deepStrictEqual(treesOf(spans), expectedTree)
    }).pipe(isolated))

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
