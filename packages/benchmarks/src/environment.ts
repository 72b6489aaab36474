/** Where it was measured: a figure without its machine and versions says nothing. */
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus, totalmem } from "node:os"
import { join } from "node:path"
import type { Environment } from "./results.ts"

export const root = join(import.meta.dirname, "../../..")
export const page = join(root, "docs/performance.md")
export const resultsFile = (name: string): string => join(import.meta.dirname, "../results", `${name}.json`)

const versionOf = (path: string): string => JSON.parse(readFileSync(path, "utf8")).version

const peer = (name: string): readonly [string, string] => [
  name,
  versionOf(join(root, "node_modules", name, "package.json"))
]

export const environment = (): Environment => ({
  date: new Date().toISOString().slice(0, 10),
  machine: {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${process.arch}`
  },
  versions: {
    node: process.versions.node,
    effect: versionOf(createRequire(import.meta.url).resolve("effect/package.json")),
    ...Object.fromEntries(["cockatiel", "opossum", "p-retry"].map(peer)),
    "@rego/core": versionOf(join(root, "packages/core/package.json"))
  }
})
