import { assert, describe, it } from "@effect/vitest"
import { Attempt, Backoff, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Deferred, Effect, Option } from "effect"
import { call } from "./support.ts"

describe("Attempt", () => {
  describe("format", () => {
    it("names the primary, retries and hedges", () => {
      assert.strictEqual(Attempt.format({ retry: 0, hedge: 0 }), "primary")
      assert.strictEqual(Attempt.format({ retry: 2, hedge: 0 }), "retry 2")
      assert.strictEqual(Attempt.format({ retry: 0, hedge: 1 }), "hedge 1")
      assert.strictEqual(Attempt.format({ retry: 2, hedge: 1 }), "retry 2, hedge 1")
    })
  })

  describe("CurrentAttempt", () => {
    it.effect("is absent outside of a call [O02]", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* Attempt.CurrentAttempt, Option.none())
      }))
  })

  describe("annotate", () => {
    it.effect("writes on the attempt that runs the code, and on no other", () =>
      Effect.gen(function*() {
        const name = Effect.map(Attempt.CurrentAttempt, (attempt) => `retry ${Option.getOrThrow(attempt).retry}`)
        const effect = Effect.flatMap(name, (value) =>
          Effect.andThen(Attempt.annotate("asked", value), Effect.fail("503")))
        const { rows, timeline } = yield* call(effect, { policy: { retry: { maxAttempts: 2, backoff: Backoff.none } } })
        assert.deepStrictEqual(
          timeline.attempts.map(({ attributes }) =>
            attributes
          ),
          [{ asked: "retry 0" }, { asked: "retry 1" }]
        )
        assert.include(Timeline.render(timeline), "Retryable typed_failure asked=retry 0  503\n")
        assert.deepStrictEqual(rows[1], [0, "end 0 Retryable typed_failure asked=retry 0"])
      }))

    it.effect("keeps the latest value of a name, the first 16 names, and nothing that a terminal would obey", () =>
      Effect.gen(function*() {
        const effect = Effect.gen(function*() {
          for (let i = 0; i < 20; i++) yield* Attempt.annotate(`name ${i}`, "first")
          yield* Attempt.annotate("name 3", "\u001b[31msecond\nthird")
          yield* Attempt.annotate("name 19", "second")
        })
        const { timeline } = yield* call(effect)
        const attributes = timeline.attempts[0]?.attributes ?? {}
        assert.strictEqual(Object.keys(attributes).length, 16)
        assert.strictEqual(attributes["name 3"], "[31msecond")
        assert.notProperty(attributes, "name 19")
      }))

    it.effect("does nothing outside of a call, nor when the attempt is over", () =>
      Effect.gen(function*() {
        yield* Attempt.annotate("nobody", "reads this")
        const later = yield* Deferred.make<void>()
        const wrote = yield* Deferred.make<void>()
        const late = Deferred.await(later).pipe(
          Effect.andThen(Attempt.annotate("late", "yes")),
          Effect.andThen(Deferred.succeed(wrote, undefined))
        )
        const [, [timeline]] = yield* Timeline.capture(
          Effect.forkDetach(late).pipe(
            Rego.resilient("users.Get"),
            Effect.andThen(Deferred.succeed(later, undefined)),
            Effect.andThen(Deferred.await(wrote))
          )
        )
        assert.isUndefined(timeline?.attempts[0]?.attributes)
      }).pipe(Effect.provide(PolicyLayer.defaults)))
  })
})
