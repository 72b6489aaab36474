/**
 * What is said about it: a table for the terminal, the same table for `docs/performance.md`, and a file with every round.
 */
import type { Group } from "./cases.ts"
import { bare, composed, groups, idOf, rego, subjects } from "./cases.ts"
import type { Measured, Settings } from "./runner.ts"
import type { Spread } from "./statistics.ts"
import { quantile, spread } from "./statistics.ts"

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryGiB: number
  readonly platform: string
}

export interface Results {
  readonly name: string
  readonly date: string
  readonly machine: Machine
  readonly versions: Readonly<Record<string, string>>
  readonly settings: Settings
  readonly measured: ReadonlyArray<Measured>
}

// -----------------------------------------------------------------------------
// rows
// -----------------------------------------------------------------------------

export interface Row {
  readonly name: string
  readonly nanos: Spread
  readonly toBare: number
  readonly toComposed: number
  readonly bytes: number
  readonly inFlightBytes: number | undefined
}

/** The median of the ratios of each round: what disturbs a round disturbs both sides. */
export const ratio = (of: Measured, to: Measured): number =>
  quantile(of.nanos.map((nanos, round) => nanos / (to.nanos[round] ?? NaN)), 0.5)

const find = (results: Results, group: Group, name: string): Measured | undefined =>
  results.measured.find(({ id }) => id === idOf(group, name))

export const rows = (results: Results, group: Group): ReadonlyArray<Row> => {
  const toBare = find(results, group, bare)
  const toComposed = find(results, group, composed)
  return subjects.flatMap(({ name }) => {
    const measured = find(results, group, name)
    if (measured === undefined) return []
    return [{
      name,
      nanos: spread(measured.nanos),
      toBare: toBare === undefined ? NaN : ratio(measured, toBare),
      toComposed: toComposed === undefined ? NaN : ratio(measured, toComposed),
      bytes: measured.bytes,
      inFlightBytes: measured.inFlightBytes
    }]
  })
}

const groupsWithin = (results: Results): ReadonlyArray<Group> =>
  groups.filter((group) => rows(results, group).length > 0)

// -----------------------------------------------------------------------------
// text
// -----------------------------------------------------------------------------

const sources = { promise: "Promise-backed effect", sync: "Synchronous effect" }
const shapes = { request: "made anew for each call, inside a span and a scope", constant: "one constant effect" }

const title = ({ shape, source }: Group): string => `${sources[source]}, ${shapes[shape]}`

const integer = (n: number): string => Math.round(n).toLocaleString("en-US")
const times = (n: number): string => Number.isNaN(n) ? "" : n.toFixed(n < 10 ? 2 : 1)

const header = ["one call", "ns", "middle half", "× bare", "× timeout + retry + timeout", "bytes", "bytes in flight"]

const cells = (row: Row): ReadonlyArray<string> => [
  row.name,
  integer(row.nanos.median),
  `${integer(row.nanos.low)}–${integer(row.nanos.high)}`,
  times(row.toBare),
  times(row.toComposed),
  integer(row.bytes),
  row.inFlightBytes === undefined ? "" : integer(row.inFlightBytes)
]

/** A column that is empty in a group is left out of its table. */
const table = (results: Results, group: Group): ReadonlyArray<ReadonlyArray<string>> => {
  const lines = [header, ...rows(results, group).map(cells)]
  const used = header.map((_, column) => lines.slice(1).some((line) => line[column] !== ""))
  return lines.map((line) => line.filter((_, column) => used[column]))
}

const align = (lines: ReadonlyArray<ReadonlyArray<string>>): ReadonlyArray<string> => {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  return lines.map((line) =>
    line.map((cell, column) => column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)).join("  ")
  )
}

export const verdicts = (results: Results): ReadonlyArray<string> =>
  groupsWithin(results).flatMap((group) => {
    const own = find(results, group, rego)
    const theirs = find(results, group, composed)
    if (own === undefined || theirs === undefined) return []
    const measured = ratio(own, theirs)
    return [`${measured < 1 ? "met   " : "MISSED"} ${times(measured)} × ${composed}: ${title(group)}`]
  })

export const toText = (results: Results): string =>
  [
    ...groupsWithin(results).map((group) => `${title(group)}\n\n${align(table(results, group)).join("\n")}\n`),
    "Goal: cheaper than Effect's own timeouts and retry, with everything on.",
    ...verdicts(results)
  ].join("\n")

// -----------------------------------------------------------------------------
// the page
// -----------------------------------------------------------------------------

const markdownTable = ([head, ...body]: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head!, head!.map((_, column) => column === 0 ? "---" : "---:"), ...body]
    .map((line) => `| ${line.join(" | ")} |`)
    .join("\n")

const provenance = ({ date, machine, settings, versions }: Results): string =>
  `Measured on ${date}, ${machine.cpu} (${machine.cores} cores), ${
    Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")
  }; ${settings.rounds} rounds, ${integer(settings.inFlight)} calls in flight.`

export const toMarkdown = (results: Results): string =>
  [
    provenance(results),
    ...groupsWithin(results).map((group) => `### ${title(group)}\n\n${markdownTable(table(results, group))}`)
  ].join("\n\n")

const begin = "<!-- generated by npm run bench: begin -->"
const end = "<!-- generated by npm run bench: end -->"

/** Puts the tables between the markers of the page. */
export const intoPage = (page: string, results: Results): string => {
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from === -1 || to < from) throw new Error(`the page has no markers ${begin} and ${end}`)
  return `${page.slice(0, from + begin.length)}\n\n${toMarkdown(results)}\n\n${page.slice(to)}`
}

// -----------------------------------------------------------------------------
// the file
// -----------------------------------------------------------------------------

/** JSON with a line for each case: the rounds of a case are read as one thing. */
export const toJson = (results: Results): string => {
  const measured = results.measured.map((it) => `    ${JSON.stringify(it)}`).join(",\n")
  return JSON.stringify({ ...results, measured: [] }, null, 2).replace(
    `"measured": []`,
    `"measured": [\n${measured}\n  ]`
  )
    + "\n"
}
