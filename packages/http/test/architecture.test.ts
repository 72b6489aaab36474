import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { House } from "../../core/test/house.ts"
import { apiOf, readModules, violations } from "../../core/test/house.ts"

const folder = join(import.meta.dirname, "..")

/** The rules are those of core; here `effect/http` and core itself may be loaded. */
const house: House = {
  storeys: [
    // what is read from requests, responses and errors
    [
      "HttpDate",
      "RateLimit",
      "ServerHints",
      "Idempotency",
      "HttpKey",
      "Bodies",
      "TransportFailure",
      "RetriedBelow",
      "Html"
    ],
    // what it means
    ["HttpClassifier"],
    // clients, and pages for operators
    ["Settings", "HttpRego", "ResilientFetch", "DebugPage", "DebugRoutes", "index"]
  ],
  isAllowed: (_, from) =>
    /^(?:effect|effect\/Function|effect\/http(?:\/\w+)?|@rego\/core(?:\/internal\/Waterfall)?)$/.test(from)
}

const sources = readModules(join(folder, "src"))

const publicModules = [...sources["index"]!.matchAll(/export \* as (\w+) from/g)].map(([, name]) => name!)

describe("architecture of @rego/http", () => {
  it("every module keeps to its storey, to the packages it may load and to the fiber's clock", () => {
    assert.deepStrictEqual(violations(house, sources), [])
  })

  it("every module of the table exists, and stands in it once", () => {
    const listed = house.storeys.flat()
    assert.sameMembers(listed, Object.keys(sources))
  })

  it("notices an import upwards, a package that is not listed, and a clock of its own", () => {
    const found = violations(house, {
      HttpKey: `import { http } from "./HttpClassifier.ts"\nimport { createServer } from "node:http"\nDate.now()`
    })
    assert.strictEqual(found.length, 3)
  })

  it("every public module has an entry of its own in package.json, and no other has one", () => {
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { readonly exports: object }
    const entries = Object.keys(manifest.exports).filter((entry) => entry !== "." && entry !== "./package.json")
    assert.sameMembers(entries, publicModules.map((name) => `./${name}`))
  })
})

describe("API of @rego/http", () => {
  // a name that comes, goes or changes place is a change of the API: it belongs into this list and into the changelog
  it("has these names", () => {
    assert.deepStrictEqual(apiOf(publicModules, (name) => sources[name]!), {
      DebugRoutes: { values: "layer", types: "Options" },
      HttpClassifier: { values: "http make retryableStatuses", types: "Options" },
      HttpKey: { values: "hostAndMethod routes service", types: "HttpKey Route" },
      HttpRego: {
        values: "layer make resilient withIdempotencyKey",
        types: "DrainOptions HeaderOptions Options"
      },
      Idempotency: { values: "header idempotentMethods isIdempotent", types: "" },
      ResilientFetch: { values: "make timelinesOf", types: "Fetch Options Runtime" },
      ServerHints: { values: "read", types: "Fields ServerHints" }
    })
  })
})
