import { assert, describe, it } from "@effect/vitest"
import { LastKnownGood, PolicyLayer, PolicySource } from "@rego/core"
import { Cause, Effect, Exit, Layer, Metric, Option, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as PolicyMetrics from "../src/PolicyMetrics.ts"
import type { Live } from "./liveSupport.ts"
import { live, memory, settle, store } from "./liveSupport.ts"

const saved = { json: { schemaVersion: "1.0", revision: "old", policies: {} }, savedAt: 0 }

const linesOf = ({ log }: Live, level: string) =>
  log.filter((line) => line.level === level).map(({ message }) => message)

const storeErrorOf = ({ status }: Live) =>
  Effect.map(status, ({ storeError }) => Option.getOrUndefined(Option.map(storeError, ({ message }) => message)))

describe("LiveLayer", () => {
  it.effect("takes the defaults of its options also where they are said", () =>
    Effect.gen(function*() {
      const running = yield* live({
        first: [{}],
        onInvalidEntry: "keep-last-good",
        onMissing: "single-attempt",
        guard: true,
        maxAge: "30 days",
        startupTimeout: "2 seconds"
      })
      assert.strictEqual((yield* running.status).revision, "1")
    }))

  it.effect("has asked the source when it is built, also where there is something to begin with", () =>
    Effect.gen(function*() {
      const { source } = yield* memory()
      let asked = 0
      const found = Stream.suspend(() => {
        asked++
        return source.found
      })
      const provided = Layer.merge(
        Layer.succeed(PolicySource.PolicySource, PolicySource.make({ name: "memory", found })),
        Layer.succeed(LastKnownGood.LastKnownGood, store({ saved }).service)
      )
      yield* Layer.build(Layer.provide(PolicyLayer.live(), provided))
      assert.strictEqual(asked, 1)
    }))

  it.effect("says at boot that there are no policies yet, and only then", () =>
    Effect.gen(function*() {
      const missing = "PolicyLayer: no policies from memory yet"
      assert.deepStrictEqual(linesOf(yield* live({ startupTimeout: 0 }), "Warn"), [missing])
      assert.deepStrictEqual(linesOf(yield* live({ first: [{}] }), "Warn"), [])
      assert.deepStrictEqual(linesOf(yield* live({ store: store({ saved }) }), "Warn"), [])
    }))

  it.effect("shows the age of what is in force as a metric, from the start and each minute", () =>
    Effect.gen(function*() {
      const { age } = PolicyMetrics.of("memory")
      const seconds = Effect.map(Metric.value(age), ({ value }) => value)
      const scope = yield* Scope.make()
      const running = yield* Scope.provide(live({ startupTimeout: 0 }), scope)
      yield* TestClock.adjust("20 seconds")
      yield* running.publish({})
      yield* TestClock.adjust("40 seconds")
      assert.strictEqual(yield* seconds, 40)
      yield* Scope.close(scope, Exit.void)
      yield* live({ store: store({ saved }) })
      assert.strictEqual(yield* seconds, 60)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* seconds, 120)
    }))

  it.effect("says of a stream that died what it died of, and of one that ended nothing more than that", () =>
    Effect.gen(function*() {
      const running = yield* live({ first: [{}] })
      yield* running.memory.end
      assert.deepStrictEqual(linesOf(running, "Error"), [])
      yield* TestClock.adjust("1 second")
      yield* settle
      yield* running.memory.die(Cause.die(new Error("oops")))
      const message = "PolicyLayer: policy source memory: unavailable, its stream has died"
      assert.deepStrictEqual(linesOf(running, "Error"), [message])
      assert.include(Cause.pretty(running.log.find(({ level }) => level === "Error")!.cause), "oops")
    }))

  it.effect("says that a report failed, and to whom", () =>
    Effect.gen(function*() {
      const running = yield* live({ first: [{}], report: () => Effect.die("oops") })
      assert.deepStrictEqual(linesOf(running, "Warn"), ["PolicyLayer: the report to memory failed"])
    }))

  const broken: ReadonlyArray<readonly [string, LastKnownGood.LastKnownGood["Service"]["save"], string]> = [
    ["has a defect", () => Effect.die("oops"), "a defect of the store"],
    ["does not answer", () => Effect.never, "no answer within 30s"]
  ]
  for (const [what, save, detail] of broken) {
    it.effect(`tries again to save what is confirmed, to a store that ${what}`, () =>
      Effect.gen(function*() {
        let isBroken = true
        let saves = 0
        let ended = 0
        const running = yield* live({
          first: [{}],
          store: store({
            save: (json) =>
              Effect.suspend(() => {
                saves++
                return Effect.ensuring(isBroken ? save(json) : Effect.void, Effect.sync(() => ended++))
              })
          })
        })
        yield* TestClock.adjust("30 seconds")
        yield* settle
        const message = `last known good policy in a store: could not save, ${detail}`
        assert.strictEqual(yield* storeErrorOf(running), message)
        assert.deepStrictEqual(linesOf(running, "Warn"), [`PolicyLayer: ${message}`])
        // what was given up runs no more
        assert.deepStrictEqual([saves, ended], [1, 1])
        isBroken = false
        for (let i = 0; i < 3; i++) yield* running.say(PolicySource.unchanged)
        assert.isUndefined(yield* storeErrorOf(running))
        assert.deepStrictEqual([saves, ended], [2, 2])
      }))
  }

  it.effect("saves what is confirmed again after a day, and tells nobody of a save that went well", () =>
    Effect.gen(function*() {
      const kept = store()
      const running = yield* live({ first: [{}], store: kept })
      let changes = 0
      yield* running.provider.changes.pipe(
        Stream.runForEach(() => Effect.sync(() => changes++)),
        Effect.forkChild({ startImmediately: true })
      )
      yield* settle
      const seen: Array<readonly [number, number]> = []
      for (const wait of [0, 86_400_000 - 1, 1, 1]) {
        yield* TestClock.adjust(wait)
        yield* running.say(PolicySource.unchanged)
        yield* settle
        seen.push([kept.saves.length, changes])
      }
      assert.deepStrictEqual(seen, [[1, 1], [1, 1], [2, 1], [2, 1]])
    }))

  it.effect("takes what an earlier process has left until it is older than `maxAge`", () =>
    Effect.gen(function*() {
      const revision = Effect.flatMap(
        live({ store: store({ saved }), maxAge: "1 hour", startupTimeout: 0 }),
        (running) => Effect.map(running.status, (status) => status.revision)
      )
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(yield* revision, "old")
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* revision, "none")
    }))
})
