import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"

/** A `ts` fence of a document or of a doc comment. */
export interface Fence {
  /** The file it stands in, relative to the root. */
  readonly file: string
  /** The line of its opening marker, counted from 1: the code begins one line below. */
  readonly line: number
  readonly code: string
  readonly closed: boolean
  /** A file that the reader is told to write: compiled here, and run by `npm run walkthrough`. */
  readonly name?: string
}

interface Line {
  readonly text: string
  readonly number: number
}

const documents = ["README.md", "CONTRIBUTING.md", "docs/**/*.md", "packages/*/README.md"]
const sources = ["packages/*/src/**/*.ts"]

const opening =
  /^(?<prefix>[\s>]*(?:(?:[-*+]|\d+[.)])\s+)?)(?<marker>`{3,}|~{3,})\s*(?<language>[\w-]*)(?:[ \t]+(?<name>[\w./-]+\.ts)[ \t]*$)?/
const typescript = /^(ts|tsx|mts|cts|typescript)$/i

const toLines = (text: string, first = 1): Array<Line> =>
  text.split(/\r?\n/).map((line, index) => ({ text: line, number: first + index }))

/** A fence in a list or a quotation is indented; its code loses that much, and no more. */
const unindent = (text: string, width: number): string =>
  text.slice(0, width).replace(/^[\s>]+/, "") + text.slice(width)

const closes = (text: string, marker: string): boolean => {
  const bare = text.replace(/^[\s>]+/, "").trimEnd()
  return bare.startsWith(marker) && bare.replaceAll(marker.charAt(0), "") === ""
}

const fencesOfLines = (file: string, lines: ReadonlyArray<Line>): Array<Fence> => {
  const fences: Array<Fence> = []
  for (let at = 0; at < lines.length; at++) {
    const { number, text } = lines[at]!
    const { language = "", marker = "", name, prefix = "" } = opening.exec(text)?.groups ?? {}
    if (marker === "") continue
    const end = lines.findIndex((line, index) => index > at && closes(line.text, marker))
    const body = lines.slice(at + 1, end === -1 ? undefined : end)
    if (typescript.test(language)) {
      const code = body.map((line) => unindent(line.text, prefix.length)).join("\n")
      fences.push({ file, line: number, code, closed: end !== -1, ...(name === undefined ? {} : { name }) })
    }
    at += body.length + 1
  }
  return fences
}

export const fencesOfDocument = (file: string, text: string): Array<Fence> => fencesOfLines(file, toLines(text))

const lineOf = (text: string, offset: number): number => text.slice(0, offset).split("\n").length

const withoutStar = (line: Line): Line => ({ ...line, text: line.text.replace(/^\s*\* ?/, "") })

export const fencesOfSource = (file: string, text: string): Array<Fence> =>
  Array.from(text.matchAll(/^[ \t]*(\/\*\*[\s\S]*?)\*\//gm)).flatMap((comment) =>
    fencesOfLines(file, toLines(comment[1]!, lineOf(text, comment.index)).map(withoutStar))
  )

export const findFences = (root: string): Array<Fence> => {
  const inFiles = (patterns: Array<string>, parse: typeof fencesOfDocument): Array<Fence> =>
    globSync(patterns, { cwd: root }).toSorted().flatMap((file) => parse(file, readFileSync(join(root, file), "utf8")))
  return [...inFiles(documents, fencesOfDocument), ...inFiles(sources, fencesOfSource)]
}
