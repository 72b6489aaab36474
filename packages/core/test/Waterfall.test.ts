import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { make } from "../src/Waterfall.ts"

// how it is drawn: Timeline.test.ts for the terminal, WaterfallSvg.test.ts for a picture

type Fields = Partial<Omit<typeof Timeline.AttemptRecord.Encoded, "attempt">>

const attempt = (retry: number, hedge: number, fields: Fields = {}) =>
  new Timeline.AttemptRecord({
    attempt: { retry, hedge },
    startedAt: 5_000,
    endedAt: 5_100,
    endedBy: "returned",
    ...fields
  })

const call = (fields: Partial<typeof Timeline.Timeline.Encoded> = {}) =>
  new Timeline.Timeline({
    key: "prices.Get",
    policyRevision: "7",
    policySource: "live",
    startedAt: 5_000,
    endedAt: 5_400,
    attempts: [],
    decisions: [],
    result: "success",
    attributes: {},
    ...fields
  })

const rowsOf = (...attempts: ReadonlyArray<Timeline.AttemptRecord>) => make(call({ attempts })).rows

describe("Waterfall", () => {
  it("has an attempt won whose answer left others of its group behind, and no other one", () => {
    const rows: ReadonlyArray<readonly [Fields, won: boolean]> = [
      [{ outcome: "Success" }, true],
      [{ outcome: "NonRetryable" }, true],
      [{ outcome: "Abort" }, true],
      [{ outcome: "Retryable" }, false],
      [{ endedBy: "timed_out", outcome: "NonRetryable" }, false],
      [{ endedBy: "interrupted_caller" }, false]
    ]
    for (const endedBy of ["interrupted_loser", "abandoned"] as const) {
      for (const [fields, won] of rows) {
        const [other, one] = rowsOf(attempt(1, 0, { endedBy }), attempt(1, 1, fields))
        assert.deepStrictEqual([other!.won, one!.won], [false, won], JSON.stringify(fields))
        assert.strictEqual(one!.verdict.includes("(won)"), won)
      }
      const [, alone] = rowsOf(attempt(0, 0, { endedBy }), attempt(1, 0, { outcome: "Success" }))
      assert.isFalse(alone!.won)
    }
  })

  it("says of an attempt its verdict, why, what ended it, and what was written on it", () => {
    const verdictOf = (fields: Fields) => rowsOf(attempt(0, 0, fields))[0]!.verdict
    assert.strictEqual(verdictOf({}), "")
    assert.strictEqual(
      verdictOf({ outcome: "Retryable", reason: "reset", attributes: { fault: "error", host: "a" } }),
      "Retryable reset fault=error host=a"
    )
    assert.strictEqual(
      verdictOf({ outcome: "Retryable", endedBy: "timed_out", attributes: { host: "a" } }),
      "Retryable (timed_out) host=a"
    )
  })

  it("says of a denial by whom, how often, and when there is room again", () => {
    const denied = { _tag: "Denied", at: 5_010, kind: "retry", reason: "bucket_empty", count: 1 } as const
    const rows: ReadonlyArray<readonly [Partial<Extract<Timeline.Decision, { readonly _tag: "Denied" }>>, string]> = [
      [{}, "denied a retry: bucket_empty"],
      [{ budget: "own" }, "budget \"own\" denied a retry: bucket_empty"],
      [{ retryAfter: 0 }, "denied a retry: bucket_empty, room in 0ms"],
      [{ retryAfter: 250 }, "denied a retry: bucket_empty, room in 250ms"],
      [{ retryAfter: Infinity }, "denied a retry: bucket_empty"],
      [{ detail: "closed", count: 2, kind: "hedge" }, "denied a hedge: closed (2 times)"]
    ]
    for (const [more, text] of rows) {
      assert.deepStrictEqual(make(call({ decisions: [{ ...denied, ...more }] })).notes, [{
        at: 10,
        kind: "denied",
        text
      }])
    }
  })

  it("has in its title how many attempts there were, and a revision where it says more than the source", () => {
    const titleOf = (fields: Partial<typeof Timeline.Timeline.Encoded>) => make(call(fields)).title
    const one = [attempt(0, 0)]
    const begin = "prices.Get: success after 400ms"
    assert.strictEqual(titleOf({ attempts: one }), `${begin}, 1 attempt, policy live 7`)
    assert.strictEqual(titleOf({ attempts: [...one, attempt(1, 0)] }), `${begin}, 2 attempts, policy live 7`)
    assert.strictEqual(
      titleOf({ policySource: "local", policyRevision: "local" }),
      `${begin}, 0 attempts, policy local`
    )
    assert.strictEqual(titleOf({ policySource: "local" }), `${begin}, 0 attempts, policy local 7`)
    const dropped = { droppedAttempts: "1", policyAge: "75", override: "prices.*" }
    assert.strictEqual(
      titleOf({ policySource: "missing", attributes: dropped }),
      `${begin}, 1 attempt (1 not kept), policy missing, 75s old, overridden for prices.*`
    )
  })
})
