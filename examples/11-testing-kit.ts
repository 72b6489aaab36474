/**
 * The testing kit: a scripted dependency, the rows of a timeline, faults in an application, and laws for a part of one's
 * own. No test runner and no waiting.
 */
import { Backoff, Budget, PolicyLayer, Rego, Timeline } from "@rego/core"
import { BudgetLaws, Downstream, Fault, Law, TimelineRows } from "@rego/testing"
import { Cause, Context, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"
import assert from "node:assert"

// -----------------------------------------------------------------------------
// the application
// -----------------------------------------------------------------------------

class RatesApi extends Context.Service<RatesApi, {
  readonly fetch: (currency: string) => Effect.Effect<number, "unavailable">
}>()("examples/RatesApi") {}

const getRate = (currency: string) =>
  Effect.flatMap(RatesApi, (api) => api.fetch(currency)).pipe(Rego.resilient("rates.Get"))

const Policies = PolicyLayer.make({
  policies: {
    "rates.Get": {
      retry: { maxAttempts: 3, backoff: Backoff.constant("2 seconds", { jitter: "none" }) },
      timeout: { perAttempt: "5 seconds", overall: "1 minute" },
      idempotent: true
    }
  }
})

/** Makes a call in virtual time. */
const inVirtualTime = <A, E, R>(call: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const fiber = yield* call.pipe(Timeline.capture, Effect.forkChild({ startImmediately: true }))
    yield* TestClock.adjust("1 minute")
    const [exit, [timeline]] = yield* Fiber.join(fiber)
    return { exit, timeline }
  })

// -----------------------------------------------------------------------------
// a scripted dependency
// -----------------------------------------------------------------------------

const story = Effect.gen(function*() {
  const rates = yield* Downstream.make("rates", [
    Downstream.fail("unavailable", { expect: "EUR" }),
    Downstream.hang({ attempt: { retry: 1 } }),
    Downstream.answer(1.08, { after: "20 millis" })
  ])
  const { exit, timeline } = yield* inVirtualTime(getRate("EUR")).pipe(
    Effect.provideService(RatesApi, { fetch: rates.request })
  )

  assert.deepStrictEqual(exit, Exit.succeed(1.08))
  console.log("What the dependency saw:")
  console.log(rates.story)
  TimelineRows.expectTimeline(timeline, [
    [0, "start 0"],
    [0, "end 0 Retryable typed_failure"],
    [0, "wait 2000"],
    ["2 seconds", "start 1"],
    ["7 seconds", "timed_out 1 Retryable attempt_timeout"],
    ["7 seconds", "wait 2000"],
    ["9 seconds", "start 2"],
    ["9020 millis", "end 2 Success"],
    ["9020 millis", "success"]
  ])
})

/** What somebody reads who expected another story. */
const difference = Effect.gen(function*() {
  const rates = yield* Downstream.make("rates", [Downstream.answer(1.08, { expect: "USD" })])
  yield* rates.request("EUR")
}).pipe(Effect.scoped, Effect.exit)

// -----------------------------------------------------------------------------
// faults
// -----------------------------------------------------------------------------

const healthy = Layer.succeed(RatesApi, { fetch: () => Effect.succeed(1.08) })

const faults = Effect.gen(function*() {
  const { exit, timeline } = yield* inVirtualTime(getRate("EUR"))
  assert.deepStrictEqual(exit, Exit.succeed(1.08))
  assert(timeline !== undefined)
  console.log("\nThe same application in an exercise:")
  console.log(Timeline.render(timeline))
  assert.deepStrictEqual(
    timeline.attempts.map(({ attributes }) => attributes?.["fault"]),
    ["latency 6s", "error \"unavailable\"", undefined]
  )
})

const Exercise = Fault.layer([
  Fault.latency("6 seconds", { keys: "rates.*", until: "5 seconds" }),
  Fault.error("unavailable", { keys: "rates.*", from: "5 seconds", until: "8 seconds" })
])

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

/** A budget of one's own, with a mistake: what is given back is lost. */
const leaky: Budget.Make = Effect.sync(() => {
  let left = 5
  return {
    tryAcquire: ({ cost }) => {
      if (left < cost) return { _tag: "Denied", reason: "empty" }
      left -= cost
      return { _tag: "Granted", permit: { settle: () => {} } }
    },
    state: Effect.sync(() => ({ balance: left }))
  }
})

// -----------------------------------------------------------------------------
// all of it
// -----------------------------------------------------------------------------

await Effect.runPromise(story.pipe(Effect.scoped, Effect.provide([Policies, TestClock.layer()])))

const exit = await Effect.runPromise(difference)
assert(exit._tag === "Failure")
console.log("\nA story that is not what happened:")
console.log(String((Cause.squash(exit.cause) as Error).message))

await Effect.runPromise(faults.pipe(
  Effect.provide([Exercise.pipe(Layer.provideMerge(Policies)), healthy]),
  Effect.provide(TestClock.layer())
))

const broken = await Effect.runPromise(Law.broken(BudgetLaws.make(leaky)))
console.log("\nLaws that a leaky budget breaks:")
for (const { message, name } of broken) console.log(`  ${name}\n    ${message}`)
assert.deepStrictEqual(broken.map(({ name }) => name), ["grants again what was settled unused, where it says so"])
assert.deepStrictEqual(await Effect.runPromise(Law.broken(BudgetLaws.make(Budget.ratio()))), [])
