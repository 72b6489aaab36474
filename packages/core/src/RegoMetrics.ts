/**
 * Metrics of calls and attempts, of hedges, budgets and policies, through `Metric` of Effect: whatever exports the metrics of
 * your application exports these too.
 *
 * **Details**
 *
 * `docs/metrics.md` lists them, and `instruments` holds the same as data. Names and units follow OpenTelemetry; for
 * Prometheus, `prometheusName` gives the names that a collector would. What a finished call tells is counted when it has
 * ended, by an observer; what runs at this moment, and what budgets hold, is read when metrics are collected.
 *
 * Every attribute is bounded: `maxKeys` keys have series of their own and further ones share `_overflow`; the reason of an
 * attempt is one of a closed list, or `other`. A hedge that lost is an attempt with the outcome `lost`: count it neither
 * as an error nor as a request.
 *
 * **Example** (What a call that was retried adds)
 *
 * ```ts
 * import { Observer, PolicyLayer, Rego, RegoMetrics } from "@rego/core"
 * import { Effect, Layer, Metric } from "effect"
 * import { PrometheusMetrics } from "effect/observability"
 *
 * const App = RegoMetrics.layer().pipe(Layer.provideMerge(PolicyLayer.defaults))
 *
 * let calls = 0
 * const flaky = Effect.suspend(() => ++calls === 1 ? Effect.fail("503") : Effect.succeed("ada"))
 *
 * const program = Effect.gen(function*() {
 *   yield* flaky.pipe(Rego.resilient("users.Get"))
 *   yield* Observer.flush
 *   const text = yield* PrometheusMetrics.format({ metricNameMapper: RegoMetrics.prometheusName })
 *   text.includes('rego_call_retries_sum{key="users.Get"} 1') // => true
 * })
 *
 * await Effect.runPromise(
 *   program.pipe(Effect.provide(App), Effect.provideService(Metric.MetricRegistry, new Map()))
 * )
 * ```
 *
 * @since 0.1.0
 */
import type { Layer, Scope } from "effect"
import { Context, Effect, Metric, Schema } from "effect"
import { updatesOf } from "./CallMetrics.ts"
import { integerField, readOptions, rule } from "./Issue.ts"
import { MetricSeries } from "./MetricSeries.ts"
import * as MetricTable from "./MetricTable.ts"
import * as Observer from "./Observer.ts"
import { PolicyProvider } from "./PolicyProvider.ts"
import { follow } from "./ProviderMetrics.ts"

// -----------------------------------------------------------------------------
// the table
// -----------------------------------------------------------------------------

/**
 * What one metric is: its name, type and unit, its attributes, and the bounds of its buckets.
 *
 * @category models
 * @since 0.1.0
 */
export type Instrument = MetricTable.Instrument

/**
 * All metrics of the library: to generate dashboards from, or to check them.
 *
 * @category constants
 * @since 0.1.0
 */
export const instruments: ReadonlyArray<Instrument> = MetricTable.table

/**
 * The name of a metric in Prometheus, as a collector of OpenTelemetry makes it: `rego.call.duration` is
 * `rego_call_duration_seconds`. Other names stay as they are, so that it can be the `metricNameMapper` of Effect's
 * `PrometheusMetrics` for an application with metrics of its own.
 *
 * @category getters
 * @since 0.1.0
 */
export const prometheusName: (name: string) => string = MetricTable.prometheusName

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * How many series there may be, and of which durations and reasons.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** keys that have series of their own, 1 to 100,000; further ones share `_overflow`. Default 200 */
  readonly maxKeys?: number | undefined
  /** reasons of your own classifiers that may be labels, at most 100, beside those of this library */
  readonly reasons?: ReadonlyArray<string> | undefined
  /** upper bounds of the buckets for durations in seconds, ascending, at most 100. Default: 18 from 1 ms to 1 minute */
  readonly durations?: ReadonlyArray<number> | undefined
  /** ends of calls that may wait to be counted, further ones are dropped. Default 4,096 */
  readonly capacity?: number | undefined
}

/** A label for whoever reads a dashboard: short, and nothing that an exporter would have to escape. */
const Reason = Schema.String.pipe(
  Schema.check(rule<string>((text) => /^[A-Za-z0-9_.:-]{1,64}$/.test(text), "1 to 64 characters A-Z a-z 0-9 _ . : -"))
)

const isAscending = (bounds: ReadonlyArray<number>): boolean =>
  bounds.length > 0 && bounds.length <= 100 &&
  bounds.every((bound, i) => Number.isFinite(bound) && bound > (i === 0 ? 0 : bounds[i - 1]!))

const Options = Schema.Struct({
  maxKeys: Schema.optional(integerField(1, 100_000)),
  reasons: Schema.optional(
    Schema.Array(Reason).pipe(
      Schema.check(rule<ReadonlyArray<string>>((reasons) => reasons.length <= 100, "at most 100 reasons"))
    )
  ),
  durations: Schema.optional(
    Schema.Array(Schema.Number).pipe(
      Schema.check(rule<ReadonlyArray<number>>(isAscending, "1 to 100 ascending numbers above 0"))
    )
  ),
  capacity: Schema.optional(integerField(1, 10_000_000))
})

// -----------------------------------------------------------------------------
// the observer
// -----------------------------------------------------------------------------

/** Series of other attributes are other ones, in the same registry too. */
const reportsTo = (context: Context.Context<never>): ReadonlyArray<unknown> => {
  const attributes = Object.entries(Context.get(context, Metric.CurrentMetricAttributes))
  return ["metrics", Context.get(context, Metric.MetricRegistry), ...attributes.toSorted().flat()]
}

/**
 * The observer, for `Observer.layer`. Throws a `RangeError` that names every option out of range.
 *
 * **Details**
 *
 * It reports to the `Metric.MetricRegistry` that it is made with, and adds the `Metric.CurrentMetricAttributes` there. What
 * it reads from the provider is in the registry as long as its scope lasts; what it has counted stays.
 *
 * **Gotchas**
 *
 * Two providers that report to one registry must not have keys in common: what is read from the one replaces what is read
 * from the other.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options = {}
): Effect.Effect<Observer.Observer, never, PolicyProvider | Scope.Scope> => {
  const { capacity, durations, maxKeys, reasons } = readOptions("RegoMetrics", Options, options)
  return Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const series = new MetricSeries(
      { maxKeys: maxKeys ?? 200, reasons: reasons ?? [], durations: durations ?? MetricTable.durations },
      context
    )
    yield* follow(yield* PolicyProvider, series)
    return {
      name: "metrics",
      "~@rego/core/Observer/reports": reportsTo(context),
      capacity,
      onCallEnd: (timeline) => {
        for (const update of updatesOf(timeline, series.labelOf)) series.update(timeline.key, update)
      }
    }
  })
}

/**
 * Reports the metrics of all calls made under it, beside the observers that are there. Where several of these layers report
 * to one registry, with the same `Metric.CurrentMetricAttributes`, a call is counted once, by the last of them.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never, never, PolicyProvider> =>
  Observer.layer([make(options)], { mergeWithExisting: true })
