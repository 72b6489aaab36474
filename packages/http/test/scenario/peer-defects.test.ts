/**
 * What goes wrong in other HTTP clients and in the library this one learned from (undici, ky, axios-retry, the AWS SDK,
 * hedging transports …), reversed. Rows that are proved elsewhere are not repeated: methods, timeouts and POST, hostile
 * `Retry-After`, `retryTransient`, 1 MiB bodies under hedging.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Hedge, PolicyProvider, Timeline } from "@rego/core"
import { HttpRego } from "@rego/http"
import { Deferred, Effect, Exit, Fiber, Option } from "effect"
import { FetchHttpClient, HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { clients, inVirtualTime, policiesOf, retry, scripted, serve, storyOf, wordOf } from "../support.ts"

const url = "http://users.test/users/1"
const hedged: Policy.Input = { hedge: { trigger: Hedge.after(50), maxFailing: 1 }, timeout: { overall: 1_000 } }

describe("the reverse of peers' defects", () => {
  it.effect("a Retry-After longer than the longest backoff is waited for: nobody comes back sooner than asked", () =>
    Effect.gen(function*() {
      const server = scripted({ status: 503, headers: { "retry-after": "2" } }, { status: 200 })
      yield* inVirtualTime(HttpRego.resilient(server.client).get(url))
      assert.isAtLeast(server.sent[1]!.at, 2_000)
    }).pipe(Effect.provide(policiesOf({ retry: { backoff: Backoff.exponential({ initial: 10, max: 100 }) } }))))

  it.effect("each attempt has the whole of its timeout, not what the one before has left", () =>
    Effect.gen(function*() {
      const server = scripted({ status: 503, after: 80 }, { status: 200, after: 80 })
      const exit = yield* inVirtualTime(HttpRego.resilient(server.client).get(url))
      assert.strictEqual(wordOf(exit), "200")
    }).pipe(Effect.provide(policiesOf({ retry, timeout: { perAttempt: 100 } }))))

  it.effect("the overall timeout bounds the attempts and the waits between them together", () =>
    Effect.gen(function*() {
      const server = scripted({ status: 503, after: 80 })
      yield* inVirtualTime(HttpRego.resilient(server.client).get(url), 150)
      assert.isAtMost(server.sent.at(-1)!.at, 150)
    }).pipe(Effect.provide(policiesOf({ retry: { ...retry as object, maxAttempts: 10 }, timeout: { overall: 150 } }))))

  it.effect("an interruption in a backoff settles in the same tick, and nothing is sent again", () =>
    Effect.gen(function*() {
      const server = scripted({ status: 503, headers: { "retry-after": "5" } })
      const fiber = yield* Effect.forkChild(HttpRego.resilient(server.client).get(url), { startImmediately: true })
      yield* TestClock.adjust(100)
      assert.isUndefined(fiber.pollUnsafe())
      fiber.interruptUnsafe()
      assert.isDefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(server.sent.length, 1)
    }).pipe(Effect.provide(policiesOf({ retry }))))

  it.live("a request that its user gave up, by AbortSignal.timeout or by hand, is not sent again", () =>
    Effect.gen(function*() {
      const server = yield* serve(() => {})
      const byHand = new AbortController()
      setTimeout(() => byHand.abort(), 30)
      for (const theirs of [AbortSignal.timeout(30), byHand.signal]) {
        const client = HttpRego.resilient(yield* HttpClient.HttpClient)
        const abortable: typeof fetch = (input, init) => {
          const signals = init?.signal ? [init.signal, theirs] : [theirs]
          return fetch(input, { ...init, signal: AbortSignal.any(signals) })
        }
        const call = client.get(server.url).pipe(Effect.provideService(FetchHttpClient.Fetch, abortable))
        const [exit, [timeline]] = yield* Timeline.capture(call)
        assert.strictEqual(wordOf(exit), "TransportError")
        assert.deepStrictEqual(storyOf(timeline!), ["Abort aborted", "stop abort"])
      }
      assert.isAtMost(server.arrivals.length, 2)
    }).pipe(Effect.provide(policiesOf({ retry })), Effect.provide(clients.fetch)))

  it.effect("a hedged call does not take the first answer when that one is a 503", () =>
    Effect.gen(function*() {
      const server = scripted({ status: 503, after: 60 }, { status: 200, after: 100 })
      assert.strictEqual(wordOf(yield* inVirtualTime(HttpRego.resilient(server.client).get(url))), "200")
    }).pipe(Effect.provide(policiesOf(hedged))))

  it.effect("a 404 of either request ends a hedged call at once: it is an answer", () =>
    Effect.gen(function*() {
      const server = scripted("hangs", { status: 404, after: 10 })
      const [exit, [timeline]] = yield* Effect.flatten(
        inVirtualTime(Timeline.capture(HttpRego.resilient(server.client).get(url)))
      )
      assert.strictEqual(wordOf(exit), "404")
      assert.strictEqual(timeline!.endedAt - timeline!.startedAt, 60)
    }).pipe(Effect.provide(policiesOf(hedged))))

  it.effect("of two answers that come together, the one that is not returned is cancelled", () =>
    Effect.gen(function*() {
      const gate = yield* Deferred.make<void>()
      const answers: Array<{ readonly status: number; cancelled: boolean }> = []
      const client = HttpClient.make((request) =>
        Effect.map(Deferred.await(gate), () => {
          const answer = { status: 200 + answers.length, cancelled: false }
          answers.push(answer)
          const body = new ReadableStream({
            cancel: () => {
              answer.cancelled = true
            }
          })
          return HttpClientResponse.fromWeb(request, new Response(body, { status: answer.status }))
        })
      )
      const call = yield* Effect.forkChild(HttpRego.resilient(client).get(url), { startImmediately: true })
      yield* TestClock.adjust(50)
      yield* Deferred.succeed(gate, undefined)
      const response = yield* Fiber.join(call)
      // its body does not come: it is given the time that a short one may take
      yield* TestClock.adjust("1 second")
      const returned = (status: number) => status === response.status
      assert.deepStrictEqual(answers.map(({ cancelled, status }) => [returned(status), cancelled]), [
        [true, false],
        [false, true]
      ])
    }).pipe(Effect.provide(policiesOf(hedged))))

  it.effect("the timeout of one call does not abort another one, even of the same request object", () =>
    Effect.gen(function*() {
      const signals: Array<AbortSignal> = []
      const client = HttpRego.resilient(HttpClient.make((_, __, signal) => {
        signals.push(signal)
        return Effect.never
      }))
      const get = client.get(url)
      const first = yield* Effect.forkChild(get, { startImmediately: true })
      yield* TestClock.adjust(50)
      const second = yield* Effect.forkChild(get, { startImmediately: true })
      yield* TestClock.adjust(50)
      assert.isDefined(first.pollUnsafe())
      assert.isUndefined(second.pollUnsafe())
      assert.deepStrictEqual(signals.map(({ aborted }) => aborted), [true, false])
      yield* Fiber.interrupt(second)
    }).pipe(Effect.provide(policiesOf({ timeout: { perAttempt: 100 } }))))

  it.effect("the details of a 422 can be read", () =>
    Effect.gen(function*() {
      const server = scripted({ status: 422, body: `{"field":"name"}` })
      const exit = yield* inVirtualTime(HttpRego.resilient(server.client).post(url))
      const read = Exit.isSuccess(exit) ? exit.value.json : Effect.succeed(undefined)
      assert.deepStrictEqual(yield* read, { field: "name" })
    }).pipe(Effect.provide(policiesOf({ retry }))))

  it.effect("state is bounded by keys, however many hosts, tenants and users there are", () =>
    Effect.gen(function*() {
      const server = scripted({ status: 200 })
      const client = HttpRego.resilient(server.client)
      for (let i = 0; i < 2_000; i++) yield* client.get(`http://${1_000_000 + i}.tenants.test/users/${i}`)
      const provider = yield* PolicyProvider.PolicyProvider
      assert.isTrue(Option.isSome(yield* provider.statistics("_.tenants.test.GET")))
      assert.isTrue(Option.isNone(yield* provider.statistics("1000000.tenants.test.GET")))
    }).pipe(Effect.provide(policiesOf({ retry }))))
})
