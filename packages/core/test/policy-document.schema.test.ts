import { assert, describe, it } from "@effect/vitest"
import { PolicyDocument } from "@rego/core"
import { readFileSync } from "node:fs"
import { join } from "node:path"

describe("policy-document.schema.json", () => {
  it("is the JSON Schema of this version", () => {
    const file = readFileSync(join(import.meta.dirname, "../policy-document.schema.json"), "utf8")
    assert.strictEqual(
      file,
      `${JSON.stringify(PolicyDocument.jsonSchema(), null, 2)}\n`,
      "write it anew with: npx rego schema > packages/core/policy-document.schema.json"
    )
  })
})
