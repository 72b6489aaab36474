import { assert, describe, it } from "@effect/vitest"
import { PolicySource } from "@rego/core"
import { Result } from "effect"
import { LastText } from "../src/LastText.ts"

const bounds = { maxBytes: 1_000, maxDepth: 8 }

describe("LastText", () => {
  it("tells a new document from the one before", () => {
    const last = new LastText(bounds)
    const read = ["1", "1", "2", "1"].map((text) => Result.getOrThrow(last.read(text)))
    assert.deepStrictEqual(read, [
      PolicySource.document(1),
      PolicySource.unchanged,
      PolicySource.document(2),
      PolicySource.document(1)
    ])
  })

  it("remembers the last document, and no text that is none", () => {
    const last = new LastText(bounds)
    assert.isTrue(Result.isSuccess(last.read("1")))
    for (const text of ["{", "{"]) assert.isTrue(Result.isFailure(last.read(text)))
    assert.deepStrictEqual(last.read("1"), Result.succeed(PolicySource.unchanged))
  })

  it("says what is wrong without a word of the text", () => {
    const texts = [
      "s3cret",
      `{"a": s3cret }`,
      `{"a": 1} s3cret`,
      `["s3cret" "b"]`,
      `{"s3cret`,
      `{"a":1 "s3cret":2}`,
      `<html>s3cret${"x".repeat(500)}`,
      `"s3cret\n"`
    ]
    for (const text of texts) {
      const failure = Result.getOrThrow(Result.flip(new LastText(bounds).read(text)))
      assert.strictEqual(failure._tag, "Malformed")
      assert.notInclude(JSON.stringify(failure), "s3cret", text)
      assert.match(JSON.stringify(failure), /is not JSON: [A-Z]/, text)
    }
  })
})
