import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as SavedText from "../src/SavedText.ts"

const bounds = { maxBytes: 10_000, maxDepth: 32 }
const saved = {
  json: { schemaVersion: "1.0", revision: "7", policies: { "users.*": { retry: "off" } } },
  savedAt: 1_764_000_000_000
}
const text = Result.getOrThrow(SavedText.encode(saved, bounds))

describe("SavedText", () => {
  it("gives back what was saved", () => {
    assert.deepStrictEqual(SavedText.decode(text, bounds), Result.succeed(saved))
  })

  it("gives back nothing else, whichever byte is lost or changed", () => {
    const damaged = Array.from({ length: text.length }, (_, i) => [
      text.slice(0, i),
      text.slice(0, i) + text.slice(i + 1),
      text.slice(0, i) + String.fromCharCode(text.charCodeAt(i) ^ 1) + text.slice(i + 1)
    ]).flat()
    for (const it of damaged) {
      assert.isTrue(Result.isFailure(SavedText.decode(it, bounds)), it)
    }
  })

  it("says what is wrong in words that hold nothing of the text", () => {
    const rows: ReadonlyArray<readonly [string, string]> = [
      ["", "it is damaged: no JSON"],
      ["s3cret", "it is damaged: no JSON"],
      ["[".repeat(1_000), "it is damaged: no JSON"],
      [`{ "s3cret": 1 }`, "it is damaged: not what this library writes"],
      [text.replace(`"format":1`, `"format":2`), "it is damaged: not what this library writes"],
      [text.replace("users", "s3cret"), "it is damaged: the checksum is wrong"],
      [text.replace("1764000000000", "1764000000001"), "it is damaged: the checksum is wrong"]
    ]
    for (const [given, expected] of rows) assert.deepStrictEqual(SavedText.decode(given, bounds), Result.fail(expected))
  })

  it("keeps nothing that it would not read", () => {
    const circular: Record<string, unknown> = {}
    circular["self"] = circular
    const encode = (json: unknown) => SavedText.encode({ json, savedAt: 0 }, bounds)
    assert.deepStrictEqual(encode(circular), Result.fail("the document has no JSON"))
    assert.deepStrictEqual(encode(undefined), Result.fail("the document has no JSON"))
    assert.deepStrictEqual(encode(1n), Result.fail("the document has no JSON"))
    assert.deepStrictEqual(
      encode(JSON.parse("[".repeat(40) + "]".repeat(40))),
      Result.fail("the document is nested deeper than 32 levels")
    )
    assert.deepStrictEqual(encode("x".repeat(10_000)), Result.fail("the document is larger than 10000 bytes"))
  })

  it("fits into its envelope, whatever the text is made of", () => {
    for (const character of ["x", "\"", "\\", "\u0000", "é", "\ud800"]) {
      const count = Math.floor(bounds.maxBytes / Buffer.byteLength(JSON.stringify(character))) - 2
      const json = character.repeat(count)
      const encoded = Result.getOrThrow(SavedText.encode({ json, savedAt: Number.MAX_VALUE }, bounds))
      assert.isAtMost(Buffer.byteLength(encoded), SavedText.maxEnvelope(bounds))
    }
  })
})
