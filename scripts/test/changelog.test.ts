import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { entryOf, insert, versionText } from "../release/changelog.ts"

const changeset = (text: string): string => `---\n"@rego/core": minor\n'@rego/http': patch\n---\n\n${text}\n`

describe("changelog", () => {
  it("a changeset stands in the section that its first word names", () => {
    const entry = entryOf("a.md", changeset("Runtime behaviour: waits are shorter\nthan before."))
    assert.deepStrictEqual(
      [entry.section.title, entry.packages, entry.text],
      ["Runtime behaviour changes", ["@rego/core", "@rego/http"], "waits are shorter\nthan before."]
    )
  })

  it("refuses a changeset without a section, a package or front matter", () => {
    assert.throws(
      () => entryOf("a.md", changeset("waits are shorter")),
      /a\.md: the text must begin with one of "Runtime/
    )
    assert.throws(() => entryOf("a.md", "---\n\n---\nFixed: it"), /a\.md: it names no package/)
    assert.throws(() => entryOf("a.md", "Fixed: it"), /a\.md: no front matter/)
  })

  it("a version says so when the behaviour at run time is the same", () => {
    const fixed = entryOf("a.md", changeset("Fixed: it"))
    assert.strictEqual(
      versionText("0.2.0", "2026-01-01", [fixed]),
      "## 0.2.0 (2026-01-01)\n\n### Runtime behaviour changes\n\nNone.\n\n### Fixed\n\n- it (@rego/core, @rego/http)"
    )
  })

  it("the newest version stands first", () => {
    assert.strictEqual(
      insert("# Changes\n\n## 0.1.0\n\nold\n", "## 0.2.0"),
      "# Changes\n\n## 0.2.0\n\n## 0.1.0\n\nold\n"
    )
    assert.strictEqual(insert("# Changes\n", "## 0.1.0"), "# Changes\n\n## 0.1.0\n")
  })

  it("every changeset of the repository can be read", () => {
    const folder = join(import.meta.dirname, "../../.changeset")
    const names = readdirSync(folder).filter((name) => name.endsWith(".md") && name !== "README.md")
    for (const name of names) entryOf(name, readFileSync(join(folder, name), "utf8"))
  })
})
