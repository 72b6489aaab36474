/**
 * What came out of a simulation: each figure as a median over the seeds with its bounds, as a table, as JSON, and the parts
 * of two charts.
 *
 * **Details**
 *
 * | metric | what it is |
 * | --- | --- |
 * | `p50`, `p90`, `p99`, `p999`, `max`, `mean` | milliseconds that successful requests took; quantiles are off by 0.1 % at most |
 * | `failed` | share of the requests that failed |
 * | `goodput` | successful requests per second |
 * | `attemptsPerCall` | attempts that reached the servers, for each call: 1 is no extra load |
 * | `retriesPerCall`, `hedgesPerCall` | the extra attempts by kind |
 * | `hedgesWon` | share of the hedges that brought the answer; NaN without hedges |
 * | `recovery` | seconds from the end of the last episode until 5 seconds bring 95 % of what is asked; `Infinity`: not within the run, NaN: nothing went wrong |
 *
 * Requests of the warm-up are not counted, except over time and for `recovery`. Bounds hold the median with a confidence of
 * 95 % at least, from order statistics; with less than six seeds they are the least and the greatest value.
 *
 * @since 0.1.0
 */
import { Option } from "effect"
import { Histogram } from "./Histogram.ts"
import type { Scenario } from "./Scenario.ts"
import { lastEnd } from "./Scenario.ts"
import type { Estimate } from "./Statistics.ts"
import { estimate } from "./Statistics.ts"
import type { Count, Tally } from "./Tally.ts"

export type {
  /**
   * @category models
   * @since 0.1.0
   */
  Estimate
} from "./Statistics.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * The names of all metrics, in the order of the table.
 *
 * @category models
 * @since 0.1.0
 */
export const metrics = [
  "p50",
  "p90",
  "p99",
  "p999",
  "max",
  "mean",
  "failed",
  "goodput",
  "attemptsPerCall",
  "retriesPerCall",
  "hedgesPerCall",
  "hedgesWon",
  "recovery"
] as const

/**
 * @category models
 * @since 0.1.0
 */
export type Metric = typeof metrics[number]

/**
 * Counts of one run: requests that began, that succeeded and that failed, attempts that were sent, hedges among them, and
 * calls that a retry has saved.
 *
 * @category models
 * @since 0.1.0
 */
export interface Counts {
  /** how many within two instants, in milliseconds of the run */
  readonly between: (what: Count, from: number, to: number) => number
  /** the first instant at or after another one at which there was one, to the resolution of the scenario */
  readonly firstAfter: (what: Count, from: number) => number | undefined
}

/**
 * One seed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Run {
  readonly seed: number
  /** that were counted */
  readonly requests: number
  readonly calls: number
  /** why requests failed: `failed`, `refused` and `shed` by the server, or the reason of a `RegoError` */
  readonly failures: Readonly<Record<string, number>>
  readonly metrics: Readonly<Record<Metric, number>>
  readonly counts: Counts
}

/**
 * Load over time, as the mean of all seeds: each list has an entry for each slot, per second.
 *
 * @category models
 * @since 0.1.0
 */
export interface LoadOverTime {
  readonly slotMillis: number
  readonly offered: ReadonlyArray<number>
  readonly succeeded: ReadonlyArray<number>
  readonly attempts: ReadonlyArray<number>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Report {
  readonly scenario: Scenario
  readonly runs: ReadonlyArray<Run>
  readonly metrics: Readonly<Record<Metric, Estimate>>
  /** of all seeds together: milliseconds that a share of the successful requests did not exceed */
  readonly latency: ReadonlyArray<readonly [share: number, millis: number]>
  readonly load: LoadOverTime
}

// -----------------------------------------------------------------------------
// from a run
// -----------------------------------------------------------------------------

const recoveryWindow = 5_000
const recoveryStep = 100
const recoveredShare = 0.95

/** Seconds from the end of the last episode to the first five seconds that bring nearly all that is asked. */
const recoveryOf = (scenario: Scenario, { load }: Tally, endedAt: number): number => {
  const end = lastEnd(scenario)
  if (Option.isNone(end)) return NaN
  for (let from = end.value; from + recoveryWindow <= endedAt; from += recoveryStep) {
    const offered = load.between("offered", from, from + recoveryWindow)
    if (offered > 0 && load.between("succeeded", from, from + recoveryWindow) >= recoveredShare * offered) {
      return (from - end.value) / 1_000
    }
  }
  return Infinity
}

/** What a run is reduced to; `endedAt` in milliseconds. */
export const fromTally = (scenario: Scenario, seed: number, tally: Tally, endedAt: number): Run => {
  const { attempts, calls, hedges, hedgesWon, latency, load, requests, retries, succeeded } = tally
  const ended = succeeded + Array.from(tally.failures.values()).reduce((sum, n) => sum + n, 0)
  return {
    seed,
    requests,
    calls,
    failures: Object.fromEntries(Array.from(tally.failures).toSorted(([a], [b]) => a < b ? -1 : 1)),
    metrics: {
      p50: latency.quantile(0.5),
      p90: latency.quantile(0.9),
      p99: latency.quantile(0.99),
      p999: latency.quantile(0.999),
      max: latency.count === 0 ? NaN : latency.max,
      mean: latency.mean,
      failed: (ended - succeeded) / ended,
      goodput: succeeded / (endedAt - tally.countsFrom) * 1_000,
      attemptsPerCall: attempts / calls,
      retriesPerCall: retries / calls,
      hedgesPerCall: hedges / calls,
      hedgesWon: hedgesWon / hedges,
      recovery: recoveryOf(scenario, tally, endedAt)
    },
    counts: {
      between: (what, from, to) => load.between(what, from, to),
      firstAfter: (what, from) => load.firstAfter(what, from)
    }
  }
}

// -----------------------------------------------------------------------------
// from many runs
// -----------------------------------------------------------------------------

/** Down to one in a million, evenly on a scale of nines. */
const shares = [0.0001, 0.001, 0.01, 0.05, ...Array.from({ length: 61 }, (_, i) => 1 - 10 ** (-i / 10))].filter(
  (share) => share > 0
)

const latencyOf = (tallies: ReadonlyArray<Tally>): Report["latency"] => {
  const all = new Histogram()
  for (const { latency } of tallies) all.add(latency)
  return shares.toSorted((a, b) => a - b).flatMap((share) =>
    all.count * (1 - share) < 1 ? [] : [[share, all.quantile(share)] as const]
  )
}

/** Charts are a few hundred pixels wide. */
const maxPoints = 300

const loadOf = (tallies: ReadonlyArray<Tally>): LoadOverTime => {
  const finest = Math.max(...tallies.map(({ load }) => load.slotMillis))
  const length = Math.max(...tallies.map(({ load }) => load.length * load.slotMillis / finest))
  const slotMillis = finest * Math.max(1, Math.ceil(length / maxPoints))
  const slots = Math.ceil(length * finest / slotMillis)
  const over = (what: Count): ReadonlyArray<number> =>
    Array.from({ length: slots }, (_, slot) => {
      const [from, to] = [slot * slotMillis, (slot + 1) * slotMillis]
      const sum = tallies.reduce((sum, { load }) => sum + load.between(what, from, to), 0)
      return sum / tallies.length / slotMillis * 1_000
    })
  return { slotMillis, offered: over("offered"), succeeded: over("succeeded"), attempts: over("attempts") }
}

/** The report on all seeds. */
export const fromRuns = (
  scenario: Scenario,
  runs: ReadonlyArray<{ readonly run: Run; readonly tally: Tally }>
): Report => {
  const tallies = runs.map(({ tally }) => tally)
  return {
    scenario,
    runs: runs.map(({ run }) => run),
    metrics: Object.fromEntries(
      metrics.map((metric) => [metric, estimate(runs.map(({ run }) => run.metrics[metric]))])
    ) as Record<Metric, Estimate>,
    latency: latencyOf(tallies),
    load: loadOf(tallies)
  }
}

// -----------------------------------------------------------------------------
// as text
// -----------------------------------------------------------------------------

type Unit = "milliseconds" | "share" | "per second" | "number" | "seconds"

/**
 * What a metric is measured in.
 *
 * @category reading
 * @since 0.1.0
 */
export const unitOf = (metric: Metric): Unit => {
  switch (metric) {
    case "failed":
    case "hedgesWon":
      return "share"
    case "goodput":
      return "per second"
    case "recovery":
      return "seconds"
    case "attemptsPerCall":
    case "retriesPerCall":
    case "hedgesPerCall":
      return "number"
    default:
      return "milliseconds"
  }
}

const digits = (n: number, places: number): string => n.toFixed(places)

/**
 * A value of a metric as people read it: `17.2 ms`, `0.4 %`, `never`.
 *
 * @category reading
 * @since 0.1.0
 */
export const format = (metric: Metric, value: number): string => {
  if (Number.isNaN(value)) return "–"
  if (value === Infinity) return "never"
  switch (unitOf(metric)) {
    case "milliseconds":
      return value >= 10_000 ? `${digits(value / 1_000, 1)} s` : `${digits(value, value < 100 ? 2 : 0)} ms`
    case "share":
      return `${digits(value * 100, 2)} %`
    case "per second":
      return `${digits(value, 1)}/s`
    case "seconds":
      return `${digits(value, 1)} s`
    case "number":
      return digits(value, 3)
  }
}

/**
 * A median with its bounds: `17.2 ms (16.9–17.4)`.
 *
 * @category reading
 * @since 0.1.0
 */
export const formatEstimate = (metric: Metric, { high, low, median }: Estimate): string => {
  const [shown, from, to] = [format(metric, median), format(metric, low), format(metric, high)]
  return from === to ? shown : `${shown} (${from.replace(/ .*$/, "")} – ${to.replace(/ .*$/, "")})`
}

/**
 * Reports side by side: a head, then a row for each metric that any of them has.
 *
 * @category reading
 * @since 0.1.0
 */
export const table = (
  reports: Readonly<Record<string, Report>>
): ReadonlyArray<ReadonlyArray<string>> => {
  const rows = metrics.filter((metric) =>
    Object.values(reports).some((report) => !Number.isNaN(report.metrics[metric].median))
  )
  return [
    ["", ...Object.keys(reports)],
    ...rows.map((metric) => [
      metric,
      ...Object.values(reports).map((report) => formatEstimate(metric, report.metrics[metric]))
    ])
  ]
}

/** JSON has no Infinity and no NaN: `never` and `null` stand for them. */
const plain = (n: number): number | "never" | null => Number.isNaN(n) ? null : n === Infinity ? "never" : n

/**
 * A report as plain JSON. What never happens is `"never"`, what does not apply is `null`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const toJson = ({ latency, load, metrics: figures, runs, scenario }: Report): unknown => ({
  scenario: scenario.name,
  seeds: runs.map(({ seed }) => seed),
  metrics: Object.fromEntries(
    Object.entries(figures).map(([metric, { high, low, median }]) => [
      metric,
      { median: plain(median), low: plain(low), high: plain(high) }
    ])
  ),
  runs: runs.map(({ calls, failures, metrics, requests, seed }) => ({
    seed,
    requests,
    calls,
    failures,
    metrics: Object.fromEntries(Object.entries(metrics).map(([metric, value]) => [metric, plain(value)]))
  })),
  latency,
  load
})
