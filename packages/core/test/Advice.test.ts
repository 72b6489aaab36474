import { assert, describe, it } from "@effect/vitest"
import { Backoff, Classifier, Hedge, Outcome, Policy } from "@rego/core"
import { Duration } from "effect"
import * as Advice from "../src/Advice.ts"
import type { BudgetData } from "../src/BudgetData.ts"
import * as Plan from "../src/Plan.ts"

describe("Advice", () => {
  describe("budgetFacts", () => {
    const facts = (data: BudgetData) => Advice.budgetFacts({ p: data }, "p")

    it("say when a ratio denies, and what it lets through in an outage", () => {
      const { denies, outage } = Advice.budgetFacts({}, "default")
      assert.strictEqual(
        denies,
        "when the extra attempts of the last 10s would be more than 10 % of the calls that were answered in it, " +
          "and the reserve is empty (5 at first, 10 at most, 0.1 more per second); hedges leave 20 % of both to retries"
      )
      assert.deepStrictEqual(outage, { atFirst: 5, atOnce: 10, perSecond: 0.1 })
    })

    it("know nothing of an outage where calls deposit, which go on in it", () => {
      const { denies, outage } = facts({ type: "ratio", of: "calls", window: Duration.minutes(1) })
      assert.include(denies, "of the last 1m would be more than 10 % of the calls in it")
      assert.isUndefined(outage)
    })

    it("are a sentence for each other type", () => {
      assert.deepStrictEqual(facts({ type: "tokenBucket", capacity: 7, refillPerSecond: 2 }), {
        denies: "when its bucket is empty: 7 tokens at most, 2 more per second",
        outage: { atFirst: 7, atOnce: 7, perSecond: 2 }
      })
      assert.deepStrictEqual(facts({ type: "successTokens", maxTokens: 10, tokenRatio: 0.1 }), {
        denies: "while half of its 10 tokens or more are gone: a failure takes one, a success gives 0.1 back",
        outage: undefined
      })
      assert.deepStrictEqual(facts({ type: "concurrency", max: 4 }), {
        denies: "while 4 extra attempts run",
        outage: undefined
      })
      assert.strictEqual(
        facts({ type: "concurrency", ratio: 0.25 }).denies,
        "while the extra attempts that run are 25 % of the calls that run, 3 at least"
      )
      assert.deepStrictEqual(facts({ type: "adaptiveThrottle" }), {
        denies: "at random, first attempts included, once the dependency answers less than one of 2 attempts",
        outage: undefined
      })
    })

    it("are known of the budgets that are always there, and of no budget that others provide", () => {
      const nothing = { atFirst: 0, atOnce: 0, perSecond: 0 }
      assert.deepStrictEqual(Advice.budgetFacts({}, "unlimited"), { denies: "never", outage: undefined })
      assert.deepStrictEqual(Advice.budgetFacts({}, "none"), { denies: "always", outage: nothing })
      assert.match(Advice.budgetFacts({}, "own").denies, /the document does not define it$/)
      assert.match(Advice.budgetFacts({}, "toString").denies, /the document does not define it$/)
    })
  })

  describe("warnings", () => {
    const classifier = Classifier.make(() => Outcome.success)
    const quiet = { retry: { maxAttempts: 3 }, idempotent: true, classifier } as const
    const timeout = { overall: "1 minute" } as const
    const hedge = (trigger: Hedge.Trigger) => ({ hedge: { trigger } })
    const warnings = (policy: Policy.Input) =>
      Advice.warnings({}, Plan.fromSections(Policy.make({ timeout, ...policy }).sections))
    const said = (policy: Policy.Input) => warnings(policy).map(({ message, rule }) => `${rule}: ${message}`)

    it("are none for what is meant", () => {
      assert.deepStrictEqual(said(quiet), [])
      assert.deepStrictEqual(said({ retry: "off" }), [])
      assert.deepStrictEqual(said({ ...quiet, ...hedge(Hedge.after(50)) }), [])
      // three attempts of 100 ms and two waits of 1 ms at least
      const exact = { perAttempt: 100, overall: 303 }
      const backoff = Backoff.constant(1, { jitter: "full" })
      assert.deepStrictEqual(said({ ...quiet, retry: { maxAttempts: 3, backoff }, timeout: exact }), [])
    })

    it("tell of attempts that do not fit into the deadline", () => {
      const short = { perAttempt: 100, overall: 200 }
      assert.deepStrictEqual(said({ ...quiet, timeout: short }), [
        "attempts_do_not_fit: only 2 of 3 attempts fit into timeout.overall when each takes its whole timeout.perAttempt"
      ])
    })

    it("tell of hedges that nothing bounds, and of those that their budget refuses on an ordinary day", () => {
      assert.deepStrictEqual(said({ ...quiet, ...hedge(Hedge.after(50)), budget: "unlimited" }).slice(1), [
        "hedging_without_budget: hedges without a budget: when the dependency gets slow, its load doubles"
      ])
      assert.deepStrictEqual(said({ ...quiet, ...hedge(Hedge.quantile(0.9)) }), [
        "trigger_load: the trigger hedges about 10 % of the calls, more than 0.6 × the ratio of the budget (10 %): " +
        "hedges will be refused on an ordinary day"
      ])
      for (const trigger of [Hedge.quantile(0.94), Hedge.maxExtraLoad(0.06)]) {
        assert.deepStrictEqual(said({ ...quiet, ...hedge(trigger) }), [])
      }
      assert.lengthOf(said({ ...quiet, ...hedge(Hedge.maxExtraLoad(0.07)) }), 1)
    })

    it("tell of what nobody has stated", () => {
      const stated = { retry: { maxAttempts: 3 }, classifier } as const
      assert.deepStrictEqual(said(stated), [
        "idempotent_unstated: nothing states whether the operation may run twice: attempts that time out are not retried"
      ])
      assert.deepStrictEqual(said({ ...stated, ...hedge(Hedge.after(50)) }), [
        "idempotent_unstated: hedges only for calls that state idempotent: true by themselves, as requests of HTTP " +
        "clients do"
      ])
      const unnamed =
        "default_classifier: no classifier is named: where the call site brings none, every typed failure " +
        "is retried, HTTP 400 and 404 too"
      assert.deepStrictEqual(said({ retry: { maxAttempts: 3 }, idempotent: true }), [unnamed])
      assert.deepStrictEqual(said({ retry: "off", ...hedge(Hedge.after(50)), idempotent: true }), [unnamed])
    })

    it("tell of a backoff without jitter, where there is one", () => {
      const backoff = Backoff.constant(10, { jitter: "none" })
      assert.deepStrictEqual(said({ ...quiet, retry: { maxAttempts: 2, backoff } }), [
        "no_jitter: the backoff has no jitter: callers that failed together come back together"
      ])
      assert.deepStrictEqual(said({ ...quiet, retry: { maxAttempts: 1, backoff } }), [])
    })
  })
})
