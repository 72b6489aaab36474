import { assert, describe, it } from "@effect/vitest"
import { Outcome, PolicyKey } from "@rego/core"
import { Context, Exit, Option, Tracer } from "effect"
import type { AttemptRun } from "../src/AttemptRun.ts"
import { AttemptFacts, CallRecord } from "../src/CallRecord.ts"
import type { Level } from "../src/CallSpans.ts"
import { CallSpans, writeEvent } from "../src/CallSpans.ts"
import { liveClock } from "../src/Time.ts"
import { makeTracer } from "./support.ts"

// the spans of whole calls: driver/spans.test.ts

/** the wall clock is so much ahead of the line of the clock */
const offset = 5_000

const key = PolicyKey.make("users.Get")

const recordOf = (startedAt: number) =>
  new CallRecord(key, { revision: "7", source: "live", retries: true, override: "users.*" }, startedAt)

const attemptOf = (retry: number, hedge: number, startedAt: number, fields: Partial<AttemptFacts> = {}): AttemptRun => {
  const call = { binding: { key }, clock: liveClock, retry, previous: undefined, delayBefore: undefined }
  const facts = Object.assign(new AttemptFacts(call, hedge, startedAt, Infinity), { endedBy: "returned", ...fields })
  return { facts, exit: Exit.succeed("ada") } as unknown as AttemptRun
}

const begin = (level: Level = "attempts", context: Context.Context<never> = Context.empty()) => {
  const { spans, tracer } = makeTracer()
  const calls = new CallSpans(level, Context.add(context, Tracer.Tracer, tracer), key, 100.000_001, offset)
  return { calls, spans }
}

const times = ({ status }: Tracer.NativeSpan): ReadonlyArray<bigint> =>
  status._tag === "Ended" ? [status.startTime, status.endTime] : [status.startTime]

describe("CallSpans", () => {
  it("have the times of the record, to the nanosecond, by the wall clock", () => {
    const { calls, spans } = begin()
    const record = recordOf(100.000_001)
    const attempt = attemptOf(0, 0, 100.5, { endedAt: 101.125, outcome: Outcome.success })
    const running = attemptOf(1, 0, 102)
    for (const each of [attempt, running]) calls.attemptStarted(each)
    record.decide({ _tag: "BackoffScheduled", at: 101.25, delay: 0.75 })
    record.end(110.000_25, Exit.succeed("ada"), offset)
    calls.end(record, Exit.succeed("ada"), running)
    assert.deepStrictEqual(spans.map(times), [
      [5_100_000_001n, 5_110_000_250n],
      [5_100_500_000n, 5_101_125_000n],
      [5_102_000_000n, 5_110_000_250n]
    ])
    assert.deepStrictEqual(spans[0]!.events, [["rego.BackoffScheduled", 5_101_250_000n, { "rego.delay": 0.75 }]])
  })

  it("say what the record says, attempts included of which it has no record any more", () => {
    const record = recordOf(100)
    for (const retry of [0, 1, 2, 3, 4]) record.add(attemptOf(retry, 0, 100).facts, 2)
    record.decide({ _tag: "Stopped", at: 110, reason: "attempts_exhausted" })
    record.end(110.5, Exit.fail("no"), offset)
    const said = {
      "rego.key": "users.Get",
      "rego.result": "failure",
      "rego.reason": "attempts_exhausted",
      "rego.attempts": 5,
      "rego.policy.revision": "7",
      "rego.policy.source": "live",
      "rego.timeline.droppedAttempts": "3",
      "rego.timeline.override": "users.*"
    }
    const { calls, spans } = begin("call")
    calls.end(record, Exit.fail("no"), undefined)
    assert.deepStrictEqual(Object.fromEntries(spans[0]!.attributes), said)
    const caller = begin("call").spans[0]!
    writeEvent(caller, record)
    assert.deepStrictEqual(caller.events, [["rego.call", 5_110_500_000n, said]])
  })

  it("link the attempts of the group whose answer was returned, and none where none was", () => {
    const linksAfter = (returned: number) => {
      const { calls, spans } = begin()
      const attempts = [attemptOf(0, 0, 100), attemptOf(1, 0, 101), attemptOf(1, 1, 102)]
      for (const each of attempts) calls.attemptStarted(each)
      const record = recordOf(100)
      record.end(110, Exit.succeed("ada"), offset)
      calls.end(record, Exit.succeed("ada"), attempts[returned])
      return spans.slice(1).map(({ links }) =>
        links.map(({ attributes, span }) => [attributes["rego.link"], spans.findIndex((it) => it === span) - 1])
      )
    }
    assert.deepStrictEqual(linksAfter(2), [[], [["winner", 2]], [["loser", 1]]])
    assert.deepStrictEqual(linksAfter(0), [[], [], []])
    assert.deepStrictEqual(linksAfter(-1), [[], [], []])
  })

  it("stand under the nearest span around them that is propagated", () => {
    const hidden = Context.make(Tracer.DisablePropagation, true)
    const native = (name: string, parent: Tracer.AnySpan | undefined, annotations = Context.empty()) =>
      new Tracer.NativeSpan({
        name,
        parent: Option.fromUndefinedOr(parent),
        annotations,
        links: [],
        startTime: 0n,
        kind: "internal",
        sampled: true
      })
    const request = native("request", undefined)
    const [inner, alone] = [
      native("inner", native("outer", request, hidden), hidden),
      native("alone", undefined, hidden)
    ]
    const external = Tracer.externalSpan({ spanId: "1", traceId: "2" })
    const rows: ReadonlyArray<readonly [around: Tracer.AnySpan, parent: Tracer.AnySpan | undefined]> = [
      [request, request],
      [inner, request],
      [alone, undefined],
      [external, external],
      [native("inner", external, hidden), external],
      [Tracer.externalSpan({ spanId: "1", traceId: "2", annotations: hidden }), undefined]
    ]
    for (const [around, parent] of rows) {
      const { spans } = begin("call", Context.make(Tracer.ParentSpan, around) as unknown as Context.Context<never>)
      assert.strictEqual(Option.getOrUndefined(spans[0]!.parent), parent)
    }
  })
})
