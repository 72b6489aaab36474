import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { promisify } from "node:util"

/** Imports entries one after the other, in a process of its own; prints the packages that were loaded after each. */
const program = `
import { registerHooks } from "node:module"
const loaded = new Set()
registerHooks({
  resolve: (specifier, context, next) => {
    const resolved = next(specifier, context)
    const name = /.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(resolved.url)?.[1]
    if (name !== undefined) loaded.add(name)
    return resolved
  }
})
const after = {}
for (const entry of process.argv.slice(1)) {
  await import(entry)
  after[entry] = [...loaded].toSorted()
}
console.log(JSON.stringify(after))
`

const loadedAfter = async (...entries: ReadonlyArray<string>): Promise<Record<string, ReadonlyArray<string>>> => {
  const options = ["--conditions=@rego/source", "--input-type=module", "--eval", program, ...entries]
  const { stdout } = await promisify(execFile)(process.execPath, options, { cwd: import.meta.dirname })
  return JSON.parse(stdout)
}

describe("entries", () => {
  const connect = ["@bufbuild/protobuf", "@connectrpc/connect"]

  it("what is shared loads neither library, and Connect loads nothing of grpc-js", async () => {
    assert.deepStrictEqual(
      await loadedAfter("@rego/grpc/GrpcKey", "@rego/grpc/GrpcStatus", "@rego/grpc", "@rego/grpc/Connect"),
      {
        "@rego/grpc/GrpcKey": [],
        "@rego/grpc/GrpcStatus": ["effect"],
        "@rego/grpc": ["effect"],
        "@rego/grpc/Connect": [...connect, "effect"]
      }
    )
  }, 30_000)

  it("GrpcJs loads grpc-js and what that needs, and nothing of Connect", async () => {
    const { "@rego/grpc/GrpcJs": loaded = [] } = await loadedAfter("@rego/grpc/GrpcJs")
    assert.includeMembers([...loaded], ["@grpc/grpc-js", "effect"])
    for (const name of connect) assert.notInclude([...loaded], name)
  }, 30_000)
})
