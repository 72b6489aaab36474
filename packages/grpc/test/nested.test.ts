/** Calls inside calls: only one layer retries, whichever way a failure has come. */
import type { Interceptor } from "@connectrpc/connect"
import { createClient } from "@connectrpc/connect"
import { createGrpcTransport } from "@connectrpc/connect-node"
import { assert, describe, it } from "@effect/vitest"
import type { PolicyProvider } from "@rego/core"
import { Backoff, PolicyLayer, Rego } from "@rego/core"
import { GrpcStatus } from "@rego/grpc"
import * as Connect from "@rego/grpc/Connect"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import { Effect, Layer } from "effect"
import type { Scope } from "effect"
import { withLog } from "../../core/test/support.ts"
import { Users } from "./acme.ts"
import type { Answering, Server } from "./servers.ts"
import { connectServer, grpcJsServer, Refusal } from "./servers.ts"
import { callbacks, grpcJsClient } from "./worlds.ts"

const down: Answering = (_, n) => Promise.reject(new Refusal(14, { message: `down ${n}` }))

type Method = "get" | "find"

/** A call of a client, and the server that it goes to. */
interface Way {
  readonly name: string
  readonly serve: (answering: Answering) => Effect.Effect<Server, never, Scope.Scope>
  readonly call: (
    port: number,
    method: Method
  ) => Effect.Effect<Effect.Effect<unknown, unknown>, never, PolicyProvider.PolicyProvider | Scope.Scope>
}

const transport = (port: number, ...interceptors: Array<Interceptor>) =>
  createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}`, interceptors })

/** `layers`: interceptors around each other, as happens when two parts of a program add one. */
const connectPromise = (layers: number): Way => ({
  name: `a promise of a Connect client with ${layers === 1 ? "the interceptor" : `${layers} interceptors`}`,
  serve: (answering) => connectServer(answering),
  call: (port, method) =>
    Effect.map(Connect.interceptor(), (interceptor) => {
      const client = createClient(Users, transport(port, ...Array.from({ length: layers }, () => interceptor)))
      return Effect.tryPromise((signal) => client[method]({ id: "1" }, { signal }))
    })
})

const connectEffect: Way = {
  name: "an effect of a Connect client",
  serve: (answering) => connectServer(answering),
  call: (port, method) =>
    Effect.map(Connect.makeClient(Users, transport(port)), (client) => client[method]({ id: "1" }))
}

const grpcJsCallback = (layers: number): Way => ({
  name: `a callback of a grpc-js client with ${layers === 1 ? "the interceptor" : `${layers} interceptors`}`,
  serve: grpcJsServer,
  call: (port, method) =>
    Effect.gen(function*() {
      const interceptor = yield* GrpcJs.interceptor()
      const interceptors = Array.from({ length: layers }, () => interceptor)
      const client = callbacks(yield* grpcJsClient(port, { interceptors }))
      return Effect.tryPromise({ try: (signal) => client.unary(method, "1", { signal }), catch: (error) => error })
    })
})

const grpcJsEffect: Way = {
  name: "an effect of a grpc-js client",
  serve: grpcJsServer,
  call: (port, method) =>
    Effect.gen(function*() {
      const client = yield* GrpcJs.makeClient(yield* grpcJsClient(port))
      return client[method]({ id: "1" })
    })
}

/** Three attempts for every layer. */
const policiesOf = (nested: "allow" | "refuse"): Layer.Layer<PolicyProvider.PolicyProvider> =>
  Layer.orDie(PolicyLayer.make({
    policies: {
      "*": { retry: { maxAttempts: 3, backoff: Backoff.none, nested }, budget: "unlimited" },
      "outer.*": { classifier: GrpcStatus.classifier() },
      "acme.users.v1.Users.Find": { timeout: { perAttempt: "250 millis" }, idempotent: true }
    }
  }))

interface Given {
  readonly nested?: "allow" | "refuse"
  readonly method?: Method
  readonly answer?: Answering
  readonly around?: (call: Effect.Effect<unknown, unknown>) => Effect.Effect<
    unknown,
    unknown,
    PolicyProvider.PolicyProvider
  >
}

const outer = Rego.resilient("outer.Call")

/** How many requests reach the server. */
const requestsOf = (way: Way, { answer = down, around = outer, method = "get", nested = "refuse" }: Given = {}) =>
  Effect.gen(function*() {
    const { arrivals, port } = yield* way.serve(answer)
    yield* Effect.exit(around(yield* way.call(port, method)))
    return arrivals.length
  }).pipe(Effect.scoped, Effect.provide(policiesOf(nested)), (self) => withLog(self))

for (const way of [connectPromise(1), connectEffect, grpcJsCallback(1), grpcJsEffect]) {
  describe(`${way.name}, inside of a call`, () => {
    it.live("makes 3 requests, not 9", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* requestsOf(way), 3)
      }))

    it.live("makes 3 requests, not 27, two calls deep", () =>
      Effect.gen(function*() {
        const around = (call: Effect.Effect<unknown, unknown>) => outer(Rego.resilient(call, "outer.Middle"))
        assert.strictEqual(yield* requestsOf(way, { around }), 3)
      }))

    it.live("makes 3 requests, not 9, where its timeouts are what ends it", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* requestsOf(way, { method: "find", answer: (arrival) => arrival.hang() }), 3)
      }))
  })
}

for (const way of [connectEffect, grpcJsEffect]) {
  it.live(`${way.name} makes 9 requests inside of a call whose policy allows that`, () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* requestsOf(way, { nested: "allow" }), 9)
    }))
}

/** The outer one is an adapter itself, and so is told what its policy allows. */
for (const way of [connectPromise(2), grpcJsCallback(2)]) {
  describe(way.name, () => {
    const around = (call: Effect.Effect<unknown, unknown>) => call
    it.live("makes 3 requests, not 9", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* requestsOf(way, { around }), 3)
      }))

    it.live("makes 9 where the policy allows that", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* requestsOf(way, { around, nested: "allow" }), 9)
      }))
  })
}
