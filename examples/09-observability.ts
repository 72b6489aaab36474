/**
 * Observability: traffic with faults, and what the tools of an operator say of it. Prints the waterfall of the worst call and
 * the metrics for Prometheus, and writes the waterfall as a picture.
 *
 * Run it with `node --conditions=@rego/source examples/09-observability.ts`. With `--serve 9464` it goes on, and serves
 * `/metrics` and `/debug/rego` on that port of this machine, for the questions of `docs/incidents.md`; Ctrl+C ends it.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as MemorySource from "@rego/control-plane/MemorySource"
import { Observer, PolicyLayer, PolicyProvider, Rego, RegoMetrics, Timeline } from "@rego/core"
import { DebugRoutes, HttpClassifier } from "@rego/http"
import { Effect, Layer, Schedule } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpRouter, HttpServer } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import assert from "node:assert"
import { mkdirSync, writeFileSync } from "node:fs"
import type { RequestListener } from "node:http"
import { createServer } from "node:http"
import { join } from "node:path"
import { serve } from "./local-server.ts"

// -----------------------------------------------------------------------------
// the dependency: prices have a long tail, stock fails in bursts, orders must not be sent twice, reports are down
// -----------------------------------------------------------------------------

/** Numbers from 0 to 1 that are the same in each run: "minstd", the generator of C++'s `minstd_rand`. */
const seeded = (seed: number) => {
  let state = seed
  return () => (state = state * 48_271 % 2_147_483_647) / 2_147_483_647
}

const dependency = (): RequestListener => {
  const random = seeded(20_261_127)
  let stock = 0
  const answers: Readonly<Record<string, () => readonly [status: number, millis: number]>> = {
    "/price": () => [200, random() < 0.05 ? 120 : 2 + 3 * random()],
    // one in sixteen is turned away, and comes back a little later: callers see no error, but they wait
    "/stock": () => [++stock % 16 === 0 ? 503 : 200, 2],
    "/order": () => [random() < 0.1 ? 503 : 201, 2],
    "/report": () => [503, 2]
  }
  return (request, response) => {
    const [status, millis] = answers[request.url ?? ""]?.() ?? [404, 0]
    const timer = setTimeout(() => response.writeHead(status).end("42"), millis)
    response.once("close", () => clearTimeout(timer))
  }
}

// -----------------------------------------------------------------------------
// the policies: revision 2 adds hedging
// -----------------------------------------------------------------------------

const document = (revision: string, prices: object) => ({
  schemaVersion: "1.0",
  revision,
  defaults: { timeout: { overall: "2 seconds" } },
  policies: {
    "prices.*": { idempotent: true, ...prices },
    "stock.*": {
      retry: { maxAttempts: 3, backoff: { type: "constant", delay: "60 millis", jitter: "none" } },
      idempotent: true
    },
    "orders.*": { retry: { maxAttempts: 3 }, idempotent: false },
    // nobody bounds these retries
    "reports.*": {
      retry: { maxAttempts: 4, backoff: { type: "constant", delay: "5 millis" } },
      budget: "unlimited",
      idempotent: true
    }
  }
})

const plain = document("2026-11-27.1", {})
const hedged = document("2026-11-27.2", { hedge: { trigger: { type: "after", delay: "25 millis" } } })

// -----------------------------------------------------------------------------
// the application: calls, and who watches them
// -----------------------------------------------------------------------------

const recent = Observer.recent({ capacity: 500 })

/** Policies below, then those who watch: the metrics read the policies, and the pages show both. */
const application = (source: MemorySource.MemorySource) =>
  Observer.layer([recent, RegoMetrics.make()]).pipe(
    Layer.provideMerge(PolicyLayer.live().pipe(Layer.provide(source.layer)))
  )

const send = (url: string, key: string, request: (url: string) => HttpClientRequest.HttpClientRequest) =>
  Effect.flatMap(HttpClient.HttpClient, (client) => HttpClient.filterStatusOk(client).execute(request(url))).pipe(
    Rego.resilient(key, { classifier: HttpClassifier.http }),
    Effect.exit
  )

const page = (url: string) =>
  Effect.all([
    send(`${url}/price`, "prices.Get", HttpClientRequest.get),
    send(`${url}/stock`, "stock.Get", HttpClientRequest.get),
    send(`${url}/order`, "orders.Create", HttpClientRequest.post),
    send(`${url}/report`, "reports.Get", HttpClientRequest.get)
  ], { concurrency: "unbounded", discard: true })

const traffic = (url: string, pages: number) =>
  Effect.forEach(Array.from({ length: pages }), () => page(url), { concurrency: 4, discard: true })

/** A published document is in force a moment later. */
const inForce = ({ revision: wanted }: typeof plain) =>
  Effect.gen(function*() {
    const provider = yield* PolicyProvider.PolicyProvider
    yield* provider.status.pipe(
      Effect.repeat({ until: ({ revision }) => revision === wanted, schedule: Schedule.spaced("5 millis") })
    )
  })

// -----------------------------------------------------------------------------
// what an operator sees
// -----------------------------------------------------------------------------

const metrics = PrometheusMetrics.format({ metricNameMapper: RegoMetrics.prometheusName })

const worstCall = Effect.gen(function*() {
  const [worst] = yield* recent.calls({ order: "slowest", limit: 1 })
  assert(worst !== undefined)
  const folder = join(import.meta.dirname, "../.test-results")
  mkdirSync(folder, { recursive: true })
  const file = join(folder, "worst-call.svg")
  writeFileSync(file, Timeline.toSvg(worst.timeline))
  console.log(`\nThe worst call\n\n${Timeline.render(worst.timeline)}\n\nAs a picture: ${file}`)
})

/** A hedge that won: the attempt that lost is seen in no metric of errors, but here. */
const race = Effect.gen(function*() {
  const calls = yield* recent.calls({ key: "prices", order: "slowest" })
  const won = calls.find(({ timeline }) =>
    timeline.attempts.some(({ attempt, outcome }) => attempt.hedge > 0 && outcome === "Success")
  )
  if (won !== undefined) console.log(`\nA hedge that won\n\n${Timeline.render(won.timeline)}`)
})

const shownMetrics = Effect.gen(function*() {
  const text = yield* metrics
  assert(text.includes(`rego_call_retries_sum{key="stock.Get"}`))
  const lines = text.split("\n").filter((line) => /rego_/.test(line) && !/_bucket\{/.test(line))
  console.log(`\nThe metrics for Prometheus, without the buckets\n\n${lines.join("\n")}`)
})

// -----------------------------------------------------------------------------
// the story
// -----------------------------------------------------------------------------

const serveOn = (port: number) =>
  Effect.gen(function*() {
    const Routes = Layer.merge(
      DebugRoutes.layer({ recent }),
      PrometheusMetrics.layerHttp({ metricNameMapper: RegoMetrics.prometheusName })
    )
    const Server = HttpRouter.serve(Routes, { disableLogger: true, disableListenLog: true }).pipe(
      Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port }))
    )
    const address = HttpServer.addressFormattedWith(Effect.succeed)
    const url = yield* Effect.provide(address, yield* Layer.build(Server))
    console.log(`\n${url}/debug/rego and ${url}/metrics, until Ctrl+C`)
  })

const program = (source: MemorySource.MemorySource, port: number | undefined) =>
  Effect.gen(function*() {
    const url = yield* serve(dependency())
    yield* inForce(plain)
    yield* traffic(url, 60)
    yield* source.publish(hedged)
    yield* inForce(hedged)
    yield* traffic(url, 120)
    yield* Observer.flush
    yield* worstCall
    yield* race
    yield* shownMetrics
    if (port === undefined) return
    yield* serveOn(port)
    yield* Effect.forever(Effect.all([traffic(url, 4), source.confirm, Effect.sleep("100 millis")]))
  })

const [flag, given] = process.argv.slice(2)
const port = flag === "--serve" ? Number(given ?? 9464) : undefined

await Effect.runPromise(
  Effect.gen(function*() {
    const source = yield* MemorySource.make({ name: "example" })
    yield* source.publish(plain)
    yield* program(source, port).pipe(Effect.provide(application(source)))
  }).pipe(Effect.scoped, Effect.provide(FetchHttpClient.layer))
)
