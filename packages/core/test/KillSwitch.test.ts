import { assert, describe, it } from "@effect/vitest"
import { Budget, Classifier, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Clock, DateTime, Duration, Effect, Exit, Layer } from "effect"
import { TestClock } from "effect/testing"
import { live } from "./liveSupport.ts"
import type { Policies } from "./support.ts"
import {
  askedToWait,
  assertFailsWith,
  countingBudget,
  countingSleeps,
  fails,
  judged,
  key,
  rows,
  script,
  succeeds
} from "./support.ts"

const boom = "boom"

const retry = (delay: unknown, more: object = {}) => ({
  "svc.*": {
    retry: { maxAttempts: 3, backoff: { type: "constant", delay, jitter: "none" } },
    budget: "unlimited",
    ...more
  }
})

const registries = Classifier.layer({ judged }) as unknown as Layer.Layer<never>

/** A call in a fiber of its own, and what became of it. */
const begin = <A, E>(effect: Effect.Effect<A, E>, layer: Policies, name = key) =>
  Effect.gen(function*() {
    const fiber = yield* Timeline.capture(Rego.resilient(effect, name)).pipe(
      Effect.provide(Layer.orDie(layer)),
      Effect.forkChild({ startImmediately: true })
    )
    return {
      ended: Effect.suspend(() => {
        const exit = fiber.pollUnsafe()
        assert.isDefined(exit, "the call has not ended")
        return Effect.map(exit!, ([exit, timelines]) => ({ exit, rows: rows(timelines.at(-1)!) }))
      }),
      get waits() {
        return fiber.pollUnsafe() === undefined
      }
    }
  })

/** A switch of each kind, in a document and by hand. */
const throwings = [
  ["off in a document", { revision: "2", off: ["svc.*"], policies: retry("30 seconds") }],
  ["off in a document that is refused", { revision: "2", off: ["svc.Method"], policies: 7, oops: 1 }],
  ["off for everything", { revision: "2", off: ["*"], policies: retry("30 seconds") }]
] as const

describe("the kill switch", () => {
  for (const [what, document] of throwings) {
    it.effect(`${what} ends a wait in backoff at once, with the last exit and its reason`, () =>
      countingSleeps((pending) =>
        Effect.gen(function*() {
          const { layer, publish } = yield* live({ first: [{ policies: retry("30 seconds") }] })
          const before = pending()
          const failing = script(fails(boom))
          const call = yield* begin(failing.effect, layer)
          yield* TestClock.adjust(1_000)
          assert.isTrue(call.waits)
          yield* publish(document)
          const { exit, rows } = yield* call.ended
          assertFailsWith(exit, boom)
          assert.deepStrictEqual(rows, [
            [0, "start 0"],
            [0, "end 0 Retryable typed_failure"],
            [0, "wait 30000"],
            [1_000, "stop switched_off"],
            [1_000, "failure"]
          ])
          assert.strictEqual(failing.runs, 1)
          assert.strictEqual(pending(), before)
        })
      ))
  }

  it.effect("gives the permit of the attempt back that will not start", () =>
    Effect.gen(function*() {
      const { counts, make } = countingBudget()
      const { layer, publish } = yield* live({
        first: [{ policies: retry("30 seconds", { budget: "own" }) }],
        registries: Budget.layer("own", make) as unknown as Layer.Layer<never>
      })
      const call = yield* begin(script(fails(boom)).effect, layer)
      yield* publish({ revision: "2", off: ["svc.*"], policies: retry("30 seconds", { budget: "own" }) })
      yield* call.ended
      assert.deepStrictEqual(counts, { asked: 1, taken: 1, used: 0, unused: 1, again: 0 })
    }))

  it.effect("leaves other keys, and attempts that run, alone", () =>
    Effect.gen(function*() {
      const { layer, publish } = yield* live({ first: [{ policies: { ...retry(100), "other.*": {} } }] })
      const running = yield* begin(script(succeeds("slow", 1_000)).effect, layer)
      const other = yield* begin(script(fails(boom), succeeds("b")).effect, layer, "svc.Other")
      yield* publish({ revision: "2", off: ["svc.Method"], policies: retry(100) })
      assert.isTrue(other.waits)
      yield* TestClock.adjust(1_000)
      assert.isTrue(Exit.isSuccess((yield* running.ended).exit))
      assert.isTrue(Exit.isSuccess((yield* other.ended).exit))
    }))

  it.effect("is asked live: a call whose attempt runs when it is thrown does not retry", () =>
    Effect.gen(function*() {
      const { layer, publish } = yield* live({ first: [{ policies: retry(1) }] })
      const failing = script(fails(boom, 1_000))
      const call = yield* begin(failing.effect, layer)
      yield* publish({ revision: "2", off: ["svc.*"], policies: retry(1) })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual((yield* call.ended).rows.at(-2), [1_000, "stop switched_off"])
      assert.strictEqual(failing.runs, 1)
    }))

  it.effect("reaches a call whose budget takes time to answer", () =>
    Effect.gen(function*() {
      const { counts, make } = countingBudget({ takes: 100 })
      const { layer, publish } = yield* live({
        first: [{ policies: retry("30 seconds", { budget: "own" }) }],
        registries: Budget.layer("own", make) as unknown as Layer.Layer<never>
      })
      const call = yield* begin(script(fails(boom)).effect, layer)
      yield* TestClock.adjust(50)
      yield* publish({ revision: "2", off: ["svc.*"], policies: retry("30 seconds", { budget: "own" }) })
      yield* TestClock.adjust(50)
      assert.deepStrictEqual((yield* call.ended).rows.at(-2), [100, "stop switched_off"])
      assert.strictEqual(counts.unused, 1)
    }))

  it.effect("reaches a call whose grant became too old, while the budget thinks again", () =>
    Effect.gen(function*() {
      const { counts, make } = countingBudget({ takes: 100, window: Duration.seconds(1) })
      const policies = retry("2 seconds", { budget: "own" })
      const { layer, publish } = yield* live({
        first: [{ policies }],
        registries: Budget.layer("own", make) as unknown as Layer.Layer<never>
      })
      const call = yield* begin(script(fails(boom)).effect, layer)
      yield* TestClock.adjust(2_150)
      assert.strictEqual(counts.unused, 1)
      yield* publish({ revision: "2", off: ["svc.*"], policies })
      yield* TestClock.adjust(50)
      assert.deepStrictEqual((yield* call.ended).rows.at(-2), [2_200, "stop switched_off"])
      assert.deepStrictEqual(counts, { asked: 2, taken: 2, used: 0, unused: 2, again: 0 })
    }))

  it.effect("ends no retry that has started", () =>
    Effect.gen(function*() {
      const { layer, publish } = yield* live({ first: [{ policies: retry(100) }] })
      const call = yield* begin(script(fails(boom), succeeds("late", 1_000)).effect, layer)
      yield* TestClock.adjust(200)
      yield* publish({ revision: "2", off: ["svc.*"], policies: retry(100) })
      yield* TestClock.adjust(1_000)
      assert.isTrue(Exit.isSuccess((yield* call.ended).exit))
    }))

  it.effect("lapses at the instant it names", () =>
    Effect.gen(function*() {
      const now = yield* Clock.currentTimeMillis
      const until = DateTime.formatIso(DateTime.makeUnsafe(now + 60_000))
      const { layer, status } = yield* live({
        first: [{ off: [{ key: "svc.*", until }], hedgeOff: ["a.*"], policies: retry(1) }]
      })
      const attempts = Effect.gen(function*() {
        const failing = script(fails(boom))
        yield* begin(failing.effect, layer)
        yield* TestClock.adjust(10)
        return failing.runs
      })
      assert.strictEqual(yield* attempts, 1)
      assert.lengthOf((yield* status).off, 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* attempts, 3)
      assert.lengthOf((yield* status).off, 0)
      assert.lengthOf((yield* status).hedgeOff, 1)
    }))

  describe("of a document that is refused", () => {
    const attempts = (layer: Policies) =>
      Effect.gen(function*() {
        const failing = script(fails(boom))
        yield* begin(failing.effect, layer)
        yield* TestClock.adjust(10)
        return failing.runs
      })

    it.effect("can switch off, and never on", () =>
      Effect.gen(function*() {
        const { layer, publish, say } = yield* live({ first: [{ policies: retry(1), off: ["svc.*"] }] })
        yield* publish({ revision: "2", oops: 1, policies: retry(1), off: [] })
        assert.strictEqual(yield* attempts(layer), 1)
        yield* say({ _tag: "Document", json: { error: "internal" } })
        assert.strictEqual(yield* attempts(layer), 1)
        yield* publish({ revision: "3", policies: retry(1) })
        assert.strictEqual(yield* attempts(layer), 3)
      }))

    it.effect("stays in force through documents that say nothing of it, until one is accepted", () =>
      Effect.gen(function*() {
        const { layer, publish, say } = yield* live({ first: [{ policies: retry(1) }] })
        yield* publish({ revision: "2", oops: 1, off: ["svc.*"] })
        assert.strictEqual(yield* attempts(layer), 1)
        yield* say({ _tag: "Document", json: "<html>" })
        assert.strictEqual(yield* attempts(layer), 1)
        // the author of a refused document takes back what it had switched off
        yield* publish({ revision: "3", oops: 1, off: [] })
        assert.strictEqual(yield* attempts(layer), 3)
        yield* publish({ revision: "4", oops: 1, off: ["svc.*"] })
        yield* publish({ revision: "1", policies: retry(1) })
        assert.strictEqual(yield* attempts(layer), 3)
      }))

    it.effect("counts entry by entry: what can be read is in force, without an end where that cannot", () =>
      Effect.gen(function*() {
        const { layer, publish, status } = yield* live({ first: [{ policies: retry(1) }] })
        yield* publish({ revision: "2", off: [7, null, "no pattern!", { key: "svc.*", until: "tomorrow" }, {}] })
        assert.strictEqual(yield* attempts(layer), 1)
        const { off, revision } = yield* status
        assert.strictEqual(revision, "1")
        assert.deepStrictEqual(off.map(({ pattern, until }) => [pattern, until._tag]), [["svc.*", "None"]])
      }))
  })

  describe("for hedges", () => {
    const hedging = { hedge: { trigger: { type: "after", delay: 100 }, maxHedges: 3 }, idempotent: true }

    it.effect("denies hedges that are not started, and leaves retries alone", () =>
      Effect.gen(function*() {
        const { layer, publish } = yield* live({ first: [{ policies: retry(1, hedging) }] })
        const slow = script(succeeds("late", 1_000))
        const call = yield* begin(slow.effect, layer)
        yield* TestClock.adjust(150)
        assert.strictEqual(slow.runs, 2)
        yield* publish({ revision: "2", hedgeOff: ["svc.*"], policies: retry(1, hedging) })
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(slow.runs, 2)
        assert.isTrue((yield* call.ended).rows.some(([, event]) => event.endsWith("switched_off")))
        const failing = script(fails(boom))
        yield* begin(failing.effect, layer)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(failing.runs, 3)
      }))

    it.effect("denies a hedge whose budget takes time to answer, and gives the permit back", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget({ takes: 100 })
        const policies = { "svc.*": { ...hedging, budget: "own" } }
        const { layer, publish } = yield* live({
          first: [{ policies }],
          registries: Budget.layer("own", make) as unknown as Layer.Layer<never>
        })
        const slow = script(succeeds("late", 250))
        const call = yield* begin(slow.effect, layer)
        yield* TestClock.adjust(150)
        yield* publish({ revision: "2", hedgeOff: ["svc.*"], policies })
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual((yield* call.ended).rows, [
          [0, "start 0"],
          [250, "end 0 Success"],
          [250, "hedge denied: switched_off"],
          [250, "success"]
        ])
        assert.deepStrictEqual([slow.runs, counts.taken, counts.unused], [1, 1, 1])
      }))

    it.effect("ends a group that waits for a hedge and nothing else", () =>
      Effect.gen(function*() {
        const policies = { "svc.*": { ...hedging, budget: "unlimited", classifier: "judged" } }
        const { layer, publish } = yield* live({ first: [{ policies }], registries })
        const asked = askedToWait("10 seconds")
        const call = yield* begin(script(fails(asked)).effect, layer)
        yield* TestClock.adjust(1_000)
        assert.isTrue(call.waits)
        yield* publish({ revision: "2", hedgeOff: ["svc.*"], policies })
        const { exit, rows } = yield* call.ended
        assertFailsWith(exit, asked)
        assert.deepStrictEqual(rows.at(-1), [1_000, "failure"])
      }))

    it.effect("in a document that ships with the application", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.fromDocument({
          schemaVersion: "1.0",
          revision: "1",
          policies: retry(1, hedging),
          hedgeOff: ["svc.*"]
        })
        const slow = script(succeeds("late", 1_000))
        yield* begin(slow.effect, layer)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(slow.runs, 1)
      }))
  })

  it.effect("keeps nothing of calls that have ended", () =>
    Effect.gen(function*() {
      const { layer, provider } = yield* live({ first: [{ policies: retry(1) }] })
      for (let i = 0; i < 20; i++) yield* begin(script(fails(boom)).effect, layer)
      assert.strictEqual(provider["~@rego/core/PolicyProvider"].switches.waiting.size, 20)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(provider["~@rego/core/PolicyProvider"].switches.waiting.size, 0)
      const fiber = yield* Effect.forkChild(
        Effect.provide(Rego.resilient(script(fails(boom)).effect, key), layer),
        { startImmediately: true }
      )
      assert.strictEqual(provider["~@rego/core/PolicyProvider"].switches.waiting.size, 1)
      fiber.interruptUnsafe()
      yield* TestClock.adjust(0)
      assert.strictEqual(provider["~@rego/core/PolicyProvider"].switches.waiting.size, 0)
    }))
})
