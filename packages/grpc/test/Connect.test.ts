import type { Interceptor, Transport } from "@connectrpc/connect"
import { Code, ConnectError, createClient, createRouterTransport } from "@connectrpc/connect"
import { createConnectTransport, createGrpcTransport } from "@connectrpc/connect-node"
import { assert, describe, it } from "@effect/vitest"
import type { Policy, PolicyProvider } from "@rego/core"
import { Backoff, Deadline, Hedge, Rego, Timeline } from "@rego/core"
import * as Connect from "@rego/grpc/Connect"
import type { Scope } from "effect"
import { Duration, Effect, ManagedRuntime, Stream } from "effect"
import * as http2 from "node:http2"
import { withLog } from "../../core/test/support.ts"
import { Users } from "./acme.ts"
import { failureOf, policiesOf, readAll, sleep, until } from "./given.ts"
import { retryInfo } from "./rpc.ts"
import type { Answering } from "./servers.ts"
import { connectServer, listening, Refusal } from "./servers.ts"
import { namesOf } from "./worlds.ts"

const retries = (maxAttempts: number): Policy.Input => ({ retry: { maxAttempts, backoff: Backoff.none } })

const transport = (port: number, ...interceptors: Array<Interceptor>): Transport =>
  createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}`, interceptors })

const down: Answering = (_, n) => Promise.reject(new Refusal(14, { message: `down ${n}` }))

/** A test under a policy, silent about what it deserves to be warned of. */
const under = <A, E>(
  policy: Policy.Input,
  self: Effect.Effect<A, E, PolicyProvider.PolicyProvider>
): Effect.Effect<A, E> => withLog(Effect.provide(self, policiesOf(policy)))

const live = (
  name: string,
  policy: Policy.Input,
  body: () => Effect.Effect<void, unknown, PolicyProvider.PolicyProvider | Scope.Scope>
): void => it.live(name, () => under(policy, Effect.scoped(body())))

describe("Connect", () => {
  describe("interceptor", () => {
    live(
      "leaves methods alone that take a stream of requests: they are sent once, under no policy",
      retries(3),
      () =>
        Effect.gen(function*() {
          const { arrivals, port } = yield* connectServer(down)
          const [, timelines] = yield* Timeline.capture(Effect.gen(function*() {
            const client = createClient(Users, transport(port, yield* Connect.interceptor()))
            const requests = async function*() {
              yield { id: "1" }
              yield { id: "2" }
            }
            const imported = yield* Effect.promise(() => failureOf(client.import(requests())))
            assert.deepStrictEqual(imported, { code: 14, message: "down 1", reason: undefined })
            const chat = yield* Effect.promise(() => readAll(namesOf(client.chat(requests()))))
            assert.deepStrictEqual(chat.failure, { code: 14, message: "down 2", reason: undefined })
          }))
          assert.deepStrictEqual(arrivals.map(({ method }) => method), ["Import", "Chat"])
          assert.deepStrictEqual(timelines, [])
        })
    )

    for (const [method, attempts] of [["get", 1], ["find", 2], ["put", 2]] as const) {
      const level = { get: "IDEMPOTENCY_UNKNOWN", find: "NO_SIDE_EFFECTS", put: "IDEMPOTENT" }[method]
      live(
        `an attempt that was cut off is ${attempts === 1 ? "not " : ""}retried where the descriptor says ${level}`,
        { ...retries(2), timeout: { perAttempt: "250 millis" } },
        () =>
          Effect.gen(function*() {
            const { arrivals, port } = yield* connectServer((arrival) => arrival.hang())
            const client = createClient(Users, transport(port, yield* Connect.interceptor()))
            yield* Effect.promise(() => failureOf(client[method]({ id: "1" })))
            assert.strictEqual(arrivals.length, attempts)
          })
      )
    }

    live(
      "believes the program more than the descriptor",
      { ...retries(2), timeout: { perAttempt: "250 millis" } },
      () =>
        Effect.gen(function*() {
          const { arrivals, port } = yield* connectServer((arrival) => arrival.hang())
          const interceptor = yield* Connect.interceptor({ idempotent: ({ idempotent }) => idempotent !== true })
          const client = createClient(Users, transport(port, interceptor))
          yield* Effect.promise(() => failureOf(client.find({ id: "1" })))
          assert.strictEqual(arrivals.length, 1)
          yield* Effect.promise(() => failureOf(client.get({ id: "1" })))
          assert.strictEqual(arrivals.length, 3)
        })
    )

    live("interceptors before it see a call, those behind it each attempt", retries(3), () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const noting = (where: string): Interceptor => (next) => (request) => {
          seen.push(`${where} ${request.header.get("grpc-previous-rpc-attempts")}`)
          return next(request)
        }
        const { port } = yield* connectServer(down)
        const client = createClient(
          Users,
          transport(port, noting("before"), yield* Connect.interceptor(), noting("behind"))
        )
        yield* Effect.promise(() => failureOf(client.get({ id: "1" })))
        assert.deepStrictEqual(seen, ["before null", "behind null", "behind 1", "behind 2"])
      }))

    live("hands on the server's own error, its metadata and its details", retries(2), () =>
      Effect.gen(function*() {
        const details = [retryInfo(0, 1_000_000)]
        const { port } = yield* connectServer(() =>
          Promise.reject(new Refusal(14, { message: "busy", metadata: { "x-shard": "7" }, details }))
        )
        const client = createClient(Users, transport(port, yield* Connect.interceptor()))
        const error = yield* Effect.promise(() => client.get({ id: "1" }).then(() => undefined, (e: unknown) => e))
        assert.instanceOf(error, ConnectError)
        assert.strictEqual((error as ConnectError).metadata.get("x-shard"), "7")
        assert.deepStrictEqual((error as ConnectError).details.map((it) => "type" in it && it.type), [
          "google.rpc.RetryInfo"
        ])
      }))

    live(
      "keeps to the timeout that a transport has by default",
      { timeout: { perAttempt: "3 seconds" } },
      () =>
        Effect.gen(function*() {
          const { arrivals, port } = yield* connectServer(() => Promise.resolve("ada"))
          const interceptors = [yield* Connect.interceptor()]
          const baseUrl = `http://127.0.0.1:${port}`
          const transports = [
            createGrpcTransport({ baseUrl, interceptors, defaultTimeoutMs: 1_000 }),
            createConnectTransport({ baseUrl, interceptors, defaultTimeoutMs: 1_000, httpVersion: "2" })
          ]
          for (const one of transports) yield* Effect.promise(() => createClient(Users, one).get({ id: "1" }))
          for (const { timeoutMillis } of arrivals) {
            assert.isAtMost(timeoutMillis!, 1_000)
            assert.isAbove(timeoutMillis!, 500)
          }
        })
    )

    live("works with a server in the same process", retries(3), () =>
      Effect.gen(function*() {
        let n = 0
        const get = () => {
          if (++n < 3) throw new ConnectError("busy", Code.Unavailable)
          return { name: "ada" }
        }
        const inMemory = createRouterTransport((router) => router.service(Users, { get }), {
          transport: { interceptors: [yield* Connect.interceptor()] }
        })
        const answer = yield* Effect.promise(() => createClient(Users, inMemory).get({ id: "1" }))
        assert.strictEqual(answer.name, "ada")
        assert.strictEqual(n, 3)
      }))

    live(
      "has none of the deadline and of the attempt around the place where it was made",
      retries(2),
      () =>
        Effect.gen(function*() {
          const { arrivals, port } = yield* connectServer(() => Promise.resolve("ada"))
          const place = Effect.gen(function*() {
            const client = createClient(Users, transport(port, yield* Connect.interceptor()))
            yield* Effect.promise(() => client.get({ id: "1" }))
          })
          yield* place.pipe(Rego.resilient("place.Made"), Deadline.withDeadline("3 seconds"))
          assert.isUndefined(arrivals[0]!.timeoutMillis)
        })
    )

    live(
      "hears a signal that fires while the call starts",
      { timeout: { overall: "500 millis" } },
      () =>
        Effect.gen(function*() {
          const controller = new AbortController()
          const key = () => {
            controller.abort()
            return "acme.users.v1.Users.Get"
          }
          const { port } = yield* connectServer((arrival) => arrival.hang())
          const [, [timeline]] = yield* Timeline.capture(Effect.gen(function*() {
            const client = createClient(Users, transport(port, yield* Connect.interceptor({ key })))
            yield* Effect.promise(() => failureOf(client.get({ id: "1" }, { signal: controller.signal })))
          }))
          assert.deepStrictEqual(timeline!.attempts.map(({ endedBy }) => endedBy), ["interrupted_caller"])
        })
    )

    it("is made of a context where no effect runs", async () => {
      const runtime = ManagedRuntime.make(
        policiesOf({ ...retries(2), timeout: { overall: "2 seconds" }, budget: "default" })
      )
      const interceptor = Connect.interceptorWith(await runtime.context())
      const inMemory = createRouterTransport((router) => router.service(Users, { get: () => ({ name: "ada" }) }), {
        transport: { interceptors: [interceptor] }
      })
      assert.strictEqual((await createClient(Users, inMemory).get({ id: "1" })).name, "ada")
      await runtime.dispose()
    })
  })

  describe("what HTTP/2 says", () => {
    const misbehaving = (misbehave: (stream: http2.ServerHttp2Stream) => void) =>
      Effect.gen(function*() {
        let streams = 0
        const server = http2.createServer()
        server.on("stream", (stream) => {
          streams++
          stream.on("error", () => {})
          misbehave(stream)
        })
        const port = yield* listening(server)
        const [, [timeline]] = yield* Timeline.capture(Effect.gen(function*() {
          const client = createClient(Users, transport(port, yield* Connect.interceptor()))
          yield* Effect.promise(() => failureOf(client.get({ id: "1" })))
        }))
        return { streams, reasons: timeline!.attempts.map(({ reason }) => reason) }
      })

    live(
      "a refused stream is sent again, even if it must not be repeated",
      { ...retries(3), idempotent: false },
      () =>
        Effect.gen(function*() {
          const seen = yield* misbehaving((stream) => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM))
          assert.deepStrictEqual(seen, { streams: 3, reasons: ["grpc_refused", "grpc_refused", "grpc_refused"] })
        })
    )

    live("a lost connection is one more reason to try again", retries(2), () =>
      Effect.gen(function*() {
        const seen = yield* misbehaving((stream) => stream.session!.destroy())
        assert.deepStrictEqual(seen, { streams: 2, reasons: ["grpc_connection_lost", "grpc_connection_lost"] })
      }))

    live(
      "a lost connection is none for what must not be repeated",
      { ...retries(2), idempotent: false },
      () =>
        Effect.gen(function*() {
          const seen = yield* misbehaving((stream) => stream.session!.destroy())
          assert.deepStrictEqual(seen, { streams: 1, reasons: ["grpc_connection_lost"] })
        })
    )
  })

  describe("makeClient", () => {
    live("calls back with the headers of the answer that is returned, once", retries(3), () =>
      Effect.gen(function*() {
        const { port } = yield* connectServer((_, n) =>
          n < 3 ? Promise.reject(new Refusal(14, { metadata: { "x-n": String(n) } })) : Promise.resolve("ada")
        )
        const client = yield* Connect.makeClient(Users, transport(port))
        const seen: Array<string> = []
        const onHeader = (headers: Headers) => void seen.push(`header ${headers.get("content-type")}`)
        const onTrailer = (trailers: Headers) => void seen.push(`trailer ${trailers.get("grpc-status")}`)
        const answer = yield* client.get({ id: "1" }, { onHeader, onTrailer })
        assert.strictEqual(answer.name, "ada")
        assert.deepStrictEqual(seen, ["header application/grpc+proto", "trailer 0"])
        const names = yield* Stream.runCollect(client.watch({ id: "1" }, { onHeader, onTrailer }))
        assert.deepStrictEqual(names.map(({ name }) => name), ["ada"])
        assert.deepStrictEqual(seen.slice(2), ["header application/grpc+proto", "trailer 0"])
      }))

    live("has the methods that can be sent twice, and no others", {}, () =>
      Effect.gen(function*() {
        const client = yield* Connect.makeClient(Users, transport(1))
        assert.deepStrictEqual(Object.keys(client), ["get", "find", "put", "watch"])
      }))

    live("makes one call over a transport that has the interceptor, not two", retries(3), () =>
      Effect.gen(function*() {
        const { arrivals, port } = yield* connectServer(down)
        const [, timelines] = yield* Timeline.capture(Effect.gen(function*() {
          const client = yield* Connect.makeClient(Users, transport(port, yield* Connect.interceptor()))
          yield* Effect.flip(client.get({ id: "1" }))
          yield* Effect.flip(Stream.runDrain(client.watch({ id: "1" })))
        }))
        assert.deepStrictEqual(timelines.map(({ attempts }) => attempts.length), [3, 3])
        assert.strictEqual(arrivals.length, 6)
      }))

    live(
      "tells the server the deadline of a call around it",
      { timeout: { perAttempt: "5 seconds" } },
      () =>
        Effect.gen(function*() {
          const { arrivals, port } = yield* connectServer(() => Promise.resolve("ada"))
          const client = yield* Connect.makeClient(Users, transport(port))
          yield* client.get({ id: "1" }).pipe(Deadline.withDeadline("800 millis"))
          yield* Stream.runDrain(client.watch({ id: "1" })).pipe(Deadline.withDeadline("800 millis"))
          for (const { timeoutMillis } of arrivals) {
            assert.isAtMost(timeoutMillis!, 800)
            assert.isAbove(timeoutMillis!, 300)
          }
        })
    )

    live("ends with a RegoError where there is no answer to end with", {
      timeout: { perAttempt: "60 millis", overall: "1 second" }
    }, () =>
      Effect.gen(function*() {
        const { port } = yield* connectServer((arrival) => arrival.hang())
        const client = yield* Connect.makeClient(Users, transport(port))
        const reason = yield* client.get({ id: "1" }).pipe(
          Effect.catchReason("RegoError", "AttemptTimedOut", ({ perAttempt }) =>
            Effect.succeed(Duration.toMillis(perAttempt)))
        )
        assert.strictEqual(reason, 60)
      }))

    live("reads the stream of a hedge to its end although the call is over", {
      hedge: { trigger: Hedge.after("100 millis") },
      idempotent: true
    }, () =>
      Effect.gen(function*() {
        const answer: Answering = async function*(arrival, n) {
          if (n === 1) await arrival.hang()
          for (let i = 0; i < 3; i++) {
            yield String(i)
            await sleep(30)
          }
        }
        const { arrivals, port } = yield* connectServer(answer)
        const client = yield* Connect.makeClient(Users, transport(port))
        const names = yield* Stream.runCollect(client.watch({ id: "1" }))
        assert.deepStrictEqual(names.map(({ name }) => name), ["0", "1", "2"])
        yield* Effect.promise(() => until(() => arrivals[0]!.wasCancelled, "the server sees the cancellation"))
      }))
  })
})
