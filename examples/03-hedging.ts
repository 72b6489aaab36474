/**
 * Hedging against a long tail: 2,000 calls to a server that answers most requests in a few milliseconds and three in a
 * hundred in about 100, without hedging and with it. Prints both latency tables, and what the second one has cost.
 *
 * Run it with `node --conditions=@rego/source examples/03-hedging.ts`.
 */
import { Hedge, PolicyLayer, PolicyProvider, Rego } from "@rego/core"
import type { Policy } from "@rego/core"
import { Clock, Duration, Effect, Option } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import assert from "node:assert"
import type { RequestListener } from "node:http"
import { serve } from "./local-server.ts"

// -----------------------------------------------------------------------------
// the server: several replicas behind one address, and some requests meet a busy one
// -----------------------------------------------------------------------------

/** Numbers from 0 to 1 that are the same in each run: "minstd", the generator of C++'s `minstd_rand`. */
const seeded = (seed: number) => {
  let state = seed
  return () => (state = state * 48_271 % 2_147_483_647) / 2_147_483_647
}

const longTail = (random: () => number): number => random() < 0.03 ? 60 + 60 * random() : 2 + 3 * random()

class Server {
  requests = 0
  private readonly random = seeded(20_260_401)

  readonly onRequest: RequestListener = (_, response) => {
    this.requests++
    const timer = setTimeout(() => response.end("42"), longTail(this.random))
    // A hedge that wins cancels the request that lost, and the server hears of it.
    response.once("close", () => clearTimeout(timer))
  }
}

// -----------------------------------------------------------------------------
// the call, and its policies
// -----------------------------------------------------------------------------

const getPrice = (url: string) =>
  HttpClient.get(`${url}/price`).pipe(
    Effect.flatMap((response) => response.text),
    Rego.resilient("prices.Get")
  )

const plain: Policy.Input = { timeout: { overall: "2 seconds" }, idempotent: true }

/** Once 200 answers have shown where the slowest 5 % begin, a hedge starts there; until then after 25 milliseconds. */
const hedged: Policy.Input = { ...plain, hedge: { trigger: Hedge.quantile(0.95, { fallback: "25 millis" }) } }

// -----------------------------------------------------------------------------
// the measurement
// -----------------------------------------------------------------------------

const calls = 2_000
const concurrency = 20

const timed = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.gen(function*() {
    const before = yield* Clock.monotonicTimeNanos
    yield* self
    return Number((yield* Clock.monotonicTimeNanos) - before) / 1e6
  })

const measure = (policy: Policy.Input) =>
  Effect.gen(function*() {
    const server = new Server()
    const url = yield* serve(server.onRequest)
    const once = timed(getPrice(url))
    const millis = yield* Effect.forEach(Array.from({ length: calls }), () => once, { concurrency })
    const provider = yield* PolicyProvider.PolicyProvider
    const statistics = Option.getOrThrow(yield* provider.statistics("prices.Get"))
    return { millis: millis.toSorted((a, b) => a - b), requests: server.requests, statistics }
  }).pipe(
    Effect.scoped,
    Effect.provide([PolicyLayer.make({ policies: { "prices.*": policy } }), FetchHttpClient.layer])
  )

// -----------------------------------------------------------------------------
// the tables
// -----------------------------------------------------------------------------

const quantile = (sorted: ReadonlyArray<number>, q: number): number => sorted[Math.ceil(q * sorted.length) - 1]!

const columns = { p50: 0.5, p90: 0.9, p95: 0.95, p99: 0.99, "p99.9": 0.999, max: 1 }

const rounded = (duration: Duration.Duration): string => `${Math.round(Duration.toMillis(duration))} ms`

const row = (cells: ReadonlyArray<string>): string => cells.map((cell) => cell.padStart(9)).join("")

const printTable = (title: string, sorted: ReadonlyArray<number>): void => {
  console.log(`\n${title}, in milliseconds`)
  console.log(row(Object.keys(columns)))
  console.log(row(Object.values(columns).map((q) => quantile(sorted, q).toFixed(1))))
}

const program = Effect.gen(function*() {
  const without = yield* measure(plain)
  const withHedges = yield* measure(hedged)
  const extraLoad = withHedges.requests / calls - 1
  const { hedges, latency } = Option.getOrThrow(withHedges.statistics.hedging)

  printTable(`${calls} calls without hedging`, without.millis)
  printTable(`${calls} calls with hedging`, withHedges.millis)
  console.log(`
  requests          ${without.requests} without, ${withHedges.requests} with: ${
    (100 * extraLoad).toFixed(1)
  } % extra load
  hedges            ${hedges.started} started, ${hedges.won} won, ${hedges.wasted} wasted, ${hedges.denied} denied
  saved             about ${rounded(hedges.saved)} in all
  delay now         ${Option.match(latency.quantile(0.95), { onNone: () => "none", onSome: rounded })}`)

  assert.strictEqual(without.requests, calls)
  assert(extraLoad <= 0.15, "the extra load is bounded")
  assert.strictEqual(hedges.started, hedges.won + hedges.wasted)
  const ratio = quantile(withHedges.millis, 0.99) / quantile(without.millis, 0.99)
  // Nine of ten requests take 2 to 5 ms. Where they take many times that, the tail is this machine's, and no hedge helps.
  if (quantile(without.millis, 0.9) > 20) return "This machine is too busy now to show what the hedges would have won."
  assert(hedges.won > 0)
  assert(ratio < 0.85, "the tail is clearly shorter")
  return "The tail is clearly shorter, for little more load."
})

console.log(`\n${await Effect.runPromise(program)}`)
