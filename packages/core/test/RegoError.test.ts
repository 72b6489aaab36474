import { assert, describe, it } from "@effect/vitest"
import { PolicyKey, RegoError } from "@rego/core"
import { Cause, Duration, Effect, Option } from "effect"

const key = PolicyKey.make("users.Get")
const make = (reason: RegoError.Reason) => RegoError.makeWithoutStack(key, reason)

const deadline = (attempts: number, overall: Duration.Duration | undefined) =>
  make({ _tag: "DeadlineExceeded", attempts, overall, lastCause: Option.none() })

describe("RegoError", () => {
  describe("message", () => {
    it("says the key and what happened, for each reason [E57]", () => {
      const messages = [
        deadline(0, Duration.seconds(1)),
        deadline(1, undefined),
        deadline(2, Duration.millis(1_500)),
        make({ _tag: "AttemptTimedOut", perAttempt: Duration.millis(200), attempt: { retry: 1, hedge: 0 } }),
        make({ _tag: "AdmissionDenied", budget: "payments", detail: "throttled", retryAfter: Option.none() }),
        make({ _tag: "PolicyMissing" })
      ].map((error) => error.message)
      assert.deepStrictEqual(messages, [
        "users.Get: the deadline of 1s passed after 0 attempts",
        "users.Get: the deadline of the enclosing call passed after 1 attempt",
        "users.Get: the deadline of 1s 500ms passed after 2 attempts",
        "users.Get: the attempt (retry 1) did not end within 200ms",
        "users.Get: the budget \"payments\" refused the call: throttled",
        "users.Get: no policy matches this key"
      ])
    })

    it("is what a cause prints", () => {
      assert.include(Cause.pretty(Cause.fail(make({ _tag: "PolicyMissing" }))), "users.Get: no policy matches this key")
    })
  })

  describe("reason", () => {
    it.effect("is caught by its tag, and other reasons pass", () =>
      Effect.gen(function*() {
        const caught = <E>(self: Effect.Effect<never, E | RegoError.RegoError>) =>
          Effect.catchReason(self, "RegoError", "PolicyMissing", () => Effect.succeed("caught"))
        assert.strictEqual(yield* caught(Effect.fail(make({ _tag: "PolicyMissing" }))), "caught")
        const other = yield* Effect.flip(caught(Effect.fail(deadline(1, undefined))))
        assert.strictEqual(other.reason._tag, "DeadlineExceeded")
      }))
  })

  describe("makeWithoutStack", () => {
    it("captures no stack, and leaves the stacks of other errors alone", () => {
      const before = Error.stackTraceLimit
      assert.notInclude(make({ _tag: "PolicyMissing" }).stack ?? "", " at ")
      assert.strictEqual(Error.stackTraceLimit, before)
      assert.include(new Error("x").stack ?? "", " at ")
    })
  })

  describe("isRegoError", () => {
    it("knows its own kind", () => {
      assert.isTrue(RegoError.isRegoError(make({ _tag: "PolicyMissing" })))
      for (const other of [null, new Error("x"), { _tag: "RegoError", reason: { _tag: "PolicyMissing" } }]) {
        assert.isFalse(RegoError.isRegoError(other))
      }
    })
  })
})
