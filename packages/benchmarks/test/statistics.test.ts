import { assert, describe, it } from "@effect/vitest"
import { quantile, seeded, shuffle, spread } from "../src/statistics.ts"

describe("statistics", () => {
  describe("quantile", () => {
    it("interpolates between the two neighbours, in whatever order the numbers come", () => {
      assert.strictEqual(quantile([40, 10, 30, 20], 0.5), 25)
      assert.strictEqual(quantile([40, 10, 30, 20], 0), 10)
      assert.strictEqual(quantile([40, 10, 30, 20], 1), 40)
    })

    it("is NaN of nothing", () => {
      assert.isNaN(quantile([], 0.5))
    })
  })

  describe("spread", () => {
    it("is not moved by one round that went wrong", () => {
      assert.deepStrictEqual(spread([10, 11, 12, 13, 10_000]), { median: 12, low: 11, high: 13 })
    })
  })

  describe("shuffle", () => {
    it("keeps every item, leaves the original alone, and repeats with its seed", () => {
      const items = Array.from({ length: 50 }, (_, i) => i)
      const once = shuffle(items, seeded(7))
      assert.notDeepEqual(once, items)
      assert.deepStrictEqual(once.toSorted((a, b) => a - b), items)
      assert.deepStrictEqual(shuffle(items, seeded(7)), once)
      assert.notDeepEqual(shuffle(items, seeded(8)), once)
    })
  })
})
