/** What docs/metrics.md shows is the table in the sources. `REGO_UPDATE_DOCS=1` writes it anew. */
import { assert, describe, it } from "@effect/vitest"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { kinds, outcomes, results } from "../src/CallMetrics.ts"
import { counts, durations, prometheusName, table } from "../src/MetricTable.ts"

const page = join(import.meta.dirname, "../../../docs/metrics.md")
const text = readFileSync(page, "utf8")

const begin = /<!-- the table of .* writes it anew -->\n\n/
const end = "\n<!-- end of the table -->"

const row = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |\n`
const code = (name: string): string => `\`${name}\``

const rendered = [
  row(["metric", "in Prometheus", "type, unit", "attributes", "what it is"]),
  row(["---", "---", "---", "---", "---"]),
  ...table.map(({ attributes, description, name, type, unit }) =>
    row([
      code(name),
      code(prometheusName(name)),
      `${type}, ${code(unit)}`,
      attributes.map(code).join(" "),
      description
    ])
  )
].join("")

describe("docs/metrics.md", () => {
  it("shows the table of the sources", () => {
    const [opening] = begin.exec(text) ?? []
    assert.isDefined(opening)
    const from = text.indexOf(opening!) + opening!.length
    const to = text.indexOf(end)
    if (process.env["REGO_UPDATE_DOCS"] === "1") {
      writeFileSync(page, `${text.slice(0, from)}${rendered}${text.slice(to)}`)
    } else assert.strictEqual(text.slice(from, to), rendered, "REGO_UPDATE_DOCS=1 writes it anew")
  })

  it("lists every value of the closed attributes", () => {
    const cellOf = (attribute: string) => new RegExp(`^\\| \`${attribute}\` \\| (.*) \\|$`, "m").exec(text)?.[1] ?? ""
    const closed = [["result", results], ["kind", kinds], ["outcome", outcomes]] as const
    for (const [attribute, values] of closed) {
      for (const value of values) assert.include(cellOf(attribute), `\`${value}\``, attribute)
    }
  })

  it("lists every attribute of the table", () => {
    const listed = new Set(Array.from(text.matchAll(/^\| `(\w+)`(?: of `[\w.]+`)? \|/gm), ([, name]) => name))
    for (const attribute of table.flatMap(({ attributes }) => attributes)) {
      assert.isTrue(listed.has(attribute), attribute)
    }
  })
})

describe("MetricTable", () => {
  it("has bounds that ascend, and as many as the page says", () => {
    for (const bounds of [durations, counts]) {
      assert.deepStrictEqual(bounds, bounds.toSorted((a, b) => a - b))
      assert.strictEqual(new Set(bounds).size, bounds.length)
    }
    assert.include(
      text,
      `${durations.length} bounds, from ${durations[0]! * 1_000} ms to ${durations.at(-1)! / 60} minute`
    )
    assert.include(text.replaceAll("\n", " "), `${counts.slice(0, -1).join(", ")} and ${counts.at(-1)}`)
  })
})
