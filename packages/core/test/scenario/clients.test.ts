/** Clients of real servers on the loopback interface: an `HttpApi`, and RPC over HTTP and over web sockets. */
import { NodeHttpServer } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Backoff, Classifier, Hedge, Outcome, PolicyLayer, Rego, Timeline } from "@rego/core"
import type { Policy, RegoError } from "@rego/core"
import * as ResilientClient from "@rego/core/ResilientClient"
import { Context, Effect, Exit, Layer, Logger, Schema, Stream } from "effect"
import { FetchHttpClient, HttpRouter, HttpServer } from "effect/http"
import { HttpApi, HttpApiBuilder, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { Socket } from "effect/socket"
import { createServer } from "node:http"

// -----------------------------------------------------------------------------
// what the servers do, and count
// -----------------------------------------------------------------------------

class Busy extends Schema.TaggedError<Busy>()("Busy", {}, { httpApiStatus: 503 }) {}
class NotFound extends Schema.TaggedError<NotFound>()("NotFound", {}, { httpApiStatus: 404 }) {}

/** Server-side: how often each request arrived, and how often its handler was interrupted. */
class Seen extends Context.Service<Seen, {
  readonly arrived: Record<string, number>
  readonly interrupted: Record<string, number>
}>()("test/Seen") {
  static readonly layer = Layer.sync(Seen, () => Seen.of({ arrived: {}, interrupted: {} }))
}

const count = (counts: Record<string, number>, name: string): number => counts[name] = (counts[name] ?? 0) + 1

const arrive = (name: string) => Effect.map(Seen, ({ arrived }) => count(arrived, name))

const hang = (name: string) =>
  Effect.flatMap(
    Seen,
    ({ interrupted }) => Effect.onInterrupt(Effect.never, () => Effect.sync(() => void count(interrupted, name)))
  )

/** Busy twice. */
const get = (id: string) => Effect.flatMap(arrive("get"), (n) => n <= 2 ? Effect.fail(new Busy()) : Effect.succeed(id))

const missing = Effect.andThen(arrive("missing"), Effect.fail(new NotFound()))

/** The first request is never answered. */
const slow = (name: string) => Effect.flatMap(arrive(name), (n) => n === 1 ? hang(name) : Effect.succeed("ada"))

/** Waits until the server has heard of it: how long a closed connection takes to arrive is not ours. */
const interruptedOnce = (name: string) =>
  Effect.flatMap(
    Seen,
    ({ interrupted }) =>
      Effect.suspend(() => interrupted[name] === undefined ? Effect.fail("not yet") : Effect.succeed(interrupted[name]))
        .pipe(
          Effect.retry({ times: 200, schedule: Backoff.toSchedule(Backoff.constant("10 millis", { jitter: "none" })) })
        )
  )

// -----------------------------------------------------------------------------
// policies
// -----------------------------------------------------------------------------

const policy: Policy.Input = {
  retry: { maxAttempts: 3, backoff: Backoff.constant("1 millis", { jitter: "none" }) },
  timeout: { perAttempt: "2 seconds", overall: "4 seconds" },
  // NotFound is an answer
  classifier: Classifier.byTag<NotFound>({ NotFound: Outcome.nonRetryable({ reason: "not_found" }) })
}

const Policies = PolicyLayer.make({
  policies: {
    "api.*": policy,
    "api.users.slow": { hedge: { trigger: Hedge.after("20 millis") } },
    "api.Slow": { hedge: { trigger: Hedge.after("20 millis") } },
    "api.orders.place": { timeout: { perAttempt: "250 millis" } },
    "api.Place": { timeout: { perAttempt: "250 millis" } }
  }
  // without its warning that nothing here says idempotent: the clients do
}).pipe(Layer.provide(Logger.layer([])))

const keysAndAttempts = (timelines: ReadonlyArray<Timeline.Timeline>) =>
  timelines.map(({ attempts, key }) => [key, attempts.length])

// -----------------------------------------------------------------------------
// HttpApi
// -----------------------------------------------------------------------------

const Id = { params: { id: Schema.String }, success: Schema.String }

const Api = HttpApi.make("api").add(
  HttpApiGroup.make("users").add(
    HttpApiEndpoint.get("get", "/users/:id", { ...Id, error: Busy }),
    HttpApiEndpoint.get("missing", "/missing", { success: Schema.String, error: NotFound }),
    HttpApiEndpoint.get("slow", "/slow", { success: Schema.String })
  ),
  HttpApiGroup.make("orders").add(
    HttpApiEndpoint.post("place", "/orders", { success: Schema.String }),
    HttpApiEndpoint.put("replace", "/orders/:id", { ...Id, error: Busy })
  ),
  HttpApiGroup.make("system", { topLevel: true }).add(HttpApiEndpoint.get("health", "/health"))
)

const Handlers = Layer.mergeAll(
  HttpApiBuilder.group(Api, "users", (handlers) =>
    handlers.handleAll({
      get: ({ params }) => get(params.id),
      missing: () => missing,
      slow: () => slow("slow")
    })),
  HttpApiBuilder.group(
    Api,
    "orders",
    (handlers) => handlers.handleAll({ place: () => slow("place"), replace: ({ params }) => get(params.id) })
  ),
  HttpApiBuilder.group(Api, "system", (handlers) => handlers.handleAll({ health: () => Effect.void }))
)

/** It waits for no client when it closes: `fetch` keeps connections for seconds. */
const listening = NodeHttpServer.layer(() => {
  const server = createServer()
  const close = server.close.bind(server)
  server.close = (onClose) => {
    close(onClose)
    server.closeAllConnections()
    return server
  }
  return server
}, { port: 0, host: "127.0.0.1" })

const ApiServer = HttpRouter.serve(HttpApiBuilder.layer(Api).pipe(Layer.provide(Handlers)), {
  disableLogger: true,
  disableListenLog: true
}).pipe(Layer.provideMerge(listening), Layer.provideMerge(Seen.layer))

const address = Effect.map(HttpServer.HttpServer, (server) => HttpServer.formatAddress(server.address))

class ApiClient extends Context.Service<ApiClient, HttpApiClient.ForApi<typeof Api, RegoError.RegoError>>()(
  "test/ApiClient"
) {
  static readonly layer = Layer.effect(
    ApiClient,
    Effect.gen(function*() {
      const client = yield* HttpApiClient.make(Api, { baseUrl: yield* address })
      return yield* ResilientClient.httpApi(client, Api, { namespace: "api" })
    })
  )
}

const withApi = <A, E>(test: Effect.Effect<A, E, ApiClient | Seen>) =>
  Effect.provide(
    test,
    ApiClient.layer.pipe(Layer.provideMerge(ApiServer), Layer.provide([Policies, FetchHttpClient.layer]))
  )

describe("a client of an HttpApi server", () => {
  it.live("tries declared errors again, and gives the decoded answer", () =>
    withApi(Effect.gen(function*() {
      const client = yield* ApiClient
      const [exit, timelines] = yield* Timeline.capture(client.users.get({ params: { id: "ada" } }))
      assert.deepStrictEqual(exit, Exit.succeed("ada"))
      assert.deepStrictEqual(keysAndAttempts(timelines), [["api.users.get", 3]])
      assert.deepStrictEqual((yield* Seen).arrived, { get: 3 })
    })))

  it.live("gives each response mode its own type and value", () =>
    withApi(Effect.gen(function*() {
      const client = yield* ApiClient
      const response = yield* client.users.get({ params: { id: "ada" }, responseMode: "response-only" })
      // a 503 is a value in this mode, and so a success
      assert.strictEqual(response.status, 503)
      yield* client.users.get({ params: { id: "ada" } }).pipe(Effect.ignore)
      const [value, { status }] = yield* client.users.get({
        params: { id: "ada" },
        responseMode: "decoded-and-response"
      })
      assert.deepStrictEqual([value, status], ["ada", 200])
    })))

  it.live("does not try an answer again", () =>
    withApi(Effect.gen(function*() {
      const client = yield* ApiClient
      const error = yield* Effect.flip(client.users.missing())
      assert.instanceOf(error, NotFound)
      assert.deepStrictEqual((yield* Seen).arrived, { missing: 1 })
    })))

  it.live("hedges a GET, and the server hears that the loser is not wanted any more", () =>
    withApi(Effect.gen(function*() {
      const client = yield* ApiClient
      assert.strictEqual(yield* client.users.slow(), "ada")
      assert.strictEqual(yield* interruptedOnce("slow"), 1)
      assert.deepStrictEqual((yield* Seen).arrived, { slow: 2 })
    })))

  it.live("sends a POST that timed out only once, and a PUT again", () =>
    withApi(Effect.gen(function*() {
      const client = yield* ApiClient
      const error = yield* Effect.flip(client.orders.place())
      assert.strictEqual(error._tag === "RegoError" ? error.reason._tag : error._tag, "AttemptTimedOut")
      assert.strictEqual(yield* client.orders.replace({ params: { id: "7" } }), "7")
      assert.deepStrictEqual((yield* Seen).arrived, { place: 1, get: 3 })
    })))

  it.live("keeps top-level endpoints beside the groups", () =>
    withApi(Effect.gen(function*() {
      const client = yield* ApiClient
      const [, timelines] = yield* Timeline.capture(client.health())
      assert.deepStrictEqual(keysAndAttempts(timelines), [["api.health", 1]])
    })))

  it.live("is told what else may run twice, by name, by group or by a function", () =>
    Effect.gen(function*() {
      const timedOut = yield* Effect.forEach(
        [{ "orders.place": true }, { orders: true }, true, (name: string) => name === "orders.place"] as const,
        (idempotent) =>
          Effect.gen(function*() {
            const plain = yield* HttpApiClient.make(Api, { baseUrl: yield* address })
            const client = yield* ResilientClient.httpApi(plain, Api, { namespace: "api", idempotent })
            const answer = yield* client.orders.place()
            return [answer, (yield* Seen).arrived["place"]]
          }).pipe(Effect.provide(ApiServer.pipe(Layer.provideMerge(Layer.merge(Policies, FetchHttpClient.layer)))))
      )
      for (const answer of timedOut) assert.deepStrictEqual(answer, ["ada", 2])
      assert.strictEqual(timedOut.length, 4)
    }))
})

// -----------------------------------------------------------------------------
// RPC
// -----------------------------------------------------------------------------

class Users extends RpcGroup.make(
  Rpc.make("Get", { payload: { id: Schema.String }, success: Schema.String, error: Busy }),
  Rpc.make("Missing", { success: Schema.String, error: NotFound }),
  Rpc.make("Slow", { success: Schema.String }),
  Rpc.make("Place", { success: Schema.String }),
  Rpc.make("Watch", { success: Schema.Number, error: Busy, stream: true })
) {}

const Implemented = Users.toLayer({
  Get: ({ id }) => get(id),
  Missing: () => missing,
  Slow: () => slow("slow"),
  Place: () => slow("place"),
  Watch: () => Stream.unwrap(Effect.as(arrive("watch"), Stream.concat(Stream.make(1, 2), Stream.fail(new Busy()))))
})

const protocols = {
  http: Layer.unwrap(Effect.map(address, (url) => RpcClient.layerProtocolHttp({ url: `${url}/rpc` }))).pipe(
    Layer.provide(FetchHttpClient.layer)
  ),
  websocket: RpcClient.layerProtocolSocket().pipe(
    Layer.provide(
      Layer.unwrap(Effect.map(address, (url) => Socket.layerWebSocket(`${url.replace("http", "ws")}/rpc`)))
    ),
    Layer.provide(Socket.layerWebSocketConstructorGlobal)
  )
}

const rpcServer = (protocol: keyof typeof protocols) =>
  HttpRouter.serve(RpcServer.layerHttp({ group: Users, path: "/rpc", protocol }).pipe(Layer.provide(Implemented)), {
    disableLogger: true,
    disableListenLog: true
  }).pipe(Layer.provideMerge(listening), Layer.provideMerge(Seen.layer))

const resilientUsers = Effect.gen(function*() {
  const client = yield* RpcClient.make(Users)
  return yield* ResilientClient.rpc(client, Users, { namespace: "api", idempotent: { Slow: true, Place: false } })
})

const withRpc = <A, E>(
  protocol: keyof typeof protocols,
  test: (users: Effect.Success<typeof resilientUsers>) => Effect.Effect<A, E, Seen>
) =>
  Effect.flatMap(resilientUsers, test).pipe(
    Effect.scoped,
    Effect.provide(
      protocols[protocol].pipe(
        Layer.provideMerge(rpcServer(protocol)),
        Layer.provideMerge(RpcSerialization.layerNdjson),
        Layer.provideMerge(Policies)
      )
    )
  )

for (const protocol of ["http", "websocket"] as const) {
  describe(`a client of an RPC server over ${protocol}`, () => {
    it.live("tries declared errors again, and gives the answer", () =>
      withRpc(protocol, (users) =>
        Effect.gen(function*() {
          const [exit, timelines] = yield* Timeline.capture(users.Get({ id: "ada" }))
          assert.deepStrictEqual(exit, Exit.succeed("ada"))
          assert.deepStrictEqual(keysAndAttempts(timelines), [["api.Get", 3]])
          assert.deepStrictEqual((yield* Seen).arrived, { get: 3 })
        })))

    it.live("does not try an answer again", () =>
      withRpc(protocol, (users) =>
        Effect.gen(function*() {
          assert.instanceOf(yield* Effect.flip(users.Missing()), NotFound)
          assert.deepStrictEqual((yield* Seen).arrived, { missing: 1 })
        })))

    it.live("hedges what may run twice, and the server hears that the loser is not wanted any more", () =>
      withRpc(protocol, (users) =>
        Effect.gen(function*() {
          assert.strictEqual(yield* users.Slow(), "ada")
          assert.strictEqual(yield* interruptedOnce("slow"), 1)
          assert.deepStrictEqual((yield* Seen).arrived, { slow: 2 })
        })))

    it.live("sends only once what must not run twice and timed out", () =>
      withRpc(protocol, (users) =>
        Effect.gen(function*() {
          const error = yield* Effect.flip(users.Place())
          assert.strictEqual(error._tag === "RegoError" ? error.reason._tag : error._tag, "AttemptTimedOut")
          assert.strictEqual(yield* interruptedOnce("place"), 1)
          assert.deepStrictEqual((yield* Seen).arrived, { place: 1 })
        })))

    it.live("leaves streams alone", () =>
      withRpc(protocol, (users) =>
        Effect.gen(function*() {
          const seen: Array<number> = []
          const all = Stream.runForEach(users.Watch(), (n) => Effect.sync(() => void seen.push(n)))
          const [exit, timelines] = yield* Timeline.capture(all)
          assert.isTrue(Exit.isFailure(exit))
          assert.deepStrictEqual([seen, timelines, (yield* Seen).arrived], [[1, 2], [], { watch: 1 }])
        })))
  })
}

describe("Rego.resilientService on a client without type parameters of its own", () => {
  it.live("needs no definition of the API", () =>
    Effect.gen(function*() {
      const users = Rego.resilientService(yield* RpcClient.make(Users), { namespace: "api" })
      assert.strictEqual(yield* users.Get({ id: "ada" }), "ada")
      assert.deepStrictEqual((yield* Seen).arrived, { get: 3 })
    }).pipe(
      Effect.scoped,
      Effect.provide(
        protocols.http.pipe(
          Layer.provideMerge(rpcServer("http")),
          Layer.provideMerge(RpcSerialization.layerNdjson),
          Layer.provideMerge(Policies)
        )
      )
    ))
})
