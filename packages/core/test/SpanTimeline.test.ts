import { assert, describe, it } from "@effect/vitest"
import { Cause, Exit, Option } from "effect"
import type { Tracer } from "effect"
import type { SpanLike } from "../src/SpanTimeline.ts"
import { read } from "../src/SpanTimeline.ts"

// whole spans, their defects included, are read in driver/spans.test.ts

const nanos = (millis: number): bigint => BigInt(Math.round(millis * 1_000)) * 1_000n

interface Parts {
  readonly name?: string
  readonly spanId?: string
  readonly parent?: Tracer.AnySpan
  readonly attributes: Readonly<Record<string, unknown>>
  readonly events?: SpanLike["events"]
  readonly from?: number
  /** `undefined` of a span that has not ended */
  readonly to?: number | undefined
  readonly exit?: Exit.Exit<unknown, unknown>
}

const span = (parts: Parts): SpanLike => {
  const { attributes, events = [], exit = Exit.void, from = 0, name = "svc.Get", parent, spanId = "call", to } = parts
  const startTime = nanos(from)
  return {
    _tag: "Span",
    name,
    spanId,
    parent: Option.fromUndefinedOr(parent),
    attributes: new Map(Object.entries(attributes)),
    events,
    status: to === undefined ? { _tag: "Started", startTime } : { _tag: "Ended", startTime, endTime: nanos(to), exit }
  } as unknown as SpanLike
}

const call = (parts: Partial<Parts> = {}): SpanLike =>
  span({ to: 100, ...parts, attributes: { "rego.result": "success", ...parts.attributes } })

const attempt = (retry: number, hedge: number, parts: Partial<Parts> = {}): SpanLike =>
  span({
    spanId: `attempt ${retry} ${hedge}`,
    to: 10,
    ...parts,
    attributes: {
      "rego.attempt.ended_by": "returned",
      "rego.attempt.retry": retry,
      "rego.attempt.hedge": hedge,
      ...parts.attributes
    }
  })

const timelines = (...spans: ReadonlyArray<SpanLike>): ReadonlyArray<any> =>
  read(spans, (fields) => fields, (cause) => Cause.pretty(cause).split("\n")[0]!)

const attemptsOf = (...spans: ReadonlyArray<SpanLike>) => timelines(...spans)[0].attempts

const idsOf = (...spans: ReadonlyArray<SpanLike>) =>
  attemptsOf(...spans).map((record: { attempt: { retry: number; hedge: number } }) => [
    record.attempt.retry,
    record.attempt.hedge
  ])

describe("SpanTimeline", () => {
  it("reads a call from its span, to the nanosecond", () => {
    // 2026-04-01, where a number of nanoseconds has more digits than it can hold
    const epoch = 1_775_001_600_000
    const decided: SpanLike["events"] = [
      ["rego.Stopped", nanos(epoch + 7.25), { "rego.reason": "attempts_exhausted", other: 1 }],
      ["rego.call", nanos(epoch), {}],
      ["log", nanos(epoch), {}],
      ["a.rego.", nanos(epoch), {}]
    ]
    const attributes = {
      "rego.key": "svc.Get",
      "rego.policy.revision": "7",
      "rego.policy.source": "live",
      "rego.result": "failure",
      "rego.timeline.override": "svc.*",
      "a.rego.timeline.": "of another"
    }
    const found = timelines(call({ name: "GET", from: epoch + 0.001, to: epoch + 9.5, attributes, events: decided }))
    assert.deepStrictEqual(found, [{
      key: "svc.Get",
      policyRevision: "7",
      policySource: "live",
      startedAt: epoch + 0.001,
      endedAt: epoch + 9.5,
      attempts: [],
      decisions: [{ _tag: "Stopped", at: epoch + 7.25, reason: "attempts_exhausted" }],
      result: "failure",
      attributes: { override: "svc.*" }
    }])
    assert.strictEqual(timelines(call({ name: "svc.Other" }))[0].key, "svc.Other")
  })

  it("reads nothing from what is no call, and from one that has not ended", () => {
    const inside = attempt(0, 0)
    assert.deepStrictEqual(timelines(span({ attributes: {}, to: 1 }), call({ to: undefined }), inside), [])
  })

  describe("an attempt", () => {
    const parent = call()
    const only = (parts: Partial<Parts>) => attemptsOf(parent, attempt(1, 0, { parent, from: 2, ...parts }))[0]

    it("has what its span says, and no field that it does not say", () => {
      const attributes = {
        "rego.outcome": "Retryable",
        "rego.reason": "http_503",
        "rego.attempt.backoff_before": 5,
        "rego.annotation.host": "a",
        "a.rego.annotation.": "of another"
      }
      const ran = { attempt: { retry: 1, hedge: 0 }, startedAt: 2, endedAt: 10, endedBy: "returned" }
      assert.deepStrictEqual(only({}), ran)
      assert.deepStrictEqual(only({ attributes, exit: Exit.fail("boom") }), {
        ...ran,
        outcome: "Retryable",
        reason: "http_503",
        error: "Error: boom",
        backoffBefore: 5,
        attributes: { host: "a" }
      })
    })

    it("has an error where it failed and was judged, and only there", () => {
      const judged = { "rego.outcome": "Success" }
      assert.notProperty(only({ attributes: judged }), "error")
      assert.notProperty(only({ exit: Exit.fail("boom") }), "error")
      assert.notProperty(only({ attributes: judged, to: undefined }), "error")
      assert.property(only({ attributes: judged, exit: Exit.die("boom") }), "error")
    })

    it("that still runs, or was given up, has no end", () => {
      assert.notProperty(only({ to: undefined }), "endedAt")
      assert.notProperty(only({ attributes: { "rego.attempt.ended_by": "abandoned" } }), "endedAt")
    })
  })

  it("finds the attempts of each call, in the order in which they were started", () => {
    const [one, other] = [call({ spanId: "one", to: 50 }), call({ spanId: "other", to: 60 })]
    const stray = { ...attempt(9, 9), attributes: new Map() }
    const spans = [
      attempt(1, 1, { parent: one }),
      attempt(0, 0, { parent: other }),
      attempt(1, 0, { parent: one }),
      attempt(0, 2, { parent: one }),
      attempt(0, 0, { parent: one }),
      { ...stray, parent: Option.some(one) },
      attempt(9, 9)
    ]
    assert.deepStrictEqual(idsOf(one, ...spans), [[0, 0], [0, 2], [1, 0], [1, 1]])
    assert.deepStrictEqual(idsOf(other, ...spans), [[0, 0]])
  })

  it("keeps of a call that dropped some the first ones and the latest", () => {
    const dropping = (dropped?: number) => {
      const parent = call({ attributes: dropped === undefined ? {} : { "rego.timeline.droppedAttempts": dropped } })
      return idsOf(parent, ...[0, 1, 2, 3, 4].map((retry) => attempt(retry, 0, { parent })))
    }
    const kept = [[0, 0], [1, 0], [4, 0]]
    assert.deepStrictEqual([dropping(2), dropping().length], [kept, 5])
  })

  it("tells calls in the order in which they ended, those inside first", () => {
    const keys = (...spans: ReadonlyArray<SpanLike>) => timelines(...spans).map(({ key }) => key)
    const outer = call({ name: "outer", to: 9 })
    const inner = call({ name: "inner", spanId: "inner", to: 9, parent: outer })
    const late = call({ name: "late", spanId: "late", to: 10, parent: inner })
    const early = call({ name: "early", spanId: "early", to: 8 })
    const ordered = ["early", "inner", "outer", "late"]
    assert.deepStrictEqual(keys(late, outer, inner, early), ordered)
    assert.deepStrictEqual(keys(early, inner, outer, late), ordered)
  })
})
