import { assert, describe, it } from "@effect/vitest"
import { Context, Metric } from "effect"
import type { Update } from "../src/CallMetrics.ts"
import { Bounded, MetricSeries } from "../src/MetricSeries.ts"
import type { Options } from "../src/MetricSeries.ts"
import { counts } from "../src/MetricTable.ts"

const make = (options: Partial<Options> = {}) => {
  const context = Context.make(Metric.MetricRegistry, new Map())
  const series = new MetricSeries({ maxKeys: 10, durations: [0.1, 1], reasons: [], ...options }, context)
  return { series, snapshot: () => Metric.snapshotUnsafe(context) }
}

const update = (metric: Update["metric"], attributes: ReadonlyArray<string> = [], value = 1): Update => ({
  metric,
  value,
  attributes
})

/** What stands in the registry after these updates of one key, but for the unit. */
const labelsAfter = (...updates: ReadonlyArray<Update>) => {
  const { series, snapshot } = make()
  for (const each of updates) series.update("a.A", each)
  return snapshot().map(({ attributes, id }) => {
    const { unit: _, ...rest } = attributes as Record<string, string>
    return [id, rest]
  })
}

const only = ({ snapshot }: ReturnType<typeof make>) => {
  assert.lengthOf(snapshot(), 1)
  return snapshot()[0]!
}

const boundsOf = ({ state }: Metric.Metric.Snapshot) => (state as Metric.HistogramState).buckets.map(([at]) => at)

describe("MetricSeries", () => {
  describe("a series", () => {
    it("is a counter that only rises, with the unit and the words of its row", () => {
      const made = make()
      for (const value of [2, 3]) made.series.update("a.A", update("hedgeWon", [], value))
      const { attributes, description, id, state, type } = only(made)
      assert.deepStrictEqual([id, type, description], ["rego.hedge.won", "Counter", "hedges whose answer was returned"])
      assert.deepStrictEqual({ ...attributes }, { unit: "{hedge}", key: "a.A" })
      assert.deepStrictEqual({ ...state }, { count: 5, incremental: true })
    })

    it("is a gauge that holds the latest value", () => {
      const made = make()
      for (const value of [2, 3]) made.series.update("a.A", update("attemptsActive", [], value))
      const { state, type } = only(made)
      assert.deepStrictEqual([type, { ...state }], ["Gauge", { value: 3 }])
    })

    it("is a histogram, of durations with the bounds that were asked for, of what is counted with those of its row", () => {
      const [duration, attempts] = [make(), make()]
      duration.series.update("a.A", update("callDuration", ["success"]))
      attempts.series.update("a.A", update("callAttempts"))
      assert.deepStrictEqual([only(duration), only(attempts)].map(boundsOf), [[0.1, 1], counts])
    })

    it("is one for each combination of attributes, and has none that are empty or not given", () => {
      const given = [["primary", "success"], ["retry", "success", ""], ["primary", "success"], [
        "hedge",
        "lost",
        "reset"
      ]]
      assert.deepStrictEqual(labelsAfter(...given.map((attributes) => update("attemptDuration", attributes))), [
        ["rego.attempt.duration", { key: "a.A", kind: "primary", outcome: "success" }],
        ["rego.attempt.duration", { key: "a.A", kind: "retry", outcome: "success" }],
        ["rego.attempt.duration", { key: "a.A", kind: "hedge", outcome: "lost", reason: "reset" }]
      ])
    })
  })

  it("keeps a bounded number of values apart, the first ones", () => {
    const bounded = new Bounded(2)
    assert.deepStrictEqual(["a", "b", "a", "c", "b"].map((value) => bounded.of(value)), [
      "a",
      "b",
      "a",
      "_overflow",
      "b"
    ])
  })

  it("keeps the names of a hundred budgets apart, and bounds nothing but these names", () => {
    const denied = (budget: string) => update("budgetDenied", ["retry", "other", budget])
    const row = (labels: object) => ["rego.budget.denied", { key: "a.A", kind: "retry", reason: "other", ...labels }]
    const names = Array.from({ length: 101 }, (_, i) => `b${i}`)
    const timedOut = update("attemptDuration", ["primary", "timed_out", "attempt_timeout"])
    assert.deepStrictEqual(labelsAfter(denied(""), ...names.map(denied), denied("b7"), timedOut), [
      row({}),
      ...names.slice(0, 100).map((budget) => row({ budget })),
      row({ budget: "_overflow" }),
      ["rego.attempt.duration", { key: "a.A", kind: "primary", outcome: "timed_out", reason: "attempt_timeout" }]
    ])
  })

  it("lets a reason into a label that is known here, or was named", () => {
    const { series } = make({ reasons: ["mine"] })
    assert.deepStrictEqual(["http_503", "mine", "user 4711"].map(series.labelOf), ["http_503", "mine", "other"])
  })

  it("reads what is registered when it is collected, until it is removed", () => {
    const { series, snapshot } = make()
    let [saved, running] = [0.5, 3]
    const registered = [
      series.register("hedgeSaved", ["a.A"], () => saved),
      series.register("attemptsActive", ["a.A"], () => running)
    ]
    const read = () => snapshot().map(({ id, state, type }) => [id, type, { ...state }])
    const both = (count: number, value: number) => [
      ["rego.hedge.saved", "Counter", { count, incremental: true }],
      ["rego.attempts.active", "Gauge", { value }]
    ]
    assert.deepStrictEqual(read(), both(0.5, 3))
    ;[saved, running] = [0.75, 1]
    assert.deepStrictEqual(read(), both(0.75, 1))
    for (const each of registered) each.remove()
    assert.deepStrictEqual(read(), [])
  })
})
