/** The small run of `npm run interleave`: whatever happens at once, every call ends and every permit comes back. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { interleave, wrongs } from "../interleaving.ts"
import { seed } from "../support.ts"

describe("interleaving", () => {
  it.effect("2,000 calls end, each in a way of its own, and leave nothing behind", () =>
    Effect.gen(function*() {
      const figures = yield* interleave({ calls: 2_000, seed: Number(seed) })
      assert.deepStrictEqual(wrongs(figures), [])
      assert.isAbove(figures.attempts, figures.calls)
      assert.isAbove(figures.permits.granted, 300)
      assert.strictEqual(figures.reloads, 5)
      for (const exit of ["fine", "held", "interrupted", "AttemptTimedOut", "DeadlineExceeded"]) {
        assert.isAbove(figures.exits[exit] ?? 0, 0, exit)
      }
    }))
})
