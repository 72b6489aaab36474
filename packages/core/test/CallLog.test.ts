import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { defaultLevels, LineLimit, lineOf } from "../src/CallLog.ts"

type Attempt = Omit<typeof Timeline.AttemptRecord.Encoded, "attempt">

const ended = (more: Partial<Attempt>): Attempt => ({ startedAt: 0, endedAt: 10, endedBy: "returned", ...more })
const failed = ended({ outcome: "Retryable", reason: "http_503", error: "Error: busy" })
const succeeded = ended({ outcome: "Success" })

const timeline = (
  result: Timeline.Timeline["result"],
  attempts: ReadonlyArray<Attempt>,
  stop?: Timeline.StopReason,
  decisions: ReadonlyArray<Timeline.Decision> = []
): Timeline.Timeline =>
  new Timeline.Timeline({
    key: "users.Get",
    policyRevision: "r7",
    policySource: "live",
    startedAt: 0,
    endedAt: 30.5,
    attempts: attempts.map((attempt, retry) =>
      new Timeline.AttemptRecord({ ...attempt, attempt: { retry, hedge: 0 } })
    ),
    decisions: stop === undefined ? decisions : [...decisions, { _tag: "Stopped", at: 30.5, reason: stop }],
    result,
    attributes: {}
  })

describe("CallLog", () => {
  describe("lineOf", () => {
    it("says nothing of a call that succeeded at once", () => {
      assert.strictEqual(lineOf(timeline("success", [succeeded]), defaultLevels), undefined)
    })

    it("says nothing of a first attempt whose caller went away", () => {
      const gone = ended({ endedBy: "interrupted_caller" })
      assert.strictEqual(lineOf(timeline("interrupted", [gone], "interrupted"), defaultLevels), undefined)
    })

    it("says what a call that was retried needed", () => {
      assert.deepStrictEqual(lineOf(timeline("success", [failed, succeeded]), defaultLevels), {
        level: "Info",
        message: "rego users.Get: success after 2 attempts",
        annotations: {
          "rego.key": "users.Get",
          "rego.result": "success",
          "rego.duration_ms": 30.5,
          "rego.attempts": 2,
          "rego.retries": 1,
          "rego.hedges": 0,
          "rego.reason": "http_503",
          "rego.error": "Error: busy",
          "rego.policy.revision": "r7",
          "rego.policy.source": "live"
        }
      })
    })

    it("says why a call that failed made no further attempt, and what refused it", () => {
      const denied: Timeline.Decision = {
        _tag: "Denied",
        at: 20,
        kind: "retry",
        budget: "default",
        reason: "ratio_exhausted",
        count: 1
      }
      const line = lineOf(timeline("failure", [failed], "budget_denied", [denied]), defaultLevels)
      assert.strictEqual(line?.message, "rego users.Get: failure after 1 attempt, budget_denied")
      assert.strictEqual(line?.annotations["rego.stop"], "budget_denied")
      assert.strictEqual(line?.annotations["rego.denied"], "ratio_exhausted")
    })

    const rows = [
      ["success", [failed, succeeded], undefined, "Info"],
      ["success", [failed], "no_retries", "Warn"],
      ["failure", [failed], "attempts_exhausted", "Warn"],
      ["failure", [ended({ endedBy: "timed_out" })], "deadline_exceeded", "Warn"],
      ["failure", [], "admission_denied", "Warn"],
      ["defect", [ended({ outcome: "NonRetryable", reason: "defect" })], "non_retryable", "Error"],
      ["interrupted", [failed, ended({ endedBy: "interrupted_caller" })], "interrupted", "Debug"]
    ] as const
    for (const [result, attempts, stop, level] of rows) {
      it(`writes ${result}${stop === undefined ? "" : ` after ${stop}`} at ${level}`, () => {
        assert.strictEqual(lineOf(timeline(result, attempts, stop), defaultLevels)?.level, level)
      })
    }

    it("writes no line for a result whose level is None", () => {
      assert.strictEqual(
        lineOf(timeline("success", [failed, succeeded]), { ...defaultLevels, success: "None" }),
        undefined
      )
    })
  })

  describe("LineLimit", () => {
    const ask = (limit: LineLimit, key: string, times: number): number =>
      Array.from({ length: times }, () => limit.allows(key)).filter((allowed) => allowed).length

    it("lets so many lines of each key through in a window, and says what it suppressed", () => {
      const limit = new LineLimit(2, 10)
      assert.strictEqual(ask(limit, "a.A", 5), 2)
      assert.strictEqual(ask(limit, "b.B", 1), 1)
      assert.deepStrictEqual(limit.next("1m"), [{
        level: "Warn",
        message: "rego a.A: 3 lines suppressed within 1m",
        annotations: { "rego.key": "a.A", "rego.suppressed": 3 }
      }])
      assert.strictEqual(ask(limit, "a.A", 5), 2)
    })

    it("says nothing at the end of a window in which all was written", () => {
      const limit = new LineLimit(2, 10)
      ask(limit, "a.A", 2)
      assert.deepStrictEqual(limit.next("1m"), [])
    })

    it("lets keys beyond its bound share one allowance", () => {
      const limit = new LineLimit(2, 1)
      assert.strictEqual(ask(limit, "a.A", 3), 2)
      assert.strictEqual(ask(limit, "b.B", 1) + ask(limit, "c.C", 1) + ask(limit, "d.D", 3), 2)
      assert.deepStrictEqual(limit.next("1m").map(({ message }) => message), [
        "rego a.A: 1 line suppressed within 1m",
        "rego (other keys): 3 lines suppressed within 1m"
      ])
    })
  })
})
