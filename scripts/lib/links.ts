import { existsSync, globSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"

export interface Link {
  readonly line: number
  readonly target: string
}

const fence = /^([ \t]*)(`{3,}|~{3,})[^]*?^\1\2[ \t]*$/gm
const inlineCode = /`[^`\n]*`/g
const blank = (text: string): string => text.replaceAll(/[^\n]/g, " ")

/** What stands in code is no link, and no heading. */
const prose = (text: string): string => text.replaceAll(fence, blank)

const lineOf = (text: string, index: number): number => text.slice(0, index).split("\n").length

const isElsewhere = (target: string): boolean => /^[a-z][a-z+.-]*:/i.test(target)

/** The links of a document that lead to a place in this repository. A text may be broken over lines. */
export const linksOf = (text: string): Array<Link> =>
  Array.from(
    prose(text).replaceAll(inlineCode, blank).matchAll(/\]\((?<target>[^)\s]+)\)/g),
    ({ groups, index }) => ({ line: lineOf(text, index), target: groups!["target"]! })
  ).filter(({ target }) => !isElsewhere(target))

/** The name that a heading has in an address, as GitHub makes it. */
export const anchorOf = (heading: string): string =>
  heading.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").trim().toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-")

export const anchorsOf = (text: string): Set<string> =>
  new Set(Array.from(prose(text).matchAll(/^#{1,6} +(.*)$/gm), ([, heading = ""]) => anchorOf(heading)))

const documents = ["*.md", "docs/**/*.md", "packages/*/*.md"]

const problemOf = (root: string, file: string, { target }: Link): string | undefined => {
  const [path = "", anchor] = target.split("#")
  const place = path === "" ? join(root, file) : join(root, dirname(file), path)
  if (!existsSync(place)) return `there is no ${relative(root, place)}`
  if (anchor === undefined || !place.endsWith(".md")) return undefined
  return anchorsOf(readFileSync(place, "utf8")).has(anchor) ? undefined : `${relative(root, place)} has no #${anchor}`
}

/** The links of all documents that lead nowhere, as `file:line  what is wrong`. */
export const brokenLinks = (root: string): Array<string> =>
  globSync(documents, { cwd: root, exclude: ["**/node_modules/**"] }).toSorted().flatMap((file) =>
    linksOf(readFileSync(join(root, file), "utf8")).flatMap((link) => {
      const problem = problemOf(root, file, link)
      return problem === undefined ? [] : [`${file}:${link.line}  ${problem}`]
    })
  )
