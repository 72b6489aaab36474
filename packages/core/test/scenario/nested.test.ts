/** Calls inside calls, and calls around Effect's own circuit breaker and rate limiter. */
import { assert, describe, it } from "@effect/vitest"
import { Backoff, Classifier, Outcome, PolicyLayer, Rego, Timeline } from "@rego/core"
import type { Policy } from "@rego/core"
import { Cause, Effect, Layer } from "effect"
import { CircuitBreaker, RateLimiter } from "effect/persistence"
import type { Policies, Script } from "../support.ts"
import {
  assertFailsWith,
  assertSucceedsWith,
  countingBudget,
  fails,
  hangs,
  inVirtualTime,
  key,
  regoErrorOf,
  rows,
  script,
  succeeds,
  under,
  withBudget
} from "../support.ts"

const boom = new Error("boom")
const backoff = Backoff.constant("10 millis", { jitter: "none" })
const retry = { maxAttempts: 3, backoff } satisfies Policy.RetryInput

const all = (policy: Policy.Input, others: Record<string, Policy.Input> = {}): Policies =>
  PolicyLayer.make({ policies: { "*": { budget: "unlimited", ...policy }, ...others } })

/** Three calls around one effect, run in virtual time. */
const threeDeep = <A, E>(
  s: Script<A, E>,
  layer: Policies,
  classifier: Classifier.Any = Classifier.never
) =>
  s.effect.pipe(
    Rego.resilient("svc.Inner"),
    Rego.resilient("svc.Middle", { classifier: classifier as Classifier.Classifier<unknown, unknown> }),
    Rego.resilient("svc.Outer", { classifier: classifier as Classifier.Classifier<unknown, unknown> }),
    Timeline.capture,
    inVirtualTime,
    Effect.flatten,
    (self) => under(self, layer)
  )

const verdicts = (timelines: ReadonlyArray<Timeline.Timeline>) =>
  timelines.map((timeline) => [timeline.key, timeline.attempts.length, timeline.attempts.at(-1)?.reason])

describe("only one layer retries", () => {
  it.effect("three nested calls of 3 attempts make 3 requests", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const [exit, timelines] = yield* threeDeep(s, all({ retry }))
      assertFailsWith(exit, boom)
      assert.strictEqual(s.runs, 3)
      assert.deepStrictEqual(verdicts(timelines), [
        ["svc.Inner", 3, "typed_failure"],
        ["svc.Middle", 1, "retried_below"],
        ["svc.Outer", 1, "retried_below"]
      ])
    }))

  it.effect("with nested: \"allow\" they make 27", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const [exit] = yield* threeDeep(s, all({ retry: { ...retry, nested: "allow" } }))
      assertFailsWith(exit, boom)
      assert.strictEqual(s.runs, 27)
    }))

  it.effect("with nested: \"allow\" on the outermost only they make 9", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const outer: Policy.Input = { retry: { nested: "allow" } }
      yield* threeDeep(s, all({ retry }, { "svc.Outer": outer }))
      assert.strictEqual(s.runs, 9)
    }))

  it.effect("a classifier of the user decides over the rule", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const again = Classifier.make((exit) =>
        exit._tag === "Failure" ? Outcome.retryable({ reason: "again" }) : undefined
      )
      yield* threeDeep(s, all({ retry }), again)
      assert.strictEqual(s.runs, 27)
    }))

  it.effect("an adapter that knows nothing of it does not decide over the rule", () =>
    Effect.gen(function*() {
      for (const [nested, runs] of [[undefined, 3], ["allow", 9]] as const) {
        const s = script(fails(boom))
        const protocol = () => Outcome.retryable({ reason: "unavailable" })
        yield* s.effect.pipe(
          Rego.resilient("svc.Inner"),
          Rego.resilient("svc.Outer", { protocol, onDiscard: () => Effect.void }),
          inVirtualTime,
          (self) => under(self, all({ retry: { ...retry, nested } }))
        )
        assert.strictEqual(s.runs, runs)
      }
    }))

  it.effect("a nested call without retries of its own leaves them to the call around it", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const [, timelines] = yield* threeDeep(
        s,
        all({ retry }, { "svc.Inner": { retry: "off" }, "svc.Middle": { retry: "off" } })
      )
      assert.strictEqual(s.runs, 3)
      assert.strictEqual(timelines.at(-1)?.attempts.length, 3)
    }))

  it.effect("a nested call with a retry section of a single attempt has had its retries", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      yield* threeDeep(s, all({ retry }, { "svc.Inner": { retry: { maxAttempts: 1 } } }))
      assert.strictEqual(s.runs, 1)
    }))

  it.effect("a failure that only looks like one that was retried is retried", () =>
    Effect.gen(function*() {
      // handled, and failed with anew: no longer the failure of the nested call
      const s = script(fails(boom))
      const anew = s.effect.pipe(Rego.resilient("svc.Inner"), Effect.catch(() => Effect.fail("translated")))
      yield* inVirtualTime(anew.pipe(Rego.resilient("svc.Outer"))).pipe((self) => under(self, all({ retry })))
      assert.strictEqual(s.runs, 9)
    }))

  it.effect("a failure that was mapped on its way is still one that was retried", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      const mapped = s.effect.pipe(Rego.resilient("svc.Inner"), Effect.mapError(() => "mapped"))
      const exit = yield* inVirtualTime(mapped.pipe(Rego.resilient("svc.Outer"))).pipe((self) =>
        under(self, all({ retry }))
      )
      assertFailsWith(exit, "mapped")
      assert.strictEqual(s.runs, 3)
    }))

  const stops: Record<string, readonly [inner: Policy.Input, s: () => Script<never, Error>]> = {
    AttemptTimedOut: [{ retry: "off", timeout: { perAttempt: "5 millis" } }, () => script<never, Error>(hangs)],
    DeadlineExceeded: [{ retry: "off", timeout: { overall: "5 millis" } }, () => script<never, Error>(hangs)]
  }
  for (const [reason, [inner, make]] of Object.entries(stops)) {
    it.effect(`a ${reason} of a nested call is nested_stop: asked once, returned as it is`, () =>
      Effect.gen(function*() {
        const s = make()
        const [exit, timelines] = yield* threeDeep(
          s,
          all({ retry, idempotent: true }, { "svc.Inner": inner, "svc.Middle": {} })
        )
        const error = regoErrorOf(exit)
        assert.strictEqual(error.reason._tag, reason)
        assert.strictEqual(error.key as string, "svc.Inner")
        assert.strictEqual(s.runs, 1)
        assert.deepStrictEqual(verdicts(timelines).slice(1), [
          ["svc.Middle", 1, "nested_stop"],
          ["svc.Outer", 1, "nested_stop"]
        ])
      }))
  }

  it.effect("an AdmissionDenied of a nested call is asked for once by a call of 3 attempts", () =>
    Effect.gen(function*() {
      let asked = 0
      const closed = Effect.succeed({
        admit: () => {
          asked++
          return { _tag: "Denied" as const, reason: "overloaded" }
        },
        tryAcquire: () => ({ _tag: "Denied" as const, reason: "closed" }),
        state: Effect.succeed({ balance: 0 })
      })
      const s = script(succeeds(1))
      const inner = s.effect.pipe(Rego.resilient(key), (self) => under(self, withBudget({}, closed)))
      const exit = yield* inVirtualTime(inner.pipe(Rego.resilient("svc.Outer"))).pipe((self) =>
        under(self, all({ retry }))
      )
      assert.strictEqual(regoErrorOf(exit).reason._tag, "AdmissionDenied")
      assert.deepStrictEqual([asked, s.runs], [1, 0])
    }))

  it.effect("the timeout of its own attempt is not taken for one of a nested call", () =>
    Effect.gen(function*() {
      const s = script<string, never>(hangs, succeeds("ok"))
      const exit = yield* inVirtualTime(s.effect.pipe(Rego.resilient(key))).pipe((self) =>
        under(self, all({ retry, timeout: { perAttempt: "5 millis" }, idempotent: true }))
      )
      assertSucceedsWith(exit, "ok")
    }))
})

describe("rejections on this side", () => {
  const breaker = CircuitBreaker.make({
    tripPolicy: CircuitBreaker.consecutive(2),
    openDuration: "1 minute"
  })
  const stores = Layer.mergeAll(
    CircuitBreaker.layerStoreMemory(),
    RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))
  )

  it.effect("an open circuit breaker inside the attempt ends the call at once, without asking the budget", () =>
    Effect.gen(function*() {
      const { counts, make } = countingBudget()
      const s = script(fails(boom))
      yield* Effect.gen(function*() {
        const circuit = yield* breaker
        const guarded = s.effect.pipe(circuit.execute({ key: "users" }))
        // the second attempt trips the breaker, the third meets it open
        const [exit, [timeline]] = yield* Effect.flatten(inVirtualTime(
          Timeline.capture(guarded.pipe(Rego.resilient(key))),
          "1 second"
        ))
        const error = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
        assert.strictEqual((error as { readonly _tag?: string })._tag, "CircuitBreakerError")
        assert.strictEqual(s.runs, 2)
        assert.deepStrictEqual(rows(timeline!), [
          [0, "start 0"],
          [0, "end 0 Retryable typed_failure"],
          [0, "wait 10"],
          [10, "start 1"],
          [10, "end 1 Retryable typed_failure"],
          [10, "wait 10"],
          [20, "start 2"],
          [20, "end 2 NonRetryable rejected_locally"],
          [20, "stop non_retryable"],
          [20, "failure"]
        ])
        assert.strictEqual(counts.asked, 2)
        // further calls are refused on this side and cost nothing
        yield* inVirtualTime(Effect.exit(guarded.pipe(Rego.resilient(key))), "1 second")
        assert.strictEqual(s.runs, 2)
        assert.strictEqual(counts.asked, 2)
      }).pipe(Effect.scoped, Effect.provide(stores), (self) => under(self, withBudget({ retry }, make)))
    }))

  it.effect("a circuit breaker inside the attempt sees the wire: it counts attempts, not calls", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      yield* Effect.gen(function*() {
        const circuit = yield* CircuitBreaker.make({
          tripPolicy: CircuitBreaker.consecutive(3),
          openDuration: "1 minute"
        })
        const guarded = s.effect.pipe(circuit.execute({ key: "users" }))
        yield* inVirtualTime(Effect.exit(guarded.pipe(Rego.resilient(key))), "1 second")
        assert.strictEqual((yield* circuit.state("users"))._tag, "Open")
      }).pipe(Effect.scoped, Effect.provide(stores), (self) => under(self, all({ retry })))
      assert.strictEqual(s.runs, 3)
    }))

  it.effect("a rate limiter that is exceeded ends the call at once with its error", () =>
    Effect.gen(function*() {
      const s = script(succeeds("ok"))
      yield* Effect.gen(function*() {
        const withLimit = yield* RateLimiter.makeWithRateLimiter
        const limited = s.effect.pipe(withLimit({ key: "users", limit: 1, window: "1 minute", onExceeded: "fail" }))
        const guarded = limited.pipe(Rego.resilient(key))
        assertSucceedsWith(yield* inVirtualTime(guarded, "1 millis"), "ok")
        const [exit, [timeline]] = yield* Effect.flatten(inVirtualTime(Timeline.capture(guarded), "1 second"))
        const error = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
        assert.strictEqual((error as { readonly _tag?: string })._tag, "RateLimiterError")
        assert.deepStrictEqual(rows(timeline!).map(([, event]) => event), [
          "start 0",
          "end 0 NonRetryable rejected_locally",
          "stop non_retryable",
          "failure"
        ])
      }).pipe(Effect.provide(stores), (self) => under(self, all({ retry })))
      assert.strictEqual(s.runs, 1)
    }))

  it.effect("they deposit nothing: a hundred of them pay for no retry", () =>
    Effect.gen(function*() {
      const s = script(fails(boom))
      yield* Effect.gen(function*() {
        const circuit = yield* breaker
        const rejected = Effect.fail(boom).pipe(circuit.execute({ key: "users" }), Rego.resilient(key), Effect.exit)
        const calls = Effect.all(Array.from({ length: 100 }, () => rejected))
        yield* inVirtualTime(calls, "1 second")
        const rest = Effect.all(Array.from({ length: 20 }, () => Effect.exit(s.effect.pipe(Rego.resilient(key)))))
        yield* inVirtualTime(rest, "1 second")
      }).pipe(
        Effect.scoped,
        Effect.provide(stores),
        (self) => under(self, PolicyLayer.make({ policies: { [key]: { retry: { maxAttempts: 2, backoff } } } }))
      )
      // of the reserve of five the first call has taken two: one for each failure before the breaker opened
      assert.isAtMost(s.runs, 25)
      assert.isAtLeast(s.runs, 23)
    }))
})
