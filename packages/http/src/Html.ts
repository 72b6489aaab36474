/**
 * Text of HTML in which nothing stands that was not escaped, unless it was made here as well.
 *
 * @internal
 */
import { escape } from "@rego/core/internal/Waterfall"

export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export type Part = Html | string | number | undefined | ReadonlyArray<Html>

const textOf = (part: Part): string => {
  if (part === undefined) return ""
  if (part instanceof Html) return part.text
  return typeof part === "object" ? part.map(textOf).join("") : escape(String(part))
}

/** What is put into the gaps is escaped, for content and for attributes in double quotes. */
export const html = (strings: TemplateStringsArray, ...parts: ReadonlyArray<Part>): Html =>
  new Html(strings.reduce((before, text, i) => before + textOf(parts[i - 1]) + text))
