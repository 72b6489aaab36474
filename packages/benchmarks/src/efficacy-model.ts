/**
 * What the efficacy tables are made of: items with rows that are measured over seeds, columns that sum them up, and goals.
 */
import type { PolicyProvider } from "@rego/core"
import type { Scenario, Simulator } from "@rego/testing"
import { SimulationReport, Simulator as Simulators } from "@rego/testing"
import type { Layer } from "effect"
import { Effect } from "effect"

/** Numbers of each seed, in the order of the seeds. What never happened is `null` in the file. */
export type Values = Readonly<Record<string, ReadonlyArray<number | null>>>

export interface Row {
  readonly name: string
  readonly measure: (seeds: ReadonlyArray<number>) => Promise<Values>
}

export interface Column {
  readonly name: string
  /** which values of a row; a row without them has an empty cell */
  readonly from: string
  /** of all seeds, to one number. Default: the median */
  readonly reduce?: (values: ReadonlyArray<number>) => number
  readonly format: (value: number) => string
  /** shows between what bounds the median lies. Default `true` for medians */
  readonly bounds?: boolean
}

export interface Goal {
  readonly row: string
  /** name of the column */
  readonly column: string
  readonly atMost?: number
  readonly atLeast?: number
  /** the limit is so many times what this row has */
  readonly timesRow?: string
}

export interface Item {
  readonly number: number
  readonly title: string
  /** the world, in sentences */
  readonly about: string
  /** what there is to say about the outcome: where a goal is not reached, what was tried */
  readonly note?: string
  readonly columns: ReadonlyArray<Column>
  readonly goals: ReadonlyArray<Goal>
  readonly rows: ReadonlyArray<Row>
}

/** A row as it stands in its file. */
export interface Measured {
  readonly name: string
  readonly values: Values
}

export interface Recorded {
  readonly item: number
  readonly date: string
  readonly versions: Readonly<Record<string, string>>
  readonly seeds: number
  readonly rows: ReadonlyArray<Measured>
}

// -----------------------------------------------------------------------------
// simulated rows
// -----------------------------------------------------------------------------

export type Policies = Layer.Layer<PolicyProvider.PolicyProvider, unknown, any>

/** What is read of each run. */
export type Reading = (run: SimulationReport.Run) => Readonly<Record<string, number>>

/** JSON has no Infinity: what never happens is `null`. What does not apply is no figure, and must not be taken for that. */
const plain = (n: number, name: string): number | null => {
  if (Number.isNaN(n)) throw new Error(`${name} does not apply to a seed: the row must not read it`)
  return n === Infinity ? null : Number(n.toPrecision(6))
}

export const collect = (
  runs: ReadonlyArray<SimulationReport.Run>,
  read: Reading
): Values => {
  const readings = runs.map(read)
  return Object.fromEntries(
    Object.keys(readings[0] ?? {}).map((key) => [key, readings.map((reading) => plain(reading[key]!, key))])
  )
}

export const simulated = (
  name: string,
  scenario: Scenario.Scenario,
  policies: Policies,
  read: Reading,
  options: Partial<Simulator.Options<any, any>> = {}
): Row => ({
  name,
  measure: async (seeds) => {
    const { runs } = await Effect.runPromise(
      Simulators.simulate(scenario, { idempotent: true, ...options, policies, seeds }) as Effect.Effect<
        SimulationReport.Report
      >
    )
    return collect(runs, read)
  }
})

// -----------------------------------------------------------------------------
// formats
// -----------------------------------------------------------------------------

const orNever = (format: (value: number) => string) => (value: number): string =>
  value === Infinity ? "never" : Number.isNaN(value) ? "" : format(value)

export const millis = orNever((value) => `${value.toFixed(value < 100 ? 1 : 0)} ms`)
export const percent = orNever((value) => `${(value * 100).toFixed(2)} %`)
export const wholePercent = orNever((value) => `${(value * 100).toFixed(1)} %`)
export const plainNumber = orNever((value) => value.toFixed(3))
export const seconds = orNever((value) => `${value.toFixed(1)} s`)
export const perSecond = orNever((value) => `${value.toFixed(1)}/s`)
export const count = (value: number): string => String(value)

export const finite = (values: ReadonlyArray<number>): number => values.filter(Number.isFinite).length

export const atMostSeconds = (limit: number) => (values: ReadonlyArray<number>): number =>
  values.filter((value) => value <= limit).length
