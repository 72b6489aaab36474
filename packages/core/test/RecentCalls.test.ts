import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { Effect, Option } from "effect"
import { RecentCalls } from "../src/RecentCalls.ts"
import { integer, pick, property } from "./arbitraries.ts"

interface Given {
  readonly key?: string
  readonly at?: number
  readonly took?: number
  readonly result?: Timeline.Timeline["result"]
}

const ended = ({ at = 0, key = "users.Get", result = "success", took = 1 }: Given) =>
  new Timeline.Timeline({
    key,
    policyRevision: "1",
    policySource: "local",
    startedAt: at,
    endedAt: at + took,
    attempts: [],
    decisions: [],
    result,
    attributes: {}
  })

const retried = new Timeline.Timeline({
  ...ended({ key: "retried.Get" }),
  attempts: [0, 1].map((retry) =>
    new Timeline.AttemptRecord({ attempt: { retry, hedge: 0 }, startedAt: 0, endedAt: 1, endedBy: "returned" })
  )
})

const keysOf = (recent: RecentCalls, ...filter: Parameters<RecentCalls["calls"]>) =>
  Effect.runSync(recent.calls(...filter)).map(({ timeline }) => timeline.key)

const recentOf = (options: ConstructorParameters<typeof RecentCalls>[0], calls: ReadonlyArray<Given>): RecentCalls => {
  const recent = new RecentCalls(options)
  for (const call of calls) recent.onCallEnd(ended(call))
  return recent
}

describe("RecentCalls", () => {
  it("keeps the latest calls, newest first, and counts all of them", () => {
    const calls = ["a", "b", "c", "d"].map((key, at) => ({ key, at }))
    const recent = recentOf({ capacity: 2, keepSlowest: 0 }, calls)
    assert.deepStrictEqual(keysOf(recent), ["d", "c"])
    assert.strictEqual(Effect.runSync(recent.seen), 4)
  })

  it("keeps failures apart, so that successes do not push them out", () => {
    const good = Array.from({ length: 10 }, (_, at) => ({ key: "good", at: at + 10 }))
    const failures = [{ key: "old", at: 0 }, { key: "bad", at: 1 }, { key: "worse", at: 2, result: "defect" as const }]
    const recent = recentOf({ capacity: 1, keepFailed: 2, keepSlowest: 0 }, [
      ...failures.map((it) => ({ result: "failure" as const, ...it })),
      ...good
    ])
    assert.deepStrictEqual(keysOf(recent), ["good", "worse", "bad"])
  })

  it("keeps the slowest of the last hour apart", () => {
    const hour = 3_600_000
    const recent = recentOf({ capacity: 1, keepSlowest: 2 }, [
      { key: "slow", at: 0, took: 90 },
      { key: "slower", at: 1, took: 100 },
      { key: "quick", at: 2, took: 1 }
    ])
    assert.deepStrictEqual(keysOf(recent, { order: "slowest" }), ["slower", "slow", "quick"])
    recent.onCallEnd(ended({ key: "later", at: hour + 200, took: 2 }))
    assert.deepStrictEqual(keysOf(recent, { order: "slowest" }), ["later"])
  })

  it("forgets the slowest of earlier hours, whatever comes after them", () => {
    const hour = 3_600_000
    const recent = recentOf({ capacity: 1, keepSlowest: 2 }, [
      { key: "slowest", at: 0, took: 100 },
      { key: "slow", at: hour, took: 50 }
    ])
    recent.onCallEnd(ended({ key: "quick", at: hour + 200, took: 1 }))
    assert.deepStrictEqual(keysOf(recent, { order: "slowest" }), ["slow", "quick"])
    const idle = recentOf({ slowerThan: 10, capacity: 1 }, [{ key: "slow", took: 20 }, { key: "later", took: 10 }])
    idle.onCallEnd(ended({ key: "quick", at: hour + 200, took: 1 }))
    assert.deepStrictEqual(keysOf(idle), ["later"], "what is too quick to be kept says what the time is")
  })

  describe("the slowest", () => {
    const slowest = (size: number, ...calls: ReadonlyArray<Given>) =>
      keysOf(recentOf({ capacity: 1, keepFailed: 0, keepSlowest: size }, calls), { order: "slowest" })
    const last = { key: "last", at: 500, took: 0 }

    it("are as many as were asked for, the first of those that took as long", () => {
      const calls = [5, 7, 6, 7, 5, 8].map((took, at) => ({ key: `${at} took ${took}`, at, took }))
      assert.deepStrictEqual(slowest(0, ...calls, last), ["last"])
      assert.deepStrictEqual(slowest(1, ...calls, last), ["5 took 8", "last"])
      assert.deepStrictEqual(slowest(2, ...calls, last), ["5 took 8", "1 took 7", "last"])
      assert.deepStrictEqual(slowest(3, ...calls, last), ["5 took 8", "3 took 7", "1 took 7", "last"])
      assert.deepStrictEqual(slowest(9, ...calls, last).length, 7)
    })

    it("stay for an hour after they have ended, to the millisecond", () => {
      const after = (age: number) => slowest(1, { key: "slow", took: 100 }, { key: "now", at: 100 + age, took: 0 })
      assert.deepStrictEqual(after(3_600_000), ["slow", "now"])
      assert.deepStrictEqual(after(3_600_001), ["now"])
    })

    it("make room for one that is quicker as soon as the earliest of them is an hour old", () => {
      const hour = 3_600_000
      const calls = [
        { key: "early", at: 0, took: 90 },
        { key: "slower", at: 1_000, took: 100 },
        { key: "third", at: hour + 500, took: 10 },
        { key: "fourth", at: hour + 600, took: 5 }
      ]
      assert.deepStrictEqual(slowest(2, ...calls), ["slower", "third", "fourth"])
      assert.deepStrictEqual(slowest(2, ...calls, { ...last, at: hour + 700 }), ["slower", "third", "last"])
    })
  })

  it("shows calls that ended in one instant in the order in which it was told of them", () => {
    const recent = recentOf({}, Array.from({ length: 100 }, (_, i) => ({ key: `k${i}` })))
    const newestFirst = Array.from({ length: 100 }, (_, i) => `k${99 - i}`)
    assert.deepStrictEqual(keysOf(recent), newestFirst)
    assert.deepStrictEqual(keysOf(recent, { order: "slowest" }), newestFirst)
  })

  it("counts attempts whose records were dropped", () => {
    const recent = recentOf({}, [])
    recent.onCallEnd(new Timeline.Timeline({ ...retried, attributes: { droppedAttempts: "3" } }))
    assert.deepStrictEqual(keysOf(recent, { minAttempts: 5 }), ["retried.Get"])
    assert.deepStrictEqual(keysOf(recent, { minAttempts: 6 }), [])
  })

  it("does not keep a success that was quick enough, and every failure", () => {
    const recent = recentOf({ slowerThan: "10 millis" }, [
      { key: "quick", took: 9 },
      { key: "slow", took: 10 },
      { key: "failed", took: 1, result: "failure" },
      { key: "left", took: 1, result: "interrupted" }
    ])
    assert.sameMembers(keysOf(recent), ["slow", "failed"])
  })

  it("is an observer of the name of recent", () => {
    assert.strictEqual(new RecentCalls({}).name, "recent")
  })

  it("finds a call by its id, which no other call of the process has", () => {
    const recent = recentOf({}, [{ key: "a" }, { key: "b" }, { key: "c", at: 7 }])
    const calls = Effect.runSync(recent.calls())
    assert.strictEqual(new Set(calls.map(({ id }) => id)).size, 3)
    for (const call of calls) assert.deepStrictEqual(Effect.runSync(recent.find(call.id)), Option.some(call))
    assert.deepStrictEqual(Effect.runSync(recent.find("0-9")), Option.none())
  })

  it("filters by a part of the key, by result and by duration, and sorts", () => {
    const recent = recentOf({}, [
      { key: "users.Get", at: 1, took: 5 },
      { key: "users.List", at: 2, took: 50 },
      { key: "orders.Get", at: 3, took: 20, result: "failure" }
    ])
    assert.deepStrictEqual(keysOf(recent, { key: "USERS" }), ["users.List", "users.Get"])
    assert.deepStrictEqual(keysOf(recent, { result: "failure" }), ["orders.Get"])
    assert.deepStrictEqual(keysOf(recent, { slowerThan: "20 millis", order: "slowest" }), ["users.List", "orders.Get"])
    assert.deepStrictEqual(keysOf(recent, { limit: 1 }), ["users.List"])
    recent.onCallEnd(retried)
    assert.deepStrictEqual(keysOf(recent, { minAttempts: 2 }), ["retried.Get"])
  })

  property("never keeps more than its bounds, and always the latest and the slowest call", {
    capacity: integer(1, 5),
    failed: integer(0, 3),
    slowest: integer(1, 3),
    seed: integer(0, 1_000),
    count: integer(1, 60),
    result: pick(["success", "failure"] as const)
  }, ({ capacity, count, failed, result, seed, slowest }) => {
    const calls = Array.from({ length: count }, (_, i) => ({
      key: `k${i}`,
      at: i * 100,
      took: (i * 37 + seed) % 97 + 1,
      result: i % 3 === 0 ? result : "success" as const
    }))
    const recent = recentOf({ capacity, keepFailed: failed, keepSlowest: slowest }, calls)
    const kept = Effect.runSync(recent.calls()).map(({ timeline }) => timeline)
    assert.isAtMost(kept.length, capacity + failed + slowest)
    assert.strictEqual(kept[0]?.key, `k${count - 1}`)
    const longest = Math.max(...calls.map(({ took }) => took))
    assert.strictEqual(Math.max(...kept.map(({ endedAt, startedAt }) => endedAt - startedAt)), longest)
  })

  it("refuses sizes and durations that are none", () => {
    const refused = (options: object) => () => new RecentCalls(options)
    assert.throws(refused({ capacity: 0 }), RangeError, "capacity must be an integer between 1 and 10000, got 0")
    assert.throws(
      refused({ keepFailed: 1.5 }),
      RangeError,
      "keepFailed must be an integer between 0 and 10000, got 1.5"
    )
    assert.throws(refused({ keepSlowest: NaN }), RangeError, "keepSlowest")
    assert.throws(refused({ capacity: 10_001 }), RangeError, "between 1 and 10000, got 10001")
    assert.doesNotThrow(refused({ capacity: 10_000, keepFailed: 0, keepSlowest: 0 }))
    assert.throws(refused({ slowerThan: "soon" }), RangeError, "slowerThan must be a duration")
  })
})
