import { assert, describe, it } from "@effect/vitest"
import { PolicyLayer } from "@rego/core"
import { Effect } from "effect"
import { Histogram } from "../src/Histogram.ts"
import { Scenario, Scenarios, SimulationChart, SimulationReport, Simulator } from "../src/index.ts"
import { estimate } from "../src/Statistics.ts"
import { Load } from "../src/Tally.ts"

const simulate = (scenario: Scenario.Scenario, seeds = 2) =>
  Simulator.simulate(scenario, { policies: PolicyLayer.defaults, seeds })

const outage = { ...Scenarios.totalOutage, requests: 16_000 }

describe("Histogram", () => {
  it("has quantiles that are off by 0.1 % at most, against sorted values", () => {
    const histogram = new Histogram()
    const values = Array.from({ length: 10_000 }, (_, i) => 0.01 * 1.0015 ** i).map((value) => Math.min(value, 1e7))
    for (const value of values) histogram.record(value)
    for (const q of [0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1]) {
      const exact = values[Math.ceil(q * values.length) - 1]!
      assert.closeTo(histogram.quantile(q) / exact, 1, 0.0011, String(q))
    }
  })

  it("has no quantile of nothing, and none above the greatest value", () => {
    const histogram = new Histogram()
    assert.isNaN(histogram.quantile(0.5))
    histogram.record(7)
    assert.strictEqual(histogram.quantile(1), 7)
    assert.closeTo(histogram.quantile(0), 7, 0.01)
  })
})

describe("estimate", () => {
  // W. J. Conover, "Practical Nonparametric Statistics", section 3.2: the least ranks for which P(outside) <= 0.05
  for (const [n, low] of [[5, 1], [6, 1], [8, 1], [9, 2], [18, 5], [20, 6], [100, 40]] as const) {
    it(`takes bounds that hold the median with 95 % at least: of ${n} values number ${low} from both ends`, () => {
      const values = Array.from({ length: n }, (_, i) => i + 1)
      assert.deepStrictEqual(estimate(values), { median: (n + 1) / 2, low, high: n + 1 - low, missing: 0 })
    })
  }

  it("takes the whole range of few values, and counts what does not apply", () => {
    assert.deepStrictEqual(estimate([3, NaN, 1, 2]), { median: 2, low: 1, high: 3, missing: 1 })
    assert.deepStrictEqual(estimate([NaN]), { median: NaN, low: NaN, high: NaN, missing: 1 })
    assert.deepStrictEqual(estimate([Infinity, Infinity]), {
      median: Infinity,
      low: Infinity,
      high: Infinity,
      missing: 0
    })
  })
})

describe("Load", () => {
  it("counts within two instants, parts of a slot by their share", () => {
    const load = new Load(100)
    for (const at of [0, 50, 99, 100, 250]) load.add("offered", at)
    assert.strictEqual(load.between("offered", 0, 100), 3)
    assert.strictEqual(load.between("offered", 0, 300), 5)
    assert.strictEqual(load.between("offered", 50, 200), 2.5)
    assert.strictEqual(load.between("failed", 0, 300), 0)
    assert.strictEqual(load.firstAfter("offered", 110), 300)
    assert.isUndefined(load.firstAfter("offered", 300))
  })

  it("stays bounded: slots become longer, and nothing is lost", () => {
    const load = new Load(1)
    for (let at = 0; at < 100_000; at += 10) load.add("attempts", at)
    assert.isAtMost(load.length, 20_000)
    assert.isAbove(load.slotMillis, 1)
    assert.strictEqual(load.between("attempts", 0, 100_000), 10_000)
  })
})

describe("SimulationReport", () => {
  it.effect("table: a column for each report, and no row for what none of them has", () =>
    Effect.gen(function*() {
      const report = yield* simulate({ ...Scenarios.steady, requests: 2_000 })
      const [head, ...rows] = SimulationReport.table({ one: report, two: report })
      assert.deepStrictEqual(head, ["", "one", "two"])
      const names = rows.map(([name]) => name)
      assert.include(names, "p99")
      assert.notInclude(names, "recovery")
      assert.notInclude(names, "hedgesWon")
    }))

  it("format: units, what never happens, and what does not apply", () => {
    const texts = [["p99", 17.25], ["p99", 12_345], ["failed", 0.0123], ["goodput", 99], ["recovery", Infinity], [
      "hedgesWon",
      NaN
    ]] as const
    assert.deepStrictEqual(texts.map(([metric, value]) => SimulationReport.format(metric, value)), [
      "17.25 ms",
      "12.3 s",
      "1.23 %",
      "99.0/s",
      "never",
      "–"
    ])
  })

  it("formatEstimate: bounds in the unit of the median, and the seeds of which there is nothing to say", () => {
    const rows = [
      ["p99", { median: 17.2, low: 16.9, high: 17.4, missing: 0 }, "17.20 ms (16.90 – 17.40)"],
      ["p99", { median: 9_800, low: 9_100, high: 12_300, missing: 0 }, "9800 ms (9100 – 12.3 s)"],
      ["goodput", { median: 99, low: 98, high: 100, missing: 0 }, "99.0/s (98.0 – 100.0)"],
      ["recovery", { median: 4, low: 1, high: Infinity, missing: 0 }, "4.0 s (1.0 – never)"],
      ["p99", { median: 17, low: 17, high: 17, missing: 2 }, "17.00 ms; none in 2 seeds"],
      ["p99", { median: NaN, low: NaN, high: NaN, missing: 5 }, "–"]
    ] as const
    for (const [metric, estimate, text] of rows) {
      assert.strictEqual(SimulationReport.formatEstimate(metric, estimate), text)
    }
  })

  it.effect("toJson survives a round trip: no NaN, no Infinity", () =>
    Effect.gen(function*() {
      const json = SimulationReport.toJson(yield* simulate(outage)) as { readonly metrics: object }
      assert.deepStrictEqual(JSON.parse(JSON.stringify(json)), json)
      assert.deepInclude(json.metrics, { hedgesWon: { median: null, low: null, high: null, missing: 2 } })
    }))

  it.effect("load over time is the mean of the seeds, per second", () =>
    Effect.gen(function*() {
      const { load } = yield* simulate(outage)
      const at = (seconds: number) => Math.floor(seconds * 1_000 / load.slotMillis)
      const mean = (values: ReadonlyArray<number>) => values.reduce((sum, value) => sum + value, 0) / values.length
      assert.closeTo(mean(load.offered.slice(at(5), at(55))), 200, 10)
      assert.strictEqual(mean(load.succeeded.slice(at(35), at(55))), 0)
      assert.isAtMost(load.offered.length, 300)
    }))
})

describe("SimulationChart", () => {
  it.effect("draws every report, escapes its name, and has no number that is none", () =>
    Effect.gen(function*() {
      const report = yield* simulate(outage)
      for (
        const svg of [SimulationChart.latency({ "a<b": report, b: report }), SimulationChart.load({ "a<b": report })]
      ) {
        assert.match(svg, /^<svg xmlns=[^]*<\/svg>$/)
        assert.include(svg, "a&lt;b")
        assert.notMatch(svg, /NaN|Infinity|undefined|a<b/)
      }
      assert.include(SimulationChart.load({ it: report }), "class=\"episode\"")
    }))

  it.effect("draws a report in which nothing succeeded", () =>
    Effect.gen(function*() {
      const dead = Scenario.make({
        name: "dead",
        clients: { type: "open", rate: 10 },
        server: { service: { type: "constant", value: 1 }, failureRate: 1 },
        requests: 20
      })
      const report = yield* simulate(dead, 1)
      assert.notMatch(
        SimulationChart.latency({ dead: report }) + SimulationChart.load({ dead: report }),
        /NaN|Infinity/
      )
    }))
})
