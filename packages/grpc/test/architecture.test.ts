import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { House } from "../../core/test/house.ts"
import { apiOf, readModules, violations } from "../../core/test/house.ts"

const folder = join(import.meta.dirname, "..")

/** Each library is loaded by its own entry only. */
const libraries: Readonly<Record<string, string>> = {
  Connect: "@connectrpc/connect",
  GrpcJs: "@grpc/grpc-js",
  GrpcJsAttempt: "@grpc/grpc-js",
  GrpcJsCall: "@grpc/grpc-js"
}

const house: House = {
  storeys: [
    // what stands in headers and messages
    ["GrpcKey", "Pushback", "RetryInfo", "Timeout", "OpenedStream"],
    // verdicts
    ["Failure", "Retried", "GrpcStatus"],
    // calls
    ["Call"],
    // the two libraries, and what needs neither
    ["GrpcJsAttempt", "GrpcJsCall", "GrpcJs", "Connect", "index"]
  ],
  isAllowed: (name, from) => from === "effect" || from === "@rego/core" || from === libraries[name]
}

const sources = readModules(join(folder, "src"))
const publicModules = ["Connect", "GrpcJs", "GrpcKey", "GrpcStatus"]

describe("architecture of @rego/grpc", () => {
  it("every module keeps to its storey, to its packages and to the fiber's clock", () => {
    assert.deepStrictEqual(violations(house, sources), [])
  })

  it("every module of the table exists, and stands in it once", () => {
    assert.sameMembers(house.storeys.flat(), Object.keys(sources))
  })

  it("notices an import upwards, a library in the wrong place, and a clock of its own", () => {
    const found = violations(house, {
      GrpcStatus: `import { make } from "./Call.ts"\nimport { Metadata } from "@grpc/grpc-js"\nDate.now()`
    })
    assert.strictEqual(found.length, 3)
  })

  it("every public module has an entry of its own in package.json, and no other has one", () => {
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { readonly exports: object }
    const entries = Object.keys(manifest.exports).filter((entry) => entry !== "." && entry !== "./package.json")
    assert.sameMembers(entries, publicModules.map((name) => `./${name}`))
  })
})

describe("API of @rego/grpc", () => {
  // a name that comes, goes or changes place is a change of the API: it belongs into this list and into the changelog
  it("has these names", () => {
    assert.deepStrictEqual(apiOf(publicModules, (name) => sources[name]!), {
      Connect: { values: "interceptor interceptorWith makeClient", types: "CallOptions Client" },
      GrpcJs: { values: "interceptor interceptorWith makeClient", types: "CallOptions Client" },
      GrpcKey: { values: "fromPath", types: "" },
      GrpcStatus: { values: "Code classifier nameOf retryableCodes", types: "CodeName Options" }
    })
  })

  it("consists of modules that say since when they are there", () => {
    for (const name of [...publicModules, "index"]) assert.match(sources[name]!, /@since \d+\.\d+\.\d+/, name)
  })
})
