/**
 * Turns an HTTP client into one whose every request is a call under a policy.
 *
 * **When to use**
 *
 * - `resilient` in a pipe, around a client you have: the requirement for the policies stays with each request.
 * - `make` in the layer of a service: the policies are taken once.
 * - `layer` where a program asks for the `HttpClient` service and should not know.
 *
 * **Details**
 *
 * The key of a request is its host and method unless `key` says otherwise. A request is repeated as its method allows:
 * `POST` and `PATCH` only when the server surely did nothing, unless they carry an `Idempotency-Key`
 * (`withIdempotencyKey`); what is not idempotent is never hedged. Statuses and errors are judged by `HttpClassifier`, after
 * the classifier that the policy names. When a call gives up, the last response is returned as it is, readable.
 *
 * Timeouts end with the headers: reading the body is not inside the call. To have it there, put `Rego.resilient` with the
 * classifier `HttpClassifier.http` around the effect that reads it.
 *
 * **Example** (A client)
 *
 * ```ts
 * import { Policy, PolicyLayer } from "@rego/core"
 * import { HttpKey, HttpRego } from "@rego/http"
 * import { Effect } from "effect"
 * import { HttpClient, HttpClientResponse } from "effect/http"
 *
 * let requests = 0
 * const server = HttpClient.make((request) =>
 *   Effect.sync(() => HttpClientResponse.fromWeb(request, new Response("ada", { status: ++requests === 1 ? 503 : 200 })))
 * )
 *
 * const users = server.pipe(HttpRego.resilient({ key: HttpKey.service("user-service") }))
 *
 * const Policies = PolicyLayer.make({ policies: { "user-service.*": Policy.http } })
 * const program = Effect.flatMap(users.get("http://users.test/users/1"), (response) => response.text)
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Policies))) // => "ada"
 * requests // => 2
 * ```
 *
 * @since 0.1.0
 */
import type { Classifier, PolicyKey } from "@rego/core"
import { Attempt, Deadline, PolicyProvider, Rego, RegoError } from "@rego/core"
import { Clock, Context, Duration, Effect, Fiber, Layer, Option, Random } from "effect"
import { dual } from "effect/Function"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Bodies from "./Bodies.ts"
import * as HttpClassifier from "./HttpClassifier.ts"
import type { HttpKey } from "./HttpKey.ts"
import * as Idempotency from "./Idempotency.ts"
import * as RetriedBelow from "./RetriedBelow.ts"
import * as Settings from "./Settings.ts"

type Request = HttpClientRequest.HttpClientRequest

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * What a client knows about its requests. All of it is optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** the key of each request, or one for all; default `HttpKey.hostAndMethod` */
  readonly key?: PolicyKey.Input | HttpKey | undefined
  /**
   * Whether a request may arrive twice; default what its method and its `Idempotency-Key` say (`Idempotency`). A function
   * may leave a request to that default with `undefined`. It counts more than the policy.
   */
  readonly idempotent?: boolean | ((request: Request) => boolean | undefined) | undefined
  /**
   * Whether the body of a request can be sent again; default: all but streams. A request whose body cannot is sent once,
   * whatever becomes of it.
   */
  readonly replayable?: boolean | ((request: Request) => boolean | undefined) | undefined
  /** asked before the classifier of the policy */
  readonly classifier?: Classifier.Classifier<HttpClientResponse, never> | undefined
  /** what is special about the server, for the classifier that is asked last; default `HttpClassifier.http` */
  readonly server?: HttpClassifier.Options | undefined
  /** the request as one attempt sends it: a hedge goes to another replica. The key stays that of the request */
  readonly mapAttempt?: ((request: Request, attempt: Attempt.Id) => Request) | undefined
  readonly headers?: HeaderOptions | undefined
  readonly drain?: DrainOptions | undefined
}

/**
 * Headers that tell the server about the attempt, by their names; off unless they are named.
 *
 * @category options
 * @since 0.1.0
 */
export interface HeaderOptions {
  /** which request of its call this is, from 1: hedges and retries count alike */
  readonly attempt?: string | undefined
  /** milliseconds until the client stops listening, where anything limits that: the attempt's timeout or the deadline */
  readonly deadline?: string | undefined
}

/**
 * How much of a response that is not returned is read, so that its connection can be used again; what is longer or slower
 * is cancelled.
 *
 * @category options
 * @since 0.1.0
 */
export interface DrainOptions {
  /** default 65,536; 0 cancels every body that is not empty */
  readonly bytes?: number | undefined
  /** up to 1 minute; default 1 second */
  readonly within?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// an attempt
// -----------------------------------------------------------------------------

/** How many requests the call has sent before the current one. */
const Resends = Context.Reference<number>("@rego/http/HttpRego/Resends", { defaultValue: () => 0 })

/** OpenTelemetry's name for it: set where it is not zero, on the spans that are made inside (the client's own). */
const resendCount = "http.request.resend_count"

/** Counts the requests of one call. */
const numbered = <A, E, R>(send: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
  let sent = 0
  return Effect.suspend(() => {
    const before = sent++
    return before === 0
      ? send
      : Effect.provideService(Effect.annotateSpans(send, resendCount, before), Resends, before)
  })
}

const attemptHeaders = (names: HeaderOptions, fiber: Fiber.Fiber<unknown, unknown>) =>
  Effect.map(Deadline.remaining, (remaining) => ({
    ...(names.attempt === undefined ? {} : { [names.attempt]: String(fiber.getRef(Resends) + 1) }),
    ...(names.deadline === undefined || Option.isNone(remaining)
      ? {}
      : { [names.deadline]: String(Math.floor(Duration.toMillis(remaining.value))) })
  }))

/**
 * The request as one attempt sends it. A hedge gets a request object of its own: Effect knows by that object what belongs
 * to a request (`HttpClient.withScope` keeps its abort signal so), and two attempts that run at the same time must not
 * share it.
 */
const forAttempt = ({ headers, mapAttempt }: Settings.Settings) => (request: Request): Effect.Effect<Request> =>
  Effect.withFiber((fiber) => {
    const attempt = Option.getOrElse(fiber.getRef(Attempt.CurrentAttempt), () => primary)
    const mapped = mapAttempt(request, attempt, fiber)
    const own = attempt.hedge > 0 && mapped === request ? HttpClientRequest.setHeaders(request, {}) : mapped
    return headers.attempt === undefined && headers.deadline === undefined
      ? Effect.succeed(own)
      : Effect.map(attemptHeaders(headers, fiber), (added) => HttpClientRequest.setHeaders(own, added))
  })

const primary: Attempt.Id = { retry: 0, hedge: 0 }

const eachAttempt = <E, R>(self: HttpClient.HttpClient.With<E, R>, settings: Settings.Settings) =>
  HttpClient.makeWith<E, R, E, R>(
    (request) => self.postprocess(Effect.flatMap(request, forAttempt(settings))),
    self.preprocess
  )

// -----------------------------------------------------------------------------
// a call
// -----------------------------------------------------------------------------

type Provider = PolicyProvider.PolicyProvider["Service"]

/** A call that has retries of its own has said its last word: see `RetriedBelow`. */
const remember = (response: HttpClientResponse, provider: Provider, key: PolicyKey.Input) =>
  Effect.map(provider.policy(key), (policy) => {
    const retry = Option.getOrUndefined(policy)?.sections.retry
    if (retry !== undefined && retry !== "off") RetriedBelow.add(response)
    return response
  })

interface Via<E1, R1> {
  readonly provider: (fiber: Fiber.Fiber<unknown, unknown>) => Provider
  readonly call: <E, R>(
    send: Effect.Effect<HttpClientResponse, E, R>,
    key: PolicyKey.Input,
    options: Rego.Options<HttpClientResponse, never>,
    request: Request
  ) => Effect.Effect<HttpClientResponse, E | E1, R | R1>
}

const wrap = <E, R, E1, R1>(
  self: HttpClient.HttpClient.With<E, R>,
  settings: Settings.Settings,
  { call, provider }: Via<E1, R1>
): HttpClient.HttpClient.With<E | E1, R | R1> => {
  const { classifier, drain, idempotent, key, replayable, rules } = settings
  return HttpClient.transform(eachAttempt(self, settings), (send, request) =>
    Effect.withFiber((fiber) => {
      const clock = fiber.getRef(Clock.Clock)
      const name = key(request, fiber)
      const options: Rego.Options<HttpClientResponse, never> = {
        idempotent: idempotent(request, fiber),
        replayable: replayable(request, fiber),
        classifier,
        protocol: HttpClassifier.protocol({ ...rules, now: () => clock.currentTimeMillisUnsafe() }),
        onDiscard: (response) => Bodies.discard(response, drain)
      }
      return Effect.flatMap(call(numbered(send), name, options, request), (response) =>
        response.status >= 400 || rules.retryable.has(response.status)
          ? remember(response, provider(fiber), name)
          : Effect.succeed(response))
    }))
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/** A classifier for some errors is no opinion on others, whatever the errors of the client are. */
type AnyOptions = Rego.Options<HttpClientResponse, any>

const inContext: Via<RegoError.RegoError, PolicyProvider.PolicyProvider> = {
  provider: (fiber) =>
    Context.get(fiber.context as Context.Context<PolicyProvider.PolicyProvider>, PolicyProvider.PolicyProvider),
  call: (send, key, options) => Rego.resilient(send, key, options as AnyOptions)
}

/**
 * A client whose requests are calls under the policies of the context.
 *
 * **Details**
 *
 * Throws a `RangeError` that lists everything which is wrong with the options. A function among them that throws is
 * reported once; the request then runs under its default key, and once if it cannot be said that it may be repeated.
 *
 * **Gotchas**
 *
 * Put `HttpClient.withScope`, a rate limiter (with `times: 0`) and a circuit breaker *below* it, and leave
 * `HttpClient.retryTransient` out: `docs/http.md` shows the order, and why.
 *
 * @category combinators
 * @since 0.1.0
 */
export const resilient: {
  (options?: Options | undefined): <E, R>(
    self: HttpClient.HttpClient.With<E, R>
  ) => HttpClient.HttpClient.With<E | RegoError.RegoError, R | PolicyProvider.PolicyProvider>
  <E, R>(
    self: HttpClient.HttpClient.With<E, R>,
    options?: Options | undefined
  ): HttpClient.HttpClient.With<E | RegoError.RegoError, R | PolicyProvider.PolicyProvider>
} = dual(
  (args) => HttpClient.isHttpClient(args[0]),
  <E, R>(self: HttpClient.HttpClient.With<E, R>, options: Options = {}) => wrap(self, Settings.read(options), inContext)
)

const taken: Effect.Effect<Via<RegoError.RegoError, never>, never, PolicyProvider.PolicyProvider> = Effect.gen(
  function*() {
    const provider = yield* PolicyProvider.PolicyProvider
    const operator = yield* Rego.makeResilient
    return {
      provider: () => provider,
      call: (send, key, options) => operator(send, key, options as AnyOptions)
    }
  }
)

/**
 * Like `resilient`, with the policies taken once: for the layer of a service that holds a client.
 *
 * **Example** (A service)
 *
 * ```ts
 * import { PolicyLayer } from "@rego/core"
 * import { HttpKey, HttpRego } from "@rego/http"
 * import { Context, Effect, Layer } from "effect"
 * import { FetchHttpClient, HttpClient } from "effect/http"
 *
 * class Users extends Context.Service<Users, {
 *   readonly name: (id: string) => Effect.Effect<string, unknown>
 * }>()("Users") {
 *   static readonly layer = Layer.effect(
 *     Users,
 *     Effect.gen(function*() {
 *       const client = yield* HttpRego.make(yield* HttpClient.HttpClient, { key: HttpKey.service("user-service") })
 *       return Users.of({
 *         name: (id) => Effect.flatMap(client.get(`http://users.test/users/${id}`), (response) => response.text)
 *       })
 *     })
 *   )
 * }
 *
 * const Live = Users.layer.pipe(Layer.provide([FetchHttpClient.layer, PolicyLayer.defaults]))
 * await Effect.runPromise(Effect.as(Users, "built").pipe(Effect.provide(Live))) // => "built"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E, R>(
  self: HttpClient.HttpClient.With<E, R>,
  options: Options = {}
): Effect.Effect<
  HttpClient.HttpClient.With<E | RegoError.RegoError, R>,
  never,
  PolicyProvider.PolicyProvider
> => {
  const settings = Settings.read(options)
  return Effect.map(taken, (via) => wrap(self, settings, via))
}

/** The service fails with `HttpClientError` only. */
const asClientError = (error: RegoError.RegoError, request: Request) =>
  new HttpClientError.HttpClientError({
    reason: new HttpClientError.TransportError({ request, cause: error, description: error.message })
  })

/**
 * The `HttpClient` service, made resilient: what asks for the service gets calls under the policies, and sees no new
 * errors.
 *
 * **Details**
 *
 * Provide the client it wraps, and the policies, *to* it. Where a `RegoError` would come out, an `HttpClientError` does,
 * with the reason `TransportError`, the message of the `RegoError` as its description, and the error itself as its cause.
 * The timeline stays on the cause of the failure.
 *
 * **Example** (In a program)
 *
 * ```ts
 * import { PolicyLayer } from "@rego/core"
 * import { HttpRego } from "@rego/http"
 * import { Effect, Layer } from "effect"
 * import { HttpClient, HttpClientResponse } from "effect/http"
 *
 * const server = HttpClient.make((request) => Effect.delay(Effect.succeed(HttpClientResponse.fromWeb(request, new Response("ada"))), "1 second"))
 *
 * const Policies = PolicyLayer.make({ policies: { "users.test.*": { timeout: { overall: "10 millis" } } } })
 * const Client = HttpRego.layer().pipe(Layer.provide([Layer.succeed(HttpClient.HttpClient, server), Policies]))
 *
 * const program = HttpClient.get("http://users.test/users/1").pipe(
 *   Effect.catchReason("HttpClientError", "TransportError", (reason) => Effect.succeed(reason.description))
 * )
 *
 * const answer = await Effect.runPromise(program.pipe(Effect.provide(Client)))
 * answer // => "users.test.GET: the deadline of 10ms passed after 1 attempt"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<HttpClient.HttpClient, never, HttpClient.HttpClient | PolicyProvider.PolicyProvider> => {
  const settings = Settings.read(options)
  return Layer.effect(
    HttpClient.HttpClient,
    Effect.gen(function*() {
      const { call, provider } = yield* taken
      const via: Via<HttpClientError.HttpClientError, never> = {
        provider,
        call: (send, key, options, request) =>
          Effect.mapError(
            call(send, key, options, request),
            (error) => RegoError.isRegoError(error) ? asClientError(error, request) : error
          )
      }
      return wrap(yield* HttpClient.HttpClient, settings, via)
    })
  )
}

// -----------------------------------------------------------------------------
// idempotency keys
// -----------------------------------------------------------------------------

/** A UUID of version 4 (RFC 9562, section 5.4), from Effect's `Random`. */
const randomKey = Effect.map(Random.Random, (random) => {
  const hex = (digits: number) =>
    Math.floor(random.nextDoubleUnsafe() * 16 ** digits).toString(16).padStart(digits, "0")
  const variant = "89ab"[Math.floor(random.nextDoubleUnsafe() * 4)]
  return `${hex(8)}-${hex(4)}-4${hex(3)}-${variant}${hex(3)}-${hex(12)}`
})

/**
 * Gives each `POST` and `PATCH` an `Idempotency-Key`, which is the same for all attempts of a call: for a server that
 * does nothing the second time it sees one.
 *
 * **Details**
 *
 * A key that a request has already is kept. It makes no difference whether it stands below or above `resilient`.
 *
 * **Gotchas**
 *
 * It is a promise about the server. One that ignores the key executes a repeated request twice.
 *
 * **Example** (A charge that may be sent again)
 *
 * ```ts
 * import { Policy, PolicyLayer } from "@rego/core"
 * import { HttpRego } from "@rego/http"
 * import { Effect } from "effect"
 * import { HttpClient, HttpClientResponse } from "effect/http"
 *
 * const keys: Array<string | undefined> = []
 * const server = HttpClient.make((request) =>
 *   Effect.sync(() => {
 *     const status = keys.push(request.headers["idempotency-key"]) === 1 ? 503 : 201
 *     return HttpClientResponse.fromWeb(request, new Response(null, { status }))
 *   })
 * )
 *
 * const payments = server.pipe(HttpRego.withIdempotencyKey, HttpRego.resilient({ key: "payments.Charge" }))
 * const Policies = PolicyLayer.make({ policies: { "payments.*": Policy.http } })
 *
 * const charge = Effect.map(payments.post("http://payments.test/charges"), (response) => response.status)
 * await Effect.runPromise(charge.pipe(Effect.provide(Policies))) // => 201
 * keys.length // => 2
 * keys[0] === keys[1] // => true
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withIdempotencyKey = <E, R>(self: HttpClient.HttpClient.With<E, R>): HttpClient.HttpClient.With<E, R> =>
  HttpClient.mapRequestEffect(self, (request) =>
    Idempotency.isIdempotent(request)
      ? Effect.succeed(request)
      : Effect.map(randomKey, (key) => HttpClientRequest.setHeader(request, Idempotency.header, key)))
