import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Bearer from "../src/Bearer.ts"

const read = Redacted.make("read-token-0123456789")
const write = Redacted.make("write-token-0123456789")
const bearer = (token: Redacted.Redacted) => `Bearer ${Redacted.value(token)}`

describe("Bearer", () => {
  describe("isSame", () => {
    it("is true for the same text alone, whatever the length of the other", () => {
      const rows: ReadonlyArray<readonly [string, boolean]> = [
        ["write-token-0123456789", true],
        ["write-token-0123456788", false],
        ["xrite-token-0123456789", false],
        ["write-token-012345678", false],
        ["write-token-0123456789x", false],
        ["", false],
        ["x".repeat(100_000), false]
      ]
      for (const [presented, expected] of rows) assert.strictEqual(Bearer.isSame(write, presented), expected)
    })

    it("compares digests of one length, and nothing else", () => {
      const code = readFileSync(join(import.meta.dirname, "../src/Bearer.ts"), "utf8")
      assert.match(code, /timingSafeEqual\(digest\(Redacted\.value\(expected\)\), digest\(presented\)\)/)
      assert.strictEqual(code.split("Redacted.value").length, 2, "the token is taken out in one place")
    })
  })

  describe("judge", () => {
    const both = { read, write }
    const rows: ReadonlyArray<readonly [string, Bearer.Tokens, "read" | "write", string | undefined, Bearer.Verdict]> =
      [
        ["reading needs a token where there is one", both, "read", undefined, "unknown"],
        ["reading with the token for reading", both, "read", bearer(read), "granted"],
        ["reading with the token for writing", both, "read", bearer(write), "granted"],
        ["reading with another token", both, "read", "Bearer guess", "unknown"],
        ["writing without a token", both, "write", undefined, "unknown"],
        ["writing with the token for reading", both, "write", bearer(read), "forbidden"],
        ["writing with the token for writing", both, "write", bearer(write), "granted"],
        ["reading where there is no token for it", { write }, "read", undefined, "granted"],
        ["writing where there is no token for it", { read }, "write", bearer(read), "forbidden"],
        ["writing where there is no token at all", {}, "write", "Bearer undefined", "forbidden"],
        ["writing where there is no token at all, with an empty one", {}, "write", "Bearer ", "forbidden"],
        ["another scheme", both, "write", `Basic ${Redacted.value(write)}`, "unknown"],
        ["two tokens in one header", both, "write", `${bearer(write)}, ${bearer(read)}`, "unknown"],
        ["the scheme in any case, as RFC 9110 has it", both, "write", `bearer ${Redacted.value(write)}`, "granted"]
      ]
    for (const [what, tokens, need, header, expected] of rows) {
      it(`${what}: ${expected}`, () => assert.strictEqual(Bearer.judge(tokens, need, header), expected))
    }
  })
})
