import { assert, describe, it } from "@effect/vitest"
import { PolicyProvider, Rego } from "@rego/core"
import { Effect, Option } from "effect"
import { cases, everything, noTimers, operations, Policies, subjects } from "../src/cases.ts"

describe("cases", () => {
  for (const { call, name } of subjects) {
    it.live(`${name}: ends with the value of the operation`, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* call(operations.promise()), 1)
      }).pipe(Effect.provide(Policies)))
  }

  it("have ids of their own", () => {
    assert.strictEqual(new Set(cases.map(({ id }) => id)).size, cases.length)
  })

  it.live("run the operation once for each call", () =>
    Effect.gen(function*() {
      let runs = 0
      const effect = Effect.sync(() => ++runs)
      for (const { call } of subjects) yield* call({ effect, promise: async () => ++runs })
      assert.strictEqual(runs, subjects.length)
    }).pipe(Effect.provide(Policies)))

  it.effect("measure policies in which everything is on, but for the timeouts of one", () =>
    Effect.gen(function*() {
      const { policy } = yield* PolicyProvider.PolicyProvider
      const on = Option.getOrThrow(yield* policy(everything)).sections
      assert.isObject(on.retry)
      assert.isObject(on.timeout)
      assert.hasAllKeys(on.timeout, ["perAttempt", "overall"])
      assert.isFunction(on.classifier)
      assert.strictEqual(on.budget, "default")
      const off = Option.getOrThrow(yield* policy(noTimers)).sections
      assert.deepStrictEqual({ ...off, timeout: on.timeout }, on)
      assert.strictEqual(off.timeout, "off")
    }).pipe(Effect.provide(Policies)))

  it.live("retry a failing operation under the measured policy", () =>
    Effect.gen(function*() {
      let runs = 0
      const flaky = Effect.suspend(() => ++runs < 3 ? Effect.fail("503") : Effect.succeed(runs))
      assert.strictEqual(yield* Rego.resilient(flaky, everything), 3)
    }).pipe(Effect.provide(Policies)))
})
