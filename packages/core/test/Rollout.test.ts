import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Random } from "effect"
import * as Rollout from "../src/Rollout.ts"
import { effectProperty, integer } from "./arbitraries.ts"

const entry = (percent: number) => ({
  retry: { maxAttempts: 2 },
  rollout: { percent, change: { retry: { maxAttempts: 5 }, hedge: "off" as const } }
})

const instances = Array.from({ length: 2_000 }, (_, i) => `pod-${i}`)

const reached = (percent: number, pattern = "a.Get") =>
  instances.filter((instance) => Rollout.placeOf(instance, pattern) < percent)

describe("Rollout", () => {
  describe("chosen", () => {
    it("gives everybody the change at 100 percent, and nobody at 0", () => {
      for (const instance of instances.slice(0, 50)) {
        assert.deepStrictEqual(Rollout.chosen(entry(100), "a.Get", instance).retry, { maxAttempts: 5 })
        assert.deepStrictEqual(Rollout.chosen(entry(0), "a.Get", instance).retry, { maxAttempts: 2 })
      }
    })

    it("lays the change over the entry", () => {
      const sections = Rollout.chosen({ ...entry(100), timeout: { overall: Duration.seconds(1) } }, "a", "i")
      assert.strictEqual(sections.hedge, "off")
      assert.isDefined(sections.timeout)
    })

    it("leaves an entry without a rollout as it is", () => {
      const plain = { retry: { maxAttempts: 2 } }
      assert.strictEqual(Rollout.chosen(plain, "a", "i"), plain)
    })
  })

  describe("placeOf", () => {
    it("reaches about as many instances as the percentage says", () => {
      for (const percent of [1, 5, 10, 25, 50, 90]) {
        const share = reached(percent).length / instances.length * 100
        assert.closeTo(share, percent, 3, `${percent} %`)
      }
    })

    effectProperty(
      "only adds instances when the percentage is raised",
      { low: integer(0, 100), more: integer(0, 100) },
      ({ low, more }) =>
        Effect.sync(() => {
          const high = new Set(reached(Math.min(100, low + more)))
          assert.deepStrictEqual(reached(low).filter((instance) => !high.has(instance)), [])
        }),
      100
    )

    it("chooses other instances for another entry", () => {
      const both = new Set(reached(50, "a.Get"))
      const shared = reached(50, "a.List").filter((instance) => both.has(instance))
      assert.closeTo(shared.length / instances.length, 0.25, 0.04)
    })

    it("spreads instances whose names differ at the end only", () => {
      const tenths = new Array<number>(10).fill(0)
      for (const instance of instances) tenths[Math.floor(Rollout.placeOf(instance, "a.Get") / 10)]!++
      for (const count of tenths) assert.closeTo(count, 200, 50)
    })
  })

  describe("instanceOr", () => {
    it.effect("is the name that was given, else another one at each start", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* Rollout.instanceOr("pod-7"), "pod-7")
        const one = yield* Rollout.instanceOr(undefined)
        assert.notStrictEqual(one, yield* Rollout.instanceOr(undefined))
      }).pipe(Random.withSeed("rollout")))
  })
})
