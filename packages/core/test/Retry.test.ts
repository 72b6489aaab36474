import { assert, describe, it } from "@effect/vitest"
import { Backoff, Outcome } from "@rego/core"
import { Duration, Schedule } from "effect"
import * as Plan from "../src/Plan.ts"
import * as Retry from "../src/Retry.ts"
import { array, boolean, decimal, integer, map, partial, pick, property } from "./arbitraries.ts"

const retryable = (options: Partial<Parameters<typeof Outcome.retryable>[0]> = {}): Outcome.Retryable => {
  const outcome = Outcome.retryable({ reason: "busy", ...options })
  return outcome._tag === "Retryable" ? outcome : assert.fail("not Retryable")
}

const retries = (maxAttempts = 3): Plan.Plan => Plan.fromSections({ retry: { maxAttempts } })

const never = () => assert.fail("no randomness was needed")

describe("Retry", () => {
  describe("idempotencyAllows", () => {
    /** | executed | may still run | true | unstated | false | */
    const table = [
      ["no", false, true, true, true],
      ["maybe", false, true, true, false],
      ["no", true, true, false, false],
      ["maybe", true, true, false, false]
    ] as const
    for (const [executed, mayStillRun, ...cells] of table) {
      for (const [column, idempotent] of ([true, undefined, false] as const).entries()) {
        const allowed = cells[column]!
        const state = mayStillRun ? "may still run" : "has ended"
        it(`idempotent ${idempotent ?? "unstated"}, executed ${executed}, ${state}: ${allowed ? "retried" : "not"}`, () => {
          assert.strictEqual(Retry.idempotencyAllows(idempotent, executed, mayStillRun), allowed)
        })
      }
    }
  })

  describe("refusal", () => {
    /** Everything says no; each line takes away the first of the reasons that are left. */
    const hopeless: Retry.Situation = {
      plan: Plan.singleAttempt,
      retry: 2,
      outcome: retryable(),
      mayStillRun: true,
      replayable: false,
      idempotent: undefined,
      switchedOff: true
    }

    it("names the first reason in the order of the design: retries at all, attempts left, replay, idempotency, kill switch", () => {
      assert.strictEqual(Retry.refusal(hopeless), "no_retries")
      assert.strictEqual(Retry.refusal({ ...hopeless, plan: retries(3) }), "attempts_exhausted")
      assert.strictEqual(Retry.refusal({ ...hopeless, plan: retries(4) }), "not_replayable")
      const again = { ...hopeless, plan: retries(4), replayable: true }
      assert.strictEqual(Retry.refusal(again), "not_idempotent")
      assert.strictEqual(Retry.refusal({ ...again, idempotent: true }), "switched_off")
      assert.isUndefined(Retry.refusal({ ...again, idempotent: true, switchedOff: false }))
    })

    property("allows exactly maxAttempts attempts", { maxAttempts: integer(1, 10) }, ({ maxAttempts }) => {
      let attempts = 1
      const more = (retry: number) =>
        Retry.refusal({
          ...hopeless,
          plan: retries(maxAttempts),
          retry,
          mayStillRun: false,
          replayable: true,
          switchedOff: false
        }) === undefined
      while (more(attempts - 1)) attempts++
      assert.strictEqual(attempts, maxAttempts)
    })
  })

  describe("combine", () => {
    const outcomes = array(
      map(
        partial({
          retryAfter: integer(0, 5),
          executed: pick(["no", "maybe"] as const),
          throttled: boolean,
          exact: boolean
        }),
        retryable
      ),
      { minLength: 1, maxLength: 4 }
    )

    const permutations = <A>(all: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
      all.length < 2 ? [all] : all.flatMap((one, i) => permutations(all.toSpliced(i, 1)).map((rest) => [one, ...rest]))

    const rules = (outcome: Outcome.Retryable) => ({
      retryAfter: Outcome.retryAfterMillis(outcome),
      executed: outcome.executed,
      throttled: outcome.throttled === true
    })

    property(
      "gives the same wait and the same caution in whichever order the attempts stand",
      { outcomes },
      ({ outcomes }) => {
        const expected = rules(Retry.combine(outcomes))
        for (const order of permutations(outcomes)) assert.deepStrictEqual(rules(Retry.combine(order)), expected)
      },
      500
    )

    it("takes the reason of the lowest hedge index, the longest retryAfter, and maybe if any may have executed", () => {
      const combined = Retry.combine([
        retryable({ reason: "primary", executed: "no", attributes: { n: 0 } }),
        retryable({ reason: "first hedge", executed: "maybe", retryAfter: 500 }),
        retryable({ reason: "second hedge", executed: "no", retryAfter: 2_000, exact: true, throttled: true })
      ])
      assert.deepStrictEqual(combined, {
        _tag: "Retryable",
        reason: "primary",
        attributes: { n: 0 },
        retryAfter: Duration.seconds(2),
        exact: true,
        throttled: true,
        executed: "maybe"
      })
    })

    it("claims that nothing was executed only if every attempt says so", () => {
      const no = retryable({ executed: "no" })
      assert.strictEqual(Retry.combine([no, no]).executed, "no")
      assert.strictEqual(Retry.combine([no, retryable(), no]).executed, "maybe")
      const unsaid = { _tag: "Retryable", reason: "of JavaScript" } as Outcome.Retryable
      assert.strictEqual(Retry.combine([unsaid, unsaid]).executed, "maybe")
    })

    it("of equal hints the one of the lowest hedge index counts, exact or not", () => {
      const hints = [retryable({ retryAfter: 5, exact: true }), retryable({ retryAfter: 5, exact: false })]
      assert.isTrue(Retry.combine(hints).exact)
      assert.isFalse(Retry.combine(hints.toReversed()).exact)
    })

    it("takes a hint of zero for a hint", () => {
      assert.strictEqual(Outcome.retryAfterMillis(Retry.combine([retryable(), retryable({ retryAfter: 0 })])), 0)
    })

    it("leaves a single outcome as it is", () => {
      const one = retryable({ retryAfter: 5, exact: true })
      assert.strictEqual(Retry.combine([one]), one)
    })
  })

  describe("retryAfterMillis", () => {
    it("reads the hint, whoever made the outcome", () => {
      const of = (retryAfter: Duration.Duration | undefined) => Outcome.retryAfterMillis({ ...retryable(), retryAfter })
      assert.isUndefined(of(undefined))
      assert.strictEqual(of(Duration.millis(250)), 250)
      assert.strictEqual(of(Duration.millis(-250)), 0)
      assert.strictEqual(of(Duration.infinity), Infinity)
    })
  })

  describe("floorOf", () => {
    it("is a second where a server that throttles names no time, and nothing otherwise", () => {
      assert.strictEqual(Retry.floorOf(retryable({ throttled: true })), 1_000)
      assert.strictEqual(Retry.floorOf(retryable({ throttled: true, retryAfter: 5 })), 0)
      assert.strictEqual(Retry.floorOf(retryable()), 0)
    })

    it("takes a hint that cannot be read for none", () => {
      assert.strictEqual(Retry.floorOf(retryable({ throttled: true, retryAfter: NaN })), 1_000)
    })
  })

  describe("clampScheduleDelay", () => {
    it("keeps a delay of a schedule between 0 and 30 s [E62]", () => {
      assert.deepStrictEqual(
        [-1, -Infinity, 0, 250, 30_000, 30_001, 2 ** 31, Infinity].map(Retry.clampScheduleDelay),
        [0, 0, 0, 250, 30_000, 30_000, 30_000, 30_000]
      )
    })

    it("takes NaN for 30 s: it must not become a hot loop", () => {
      assert.strictEqual(Retry.clampScheduleDelay(NaN), 30_000)
    })
  })

  describe("wait", () => {
    const wait = (options: Partial<Retry.Wait>): ReturnType<typeof Retry.wait> =>
      Retry.wait({ plan: retries(), outcome: retryable(), delay: 100, left: Infinity, random: never, ...options })

    describe("without a hint of the server", () => {
      it("is what the backoff says", () => {
        assert.strictEqual(wait({}), 100)
        assert.strictEqual(wait({ delay: 0 }), 0)
      })

      it("stops now when it would not end before the deadline", () => {
        assert.strictEqual(wait({ left: 101 }), 100)
        assert.strictEqual(wait({ left: 100 }), "deadline_would_pass")
        assert.strictEqual(wait({ left: 99 }), "deadline_would_pass")
        assert.strictEqual(wait({ delay: 0, left: 0 }), "deadline_would_pass")
        assert.strictEqual(wait({ delay: 0, left: -5 }), "deadline_would_pass")
      })
    })

    describe("with a hint of the server", () => {
      const hinted = (retryAfter: Duration.Input, options: Partial<Retry.Wait> = {}) =>
        wait({ outcome: retryable({ retryAfter }), random: () => 0, ...options })

      it("adds up to the backoff's wait, or a quarter of the hint where that is more", () => {
        assert.strictEqual(hinted(1_000), 1_000)
        assert.strictEqual(hinted(1_000, { random: () => 0.5 }), 1_125)
        assert.strictEqual(hinted(1_000, { delay: 600, random: () => 0.5 }), 1_300)
        assert.strictEqual(hinted(0, { delay: 100, random: () => 0.5 }), 50)
      })

      it("adds nothing when the server asked for an exact time", () => {
        assert.strictEqual(wait({ outcome: retryable({ retryAfter: 1_000, exact: true }) }), 1_000)
      })

      it("adds nothing when the author asked for exact waits", () => {
        const exact = [
          Backoff.none,
          Backoff.constant(5, { jitter: "none" }),
          Backoff.exponential({ initial: 1, max: 9, jitter: "none" })
        ]
        for (const backoff of exact) {
          assert.strictEqual(hinted(1_000, { plan: { ...retries(), backoff }, random: never }), 1_000)
        }
      })

      it("spreads callers under a Schedule as well", () => {
        const plan = { ...retries(), backoff: Schedule.spaced("1 second") }
        assert.strictEqual(hinted(1_000, { plan, delay: 1_000, random: () => 0.5 }), 1_500)
      })

      it("stops at once when the server asks for more than maxRetryAfter, which is 10 s by default", () => {
        assert.strictEqual(hinted(10_000), 10_000)
        assert.strictEqual(hinted(10_001), "retry_after_too_long")
        assert.strictEqual(hinted(Infinity), "retry_after_too_long")
        const patient = Plan.fromSections({ retry: { maxRetryAfter: Duration.minutes(5) } })
        assert.strictEqual(hinted("5 minutes", { plan: patient }), 300_000)
        const impatient = Plan.fromSections({ retry: { maxRetryAfter: Duration.zero } })
        assert.strictEqual(hinted(1, { plan: impatient }), "retry_after_too_long")
        assert.strictEqual(hinted(0, { plan: impatient }), 0)
      })

      it("stops at once when the hint does not fit before the deadline: it is never shortened", () => {
        assert.strictEqual(hinted(1_000, { left: 1_001 }), 1_000)
        assert.strictEqual(hinted(1_000, { left: 1_000 }), "deadline_would_pass")
      })

      it("cuts what it adds, not the hint, to fit before the deadline", () => {
        assert.strictEqual(hinted(1_000, { left: 1_101, delay: 5_000, random: () => 0.999 }), 1_100)
        assert.strictEqual(hinted(1_000, { left: 1_000.5, delay: 5_000, random: () => 0.999 }), 1_000)
      })

      it("waits for the hint where it is shorter than the backoff's wait", () => {
        assert.strictEqual(hinted(10, { delay: 500 }), 10)
      })

      property(
        "never starts earlier than asked, never at or past the deadline, never later than asked plus the spread",
        {
          retryAfter: integer(0, 12_000),
          delay: decimal(0, 30_000),
          left: map(integer(-10, 20_000), (n) => n === 20_000 ? Infinity : n),
          random: map(integer(0, 999), (n) => n / 1_000),
          exact: boolean
        },
        ({ delay, exact, left, random, retryAfter }) => {
          const outcome = retryable({ retryAfter, exact })
          const answer = wait({ outcome, delay, left, random: () => random })
          if (typeof answer === "string") {
            assert.strictEqual(answer, retryAfter > 10_000 ? "retry_after_too_long" : "deadline_would_pass")
            assert.isTrue(retryAfter > 10_000 || retryAfter >= left)
            return
          }
          assert.isAtLeast(answer, retryAfter)
          assert.isBelow(answer, left)
          assert.isAtMost(answer, retryAfter + (exact ? 0 : Math.max(delay, retryAfter / 4)))
        },
        1_000
      )
    })

    property(
      "without a hint is within the range of the backoff's jitter and its cap, for every retry",
      {
        initial: integer(1, 1_000),
        more: integer(0, 29_000),
        retry: integer(0, 9),
        random: map(integer(0, 999), (n) => n / 1_000)
      },
      ({ initial, more, random, retry }) => {
        const max = initial + more
        const delay = Backoff.delayMillis(Backoff.exponential({ initial, max }), retry, 0, () => random, 0)
        const answer = wait({ delay })
        assert.isTrue(typeof answer === "number" && answer >= 0 && answer <= Math.min(max, initial * 2 ** retry))
      }
    )
  })

  describe("best", () => {
    const arrived = (hedge: number, outcome: Outcome.Outcome | undefined) => ({ facts: { hedge, outcome } })
    const success = arrived(3, Outcome.success)
    const answer = arrived(2, Outcome.nonRetryable({ reason: "not_found" }))
    const gone = arrived(1, Outcome.abort({ reason: "gone" }))
    const failed = arrived(0, retryable())

    it("of outcomes of one tick prefers success, then an answer, then an end from outside", () => {
      for (const all of [[success, answer, gone, failed], [failed, gone, answer, success]]) {
        assert.strictEqual(Retry.best(all), success)
        assert.strictEqual(Retry.best(all.filter((one) => one !== success)), answer)
        assert.strictEqual(Retry.best(all.filter((one) => one !== success && one !== answer)), gone)
      }
    })

    it("of equal outcomes takes that of the lower hedge index", () => {
      const later = arrived(5, retryable())
      assert.strictEqual(Retry.best([later, failed]), failed)
      assert.strictEqual(Retry.best([failed, later]), failed)
    })

    it("takes an attempt without a verdict for one that failed", () => {
      const silent = arrived(0, undefined)
      assert.strictEqual(Retry.best([silent, gone]), gone)
      assert.strictEqual(Retry.best([arrived(4, retryable()), silent]), silent)
    })
  })

  describe("endReason", () => {
    it("names why an outcome ends its group at once", () => {
      assert.strictEqual(Retry.endReason(Outcome.nonRetryable({ reason: "not_found" })), "non_retryable")
      assert.strictEqual(Retry.endReason(Outcome.abort({ reason: "gone" })), "abort")
      assert.isUndefined(Retry.endReason(Outcome.success))
    })
  })
})
