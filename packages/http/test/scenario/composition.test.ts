/** Effect's own mechanisms beside ours: the order that `docs/http.md` recommends, and what other orders do. */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Rego, Timeline } from "@rego/core"
import { HttpClassifier, HttpRego } from "@rego/http"
import { Cause, Effect, Exit, Layer, Option, Schedule } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import { CircuitBreaker, RateLimiter } from "effect/persistence"
import type { Scripted, Step } from "../support.ts"
import { inVirtualTime, policiesOf, reset, retry, scripted, storyOf, wordOf } from "../support.ts"

const url = "http://users.test/users/1"
const ok: Step = { status: 200 }
const unavailable: Step = { status: 503 }
const limited: Step = { status: 429, headers: { "retry-after": "1" } }

const Stores = Layer.mergeAll(
  CircuitBreaker.layerStoreMemory(),
  RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))
)

const under = (policy: Policy.Input) => Effect.provide([policiesOf(policy), Stores])

const breakerOf = (failures: number) =>
  CircuitBreaker.make({ tripPolicy: CircuitBreaker.consecutive(failures), openDuration: "30 seconds" })

const tagOf = (exit: Exit.Exit<unknown, unknown>): string => {
  const error = Exit.isFailure(exit) ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined
  return String((error as { readonly _tag?: string } | undefined)?._tag)
}

describe("the recommended order: rate limiter, circuit breaker, resilient, from the wire outwards", () => {
  const build = (server: Scripted, options: { readonly failures: number; readonly limit: number }) =>
    Effect.gen(function*() {
      const breaker = yield* breakerOf(options.failures)
      const limiter = yield* RateLimiter.RateLimiter
      return server.client.pipe(
        HttpClient.withRateLimiter({ limiter, key: "users", limit: options.limit, window: "1 minute", times: 0 }),
        HttpClient.withCircuitBreaker({ breaker }),
        HttpRego.resilient()
      )
    })

  it.effect("the breaker sees every attempt, and ends the call when it opens", () =>
    Effect.gen(function*() {
      const server = scripted(unavailable)
      const client = yield* build(server, { failures: 2, limit: 100 })
      const [exit, [timeline]] = yield* Effect.flatten(inVirtualTime(Timeline.capture(client.get(url))))
      assert.strictEqual(tagOf(exit), "CircuitBreakerError")
      assert.deepStrictEqual(storyOf(timeline!), [
        "Retryable http_503",
        "Retryable http_503",
        "NonRetryable rejected_locally",
        "stop non_retryable"
      ])
      assert.strictEqual(server.sent.length, 2)
    }).pipe(under({ retry: { maxAttempts: 5, backoff: Backoff.none } })))

  it.effect("an open breaker refuses the next call without a request and without a retry", () =>
    Effect.gen(function*() {
      const server = scripted(unavailable)
      const client = yield* build(server, { failures: 1, limit: 100 })
      yield* inVirtualTime(client.get(url), "10 seconds")
      const exit = yield* inVirtualTime(client.get(url), "10 seconds")
      assert.strictEqual(tagOf(exit), "CircuitBreakerError")
      assert.strictEqual(server.sent.length, 1)
    }).pipe(under({ retry: { maxAttempts: 5, backoff: Backoff.none } })))

  it.effect("the limiter counts every attempt: of 3 a minute, 3 requests are sent at once and the 4th waits", () =>
    Effect.gen(function*() {
      const server = scripted(unavailable, unavailable, ok)
      const client = yield* build(server, { failures: 100, limit: 3 })
      assert.strictEqual(wordOf(yield* inVirtualTime(client.get(url), "1 second")), "200")
      const waiting = yield* inVirtualTime(client.get(url), "2 minutes")
      assert.strictEqual(wordOf(waiting), "200")
      assert.isAtLeast(server.sent[3]!.at, 60_000)
    }).pipe(under({ retry })))

  it.effect("a 429 is retried by us only, within the attempts of the policy", () =>
    Effect.gen(function*() {
      const server = scripted(limited)
      const client = yield* build(server, { failures: 100, limit: 100 })
      assert.strictEqual(wordOf(yield* inVirtualTime(client.get(url), "10 minutes")), "429")
      assert.strictEqual(server.sent.length, 3)
    }).pipe(under({ retry })))
})

describe("other orders", () => {
  it.effect("a rate limiter that retries 429 itself multiplies: 3 attempts of 3 requests", () =>
    Effect.gen(function*() {
      const server = scripted(limited)
      const limiter = yield* RateLimiter.RateLimiter
      const options = { limiter, key: "users", limit: 100, window: "1 minute", times: 2 } as const
      const client = server.client.pipe(HttpClient.withRateLimiter(options), HttpRego.resilient())
      yield* inVirtualTime(client.get(url), "10 minutes")
      assert.strictEqual(server.sent.length, 9)
    }).pipe(under({ retry })))

  it.effect("a breaker outside of the call sees one outcome for three requests", () =>
    Effect.gen(function*() {
      const server = scripted(unavailable)
      const breaker = yield* breakerOf(2)
      const client = server.client.pipe(HttpRego.resilient(), HttpClient.withCircuitBreaker({ breaker }))
      const states: Array<string> = []
      for (let i = 0; i < 3; i++) {
        yield* inVirtualTime(client.get(url), "1 second")
        states.push((yield* breaker.state("http://users.test"))._tag)
      }
      assert.deepStrictEqual(states, ["Closed", "Open", "Open"])
      assert.strictEqual(server.sent.length, 6)
    }).pipe(under({ retry })))

  it.effect("retryTransient below multiplies as well, and its requests are in no timeline", () =>
    Effect.gen(function*() {
      const server = scripted(unavailable)
      const client = server.client.pipe(HttpClient.retryTransient({ times: 2 }), HttpRego.resilient())
      const [, [timeline]] = yield* Effect.flatten(inVirtualTime(Timeline.capture(client.get(url))))
      assert.strictEqual(server.sent.length, 9)
      assert.strictEqual(timeline?.attempts.length, 3)
    }).pipe(under({ retry })))
})

describe("in place of retryTransient", () => {
  const mixed = [unavailable, unavailable, reset]

  it.effect("503, 503, reset and so on: it sends 9 requests where 3 were asked for", () =>
    Effect.gen(function*() {
      const server = scripted(...mixed, ...mixed, ...mixed, ...mixed)
      const client = server.client.pipe(
        HttpClient.retryTransient({ times: 2, schedule: Schedule.spaced("10 millis") })
      )
      yield* inVirtualTime(client.get(url))
      assert.strictEqual(server.sent.length, 9)
    }))

  it.effect("we send 3", () =>
    Effect.gen(function*() {
      const server = scripted(...mixed, ...mixed, ...mixed, ...mixed)
      yield* inVirtualTime(HttpRego.resilient(server.client).get(url))
      assert.strictEqual(server.sent.length, 3)
    }).pipe(under({ retry })))

  it.effect("it repeats a POST, waits a day when it is told to, and never ends without options: we do none of these", () =>
    Effect.gen(function*() {
      const post = scripted(unavailable)
      yield* inVirtualTime(HttpRego.resilient(post.client).post(url))
      assert.strictEqual(post.sent.length, 1)

      const day = scripted({ status: 503, headers: { "retry-after": "86400" } })
      yield* inVirtualTime(HttpRego.resilient(day.client).get(url), "1 millis")
      assert.strictEqual(day.sent.length, 1)

      const endless = scripted(unavailable)
      yield* inVirtualTime(HttpRego.resilient(endless.client).get(url), "1 hour")
      assert.strictEqual(endless.sent.length, 3)
    }).pipe(under({ retry: {} })))
})

describe("other combinators of HttpClient", () => {
  it.effect("filterStatusOk above sees the last response, and below makes it an error that is judged the same", () =>
    Effect.gen(function*() {
      for (
        const order of [
          (client: HttpClient.HttpClient) => client.pipe(HttpClient.filterStatusOk, HttpRego.resilient()),
          (client: HttpClient.HttpClient) => client.pipe(HttpRego.resilient(), HttpClient.filterStatusOk)
        ]
      ) {
        const server = scripted(unavailable)
        assert.strictEqual(wordOf(yield* inVirtualTime(order(server.client).get(url))), "StatusCodeError")
        assert.strictEqual(server.sent.length, 3)
      }
    }).pipe(under({ retry })))

  it.effect("mapRequest above and below applies to every attempt", () =>
    Effect.gen(function*() {
      const server = scripted(unavailable, ok)
      const client = server.client.pipe(
        HttpClient.mapRequest(HttpClientRequest.appendUrl("below")),
        HttpRego.resilient({ key: "users.Get" }),
        HttpClient.mapRequest(HttpClientRequest.appendUrl("above"))
      )
      yield* inVirtualTime(client.get(url))
      const both = `${url}/below/above`
      assert.deepStrictEqual(server.sent.map(({ request }) => request.url), [both, both])
    }).pipe(under({ retry })))

  it.effect("followRedirects below makes one attempt of a chain of redirects", () =>
    Effect.gen(function*() {
      const moved: Step = { status: 302, headers: { location: "http://users.test/users/2" } }
      const server = scripted(moved, unavailable, moved, ok)
      const client = server.client.pipe(HttpClient.followRedirects(3), HttpRego.resilient())
      const [exit, [timeline]] = yield* Effect.flatten(inVirtualTime(Timeline.capture(client.get(url))))
      assert.strictEqual(wordOf(exit), "200")
      assert.strictEqual(timeline?.attempts.length, 2)
      assert.strictEqual(server.sent.length, 4)
    }).pipe(under({ retry })))
})

describe("Rego.resilient around any effect", () => {
  const get = (server: Scripted) => Effect.flatMap(server.client.get(url), (response) => response.json)

  it.effect("a 503 whose body is no JSON is tried again, and a 404 is not", () =>
    Effect.gen(function*() {
      for (const [status, times] of [[503, 3], [404, 1]] as const) {
        const server = scripted({ status, body: "<html>" })
        const call = get(server).pipe(
          Rego.resilient("users.Get", { classifier: HttpClassifier.http, idempotent: true })
        )
        yield* inVirtualTime(call)
        assert.strictEqual(server.sent.length, times)
      }
    }).pipe(under({ retry })))

  it.effect("the classifier may be named by the policy", () =>
    Effect.gen(function*() {
      const server = scripted(unavailable)
      const call = server.client.get(url).pipe(Effect.flatMap(HttpClientResponse.filterStatusOk))
      const [, [timeline]] = yield* Effect.flatten(
        inVirtualTime(Timeline.capture(call.pipe(Rego.resilient("users.Get"))))
      )
      assert.deepStrictEqual(storyOf(timeline!).at(0), "Retryable http_503")
    }).pipe(under({ retry, classifier: HttpClassifier.http })))
})
