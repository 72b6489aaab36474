/** What must infer, and what must not compile. Checked by `tsc -b`; nothing here runs. */
import type { PolicyProvider, RegoError } from "@rego/core"
import { Classifier, Outcome, PolicyLayer, Rego } from "@rego/core"
import { HttpClassifier, HttpKey, HttpRego } from "@rego/http"
import type { Scope } from "effect"
import { Data, Effect, flow, Layer } from "effect"
import type { HttpClientError } from "effect/http"
import { FetchHttpClient, HttpClient, HttpClientResponse } from "effect/http"
import type { CircuitBreaker } from "effect/persistence"

// ------------------------------------------------------------------ helpers: exact type equality, displayed in errors
type Equals<X, Y> = (<T>() => T extends X ? 1 : 2) extends <T>() => T extends Y ? 1 : 2 ? true : false
const is = <_T extends true>(): void => {}
type PP = PolicyProvider.PolicyProvider
type RE = RegoError.RegoError
type HCE = HttpClientError.HttpClientError
type Client<E, R = never> = HttpClient.HttpClient.With<E, R>

declare const client: HttpClient.HttpClient
declare const breaker: CircuitBreaker.CircuitBreaker

// ------------------------------------------------------------------ 1 resilient: in a pipe, client first, stored, in flow
const piped = client.pipe(HttpRego.resilient())
is<Equals<typeof piped, Client<HCE | RE, PP>>>()

const withOptions = client.pipe(HttpRego.resilient({ key: HttpKey.service("users"), idempotent: true }))
is<Equals<typeof withOptions, Client<HCE | RE, PP>>>()

const clientFirst = HttpRego.resilient(client, { key: "users.Get" })
is<Equals<typeof clientFirst, Client<HCE | RE, PP>>>()

const stored = HttpRego.resilient({ key: ({ method }) => `users.${method}` })
const viaStored = client.pipe(stored)
is<Equals<typeof viaStored, Client<HCE | RE, PP>>>()

const viaFlow = flow(HttpRego.withIdempotencyKey<HCE, never>, HttpRego.resilient())
is<Equals<ReturnType<typeof viaFlow>, Client<HCE | RE, PP>>>()

// ------------------------------------------------------------------ 2 errors and requirements of the client are kept
const scoped = client.pipe(HttpClient.withScope, HttpClient.withCircuitBreaker({ breaker }), HttpRego.resilient())
is<Equals<typeof scoped, Client<HCE | CircuitBreaker.CircuitBreakerError | RE, Scope.Scope | PP>>>()

const keyed = HttpRego.withIdempotencyKey(scoped)
is<Equals<typeof keyed, typeof scoped>>()

const request = piped.get("http://users.test/")
is<Equals<typeof request, Effect.Effect<HttpClientResponse.HttpClientResponse, HCE | RE, PP>>>()

// ------------------------------------------------------------------ 3 make and layer
const made = HttpRego.make(client, { key: "users.Get" })
is<Equals<typeof made, Effect.Effect<Client<HCE | RE>, never, PP>>>()

const layer = HttpRego.layer({ key: HttpKey.service("users") })
is<Equals<typeof layer, Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | PP>>>()

const provided = layer.pipe(Layer.provide([FetchHttpClient.layer, PolicyLayer.defaults]))
is<Equals<typeof provided, Layer.Layer<HttpClient.HttpClient>>>()

// @ts-expect-error a resilient client has errors that the service does not know: that is what `layer` is for
const asService: HttpClient.HttpClient = piped

// ------------------------------------------------------------------ 4 options
class Busy extends Data.TaggedError("Busy")<{ readonly after: number }> {}
const busy = Classifier.byTag<Busy>({ Busy: (error) => Outcome.retryable({ reason: "busy", retryAfter: error.after }) })
const classified = client.pipe(HttpRego.resilient({ classifier: busy }))
is<Equals<typeof classified, Client<HCE | RE, PP>>>()

const byStatus = Classifier.make<HttpClientResponse.HttpClientResponse>((exit) =>
  exit._tag === "Success" && exit.value.status === 409 ? Outcome.retryable({ reason: "conflict" }) : undefined
)
HttpRego.resilient({ classifier: byStatus })
HttpRego.resilient({ classifier: HttpClassifier.http })
HttpRego.resilient({ idempotent: ({ url }) => url.endsWith("/search") || undefined })
HttpRego.resilient({ headers: { attempt: undefined }, drain: { within: "10 millis" }, replayable: undefined })

// @ts-expect-error a typing error in an option
HttpRego.resilient({ idempotence: true })
// @ts-expect-error the method of a route is written in capitals
HttpKey.routes({ "get /users": "users.Get" })
// @ts-expect-error a route has a path
HttpKey.routes({ "GET users": "users.Get" })
// @ts-expect-error a classifier of other values
HttpRego.resilient({ classifier: Classifier.make<number>(() => undefined) })

// ------------------------------------------------------------------ 5 the classifier around any effect
declare const users: Effect.Effect<string, HCE | Busy>
const around = users.pipe(Rego.resilient("users.Get", { classifier: HttpClassifier.http }))
is<Equals<typeof around, Effect.Effect<string, HCE | Busy | RE, PP>>>()
const named = PolicyLayer.make({ policies: { "users.*": { classifier: HttpClassifier.make({ retryable: [503] }) } } })
void [asService, named, HttpClientResponse, Effect]
