import { assert, describe, it } from "@effect/vitest"
import { Budget, Explanation, Outcome, PolicyDocument, PolicyLayer, Timeline } from "@rego/core"
import { Duration, Effect, Exit, Layer, Option, Random } from "effect"
import { array, boolean, constant, decimal, effectProperty, integer, map, oneOf, partial, pick } from "./arbitraries.ts"
import type { Step } from "./support.ts"
import { countingBudget, inVirtualTime, Judged, judged, key, resilient, script, under } from "./support.ts"

type Json = Readonly<Record<string, unknown>>

const documentOf = (policy: Json, more: Json = {}): Json => ({
  schemaVersion: "1.0",
  revision: "7",
  policies: { [key]: policy },
  ...more
})

const explain = (document: Json, name = key, options?: Explanation.Options) =>
  Effect.map(PolicyDocument.decode(document), (decoded) => Explanation.make(decoded, name, options))

const rules = (policy: Json, more?: Json) =>
  Effect.map(explain(documentOf(policy, more)), ({ warnings }) => warnings.map(({ rule }) => rule))

const from = (
  { fields }: Explanation.Explanation,
  path: string
): readonly [unknown, string | undefined] | undefined => {
  const field = fields.find((field) => field.path === path)
  return field === undefined ? undefined : [field.value, field.from]
}

const millis = (durations: ReadonlyArray<Duration.Duration>) => durations.map(Duration.toMillis)

describe("Explanation", () => {
  describe("fields", () => {
    const layered: Json = {
      schemaVersion: "1.0",
      revision: "7",
      defaults: { timeout: { overall: "2 seconds" }, hedge: { trigger: { type: "after", delay: "50 millis" } } },
      policies: {
        "*": { retry: { maxAttempts: 2 }, idempotent: true },
        "users.*": { retry: { backoff: { type: "constant", delay: "20 millis" } }, budget: "unlimited" },
        "users.Get": { timeout: { perAttempt: "100 millis" }, hedge: "off" },
        "users.Old": { retry: "off" },
        "orders.Get": { hedge: { trigger: { type: "quantile", q: 0.95 }, maxHedges: 2 } }
      }
    }

    it.effect("names the last entry that states a value", () =>
      Effect.gen(function*() {
        const explained = yield* explain(layered, "users.Get")
        assert.deepStrictEqual(explained.matched, [
          "defaults",
          `policies["*"]`,
          `policies["users.*"]`,
          `policies["users.Get"]`
        ])
        assert.deepStrictEqual(from(explained, "retry.maxAttempts"), [2, `policies["*"]`])
        assert.deepStrictEqual(from(explained, "retry.backoff"), [
          { type: "constant", delay: "20 millis", jitter: "full" },
          `policies["users.*"]`
        ])
        assert.deepStrictEqual(from(explained, "timeout.overall"), ["2000 millis", "defaults"])
        assert.deepStrictEqual(from(explained, "timeout.perAttempt"), ["100 millis", `policies["users.Get"]`])
        assert.deepStrictEqual(from(explained, "hedge"), ["off", `policies["users.Get"]`])
        assert.deepStrictEqual(from(explained, "idempotent"), [true, `policies["*"]`])
      }))

    it.effect("gives what nobody states its default, and no entry", () =>
      Effect.gen(function*() {
        const explained = yield* explain(layered, "users.Get")
        assert.deepStrictEqual(from(explained, "retry.maxRetryAfter"), ["10000 millis", undefined])
        assert.deepStrictEqual(from(explained, "classifier"), ["unstated", undefined])
      }))

    it.effect("counts nothing of a section that was switched off", () =>
      Effect.gen(function*() {
        const explained = yield* explain(layered, "users.Old")
        assert.deepStrictEqual(from(explained, "retry"), ["off", `policies["users.Old"]`])
        assert.isUndefined(from(explained, "retry.maxAttempts"))
      }))

    it.effect("knows no key by the defaults alone", () =>
      Effect.gen(function*() {
        const explained = yield* explain(documentOf({}, { defaults: { retry: {} } }), "orders.Get")
        assert.deepStrictEqual(explained.matched, [])
        assert.strictEqual(explained.worst.attempts, 1)
        assert.deepStrictEqual(explained.warnings, [])
      }))

    it.effect("explains the key under which calls run, where the one given looks like an id", () =>
      Effect.gen(function*() {
        const explained = yield* explain(layered, "users.1234567")
        assert.strictEqual(explained.key, "users._overflow")
        assert.include(explained.matched, `policies["users.*"]`)
      }))
  })

  describe("worst case", () => {
    it.effect("counts retries and hedges, and the waits at their longest", () =>
      Effect.gen(function*() {
        const { worst } = yield* explain(documentOf({
          retry: { maxAttempts: 3, backoff: { type: "exponential", initial: "10 millis", max: "15 millis" } },
          timeout: { perAttempt: "100 millis" },
          hedge: { trigger: { type: "after", delay: "20 millis" } },
          idempotent: true
        }))
        assert.deepInclude(worst, { groups: 3, perGroup: 2, attempts: 6 })
        assert.deepStrictEqual(millis(worst.waits), [10, 15])
        // the hedge is refused twice and then starts
        assert.strictEqual(Duration.toMillis(worst.duration), 3 * (100 + 3 * 20) + 25)
      }))

    it.effect("has no hedges unless the operation may run twice, whoever says so", () =>
      Effect.gen(function*() {
        const hedged = { hedge: { trigger: { type: "after", delay: "20 millis" } } }
        assert.strictEqual((yield* explain(documentOf(hedged))).worst.attempts, 1)
        assert.strictEqual((yield* explain(documentOf(hedged), key, { idempotent: true })).worst.attempts, 2)
        const stated = documentOf({ ...hedged, idempotent: true })
        assert.strictEqual((yield* explain(stated)).worst.attempts, 2)
        assert.strictEqual((yield* explain(stated, key, { idempotent: false })).worst.attempts, 1)
      }))

    it.effect("never waits until the deadline: a wait that would pass it ends the call", () =>
      Effect.gen(function*() {
        const { worst } = yield* explain(documentOf({ retry: {}, timeout: { overall: "15 millis" } }))
        assert.deepStrictEqual(millis(worst.waits), [10, 15])
        assert.deepStrictEqual(millis(worst.waitsAsked), [15, 15])
      }))

    it.effect("never ends where an attempt that hangs is never given up", () =>
      Effect.gen(function*() {
        const { worst } = yield* explain(documentOf({ retry: {} }))
        assert.isFalse(Duration.isFinite(worst.duration))
      }))

    it.effect("is one attempt while a kill switch is on, and with a budget that denies everything", () =>
      Effect.gen(function*() {
        const policy = { retry: {}, hedge: { trigger: { type: "after", delay: 20 } }, idempotent: true }
        const off = yield* explain(documentOf(policy, { off: ["svc.*"] }))
        assert.strictEqual(off.switchedOff, "everything")
        assert.strictEqual(off.worst.attempts, 1)
        assert.strictEqual((yield* explain(documentOf({ ...policy, budget: "none" }))).worst.attempts, 1)
        const gated = { ...policy, hedge: { ...policy.hedge, budget: "none" } }
        assert.strictEqual((yield* explain(documentOf(gated))).worst.attempts, 3)
      }))
  })

  describe("kill switches and rollouts", () => {
    const policy = { retry: {}, hedge: { trigger: { type: "after", delay: 20 } }, idempotent: true }

    it.effect("counts a switch until it lapses, and of hedges for hedges only", () =>
      Effect.gen(function*() {
        const until = "2026-11-23T10:00:00Z"
        const document = documentOf(policy, { off: [{ key: "svc.*", until }], hedgeOff: ["svc.Method"] })
        const at = (now?: number) =>
          Effect.map(
            explain(document, key, { now }),
            ({ switchedOff, worst }) => [switchedOff, worst.attempts] as const
          )
        const instant = Date.parse(until)
        assert.deepStrictEqual(yield* at(), ["everything", 1])
        assert.deepStrictEqual(yield* at(instant - 1), ["everything", 1])
        assert.deepStrictEqual(yield* at(instant), ["hedges", 3])
        const { switchedOff, worst } = yield* explain(documentOf(policy, { off: ["other.*"] }))
        assert.deepStrictEqual([switchedOff, worst.attempts], ["nothing", 6])
      }))

    it.effect("explains an instance that a rollout has reached, or one that it has not", () =>
      Effect.gen(function*() {
        const document = documentOf({ ...policy, rollout: { percent: 10, change: { retry: { maxAttempts: 2 } } } })
        assert.strictEqual((yield* explain(document)).worst.groups, 3)
        const reached = yield* explain(document, key, { rolledOut: true })
        assert.strictEqual(reached.worst.groups, 2)
        assert.deepStrictEqual(from(reached, "retry.maxAttempts"), [2, `policies["svc.Method"].rollout.change`])
        assert.deepStrictEqual(from(reached, "idempotent"), [true, `policies["svc.Method"]`])
      }))

    it.effect("shows the hedges that a live layer leaves where there would be too many attempts", () =>
      Effect.gen(function*() {
        const explained = yield* explain(documentOf({
          ...policy,
          retry: { maxAttempts: 5 },
          hedge: { ...policy.hedge, maxHedges: 3 }
        }))
        assert.deepStrictEqual(from(explained, "hedge.maxHedges"), [1, `policies["svc.Method"]`])
        assert.strictEqual(explained.worst.attempts, 10)
      }))
  })

  describe("budget", () => {
    it.effect("says of budgets of the document and of the default one when they deny", () =>
      Effect.gen(function*() {
        const budgets = { own: { type: "ratio", ratio: 0.05, reserve: { burst: 3, start: 7, perSecond: 2 } } }
        const { budget } = yield* explain(documentOf({ budget: "own" }, { budgets }))
        assert.match(
          budget.denies,
          /more than 5 % of the calls that were answered.*3 at first, 3 at most, 2 more per second/
        )
        assert.deepStrictEqual(budget.outage, Option.some({ atFirst: 3, atOnce: 3, perSecond: 2 }))
        assert.match((yield* explain(documentOf({}))).budget.denies, /more than 10 %.*5 at first, 10 at most/)
      }))

    it.effect("says nothing of budgets that the process registers, whatever their name", () =>
      Effect.gen(function*() {
        for (const name of ["own", "constructor", "toString"]) {
          const { budget } = yield* explain(documentOf({ budget: name }))
          assert.match(budget.denies, /the document does not define it/)
        }
      }))

    const described: ReadonlyArray<Json> = [
      { type: "tokenBucket", capacity: 4, refillPerSecond: 1 },
      { type: "successTokens", maxTokens: 100, tokenRatio: 0.1 },
      { type: "concurrency", max: 4 },
      { type: "concurrency", ratio: 0.1 },
      { type: "adaptiveThrottle" }
    ]
    for (const data of described) {
      it.effect(`describes ${JSON.stringify(data)}`, () =>
        Effect.gen(function*() {
          const { budget } = yield* explain(documentOf({ budget: "own" }, { budgets: { own: data } }))
          assert.notMatch(budget.denies, /undefined|NaN|does not define/)
        }))
    }
  })

  describe("warnings", () => {
    const quiet: Json = {
      retry: {},
      timeout: { perAttempt: "100 millis", overall: "1 second" },
      classifier: "http",
      idempotent: true
    }
    const hedge = { trigger: { type: "quantile", q: 0.95, fallback: "80 millis" } }

    it.effect("has none for a policy that says everything", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* rules(quiet), [])
        assert.deepStrictEqual(yield* rules({ ...quiet, hedge }), [])
        assert.deepStrictEqual(yield* rules({}), [])
        assert.deepStrictEqual(yield* rules({ ...quiet, timeout: { overall: "1 second" } }), [])
      }))

    const rows: ReadonlyArray<readonly [rule: string, change: Json]> = [
      ["no_timeout", { timeout: "off" }],
      ["attempts_do_not_fit", { timeout: { perAttempt: "400 millis", overall: "800 millis" } }],
      ["per_attempt_never_applies", {
        timeout: { perAttempt: "1 second", overall: "1 second" },
        retry: { maxAttempts: 1 }
      }],
      ["hedging_without_budget", { hedge, budget: "unlimited" }],
      ["unlimited_budget", { budget: "unlimited" }],
      ["trigger_load", { hedge: { trigger: { type: "quantile", q: 0.93 } } }],
      ["trigger_load", { hedge: { trigger: { type: "maxExtraLoad", load: 0.07 } } }],
      ["idempotent_unstated", { idempotent: undefined }],
      ["idempotent_unstated", { idempotent: undefined, hedge }],
      ["no_jitter", { retry: { backoff: { type: "constant", delay: "20 millis", jitter: "none" } } }],
      ["default_classifier", { classifier: undefined }]
    ]
    for (const [rule, change] of rows) {
      it.effect(`has ${rule} for ${JSON.stringify(change)}`, () =>
        Effect.gen(function*() {
          const policy = Object.fromEntries(Object.entries({ ...quiet, ...change }).filter(([, v]) => v !== undefined))
          assert.include(yield* rules(policy), rule)
        }))
    }

    it.effect("takes the expected load of 0.6 × the ratio as it is", () =>
      Effect.gen(function*() {
        const trigger = { type: "quantile", q: 0.94 }
        assert.notInclude(yield* rules({ ...quiet, hedge: { trigger } }), "trigger_load")
        const budgets = { own: { type: "ratio", ratio: 0.099 } }
        assert.include(yield* rules({ ...quiet, hedge: { trigger }, budget: "own" }, { budgets }), "trigger_load")
      }))

    it.effect("counts the shortest waits when it looks whether attempts fit", () =>
      Effect.gen(function*() {
        const fitting = { ...quiet, timeout: { perAttempt: "100 millis", overall: "201 millis" } }
        assert.notInclude(yield* rules(fitting), "attempts_do_not_fit")
        const waiting = { ...fitting, retry: { backoff: { type: "constant", delay: "2 millis", jitter: "equal" } } }
        assert.include(yield* rules(waiting), "attempts_do_not_fit")
      }))
  })
})

// -----------------------------------------------------------------------------
// the engine
// -----------------------------------------------------------------------------

const duration = (max: number) => integer(1, max)

const backoff = oneOf<Json>(
  map(partial({ factor: integer(1, 4), jitter: pick(["none", "full", "equal", "decorrelated"]) }), (options) => ({
    type: "exponential",
    initial: 3,
    max: 40,
    ...options
  })),
  map(partial({ jitter: pick(["none", "full", "equal"]) }), (options) => ({ type: "constant", delay: 25, ...options }))
)

const retry = oneOf<Json | "off">(
  constant("off"),
  partial({ maxAttempts: integer(1, 3), backoff, maxRetryAfter: integer(0, 120) })
)

const trigger = oneOf<Json>(
  map(duration(60), (delay) => ({ type: "after", delay })),
  map(partial({ fallback: duration(60), max: duration(60), minSamples: integer(1, 3) }), (options) => ({
    type: "quantile",
    q: 0.9,
    ...options
  }))
)

const hedge = oneOf<Json | "off">(
  constant("off"),
  map(partial({ maxHedges: integer(1, 3) }), (options) => ({ trigger: { type: "after", delay: 7 }, ...options })),
  map(trigger, (trigger) => ({ trigger, maxHedges: 3, maxFailing: 1 }))
)

const policies = partial({
  retry,
  hedge,
  timeout: partial({ perAttempt: duration(60), overall: duration(400) }),
  idempotent: boolean,
  budget: pick(["unlimited", "none", "own", "default"])
})

const steps = array(
  partial({
    kind: pick(["fail", "hang", "asked", "throttled", "refused", "ok"] as const),
    // not 0: hedges that follow each other at once run in steps of the scheduler, for which virtual time waits twice only
    after: integer(1, 70),
    wait: integer(0, 150)
  }),
  { minLength: 1, maxLength: 12 }
)

const stepOf = (
  { after = 1, kind = "fail", wait = 0 }: { kind?: string; after?: number; wait?: number }
): Step<string, unknown> => {
  const failed = (outcome: Outcome.Outcome) => ({ exit: Exit.fail(new Judged(outcome)), after })
  switch (kind) {
    case "hang":
      return { exit: undefined, after: 0 }
    case "asked":
      return failed(Outcome.retryable({ reason: "asked", retryAfter: wait }))
    case "throttled":
      return failed(Outcome.retryable({ reason: "throttled", throttled: true }))
    case "refused":
      return failed(Outcome.retryable({ reason: "refused", executed: "no" }))
    case "ok":
      return { exit: Exit.succeed("ok"), after }
    default:
      return failed(Outcome.retryable({ reason: "failed" }))
  }
}

/** A budget of the process, which may deny a part of what it is asked for. */
const own = (denies: number) =>
  Budget.layer("own", countingBudget({ grants: (asked) => denies === 0 || asked % denies !== 0 }).make)

interface Ran {
  readonly runs: number
  readonly took: number
}

/** One call under a document, to its end. */
const run = (
  document: Json,
  script: { readonly effect: Effect.Effect<unknown, unknown>; readonly runs: number },
  denies = 0
) =>
  Effect.gen(function*() {
    const [, [timeline]] = yield* Effect.flatten(
      inVirtualTime(
        Timeline.capture(Effect.timeoutOption(resilient(script.effect, key, { classifier: judged }), "1 hour")),
        "2 hours"
      )
    )
    return { runs: script.runs, took: timeline!.endedAt - timeline!.startedAt } as Ran
  }).pipe((self) => under(self, PolicyLayer.fromDocument(document).pipe(Layer.provide(own(denies)))))

/** Sub-microsecond fractions that a clock of whole nanoseconds adds to random waits. */
const tolerance = 0.001

/** Whether a step lets the backoff say how long to wait. */
const hintless = (kind: string | undefined): boolean => kind !== "asked" && kind !== "throttled"

describe("Explanation, held against the executor", () => {
  effectProperty(
    "no call runs more attempts or takes longer than the worst case, whatever the dependency and the budget do",
    { policy: policies, script: steps, denies: integer(0, 3), random: integer(0, 1_000_000) },
    ({ denies, policy, random, script: given }) =>
      Effect.gen(function*() {
        const document = documentOf(policy)
        const decoded = yield* Effect.exit(PolicyDocument.decode(document))
        if (decoded._tag === "Failure") return
        const { worst } = Explanation.make(decoded.value, key)
        const s = script(...given.map(stepOf))
        const { runs, took } = yield* Random.withSeed(run(document, s, denies), random)
        assert.isAtMost(runs, worst.attempts)
        const bound = given.every(({ kind }) => hintless(kind)) ? worst.duration : worst.durationAsked
        assert.isAtMost(took, Duration.toMillis(bound) + tolerance)
      }),
    150
  )

  effectProperty(
    "a dependency that hangs makes a call take exactly the worst case: every attempt, every wait",
    {
      maxAttempts: integer(1, 4),
      perAttempt: duration(60),
      delay: duration(40),
      factor: integer(1, 4)
    },
    ({ delay, factor, maxAttempts, perAttempt }) =>
      Effect.gen(function*() {
        const document = documentOf({
          retry: { maxAttempts, backoff: { type: "exponential", initial: delay, max: 90, factor, jitter: "none" } },
          timeout: { perAttempt },
          idempotent: true,
          budget: "unlimited"
        })
        const { worst } = yield* explain(document)
        const { runs, took } = yield* run(document, script({ exit: undefined, after: 0 }))
        assert.strictEqual(runs, worst.attempts)
        assert.closeTo(took, Duration.toMillis(worst.duration), tolerance)
      }),
    100
  )

  effectProperty(
    "hedges that are refused twice and then granted make a group take exactly the worst case",
    { delay: duration(12), more: duration(30), maxAttempts: integer(1, 4) },
    ({ delay, maxAttempts, more }) =>
      Effect.gen(function*() {
        const perAttempt = 3 * delay + more
        const document = documentOf({
          retry: { maxAttempts, backoff: { type: "constant", delay: 5, jitter: "none" } },
          timeout: { perAttempt },
          hedge: { trigger: { type: "after", delay }, budget: "gate", maxFailing: 1 },
          idempotent: true,
          budget: "unlimited"
        })
        const { worst } = yield* explain(document)
        const s = script({ exit: undefined, after: 0 })
        const gate = Budget.layer("gate", countingBudget({ grants: (asked) => asked % 3 === 0 }).make)
        const policies = PolicyLayer.fromDocument(document).pipe(Layer.provide(gate))
        const [, [timeline]] = yield* Effect.flatten(
          inVirtualTime(Timeline.capture(resilient(s.effect, key)))
        ).pipe((self) => under(self, policies))
        assert.strictEqual(s.runs, worst.attempts)
        assert.closeTo(timeline!.endedAt - timeline!.startedAt, Duration.toMillis(worst.duration), tolerance)
      }),
    60
  )

  effectProperty(
    "hedges that are granted run as often as the worst case says",
    { delay: duration(20), more: duration(30), maxAttempts: integer(1, 3), maxHedges: integer(1, 3) },
    ({ delay, maxAttempts, maxHedges, more }) =>
      Effect.gen(function*() {
        const document = documentOf({
          retry: { maxAttempts, backoff: { type: "constant", delay: 5 } },
          timeout: { perAttempt: delay + more },
          hedge: { trigger: { type: "after", delay }, maxHedges, maxFailing: 1 },
          idempotent: true,
          budget: "unlimited"
        })
        const { worst } = yield* explain(document)
        const { runs } = yield* run(document, script({ exit: undefined, after: 0 }))
        assert.strictEqual(runs, worst.attempts)
      }),
    60
  )

  describe("where the server asks for the waits", () => {
    /** Random parts at their most. */
    const atMost = { nextIntUnsafe: () => 0, nextDoubleUnsafe: () => 1 - 1e-9 }
    const asked = (retryAfter: number, after = 0) => ({
      exit: Exit.fail(new Judged(Outcome.retryable({ reason: "asked", retryAfter }))),
      after
    })
    const throttled = { exit: Exit.fail(new Judged(Outcome.retryable({ reason: "busy", throttled: true }))), after: 0 }
    const hangs = { exit: undefined, after: 0 }
    const retrying = (backoff: Json, maxRetryAfter: number, more: Json = {}) =>
      documentOf({
        retry: { maxAttempts: 3, maxRetryAfter, backoff },
        timeout: { perAttempt: 100 },
        idempotent: true,
        budget: "unlimited",
        ...more
      })
    const constantly = (delay: number, jitter: string): Json => ({ type: "constant", delay, jitter })
    const growing: Json = { type: "exponential", initial: 20, max: 1_500, jitter: "none" }
    const waiting = [asked(4_000), asked(4_000), hangs]
    const busy = [throttled, throttled, hangs]

    const rows: ReadonlyArray<readonly [string, Json, ReadonlyArray<Step<string, unknown>>]> = [
      ["as long as it may ask for", retrying(constantly(20, "none"), 4_000), waiting],
      ["as long, and a quarter of that at random", retrying(constantly(20, "full"), 4_000), waiting],
      ["as long, and the backoff at random where that is more", retrying(constantly(1_800, "full"), 4_000), waiting],
      ["a second where it names no time", retrying(constantly(20, "none"), 400), busy],
      ["longer each time from a second on", retrying(growing, 400), busy]
    ]
    for (const [what, document, given] of rows) {
      it.effect(`waits ${what}`, () =>
        Effect.gen(function*() {
          const { worst } = yield* explain(document)
          const { took } = yield* Effect.provideService(run(document, script(...given)), Random.Random, atMost)
          // two of the three attempts do not take their time
          const bound = Duration.toMillis(worst.durationAsked) - 200
          assert.isAtMost(took, bound + tolerance)
          assert.isAtLeast(took, bound - 2)
        }))
    }

    it.effect("takes longer than the backoff allows when it moves a hedge", () =>
      Effect.gen(function*() {
        const hedge = { trigger: { type: "after", delay: 5 }, maxHedges: 2, maxFailing: 1 }
        const document = retrying(constantly(20, "none"), 400, { retry: { maxAttempts: 1 }, hedge })
        const { worst } = yield* explain(document)
        const { took } = yield* run(document, script(asked(90, 6), hangs, hangs))
        assert.closeTo(took, 6 + 90 + 100, tolerance)
        assert.isAbove(took, Duration.toMillis(worst.duration))
        assert.isAtMost(took, Duration.toMillis(worst.durationAsked))
      }))

    it.effect("has no bound but the deadline where only a hedge is left to start", () =>
      Effect.gen(function*() {
        const hedge = { trigger: { type: "after", delay: 5 }, maxFailing: 1 }
        const document = retrying(constantly(20, "none"), 400, { retry: "off", hedge })
        const { worst } = yield* explain(document)
        assert.isFalse(Duration.isFinite(worst.durationAsked))
        const { took } = yield* run(document, script(asked(5_000, 1), hangs))
        assert.closeTo(took, 1 + 5_000 + 100, tolerance)
      }))
  })

  effectProperty(
    "in an outage a budget lets through what its facts say, and no more",
    {
      start: integer(0, 12),
      burst: integer(0, 12),
      perSecond: decimal(0, 2),
      calls: integer(1, 20),
      seconds: integer(0, 20)
    },
    ({ burst, calls, perSecond, seconds, start }) =>
      Effect.gen(function*() {
        const document = documentOf(
          { retry: { maxAttempts: 3, backoff: { type: "constant", delay: 1, jitter: "none" } }, budget: "own" },
          { budgets: { own: { type: "ratio", scope: "shared", reserve: { start, burst, perSecond } } } }
        )
        const { budget: { outage } } = yield* explain(document)
        const { atFirst, atOnce, perSecond: refill } = Option.getOrThrow(outage)
        const s = script({ exit: Exit.fail(new Error("down")), after: 0 })
        const calling = Effect.forEach(Array.from({ length: calls }), () => Effect.ignore(resilient(s.effect, key)))
        const rounds = Effect.andThen(calling, Effect.andThen(Effect.sleep(seconds * 1_000), calling))
        yield* inVirtualTime(rounds).pipe((self) => under(self, PolicyLayer.fromDocument(document)))
        const extras = s.runs - 2 * calls
        assert.isAtMost(extras, atFirst + refill * (seconds + 1) + 1e-6)
        const wanted = 2 * calls
        assert.isAtLeast(extras, Math.min(wanted, Math.floor(Math.min(atFirst, atOnce))))
      }),
    100
  )
})
