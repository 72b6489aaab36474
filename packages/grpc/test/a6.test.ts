/**
 * gRFC A6 and grpc-js's own retries, side by side with ours, against the same server. What grpc-js does is that of 1.14.7:
 * when a row about it changes, `docs/grpc.md` has to change with it.
 */
import { assert, describe, it } from "@effect/vitest"
import type { ClientOptions } from "@grpc/grpc-js"
import type { Policy, PolicyProvider } from "@rego/core"
import { Backoff, Budget, Hedge, PolicyLayer } from "@rego/core"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import { Effect, Layer } from "effect"
import { failureOf, given, sleep } from "./given.ts"
import { grpcJsServer, Refusal } from "./servers.ts"
import type { Answering } from "./servers.ts"
import type { World } from "./worlds.ts"
import { callbacks, connectClient, connectGrpc, grpcJsClient, grpcJsEffects, grpcJsInterceptor } from "./worlds.ts"

const throttling = { maxTokens: 10, tokenRatio: 0.1 }

/** One failure is too many for these. */
const noTokens = { maxTokens: 1, tokenRatio: 0.1 }

const serviceConfig = (policy: object, retryThrottling: object): ClientOptions => ({
  "grpc.service_config": JSON.stringify({
    loadBalancingConfig: [],
    methodConfig: [{ name: [{ service: "acme.users.v1.Users" }], ...policy }],
    retryThrottling
  })
})

/** A client of grpc-js with a service config, without this library and with it. */
const grpcJsOwn = (policy: object, tokens: object = throttling) => ({
  name: "grpc-js",
  serve: grpcJsServer,
  client: (port: number) => Effect.map(grpcJsClient(port, serviceConfig(policy, tokens)), callbacks),
  intercepted: (port: number) =>
    Effect.flatMap(
      GrpcJs.interceptor(),
      (interceptor) =>
        Effect.map(grpcJsClient(port, { ...serviceConfig(policy, tokens), interceptors: [interceptor] }), callbacks)
    )
})

const own = {
  retries: (initialBackoff: string, tokens?: object) =>
    grpcJsOwn({
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff,
        maxBackoff: initialBackoff,
        backoffMultiplier: 1,
        retryableStatusCodes: ["UNAVAILABLE"]
      }
    }, tokens),
  hedges: grpcJsOwn({
    hedgingPolicy: { maxAttempts: 4, hedgingDelay: "10s", nonFatalStatusCodes: ["UNAVAILABLE"] }
  })
}

const throttled = (policy: Policy.Input, tokens = throttling): Layer.Layer<PolicyProvider.PolicyProvider> =>
  Layer.orDie(PolicyLayer.make({ policies: { "acme.users.v1.Users.*": { ...policy, budget: "a6" } } })).pipe(
    Layer.provide(Budget.layer("a6", Budget.successTokens(tokens), { scope: "shared" }))
  )

const retries = throttled({ retry: { maxAttempts: 4, backoff: Backoff.constant("1 millis", { jitter: "none" }) } })

const inOneSecond: Policy.Input = {
  retry: { maxAttempts: 4, backoff: Backoff.constant("1 second", { jitter: "none" }) }
}

const slowRetries = throttled(inOneSecond)

const hedges = throttled({
  hedge: { trigger: Hedge.after("10 seconds"), maxHedges: 3, maxFailing: 1 },
  idempotent: true
})

const down: Answering = (_, n) => Promise.reject(new Refusal(14, { message: `down ${n}` }))

/** How many requests arrive for 50 calls, one after the other, while the server fails all of them. */
const arrivalsOf50 = (world: World, layer: Layer.Layer<PolicyProvider.PolicyProvider>) =>
  Effect.map(
    given(world, { answer: down, layer }, async (client) => {
      for (let i = 0; i < 50; i++) await failureOf(client.unary("get", "1"))
    }),
    ({ arrivals }) => arrivals.length
  )

/** How many requests arrive for one call whose first attempt is answered with a pushback. */
const arrivalsAfter = (pushback: string, world: World, layer: Layer.Layer<PolicyProvider.PolicyProvider>) =>
  Effect.map(
    given(
      world,
      { answer: () => Promise.reject(new Refusal(14, { metadata: { "grpc-retry-pushback-ms": pushback } })), layer },
      async (client) => {
        await failureOf(client.unary("get", "1"))
        await sleep(30)
      }
    ),
    ({ arrivals, millis }) => ({ arrivals: arrivals.length, millis })
  )

const ours = [connectGrpc, connectClient, grpcJsInterceptor, grpcJsEffects]

describe("throttling, {10, 0.1}, 50 calls of up to 4 attempts to a server that is down", () => {
  for (const world of ours) {
    it.live(`retries of ${world.name} make 53 requests`, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* arrivalsOf50(world, retries), 53)
      }))

    it.live(`hedges of ${world.name} make 53 requests, and not 200`, () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* arrivalsOf50(world, hedges), 53)
      }))
  }

  it.live("retries of grpc-js make 53 requests", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* arrivalsOf50(own.retries("0.001s"), retries), 53)
    }))

  it.live("hedges of grpc-js make 200: its throttle does not hold for them", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* arrivalsOf50(own.hedges, hedges), 200)
    }))
})

describe("a retry that the throttle denies, with a backoff of one second", () => {
  const millisOf = (world: World) =>
    Effect.map(
      given(world, { answer: down, layer: throttled(inOneSecond, noTokens) }, async (client, arrivals) => {
        const { message } = await failureOf(client.unary("get", "1"))
        assert.deepStrictEqual([message, arrivals.length], ["down 1", 1])
      }),
      ({ millis }) => millis
    )

  for (const world of ours) {
    it.live(`${world.name} does not wait in order to be denied`, () =>
      Effect.gen(function*() {
        assert.isBelow(yield* millisOf(world), 700)
      }))
  }

  it.live("grpc-js waits first", () =>
    Effect.gen(function*() {
      assert.isAbove(yield* millisOf(own.retries("1s", noTokens)), 700)
    }))
})

describe("pushback, with a backoff of one second", () => {
  for (const world of ours) {
    for (const text of ["-1", "soon", "3.14"]) {
      it.live(`${JSON.stringify(text)}: ${world.name} does not retry`, () =>
        Effect.gen(function*() {
          assert.strictEqual((yield* arrivalsAfter(text, world, slowRetries)).arrivals, 1)
        }))
    }

    it.live(`"5": ${world.name} waits so long, and not the backoff`, () =>
      Effect.gen(function*() {
        const { arrivals, millis } = yield* arrivalsAfter("5", world, slowRetries)
        assert.strictEqual(arrivals, 4)
        assert.isBelow(millis, 1_000)
      }))
  }

  it.live("\"-1\": grpc-js does not retry either", () =>
    Effect.gen(function*() {
      assert.strictEqual((yield* arrivalsAfter("-1", own.retries("1s"), slowRetries)).arrivals, 1)
    }))

  for (const [text, why] of [["soon", "takes it for no wait at all"], ["3.14", "reads the part that it understands"]]) {
    it.live(`${JSON.stringify(text)}: grpc-js ${why}, and makes 4 requests without waiting for its backoff`, () =>
      Effect.gen(function*() {
        const { arrivals, millis } = yield* arrivalsAfter(text!, own.retries("1s"), slowRetries)
        assert.strictEqual(arrivals, 4)
        assert.isBelow(millis, 1_000)
      }))
  }
})

describe("both layers at once", () => {
  it.live("what grpc-js has retried is not retried again: 4 requests, and not 12", () =>
    Effect.gen(function*() {
      const world: World = { ...grpcJsInterceptor, client: (port) => own.retries("0.001s").intercepted(port) }
      const layer = throttled({ retry: { maxAttempts: 3, backoff: Backoff.none } })
      const ran = yield* given(world, { answer: down, layer }, (client) => failureOf(client.unary("get", "1")))
      assert.strictEqual(ran.value.message, "down 4")
      assert.strictEqual(ran.arrivals.length, 4)
      assert.deepInclude(ran.timelines[0]!.attempts[0], { reason: "retried_below" })
    }))
})
