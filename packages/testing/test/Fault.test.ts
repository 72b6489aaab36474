import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Fault, TimelineRows } from "@rego/testing"
import type { Tracer } from "effect"
import { Data, Effect, Exit, Fiber, Layer, Logger, Random } from "effect"
import { TestClock } from "effect/testing"

class Unavailable extends Data.TaggedError("Unavailable")<{ readonly secret: string }> {}

const unavailable = new Unavailable({ secret: "token" })

const Policies = PolicyLayer.make({
  policies: {
    "users.Get": {
      retry: { maxAttempts: 3, backoff: Backoff.constant("1 second", { jitter: "none" }) },
      timeout: { perAttempt: "5 seconds", overall: "1 minute" },
      idempotent: true
    },
    "users.Hedged": { hedge: { trigger: Hedge.after("1 second") }, timeout: { overall: "1 minute" }, idempotent: true },
    "users.Once": { timeout: { overall: "1 minute" } }
  }
})

const silent = Layer.succeed(Logger.CurrentLoggers, new Set())

/** Runs a program under faults. */
const under = (faults: ReadonlyArray<Fault.Fault>, options?: Fault.LayerOptions) =>
  Effect.provide(Fault.layer(faults, options).pipe(Layer.provideMerge(Policies), Layer.provide(silent)))

/** One call in virtual time: its exit and its timeline. */
const call = <A, E>(effect: Effect.Effect<A, E>, key = "users.Get") =>
  Effect.gen(function*() {
    const fiber = yield* effect.pipe(
      Rego.resilient(key),
      Timeline.capture,
      Effect.forkChild({ startImmediately: true })
    )
    yield* TestClock.adjust("1 minute")
    const [exit, [timeline]] = yield* Fiber.join(fiber)
    return { exit, timeline: timeline!, rows: TimelineRows.rows(timeline!) }
  })

const faultsOf = (timeline: Timeline.Timeline) => timeline.attempts.map(({ attributes }) => attributes?.["fault"])

/** Which of many requests were hit. */
const hits = (times: number) =>
  Effect.forEach(
    Array.from({ length: times }),
    () => Effect.succeed("ada").pipe(Rego.resilientWithTimeline("users.Once"), Effect.option)
  ).pipe(
    Effect.map((all) => all.map((one) => one._tag === "None"))
  )

describe("Fault", () => {
  describe("kinds", () => {
    it.effect("error: the effect is not run, the call retries, and each attempt is marked without what the error holds", () => {
      let runs = 0
      return Effect.gen(function*() {
        const { exit, rows } = yield* call(Effect.sync(() => ++runs))
        assert.deepStrictEqual(Exit.isFailure(exit) && exit.cause.reasons.length, 1)
        assert.strictEqual(runs, 0)
        TimelineRows.expectRows(rows, [
          [0, "start 0"],
          [0, "end 0 Retryable typed_failure fault=error Unavailable"],
          [0, "wait 1000"],
          [1_000, "start 1"],
          [1_000, "end 1 Retryable typed_failure fault=error Unavailable"],
          [1_000, "wait 1000"],
          [2_000, "start 2"],
          [2_000, "end 2 Retryable typed_failure fault=error Unavailable"],
          [2_000, "stop attempts_exhausted"],
          [2_000, "failure"]
        ])
      }).pipe(under([Fault.error(unavailable)]))
    })

    it.effect("defect", () =>
      Effect.gen(function*() {
        const { rows } = yield* call(Effect.succeed("ada"))
        assert.deepStrictEqual(rows[1], [0, "end 0 NonRetryable defect fault=defect TypeError"])
      }).pipe(under([Fault.defect(new TypeError("bug"))])))

    it.effect("answer: another value, as the classifier sees it", () =>
      Effect.gen(function*() {
        const { exit, timeline } = yield* call(Effect.succeed({ status: 200 }))
        assert.deepStrictEqual(exit, Exit.succeed({ status: 503 }))
        assert.deepStrictEqual(faultsOf(timeline), [`answer {"status":503}`])
      }).pipe(under([Fault.answer({ status: 503 })])))

    it.effect("hang: until the attempt times out", () =>
      Effect.gen(function*() {
        const { exit, rows } = yield* call(Effect.succeed("ada"))
        assert.deepStrictEqual(exit, Exit.succeed("ada"))
        assert.deepStrictEqual(rows[1], [5_000, "timed_out 0 Retryable attempt_timeout fault=hang"])
      }).pipe(under([Fault.hang({ when: ({ retry }) => retry === 0 })])))

    it.effect("latency: fixed, and between two bounds", () =>
      Effect.gen(function*() {
        const { rows } = yield* call(Effect.succeed("ada"))
        const [at, event] = rows[1]!
        assert.strictEqual(event, "end 0 Success fault=latency 1s, latency 1s to 2s")
        assert.isTrue(at >= 2_000 && at <= 3_000, `${at}`)
      }).pipe(under([Fault.latency("1 second"), Fault.latency({ min: "1 second", max: "2 seconds" })])))
  })

  describe("where", () => {
    const cases: ReadonlyArray<readonly [keys: string | ReadonlyArray<string>, key: string, hit: boolean]> = [
      ["*", "users.Once", true],
      ["users.*", "users.Once", true],
      ["users.Once", "users.Once", true],
      [["orders.*", "users.Once"], "users.Once", true],
      ["users.Onc", "users.Once", false],
      ["user.*", "users.Once", false],
      ["users.Once.*", "users.Once", false],
      ["orders.*", "users.Once", false]
    ]
    for (const [keys, key, hit] of cases) {
      it.effect(`${String(keys)} ${hit ? "covers" : "does not cover"} ${key}`, () =>
        Effect.gen(function*() {
          const { exit } = yield* call(Effect.succeed("ada"), key)
          assert.strictEqual(Exit.isFailure(exit), hit)
        }).pipe(under([Fault.error("503", { keys })])))
    }

    it.effect("only hedges, or only first attempts, where it says so", () =>
      Effect.gen(function*() {
        const { rows } = yield* call(Effect.delay(Effect.succeed("ada"), "10 millis"), "users.Hedged")
        TimelineRows.expectRows(rows, [
          [0, "start 0"],
          [1_000, "start 0.1"],
          [1_010, "interrupted_loser 0 fault=latency 3s"],
          [1_010, "end 0.1 Success"],
          [1_010, "success"]
        ])
      }).pipe(under([Fault.latency("3 seconds", { when: ({ hedge }) => hedge === 0 })])))

    it.effect("only within its window, which begins and ends on the millisecond", () =>
      Effect.gen(function*() {
        const seen: Array<boolean> = []
        for (const by of [0, 999, 1, 998, 1]) {
          yield* TestClock.adjust(by)
          seen.push(...(yield* hits(1)))
        }
        // at 0, 999, 1000, 1998 and 1999 ms
        assert.deepStrictEqual(seen, [false, false, true, true, false])
      }).pipe(under([Fault.error("503", { from: "1 second", until: "1999 millis" })])))

    it.effect("nowhere without the layer", () =>
      Effect.gen(function*() {
        const { exit, timeline } = yield* call(Fault.at("db.Query")(Effect.succeed("ada")))
        assert.deepStrictEqual(exit, Exit.succeed("ada"))
        assert.deepStrictEqual(faultsOf(timeline), [undefined])
      }).pipe(Effect.provide(Policies)))

    it.effect("only the calls below the layer", () =>
      Effect.gen(function*() {
        const faulty = under([Fault.error("503")])(Rego.resilient(Effect.succeed("ada"), "users.Once"))
        assert.isTrue(Exit.isFailure(yield* Effect.exit(faulty)))
        assert.strictEqual(yield* Rego.resilient(Effect.succeed("ada"), "users.Once"), "ada")
      }).pipe(Effect.provide(Policies)))
  })

  describe("rate", () => {
    it.effect("hits that share of the requests", () =>
      Effect.gen(function*() {
        const hit = (yield* hits(2_000)).filter((is) => is).length
        assert.isTrue(hit > 520 && hit < 680, `${hit} of 2,000`)
      }).pipe(under([Fault.error("503", { rate: 0.3 })], { seed: "rate" })))

    it.effect("hits all with 1, and none with 0", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* under([Fault.error("503")])(hits(20)), Array.from({ length: 20 }, () => true))
        assert.deepStrictEqual(
          yield* under([Fault.error("503", { rate: 0 })])(hits(20)),
          Array.from({ length: 20 }, () => false)
        )
      }))

    it.effect("hits the same ones for the same seed, whatever else draws numbers", () =>
      Effect.gen(function*() {
        const faults = [Fault.error("503", { rate: 0.5 })]
        const once = yield* under(faults, { seed: 7 })(hits(50)).pipe(Random.withSeed("a"))
        const again = yield* under(faults, { seed: 7 })(hits(50)).pipe(Random.withSeed("b"))
        const other = yield* under(faults, { seed: 8 })(hits(50)).pipe(Random.withSeed("a"))
        assert.deepStrictEqual(again, once)
        assert.notDeepEqual(other, once)
      }))

    it.effect("takes the fiber's Random where the layer has no seed", () =>
      Effect.gen(function*() {
        const faults = [Fault.error("503", { rate: 0.5 })]
        const run = (seed: string) => Random.withSeed(under(faults)(hits(50)), seed)
        assert.deepStrictEqual(yield* run("a"), yield* run("a"))
        assert.notDeepEqual(yield* run("b"), yield* run("a"))
      }))
  })

  describe("the numbers of the application", () => {
    /** What a program draws after some requests: the next number of the fiber's `Random`. */
    const drawnAfter = (rate: number | undefined) =>
      Effect.andThen(hits(5), Random.next).pipe(
        under(rate === undefined ? [] : [Fault.error("503", { rate })]),
        Random.withSeed("a")
      )

    it.effect("are left alone where it is sure whether a fault hits: a rate of 0 or 1", () =>
      Effect.gen(function*() {
        const undisturbed = yield* drawnAfter(undefined)
        assert.strictEqual(yield* drawnAfter(0), undisturbed)
        assert.strictEqual(yield* drawnAfter(1), undisturbed)
        assert.notStrictEqual(yield* drawnAfter(0.5), undisturbed)
      }))

    it.effect("do not matter where the layer has a seed, nor does the rate of one fault to the next", () =>
      Effect.gen(function*() {
        const second = (rate: number) =>
          Effect.gen(function*() {
            yield* hits(50)
            return (yield* (yield* Fault.Faults).injected)["second"]
          }).pipe(
            under([Fault.latency(0, { rate, name: "first" }), Fault.latency(0, { rate: 0.5, name: "second" })], {
              seed: 7
            })
          )
        assert.strictEqual(yield* second(0), yield* second(1))
      }))
  })

  describe("several", () => {
    it.effect("are all in the mark of an attempt and of a span, each once, also those of places inside of them", () =>
      Effect.gen(function*() {
        const query = Effect.gen(function*() {
          for (const place of ["db.Query", "db.Query", "cache.Put"]) yield* Fault.at(place)(Effect.void)
          return ((yield* Effect.currentSpan) as Tracer.NativeSpan).attributes.get("fault")
        }).pipe(Effect.withSpan("query"))
        const { exit, timeline } = yield* call(query, "users.Once")
        assert.deepStrictEqual(exit, Exit.succeed("inside, last"))
        assert.deepStrictEqual(faultsOf(timeline), ["around, inside, last"])
      }).pipe(under([
        Fault.latency("1 second", { name: "around", keys: "users.*" }),
        Fault.latency("1 second", { name: "inside", keys: "db.*" }),
        Fault.latency("1 second", { name: "last", keys: "cache.*" })
      ])))

    it.effect("delays add up, and the first that takes the place of the effect ends the list", () =>
      Effect.gen(function*() {
        const { exit, rows } = yield* call(Effect.succeed("ada"), "users.Once")
        assert.deepStrictEqual(exit, Exit.succeed("eve"))
        assert.deepStrictEqual(rows[1], [3_000, "end 0 Success fault=slow, slower, eve"])
      }).pipe(under([
        Fault.latency("1 second", { name: "slow" }),
        Fault.latency("2 seconds", { name: "slower" }),
        Fault.answer("eve", { name: "eve" }),
        Fault.hang()
      ])))
  })

  describe("Faults", () => {
    it.effect("count what was injected, and can be replaced while the application runs", () =>
      Effect.gen(function*() {
        const faults = yield* Fault.Faults
        assert.deepStrictEqual(yield* hits(2), [false, false])
        yield* faults.set([Fault.error("503", { name: "exercise" })])
        assert.deepStrictEqual(yield* hits(2), [true, true])
        yield* faults.set([])
        assert.deepStrictEqual(yield* hits(1), [false])
        assert.deepStrictEqual(yield* faults.injected, { exercise: 2 })
      }).pipe(under([])))
  })

  describe("at", () => {
    it.effect("injects into an effect that is no call, and marks the attempt around it and the span", () =>
      Effect.gen(function*() {
        const query = Effect.gen(function*() {
          const span = yield* Effect.currentSpan
          yield* Fault.at("db.Query")(Effect.void)
          return (span as Tracer.NativeSpan).attributes.get("fault")
        }).pipe(Effect.withSpan("query"))
        const { exit, timeline } = yield* call(query, "users.Once")
        assert.deepStrictEqual(exit, Exit.succeed("answer 1"))
        assert.deepStrictEqual(faultsOf(timeline), ["answer 1"])
      }).pipe(under([Fault.answer(1, { keys: "db.*" })])))
  })

  describe("the layer", () => {
    it.effect("says that faults are injected, once", () =>
      Effect.gen(function*() {
        const lines: Array<string> = []
        const logger = Logger.make<unknown, void>(({ message }) => {
          lines.push([message].flat().map(String).join(" "))
        })
        const layer = Fault.layer([Fault.error(unavailable), Fault.hang()]).pipe(
          Layer.provide(Policies),
          Layer.provide(Layer.succeed(Logger.CurrentLoggers, new Set([logger])))
        )
        yield* Effect.provide(hits(3), layer)
        assert.deepStrictEqual(lines, ["faults are injected: error Unavailable, hang"])
      }))
  })

  describe("options out of range", () => {
    it("are refused with every issue, its value and the rule", () => {
      assert.throws(
        () => Fault.error("503", { keys: ["users.*", "a b"], rate: 1.5, from: "2 seconds", until: "1 second" }),
        "Fault.error: keys: must be keys, \"prefix.*\" or \"*\", got \"a b\"; rate: must be from 0 to 1, got 1.5; " +
          "until: must be a duration that is not before from, got \"1 second\""
      )
      assert.throws(() => Fault.hang({ keys: [], rate: NaN, from: -1 }), /keys: .*; rate: .*NaN; from: /)
      assert.throws(() => Fault.latency({ min: 2, max: 1 }), "Fault.latency: must be a finite duration")
      assert.throws(() => Fault.latency("soon" as never), "Fault.latency: must be a finite duration")
      assert.throws(() => Fault.latency(Infinity), "Fault.latency: must be a finite duration")
    })
  })
})
