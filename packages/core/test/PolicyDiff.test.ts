import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, Policy } from "@rego/core"
import { Duration, Schedule } from "effect"
import * as PolicyDiff from "../src/PolicyDiff.ts"

const diff = (before: unknown, after: unknown) =>
  PolicyDiff.between(before, after).map(({ after, before, path }) => [path.join("."), before, after])

const sections = (input: Policy.Input) => Policy.make(input).sections

describe("PolicyDiff", () => {
  it("finds nothing between equal policies, whatever objects they are", () => {
    const make = () =>
      sections({
        retry: { maxAttempts: 3, backoff: Backoff.exponential({ initial: 10, max: 100 }) },
        timeout: { overall: "1 second" },
        hedge: { trigger: Hedge.quantile(0.9, { fallback: "50 millis" }) }
      })
    assert.deepStrictEqual(diff({ policies: { a: make() } }, { policies: { a: make() } }), [])
  })

  it("says which field changed from what to what, durations as text", () => {
    const before = sections({ retry: { maxAttempts: 3 }, timeout: { overall: "1 second" } })
    const after = sections({ retry: { maxAttempts: 5 }, timeout: { overall: "2 seconds", perAttempt: 100 } })
    assert.deepStrictEqual(diff({ policies: { "a.*": before } }, { policies: { "a.*": after } }), [
      ["policies.a.*.retry.maxAttempts", 3, 5],
      ["policies.a.*.timeout.overall", "1s", "2s"],
      ["policies.a.*.timeout.perAttempt", undefined, "100ms"]
    ])
  })

  it("looks into optional values", () => {
    const trigger = (fallback?: number) => sections({ hedge: { trigger: Hedge.quantile(0.9, { fallback }) } })
    assert.deepStrictEqual(diff(trigger(), trigger(50)), [["hedge.trigger.fallback", undefined, "50ms"]])
  })

  it("tells a section that is off from one that is absent", () => {
    assert.deepStrictEqual(diff(sections({ retry: { maxAttempts: 2 } }), sections({ retry: "off" })), [
      ["retry.maxAttempts", 2, undefined],
      ["retry", undefined, "off"]
    ])
  })

  it("sees an entry without fields come and go: it makes its keys known", () => {
    assert.deepStrictEqual(diff({ policies: {} }, { policies: { a: {} } }), [
      ["policies.a", undefined, "{}"]
    ])
    assert.deepStrictEqual(diff({ policies: {} }, { policies: { a: { idempotent: undefined } } }), [
      ["policies.a", undefined, "{}"]
    ])
    assert.deepStrictEqual(diff({ policies: { a: {} } }, { policies: { a: { idempotent: true } } }), [
      ["policies.a.idempotent", undefined, true]
    ])
  })

  it("compares what has no fields by its identity, and names it", () => {
    const [one, other] = [Schedule.spaced("1 second"), Schedule.spaced("1 second")]
    const classifier = () => undefined
    assert.deepStrictEqual(diff(sections({ retry: { backoff: one } }), sections({ retry: { backoff: one } })), [])
    assert.lengthOf(diff(sections({ retry: { backoff: one } }), sections({ retry: { backoff: other } })), 1)
    assert.deepStrictEqual(diff({}, sections({ classifier })), [
      ["classifier", undefined, "a function"]
    ])
  })

  it("looks into records without a prototype, as `JSON.parse` of others makes them", () => {
    const record = (x: number): object => Object.assign(Object.create(null), { x })
    assert.deepStrictEqual(diff({ a: record(1) }, { a: record(2) }), [["a.x", 1, 2]])
  })

  it("compares what has a JSON form by that form, and nothing else by how it looks", () => {
    class Named {
      readonly toJSON: unknown
      constructor(toJSON: unknown) {
        this.toJSON = toJSON
      }
    }
    const named = (name: string) => new Named(() => name)
    assert.deepStrictEqual(diff({ a: named("x") }, { a: named("x") }), [])
    assert.deepStrictEqual(diff({ a: named("x") }, { a: named("y") }), [["a", "x", "y"]])
    assert.deepStrictEqual(diff({ a: named("x") }, { a: "x" }), [["a", "x", "x"]])
    assert.deepStrictEqual(diff({ a: "x" }, { a: named("x") }), [["a", "x", "x"]])
    assert.deepStrictEqual(diff({ a: () => 1 }, { a: () => 1 }), [["a", "a function", "a function"]])
    const other = new Named("no function")
    assert.deepStrictEqual(diff({ a: null }, { a: other }), [["a", null, other]])
    assert.deepStrictEqual(diff({ a: 1 }, { a: null }), [["a", 1, null]])
  })

  it("finds the same in steps, one for each entry", () => {
    const before = { defaults: { idempotent: true }, policies: { a: { budget: "x" }, b: {}, c: { budget: "z" } } }
    const after = { policies: { a: { budget: "y" }, c: { budget: "z" }, d: { budget: "w" } }, off: { "a.*": Infinity } }
    const steps = PolicyDiff.differing(before, after)
    let taken = 0
    let step = steps.next()
    for (; step.done !== true; step = steps.next()) taken++
    assert.strictEqual(taken, 6)
    assert.deepStrictEqual(step.value, PolicyDiff.between(before, after))
    assert.deepStrictEqual(step.value.map(({ path }) => path.join(".")), [
      "defaults.idempotent",
      "policies.a.budget",
      "policies.b",
      "policies.d.budget",
      "off.a.*"
    ])
  })

  it("takes two durations of equal length for the same", () => {
    assert.deepStrictEqual(diff({ a: Duration.millis(1_000) }, { a: Duration.seconds(1) }), [])
    assert.lengthOf(diff({ a: Duration.nanos(1n) }, { a: Duration.nanos(2n) }), 1)
    assert.lengthOf(diff({ a: Duration.infinity }, { a: Duration.days(9_999) }), 1)
  })
})
