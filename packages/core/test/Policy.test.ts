import { assert, describe, it } from "@effect/vitest"
import { Backoff, Classifier, Hedge, Policy } from "@rego/core"
import { Duration, Schedule } from "effect"
import * as Plan from "../src/Plan.ts"
import { array, integer, json, partial, pick, property } from "./arbitraries.ts"

/** Every issue of an input, as text; none when it is accepted. */
const issues = (input: unknown): ReadonlyArray<string> => {
  try {
    Policy.make(input as Policy.Input)
    return []
  } catch (error) {
    assert.instanceOf(error, Policy.PolicyInvalid)
    return (error as Policy.PolicyInvalid).message.split("\n")
  }
}

const plan = (policy: Policy.Policy<unknown>) => Plan.fromSections(policy.sections)

const forms = "must be a duration such as \"250 millis\", \"2 seconds\" or a number of milliseconds, got"

describe("Policy", () => {
  it("a section over one that is off is that section", () => {
    const retry = { maxAttempts: 2 }
    assert.deepStrictEqual(Policy.merge({ retry: "off" }, { retry }).retry, retry)
  })

  it("that is invalid is a PolicyInvalid", () => {
    try {
      Policy.make({ retry: { maxAttempts: -1 } })
    } catch (error) {
      return assert.strictEqual((error as Policy.PolicyInvalid)._tag, "PolicyInvalid")
    }
    assert.fail("was accepted")
  })

  it("lowLatency hedges after 100 ms until it knows better", () => {
    assert.deepStrictEqual(Policy.lowLatency.sections.hedge, {
      trigger: Hedge.quantile(0.95, { fallback: "100 millis" })
    })
  })

  describe("make", () => {
    it("keeps what it is given, in one policy [P09] [P14]", () => {
      const backoff = Backoff.exponential({ initial: "100 millis", max: "2 seconds", factor: 3 })
      const policy = Policy.make({
        retry: { maxAttempts: 4, backoff, maxRetryAfter: "1 minute", nested: "allow" },
        timeout: { perAttempt: "5 seconds", overall: "20 seconds" },
        budget: { name: "payments", retryCost: 3, hedgeCost: 1 },
        classifier: "custom",
        idempotent: false
      })
      assert.deepStrictEqual(plan(policy), {
        retries: true,
        maxAttempts: 4,
        backoff,
        maxRetryAfter: 60_000,
        nested: "allow",
        perAttempt: 5_000,
        overall: 20_000,
        budget: "payments",
        retryCost: 3,
        hedgeCost: 1,
        hedge: undefined,
        classifier: "custom",
        idempotent: false
      })
    })

    it("accepts the ends of every limit", () => {
      const low = {
        retry: { maxAttempts: 1, backoff: Backoff.none, maxRetryAfter: 0 },
        timeout: { perAttempt: 1, overall: "1 millis" },
        budget: { name: "b", retryCost: 1, hedgeCost: 1 }
      } as const
      const high = {
        retry: { maxAttempts: 10, backoff: Backoff.constant("30 seconds"), maxRetryAfter: "5 minutes" },
        timeout: { perAttempt: "24 hours", overall: 86_400_000 },
        budget: { name: "b", retryCost: 100, hedgeCost: 100 }
      } as const
      assert.deepStrictEqual(issues(low), [])
      assert.deepStrictEqual(issues(high), [])
      assert.deepStrictEqual(issues({}), [])
    })

    it("accepts undefined for every field, as for one that is absent", () => {
      const absent = {
        retry: { maxAttempts: undefined, backoff: undefined, maxRetryAfter: undefined, nested: undefined },
        timeout: undefined,
        budget: undefined,
        classifier: undefined,
        idempotent: undefined
      }
      assert.deepStrictEqual(issues(absent), [])
    })

    it("accepts a Schedule as backoff and a function as classifier", () => {
      const classifier = Classifier.typedFailures
      const policy = Policy.make({ retry: { backoff: Schedule.spaced("1 second") }, classifier })
      assert.isTrue(Schedule.isSchedule(plan(policy).backoff))
      assert.strictEqual(plan(policy).classifier, classifier)
    })

    const durations: ReadonlyArray<readonly [string, unknown, string]> = [
      ["NaN", NaN, "must be a duration, got NaN"],
      ["NaN inside an object", { seconds: NaN }, "must be a duration, got NaN"],
      ["infinity", Infinity, "must be between 1ms and 1d, got Infinity"],
      ["negative infinity", -Infinity, "must be between 1ms and 1d, got -Infinity"],
      ["a negative number", -1, "must be between 1ms and 1d, got -1ms"],
      ["a negative text", "-5 seconds", "must be between 1ms and 1d, got -5s"],
      ["zero", 0, "must be between 1ms and 1d, got 0"],
      ["less than 1 ms [P07]", "500 micros", "must be between 1ms and 1d, got 500000ns"],
      ["2^31 ms, where a timer wraps", 2 ** 31, "must be between 1ms and 1d, got 24d 20h 31m 23s 648ms"],
      ["one more than 24 hours", 86_400_001, "must be between 1ms and 1d, got 1d 1ms"],
      ["two weeks", "2 weeks", "must be between 1ms and 1d, got 14d"],
      ["a wrong unit", "1 sec", `${forms} "1 sec"`],
      ["a unit without a space", "250ms", `${forms} "250ms"`],
      ["a number as text", "250", `${forms} "250"`],
      ["empty text", "", `${forms} ""`],
      ["true", true, `${forms} true`],
      ["null", null, `${forms} null`],
      ["an empty array", [], "must be a duration, got []"]
    ]
    for (const [what, input, message] of durations) {
      it(`refuses a timeout that is ${what}`, () => {
        assert.deepStrictEqual(issues({ timeout: { perAttempt: input } }), [`timeout.perAttempt: ${message}`])
        assert.deepStrictEqual(issues({ timeout: { overall: input } }), [`timeout.overall: ${message}`])
      })
    }

    it("refuses a duration whose unit it does not know: it would be a limit of zero", () => {
      for (const input of [{ second: 5 }, { ms: 500 }, {}]) {
        assert.lengthOf(issues({ retry: { maxRetryAfter: input } }), 1, JSON.stringify(input))
      }
    })

    const attempts = "retry.maxAttempts: must be an integer between 1 and 10, got"
    const values: ReadonlyArray<readonly [unknown, ReadonlyArray<string>]> = [
      [{ retry: { maxAttempts: 0 } }, [`${attempts} 0`]],
      [{ retry: { maxAttempts: -2 } }, [`${attempts} -2`]],
      [{ retry: { maxAttempts: 11 } }, [`${attempts} 11`]],
      [{ retry: { maxAttempts: 100 } }, [`${attempts} 100`]],
      [{ retry: { maxAttempts: 2.5 } }, [`${attempts} 2.5`]],
      [{ retry: { maxAttempts: NaN } }, [`${attempts} NaN`]],
      [{ retry: { maxAttempts: Infinity } }, [`${attempts} Infinity`]],
      [{ retry: { maxAttempts: "3" } }, ["retry.maxAttempts: Expected number | undefined, got \"3\""]],
      [{ retry: { maxRetryAfter: "6 minutes" } }, ["retry.maxRetryAfter: must be between 0 and 5m, got 6m"]],
      [{ retry: { maxRetryAfter: NaN } }, ["retry.maxRetryAfter: must be a duration, got NaN"]],
      [{ retry: { maxRetryAfter: -1 } }, ["retry.maxRetryAfter: must be between 0 and 5m, got -1ms"]],
      [{ retry: { nested: "maybe" } }, ["retry.nested: Expected \"allow\" | \"refuse\", got \"maybe\""]],
      [{ retry: "on" }, ["retry: Expected \"off\" | object, got \"on\""]],
      [{ retry: true }, ["retry: Expected \"off\" | object | undefined, got true"]],
      [{ retry: null }, ["retry: Expected \"off\" | object | undefined, got null"]],
      [{ timeout: "2 seconds" }, ["timeout: Expected \"off\" | object, got \"2 seconds\""]],
      [{ budget: "" }, ["budget: Expected a value with a length of at least 1, got \"\""]],
      [{ budget: 5 }, ["budget: Expected string | object | undefined, got 5"]],
      [{ budget: { retryCost: 1 } }, ["budget.name: is required, got nothing"]],
      [{ budget: { name: "b", retryCost: 0 } }, ["budget.retryCost: must be a number between 1 and 100, got 0"]],
      [{ budget: { name: "b", hedgeCost: 101 } }, ["budget.hedgeCost: must be a number between 1 and 100, got 101"]],
      [{ budget: { name: "b", retryCost: NaN } }, ["budget.retryCost: must be a number between 1 and 100, got NaN"]],
      [{ idempotent: "yes" }, ["idempotent: Expected boolean | undefined, got \"yes\""]],
      [{ retrys: {} }, ["retrys: is not a field that is known here, got {}"]],
      [{ retry: { enabled: true } }, ["retry.enabled: is not a field that is known here, got true"]],
      [null, ["Expected object, got null"]],
      ["off", ["Expected object, got \"off\""]],
      [[], ["Expected object, got []"]]
    ]
    for (const [input, expected] of values) {
      it(`refuses ${JSON.stringify(input, (_, value) => typeof value === "number" ? String(value) : value)}`, () => {
        assert.deepStrictEqual(issues(input), expected)
      })
    }

    it("refuses what is no backoff and no classifier, naming what is expected", () => {
      for (const backoff of ["none", 5, {}, { _tag: "Linear" }]) {
        const [first] = issues({ retry: { backoff } })
        assert.isTrue(first?.startsWith("retry.backoff: "), first)
      }
      assert.deepStrictEqual(issues({ classifier: 5 }), ["classifier: Expected a classifier, got 5"])
    })

    it("says one thing about one mistake: a name that is empty is not told that it should be a function", () => {
      assert.lengthOf(issues({ classifier: "" }), 1)
    })

    it("reports every issue at once, and one bad field never drops the others [P05] [P08] [P10]", () => {
      const found = issues({
        retry: { maxAttempts: 100, maxRetryAfter: NaN, maxAtempts: 3 },
        timeout: { perAttempt: 0, overall: "25 hours", total: 1 },
        budget: { name: "", retryCost: -3 },
        idempotent: 1,
        retrys: {}
      })
      assert.sameMembers([...found], [
        "retrys: is not a field that is known here, got {}",
        "retry.maxAtempts: is not a field that is known here, got 3",
        "retry.maxAttempts: must be an integer between 1 and 10, got 100",
        "retry.maxRetryAfter: must be a duration, got NaN",
        "timeout.total: is not a field that is known here, got 1",
        "timeout.perAttempt: must be between 1ms and 1d, got 0",
        "timeout.overall: must be between 1ms and 1d, got 1d 1h",
        "budget.name: Expected a value with a length of at least 1, got \"\"",
        "budget.retryCost: must be a number between 1 and 100, got -3",
        "idempotent: Expected boolean | undefined, got 1"
      ])
    })

    it("refuses a value that has no JSON with its issue, not with an error of its own", () => {
      const cycle: Record<string, unknown> = {}
      cycle["self"] = cycle
      for (const value of [cycle, { big: 1n }]) {
        const [only] = issues({ extra: value })
        assert.isTrue(only?.startsWith("extra: is not a field that is known here, got "), only)
      }
    })

    it("changes nothing in what it is given, refused or not", () => {
      const inputs = [
        { retry: { maxAttempts: 100, extra: { a: 1 } }, timeout: { overall: "1 sec" } },
        { retry: { maxAttempts: 3 }, timeout: { overall: "1 second" } }
      ]
      for (const input of inputs) {
        const before = structuredClone(input)
        issues(input)
        assert.deepStrictEqual(input, before)
      }
    })

    it("does not change with the object that it was made from", () => {
      const retry = { maxAttempts: 3 }
      const policy = Policy.make({ retry })
      retry.maxAttempts = 10
      assert.strictEqual(plan(policy).maxAttempts, 3)
    })

    property("answers with a policy or with PolicyInvalid, whatever it is given", { input: json }, ({ input }) => {
      for (const message of issues(input)) assert.isAbove(message.length, 5)
    }, 1_000)
  })

  describe("PolicyInvalid", () => {
    it("holds each issue with its path", () => {
      try {
        Policy.make({ retry: { maxAttempts: 0 } })
        assert.fail("was accepted")
      } catch (error) {
        assert.deepStrictEqual((error as Policy.PolicyInvalid).issues, [
          { path: ["retry", "maxAttempts"], message: "must be an integer between 1 and 10, got 0" }
        ])
      }
    })
  })

  describe("check", () => {
    it("puts the path of the policy before the paths of its issues, and goes on after one that is refused", () => {
      const found: Array<{ path: ReadonlyArray<PropertyKey>; message: string }> = []
      Policy.check({ retry: { maxAttempts: 0 } }, ["policies", "a"], found)
      const good = Policy.check({ retry: { maxAttempts: 2 } }, ["policies", "b"], found)
      Policy.check(1, ["policies", "c"], found)
      assert.deepStrictEqual(found.map((issue) => issue.path), [["policies", "a", "retry", "maxAttempts"], [
        "policies",
        "c"
      ]])
      assert.deepStrictEqual(good, { retry: { maxAttempts: 2 } })
    })

    it("takes a policy that is already checked as it is", () => {
      assert.strictEqual(Policy.check(Policy.http, [], []), Policy.http.sections)
    })
  })

  describe("isPolicy", () => {
    it("knows checked policies only", () => {
      assert.isTrue(Policy.isPolicy(Policy.make({})))
      for (const other of [null, {}, { retry: {} }, "off"]) assert.isFalse(Policy.isPolicy(other))
    })
  })

  describe("merge", () => {
    const merge = (...layers: ReadonlyArray<Policy.Sections>) =>
      plan(Policy.fromSections(layers.reduce(Policy.merge, {})))

    it("merges the fields of a section", () => {
      const { maxAttempts, maxRetryAfter, nested } = merge(
        { retry: { maxAttempts: 2, maxRetryAfter: Duration.seconds(1) } },
        { retry: { maxAttempts: 5, nested: "allow" } }
      )
      assert.deepStrictEqual({ maxAttempts, maxRetryAfter, nested }, {
        maxAttempts: 5,
        maxRetryAfter: 1_000,
        nested: "allow"
      })
    })

    it("replaces a tagged value whole: backoff and budget", () => {
      const { backoff, budget, retryCost } = merge(
        {
          retry: { backoff: Backoff.exponential({ initial: 1, max: 2, factor: 5 }) as typeof Backoff.Backoff.Type },
          budget: { name: "a", retryCost: 7 }
        },
        { retry: { backoff: Backoff.constant(9) as typeof Backoff.Backoff.Type }, budget: { name: "b" } }
      )
      assert.deepStrictEqual({ backoff, budget, retryCost }, {
        backoff: Backoff.constant(9),
        budget: "b",
        retryCost: 1
      })
    })

    it("inherits a section that is absent, or present without fields", () => {
      assert.strictEqual(merge({ retry: { maxAttempts: 5 } }, {}).maxAttempts, 5)
      assert.strictEqual(merge({ retry: { maxAttempts: 5 } }, { retry: {} }).maxAttempts, 5)
      assert.strictEqual(merge({ retry: { maxAttempts: 5 } }, { retry: { maxAttempts: undefined } }).maxAttempts, 5)
      assert.strictEqual(merge({ idempotent: true }, {}).idempotent, true)
      assert.strictEqual(merge({ idempotent: true }, { idempotent: false }).idempotent, false)
    })

    it("removes an inherited section with off, and starts from the defaults above it", () => {
      assert.isFalse(merge({ retry: { maxAttempts: 5 } }, { retry: "off" }).retries)
      assert.strictEqual(merge({ timeout: { overall: Duration.seconds(1) } }, { timeout: "off" }).overall, Infinity)
      assert.strictEqual(merge({ retry: { maxAttempts: 5 } }, { retry: "off" }, { retry: {} }).maxAttempts, 3)
    })

    it("touches no other section", () => {
      const { maxAttempts, overall } = merge({ retry: { maxAttempts: 5 }, timeout: { overall: Duration.seconds(1) } }, {
        retry: "off"
      })
      assert.deepStrictEqual({ maxAttempts, overall }, { maxAttempts: 1, overall: 1_000 })
    })

    const sections = partial({
      retry: pick<Policy.Sections["retry"]>(["off", {}, { maxAttempts: 2 }, { maxAttempts: 7, nested: "allow" }]),
      timeout: pick<Policy.Sections["timeout"]>(["off", {}, { overall: Duration.seconds(1) }, {
        perAttempt: Duration.millis(5)
      }]),
      budget: pick<Policy.Sections["budget"]>(["a", { name: "b", retryCost: 2 }]),
      classifier: pick(["x", "y"]),
      idempotent: pick([true, false])
    })
    property(
      "has the empty policy as its identity, and gives the same as the last of equal ones",
      { a: sections },
      ({ a }) => {
        const of = (policy: Policy.Sections) => Plan.fromSections(policy)
        assert.deepStrictEqual(of(Policy.merge({}, a)), of(a))
        assert.deepStrictEqual(of(Policy.merge(a, {})), of(a))
        assert.deepStrictEqual(of(Policy.merge(a, a)), of(a))
      }
    )

    property(
      "is associative where the middle one switches nothing off: after an off, what follows starts anew",
      { all: array(sections, { minLength: 3, maxLength: 3 }) },
      ({ all }) => {
        const [a, b, c] = all as [Policy.Sections, Policy.Sections, Policy.Sections]
        if (b.retry === "off" || b.timeout === "off") return
        const left = Policy.merge(Policy.merge(a, b), c)
        const right = Policy.merge(a, Policy.merge(b, c))
        assert.deepStrictEqual(Plan.fromSections(left), Plan.fromSections(right))
      },
      1_000
    )

    property("changes none of its arguments", { a: sections, b: sections, n: integer(0, 1) }, ({ a, b }) => {
      const before = JSON.stringify([a, b])
      Policy.merge(a, b)
      assert.strictEqual(JSON.stringify([a, b]), before)
    })
  })

  describe("presets", () => {
    const exponential = (initial: Duration.Input, max: Duration.Input, jitter: "full" | "equal" = "full") =>
      Backoff.exponential({ initial, max, jitter })

    it("defaults: 3 attempts, 10 ms to 250 ms with full jitter, 10 s of retryAfter, no timeouts, no overlap", () => {
      assert.deepStrictEqual(plan(Policy.defaults), {
        retries: true,
        maxAttempts: 3,
        backoff: exponential(10, 250),
        maxRetryAfter: 10_000,
        nested: "refuse",
        perAttempt: Infinity,
        overall: Infinity,
        budget: "default",
        retryCost: 1,
        hedgeCost: 1,
        hedge: undefined,
        classifier: undefined,
        idempotent: undefined
      })
    })

    const presets = [
      ["http [P11]", Policy.http, {
        maxAttempts: 3,
        backoff: exponential(100, 2_000),
        perAttempt: 10_000,
        overall: 30_000
      }],
      ["database [P17]", Policy.database, {
        maxAttempts: 3,
        backoff: exponential(100, 5_000, "equal"),
        perAttempt: 30_000,
        overall: 60_000
      }],
      ["backgroundJob [P17]", Policy.backgroundJob, {
        maxAttempts: 5,
        backoff: exponential(1_000, 30_000),
        perAttempt: Infinity,
        overall: 300_000
      }],
      ["lowLatency [P12]", Policy.lowLatency, {
        maxAttempts: 2,
        backoff: exponential(10, 50, "equal"),
        perAttempt: 500,
        overall: 1_000
      }],
      ["llm", Policy.llm, {
        maxAttempts: 3,
        backoff: exponential(1_000, 20_000),
        perAttempt: 120_000,
        overall: 300_000
      }]
    ] as const
    for (const [name, preset, numbers] of presets) {
      it(`${name}: holds its numbers, and no name that would have to be provided`, () => {
        const { backoff, budget, classifier, maxAttempts, overall, perAttempt } = plan(preset)
        assert.deepStrictEqual<unknown>({ maxAttempts, backoff, perAttempt, overall }, numbers)
        assert.deepStrictEqual({ budget, classifier }, { budget: "default", classifier: undefined })
      })
    }
  })
})
