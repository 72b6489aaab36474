import { assert, describe, it } from "@effect/vitest"
import { join } from "node:path"
import type { House } from "../../core/test/house.ts"
import { hasTheseNames, isShown, keepsToItsHouse, readPackage } from "../../core/test/packageHouse.ts"

const grpc = readPackage(join(import.meta.dirname, ".."))

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

describe("architecture of @rego/grpc", () => {
  keepsToItsHouse(grpc, house, {
    GrpcStatus: `import { make } from "./Call.ts"\nimport { Metadata } from "@grpc/grpc-js"\nDate.now()`
  })
  isShown(house, 2)
})

describe("API of @rego/grpc", () => {
  hasTheseNames(grpc, {
    Connect: { values: "interceptor interceptorWith makeClient", types: "CallOptions Client Method Options" },
    GrpcJs: { values: "interceptor interceptorWith makeClient", types: "CallOptions Client Method Options" },
    GrpcKey: { values: "fromPath", types: "" },
    GrpcStatus: { values: "Code classifier nameOf retryableCodes", types: "CodeName Options" }
  })

  it("consists of modules that say since when they are there", () => {
    for (const name of [...grpc.entries, "index"]) assert.match(grpc.sources[name]!, /@since \d+\.\d+\.\d+/, name)
  })
})
