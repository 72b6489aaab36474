import { assert, describe, it } from "@effect/vitest"
import { Hedge, PolicyLayer, PolicyProvider, PolicySource, Rego } from "@rego/core"
import { Duration, Effect, Exit, Fiber, Layer, Metric, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import { MetricSeries } from "../src/MetricSeries.ts"
import { follow } from "../src/ProviderMetrics.ts"
import { document, memory } from "./liveSupport.ts"
import { hangs, script, succeeds } from "./support.ts"

// what runs, what budgets hold and which policies are in force, as users see it: RegoMetrics.test.ts

/** Follows the provider until the scope closes, with labels for so many keys. */
const following = (maxKeys = 10) =>
  Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const series = new MetricSeries({ maxKeys, durations: [1], reasons: [] }, context)
    yield* follow(yield* PolicyProvider.PolicyProvider, series)
  })

const read = (name: string) =>
  Effect.map(Metric.snapshot, (all) =>
    all.filter(({ id }) => id === name).map(({ attributes, state }) => {
      const { unit: _, ...labels } = attributes as Record<string, string>
      const { count, value } = state as { readonly count?: number; readonly value?: number }
      return [labels, count ?? value]
    }))

const make = <A, E>(key: string, effect: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const call = yield* Effect.forkChild(Rego.resilient(effect, key), { startImmediately: true })
    yield* TestClock.adjust("1 second")
    return yield* Fiber.join(call)
  })

const inRegistry = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => Effect.provideService(self, Metric.MetricRegistry, new Map()))

describe("ProviderMetrics", () => {
  const hedging = {
    hedge: { trigger: Hedge.after("200 millis") },
    idempotent: true,
    budget: "unlimited",
    timeout: { overall: "10 seconds" }
  } as const

  it.effect("show what hedges saved, of keys that hedge, in seconds", () =>
    Effect.gen(function*() {
      yield* following(1)
      for (const key of ["plain.A", "plain.B", "hedged.A", "hedged.B"]) {
        for (let i = 0; i < 10; i++) yield* make(key, script(succeeds(1, 900), hangs).effect)
      }
      for (const key of ["hedged.A", "hedged.B"]) {
        yield* make(key, script<string, never>(hangs, succeeds("quick")).effect)
      }
      const provider = yield* PolicyProvider.PolicyProvider
      const savedBy = (key: string) =>
        Effect.map(
          provider.statistics(key),
          (found) => Duration.toSeconds(Option.getOrThrow(Option.flatMap(found, (it) => it.hedging)).hedges.saved)
        )
      const saved = (yield* savedBy("hedged.A")) + (yield* savedBy("hedged.B"))
      assert.isAbove(saved, 1)
      assert.deepStrictEqual(yield* read("rego.hedge.saved"), [[{ key: "_overflow" }, saved]])
    }).pipe(
      Effect.scoped,
      Effect.provide(PolicyLayer.make({ policies: { "*": {}, "hedged.*": hedging } })),
      inRegistry
    ))

  it.effect("show which policies are in force from the first moment, with as much of a revision as a label may hold", () =>
    Effect.gen(function*() {
      const { say, source } = yield* memory()
      yield* say(document({ revision: "first" }))
      const policies = PolicyLayer.live().pipe(Layer.provide(Layer.succeed(PolicySource.PolicySource, source)))
      const shown = (revision: string) =>
        Effect.gen(function*() {
          yield* say(document({ revision }))
          return yield* Effect.scoped(Effect.andThen(following(), read("rego.policy.info")))
        })
      yield* Effect.gen(function*() {
        for (const length of [1, 64, 65]) {
          const labels = { state: "live", revision: "r".repeat(Math.min(length, 64)) }
          assert.deepStrictEqual(yield* shown("r".repeat(length)), [[labels, 1]])
        }
      }).pipe(Effect.provide(policies))
    }).pipe(inRegistry))

  it.effect("show nothing more when they are over, though their provider goes on", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      yield* Scope.provide(following(), scope)
      const call = (key: string) => Rego.resilient(Effect.void, key)
      yield* call("a.A")
      assert.deepStrictEqual(yield* read("rego.attempts.active"), [[{ key: "a.A" }, 0]])
      yield* Scope.close(scope, Exit.void)
      yield* call("b.B")
      assert.deepStrictEqual(yield* Metric.snapshot, [])
    }).pipe(Effect.provide(PolicyLayer.defaults), inRegistry))
})
