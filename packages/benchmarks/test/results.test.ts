import { assert, describe, it } from "@effect/vitest"
import { median, ratio } from "../src/results.ts"
import type { Measurement } from "../src/results.ts"

const measured = (...rounds: ReadonlyArray<number>): Measurement => ({ id: "made up", unit: "ns", calls: 1, rounds })

describe("results", () => {
  it("take the ratio inside each round, so that a slow round changes nothing", () => {
    assert.strictEqual(ratio(measured(400, 4_000, 500), measured(100, 1_000, 100)), 4)
  })

  it("are summed up by their median", () => {
    assert.strictEqual(median(measured(5, 1, 1_000)), 5)
  })
})
