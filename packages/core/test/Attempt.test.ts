import { assert, describe, it } from "@effect/vitest"
import { Attempt } from "@rego/core"
import { Effect, Option } from "effect"

describe("Attempt", () => {
  describe("format", () => {
    it("names the primary, retries and hedges", () => {
      assert.strictEqual(Attempt.format({ retry: 0, hedge: 0 }), "primary")
      assert.strictEqual(Attempt.format({ retry: 2, hedge: 0 }), "retry 2")
      assert.strictEqual(Attempt.format({ retry: 0, hedge: 1 }), "hedge 1")
      assert.strictEqual(Attempt.format({ retry: 2, hedge: 1 }), "retry 2, hedge 1")
    })
  })

  describe("CurrentAttempt", () => {
    it.effect("is absent outside of a call [O02]", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* Attempt.CurrentAttempt, Option.none())
      }))
  })
})
