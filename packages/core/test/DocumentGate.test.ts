import { assert, describe, it } from "@effect/vitest"
import { PolicyDocument } from "@rego/core"
import type { Gate } from "../src/DocumentGate.ts"
import * as DocumentGate from "../src/DocumentGate.ts"
import * as PolicySet from "../src/PolicySet.ts"
import { runNow } from "../src/Steps.ts"

const gate: Gate = {
  provided: {
    isBudget: (name) => name === "default",
    isClassifier: () => false,
    isTrigger: () => false,
    budget: () => undefined
  },
  onInvalidEntry: "refuse-document",
  givesDefaults: true,
  instance: "pod-1"
}

describe("DocumentGate", () => {
  describe("a fingerprint", () => {
    const fingerprintOf = (json: unknown) => runNow(DocumentGate.contentOf(json)).fingerprint
    const base = { revision: "1", policies: { a: { retry: "off", budget: "b" }, b: { hedge: "off" } } }

    it("does not know the order of fields and entries", () => {
      const other = { policies: { b: { hedge: "off" }, a: { budget: "b", retry: "off" } }, revision: "1" }
      assert.strictEqual(fingerprintOf(other), fingerprintOf(base))
    })

    const others: ReadonlyArray<readonly [string, unknown]> = [
      ["another value", { ...base, policies: { ...base.policies, b: { hedge: "on" } } }],
      ["entries that have changed places", { ...base, policies: { a: base.policies.b, b: base.policies.a } }],
      ["an entry less", { ...base, policies: { a: base.policies.a } }],
      ["no policies", { revision: "1" }],
      ["policies that are none", { revision: "1", policies: null }],
      ["another revision", { ...base, revision: "2" }],
      ["a field of a policy beside the policies", {
        revision: "1",
        policies: { a: base.policies.a },
        b: { hedge: "off" }
      }]
    ]
    for (const [what, other] of others) {
      it(`tells ${what}`, () => {
        assert.notStrictEqual(fingerprintOf(other), fingerprintOf(base))
      })
    }
  })

  describe("entries that say the same", () => {
    const entriesOf = (policies: Readonly<Record<string, unknown>>): ReadonlyArray<unknown> =>
      Object.values((runNow(DocumentGate.contentOf({ policies })).json as { readonly policies: object }).policies)

    it("become one object, whatever the order of their fields", () => {
      const [a, b, c] = entriesOf({
        a: { retry: "off", timeout: { overall: "1 second" } },
        b: { timeout: { overall: "1 second" }, retry: "off" },
        c: { timeout: { overall: "2 seconds" }, retry: "off" }
      })
      assert.strictEqual(a, b)
      assert.notStrictEqual(b, c)
    })

    it("are read with what each of them inherits and in the order in which they were written", () => {
      const verdict = DocumentGate.judge(
        gate,
        { inForce: undefined, delivered: undefined, revisions: new Map() },
        {
          schemaVersion: "1.0",
          revision: "1",
          policies: { "b.*": { timeout: { overall: "1 second" } }, "b.A": { retry: "off" }, "a.A": { retry: "off" } }
        },
        true
      )
      assert(verdict._tag === "Accepted")
      assert.deepStrictEqual(Object.keys(verdict.accepted.document.policies), ["b.*", "b.A", "a.A"])
      assert.strictEqual(verdict.accepted.document.policies["b.A"], verdict.accepted.document.policies["a.A"])
      assert.notDeepEqual(PolicySet.merged(verdict.accepted.set, "b.A"), PolicySet.merged(verdict.accepted.set, "a.A"))
    })

    // A source may answer what is no JSON, and text that looks the same is not the same value.
    const loop: Record<string, unknown> = {}
    loop["self"] = loop
    const twins: ReadonlyArray<readonly [string, unknown, unknown]> = [
      ["a date and no fields", {}, new Date(0)],
      ["a number and a big one", { a: 1 }, { a: 1n }],
      ["a big number twice", { a: 1n }, { a: 1n }],
      ["text and nothing", { a: "undefined" }, { a: undefined }],
      ["functions", { a: Math.max }, { a: Math.max }],
      ["two that hold themselves", loop, { self: loop }],
      ["a map and a set", { a: new Map() }, { a: new Set() }]
    ]
    for (const [what, a, b] of twins) {
      it(`stay two objects where they are no JSON: ${what}`, () => {
        const entries = entriesOf({ a, b })
        assert.strictEqual(entries[0], a)
        assert.strictEqual(entries[1], b)
      })
    }

    it("that are wrong are each told with their own path", () => {
      const wrong = { retry: { maxAttempts: "three" } }
      const read = PolicyDocument.read({
        schemaVersion: "1.0",
        revision: "1",
        policies: { "a.A": wrong, "a.B": wrong }
      })
      assert(read.document === undefined)
      assert.deepStrictEqual(read.issues.map(({ path }) => path[1]), ["a.A", "a.B"])
    })
  })
})
