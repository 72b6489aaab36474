import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Classifier, Hedge, Outcome, PolicyLayer, Rego, Timeline } from "@rego/core"
import { HttpClassifier, HttpKey, HttpRego } from "@rego/http"
import { Cause, Effect, Exit, Layer, Logger, Option, Random, Schema, Stream, Tracer } from "effect"
import { HttpBody, HttpClient, HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { makeTracer } from "../../core/test/support.ts"
import type { Scripted, Step } from "./support.ts"
import { inVirtualTime, policiesOf, quietly, refused, reset, retry, scripted, storyOf, wordOf } from "./support.ts"

// -----------------------------------------------------------------------------
// what the tests share
// -----------------------------------------------------------------------------

const url = "http://users.test/users/1"
const ok: Step = { status: 200, body: "ada" }
const unavailable: Step = { status: 503 }

const request = (method: string, body = HttpBody.empty as HttpBody.HttpBody) =>
  HttpClientRequest.make(method as "GET")(url).pipe(HttpClientRequest.setBody(body))

interface Ran {
  readonly word: string
  readonly story: ReadonlyArray<string>
  readonly exit: Exit.Exit<HttpClientResponse.HttpClientResponse, unknown>
  readonly timeline: Timeline.Timeline
}

/** Sends one request through a resilient client, in virtual time. */
const send = (
  server: Scripted,
  options: HttpRego.Options = {},
  policy: Policy.Input = { retry },
  sent = request("GET")
): Effect.Effect<Ran> => {
  const call = server.client.pipe(HttpRego.resilient(options)).execute(sent)
  return inVirtualTime(Timeline.capture(call)).pipe(
    Effect.flatten,
    Effect.map(([exit, timelines]) => {
      const timeline = timelines.at(-1)!
      return { word: wordOf(exit), story: storyOf(timeline), exit, timeline }
    }),
    Random.withSeed("http"),
    Effect.provide(policiesOf(policy))
  )
}

const hedged: Policy.Input = { hedge: { trigger: Hedge.after(50), maxFailing: 1 }, timeout: { overall: 1_000 } }

describe("HttpRego", () => {
  // ---------------------------------------------------------------------------
  // calls
  // ---------------------------------------------------------------------------

  describe("resilient", () => {
    const forms = {
      "in a pipe": (self: HttpClient.HttpClient) => self.pipe(HttpRego.resilient()),
      "in a pipe, with options": (self: HttpClient.HttpClient) => self.pipe(HttpRego.resilient({ key: "users.Get" })),
      "with the client first": (self: HttpClient.HttpClient) => HttpRego.resilient(self),
      "with the client first, and options": (self: HttpClient.HttpClient) =>
        HttpRego.resilient(self, { key: "users.Get" })
    }
    for (const [form, wrap] of Object.entries(forms)) {
      it.effect(`retries, ${form}`, () =>
        Effect.gen(function*() {
          const server = scripted(unavailable, ok)
          const exit = yield* inVirtualTime(Effect.flatMap(wrap(server.client).get(url), (response) => response.text))
          assert.deepStrictEqual(exit, Exit.succeed("ada"))
          assert.strictEqual(server.sent.length, 2)
        }).pipe(Effect.provide(policiesOf({ retry }))))
    }

    it.effect("makes every method and execute a call of its own", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        const client = HttpRego.resilient(server.client)
        for (const one of [client.get(url), client.head(url), client.put(url), client.execute(request("QUERY"))]) {
          const before = server.sent.length
          yield* inVirtualTime(one)
          assert.strictEqual(server.sent.length - before, 3)
        }
      }).pipe(Effect.provide(policiesOf({ retry }))))

    it.effect("returns the last response as it is when it gives up, with its body to read", () =>
      Effect.gen(function*() {
        const server = scripted({ status: 503, body: "first" }, { status: 503, body: "last" })
        const ran = yield* send(server, {}, { retry: { ...retry as object, maxAttempts: 2 } })
        assert.strictEqual(ran.word, "503")
        assert.deepStrictEqual(ran.story, ["Retryable http_503", "Retryable http_503", "stop attempts_exhausted"])
        assert.strictEqual(yield* Exit.isSuccess(ran.exit) ? ran.exit.value.text : Effect.succeed(""), "last")
      }))

    it.effect("returns the error of the client as it is, and a 404 as a response", () =>
      Effect.gen(function*() {
        const broken = yield* send(scripted(reset))
        assert.deepStrictEqual([broken.word, broken.story.at(-2)], ["TransportError", "Retryable reset"])
        const missing = yield* send(scripted({ status: 404 }))
        assert.deepStrictEqual([missing.word, missing.story], ["404", ["NonRetryable http_404", "stop non_retryable"]])
      }))

    it.effect("304 is no error of ours", () =>
      Effect.gen(function*() {
        const ran = yield* send(scripted({ status: 304 }))
        assert.deepStrictEqual([ran.word, ran.story], ["304", ["Success"]])
      }))

    it.effect("asks the classifier of the client, then the policy's, then HTTP", () =>
      Effect.gen(function*() {
        const no = (reason: string) => Classifier.make(() => Outcome.nonRetryable({ reason }))
        const verdict = (classifier: HttpRego.Options["classifier"], policy: Policy.Input["classifier"]) =>
          Effect.map(
            send(scripted(unavailable), { classifier }, { retry, classifier: policy }),
            ({ timeline }) => timeline.attempts[0]?.reason
          )
        assert.strictEqual(yield* verdict(no("client"), no("policy")), "client")
        assert.strictEqual(yield* verdict(undefined, no("policy")), "policy")
        assert.strictEqual(yield* verdict(undefined, Classifier.never), "http_503")
      }))

    it.effect("knows a server with habits of its own", () =>
      Effect.gen(function*() {
        const server = scripted({ status: 409 }, ok)
        assert.strictEqual((yield* send(server, { server: { retryable: [409] } })).word, "200")
      }))

    it("refuses options that cannot be used, all of them at once", () => {
      assert.throws(
        () =>
          HttpRego.resilient(scripted(ok).client, {
            key: "users.3f0c1f6e-2d3b-4c5a-9e8f-0123456789ab",
            server: { retryable: [42], rejectsBeforeWork: [5] },
            headers: { attempt: "x attempt", deadline: "" },
            drain: { bytes: -1, within: "1 hour" }
          }),
        RangeError,
        new RegExp([
          "^HttpRego: key: \"users\\.3f0c.*\" must be the same .* looks like an id",
          "server.retryable\\[0\\] must be 100 to 599, got 42",
          "server.rejectsBeforeWork\\[0\\] must be 100 to 599, got 5",
          "headers.attempt must be the name of a header, got \"x attempt\"",
          "headers.deadline must be the name of a header, got \"\"",
          "drain.bytes must be an integer from 0, got -1",
          "drain.within must be 0 to 1 minute, got 1 hour$"
        ].join("; "))
      )
    })
  })

  // ---------------------------------------------------------------------------
  // keys
  // ---------------------------------------------------------------------------

  describe("the key", () => {
    const keyWith = (options: HttpRego.Options) =>
      Effect.map(send(scripted(ok), options), ({ timeline }) => timeline.key)

    it.effect("is host and method, a name, or what a function says", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* keyWith({}), "users.test.GET")
        assert.strictEqual(yield* keyWith({ key: "users.Get" }), "users.Get")
        assert.strictEqual(yield* keyWith({ key: HttpKey.service("users") }), "users.GET")
        assert.strictEqual(yield* keyWith({ key: HttpKey.routes({ "GET /users/:id": "users.Get" }) }), "users.Get")
      }))

    it.effect("that is an id becomes the overflow key, and the request is sent", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* keyWith({ key: () => "users.48121001" }), "users._overflow")
      }))
  })

  // ---------------------------------------------------------------------------
  // idempotency
  // ---------------------------------------------------------------------------

  describe("a request is repeated as its method allows", () => {
    const failures: Readonly<Record<string, Step>> = {
      "refused at connect": refused,
      "reset": reset,
      "503": unavailable,
      "429": { status: 429, headers: { "retry-after": "1" } },
      "our timeout": "hangs"
    }
    const timeout = { perAttempt: 100 }
    const idempotent = { "refused at connect": 3, "reset": 3, "503": 3, "429": 3, "our timeout": 3 }
    const careful = { "refused at connect": 3, "reset": 1, "503": 1, "429": 3, "our timeout": 1 }
    const methods = {
      GET: idempotent,
      HEAD: idempotent,
      OPTIONS: idempotent,
      TRACE: idempotent,
      QUERY: idempotent,
      PUT: idempotent,
      DELETE: idempotent,
      POST: careful,
      PATCH: careful
    }
    for (const [method, counts] of Object.entries(methods)) {
      for (const [failure, step] of Object.entries(failures)) {
        const times = counts[failure as keyof typeof counts]
        it.effect(`${method}, ${failure}: sent ${times === 1 ? "once" : `${times} times`}`, () =>
          Effect.gen(function*() {
            const server = scripted(step)
            const ran = yield* send(server, {}, { retry, timeout }, request(method))
            assert.strictEqual(server.sent.length, times)
            assert.strictEqual(ran.story.at(-1), times === 1 ? "stop not_idempotent" : "stop attempts_exhausted")
          }))
      }
    }

    it.effect("a POST with an Idempotency-Key is repeated like a GET", () =>
      Effect.gen(function*() {
        for (const step of Object.values(failures)) {
          const server = scripted(step)
          const keyed = HttpClientRequest.setHeader(request("POST"), "Idempotency-Key", "order-17")
          yield* send(server, {}, { retry, timeout }, keyed)
          assert.strictEqual(server.sent.length, 3)
          assert.deepStrictEqual(server.header("idempotency-key"), ["order-17", "order-17", "order-17"])
        }
      }))

    it.effect("the option counts more than the method, for all requests or for some", () =>
      Effect.gen(function*() {
        const isSearch = ({ url }: HttpClientRequest.HttpClientRequest) => url.includes("/search") ? true : undefined
        const rows: ReadonlyArray<readonly [HttpRego.Options["idempotent"], method: string, times: number]> = [
          [true, "POST", 3],
          [false, "GET", 1],
          [() => true, "POST", 3],
          [isSearch, "POST", 1],
          [isSearch, "GET", 3]
        ]
        for (const [idempotent, method, times] of rows) {
          const server = scripted(unavailable)
          yield* send(server, { idempotent }, { retry }, request(method))
          assert.strictEqual(server.sent.length, times)
        }
        const server = scripted(unavailable)
        const search = HttpClientRequest.setUrl(request("POST"), "http://users.test/search")
        yield* send(server, { idempotent: isSearch }, { retry }, search)
        assert.strictEqual(server.sent.length, 3)
      }))

    it.effect("what the policy says of the key does not make a POST idempotent", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        yield* send(server, {}, { retry, idempotent: true }, request("POST"))
        assert.strictEqual(server.sent.length, 1)
      }))

    it.effect("a GET is hedged, a POST is not, a POST with a key is", () =>
      Effect.gen(function*() {
        const keyed = HttpClientRequest.setHeader(request("POST"), "idempotency-key", "k")
        for (const [one, times] of [[request("GET"), 2], [request("POST"), 1], [keyed, 2]] as const) {
          const server = scripted("hangs", ok)
          const ran = yield* send(server, {}, hedged, one)
          assert.strictEqual(server.sent.length, times)
          assert.strictEqual(ran.word, times === 2 ? "200" : "DeadlineExceeded")
        }
      }))
  })

  describe("withIdempotencyKey", () => {
    const keysOf = (wrap: (client: HttpClient.HttpClient) => HttpClient.HttpClient.With<any, any>, calls = 2) =>
      Effect.gen(function*() {
        const server = scripted(unavailable, ok, unavailable, ok)
        for (let i = 0; i < calls; i++) yield* inVirtualTime(wrap(server.client).post(url))
        return server.header("idempotency-key")
      }).pipe(Random.withSeed("keys"), Effect.provide(policiesOf({ retry })))

    const below = (client: HttpClient.HttpClient) => client.pipe(HttpRego.withIdempotencyKey, HttpRego.resilient())
    const above = (client: HttpClient.HttpClient) => client.pipe(HttpRego.resilient(), HttpRego.withIdempotencyKey)

    it.effect("gives all attempts of a call one key, and each call its own, below resilient and above it", () =>
      Effect.gen(function*() {
        for (const wrap of [below, above]) {
          const [first, again, second, secondAgain] = yield* keysOf(wrap)
          assert.strictEqual(first, again)
          assert.strictEqual(second, secondAgain)
          assert.notStrictEqual(first, second)
          assert.isTrue(Schema.is(Schema.String.check(Schema.isUUID(4)))(first))
        }
      }))

    it.effect("takes its keys from Effect's Random", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* keysOf(below), yield* keysOf(below))
      }))

    it.effect("keeps the key that a request has, and gives none to a GET", () =>
      Effect.gen(function*() {
        const server = scripted(ok)
        const client = below(server.client)
        yield* inVirtualTime(client.post(url, { headers: { "Idempotency-Key": "mine" } }))
        yield* inVirtualTime(client.get(url))
        assert.deepStrictEqual(server.header("idempotency-key"), ["mine", undefined])
      }).pipe(Effect.provide(policiesOf({ retry }))))

    it.effect("draws a thousand different keys", () =>
      Effect.gen(function*() {
        const server = scripted(ok)
        const client = HttpRego.withIdempotencyKey(server.client)
        for (let i = 0; i < 1_000; i++) yield* client.post(url)
        assert.strictEqual(new Set(server.header("idempotency-key")).size, 1_000)
      }).pipe(Random.withSeed("keys")))
  })

  // ---------------------------------------------------------------------------
  // bodies of requests
  // ---------------------------------------------------------------------------

  describe("a body that is a stream", () => {
    const stream = HttpBody.stream(Stream.succeed(new Uint8Array([1, 2, 3])))

    it.effect("is sent once, whatever the method and the failure, and the timeline says why", () =>
      Effect.gen(function*() {
        for (const step of [unavailable, refused]) {
          const server = scripted(step)
          const ran = yield* send(server, {}, { retry }, request("PUT", stream))
          assert.strictEqual(server.sent.length, 1)
          assert.strictEqual(ran.story.at(-1), "stop not_replayable")
        }
        const slow = scripted("hangs", ok)
        yield* send(slow, {}, hedged, request("PUT", stream))
        assert.strictEqual(slow.sent.length, 1)
      }))

    it.effect("is sent again where the client says that it can be", () =>
      Effect.gen(function*() {
        for (const replayable of [true, () => true]) {
          const server = scripted(unavailable, ok)
          assert.strictEqual((yield* send(server, { replayable }, { retry }, request("PUT", stream))).word, "200")
        }
      }))

    it.effect("is sent once where the function that should know throws", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        const replayable = () => {
          throw new Error("no idea")
        }
        yield* send(server, { replayable }, { retry }, request("PUT", stream))
        assert.strictEqual(server.sent.length, 1)
      }).pipe(Effect.provideService(Logger.CurrentLoggers, new Set())))
  })

  // ---------------------------------------------------------------------------
  // server hints
  // ---------------------------------------------------------------------------

  describe("server hints", () => {
    const secondAt = (server: Scripted) => server.sent[1]?.at

    const rows: ReadonlyArray<readonly [string, status: number, headers: Record<string, string>]> = [
      ["429 with Retry-After: 2", 429, { "retry-after": "2" }],
      ["503 with Retry-After: 2", 503, { "retry-after": "2" }],
      ["503 with an instant, by the clock of the call", 503, { "retry-after": "Thu, 01 Jan 1970 00:00:02 GMT" }],
      ["429 with a quota", 429, { "ratelimit": `"default";r=0;t=2` }]
    ]
    const jittered: Policy.Input = { retry: { maxAttempts: 3 }, timeout: { overall: "20 seconds" } }
    for (const [name, status, headers] of rows) {
      it.effect(`${name}: comes back between 2.0 and 2.5 s`, () =>
        Effect.gen(function*() {
          const server = scripted({ status, headers }, ok)
          const ran = yield* send(server, {}, jittered)
          assert.strictEqual(ran.word, "200")
          assert.isAtLeast(secondAt(server)!, 2_000)
          assert.isAtMost(secondAt(server)!, 2_500)
        }))
    }

    it.effect("an instant is compared with the clock of the call, wherever that stands", () =>
      Effect.gen(function*() {
        yield* TestClock.adjust("1 hour")
        const headers = { "retry-after": "Thu, 01 Jan 1970 01:00:02 GMT" }
        const server = scripted({ status: 503, headers }, ok)
        yield* send(server, {}, jittered)
        assert.isAtMost(secondAt(server)! - server.sent[0]!.at, 2_500)
      }))

    const hostile = ["-1", "NaN", "1e3", "0x10", "2147484.5", " ", "9".repeat(10_240)]
    for (const value of hostile) {
      it.effect(`Retry-After: ${value.slice(0, 12)} is no hint`, () =>
        Effect.gen(function*() {
          const server = scripted({ status: 503, headers: { "retry-after": value } }, ok)
          yield* send(server)
          assert.strictEqual(secondAt(server), 10)
        }))
    }

    for (const value of ["86400", "2147484", "2147483648", "9999999999999999999"]) {
      it.effect(`Retry-After: ${value} is too long: the call stops at once, with the response`, () =>
        Effect.gen(function*() {
          const server = scripted({ status: 503, headers: { "retry-after": value } }, ok)
          const ran = yield* send(server, {}, jittered)
          assert.strictEqual(ran.word, "503")
          assert.strictEqual(ran.story.at(-1), "stop retry_after_too_long")
          assert.strictEqual(ran.timeline.endedAt, ran.timeline.startedAt)
          assert.strictEqual(server.sent.length, 1)
        }))
    }

    it.effect("Retry-After: 0, and a date that has passed, mean at once", () =>
      Effect.gen(function*() {
        for (const value of ["0", "Thu, 01 Jan 1970 00:00:00 GMT"]) {
          const server = scripted({ status: 503, headers: { "retry-after": value } }, ok)
          const ran = yield* send(server)
          assert.strictEqual(ran.word, "200")
          assert.isAtMost(secondAt(server)! - server.sent[0]!.at, 10)
        }
      }))

    it.effect("x-should-retry: false ends the call, and is a failure all the same", () =>
      Effect.gen(function*() {
        const server = scripted({ status: 503, headers: { "x-should-retry": "false" } })
        const ran = yield* send(server)
        assert.deepStrictEqual(ran.story, ["Retryable http_503_final", "stop retry_after_too_long"])
        assert.strictEqual(ran.word, "503")
      }))

    it.effect("x-should-retry: false of a hedge does not end the request that is still running", () =>
      Effect.gen(function*() {
        const server = scripted({ status: 200, after: 100 }, {
          status: 503,
          after: 10,
          headers: { "x-should-retry": "false" }
        })
        const ran = yield* send(server, {}, hedged)
        assert.strictEqual(ran.word, "200")
        assert.strictEqual(server.sent.length, 2)
      }))

    it.effect(
      "10,000 callers that got a 429 or a 503 with Retry-After: 2 come back between 2.0 and 2.5 s, spread",
      () =>
        Effect.gen(function*() {
          const callers = 10_000
          let first = 0
          const returns: Array<number> = []
          const answer = (now: number): Response => {
            if (first === callers) {
              returns.push(now)
              return new Response(null, { status: 200 })
            }
            return new Response(null, { status: first++ % 2 === 0 ? 429 : 503, headers: { "retry-after": "2" } })
          }
          const client = HttpClient.make((request) =>
            Effect.clockWith((clock) =>
              Effect.succeed(HttpClientResponse.fromWeb(request, answer(clock.currentTimeMillisUnsafe())))
            )
          ).pipe(HttpRego.resilient())
          const all = Effect.all(Array.from({ length: callers }, () => client.get(url)), { concurrency: "unbounded" })
          const exit = yield* inVirtualTime(all, "3 seconds").pipe(
            Random.withSeed("crowd"),
            Effect.provide(policiesOf({ retry: { maxAttempts: 2 } }))
          )
          assert.isTrue(Exit.isSuccess(exit) && exit.value.every((response) => response.status === 200))
          assert.strictEqual(returns.length, callers)
          for (const at of returns) assert.isTrue(at >= 2_000 && at <= 2_500, `${at}`)
          // in any 10 ms, not only in those that begin with a full one
          returns.sort((a, b) => a - b)
          let from = 0
          let most = 0
          for (const [i, at] of returns.entries()) {
            while (returns[from]! <= at - 10) from++
            most = Math.max(most, i - from + 1)
          }
          assert.isAtMost(most, 300)
          assert.isAbove(most, 100)
        }),
      60_000
    )
  })

  // ---------------------------------------------------------------------------
  // what the server is told
  // ---------------------------------------------------------------------------

  describe("headers", () => {
    it.effect("say nothing about the attempt unless they are named", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        yield* send(server)
        for (const { request } of server.sent) {
          assert.sameMembers(Object.keys(request.headers), ["traceparent", "b3"])
        }
      }))

    it.effect("tell the number of the request and the milliseconds left, for retries", () =>
      Effect.gen(function*() {
        const server = scripted({ status: 503, after: 30 })
        const headers = { attempt: "X-Attempt", deadline: "X-Timeout-Ms" }
        yield* send(server, { headers }, { retry, timeout: { perAttempt: 500, overall: 520 } })
        assert.deepStrictEqual(server.header("x-attempt"), ["1", "2", "3"])
        assert.deepStrictEqual(server.header("x-timeout-ms"), ["500", "480", "440"])
      }))

    it.effect("and for hedges, which count like any other request", () =>
      Effect.gen(function*() {
        const server = scripted("hangs", { status: 200, after: 10 })
        yield* send(server, { headers: { attempt: "x-attempt", deadline: "x-timeout-ms" } }, hedged)
        assert.deepStrictEqual(server.header("x-attempt"), ["1", "2"])
        assert.deepStrictEqual(server.header("x-timeout-ms"), ["1000", "950"])
      }))

    it.effect("tell no deadline where there is none", () =>
      Effect.gen(function*() {
        const server = scripted(ok)
        yield* send(server, { headers: { deadline: "x-timeout-ms" } })
        assert.deepStrictEqual(server.header("x-timeout-ms"), [undefined])
      }))

    it.effect("start to count anew with each call of one client", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable, ok, unavailable, ok)
        const client = HttpRego.resilient(server.client, { headers: { attempt: "x-attempt" } })
        const get = client.get(url)
        yield* inVirtualTime(get)
        yield* inVirtualTime(get)
        assert.deepStrictEqual(server.header("x-attempt"), ["1", "2", "1", "2"])
      }).pipe(Effect.provide(policiesOf({ retry }))))
  })

  describe("mapAttempt", () => {
    const replica: HttpRego.Options["mapAttempt"] = (request, { hedge, retry }) =>
      HttpClientRequest.setUrl(request, `http://replica-${hedge}.test/${retry}`)

    it.effect("sends a hedge to another replica, under the key of the request", () =>
      Effect.gen(function*() {
        const server = scripted("hangs", ok)
        const ran = yield* send(server, { mapAttempt: replica }, hedged)
        assert.deepStrictEqual(server.sent.map(({ request }) => request.url), [
          "http://replica-0.test/0",
          "http://replica-1.test/0"
        ])
        assert.strictEqual(ran.timeline.key, "users.test.GET")
      }))

    it.effect("sees each request as the caller made it, not as the attempt before sent it", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        const mapAttempt: HttpRego.Options["mapAttempt"] = (request) => HttpClientRequest.appendUrl(request, "x")
        yield* send(server, { mapAttempt, headers: { attempt: "x-attempt" } })
        assert.deepStrictEqual(server.sent.map(({ request }) => request.url), [`${url}/x`, `${url}/x`, `${url}/x`])
        assert.deepStrictEqual(server.header("x-attempt"), ["1", "2", "3"])
      }))
  })

  describe("spans", () => {
    const spansOf = (server: Scripted, policy: Policy.Input) =>
      Effect.gen(function*() {
        const { spans, tracer } = makeTracer()
        yield* send(server, {}, policy).pipe(Effect.provideService(Tracer.Tracer, tracer))
        return spans
          .filter((span) => span.attributes.has("http.request.method"))
          .map((span) => span.attributes.get("http.request.resend_count"))
      })

    it.effect("of requests that are sent again carry http.request.resend_count, the first one does not", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* spansOf(scripted(unavailable), { retry }), [undefined, 1, 2])
      }))

    it.effect("count hedges", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* spansOf(scripted("hangs", ok), hedged), [undefined, 1])
      }))
  })

  // ---------------------------------------------------------------------------
  // foreign functions
  // ---------------------------------------------------------------------------

  describe("an option that throws", () => {
    const boom = () => {
      throw new Error("boom")
    }
    for (const what of ["key", "idempotent", "replayable", "mapAttempt"] as const) {
      it.effect(`${what}: the request is sent as it is, once, under the default key, with one line in the log`, () =>
        Effect.gen(function*() {
          const lines: Array<string> = []
          const logger = Logger.make<unknown, void>(({ message }) => void lines.push([message].flat().join(" ")))
          const server = scripted(unavailable)
          const client = HttpRego.resilient(server.client, {
            [what]: boom,
            ...(what === "key" || what === "mapAttempt" ? { idempotent: false } : {})
          })
          const twice = Effect.all([Timeline.capture(client.get(url)), Timeline.capture(client.get(url))])
          const [, [, [timeline]]] = yield* inVirtualTime(twice).pipe(
            Effect.flatten,
            Effect.provideService(Logger.CurrentLoggers, new Set([logger])),
            Effect.provide(policiesOf({ retry }))
          )
          assert.strictEqual(timeline?.key, "users.test.GET")
          assert.strictEqual(server.sent.length, 2)
          assert.deepStrictEqual(lines, [`rego: a defect in the ${what} option of an HTTP client fails no call`])
        }))
    }
  })

  // ---------------------------------------------------------------------------
  // one layer retries
  // ---------------------------------------------------------------------------

  describe("only one layer retries", () => {
    const twiceWrapped = (server: Scripted) =>
      server.client.pipe(HttpRego.resilient({ key: "inner" }), HttpRego.resilient({ key: "outer" }))

    it.effect("a client that is made resilient twice sends 3 requests, not 9, for responses and for errors", () =>
      Effect.gen(function*() {
        for (const step of [unavailable, reset]) {
          const server = scripted(step)
          yield* inVirtualTime(twiceWrapped(server).get(url))
          assert.strictEqual(server.sent.length, 3)
        }
      }).pipe(Effect.provide(policiesOf({ retry }))))

    it.effect("nor does a call around what is done with the response", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        const call = server.client.pipe(HttpRego.resilient({ key: "inner" })).get(url).pipe(
          Effect.flatMap(HttpClientResponse.filterStatusOk),
          Rego.resilient("outer", { idempotent: true, classifier: HttpClassifier.http })
        )
        yield* inVirtualTime(call)
        assert.strictEqual(server.sent.length, 3)
      }).pipe(Effect.provide(policiesOf({ retry }))))

    it.effect("the outer one does where the inner policy has no retries", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        yield* inVirtualTime(twiceWrapped(server).get(url))
        assert.strictEqual(server.sent.length, 3)
      }).pipe(
        Effect.provide(
          PolicyLayer.make({ policies: { inner: {}, outer: { retry } }, defaults: { budget: "unlimited" } })
        )
      ))

    const asErrors = (server: Scripted) =>
      server.client.pipe(
        HttpRego.resilient({ key: "inner" }),
        HttpClient.filterStatusOk,
        HttpRego.resilient({ key: "outer" })
      )

    it.effect("both do where the outer policy allows it, also where responses have become errors in between", () =>
      Effect.gen(function*() {
        for (const wrap of [twiceWrapped, asErrors]) {
          const server = scripted(unavailable)
          yield* inVirtualTime(wrap(server).get(url))
          assert.strictEqual(server.sent.length, 9)
        }
      }).pipe(
        Effect.provide(quietly(PolicyLayer.make({
          policies: { inner: { retry }, outer: { retry: { ...retry as object, nested: "allow" } } },
          defaults: { budget: "unlimited" }
        })))
      ))
  })

  // ---------------------------------------------------------------------------
  // make and layer
  // ---------------------------------------------------------------------------

  describe("make", () => {
    it.effect("takes the policies once: the client needs nothing afterwards", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        const client: HttpClient.HttpClient.With<any> = yield* HttpRego.make(server.client).pipe(
          Effect.provide(policiesOf({ retry }))
        )
        yield* inVirtualTime(client.get(url))
        assert.strictEqual(server.sent.length, 3)
      }))

    it.effect("remembers what was retried as well", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable)
        const inner = yield* HttpRego.make(server.client, { key: "inner" })
        yield* inVirtualTime(HttpRego.resilient(inner, { key: "outer" }).get(url))
        assert.strictEqual(server.sent.length, 3)
      }).pipe(Effect.provide(policiesOf({ retry }))))
  })

  describe("layer", () => {
    const get = HttpClient.get(url)
    const through = (server: Scripted, policy: Policy.Input) =>
      HttpRego.layer().pipe(Layer.provide([Layer.succeed(HttpClient.HttpClient, server.client), policiesOf(policy)]))

    it.effect("is the HttpClient service, made resilient", () =>
      Effect.gen(function*() {
        const server = scripted(unavailable, ok)
        const exit = yield* inVirtualTime(get).pipe(Effect.provide(through(server, { retry })))
        assert.strictEqual(wordOf(exit), "200")
        assert.strictEqual(server.sent.length, 2)
      }))

    it.effect("turns a RegoError into an HttpClientError that says what it says and keeps it, and its timeline", () =>
      Effect.gen(function*() {
        const server = scripted("hangs")
        const exit = yield* inVirtualTime(get).pipe(Effect.provide(through(server, { timeout: { overall: 100 } })))
        const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
        const error = Option.getOrThrow(Cause.findErrorOption(cause))
        assert.isTrue(HttpClientError.isHttpClientError(error))
        assert.strictEqual(error.reason._tag, "TransportError")
        assert.include(error.message, "users.test.GET: the deadline of 100ms passed after 1 attempt")
        assert.strictEqual((error.cause as { readonly _tag: string })._tag, "RegoError")
        assert.deepStrictEqual(Timeline.fromCause(cause).map(({ key }) => key), ["users.test.GET"])
      }))

    it.effect("leaves the errors of the client as they are", () =>
      Effect.gen(function*() {
        const hangUp = new Error("socket hang up")
        const server = scripted({ fails: hangUp })
        const exit = yield* inVirtualTime(get).pipe(Effect.provide(through(server, {})))
        const error = Exit.isFailure(exit) ? Option.getOrThrow(Cause.findErrorOption(exit.cause)) : undefined
        assert.isTrue(HttpClientError.isHttpClientError(error))
        assert.strictEqual(error?.cause, hangUp)
      }))

    it.effect("an error that stands for a RegoError is not retried by a call around it", () =>
      Effect.gen(function*() {
        const server = scripted("hangs")
        const call = get.pipe(Rego.resilient("outer", { idempotent: true, classifier: HttpClassifier.http }))
        yield* inVirtualTime(call).pipe(
          Effect.provide(through(server, { timeout: { overall: 100 } })),
          Effect.provide(policiesOf({ retry }))
        )
        assert.strictEqual(server.sent.length, 1)
      }))
  })
})
