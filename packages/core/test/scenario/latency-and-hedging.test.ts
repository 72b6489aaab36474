/**
 * What hedging does to the latencies that it learns from: an attempt that lost was slow, and nobody knows how slow. Whole
 * calls in virtual time, against what the same samples say when they are counted in another way.
 */
import { assert, describe, it } from "@effect/vitest"
import { Attempt, Hedge, Latency, Outcome, PolicyProvider, Rego, Timeline } from "@rego/core"
import type { Policy } from "@rego/core"
import { Duration, Effect, Exit, Option } from "effect"
import { seed, withSeed } from "../arbitraries.ts"
import { makeRandom } from "../random.ts"
import { inVirtualTime, Judged, judged, key, policiesOf, under } from "../support.ts"

// -----------------------------------------------------------------------------
// a dependency with a long tail
// -----------------------------------------------------------------------------

/** Share of attempts from 0 to 1, to milliseconds. */
type Distribution = (share: number) => number

/** 94 % take 1 to 2 ms, the others 36 to 54 ms: the 95th percentile is 39 ms, and hedging at it cuts most of the tail. */
const longTail: Distribution = (share) => share < 0.94 ? 1 + share / 0.94 : 36 + (share - 0.94) / 0.06 * 18
const truth = longTail(0.95)

const slower = (times: number, distribution: Distribution): Distribution => (share) => times * distribution(share)

/** Shares in strata, each shuffled: the noise of a random sample would hide what is looked for. */
const strata = (size: number, random: () => number): () => number => {
  let rest: Array<number> = []
  return () => {
    if (rest.length === 0) {
      rest = Array.from({ length: size }, (_, i) => (i + random()) / size)
        .map((share) => [random(), share] as const)
        .toSorted(([a], [b]) => a - b)
        .map(([, share]) => share)
    }
    return rest.pop()!
  }
}

// -----------------------------------------------------------------------------
// traffic
// -----------------------------------------------------------------------------

interface Sample {
  readonly millis: number
  readonly complete: boolean
}

interface Traffic {
  readonly calls: number
  readonly policy: Policy.Input
  /** milliseconds from one call to the next. Default 20 */
  readonly gap?: number
  readonly latency?: (call: number) => Distribution
  /** which calls' attempts fail, all of them, after the time that they take */
  readonly fails?: (call: number) => Judged | undefined
}

interface Seen {
  readonly calls: number
  readonly hedges: number
  /** the tracker's 95th percentile in milliseconds, `undefined` where it has none, and what it has counted */
  readonly p95: number | undefined
  readonly samples: number
}

interface Ran {
  /** after every hundred calls */
  readonly seen: ReadonlyArray<Seen>
  readonly statistics: PolicyProvider.KeyStatistics
  readonly timelines: ReadonlyArray<Timeline.Timeline>
}

const statistics = PolicyProvider.PolicyProvider.use((provider) =>
  Effect.map(provider.statistics(key), Option.getOrThrow)
)

const hedgesIn = (timelines: ReadonlyArray<Timeline.Timeline>): number =>
  timelines.reduce((sum, { attempts }) => sum + attempts.filter(({ attempt }) => attempt.hedge > 0).length, 0)

const look = (timelines: ReadonlyArray<Timeline.Timeline>, calls: number) =>
  Effect.map(statistics, ({ hedging }): Seen => ({
    calls,
    hedges: hedgesIn(timelines),
    p95: Option.getOrUndefined(
      Option.flatMap(hedging, ({ latency }) => Option.map(latency.quantile(0.95), Duration.toMillis))
    ),
    samples: Option.match(hedging, { onNone: () => 0, onSome: ({ latency }) => latency.samples })
  }))

const dependency = (traffic: Traffic, random: () => number) => {
  const primaries = strata(100, random)
  const hedges = strata(20, random)
  return (call: number) => {
    const distribution = traffic.latency?.(call) ?? longTail
    return Effect.gen(function*() {
      const isHedge = Option.exists(yield* Attempt.CurrentAttempt, ({ hedge }) => hedge > 0)
      yield* Effect.sleep(distribution(isHedge ? hedges() : primaries()))
      const failure = traffic.fails?.(call)
      return failure === undefined ? "answer" : yield* Effect.fail(failure)
    })
  }
}

const run = (traffic: Traffic): Effect.Effect<Ran> => {
  const { calls, gap = 20, policy } = traffic
  const attempt = dependency(traffic, makeRandom(seed))
  const program = Effect.gen(function*() {
    const timelines: Array<Timeline.Timeline> = []
    const seen: Array<Seen> = []
    for (let call = 1; call <= calls; call++) {
      const captured = Timeline.capture(attempt(call).pipe(Rego.resilient(key, { classifier: judged })))
      yield* Effect.forkChild(Effect.map(captured, ([, [timeline]]) => timelines.push(timeline!)), {
        startImmediately: true
      })
      yield* Effect.sleep(gap)
      if (call % 100 === 0) seen.push(yield* look(timelines, call))
    }
    yield* Effect.sleep("1 second")
    return { seen, statistics: yield* statistics, timelines }
  })
  return inVirtualTime(program, calls * gap + 1_000).pipe(
    Effect.flatten,
    (self) => under(self, policiesOf({ idempotent: true, timeout: { overall: "1 second" }, ...policy }))
  )
}

const hedgeRate = (from: Seen, to: Seen): number => (to.hedges - from.hedges) / (to.calls - from.calls)

// -----------------------------------------------------------------------------
// the same samples, counted in other ways
// -----------------------------------------------------------------------------

const samplesOf = (timelines: ReadonlyArray<Timeline.Timeline>): ReadonlyArray<Sample> =>
  timelines.flatMap(({ attempts }) =>
    attempts.map(({ endedAt, outcome, startedAt }) => ({
      millis: endedAt! - startedAt,
      complete: outcome === "Success" || outcome === "NonRetryable"
    }))
  )

const quantileOf = (samples: ReadonlyArray<Sample>, q: number): number => {
  const sorted = samples.map(({ millis }) => millis).toSorted((a, b) => a - b)
  return sorted[Math.ceil(q * sorted.length) - 1]!
}

const p95Of = (record: (latency: Latency.Latency) => void): number => {
  const latency = Latency.makeUnsafe()
  record(latency)
  return latency.quantileMillis(0.95, 0)!
}

const hedging = (more: Partial<Extract<Policy.Input["hedge"], object>> = {}): Policy.Input => ({
  hedge: { trigger: Hedge.quantile(0.95), ...more }
})

describe("hedging at a quantile", () => {
  describe("of a dependency whose 95th percentile is 39 ms", () => {
    const traffic: Traffic = { calls: 5_000, policy: hedging() }

    it("is what the distribution says", () => {
      assert.closeTo(truth, 39, 1e-9)
    })

    it.effect("keeps the estimate within 5 % of the truth, and hedges about 5 % of the calls", () =>
      Effect.gen(function*() {
        const { seen, statistics } = yield* run(traffic)
        const settled = seen.filter(({ calls }) => calls >= 1_000)
        for (const { calls, p95 } of settled) {
          assert.closeTo(p95! / truth, 1, 0.05, withSeed(`after ${calls} calls`))
        }
        const rate = hedgeRate(settled[0]!, settled.at(-1)!)
        assert.isTrue(rate >= 0.04 && rate <= 0.06, withSeed(`hedge rate ${rate}`))
        const { hedges } = Option.getOrThrow(statistics.hedging)
        assert.isAbove(hedges.won / hedges.started, 0.7, withSeed("losers are many, or nothing is shown"))
      }))

    it.effect("would be at 2 ms if losers were left out, and at 41 ms or less in every tail if they counted as answers", () =>
      Effect.gen(function*() {
        const { timelines } = yield* run(traffic)
        const samples = samplesOf(timelines)
        const losers = samples.filter(({ complete }) => !complete)
        assert.isAbove(losers.length, 0.03 * samples.length, withSeed("losers"))

        const withoutLosers = samples.filter(({ complete }) => complete)
        const withoutLosersP95 = quantileOf(withoutLosers, 0.95)
        assert.isBelow(withoutLosersP95, 2, withSeed("without losers"))
        const dropping = p95Of((latency) => withoutLosers.forEach(({ millis }) => latency.record(millis, true, 0)))
        assert.isBelow(dropping, 0.06 * truth, withSeed("a tracker without losers"))
        // and the delay would go on to fall: at 2 ms already more are hedged than should be
        const hedged = samples.filter(({ millis }) => millis > withoutLosersP95).length / samples.length
        assert.isAbove(hedged, 0.06, withSeed("share of attempts that would be hedged"))

        const asAnswers = quantileOf(samples, 0.99)
        assert.isBelow(asAnswers, 42, withSeed("the 99th percentile, which is 51 ms, with losers as answers"))

        const censoring = p95Of((latency) => samples.forEach((it) => latency.record(it.millis, it.complete, 0)))
        assert.closeTo(censoring / truth, 1, 0.05, withSeed("a tracker with losers as what they are"))
      }))

    it.effect("follows a dependency that becomes three times slower, and comes back to 5 %", () =>
      Effect.gen(function*() {
        const { seen } = yield* run({
          ...traffic,
          calls: 15_000,
          latency: (call) => call <= 5_000 ? longTail : slower(3, longTail)
        })
        const before = seen.find(({ calls }) => calls === 5_000)!
        const after = seen.filter(({ calls }) => calls >= 5_000 + 5_000)
        assert.closeTo(before.p95! / truth, 1, 0.05, withSeed("before"))
        for (const { calls, p95 } of after) {
          assert.closeTo(p95! / (3 * truth), 1, 0.05, withSeed(`after ${calls} calls`))
        }
        const rate = hedgeRate(after[0]!, after.at(-1)!)
        assert.isTrue(rate >= 0.035 && rate <= 0.065, withSeed(`hedge rate ${rate}`))
      }))

    it.effect("does not hedge every call meanwhile", () =>
      Effect.gen(function*() {
        const { seen } = yield* run({
          ...traffic,
          calls: 10_000,
          latency: (call) => call <= 5_000 ? longTail : slower(3, longTail)
        })
        const [before, after] = [5_000, 10_000].map((calls) => seen.find((it) => it.calls === calls)!)
        const rate = hedgeRate(before!, after!)
        assert.isBelow(rate, 0.1, withSeed(`hedge rate ${rate}`))
      }))
  })

  describe("is fed by", () => {
    const trackerOf = ({ statistics }: Ran) => Option.getOrThrow(statistics.hedging).latency

    it.effect("the attempts that were started, and no denial", () =>
      Effect.gen(function*() {
        const ran = yield* run({
          calls: 500,
          policy: { hedge: { trigger: Hedge.after("5 millis"), maxHedges: 3 }, budget: "none" }
        })
        const { hedges } = Option.getOrThrow(ran.statistics.hedging)
        assert.strictEqual(hedges.started, 0)
        // 6 % of the calls run longer than the delay, and each of them asks three times
        assert.strictEqual(hedges.denied, 3 * 500 * 0.06)
        assert.strictEqual(trackerOf(ran).samples, 500)
        assert.closeTo(Duration.toMillis(Option.getOrThrow(trackerOf(ran).quantile(0.5))), longTail(0.5), 0.05)
      }))

    it.effect("retries that the budget denied neither", () =>
      Effect.gen(function*() {
        const ran = yield* run({
          calls: 200,
          policy: { ...hedging(), retry: { maxAttempts: 3 }, budget: "none" },
          fails: (call) => call % 2 === 0 ? new Judged(Outcome.retryable({ reason: "busy" })) : undefined
        })
        assert.strictEqual(trackerOf(ran).samples, 200)
      }))

    const half = { calls: 400, latency: (call: number): Distribution => () => call % 5 === 0 ? 50 : 10 }
    const everyFifth = (outcome: Outcome.Outcome) => (call: number) => call % 5 === 0 ? new Judged(outcome) : undefined

    it.effect("failures that are Retryable as attempts that took at least so long", () =>
      Effect.gen(function*() {
        const ran = yield* run({
          ...half,
          policy: { ...hedging(), retry: { maxAttempts: 1 } },
          fails: everyFifth(Outcome.retryable({ reason: "busy" }))
        })
        assert.strictEqual(trackerOf(ran).samples, 400)
        assert.closeTo(Duration.toMillis(Option.getOrThrow(trackerOf(ran).quantile(0.75))), 10, 0.3)
        // as answers they would say 50, left out they would say 10
        assert.isTrue(Option.isNone(trackerOf(ran).quantile(0.9)))
      }))

    it.effect("answers that are NonRetryable as answers", () =>
      Effect.gen(function*() {
        const ran = yield* run({
          ...half,
          policy: hedging({ trigger: Hedge.after("500 millis") }),
          fails: everyFifth(Outcome.nonRetryable({ reason: "not_found" }))
        })
        assert.closeTo(Duration.toMillis(Option.getOrThrow(trackerOf(ran).quantile(0.9))), 50, 1.5)
      }))

    it.effect("attempts that timed out as attempts that took at least so long", () =>
      Effect.gen(function*() {
        const ran = yield* run({
          ...half,
          policy: { ...hedging(), retry: { maxAttempts: 1 }, timeout: { perAttempt: "30 millis" } }
        })
        assert.strictEqual(trackerOf(ran).samples, 400)
        assert.isTrue(Option.isNone(trackerOf(ran).quantile(0.9)))
      }))

    it.effect("no rejection of this side", () =>
      Effect.gen(function*() {
        const ran = yield* run({
          ...half,
          policy: hedging({ trigger: Hedge.after("500 millis") }),
          fails: everyFifth(Outcome.nonRetryable({ reason: "rejected_locally" }))
        })
        assert.strictEqual(trackerOf(ran).samples, 320)
      }))
  })

  describe("stops", () => {
    const failing = (share: number): Traffic => ({
      calls: 1_000,
      policy: { hedge: { trigger: Hedge.after("5 millis") } },
      fails: (call) =>
        call % Math.round(1 / share) === 0 ? new Judged(Outcome.retryable({ reason: "http_503" })) : undefined
    })
    const from = (calls: number, { seen }: Ran): Seen => seen.find((it) => it.calls === calls)!

    it.effect("while more than 5 % of the attempts fail", () =>
      Effect.gen(function*() {
        const ran = yield* run(failing(0.1))
        // the first five failures do not say anything yet
        assert.strictEqual(from(1_000, ran).hedges, from(100, ran).hedges)
        const reasons = ran.timelines.flatMap(({ decisions }) =>
          decisions.flatMap((decision) => decision._tag === "Denied" ? [decision.reason] : [])
        )
        assert.deepStrictEqual([...new Set(reasons)], ["unhealthy"])
      }))

    it.effect("not where 2 % fail, and then 6 % of the calls are hedged", () =>
      Effect.gen(function*() {
        const ran = yield* run(failing(0.02))
        const rate = hedgeRate(from(100, ran), from(1_000, ran))
        assert.isTrue(rate > 0.05 && rate < 0.09, withSeed(`hedge rate ${rate}`))
      }))
  })

  describe("keeps no tracker", () => {
    for (
      const [what, policy] of [
        ["without a hedge section", { retry: { maxAttempts: 2 } }],
        ["with hedge: \"off\"", { hedge: "off" }]
      ] as const
    ) {
      it.effect(`for a key ${what}`, () =>
        Effect.gen(function*() {
          const { statistics } = yield* run({ calls: 100, policy })
          assert.isTrue(Option.isNone(statistics.hedging))
        }))
    }

    it.effect("for a key that was never called", () =>
      under(
        Effect.gen(function*() {
          const provider = yield* PolicyProvider.PolicyProvider
          assert.isTrue(Option.isNone(yield* provider.statistics(key)))
          const exit = yield* Effect.exit(Effect.succeed("answer").pipe(Rego.resilient(key)))
          assert.isTrue(Exit.isSuccess(exit))
          assert.isTrue(Option.isSome(yield* provider.statistics(key)))
        }),
        policiesOf(hedging())
      ))
  })
})
