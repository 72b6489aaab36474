import { assert, describe, it } from "@effect/vitest"
import { Scenario } from "@rego/testing"
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { items } from "../src/efficacy-items.ts"
import type { Item, Recorded } from "../src/efficacy-model.ts"
import { collect, millis, simulated } from "../src/efficacy-model.ts"
import { ours } from "../src/efficacy-policies.ts"
import { intoPage, table, toJson, verdicts } from "../src/efficacy-report.ts"
import { unhedgedP999 } from "../src/efficacy-tails.ts"

const root = join(import.meta.dirname, "../../..")
const fileOf = (item: Item): string => join(root, `packages/benchmarks/results/efficacy-${item.number}.json`)

const recorded = items.filter((item) => existsSync(fileOf(item))).map((item) =>
  [item, JSON.parse(readFileSync(fileOf(item), "utf8")) as Recorded] as const
)

const item: Item = {
  number: 99,
  title: "made up",
  about: "A world.",
  columns: [
    { name: "p99", from: "p99", format: millis },
    { name: "within 10", from: "p99", reduce: (values) => values.filter((value) => value <= 10).length, format: String }
  ],
  goals: [
    { row: "a", column: "p99", atMost: 10 },
    { row: "b", column: "p99", atMost: 1.5, timesRow: "a" },
    { row: "b", column: "within 10", atLeast: 1 }
  ],
  rows: []
}

const record: Recorded = {
  item: 99,
  date: "2026-01-01",
  versions: { node: "0" },
  seeds: 4,
  rows: [
    { name: "a", values: { p99: [9, 9, 9, 12] } },
    { name: "b", values: { p99: [20, null, null, null] } },
    { name: "c", values: {} }
  ]
}

describe("efficacy", () => {
  it("docs/efficacy.md is what the records give: npm run efficacy -- --page writes it", () => {
    const page = readFileSync(join(root, "docs/efficacy.md"), "utf8")
    assert.strictEqual(intoPage(page, recorded), page)
  })

  it("every item is recorded, with the rows and goals that it has now", () => {
    assert.deepStrictEqual(recorded.map(([{ number }]) => number), items.map(({ number }) => number))
    for (const [{ goals, rows, columns }, { rows: measured }] of recorded) {
      assert.deepStrictEqual(measured.map(({ name }) => name), rows.map(({ name }) => name))
      for (const goal of goals) {
        const from = columns.find(({ name }) => name === goal.column)!.from
        assert.isNotEmpty(measured.find(({ name }) => name === goal.row)?.values[from], `${goal.row}: ${goal.column}`)
      }
    }
  })

  it("simulated items have 20 seeds", () => {
    for (const [{ number }, { seeds }] of recorded) assert.strictEqual(seeds, number === 10 ? 1 : 20)
  })

  describe("table", () => {
    it("shows medians with the middle half, goals with their verdict, and what never happened", () => {
      assert.deepStrictEqual(table(item, record), [
        ["", "p99", "within 10"],
        ["a", "9.0 ms (9.0 – 9.8); goal ≤ 10.0 ms: **holds**", "3"],
        ["b", "never; goal ≤ 1.5 × “a”: **FALLS SHORT**", "0; goal ≥ 1: **FALLS SHORT**"],
        ["c", "", ""]
      ])
    })
  })

  it("verdicts: one for each goal", () => {
    assert.deepStrictEqual(verdicts(item, record).map(({ holds }) => holds), [true, false, false])
  })

  it("toJson is the record again", () => assert.deepStrictEqual(JSON.parse(toJson(record)), record))

  it("intoPage refuses a page without markers", () => {
    assert.throws(() => intoPage("# a page", recorded), /no markers/)
  })

  const calm = Scenario.make({
    name: "calm",
    clients: { type: "open", rate: 100 },
    server: { service: { type: "exponential", mean: 10 } },
    requests: 200
  })

  it("a row is measured with a value for each seed, and measuring it again gives the same", async () => {
    const row = simulated("calm", calm, ours, ({ metrics }) => ({ p99: metrics.p99, never: Infinity }))
    const values = await row.measure([1, 2, 3])
    assert.lengthOf(values["p99"]!, 3)
    assert.deepStrictEqual(values["never"], [null, null, null])
    assert.deepStrictEqual(await row.measure([1, 2, 3]), values)
    assert.deepStrictEqual(collect([], () => ({})), {})
  })

  it("a figure that does not apply is refused: in the file it would be one that never came", async () => {
    const row = simulated("calm", calm, ours, ({ metrics }) => ({ recovery: metrics.recovery }))
    const refusal = await row.measure([1]).then(() => "measured", String)
    assert.match(refusal, /recovery does not apply to a seed/)
  })

  it("the tail of item 2 is the one that was published: 1,800 ms without hedges", () => {
    assert.closeTo(unhedgedP999, 1_800, 5)
  })
})
