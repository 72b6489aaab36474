import { assert, describe, it } from "@effect/vitest"
import { anchorOf, anchorsOf, brokenLinks, linksOf } from "../lib/links.ts"
import { root } from "../lib/workspace.ts"

describe("links", () => {
  it("are found in prose, not in code", () => {
    const text =
      "[a](b.md#c)\n\n```md\n[x](y.md)\n```\n`[x](z.md)` [over\nlines](d.md) [site](https://effect.website)\n"
    assert.deepStrictEqual(linksOf(text), [{ line: 1, target: "b.md#c" }, { line: 7, target: "d.md" }])
  })

  it("name headings as GitHub does", () => {
    assert.strictEqual(anchorOf("Where do I add …"), "where-do-i-add-")
    assert.strictEqual(anchorOf("`rego serve`"), "rego-serve")
    assert.strictEqual(
      anchorOf("Idempotency, and the case that nobody can decide"),
      "idempotency-and-the-case-that-nobody-can-decide"
    )
    assert.deepStrictEqual(anchorsOf("# A\n```md\n# B\n```\n"), new Set(["a"]))
  })

  it("of all documents lead somewhere", () => {
    assert.deepStrictEqual(brokenLinks(root), [])
  })
})
