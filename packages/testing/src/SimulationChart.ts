/**
 * Reports as pictures: one text of SVG that needs nothing else, with a dark form for dark pages.
 *
 * **Example** (Two policies in one picture)
 *
 * ```ts
 * import { PolicyLayer } from "@rego/core"
 * import { Scenarios, SimulationChart, Simulator } from "@rego/testing"
 * import { Effect } from "effect"
 *
 * const report = await Effect.runPromise(
 *   Simulator.simulate(Scenarios.totalOutage, { policies: PolicyLayer.defaults, seeds: 1 })
 * )
 *
 * SimulationChart.latency({ defaults: report }).startsWith("<svg ") // => true
 * SimulationChart.load({ defaults: report }).endsWith("</svg>") // => true
 * ```
 *
 * @since 0.1.0
 */
import { Duration } from "effect"
import type { Report } from "./SimulationReport.ts"

/**
 * Reports under the names by which they are shown; the first six have colours of their own.
 *
 * @category models
 * @since 0.1.0
 */
export type Reports = Readonly<Record<string, Report>>

// -----------------------------------------------------------------------------
// canvas
// -----------------------------------------------------------------------------

const width = 720
const height = 320
const margin = { top: 44, right: 16, bottom: 40, left: 64 }
const inner = { width: width - margin.left - margin.right, height: height - margin.top - margin.bottom }

const escape = (text: string): string =>
  text.replaceAll(/[&<>"]/g, (it) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", "\"": "&quot;" })[it]!)

const round = (n: number): string => String(Math.round(n * 10) / 10)

/** Told apart without red and green side by side (M. Okabe and K. Ito, "Color Universal Design", 2008). */
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"]
const colourOf = (index: number): string => colours[index % colours.length]!

const style = [
  "text { font: 12px system-ui, sans-serif; fill: #333 }",
  ".grid { stroke: #ddd }",
  ".line { fill: none; stroke-width: 1.8 }",
  ".thin { stroke-width: 1; opacity: .7 }",
  ".dashed { stroke-dasharray: 4 3 }",
  ".episode { fill: #888; opacity: .14 }"
].map((rule) => `.rego-chart ${rule}`).join("\n") +
  "\n@media (prefers-color-scheme: dark) { .rego-chart text { fill: #ccc } .rego-chart .grid { stroke: #444 } }"

interface Axis {
  readonly title: string
  /** 0 to 1 along the axis */
  readonly place: (value: number) => number
  readonly ticks: ReadonlyArray<readonly [value: number, label: string]>
}

const x = (axis: Axis, value: number): number => margin.left + axis.place(value) * inner.width
const y = (axis: Axis, value: number): number => margin.top + (1 - axis.place(value)) * inner.height

const gridOf = (horizontal: Axis, vertical: Axis): ReadonlyArray<string> => [
  ...horizontal.ticks.map(([value, label]) => {
    const at = round(x(horizontal, value))
    const bottom = margin.top + inner.height
    return `<path class="grid" d="M${at} ${margin.top}V${bottom}"/>` +
      `<text x="${at}" y="${bottom + 16}" text-anchor="middle">${escape(label)}</text>`
  }),
  ...vertical.ticks.map(([value, label]) => {
    const at = y(vertical, value)
    return `<path class="grid" d="M${margin.left} ${round(at)}H${width - margin.right}"/>` +
      `<text x="${margin.left - 6}" y="${round(at + 4)}" text-anchor="end">${escape(label)}</text>`
  }),
  `<text x="${width - margin.right}" y="${height - 6}" text-anchor="end">${escape(horizontal.title)}</text>`,
  `<text x="6" y="${margin.top - 8}">${escape(vertical.title)}</text>`
]

interface Line {
  readonly name: string
  readonly colour: string
  readonly kind: "" | "thin" | "dashed" | "thin dashed"
  readonly points: ReadonlyArray<readonly [x: number, y: number]>
}

const pathOf = (horizontal: Axis, vertical: Axis, { colour, kind, points }: Line): string =>
  points.length === 0
    ? ""
    : `<path class="line ${kind}" stroke="${colour}" d="M${
      points.map(([px, py]) => `${round(x(horizontal, px))} ${round(y(vertical, py))}`).join("L")
    }"/>`

/** about what a letter takes */
const letter = 6.6

const legendOf = (lines: ReadonlyArray<Line>): ReadonlyArray<string> => {
  let at = margin.left
  return lines.map(({ colour, kind, name }) => {
    const from = at
    at += 34 + name.length * letter
    return `<path class="line ${kind}" stroke="${colour}" d="M${round(from)} 14h18"/>` +
      `<text x="${round(from + 23)}" y="18">${escape(name)}</text>`
  })
}

const draw = (
  title: string,
  horizontal: Axis,
  vertical: Axis,
  lines: ReadonlyArray<Line>,
  behind: ReadonlyArray<string> = []
): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" class="rego-chart" viewBox="0 0 ${width} ${height}" width="${width}" role="img">`,
    `<title>${escape(title)}</title><style>${style}</style>`,
    ...behind,
    ...gridOf(horizontal, vertical),
    ...lines.map((line) => pathOf(horizontal, vertical, line)),
    ...legendOf(lines),
    "</svg>"
  ].join("\n")

// -----------------------------------------------------------------------------
// latency
// -----------------------------------------------------------------------------

const millisText = (millis: number): string => millis >= 1_000 ? `${millis / 1_000} s` : `${millis} ms`

/** Powers of ten, with 2 and 5 between them where they are few. */
const logarithmic = (values: ReadonlyArray<number>): Axis => {
  const from = Math.floor(Math.log10(Math.min(...values)))
  const to = Math.max(from + 1, Math.ceil(Math.log10(Math.max(...values))))
  const steps = to - from > 3 ? [1] : [1, 2, 5]
  const ticks = Array.from({ length: to - from + 1 }, (_, i) => from + i).flatMap((power) =>
    steps.map((step) => step * 10 ** power).filter((value) => value <= 10 ** to).map((value) =>
      Number(value.toPrecision(2))
    )
  )
  return {
    title: "latency of successful requests",
    place: (value) => (Math.log10(value) - from) / (to - from),
    ticks: ticks.map((value) => [value, millisText(value)])
  }
}

const nines: ReadonlyArray<readonly [number, string]> = [
  [0, "0 %"],
  [0.5, "50 %"],
  [0.9, "90 %"],
  [0.99, "99 %"],
  [0.999, "99.9 %"],
  [0.9999, "99.99 %"],
  [0.99999, "99.999 %"]
]

/** The tail is what a policy is about: each nine has as much room as the one before. */
const onNines = (greatest: number): Axis => {
  const top = -Math.log10(1 - greatest)
  return {
    title: "share of requests that took no longer",
    place: (share) => -Math.log10(1 - share) / top,
    ticks: nines.filter(([share]) => share <= greatest)
  }
}

/**
 * The latency of successful requests, on a scale on which each nine has as much room as the one before.
 *
 * @category rendering
 * @since 0.1.0
 */
export const latency = (reports: Reports): string => {
  const points = Object.values(reports).flatMap((report) => report.latency).filter(([, millis]) => millis > 0)
  const horizontal = logarithmic(points.length === 0 ? [1] : points.map(([, millis]) => millis))
  const vertical = onNines(Math.max(0.9, ...points.map(([share]) => share)))
  const lines = Object.entries(reports).map(([name, report], i): Line => ({
    name,
    colour: colourOf(i),
    kind: "",
    points: report.latency.filter(([, millis]) => millis > 0).map(([share, millis]) => [millis, share])
  }))
  return draw("Latency", horizontal, vertical, lines)
}

// -----------------------------------------------------------------------------
// load
// -----------------------------------------------------------------------------

/** A step of 1, 2 or 5 times a power of ten that gives at most six ticks. */
const stepFor = (max: number): number => {
  const power = 10 ** Math.floor(Math.log10(max / 6))
  return [1, 2, 5, 10].map((step) => step * power).find((step) => max / step <= 6)!
}

const linear = (title: string, max: number): Axis => {
  const step = stepFor(max)
  return {
    title,
    place: (value) => value / max,
    ticks: Array.from({ length: Math.floor(max / step) + 1 }, (_, i) => {
      const value = Number((i * step).toPrecision(6))
      return [value, String(value)]
    })
  }
}

const loadLines = ([name, { load }]: readonly [string, Report], index: number): ReadonlyArray<Line> => {
  const over = (values: ReadonlyArray<number>): Line["points"] =>
    values.map((value, slot) => [(slot + 0.5) * load.slotMillis / 1_000, value])
  const colour = colourOf(index)
  return [
    { name: `${name}: succeeded`, colour, kind: "", points: over(load.succeeded) },
    { name: "attempts", colour, kind: "thin dashed", points: over(load.attempts) }
  ]
}

const episodesOf = (horizontal: Axis, [report]: ReadonlyArray<Report>): ReadonlyArray<string> =>
  (report?.scenario.episodes ?? []).map((episode) => {
    const at = Duration.toSeconds(episode.at)
    const [from, to] = [x(horizontal, at), x(horizontal, at + Duration.toSeconds(episode.for))]
    return `<rect class="episode" x="${round(from)}" y="${margin.top}" width="${
      round(to - from)
    }" height="${inner.height}"><title>${episode.type}</title></rect>`
  })

/**
 * What was asked, what succeeded and what was sent, per second over time. What went wrong is shaded.
 *
 * @category rendering
 * @since 0.1.0
 */
export const load = (reports: Reports): string => {
  const all = Object.values(reports)
  const seconds = Math.max(1e-3, ...all.map(({ load }) => load.offered.length * load.slotMillis / 1_000))
  const most = Math.max(1, ...all.flatMap(({ load }) => [...load.offered, ...load.succeeded, ...load.attempts]))
  const [horizontal, vertical] = [linear("seconds", seconds), linear("per second", most)]
  const offered = all.slice(0, 1).map(({ load }): Line => ({
    name: "offered",
    colour: "#888",
    kind: "thin",
    points: load.offered.map((value, slot) => [(slot + 0.5) * load.slotMillis / 1_000, value])
  }))
  const lines = [...offered, ...Object.entries(reports).flatMap(loadLines)]
  return draw("Load over time", horizontal, vertical, lines, episodesOf(horizontal, all))
}
