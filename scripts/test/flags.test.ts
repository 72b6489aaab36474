import { assert, describe, it } from "@effect/vitest"
import { numberOf } from "../lib/flags.ts"

describe("flags", () => {
  it("a number is what was said, or the default", () => {
    assert.deepStrictEqual([numberOf("seconds", "0.5", 10), numberOf("seconds", undefined, 10)], [0.5, 10])
  })

  for (const text of ["", " ", "0", "-1", "ten", "Infinity", "NaN"]) {
    it(`${JSON.stringify(text)} is refused by its name and value`, () => {
      assert.throws(
        () => numberOf("seconds", text, 10),
        `--seconds must be a number above 0, got ${JSON.stringify(text)}`
      )
    })
  }
})
