import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { denialOf, DenialReason, StopReason, texts } from "../src/Reasons.ts"

describe("Reasons", () => {
  const lists = [["stop", StopReason], ["denial", DenialReason]] as const

  for (const [list, schema] of lists) {
    it(`of a ${list} are a closed list, each with what it means and what to do about it`, () => {
      const is = Schema.is(schema)
      for (const [name, { means, todo }] of Object.entries(texts[list])) {
        assert.isTrue(is(name), name)
        for (const text of [means, todo]) assert.isAbove(text.length, 15, name)
      }
      for (const name of ["", "mine", "toString", undefined]) assert.isFalse(is(name))
    })
  }

  it("of a budget are ours where they have our names, and else its own words", () => {
    const known = Object.keys(texts.denial).filter((name) => name !== "other")
    for (const reason of known) assert.deepStrictEqual<unknown>(denialOf(reason), { reason })
    for (const detail of ["other", "not on Sundays", "", "toString", "__proto__", "constructor"]) {
      assert.deepStrictEqual(denialOf(detail), { reason: "other", detail })
    }
    assert.deepStrictEqual(denialOf(undefined as never), { reason: "other", detail: "undefined" })
  })
})
