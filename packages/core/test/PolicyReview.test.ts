import { assert, describe, it } from "@effect/vitest"
import { PolicyReview } from "@rego/core"
import { Clock, Effect, Fiber, Option } from "effect"
import { formatAll } from "../src/Issue.ts"
import { hurried } from "./support.ts"

type Json = Readonly<Record<string, unknown>>

const documentOf = (policies: Json, more: Json = {}): Json => ({
  schemaVersion: "1.0",
  revision: "7",
  policies,
  ...more
})

const accepted = (json: Json, options?: PolicyReview.Options) => {
  const review = PolicyReview.review(json, options)
  assert.deepStrictEqual(review.issues, [], formatAll(review.issues))
  return Option.getOrThrow(review.document)
}

const refusals = (json: unknown, before?: Json): ReadonlyArray<string> =>
  formatAll(PolicyReview.review(json, { before: before === undefined ? undefined : accepted(before) }).issues).split(
    "\n"
  )

const retrying = (maxAttempts: number, more: Json = {}) => ({ retry: { maxAttempts }, ...more })

describe("PolicyReview", () => {
  describe("review", () => {
    it("takes a document with names that only a process knows", () => {
      const names = { budget: "own", classifier: "stripe", hedge: { trigger: "mine", budget: "gate" } }
      assert.deepStrictEqual(accepted(documentOf({ "users.*": names })).revision, "7")
    })

    it("refuses one with every issue and its path", () => {
      const json = documentOf({ "users.*": { retry: { maxAtempts: 4 }, timeout: { overall: 0 } }, "us ers": {} })
      assert.deepStrictEqual(refusals(json), [
        `policies["users.*"].retry.maxAtempts: is not a field that is known here, got 4`,
        `policies["users.*"].timeout.overall: must be between 1ms and 1d, got 0`,
        `policies["us ers"]: must be a key, "prefix.*" or "*", got "us ers"`
      ])
    })

    it("lists what would be clamped, and takes the clamped values", () => {
      const review = PolicyReview.review(documentOf({ "users.*": retrying(40) }))
      assert.deepStrictEqual(review.clamped, [
        { path: ["policies", "users.*", "retry", "maxAttempts"], value: 40, limit: 10 }
      ])
      const entry = Option.getOrThrow(review.document).policies["users.*"]
      assert.deepStrictEqual(entry?.retry, { maxAttempts: 10 })
    })

    it("clamps the hedges of a merged policy with too many attempts", () => {
      const hedge = { trigger: { type: "after", delay: "50 millis" }, maxHedges: 3 }
      const review = PolicyReview.review(documentOf({ "*": retrying(5), "users.*": { hedge } }))
      assert.deepStrictEqual(review.clamped.map(({ path, limit }) => [path.join("."), limit]), [
        ["policies.users.*.hedge.maxHedges", 1]
      ])
    })

    it("lists fields of a newer version, which would be ignored", () => {
      const { document, ignored } = PolicyReview.review(documentOf({}, { schemaVersion: "1.9", mood: "good" }))
      assert.isTrue(Option.isSome(document))
      assert.deepStrictEqual(ignored.map(({ path }) => path), [["mood"]])
    })

    it("judges a rollout as if it had reached everybody, whoever it has reached", () => {
      const budgets = { own: { type: "tokenBucket", capacity: 2, refillPerSecond: 1 } }
      const change = { budget: { name: "own", retryCost: 5 } }
      for (const percent of [0, 50, 100]) {
        const json = documentOf({ "users.*": { ...retrying(2), rollout: { percent, change } } }, { budgets })
        const [issue] = refusals(json)
        assert.isTrue(Option.isNone(PolicyReview.review(json).document))
        assert.match(issue ?? "", /^policies\["users\.\*"\]\.budget\.retryCost: must be at most what the budget/)
      }
    })

    it("judges an entry also as those get it that a rollout has not reached", () => {
      const budgets = { own: { type: "tokenBucket", capacity: 2, refillPerSecond: 1 } }
      const entry = (percent: number) =>
        retrying(2, {
          budget: { name: "own", retryCost: 5 },
          rollout: { percent, change: { budget: { name: "own", retryCost: 1 } } }
        })
      for (const percent of [0, 50, 100]) {
        const review = PolicyReview.review(documentOf({ "users.*": entry(percent) }, { budgets }))
        assert.deepStrictEqual(review.issues.map(({ path }) => path.join(".")), ["policies.users.*.budget.retryCost"])
        // what is probably not meant is said of what could be in force
        assert.deepStrictEqual(review.warnings, [])
      }
    })

    it("takes the defaults for no policy of their own: they count where an entry inherits them", () => {
      const hedge = { trigger: { type: "after", delay: "50 millis" }, maxHedges: 3 }
      const budgets = { own: { type: "tokenBucket", capacity: 2, refillPerSecond: 1 } }
      const defaults = { hedge, retry: { maxAttempts: 10 }, budget: { name: "own", retryCost: 5 } }
      const alone = PolicyReview.review(documentOf({}, { defaults, budgets }))
      assert.deepStrictEqual([alone.issues, alone.clamped, alone.warnings], [[], [], []])
      const inherited = PolicyReview.review(documentOf({ "users.*": {} }, { defaults: { ...defaults, budget: "own" } }))
      assert.deepStrictEqual(inherited.clamped.map(({ path }) => path[1]), ["users.*"])
    })

    it("lists what would be clamped where a rollout has arrived, however few it has reached", () => {
      const hedge = { trigger: { type: "after", delay: "50 millis" }, maxHedges: 2 }
      const rollout = { percent: 0, change: { retry: { maxAttempts: 5 } } }
      const { clamped } = PolicyReview.review(documentOf({ "users.*": retrying(2, { hedge, rollout }) }))
      assert.deepStrictEqual(clamped, [{ path: ["policies", "users.*", "hedge", "maxHedges"], value: 2, limit: 1 }])
    })

    it("refuses a cost that its budget can never grant", () => {
      const budgets = { own: { type: "ratio", ratio: 0, reserve: { burst: 3 } } }
      const json = documentOf({ "users.*": { budget: { name: "own", hedgeCost: 4 } } }, { budgets })
      assert.match(refusals(json)[0] ?? "", /budget\.hedgeCost: must be at most/)
    })

    it("asks the guard where there is a document before", () => {
      const before = documentOf({ "users.*": { timeout: { overall: "2 seconds" } } })
      const after = documentOf({ "users.*": { timeout: { overall: "10 millis" } } }, { revision: "8" })
      assert.match(refusals(after, before)[0] ?? "", /^policies\["users\.\*"\]\.timeout\.overall: must not fall below/)
      const forced = documentOf({ "users.*": { timeout: { overall: "10 millis" }, force: true } }, { revision: "8" })
      accepted(forced, { before: accepted(before) })
      accepted(after)
    })

    it("warns for each entry as its keys get it", () => {
      const { warnings } = PolicyReview.review(documentOf({ "*": { retry: {} }, "users.Get": { classifier: "http" } }))
      const rules = (of: string) => warnings.filter(({ pattern }) => pattern === of).map(({ rule }) => rule)
      assert.deepStrictEqual(rules("*"), ["no_timeout", "idempotent_unstated", "default_classifier"])
      assert.deepStrictEqual(rules("users.Get"), ["no_timeout", "idempotent_unstated"])
    })

    it("warns of more hedges than the budget grants that the document defines", () => {
      const rulesWith = (ratio: number) =>
        PolicyReview.review(
          documentOf({ "users.Get": { hedge: { trigger: { type: "quantile", q: 0.9 } }, budget: "own" } }, {
            budgets: { own: { type: "ratio", ratio } }
          })
        ).warnings.map(({ rule }) => rule)
      assert.include(rulesWith(0.1), "trigger_load")
      assert.notInclude(rulesWith(0.5), "trigger_load")
    })

    it("takes what is no document for a refused one", () => {
      for (const json of [undefined, null, 7, "text", [], {}]) {
        const review = PolicyReview.review(json)
        assert.isTrue(Option.isNone(review.document))
        assert.isNotEmpty(review.issues)
        assert.deepStrictEqual([review.clamped, review.ignored, review.warnings], [[], [], []])
      }
    })
  })

  describe("reviewEffect", () => {
    it.effect("finds what review finds, and lets others go first again and again", () =>
      Effect.gen(function*() {
        const policies = (n: number) =>
          Object.fromEntries(Array.from({ length: 50 }, (_, i) => [`users.Get${i}`, { retry: { maxAttempts: n } }]))
        const before = accepted({ schemaVersion: "1.0", revision: "1", policies: policies(2) })
        for (const attempts of [3, 40, 0.5]) {
          const json = { schemaVersion: "1.0", revision: "2", policies: policies(attempts) }
          let turns = 0
          const others = yield* Effect.forkChild(
            Effect.forever(Effect.andThen(Effect.yieldNow, Effect.sync(() => turns++)))
          )
          const reviewed = yield* Effect.provideService(
            PolicyReview.reviewEffect(json, { before }),
            Clock.Clock,
            hurried
          )
          yield* Fiber.interrupt(others)
          assert.deepStrictEqual(reviewed, PolicyReview.review(json, { before }))
          assert.isAtLeast(turns, 100)
        }
      }))
  })

  it("prints an issue on one line, with its path", () => {
    const issue = { path: ["policies", "a.*", "retry"], message: "must be an object" }
    assert.strictEqual(PolicyReview.formatIssue(issue), `policies["a.*"].retry: must be an object`)
  })

  describe("diff", () => {
    const between = (before: Json, after: Json) => {
      const { keys, shared } = PolicyReview.diff(accepted(before), accepted(after))
      const lines = (differences: typeof shared) =>
        differences.map(({ after, before, path }) => `${path.join(".")}: ${before} → ${after}`)
      return { keys: keys.map(({ differences, pattern }) => [pattern, lines(differences)]), shared: lines(shared) }
    }
    const same = { keys: [], shared: [] }

    it("is empty between documents that give every key the same", () => {
      const a = documentOf({ "users.*": { timeout: { overall: "1 second" } } })
      const b = documentOf({ "users.*": { timeout: { overall: 1_000 } } }, { revision: "8" })
      assert.deepStrictEqual(between(a, b), same)
      const inherited = documentOf({ "users.*": {} }, { defaults: { timeout: { overall: "1 second" } } })
      assert.deepStrictEqual(between(a, inherited), same)
    })

    it("names the entries whose keys get something else, and every field", () => {
      const a = documentOf({ "*": retrying(2), "users.*": retrying(3), "users.Get": {} })
      const b = documentOf({ "*": retrying(2), "users.*": retrying(4, { idempotent: true }), "users.Get": {} })
      const changes = ["retry.maxAttempts: 3 → 4", "idempotent: undefined → true"]
      assert.deepStrictEqual(between(a, b), { keys: [["users.*", changes], ["users.Get", changes]], shared: [] })
    })

    it("shows a change of the defaults at every entry that inherits it", () => {
      const entries = { "users.*": {}, "orders.*": { timeout: { overall: "5 seconds" } } }
      const a = documentOf(entries, { defaults: { timeout: { overall: "1 second" } } })
      const b = documentOf(entries, { defaults: { timeout: { overall: "2 seconds" } } })
      assert.deepStrictEqual(between(a, b).keys, [["users.*", ["timeout.overall: 1s → 2s"]]])
    })

    it("shows what keys fall back to when their entry is removed, and when they are no longer known", () => {
      const a = documentOf({ "users.*": retrying(2), "users.Get": retrying(3) })
      assert.deepStrictEqual(between(a, documentOf({ "users.*": retrying(2) })).keys, [
        ["users.Get", ["retry.maxAttempts: 3 → 2"]]
      ])
      assert.deepStrictEqual(between(documentOf({ "users.Get": {} }), documentOf({})).keys, [
        ["users.Get", ["known: true → undefined"]]
      ])
    })

    it("shows budgets, kill switches and rollouts", () => {
      const a = documentOf({ "users.*": {} })
      const b = documentOf({ "users.*": { rollout: { percent: 10, change: retrying(2) } } }, {
        budgets: { own: { type: "ratio", ratio: 0.2 } },
        off: ["users.*"],
        hedgeOff: [{ key: "*", until: "2026-11-23T10:00:00Z" }]
      })
      assert.deepStrictEqual(between(b, a).keys, [
        ["users.*", ["rollout.percent: 10 → undefined", "rollout.change.retry.maxAttempts: 2 → undefined"]]
      ])
      const { keys, shared } = between(a, b)
      assert.deepStrictEqual(keys, [
        ["users.*", ["rollout.percent: undefined → 10", "rollout.change.retry.maxAttempts: undefined → 2"]]
      ])
      assert.deepStrictEqual(shared, [
        "budgets.own.type: undefined → ratio",
        "budgets.own.ratio: undefined → 0.2",
        "off.users.*: undefined → off",
        "hedgeOff.*: undefined → off until 2026-11-23T10:00:00.000Z"
      ])
    })

    it("writes backoffs and triggers as a document does", () => {
      const trigger = { type: "after", delay: "50 millis" }
      const backoff = { type: "constant", delay: "20 millis" }
      const a = documentOf({ "users.*": {} })
      const b = documentOf({ "users.*": { retry: { backoff }, hedge: { trigger } } })
      assert.deepStrictEqual(between(a, b).keys, [["users.*", [
        "retry.backoff.type: undefined → constant",
        "retry.backoff.delay: undefined → 20ms",
        "retry.backoff.jitter: undefined → full",
        "hedge.trigger.type: undefined → after",
        "hedge.trigger.delay: undefined → 50ms"
      ]]])
    })

    it("compares what keys get, after clamping", () => {
      assert.deepStrictEqual(between(documentOf({ "*": retrying(10) }), documentOf({ "*": retrying(40) })), same)
      const hedging = (maxHedges: number) => {
        const hedge = { trigger: { type: "after", delay: "50 millis" }, maxHedges }
        return documentOf({ "*": retrying(5), "users.*": { hedge } })
      }
      assert.deepStrictEqual(between(hedging(1), hedging(3)), same)
    })
  })
})
