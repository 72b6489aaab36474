import { assert, describe, it } from "@effect/vitest"
import * as Pushback from "../src/Pushback.ts"

describe("Pushback", () => {
  describe("parse", () => {
    const waits = [["0", 0], ["1", 1], ["20", 20], ["86400000", 86_400_000], ["2147483647", 2 ** 31 - 1]] as const
    for (const [text, millis] of waits) {
      it(`takes ${JSON.stringify(text)} for a wait of ${millis} ms`, () => {
        assert.strictEqual(Pushback.parse(text), millis)
      })
    }

    const refusals = [
      ["-1", "negative"],
      ["-2147483648", "negative"],
      ["2147483648", "over 32 bits"],
      ["99999999999999999999", "over 32 bits"],
      ["", "empty"],
      ["abc", "no number"],
      ["NaN", "no number"],
      ["Infinity", "no number"],
      ["1e3", "no integer"],
      ["1.5", "no integer"],
      ["0x10", "not decimal"],
      ["+5", "a sign that is not needed"],
      ["-0", "a sign that is not needed"],
      ["007", "zeros that are not needed"],
      ["00", "zeros that are not needed"],
      [" 5", "a space"],
      ["5ms", "a unit"],
      ["5, 7", "two values"],
      ["9".repeat(10_240), "10 KB"]
    ] as const
    for (const [text, why] of refusals) {
      it(`takes ${JSON.stringify(text.slice(0, 24))} for "do not retry": ${why}`, () => {
        assert.strictEqual(Pushback.parse(text), Infinity)
      })
    }
  })
})
