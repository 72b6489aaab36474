import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import * as Plan from "../src/Plan.ts"
import * as PolicySet from "../src/PolicySet.ts"
import { map, pick, property, record } from "./arbitraries.ts"

const attempts = (maxAttempts: number): Policy.Sections => ({ retry: { maxAttempts } })

const resolved = (set: PolicySet.PolicySet, key: string): number | undefined => {
  const sections = PolicySet.resolve(set, key)
  return sections === undefined ? undefined : Plan.fromSections(sections).maxAttempts
}

describe("PolicySet", () => {
  describe("entries", () => {
    const entries = { "*": attempts(2), "a.*": attempts(3), "a.Get": attempts(4) }

    it("are told by their patterns, as they were written", () => {
      const set = PolicySet.make(entries)
      assert.deepStrictEqual(PolicySet.patterns(set), ["*", "a.*", "a.Get"])
      assert.deepStrictEqual(PolicySet.written(set), Object.entries(entries))
      assert.deepStrictEqual(PolicySet.patterns(PolicySet.make({})), [])
      assert.deepStrictEqual(PolicySet.written(PolicySet.make({})), [])
    })

    it("that match a key are told from general to specific", () => {
      const set = PolicySet.make(entries)
      assert.deepStrictEqual(PolicySet.matching(set, "a.Get"), Object.entries(entries))
      assert.deepStrictEqual(PolicySet.matching(set, "b"), [["*", attempts(2)]])
      assert.deepStrictEqual(PolicySet.matching(PolicySet.make({}), "b"), [])
    })

    it("are as the keys that match them see them", () => {
      const set = PolicySet.make(entries)
      const merged = Object.keys(entries).map((pattern) => PolicySet.merged(set, pattern).retry)
      assert.deepStrictEqual(merged, [{ maxAttempts: 2 }, { maxAttempts: 3 }, { maxAttempts: 4 }])
      // the star stands for keys without a dot as well
      assert.deepStrictEqual(PolicySet.merged(PolicySet.make({ "*": attempts(2) }), "*").retry, { maxAttempts: 2 })
    })

    it("of one key can be put in its place, or taken away, in another set", () => {
      const set = PolicySet.make(entries)
      assert.strictEqual(resolved(PolicySet.withExact(set, "a.Get", attempts(9)), "a.Get"), 9)
      assert.strictEqual(resolved(PolicySet.withExact(set, "b.Get", attempts(9)), "b.Get"), 9)
      assert.strictEqual(resolved(PolicySet.withExact(set, "a.Get", undefined), "a.Get"), 3)
      assert.deepStrictEqual(PolicySet.patterns(PolicySet.withExact(set, "a.Get", undefined)), ["*", "a.*"])
      assert.strictEqual(resolved(set, "a.Get"), 4)
    })
  })

  describe("resolve", () => {
    const set = PolicySet.make({
      "*": attempts(2),
      "user-service.*": attempts(3),
      "user-service.admin.*": attempts(4),
      "user-service.Get": attempts(5)
    })

    it("prefers the exact key, then the longest prefix, then the star", () => {
      assert.strictEqual(resolved(set, "user-service.Get"), 5)
      assert.strictEqual(resolved(set, "user-service.admin.Delete"), 4)
      assert.strictEqual(resolved(set, "user-service.List"), 3)
      assert.strictEqual(resolved(set, "orders.Get"), 2)
      for (const key of [".", ".a", ".a.b", ".user-service.List"]) assert.strictEqual(resolved(set, key), 2)
    })

    it("takes a prefix for whole segments only", () => {
      const only = PolicySet.make({ "user.*": attempts(3) })
      assert.strictEqual(resolved(only, "user.Get"), 3)
      assert.strictEqual(resolved(only, "user.a.b.c"), 3)
      for (const key of ["user", "user-service.Get", "users.Get", "a.user.Get"]) {
        assert.isUndefined(resolved(only, key), key)
      }
    })

    it("lays the entries over each other: fields of an exact entry over those of its prefix over those of the star", () => {
      const layered = PolicySet.make({
        "*": { retry: { maxAttempts: 2, nested: "allow" }, idempotent: true },
        "a.*": { retry: { maxAttempts: 3 }, budget: "b" },
        "a.Get": { classifier: "c" }
      })
      const { budget, classifier, idempotent, maxAttempts, nested } = Plan.fromSections(
        PolicySet.resolve(layered, "a.Get")!
      )
      assert.deepStrictEqual({ budget, classifier, idempotent, maxAttempts, nested }, {
        budget: "b",
        classifier: "c",
        idempotent: true,
        maxAttempts: 3,
        nested: "allow"
      })
    })

    it("takes the longest prefix only: shorter ones do not shine through", () => {
      const two = PolicySet.make({ "a.*": { idempotent: true }, "a.b.*": attempts(4) })
      assert.isUndefined(PolicySet.resolve(two, "a.b.Get")?.idempotent)
    })

    it("switches off with an exact entry what a wildcard gives", () => {
      const off = PolicySet.make({ "a.*": attempts(4), "a.Charge": { retry: "off" } })
      assert.strictEqual(resolved(off, "a.Charge"), 1)
      assert.strictEqual(resolved(off, "a.Get"), 4)
    })

    it("lays defaults under what matched, and does not let them make a key known", () => {
      const defaulted = PolicySet.make({ "a.*": { idempotent: true } }, attempts(7))
      assert.strictEqual(resolved(defaulted, "a.Get"), 7)
      assert.isUndefined(resolved(defaulted, "b.Get"))
      assert.isUndefined(resolved(PolicySet.make({}, attempts(7)), "a"))
    })

    it("knows only what was given, not what every object inherits", () => {
      for (const key of ["constructor", "toString", "__proto__"]) assert.isUndefined(resolved(PolicySet.make({}), key))
    })

    const names = pick(["a", "a.b", "a.b.c", "ab", "a.*", "a.b.*", "ab.*", "*", "b.*"])
    const sets = map(record(names, map(pick([2, 3, 4, 5, 6]), attempts), 6), (entries) => entries)
    property("does not depend on the order of the entries", {
      entries: sets,
      key: pick(["a", "a.b", "a.b.c", "a.b.x", "ab", "ab.c", "z"])
    }, (
      { entries, key }
    ) => {
      const reversed = Object.fromEntries(Object.entries(entries).toReversed())
      assert.strictEqual(resolved(PolicySet.make(entries), key), resolved(PolicySet.make(reversed), key))
    }, 500)
  })

  describe("merged", () => {
    it("lists every entry as it ends up, defaults included", () => {
      const set = PolicySet.make({ "*": { idempotent: true }, "a.*": attempts(4), "a.Get": { budget: "b" } }, {
        budget: "d"
      })
      const listed = PolicySet.patterns(set).map((pattern) => {
        const sections = PolicySet.merged(set, pattern)
        const { budget, idempotent, maxAttempts } = Plan.fromSections(sections)
        return [pattern, maxAttempts, idempotent, budget]
      })
      assert.deepStrictEqual(listed, [["*", 1, true, "d"], ["a.*", 4, true, "d"], ["a.Get", 4, true, "b"]])
    })
  })

  describe("checkPattern", () => {
    const refused = (pattern: string) => {
      const issues: Array<{ path: ReadonlyArray<PropertyKey>; message: string }> = []
      PolicySet.checkPattern(pattern, ["policies", pattern], issues)
      return issues
    }

    it("accepts keys, prefixes and the star; a key that is named exactly may look like an id", () => {
      const patterns = [
        "*",
        "a",
        "a.B",
        "a.*",
        "a.b.*",
        "a/b:c-d_e",
        "users.1048576",
        "x".repeat(128),
        `${"x".repeat(126)}.*`
      ]
      for (const pattern of patterns) assert.deepStrictEqual(refused(pattern), [], pattern)
    })

    it("refuses everything else, with its path and the value", () => {
      for (
        const pattern of ["", "a b", "*.a", "a*", "a.**", "a.*.b", "**", ".*", "x".repeat(129), `${"x".repeat(127)}.*`]
      ) {
        assert.deepStrictEqual(refused(pattern), [{
          path: ["policies", pattern],
          message: `must be a key, "prefix.*" or "*", got ${JSON.stringify(pattern)}`
        }])
      }
    })
  })

  describe("covers", () => {
    it("covers exact keys, prefixes and everything", () => {
      const rows = [
        ["a.Get", "a.Get", true],
        ["a.Get", "a.GetAll", false],
        ["a.*", "a.Get", true],
        ["a.*", "a", false],
        ["a.*", "ab.Get", false],
        ["*", "a.Get", true],
        ["b.*", "a.Get", false]
      ] as const
      for (const [pattern, key, expected] of rows) {
        assert.strictEqual(PolicySet.covers(pattern, key), expected, `${pattern} ${key}`)
      }
    })
  })
})
