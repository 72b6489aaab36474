import { assert, describe, it } from "@effect/vitest"
import { Distribution } from "../src/index.ts"
import { uniform } from "../src/Randomness.ts"
import { normalQuantile } from "../src/Statistics.ts"

const draws = (distribution: Distribution.Input, n = 50_000): Array<number> => {
  const at = Distribution.quantile(Distribution.make(distribution))
  return Array.from({ length: n }, (_, i) => at(uniform(7, i)))
}

const mean = (values: ReadonlyArray<number>): number => values.reduce((sum, value) => sum + value, 0) / values.length
const sd = (values: ReadonlyArray<number>): number => {
  const middle = mean(values)
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)))
}

describe("Distribution", () => {
  describe("normalQuantile", () => {
    // NIST/SEMATECH e-Handbook of Statistical Methods, table of the normal distribution; tails from its inverse
    const table = [[0.5, 0], [0.75, 0.67449], [0.975, 1.959964], [0.999, 3.090232], [1e-6, -4.753424], [
      1e-10,
      -6.361341
    ]]
    for (const [u, z] of table) {
      it(`is ${z} at ${u}`, () => assert.closeTo(normalQuantile(u!), z!, 2e-6))
    }
  })

  const shapes: ReadonlyArray<readonly [Distribution.Input, expected: number, spread: number]> = [
    [{ type: "constant", value: 5 }, 5, 0],
    [{ type: "uniform", min: 2, max: 4 }, 3, 0.577],
    [{ type: "exponential", mean: 100 }, 100, 100],
    [{ type: "lognormal", mean: 5, sd: 2 }, 5, 2],
    [{ type: "pareto", min: 1, shape: 4 }, 4 / 3, 0.471],
    [{ type: "empirical", values: [1, 2, 6] }, 3, 2.16],
    [
      {
        type: "mixture",
        of: [{ weight: 19, times: { type: "constant", value: 5 } }, {
          weight: 1,
          times: { type: "constant", value: 50 }
        }]
      },
      7.25,
      9.81
    ]
  ]
  for (const [input, expected, spread] of shapes) {
    it(`${input.type}: what is drawn has the mean and the spread that it should have`, () => {
      const values = draws(input)
      assert.closeTo(mean(values), expected, 0.015 * expected)
      assert.closeTo(sd(values), spread, 0.05 * spread)
      assert.closeTo(Distribution.mean(Distribution.make(input)), expected, 0.002 * expected)
    })
  }

  it("quantiles: goes through its points, and between them along the tail of a Pareto distribution", () => {
    const at = Distribution.quantile(Distribution.make({
      type: "quantiles",
      points: [{ q: 0, at: 1 }, { q: 0.9, at: 10 }, { q: 0.99, at: 100 }, { q: 1, at: 200 }]
    }))
    assert.closeTo(at(0.9), 10, 1e-9)
    // a tail that grows tenfold where the share above it falls to a tenth has a shape of 1: 0.1 / (t / 10) are above t
    assert.closeTo(at(1 - 0.1 / 3), 30, 1e-9)
    assert.closeTo(at(0.995), 150, 1e-9)
    assert.closeTo(at(0.9999999999), 200, 1e-5)
  })

  it("refuses what is no distribution, with every issue", () => {
    const wrong = { type: "mixture", of: [{ weight: -1, times: { type: "pareto", min: "1 mile", shape: 0 } }] }
    try {
      Distribution.make(wrong as never)
      assert.fail("it was accepted")
    } catch (error) {
      const { message } = error as Error
      assert.match(message, /of\[0\]\.weight: must be a number between 0 and/)
      assert.match(message, /of\[0\]\.times\.min: must be a duration .* got "1 mile"/)
      assert.match(message, /of\[0\]\.times\.shape: must be a number between 0\.1 and 100, got 0/)
    }
  })

  it("refuses points that go back, and a mixture without any weight", () => {
    const back = { type: "quantiles", points: [{ q: 0.5, at: 5 }, { q: 0.9, at: 4 }] } as const
    assert.throws(() => Distribution.make(back), /points whose q and at grow/)
    const nothing = { type: "mixture", of: [{ weight: 0, times: { type: "constant", value: 1 } }] } as const
    assert.throws(() => Distribution.make(nothing), /parts of which one has a weight/)
  })
})
