/** Efficacy tables for the terminal and for `docs/efficacy.md`, from what was recorded. */
import type { Column, Goal, Item, Measured, Recorded } from "./efficacy-model.ts"
import { intoMarkers, jsonWithLines, markdownTable, type Table } from "./report.ts"
import { quantile } from "./statistics.ts"

/** What never happened was recorded as `null`. */
const numbersOf = (row: Measured | undefined, from: string): ReadonlyArray<number> =>
  (row?.values[from] ?? []).map((value) => value ?? Infinity)

const medianOf = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const [below, above] = [sorted[Math.ceil(sorted.length / 2) - 1]!, sorted[Math.floor(sorted.length / 2)]!]
  return below === above ? below : (below + above) / 2
}

const figure = (column: Column, row: Measured | undefined): number => {
  const values = numbersOf(row, column.from)
  return values.length === 0 ? NaN : (column.reduce ?? medianOf)(values)
}

/** The middle half of the seeds, where there are several. */
const boundsOf = ({ bounds, format, from, reduce }: Column, row: Measured): string => {
  const values = numbersOf(row, from)
  if (bounds === false || reduce !== undefined || values.length < 4) return ""
  const finite = values.map((value) => value === Infinity ? 1e12 : value)
  const [low, high] = [quantile(finite, 0.25), quantile(finite, 0.75)].map((value) =>
    format(value >= 1e11 ? Infinity : value)
  )
  return low === high ? "" : ` (${low!.replace(/ .*$/, "")} – ${high!.replace(/ .*$/, "")})`
}

const goalOf = (item: Item, row: string, column: Column): Goal | undefined =>
  item.goals.find((goal) => goal.row === row && goal.column === column.name)

const baseOf = (goal: Goal, column: Column, rows: ReadonlyArray<Measured>): number =>
  goal.timesRow === undefined ? 1 : figure(column, rows.find(({ name }) => name === goal.timesRow))

const holds = (goal: Goal, column: Column, value: number, rows: ReadonlyArray<Measured>): boolean => {
  const base = baseOf(goal, column, rows)
  return goal.atMost === undefined ? value >= goal.atLeast! * base : value <= goal.atMost * base
}

const goalText = (goal: Goal, column: Column): string => {
  const [sign, limit] = goal.atMost === undefined ? ["≥", goal.atLeast!] : ["≤", goal.atMost]
  return goal.timesRow === undefined ? `${sign} ${column.format(limit)}` : `${sign} ${limit} × “${goal.timesRow}”`
}

const cell = (item: Item, row: Measured, column: Column, rows: ReadonlyArray<Measured>): string => {
  if (row.values[column.from] === undefined) return ""
  const value = figure(column, row)
  const goal = goalOf(item, row.name, column)
  const shown = `${column.format(value)}${boundsOf(column, row)}`
  if (goal === undefined) return shown
  return `${shown}; goal ${goalText(goal, column)}: ${
    holds(goal, column, value, rows) ? "**holds**" : "**FALLS SHORT**"
  }`
}

export const table = (item: Item, { rows }: Recorded): Table => [
  ["", ...item.columns.map(({ name }) => name)],
  ...rows.map((row) => [row.name, ...item.columns.map((column) => cell(item, row, column, rows))])
]

export interface Verdict {
  readonly item: number
  readonly goal: Goal
  readonly holds: boolean
}

export const verdicts = (item: Item, { rows }: Recorded): ReadonlyArray<Verdict> =>
  item.goals.map((goal) => {
    const column = item.columns.find(({ name }) => name === goal.column)!
    const value = figure(column, rows.find(({ name }) => name === goal.row))
    return { item: item.number, goal, holds: holds(goal, column, value, rows) }
  })

export const text = (item: Item, recorded: Recorded): string =>
  [`${item.number}. ${item.title}`, ...table(item, recorded).map((line) => line.join("  |  "))].join("\n")

const provenance = ({ date, rows, seeds, versions }: Recorded): string =>
  `Measured on ${date}, ${Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")}; ${
    seeds === 1 ? "one run" : `medians of ${seeds} seeds, in brackets the middle half of them`
  }; ${rows.length} rows.`

const section = (item: Item, recorded: Recorded): string =>
  [
    `## ${item.number}. ${item.title}`,
    item.about,
    markdownTable(table(item, recorded)),
    ...(item.note === undefined ? [] : [item.note]),
    provenance(recorded)
  ].join("\n\n")

const summary = (items: ReadonlyArray<readonly [Item, Recorded]>): Table => [
  ["#", "what", "goals", "hold"],
  ...items.map(([item, recorded]) => {
    const all = verdicts(item, recorded)
    return [
      String(item.number),
      item.title,
      all.length === 0 ? "none, shown" : String(all.length),
      all.length === 0 ? "" : String(all.filter((verdict) => verdict.holds).length)
    ]
  })
]

/** The page with its tables written anew from what was recorded. */
export const intoPage = (page: string, items: ReadonlyArray<readonly [Item, Recorded]>): string => {
  const sections = items.map(([item, recorded]) => section(item, recorded))
  return intoMarkers(page, "npm run efficacy", [markdownTable(summary(items)), ...sections].join("\n\n"))
}

export const toJson = (recorded: Recorded): string => jsonWithLines(recorded, "rows")
