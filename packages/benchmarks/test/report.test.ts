import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { bare, composed, idOf, rego } from "../src/cases.ts"
import { intoPage, ratio, rows, toJson, toText, verdicts } from "../src/report.ts"
import type { Results } from "../src/report.ts"

const group = { source: "promise", shape: "request" } as const

const measured = (name: string, nanos: ReadonlyArray<number>) => ({
  id: idOf(group, name),
  calls: 10,
  nanos,
  bytes: 100,
  inFlightBytes: 200
})

const results: Results = {
  name: "made up",
  date: "2026-01-01",
  machine: { cpu: "abacus", cores: 1, memoryGiB: 1, platform: "table" },
  versions: { node: "0" },
  settings: { seed: 1, rounds: 3, sliceMillis: 1, inFlight: 1 },
  measured: [
    measured(bare, [100, 1_000, 100]),
    measured(composed, [1_000, 10_000, 1_000]),
    measured(rego, [400, 4_000, 500])
  ]
}

const root = join(import.meta.dirname, "../../..")
const read = (path: string): string => readFileSync(join(root, path), "utf8")

describe("report", () => {
  describe("ratio", () => {
    it("is taken inside each round, so that a slow round changes nothing", () => {
      const [to, , of] = results.measured
      assert.strictEqual(ratio(of!, to!), 4)
    })
  })

  describe("rows", () => {
    it("relate each case to the bare effect and to the composed one, and skip what was not measured", () => {
      assert.deepStrictEqual(
        rows(results, group).map(({ name, toBare, toComposed }) => [name, toBare, toComposed]),
        [[bare, 1, 0.1], [composed, 10, 1], [rego, 4, 0.4]]
      )
      assert.deepStrictEqual(rows(results, { source: "sync", shape: "constant" }), [])
    })
  })

  describe("verdicts", () => {
    it("say where the goal is missed", () => {
      assert.match(verdicts(results).join(), /^met {4}0\.40 ×/)
      const slow = { ...results, measured: [measured(composed, [100]), measured(rego, [101])] }
      assert.match(verdicts(slow).join(), /^MISSED 1\.01 ×/)
    })
  })

  describe("toText", () => {
    it("leaves out columns that nobody fills", () => {
      assert.notInclude(toText({ ...results, measured: [measured(rego, [1])] }), "× bare")
    })
  })

  describe("toJson", () => {
    it("is the results again", () => {
      assert.deepStrictEqual(JSON.parse(toJson(results)), results)
    })
  })

  describe("intoPage", () => {
    it("refuses a page without markers", () => {
      assert.throws(() => intoPage("# a page", results), /no markers/)
    })

    it("changes nothing when the page already shows the results: docs/performance.md is that of the committed file", () => {
      const page = read("docs/performance.md")
      const committed = JSON.parse(read("packages/benchmarks/results/success-path.json"))
      assert.strictEqual(intoPage(page, committed), page)
    })
  })
})
