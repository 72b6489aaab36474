/**
 * `npm run bench` measures everything, keeps every round in `results/bench.json` and writes the tables of
 * `docs/performance.md`. `npm run bench -- --quick` measures what the bars need, in less than a minute, prints a line for
 * each of them, keeps its rounds in `results/quick.json` (not committed) and leaves the page alone.
 * `--only <regular expression>` measures what has an id that matches, and only prints.
 */
import { ManagedRuntime } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus, totalmem } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { needed } from "./bars.ts"
import type { Case, Host } from "./cases.ts"
import { cases } from "./cases.ts"
import * as Loopback from "./loopback.ts"
import { allocated, inFlight, keptByKeys, perKey } from "./memory.ts"
import { partCases } from "./parts.ts"
import { Policies } from "./policies.ts"
import { barsText, groupsText, intoPage, toJson } from "./report.ts"
import type { Machine, Measurement, Results, Settings } from "./results.ts"
import { inFlightOf } from "./results.ts"
import { timed } from "./runner.ts"
import { scenarios } from "./scale.ts"
import { subjects } from "./subjects.ts"

const seed = 20260401
const full: Settings = {
  seed,
  rounds: 60,
  warmUpRounds: 5,
  sliceMillis: 12,
  longRounds: 11,
  inFlight: { count: 20_000, times: 3 }
}
const quick: Settings = {
  seed,
  rounds: 21,
  warmUpRounds: 4,
  sliceMillis: 8,
  longRounds: 3,
  inFlight: { count: 10_000, times: 1 }
}

const root = join(import.meta.dirname, "../../..")
const page = join(root, "docs/performance.md")
const keyCount = 10_000

// -----------------------------------------------------------------------------
// what is measured
// -----------------------------------------------------------------------------

const { values: options } = parseArgs({
  options: { quick: { type: "boolean" }, only: { type: "string" }, rounds: { type: "string" } }
})

const isQuick = options.quick === true
const base = isQuick ? quick : full
const settings = options.rounds === undefined ? base : { ...base, rounds: Number(options.rounds) }
const pattern = new RegExp(options.only ?? "")
const chosen = (id: string): boolean => pattern.test(id) && (!isQuick || needed.has(id))

const startedAt = performance.now()
const progress = (what: string): void =>
  console.error(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(5)} s  ${what}`)

const isChosen = ({ id }: Case): boolean => chosen(id)

const measureCalls = async (host: Host): Promise<ReadonlyArray<Measurement>> => {
  const timedCases = cases.filter(isChosen)
  progress(`${settings.rounds} rounds of ${timedCases.length} ways to make a call`)
  const measured = [...await timed(timedCases, host, settings)]
  if (isQuick) return measured
  progress("bytes allocated")
  for (const it of timedCases) if (it.clock === "wall") measured.push(await allocated(it, host))
  return measured
}

const measureInFlight = async (host: Host): Promise<ReadonlyArray<Measurement>> => {
  const weighed = subjects.filter(({ mistake, name }) => mistake !== true && chosen(inFlightOf(name)))
  if (weighed.length > 0) progress(`${settings.inFlight.count} calls in flight`)
  const measured: Array<Measurement> = []
  for (const subject of weighed) measured.push(await inFlight(subject, host, settings.inFlight))
  return measured
}

const measureScale = async (host: Host): Promise<ReadonlyArray<Measurement>> => {
  const measured: Array<Measurement> = []
  for (const { long, name, open } of scenarios) {
    progress(name)
    const suite = await open()
    const own = long ? { ...settings, warmUpRounds: 1, rounds: settings.longRounds } : settings
    measured.push(...await timed(suite.cases.filter(isChosen), host, own))
    await suite.close()
  }
  return measured
}

const measureAll = async (): Promise<ReadonlyArray<Measurement>> => {
  const loopback = await Loopback.open()
  const runtime = ManagedRuntime.make(Policies)
  await runtime.context()
  const host: Host = { runtime, loopback }
  progress("parts of a call")
  const measured = [...await timed(partCases.filter(isChosen), host, settings)]
  measured.push(...await measureCalls(host), ...await measureInFlight(host))
  loopback.close()
  if (chosen(perKey)) measured.push(await keptByKeys(keyCount))
  if (options.only === undefined || options.only.startsWith("scale")) measured.push(...await measureScale(host))
  await runtime.dispose()
  progress("done")
  return measured
}

// -----------------------------------------------------------------------------
// where
// -----------------------------------------------------------------------------

const versionOf = (path: string): string => JSON.parse(readFileSync(path, "utf8")).version

const peer = (name: string): readonly [string, string] => [
  name,
  versionOf(join(root, "node_modules", name, "package.json"))
]

const versions = (): Record<string, string> => ({
  node: process.versions.node,
  effect: versionOf(createRequire(import.meta.url).resolve("effect/package.json")),
  ...Object.fromEntries(["cockatiel", "opossum", "p-retry"].map(peer)),
  "@rego/core": versionOf(join(root, "packages/core/package.json"))
})

const machine = (): Machine => ({
  cpu: cpus()[0]?.model.trim() ?? "unknown",
  cores: cpus().length,
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  platform: `${process.platform} ${process.arch}`
})

// -----------------------------------------------------------------------------
// run
// -----------------------------------------------------------------------------

const results: Results = {
  name: isQuick ? "quick" : "bench",
  date: new Date().toISOString().slice(0, 10),
  machine: machine(),
  versions: versions(),
  settings,
  measured: await measureAll()
}

if (!isQuick) console.log(groupsText(results))
console.log(barsText(results))

if (options.only === undefined) {
  writeFileSync(join(import.meta.dirname, "../results", `${results.name}.json`), toJson(results))
  if (!isQuick) writeFileSync(page, intoPage(readFileSync(page, "utf8"), results))
}
