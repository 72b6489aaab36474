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

  it("loses of a grant what spills over, once, however often time passes", () => {
    const bucket = new Bucket(10, 10, 1)
    const permit = permitOf(bucket.take(4))
    bucket.refill(1_000)
    bucket.refill(0)
    permit.settle("unused")
    assert.strictEqual(bucket.tokens, 10)
  })

  it("counts a grant that was settled as out no more", () => {
    const bucket = new Bucket(10, 10, 1)
    const [one, other] = [permitOf(bucket.take(3)), permitOf(bucket.take(3))]
    one.settle("used")
    bucket.refill(3_000)
    other.settle("unused")
    assert.strictEqual(bucket.tokens, 10)
  })

  it("keeps how full it is when its size changes, and the tokens when only its rate does", () => {
    const bucket = new Bucket(10, 5, 1)
    bucket.resize(20, 1)
    assert.strictEqual(bucket.tokens, 10)
    bucket.resize(20, 2)
    assert.strictEqual(bucket.tokens, 10)
    assert.deepStrictEqual(bucket.wait(14), Duration.seconds(2))
    const none = new Bucket(0, 0, 1)
    none.resize(10, 1)
    assert.strictEqual(none.tokens, 0)
  })

  it("takes nothing back that a smaller size has no room for", () => {
    const bucket = new Bucket(10, 10, 0)
    const permit = permitOf(bucket.take(4))
    bucket.resize(5, 0)
    assert.strictEqual(bucket.tokens, 3)
    permit.settle("unused")
    assert.strictEqual(bucket.tokens, 5)
  })

  it("says how long until it holds a cost, in whole milliseconds, and nothing where it never will", () => {
    const bucket = new Bucket(10, 0, 3)
    assert.deepStrictEqual(bucket.wait(1), Duration.millis(334))
    assert.deepStrictEqual(bucket.wait(1, 2), Duration.seconds(1))
    assert.deepStrictEqual(bucket.wait(1), Duration.millis(334))
    assert.isUndefined(bucket.wait(9, 2))
    assert.strictEqual(bucket.wait(1), bucket.wait(1))
    assert.deepStrictEqual(new Bucket(10, 2, 1).wait(4), Duration.seconds(2))
    assert.deepStrictEqual(new Bucket(10, 0, 1).wait(10), Duration.seconds(10))
    assert.isUndefined(new Bucket(10, 0, 0).wait(1))
  })
})
