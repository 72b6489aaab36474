import { assert, describe, it } from "@effect/vitest"
import type { Case } from "../src/cases.ts"
import { hostOf } from "../src/cases.ts"
import * as Loopback from "../src/loopback.ts"
import type { Settings } from "../src/results.ts"
import { timed } from "../src/runner.ts"

const settings: Settings = {
  seed: 7,
  rounds: 5,
  warmUpRounds: 2,
  warmUpMillis: 1,
  sliceMillis: 0.1,
  longRounds: 1,
  inFlight: 1
}

const host = await hostOf(Loopback.none)

/** Writes down in which order cases run. */
const recording = () => {
  const order: Array<string> = []
  const make = (id: string): Case => ({
    id,
    calls: 10,
    run: async (_, calls) => {
      order.push(`${id}${calls}`)
    }
  })
  return { order, cases: ["a", "b", "c"].map(make) }
}

describe("timed", () => {
  it("runs every case once in every round, after rounds that do not count", async () => {
    const { cases, order } = recording()
    const measured = await timed(cases, host, settings)
    assert.deepStrictEqual(measured.map(({ id, rounds }) => [id, rounds.length]), [["a", 5], ["b", 5], ["c", 5]])
    assert.lengthOf(order, 3 * (2 + 5))
    for (let round = 0; round < 7; round++) {
      assert.deepStrictEqual(order.slice(round * 3, round * 3 + 3).toSorted(), ["a10", "b10", "c10"])
    }
  })

  it("shuffles the rounds that count, and repeats the order with its seed", async () => {
    const [one, two] = [recording(), recording()]
    await timed(one.cases, host, settings)
    await timed(two.cases, host, settings)
    assert.deepStrictEqual(one.order, two.order)
    const counted = Array.from({ length: 5 }, (_, round) => one.order.slice((round + 2) * 3, (round + 3) * 3).join(""))
    assert.isAbove(new Set(counted).size, 1)
  })

  it("sets up what stands around a case before each round, and takes it down before the next case", async () => {
    const { cases, order } = recording()
    const [first, ...others] = cases
    const standing: Case = {
      ...first!,
      setUp: async () => {
        order.push("up")
        return async () => {
          order.push("down")
        }
      }
    }
    await timed([standing, ...others], host, { ...settings, rounds: 2, warmUpRounds: 1 })
    const around = order.flatMap((what, at) => what === "a10" ? [order[at - 1], order[at + 1]] : [])
    assert.deepStrictEqual(around, ["up", "down", "up", "down", "up", "down"])
  })

  it("finds how many calls fill a slice", async () => {
    const busy: Case = {
      id: "busy",
      run: async (_, calls) => {
        let sum = 0
        for (let i = 0; i < calls * 1_000; i++) sum += i
        assert.isAbove(sum, 0)
      }
    }
    const [measured] = await timed([busy], host, { ...settings, sliceMillis: 2 })
    assert.isAbove(measured!.calls, 1)
    assert.isTrue(measured!.rounds.every((nanos) => nanos >= 0))
  })
})
