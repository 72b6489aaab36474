import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, Policy } from "@rego/core"
import { Duration, Effect, Logger, Option, References, Schema } from "effect"
import type * as Arbitrary from "effect/Arbitrary"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { formatAll, fromSchemaError, parseOptions } from "../src/Issue.ts"
import * as PolicyDocument from "../src/PolicyDocument.ts"
import {
  all,
  array,
  boolean,
  decimal,
  effectProperty,
  integer,
  json,
  map,
  oneOf,
  partial,
  pick,
  record
} from "./arbitraries.ts"

const base = { schemaVersion: "1.0", revision: "r1", policies: {} }

/** Every issue of a document, as text; none when it is accepted. */
const issues = (input: unknown): Effect.Effect<ReadonlyArray<string>> =>
  Effect.match(PolicyDocument.decode(input), {
    onFailure: (error) => error.message.split("\n"),
    onSuccess: () => []
  })

/** Runs an effect with what it logs. */
const logged = <A, E>(self: Effect.Effect<A, E>) =>
  Effect.gen(function*() {
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => {
      lines.push(String(message))
    })
    const result = yield* Effect.provide(self, Logger.layer([logger]))
    return [result, lines] as const
  })

// -----------------------------------------------------------------------------
// random documents
// -----------------------------------------------------------------------------

const duration = (min: number, max: number) =>
  oneOf<Duration.Duration>(
    map(integer(min, max), Duration.millis),
    map(decimal(min, max), Duration.millis),
    map(integer(min * 1_000, max * 1_000), (micros) => Duration.micros(BigInt(micros)))
  )

const backoff = map(
  oneOf<Backoff.Backoff>(
    map(integer(1, 30_000), (delay) => Backoff.constant(delay, { jitter: delay % 2 === 0 ? "equal" : "none" })),
    map(
      array(integer(1, 15_000), { minLength: 4, maxLength: 4 }),
      ([initial = 1, more = 1, factor = 1, jitter = 1]) =>
        Backoff.exponential({
          initial,
          max: initial + more,
          factor: 1 + (factor % 900) / 100,
          jitter: (["none", "full", "equal", "decorrelated"] as const)[jitter % 4]!
        })
    )
  ),
  (made) => made as typeof Backoff.Backoff.Type
)

const trigger = oneOf<Hedge.Trigger | string>(
  pick(["p95"]),
  map(duration(1, 86_400_000), Hedge.after),
  map(decimal(0.5, 0.9999), (q) => Hedge.quantile(q, { fallback: "100 millis", max: "1 second" })),
  map(decimal(0.0001, 0.5), Hedge.maxExtraLoad)
)

const names = pick(["payments", "search", "b", "ü", "constructor"])

const policy: Arbitrary.Arbitrary<PolicyDocument.PolicyDocument["policies"][string]> = partial({
  retry: oneOf<PolicyDocument.PolicyDocument["policies"][string]["retry"]>(
    pick(["off"] as const),
    partial({
      maxAttempts: integer(1, 10),
      backoff,
      maxRetryAfter: duration(0, 300_000),
      nested: pick(["allow", "refuse"] as const)
    })
  ),
  timeout: oneOf<PolicyDocument.PolicyDocument["policies"][string]["timeout"]>(
    pick(["off"] as const),
    partial({ perAttempt: duration(1, 86_400_000), overall: duration(1, 86_400_000) })
  ),
  hedge: oneOf<PolicyDocument.PolicyDocument["policies"][string]["hedge"]>(
    pick(["off"] as const),
    map(
      all({
        trigger,
        rest: partial({ maxHedges: integer(1, 3), maxFailing: decimal(0, 1), precise: boolean, budget: names })
      }),
      ({ rest, trigger }) => ({ trigger, ...rest })
    )
  ),
  budget: oneOf<PolicyDocument.PolicyDocument["policies"][string]["budget"]>(
    names,
    map(integer(1, 100), (cost) => ({ name: "payments", retryCost: cost, hedgeCost: 101 - cost }))
  ),
  classifier: names,
  idempotent: boolean
})

const scope = pick(["key", "shared"] as const)

const ratio: Arbitrary.Arbitrary<typeof PolicyDocument.Budget.Type> = map(
  partial({
    scope: pick(["key", "shared"] as const),
    ratio: decimal(0, 0.5),
    of: pick(["successes", "calls"] as const),
    window: duration(1_000, 600_000),
    reserve: partial({ burst: integer(0, 100), start: integer(0, 100), perSecond: decimal(0, 10) }),
    keepForRetries: decimal(0, 1)
  }),
  (options) => ({ type: "ratio", ...options })
)

const budget = oneOf<typeof PolicyDocument.Budget.Type>(
  ratio,
  map(all({ scope, capacity: decimal(0.001, 1e6), refillPerSecond: decimal(0, 1e6) }), (numbers) => ({
    type: "tokenBucket",
    ...numbers
  })),
  map(all({ maxTokens: decimal(0.001, 1_000), tokenRatio: decimal(0.001, 1_000) }), (numbers) => ({
    type: "successTokens",
    ...numbers
  })),
  map(all({ scope, min: integer(0, 9), max: integer(0, 1_000) }), (numbers) => ({ type: "concurrency", ...numbers })),
  map(integer(0, 10), (ratio) => ({ type: "concurrency", ratio })),
  map(partial({ k: decimal(1.5, 10), window: duration(1_000, 600_000), minRequests: integer(1, 1e6) }), (numbers) => ({
    type: "adaptiveThrottle",
    ...numbers
  }))
)

const patterns = pick(["*", "a.*", "a.b.*", "a.Get", "users.1048576", "constructor", "__proto__x", "a/b:c-d_e"])

const documents: Arbitrary.Arbitrary<PolicyDocument.PolicyDocument> = map(
  partial({
    defaults: policy,
    budgets: record(names, budget, 3),
    policies: record(patterns, policy, 5),
    off: array(patterns, { maxLength: 3 }),
    revision: pick(["2", "2026-11-23.1", "ü"])
  }),
  (fields) => ({ ...base, ...fields })
)

/** Puts a value somewhere into a document: what people and merge tools do to a file. */
const damage = (document: unknown, value: unknown, steps: ReadonlyArray<number>): unknown => {
  if (typeof document !== "object" || document === null || steps.length === 0) return value
  const entries: ReadonlyArray<[string, unknown]> = Object.entries(document)
  const [step = 0, ...rest] = steps
  if (entries.length === 0 || step > 80) return { ...document, [`field ${step}`]: value }
  const [name, inner] = entries[step % entries.length]!
  return { ...document, [name]: damage(inner, value, rest) }
}

describe("PolicyDocument", () => {
  describe("decode", () => {
    it.effect("reads durations as text and as milliseconds, and fills in the defaults of a backoff", () =>
      Effect.gen(function*() {
        const document = yield* PolicyDocument.decode({
          ...base,
          policies: {
            "users.*": {
              retry: { maxAttempts: 4, backoff: { type: "exponential", initial: "10 millis", max: 250 } },
              timeout: { perAttempt: 200, overall: "1 second" },
              idempotent: true
            }
          },
          budgets: { payments: { type: "ratio", ratio: 0.2, window: "1 minute" } },
          off: ["orders.*"]
        })
        assert.deepStrictEqual(document, {
          schemaVersion: "1.0",
          revision: "r1",
          policies: {
            "users.*": {
              retry: {
                maxAttempts: 4,
                backoff: Backoff.exponential({ initial: 10, max: 250 }) as typeof Backoff.Backoff.Type
              },
              timeout: { perAttempt: Duration.millis(200), overall: Duration.seconds(1) },
              idempotent: true
            }
          },
          budgets: { payments: { type: "ratio", ratio: 0.2, window: Duration.minutes(1) } },
          off: ["orders.*"]
        })
      }))

    const rows: ReadonlyArray<readonly [string, unknown, ReadonlyArray<string>]> = [
      ["null", null, ["Expected object, got null"]],
      ["an array", [], ["Expected object, got []"]],
      ["an empty object", {}, [
        "schemaVersion: is required, got nothing",
        "revision: is required, got nothing",
        "policies: is required, got nothing"
      ]],
      ["another major version", { ...base, schemaVersion: "2.0" }, [
        "schemaVersion: must have the major version 1, got \"2.0\""
      ]],
      ["a version that is none", { ...base, schemaVersion: "1" }, [
        "schemaVersion: must be \"major.minor\", got \"1\""
      ]],
      ["a version of two digits", { ...base, schemaVersion: "10.0" }, [
        "schemaVersion: must have the major version 1, got \"10.0\""
      ]],
      ["a version with something before it", { ...base, schemaVersion: "v1.0" }, [
        "schemaVersion: must be \"major.minor\", got \"v1.0\""
      ]],
      ["a version with something behind it", { ...base, schemaVersion: "1.0.0" }, [
        "schemaVersion: must be \"major.minor\", got \"1.0.0\""
      ]],
      ["a version that is a number", { ...base, schemaVersion: 1 }, ["schemaVersion: Expected string, got 1"]],
      ["an empty revision", { ...base, revision: "" }, [
        "revision: Expected a value with a length of at least 1, got \"\""
      ]],
      ["a revision of 201 characters", { ...base, revision: "x".repeat(201) }, [
        `revision: Expected a value with a length of at most 200, got "${"x".repeat(145)}...`
      ]],
      ["an unknown field", { ...base, polices: {} }, ["polices: is not a field that is known here, got {}"]],
      ["a typo deep inside", { ...base, policies: { "a.B": { retry: { maxAtempts: 4 } } } }, [
        "policies[\"a.B\"].retry.maxAtempts: is not a field that is known here, got 4"
      ]],
      ["a wrong unit", { ...base, policies: { "a.B": { timeout: { overall: "1 sec" } } } }, [
        "policies[\"a.B\"].timeout.overall: must be a duration such as \"250 millis\", \"2 seconds\" or a number of " +
        "milliseconds, got \"1 sec\""
      ]],
      ["a timer over 2^31 ms", { ...base, policies: { a: { timeout: { overall: 2 ** 31 } } } }, [
        "policies.a.timeout.overall: must be between 1ms and 1d, got 24d 20h 31m 23s 648ms"
      ]],
      ["a backoff under 1 ms", { ...base, policies: { a: { retry: { backoff: { type: "constant", delay: 0 } } } } }, [
        "policies.a.retry.backoff.delay: must be between 1ms and 30s, got 0"
      ]],
      ["max under initial", {
        ...base,
        defaults: { retry: { backoff: { type: "exponential", initial: 200, max: 100 } } }
      }, [
        "defaults.retry.backoff.max: must not be less than initial (200ms), got 100ms"
      ]],
      ["names of entries that are no patterns", { ...base, policies: { "a b": {}, "*.x": {} }, off: ["a", ""] }, [
        "policies[\"a b\"]: must be a key, \"prefix.*\" or \"*\", got \"a b\"",
        "policies[\"*.x\"]: must be a key, \"prefix.*\" or \"*\", got \"*.x\"",
        "off[1]: must be a key, \"prefix.*\" or \"*\", got \"\""
      ]],
      ["a budget with a name that is taken", { ...base, budgets: { none: { type: "ratio" } } }, [
        "budgets.none: is a name that cannot be redefined, got \"none\""
      ]],
      ["switches until a day that the month has not", {
        ...base,
        off: [{ key: "a.*", until: "2026-02-30T10:00:00Z" }, { key: "b.*", until: "2028-02-29T10:00:00+02:00" }]
      }, [
        "off[0].until: must be an instant such as \"2026-11-23T10:00:00Z\", with its offset, got \"2026-02-30T10:00:00Z\""
      ]],
      ["switches that are none", {
        ...base,
        off: [7, { key: "a b" }, { until: "2026-01-01T00:00:00Z" }],
        hedgeOff: [{ key: "a.*", until: "2026-01-01" }, { key: "a.*", until: "2026-01-01T10:00" }, "*.a"]
      }, [
        "off[0]: Expected string | object, got 7",
        "off[1].key: must be a key, \"prefix.*\" or \"*\", got \"a b\"",
        "off[2].key: is required, got nothing",
        "hedgeOff[0].until: must be an instant such as \"2026-11-23T10:00:00Z\", with its offset, got \"2026-01-01\"",
        "hedgeOff[1].until: must be an instant such as \"2026-11-23T10:00:00Z\", with its offset, got " +
        "\"2026-01-01T10:00\"",
        "hedgeOff[2]: must be a key, \"prefix.*\" or \"*\", got \"*.a\""
      ]],
      ["a rollout out of range", {
        ...base,
        policies: { a: { rollout: { percent: 101, change: { retry: { maxAttempts: 0 }, rollout: {} } } } }
      }, [
        "policies.a.rollout.percent: must be a number between 0 and 100, got 101",
        "policies.a.rollout.change.retry.maxAttempts: must be an integer between 1 and 10, got 0",
        "policies.a.rollout.change.rollout: is not a field that is known here, got {}"
      ]],
      ["a rollout of the defaults", { ...base, defaults: { rollout: { percent: 1, change: {} } } }, [
        "defaults.rollout: is not a field that is known here, got {\"percent\":1,\"change\":{}}"
      ]],
      ["a budget out of range", { ...base, budgets: { own: { type: "ratio", ratio: 2, reserve: { burst: 101 } } } }, [
        "budgets.own.ratio: must be a number between 0 and 0.5, got 2",
        "budgets.own.reserve.burst: must be an integer between 0 and 100, got 101"
      ]]
    ]
    for (const [what, input, expected] of rows) {
      it.effect(`refuses ${what}`, () =>
        Effect.gen(function*() {
          assert.sameMembers([...yield* issues(input)], [...expected])
        }))
    }

    it.effect("reads switches with and without an end, rollouts, and what is meant to be a large step", () =>
      Effect.gen(function*() {
        const document = yield* PolicyDocument.decode({
          ...base,
          defaults: { force: true },
          budgets: { p: { type: "ratio", ratio: 0.5, force: true } },
          policies: { "a.*": { force: true, rollout: { percent: 2.5, change: { timeout: { overall: "1 second" } } } } },
          off: ["a.*", { key: "b.*", until: "2026-11-23T10:00:00+02:00" }, { key: "c.*" }],
          hedgeOff: ["*"]
        })
        assert.deepStrictEqual(document.policies["a.*"], {
          force: true,
          rollout: { percent: 2.5, change: { timeout: { overall: Duration.seconds(1) } } }
        })
        assert.deepStrictEqual(PolicyDocument.switchesIn(document), {
          off: [
            { pattern: "a.*", until: Infinity },
            { pattern: "b.*", until: Date.UTC(2026, 10, 23, 8) },
            { pattern: "c.*", until: Infinity }
          ],
          hedgeOff: [{ pattern: "*", until: Infinity }]
        })
        const json = PolicyDocument.encode(document)
        assert.deepInclude(json as object, {
          off: ["a.*", { key: "b.*", until: "2026-11-23T08:00:00.000Z" }, { key: "c.*" }]
        })
        assert.deepStrictEqual(yield* PolicyDocument.decode(json), document)
      }))

    it("finds what is wrong with a document of any size in time that grows with it", () => {
      const policies = Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`a.K${i}`, { x: 1, y: 2 }]))
      const found = PolicyDocument.read({ ...base, policies })
      assert.lengthOf(found.document === undefined ? found.issues : [], 40_000)
    })

    it.effect("names the kinds of backoff that there are", () =>
      Effect.gen(function*() {
        const [only, ...others] = yield* issues({
          ...base,
          policies: { a: { retry: { backoff: { type: "linear" } } } }
        })
        assert.deepStrictEqual(others, [])
        for (const part of ["policies.a.retry.backoff: ", "exponential", "constant", "linear"]) {
          assert.include(only, part)
        }
      }))

    it.effect("refuses NaN, which no JSON has but a file in another format may", () =>
      Effect.gen(function*() {
        const policies = { a: { timeout: { overall: NaN }, retry: { maxAttempts: NaN } } }
        assert.sameMembers([...yield* issues({ ...base, policies })], [
          "policies.a.timeout.overall: must be a duration, got NaN",
          "policies.a.retry.maxAttempts: must be an integer between 1 and 10, got NaN"
        ])
      }))

    it.effect("reports issues of several entries at once", () =>
      Effect.gen(function*() {
        const policies = { a: { retry: { maxAttempts: 0 } }, b: { timeout: { overall: 0 } } }
        assert.lengthOf(yield* issues({ ...base, revision: "", policies, extra: 1 }), 4)
      }))

    it.effect("reports wrong names together with wrong values: every issue at once", () =>
      Effect.gen(function*() {
        const document = {
          ...base,
          policies: { "a b": { retry: { maxAttempts: 0 } } },
          budgets: { none: { type: "ratio" } },
          off: [""]
        }
        assert.sameMembers([...yield* issues(document)], [
          "policies[\"a b\"].retry.maxAttempts: must be an integer between 1 and 10, got 0",
          "policies[\"a b\"]: must be a key, \"prefix.*\" or \"*\", got \"a b\"",
          "budgets.none: is a name that cannot be redefined, got \"none\"",
          "off[0]: must be a key, \"prefix.*\" or \"*\", got \"\""
        ])
      }))

    it.effect("keeps entries that are called like what every object inherits", () =>
      Effect.gen(function*() {
        const text = `{"schemaVersion":"1.0","revision":"r","policies":{"__proto__":{"retry":"off"},"constructor":{}}}`
        const document = yield* PolicyDocument.decode(JSON.parse(text))
        assert.deepStrictEqual(Object.keys(document.policies), ["__proto__", "constructor"])
      }))

    describe("of a newer minor version", () => {
      const newer = {
        ...base,
        schemaVersion: "1.7",
        later: [1],
        policies: { a: { circuit: {}, retry: { maxAttempts: 2 } } }
      }

      it.effect("ignores fields that it does not know, and lists them in one warning", () =>
        Effect.gen(function*() {
          const [document, lines] = yield* logged(PolicyDocument.decode(newer))
          assert.deepStrictEqual(document, {
            ...base,
            schemaVersion: "1.7",
            policies: { a: { retry: { maxAttempts: 2 } } }
          })
          assert.deepStrictEqual(lines, [
            "PolicyDocument: fields of a newer version were ignored\n" +
            "later: is not a field that is known here, got [1]\n" +
            "policies.a.circuit: is not a field that is known here, got {}"
          ])
        }))

      it.effect("says nothing when there is nothing to ignore", () =>
        Effect.gen(function*() {
          const [, lines] = yield* logged(PolicyDocument.decode({ ...base, schemaVersion: "1.7" }))
          assert.deepStrictEqual(lines, [])
        }))

      it.effect("still refuses wrong values and wrong names", () =>
        Effect.gen(function*() {
          const wrong = { ...newer, policies: { a: { circuit: {}, retry: { maxAttempts: 0 } } } }
          assert.deepStrictEqual(yield* issues(wrong), [
            "policies.a.retry.maxAttempts: must be an integer between 1 and 10, got 0"
          ])
          assert.deepStrictEqual(yield* issues({ ...newer, off: [""] }), [
            "off[0]: must be a key, \"prefix.*\" or \"*\", got \"\""
          ])
        }))

      it.effect("compares minor versions as numbers", () =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* issues({ ...newer, schemaVersion: "1.10" }), [])
          assert.lengthOf(yield* issues({ ...newer, schemaVersion: "1.0" }), 2)
          assert.lengthOf(yield* issues({ ...newer, schemaVersion: "1.00" }), 2)
        }))
    })

    const quiet = Effect.provideService(References.MinimumLogLevel, "None")

    const wholeOf = (input: unknown, newer: boolean) =>
      Schema.decodeUnknownResult(PolicyDocument.PolicyDocument, {
        ...parseOptions,
        ...(newer ? { onExcessProperty: "ignore" as const } : {})
      })(input)

    const textsOf = (error: Schema.SchemaError) => fromSchemaError(error).map((issue) => formatAll([issue]))

    const survives = (input: unknown) =>
      Effect.gen(function*() {
        const before = JSON.stringify(input)
        const result = yield* Effect.result(PolicyDocument.decode(input))
        assert.strictEqual(JSON.stringify(input), before, "the input was changed")
        if (result._tag === "Success") return
        assert.instanceOf(result.failure, Policy.PolicyInvalid)
        assert.isAbove(result.failure.issues.length, 0)
        for (const issue of result.failure.issues) assert.isAbove(issue.message.length, 5)
      }).pipe(quiet)

    effectProperty(
      "never throws and changes nothing, whatever JSON it is given",
      { input: json },
      ({ input }) => survives(input),
      1_000
    )

    effectProperty(
      "never throws and changes nothing when one value of a document is replaced by any JSON",
      { document: documents, value: json, steps: array(integer(0, 100), { maxLength: 5 }), newer: boolean },
      ({ document, newer, steps, value }) => {
        const good = { ...PolicyDocument.encode(document) as object, ...(newer ? { schemaVersion: "1.3" } : {}) }
        return survives(damage(JSON.parse(JSON.stringify(good)), value, steps))
      },
      // the property below decodes a thousand of them
      300
    )

    effectProperty(
      "entry by entry gives what the schema gives of the whole document",
      { document: documents, value: json, steps: array(integer(0, 100), { maxLength: 5 }), newer: boolean },
      ({ document, newer, steps, value }) =>
        Effect.gen(function*() {
          const good = { ...PolicyDocument.encode(document) as object, ...(newer ? { schemaVersion: "1.3" } : {}) }
          const input = damage(JSON.parse(JSON.stringify(good)), value, steps)
          const read = yield* Effect.result(PolicyDocument.decode(input))
          const whole = wholeOf(input, newer)
          if (read._tag === "Success") return assert.deepStrictEqual<unknown>(whole, read)
          const found = read.failure.issues.map((issue) => formatAll([issue]))
          assert.includeMembers(found, whole._tag === "Failure" ? textsOf(whole.failure) : [])
        }).pipe(quiet),
      1_000
    )

    it.effect("never throws, however deep the JSON is", () =>
      Effect.gen(function*() {
        const deep: unknown = JSON.parse(`${"[".repeat(20_000)}${"]".repeat(20_000)}`)
        const places = [
          deep,
          { ...base, later: deep },
          { ...base, policies: deep },
          { ...base, policies: { a: { retry: { later: deep } } } },
          { ...base, policies: { a: { timeout: { overall: deep } } } }
        ]
        for (const place of places) {
          const exit = yield* Effect.exit(issues(place))
          assert.strictEqual(exit._tag, "Success")
        }
      }))
  })

  describe("encode", () => {
    effectProperty(
      "has a JSON form that decodes to the same document",
      { document: documents },
      ({ document }) =>
        Effect.gen(function*() {
          const text = JSON.stringify(PolicyDocument.encode(document))
          assert.deepStrictEqual(yield* PolicyDocument.decode(JSON.parse(text)), document)
        }),
      500
    )

    it("writes durations as text, so that people can read them", () => {
      const document: PolicyDocument.PolicyDocument = {
        ...base,
        policies: {
          a: {
            timeout: { overall: Duration.seconds(1), perAttempt: Duration.micros(1_500n) },
            retry: { backoff: Backoff.constant(5) as typeof Backoff.Backoff.Type }
          }
        }
      }
      assert.deepStrictEqual(PolicyDocument.encode(document), {
        ...base,
        policies: {
          a: {
            timeout: { overall: "1000 millis", perAttempt: "1500000 nanos" },
            retry: { backoff: { type: "constant", delay: "5 millis", jitter: "full" } }
          }
        }
      })
    })
  })

  describe("switchesOf", () => {
    it("reads the kill switches of a document that is wrong everywhere else", () => {
      const { hedgeOff, off } = PolicyDocument.switchesOf({
        revision: 7,
        policies: "oops",
        off: ["a.*", { key: "b.*", until: "soon" }, { key: 7 }, null, "no pattern"],
        hedgeOff: "a.*"
      })
      assert.deepStrictEqual(off, [{ pattern: "a.*", until: Infinity }, { pattern: "b.*", until: Infinity }])
      assert.isUndefined(hedgeOff)
    })

    it("reads until when a key is off, where that is said in a way that can be read", () => {
      const { off } = PolicyDocument.switchesOf({
        off: [{ key: "a.*", until: "1970-01-01T00:00:07Z" }, { key: "b.*" }, { key: "c.*", until: 7 }]
      })
      assert.deepStrictEqual(off, [
        { pattern: "a.*", until: 7_000 },
        { pattern: "b.*", until: Infinity },
        { pattern: "c.*", until: Infinity }
      ])
    })

    effectProperty(
      "never throws, whatever it is given",
      { input: json, off: json },
      ({ input, off }) =>
        Effect.sync(() => {
          PolicyDocument.switchesOf(input)
          PolicyDocument.switchesOf({ off, hedgeOff: [off] })
        }),
      300
    )
  })

  describe("policyOf", () => {
    it.effect("merges the entries of a key, and knows no policy for one that none matches", () =>
      Effect.gen(function*() {
        const document = yield* PolicyDocument.decode({
          ...base,
          defaults: { idempotent: true },
          policies: {
            "a.*": { retry: { maxAttempts: 2 } },
            "a.Get": { rollout: { percent: 100, change: { retry: "off" } }, classifier: "c" }
          }
        })
        const { sections } = Option.getOrThrow(PolicyDocument.policyOf(document, "a.Get"))
        assert.deepInclude(sections, { retry: { maxAttempts: 2 }, classifier: "c", idempotent: true })
        assert.deepStrictEqual(PolicyDocument.policyOf(document, "b.Get"), Option.none())
      }))
  })

  describe("clamp, diff and guard", () => {
    it.effect("say what a live layer would make of a document", () =>
      Effect.gen(function*() {
        const policies = (maxAttempts: number) => ({ ...base, policies: { a: { retry: { maxAttempts } } } })
        const { clamped, json } = PolicyDocument.clamp(policies(70))
        assert.deepStrictEqual(clamped, [{ path: ["policies", "a", "retry", "maxAttempts"], value: 70, limit: 10 }])
        const [before, after] = [yield* PolicyDocument.decode(policies(2)), yield* PolicyDocument.decode(json)]
        assert.deepStrictEqual(PolicyDocument.diff(before, after), [
          { path: ["policies", "a", "retry", "maxAttempts"], before: 2, after: 10 }
        ])
        assert.lengthOf(PolicyDocument.guard(before, after), 1)
        assert.deepStrictEqual(PolicyDocument.guard(after, before), [])
      }))
  })

  describe("jsonSchema", () => {
    type Json = { readonly [key: string]: Json & string & number & ReadonlyArray<Json> }

    const schema = PolicyDocument.jsonSchema() as unknown as Json
    const text = JSON.stringify(schema)
    const entry = schema["properties"]!["policies"]!["additionalProperties"]!
    const section = (name: string): Json =>
      (entry["properties"]![name]!["anyOf"]! as ReadonlyArray<Json>).find((branch) => "properties" in branch)!

    it("says what fields there are, which are required, and that there are no others", () => {
      assert.deepStrictEqual(schema["required"], ["schemaVersion", "revision", "policies"] as never)
      assert.sameMembers(Object.keys(schema["properties"]!), [
        "schemaVersion",
        "revision",
        "defaults",
        "budgets",
        "policies",
        "off",
        "hedgeOff"
      ])
      assert.sameMembers(Object.keys(entry["properties"]!), [
        "retry",
        "timeout",
        "hedge",
        "budget",
        "classifier",
        "idempotent",
        "force",
        "rollout"
      ])
      assert.strictEqual(entry["additionalProperties"] as unknown, false)
    })

    it("says the limits of numbers", () => {
      assert.deepStrictEqual(section("retry")["properties"]!["maxAttempts"] as unknown, {
        type: "integer",
        minimum: 1,
        maximum: 10
      })
    })

    it("says how a duration is written", () => {
      const { anyOf, description } = section("timeout")["properties"]!["overall"]!
      const [text] = anyOf as ReadonlyArray<Json>
      const pattern = new RegExp(text!["pattern"] as unknown as string)
      for (const good of ["250 millis", "1 second", "1.5 hours", "1 day"]) assert.match(good, pattern)
      for (const bad of ["250", "1 sec", "-1 second", "millis"]) assert.notMatch(bad, pattern)
      assert.strictEqual(
        description as unknown,
        "a duration: text such as \"250 millis\", or a number of milliseconds"
      )
    })

    it("has nothing that no document has", () => {
      for (const nothing of [`"null"`, `"NaN"`, `"Infinity"`, `{}`]) assert.notInclude(text, nothing)
    })

    it("is the file of the package", () => {
      const file = readFileSync(join(import.meta.dirname, "../policy-document.schema.json"), "utf8")
      assert.strictEqual(
        file,
        `${JSON.stringify(schema, undefined, 2)}\n`,
        "write it anew: npm run schema"
      )
    })
  })

  it("reads one policy as it stands in a document, or says every issue of it", () => {
    assert.deepStrictEqual(PolicyDocument.readPolicy({ retry: { maxAttempts: 2 } }), {
      sections: { retry: { maxAttempts: 2 } },
      issues: []
    })
    const { issues, sections } = PolicyDocument.readPolicy({ retry: { maxAtempts: 2 }, timeouts: {} })
    assert.isUndefined(sections)
    assert.deepStrictEqual(issues.map(({ path }) => path), [["timeouts"], ["retry", "maxAtempts"]])
  })
})
