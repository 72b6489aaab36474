import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { countOf, kindOf, outcomeOf, resultOf, updatesOf } from "../src/CallMetrics.ts"
import type { Update } from "../src/CallMetrics.ts"

type Attempt = Omit<typeof Timeline.AttemptRecord.Encoded, "attempt"> & { readonly of: readonly [number, number] }

const attempt = (
  retry: number,
  hedge: number,
  startedAt: number,
  endedAt: number,
  more: Partial<Attempt> = {}
): Attempt => ({
  of: [retry, hedge],
  startedAt,
  endedAt,
  endedBy: "returned",
  ...more
})

const succeeded = { outcome: "Success" } as const
const failed = { outcome: "Retryable", reason: "typed_failure" } as const
const lost = { endedBy: "interrupted_loser" } as const

const stopped = (reason: Timeline.StopReason, at: number): Timeline.Decision => ({ _tag: "Stopped", at, reason })
const waits = (at: number, delay: number): Timeline.Decision => ({ _tag: "BackoffScheduled", at, delay })

const timeline = (options: {
  readonly attempts?: ReadonlyArray<Attempt>
  readonly decisions?: ReadonlyArray<Timeline.Decision>
  readonly result?: Timeline.Timeline["result"]
  readonly endedAt?: number
  readonly attributes?: Record<string, string>
}): Timeline.Timeline =>
  new Timeline.Timeline({
    key: "users.Get",
    policyRevision: "local",
    policySource: "local",
    startedAt: 0,
    endedAt: options.endedAt ?? 1_000,
    attempts: (options.attempts ?? []).map(({ of: [retry, hedge], ...rest }) =>
      new Timeline.AttemptRecord({ ...rest, attempt: { retry, hedge } })
    ),
    decisions: options.decisions ?? [],
    result: options.result ?? "success",
    attributes: options.attributes ?? {}
  })

const line = ({ attributes, metric, value }: Update): string => [metric, value, ...attributes].join(" ").trimEnd()

const lines = (of: Timeline.Timeline): ReadonlyArray<string> => updatesOf(of, (reason) => reason).map(line)

describe("CallMetrics", () => {
  describe("updatesOf", () => {
    it("counts a success at once as a call of one attempt, and nothing else", () => {
      assert.deepStrictEqual(lines(timeline({ attempts: [attempt(0, 0, 0, 1_000, succeeded)] })), [
        "callDuration 1 success",
        "callAttempts 1",
        "attemptDuration 1 primary success"
      ])
    })

    it("counts retries, what was waited before them, and why there was not one more", () => {
      const of = timeline({
        attempts: [attempt(0, 0, 0, 100, failed), attempt(1, 0, 350, 600, failed)],
        decisions: [waits(100, 250), stopped("attempts_exhausted", 600)],
        result: "failure",
        endedAt: 600
      })
      assert.deepStrictEqual(lines(of), [
        "callDuration 0.6 failure",
        "callAttempts 2",
        "callRetries 1",
        "callBackoff 0.25",
        "callStopped 1 attempts_exhausted",
        "attemptDuration 0.1 primary retryable typed_failure",
        "attemptDuration 0.25 retry retryable typed_failure"
      ])
    })

    it("counts a wait that was cut short as far as it went", () => {
      const of = timeline({
        attempts: [attempt(0, 0, 0, 100, failed)],
        decisions: [waits(100, 500), stopped("interrupted", 150)],
        result: "interrupted",
        endedAt: 150
      })
      assert.include(lines(of), "callBackoff 0.05")
    })

    it("counts a hedge that won, and the primary that lost to it as no failure", () => {
      const of = timeline({ attempts: [attempt(0, 0, 0, 90, lost), attempt(0, 1, 50, 90, succeeded)], endedAt: 90 })
      assert.deepStrictEqual(lines(of), [
        "callDuration 0.09 success",
        "callAttempts 2",
        "attemptDuration 0.09 primary lost",
        "attemptDuration 0.04 hedge success",
        "callHedges 1",
        "hedgeWon 1"
      ])
    })

    it("counts every hedge that did not win as wasted", () => {
      const both = [attempt(0, 0, 0, 90, succeeded), attempt(0, 1, 50, 90, lost), attempt(0, 2, 60, 80, failed)]
      const of = lines(timeline({ attempts: both, endedAt: 90 }))
      assert.deepStrictEqual(of.filter((text) => text.startsWith("hedge")), ["hedgeWasted 2"])
    })

    it("takes the primary for the winner when a hedge ends well in the same tick", () => {
      const both = [attempt(0, 0, 0, 90, succeeded), attempt(0, 1, 50, 90, succeeded)]
      assert.include(lines(timeline({ attempts: both })), "hedgeWasted 1")
    })

    it("takes a hedge that succeeded for the winner over a primary that was refused in the same tick", () => {
      const refused = { outcome: "NonRetryable", reason: "http_404" } as const
      const both = [attempt(0, 0, 0, 90, refused), attempt(0, 1, 50, 90, succeeded)]
      assert.include(lines(timeline({ attempts: both })), "hedgeWon 1")
    })

    it("takes no attempt for the winner that was cut short, or that nobody judged, whatever its verdict", () => {
      const refused = { outcome: "NonRetryable" } as const
      const cut = [
        { endedBy: "timed_out", ...succeeded },
        { endedBy: "interrupted_loser", ...succeeded },
        { endedBy: "returned" },
        { endedBy: "returned", ...failed }
      ] as const
      for (const hedge of cut) {
        const both = [attempt(0, 0, 0, 90, refused), attempt(0, 1, 50, 90, hedge), attempt(0, 2, 60, 90, refused)]
        const counted = lines(timeline({ attempts: both })).filter((text) => text.startsWith("hedge"))
        assert.deepStrictEqual(counted, ["hedgeWasted 2"], JSON.stringify(hedge))
      }
    })

    it("knows no winner of a call that ended before it took an answer", () => {
      const both = [attempt(0, 0, 0, 90, lost), attempt(0, 1, 50, 90, succeeded)]
      for (
        const [stop, hedges] of [
          ["deadline_exceeded", ["hedgeWasted 1"]],
          ["interrupted", ["hedgeWasted 1"]],
          ["attempts_exhausted", ["hedgeWon 1"]]
        ] as const
      ) {
        const counted = lines(timeline({ attempts: both, decisions: [stopped(stop, 90)], result: "failure" }))
        assert.deepStrictEqual(counted.filter((text) => text.startsWith("hedge")), [...hedges], stop)
      }
    })

    it("counts one hedge as won and the others as wasted, and none as won where nothing was returned", () => {
      const three = (last: Partial<Attempt>) => [
        attempt(0, 0, 0, 90, lost),
        attempt(0, 1, 50, 90, lost),
        attempt(0, 2, 60, 90, last)
      ]
      const hedges = (last: Partial<Attempt>) =>
        lines(timeline({ attempts: three(last) })).filter((text) => text.startsWith("hedge"))
      assert.deepStrictEqual(hedges(succeeded), ["hedgeWon 1", "hedgeWasted 1"])
      assert.deepStrictEqual(hedges(failed), ["hedgeWasted 2"])
    })

    it("measures a call, and what still ran when it ended, from when each began", () => {
      const given = timeline({ attempts: [attempt(0, 0, 300, 0, { endedBy: "abandoned" })], endedAt: 1_000 })
      const { endedAt: _, ...running } = given.attempts[0]!
      const of = new Timeline.Timeline({
        ...given,
        startedAt: 250,
        attempts: [new Timeline.AttemptRecord(running)]
      })
      assert.deepStrictEqual(lines(of), [
        "callDuration 0.75 success",
        "callAttempts 1",
        "attemptDuration 0.7 primary lost"
      ])
    })

    it("says of a denial how often it was given, by which budget and why", () => {
      const denied: Timeline.Decision = { _tag: "Denied", at: 5, kind: "hedge", reason: "unhealthy", count: 3 }
      const byBudget: Timeline.Decision = {
        _tag: "Denied",
        at: 6,
        kind: "retry",
        budget: "default",
        reason: "ratio_exhausted",
        count: 1
      }
      assert.deepStrictEqual(lines(timeline({ decisions: [denied, byBudget] })).slice(1), [
        "budgetDenied 3 hedge unhealthy",
        "budgetDenied 1 retry ratio_exhausted default"
      ])
    })

    it("reports neither attempts, retries, hedges nor waits of a call that had none", () => {
      const of = timeline({ decisions: [stopped("admission_denied", 0)], result: "failure", endedAt: 0 })
      assert.deepStrictEqual(lines(of), ["callDuration 0 denied", "callStopped 1 admission_denied"])
    })

    it("lets no reason of a classifier into a label unasked", () => {
      const of = timeline({ attempts: [attempt(0, 0, 0, 1, { outcome: "NonRetryable", reason: "user 4711 is gone" })] })
      const labels = updatesOf(of, () => "other").flatMap(({ attributes }) => attributes)
      assert.notInclude(labels, "user 4711 is gone")
      assert.include(labels, "other")
    })
  })

  describe("resultOf", () => {
    const rows = [
      ["success", undefined, "success"],
      ["failure", "attempts_exhausted", "failure"],
      ["failure", "deadline_would_pass", "failure"],
      ["failure", "budget_denied", "failure"],
      ["defect", "non_retryable", "failure"],
      ["failure", "deadline_exceeded", "deadline"],
      ["failure", "admission_denied", "denied"],
      ["failure", "policy_missing", "failure"],
      ["interrupted", "interrupted", "interrupted"],
      ["interrupted", "abort", "interrupted"],
      // an HTTP 503 as a value: the caller got a value
      ["success", "attempts_exhausted", "success"]
    ] as const
    for (const [result, stop, expected] of rows) {
      it(`calls ${result}${stop === undefined ? "" : ` after ${stop}`} ${expected}`, () => {
        assert.strictEqual(
          resultOf(timeline({ result, decisions: stop === undefined ? [] : [stopped(stop, 1)] })),
          expected
        )
      })
    }
  })

  describe("outcomeOf", () => {
    const rows = [
      [succeeded, undefined, "success"],
      [failed, undefined, "retryable"],
      [{ outcome: "NonRetryable", reason: "defect" }, "non_retryable", "non_retryable"],
      [{ outcome: "Abort", reason: "interrupted" }, "abort", "abort"],
      [{ endedBy: "timed_out", outcome: "Retryable", reason: "attempt_timeout" }, undefined, "timed_out"],
      [{ endedBy: "timed_out" }, "deadline_exceeded", "timed_out"],
      [lost, undefined, "lost"],
      [{ endedBy: "interrupted_caller" }, "interrupted", "abort"],
      [{ endedBy: "abandoned", outcome: "Retryable", reason: "attempt_timeout" }, undefined, "timed_out"],
      [{ endedBy: "abandoned" }, "deadline_exceeded", "timed_out"],
      [{ endedBy: "abandoned" }, undefined, "lost"],
      [{ endedBy: "abandoned" }, "interrupted", "abort"],
      // not by the call's own deadline, nor by a caller: told apart from what an abandoned attempt would be called
      [{ endedBy: "interrupted_caller" }, undefined, "abort"],
      [{ endedBy: "interrupted_caller" }, "deadline_exceeded", "abort"],
      [{}, undefined, "lost"]
    ] as const
    for (const [more, stop, expected] of rows) {
      it(`calls ${JSON.stringify(more)} of a call that stopped for ${stop ?? "nothing"} ${expected}`, () => {
        const { attempts } = timeline({ attempts: [attempt(0, 0, 0, 1, more)] })
        assert.strictEqual(outcomeOf(attempts[0]!, stop), expected)
      })
    }
  })

  describe("kindOf", () => {
    const rows = [[0, 0, "primary"], [1, 0, "retry"], [0, 1, "hedge"], [2, 1, "hedge"]] as const
    for (const [retry, hedge, expected] of rows) {
      it(`calls attempt ${retry}.${hedge} a ${expected}`, () => {
        assert.strictEqual(kindOf(timeline({ attempts: [attempt(retry, hedge, 0, 1)] }).attempts[0]!), expected)
      })
    }
  })

  describe("countOf", () => {
    it("counts attempts whose records were dropped, though not whether each was a hedge", () => {
      const of = timeline({
        attempts: [attempt(0, 0, 0, 1, failed), attempt(2, 1, 5, 6, failed)],
        attributes: { droppedAttempts: "3" }
      })
      assert.deepStrictEqual(countOf(of), { attempts: 5, retries: 2, hedges: 2 })
    })
  })
})
