/**
 * What came out of a simulation: each figure as a median over the seeds with its bounds, as a table, as JSON, and the parts
 * of two charts.
 *
 * **Details**
 *
 * | metric | what it is |
 * | --- | --- |
 * | `p50`, `p90`, `p99`, `p999`, `max`, `mean` | milliseconds that successful requests took; quantiles are off by 0.1 % at most |
 * | `failed` | share of the requests that failed. So has one that has no answer when the run ends, if it began 10 seconds before or more; of one that began later it is not known yet, and it is left out |
 * | `unanswered` | share of the requests that have no answer when the run ends, whenever they began |
 * | `goodput` | successful requests per second |
 * | `attemptsPerCall` | attempts that reached the servers, for each call: 1 is no extra load |
 * | `retriesPerCall`, `hedgesPerCall` | the extra attempts by kind |
 * | `hedgesWon` | share of the hedges that brought the answer; NaN without hedges |
 * | `recovery` | seconds from the end of the last episode until 5 seconds bring 95 % of what is asked; `Infinity`: not within the run, NaN: nothing went wrong, or the run ends within 5 seconds of it |
 *
 * Requests of the warm-up are not counted, except over time and for `recovery`. Bounds hold the median with a confidence of
 * 95 % at least, from order statistics; with less than six seeds they are the least and the greatest value. Seeds to which a
 * metric does not apply (no latency where nothing succeeded) are left out of its median, and counted as `missing`.
 *
 * @since 0.1.0
 */
import type { Scenario } from "./Scenario.ts"
import type { Estimate } from "./Statistics.ts"
import type { Count } from "./Tally.ts"

export type {
  /**
   * What the seeds say together about one figure: its median, and the bounds between which it lies.
   *
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
  "unanswered",
  "goodput",
  "attemptsPerCall",
  "retriesPerCall",
  "hedgesPerCall",
  "hedgesWon",
  "recovery"
] as const

/**
 * The name of a figure. `docs/simulator.md` says what each one is.
 *
 * @category models
 * @since 0.1.0
 */
export type Metric = typeof metrics[number]

/**
 * Counts of one run: requests that began, that succeeded and that failed, attempts that were sent, hedges among them, and
 * calls that a retry has saved. A request that is unanswered when the run ends has begun, and nothing else.
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
  /** why requests failed: `failed`, `refused` and `shed` by the server, the reason of a `RegoError`, or `unanswered` */
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
 * What came of all runs of a scenario.
 *
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
    case "unanswered":
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

/** What a text has behind its number: ` ms`, `/s`, nothing. */
const unitIn = (text: string): string => /[^\d.]*$/.exec(text)![0]

/**
 * A median with its bounds: `17.20 ms (16.90 – 17.40)`, and how many seeds have no value, where some have none.
 *
 * @category reading
 * @since 0.1.0
 */
export const formatEstimate = (metric: Metric, { high, low, median, missing }: Estimate): string => {
  const [shown, from, to] = [format(metric, median), format(metric, low), format(metric, high)]
  const unit = unitIn(shown)
  const short = (text: string): string => unitIn(text) === unit ? text.slice(0, text.length - unit.length) : text
  const bounds = from === to ? "" : ` (${short(from)} – ${short(to)})`
  const without = missing === 0 || Number.isNaN(median)
    ? ""
    : `; none in ${missing} ${missing === 1 ? "seed" : "seeds"}`
  return `${shown}${bounds}${without}`
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
    Object.entries(figures).map(([metric, { high, low, median, missing }]) => [
      metric,
      { median: plain(median), low: plain(low), high: plain(high), missing }
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
