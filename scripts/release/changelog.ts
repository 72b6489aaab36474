/** The sections of a version in CHANGELOG.md, in their order, and the word that a changeset begins with to stand in each. */
const sections = [
  { label: "Runtime behaviour", title: "Runtime behaviour changes" },
  { label: "Added", title: "Added" },
  { label: "Changed", title: "Changes of the API" },
  { label: "Fixed", title: "Fixed" }
] as const

type Section = typeof sections[number]

export interface Entry {
  readonly section: Section
  readonly packages: ReadonlyArray<string>
  readonly text: string
}

const labels = sections.map(({ label }) => `"${label}:"`).join(", ")

/** Reads one changeset: front matter with the packages, then a text that begins with the word of its section. */
export const entryOf = (name: string, content: string): Entry => {
  const [, frontMatter, body] = /^---\n([\s\S]*?)\n---\n([\s\S]*)$/.exec(content) ?? []
  if (frontMatter === undefined || body === undefined) throw new Error(`${name}: no front matter`)
  const text = body.trim()
  const section = sections.find(({ label }) => text.startsWith(`${label}:`))
  if (section === undefined) throw new Error(`${name}: the text must begin with one of ${labels}`)
  const packages = Array.from(
    frontMatter.matchAll(/^["']?([^"':]+)["']?: *(?:patch|minor|major)$/gm),
    ([, it = ""]) => it
  )
  if (packages.length === 0) throw new Error(`${name}: it names no package`)
  return { section, packages, text: text.slice(section.label.length + 1).trim() }
}

const item = ({ packages, text }: Entry): string => `- ${text.replaceAll("\n", "\n  ")} (${packages.join(", ")})`

/** What stands for a version: the section on behaviour always, for nobody should have to guess that there is none. */
export const versionText = (version: string, date: string, entries: ReadonlyArray<Entry>): string => {
  const parts = sections.flatMap((section) => {
    const items = entries.filter((entry) => entry.section === section).map(item)
    if (items.length === 0 && section.label !== "Runtime behaviour") return []
    return [`### ${section.title}`, items.length === 0 ? "None." : items.join("\n")]
  })
  return [`## ${version} (${date})`, ...parts].join("\n\n")
}

/** The newest version stands first, below the introduction. */
export const insert = (changelog: string, text: string): string => {
  const index = changelog.search(/^## /m)
  return index === -1
    ? `${changelog.trimEnd()}\n\n${text}\n`
    : `${changelog.slice(0, index)}${text}\n\n${changelog.slice(index)}`
}
