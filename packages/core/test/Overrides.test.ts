import { assert, describe, it } from "@effect/vitest"
import { Backoff, Budget, Hedge, Policy, PolicyLayer, PolicyProvider, Rego } from "@rego/core"
import { Effect, Layer, Option, Stream } from "effect"
import { TestClock } from "effect/testing"
import { live } from "./liveSupport.ts"
import { countingBudget, countingSleeps, fails, script } from "./support.ts"

const boom = "boom"
const backoff = Backoff.constant(1, { jitter: "none" })

const layer = PolicyLayer.make({
  policies: {
    "a.*": { retry: { maxAttempts: 3, backoff }, budget: "unlimited" },
    "a.Pay": { retry: { maxAttempts: 2 } }
  }
})

/** Runs in a layer of its own. */
const inLayer = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.provide(self, Layer.orDie(layer))

const attempts = (key: string) =>
  Effect.gen(function*() {
    const failing = script(fails(boom))
    const fiber = yield* Effect.forkChild(Effect.exit(Rego.resilient(failing.effect, key)), { startImmediately: true })
    yield* TestClock.adjust(20)
    assert.isDefined(fiber.pollUnsafe())
    return failing.runs
  })

const override = (pattern: string, change: PolicyProvider.Change, held = "1 minute" as const) =>
  Effect.flatMap(PolicyProvider.PolicyProvider, (provider) => provider.override(pattern, change, { for: held }))

const status = Effect.flatMap(PolicyProvider.PolicyProvider, (provider) => provider.status)

const issuesOf = (pattern: string, change: unknown, held: unknown = "1 minute") =>
  Effect.flatMap(PolicyProvider.PolicyProvider, (provider) =>
    Effect.map(
      Effect.flip(provider.override(pattern, change as PolicyProvider.Change, { for: held as "1 minute" })),
      ({ message }) => message.split("\n")
    ))

describe("PolicyProvider.override", () => {
  it.effect("lays a policy over what keys get, exact entries included, for as long as it says", () =>
    inLayer(Effect.gen(function*() {
      yield* override("a.*", { retry: { maxAttempts: 5 } })
      assert.strictEqual(yield* attempts("a.Get"), 5)
      assert.strictEqual(yield* attempts("a.Pay"), 5)
      assert.strictEqual(yield* attempts("b.Get"), 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* attempts("a.Get"), 3)
      assert.strictEqual(yield* attempts("a.Pay"), 2)
    })))

  it.effect("the more particular one counts where several cover a key", () =>
    inLayer(Effect.gen(function*() {
      yield* override("a.Get", { retry: { maxAttempts: 2 } })
      yield* override("*", { retry: { maxAttempts: 4, backoff }, budget: "unlimited" })
      yield* override("a.*", { retry: { maxAttempts: 5 } })
      assert.strictEqual(yield* attempts("a.Get"), 2)
      assert.strictEqual(yield* attempts("a.List"), 5)
      assert.strictEqual(yield* attempts("b.Get"), 4)
    })))

  it.effect("switches retries off, and ends the waits of calls in flight", () =>
    inLayer(Effect.gen(function*() {
      yield* override("a.Get", { retry: { backoff: Backoff.constant("30 seconds", { jitter: "none" }) } })
      const failing = script(fails(boom))
      const fiber = yield* Effect.forkChild(Effect.exit(Rego.resilient(failing.effect, "a.Get")), {
        startImmediately: true
      })
      yield* TestClock.adjust(10)
      assert.isUndefined(fiber.pollUnsafe())
      const { lift } = yield* override("a.*", "off")
      yield* Effect.yieldNow
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(yield* attempts("a.Pay"), 1)
      yield* lift
      assert.strictEqual(yield* attempts("a.Pay"), 2)
    })))

  it.effect("switches retries off for a call whose budget takes time, and whose backoff takes none", () => {
    const { counts, make } = countingBudget({ takes: 100 })
    const slow = PolicyLayer.make({
      policies: { "a.*": { retry: { maxAttempts: 3, backoff: Backoff.none }, budget: "own" } }
    })
    return Effect.gen(function*() {
      const failing = script(fails(boom))
      const fiber = yield* Effect.forkChild(Effect.exit(Rego.resilient(failing.effect, "a.Get")), {
        startImmediately: true
      })
      yield* TestClock.adjust(50)
      yield* override("a.*", "off")
      yield* TestClock.adjust(50)
      assert.isDefined(fiber.pollUnsafe())
      assert.deepStrictEqual([failing.runs, counts.taken, counts.unused], [1, 1, 1])
    }).pipe(Effect.provide(Layer.orDie(slow.pipe(Layer.provide(Budget.layer("own", make))))))
  })

  it.effect("switches hedges off", () =>
    inLayer(Effect.gen(function*() {
      const hedge = { trigger: Hedge.after(5) }
      yield* override("a.*", { hedge, idempotent: true, retry: "off" })
      const runs = Effect.gen(function*() {
        let count = 0
        yield* Effect.forkChild(
          Rego.resilient(Effect.andThen(Effect.sync(() => count++), Effect.sleep(50)), "a.Get"),
          { startImmediately: true }
        )
        yield* TestClock.adjust(100)
        return count
      })
      assert.strictEqual(yield* runs, 2)
      yield* override("a.Get", "hedgeOff")
      assert.strictEqual(yield* runs, 1)
    })))

  it.effect("of the same kind and pattern replaces the one before, with its time", () =>
    inLayer(Effect.gen(function*() {
      const first = yield* override("a.*", { retry: { maxAttempts: 5 } })
      yield* TestClock.adjust("30 seconds")
      yield* override("a.*", { retry: { maxAttempts: 4 } })
      yield* override("a.*", "hedgeOff")
      yield* first.lift
      yield* TestClock.adjust("31 seconds")
      assert.strictEqual(yield* attempts("a.Get"), 4)
      assert.lengthOf((yield* status).overrides, 2)
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual(yield* attempts("a.Get"), 3)
      assert.lengthOf((yield* status).overrides, 0)
    })))

  it.effect("is shown in the status and in timelines", () =>
    inLayer(Effect.gen(function*() {
      yield* override("a.*", { retry: { maxAttempts: 5 } })
      yield* override("a.Pay", "off", "1 minute")
      const { off, overrides } = yield* status
      assert.deepStrictEqual(overrides.map(({ change, pattern, until }) => [pattern, typeof change, until]), [
        ["a.*", "object", 60_000],
        ["a.Pay", "string", 60_000]
      ])
      assert.deepStrictEqual(off.map(({ pattern }) => pattern), ["a.Pay"])
      const [, timeline] = yield* Rego.resilientWithTimeline(Effect.void, "a.Get")
      assert.deepStrictEqual(timeline.attributes, { override: "a.*" })
      const [, other] = yield* Rego.resilientWithTimeline(Effect.void, "b.Get")
      assert.deepStrictEqual(other.attributes, {})
    })))

  it.effect("is one of the changes", () =>
    inLayer(Effect.gen(function*() {
      const provider = yield* PolicyProvider.PolicyProvider
      const fiber = yield* Effect.forkChild(Stream.runCollect(Stream.take(provider.changes, 2)), {
        startImmediately: true
      })
      yield* override("a.*", { retry: { maxAttempts: 5 } })
      yield* TestClock.adjust(0)
      const [, change] = yield* fiber.pollUnsafe()!
      assert.deepStrictEqual(change?.differences, [
        { path: ["overrides", "a.*", "retry", "maxAttempts"], before: undefined, after: 5 }
      ])
    })))

  it.effect("holds over documents that come meanwhile", () =>
    Effect.gen(function*() {
      const policies = (maxAttempts: number) => ({
        policies: { "a.*": { retry: { maxAttempts, backoff: { type: "constant", delay: 1 } }, budget: "unlimited" } }
      })
      const running = yield* live({ first: [policies(3)] })
      yield* Effect.gen(function*() {
        yield* override("a.*", { retry: { maxAttempts: 1 } })
        yield* running.publish({ revision: "2", ...policies(4) })
        assert.strictEqual(yield* attempts("a.Get"), 1)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* attempts("a.Get"), 4)
      }).pipe(Effect.provide(running.layer))
    }))

  it.effect("makes no call run too often, whatever documents come meanwhile", () =>
    Effect.gen(function*() {
      const running = yield* live({ first: [{ policies: { "a.*": { retry: { maxAttempts: 3 } } } }] })
      const hedge = { trigger: { type: "after", delay: "10 millis" }, maxHedges: 2 }
      yield* Effect.gen(function*() {
        yield* override("a.*", { retry: { maxAttempts: 5 } })
        yield* running.publish({ revision: "2", policies: { "a.*": { retry: { maxAttempts: 3 }, hedge } } })
        const { policy } = yield* PolicyProvider.PolicyProvider
        const { sections } = Option.getOrThrow(yield* policy("a.Get"))
        assert.deepInclude(sections.hedge, { maxHedges: 1 })
        assert.deepInclude(sections.retry, { maxAttempts: 5 })
      }).pipe(Effect.provide(running.layer))
    }))

  it.effect("refuses what a policy in code must not say, with every issue, and changes nothing", () =>
    inLayer(Effect.gen(function*() {
      assert.deepStrictEqual(yield* issuesOf("a b", { retry: { maxAttempts: 99 } }, "1 millis"), [
        "pattern: must be a key, \"prefix.*\" or \"*\", got \"a b\"",
        "for: must be between 1s and 7d, got 1ms",
        "change.retry.maxAttempts: must be an integer between 1 and 10, got 99"
      ])
      const unnamed: Policy.Input = { classifier: "novel", budget: "novel" }
      assert.deepStrictEqual(yield* issuesOf("a.*", unnamed), [
        "change.budget: must name a budget that is provided, got \"novel\"",
        "change.classifier: must name a classifier that is provided, got \"novel\""
      ])
      assert.deepStrictEqual(yield* issuesOf("a.*", "on"), ["change: Expected object, got \"on\""])
      assert.deepStrictEqual((yield* status).overrides, [])
      assert.strictEqual(yield* attempts("a.Get"), 3)
    })))

  it.effect("refuses what only shows where it is merged", () =>
    inLayer(Effect.gen(function*() {
      yield* override("a.*", { retry: { maxAttempts: 10 } })
      const hedge: Policy.Input = { hedge: { trigger: Hedge.after(5), maxHedges: 3 } }
      assert.deepStrictEqual(yield* issuesOf("a.Get", hedge), [
        "change.hedge.maxHedges: attempts × (1 + hedges) must be at most 12, got 10 × (1 + 3) = 40"
      ])
    })))

  it.effect("is judged without the one that it replaces", () =>
    inLayer(Effect.gen(function*() {
      const hedge = { trigger: Hedge.after(10), maxHedges: 3 }
      yield* override("a.*", { retry: { maxAttempts: 3 }, hedge })
      assert.lengthOf(yield* issuesOf("a.Get", { retry: { maxAttempts: 10 } }), 1)
      yield* override("a.*", { retry: { maxAttempts: 10 } })
      assert.strictEqual(yield* attempts("a.Get"), 10)
    })))

  it.effect("is judged with those that are more particular, and says once what is wrong with several keys", () =>
    inLayer(Effect.gen(function*() {
      yield* override("a.Get", { hedge: { trigger: Hedge.after(10), maxHedges: 3 } })
      assert.deepStrictEqual(yield* issuesOf("*", { retry: { maxAttempts: 10 } }), [
        "change.hedge.maxHedges: attempts × (1 + hedges) must be at most 12, got 10 × (1 + 3) = 40"
      ])
      const tooMany = { retry: { maxAttempts: 10 }, hedge: { trigger: Hedge.after(10), maxHedges: 3 } }
      assert.lengthOf(yield* issuesOf("a.*", tooMany), 1)
    })))

  it.effect("for one key counts more than a pattern that is as long", () =>
    inLayer(Effect.gen(function*() {
      yield* override("a.B", { retry: { maxAttempts: 2 } })
      yield* override("a.*", { retry: { maxAttempts: 5 } })
      assert.strictEqual(yield* attempts("a.B"), 2)
    })))

  it.effect("takes a policy that was made before", () =>
    inLayer(Effect.gen(function*() {
      yield* override("a.*", Policy.make({ retry: { maxAttempts: 7 } }))
      assert.strictEqual(yield* attempts("a.Get"), 7)
    })))

  it.effect("is bounded: a program that forgets what it did is told so", () =>
    inLayer(Effect.gen(function*() {
      for (let i = 0; i < 100; i++) yield* override(`a.K${i}`, "off")
      assert.deepStrictEqual(yield* issuesOf("a.More", "off"), ["must not be more than 100 overrides at once"])
      yield* TestClock.adjust("1 minute")
      yield* override("a.More", "off")
    })))

  it.effect("may replace one of its own when there are as many as there may be", () =>
    inLayer(Effect.gen(function*() {
      for (let i = 0; i < 100; i++) yield* override(`a.K${i}`, "off")
      yield* override("a.K1", "off")
      assert.deepStrictEqual(yield* issuesOf("a.K1", "hedgeOff"), ["must not be more than 100 overrides at once"])
    })))

  it.effect("leaves no timer behind when it was lifted or replaced", () =>
    countingSleeps((pending) =>
      inLayer(Effect.gen(function*() {
        const first = yield* override("a.*", "off")
        yield* Effect.yieldNow
        assert.strictEqual(pending(), 1)
        const second = yield* override("a.*", "off")
        yield* Effect.yieldNow
        assert.strictEqual(pending(), 1)
        yield* first.lift
        assert.deepStrictEqual((yield* status).off.map(({ pattern }) => pattern), ["a.*"])
        yield* second.lift
        yield* Effect.yieldNow
        assert.strictEqual(pending(), 0)
        assert.deepStrictEqual((yield* status).off, [])
      }))
    ))
})
