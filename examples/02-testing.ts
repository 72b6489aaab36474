/**
 * Testing code that retries and waits, in no time: half a minute of backoff and a request that never answers.
 *
 * The test is a plain program here. With `@effect/vitest`, `it.effect` provides the `TestClock`, and the rest is the same.
 */
import { Backoff, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Context, Data, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert"

// -----------------------------------------------------------------------------
// the code under test: a service that calls another one
// -----------------------------------------------------------------------------

class Unavailable extends Data.TaggedError("Unavailable") {}

class RatesApi extends Context.Service<RatesApi, {
  readonly fetch: (currency: string) => Effect.Effect<number, Unavailable>
}>()("examples/RatesApi") {}

const getRate = (currency: string) =>
  Effect.flatMap(RatesApi, (api) => api.fetch(currency)).pipe(Rego.resilient("rates.Get"))

/** The policies of the application itself: they are what is tested. */
const Policies = PolicyLayer.make({
  policies: {
    "rates.Get": {
      retry: {
        maxAttempts: 5,
        backoff: Backoff.exponential({ initial: "2 seconds", max: "16 seconds", jitter: "none" })
      },
      timeout: { perAttempt: "5 seconds", overall: "1 minute" },
      idempotent: true
    }
  }
})

// -----------------------------------------------------------------------------
// what stands in for the network: an answer for each request, in order
// -----------------------------------------------------------------------------

const scripted = (answers: ReadonlyArray<Effect.Effect<number, Unavailable>>): Layer.Layer<RatesApi> =>
  Layer.sync(RatesApi, () => {
    const rest = answers.values()
    return { fetch: () => Effect.suspend(() => rest.next().value ?? Effect.die("asked too often")) }
  })

const unavailable = Effect.fail(new Unavailable())

// -----------------------------------------------------------------------------
// the test
// -----------------------------------------------------------------------------

const test = Effect.gen(function*() {
  // A fiber that starts at once has reached its first wait when the clock is moved.
  const call = yield* Timeline.capture(getRate("EUR")).pipe(Effect.forkChild({ startImmediately: true }))

  yield* TestClock.adjust("34 seconds")
  assert.strictEqual(call.pollUnsafe(), undefined, "the last wait is not over")

  yield* TestClock.adjust("1 second")
  const [exit, [timeline]] = yield* Fiber.join(call)

  assert.deepStrictEqual(exit, Exit.succeed(1.08))
  assert(timeline !== undefined)
  console.log(Timeline.render(timeline))
  // Under the TestClock the times in a timeline are exact, so they can be compared as they are.
  assert.deepStrictEqual(
    timeline.attempts.map(({ endedBy, outcome, startedAt }) => [startedAt, endedBy, outcome]),
    [
      [0, "returned", "Retryable"],
      [2_000, "timed_out", "Retryable"],
      [11_000, "returned", "Retryable"],
      [19_000, "returned", "Retryable"],
      [35_000, "returned", "Success"]
    ]
  )
})

const Network = scripted([unavailable, Effect.never, unavailable, unavailable, Effect.succeed(1.08)])

const startedAt = performance.now()
await Effect.runPromise(test.pipe(Effect.provide([Policies, Network, TestClock.layer()])))
const waited = Math.ceil(performance.now() - startedAt)
console.log(`\n35 seconds passed for the program, ${waited} ms for us.`)
assert(waited < 10_000, "virtual time is not waited for")
