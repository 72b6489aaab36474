/**
 * Limits on the figures of a simulation, as they are written on a command line: `p99<=60ms`, `goodput>=0.99x`.
 *
 * @internal
 */
import type { Estimate, Metric, Report } from "@rego/testing/SimulationReport"
import { Result } from "effect"

export interface Limit {
  readonly text: string
  readonly metric: Metric
  readonly sign: "<=" | ">="
  readonly value: number
  /** `value` is so many times the figure of the document in force */
  readonly relative: boolean
}

export interface Verdict {
  readonly limit: Limit
  readonly figure: number
  /** seeds that have no figure */
  readonly missing: number
  readonly bound: number
  readonly holds: boolean
}

type Unit = "milliseconds" | "share" | "per second" | "number" | "seconds"

/** What a unit of a limit multiplies its number by, for metrics of each kind. */
const units: Readonly<Record<Unit, Readonly<Record<string, number>>>> = {
  milliseconds: { "": 1, ms: 1, s: 1_000 },
  share: { "": 1, "%": 0.01 },
  seconds: { "": 1, s: 1, ms: 0.001 },
  "per second": { "": 1, "/s": 1 },
  number: { "": 1 }
}

const form = /^\s*(?<name>\w+)\s*(?<sign><=|>=)\s*(?<number>\d+(?:\.\d+)?)\s*(?<unit>ms|s|%|\/s|x)?\s*$/

/** Reads a limit, or says what is wrong with it. `unitOf` is undefined for what is no metric. */
export const parse = (
  text: string,
  unitOf: (name: string) => Unit | undefined,
  known: ReadonlyArray<string>
): Result.Result<Limit, string> => {
  const groups = form.exec(text)?.groups
  if (groups === undefined) {
    return Result.fail(`--limit ${JSON.stringify(text)} must be like "p99<=60ms", "failed<=1%" or "goodput>=0.99x"`)
  }
  const { name, number, sign, unit = "" } = groups as { name: string; number: string; sign: "<=" | ">="; unit?: string }
  const kind = unitOf(name)
  if (kind === undefined) {
    return Result.fail(`--limit ${JSON.stringify(text)}: ${name} is no metric; these are: ${known.join(", ")}`)
  }
  const relative = unit === "x"
  const factor = relative ? 1 : units[kind][unit]
  if (factor === undefined) return Result.fail(`--limit ${JSON.stringify(text)}: ${name} is in ${kind}, got ${unit}`)
  return Result.succeed({ text, metric: name as Metric, sign, value: Number(number) * factor, relative })
}

/**
 * Where there was nothing to measure, a limit on these is not broken. Others are missing where nothing succeeded, or nothing
 * ended: one such seed breaks their limits, whatever the median of the other seeds is.
 */
const mayNotApply: ReadonlySet<Metric> = new Set<Metric>(["hedgesWon", "recovery"])

const isWithin = ({ metric, sign }: Limit, { median, missing }: Estimate, bound: number): boolean => {
  if (missing > 0 && !mayNotApply.has(metric)) return false
  if (Number.isNaN(median)) return true
  return sign === "<=" ? median <= bound : median >= bound
}

export const judge = (limit: Limit, candidate: Report, current: Report | undefined): Verdict => {
  const estimate = candidate.metrics[limit.metric]
  const base = limit.relative ? current!.metrics[limit.metric].median : 1
  const bound = base * limit.value
  const { median: figure, missing } = estimate
  return { limit, figure, missing, bound, holds: isWithin(limit, estimate, bound) }
}
