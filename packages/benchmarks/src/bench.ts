/**
 * `npm run bench` measures everything, keeps every round in `results/bench.json` and writes the tables of
 * `docs/performance.md`. `--quick` measures what the bars need, prints a line for each of them, keeps its rounds in
 * `results/quick.json` (not committed) and leaves the page alone. `--only <regular expression>` measures what has an id
 * that matches, and only prints. `--page` writes the page from the committed rounds. `--gate` is the gate of `npm test`: see `gate-command.ts`.
 */
import { readFileSync, writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { needed } from "./bars.ts"
import { environment, page, resultsFile } from "./environment.ts"
import { gate } from "./gate-command.ts"
import { measureAll } from "./measuring.ts"
import { barsText, groupsText, intoPage, toJson } from "./report.ts"
import type { Results, Settings } from "./results.ts"

const seed = 20260401

const full: Settings = {
  seed,
  rounds: 40,
  warmUpRounds: 6,
  warmUpMillis: 60,
  sliceMillis: 12,
  longRounds: 7,
  inFlight: 10_000
}

const quick: Settings = {
  seed,
  rounds: 21,
  warmUpRounds: 6,
  warmUpMillis: 60,
  sliceMillis: 8,
  longRounds: 3,
  inFlight: 10_000
}

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string" },
    gate: { type: "boolean", default: false },
    update: { type: "boolean", default: false },
    spread: { type: "string" },
    page: { type: "boolean", default: false }
  }
})

const startedAt = performance.now()
const progress = (what: string): void =>
  console.error(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(5)} s  ${what}`)

const measure = async (): Promise<Results> => {
  const base = options.quick ? quick : full
  const settings = options.rounds === undefined ? base : { ...base, rounds: Number(options.rounds) }
  const pattern = new RegExp(options.only ?? "")
  const chosen = (id: string): boolean => pattern.test(id) && (!options.quick || needed.has(id))
  return {
    name: options.quick ? "quick" : "bench",
    ...environment(),
    settings,
    measured: await measureAll({ settings, chosen, progress })
  }
}

const writePage = (results: Results): void => writeFileSync(page, intoPage(readFileSync(page, "utf8"), results))

const bench = async (): Promise<void> => {
  const results = await measure()
  if (!options.quick) console.log(groupsText(results))
  console.log(barsText(results))
  if (options.only !== undefined) return
  writeFileSync(resultsFile(results.name), toJson(results))
  if (!options.quick) writePage(results)
}

if (options.gate) await gate({ update: options.update, spread: Number(options.spread ?? 0) })
else if (options.page) writePage(JSON.parse(readFileSync(resultsFile("bench"), "utf8")))
else await bench()
