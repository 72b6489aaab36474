/**
 * A waterfall of a timeline as one SVG document that needs nothing else: no script, no font, no reference to the outside.
 *
 * **Details**
 *
 * Text of a timeline comes from servers and documents. All of it goes through `escape`, and there is no other way for it
 * into the picture: places and classes are made of numbers and of closed lists.
 *
 * @internal
 */
import type { Timeline } from "./Timeline.ts"
import type { Note, Row, Waterfall } from "./Waterfall.ts"
import { escape, make, millis } from "./Waterfall.ts"

// -----------------------------------------------------------------------------
// text
// -----------------------------------------------------------------------------

/** There are no lines to break in a picture. The whole text is in the title of its row. */
const shortened = (text: string, max: number): string => text.length > max ? `${text.slice(0, max - 1)}…` : text

// -----------------------------------------------------------------------------
// style
// -----------------------------------------------------------------------------

/** Colours are told apart by lightness and pattern as well; each row also says in words what became of it. */
export const style =
  `.rego{--ink:#1f2430;--soft:#5c6475;--line:#e2e5ec;--ground:#fff;--success:#1f7a4d;--failure:#c03a2b;` +
  `--timeout:#b26a00;--lost:#8b93a5;background:var(--ground);color-scheme:light dark;max-width:100%;height:auto}` +
  `.rego text{fill:var(--ink);font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}` +
  `.rego .soft{fill:var(--soft);font-size:11.5px}.rego .title{font-weight:600;font-size:14px}` +
  `.rego .grid{stroke:var(--line)}.rego line.wait{stroke:var(--soft);stroke-dasharray:2 3}` +
  `.rego .success{fill:var(--success);stroke:var(--success)}.rego .failure{fill:var(--failure);stroke:var(--failure)}` +
  `.rego .timeout{fill:var(--timeout);stroke:var(--timeout)}` +
  `.rego .lost,.rego .running{fill:var(--lost);fill-opacity:.28;stroke:var(--lost);stroke-dasharray:4 3}` +
  `.rego .note{fill:var(--ground);stroke:var(--soft);stroke-width:1.5}.rego .note.denied,.rego .note.stopped{stroke:var(--failure)}` +
  `@media (prefers-color-scheme:dark){.rego{--ink:#e6e9f0;--soft:#a2abbd;--line:#2f3543;--ground:#151922;` +
  `--success:#4fc08d;--failure:#ff7b6b;--timeout:#f0a840;--lost:#8b93a5}}`

// -----------------------------------------------------------------------------
// places
// -----------------------------------------------------------------------------

const width = 1_000
const chart = { left: 150, width: 560 } as const
const right = chart.left + chart.width + 14
const rowsTop = 72
const rowHeight = 44
const barHeight = 16
const lineHeight = 20

const number = (value: number): string => String(Math.round(value * 100) / 100)

const placeOf = (total: number) => (at: number): number =>
  chart.left + (total < noTime ? 0 : Math.min(1, Math.max(0, at / total)) * chart.width)

/** Less than a nanosecond is no time: what divides it is zero. */
const noTime = 1e-6

/** Round steps, so that there are four to ten lines. */
const stepOf = (total: number): number => {
  const magnitude = 10 ** Math.floor(Math.log10(total / 4))
  const steps = [1, 2, 5].map((digit) => digit * magnitude)
  return steps.findLast((step) => step * 4 <= total) ?? magnitude
}

const ticksOf = (total: number): ReadonlyArray<number> => {
  if (total < noTime) return [0]
  const step = stepOf(total)
  return Array.from({ length: Math.floor(total / step) + 1 }, (_, i) => i * step)
}

// -----------------------------------------------------------------------------
// parts
// -----------------------------------------------------------------------------

type Place = (at: number) => number

const text = (x: number, y: number, content: string, classes = "", anchor = "start"): string =>
  `<text x="${number(x)}" y="${number(y)}" class="${classes}" text-anchor="${anchor}">${escape(content)}</text>`

const grid = (total: number, place: Place, bottom: number): string =>
  ticksOf(total).map((at) => {
    const x = number(place(at))
    return `<line class="grid" x1="${x}" x2="${x}" y1="${rowsTop - 8}" y2="${number(bottom)}"/>${
      text(place(at), rowsTop - 14, millis(at), "soft", "middle")
    }`
  }).join("")

const bar = ({ fate, from, to }: Row, place: Place, y: number): string => {
  const x = place(from)
  const length = Math.max(3, place(to) - x)
  return `<rect class="${fate}" x="${number(Math.min(x, chart.left + chart.width - 3))}" y="${y}" width="${
    number(length)
  }" height="${barHeight}" rx="3"/>`
}

const wait = ({ from, waited }: Row, place: Place, y: number): string =>
  waited <= 0
    ? ""
    : `<line class="wait" x1="${number(place(from - waited))}" x2="${number(place(from))}" y1="${y}" y2="${y}"/>`

/** One attempt: its name, its bar on the time of the call, what became of it; the error stands below. */
const attempt = (row: Row, index: number, place: Place): string => {
  const top = rowsTop + index * rowHeight
  const times = `${millis(row.from)} + ${millis(row.to - row.from)}`
  const said = [row.verdict, row.error].filter((part) => part !== undefined && part !== "").join("  ")
  return `<g><title>${escape(`${row.label}: ${times} ${said}`)}</title>${
    text(chart.left - 12, top + 13, row.label, "", "end")
  }${wait(row, place, top + barHeight / 2)}${bar(row, place, top)}${text(right, top + 13, shortened(row.verdict, 34))}${
    text(chart.left, top + 30, `${times}${row.error === undefined ? "" : `  ${shortened(row.error, 78)}`}`, "soft")
  }</g>`
}

const mark = ({ at, kind, text }: Note, place: Place, y: number): string =>
  `<circle class="note ${kind}" cx="${number(place(at))}" cy="${number(y)}" r="4"><title>${
    escape(`at ${millis(at)}: ${text}`)
  }</title></circle>`

const notes = ({ notes }: Waterfall, place: Place, top: number): string =>
  notes.map((note, i) =>
    `${mark(note, place, top)}${
      text(chart.left, top + (i + 1) * lineHeight + 6, `at ${millis(note.at)}: ${shortened(note.text, 96)}`, "soft")
    }`
  ).join("")

const inWords = ({ notes, rows, wasted }: Waterfall): string =>
  [
    ...rows.map((row) =>
      `${row.label}: from ${millis(row.from)} to ${millis(row.to)}, ${row.verdict}${
        row.error === undefined ? "" : `, ${row.error}`
      }.`
    ),
    ...notes.map(({ at, text }) => `At ${millis(at)}: ${text}.`),
    ...wasted === undefined ? [] : [`${wasted}.`]
  ].join(" ")

// -----------------------------------------------------------------------------
// the picture
// -----------------------------------------------------------------------------

export const toSvg = (timeline: Timeline): string => {
  const waterfall = make(timeline)
  const place = placeOf(waterfall.duration)
  const bottom = rowsTop + waterfall.rows.length * rowHeight
  const notesTop = bottom + 12
  const wastedTop = notesTop + (waterfall.notes.length + 1) * lineHeight + 6
  const height = wastedTop + (waterfall.wasted === undefined ? -8 : 14)
  const wasted = waterfall.wasted === undefined ? "" : text(chart.left, wastedTop, waterfall.wasted, "soft")
  return `<svg xmlns="http://www.w3.org/2000/svg" class="rego" role="img" viewBox="0 0 ${width} ${
    number(height)
  }" width="${width}" height="${number(height)}"><title>${escape(waterfall.title)}</title><desc>${
    escape(inWords(waterfall))
  }</desc><style>${style}</style>${text(16, 26, shortened(waterfall.title, 110), "title")}${
    grid(waterfall.duration, place, bottom)
  }${waterfall.rows.map((row, i) => attempt(row, i, place)).join("")}${
    notes(waterfall, place, notesTop)
  }${wasted}</svg>`
}
