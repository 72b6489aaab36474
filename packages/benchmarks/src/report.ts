/**
 * What is said about it: tables for the terminal, the same tables for `docs/performance.md`, and a file with every round.
 */
import type { Verdict } from "./bars.ts"
import { verdicts } from "./bars.ts"
import type { Group } from "./cases.ts"
import { groups, idOf } from "./cases.ts"
import type { Measurement, Results } from "./results.ts"
import { bytesOf, find, inFlightOf, median, ratio } from "./results.ts"
import { spread } from "./statistics.ts"
import { bare, composed, subjects } from "./subjects.ts"

export type Table = ReadonlyArray<ReadonlyArray<string>>

// -----------------------------------------------------------------------------
// numbers
// -----------------------------------------------------------------------------

const integer = (n: number): string => Math.round(n).toLocaleString("en-US")
const times = (n: number): string => Number.isNaN(n) ? "" : n.toFixed(n < 10 ? 2 : 1)
/** Nanoseconds below ten are shown with a decimal: parts are that short. */
const amount = (n: number): string => n < 10 ? n.toFixed(1) : integer(n)

// -----------------------------------------------------------------------------
// bars
// -----------------------------------------------------------------------------

const barsHeader = ["#", "case", "median", "ratio", "of", "bar", "goal", "verdict"]

const limit = (verdict: Verdict, n: number | undefined): string => {
  if (n === undefined) return ""
  return verdict.to === undefined ? `${integer(n)} ${verdict.unit}` : `${n} ×`
}

const verdictOf = ({ holds }: Verdict): string => holds === undefined ? "" : holds ? "holds" : "FALLS SHORT"

const comparedWith = ({ beside, to, unit }: Verdict): string =>
  to ?? (beside === undefined ? "" : `(${beside[1]}: ${amount(beside[0])} ${unit})`)

const barCells = (verdict: Verdict): ReadonlyArray<string> => [
  verdict.number,
  verdict.name,
  `${amount(verdict.median)} ${verdict.unit}`,
  verdict.to === undefined ? "" : `${times(verdict.figure)} ×`,
  comparedWith(verdict),
  limit(verdict, verdict.bar),
  limit(verdict, verdict.goal),
  verdictOf(verdict)
]

const barsTable = (results: Results): Table => [barsHeader, ...verdicts(results).map(barCells)]

// -----------------------------------------------------------------------------
// groups
// -----------------------------------------------------------------------------

const sources = {
  promise: "Promise-backed",
  sync: "Synchronous",
  failing: "Two failures, then success",
  http: "Loopback HTTP GET, processor time"
}
const shapes = { request: "made anew for each call", constant: "one constant effect" }
const froms = {
  fiber: "in one fiber",
  fibers: "from 64 fibers",
  outside: "awaited from outside",
  runtime: "awaited from outside, through a ManagedRuntime"
}

const title = ({ from, shape, source }: Group): string => `${sources[source]}, ${shapes[shape]}, ${froms[from]}`

const groupHeader = [
  "one call",
  "ns",
  "middle half",
  "× bare",
  "× timeout + retry + timeout",
  "bytes",
  "bytes in flight"
]

const relative = (of: Measurement, to: Measurement | undefined): string => to === undefined ? "" : times(ratio(of, to))

const bytes = (measurement: Measurement | undefined): string =>
  measurement === undefined ? "" : integer(median(measurement))

/** Calls in flight are weighed once, and shown where they are most at home. */
const inFlightIn = (results: Results, group: Group, name: string): string =>
  group === groups.request ? bytes(find(results, inFlightOf(name))) : ""

const groupRows = (results: Results, group: Group): Table => {
  const toBare = find(results, idOf(group, bare))
  const toComposed = find(results, idOf(group, composed))
  return subjects.flatMap(({ name }) => {
    const id = idOf(group, name)
    const measured = find(results, id)
    if (measured === undefined) return []
    const { high, low, median } = spread(measured.rounds)
    return [[
      name,
      integer(median),
      `${integer(low)}–${integer(high)}`,
      relative(measured, toBare),
      relative(measured, toComposed),
      bytes(find(results, bytesOf(id))),
      inFlightIn(results, group, name)
    ]]
  })
}

/** A column that is empty in a group is left out of its table. */
const withoutEmptyColumns = ([head, ...body]: Table): Table => {
  const used = head!.map((_, column) => body.some((line) => line[column] !== ""))
  return [head!, ...body].map((line) => line.filter((_, column) => used[column]))
}

export const groupTable = (results: Results, group: Group): Table =>
  withoutEmptyColumns([groupHeader, ...groupRows(results, group)])

const groupsWithin = (results: Results): ReadonlyArray<Group> =>
  Object.values(groups).filter((group) => groupRows(results, group).length > 0)

// -----------------------------------------------------------------------------
// text
// -----------------------------------------------------------------------------

const isNumber = (cell: string): boolean => /^[\d,.–]+(?: (?:×|ns|bytes))?$/.test(cell)

const align = (table: Table): string => {
  const widths = table[0]!.map((_, column) => Math.max(...table.map((line) => line[column]!.length)))
  return table.map((line) =>
    line.map((cell, column) => isNumber(cell) ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!))
      .join("  ").trimEnd()
  ).join("\n")
}

export const barsText = (results: Results): string => align(barsTable(results))

export const groupsText = (results: Results): string =>
  groupsWithin(results).map((group) => `${title(group)}\n\n${align(groupTable(results, group))}\n`).join("\n")

// -----------------------------------------------------------------------------
// the page
// -----------------------------------------------------------------------------

export const markdownTable = ([head, ...body]: Table): string =>
  [head!, head!.map((_, column) => body.some((line) => isNumber(line[column]!)) ? "---:" : "---"), ...body]
    .map((line) => `| ${line.join(" | ")} |`)
    .join("\n")

const provenance = ({ date, machine, settings, versions }: Results): string =>
  `Measured on ${date}, ${machine.cpu} (${machine.cores} cores), ${
    Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ")
  }; ${settings.rounds} rounds, ${integer(settings.inFlight)} calls in flight.`

const groupsMarkdown = (results: Results): string =>
  groupsWithin(results).map((group) => `### ${title(group)}\n\n${markdownTable(groupTable(results, group))}`).join(
    "\n\n"
  )

/** Puts generated text between the markers of what generates it. */
export const intoMarkers = (page: string, generator: string, text: string): string => {
  const [begin, end] = ["begin", "end"].map((edge) => `<!-- generated by ${generator}: ${edge} -->`) as [string, string]
  const from = page.indexOf(begin)
  const to = page.indexOf(end)
  if (from === -1 || to < from) throw new Error(`the page has no markers ${begin} and ${end}`)
  return `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`
}

export const intoSection = (page: string, section: string, text: string): string =>
  intoMarkers(page, `npm run bench, ${section}`, text)

export const intoPage = (page: string, results: Results): string =>
  intoSection(
    intoSection(page, "bars", `${provenance(results)}\n\n${markdownTable(barsTable(results))}`),
    "groups",
    groupsMarkdown(results)
  )

// -----------------------------------------------------------------------------
// the file
// -----------------------------------------------------------------------------

/** JSON with a line for each member of a list: its numbers are read as one thing. */
export const jsonWithLines = <Name extends string>(
  record: { readonly [K in Name]: ReadonlyArray<unknown> },
  name: Name
): string => {
  const lines = record[name].map((it) => `    ${JSON.stringify(it)}`).join(",\n")
  const head = JSON.stringify({ ...record, [name]: [] }, null, 2)
  return `${head.replace(`"${name}": []`, `"${name}": [\n${lines}\n  ]`)}\n`
}

export const toJson = (results: Results): string => jsonWithLines(results, "measured")
