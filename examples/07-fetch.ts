/**
 * The policies of a program for code that does not speak Effect: a function with the shape of `fetch`. Shows what arrives
 * at the server, and how a signal ends a call that waits.
 *
 * Run it with `node --conditions=@rego/source examples/07-fetch.ts`.
 */
import { Backoff, PolicyLayer, Timeline } from "@rego/core"
import { ResilientFetch } from "@rego/http"
import { Effect, ManagedRuntime } from "effect"
import assert from "node:assert"
import type { RequestListener } from "node:http"
import { serve } from "./local-server.ts"

// -----------------------------------------------------------------------------
// the server: it fails the first request to each path
// -----------------------------------------------------------------------------

const requests = new Map<string, number>()

const onRequest: RequestListener = (request, response) => {
  const path = `${request.method} ${request.url}`
  const seen = requests.get(path) ?? 0
  requests.set(path, seen + 1)
  request.resume().on("end", () => {
    if (request.url === "/closed") return response.writeHead(503, { "retry-after": "3600" }).end("come back later")
    response.writeHead(seen === 0 || request.url === "/down" ? 503 : 200).end(seen === 0 ? "not now" : "well")
  })
}

// -----------------------------------------------------------------------------
// the policies, and the function that the rest of the program calls
// -----------------------------------------------------------------------------

const Policies = PolicyLayer.make({
  policies: {
    "shop.*": {
      retry: { maxAttempts: 3, backoff: Backoff.exponential({ initial: "20 millis", max: "200 millis" }) },
      timeout: { perAttempt: "1 second", overall: "3 seconds" }
    },
    "shop.Patient": {
      retry: { backoff: Backoff.constant("30 seconds", { jitter: "none" }) },
      timeout: { overall: "1 minute" }
    }
  }
})

const runtime = ManagedRuntime.make(Policies)

/** One key for each operation: the paths of this server are few, and hold no ids. */
const resilientFetch = ResilientFetch.make(runtime, {
  key: (request) => request.url.endsWith("/down") ? "shop.Patient" : `shop.${request.method}`
})

// -----------------------------------------------------------------------------
// code that knows nothing of Effect
// -----------------------------------------------------------------------------

const row = (...cells: ReadonlyArray<string>): void =>
  console.log(cells.map((cell) => cell.padEnd(34)).join("").trimEnd())

const arrived = (method: string, path: string): string => `arrived ${requests.get(`${method} ${path}`) ?? 0} times`

const show = async (url: string, path: string, init: RequestInit = {}): Promise<Response> => {
  const response = await resilientFetch(`${url}${path}`, init)
  const method = init.method ?? "GET"
  row(`${method} ${path}`, `${response.status} ${await response.text()}`, arrived(method, path))
  return response
}

const abortInBackoff = async (url: string): Promise<void> => {
  const controller = new AbortController()
  const call = resilientFetch(`${url}/down`, { signal: controller.signal })
  setTimeout(() => controller.abort(new Error("the user has left")), 200)
  const before = performance.now()
  const error = await call.then(() => undefined, (error: Error) => error)
  row("GET /down, aborted in its wait", `${error?.message}`, arrived("GET", "/down"))
  assert.strictEqual(error?.message, "the user has left")
  assert(performance.now() - before < 10_000, "nobody waits for the backoff of 30 seconds")
}

const refused = async (): Promise<void> => {
  const closed = await Effect.runPromise(Effect.scoped(serve(onRequest)))
  const error = await resilientFetch(closed, { method: "POST" }).catch((error: unknown) => error)
  assert(error instanceof TypeError)
  row("POST to a port that is closed", `${error.name}: ${error.message}`)
  const [timeline] = ResilientFetch.timelinesOf(error)
  assert(timeline !== undefined)
  console.log(`\nIts timeline:\n${Timeline.render(timeline)}`)
  assert.strictEqual(timeline.attempts.length, 3, "what nobody has seen is safe to send again")
}

const program = async (url: string): Promise<void> => {
  assert.strictEqual((await show(url, "/users")).status, 200)
  assert.strictEqual((await show(url, "/orders", { method: "POST", body: "{}" })).status, 503)
  const headers = { "Idempotency-Key": "order-17" }
  assert.strictEqual((await show(url, "/payments", { method: "POST", body: "{}", headers })).status, 200)
  assert.strictEqual((await show(url, "/closed")).status, 503)
  await abortInBackoff(url)
  await refused()
  assert.deepStrictEqual(Object.fromEntries(requests), {
    "GET /users": 2,
    "POST /orders": 1,
    "POST /payments": 2,
    "GET /closed": 1,
    "GET /down": 1
  })
}

const onServer = Effect.flatMap(serve(onRequest), (url) => Effect.promise(() => program(url)))
await Effect.runPromise(Effect.scoped(onServer))
await runtime.dispose()
