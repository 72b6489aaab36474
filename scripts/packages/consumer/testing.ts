/** A test of a call, in virtual time, against a dependency that fails first. */
import { Backoff, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Downstream, TimelineRows } from "@rego/testing"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"

const backoff = Backoff.constant("10 seconds", { jitter: "none" })
const Policies = PolicyLayer.make({
  policies: { "users.Get": { retry: { backoff }, timeout: { overall: "1 minute" } } }
})

const test = Effect.gen(function*() {
  const users = yield* Downstream.make("users", [Downstream.fail("503"), Downstream.answer("ada")])
  const call = yield* users.request().pipe(
    Rego.resilient("users.Get"),
    Timeline.capture,
    Effect.forkChild({ startImmediately: true })
  )
  yield* TestClock.adjust("1 minute")
  const [, [timeline]] = yield* Fiber.join(call)
  TimelineRows.expectTimeline(timeline, [
    [0, "start 0"],
    [0, "end 0 Retryable typed_failure"],
    [0, "wait 10000"],
    ["10 seconds", "start 1"],
    ["10 seconds", "end 1 Success"],
    ["10 seconds", "success"]
  ])
})

await Effect.runPromise(test.pipe(Effect.scoped, Effect.provide([Policies, TestClock.layer()])))
