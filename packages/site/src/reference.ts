/**
 * The API reference, from the declarations that the compiler writes: they have the comments of the sources, and types
 * without bodies.
 *
 * @internal
 */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../../../scripts/lib/workspace.ts"
import { guideOf } from "./guides.ts"

export interface Declaration {
  readonly name: string
  readonly category: string
  readonly comment: string
  readonly signature: string
}

export interface Module {
  /** as users import it: `@rego/core/Backoff` */
  readonly name: string
  readonly comment: string
  readonly declarations: ReadonlyArray<Declaration>
}

const comment = String.raw`\/\*\*(?<comment>(?:[^*]|\*(?!\/))*)\*\/\n`
const documented = new RegExp(`^${comment}(?=export )`, "gm")
const header = new RegExp(`^${comment}(?!export )`)

const withoutStars = (text: string): string => text.replaceAll(/^[ \t]*\* ?/gm, "").trim()

const tagOf = (text: string, tag: string): string | undefined =>
  new RegExp(`^@${tag}[ \\t]*(.*)$`, "m").exec(text)?.[1]?.trim()

const prose = (text: string): string =>
  text.replaceAll(/^@\w+.*$/gm, "").replaceAll(/\{@link ([^}]+)\}/g, "`$1`").trim()

/** A statement ends at the first line whose brackets are closed and that ends with a semicolon or a brace. */
const statementAt = (text: string, from: number): string => {
  let depth = 0
  const taken: Array<string> = []
  for (const line of text.slice(from).split("\n")) {
    taken.push(line)
    const code = line.replaceAll(/"(?:[^"\\]|\\.)*"|\/\*.*?\*\/|\/\/.*$|=>/g, "")
    for (const sign of code) depth += "({[<".includes(sign) ? 1 : ")}]>".includes(sign) ? -1 : 0
    if (depth <= 0 && /[;}]$/.test(line) && !/^\s*(?:\/?\*|\/\/)/.test(line)) break
  }
  return taken.join("\n").replaceAll(/^export (?:declare )?/g, "")
}

const nameOf = (signature: string): string =>
  /^(?:abstract )?(?:const|function|class|interface|type|namespace) (\w+)/.exec(signature)?.[1] ??
    /\b(\w+)\s*\}/.exec(signature)?.[1] ?? ""

const declarationsOf = (text: string): Array<Declaration> => {
  const found = new Map<string, Declaration>()
  for (const match of text.matchAll(documented)) {
    const raw = withoutStars(match.groups!["comment"]!)
    const signature = statementAt(text, match.index + match[0].length)
    const name = nameOf(signature)
    if (tagOf(raw, "internal") !== undefined || name === "") continue
    const before = found.get(name)
    const both = before === undefined ? signature : `${before.signature}\n${signature}`
    const said = before === undefined ? prose(raw) : before.comment
    found.set(name, { name, category: tagOf(raw, "category") ?? "", comment: said, signature: both })
  }
  return [...found.values()]
}

interface Manifest {
  readonly name: string
  readonly exports: Readonly<Record<string, string | { readonly types?: string }>>
}

const read = (folder: string, path: string): string => readFileSync(join(root, folder, path), "utf8")

/** The namespaces of an index are modules of their own: `export * as Backoff from "./Backoff.js"`. */
const namespaces = (index: string): Array<readonly [name: string, types: string]> =>
  Array.from(index.matchAll(/^export \* as (\w+) from "\.\/(\w+)\.[jt]s"/gm), ([, name, file]) => [
    name!,
    `./dist/${file}.d.ts`
  ])

const entriesOf = (folder: string, { exports }: Manifest): Map<string, string> => {
  const entries = new Map<string, string>()
  for (const [entry, target] of Object.entries(exports)) {
    const types = typeof target === "string" ? undefined : target.types
    if (types === undefined || entry.startsWith("./internal/")) continue
    if (entry !== ".") entries.set(entry.slice(2), types)
    else for (const [name, file] of namespaces(read(folder, types))) entries.set(name, file)
  }
  return entries
}

/** The modules of a package that its users can import, in the order of the alphabet. */
export const modulesOf = (folder: string): Array<Module> => {
  const manifest: Manifest = JSON.parse(read(folder, "package.json"))
  return [...entriesOf(folder, manifest)].toSorted(([a], [b]) => a < b ? -1 : 1)
    .filter(([, types]) => existsSync(join(root, folder, types)))
    .map(([entry, types]) => {
      const text = read(folder, types)
      const raw = withoutStars(header.exec(text)?.groups?.["comment"] ?? "")
      return { name: `${manifest.name}/${entry}`, comment: prose(raw), declarations: declarationsOf(text) }
    })
}

const inCategories = (declarations: ReadonlyArray<Declaration>): Map<string, Array<Declaration>> =>
  Map.groupBy(declarations.toSorted((a, b) => a.name < b.name ? -1 : 1), ({ category }) => category)

/** Pages that a comment names are links here. The pages of modules stand in `api/<package>/`. */
const withLinks = (text: string): string => text.replaceAll(/`docs\/([\w-]+)\.md`/g, "[`docs/$1.md`](../../$1.html)")

const section = ({ comment, name, signature }: Declaration): string =>
  `### ${name}\n\n\`\`\`ts\n${signature}\n\`\`\`\n\n${withLinks(comment)}\n`

const guideLine = (name: string): string => {
  const guide = guideOf(name)
  return guide === undefined ? "" : `What it is for, and how it is used: \`docs/${guide}.md\`\n\n`
}

/** A module as Markdown. */
export const render = ({ comment, declarations, name }: Module): string => {
  const categories = [...inCategories(declarations)].toSorted(([a], [b]) => a < b ? -1 : 1)
  const body = categories.map(([category, members]) =>
    `## ${category === "" ? "more" : category}\n\n${members.map(section).join("\n")}`
  )
  return `# ${name}\n\n${withLinks(`${guideLine(name)}${comment}`)}\n\n${body.join("\n\n")}\n`
}

/** The address of the page of a module, in the site. */
export const urlOf = (module: Module): string => `api/${module.name.replace("@rego/", "")}.html`

const firstSentence = (text: string): string => text.split(/\n\n|(?<=\.)\s/)[0]?.replaceAll(/\s+/g, " ") ?? ""

export const renderIndex = (modules: ReadonlyArray<Module>): string => {
  const rows = modules.map((it) =>
    `| [${it.name}](${urlOf(it).slice("api/".length)}) | ${firstSentence(it.comment).replaceAll("|", "\\|")} |`
  )
  return `# API reference\n\nMade from the comments of the sources.\n\n| module | what it is |\n| --- | --- |\n${
    rows.join("\n")
  }\n`
}
