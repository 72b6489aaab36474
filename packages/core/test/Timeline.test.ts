import { assert, describe, it } from "@effect/vitest"
import { Outcome, PolicyKey, Timeline } from "@rego/core"
import { Cause, Context, Effect, Exit, Option, Schema, Tracer } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { AttemptFacts, CallRecord } from "../src/CallRecord.ts"
import { liveClock } from "../src/Time.ts"
import { property } from "./arbitraries.ts"

/** wall time 5,000 is 100 on the line of the clock */
const wallOffset = 4_900

const make = (name = "users.Get"): CallRecord =>
  new CallRecord(PolicyKey.make(name), { revision: "7", source: "live", retries: true }, 100)

const attempt = (
  retry: number,
  startedAt: number,
  fields: Partial<Pick<AttemptFacts, "endedAt" | "endedBy" | "outcome" | "cause">>,
  hedge = 0,
  backoffBefore = 0
): AttemptFacts => {
  const call = {
    binding: { key: PolicyKey.make("users.Get") },
    clock: liveClock,
    retry,
    previous: undefined,
    delayBefore: backoffBefore
  }
  return Object.assign(new AttemptFacts(call, hedge, startedAt, Infinity), fields)
}

/** A failure, a wait, a success. */
const rescued = (): CallRecord => {
  const record = make()
  const busy = Outcome.retryable({ reason: "http_503" })
  record.add(
    attempt(0, 100, { endedAt: 130, endedBy: "returned", outcome: busy, cause: Cause.fail(new Error("503")) }),
    16
  )
  record.decide({ _tag: "BackoffScheduled", at: 130, delay: 20, retryAfter: 15 })
  record.add(attempt(1, 150, { endedAt: 160, endedBy: "returned", outcome: Outcome.success }, 0, 20), 16)
  record.end(160, Exit.succeed("ada"), wallOffset)
  return record
}

/** A first attempt that is slow, and a hedge that answers. */
const hedged = (): CallRecord => {
  const record = make()
  record.add(attempt(0, 100, { endedAt: 140, endedBy: "interrupted_loser" }), 16)
  record.add(attempt(0, 120, { endedAt: 140, endedBy: "returned", outcome: Outcome.success }, 1), 16)
  record.decide({
    _tag: "Denied",
    at: 130,
    kind: "hedge",
    budget: "default",
    reason: "bucket_empty",
    retryAfter: 250,
    count: 1
  })
  record.end(140, Exit.succeed("ada"), wallOffset)
  return record
}

const errorOf = (error: unknown): string | undefined => {
  const record = make()
  record.add(attempt(0, 100, { endedAt: 101, endedBy: "returned", cause: Cause.fail(error) }), 16)
  return Timeline.fromRecord(record).attempts[0]?.error
}

describe("Timeline", () => {
  describe("fromRecord", () => {
    it("is what the checked constructors make of the same fields, and encodes", () => {
      const timeline = Timeline.fromRecord(rescued())
      const attempts = timeline.attempts.map((record) => new Timeline.AttemptRecord({ ...record }))
      const checked = new Timeline.Timeline({ ...timeline, attempts })
      assert.deepStrictEqual(timeline, checked)
      assert.instanceOf(timeline, Timeline.Timeline)
      assert.isTrue(Schema.is(Timeline.Timeline)(timeline))
      const encoded = Schema.encodeSync(Timeline.Timeline)(timeline)
      assert.deepStrictEqual(Schema.decodeSync(Timeline.Timeline)(encoded), timeline)
    })

    it("derives every stamp from one reading of the wall clock", () => {
      const timeline = Timeline.fromRecord(rescued())
      assert.strictEqual(timeline.startedAt, 5_000)
      assert.strictEqual(timeline.endedAt, 5_060)
      assert.deepStrictEqual(timeline.attempts.map((a) => [a.startedAt, a.endedAt]), [[5_000, 5_030], [5_050, 5_060]])
      assert.deepStrictEqual(timeline.decisions, [{ _tag: "BackoffScheduled", at: 5_030, delay: 20, retryAfter: 15 }])
    })

    it("keeps what each attempt was and how it ended", () => {
      const timeline = Timeline.fromRecord(rescued())
      assert.strictEqual(timeline.key, "users.Get")
      assert.strictEqual(timeline.policyRevision, "7")
      assert.strictEqual(timeline.policySource, "live")
      assert.strictEqual(timeline.result, "success")
      assert.deepStrictEqual({ ...timeline.attempts[0] }, {
        attempt: { retry: 0, hedge: 0 },
        startedAt: 5_000,
        endedAt: 5_030,
        endedBy: "returned",
        outcome: "Retryable",
        reason: "http_503",
        error: "Error: 503"
      })
      assert.deepStrictEqual({ ...timeline.attempts[1] }, {
        attempt: { retry: 1, hedge: 0 },
        startedAt: 5_050,
        endedAt: 5_060,
        endedBy: "returned",
        outcome: "Success",
        backoffBefore: 20
      })
    })

    it("gives an abandoned attempt no end: its fiber still ran", () => {
      const record = make()
      record.add(attempt(0, 100, { endedAt: 120, endedBy: "abandoned" }), 16)
      record.end(120, "interrupted", wallOffset)
      const [only] = Timeline.fromRecord(record).attempts
      assert.strictEqual(only?.endedBy, "abandoned")
      assert.notProperty(only, "endedAt")
    })

    it("says how many attempts it has no room for", () => {
      const record = make()
      for (let retry = 0; retry < 10; retry++) record.add(attempt(retry, 100, { endedAt: 101, endedBy: "returned" }), 3)
      record.end(110, Exit.fail("no"), wallOffset)
      const timeline = Timeline.fromRecord(record)
      assert.deepStrictEqual(timeline.attempts.map((a) => a.attempt.retry), [0, 1, 9])
      assert.deepStrictEqual(timeline.attributes, { droppedAttempts: "7" })
      assert.deepStrictEqual(Timeline.fromRecord(rescued()).attributes, {})
    })

    it("summarizes an error in one line of 200 characters", () => {
      assert.strictEqual(errorOf(new TypeError("first\nsecond")), "TypeError: first")
      assert.strictEqual(errorOf("text"), "text")
      assert.strictEqual(errorOf(undefined), "undefined")
      const long = errorOf("x".repeat(1_000))
      assert.strictEqual(long, `${"x".repeat(200)}…`)
    })

    it("survives an error that cannot be printed", () => {
      const hostile = {
        get _tag(): string {
          throw new Error("no")
        }
      }
      assert.strictEqual(errorOf(hostile), "(an error that cannot be printed)")
      assert.strictEqual(errorOf(Object.create(null)), "{}")
      assert.strictEqual(errorOf({ _tag: "Busy", after: 1 }), "Busy")
    })

    it("has a JSON form that is the same timeline again", () => {
      const timeline = Timeline.fromRecord(rescued())
      const json: unknown = JSON.parse(JSON.stringify(Schema.encodeSync(Timeline.Timeline)(timeline)))
      assert.deepStrictEqual(Schema.decodeUnknownSync(Timeline.Timeline)(json), timeline)
    })
  })

  describe("render", () => {
    it("draws a line for each attempt, to scale, then the decisions", () => {
      assert.deepStrictEqual(Timeline.render(Timeline.fromRecord(rescued())).split("\n"), [
        "users.Get: success after 60ms, 2 attempts, policy live 7",
        `  first           │${"█".repeat(16).padEnd(32)}│ 0ms + 30ms  Retryable http_503  Error: 503`,
        `  retry 1         │${" ".repeat(27)}${"█".repeat(5)}│ 50ms + 10ms  Success`,
        "  at 30ms: wait 20ms (the server asked for 15ms)"
      ])
    })

    it("says who ended an attempt, and every kind of decision", () => {
      const record = make()
      record.add(attempt(0, 100, { endedAt: 150, endedBy: "timed_out" }), 16)
      record.add(attempt(0, 120, { endedBy: "abandoned" }, 1), 16)
      record.decide({
        _tag: "Denied",
        at: 150,
        kind: "hedge",
        budget: "default",
        reason: "ratio_exhausted",
        count: 3
      })
      record.decide({ _tag: "Denied", at: 150, kind: "retry", budget: "default", reason: "none", count: 1 })
      record.decide({ _tag: "Stopped", at: 150, reason: "budget_denied" })
      record.end(150, Exit.fail("no"), wallOffset)
      const lines = Timeline.render(Timeline.fromRecord(record)).split("\n")
      assert.strictEqual(lines[0], "users.Get: failure after 50ms, 2 attempts, policy live 7")
      assert.isTrue(lines[1]?.endsWith("│ 0ms + 50ms  (timed_out)"), lines[1])
      assert.isTrue(lines[2]?.startsWith("  first hedge 1   │"), lines[2])
      assert.isTrue(lines[2]?.endsWith("│ 20ms + 30ms  (abandoned)"), lines[2])
      assert.deepStrictEqual(lines.slice(3), [
        "  at 50ms: budget \"default\" denied a hedge: ratio_exhausted (3 times)",
        "  at 50ms: budget \"default\" denied a retry: none",
        "  at 50ms: stopped, budget_denied",
        "  wasted: 30ms in 1 attempt whose answer came too late or never"
      ])
    })

    it("shows at a glance which attempt lost, which one won, and what the race cost", () => {
      const lines = Timeline.render(Timeline.fromRecord(hedged())).split("\n")
      assert.deepStrictEqual(lines.slice(1), [
        `  first           │${"░".repeat(32)}│ 0ms + 40ms  (interrupted_loser)`,
        `  first hedge 1   │${" ".repeat(16)}${"█".repeat(16)}│ 20ms + 20ms  Success (won)`,
        "  at 30ms: budget \"default\" denied a hedge: bucket_empty, room in 250ms",
        "  wasted: 40ms in 1 attempt whose answer came too late or never"
      ])
    })

    it("lets no text of others move the cursor or run backwards", () => {
      const hostile = "\u001b[2Jgone\u202Etxt"
      const shown = Timeline.render(
        new Timeline.Timeline({
          ...Timeline.fromRecord(rescued()),
          key: hostile,
          policyRevision: hostile,
          decisions: [{
            _tag: "Denied",
            at: 5_010,
            kind: "retry",
            budget: hostile,
            reason: "other",
            detail: hostile,
            count: 1
          }]
        })
      )
      for (const character of ["\u001b", "\u202E"]) assert.notInclude(shown, character)
      assert.include(shown, "\uFFFD[2Jgone\uFFFDtxt: success")
    })

    it("draws a call that took no time, and one without attempts", () => {
      const instant = make()
      instant.add(attempt(0, 100, { endedAt: 100, endedBy: "returned", outcome: Outcome.success }), 16)
      instant.end(100, Exit.succeed(1), wallOffset)
      const bar = Timeline.render(Timeline.fromRecord(instant)).split("\n")[1]?.split("│")[1]
      assert.strictEqual(bar, "█".padEnd(32))
      const empty = make()
      empty.end(100, Exit.fail("no"), wallOffset)
      assert.strictEqual(
        Timeline.render(Timeline.fromRecord(empty)),
        "users.Get: failure after 0ms, 0 attempts, policy live 7"
      )
    })

    it("draws an attempt that began when its call ended, and says nothing of one that nobody judged", () => {
      const record = make()
      record.add(attempt(0, 110, { endedAt: 110, endedBy: "returned" }), 16)
      record.end(110, Exit.succeed(1), wallOffset)
      assert.strictEqual(
        Timeline.render(Timeline.fromRecord(record)).split("\n")[1],
        `  first           │${"█".padStart(32)}│ 10ms + 0ms`
      )
    })

    it("draws a timeline that was read and makes no sense: an attempt that began before its call", () => {
      const odd = make()
      odd.add(attempt(0, -9_000, { endedAt: 20, endedBy: "returned", outcome: Outcome.success }), 16)
      odd.end(130, Exit.succeed(1), wallOffset)
      assert.include(Timeline.render(Timeline.fromRecord(odd)), "│█")
    })
  })

  describe("attributes", () => {
    it("say under which override a call ran, and how old its policy was where nobody confirmed it, in whole seconds", () => {
      const attributes = (policy: object) => {
        const record = new CallRecord(
          PolicyKey.make("users.Get"),
          { revision: "7", source: "stale", retries: true, ...policy },
          100
        )
        record.end(100, Exit.succeed(1), wallOffset)
        return Timeline.attributesOf(record)
      }
      assert.deepStrictEqual(attributes({}), {})
      assert.deepStrictEqual(attributes({ override: "users.*" }), { override: "users.*" })
      assert.deepStrictEqual(attributes({ confirmedAt: 3_100 }), { policyAge: "1" })
      assert.deepStrictEqual(attributes({ confirmedAt: 9_000 }), { policyAge: "0" })
    })

    it("are on one line each, with what a terminal would obey taken out", () => {
      const facts = attempt(0, 100, {})
      assert.isUndefined(Timeline.annotationsIn(facts))
      facts.note("a\u001b[31m\nb", `${"x".repeat(200)}`)
      facts.note("long", "x".repeat(201))
      assert.deepStrictEqual(Timeline.annotationsIn(facts), {
        "a[31m": "x".repeat(200),
        long: `${"x".repeat(200)}…`
      })
    })
  })

  it("calls an error by its name where it says nothing", () => {
    assert.strictEqual(errorOf(new TypeError("")), "TypeError")
    assert.strictEqual(errorOf(new TypeError("no")), "TypeError: no")
    assert.strictEqual(errorOf(""), "")
  })

  it("keeps of a failure that is passed on for ever the outermost calls and the innermost ones", () => {
    let cause: Cause.Cause<string> = Cause.fail("no")
    for (let i = 0; i < 40; i++) {
      cause = Timeline.annotate(cause, make(`calls.c${i}`))
      const names = Timeline.recordsOf(cause).map(({ key }) => key as string)
      const all = Array.from({ length: i + 1 }, (_, j) => `calls.c${i - j}`)
      assert.deepStrictEqual(names, i < 32 ? all : [...all.slice(0, 16), ...all.slice(-16)])
    }
  })

  it("a capture of no timelines at all is refused", () => {
    for (const maxTimelines of [0, -1, 1.5, NaN]) {
      assert.throws(
        () => Timeline.captureWith({ maxTimelines })(Effect.void),
        RangeError,
        `maxTimelines must be an integer from 1, got ${maxTimelines}`
      )
    }
    assert.doesNotThrow(() => Timeline.captureWith({ maxTimelines: 1 })(Effect.void))
  })

  it("refuses a version that is none, with an error that says so", () => {
    const good = Timeline.toJson(Timeline.fromRecord(rescued()))
    const read = (schemaVersion: unknown) =>
      Effect.runSync(Effect.result(Timeline.fromJson({ ...good, schemaVersion })))
    for (const version of ["1.0", "1.10"]) assert.strictEqual(read(version)._tag, "Success")
    for (const version of ["v1.0", "1.0.0", "1", "2.0", 1]) {
      const result = read(version)
      if (result._tag === "Success") assert.fail(String(version))
      assert.strictEqual(result.failure._tag, "TimelineInvalid")
      assert.include(result.failure.message, "schemaVersion: must be \"1.0\" or a later 1.x")
    }
  })

  describe("toJson", () => {
    const fixture = (name: string) => readFileSync(join(import.meta.dirname, name), "utf8")

    it("is this text, and the text of an earlier build is read for ever", () => {
      const file = fixture("fixtures/timeline.json")
      const timelines = [rescued(), hedged()].map(Timeline.fromRecord)
      assert.strictEqual(`${JSON.stringify(timelines.map(Timeline.toJson), undefined, 2)}\n`, file)
      const read = (JSON.parse(file) as ReadonlyArray<unknown>).map((json) => Effect.runSync(Timeline.fromJson(json)))
      assert.deepStrictEqual(read, timelines)
    })

    // the texts are compared: JSON has one zero, where numbers have two
    property("comes back as the same timeline", { timeline: Arbitrary.schema(Timeline.Timeline) }, ({ timeline }) => {
      const text = JSON.stringify(Timeline.toJson(timeline))
      const read = Effect.runSync(Timeline.fromJson(JSON.parse(text)))
      assert.instanceOf(read, Timeline.Timeline)
      assert.strictEqual(JSON.stringify(Timeline.toJson(read)), text)
    })

    it("has a JSON Schema, which is the file of the package", () => {
      const file = fixture("../timeline.schema.json")
      assert.strictEqual(
        file,
        `${JSON.stringify(Timeline.jsonSchema(), undefined, 2)}\n`,
        "write it anew: npm run schema"
      )
    })
  })

  describe("fromJson", () => {
    const issuesOf = (json: unknown) =>
      Effect.runSync(Effect.flip(Timeline.fromJson(json))).issues.map(({ message, path }) => [path.join("."), message])
    const good = Timeline.toJson(Timeline.fromRecord(rescued()))

    it("takes fields that a later minor version added", () => {
      const newer = { ...good, schemaVersion: "1.7", zone: "eu", attempts: [] }
      assert.strictEqual(Effect.runSync(Timeline.fromJson(newer)).key, "users.Get")
    })

    it("refuses another major version, and what has none", () => {
      assert.deepStrictEqual(issuesOf({ ...good, schemaVersion: "2.0" }), [
        ["schemaVersion", "must be \"1.0\" or a later 1.x, got \"2.0\""]
      ])
      for (const json of [null, "x", [], {}]) {
        assert.deepStrictEqual(issuesOf(json), [["schemaVersion", "must be \"1.0\" or a later 1.x, got undefined"]])
      }
    })

    it("reports every issue with its path and value", () => {
      const [first] = good["attempts"] as ReadonlyArray<object>
      const found = issuesOf({ ...good, result: "won", attempts: [{ ...first, endedBy: "magic", startedAt: true }] })
      assert.sameMembers(found.map(([path]) => path), ["result", "attempts.0.endedBy", "attempts.0.startedAt"])
      assert.include(found.find(([path]) => path === "result")?.[1], "\"won\"")
    })
  })

  describe("fromCause", () => {
    it("answers with the calls that a failure went through, outermost first", () => {
      const inner = Timeline.annotate(Cause.fail("no"), make("inner.Get"))
      const outer = Timeline.annotate(inner, make("outer.Get"))
      assert.deepStrictEqual(Timeline.fromCause(outer).map((timeline) => timeline.key), ["outer.Get", "inner.Get"])
      assert.deepStrictEqual(Timeline.fromCause(inner).map((timeline) => timeline.key), ["inner.Get"])
      assert.deepStrictEqual(Timeline.fromCause(Cause.fail("no")), [])
    })

    it.effect("survives mapError, catchTag of another tag, ensuring and a span", () =>
      Effect.gen(function*() {
        const failing = Effect.failCause(Timeline.annotate(Cause.fail({ _tag: "A" } as const), make()))
        const exit = yield* failing.pipe(
          Effect.mapError(() => ({ _tag: "B" } as const)),
          Effect.catchTag("C" as never, () => Effect.void),
          Effect.ensuring(Effect.void),
          Effect.withSpan("span"),
          Effect.exit
        )
        assert.isTrue(Exit.isFailure(exit))
        if (Exit.isFailure(exit)) assert.lengthOf(Timeline.fromCause(exit.cause), 1)
      }))
  })

  describe("fromSpans", () => {
    const spanOf = (name: string, attributes: object, parent?: Tracer.AnySpan) => {
      const span = new Tracer.NativeSpan({
        name,
        parent: Option.fromUndefinedOr(parent),
        annotations: Context.empty(),
        links: [],
        startTime: 5_000_000_000n,
        kind: "internal",
        sampled: true
      })
      for (const [key, value] of Object.entries(attributes)) span.attribute(key, value)
      span.end(5_010_000_000n, Exit.void)
      return span
    }

    it("makes the same timeline as a record does, of the same classes", () => {
      const record = make()
      record.add(attempt(0, 100, { endedAt: 110, endedBy: "returned", outcome: Outcome.success }), 16)
      record.end(110, Exit.succeed(1), wallOffset)
      const call = spanOf("users.Get", {
        "rego.result": "success",
        "rego.policy.revision": "7",
        "rego.policy.source": "live"
      })
      const inside = spanOf("users.Get attempt", {
        "rego.attempt.retry": 0,
        "rego.attempt.hedge": 0,
        "rego.attempt.ended_by": "returned",
        "rego.outcome": "Success"
      }, call)
      const [timeline] = Timeline.fromSpans([call, inside])
      assert.deepStrictEqual(timeline, Timeline.fromRecord(record))
      assert.instanceOf(timeline, Timeline.Timeline)
      assert.instanceOf(timeline!.attempts[0], Timeline.AttemptRecord)
    })
  })

  /** A call as the driver ends it: it hands its record to the collector of its fiber. */
  const call = (name: string) =>
    Effect.withFiber((fiber) =>
      Effect.sync(() => {
        const record = make(name)
        record.end(110, Exit.succeed(1), wallOffset)
        fiber.getRef(Timeline.CurrentCollector)?.add(record)
      })
    )

  const keys = (timelines: ReadonlyArray<Timeline.Timeline>) => timelines.map((timeline) => timeline.key)

  describe("captureWith", () => {
    it.effect("keeps at most as many timelines as it is told, and counts the rest", () =>
      Effect.gen(function*() {
        const captured = yield* Timeline.captureWith({ maxTimelines: 2 })(Effect.forEach(["a", "b", "c"], call))
        assert.deepStrictEqual(keys(captured.timelines), ["a", "b"])
        assert.strictEqual(captured.dropped, 1)
      }))

    it.effect("keeps 1,000 unless told", () =>
      Effect.gen(function*() {
        const { dropped, timelines } = yield* Timeline.captureWith({})(Effect.replicateEffect(call("a"), 1_005))
        assert.strictEqual(timelines.length, 1_000)
        assert.strictEqual(dropped, 5)
      }))
  })

  describe("capture", () => {
    it.effect("answers with the exit, a failure too, and the calls that were made", () =>
      Effect.gen(function*() {
        const [exit, timelines] = yield* Timeline.capture(Effect.andThen(call("a"), Effect.fail("no")))
        assert.deepStrictEqual(exit, Exit.fail("no"))
        assert.deepStrictEqual(keys(timelines), ["a"])
      }))

    it.effect("shows an outer capture the calls of an inner one [E48]", () =>
      Effect.gen(function*() {
        const [inner, outer] = yield* Timeline.capture(
          Effect.andThen(call("before"), Timeline.capture(call("inside")))
        )
        assert.deepStrictEqual(keys(outer), ["before", "inside"])
        assert.isTrue(Exit.isSuccess(inner))
        if (Exit.isSuccess(inner)) assert.deepStrictEqual(keys(inner.value[1]), ["inside"])
      }))
  })
})
