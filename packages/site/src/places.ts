/**
 * Where the documents of the repository stand in the site.
 *
 * @internal
 */
import { existsSync, globSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join, normalize, relative } from "node:path/posix"
import { linksOf } from "../../../scripts/lib/links.ts"
import { root } from "../../../scripts/lib/workspace.ts"

/** Documents that are pages although they do not stand in `docs/`. */
const elsewhere: Readonly<Record<string, string>> = {
  "README.md": "readme.html",
  "CHANGELOG.md": "changelog.html",
  "CONTRIBUTING.md": "contributing.html",
  "SECURITY.md": "report.html"
}

/** A page of the site: an address, and the Markdown that becomes it. */
export interface Page {
  readonly url: string
  /** the file, by its path in the repository, whose links the text has */
  readonly file: string
  readonly text: string
}

const read = (file: string): string => readFileSync(join(root, file), "utf8")

const isDocument = (file: string): boolean => file in elsewhere || (file.startsWith("docs/") && file.endsWith(".md"))

/** The address of a file of the repository: of its page, or of the page that shows its text. */
const urlOf = (file: string): string => {
  if (file in elsewhere) return elsewhere[file]!
  if (!isDocument(file)) return `source/${file === "" ? "index" : file}.html`
  return file.slice("docs/".length).replace(/(^|\/)README\.md$/, "$1index.md").replace(/\.md$/, ".html")
}

/** What a link in a document becomes: relative, so that the site works wherever it is put. */
export const hrefFrom = (file: string, href: string, url: string): string => {
  if (/^(?:[a-z][a-z+.-]*:|#)/i.test(href)) return href
  const [path = "", anchor] = href.split("#")
  const target = urlOf(normalize(join(dirname(file), path)).replace(/\/$/, ""))
  return `${relative(dirname(url), target)}${anchor === undefined ? "" : `#${anchor}`}`
}

const documents = (): Array<Page> =>
  [...Object.keys(elsewhere), ...globSync("docs/**/*.md", { cwd: root })].toSorted()
    .map((file) => ({ url: urlOf(file), file, text: read(file) }))

const listing = (file: string): string =>
  readdirSync(join(root, file)).toSorted().filter((name) => !/^(?:node_modules|dist)$/.test(name))
    .map((name) => `- \`${name}\``).join("\n")

// a fence that no file contains
const fence = "`".repeat(8)

const shown = (file: string): string => {
  if (statSync(join(root, file)).isDirectory()) return listing(file)
  return `${fence}${file.split(".").at(-1)}\n${read(file).trimEnd()}\n${fence}`
}

const sourcePage = (file: string): Page => ({
  url: urlOf(file),
  file: join(dirname(file), "."),
  text: `# ${file}\n\n${shown(file)}\n`
})

/** Pages for what documents link to and is no document: examples, tests, sources. */
const sources = (from: ReadonlyArray<Page>): Array<Page> => {
  const targets = from.flatMap(({ file, text }) =>
    linksOf(text).map(({ target }) => normalize(join(dirname(file), target.split("#")[0]!)).replace(/\/$/, ""))
  )
  return [...new Set(targets)].toSorted()
    .filter((file) => !isDocument(file) && existsSync(join(root, file)))
    .map(sourcePage)
}

export const pages = (): Array<Page> => {
  const found = documents()
  return [...found, ...sources(found)]
}

export interface Group {
  readonly title: string
  readonly entries: ReadonlyArray<{ readonly title: string; readonly url: string }>
}

/** The navigation is the table of `docs/README.md`: groups in bold, a link in each row. */
export const navigation = (): Array<Group> => {
  const groups: Array<{ title: string; entries: Array<Group["entries"][number]> }> = []
  for (const line of read("docs/README.md").split("\n")) {
    const title = /^\| \*\*(.+?)\*\*/.exec(line)?.[1]
    const entry = /^\| \[(?<title>[^\]]+)\]\((?<target>[^)]+)\)/.exec(line)?.groups
    if (title !== undefined && !groups.some((group) => group.title === title)) groups.push({ title, entries: [] })
    if (entry === undefined) continue
    groups.at(-1)?.entries.push({ title: entry["title"]!, url: urlOf(normalize(join("docs", entry["target"]!))) })
  }
  return groups
}
