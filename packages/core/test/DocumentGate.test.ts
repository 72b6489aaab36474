import { assert, describe, it } from "@effect/vitest"
import { Option } from "effect"
import type { Before, Gate, Verdict } from "../src/DocumentGate.ts"
import { contentOf, judging } from "../src/DocumentGate.ts"
import { runNow } from "../src/Steps.ts"

const judge = (...asked: Parameters<typeof judging>) => runNow(judging(...asked))
const content = (json: unknown) => runNow(contentOf(json))

const fingerprint = (json: unknown): string => content(json).fingerprint

const nested = (depth: number, innermost: unknown): unknown =>
  depth === 0 ? innermost : { in: nested(depth - 1, innermost) }

const gate = (more: Partial<Gate> = {}): Gate => ({
  provided: {
    isBudget: (name) => name === "default",
    isClassifier: () => false,
    isTrigger: () => false,
    budget: () => undefined
  },
  onInvalidEntry: "keep-last-good",
  givesDefaults: true,
  instance: "a",
  ...more
})

const nothing: Before = { inForce: undefined, delivered: undefined, revisions: new Map() }

const accepted = (verdict: Verdict) =>
  verdict._tag === "Accepted" ? verdict.accepted : assert.fail(JSON.stringify(verdict))

const rejected = (verdict: Verdict) => verdict._tag === "Rejected" ? verdict : assert.fail("was accepted")

const base = { schemaVersion: "1.0", revision: "1", policies: {} }

describe("DocumentGate", () => {
  describe("the fingerprint of a document", () => {
    it("is that of any other order of its fields and entries", () => {
      const a = { x: 1, y: [1, { p: 1, q: 2 }], policies: { a: { m: 1, n: 2 }, b: {} } }
      const b = { policies: { b: {}, a: { n: 2, m: 1 } }, y: [1, { q: 2, p: 1 }], x: 1 }
      assert.strictEqual(fingerprint(a), fingerprint(b))
      const bare = Object.assign(Object.create(null) as object, { x: 1 })
      assert.strictEqual(fingerprint(bare), fingerprint({ x: 1 }))
    })

    it("is another one where anything else is different", () => {
      const values = [
        undefined,
        null,
        "null",
        "undefined",
        0,
        1,
        "1",
        true,
        "true",
        false,
        [],
        {},
        [1, 2],
        [2, 1],
        ["1,2"],
        [[1], 2],
        { a: 1 },
        { a: "1" },
        { b: 1 },
        new Map(),
        new (class extends Array {})(),
        NaN,
        10n,
        10
      ]
      const prints = values.flatMap((value) => [
        fingerprint(value),
        fingerprint({ field: value }),
        fingerprint({ policies: { a: value } }),
        fingerprint({ policies: { b: value } })
      ])
      // what has no fields and is a plain list, or none, may look alike
      assert.strictEqual(new Set(prints).size, prints.length)
    })

    it("takes no account of what is nested without need, nor of what holds itself", () => {
      assert.notStrictEqual(fingerprint(nested(32, 1)), fingerprint(nested(32, 2)))
      assert.strictEqual(fingerprint(nested(40, 1)), fingerprint(nested(40, 2)))
      const circular: Record<string, unknown> = {}
      circular["self"] = circular
      assert.isString(fingerprint(circular))
      assert.isString(fingerprint({ policies: circular }))
    })
  })

  it("an object that stands in two places says there what a copy of it says", () => {
    const timeout = { overall: "1 second" }
    const twice = { policies: { a: { timeout, again: [timeout, timeout] } } }
    assert.strictEqual(fingerprint(twice), fingerprint(JSON.parse(JSON.stringify(twice))))
  })

  it("what stands behind many others counts as they do", () => {
    const wide = (last: number) => ({
      policies: { a: { list: Array.from({ length: 40 }, (_, i) => ({ i: i === 39 ? last : i })) } }
    })
    assert.notStrictEqual(fingerprint(wide(1)), fingerprint(wide(2)))
  })

  it("an entry keeps its name, whatever that is", () => {
    const json = JSON.parse(`{"policies":{"__proto__":{},"constructor":{}}}`)
    assert.deepStrictEqual(Object.keys((content(json).json as typeof json).policies), ["__proto__", "constructor"])
  })

  it("stops twice for each entry when it reads what a document says", () => {
    const json = { policies: Object.fromEntries(Array.from({ length: 7 }, (_, i) => [`a.${i}`, { retry: i }])) }
    assert.lengthOf(Array.from(contentOf(json)), 14)
  })

  it("entries that say the same become one object, unless they hold what has no JSON", () => {
    const json = {
      policies: {
        a: { x: 1, y: 2 },
        b: { y: 2, x: 1 },
        c: { x: 2 },
        d: { when: new Date(0) },
        e: { when: new Date(1) },
        f: { x: null, y: true, z: [0.5] },
        g: { z: [0.5], y: true, x: null },
        h: { x: 1, y: 2 }
      }
    }
    const { policies } = content(json).json as typeof json
    assert.strictEqual(policies.b as object, policies.a)
    assert.strictEqual(policies.g as object, policies.f)
    assert.strictEqual(policies.h, policies.a)
    assert.notStrictEqual(policies.c as object, policies.a)
    assert.strictEqual(policies.e, json.policies.e)
    assert.deepStrictEqual(content(json).json, json)
  })

  describe("a document that is refused", () => {
    it("is known by its revision, where it has one", () => {
      const revision = (json: unknown) => rejected(judge(gate(), nothing, json, false)).revision
      assert.deepStrictEqual(revision({ revision: "7" }), Option.some("7"))
      for (const json of [{ revision: "" }, { revision: 7 }, {}, null, 7, "7"]) {
        assert.deepStrictEqual(revision(json), Option.none(), JSON.stringify(json))
      }
    })

    it("is one whose revision had another content before", () => {
      const before = (print: string): Before => ({ ...nothing, revisions: new Map([["1", print]]) })
      assert.strictEqual(accepted(judge(gate(), before(fingerprint(base)), base, true)).document.revision, "1")
      const { issues } = rejected(judge(gate(), before("other"), base, true))
      assert.deepStrictEqual(issues.map(({ path }) => path), [["revision"]])
      assert.include(issues[0]!.message, "revision_reused")
    })
  })

  describe("a name that is not known here", () => {
    const unknown = { retry: { maxAttempts: 2 }, budget: "new" }
    const known = { retry: { maxAttempts: 3 } }
    const inForce =
      accepted(judge(gate(), nothing, { ...base, defaults: known, policies: { a: known } }, false)).document

    it("in the defaults leaves the last good ones in force, or one attempt", () => {
      const json = { ...base, defaults: unknown, policies: { a: known } }
      const kept = accepted(judge(gate(), { ...nothing, inForce }, json, false))
      assert.deepStrictEqual(kept.document.defaults, inForce.defaults)
      assert.deepStrictEqual(kept.issues.map(({ path }) => path), [["defaults", "budget"]])
      const first = accepted(judge(gate(), nothing, json, false))
      assert.deepStrictEqual(first.document.defaults, { retry: "off", hedge: "off" })
    })

    it("in an entry leaves its last good version in force, or one attempt; there are no defaults where none were", () => {
      const json = { ...base, policies: { a: unknown, b: unknown } }
      const { document, issues } = accepted(judge(gate(), { ...nothing, inForce }, json, false))
      assert.deepStrictEqual(document.policies, { a: inForce.policies["a"]!, b: { retry: "off", hedge: "off" } })
      assert.isFalse("defaults" in document)
      assert.deepStrictEqual(issues.map(({ path }) => path.join(".")), ["policies.a.budget", "policies.b.budget"])
    })

    it("refuses the document where the application wants that", () => {
      const strict = gate({ onInvalidEntry: "refuse-document" })
      const json = { ...base, defaults: unknown }
      assert.lengthOf(rejected(judge(strict, { ...nothing, inForce }, json, false)).issues, 1)
    })
  })
})
