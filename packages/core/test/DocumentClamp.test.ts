import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { clampDocument, clampMerged, clampOnePolicy } from "../src/DocumentClamp.ts"
import * as Policy from "../src/Policy.ts"
import * as PolicyDocument from "../src/PolicyDocument.ts"
import * as PolicySet from "../src/PolicySet.ts"
import { effectProperty, json } from "./arbitraries.ts"

const base = { schemaVersion: "1.0", revision: "1", policies: {} }

/** What becomes of one policy: the policy, and what was said of it. */
const clampPolicy = (policy: unknown) => {
  const { clamped, json } = clampDocument({ ...base, policies: { a: policy } })
  return { policy: (json as typeof base & { policies: { a: unknown } }).policies.a, clamped }
}

const sectionsOf = (input: Policy.Input) => Policy.make(input).sections

const maxHedgesOf = (set: PolicySet.PolicySet, key: string) => {
  const hedge = PolicySet.resolve(set, key)?.hedge
  return typeof hedge === "object" ? hedge.maxHedges : hedge
}

describe("DocumentClamp", () => {
  describe("clampDocument", () => {
    const rows: ReadonlyArray<readonly [string, unknown, unknown, ReadonlyArray<string>, unknown]> = [
      [
        "attempts above 10",
        { retry: { maxAttempts: 100 } },
        { retry: { maxAttempts: 10 } },
        ["retry", "maxAttempts"],
        10
      ],
      ["attempts of 0", { retry: { maxAttempts: 0 } }, { retry: { maxAttempts: 1 } }, ["retry", "maxAttempts"], 1],
      ["attempts below 0", { retry: { maxAttempts: -3 } }, { retry: { maxAttempts: 1 } }, ["retry", "maxAttempts"], 1],
      ["more than 3 hedges", { hedge: { maxHedges: 9 } }, { hedge: { maxHedges: 3 } }, ["hedge", "maxHedges"], 3],
      ["no hedges", { hedge: { maxHedges: 0 } }, { hedge: "off" }, ["hedge", "maxHedges"], "off"],
      [
        "an initial backoff below 1 ms",
        { retry: { backoff: { initial: 0 } } },
        { retry: { backoff: { initial: "1 millis" } } },
        ["retry", "backoff", "initial"],
        "1 millis"
      ],
      [
        "an initial backoff below 1 ms, as text",
        { retry: { backoff: { initial: "500 micros" } } },
        { retry: { backoff: { initial: "1 millis" } } },
        ["retry", "backoff", "initial"],
        "1 millis"
      ],
      [
        "a longest backoff above 30 s",
        { retry: { backoff: { max: "31 seconds" } } },
        { retry: { backoff: { max: "30 seconds" } } },
        ["retry", "backoff", "max"],
        "30 seconds"
      ],
      [
        "a constant backoff below 1 ms",
        { retry: { backoff: { delay: 0 } } },
        { retry: { backoff: { delay: "1 millis" } } },
        ["retry", "backoff", "delay"],
        "1 millis"
      ],
      [
        "a constant backoff above 30 s",
        { retry: { backoff: { delay: 60_000 } } },
        { retry: { backoff: { delay: "30 seconds" } } },
        ["retry", "backoff", "delay"],
        "30 seconds"
      ],
      [
        "a longest wait that a server may ask for, above 5 min",
        { retry: { maxRetryAfter: "1 hour" } },
        { retry: { maxRetryAfter: "5 minutes" } },
        ["retry", "maxRetryAfter"],
        "5 minutes"
      ],
      [
        "a timeout of an attempt above 24 h",
        { timeout: { perAttempt: "2 days" } },
        { timeout: { perAttempt: "1 day" } },
        ["timeout", "perAttempt"],
        "1 day"
      ],
      [
        "a timeout of a call above 24 h",
        { timeout: { overall: 2 ** 31 } },
        { timeout: { overall: "1 day" } },
        ["timeout", "overall"],
        "1 day"
      ],
      [
        "a cost below 1",
        { budget: { name: "p", retryCost: 0.1 } },
        { budget: { name: "p", retryCost: 1 } },
        ["budget", "retryCost"],
        1
      ],
      [
        "a cost of hedges below 1",
        { budget: { name: "p", hedgeCost: -5 } },
        { budget: { name: "p", hedgeCost: 1 } },
        ["budget", "hedgeCost"],
        1
      ]
    ]
    for (const [what, policy, expected, path, limit] of rows) {
      it(`moves ${what} to the limit, and says which value it was`, () => {
        const value = path.reduce<unknown>((at, field) => (at as Record<string, unknown>)[field], policy)
        for (
          const [place, prefix] of [
            [{ policies: { a: policy } }, ["policies", "a"]],
            [{ defaults: policy }, ["defaults"]],
            [{ policies: { a: { rollout: { percent: 1, change: policy } } } }, ["policies", "a", "rollout", "change"]]
          ] as const
        ) {
          const { clamped, json } = clampDocument({ ...base, ...place })
          assert.deepStrictEqual(clamped, [{ path: [...prefix, ...path], value, limit }])
          const found = prefix.reduce<unknown>((at, field) => (at as Record<string, unknown>)[field], json)
          assert.deepStrictEqual(found, expected)
        }
      })
    }

    it("moves the reserve of a budget to its limits", () => {
      const budgets = { p: { type: "ratio", reserve: { burst: 101, perSecond: 11, start: 200 } } }
      const { clamped, json } = clampDocument({ ...base, budgets })
      assert.deepStrictEqual(json, {
        ...base,
        budgets: { p: { type: "ratio", reserve: { burst: 100, perSecond: 10, start: 200 } } }
      })
      assert.deepStrictEqual(clamped.map(({ limit, path, value }) => [path.join("."), value, limit]), [
        ["budgets.p.reserve.burst", 101, 100],
        ["budgets.p.reserve.perSecond", 11, 10]
      ])
    })

    const untouched: ReadonlyArray<readonly [string, unknown]> = [
      ["a timeout of 0", { timeout: { perAttempt: 0 } }],
      ["a timeout below 1 ms", { timeout: { overall: "1 micros" } }],
      ["a timeout without an end", { timeout: { overall: "Infinity" } }],
      ["attempts that are no whole number", { retry: { maxAttempts: 10.5 } }],
      ["attempts that are no number", { retry: { maxAttempts: "100" } }],
      ["NaN and infinities", { retry: { maxAttempts: NaN }, timeout: { overall: Infinity } }],
      ["a negative number of hedges", { hedge: { maxHedges: -1 } }],
      ["a delay of hedges", { hedge: { trigger: { type: "after", delay: 0 } } }],
      ["a quantile", { hedge: { trigger: { type: "quantile", q: 5 } } }],
      ["an initial backoff above 30 s", { retry: { backoff: { initial: "1 minute" } } }],
      ["a longest backoff of 0", { retry: { backoff: { max: 0 } } }],
      ["a factor", { retry: { backoff: { factor: 100 } } }],
      ["costs that are no numbers", { budget: { name: "p", retryCost: null, hedgeCost: -Infinity } }],
      ["a cost above 100", { budget: { name: "p", retryCost: 101 } }],
      ["values in range", { retry: { maxAttempts: 10 }, timeout: { overall: "1 day" }, hedge: { maxHedges: 3 } }],
      ["sections that are off", { retry: "off", timeout: "off", hedge: "off", budget: "p" }],
      [
        "fields that every object inherits",
        JSON.parse(`{"__proto__":{"maxAttempts":100},"constructor":{"maxAttempts":100}}`)
      ]
    ]
    for (const [what, policy] of untouched) {
      it(`leaves ${what} as it is: the document is refused, or taken, because of it`, () => {
        const result = clampPolicy(policy)
        assert.strictEqual(result.policy, policy)
        assert.deepStrictEqual(result.clamped, [])
      })
    }

    it("leaves what are no policies as they are", () => {
      for (const policies of [undefined, null, 7, [{ retry: { maxAttempts: 100 } }]]) {
        const document = { ...base, policies }
        assert.deepStrictEqual(clampDocument(document), { json: document, clamped: [] })
      }
    })

    it("clamps each of several entries that are one object", () => {
      const wild = { retry: { maxAttempts: 100 } }
      const tame = { retry: { maxAttempts: 2 } }
      const { clamped, json } = clampDocument({ ...base, policies: { a: wild, b: tame, c: wild, d: tame } })
      const policy = { retry: { maxAttempts: 10 } }
      assert.deepStrictEqual(json, { ...base, policies: { a: policy, b: tame, c: policy, d: tame } })
      assert.deepStrictEqual(clamped.map(({ path }) => path[1]), ["a", "c"])
    })

    it("is the same for a policy alone", () => {
      const wild = { retry: { maxAttempts: 100 } }
      assert.deepStrictEqual(clampOnePolicy(wild), {
        json: { retry: { maxAttempts: 10 } },
        clamped: [{ path: ["retry", "maxAttempts"], value: 100, limit: 10 }]
      })
      const tame = { retry: { maxAttempts: 3 } }
      assert.deepStrictEqual(clampOnePolicy(tame), { json: tame, clamped: [] })
    })

    it("leaves a ratio as it is", () => {
      const document = { ...base, budgets: { p: { type: "ratio", ratio: 10 } } }
      assert.strictEqual(clampDocument(document).json, document)
    })

    it("keeps an entry that is called like what every object inherits", () => {
      const text = `{"policies":{"__proto__":{"retry":{"maxAttempts":100}},"a":{"retry":{"maxAttempts":0}}}}`
      const { clamped, json } = clampDocument(JSON.parse(text))
      assert.deepStrictEqual(JSON.stringify(json), text.replace("100", "10").replace(":0", ":1"))
      assert.lengthOf(clamped, 2)
      assert.isUndefined(({} as { retry?: unknown }).retry)
    })

    it("changes nothing in what it is given", () => {
      const document = Object.freeze({
        ...base,
        policies: Object.freeze({ a: Object.freeze({ retry: Object.freeze({ maxAttempts: 100 }) }) })
      })
      clampDocument(document)
      assert.strictEqual(document.policies.a.retry.maxAttempts, 100)
    })

    effectProperty(
      "never throws, and clamping again changes nothing, whatever it is given",
      { input: json, policy: json, field: json },
      ({ field, input, policy }) =>
        Effect.sync(() => {
          const documents = [input, { ...base, policies: { a: policy }, defaults: { retry: { maxAttempts: field } } }]
          for (const document of documents) {
            const once = clampDocument(document)
            const again = clampDocument(once.json)
            assert.strictEqual(again.json, once.json)
            assert.deepStrictEqual(again.clamped, [])
          }
        }),
      500
    )

    it("clamps a document into one that is accepted", () => {
      const wild = {
        ...base,
        policies: {
          a: {
            retry: {
              maxAttempts: 99,
              backoff: { type: "exponential", initial: 0, max: "1 hour" },
              maxRetryAfter: "1 day"
            },
            timeout: { perAttempt: "1 week", overall: "1 week" },
            hedge: { trigger: { type: "after", delay: "10 millis" }, maxHedges: 50 },
            budget: { name: "default", retryCost: 0 }
          }
        }
      }
      assert.isUndefined(PolicyDocument.read(wild).document)
      assert.isDefined(PolicyDocument.read(clampDocument(wild).json).document)
    })
  })

  describe("clampMerged", () => {
    const trigger = { trigger: { _tag: "MaxExtraLoad", load: 0.1 } } as const

    it("lowers hedges until attempts × (1 + hedges) is at most 12, where only the merged policy shows it", () => {
      const entries = {
        "*": sectionsOf({ retry: { maxAttempts: 5 } }),
        "a.*": sectionsOf({ hedge: { ...trigger, maxHedges: 3 } }),
        "a.Get": sectionsOf({ retry: { maxAttempts: 10 } }),
        "b.Get": sectionsOf({ retry: { maxAttempts: 3 }, hedge: { ...trigger, maxHedges: 3 } })
      }
      const { clamped, set } = clampMerged(entries, {}, false)
      assert.strictEqual(maxHedgesOf(set, "a.List"), 1)
      assert.strictEqual(maxHedgesOf(set, "a.Get"), "off")
      assert.strictEqual(maxHedgesOf(set, "b.Get"), 3)
      assert.deepStrictEqual(clamped, [
        { path: ["policies", "a.*", "hedge", "maxHedges"], value: 3, limit: 1 },
        { path: ["policies", "a.Get", "hedge", "maxHedges"], value: 1, limit: "off" }
      ])
    })

    it("leaves everything as it is where nobody hedges", () => {
      const entries = {
        "*": sectionsOf({ retry: { maxAttempts: 10 } }),
        "a.Get": sectionsOf({ retry: { maxAttempts: 5 } })
      }
      const { clamped, set } = clampMerged(entries, {}, false)
      assert.deepStrictEqual(clamped, [])
      assert.deepStrictEqual(set, PolicySet.make(entries, {}))
    })

    it("lowers an entry once, and those below it inherit that", () => {
      const entries = {
        "*": sectionsOf({ retry: { maxAttempts: 4 }, hedge: { ...trigger, maxHedges: 3 } }),
        "a.*": sectionsOf({ idempotent: true }),
        "a.Get": sectionsOf({ idempotent: true })
      }
      assert.deepStrictEqual(clampMerged(entries, {}, false).clamped, [
        { path: ["policies", "*", "hedge", "maxHedges"], value: 3, limit: 2 }
      ])
    })

    it("lowers what inherits its hedges from the defaults alone", () => {
      const defaults = sectionsOf({ hedge: { ...trigger, maxHedges: 3 } })
      const entries = { "a.Get": sectionsOf({ retry: { maxAttempts: 10 } }) }
      assert.strictEqual(maxHedgesOf(clampMerged(entries, defaults, false).set, "a.Get"), "off")
    })

    it("lowers also where the defaults and every entry have hedges of their own", () => {
      const defaults = sectionsOf({ hedge: { ...trigger, maxHedges: 1 } })
      const entries = { "a.Get": sectionsOf({ retry: { maxAttempts: 4 }, hedge: { ...trigger, maxHedges: 3 } }) }
      assert.strictEqual(maxHedgesOf(clampMerged(entries, defaults, false).set, "a.Get"), 2)
    })

    it("lowers the hedges of the defaults where missing keys get them", () => {
      const defaults = sectionsOf({ retry: { maxAttempts: 4 }, hedge: { ...trigger, maxHedges: 3 } })
      assert.strictEqual(maxHedgesOf(clampMerged({ "*": {} }, defaults, true).set, "x"), 2)
      for (const entries of [{}, { "*": {} }]) {
        const { clamped, set } = clampMerged(entries, defaults, true)
        assert.deepStrictEqual(clamped, [{ path: ["defaults", "hedge", "maxHedges"], value: 3, limit: 2 }])
        assert.deepStrictEqual(set.defaults, { ...defaults, hedge: { ...trigger, maxHedges: 2 } })
      }
      assert.deepStrictEqual(clampMerged({}, defaults, false).clamped, [])
    })

    it("changes nothing in policies within the bound", () => {
      const entries = { "*": sectionsOf({ retry: { maxAttempts: 3 }, hedge: { ...trigger, maxHedges: 3 } }) }
      const { clamped, set } = clampMerged(entries, {}, true)
      assert.deepStrictEqual(clamped, [])
      assert.strictEqual(set.any, entries["*"])
    })
  })
})
