import { assert, describe, it } from "@effect/vitest"
import * as Tally from "../lib/tally.ts"

describe("Tally", () => {
  it("is a line that is read back, with what was skipped where something was", () => {
    for (const tally of [Tally.make(3, 0), Tally.make(3, 1), Tally.make(0, 0, 2)]) {
      assert.deepStrictEqual(Tally.parse(Tally.format(tally)), tally)
    }
    assert.strictEqual(Tally.format(Tally.make(3, 0)), "3 passed, 0 failed")
  })

  it("is not read from a line that says more or less", () => {
    for (const line of ["", "3 passed", "3 passed, 0 failed, and more", " 3 passed, 0 failed"]) {
      assert.isUndefined(Tally.parse(line), line)
    }
  })

  it("has a failure where a step ended badly, whatever it counted, and no second one where it counted one", () => {
    assert.deepStrictEqual(Tally.orFailure(Tally.make(3, 0, 1), { well: false }), Tally.make(3, 1, 1))
    assert.deepStrictEqual(Tally.orFailure(Tally.make(3, 2), { well: false }), Tally.make(3, 2))
    assert.deepStrictEqual(Tally.orFailure(Tally.make(3, 0), { well: true }), Tally.make(3, 0))
  })

  it("sums up steps", () => {
    const steps = [Tally.ofResults([{ passed: true }, { passed: false }]), Tally.make(2, 0, 5)]
    assert.deepStrictEqual(Tally.sum(steps), Tally.make(3, 1, 5))
  })
})
