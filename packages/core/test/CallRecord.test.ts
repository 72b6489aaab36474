import { assert, describe, it, vi } from "@effect/vitest"
import { PolicyKey, Timeline } from "@rego/core"
import { Cause, Effect, Exit, Fiber } from "effect"
import type { CallSoFar } from "../src/CallRecord.ts"
import { annotationsOf, AttemptFacts, CallRecord, Collector } from "../src/CallRecord.ts"
import { liveClock } from "../src/Time.ts"
import { integer, property } from "./arbitraries.ts"

const callOf = (retry: number): CallSoFar => ({
  binding: { key: PolicyKey.make("users.Get") },
  clock: liveClock,
  retry,
  previous: undefined,
  delayBefore: undefined
})

const make = (name = "users.Get"): CallRecord =>
  new CallRecord(PolicyKey.make(name), { revision: "local", source: "local", retries: true }, 100)

describe("AttemptFacts", () => {
  const after = (delay: number, hedge: number) =>
    new AttemptFacts({ ...callOf(1), delayBefore: delay }, hedge, 0, Infinity)

  it("are of an attempt that is given up until somebody says how it ended", () => {
    assert.strictEqual(after(0, 0).endedBy, "abandoned")
  })

  it("tell the wait before an attempt, which is none for its hedges", () => {
    assert.deepStrictEqual([after(20, 0).backoffBefore, after(20, 1).backoffBefore], [20, undefined])
  })

  it("take notes until the attempt has ended: the last of each name, of the first 16 names", () => {
    const facts = after(0, 0)
    assert.isUndefined(annotationsOf(facts))
    for (let i = 0; i < 20; i++) facts.note(`n${i % 17}`, String(i))
    facts.endedAt = 1
    facts.note("n0", "late")
    const expected = Array.from({ length: 16 }, (_, i) => [`n${i}`, String(i < 3 ? i + 17 : i)])
    assert.deepStrictEqual([...annotationsOf(facts)!], expected as Array<[string, string]>)
  })
})

describe("CallRecord", () => {
  describe("add", () => {
    property(
      "keeps the first attempts and the latest one, and counts what it dropped",
      { attempts: integer(1, 40), max: integer(1, 20) },
      ({ attempts, max }) => {
        const record = make()
        for (let retry = 0; retry < attempts; retry++) record.add(new AttemptFacts(callOf(retry), 0, 0, Infinity), max)
        const all = Array.from({ length: attempts }, (_, i) => i)
        const kept = attempts <= max ? all : [...all.slice(0, max - 1), attempts - 1]
        assert.deepStrictEqual(record.attempts.map((attempt) => attempt.retry), kept)
        assert.strictEqual(record.droppedAttempts, attempts - kept.length)
      }
    )
  })

  describe("decide", () => {
    it("keeps decisions in their order, and allocates nothing before the first", () => {
      const record = make()
      assert.strictEqual(record.decisions, undefined)
      record.decide({ _tag: "BackoffScheduled", at: 1, delay: 10 })
      record.decide({ _tag: "Stopped", at: 2, reason: "budget_denied" })
      assert.deepStrictEqual(record.decisions, [
        { _tag: "BackoffScheduled", at: 1, delay: 10 },
        { _tag: "Stopped", at: 2, reason: "budget_denied" }
      ])
    })
  })

  describe("denied", () => {
    it("says of a denial what the budget said, and nothing else", () => {
      const record = make()
      record.denied(1, "retry", "throttled", 1, "payments", 250)
      record.denied(2, "hedge", "switched_off", 3, undefined, undefined)
      assert.deepStrictEqual(record.decisions, [
        {
          _tag: "Denied",
          at: 1,
          kind: "retry",
          reason: "throttled",
          count: 1,
          budget: "payments",
          retryAfter: 250
        },
        { _tag: "Denied", at: 2, kind: "hedge", reason: "switched_off", count: 3 }
      ])
    })
  })

  describe("end", () => {
    const both = (a: Cause.Cause<string>, b: Cause.Cause<string>) => Exit.failCause(Cause.combine(a, b))
    const rows = [
      ["a success", Exit.succeed(1), "success"],
      ["a typed failure", Exit.fail("no"), "failure"],
      ["a defect", Exit.die("bug"), "defect"],
      ["an interruption", Exit.interrupt(1), "interrupted"],
      ["a failure whose cleanup was interrupted", both(Cause.fail("no"), Cause.interrupt(1)), "failure"],
      ["an interruption and a failure", both(Cause.interrupt(1), Cause.fail("no")), "failure"],
      ["an interruption and a defect", both(Cause.interrupt(1), Cause.die("bug")), "defect"],
      ["an empty cause", Exit.failCause(Cause.empty), "failure"],
      ["a caller that went away", "interrupted", "interrupted"]
    ] as const
    for (const [what, exit, result] of rows) {
      it(`calls ${what} ${result}`, () => {
        const record = make()
        record.end(150, exit, 1_000_000)
        assert.strictEqual(record.result, result)
        assert.strictEqual(record.endedAt, 150)
        assert.strictEqual(record.wallOffset, 1_000_000)
      })
    }
  })

  describe("Collector", () => {
    const names = (records: ReadonlyArray<CallRecord>) => records.map((record) => record.key)

    it("keeps the first records up to its bound and counts the rest", () => {
      const collector = new Collector(2, undefined)
      for (const name of ["a", "b", "c", "d"]) collector.add(make(name))
      assert.deepStrictEqual(names(collector.close()), ["a", "b"])
      assert.strictEqual(collector.dropped, 2)
    })

    it("hides nothing from the collector around it, whatever its own bound is", () => {
      const outer = new Collector(10, undefined)
      const inner = new Collector(1, outer)
      outer.add(make("before"))
      inner.add(make("a"))
      inner.add(make("b"))
      assert.deepStrictEqual(names(inner.close()), ["a"])
      assert.deepStrictEqual(names(outer.close()), ["before", "a", "b"])
    })

    it("takes nothing more once it is closed, and still passes on to the one around it", () => {
      const outer = new Collector(10, undefined)
      const inner = new Collector(10, outer)
      const closed = inner.close()
      inner.add(make("late"))
      assert.deepStrictEqual(names(closed), [])
      assert.strictEqual(inner.dropped, 0)
      assert.deepStrictEqual(names(outer.close()), ["late"])
    })

    it.effect("is counted as open until its capture ends, however it ends", () =>
      Effect.gen(function*() {
        const before = Collector.open
        const opened = Timeline.capture(Effect.sync(() => Collector.open - before))
        assert.deepStrictEqual((yield* opened)[0], Exit.succeed(1))
        assert.strictEqual(Collector.open, before)

        const interrupted = yield* Effect.forkChild(Timeline.capture(Effect.never), { startImmediately: true })
        assert.strictEqual(Collector.open, before + 1)
        yield* Fiber.interrupt(interrupted)
        assert.strictEqual(Collector.open, before)

        const collector = new Collector(1, undefined)
        collector.close()
        collector.close()
        assert.strictEqual(Collector.open, before)
      }))

    it("is counted as open by every copy of this package", async () => {
      vi.resetModules()
      const copy = await import("../src/CallRecord.ts")
      assert.notStrictEqual(copy.Collector, Collector)
      const before = Collector.open
      const collector = new copy.Collector(1, undefined)
      assert.deepStrictEqual([Collector.open, copy.Collector.open], [before + 1, before + 1])
      collector.close()
      assert.strictEqual(Collector.open, before)
    })
  })
})
