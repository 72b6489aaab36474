import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"

describe("@rego/testing", () => {
  it("needs effect and core, and no test runner", () => {
    const manifest = JSON.parse(readFileSync(join(import.meta.dirname, "../package.json"), "utf8")) as {
      readonly dependencies?: object
      readonly peerDependencies: object
    }
    assert.deepStrictEqual(Object.keys(manifest.peerDependencies), ["@rego/core", "effect"])
    assert.isUndefined(manifest.dependencies)
  })
})
