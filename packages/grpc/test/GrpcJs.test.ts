import { assert, describe, it } from "@effect/vitest"
import type { Interceptor, StatusObject } from "@grpc/grpc-js"
import { InterceptingCall, Metadata, status as Status } from "@grpc/grpc-js"
import type { Policy, PolicyProvider } from "@rego/core"
import { Backoff, Deadline, Timeline } from "@rego/core"
import { GrpcStatus } from "@rego/grpc"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import type { Scope } from "effect"
import { Duration, Effect, ManagedRuntime, Stream } from "effect"
import * as http2 from "node:http2"
import { withLog } from "../../core/test/support.ts"
import type { Answer, UsersClient } from "./acme.ts"
import { definitions } from "./acme.ts"
import { failureOf, policiesOf, readAll } from "./given.ts"
import type { Answering } from "./servers.ts"
import { grpcJsServer, listening, Refusal } from "./servers.ts"
import { callbacks, grpcJsClient, namesOf, seen } from "./worlds.ts"

const retries = (maxAttempts: number): Policy.Input => ({ retry: { maxAttempts, backoff: Backoff.none } })

const down: Answering = (_, n) => Promise.reject(new Refusal(14, { message: `down ${n}` }))

/** A test under a policy, silent about what it deserves to be warned of. */
const live = (
  name: string,
  policy: Policy.Input,
  body: () => Effect.Effect<void, unknown, PolicyProvider.PolicyProvider | Scope.Scope>
): void => it.live(name, () => withLog(Effect.provide(Effect.scoped(body()), policiesOf(policy))))

/** A client with the interceptor, and others around it. */
const intercepted = (
  port: number,
  around: { readonly before?: Interceptor; readonly behind?: Interceptor } = {},
  options: object = {}
) =>
  Effect.flatMap(GrpcJs.interceptor(), (interceptor) => {
    const all = [around.before, interceptor, around.behind].filter((it) => it !== undefined)
    return grpcJsClient(port, { ...options, interceptors: all })
  })

const getWith = (client: UsersClient, metadata = new Metadata(), options = {}) =>
  Effect.callback<Answer, unknown>((resume) => {
    client.get(
      { id: "1" },
      metadata,
      options,
      (error, answer) => resume(error === null ? Effect.succeed(answer!) : Effect.fail(error))
    )
  })

describe("GrpcJs", () => {
  describe("interceptor", () => {
    live(
      "leaves methods alone that take a stream of requests: they are sent once, under no policy",
      retries(3),
      () =>
        Effect.gen(function*() {
          const { arrivals, port } = yield* grpcJsServer(down)
          const [, timelines] = yield* Timeline.capture(Effect.gen(function*() {
            const client = yield* intercepted(port)
            const imported = yield* Effect.callback<unknown>((resume) => {
              const call = client.import(new Metadata(), {}, (error) => resume(Effect.succeed(seen(error))))
              call.write({ id: "1" })
              call.end({ id: "2" })
            })
            assert.deepStrictEqual(imported, { code: 14, message: "down 1", reason: undefined })
            const chat = yield* Effect.promise(() => readAll(namesOf(client.chat())))
            assert.deepStrictEqual(chat.failure, { code: 14, message: "down 2", reason: undefined })
          }))
          assert.deepStrictEqual(arrivals.map(({ method }) => method), ["Import", "Chat"])
          assert.deepStrictEqual(timelines, [])
        })
    )

    live("interceptors before it see a call, those behind it each attempt", retries(3), () =>
      Effect.gen(function*() {
        const noted: Array<string> = []
        const noting = (where: string): Interceptor => (options, nextCall) =>
          new InterceptingCall(nextCall(options), {
            start: (metadata, listener, next) => {
              noted.push(`${where} ${metadata.get("grpc-previous-rpc-attempts").join()}`)
              next(metadata, listener)
            }
          })
        const { port } = yield* grpcJsServer(down)
        const client = yield* intercepted(port, { before: noting("before"), behind: noting("behind") })
        yield* Effect.flip(getWith(client))
        assert.deepStrictEqual(noted, ["before ", "behind ", "behind 1", "behind 2"])
      }))

    live(
      "lets an interceptor before it go on that waits until its message is written",
      retries(2),
      () =>
        Effect.gen(function*() {
          let written = false
          const waiting: Interceptor = (options, nextCall) => {
            const outer = new InterceptingCall(nextCall(options))
            const send = outer.sendMessageWithContext.bind(outer)
            outer.sendMessageWithContext = (context, message) => {
              send({ ...context, callback: () => (written = true), flags: 2 }, message)
            }
            return outer
          }
          const { port } = yield* grpcJsServer(() => Promise.resolve("ada"))
          const client = yield* intercepted(port, { before: waiting })
          assert.strictEqual((yield* getWith(client)).name, "ada")
          assert.isTrue(written)
        })
    )

    live(
      "keeps a stream that has ended until it is read, whoever answers it and however soon",
      retries(2),
      () =>
        Effect.gen(function*() {
          // an interceptor behind it that needs no server: it has the answer, and the end, at hand
          const cached: Interceptor = (options, nextCall) =>
            new InterceptingCall(nextCall(options), {
              start: (_metadata, listener, next) => {
                next(new Metadata(), {
                  onReceiveMetadata: () => {},
                  onReceiveMessage: () => {},
                  onReceiveStatus: () => {}
                })
                listener.onReceiveMetadata(new Metadata())
                listener.onReceiveMessage({ name: "cached" })
                listener.onReceiveStatus({ code: Status.OK, details: "", metadata: new Metadata() })
              }
            })
          const { port } = yield* grpcJsServer((arrival) => arrival.hang())
          const client = yield* intercepted(port, { behind: cached })
          const stream = client.watch({ id: "1" })
          yield* Effect.sleep(30)
          const read = yield* Effect.promise(() => readAll(namesOf(stream)))
          assert.deepStrictEqual(read, { names: ["cached"], failure: undefined })
        })
    )

    live(
      "emits the metadata and the status of the attempt that is returned, once",
      retries(3),
      () =>
        Effect.gen(function*() {
          const { port } = yield* grpcJsServer((_, n) =>
            n < 3 ? Promise.reject(new Refusal(14, { metadata: { "x-n": String(n) } })) : Promise.resolve("ada")
          )
          const client = yield* intercepted(port)
          const events: Array<string> = []
          let peer = ""
          const name = yield* Effect.callback<string | undefined>((resume) => {
            const call = client.get({ id: "1" }, (_, answer) => {
              peer = call.getPeer()
              resume(Effect.succeed(answer?.name))
            })
            call.on(
              "metadata",
              (metadata) => events.push(`metadata ${Object.keys(metadata.getMap()).includes("date")}`)
            )
            call.on("status", ({ code }) => events.push(`status ${code}`))
          })
          yield* Effect.sleep(20)
          assert.strictEqual(name, "ada")
          assert.deepStrictEqual(events, ["metadata true", "status 0"])
          assert.strictEqual(peer, `127.0.0.1:${port}`)
        })
    )

    live(
      "hands on the server's own status, with its trailers and the headers that came before",
      retries(2),
      () =>
        Effect.gen(function*() {
          const { port } = yield* grpcJsServer(() =>
            Promise.reject(new Refusal(14, { message: "busy", metadata: { "x-shard": "7" } }))
          )
          const client = yield* intercepted(port)
          const error = (yield* Effect.flip(getWith(client))) as StatusObject
          assert.strictEqual(error.details, "busy")
          assert.deepStrictEqual(error.metadata.get("x-shard"), ["7"])
        })
    )

    live("does not repeat a request that cannot be serialized", retries(3), () =>
      Effect.gen(function*() {
        const { arrivals, port } = yield* grpcJsServer(() => Promise.resolve("ada"))
        const client = yield* intercepted(port)
        const cannot = (): Buffer => {
          throw new Error("no such field")
        }
        const failure = yield* Effect.callback<unknown>((resume) => {
          client.makeUnaryRequest(definitions.get.path, cannot, (bytes) => bytes, {}, (error) => {
            resume(Effect.succeed(error))
          })
        })
        assert.deepInclude(failure as object, { code: 13 })
        assert.include(String(failure), "serialization failure")
        assert.strictEqual(arrivals.length, 0)
      }))

    live("ends with INTERNAL on a client that was closed", retries(3), () =>
      Effect.gen(function*() {
        const { port } = yield* grpcJsServer(() => Promise.resolve("ada"))
        const client = yield* intercepted(port)
        client.close()
        assert.deepInclude(seen(yield* Effect.flip(getWith(client))), {
          code: 13,
          message: "Channel has been shut down"
        })
      }))

    live(
      "reads a deadline in every form that grpc-js takes",
      { timeout: { perAttempt: "5 seconds" } },
      () =>
        Effect.gen(function*() {
          const { arrivals, port } = yield* grpcJsServer(() => Promise.resolve("ada"))
          const client = yield* intercepted(port)
          const soon = Date.now() + 1_000
          for (const deadline of [soon, new Date(soon), Infinity, undefined]) {
            yield* getWith(client, undefined, { deadline })
          }
          const [number, date, infinite, none] = arrivals.map(({ timeoutMillis }) => timeoutMillis!)
          for (const millis of [number!, date!]) assert.isAtMost(millis, 1_000)
          for (const millis of [infinite!, none!]) {
            assert.isAbove(millis, 1_000)
            assert.isAtMost(millis, 5_000)
          }
        })
    )

    it("is made of a context where no effect runs", async () => {
      const runtime = ManagedRuntime.make(
        policiesOf({ ...retries(2), timeout: { overall: "2 seconds" }, budget: "default" })
      )
      const interceptor = GrpcJs.interceptorWith(await runtime.context())
      const program = Effect.gen(function*() {
        const { port } = yield* grpcJsServer(() => Promise.resolve("ada"))
        return yield* getWith(yield* grpcJsClient(port, { interceptors: [interceptor] }))
      })
      assert.strictEqual((await Effect.runPromise(Effect.scoped(program))).name, "ada")
      await runtime.dispose()
    })
  })

  describe("what HTTP/2 says", () => {
    const refusing = (options: object) =>
      Effect.gen(function*() {
        let streams = 0
        const server = http2.createServer()
        server.on("stream", (stream) => {
          streams++
          stream.on("error", () => {})
          stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)
        })
        const port = yield* listening(server)
        const [, [timeline]] = yield* Timeline.capture(Effect.gen(function*() {
          const client = callbacks(yield* intercepted(port, {}, options))
          yield* Effect.promise(() => failureOf(client.unary("get", "1")))
        }))
        return { streams, reasons: timeline!.attempts.map(({ reason }) => reason) }
      })

    const refused = Array.from({ length: 3 }, () => "grpc_refused")

    live(
      "a refused stream is sent again, even if it must not be repeated",
      { ...retries(3), idempotent: false },
      () =>
        Effect.gen(function*() {
          assert.deepStrictEqual(yield* refusing({ "grpc.enable_retries": 0 }), { streams: 3, reasons: refused })
        })
    )

    live("the one transparent retry of grpc-js comes on top, as gRFC A6 has it", {
      ...retries(3),
      idempotent: false
    }, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* refusing({}), { streams: 6, reasons: refused })
      }))
  })

  describe("makeClient", () => {
    live("has the methods that can be sent twice, and no others", {}, () =>
      Effect.gen(function*() {
        const client = yield* GrpcJs.makeClient(yield* grpcJsClient(1))
        assert.deepStrictEqual(Object.keys(client), ["get", "find", "put", "watch"])
      }))

    live(
      "finds the methods of a client that was derived from a generated one",
      retries(2),
      () =>
        Effect.gen(function*() {
          const { arrivals, port } = yield* grpcJsServer(down)
          const base = yield* grpcJsClient(port)
          const derived: UsersClient = Object.create(base)
          const client = yield* GrpcJs.makeClient(derived)
          yield* Effect.flip(client.get({ id: "1" }))
          assert.strictEqual(arrivals.length, 2)
        })
    )

    live("makes one call with a client that has the interceptor, not two", retries(3), () =>
      Effect.gen(function*() {
        const { arrivals, port } = yield* grpcJsServer(down)
        const [, timelines] = yield* Timeline.capture(Effect.gen(function*() {
          const client = yield* GrpcJs.makeClient(yield* intercepted(port))
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
          const { arrivals, port } = yield* grpcJsServer(() => Promise.resolve("ada"))
          const client = yield* GrpcJs.makeClient(yield* grpcJsClient(port))
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
        const { port } = yield* grpcJsServer((arrival) => arrival.hang())
        const client = yield* GrpcJs.makeClient(yield* grpcJsClient(port))
        const millis = yield* client.get({ id: "1" }).pipe(
          Effect.as(0),
          Effect.catchReason("RegoError", "AttemptTimedOut", ({ perAttempt }) =>
            Effect.succeed(Duration.toMillis(perAttempt)))
        )
        assert.strictEqual(millis, 60)
      }))
  })

  it("numbers its statuses as gRPC does", () => {
    assert.strictEqual(GrpcStatus.Code.UNAVAILABLE, Status.UNAVAILABLE)
  })
})
