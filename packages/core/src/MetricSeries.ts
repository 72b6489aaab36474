/**
 * Metrics of Effect for the rows of the table, one for each combination of attributes, made when it is first reported.
 *
 * A series is never forgotten by what collects it, so what may stand in an attribute is bounded: the first keys and names
 * of budgets have series of their own, further ones share one.
 *
 * @internal
 */
import type { Context } from "effect"
import { Metric } from "effect"
import type { Update } from "./CallMetrics.ts"
import * as MetricReasons from "./MetricReasons.ts"
import type { Instrument, Name } from "./MetricTable.ts"
import { instruments } from "./MetricTable.ts"
import { overflow } from "./PolicyKey.ts"

type AnyMetric = Metric.Metric<number, unknown>

/** What is read when it is collected. */
export type ReadName = "attemptsActive" | "attemptsAbandoned" | "hedgeSaved" | "budgetAvailable" | "policyInfo"

const ignored = (): void => {}

/** The first `max` values stand for themselves, further ones for all others. */
export class Bounded {
  private readonly values = new Set<string>()
  private readonly max: number
  constructor(max: number) {
    this.max = max
  }

  of(value: string): string {
    if (this.values.has(value)) return value
    if (this.values.size >= this.max) return overflow
    this.values.add(value)
    return value
  }
}

const attributesOf = ({ attributes, unit }: Instrument, values: ReadonlyArray<string>): Record<string, string> => {
  // Effect's exporters take the unit from here; that for Prometheus leaves it out of the labels.
  const all: Record<string, string> = { unit }
  attributes.forEach((name, i) => {
    const value = values[i]
    if (value !== undefined && value !== "") all[name] = value
  })
  return all
}

const optionsOf = (instrument: Instrument, values: ReadonlyArray<string>) => ({
  description: instrument.description,
  attributes: attributesOf(instrument, values)
})

// Metrics of the table; `values` are in the order of their attributes.

export const counter = (instrument: Instrument, values: ReadonlyArray<string>): Metric.Counter<number> =>
  Metric.counter(instrument.name, { ...optionsOf(instrument, values), incremental: true })

export const gauge = (instrument: Instrument, values: ReadonlyArray<string>): Metric.Gauge<number> =>
  Metric.gauge(instrument.name, optionsOf(instrument, values))

const make = (instrument: Instrument, values: ReadonlyArray<string>, boundaries: ReadonlyArray<number>): AnyMetric => {
  switch (instrument.type) {
    case "counter":
      return counter(instrument, values)
    case "gauge":
      return gauge(instrument, values)
    case "histogram":
      return Metric.histogram(instrument.name, {
        ...optionsOf(instrument, values),
        boundaries: instrument.unit === "s" ? boundaries : instrument.boundaries!
      })
  }
}

export interface Options {
  readonly maxKeys: number
  readonly durations: ReadonlyArray<number>
  /** reasons of the user's own classifiers */
  readonly reasons: Iterable<string>
}

/** More names than any application gives its budgets; documents of years may hold more. */
const maxBudgets = 100

/** The series whose attributes begin alike. */
interface Branch {
  metric: AnyMetric | undefined
  readonly next: Map<string, Branch>
}

const newBranch = (): Branch => ({ metric: undefined, next: new Map() })

const newMap = <K, V>(): Map<K, V> => new Map()

const getOrSet = <K, V>(map: Map<K, V>, key: K, make: () => V): V => {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}

export class MetricSeries {
  readonly keys: Bounded
  readonly budgets = new Bounded(maxBudgets)
  private readonly reasons: ReadonlySet<string>
  private readonly durations: ReadonlyArray<number>
  private readonly context: Context.Context<never>
  private readonly metrics = new Map<string, Map<Name, Branch>>()

  /** `context` holds the registry to report to. */
  constructor(options: Options, context: Context.Context<never>) {
    this.keys = new Bounded(options.maxKeys)
    this.durations = options.durations
    this.reasons = new Set(options.reasons)
    this.context = context
  }

  readonly labelOf = (reason: string): string =>
    MetricReasons.known.has(reason) || this.reasons.has(reason) ? reason : MetricReasons.other

  update(key: string, { attributes, metric, value }: Update): void {
    const label = this.keys.of(key)
    const bounded = metric === "budgetDenied" ? this.withBudget(attributes) : attributes
    this.find(label, metric, bounded).updateUnsafe(value, this.context)
  }

  private withBudget([kind, reason, budget]: ReadonlyArray<string>): ReadonlyArray<string> {
    return [kind!, reason!, budget === "" ? "" : this.budgets.of(budget!)]
  }

  /** Looked up step by step: a text made of all attributes would be made, and hashed, for each update (measured: thrice the cost). */
  private find(label: string, metric: Name, attributes: ReadonlyArray<string>): AnyMetric {
    const ofKey = getOrSet(this.metrics, label, newMap<Name, Branch>)
    let branch = getOrSet(ofKey, metric, newBranch)
    for (const attribute of attributes) branch = getOrSet(branch.next, attribute, newBranch)
    return branch.metric ??= make(instruments[metric], [label, ...attributes], this.durations)
  }

  /** A series whose value is read when it is collected. */
  register(name: ReadName, attributes: ReadonlyArray<string>, read: () => number): Metric.Registration {
    const instrument = instruments[name]
    return instrument.type === "counter"
      ? this.reading(counter(instrument, attributes), () => ({ count: read(), incremental: true }))
      : this.reading(gauge(instrument, attributes), () => ({ value: read() }))
  }

  private reading<State>(metric: Metric.Metric<number, State>, get: () => State): Metric.Registration {
    return Metric.registerUnsafe(metric, this.context, { get, update: ignored, modify: ignored })
  }
}
