/**
 * `npm run efficacy` measures all items, keeps what each seed said in `results/efficacy-N.json` and writes the tables of
 * `docs/efficacy.md`. `--only 3,4` measures some of them; the others keep what was recorded. `--seeds 3` takes less of them
 * and only prints. `--row text` measures rows whose name has the text, and only prints. `--page` writes the page from what
 * was recorded.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { items } from "./efficacy-items.ts"
import { liveItem } from "./efficacy-live.ts"
import type { Item, Measured, Recorded } from "./efficacy-model.ts"
import { intoPage, text, toJson } from "./efficacy-report.ts"
import { environment, resultsFile, root } from "./environment.ts"

const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    seeds: { type: "string", default: "20" },
    row: { type: "string" },
    page: { type: "boolean", default: false }
  }
})

const page = join(root, "docs/efficacy.md")
const fileOf = (item: Item): string => resultsFile(`efficacy-${item.number}`)

const startedAt = performance.now()
const progress = (what: string): void =>
  console.error(`${((performance.now() - startedAt) / 1_000).toFixed(1).padStart(6)} s  ${what}`)

const measure = async (item: Item, seeds: ReadonlyArray<number>): Promise<Recorded> => {
  const { date, versions } = environment()
  const rows: Array<Measured> = []
  for (const row of item.rows) {
    if (options.row !== undefined && !row.name.includes(options.row)) continue
    rows.push({ name: row.name, values: await row.measure(seeds) })
    progress(`${item.number}. ${row.name}`)
  }
  const { cockatiel: _, opossum: __, "p-retry": ___, ...ours } = versions
  return { item: item.number, date, versions: ours, seeds: item === liveItem ? 1 : seeds.length, rows }
}

const recorded = (): ReadonlyArray<readonly [Item, Recorded]> =>
  items.filter((item) => existsSync(fileOf(item))).map((item) => [item, JSON.parse(readFileSync(fileOf(item), "utf8"))])

const only = options.only?.split(",").map(Number)
const all = options.seeds === "20" && options.row === undefined

if (!options.page) {
  const seeds = Array.from({ length: Number(options.seeds) }, (_, i) => i + 1)
  for (const item of items.filter(({ number }) => only === undefined || only.includes(number))) {
    const results = await measure(item, seeds)
    console.log(`${text(item, results)}\n`)
    if (all) writeFileSync(fileOf(item), toJson(results))
  }
}
if (all && existsSync(page)) writeFileSync(page, intoPage(readFileSync(page, "utf8"), recorded()))
