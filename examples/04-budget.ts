/**
 * Retries in an outage: a server fails all requests and then recovers. Prints how many requests each call has sent to it,
 * with no budget and with the one that every policy has by default.
 *
 * Run it with `node --conditions=@rego/source examples/04-budget.ts`.
 */
import { PolicyLayer, PolicyProvider, Rego } from "@rego/core"
import type { Policy } from "@rego/core"
import { Effect, Option } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import assert from "node:assert"
import type { RequestListener } from "node:http"
import { serve } from "./local-server.ts"

// -----------------------------------------------------------------------------
// the server: on a good day it fails one request in twenty, in an outage all of them
// -----------------------------------------------------------------------------

class Server {
  down = false
  requests = 0

  readonly onRequest: RequestListener = (_, response) => {
    this.requests++
    response.statusCode = this.down || this.requests % 20 === 0 ? 503 : 200
    response.end()
  }
}

// -----------------------------------------------------------------------------
// the call, and its policies
// -----------------------------------------------------------------------------

const getStock = (url: string) =>
  Effect.gen(function*() {
    const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
    const response = yield* client.get(`${url}/stock`)
    return yield* response.text
  }).pipe(Rego.resilient("stock.Get"))

const careful: Policy.Input = { retry: { maxAttempts: 3 }, timeout: { overall: "5 seconds" }, idempotent: true }

/** What many retry loops do. Booting with it logs a warning. */
const careless: Policy.Input = { ...careful, budget: "unlimited" }

// -----------------------------------------------------------------------------
// a day of the server
// -----------------------------------------------------------------------------

interface Part {
  readonly requestsPerCall: number
  readonly failed: number
}

const part = (server: Server, url: string, calls: number) =>
  Effect.gen(function*() {
    const before = server.requests
    const once = Effect.match(getStock(url), { onSuccess: () => 0, onFailure: () => 1 })
    const failed = yield* Effect.forEach(Array.from({ length: calls }), () => once, { concurrency: 10 })
    return {
      requestsPerCall: (server.requests - before) / calls,
      failed: failed.reduce<number>((sum, one) => sum + one, 0)
    }
  })

const day = (policy: Policy.Input) =>
  Effect.gen(function*() {
    const server = new Server()
    const url = yield* serve(server.onRequest)
    const before = yield* part(server, url, 300)
    server.down = true
    const outage = yield* part(server, url, 500)
    server.down = false
    const after = yield* part(server, url, 300)
    const provider = yield* PolicyProvider.PolicyProvider
    const { budget } = Option.getOrThrow(yield* provider.statistics("stock.Get"))
    return { before, outage, after, budget }
  }).pipe(
    Effect.scoped,
    Effect.provide([PolicyLayer.make({ policies: { "stock.*": policy } }), FetchHttpClient.layer])
  )

// -----------------------------------------------------------------------------
// the table
// -----------------------------------------------------------------------------

const cells = ({ failed, requestsPerCall }: Part): string =>
  `${requestsPerCall.toFixed(2)} requests, ${String(failed).padStart(3)} failed`.padEnd(28)

const program = Effect.gen(function*() {
  const without = yield* day(careless)
  const withBudget = yield* day(careful)

  console.log(`
Requests for each call, and calls that failed
${"".padEnd(26)}${"no budget".padEnd(28)}the default budget
  300 calls, all is well  ${cells(without.before)}${cells(withBudget.before)}
  500 calls, an outage    ${cells(without.outage)}${cells(withBudget.outage)}
  300 calls, all is well  ${cells(without.after)}${cells(withBudget.after)}

  The budget "${withBudget.budget.name}" holds ${withBudget.budget.balance.toFixed(1)} extra attempts now.`)

  // Nobody is served in an outage, whatever is tried.
  assert.strictEqual(without.outage.failed, 500)
  assert.strictEqual(withBudget.outage.failed, 500)
  assert.strictEqual(without.outage.requestsPerCall, 3)
  assert(withBudget.outage.requestsPerCall < 1.2)
  // Failures that are rare are hidden before and after it. Right after it the budget has few deposits yet.
  assert(withBudget.before.failed <= 3)
  assert(withBudget.after.failed <= 15)
  assert(withBudget.after.requestsPerCall < 1.2)
})

await Effect.runPromise(program)
console.log("\nWith a budget the server in trouble got about a third of the requests.")
