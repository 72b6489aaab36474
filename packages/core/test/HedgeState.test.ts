import { assert, describe, it } from "@effect/vitest"
import { Outcome } from "@rego/core"
import { Duration } from "effect"
import { HedgeState } from "../src/HedgeState.ts"
import { seed, withSeed } from "./arbitraries.ts"
import { makeRandom } from "./random.ts"

const make = () => new HedgeState(false)

const success = Outcome.success
const retryable = (retryAfter?: Duration.Input) => Outcome.retryable({ reason: "503", retryAfter })
const nonRetryable = Outcome.nonRetryable({ reason: "404" })
const abort = Outcome.abort({ reason: "given_up" })
const rejected = Outcome.nonRetryable({ reason: "rejected_locally" })

/** Attempts that took no time and ended at `now`. */
const end = (state: HedgeState, outcome: Outcome.Outcome, times: number, now = 0) => {
  for (let i = 0; i < times; i++) state.onOutcome(outcome, now, now)
}

describe("HedgeState", () => {
  describe("unfit", () => {
    it("finds nothing wrong with a key that it knows nothing of", () => {
      assert.isUndefined(make().unfit(0, undefined, 0))
      assert.isUndefined(make().unfit(0, 0.0001, 0))
    })

    const shares = [
      // failed, other, maxFailing, unhealthy
      [4, 0, 0.05, false],
      [5, 0, 0.05, true],
      [5, 94, 0.05, true],
      [5, 95, 0.05, false],
      [6, 114, 0.05, false],
      [7, 113, 0.05, true],
      [5, 0, 1, false],
      [5, 1_000_000, 0, true],
      [4, 0, 0, false]
    ] as const
    for (const [failed, other, maxFailing, unhealthy] of shares) {
      it(`${failed} of ${failed + other} with maxFailing ${maxFailing}: ${unhealthy ? "unhealthy" : "fit"}`, () => {
        const state = make()
        end(state, retryable(), failed)
        end(state, success, other)
        assert.strictEqual(state.unfit(maxFailing, undefined, 0), unhealthy ? "unhealthy" : undefined)
      })
    }

    it("counts answers of either kind as healthy, and neither aborts, cuts nor rejections on this side", () => {
      for (
        const [outcome, fit] of [[success, true], [nonRetryable, true], [abort, false], [rejected, false]] as const
      ) {
        const state = make()
        end(state, retryable(), 5)
        end(state, outcome, 95)
        assert.strictEqual(state.unfit(0.05, undefined, 0), fit ? undefined : "unhealthy")
      }
      const cut = make()
      end(cut, retryable(), 5)
      for (let i = 0; i < 95; i++) cut.onCut(1, 0)
      assert.strictEqual(cut.unfit(0.05, undefined, 0), "unhealthy")
    })

    it("forgets failures after 10 seconds, and not before 9.5", () => {
      for (const from of [0, 499, 250_017]) {
        const state = make()
        end(state, retryable(), 5, from)
        assert.strictEqual(state.unfit(0.05, undefined, from + 9_499), "unhealthy")
        assert.isUndefined(state.unfit(0.05, undefined, from + 10_000))
      }
    })

    it("waits until the latest retryAfter, the longest one whatever came last", () => {
      const state = make()
      state.onOutcome(retryable(500), 0, 100)
      state.onOutcome(retryable(50), 0, 200)
      assert.strictEqual(state.unfit(1, undefined, 599), "pushback")
      assert.isUndefined(state.unfit(1, undefined, 600))
    })

    it("lets a hedge start at that very nanosecond although sums of milliseconds do not meet exactly", () => {
      const random = makeRandom(seed)
      for (let i = 0; i < 1_000; i++) {
        const ended = Math.floor(random() * 1e12)
        const asked = 1 + Math.floor(random() * 1e9)
        const state = make()
        state.onOutcome(retryable(asked / 1e6), 0, ended / 1e6)
        assert.isUndefined(state.unfit(1, undefined, (ended + asked) / 1e6), withSeed(`${ended} + ${asked} ns`))
        assert.strictEqual(state.unfit(1, undefined, (ended + asked - 10_000) / 1e6), "pushback")
      }
    })

    it("takes a retryAfter that is no number for none", () => {
      const state = make()
      state.onOutcome(
        { ...retryable(), retryAfter: { ...Duration.zero, value: { _tag: "Millis", millis: NaN } } } as never,
        0,
        0
      )
      assert.isUndefined(state.unfit(1, undefined, 0))
    })

    it("allows 1.25 × the share of the calls of 10 seconds, plus 10", () => {
      const state = make()
      for (let i = 0; i < 400; i++) state.onCall(0)
      let started = 0
      while (state.unfit(1, 0.1, 0) === undefined && started < 1_000) {
        state.onStarted(0)
        started++
      }
      assert.strictEqual(started, 60)
      assert.strictEqual(state.unfit(1, 0.1, 0), "allowance")
      // other triggers have no such allowance
      assert.isUndefined(state.unfit(1, undefined, 0))
      // both the hedges and the calls have left the window
      assert.isUndefined(state.unfit(1, 0.1, 10_000))
    })

    it("keeps hedges back for at most five minutes, whatever a server asks for", () => {
      const state = make()
      state.onOutcome(retryable("365 days"), 0, 0)
      assert.strictEqual(state.unfit(1, undefined, 299_999), "pushback")
      assert.strictEqual(state.unfit(1, undefined, 300_000), undefined)
    })

    it("goes on hedging other calls when a server wants no further attempt of one: a wait without an end is no time", () => {
      const state = make()
      state.onOutcome(retryable(Duration.infinity), 0, 0)
      assert.isUndefined(state.unfit(1, undefined, 0))
      state.onOutcome(retryable(50), 0, 0)
      state.onOutcome(retryable(Duration.infinity), 0, 0)
      assert.strictEqual(state.unfit(1, undefined, 49), "pushback")
      assert.isUndefined(state.unfit(1, undefined, 50))
    })

    it("says what is worst first: unhealthy, then pushback, then allowance", () => {
      const state = make()
      for (let i = 0; i < 11; i++) state.onStarted(0)
      assert.strictEqual(state.unfit(0.05, 0.1, 0), "allowance")
      state.onOutcome(retryable(1_000), 0, 0)
      assert.strictEqual(state.unfit(0.05, 0.1, 0), "pushback")
      end(state, retryable(), 4)
      assert.strictEqual(state.unfit(0.05, 0.1, 0), "unhealthy")
    })

    it("takes a clock that goes back for one that stands still", () => {
      const state = make()
      end(state, retryable(), 5, 60_000)
      end(state, success, 5, 1_000)
      assert.strictEqual(state.unfit(0.05, undefined, 0), "unhealthy")
      assert.isUndefined(state.unfit(0.05, undefined, 70_000))
    })

    it("agrees with a list of everything that happened, over 20,000 random steps", () => {
      const random = makeRandom(seed)
      const state = make()
      const log: Array<{ readonly slot: number; readonly kind: string }> = []
      let now = 0
      for (let step = 0; step < 20_000; step++) {
        now += random() < 0.02 ? random() * 12_000 : random() * 40
        const slot = Math.floor(now / 500)
        const kind = ["ok", "ok", "ok", "failed", "call", "hedge"][Math.floor(random() * 6)]!
        log.push({ slot, kind })
        if (kind === "ok") state.onOutcome(success, now - 1, now)
        else if (kind === "failed") state.onOutcome(retryable(), now - 1, now)
        else if (kind === "call") state.onCall(now)
        else state.onStarted(now)
        while (log.length > 0 && log[0]!.slot <= slot - 20) log.shift()
        const count = (...kinds: ReadonlyArray<string>) => log.filter((entry) => kinds.includes(entry.kind)).length
        const [maxFailing, load] = [random() * 0.5, 0.0001 + random() * 0.4]
        const failed = count("failed")
        const expected = failed >= 5 && failed > maxFailing * count("ok", "failed")
          ? "unhealthy"
          : count("hedge") + 1 > 1.25 * load * count("call") + 10
          ? "allowance"
          : undefined
        assert.strictEqual(state.unfit(maxFailing, load, now), expected, withSeed(`step ${step}`))
      }
    })
  })

  describe("latency", () => {
    it("an answer is an event, everything else is cut at its duration, and a rejection is nothing", () => {
      const rows = [
        [(state: HedgeState) => state.onOutcome(success, 0, 20), 1, true],
        [(state: HedgeState) => state.onOutcome(nonRetryable, 0, 20), 1, true],
        [(state: HedgeState) => state.onOutcome(retryable(), 0, 20), 1, false],
        [(state: HedgeState) => state.onOutcome(abort, 0, 20), 1, false],
        [(state: HedgeState) => state.onCut(20, 20), 1, false],
        [(state: HedgeState) => state.onOutcome(rejected, 0, 20), 0, false],
        [(state: HedgeState) => state.onDenied(), 0, false]
      ] as const
      for (const [feed, samples, event] of rows) {
        const state = make()
        feed(state)
        assert.strictEqual(state.latency.samples(20), samples)
        assert.strictEqual(state.latency.quantileMillis(0.5, 20) !== undefined, event)
      }
    })
  })

  it("an attempt that was aborted late is cut at how long it took, not at when that was", () => {
    const state = make()
    for (let i = 0; i < 20; i++) state.onOutcome(success, 10_000, 10_020)
    for (let i = 0; i < 20; i++) state.onOutcome(abort, 10_000, 10_001)
    for (let i = 0; i < 20; i++) state.onOutcome(success, 10_000, 10_040)
    // 20 ms for half of those that were seen to their end
    assert.closeTo(state.latency.quantileMillis(0.4, 10_040)!, 20, 1)
  })

  describe("statistics", () => {
    const none = { started: 0, won: 0, wasted: 0, denied: 0, saved: Duration.zero }

    it("start at nothing", () => {
      assert.deepStrictEqual(make().statistics, none)
    })

    it("a group whose hedge won wasted the others; one that a primary won wasted all", () => {
      const state = make()
      for (let i = 0; i < 5; i++) state.onStarted(0)
      state.onGroupEnd(3, 2, 50, 50)
      assert.strictEqual(state.statistics.wasted, 2)
      state.onGroupEnd(2, 0, 50, 50)
      assert.deepStrictEqual(state.statistics, { ...none, started: 5, won: 1, wasted: 4 })
    })

    it("denials are counted apart", () => {
      const state = make()
      state.onDenied()
      state.onDenied()
      assert.deepStrictEqual(state.statistics, { ...none, denied: 2 })
    })

    it("counts hedges that were started and that won, each once", () => {
      const state = make()
      state.onStarted(0)
      state.onStarted(0)
      state.onGroupEnd(2, 2, 30, 30)
      state.onGroupEnd(1, 0, 30, 30)
      const { started, wasted, won } = state.statistics
      assert.deepStrictEqual({ started, wasted, won }, { started: 2, wasted: 2, won: 1 })
    })

    it("saved is the median of what the others would still have taken", () => {
      const state = make()
      for (let i = 0; i < 100; i++) state.onOutcome(success, 0, i < 50 ? 10 : 400)
      state.onGroupEnd(1, 1, 30, 400)
      assert.closeTo(Duration.toMillis(state.statistics.saved), 370, 400 * 0.03)
      state.onGroupEnd(1, 0, 30, 400)
      assert.closeTo(Duration.toMillis(state.statistics.saved), 370, 400 * 0.03)
    })

    it("saved is never negative, and 0 where nothing is known", () => {
      const state = make()
      state.onGroupEnd(1, 1, 30, 30)
      for (let i = 0; i < 10; i++) state.onOutcome(success, 0, 10)
      state.onGroupEnd(1, 1, 500, 500)
      assert.strictEqual(Duration.toMillis(state.statistics.saved), 0)
    })
  })
})
