/**
 * `npm run bench` measures, prints a table, keeps every round in `results/success-path.json` and writes the tables of
 * `docs/performance.md`. `npm run bench -- --quick` is shorter, keeps its rounds in `results/quick.json` (not committed)
 * and leaves the page alone. `--only <regular expression>` runs the cases whose id matches, and only prints.
 */
import { ManagedRuntime } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus, totalmem } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { cases, Policies } from "./cases.ts"
import { intoPage, toJson, toText } from "./report.ts"
import type { Machine, Results } from "./report.ts"
import { measure } from "./runner.ts"
import type { Settings } from "./runner.ts"

const seed = 20260401
const full: Settings = { seed, rounds: 60, sliceMillis: 12, inFlight: 20_000 }
const quick: Settings = { seed, rounds: 15, sliceMillis: 10, inFlight: 20_000 }

const root = join(import.meta.dirname, "../../..")
const page = join(root, "docs/performance.md")

const versionOf = (path: string): string => JSON.parse(readFileSync(path, "utf8")).version

const versions = (): Record<string, string> => ({
  node: process.versions.node,
  effect: versionOf(createRequire(import.meta.url).resolve("effect/package.json")),
  cockatiel: versionOf(join(root, "node_modules/cockatiel/package.json")),
  "@rego/core": versionOf(join(root, "packages/core/package.json"))
})

const machine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  platform: `${process.platform} ${process.arch}`
})

const { values: options } = parseArgs({
  options: { quick: { type: "boolean" }, only: { type: "string" }, rounds: { type: "string" } }
})

const chosen = cases.filter(({ id }) => new RegExp(options.only ?? "").test(id))
const base = options.quick === true ? quick : full
const settings = options.rounds === undefined ? base : { ...base, rounds: Number(options.rounds) }

const startedAt = performance.now()
const progress = (what: string): void =>
  console.error(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(5)} s  ${what}`)

const runtime = ManagedRuntime.make(Policies)
const measured = await measure(chosen, await runtime.context(), settings, progress)
await runtime.dispose()
progress("done")

const results: Results = {
  name: options.quick === true ? "quick" : "success-path",
  date: new Date().toISOString().slice(0, 10),
  machine: machine(),
  versions: versions(),
  settings,
  measured
}
console.log(toText(results))

if (options.only === undefined) {
  const file = join(import.meta.dirname, "../results", `${results.name}.json`)
  writeFileSync(file, toJson(results))
  if (options.quick !== true) writeFileSync(page, intoPage(readFileSync(page, "utf8"), results))
}
