import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import {
  Budget,
  Hedge,
  Observer,
  Outcome,
  PolicyLayer,
  PolicyProvider,
  PolicySource,
  Rego,
  RegoMetrics
} from "@rego/core"
import { Effect, Fiber, Layer, Logger, Metric } from "effect"
import { TestClock } from "effect/testing"
import { document, memory } from "./liveSupport.ts"
import { fails, hangs, Judged, judged, script, succeeds } from "./support.ts"

type Row = readonly [series: string, value: number]

const valueOf = ({ state, type }: Metric.Metric.Snapshot): number =>
  type === "Counter" ?
    Number((state as Metric.CounterState<number>).count)
    : type === "Gauge" ?
    Number((state as Metric.GaugeState<number>).value)
    : (state as Metric.HistogramState).count

const nameOf = ({ attributes = {}, id }: Metric.Metric.Snapshot): string =>
  [id, ...Object.entries(attributes).filter(([name]) => name !== "unit").map(([name, value]) => `${name}=${value}`)]
    .join(" ")

/** What is in the registry under a name, counts for histograms. */
const read = (name: string): Effect.Effect<ReadonlyArray<Row>> =>
  Effect.map(Metric.snapshot, (all) => all.filter(({ id }) => id === name).map((it): Row => [nameOf(it), valueOf(it)]))

interface Under {
  readonly policies?: Record<string, Policy.Input>
  readonly layer?: Layer.Layer<PolicyProvider.PolicyProvider, Policy.PolicyInvalid>
  readonly metrics?: RegoMetrics.Options
}

const under =
  ({ layer, metrics, policies = {} }: Under) =>
  <A, E>(self: Effect.Effect<A, E, PolicyProvider.PolicyProvider>): Effect.Effect<A, E | Policy.PolicyInvalid> =>
    self.pipe(
      Effect.provide(
        RegoMetrics.layer(metrics).pipe(Layer.provideMerge(layer ?? PolicyLayer.make({ policies })))
      ),
      Effect.provideService(Metric.MetricRegistry, new Map())
    )

const make = (key: string, effect: Effect.Effect<unknown, unknown> = Effect.void) =>
  Effect.andThen(Effect.exit(Rego.resilient(effect, key)), Observer.flush)

const refused = (reason: string) => Effect.fail(new Judged(Outcome.nonRetryable({ reason })))

describe("RegoMetrics", () => {
  describe("keys", () => {
    it.effect("have series of their own up to a bound, and share one beyond it", () =>
      Effect.gen(function*() {
        for (const key of ["a.A", "b.B", "c.C", "a.A", "d.D"]) yield* make(key)
        assert.deepStrictEqual(yield* read("rego.call.attempts"), [
          ["rego.call.attempts key=a.A", 2],
          ["rego.call.attempts key=b.B", 1],
          ["rego.call.attempts key=_overflow", 2]
        ])
        assert.deepStrictEqual((yield* read("rego.attempts.active")).map(([name]) => name), [
          "rego.attempts.active key=a.A",
          "rego.attempts.active key=b.B",
          "rego.attempts.active key=_overflow"
        ])
      }).pipe(under({ metrics: { maxKeys: 2 } })))

    it.effect("do not grow the registry without an end", () =>
      Effect.gen(function*() {
        const sizeAfter = (count: number) =>
          Effect.andThen(
            Effect.forEach(Array.from({ length: count }, (_, i) => i), (i) => make(`many.k${i.toString(26)}`), {
              discard: true
            }),
            Effect.map(Metric.snapshot, (all) => all.length)
          )
        const small = yield* sizeAfter(20)
        assert.strictEqual(yield* sizeAfter(600), small)
      }).pipe(under({ metrics: { maxKeys: 10 } })))
  })

  describe("reasons", () => {
    const policies = { "*": { classifier: judged } }

    it.effect("of classifiers are labels only when they stand in a list", () =>
      Effect.gen(function*() {
        yield* make("a.A", refused("http_404"))
        yield* make("a.A", refused("user 4711 is gone"))
        yield* make("a.A", refused("user 4712 is gone"))
        yield* make("a.A", refused("mine"))
        assert.deepStrictEqual(yield* read("rego.attempt.duration"), [
          ["rego.attempt.duration key=a.A kind=primary outcome=non_retryable reason=http_404", 1],
          ["rego.attempt.duration key=a.A kind=primary outcome=non_retryable reason=other", 2],
          ["rego.attempt.duration key=a.A kind=primary outcome=non_retryable reason=mine", 1]
        ])
      }).pipe(under({ policies, metrics: { reasons: ["mine"] } })))
  })

  describe("what runs", () => {
    const hanging = { "*": { timeout: { perAttempt: "50 millis" } } } as const

    it.effect("is read while it runs", () =>
      Effect.gen(function*() {
        const call = yield* Effect.forkChild(Rego.resilient(script(hangs).effect, "a.A"), { startImmediately: true })
        assert.deepStrictEqual(yield* read("rego.attempts.active"), [["rego.attempts.active key=a.A", 1]])
        assert.deepStrictEqual(yield* read("rego.attempts.abandoned"), [["rego.attempts.abandoned key=a.A", 0]])
        yield* TestClock.adjust("50 millis")
        yield* Fiber.await(call)
        assert.deepStrictEqual(yield* read("rego.attempts.active"), [["rego.attempts.active key=a.A", 0]])
      }).pipe(under({ policies: hanging })))

    it.effect("includes what was given up, until it ends", () =>
      Effect.gen(function*() {
        const stubborn = Effect.uninterruptible(Effect.sleep("1 second"))
        const call = yield* Effect.forkChild(Rego.resilient(stubborn, "a.A"), { startImmediately: true })
        yield* TestClock.adjust("50 millis")
        yield* Fiber.await(call)
        assert.deepStrictEqual(yield* read("rego.attempts.active"), [["rego.attempts.active key=a.A", 1]])
        assert.deepStrictEqual(yield* read("rego.attempts.abandoned"), [["rego.attempts.abandoned key=a.A", 1]])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* read("rego.attempts.active"), [["rego.attempts.active key=a.A", 0]])
        assert.deepStrictEqual(yield* read("rego.attempts.abandoned"), [["rego.attempts.abandoned key=a.A", 0]])
      }).pipe(under({ policies: hanging })))
  })

  describe("budgets", () => {
    it.effect("show what they hold now, and what they refused", () => {
      const layer = PolicyLayer.make({ policies: { "*": { retry: { maxAttempts: 2 }, budget: "three" } } }).pipe(
        Layer.provide(Budget.layer("three", Budget.tokenBucket({ capacity: 3, refillPerSecond: 0 })))
      )
      return Effect.gen(function*() {
        yield* make("a.A")
        assert.deepStrictEqual(yield* read("rego.budget.available"), [[
          "rego.budget.available key=a.A budget=three",
          3
        ]])
        for (let i = 0; i < 4; i++) {
          const call = yield* Effect.forkChild(make("a.A", Effect.fail("no")), { startImmediately: true })
          yield* TestClock.adjust("1 second")
          yield* Fiber.join(call)
        }
        assert.deepStrictEqual(yield* read("rego.budget.available"), [[
          "rego.budget.available key=a.A budget=three",
          0
        ]])
        assert.deepStrictEqual(yield* read("rego.budget.denied"), [
          ["rego.budget.denied key=a.A kind=retry reason=bucket_empty budget=three", 1]
        ])
      }).pipe(under({ layer }))
    })

    it.effect("that have no limit show no number", () =>
      Effect.gen(function*() {
        yield* make("a.A")
        assert.deepStrictEqual(yield* read("rego.budget.available"), [])
      }).pipe(under({ policies: { "*": { budget: "unlimited" } } })))

    it.effect("whose state has a defect change no call", () => {
      const broken = Budget.layer(
        "broken",
        Effect.succeed({
          tryAcquire: () => ({ _tag: "Denied" as const, reason: "mine" }),
          get state(): never {
            throw new Error("no state")
          }
        })
      )
      const layer = PolicyLayer.make({ policies: { "*": { budget: "broken" } } }).pipe(Layer.provide(broken))
      return Effect.gen(function*() {
        const exit = yield* Effect.exit(make("a.A"))
        assert.strictEqual(exit._tag, "Success")
      }).pipe(under({ layer }), Effect.provide(Logger.layer([])))
    })

    /** A budget whose state is what the Effect says, for all keys. */
    const withState = (name: string, state: Effect.Effect<{ readonly balance: number }>) =>
      PolicyLayer.make({ policies: { "*": { budget: name } } }).pipe(
        Layer.provide(
          Budget.layer(name, Effect.succeed({ tryAcquire: () => ({ _tag: "Denied", reason: "mine" }), state }))
        )
      )

    it.effect("whose state takes time show the last one that came", () => {
      let asked = 0
      const state = Effect.suspend(() => Effect.as(Effect.sleep("10 millis"), { balance: ++asked }))
      return Effect.gen(function*() {
        const available = Effect.map(read("rego.budget.available"), (rows) => rows.map(([, value]) => value))
        yield* make("a.A")
        assert.deepStrictEqual(yield* available, [0])
        yield* TestClock.adjust("10 millis")
        assert.deepStrictEqual(yield* available, [1])
        assert.deepStrictEqual(yield* available, [1])
        yield* TestClock.adjust("10 millis")
        assert.deepStrictEqual(yield* available, [2])
        assert.strictEqual(asked, 3, "asked again while an answer is on its way")
        const provider = yield* PolicyProvider.PolicyProvider
        yield* provider.override("a.A", "hedgeOff", { for: "1 minute" })
        yield* make("a.A")
        assert.deepStrictEqual(yield* available, [2], "another policy, and the same budget")
      }).pipe(under({ layer: withState("slow", state) }))
    })

    it.effect("whose state is still on its way when the layer closes are asked no more", () =>
      Effect.gen(function*() {
        let interrupted = 0
        const state = Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
        yield* make("a.A").pipe(under({ layer: withState("slow", state) }))
        assert.strictEqual(interrupted, 1)
      }))

    it.effect("whose state never comes show nothing left, and nobody waits for them", () => {
      const layer = withState("silent", Effect.never)
      return Effect.gen(function*() {
        yield* make("a.A")
        assert.deepStrictEqual(yield* read("rego.budget.available"), [[
          "rego.budget.available key=a.A budget=silent",
          0
        ]])
      }).pipe(under({ layer }))
    })
  })

  describe("hedges", () => {
    const policies = {
      "a.A": { hedge: { trigger: Hedge.after("10 millis") }, idempotent: true, timeout: { overall: "1 second" } }
    } as const

    it.effect("that won are counted with the time that they saved, and the loser as no failure", () =>
      Effect.gen(function*() {
        const s = script<string, never>(hangs, succeeds("quick", 5))
        const call = yield* Effect.forkChild(make("a.A", s.effect), { startImmediately: true })
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(call)
        assert.deepStrictEqual(yield* read("rego.hedge.won"), [["rego.hedge.won key=a.A", 1]])
        assert.deepStrictEqual(yield* read("rego.hedge.wasted"), [])
        assert.deepStrictEqual((yield* read("rego.hedge.saved")).map(([name]) => name), ["rego.hedge.saved key=a.A"])
        assert.deepStrictEqual(yield* read("rego.attempt.duration"), [
          ["rego.attempt.duration key=a.A kind=primary outcome=lost", 1],
          ["rego.attempt.duration key=a.A kind=hedge outcome=success", 1]
        ])
      }).pipe(under({ policies })))
  })

  describe("policies", () => {
    const naming = (revision: string, budget: string) =>
      document({
        revision,
        budgets: { [budget]: { type: "tokenBucket", capacity: 7, refillPerSecond: 0 } },
        policies: { "*": { budget, timeout: { overall: "1 second" } } }
      })

    it.effect("in force have one series, with the revision of now", () =>
      Effect.gen(function*() {
        const { say, source } = yield* memory()
        yield* say(naming("r1", "one"))
        const layer = PolicyLayer.live().pipe(Layer.provide(Layer.succeed(PolicySource.PolicySource, source)))
        yield* Effect.gen(function*() {
          yield* make("a.A")
          assert.deepStrictEqual(yield* read("rego.policy.info"), [["rego.policy.info state=live revision=r1", 1]])
          assert.deepStrictEqual(yield* read("rego.budget.available"), [[
            "rego.budget.available key=a.A budget=one",
            7
          ]])
          yield* say(naming("r2", "two"))
          yield* make("a.A")
          assert.deepStrictEqual(yield* read("rego.policy.info"), [["rego.policy.info state=live revision=r2", 1]])
          assert.deepStrictEqual(yield* read("rego.budget.available"), [[
            "rego.budget.available key=a.A budget=two",
            7
          ]])
        }).pipe(under({ layer }))
      }))

    it.effect("of a layer that has closed are read no more", () =>
      Effect.gen(function*() {
        const registry: Metric.MetricRegistry = new Map()
        const App = RegoMetrics.layer().pipe(Layer.provideMerge(PolicyLayer.defaults))
        yield* make("a.A", script(fails("no"), succeeds(1)).effect).pipe(
          Effect.provide(App),
          Effect.forkChild({ startImmediately: true }),
          Effect.tap(TestClock.adjust("1 second")),
          Effect.flatMap(Fiber.join),
          Effect.provideService(Metric.MetricRegistry, registry)
        )
        const names = Array.from(registry.values(), ({ id }) => id)
        assert.include(names, "rego.call.duration")
        for (const name of ["rego.attempts.active", "rego.budget.available", "rego.policy.info"]) {
          assert.notInclude(names, name)
        }
      }))
  })

  describe("several layers", () => {
    const countsUnder = (layer: Layer.Layer<never, never, PolicyProvider.PolicyProvider>, outer?: typeof layer) =>
      Effect.andThen(make("a.A"), Effect.map(read("rego.call.attempts"), (rows) => rows.map(([, count]) => count)))
        .pipe(
          Effect.provide(layer),
          Effect.provide(outer ?? Layer.empty),
          Effect.provide(PolicyLayer.defaults),
          Effect.provideService(Metric.MetricRegistry, new Map())
        )

    it.effect("that report to one registry count a call once, side by side and around one another", () =>
      Effect.gen(function*() {
        const [one, other] = [RegoMetrics.layer(), RegoMetrics.layer({ maxKeys: 7 })]
        for (const layer of [one, Layer.merge(one, one), Layer.merge(one, other), Layer.provideMerge(one, other)]) {
          assert.deepStrictEqual(yield* countsUnder(layer), [1])
          assert.deepStrictEqual(yield* countsUnder(layer, one), [1])
        }
      }))

    it.effect("count for each of their registries, and for each set of attributes", () =>
      Effect.gen(function*() {
        const registry: Metric.MetricRegistry = new Map()
        const elsewhere = RegoMetrics.layer().pipe(Layer.provide(Layer.succeed(Metric.MetricRegistry, registry)))
        assert.deepStrictEqual(yield* countsUnder(Layer.merge(RegoMetrics.layer(), elsewhere)), [1])
        assert.isAbove(registry.size, 0)
        const forTeam = RegoMetrics.layer().pipe(
          Layer.provide(Layer.succeed(Metric.CurrentMetricAttributes, { team: "a" }))
        )
        assert.deepStrictEqual(yield* countsUnder(Layer.merge(RegoMetrics.layer(), forTeam)), [1, 1])
      }))
  })

  describe("options", () => {
    it("are refused with every one that is out of range", () => {
      assert.throws(
        () => RegoMetrics.layer({ maxKeys: 0, reasons: ["user 4711"], durations: [1, 1], capacity: 0.5 }),
        RangeError,
        /maxKeys.*\n.*reasons\[0\].*\n.*durations.*\n.*capacity/
      )
    })

    it("are refused out of their bounds, with the rule, and taken at them", () => {
      const rows = [
        [{ reasons: ["no reason"] }, "reasons[0]: must be 1 to 64 characters A-Z a-z 0-9 _ . : -"],
        [{ reasons: Array.from({ length: 101 }, () => "r") }, "reasons: must be at most 100 reasons"],
        [{ durations: [] }, "durations: must be 1 to 100 ascending numbers above 0"],
        [{ durations: [0, 1] }, "durations: must be 1 to 100 ascending numbers above 0"],
        [{ durations: [1, 1] }, "durations: must be 1 to 100 ascending numbers above 0"],
        [{ durations: Array.from({ length: 101 }, (_, i) => i + 1) }, "durations: must be 1 to 100 ascending numbers"]
      ] as const
      for (const [options, rule] of rows) {
        try {
          RegoMetrics.make(options)
        } catch (error) {
          assert.instanceOf(error, RangeError)
          assert.include((error as RangeError).message, `RegoMetrics: ${rule}`)
          continue
        }
        assert.fail(rule)
      }
      const reasons = Array.from({ length: 100 }, () => "r")
      const durations = Array.from({ length: 100 }, (_, i) => i + 1)
      assert.doesNotThrow(() => RegoMetrics.make({ reasons, durations }))
    })

    it.effect("stand beside the observers that are there, under the name of metrics", () =>
      Effect.gen(function*() {
        const told: Array<string> = []
        const outer = Observer.layer([{ onCallEnd: ({ key }) => void told.push(key) }])
        yield* make("a.A").pipe(under({}), Effect.provide(outer))
        assert.deepStrictEqual(told, ["a.A"])
        const observer = yield* Effect.scoped(RegoMetrics.make()).pipe(Effect.provide(PolicyLayer.defaults))
        assert.strictEqual(observer.name, "metrics")
      }))

    it.effect("choose the buckets of durations", () =>
      Effect.gen(function*() {
        yield* make("a.A")
        const all = yield* Metric.snapshot
        const bounds = all.flatMap(({ id, state }) =>
          id === "rego.call.duration" ? (state as Metric.HistogramState).buckets.map(([bound]) => bound) : []
        )
        assert.deepStrictEqual(bounds, [0.1, 1])
      }).pipe(under({ metrics: { durations: [0.1, 1] } })))
  })

  describe("instruments", () => {
    it("have names, units and attributes that can be told apart", () => {
      const names = RegoMetrics.instruments.map(({ name }) => name)
      assert.strictEqual(new Set(names).size, names.length)
      for (const { boundaries, description, name, type, unit } of RegoMetrics.instruments) {
        assert.match(name, /^rego(\.[a-z]+)+$/)
        assert.match(unit, /^(s|\{[a-z]+\})$/)
        assert.isAbove(description.length, 10)
        assert.strictEqual(boundaries !== undefined, type === "histogram", name)
      }
    })

    it.effect("are all that is reported, with these attributes and no others", () =>
      Effect.gen(function*() {
        yield* make("a.A", refused("http_404"))
        for (const { attributes = {}, description, id, type } of yield* Metric.snapshot) {
          const instrument = RegoMetrics.instruments.find(({ name }) => name === id)
          assert.isDefined(instrument, id)
          assert.strictEqual(instrument!.type, type.toLowerCase())
          assert.strictEqual(instrument!.description, description)
          const { unit, ...rest } = attributes
          assert.strictEqual(unit, instrument!.unit)
          assert.isTrue(Object.keys(rest).every((name) => instrument!.attributes.includes(name)), id)
        }
      }).pipe(under({ policies: { "*": { classifier: judged } } })))
  })

  describe("prometheusName", () => {
    it("says what a collector says", () => {
      assert.strictEqual(RegoMetrics.prometheusName("rego.call.duration"), "rego_call_duration_seconds")
      assert.strictEqual(RegoMetrics.prometheusName("rego.hedge.won"), "rego_hedge_won_total")
      assert.strictEqual(RegoMetrics.prometheusName("rego.hedge.saved"), "rego_hedge_saved_seconds_total")
      assert.strictEqual(RegoMetrics.prometheusName("rego.attempts.active"), "rego_attempts_active")
    })

    it("leaves the names of others as they are", () => {
      assert.strictEqual(RegoMetrics.prometheusName("http.server.request.duration"), "http.server.request.duration")
    })
  })
})
