/**
 * Five ways in which a call ends: at once, rescued, stopped by the deadline, stopped by the budget, beyond rescue.
 *
 * Run it with `npm run demo`. It talks to a real HTTP server on this machine (`flaky-server.ts`), which fails on purpose.
 */
import { Classifier, Outcome, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Duration, Effect, Layer, Schema } from "effect"
import { FetchHttpClient, HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import type { HttpClientError } from "effect/http"
import assert from "node:assert"
import { FlakyServer } from "./flaky-server.ts"

// -----------------------------------------------------------------------------
// the calls: each one names itself with a key, and knows nothing of retries
// -----------------------------------------------------------------------------

const User = Schema.Struct({ name: Schema.String })

const getUser = (id: string) =>
  HttpClient.get(`/users/${id}`).pipe(
    Effect.flatMap(HttpClientResponse.schemaBodyJson(User)),
    Effect.map((user) => `Hello, ${user.name}!`),
    Rego.resilient("users.Get")
  )

const getReport = HttpClient.get("/reports/today").pipe(
  Effect.flatMap((response) => response.text),
  Rego.resilient("reports.Get"),
  Effect.catchReason(
    "RegoError",
    "DeadlineExceeded",
    ({ attempts }) => Effect.succeed(`Yesterday's report (no answer after ${attempts} attempts)`)
  )
)

const search = HttpClient.get("/search").pipe(
  Effect.flatMap((response) => response.text),
  Rego.resilient("search.Query")
)

// -----------------------------------------------------------------------------
// the policies: what each key gets
// -----------------------------------------------------------------------------

const parseSeconds = (retryAfter: string | undefined): Duration.Duration | undefined =>
  retryAfter !== undefined && /^\d+$/.test(retryAfter) ? Duration.seconds(Number(retryAfter)) : undefined

// Which failures are worth another attempt. Written by hand here; `HttpClassifier` of `@rego/http` knows more.
const httpStatus = Classifier.byTag<HttpClientError.HttpClientError>({
  HttpClientError: ({ response }) => {
    if (response === undefined) return Outcome.retryable({ reason: "no_answer" })
    const reason = `http_${response.status}`
    return response.status === 503
      ? Outcome.retryable({ reason, retryAfter: parseSeconds(response.headers["retry-after"]) })
      : Outcome.nonRetryable({ reason })
  }
})

const Policies = PolicyLayer.make({
  defaults: {
    retry: { maxAttempts: 3 },
    timeout: { perAttempt: "750 millis", overall: "3 seconds" },
    classifier: httpStatus,
    // These calls only read: they can be sent again even while an attempt that was given up still runs at the server.
    idempotent: true
  },
  policies: {
    "users.*": {},
    "search.*": {},
    "reports.Get": { timeout: { overall: "1200 millis" } }
  }
})

// -----------------------------------------------------------------------------
// the edge of the application: everything is provided once
// -----------------------------------------------------------------------------

const Client = Layer.effect(
  HttpClient.HttpClient,
  Effect.gen(function*() {
    const { url } = yield* FlakyServer
    const client = yield* HttpClient.HttpClient
    // Without `filterStatusOk` a 503 would be a success of the client.
    return client.pipe(HttpClient.mapRequest(HttpClientRequest.prependUrl(url)), HttpClient.filterStatusOk)
  })
).pipe(Layer.provide(FetchHttpClient.layer))

const App = Policies.pipe(Layer.provideMerge(Client), Layer.provideMerge(FlakyServer.layer))

// -----------------------------------------------------------------------------
// the story
// -----------------------------------------------------------------------------

interface Expected {
  readonly result: RegExp
  /** how each attempt ended: the reason of the verdict, or the verdict itself */
  readonly attempts: ReadonlyArray<string>
  /** why there was no further attempt; a call that succeeds has no such reason */
  readonly stopped?: Timeline.StopReason
}

const attemptEnds = ({ attempts }: Timeline.Timeline): ReadonlyArray<string> =>
  attempts.map(({ endedBy, outcome, reason }) => reason ?? outcome ?? endedBy)

const stopReason = ({ decisions }: Timeline.Timeline): Timeline.StopReason | undefined =>
  decisions.find((decision) => decision._tag === "Stopped")?.reason

/** Makes a call, prints its result and what happened inside, and checks that it ended as the title says. */
const show = Effect.fn(function*<E extends Error, R>(
  title: string,
  call: Effect.Effect<string, E, R>,
  expected: Expected
) {
  const text = Effect.match(call, { onSuccess: (value) => value, onFailure: (error) => `failed: ${error.message}` })
  const [exit, [timeline]] = yield* Timeline.capture(text)
  const result = yield* exit
  assert(timeline !== undefined)
  console.log(`\n${title}\n→ ${result}\n\n${Timeline.render(timeline)}`)

  assert.match(result, expected.result)
  assert.deepStrictEqual(attemptEnds(timeline), expected.attempts)
  assert.strictEqual(stopReason(timeline), expected.stopped)
  return timeline
})

const story = Effect.gen(function*() {
  yield* show("1. Succeeds at once", getUser("ada"), {
    result: /^Hello, Ada!$/,
    attempts: ["Success"]
  })

  yield* show("2a. Rescued by a retry: the server answers 503, then 200", getUser("bob"), {
    result: /^Hello, Bob!$/,
    attempts: ["http_503", "Success"]
  })

  const { attempts } = yield* show("2b. Rescued, and not too early: 503 with Retry-After: 1", getUser("cy"), {
    result: /^Hello, Cy!$/,
    attempts: ["http_503", "Success"]
  })
  assert((attempts[1]?.backoffBefore ?? 0) >= 1_000)

  yield* show("2c. Rescued: the connection is dropped", getUser("dora"), {
    result: /^Hello, Dora!$/,
    attempts: ["no_answer", "Success"]
  })

  yield* show("2d. Rescued: no answer within the time for one attempt", getUser("eve"), {
    result: /^Hello, Eve!$/,
    attempts: ["attempt_timeout", "Success"]
  })

  yield* show("3. Stopped by the deadline, recovered with Effect.catchReason", getReport, {
    result: /^Yesterday's report \(no answer after 3 attempts\)$/,
    attempts: ["http_503", "attempt_timeout", "timed_out"],
    stopped: "deadline_exceeded"
  })

  // The search is down. Three calls use up what the default budget of their key holds in reserve.
  yield* Effect.repeat(Effect.ignore(search), { times: 2 })
  yield* show("4. Refused by the budget: after three failed calls this one may not retry", search, {
    result: /^failed: .*503/,
    attempts: ["http_503"],
    stopped: "budget_denied"
  })
  const requests = (yield* FlakyServer).requests("/search")
  console.log(`\n  Four calls of three attempts each sent ${requests} requests to a server in trouble, not 12.`)
  assert.strictEqual(requests, 9)

  yield* show("5. Not retryable: 404 is an answer", getUser("nobody"), {
    result: /^failed: .*404/,
    attempts: ["http_404"],
    stopped: "non_retryable"
  })
})

await Effect.runPromise(story.pipe(Effect.provide(App)))
console.log("\nEvery call ended as its title says.")
