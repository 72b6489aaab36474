import { assert, describe, it } from "@effect/vitest"
import * as SimulationReport from "@rego/testing/SimulationReport"
import { Result } from "effect"
import * as SimulationLimit from "../src/SimulationLimit.ts"

const unitOf = (name: string) =>
  SimulationReport.metrics.find((metric) => metric === name) && SimulationReport.unitOf(name as never)

const parse = (text: string) => SimulationLimit.parse(text, unitOf, SimulationReport.metrics)

const reportWith = (metric: SimulationReport.Metric, median: number, missing = Number.isNaN(median) ? 1 : 0) =>
  ({ metrics: { [metric]: { median, low: median, high: median, missing } } }) as never as SimulationReport.Report

describe("SimulationLimit", () => {
  const readable: ReadonlyArray<readonly [string, metric: string, sign: string, value: number, relative: boolean]> = [
    ["p99<=60ms", "p99", "<=", 60, false],
    ["p99 <= 60", "p99", "<=", 60, false],
    ["p999<=1.5s", "p999", "<=", 1_500, false],
    ["failed<=1%", "failed", "<=", 0.01, false],
    ["failed<=0.01", "failed", "<=", 0.01, false],
    ["goodput>=0.99x", "goodput", ">=", 0.99, true],
    ["goodput>=100/s", "goodput", ">=", 100, false],
    ["recovery<=10s", "recovery", "<=", 10, false],
    ["attemptsPerCall<=1.1", "attemptsPerCall", "<=", 1.1, false]
  ]
  for (const [text, metric, sign, value, relative] of readable) {
    it(`reads ${text}`, () => {
      assert.deepStrictEqual(parse(text), Result.succeed({ text, metric, sign, value, relative } as never))
    })
  }

  const wrong: ReadonlyArray<readonly [string, RegExp]> = [
    ["p99<60", /must be like/],
    ["p99<=", /must be like/],
    ["p99<=-1", /must be like/],
    ["p98<=1", /p98 is no metric; these are: p50, /],
    ["p99<=5%", /p99 is in milliseconds, got %/],
    ["attemptsPerCall<=2ms", /is in number, got ms/]
  ]
  for (const [text, message] of wrong) {
    it(`says what is wrong with ${text}`, () => {
      const read = parse(text)
      assert.match(Result.isFailure(read) ? read.failure : "it was read", message)
    })
  }

  const judged: ReadonlyArray<readonly [string, candidate: number, current: number, holds: boolean]> = [
    ["p99<=60ms", 60, NaN, true],
    ["p99<=60ms", 60.1, NaN, false],
    ["p99<=1.1x", 110, 100, true],
    ["p99<=1.1x", 111, 100, false],
    ["goodput>=0.99x", 99, 100, true],
    ["goodput>=0.99x", 98, 100, false],
    ["recovery<=10s", Infinity, NaN, false],
    // no hedges, no share of them
    ["p99<=60ms", NaN, NaN, false],
    ["hedgesWon>=50%", NaN, NaN, true]
  ]
  for (const [text, candidate, current, holds] of judged) {
    it(`${text} ${holds ? "holds" : "is broken"} at ${candidate}${Number.isNaN(current) ? "" : ` against ${current}`}`, () => {
      const limit = Result.getOrThrow(parse(text))
      const { metric } = limit
      assert.strictEqual(
        SimulationLimit.judge(limit, reportWith(metric, candidate), reportWith(metric, current)).holds,
        holds
      )
    })
  }

  it("is broken by one seed in which nothing succeeded, however fast the others were", () => {
    const holds = (text: string, median: number) => {
      const limit = Result.getOrThrow(parse(text))
      return SimulationLimit.judge(limit, reportWith(limit.metric, median, 1), undefined).holds
    }
    assert.isFalse(holds("p99<=60ms", 1))
    assert.isTrue(holds("recovery<=10s", 1))
  })
})
