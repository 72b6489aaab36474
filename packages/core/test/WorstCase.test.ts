import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, Policy } from "@rego/core"
import { Schedule } from "effect"
import * as Plan from "../src/Plan.ts"
import * as WorstCase from "../src/WorstCase.ts"

const worstOf = (input: Policy.Input) =>
  WorstCase.make({
    plan: Plan.fromSections(Policy.make(input).sections),
    idempotent: true,
    retriesOff: false,
    hedgesOff: false
  })

const exactly10 = Backoff.constant(10, { jitter: "none" })

describe("WorstCase", () => {
  describe("of a group with one hedge, whose attempts take 100 ms at most", () => {
    // a hedge may be refused twice before it starts, and starts no later than the attempt before it ends
    const rows: ReadonlyArray<readonly [string, unknown, group: number, asked: number]> = [
      ["a fixed delay", Hedge.after(20), 160, 200],
      ["a fixed delay as long as an attempt", Hedge.after(100), 200, 200],
      ["a fixed delay that no attempt reaches", Hedge.after(101), 100, 100],
      ["a quantile of unknown length", Hedge.quantile(0.9), 200, 200],
      ["a quantile with a fallback and no end", Hedge.quantile(0.9, { fallback: 20 }), 200, 200],
      ["a quantile with an end", Hedge.quantile(0.9, { max: 20 }), 160, 200],
      ["a quantile with a fallback beyond its end", Hedge.quantile(0.9, { max: 20, fallback: 30 }), 190, 200],
      ["a quantile with a fallback before its end", Hedge.quantile(0.9, { max: 30, fallback: 20 }), 190, 200],
      ["a share of the calls", Hedge.maxExtraLoad(0.05), 200, 200],
      ["a name", "mine", 200, 200],
      ["a schedule", Schedule.spaced(20), 200, 200]
    ]
    for (const [what, trigger, group, asked] of rows) {
      it(`by ${what}: ${group} ms, ${asked} ms where a server asks for waits`, () => {
        const { duration, durationAsked, perGroup, waitsAsked } = worstOf({
          retry: { maxAttempts: 2, backoff: exactly10 },
          timeout: { perAttempt: 100 },
          hedge: { trigger } as unknown as Policy.Input["hedge"]
        })
        assert.deepStrictEqual([perGroup, duration], [2, 2 * group + 10])
        assert.strictEqual(durationAsked, 2 * asked + waitsAsked[0]!)
      })
    }

    it("is one attempt after the other where no retry would follow, and the deadline where a server asks to wait", () => {
      const { duration, durationAsked } = worstOf({
        timeout: { perAttempt: 100, overall: 1_000 },
        hedge: { trigger: Hedge.after(20), maxHedges: 2 }
      })
      assert.deepStrictEqual([duration, durationAsked], [300, 1_000])
    })
  })

  it("of decorrelated waits grows from the wait before to the longest one", () => {
    const backoff = Backoff.decorrelated({ initial: 10, max: 500 })
    assert.deepStrictEqual(worstOf({ retry: { maxAttempts: 6, backoff } }).waits, [30, 90, 270, 500, 500])
  })
})
