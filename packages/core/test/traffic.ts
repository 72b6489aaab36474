/** Random calls under random faults, in virtual time: the same ones for the same seed. */
import type { Policy, PolicyProvider } from "@rego/core"
import { Attempt, Backoff, Budget, Hedge, Outcome, PolicyLayer, Rego } from "@rego/core"
import { Effect, Layer, Option, Random } from "effect"
import { TestClock } from "effect/testing"
import { Judged, judged } from "./support.ts"

const retry = { maxAttempts: 4, backoff: Backoff.exponential({ initial: "10 millis", max: "100 millis" }) }

const policies: Readonly<Record<string, Policy.Input>> = {
  "plain.Get": { retry, timeout: { perAttempt: "60 millis" } },
  "tight.Get": { retry, timeout: { perAttempt: "40 millis", overall: "120 millis" }, idempotent: true },
  "hedged.Get": {
    retry: { maxAttempts: 2 },
    hedge: { trigger: Hedge.after("15 millis"), maxHedges: 2, maxFailing: 1 },
    timeout: { perAttempt: "80 millis", overall: "300 millis" },
    idempotent: true,
    budget: "unlimited"
  },
  "cautious.Get": {
    retry,
    hedge: { trigger: Hedge.after("15 millis"), maxHedges: 1 },
    timeout: { overall: "300 millis" },
    idempotent: true
  },
  "bucket.Get": { retry, timeout: { perAttempt: "60 millis" }, budget: "bucket" },
  "shedding.Get": { retry, timeout: { perAttempt: "60 millis" }, budget: "shedding" },
  "single.Get": { timeout: { perAttempt: "60 millis" } }
}

export const keys: ReadonlyArray<string> = Object.keys(policies)

export const layer = PolicyLayer.make({
  policies: Object.fromEntries(
    Object.entries(policies).map(([key, policy]) => [key, { classifier: judged, ...policy }])
  )
}).pipe(
  Layer.provide(Budget.layer("bucket", Budget.tokenBucket({ capacity: 5, refillPerSecond: 20 }))),
  Layer.provide(Budget.layer("shedding", Budget.adaptiveThrottle({ k: 1.5, minRequests: 5 })))
)

const pick = <A>(values: ReadonlyArray<A>): Effect.Effect<A> =>
  Effect.map(Random.nextIntBetween(0, values.length, { halfOpen: true }), (i) => values[i]!)

/** What a classifier says of an attempt: some reasons stand in the list of labels, others are anything. */
const verdict = (share: number, n: number): Outcome.Outcome | undefined => {
  if (share < 0.62) return undefined
  if (share < 0.72) return Outcome.retryable({ reason: "http_503" })
  if (share < 0.76) return Outcome.retryable({ reason: `replica ${n} is gone` })
  if (share < 0.79) return Outcome.retryable({ reason: "http_429", executed: "no", retryAfter: 30, throttled: true })
  if (share < 0.84) return Outcome.nonRetryable({ reason: "http_404" })
  if (share < 0.87) return Outcome.abort({ reason: "aborted" })
  return Outcome.retryable({ reason: "reset" })
}

/** One request: quick, slow or endless; sometimes it cannot be interrupted for a while. */
const attempt = (n: number): Effect.Effect<number, unknown> =>
  Effect.gen(function*() {
    const share = yield* Random.next
    const slowness = yield* Random.next
    const hedge = Option.match(yield* Attempt.CurrentAttempt, { onNone: () => 0, onSome: ({ hedge }) => hedge })
    const took = slowness < 0.7 ? slowness * 10 : slowness < 0.97 ? slowness * (hedge > 0 ? 20 : 70) : 5_000
    const work = Effect.sleep(took)
    yield* slowness > 0.985 || slowness < 0.01 ? Effect.uninterruptible(work) : work
    if (share > 0.97) return yield* Effect.die(new Error(`bug ${n}`))
    const outcome = verdict(share, n)
    return outcome === undefined ? n : yield* Effect.fail(new Judged(outcome))
  })

/** A call, of which some are given up by their caller. */
const call = (n: number, names: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const made = Rego.resilient(attempt(n), yield* pick(names))
    const patience = yield* Random.next
    const limited: Effect.Effect<unknown, unknown, PolicyProvider.PolicyProvider> = patience < 0.03
      ? Effect.timeoutOption(made, patience * 2_000)
      : made
    yield* Effect.exit(limited)
  })

const batch = 50

/** Makes so many calls, fifty of them every 100 ms, and waits until all have ended. `between` runs after each batch. */
export const run = (count: number, names: ReadonlyArray<string>, between: Effect.Effect<void> = Effect.void) =>
  Effect.gen(function*() {
    for (let n = 0; n < count; n += batch) {
      const numbers = Array.from({ length: Math.min(batch, count - n) }, (_, i) => n + i)
      yield* Effect.forkChild(Effect.forEach(numbers, (i) => call(i, names), { concurrency: "unbounded" }), {
        startImmediately: true
      })
      yield* TestClock.adjust("100 millis")
      yield* between
    }
    yield* TestClock.adjust("1 minute")
    yield* between
  })
