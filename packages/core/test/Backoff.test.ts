import { assert, describe, it } from "@effect/vitest"
import { Backoff, Policy } from "@rego/core"
import { Duration, Effect, Pull, Random, Schedule, Schema } from "effect"
import { decimal, effectProperty, integer, pick, property } from "./arbitraries.ts"
import { makeRandom } from "./random.ts"
import { refusal } from "./support.ts"

const never = () => assert.fail("no randomness was needed")

/** The first waits, in milliseconds, as a call takes them. */
const waits = (backoff: Backoff.Backoff, count: number, random: () => number, floor = 0): ReadonlyArray<number> => {
  const taken: Array<number> = []
  for (let retry = 0; retry < count; retry++) {
    taken.push(Backoff.delayMillis(backoff, retry, taken.at(-1) ?? 0, random, floor))
  }
  return taken
}

const parameters = {
  initial: integer(0, 2_000),
  more: integer(0, 28_000),
  factor: decimal(1, 10),
  seed: integer(0, 1e6)
}

const curve = (initial: number, max: number, factor: number, retry: number) => Math.min(max, initial * factor ** retry)

const near = (value: number, low: number, high: number, what: string) =>
  assert.isTrue(value >= low - 1e-9 && value <= high + 1e-9, `${what}: ${value} is not in [${low}, ${high}]`)

describe("Backoff", () => {
  describe("exponential", () => {
    it("doubles from initial to max, with full jitter, unless told otherwise [P13]", () => {
      assert.deepStrictEqual(Backoff.exponential({ initial: "50 millis", max: "5 seconds" }), {
        _tag: "Exponential",
        initial: Duration.millis(50),
        max: Duration.seconds(5),
        factor: 2,
        jitter: "full"
      })
    })

    it("takes the three fields of the curve [P18]", () => {
      const backoff = Backoff.exponential({ initial: 20, max: "2 seconds", factor: 4, jitter: "none" })
      assert.deepStrictEqual(waits(backoff, 5, never), [20, 80, 320, 1_280, 2_000])
    })

    it("never waits longer than max: 100 ms, factor 2, max 150 is 150 [E60]", () => {
      assert.deepStrictEqual(waits(Backoff.exponential({ initial: 100, max: 150, jitter: "none" }), 3, never), [
        100,
        150,
        150
      ])
    })

    it("names every wait that is none", () => {
      assert.strictEqual(
        refusal(() => Backoff.exponential({ initial: NaN, max: -1 })),
        "Backoff.exponential: initial must be a duration, got NaN; max must be finite and not negative, got -1ms"
      )
      assert.strictEqual(
        refusal(() => Backoff.exponential({ initial: Infinity, max: "1 sec" as Duration.Input })),
        "Backoff.exponential: initial must be finite and not negative, got Infinity; " +
          "max must be a duration such as \"250 millis\", \"2 seconds\" or a number of milliseconds, got \"1 sec\""
      )
    })

    it("refuses a factor that is NaN: each wait would be zero, which is a hot loop", () => {
      assert.include(refusal(() => Backoff.exponential({ initial: 10, max: 100, factor: NaN })), "factor")
    })
  })

  describe("constant", () => {
    it("waits the same each time when jitter is off [P16]", () => {
      assert.deepStrictEqual(waits(Backoff.constant("250 millis", { jitter: "none" }), 3, never), [250, 250, 250])
    })

    it("has full jitter unless told otherwise, as everywhere", () => {
      assert.deepStrictEqual(Backoff.constant(100), { _tag: "Constant", delay: Duration.millis(100), jitter: "full" })
    })

    it("refuses a wait that is none", () => {
      assert.strictEqual(refusal(() => Backoff.constant(NaN)), "Backoff.constant: delay must be a duration, got NaN")
    })
  })

  it("is told from everything else by its tag", () => {
    for (const backoff of [Backoff.exponential({ initial: 1, max: 2 }), Backoff.constant(1), Backoff.none]) {
      assert.isTrue(Backoff.isBackoff(backoff))
    }
    for (const other of [null, undefined, 7, "None", {}, { _tag: "Other" }, [], () => {}, Schedule.forever]) {
      assert.isFalse(Backoff.isBackoff(other))
    }
  })

  it("stands in a document as it was made", () => {
    const kinds = [
      Backoff.exponential({ initial: 10, max: 250, factor: 3, jitter: "decorrelated" }),
      Backoff.constant(20, { jitter: "equal" }),
      Backoff.constant(20, { jitter: "full" }),
      Backoff.constant(20, { jitter: "none" })
    ]
    for (const backoff of kinds) {
      const json = Schema.encodeSync(Backoff.BackoffFromJson)(backoff)
      assert.deepStrictEqual(Schema.decodeUnknownSync(Backoff.BackoffFromJson)(json), backoff)
    }
    // in code only: a document that is shared must not make everybody retry at once
    assert.throws(() => Schema.encodeSync(Backoff.BackoffFromJson)(Backoff.none), /must be between 1ms and 30s, got 0/)
  })

  it("takes a Schedule in its place, and says so where it is neither", () => {
    const make = (backoff: unknown) => Policy.make({ retry: { backoff: backoff as never } })
    assert.doesNotThrow(() => make(Schedule.forever))
    assert.throws(() => make(7), /retry\.backoff: Expected a backoff or a Schedule, got 7/)
  })

  describe("none", () => {
    it("does not wait, and needs no randomness", () => {
      assert.deepStrictEqual(waits(Backoff.none, 3, never), [0, 0, 0])
    })
  })

  describe("jitter", () => {
    property("none: follows the curve exactly", parameters, ({ factor, initial, more }) => {
      const max = initial + more
      const backoff = Backoff.exponential({ initial, max, factor, jitter: "none" })
      waits(backoff, 12, never).forEach((wait, retry) => {
        near(wait, curve(initial, max, factor, retry), curve(initial, max, factor, retry), `retry ${retry}`)
      })
    })

    property(
      "full: anything from zero to the curve, never above max [E61]",
      parameters,
      ({ factor, initial, more, seed }) => {
        const max = initial + more
        const backoff = Backoff.exponential({ initial, max, factor, jitter: "full" })
        waits(backoff, 12, makeRandom(seed)).forEach((wait, retry) => {
          near(wait, 0, curve(initial, max, factor, retry), `retry ${retry}`)
        })
      }
    )

    property(
      "equal: from half the curve to the curve, never above max [E61]",
      parameters,
      ({ factor, initial, more, seed }) => {
        const max = initial + more
        const backoff = Backoff.exponential({ initial, max, factor, jitter: "equal" })
        waits(backoff, 12, makeRandom(seed)).forEach((wait, retry) => {
          near(wait, curve(initial, max, factor, retry) / 2, curve(initial, max, factor, retry), `retry ${retry}`)
        })
      }
    )

    property("decorrelated: from initial to three times the wait before, never above max", parameters, (
      { initial, more, seed }
    ) => {
      const max = initial + more
      const taken = waits(Backoff.decorrelated({ initial, max }), 12, makeRandom(seed))
      taken.forEach((wait, retry) => {
        const before = retry === 0 ? initial : taken[retry - 1]!
        near(wait, initial, Math.min(max, Math.max(initial, 3 * before)), `retry ${retry}`)
      })
    })

    it("decorrelated: is min(max, random(initial, factor × the wait before))", () => {
      const backoff = Backoff.decorrelated({ initial: 10, max: 100 })
      const after = (previous: number, random: number) => Backoff.delayMillis(backoff, 1, previous, () => random, 0)
      assert.strictEqual(after(20, 0), 10)
      assert.strictEqual(after(20, 0.5), 35)
      assert.strictEqual(after(20, 0.999), Math.ceil(10 + 50 * 0.999))
      assert.strictEqual(after(90, 0.9), 100)
    })

    it("decorrelated: spreads the first wait too, so that callers that failed together do not come back together", () => {
      const backoff = Backoff.decorrelated({ initial: 10, max: 1_000 })
      const first = new Set([0, 0.25, 0.5, 0.75].map((random) => waits(backoff, 1, () => random)[0]))
      assert.strictEqual(first.size, 4)
    })

    it("full and equal: reach both ends of their range", () => {
      const ends = (jitter: "full" | "equal") =>
        [0, 1].map((random) => Backoff.delayMillis(Backoff.constant(100, { jitter }), 0, 0, () => random, 0))
      assert.deepStrictEqual(ends("full"), [0, 100])
      assert.deepStrictEqual(ends("equal"), [50, 100])
      assert.strictEqual(Backoff.delayMillis(Backoff.constant(100, { jitter: "equal" }), 0, 0, () => 0.5, 0), 75)
    })
  })

  describe("floor", () => {
    const floor = 1_000
    it("lifts the curve, and max with it, where a server asked for less load", () => {
      const backoff = Backoff.exponential({ initial: 10, max: 250, jitter: "none" })
      assert.deepStrictEqual(waits(backoff, 3, never, floor), [1_000, 1_000, 1_000])
      const slow = Backoff.exponential({ initial: 10, max: 5_000, jitter: "none" })
      assert.deepStrictEqual(waits(slow, 4, never, floor), [1_000, 2_000, 4_000, 5_000])
    })

    it("lifts a constant wait that is shorter, and leaves a longer one", () => {
      assert.deepStrictEqual(waits(Backoff.constant(10, { jitter: "none" }), 1, never, floor), [1_000])
      assert.deepStrictEqual(waits(Backoff.constant(3_000, { jitter: "none" }), 1, never, floor), [3_000])
    })

    it("is the wait where the policy has none", () => {
      assert.deepStrictEqual(waits(Backoff.none, 2, never, floor), [1_000, 1_000])
    })

    it("is the least that decorrelated jitter waits", () => {
      const backoff = Backoff.decorrelated({ initial: 10, max: 5_000 })
      for (const wait of waits(backoff, 20, makeRandom(1), floor)) near(wait, 1_000, 5_000, "wait")
    })
  })

  describe("hasJitter", () => {
    it("is false where the author asked for exact waits", () => {
      assert.isFalse(Backoff.hasJitter(Backoff.none))
      assert.isFalse(Backoff.hasJitter(Backoff.constant(1, { jitter: "none" })))
      assert.isTrue(Backoff.hasJitter(Backoff.constant(1)))
      assert.isTrue(Backoff.hasJitter(Backoff.decorrelated({ initial: 1, max: 2 })))
    })
  })

  describe("toSchedule", () => {
    const scheduled = (backoff: Backoff.Backoff, count: number) =>
      Effect.gen(function*() {
        const step = yield* Schedule.toStep(Backoff.toSchedule(backoff))
        const taken: Array<Duration.Duration> = []
        for (let i = 0; i < count; i++) {
          const [output, delay] = yield* Pull.catchDone(step(0, undefined), () => Effect.die("a backoff never ends"))
          assert.deepStrictEqual(output, delay)
          taken.push(delay)
        }
        return taken
      })

    const direct = (backoff: Backoff.Backoff, count: number) =>
      Effect.withFiber((fiber) => {
        const random = fiber.getRef(Random.Random)
        return Effect.sync(() =>
          waits(backoff, count, () => random.nextDoubleUnsafe()).map((ms) => Duration.millis(ms))
        )
      })

    const backoffs = pick<Backoff.Backoff>([
      Backoff.none,
      Backoff.constant(100),
      Backoff.constant("2 seconds", { jitter: "equal" }),
      Backoff.exponential({ initial: 10, max: 250 }),
      Backoff.exponential({ initial: "1 second", max: "30 seconds", factor: 3, jitter: "equal" }),
      Backoff.exponential({ initial: 10, max: 250, jitter: "none" }),
      Backoff.decorrelated({ initial: 10, max: "10 seconds" })
    ])

    effectProperty(
      "waits as long as a call does under the same seed, and again the same when the seed is used again",
      { backoff: backoffs, random: integer(0, 1e6) },
      ({ backoff, random }) =>
        Effect.gen(function*() {
          const bySchedule = yield* Random.withSeed(scheduled(backoff, 12), random)
          assert.deepStrictEqual(bySchedule, yield* Random.withSeed(direct(backoff, 12), random))
          assert.deepStrictEqual(bySchedule, yield* Random.withSeed(scheduled(backoff, 12), random))
        }),
      100
    )

    it.effect("waits differently under another seed", () =>
      Effect.gen(function*() {
        const backoff = Backoff.exponential({ initial: 100, max: 1_000 })
        const one = yield* Random.withSeed(scheduled(backoff, 3), "one")
        const two = yield* Random.withSeed(scheduled(backoff, 3), "two")
        assert.notDeepEqual(one.map(Duration.toMillis), two.map(Duration.toMillis))
      }))

    it.effect("starts anew for each run", () =>
      Effect.gen(function*() {
        const schedule = Backoff.toSchedule(Backoff.exponential({ initial: 10, max: 80, jitter: "none" }))
        const run = Effect.gen(function*() {
          const step = yield* Schedule.toStep(schedule)
          const taken: Array<number> = []
          for (let i = 0; i < 4; i++) taken.push(Duration.toMillis((yield* step(0, undefined))[1]))
          return taken
        })
        assert.deepStrictEqual(yield* run, [10, 20, 40, 80])
        assert.deepStrictEqual(yield* run, [10, 20, 40, 80])
      }))
  })

  describe("Backoff (schema)", () => {
    const issues = (backoff: unknown): ReadonlyArray<string> => {
      try {
        Policy.make({ retry: { backoff: backoff as Backoff.Backoff } })
        return []
      } catch (error) {
        assert.instanceOf(error, Policy.PolicyInvalid)
        return (error as Policy.PolicyInvalid).message.split("\n")
      }
    }

    it("accepts waits from 0 to 30 s and factors from 1 to 10, bounds included", () => {
      assert.deepStrictEqual(issues(Backoff.exponential({ initial: 0, max: "30 seconds", factor: 1 })), [])
      assert.deepStrictEqual(issues(Backoff.exponential({ initial: 1, max: 1, factor: 10 })), [])
      assert.deepStrictEqual(issues(Backoff.constant(0)), [])
    })

    it("refuses max under initial, waits over 30 s and factors that are out of range, each by its path", () => {
      const refused = [
        [
          Backoff.exponential({ initial: 200, max: 100 }),
          "retry.backoff.max: must not be less than initial (200ms), got 100ms"
        ],
        [
          Backoff.exponential({ initial: 1, max: 30_001 }),
          "retry.backoff.max: must be 0 or between 1ms and 30s, got 30s 1ms"
        ],
        [Backoff.constant("31 seconds"), "retry.backoff.delay: must be 0 or between 1ms and 30s, got 31s"],
        [
          Backoff.exponential({ initial: 1, max: 2, factor: 0.5 }),
          "retry.backoff.factor: must be a number between 1 and 10, got 0.5"
        ],
        [
          Backoff.exponential({ initial: 1, max: 2, factor: 11 }),
          "retry.backoff.factor: must be a number between 1 and 10, got 11"
        ],
        [
          Backoff.exponential({ initial: 1, max: 2, factor: Infinity }),
          "retry.backoff.factor: must be a number between 1 and 10, got Infinity"
        ]
      ] as const
      for (const [backoff, message] of refused) assert.strictEqual(issues(backoff)[0], message)
    })

    it("says one thing about one mistake: a backoff out of range is not told that it should be a schedule", () => {
      assert.deepStrictEqual(issues(Backoff.constant("31 seconds")), [
        "retry.backoff.delay: must be 0 or between 1ms and 30s, got 31s"
      ])
    })
  })

  describe("BackoffFromJson", () => {
    const decode = Schema.decodeUnknownSync(Backoff.BackoffFromJson)

    it("fills in the defaults of the constructors", () => {
      assert.deepStrictEqual(
        decode({ type: "exponential", initial: "10 millis", max: 250 }),
        Backoff.exponential({ initial: 10, max: 250 }) as typeof Backoff.Backoff.Type
      )
      assert.deepStrictEqual(decode({ type: "exponential", initial: 10, max: 250, jitter: "decorrelated" }), {
        ...Backoff.decorrelated({ initial: 10, max: 250 }) as typeof Backoff.Backoff.Type
      })
      assert.deepStrictEqual(decode({ type: "constant", delay: 5 }), Backoff.constant(5) as typeof Backoff.Backoff.Type)
    })

    it("refuses waits under 1 ms: no wait at all is for local policies only", () => {
      for (const json of [{ type: "constant", delay: 0 }, { type: "exponential", initial: 0.5, max: 10 }]) {
        assert.throws(() => decode(json), /must be between 1ms and 30s/)
      }
    })
  })
})
