import { assert, describe, it } from "@effect/vitest"
import * as Grpc from "@rego/grpc"
import * as Connect from "@rego/grpc/Connect"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import { readFileSync } from "node:fs"
import { join } from "node:path"

const typesOf = (module: string): ReadonlyArray<string> => {
  const source = readFileSync(join(import.meta.dirname, `../src/${module}.ts`), "utf8")
  return [...source.matchAll(/^export (?:type|interface) (\w+)/gm)].map(([, name]) => name!).toSorted()
}

describe("API", () => {
  // a name that comes, goes or changes place is a change of the API: it belongs into this list and into the changelog
  it("has these names", () => {
    const modules = { ...Grpc, Connect, GrpcJs }
    const names = Object.entries(modules).map(([module, values]) =>
      `${module}: ${Object.keys(values).toSorted().join(" ")} | ${typesOf(module).join(" ")}`
    )
    assert.deepStrictEqual(names, [
      "GrpcKey: fromPath | ",
      "GrpcStatus: Code classifier nameOf | CodeName Options",
      "Connect: interceptor interceptorWith makeClient | CallOptions Client",
      "GrpcJs: interceptor interceptorWith makeClient | CallOptions Client"
    ])
  })

  it("consists of modules that say since when they are there", () => {
    for (const module of ["GrpcKey", "GrpcStatus", "Connect", "GrpcJs", "index"]) {
      assert.match(
        readFileSync(join(import.meta.dirname, `../src/${module}.ts`), "utf8"),
        /@since \d+\.\d+\.\d+/,
        module
      )
    }
  })
})
