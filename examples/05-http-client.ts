/**
 * An HTTP client under policies: what is sent again, what is not, what a hedge does, and what the server saw of it.
 *
 * Run it with `node --conditions=@rego/source examples/05-http-client.ts`. The server is on this machine and fails on
 * purpose; every line says how often it was asked.
 */
import { Hedge, PolicyLayer, Timeline } from "@rego/core"
import { HttpKey, HttpRego } from "@rego/http"
import { Effect, Exit, Layer } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "effect/http"
import assert from "node:assert"
import type { RequestListener, ServerResponse } from "node:http"
import { serve } from "./local-server.ts"

// -----------------------------------------------------------------------------
// the server: each path has a habit of its own
// -----------------------------------------------------------------------------

interface Seen {
  requests: number
  /** requests whose client went away before the answer was complete */
  cancelled: number
  readonly keys: Set<unknown>
}

const seen = new Map<string, Seen>()

const answer = (response: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void => {
  response.writeHead(status, headers).end(body)
}

const habits: Readonly<Record<string, (response: ServerResponse, earlier: number) => void>> = {
  "GET /users/17": (response, earlier) => answer(response, earlier < 2 ? 503 : 200, "Ada"),
  "GET /users/18": (response, earlier) =>
    earlier === 0 ? answer(response, 429, "slow down", { "retry-after": "1" }) : answer(response, 200, "Bob"),
  "GET /users/404": (response) => answer(response, 404, "nobody"),
  "POST /orders": (response) => answer(response, 503, "perhaps it is stored, perhaps not"),
  "POST /reports": () => {},
  "POST /payments": (response, earlier) => answer(response, earlier === 0 ? 502 : 201, "paid"),
  "GET /slow": (response, earlier) => {
    if (earlier > 0) answer(response, 200, "x".repeat(1_000_000))
  }
}

const onRequest: RequestListener = (request, response) => {
  const operation = `${request.method} ${request.url}`
  const record = seen.get(operation) ?? { requests: 0, cancelled: 0, keys: new Set() }
  seen.set(operation, record)
  record.keys.add(request.headers["idempotency-key"])
  response.on("close", () => {
    if (!response.writableFinished) record.cancelled++
  })
  request.resume().on("end", () => habits[operation]?.(response, record.requests++))
}

// -----------------------------------------------------------------------------
// the client and its policies
// -----------------------------------------------------------------------------

/** Paths hold ids, keys must not: routes name the operations. */
const key = HttpKey.routes({
  "GET /users/:id": "shop.GetUser",
  "POST /payments": "shop.Pay",
  "GET /slow": "shop.GetSlow"
}, HttpKey.service("shop"))

const Policies = PolicyLayer.make({
  policies: {
    "shop.*": { retry: { maxAttempts: 3 }, timeout: { perAttempt: "5 seconds", overall: "20 seconds" } },
    "shop.POST": { timeout: { perAttempt: "100 millis" } },
    // a request says itself whether it may be sent twice, so that the policy need not
    "shop.GetSlow": { hedge: { trigger: Hedge.after("50 millis") } }
  }
})

const clientOf = (url: string) =>
  Effect.map(HttpClient.HttpClient, (client) =>
    client.pipe(
      HttpClient.mapRequest(HttpClientRequest.prependUrl(url)),
      HttpRego.resilient({ key })
    ))

// -----------------------------------------------------------------------------
// the story
// -----------------------------------------------------------------------------

const verdicts = ({ attempts, decisions }: Timeline.Timeline): string => {
  const stop = decisions.flatMap((decision) => decision._tag === "Stopped" ? [`stopped: ${decision.reason}`] : [])
  return [...attempts.map(({ endedBy, outcome, reason }) => reason ?? outcome ?? endedBy), ...stop].join(", ")
}

const row = (...cells: ReadonlyArray<string>): void =>
  console.log(cells.map((cell, i) => cell.padEnd([24, 26, 44][i] ?? 0)).join("").trimEnd())

/** Makes a call and reads the body; prints the result, the verdicts on the attempts, and what the server saw. */
const show = Effect.fn(function*<E extends Error, R>(
  operation: string,
  call: Effect.Effect<{ readonly status: number; readonly text: Effect.Effect<string, Error> }, E, R>,
  expected: { readonly verdicts: string; readonly requests: number }
) {
  const [exit, [timeline]] = yield* Timeline.capture(call)
  assert(timeline !== undefined)
  const result = Exit.isSuccess(exit)
    ? `${exit.value.status}, ${(yield* exit.value.text).length} bytes`
    : yield* Effect.flip(exit).pipe(Effect.map(({ name }) => name))
  const requests = seen.get(operation)?.requests ?? 0
  row(operation, result, verdicts(timeline), `${requests} arrived`)
  assert.strictEqual(verdicts(timeline), expected.verdicts)
  assert.strictEqual(requests, expected.requests)
  return timeline
})

const story = (url: string) =>
  Effect.gen(function*() {
    const client = yield* clientOf(url)
    row("request", "result", "attempts", "at the server")

    yield* show("GET /users/17", client.get("/users/17"), { verdicts: "http_503, http_503, Success", requests: 3 })

    const patient = yield* show("GET /users/18", client.get("/users/18"), {
      verdicts: "http_429, Success",
      requests: 2
    })
    assert((patient.attempts[1]?.backoffBefore ?? 0) >= 1_000, "nobody comes back earlier than asked")

    yield* show("GET /users/404", client.get("/users/404"), {
      verdicts: "http_404, stopped: non_retryable",
      requests: 1
    })

    yield* show("POST /orders", client.post("/orders"), { verdicts: "http_503, stopped: not_idempotent", requests: 1 })

    yield* show("POST /reports", client.post("/reports"), {
      verdicts: "attempt_timeout, stopped: not_idempotent",
      requests: 1
    })

    const payments = HttpRego.withIdempotencyKey(client)
    yield* show("POST /payments", payments.post("/payments"), { verdicts: "http_502, Success", requests: 2 })
    assert.strictEqual(seen.get("POST /payments")?.keys.size, 1, "both attempts carry one key")

    yield* show("GET /slow", client.get("/slow"), { verdicts: "interrupted_loser, Success", requests: 2 })
    while (seen.get("GET /slow")?.cancelled === 0) yield* Effect.sleep("10 millis")
    console.log("\nThe server saw that the first GET /slow was given up; the second was read whole.")
  })

const program = Effect.scoped(Effect.flatMap(serve(onRequest), story))
await Effect.runPromise(program.pipe(Effect.provide(Layer.merge(FetchHttpClient.layer, Policies))))
