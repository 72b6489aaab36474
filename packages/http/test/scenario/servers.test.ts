/** Real servers on this machine, real clients, and what arrived: each row for each client that Effect has for Node. */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Hedge, Rego, Timeline } from "@rego/core"
import { HttpClassifier, HttpRego } from "@rego/http"
import { Effect, Exit, Fiber, Stream } from "effect"
import type { Scope } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import { createServer } from "node:net"
import type { AddressInfo } from "node:net"
import type { Handler, Server } from "../support.ts"
import { clients, eventually, policiesOf, retry, serve, storyOf, wordOf } from "../support.ts"

// -----------------------------------------------------------------------------
// what the tests share
// -----------------------------------------------------------------------------

/** Answers one arrival after the other as told; the last answer is repeated. */
const inTurn = (...handlers: ReadonlyArray<Handler>): Handler => (request, response, arrival) =>
  handlers[Math.min(arrival, handlers.length - 1)]!(request, response, arrival)

const status = (code: number, body = "", headers: Record<string, string> = {}): Handler => (_, response) => {
  response.writeHead(code, headers)
  response.end(body)
}
const ok = status(200, "ada")
const hangs: Handler = () => {}
const resets: Handler = (request) => void request.socket.destroy()

type Send = (
  method: string,
  options?: HttpRego.Options
) => Effect.Effect<
  {
    readonly word: string
    readonly story: ReadonlyArray<string>
    readonly exit: Exit.Exit<HttpClientResponse.HttpClientResponse, unknown>
  },
  never,
  HttpClient.HttpClient
>

const sendTo = (url: string, policy: Policy.Input): Send => (method, options = {}) =>
  Effect.gen(function*() {
    const client = HttpRego.resilient(yield* HttpClient.HttpClient, options)
    const call = client.execute(HttpClientRequest.make(method as "GET")(url))
    const [exit, [timeline]] = yield* Timeline.capture(call)
    return { word: wordOf(exit), story: storyOf(timeline!), exit }
  }).pipe(Effect.provide(policiesOf(policy)))

/** A server, and a way to send to it. */
const against = (
  handler: Handler,
  policy: Policy.Input
): Effect.Effect<{ readonly server: Server; readonly send: Send }, never, Scope.Scope> =>
  Effect.map(serve(handler), (server) => ({ server, send: sendTo(`${server.url}/users/1`, policy) }))

/** A port on which nobody listens. */
const freePort = Effect.callback<number>((resume) => {
  const server = createServer()
  server.listen(0, "127.0.0.1", () => {
    const { port } = server.address() as AddressInfo
    server.close(() => resume(Effect.succeed(port)))
  })
})

const textOf = (exit: Exit.Exit<HttpClientResponse.HttpClientResponse, unknown>) =>
  Exit.isSuccess(exit) ? exit.value.text : Effect.succeed("no response")

const cancelled = ({ arrivals }: Server) => arrivals.map((arrival) => arrival.cancelled)

for (const [name, layer] of Object.entries(clients)) {
  describe(`against a real server, with the client ${name}`, () => {
    // -------------------------------------------------------------------------
    // what is repeated
    // -------------------------------------------------------------------------

    it.live("a GET that got two 503 is answered by its third request", () =>
      Effect.gen(function*() {
        const { send, server } = yield* against(inTurn(status(503), status(503), ok), { retry })
        const { exit, story } = yield* send("GET")
        assert.strictEqual(yield* textOf(exit), "ada")
        assert.deepStrictEqual(story, ["Retryable http_503", "Retryable http_503", "Success"])
        assert.strictEqual(server.arrivals.length, 3)
      }).pipe(Effect.provide(layer)))

    it.live("a GET whose connection is reset is sent again, a POST is not", () =>
      Effect.gen(function*() {
        const { send, server } = yield* against(resets, { retry })
        assert.deepStrictEqual((yield* send("GET")).story.at(-1), "stop attempts_exhausted")
        assert.strictEqual(server.arrivals.length, 3)
        assert.deepStrictEqual((yield* send("POST")).story, ["Retryable reset", "stop not_idempotent"])
        assert.strictEqual(server.arrivals.length, 4)
      }).pipe(Effect.provide(layer)))

    it.live("a POST with a per-attempt timeout arrives once, and the server sees that it was given up", () =>
      Effect.gen(function*() {
        const { send, server } = yield* against(hangs, { retry, timeout: { perAttempt: 250 } })
        const { story, word } = yield* send("POST")
        assert.deepStrictEqual([word, ...story], [
          "AttemptTimedOut",
          "Retryable attempt_timeout",
          "stop not_idempotent"
        ])
        yield* eventually("the request was cancelled", () => server.arrivals[0]?.cancelled === true)
        assert.strictEqual(server.arrivals.length, 1)
      }).pipe(Effect.provide(layer)))

    it.live("a GET with a per-attempt timeout is sent again, and each one given up is cancelled at the server", () =>
      Effect.gen(function*() {
        const { send, server } = yield* against(inTurn(hangs, hangs, ok), { retry, timeout: { perAttempt: 250 } })
        assert.strictEqual(yield* textOf((yield* send("GET")).exit), "ada")
        yield* eventually("two were cancelled", () => cancelled(server).filter(Boolean).length === 2)
        assert.deepStrictEqual(cancelled(server), [true, true, false])
      }).pipe(Effect.provide(layer)))

    it.live("a POST that is refused at connect is sent again, and arrives once when the server is there", () =>
      Effect.gen(function*() {
        const port = yield* freePort
        const send = sendTo(`http://127.0.0.1:${port}/charges`, {
          retry: { maxAttempts: 10, backoff: Backoff.constant(60, { jitter: "none" }) }
        })
        const call = yield* Effect.forkChild(send("POST"))
        yield* Effect.sleep(20)
        const server = yield* serve(status(201), port)
        const { story, word } = yield* Fiber.join(call)
        assert.strictEqual(word, "201")
        assert.deepStrictEqual([...new Set(story)], ["Retryable connection_refused", "Success"])
        assert.deepStrictEqual(server.arrivals.map(({ method }) => method), ["POST"])
      }).pipe(Effect.provide(layer)))

    it.live("what is no HTTP is sent again as well", () =>
      Effect.gen(function*() {
        const garbage: Handler = (request) => request.socket.end("garbage\r\n\r\n")
        const { send } = yield* against(inTurn(garbage, ok), { retry })
        assert.deepStrictEqual((yield* send("GET")).story, ["Retryable malformed_response", "Success"])
      }).pipe(Effect.provide(layer)))

    it.live("informational responses are no answers", () =>
      Effect.gen(function*() {
        const early: Handler = (_, response) => {
          response.writeProcessing()
          response.writeEarlyHints({ link: "</style.css>; rel=preload" })
          setTimeout(() => response.end("ada"), 10)
        }
        const { send, server } = yield* against(early, { retry })
        const { exit, story } = yield* send("GET")
        assert.strictEqual(yield* textOf(exit), "ada")
        assert.deepStrictEqual(story, ["Success"])
        assert.strictEqual(server.arrivals.length, 1)
      }).pipe(Effect.provide(layer)))

    it.live("a body is sent whole with every attempt, under one Idempotency-Key", () =>
      Effect.gen(function*() {
        const server = yield* serve(inTurn(status(503), resets, status(201)))
        const client = (yield* HttpClient.HttpClient).pipe(HttpRego.resilient(), HttpRego.withIdempotencyKey)
        const charge = HttpClientRequest.post(`${server.url}/charges`).pipe(
          HttpClientRequest.bodyText("x".repeat(100_000))
        )
        assert.strictEqual(wordOf(yield* Effect.exit(client.execute(charge))), "201")
        assert.deepStrictEqual(server.arrivals.map(({ body }) => body.length), [100_000, 100_000, 100_000])
        const keys = new Set(server.arrivals.map(({ headers }) => headers["idempotency-key"]))
        assert.strictEqual(keys.size, 1)
      }).pipe(Effect.provide(policiesOf({ retry })), Effect.provide(layer)))

    it.live("a stream is sent once", () =>
      Effect.gen(function*() {
        const server = yield* serve(status(503))
        const client = HttpRego.resilient(yield* HttpClient.HttpClient)
        const upload = HttpClientRequest.put(`${server.url}/files/1`).pipe(
          HttpClientRequest.bodyStream(Stream.fromIterable(["a", "b"]).pipe(Stream.encodeText))
        )
        assert.strictEqual(wordOf(yield* Effect.exit(client.execute(upload))), "503")
        assert.deepStrictEqual(server.arrivals.map(({ body }) => body), ["ab"])
      }).pipe(Effect.provide(policiesOf({ retry })), Effect.provide(layer)))

    // -------------------------------------------------------------------------
    // bodies of responses
    // -------------------------------------------------------------------------

    it.live("the body may take longer than the timeouts: they end with the headers", () =>
      Effect.gen(function*() {
        const slow: Handler = (_, response) => {
          let chunks = 0
          const write = (): void => {
            response.write("chunk ")
            if (++chunks < 10) setTimeout(write, 40)
            else response.end()
          }
          write()
        }
        const { send, server } = yield* against(slow, { retry, timeout: { perAttempt: 250, overall: 300 } })
        assert.strictEqual(yield* textOf((yield* send("GET")).exit), "chunk ".repeat(10))
        assert.strictEqual(server.arrivals.length, 1)
      }).pipe(Effect.provide(layer)))

    const breaksOff: Handler = (_, response) => {
      response.writeHead(200, { "content-length": "1000" })
      response.write("half")
      setTimeout(() => response.destroy(), 10)
    }

    it.live("a body that breaks off is the reader's to notice", () =>
      Effect.gen(function*() {
        const { send, server } = yield* against(breaksOff, { retry })
        const { exit, story } = yield* send("GET")
        const read = yield* Effect.exit(textOf(exit))
        assert.isTrue(Exit.isFailure(read))
        assert.strictEqual(HttpClassifier.http(read)?._tag, "Retryable")
        assert.deepStrictEqual(story, ["Success"])
        assert.strictEqual(server.arrivals.length, 1)
      }).pipe(Effect.provide(layer)))

    it.live("around the reading of the body, a body that breaks off is asked for again", () =>
      Effect.gen(function*() {
        const server = yield* serve(inTurn(breaksOff, ok))
        const client = yield* HttpClient.HttpClient
        const read = Effect.flatMap(client.get(server.url), (response) => response.text)
        const call = read.pipe(Rego.resilient("users.Get", { idempotent: true, classifier: HttpClassifier.http }))
        const [exit, [timeline]] = yield* Timeline.capture(call)
        assert.deepStrictEqual(exit, Exit.succeed("ada"))
        assert.deepStrictEqual(storyOf(timeline!), ["Retryable reset", "Success"])
      }).pipe(Effect.provide(policiesOf({ retry })), Effect.provide(layer)))

    it.live("the short body of an abandoned attempt is read, and its connection used again", () =>
      Effect.gen(function*() {
        const failsFirst: Handler = (_, response, arrival) =>
          arrival % 2 === 0 ? status(503, "busy")(_, response, arrival) : ok(_, response, arrival)
        const { send, server } = yield* against(failsFirst, { retry })
        for (let i = 0; i < 10; i++) yield* textOf((yield* send("GET")).exit)
        assert.strictEqual(server.arrivals.length, 20)
        // a body that is left unread would cost each of the ten its connection
        assert.isAtMost(server.connections.made, 4)
        assert.isFalse(cancelled(server).includes(true))
      }).pipe(Effect.provide(layer)))

    it.live("a long body of an abandoned attempt is cancelled, and so is an endless one", () =>
      Effect.gen(function*() {
        const long = status(503, "x".repeat(4_000_000))
        const endless: Handler = (_, response) => void response.writeHead(503).write("and")
        const { send, server } = yield* against(inTurn(long, endless, ok), { retry })
        const { exit } = yield* send("GET", { drain: { within: 50 } })
        assert.strictEqual(yield* textOf(exit), "ada")
        yield* eventually("both were cancelled", () => cancelled(server).filter(Boolean).length === 2)
        assert.deepStrictEqual(cancelled(server), [true, true, false])
      }).pipe(Effect.provide(layer)))

    // -------------------------------------------------------------------------
    // hedging
    // -------------------------------------------------------------------------

    const hedged = (after: number): Policy.Input => ({
      hedge: { trigger: Hedge.after(after), maxFailing: 1 },
      timeout: { overall: 5_000 }
    })

    it.live("the request that loses is cancelled at the server", () =>
      Effect.gen(function*() {
        const { send, server } = yield* against(inTurn(hangs, ok), hedged(20))
        assert.strictEqual(yield* textOf((yield* send("GET")).exit), "ada")
        yield* eventually("the loser was cancelled", () => server.arrivals[0]?.cancelled === true)
        assert.deepStrictEqual(cancelled(server), [true, false])
      }).pipe(Effect.provide(layer)))

    it.live(
      "100 of 100 bodies of 1 MiB are whole under hedging, and no loser keeps its connection",
      () =>
        Effect.gen(function*() {
          const mebibyte = Buffer.alloc(2 ** 20, "0123456789abcdef")
          // so that sometimes the first and sometimes the hedge wins, and often they answer at about the same time
          const delays = [0, 2, 4, 5, 6, 8, 30]
          const large: Handler = (_, response, arrival) => {
            setTimeout(() => {
              response.writeHead(200, arrival % 2 === 0 ? { "content-length": String(mebibyte.length) } : {})
              for (let at = 0; at < mebibyte.length; at += 2 ** 16) response.write(mebibyte.subarray(at, at + 2 ** 16))
              response.end()
            }, delays[arrival % delays.length])
          }
          const server = yield* serve(large)
          const client = HttpRego.resilient(yield* HttpClient.HttpClient)
          const read = Effect.flatMap(client.get(server.url), (response) => response.arrayBuffer)
          const isWhole = (body: ArrayBuffer) => mebibyte.equals(Buffer.from(body))
          const bodies = yield* Effect.all(Array.from({ length: 100 }, () => Effect.map(read, isWhole)), {
            concurrency: 4
          })
          assert.strictEqual(bodies.filter(Boolean).length, 100)
          const { arrivals } = server
          assert.isAbove(arrivals.length, 110)
          yield* eventually("every answer is complete or cancelled", () => arrivals.every((arrival) => arrival.ended))
          assert.strictEqual(arrivals.filter((arrival) => !arrival.cancelled).length >= 100, true)
        }).pipe(Effect.provide(policiesOf(hedged(5))), Effect.provide(layer)),
      60_000
    )

    // -------------------------------------------------------------------------
    // scopes
    // -------------------------------------------------------------------------

    const endless: Handler = (_, response) => {
      response.write("for ever")
    }

    it.live("with withScope below, the winner's body is open until the scope of the caller closes", () =>
      Effect.gen(function*() {
        const server = yield* serve(inTurn(hangs, endless))
        const client = (yield* HttpClient.HttpClient).pipe(HttpClient.withScope, HttpRego.resilient())
        yield* Effect.scoped(Effect.gen(function*() {
          const response = yield* client.get(server.url)
          assert.strictEqual(response.status, 200)
          yield* eventually("the loser is cancelled", () => server.arrivals[0]?.cancelled === true)
          const [chunk] = yield* Stream.runCollect(Stream.take(Stream.decodeText(response.stream), 1))
          assert.strictEqual(chunk, "for ever")
        }))
        yield* eventually("the winner is closed", () => server.arrivals[1]?.cancelled === true)
      }).pipe(Effect.provide(policiesOf(hedged(20))), Effect.provide(layer)))

    it.live("a winner that nobody has read is closed with the scope as well", () =>
      Effect.gen(function*() {
        const server = yield* serve(endless)
        const client = (yield* HttpClient.HttpClient).pipe(HttpClient.withScope, HttpRego.resilient())
        const status = yield* Effect.scoped(Effect.gen(function*() {
          const response = yield* client.get(server.url)
          yield* Effect.sleep(20)
          assert.isFalse(server.arrivals[0]?.cancelled)
          return response.status
        }))
        assert.strictEqual(status, 200)
        yield* eventually("it is closed", () => server.arrivals[0]?.cancelled === true)
      }).pipe(Effect.provide(policiesOf({ retry })), Effect.provide(layer)))

    it.live("a hedge that loses does not abort the winner, even where requests wait between their scope and the wire", () =>
      Effect.gen(function*() {
        const server = yield* serve((_, response) => {
          response.write("whole ")
          setTimeout(() => response.end("body"), 50)
        })
        const client = (yield* HttpClient.HttpClient).pipe(
          HttpClient.transformResponse(Effect.delay("30 millis")),
          HttpClient.withScope,
          HttpRego.resilient()
        )
        const text = yield* Effect.scoped(Effect.flatMap(client.get(server.url), (response) => response.text))
        assert.strictEqual(text, "whole body")
      }).pipe(Effect.provide(policiesOf(hedged(20))), Effect.provide(layer)))

    // -------------------------------------------------------------------------
    // interruption
    // -------------------------------------------------------------------------

    it.live("a caller that is interrupted takes its requests back, and sends no more", () =>
      Effect.gen(function*() {
        const { send, server } = yield* against(hangs, { ...hedged(10), retry })
        const fiber = yield* Effect.forkChild(send("GET"))
        yield* eventually("both have arrived", () => server.arrivals.length === 2)
        yield* Fiber.interrupt(fiber)
        yield* eventually("both are cancelled", () => cancelled(server).every(Boolean))
        yield* Effect.sleep(50)
        assert.strictEqual(server.arrivals.length, 2)
        assert.strictEqual(server.connections.open, 0)
      }).pipe(Effect.provide(layer)))
  })
}
