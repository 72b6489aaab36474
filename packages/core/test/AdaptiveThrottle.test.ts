import { assert, describe, it } from "@effect/vitest"
import type { PolicyProvider } from "@rego/core"
import { Budget, Hedge, Outcome, PolicyLayer } from "@rego/core"
import { Clock, Context, Duration, Effect, Layer } from "effect"
import { TestClock } from "effect/testing"
import { AdaptiveThrottle } from "../src/AdaptiveThrottle.ts"
import { seed } from "./arbitraries.ts"
import { callOf, decide, denialOf, failed, take } from "./budgetSupport.ts"
import { budgetLaws } from "./laws.ts"
import { makeRandom } from "./random.ts"
import { call, fails, inVirtualTime, regoErrorOf, resilient, script, succeeds, under } from "./support.ts"

const liveClock = Context.get(Context.empty(), Clock.Clock)

const make = (numbers: Partial<ConstructorParameters<typeof AdaptiveThrottle>[0]> = {}) =>
  new AdaptiveThrottle({ k: 2, window: Duration.seconds(30), maxReject: 0.9, minRequests: 20, ...numbers })

const admitted = (budget: AdaptiveThrottle, now: number, random: () => number): boolean => {
  const decision = budget.admit(callOf(now, random))
  return decision._tag === "Granted"
}

/** The share that is refused, with the clock at 0: time that the budget has seen stays where it is. */
const rejectShare = (budget: AdaptiveThrottle): number => {
  const state = Effect.provideService(budget.state, Clock.Clock, {
    ...liveClock,
    monotonicTimeNanos: Effect.succeed(0n)
  })
  return 1 - Effect.runSync(state).balance
}

const attempt = (budget: AdaptiveThrottle, outcome: Outcome.Outcome, times: number, now = 0): void => {
  for (let i = 0; i < times; i++) {
    // a random number of 1 is never refused
    budget.admit(callOf(now, () => 1))
    budget.onOutcome(outcome, now)
  }
}

const policies = PolicyLayer.make({ policies: { "*": { budget: "throttle" } } }).pipe(
  Layer.provide(Budget.layer("throttle", Budget.adaptiveThrottle()))
)

describe("AdaptiveThrottle", () => {
  budgetLaws("adaptiveThrottle", Budget.adaptiveThrottle(), { gives: "never", costs: false })

  describe("the share that is refused", () => {
    it("is (requests - k × accepts) / (requests + 1)", () => {
      const budget = make({ maxReject: 0.99 })
      attempt(budget, Outcome.success, 25)
      attempt(budget, failed, 75)
      assert.closeTo(rejectShare(budget), (100 - 2 * 25) / 101, 1e-12)
      const strict = make({ k: 1.5, maxReject: 0.99 })
      attempt(strict, Outcome.success, 50)
      attempt(strict, failed, 50)
      assert.closeTo(rejectShare(strict), (100 - 1.5 * 50) / 101, 1e-12)
    })

    it("is nothing while the dependency answers at least one in k", () => {
      const budget = make()
      attempt(budget, Outcome.success, 50)
      attempt(budget, failed, 50)
      assert.strictEqual(rejectShare(budget), 0)
      attempt(budget, failed, 2)
      assert.isAbove(rejectShare(budget), 0)
    })

    it("is nothing before minRequests, and never above the ceiling", () => {
      const budget = make()
      attempt(budget, failed, 19)
      assert.strictEqual(rejectShare(budget), 0)
      attempt(budget, failed, 1)
      assert.strictEqual(rejectShare(budget), 0.9)
      attempt(budget, failed, 10_000)
      assert.strictEqual(rejectShare(budget), 0.9)
    })

    it("counts NonRetryable answers as accepts, and what was rejected on this side as none", () => {
      const budget = make()
      attempt(budget, Outcome.nonRetryable({ reason: "not_found" }), 100)
      assert.strictEqual(rejectShare(budget), 0)
      const local = make()
      attempt(local, Outcome.nonRetryable({ reason: "rejected_locally" }), 100)
      assert.strictEqual(rejectShare(local), 0.9)
    })

    it("counts what it refused as requests", () => {
      const budget = make()
      attempt(budget, Outcome.success, 10)
      attempt(budget, failed, 20)
      const before = rejectShare(budget)
      let refused = 0
      for (let i = 0; i < 10; i++) if (!admitted(budget, 0, () => 0)) refused++
      assert.strictEqual(refused, 10)
      assert.isAbove(rejectShare(budget), before)
    })

    it("forgets after the window", () => {
      const budget = make()
      attempt(budget, failed, 100)
      assert.isFalse(admitted(budget, 29_000, () => 0))
      assert.isTrue(admitted(budget, 60_000, () => 0))
    })

    it("is decided by the random number of the call: refused below the share, granted at it", () => {
      const budget = make({ maxReject: 0.5 })
      attempt(budget, failed, 100)
      assert.isFalse(admitted(budget, 0, () => 0.499))
      assert.isTrue(admitted(budget, 0, () => 0.5))
      assert.strictEqual(denialOf(decide(budget, { random: () => 0 })).reason, "throttled")
    })

    it("of a hedge is that of its own time, and its random number decides as well", () => {
      const budget = make()
      attempt(budget, failed, 100)
      const hedge = (now: number, number: number) => decide(budget, { kind: "hedge", now, random: () => number })._tag
      assert.deepStrictEqual([hedge(0, 0.89), hedge(0, 0.9)], ["Denied", "Granted"])
      assert.strictEqual(hedge(60_000, 0), "Granted")
    })

    it("knows answers of when they came", () => {
      const budget = make()
      attempt(budget, failed, 1)
      for (let i = 0; i < 30; i++) budget.onOutcome(Outcome.success, 29_000)
      attempt(budget, failed, 40, 29_000)
      assert.isTrue(admitted(budget, 40_000, () => 0))
    })

    it("is the same for first attempts, retries and hedges", () => {
      const budget = make()
      for (let i = 0; i < 10; i++) {
        budget.admit(callOf(0, () => 1))
        decide(budget, { random: () => 1 })
        decide(budget, { kind: "hedge", random: () => 1 })
      }
      assert.strictEqual(rejectShare(budget), 0.9)
    })
  })

  describe("Abort", () => {
    it("counts as neither: only the others make the share", () => {
      const budget = make({ maxReject: 0.99 })
      attempt(budget, Outcome.abort({ reason: "interrupted" }), 1_000)
      assert.strictEqual(rejectShare(budget), 0)
      attempt(budget, failed, 60)
      attempt(budget, Outcome.success, 10)
      assert.closeTo(rejectShare(budget), (70 - 20) / 71, 1e-12)
    })

    it("of an attempt that began long ago hides no request of now", () => {
      for (const took of [20_000, 40_000]) {
        const budget = make()
        for (let i = 0; i < 100; i++) budget.admit(callOf(0, () => 1))
        for (let i = 0; i < 100; i++) budget.onOutcome(Outcome.abort({ reason: "interrupted" }), took)
        attempt(budget, failed, 50, 41_000)
        assert.strictEqual(rejectShare(budget), 0.9, `attempts took ${took} ms`)
      }
    })
  })

  describe("through the driver", () => {
    it.effect("refuses a call before its first attempt: AdmissionDenied, and nothing runs", () =>
      Effect.gen(function*() {
        const s = script(fails("down"))
        const denied = script(succeeds("ada"))
        const program = Effect.gen(function*() {
          const refusals: Array<unknown> = []
          for (let i = 0; i < 200; i++) yield* Effect.ignore(resilient(s.effect, "svc.Method"))
          for (let i = 0; i < 50; i++) {
            const runs = denied.runs
            const exit = yield* Effect.exit(resilient(denied.effect, "svc.Method"))
            if (exit._tag === "Success") continue
            assert.strictEqual(denied.runs, runs)
            refusals.push(regoErrorOf(exit).reason)
          }
          return refusals
        })
        const exit = yield* inVirtualTime(program).pipe((self) => under(self, policies))
        const refusals = exit._tag === "Success" ? exit.value : assert.fail(String(exit))
        assert.isAbove(s.runs, 20)
        assert.isBelow(s.runs, 60)
        assert.isAbove(refusals.length, 30)
        const { _tag, budget, detail } = refusals[0] as { readonly _tag: string; budget: string; detail: string }
        assert.deepStrictEqual({ _tag, budget, detail }, {
          _tag: "AdmissionDenied",
          budget: "throttle",
          detail: "throttled"
        })
      }))

    it.effect("a refused call is in the timeline with its reason and without an attempt", () =>
      Effect.gen(function*() {
        const refusing = Budget.layer(
          "own",
          Effect.map(Budget.adaptiveThrottle(), (budget): Budget.Budget => ({
            ...budget,
            admit: () => ({ _tag: "Denied", reason: "throttled", retryAfter: Duration.seconds(3) })
          }))
        )
        const layer = PolicyLayer.make({ policies: { "svc.Method": { budget: "own" } } }).pipe(Layer.provide(refusing))
        const s = script(succeeds("ada"))
        const ran = yield* call(s.effect, { layer })
        assert.strictEqual(s.runs, 0)
        assert.deepStrictEqual(ran.rows, [[0, "stop admission_denied"], [0, "failure"]])
        const { reason } = regoErrorOf(ran.exit)
        assert.strictEqual(
          reason._tag === "AdmissionDenied" && reason.retryAfter._tag === "Some"
            ? Duration.toMillis(reason.retryAfter.value)
            : undefined,
          3_000
        )
      }))
  })

  describe("through the driver, with a healthy dependency", () => {
    const healthy = (
      during: (
        effect: ReturnType<typeof resilient<string, string, never>>
      ) => Effect.Effect<unknown, unknown, PolicyProvider.PolicyProvider>
    ) =>
      Effect.gen(function*() {
        const hedged = PolicyLayer.make({
          policies: {
            "svc.Method": {
              budget: "throttle",
              hedge: { trigger: Hedge.after(1), maxHedges: 3 },
              timeout: { overall: "1 minute" },
              idempotent: true
            }
          }
        }).pipe(Layer.provide(Budget.layer("throttle", Budget.adaptiveThrottle())))
        const answer = Effect.as(Effect.sleep(10), "ada")
        const calls = Effect.forEach(Array.from({ length: 300 }), () => during(resilient(answer, "svc.Method")))
        const exit = yield* inVirtualTime(calls).pipe((self) => under(self, hedged))
        return exit._tag === "Success" ? exit.value : assert.fail(String(exit))
      })

    it.effect("refuses no call because its hedges lost", () =>
      Effect.gen(function*() {
        const results = yield* healthy(Effect.exit)
        assert.lengthOf((results as ReadonlyArray<{ _tag: string }>).filter(({ _tag }) => _tag === "Failure"), 0)
      }))

    it.effect("refuses no call because the callers of others went away", () =>
      Effect.gen(function*() {
        let nth = 0
        const results = yield* healthy((self) => ++nth <= 250 ? Effect.timeoutOption(self, 5) : Effect.exit(self))
        const late = results.slice(250) as ReadonlyArray<{ _tag: string }>
        assert.lengthOf(late.filter(({ _tag }) => _tag === "Failure"), 0)
      }))
  })

  describe("after 5 minutes of total outage at 1,000 calls/s", () => {
    // asked directly: 360,000 calls through the driver would take minutes
    const perSecond = 1_000
    const run = (numbers: Partial<ConstructorParameters<typeof AdaptiveThrottle>[0]> = {}) => {
      const budget = make(numbers)
      const random = makeRandom(seed)
      const shares: Array<number> = []
      const second = (at: number, outcome: Outcome.Outcome) => {
        let granted = 0
        for (let i = 0; i < perSecond; i++) {
          const now = at + i * 1_000 / perSecond
          if (!admitted(budget, now, random)) continue
          granted++
          budget.onOutcome(outcome, now)
        }
        shares.push(granted / perSecond)
      }
      let at = 0
      for (; at < 60_000; at += 1_000) second(at, Outcome.success)
      for (; at < 360_000; at += 1_000) second(at, failed)
      for (; at < 480_000; at += 1_000) second(at, Outcome.success)
      return { healthy: shares.slice(0, 60), outage: shares.slice(60, 360), after: shares.slice(360) }
    }

    it("nothing is refused before, at least 9 % probe meanwhile, and 95 % are admitted within 60 s", () => {
      const { after, healthy, outage } = run()
      assert.deepStrictEqual(new Set(healthy), new Set([1]))
      const settled = outage.slice(60)
      const probes = settled.reduce((sum, share) => sum + share, 0) / settled.length
      assert.isAtLeast(probes, 0.09)
      assert.isAtMost(probes, 0.11)
      assert.isAtLeast(Math.min(...after.slice(59)), 0.95)
    })

    it("without the ceiling hardly anybody probes, and it is not over within two minutes", () => {
      const { after, outage } = run({ maxReject: 1 })
      assert.isBelow(outage.slice(60).reduce((sum, share) => sum + share, 0) / 240, 0.01)
      assert.isBelow(Math.max(...after.slice(0, 60)), 0.95)
    })
  })

  describe("state", () => {
    it.effect("is the share that is let through, and forgets with the clock", () =>
      Effect.gen(function*() {
        const budget = yield* Budget.adaptiveThrottle()
        for (let i = 0; i < 100; i++) decide(budget, { random: () => 1 })
        assert.closeTo((yield* budget.state).balance, 0.1, 1e-12)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(yield* budget.state, { balance: 1 })
      }))
  })

  describe("a retune", () => {
    const numbers = { k: 2, maxReject: 0.9, minRequests: 20 }

    it("keeps what was counted for as long as the new window says", () => {
      for (const [window, stillRefused, forgotten] of [[60, 75_000, 82_000], [10, 29_000, 32_000]] as const) {
        const budget = make()
        attempt(budget, failed, 100, 20_000)
        budget.retune({ ...numbers, window: Duration.seconds(window) }, 21_000)
        assert.isFalse(admitted(budget, stillRefused, () => 0), `${window} s`)
        assert.isTrue(admitted(budget, forgotten, () => 0), `${window} s`)
      }
    })

    it("forgets what was counted long before when it would have been forgotten in the new window", () => {
      const budget = make()
      attempt(budget, failed, 100, 3_000)
      budget.retune({ ...numbers, window: Duration.seconds(60) }, 25_000)
      assert.isFalse(admitted(budget, 58_000, () => 0))
      assert.isTrue(admitted(budget, 62_000, () => 0))
    })

    it("of a budget that nobody has asked yet is its first word", () => {
      const budget = make()
      budget.retune({ ...numbers, window: Duration.seconds(60) }, 0)
      attempt(budget, failed, 100)
      assert.isFalse(admitted(budget, 55_000, () => 0))
      assert.isTrue(admitted(budget, 62_000, () => 0))
    })

    it("loses no hedge that ends after it", () => {
      const budget = make()
      attempt(budget, failed, 19)
      const hedge = take(budget, { kind: "hedge", random: () => 1 })
      budget.retune({ ...numbers, window: Duration.seconds(60) }, 1_000)
      assert.strictEqual(rejectShare(budget), 0.9)
      hedge.settle("used")
      assert.strictEqual(rejectShare(budget), 0)
    })
  })

  it("counts a hedge that has ended off where it was counted", () => {
    const budget = make()
    attempt(budget, failed, 100)
    attempt(budget, failed, 19, 20_000)
    take(budget, { kind: "hedge", now: 20_000, random: () => 1 }).settle("used")
    assert.isTrue(admitted(budget, 31_000, () => 0))
  })

  it("refuses a k that would refuse healthy traffic, and a ceiling that would lock itself out", () => {
    for (const options of [{ k: 1.1 }, { k: 11 }, { maxReject: 1 }, { minRequests: 0 }, { window: 0 }]) {
      assert.throws(() => Budget.adaptiveThrottle(options), RangeError)
    }
  })
})
