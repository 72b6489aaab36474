import { assert, describe, it } from "@effect/vitest"
import { SlidingCounts, SlidingSum } from "../src/SlidingSum.ts"
import { all, array, integer, property } from "./arbitraries.ts"

describe("SlidingSum", () => {
  it("adds up what happened in the last slots, the current one included", () => {
    const sum = new SlidingSum(3)
    for (let slot = 10; slot < 20; slot++) {
      sum.advance(slot)
      sum.add(slot, slot)
    }
    assert.strictEqual(sum.sum, 17 + 18 + 19)
  })

  it("forgets a slot when the window has left it, one at a time or all at once", () => {
    const sum = new SlidingSum(3)
    sum.advance(0)
    sum.add(0, 5)
    sum.advance(2)
    sum.add(2, 1)
    sum.advance(3)
    assert.strictEqual(sum.sum, 1)
    sum.advance(1_000_000)
    assert.strictEqual(sum.sum, 0)
  })

  it("takes back from the slot in which it was added, and not twice once that has left", () => {
    const sum = new SlidingSum(3)
    sum.advance(0)
    sum.add(0, 2)
    sum.advance(2)
    sum.add(0, -1)
    assert.strictEqual(sum.sum, 1)
    sum.advance(3)
    assert.strictEqual(sum.sum, 0)
    sum.add(0, -1)
    assert.strictEqual(sum.sum, 0)
  })

  it("does not move when it is told of a slot that is past", () => {
    const sum = new SlidingSum(3)
    sum.advance(5)
    sum.advance(4)
    sum.add(5, 1)
    sum.advance(4)
    assert.strictEqual(sum.sum, 1)
    sum.advance(7)
    assert.strictEqual(sum.sum, 1)
    sum.advance(8)
    assert.strictEqual(sum.sum, 0)
  })

  it("counts slots before the start of time", () => {
    const sum = new SlidingSum(3)
    sum.advance(-7)
    sum.add(-7, 4)
    sum.advance(-5)
    assert.strictEqual(sum.sum, 4)
    sum.advance(-4)
    assert.strictEqual(sum.sum, 0)
  })

  describe("resliced", () => {
    it("puts the amount of each slot where that slot goes, and keeps what is still in the window", () => {
      const sum = new SlidingSum(4)
      for (const slot of [10, 11, 12, 13]) {
        sum.advance(slot)
        sum.add(slot, 10 ** (slot - 10))
      }
      // slots of half the length: 10 to 13 become 20 to 26, of which the last four stay
      const halved = sum.resliced(26, (slot) => 2 * slot)
      assert.strictEqual(halved.sum, 1_000 + 100)
      halved.advance(28)
      assert.strictEqual(halved.sum, 1_000)
      // of twice the length: two slots become one
      const doubled = sum.resliced(6, (slot) => Math.floor(slot / 2))
      assert.strictEqual(doubled.sum, 1_111)
      doubled.advance(9)
      assert.strictEqual(doubled.sum, 1_100)
      doubled.advance(10)
      assert.strictEqual(doubled.sum, 0)
    })

    it("leaves the original as it was, and makes nothing of a window that has passed", () => {
      const sum = new SlidingSum(3)
      sum.advance(1)
      sum.add(1, 7)
      assert.strictEqual(sum.resliced(100, (slot) => slot).sum, 0)
      assert.strictEqual(sum.sum, 7)
    })
  })

  describe("removeOldest", () => {
    it("takes one from the oldest slot that holds one, so that none is ever short", () => {
      const sum = new SlidingSum(3)
      sum.advance(0)
      sum.add(0, 1)
      sum.advance(1)
      sum.add(1, 2)
      sum.removeOldest()
      sum.removeOldest()
      assert.strictEqual(sum.sum, 1)
      sum.advance(3)
      assert.strictEqual(sum.sum, 1)
      sum.advance(4)
      assert.strictEqual(sum.sum, 0)
    })

    it("takes nothing where there is nothing", () => {
      const sum = new SlidingSum(3)
      sum.removeOldest()
      sum.advance(0)
      sum.removeOldest()
      assert.strictEqual(sum.sum, 0)
    })
  })

  property(
    "what is taken one by one leaves the window as what is left of each slot would",
    { size: integer(1, 5), amounts: array(integer(0, 3), { minLength: 1, maxLength: 12 }), takes: integer(0, 12) },
    ({ amounts, size, takes }) => {
      const sum = new SlidingSum(size)
      for (const [slot, amount] of amounts.entries()) {
        sum.advance(slot)
        sum.add(slot, amount)
      }
      const left = amounts.map((amount, slot) => slot < amounts.length - size ? 0 : amount)
      for (let take = 0; take < takes; take++) {
        sum.removeOldest()
        const oldest = left.findIndex((amount) => amount > 0)
        if (oldest >= 0) left[oldest]! -= 1
      }
      for (let slot = amounts.length - 1; slot < amounts.length + size; slot++) {
        sum.advance(slot)
        assert.strictEqual(
          sum.sum,
          left.slice(Math.max(0, slot - size + 1)).reduce((total, amount) => total + amount, 0)
        )
      }
    }
  )

  property(
    "is the sum over the window for any moves and amounts",
    { size: integer(1, 8), moves: array(integer(0, 10), { maxLength: 40 }) },
    ({ moves, size }) => {
      const sum = new SlidingSum(size)
      const seen: Array<readonly [slot: number, amount: number]> = []
      let slot = 0
      for (const move of moves) {
        slot += move > 7 ? move * 3 : move > 4 ? 1 : 0
        sum.advance(slot)
        sum.add(slot, move)
        seen.push([slot, move])
        const expected = seen.filter(([at]) => at > slot - size).reduce((total, [, amount]) => total + amount, 0)
        assert.strictEqual(sum.sum, expected)
      }
    }
  )
})

describe("SlidingCounts", () => {
  property(
    "each counter is what was counted in the last slots, whatever the others count, and however the clock moves",
    {
      size: integer(1, 8),
      counters: integer(1, 4),
      moves: array(all([integer(-3, 20), integer(0, 3)] as const), { maxLength: 60 })
    },
    ({ counters, moves, size }) => {
      const counts = new SlidingCounts(size, counters)
      const seen: Array<readonly [slot: number, counter: number]> = []
      let slot = 0
      let latest = -Infinity
      for (const [move, which] of moves) {
        slot += move > 10 ? 0 : move
        latest = Math.max(latest, slot)
        counts.advance(slot)
        counts.add(which % counters, 1)
        seen.push([latest, which % counters])
        for (let counter = 0; counter < counters; counter++) {
          const expected = seen.filter(([at, counted]) => counted === counter && at > latest - size).length
          assert.strictEqual(counts.sum(counter), expected)
        }
      }
    }
  )
})
