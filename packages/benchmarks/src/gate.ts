/**
 * What must not get worse unnoticed: bytes, which repeat, and time as a ratio to one `Effect.timeout` of the same process.
 * The limits are in `gate.json`.
 */
import { groups, idOf } from "./cases.ts"
import { intoSection, markdownTable } from "./report.ts"
import type { Environment, Measurement } from "./results.ts"
import { bytesOf, inFlightOf, median, ratio } from "./results.ts"
import { quantile } from "./statistics.ts"
import * as Subjects from "./subjects.ts"

export interface Limit {
  readonly id: string
  /** at most */
  readonly limit: number
  /** what was measured when the limit was set */
  readonly measured: number
}

export interface Limits {
  /** the version that allocated what was measured; another major one allocates other amounts */
  readonly node: string
  readonly limits: ReadonlyArray<Limit>
}

export interface Reading {
  readonly id: string
  readonly figure: number
}

// -----------------------------------------------------------------------------
// what is gated
// -----------------------------------------------------------------------------

/**
 * Measured without the optimizing compilers, which leave out some allocations and not always the same ones: what is
 * allocated is then what the source says.
 */
export const bytesSubjects: ReadonlyArray<string> = [
  Subjects.regoTimeline,
  Subjects.rego,
  Subjects.regoSilent,
  Subjects.regoWithoutHedge,
  Subjects.regoRetryAndBudget
]

export const inFlightSubjects: ReadonlyArray<string> = [Subjects.regoTimeline, Subjects.regoWithoutHedge]

export const timed = {
  of: idOf(groups.request, Subjects.rego),
  to: idOf(groups.request, Subjects.effectTimeout)
} as const

const timeRatio = "time of a call, to one Effect.timeout: Rego, everything on"

/**
 * How far a limit lies above what was measured: more than what comes and goes from run to run (docs/performance.md), since
 * a gate that fails for nothing is soon passed by.
 */
const marginOf = (id: string): number => {
  if (id === timeRatio) return 0.15
  return id.endsWith(Subjects.regoTimeline) ? 0.08 : 0.02
}

/** No alarm below this ratio. */
const timeAlarm = 0.6

// -----------------------------------------------------------------------------
// readings
// -----------------------------------------------------------------------------

const found = (measured: ReadonlyArray<Measurement>, id: string): Measurement => {
  const measurement = measured.find((it) => it.id === id)
  if (measurement === undefined) throw new Error(`not measured: ${id}`)
  return measurement
}

export const ofMemory = (measured: ReadonlyArray<Measurement>): ReadonlyArray<Reading> => [
  ...bytesSubjects.map((name) => ({
    id: `bytes of a call: ${name}`,
    figure: median(found(measured, bytesOf(idOf(groups.request, name))))
  })),
  ...inFlightSubjects.map((name) => ({
    id: `bytes in flight: ${name}`,
    figure: median(found(measured, inFlightOf(name)))
  }))
]

export const ofTime = (measured: ReadonlyArray<Measurement>): ReadonlyArray<Reading> => [{
  id: timeRatio,
  figure: Math.round(ratio(found(measured, timed.of), found(measured, timed.to)) * 1_000) / 1_000
}]

type Runs = ReadonlyArray<ReadonlyArray<Reading>>

const figuresOf = (runs: Runs, id: string): ReadonlyArray<number> =>
  runs.flat().filter((reading) => reading.id === id).map(({ figure }) => figure)

/** What lies in the middle of all runs, so that an unlucky one sets no limit. */
export const medians = (runs: Runs): ReadonlyArray<Reading> =>
  (runs[0] ?? []).map(({ id }) => ({
    id,
    figure: quantile(figuresOf(runs, id), 0.5)
  }))

// -----------------------------------------------------------------------------
// verdicts
// -----------------------------------------------------------------------------

export interface Verdict extends Reading {
  readonly limit: number
  readonly passed: boolean
}

const limitOf = ({ limits }: Limits, id: string): number => limits.find((limit) => limit.id === id)?.limit ?? NaN

/** A reading without a limit fails, and so does a limit without a reading: a gate must not get lost. */
export const judge = (limits: Limits, readings: ReadonlyArray<Reading>): ReadonlyArray<Verdict> => {
  const ids = new Set([...readings, ...limits.limits].map(({ id }) => id))
  return [...ids].map((id) => {
    const figure = readings.find((reading) => reading.id === id)?.figure ?? NaN
    const limit = limitOf(limits, id)
    return { id, figure, limit, passed: figure <= limit }
  })
}

/** What was least of each in two readings: what is dear by itself stays dear. */
export const least = (one: ReadonlyArray<Reading>, two: ReadonlyArray<Reading>): ReadonlyArray<Reading> =>
  one.map((reading) => {
    const again = two.find(({ id }) => id === reading.id)
    return again !== undefined && again.figure < reading.figure ? again : reading
  })

export const within = (limits: Limits, readings: ReadonlyArray<Reading>): boolean =>
  readings.every(({ figure, id }) => figure <= limitOf(limits, id))

const shown = (n: number): string => n < 100 ? String(n) : n.toLocaleString("en-US")

export const lineOf = ({ figure, id, limit, passed }: Verdict): string =>
  `${passed ? "ok  " : "FAIL"} ${id}: ${shown(figure)}, at most ${shown(limit)}`

/** Limits that what was read now passes with a margin. */
export const suggest = (node: string, readings: ReadonlyArray<Reading>): Limits => ({
  node,
  limits: readings.map(({ figure, id }) => ({
    id,
    limit: id === timeRatio
      ? Math.max(timeAlarm, Math.ceil(figure * (1 + marginOf(id)) * 100) / 100)
      : Math.ceil(figure * (1 + marginOf(id))),
    measured: figure
  }))
})

const major = (version: string): string => version.slice(0, version.indexOf("."))

/** Whether figures of this version of Node can be compared with the limits. */
export const isComparable = (limits: Limits, node: string): boolean => major(limits.node) === major(node)

export const toJson = (limits: Limits): string => `${JSON.stringify(limits, null, 2)}\n`

// -----------------------------------------------------------------------------
// spread
// -----------------------------------------------------------------------------

/** What was read in many runs. */
export interface Spread extends Environment {
  readonly runs: Runs
}

const header = ["what", "least", "median", "most", "limit"]

const spreadRow = (spread: Spread, limits: Limits, id: string): ReadonlyArray<string> => {
  const figures = figuresOf(spread.runs, id)
  return [id, ...[Math.min(...figures), quantile(figures, 0.5), Math.max(...figures), limitOf(limits, id)].map(shown)]
}

export const spreadIntoPage = (page: string, spread: Spread, limits: Limits): string => {
  const ids = (spread.runs[0] ?? []).map(({ id }) => id)
  const table = markdownTable([header, ...ids.map((id) => spreadRow(spread, limits, id))])
  return intoSection(
    page,
    "gate",
    `Read ${spread.runs.length} times on ${spread.date}, node ${spread.versions["node"]}.\n\n${table}`
  )
}
