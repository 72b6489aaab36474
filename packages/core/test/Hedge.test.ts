import { assert, describe, it } from "@effect/vitest"
import { Hedge, Latency, Policy, PolicyLayer } from "@rego/core"
import { Duration, Effect, Layer, Option, Pull, Schedule, Schema } from "effect"
import { decimal, integer, json, property } from "./arbitraries.ts"
import { refusal } from "./support.ts"

/** A reading of a key with so many samples; quantiles as given. */
const reading = (samples: number, quantile?: number): Hedge.Reading => ({
  samples: () => samples,
  quantileMillis: () => quantile
})

const delayOf = (trigger: Hedge.Trigger, seen: Hedge.Reading): number | undefined =>
  Hedge.delayMillis(Hedge.delaysOf(trigger), seen, 0)

const latencyOf = (samples: ReadonlyArray<number>): Latency.Latency => {
  const latency = Latency.makeUnsafe()
  for (const millis of samples) latency.record(millis, true, 0)
  return latency
}

const stateOf = (latency: Latency.Latency): Hedge.State => ({
  attempt: { retry: 0, hedge: 1 },
  elapsed: Duration.zero,
  launched: 1,
  latency: latency.snapshot(0)
})

const first = <A>(schedule: Schedule.Schedule<A, Hedge.State>, state: Hedge.State) =>
  Effect.flatMap(Schedule.toStep(schedule), (step) =>
    Pull.matchEffect(step(0, state), {
      onSuccess: ([output, delay]) => Effect.succeed([output, Duration.toMillis(delay)] as const),
      onDone: () => Effect.succeed("done" as const),
      onFailure: Effect.failCause
    }))

describe("Hedge", () => {
  describe("after", () => {
    it("holds its delay", () => {
      assert.deepStrictEqual(Hedge.after("250 millis"), { _tag: "After", delay: Duration.millis(250) })
    })

    it("takes 1 millisecond to 1 day, in any form of a duration", () => {
      for (const delay of [1, "1 millis", "1 day", Duration.seconds(3), { minutes: 2 }] as const) {
        const trigger = Hedge.after(delay)
        assert.strictEqual(delayOf(trigger, reading(0)), Duration.toMillis(Duration.fromInputUnsafe(delay)))
      }
    })

    const refused = [
      [0, "must be between 1ms and 1d, got 0"],
      [0.5, "must be between 1ms and 1d"],
      [-5, "must be between 1ms and 1d"],
      ["25 hours", "must be between 1ms and 1d"],
      [Infinity, "must be between 1ms and 1d"],
      [NaN, "must be a duration, got NaN"],
      ["soon", "must be a duration"]
    ] as const
    for (const [delay, message] of refused) {
      it(`refuses ${delay}`, () => {
        const said = refusal(() => Hedge.after(delay as Duration.Input))
        assert.include(said, "Hedge.after: delay")
        assert.include(said, message)
      })
    }
  })

  describe("quantile", () => {
    it("has defaults: 10 samples above the quantile and at least 50, 1 ms at least, no fallback, no max", () => {
      assert.deepStrictEqual(Hedge.quantile(0.95), {
        _tag: "Quantile",
        q: 0.95,
        minSamples: 200,
        fallback: Option.none(),
        min: Duration.millis(1),
        max: Option.none()
      })
    })

    const minSamples = [[0.5, 50], [0.8, 50], [0.9, 100], [0.95, 200], [0.99, 1_000], [0.999, 10_000], [
      0.9999,
      100_000
    ]] as const
    for (const [q, samples] of minSamples) {
      it(`wants ${samples} samples for ${q}`, () => {
        const trigger = Hedge.quantile(q)
        assert.strictEqual(trigger._tag === "Quantile" ? trigger.minSamples : 0, samples)
      })
    }

    it("takes all options", () => {
      assert.deepStrictEqual(Hedge.quantile(0.9, { minSamples: 7, fallback: 100, min: 20, max: "1 second" }), {
        _tag: "Quantile",
        q: 0.9,
        minSamples: 7,
        fallback: Option.some(Duration.millis(100)),
        min: Duration.millis(20),
        max: Option.some(Duration.seconds(1))
      })
    })

    it("refuses shares outside of 0.5 to 0.9999", () => {
      for (const q of [0.49, 0.99991, 1, 0, -1, 95, NaN, Infinity]) {
        assert.include(refusal(() => Hedge.quantile(q)), "Hedge.quantile: q: must be a number between 0.5 and 0.9999")
      }
      for (const q of [0.5, 0.9999]) assert.isTrue(Hedge.isTrigger(Hedge.quantile(q)))
    })

    it("names every option out of range at once, and unknown ones", () => {
      const options = { minSamples: 0, fallback: 0, min: -1, max: "2 days", minimum: 3 } as never
      const said = refusal(() => Hedge.quantile(2, options))
      for (const name of ["q", "minSamples", "fallback", "min", "max", "minimum"]) assert.include(said, `${name}: `)
    })

    it("refuses a max below min, in a document too", () => {
      const rule = "max: must not be less than min (20ms), got 10ms"
      assert.include(refusal(() => Hedge.quantile(0.9, { min: 20, max: 10 })), rule)
      const document = { type: "quantile", q: 0.9, min: 20, max: 10 }
      assert.throws(() => Schema.decodeUnknownSync(Hedge.TriggerFromJson)(document), "less than min (20ms)")
      assert.isTrue(Hedge.isTrigger(Hedge.quantile(0.9, { min: 20, max: 20 })))
      // without a min it is 1 ms, and no max is less
      assert.isTrue(Hedge.isTrigger(Hedge.quantile(0.9, { max: 1 })))
      const made = { ...Hedge.quantile(0.9, { min: 20 }), max: Option.some(Duration.millis(10)) }
      assert.isFalse(Schema.is(Hedge.Trigger)(made))
    })

    it("refuses a number of samples that is not whole, or too large to ever be there", () => {
      for (const minSamples of [1.5, 100_001, -1, NaN]) {
        assert.include(refusal(() => Hedge.quantile(0.9, { minSamples })), "minSamples: must be an integer")
      }
    })
  })

  describe("maxExtraLoad", () => {
    it("holds its share, 0.0001 to 0.5", () => {
      assert.deepStrictEqual(Hedge.maxExtraLoad(0.05), { _tag: "MaxExtraLoad", load: 0.05 })
      for (const load of [0, 0.00009, 0.51, 5, -0.1, NaN]) {
        assert.include(
          refusal(() => Hedge.maxExtraLoad(load)),
          "maxExtraLoad: load: must be a number between 0.0001 and 0.5"
        )
      }
    })
  })

  describe("isTrigger", () => {
    it("tells triggers from schedules, names and anything else", () => {
      for (const trigger of [Hedge.after(1), Hedge.quantile(0.9), Hedge.maxExtraLoad(0.1)]) {
        assert.isTrue(Hedge.isTrigger(trigger))
        assert.isFalse(Hedge.isTrigger(Hedge.toSchedule(trigger)))
      }
      for (const other of ["p95", undefined, null, 5, {}, { _tag: "Other" }, Schedule.forever]) {
        assert.isFalse(Hedge.isTrigger(other))
      }
    })
  })

  describe("TriggerFromJson", () => {
    const decode = Schema.decodeUnknownSync(Hedge.TriggerFromJson)
    const encode = Schema.encodeUnknownSync(Hedge.TriggerFromJson)

    const written = [
      [{ type: "after", delay: "250 millis" }, Hedge.after(250)],
      [{ type: "quantile", q: 0.95 }, Hedge.quantile(0.95)],
      [
        { type: "quantile", q: 0.9, minSamples: 9, fallback: "1 second", min: 5, max: "2 seconds" },
        Hedge.quantile(0.9, { minSamples: 9, fallback: "1 second", min: 5, max: "2 seconds" })
      ],
      [{ type: "maxExtraLoad", load: 0.02 }, Hedge.maxExtraLoad(0.02)]
    ] as const
    for (const [document, trigger] of written) {
      it(`reads ${JSON.stringify(document)}, and writes what it reads`, () => {
        assert.deepStrictEqual(decode(document), trigger)
        assert.deepStrictEqual(decode(encode(trigger)), trigger)
        assert.deepStrictEqual(decode(JSON.parse(JSON.stringify(encode(trigger)))), trigger)
      })
    }

    it("refuses what the constructors refuse", () => {
      for (
        const bad of [
          { type: "after", delay: 0 },
          { type: "after" },
          { type: "quantile", q: 1 },
          { type: "quantile", q: 0.9, minSamples: 0.5 },
          { type: "maxExtraLoad", load: 0.6 },
          { type: "fixed", delay: 5 },
          { _tag: "After", delay: 5 },
          "p95"
        ]
      ) assert.throws(() => decode(bad))
    })

    property("goes round for every trigger there is", {
      delay: integer(1, 86_400_000),
      q: decimal(0.5, 0.9999),
      samples: integer(1, 100_000),
      load: decimal(0.0001, 0.5),
      which: integer(0, 2)
    }, ({ delay, load, q, samples, which }) => {
      const trigger = [
        () => Hedge.after(delay),
        () => Hedge.quantile(q, { minSamples: samples, fallback: delay, max: delay }),
        () => Hedge.maxExtraLoad(load)
      ][which]!()
      assert.deepStrictEqual(decode(JSON.parse(JSON.stringify(encode(trigger)))), trigger)
    })

    property("never takes anything else for a trigger", { input: json }, ({ input }) => {
      const result = Schema.decodeUnknownResult(Hedge.TriggerFromJson)(input)
      if (result._tag === "Success") assert.isTrue(Hedge.isTrigger(result.success))
    }, 500)
  })

  describe("delayMillis", () => {
    it("of a fixed delay is that delay, whatever is known", () => {
      for (const samples of [0, 1_000]) assert.strictEqual(delayOf(Hedge.after(40), reading(samples, 7)), 40)
    })

    const few = { minSamples: 10 }
    const rows = [
      ["no hedge below minSamples", Hedge.quantile(0.9, few), reading(9, 25), undefined],
      [
        "the fallback below minSamples, without its bounds",
        Hedge.quantile(0.9, { ...few, fallback: 3, min: 50 }),
        reading(9, 25),
        3
      ],
      ["the quantile from minSamples on", Hedge.quantile(0.9, few), reading(10, 25), 25],
      ["at least min", Hedge.quantile(0.9, { ...few, min: 40 }), reading(10, 25), 40],
      ["at least 1 ms", Hedge.quantile(0.9, few), reading(10, 0.13), 1],
      ["at most max", Hedge.quantile(0.9, { ...few, max: 20 }), reading(10, 25), 20],
      ["max where the estimate does not reach it", Hedge.quantile(0.9, { ...few, max: 20 }), reading(10), 20],
      ["no hedge there without a max", Hedge.quantile(0.9, few), reading(10), undefined],
      ["not the fallback there", Hedge.quantile(0.9, { ...few, fallback: 3 }), reading(10), undefined]
    ] as const
    for (const [name, trigger, seen, delay] of rows) {
      it(`of a quantile is ${name}`, () => {
        assert.strictEqual(delayOf(trigger, seen), delay)
      })
    }

    it("of a share of extra load is the quantile that leaves that share above it", () => {
      const asked: Array<number> = []
      const seen: Hedge.Reading = {
        samples: () => 200,
        quantileMillis: (q) => {
          asked.push(q)
          return 30
        }
      }
      assert.strictEqual(delayOf(Hedge.maxExtraLoad(0.05), seen), 30)
      assert.deepStrictEqual(asked, [0.95])
      assert.isUndefined(delayOf(Hedge.maxExtraLoad(0.05), { ...seen, samples: () => 199 }))
    })

    it("of the quantiles of 1 to 100 ms is 50, 90 and 99 ms within 3 % [H05]", () => {
      const latency = latencyOf(Array.from({ length: 100 }, (_, i) => i + 1))
      for (const q of [0.5, 0.9, 0.99]) {
        assert.closeTo(delayOf(Hedge.quantile(q, { minSamples: 100 }), latency)!, q * 100, q * 100 * 0.03)
      }
    })
  })

  describe("toSchedule", () => {
    it.effect("answers the delay, as its output too", () =>
      Effect.gen(function*() {
        const [output, delay] = (yield* first(Hedge.toSchedule(Hedge.after(40)), stateOf(latencyOf([])))) as [
          Duration.Duration,
          number
        ]
        assert.deepStrictEqual([Duration.toMillis(output), delay], [40, 40])
      }))

    it.effect("is done where there is no hedge", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* first(Hedge.toSchedule(Hedge.quantile(0.9)), stateOf(latencyOf([5, 5]))), "done")
      }))

    it.effect("reads the latency of the call it is asked for", () =>
      Effect.gen(function*() {
        const schedule = Hedge.toSchedule(Hedge.quantile(0.9, { minSamples: 2 }))
        for (const millis of [10, 200]) {
          const answered = yield* first(schedule, stateOf(latencyOf([millis, millis])))
          assert.closeTo(answered === "done" ? 0 : answered[1], millis, millis * 0.03)
        }
      }))

    it.effect("can be changed as any schedule can", () =>
      Effect.gen(function*() {
        const twice = Schedule.modifyDelay(
          Hedge.toSchedule(Hedge.after(40)),
          ({ duration }) => Effect.succeed(Duration.times(duration, 2))
        )
        const answered = yield* first(twice, stateOf(latencyOf([])))
        assert.strictEqual(answered === "done" ? 0 : answered[1], 80)
      }))
  })

  describe("in a policy", () => {
    const issues = (hedge: unknown): string => {
      try {
        Policy.make({ hedge } as never)
      } catch (error) {
        return String(error)
      }
      return ""
    }

    it("maxHedges is 1 to 3, maxFailing 0 to 1, and the trigger is required", () => {
      const trigger = Hedge.after(10)
      for (const maxHedges of [1, 2, 3]) assert.strictEqual(issues({ trigger, maxHedges }), "")
      for (const maxFailing of [0, 1]) assert.strictEqual(issues({ trigger, maxFailing }), "")
      for (const maxHedges of [0, 4, 1.5, NaN]) assert.include(issues({ trigger, maxHedges }), "hedge.maxHedges")
      for (const maxFailing of [-0.1, 1.1, NaN]) assert.include(issues({ trigger, maxFailing }), "hedge.maxFailing")
      assert.include(issues({}), "hedge.trigger: is required")
    })

    it("a trigger out of range that was not made by a constructor is refused", () => {
      assert.include(issues({ trigger: { _tag: "After", delay: Duration.zero } }), "hedge.trigger")
      assert.include(issues({ trigger: { _tag: "MaxExtraLoad", load: 2 } }), "hedge.trigger")
      assert.include(issues({ trigger: 5 }), "hedge.trigger: Expected a trigger or a Schedule, got 5")
      assert.strictEqual(issues({ trigger: Schedule.forever }), "")
    })
  })

  describe("layer", () => {
    it.effect("layers of several names merge, and each policy finds its own", () =>
      Effect.gen(function*() {
        const policies = PolicyLayer.make({
          policies: {
            a: { idempotent: true, hedge: { trigger: "slow" } },
            b: { idempotent: true, hedge: { trigger: "quick" } }
          }
        })
        const registries = Layer.mergeAll(
          Hedge.layer({ slow: Hedge.after(100) }),
          Hedge.layer({ quick: Schedule.forever })
        )
        const context = yield* Effect.scoped(Layer.build(policies.pipe(Layer.provideMerge(registries))))
        assert.deepStrictEqual(Hedge.findNamed(context as never, "slow"), Hedge.after(100))
        assert.strictEqual(Hedge.findNamed(context as never, "quick"), Schedule.forever)
        assert.isUndefined(Hedge.findNamed(context as never, "other"))
      }))
  })
})
