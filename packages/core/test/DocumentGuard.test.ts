import { assert, describe, it } from "@effect/vitest"
import * as DocumentGuard from "../src/DocumentGuard.ts"
import { formatAll } from "../src/Issue.ts"
import * as PolicyDocument from "../src/PolicyDocument.ts"

type Parts = Omit<Partial<PolicyDocument.PolicyDocument>, "policies"> & { readonly policies?: object }

const documentOf = (parts: object): PolicyDocument.PolicyDocument => {
  const read = PolicyDocument.read({ schemaVersion: "1.0", revision: "1", policies: {}, ...parts })
  if (read.document === undefined) throw new Error(formatAll(read.issues))
  return read.document
}

/** What the guard says to a change from one document to another. */
const guard = (before: object, after: object): ReadonlyArray<string> =>
  DocumentGuard.issues(documentOf(before), documentOf(after)).map((issue) => formatAll([issue]))

const policies = (a: object, more: object = {}): Parts => ({ policies: { a, ...more } })
const retry = (maxAttempts: number) => ({ retry: { maxAttempts } })
const hedge = (maxHedges: number) => ({ hedge: { trigger: { type: "after", delay: "10 millis" }, maxHedges } })
const overall = (timeout: unknown) => ({ timeout: { overall: timeout } })
const perAttempt = (timeout: unknown) => ({ timeout: { perAttempt: timeout } })
const ratio = (value: number, more: object = {}) => ({
  budgets: { p: { type: "ratio", ratio: value, ...more } },
  policies: { a: { retry: {}, budget: "p" } }
})

const hint = "say force: true if that is meant"

describe("DocumentGuard", () => {
  const refused: ReadonlyArray<readonly [string, object, object, ReadonlyArray<string>]> = [
    ["a timeout of a call below a tenth", policies(overall("10 seconds")), policies(overall("999 millis")), [
      `policies.a.timeout.overall: must not fall below a tenth of what the key has now (10s), got 999ms: ${hint}`
    ]],
    ["a timeout of an attempt below a tenth", policies(perAttempt("1 second")), policies(perAttempt(5)), [
      `policies.a.timeout.perAttempt: must not fall below a tenth of what the key has now (1s), got 5ms: ${hint}`
    ]],
    [
      "a timeout of an attempt where the call had one, which bounded it",
      policies(overall("1 second")),
      policies({ timeout: { overall: "1 second", perAttempt: 5 } }),
      [`policies.a.timeout.perAttempt: must not fall below a tenth of what the key has now (1s), got 5ms: ${hint}`]
    ],
    [
      "timeouts of a call and of its attempts, each for itself",
      policies({ timeout: { overall: "10 seconds", perAttempt: "5 seconds" } }),
      policies({ timeout: { overall: "500 millis", perAttempt: "100 millis" } }),
      [
        `policies.a.timeout.overall: must not fall below a tenth of what the key has now (10s), got 500ms: ${hint}`,
        `policies.a.timeout.perAttempt: must not fall below a tenth of what the key has now (5s), got 100ms: ${hint}`
      ]
    ],
    ["attempts raised more than threefold", policies(retry(3)), policies(retry(10)), [
      `policies.a.retry.maxAttempts: attempts × (1 + hedges) must not rise above three times what the key has now (3), ` +
      `got 10: ${hint}`
    ]],
    [
      "attempts and hedges that rise together",
      policies(retry(2)),
      policies({ ...retry(3), ...hedge(2) }),
      [
        `policies.a.retry.maxAttempts: attempts × (1 + hedges) must not rise above three times what the key has now ` +
        `(2), got 9: ${hint}`
      ]
    ],
    ["a ratio raised more than threefold", ratio(0.1), ratio(0.31), [
      `policies.a.budget: the ratio of the budget must not rise above three times what the key has now (0.1), ` +
      `got 0.31: ${hint}`
    ]],
    ["a budget that is lifted", policies({ retry: {} }), policies({ retry: {}, budget: "unlimited" }), [
      `policies.a.budget: the ratio of the budget must not rise above three times what the key has now (0.1), ` +
      `got Infinity: ${hint}`
    ]],
    ["a large ratio from nothing", policies({ budget: "none" }), ratio(0.4), [
      `policies.a.budget: the ratio of the budget must not rise above three times what the key has now (0.1), ` +
      `got 0.4: ${hint}`
    ]],
    [
      "a change that comes with a wildcard",
      { policies: { "*": overall("10 seconds"), "a.Get": retry(2) } },
      { policies: { "*": overall("10 millis"), "a.Get": retry(2) } },
      ["policies[\"*\"]", "policies[\"a.Get\"]"].flatMap((entry) =>
        ["overall"].map((field) =>
          `${entry}.timeout.${field}: must not fall below a tenth of what the key has now (10s), got 10ms: ${hint}`
        )
      ).toSorted()
    ],
    [
      "an entry that goes, so that its keys fall under a wildcard",
      { policies: { "a.*": retry(10), "a.Pay": retry(1) } },
      { policies: { "a.*": retry(10) } },
      [
        `policies["a.Pay"].retry.maxAttempts: attempts × (1 + hedges) must not rise above three times what the key has ` +
        `now (1), got 10: ${hint}`
      ]
    ],
    [
      "a new prefix under which keys get less time",
      { policies: { "*": overall("10 seconds") } },
      { policies: { "*": overall("10 seconds"), "a.*": overall("100 millis") } },
      ["overall"].map((field) =>
        `policies["a.*"].timeout.${field}: must not fall below a tenth of what the key has now (10s), got 100ms: ${hint}`
      )
    ],
    [
      "the change of a rollout, whomever it has reached",
      policies(retry(2)),
      policies({ ...retry(2), rollout: { percent: 0, change: retry(9) } }),
      [
        `policies.a.retry.maxAttempts: attempts × (1 + hedges) must not rise above three times what the key has now ` +
        `(2), got 9: ${hint}`
      ]
    ]
  ]
  for (const [what, before, after, issues] of refused) {
    it(`refuses ${what}`, () => {
      assert.deepStrictEqual(guard(before, after).toSorted(), issues.toSorted())
    })
  }

  const passed: ReadonlyArray<readonly [string, object, object]> = [
    ["what stays", ratio(0.5), ratio(0.5)],
    ["a timeout cut to a tenth", policies(overall("10 seconds")), policies(overall("1 second"))],
    ["attempts raised threefold", policies(retry(3)), policies(retry(9))],
    ["a ratio raised threefold, in binary a little more", ratio(0.1), ratio(0.3)],
    ["longer timeouts", policies(overall(10)), policies(overall("1 hour"))],
    ["a timeout where there was none", policies(retry(2)), policies(overall(1))],
    ["a timeout that goes", policies(overall(1)), policies(retry(2))],
    ["fewer attempts", policies(retry(10)), policies(retry(1))],
    ["a key that had no policy", { policies: {} }, policies({ ...retry(10), ...overall(1) })],
    ["a key that loses its policy", policies({ ...retry(10), ...overall("1 day") }), { policies: {} }],
    ["the default ratio from nothing", policies({ budget: "none" }), policies({ budget: "default" })],
    ["another type of budget", ratio(0.01), {
      budgets: { p: { type: "tokenBucket", capacity: 1000, refillPerSecond: 1000 } },
      policies: { a: { retry: {}, budget: "p" } }
    }],
    ["a budget that nobody uses", { budgets: { q: { type: "ratio", ratio: 0.01 } }, policies: { a: {} } }, {
      budgets: { q: { type: "ratio", ratio: 0.5 } },
      policies: { a: {} }
    }]
  ]
  for (const [what, before, after] of passed) {
    it(`lets ${what} pass`, () => {
      assert.deepStrictEqual(guard(before, after), [])
    })
  }

  describe("force", () => {
    it("lets the entry that changes and says so pass", () => {
      assert.deepStrictEqual(guard(policies(retry(1)), policies({ ...retry(9), force: true })), [])
      assert.deepStrictEqual(guard(ratio(0.1), ratio(0.5, { force: true })), [])
    })

    it("in an entry that is inherited counts for the keys that inherit it", () => {
      const before = { policies: { "*": overall("10 seconds"), "a.Get": retry(2) } }
      const after = { policies: { "*": { ...overall("10 millis"), force: true }, "a.Get": retry(2) } }
      assert.deepStrictEqual(guard(before, after), [])
      assert.deepStrictEqual(
        guard({ ...before, defaults: overall("1 second") }, {
          policies: { "*": {}, "a.Get": retry(2) },
          defaults: { ...overall(1), force: true }
        }),
        []
      )
    })

    it("in another entry changes nothing", () => {
      const after = policies(retry(9), { b: { ...retry(9), force: true } })
      assert.lengthOf(guard(policies(retry(1)), after), 1)
    })

    it("that was there before the change lets nothing pass: it was meant for another one", () => {
      const before = { policies: { "*": { ...retry(2), force: true }, "a.Get": overall("10 seconds") } }
      const after = { policies: { "*": { ...retry(2), force: true }, "a.Get": overall("10 millis") } }
      assert.lengthOf(guard(before, after), 1)
    })

    it("in a shorter prefix that a longer one hides changes nothing", () => {
      const before = { policies: { "a.*": retry(1), "a.b.*": retry(1) } }
      const after = { policies: { "a.*": { ...retry(2), force: true }, "a.b.*": retry(9) } }
      assert.lengthOf(guard(before, after), 1)
    })
  })

  describe("where keys that no entry matches get the defaults", () => {
    const guardDefaults = (before: object, after: object) =>
      DocumentGuard.issues(documentOf(before), documentOf(after), true).map((issue) => formatAll([issue]))
    const cut = (path: string) =>
      `${path}.timeout.overall: must not fall below a tenth of what the key has now (10s), got 10ms: ${hint}`

    it("cannot compare a budget that is no share of the traffic, whatever side it is on", () => {
      const provided = policies({ retry: {}, budget: "own" })
      assert.deepStrictEqual(guard(provided, ratio(0.5)), [])
      assert.deepStrictEqual(guard(ratio(0.1), provided), [])
    })

    it("compares two policies of one key where there is no document", () => {
      const sections = (policy: object) => documentOf({ policies: { a: policy } }).policies["a"]!
      const between = (before: object, after: object) =>
        DocumentGuard.between(sections(before), sections(after)).map(({ path }) => path.join("."))
      assert.deepStrictEqual(between(overall("10 seconds"), overall("999 millis")), ["timeout.overall"])
      assert.deepStrictEqual(between(retry(3), retry(10)), ["retry.maxAttempts"])
      assert.deepStrictEqual(between({ budget: "none" }, { budget: "unlimited" }), ["budget"])
      assert.deepStrictEqual(between(retry(3), retry(9)), [])
    })

    it("refuses large steps of the defaults", () => {
      const [before, after] = [{ defaults: overall("10 seconds") }, { defaults: overall(10) }]
      assert.deepStrictEqual(guard(before, after), [])
      assert.deepStrictEqual(guardDefaults(before, after), [cut("defaults")])
      assert.deepStrictEqual(guardDefaults(before, { defaults: { ...overall(10), force: true } }), [])
      const any = { policies: { "*": overall("10 seconds") } }
      assert.deepStrictEqual(guardDefaults({ ...before, ...any }, { ...after, ...any }), [])
    })

    it("compares an entry with the defaults that it takes the place of, or falls back to", () => {
      const [defaults, entry] = [{ defaults: overall("10 seconds") }, policies(overall(10))]
      assert.deepStrictEqual(guardDefaults(defaults, { ...defaults, ...entry }), [cut("policies.a")])
      assert.deepStrictEqual(
        guardDefaults({ defaults: overall(10), ...policies(overall("10 seconds")) }, { defaults: overall(10) }),
        [cut("policies.a")]
      )
    })
  })

  it("stops for each entry whenever it goes through them: to read both documents, to join them, to compare", () => {
    const document = documentOf({
      policies: Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`a.${i}`, retry(2)]))
    })
    assert.isAtLeast(Array.from(DocumentGuard.guarding(document, document)).length, 5 * 50 + 1)
  })
})
