import { assert, describe, it } from "@effect/vitest"
import { PolicySource } from "@rego/core"
import { Duration, Effect, Option, Stream } from "effect"

const messageOf = (reason: PolicySource.Reason): string =>
  new PolicySource.SourceError({ source: "control", reason }).message

describe("PolicySource", () => {
  describe("SourceError", () => {
    const rows: ReadonlyArray<readonly [PolicySource.Reason, string]> = [
      [
        { _tag: "Unavailable", detail: "503", retryAfter: Duration.seconds(5) },
        "policy source control: unavailable, 503"
      ],
      [{ _tag: "Unauthorized", detail: "401" }, "policy source control: not authorized, 401"],
      [{ _tag: "NotFound", detail: "404" }, "policy source control: no document, 404"],
      [{ _tag: "Malformed", detail: "no JSON" }, "policy source control: not a document, no JSON"],
      [{ _tag: "TooLarge", limit: 10 }, "policy source control: the document is larger than 10 bytes"],
      [{ _tag: "Untrusted", detail: "redirect" }, "policy source control: not trusted, redirect"]
    ]
    for (const [reason, message] of rows) {
      it(`says in one sentence which source and why: ${reason._tag}`, () => {
        assert.strictEqual(messageOf(reason), message)
      })
    }

    it.effect("can be told apart by its reason", () =>
      Effect.gen(function*() {
        const error = new PolicySource.SourceError({ source: "s", reason: { _tag: "TooLarge", limit: 7 } })
        const limit = yield* Effect.fail(error).pipe(
          Effect.catchReason("SourceError", "TooLarge", (reason) => Effect.succeed(reason.limit))
        )
        assert.strictEqual(limit, 7)
      }))
  })

  describe("make", () => {
    it.effect("makes a source that needs no report", () =>
      Effect.gen(function*() {
        const source = PolicySource.make({ name: "memory", found: Stream.make(PolicySource.unchanged) })
        yield* source.report({ _tag: "Rejected", revision: Option.none(), issues: [] })
        assert.deepStrictEqual(yield* Stream.runCollect(source.found), [PolicySource.unchanged])
      }))
  })
})
