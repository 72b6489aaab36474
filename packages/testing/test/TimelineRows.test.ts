import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { TimelineRows } from "@rego/testing"

const attempt = (
  retry: number,
  hedge: number,
  rest: Partial<ConstructorParameters<typeof Timeline.AttemptRecord>[0]>
): Timeline.AttemptRecord =>
  new Timeline.AttemptRecord({
    attempt: { retry, hedge },
    startedAt: 1_000,
    endedAt: 4_000,
    endedBy: "returned",
    ...rest
  })

const timeline = new Timeline.Timeline({
  key: "users.Get",
  policyRevision: "local",
  policySource: "local",
  startedAt: 1_000,
  endedAt: 4_000,
  attempts: [
    attempt(0, 0, { endedAt: 1_500, outcome: "Retryable", reason: "http_503" }),
    attempt(1, 0, { startedAt: 2_000, endedBy: "interrupted_loser" }),
    attempt(1, 1, { startedAt: 3_000, outcome: "Success" })
  ],
  decisions: [
    { _tag: "BackoffScheduled", at: 1_500, delay: 500, retryAfter: 400 },
    { _tag: "Denied", at: 2_500, kind: "hedge", budget: "default", reason: "other", detail: "empty", count: 1 }
  ],
  result: "success",
  attributes: {}
})

const expected: ReadonlyArray<TimelineRows.Row> = [
  [0, "start 0"],
  [500, "end 0 Retryable http_503"],
  [500, "wait 500 asked 400"],
  [1_000, "start 1"],
  [1_500, "hedge denied by default: empty"],
  [2_000, "start 1.1"],
  [3_000, "interrupted_loser 1"],
  [3_000, "end 1.1 Success"],
  [3_000, "success"]
]

const messageOf = (f: () => void): string => {
  try {
    f()
  } catch (error) {
    assert.instanceOf(error, Error)
    return error.message
  }
  return assert.fail("nothing was thrown")
}

describe("TimelineRows", () => {
  describe("rows", () => {
    it("hold attempts and decisions in the order of time, the result last", () => {
      assert.deepStrictEqual(TimelineRows.rows(timeline), expected)
    })

    it("name no budget where a rule refused before any was asked", () => {
      const denied = { _tag: "Denied", at: 2_500, kind: "hedge", reason: "unhealthy", count: 1 } as const
      const [row] = TimelineRows.rows({ ...timeline, attempts: [], decisions: [denied] })
      assert.deepStrictEqual(row, [1_500, "hedge denied: unhealthy"])
    })
  })

  describe("expectTimeline", () => {
    it("accepts what is so", () => {
      TimelineRows.expectTimeline(timeline, expected)
    })

    it("accepts durations, stretches of time and patterns", () => {
      TimelineRows.expectTimeline(timeline, [
        [0, "start 0"],
        ["500 millis", /^end 0 Retryable/],
        [TimelineRows.between("400 millis", "500 millis"), /wait/],
        [TimelineRows.anytime, "start 1"],
        ...expected.slice(4)
      ])
    })

    it("shows each row that is missing, and each that nobody wanted, among those that are right", () => {
      const wanted = expected.map((row): TimelineRows.Expected => row[0] === 2_000 ? ["1 second", "start 1.1"] : row)
      assert.strictEqual(
        messageOf(() => TimelineRows.expectTimeline(timeline, wanted.slice(1))),
        `timeline of users.Get: not as expected (- expected, + happened)
+ [0, "start 0"]
  [500, "end 0 Retryable http_503"]
  [500, "wait 500 asked 400"]
  [1000, "start 1"]
  [1500, "hedge denied by default: empty"]
- ["1 second", "start 1.1"]
+ [2000, "start 1.1"]
  [3000, "interrupted_loser 1"]
  [3000, "end 1.1 Success"]
  [3000, "success"]`
      )
    })

    it("refuses an instant just outside of a stretch of time", () => {
      const [, ...rest] = expected
      for (const at of [TimelineRows.between(1, 2), TimelineRows.between("501 millis", "1 second")]) {
        assert.isDefined(TimelineRows.difference([[500, "start 0"]], [[at, "start 0"]]))
      }
      assert.include(
        messageOf(() => TimelineRows.expectTimeline(timeline, [[TimelineRows.between(1, 2), "start 0"], ...rest])),
        `- [between(1, 2), "start 0"]\n+ [0, "start 0"]`
      )
    })

    it("reads a pattern with the flag g from its beginning each time", () => {
      const started = /start/g
      assert.isUndefined(TimelineRows.difference([[0, "start 0"], [1, "start 1"]], [[0, started], [1, started]]))
    })

    it("says that there was no call", () => {
      assert.strictEqual(
        messageOf(() => TimelineRows.expectTimeline(undefined, [])),
        "expected a timeline, but no call was made"
      )
    })
  })
})
