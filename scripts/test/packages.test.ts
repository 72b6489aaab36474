import { assert, describe, it } from "@effect/vitest"
import { contentErrors } from "../packages/contents.ts"
import type { Manifest } from "../packages/published.ts"

const manifest: Manifest = {
  name: "@rego/one",
  version: "0.1.0",
  sideEffects: false,
  exports: { ".": { "@rego/source": "./src/One.ts", types: "./dist/One.d.ts", default: "./dist/One.js" } }
}

const files = [
  "LICENSE",
  "README.md",
  "src/One.ts",
  "dist/One.js",
  "dist/One.js.map",
  "dist/One.d.ts",
  "dist/One.d.ts.map"
]

const goodMap = JSON.stringify({ sources: ["../src/One.ts"] })

const errorsOf = (
  change: { readonly manifest?: Partial<Manifest>; readonly files?: ReadonlyArray<string>; readonly map?: string }
): ReadonlyArray<string> =>
  contentErrors({
    manifest: { ...manifest, ...change.manifest },
    files: change.files ?? files,
    read: () => change.map ?? goodMap
  })

describe("packages", () => {
  describe("contentErrors", () => {
    it("finds nothing in a package that is whole", () => {
      assert.deepStrictEqual(errorsOf({}), [])
    })

    it("finds an entry that is not packed", () => {
      const exports = { ...manifest.exports, "./Two": "./dist/Two.js" }
      assert.deepStrictEqual(errorsOf({ manifest: { exports } }), ["exports names dist/Two.js: not packed"])
    })

    it("finds a source that was not built, and what is left of one that is gone", () => {
      assert.deepStrictEqual(errorsOf({ files: [...files, "src/Two.ts"] }), [
        "dist/Two.js is not packed: build first",
        "dist/Two.js.map is not packed: build first",
        "dist/Two.d.ts is not packed: build first",
        "dist/Two.d.ts.map is not packed: build first"
      ])
      assert.deepStrictEqual(errorsOf({ files: [...files, "dist/Old.js"] }), [
        "dist/Old.js has no source: npm run clean, and build again"
      ])
    })

    it("finds a map whose source nobody gets", () => {
      assert.deepStrictEqual(errorsOf({ map: JSON.stringify({ sources: ["../../lib/One.ts"] }) }), [
        "dist/One.js.map points at ../lib/One.ts: not packed",
        "dist/One.d.ts.map points at ../lib/One.ts: not packed"
      ])
    })

    it("finds what nobody should download, and what is missing", () => {
      const odd = ["test/One.test.ts", "dist/.tsbuildinfo"]
      assert.includeMembers([...errorsOf({ files: [...files.slice(1), ...odd] })], [
        "test/One.test.ts is packed",
        "dist/.tsbuildinfo is packed",
        "LICENSE is not packed"
      ])
    })

    it("finds side effects that are not stated, or that name no file", () => {
      const { sideEffects: _, ...silent } = manifest
      assert.deepStrictEqual(contentErrors({ manifest: silent, files, read: () => goodMap }), [
        "sideEffects is not stated: bundlers keep every module"
      ])
      assert.deepStrictEqual(errorsOf({ manifest: { sideEffects: ["./bin/one.js"] } }), [
        "sideEffects names bin/one.js: not packed"
      ])
    })
  })
})
