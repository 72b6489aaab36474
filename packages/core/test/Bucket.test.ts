import { assert, describe, it } from "@effect/vitest"
import { Duration } from "effect"
import { Bucket } from "../src/Bucket.ts"
import { permitOf } from "./budgetSupport.ts"

describe("Bucket", () => {
  it("starts with no more than its capacity", () => {
    assert.strictEqual(new Bucket(10, 5, 1).tokens, 5)
    assert.strictEqual(new Bucket(10, 50, 1).tokens, 10)
  })

  it("holds a cost only above what must be left", () => {
    const bucket = new Bucket(10, 5, 0)
    assert.isTrue(bucket.holds(5))
    assert.isTrue(bucket.holds(3, 2))
    assert.isFalse(bucket.holds(4, 2))
  })

  it("gives back what was never used, and nothing that was", () => {
    const bucket = new Bucket(10, 10, 0)
    const [one, two] = [permitOf(bucket.take(3)), permitOf(bucket.take(2))]
    one.settle("unused")
    two.settle("used")
    assert.strictEqual(bucket.tokens, 8)
  })

  it("gives back only what would still be there, had the grant never been taken: the oldest loses first", () => {
    const bucket = new Bucket(10, 10, 1)
    const [old, young] = [permitOf(bucket.take(4)), permitOf(bucket.take(4))]
    // two are left, and five come: seven, with eight out. Five of those would have spilled over
    bucket.refill(5_000)
    young.settle("unused")
    assert.strictEqual(bucket.tokens, 10)
    old.settle("unused")
    assert.strictEqual(bucket.tokens, 10)
  })

  it("keeps nothing of what was settled, nor of a grant that cost nothing", () => {
    const bucket = new Bucket(10, 10, 1)
    const permits = [0, 3, 0, 2].map((cost) => permitOf(bucket.take(cost)))
    for (const permit of permits) permit.settle("used")
    assert.isUndefined(bucket["waiting"].first)
  })

  it("says how long until it holds a cost, in whole milliseconds, and nothing where it never will", () => {
    const bucket = new Bucket(10, 0, 3)
    assert.deepStrictEqual(bucket.wait(1), Duration.millis(334))
    assert.deepStrictEqual(bucket.wait(1, 2), Duration.seconds(1))
    assert.deepStrictEqual(bucket.wait(1), Duration.millis(334))
    assert.isUndefined(bucket.wait(9, 2))
    assert.isUndefined(new Bucket(10, 0, 0).wait(1))
  })
})
