import { assert, describe, it } from "@effect/vitest"
import { bars, needed, verdicts } from "../src/bars.ts"
import { cases } from "../src/cases.ts"
import { perCaptured, perKey } from "../src/memory.ts"
import { partCases } from "../src/parts.ts"
import { reportingCases } from "../src/reporting.ts"
import type { Results } from "../src/results.ts"
import { inFlightOf } from "../src/results.ts"
import { scale } from "../src/scale.ts"
import { subjects } from "../src/subjects.ts"
import { swaps } from "../src/swaps.ts"

/** Everything that is needed, measured as the same amount, but for what is given. */
const measuring = (amount: number, given: Readonly<Record<string, number>> = {}): Results => ({
  name: "made up",
  date: "2026-01-01",
  machine: { cpu: "abacus", cores: 1, memoryGiB: 1, platform: "table" },
  versions: {},
  settings: { seed: 1, rounds: 1, warmUpRounds: 1, warmUpMillis: 1, sliceMillis: 1, longRounds: 1, inFlight: 1 },
  measured: [...needed].map((id) => ({ id, unit: "ns", calls: 1, rounds: [given[id] ?? amount] }))
})

const verdictOn = (name: string, results: Results) => verdicts(results).find((verdict) => verdict.name === name)

describe("bars", () => {
  it("are those of issue 4, each with what it is held to", () => {
    const numbers = bars.filter((bar) => bar.bar !== undefined).map(({ number }) => number)
    assert.deepStrictEqual([...new Set(numbers)], ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"])
  })

  it("compare what is measured", () => {
    const measurable = new Set([
      ...[...cases, ...partCases, ...reportingCases].map(({ id }) => id),
      ...subjects.map(({ name }) => inFlightOf(name)),
      ...Object.values(scale),
      ...Object.values(swaps),
      perKey,
      perCaptured
    ])
    assert.deepStrictEqual([...needed].filter((id) => !measurable.has(id)), [])
  })

  it("have names of their own within a number", () => {
    assert.strictEqual(new Set(bars.map(({ name, number }) => `${number} ${name}`)).size, bars.length)
  })
})

describe("verdicts", () => {
  it("hold at the bar and fall short above it", () => {
    const of = bars.find(({ number }) => number === "1")!.of
    assert.isTrue(verdictOn("everything on, success", measuring(1_000, { [of]: 250 }))?.holds)
    assert.isFalse(verdictOn("everything on, success", measuring(1_000, { [of]: 251 }))?.holds)
  })

  it("on an amount hold by the amount itself, and show the empty call beside it", () => {
    const parts = { "parts/latency record": 41, "parts/empty call": 2 }
    const verdict = verdictOn("latency record", measuring(1, parts))
    assert.deepStrictEqual([verdict?.figure, verdict?.beside, verdict?.holds], [41, [2, "an empty call"], false])
  })

  it("are left out where nothing was measured, and given nowhere without a bar", () => {
    assert.isUndefined(verdictOn("latency record", { ...measuring(1), measured: [] }))
    assert.isUndefined(verdictOn("same, bare effects", measuring(1))?.holds)
  })
})
