import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as DocumentText from "../src/DocumentText.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

describe("DocumentText", () => {
  describe("parse", () => {
    it("counts levels, and neither brackets in texts nor brackets side by side", () => {
      const inTexts = JSON.stringify({ a: "[[[[\"[[", "{{{{\\": "\\\"[[[[" })
      assert.deepStrictEqual(DocumentText.parse(inTexts, { maxDepth: 1 }), Result.succeed(JSON.parse(inTexts)))
      assert.deepStrictEqual(DocumentText.parse("[[],[],[]]", { maxDepth: 2 }), Result.succeed([[], [], []]))
      assert.deepStrictEqual(
        DocumentText.parse("[[[]]]", { maxDepth: 2 }),
        Result.fail("is nested deeper than 2 levels")
      )
    })

    it("refuses a million levels without building them", () => {
      for (const open of ["[", "{\"a\":"]) {
        assert.deepStrictEqual(
          DocumentText.parse(open.repeat(1_000_000)),
          Result.fail("is nested deeper than 32 levels")
        )
      }
    })

    it("says in one short line what is wrong with text that is no JSON", () => {
      for (const text of ["", "{", "{\"a\":", `{"a": "${"x".repeat(10_000)}`, "{} {}", "NaN", "\"\\"]) {
        const refused = Result.getOrThrow(Result.flip(DocumentText.parse(text)))
        assert.match(refused, /^is not JSON: /)
        assert.isBelow(refused.length, 200)
      }
    })

    it("reads __proto__ and constructor as fields like any other", () => {
      const parsed = Result.getOrThrow(
        DocumentText.parse(`{"__proto__": {"off": ["*"]}, "constructor": {"prototype": {"off": ["*"]}}}`)
      ) as Record<string, unknown>
      assert.deepStrictEqual(Object.keys(parsed), ["__proto__", "constructor"])
      assert.isUndefined(parsed["off"])
      assert.isUndefined(({} as Record<string, unknown>)["off"])
    })
  })

  describe("fromBytes", () => {
    it("measures bytes, not letters", () => {
      const text = JSON.stringify("é".repeat(10))
      assert.deepStrictEqual(DocumentText.fromBytes(bytes(text), { maxBytes: 22 }), Result.succeed("é".repeat(10)))
      assert.deepStrictEqual(
        DocumentText.fromBytes(bytes(text), { maxBytes: 21 }),
        Result.fail("is larger than 21 bytes")
      )
    })

    it("refuses bytes that are no UTF-8, and skips a byte order mark", () => {
      assert.deepStrictEqual(DocumentText.fromBytes(Uint8Array.of(0x22, 0xff, 0x22)), Result.fail("is not UTF-8"))
      assert.deepStrictEqual(DocumentText.fromBytes(Uint8Array.of(0xef, 0xbb, 0xbf, 0x31)), Result.succeed(1))
    })
  })
})
