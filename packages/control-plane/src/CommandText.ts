/**
 * How reports look on a terminal.
 *
 * @internal
 */
import { Console } from "effect"
import type { Effect } from "effect"

/** Lines whose cells stand under each other; the last cell of a line is as long as it is. */
export const table = (rows: ReadonlyArray<ReadonlyArray<string>>, indent = "  "): ReadonlyArray<string> => {
  const widths: Array<number> = []
  for (const row of rows) {
    for (const [i, cell] of row.slice(0, -1).entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length)
  }
  return rows.map((row) =>
    indent + row.map((cell, i) => i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)).join("  ")
  )
}

export const json = (value: unknown): string => JSON.stringify(value, null, 2)

/** A value of a document on one line. */
export const inline = (value: unknown): string =>
  typeof value === "string" && !value.includes("\n") ? value : JSON.stringify(value)

const escaped = (control: string): string =>
  control === "\n" ? control : `\\u${control.charCodeAt(0).toString(16).padStart(4, "0")}`

/** What a terminal would obey is shown instead, in a form that is JSON as well: a document may come from elsewhere. */
export const printable = (text: string): string => text.replaceAll(/\p{Cc}/gu, escaped)

export const print = (text: string): Effect.Effect<void> => Console.log(printable(text))

export const count = (n: number, singular: string, plural = `${singular}s`): string =>
  `${n} ${n === 1 ? singular : plural}`
