import { assert, describe, it } from "@effect/vitest"
import { Backoff, Hedge, Policy } from "@rego/core"
import * as Plan from "../src/Plan.ts"

const warnings = (input: Policy.Input) =>
  Plan.warnings(Plan.fromSections(Policy.make(input).sections)).map(({ message }) => message)

describe("Plan", () => {
  describe("fromSections", () => {
    it("fills in the defaults of a section that is present [P04]", () => {
      const { backoff, maxAttempts, maxRetryAfter, nested, retries } = Plan.fromSections({ retry: {} })
      assert.deepStrictEqual({ backoff, maxAttempts, maxRetryAfter, nested, retries }, {
        backoff: Backoff.exponential({ initial: 10, max: 250 }),
        maxAttempts: 3,
        maxRetryAfter: 10_000,
        nested: "refuse",
        retries: true
      })
    })

    it("leaves off what is absent: one attempt, no limits, the default budget", () => {
      const { budget, maxAttempts, overall, perAttempt, retries, retryCost } = Plan.singleAttempt
      assert.deepStrictEqual({ budget, maxAttempts, overall, perAttempt, retries, retryCost }, {
        budget: "default",
        maxAttempts: 1,
        overall: Infinity,
        perAttempt: Infinity,
        retries: false,
        retryCost: 1
      })
    })

    it("takes off for absent", () => {
      assert.deepStrictEqual(Plan.fromSections({ retry: "off", timeout: "off" }), Plan.singleAttempt)
    })

    it("charges 1 for a budget that is only named [P19]", () => {
      for (const budget of ["budget", { name: "budget" }]) {
        const plan = Plan.fromSections({ budget })
        assert.deepStrictEqual({ budget: plan.budget, retryCost: plan.retryCost }, { budget: "budget", retryCost: 1 })
      }
    })

    it("hedges once beside each attempt, and carefully, unless more is said", () => {
      const trigger = Hedge.after(5)
      assert.deepStrictEqual(Plan.fromSections({ hedge: { trigger } }).hedge, {
        trigger,
        maxHedges: 1,
        maxFailing: 0.05,
        precise: false,
        budget: undefined
      })
      assert.isUndefined(Plan.fromSections({ hedge: "off" }).hedge)
    })

    it("keeps idempotent in its three states", () => {
      assert.isUndefined(Plan.fromSections({}).idempotent)
      assert.isTrue(Plan.fromSections({ idempotent: true }).idempotent)
      assert.isFalse(Plan.fromSections({ idempotent: false }).idempotent)
    })
  })

  describe("problems", () => {
    const planOf = (maxAttempts: number, maxHedges: number) =>
      Plan.fromSections({ retry: { maxAttempts }, hedge: { trigger: Hedge.after(5), maxHedges } })

    it("allows a call twelve runs of its effect, and not one more", () => {
      assert.deepStrictEqual(Plan.problems(planOf(4, 2)), [])
      assert.deepStrictEqual(Plan.problems(Plan.fromSections({ retry: { maxAttempts: 10 } })), [])
      assert.deepStrictEqual(Plan.problems(planOf(4, 3)), [{
        path: ["hedge", "maxHedges"],
        message: "attempts × (1 + hedges) must be at most 12, got 4 × (1 + 3) = 16"
      }])
    })

    it("`maxHedgesFor` is the number of hedges that is still allowed", () => {
      for (const [attempts, hedges] of [[1, 11], [3, 3], [4, 2], [5, 1], [10, 0]] as const) {
        assert.strictEqual(Plan.maxHedgesFor(attempts), hedges)
        assert.deepStrictEqual(Plan.problems(planOf(attempts, hedges)), [])
      }
    })
  })

  describe("warnings", () => {
    it("has none about a policy with retries and a timeout, or without retries", () => {
      const quiet: ReadonlyArray<Policy.Input> = [
        {},
        { retry: "off" },
        { retry: {}, timeout: { perAttempt: 1 } },
        { retry: {}, timeout: { overall: 1 } },
        { retry: {}, timeout: { perAttempt: 4, overall: 5 } },
        { budget: "unlimited" },
        // who calls may state whether it may run twice, so that nothing is known about hedges at boot
        { hedge: { trigger: Hedge.after(5) }, timeout: { overall: 5 } }
      ]
      for (const input of quiet) assert.deepStrictEqual(warnings(input), [], JSON.stringify(input))
    })

    it("warns of retries without any timeout", () => {
      const expected = ["retries or hedges are on and there is no timeout: an attempt that hangs is never given up"]
      assert.deepStrictEqual(warnings({ retry: {} }), expected)
      assert.deepStrictEqual(warnings({ retry: {}, timeout: "off" }), expected)
      assert.deepStrictEqual(warnings({ hedge: { trigger: Hedge.after(5) } }), expected)
    })

    it("warns of a per-attempt timeout that can never apply", () => {
      for (const perAttempt of [5, 6]) {
        assert.deepStrictEqual(warnings({ timeout: { perAttempt, overall: 5 } }), [
          "timeout.perAttempt is not shorter than timeout.overall, so it never applies"
        ])
      }
    })

    it("warns of retries that nothing holds back", () => {
      assert.deepStrictEqual(warnings({ retry: {}, timeout: { overall: 5 }, budget: "unlimited" }), [
        "the budget is \"unlimited\": nothing holds back a storm of retries"
      ])
    })
  })
})
