/**
 * A waterfall of a timeline for the terminal.
 *
 * @internal
 */
import type { Timeline } from "./Timeline.ts"
import type { Fate, Row, Waterfall } from "./Waterfall.ts"
import { make, millis } from "./Waterfall.ts"

const barWidth = 32

/** What somebody got an answer from is solid; what was lost is not. */
const fill: Readonly<Record<Fate, string>> = { success: "█", failure: "█", timeout: "▒", lost: "░", running: "░" }

const barOf = ({ fate, from, to }: Row, total: number): string => {
  const scale = (at: number) => total <= 0 ? 0 : Math.round((at / total) * barWidth)
  // a timeline that was read may say that an attempt began before its call
  const start = Math.max(0, Math.min(scale(from), barWidth - 1))
  const width = Math.max(1, Math.min(scale(to), barWidth) - start)
  return `${" ".repeat(start)}${fill[fate].repeat(width)}`.padEnd(barWidth)
}

const rowLine = (row: Row, { duration }: Waterfall): string => {
  const error = row.error === undefined ? "" : `  ${row.error}`
  const times = `${millis(row.from)} + ${millis(row.to - row.from)}`
  const verdict = row.verdict === "" ? "" : `  ${row.verdict}`
  return `  ${row.label.padEnd(16)}│${barOf(row, duration)}│ ${times}${verdict}${error}`
}

export const render = (timeline: Timeline): string => {
  const waterfall = make(timeline)
  return [
    waterfall.title,
    ...waterfall.rows.map((row) => rowLine(row, waterfall)),
    ...waterfall.notes.map(({ at, text }) => `  at ${millis(at)}: ${text}`),
    ...waterfall.wasted === undefined ? [] : [`  ${waterfall.wasted}`]
  ].join("\n")
}
