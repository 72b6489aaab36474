import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { Schema } from "effect"

const attempt = { retry: 1, hedge: 0 }

/** One of each with all of its fields, and which of these may be absent. */
const samples: ReadonlyArray<readonly [tag: string, fields: object, optional?: ReadonlyArray<string>]> = [
  ["PolicyResolved", { revision: "7", source: "live", startedAt: 1 }],
  ["AttemptStarted", { attempt, backoffBefore: 0.5 }],
  [
    "AttemptEnded",
    {
      attempt,
      startedAt: 1,
      endedBy: "returned",
      outcome: "Retryable",
      reason: "http_503",
      error: "boom",
      attributes: { host: "a" }
    },
    ["outcome", "reason", "error", "attributes"]
  ],
  ["AttemptAbandoned", { attempt }],
  ["AbandonedEnded", { attempt }],
  ["Pushback", { attempt, retryAfter: Infinity }],
  ["BudgetGranted", { kind: "retry", budget: "default", attempt }],
  [
    "BudgetDenied",
    { kind: "call", budget: "own", attempt, reason: "other", detail: "closed", retryAfter: 5 },
    ["budget", "detail", "retryAfter"]
  ],
  ["BackoffScheduled", { delay: 5, retryAfter: 5 }, ["retryAfter"]],
  ["HedgeDue", { attempt }],
  ["HedgeStarted", { attempt }],
  ["HedgeWon", { attempt, saved: 3.5 }],
  ["HedgeWasted", { attempt }],
  ["DeadlinePassed", { attempts: 2 }],
  ["Stopped", { reason: "attempts_exhausted" }],
  ["CallEnded", { result: "failure", startedAt: 1, attempts: 2, reason: "attempts_exhausted" }, ["reason"]],
  ["PolicySwapped", { revision: "8", source: "local", previous: "7" }, ["previous"]]
]

const decode = Schema.decodeUnknownSync(Timeline.Event)

const without = (event: object, field: string) =>
  Object.fromEntries(Object.entries(event).filter(([name]) => name !== field))

describe("an event", () => {
  for (const [_tag, fields, optional = []] of samples) {
    it(`${_tag} has these fields, and needs all but ${optional.length === 0 ? "none" : optional.join(", ")}`, () => {
      const event = { _tag, key: "svc.Get", call: 1, at: 2.5, ...fields }
      assert.deepStrictEqual<unknown>(decode(event), event)
      if ("attempt" in fields) assert.throws(() => decode({ ...event, attempt: { retry: 1 } }), /hedge/)
      for (const field of Object.keys(event)) {
        const less = without(event, field)
        if (optional.includes(field)) assert.deepStrictEqual<unknown>(decode(less), less)
        else assert.throws(() => decode(less), new RegExp(field), `without ${field}`)
      }
    })
  }

  it("says when it happens, and what to do about it", () => {
    const { members } = Timeline.Event
    assert.lengthOf(members, samples.length)
    // what it says is shown in docs/reasons.md
    for (const { ast } of members) {
      assert.isNotEmpty(ast.annotations?.["description"])
      assert.isNotEmpty(ast.annotations?.["documentation"])
    }
  })
})
