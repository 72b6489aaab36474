import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { groups, idOf } from "../src/cases.ts"
import { barsText, groupTable, intoPage, intoSection, toJson } from "../src/report.ts"
import type { Results } from "../src/results.ts"
import { bytesOf, inFlightOf } from "../src/results.ts"
import { bare, composed, regoTimeline } from "../src/subjects.ts"

const { request } = groups

const timed = (name: string, rounds: ReadonlyArray<number>) =>
  ({ id: idOf(request, name), unit: "ns", calls: 10, rounds }) as const

const weighed = (id: string, amount: number) => ({ id, unit: "bytes", calls: 10, rounds: [amount] }) as const

const results: Results = {
  name: "made up",
  date: "2026-01-01",
  machine: { cpu: "abacus", cores: 1, memoryGiB: 1, platform: "table" },
  versions: { node: "0" },
  settings: { seed: 1, rounds: 3, warmUpRounds: 1, warmUpMillis: 1, sliceMillis: 1, longRounds: 1, inFlight: 1 },
  measured: [
    timed(bare, [100, 1_000, 100]),
    timed(composed, [1_000, 10_000, 1_000]),
    timed(regoTimeline, [200, 2_000, 250]),
    weighed(bytesOf(idOf(request, bare)), 1_234)
  ]
}

const root = join(import.meta.dirname, "../../..")
const read = (path: string): string => readFileSync(join(root, path), "utf8")

describe("report", () => {
  describe("groupTable", () => {
    it("relates each case to the bare effect and to the composed one, and leaves out what was not measured", () => {
      assert.deepStrictEqual(groupTable(results, request), [
        ["one call", "ns", "middle half", "× bare", "× timeout + retry + timeout", "bytes"],
        [bare, "100", "100–550", "1.00", "0.10", "1,234"],
        [composed, "1,000", "1,000–5,500", "10.0", "1.00", ""],
        [regoTimeline, "250", "225–1,125", "2.00", "0.20", ""]
      ])
      assert.lengthOf(groupTable(results, groups.sync), 1)
    })

    it("shows calls in flight in one table only", () => {
      const measured = [...results.measured, weighed(inFlightOf(bare), 777)]
      assert.include(groupTable({ ...results, measured }, request).flat(), "777")
      const elsewhere = { ...timed(bare, [1]), id: idOf(groups.outside, bare) }
      assert.notInclude(groupTable({ ...results, measured: [...measured, elsewhere] }, groups.outside).flat(), "777")
    })
  })

  describe("barsText", () => {
    it("has a line for each bar that was measured, with its verdict", () => {
      const lines = barsText(results).split("\n").filter((line) => line.includes("everything on, success"))
      assert.lengthOf(lines, 1)
      assert.match(lines[0]!, /^ *1 .* 250 ns +0\.20 × +Effect\.timeout \+ retry \+ timeout +0\.25 × +0\.17 × +holds$/)
      const slow = { ...results, measured: [timed(composed, [100]), timed(regoTimeline, [26])] }
      assert.match(barsText(slow), /FALLS SHORT/)
    })
  })

  describe("toJson", () => {
    it("is the results again", () => {
      assert.deepStrictEqual(JSON.parse(toJson(results)), results)
    })
  })

  describe("intoPage", () => {
    it("refuses a page without markers", () => {
      assert.throws(() => intoSection("# a page", "bars", "text"), /no markers/)
    })

    it("changes nothing when the page already shows the results: docs/performance.md is that of the committed file", () => {
      const page = read("docs/performance.md")
      assert.strictEqual(intoPage(page, JSON.parse(read("packages/benchmarks/results/bench.json"))), page)
    })
  })
})
