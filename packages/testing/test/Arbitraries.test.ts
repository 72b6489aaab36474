import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, Outcome, Policy, PolicyLayer, Timeline } from "@rego/core"
import { Arbitraries, TimelineRows } from "@rego/testing"
import { Effect, Layer, Logger, Schema } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { seed } from "./support.ts"

const options = { arbitrary: { runs: 100, seed } }

const kindsOf = <A>(arbitrary: Arbitrary.Arbitrary<A>, kind: (value: A) => string, count = 500) =>
  Effect.map(Arbitrary.sampleEffect(arbitrary, { count, seed }), (all) => new Set(all.map(kind)))

describe("Arbitraries", () => {
  describe("policy", () => {
    it.prop("is accepted by Policy.make", { policy: Arbitraries.policy }, ({ policy }) => {
      Policy.make(policy)
    }, options)

    it.effect.prop(
      "boots",
      { policy: Arbitraries.policy },
      ({ policy }) =>
        Layer.build(PolicyLayer.make({ policies: { "users.*": policy } })).pipe(
          Effect.provideService(Logger.CurrentLoggers, new Set())
        ),
      { arbitrary: { runs: 50, seed } }
    )

    it.effect("has every section, on and off", () =>
      Effect.gen(function*() {
        const kinds = yield* kindsOf(Arbitraries.policy, ({ hedge, retry }) =>
          [retry, hedge].map((it) => typeof it === "object" ? "on" : String(it)).join(" "))
        assert.deepStrictEqual(
          kinds,
          new Set(["on on", "on undefined", "undefined on", "off off", "undefined undefined"])
        )
      }))
  })

  it.effect("backoff, trigger, outcome and event have every kind", () =>
    Effect.gen(function*() {
      const backoffs = yield* kindsOf(Arbitraries.backoff, (it) => it._tag)
      assert.isTrue(backoffs.size >= 3, [...backoffs].join())
      assert.isTrue((yield* Arbitrary.sampleEffect(Arbitraries.backoff, { count: 50, seed })).every(Backoff.isBackoff))
      assert.deepStrictEqual(
        yield* kindsOf(Arbitraries.trigger, (it) => it._tag),
        new Set(["After", "Quantile", "MaxExtraLoad"])
      )
      assert.isTrue((yield* Arbitrary.sampleEffect(Arbitraries.trigger, { count: 50, seed })).every(Hedge.isTrigger))
      assert.deepStrictEqual(
        yield* kindsOf(Arbitraries.outcome, (it) => it._tag),
        new Set(["Success", "Retryable", "NonRetryable", "Abort"])
      )
      assert.isTrue((yield* Arbitrary.sampleEffect(Arbitraries.outcome, { count: 50, seed })).every(Outcome.isOutcome))
      assert.isTrue((yield* kindsOf(Arbitraries.event, (it) => it._tag)).size >= 15)
    }))

  describe("timeline", () => {
    it.effect("has every result and every way to end", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* kindsOf(Arbitraries.timeline, ({ result }) => result)).size, 4)
        const endings = yield* kindsOf(Arbitraries.timeline, ({ attempts }) => attempts.at(0)?.endedBy ?? "none")
        assert.strictEqual(endings.size, 6)
      }))

    it.prop(
      "is in order, and no attempt is outside of its call",
      { timeline: Arbitraries.timeline },
      ({ timeline }) => {
        const { attempts, decisions, endedAt, startedAt } = timeline
        for (const [i, attempt] of attempts.entries()) {
          assert.isAtLeast(attempt.startedAt, attempts[i - 1]?.startedAt ?? startedAt)
          assert.isAtLeast(attempt.endedAt ?? endedAt, attempt.startedAt)
          assert.isAtMost(attempt.endedAt ?? endedAt, endedAt)
          assert.strictEqual(attempt.endedBy === "abandoned", attempt.endedAt === undefined)
        }
        for (const { at } of decisions) assert.isTrue(at >= startedAt && at <= endedAt)
        assert.strictEqual(timeline.result === "success", decisions.every(({ _tag }) => _tag !== "Stopped"))
      },
      options
    )

    it.prop("survives JSON, and has the rows that it has", { timeline: Arbitraries.timeline }, ({ timeline }) => {
      const json = Schema.toCodecJson(Timeline.Timeline)
      const back = Schema.decodeUnknownSync(json)(JSON.parse(JSON.stringify(Schema.encodeSync(json)(timeline))))
      assert.deepStrictEqual(back, timeline)
      TimelineRows.expectTimeline(back, TimelineRows.rows(timeline))
    }, options)
  })
})
