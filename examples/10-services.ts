/**
 * All methods of a client made resilient at once: an `HttpApi` client of a flaky server. Prints how often each request
 * arrived at the server.
 *
 * Run it with `node --conditions=@rego/source examples/10-services.ts`.
 */
import { Classifier, Hedge, Outcome, PolicyLayer, Timeline } from "@rego/core"
import type { RegoError } from "@rego/core"
import * as ResilientClient from "@rego/core/ResilientClient"
import { Context, Effect, Layer, Schema } from "effect"
import { FetchHttpClient } from "effect/http"
import { HttpApi, HttpApiClient, HttpApiEndpoint, HttpApiGroup } from "effect/http-api"
import assert from "node:assert"
import type { RequestListener } from "node:http"
import { serve } from "./local-server.ts"

// -----------------------------------------------------------------------------
// the API, as client and server share it
// -----------------------------------------------------------------------------

class OutOfStock extends Schema.TaggedError<OutOfStock>()("OutOfStock", {}, { httpApiStatus: 409 }) {}
class Overloaded extends Schema.TaggedError<Overloaded>()("Overloaded", {}, { httpApiStatus: 503 }) {}

const Orders = HttpApiGroup.make("orders").add(
  HttpApiEndpoint.get("get", "/orders/:id", {
    params: { id: Schema.String },
    success: Schema.String,
    error: Overloaded
  }),
  HttpApiEndpoint.get("price", "/price", { success: Schema.String }),
  HttpApiEndpoint.post("place", "/orders", { success: Schema.String, error: OutOfStock })
)

const Shop = HttpApi.make("shop").add(Orders)

// -----------------------------------------------------------------------------
// the server: written by hand, so that it can misbehave
// -----------------------------------------------------------------------------

const arrived: Record<string, number> = {}

const onRequest: RequestListener = ({ method, url }, response) => {
  const request = `${method} ${url}`
  const times = arrived[request] = (arrived[request] ?? 0) + 1
  const answer = (status: number, body: unknown) =>
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))

  if (request === "GET /orders/7") return times < 3 ? answer(503, { _tag: "Overloaded" }) : answer(200, "7: tea")
  // the first request meets a busy replica
  if (request === "GET /price" && times > 1) return answer(200, "42")
  if (request === "POST /orders" && times > 1) return answer(409, { _tag: "OutOfStock" })
}

// -----------------------------------------------------------------------------
// the client
// -----------------------------------------------------------------------------

class ShopClient extends Context.Service<ShopClient, HttpApiClient.ForApi<typeof Shop, RegoError.RegoError>>()(
  "ShopClient"
) {
  static readonly layer = Layer.effect(
    ShopClient,
    Effect.gen(function*() {
      const client = yield* HttpApiClient.make(Shop, { baseUrl: yield* serve(onRequest) })
      return yield* ResilientClient.httpApi(client, Shop, { namespace: "shop" })
    })
  )
}

const Policies = PolicyLayer.make({
  policies: {
    "shop.*": {
      retry: { maxAttempts: 3 },
      timeout: { perAttempt: "1 second", overall: "5 seconds" },
      classifier: Classifier.byTag<OutOfStock>({ OutOfStock: Outcome.nonRetryable({ reason: "out_of_stock" }) })
    },
    // the client knows that this is a GET, so that the policy need not say it
    "shop.orders.price": { hedge: { trigger: Hedge.after("30 millis") } }
  }
})

// -----------------------------------------------------------------------------
// the story
// -----------------------------------------------------------------------------

const story = Effect.gen(function*() {
  const { orders } = yield* ShopClient

  console.log("a GET that is answered 503 twice:", yield* orders.get({ params: { id: "7" } }))
  console.log("a GET whose first request hangs: ", yield* orders.price())

  const lost = yield* Effect.flip(orders.place())
  const why = lost._tag === "RegoError" ? lost.reason._tag : lost._tag
  console.log("a POST that is not answered:     ", why)

  const [exit, [timeline]] = yield* Timeline.capture(orders.place())
  console.log("a POST that is refused:          ", timeline?.attempts.map(({ reason }) => reason).join())

  console.log("\nhow often each request arrived:")
  for (const [request, times] of Object.entries(arrived)) console.log(`  ${request.padEnd(14)} ${times}`)

  assert.strictEqual(why, "AttemptTimedOut")
  assert.strictEqual(exit._tag, "Failure")
  assert.deepStrictEqual(arrived, { "GET /orders/7": 3, "GET /price": 2, "POST /orders": 2 })
})

await Effect.runPromise(
  story.pipe(Effect.provide(ShopClient.layer.pipe(Layer.provide([Policies, FetchHttpClient.layer]))))
)
console.log("\nEach POST was sent once.")
