import { assert, describe, it } from "@effect/vitest"
import { Outcome } from "@rego/core"
import { Duration } from "effect"

const hint = (retryAfter: Duration.Input) => {
  const outcome = Outcome.retryable({ reason: "busy", retryAfter })
  return outcome._tag === "Retryable" ? outcome.retryAfter : assert.fail("not Retryable")
}

describe("Outcome", () => {
  describe("retryable", () => {
    it("assumes that the server may have executed the request", () => {
      const outcome = Outcome.retryable({ reason: "http_503" })
      assert.deepStrictEqual(outcome, {
        _tag: "Retryable",
        reason: "http_503",
        executed: "maybe",
        retryAfter: undefined
      })
    })

    it("keeps what it is told", () => {
      assert.deepStrictEqual(
        Outcome.retryable({
          reason: "http_429",
          retryAfter: "2 seconds",
          executed: "no",
          exact: true,
          throttled: true,
          attributes: { status: 429 }
        }),
        {
          _tag: "Retryable",
          reason: "http_429",
          retryAfter: Duration.seconds(2),
          executed: "no",
          exact: true,
          throttled: true,
          attributes: { status: 429 }
        }
      )
    })

    it("takes no hint from a server that sends nonsense", () => {
      assert.isUndefined(hint(NaN))
      assert.isUndefined(hint("soon" as Duration.Input))
      assert.isUndefined(hint({ seconds: NaN }))
    })

    it("reads a negative hint as now", () => {
      assert.deepStrictEqual(hint(-5), Duration.zero)
      assert.deepStrictEqual(hint("-5 seconds"), Duration.zero)
    })

    it("keeps a hint longer than any timer, for the rule that stops the call", () => {
      assert.deepStrictEqual(hint("9999999999999 seconds"), Duration.seconds(9_999_999_999_999))
      assert.deepStrictEqual(hint(Infinity), Duration.infinity)
    })
  })

  describe("nonRetryable, abort, success", () => {
    it("carry a reason and nothing that asks for another attempt", () => {
      assert.deepStrictEqual(Outcome.nonRetryable({ reason: "not_found" }), {
        _tag: "NonRetryable",
        reason: "not_found"
      })
      assert.deepStrictEqual(Outcome.abort({ reason: "gone" }), { _tag: "Abort", reason: "gone" })
      assert.deepStrictEqual(Outcome.success, { _tag: "Success" })
    })
  })

  describe("isOutcome", () => {
    it("knows its four tags and nothing else", () => {
      const outcomes = [
        Outcome.success,
        Outcome.retryable({ reason: "" }),
        Outcome.nonRetryable({ reason: "" }),
        Outcome.abort({ reason: "" })
      ]
      for (const outcome of outcomes) assert.isTrue(Outcome.isOutcome(outcome))
      for (
        const other of [
          null,
          undefined,
          "Success",
          {},
          { _tag: "Some" },
          { _tag: "toString" },
          () => Outcome.success,
          { _tag: "Retryable" },
          { _tag: "NonRetryable", reason: 404 },
          { _tag: "Retryable", reason: "busy", retryAfter: "1 second" }
        ]
      ) {
        assert.isFalse(Outcome.isOutcome(other))
      }
    })
  })
})
