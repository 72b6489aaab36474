/**
 * What an import of one entry loads: its own dependencies, and those of no other.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { execFile } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"

const folder = join(import.meta.dirname, "..")

const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as { readonly exports: object }

/** What every source stands on. */
const base = ["@rego/core", "effect"]

/** Packages and unstable parts of Effect; what is not listed must not be loaded. */
const expected: Readonly<Record<string, ReadonlyArray<string>>> = {
  DocumentText: ["effect"],
  FileSource: base,
  HttpSource: [...base, "@rego/http", "effect/http"],
  LastKnownGoodStore: [...base, "effect/persistence", "node:crypto"],
  MemorySource: base,
  OpenFeatureSource: [...base, "@openfeature/core", "@openfeature/server-sdk", "node:async_hooks", "node:events"],
  NodeSqlite: ["effect", "effect/reactivity", "effect/sql", "node:sqlite"],
  PolicyHistory: [...base, "effect/sql", "node:crypto"],
  PolicyServer: [...base, "effect/http", "effect/sql", "node:crypto"],
  RedisSource: [...base, "effect/persistence"]
}

const packageOf = (url: string): string | undefined => {
  if (url.startsWith("node:")) return url
  const ours = /\/packages\/(?<name>[\w-]+)\//.exec(url)?.groups?.["name"]
  if (ours !== undefined) return ours === "control-plane" ? undefined : `@rego/${ours}`
  const theirs = /\/node_modules\/(?<name>(?:@[\w-]+\/)?[\w-]+)\/(?:dist\/(?<area>[\w-]+)\/)?/.exec(url)?.groups
  const area = theirs?.["area"]
  return theirs?.["name"] === "effect" && area !== undefined ? `effect/${area}` : theirs?.["name"]
}

describe("entries of @rego/control-plane", () => {
  it.live("load their own dependencies, and those of no other", () =>
    Effect.gen(function*() {
      const specifiers = Object.keys(expected).map((entry) => `@rego/control-plane/${entry}`)
      const { stdout } = yield* Effect.promise(() =>
        promisify(execFile)(
          process.execPath,
          ["--conditions=@rego/source", join(import.meta.dirname, "fixtures/loads.ts"), ...specifiers],
          { maxBuffer: 64_000_000 }
        )
      )
      const loaded = JSON.parse(stdout) as Record<string, ReadonlyArray<string>>
      const packages = Object.keys(expected).map((entry) => [
        entry,
        [...new Set(loaded[`@rego/control-plane/${entry}`]?.map(packageOf).filter((it) => it !== undefined))].toSorted()
      ])
      assert.deepStrictEqual(
        Object.fromEntries(packages),
        Object.fromEntries(Object.entries(expected).map(([entry, names]) => [entry, names.toSorted()]))
      )
    }), 60_000)

  it("are all listed", () => {
    const entries = Object.keys(manifest.exports).filter((entry) => entry !== "./package.json")
    assert.sameMembers(entries, Object.keys(expected).map((entry) => `./${entry}`))
  })
})
