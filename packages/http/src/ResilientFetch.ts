/**
 * The same policies for code outside of Effect: a function with the shape of `fetch`.
 *
 * **When to use**
 *
 * Where a program, or a library that takes a `fetch` as an option, does not speak Effect. Inside of Effect, use `HttpRego`:
 * this is that, with a promise around it.
 *
 * **Details**
 *
 * What is sent is what the caller gave; keys, idempotency, verdicts, server hints and the care for bodies are those of
 * `HttpRego`, and the options are the same.
 *
 * - *Resolves* with the response that won, or with the last one when there is no further attempt: a 503 is a response, as
 *   with `fetch`.
 * - *Rejects* with the error of `fetch` itself (the same `TypeError`), or with the reason of the signal, or with a
 *   `RegoError` where no attempt has an outcome to return: the deadline or the timeout of an attempt has passed. A bad URL
 *   or header is a `TypeError` before anything is sent. An `AbortError` says that the runtime was closed during the call.
 * - *The signal* of the caller is honoured at once: before the start, in an attempt, in a wait. It also ends the body of
 *   the response, as with `fetch`.
 *
 * **Gotchas**
 *
 * A body that is a stream, or an iterable, is sent once: such a request has one attempt. The timeouts of a policy end with
 * the headers; only the signal bounds the time in which the body is read.
 *
 * **Example** (A function like fetch)
 *
 * ```ts
 * import { PolicyLayer } from "@rego/core"
 * import { ResilientFetch } from "@rego/http"
 * import { ManagedRuntime } from "effect"
 *
 * const Policies = PolicyLayer.make({
 *   policies: { "*": { retry: { maxAttempts: 3 }, timeout: { overall: "5 seconds" } } }
 * })
 *
 * const runtime = ManagedRuntime.make(Policies)
 * const resilientFetch = ResilientFetch.make(runtime)
 *
 * const response = await resilientFetch("data:text/plain,hello")
 * await response.text() // => "hello"
 * await runtime.dispose()
 * ```
 *
 * @since 0.1.0
 */
import type { PolicyProvider } from "@rego/core"
import { Classifier, Timeline } from "@rego/core"
import type { Fiber } from "effect"
import { Cause, Context, Effect, Option, Result } from "effect"
import type { HttpMethod } from "effect/http"
import { HttpBody, HttpClient, HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import * as Url from "effect/http/Url"
import * as HttpRego from "./HttpRego.ts"
import * as RetriedBelow from "./RetriedBelow.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * A function with the shape of `fetch`.
 *
 * @category models
 * @since 0.1.0
 */
export type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>

/**
 * What runs the calls: a `ManagedRuntime` whose layer has a `PolicyLayer` in it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Runtime {
  readonly runFork: <A, E>(effect: Effect.Effect<A, E, PolicyProvider.PolicyProvider>) => Fiber.Fiber<A, unknown>
}

/**
 * Those of `HttpRego`, and what sends the attempts.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends HttpRego.Options {
  /** what sends the attempts; the `fetch` of the host unless given */
  readonly fetch?: Fetch | undefined
}

// -----------------------------------------------------------------------------
// what the caller gave
// -----------------------------------------------------------------------------

/** By its shape, because a `fetch` that is not the host's comes with a class of its own. */
const isRequest = (input: string | URL | Request): input is Request => typeof input === "object" && "clone" in input

const urlOf = ({ hash, url, urlParams }: HttpClientRequest.HttpClientRequest): string =>
  Result.getOrThrow(Url.make(url, urlParams, Option.getOrUndefined(hash))).href

/** One call of the wrapper: what is sent, and what the rules must know about it. */
class Given {
  readonly request: HttpClientRequest.HttpClientRequest
  readonly signal: AbortSignal | undefined
  private readonly input: string | URL | Request
  private readonly init: RequestInit
  /** a request whose own body is sent, and must be sent again */
  private readonly template: Request | undefined

  /** Throws what `fetch` would reject with, for arguments that are none. */
  constructor(input: string | URL | Request, init: RequestInit = {}) {
    const given = isRequest(input) ? input : undefined
    const ownBody = init.body ?? undefined
    this.input = input
    this.init = init
    this.signal = (init.signal === undefined ? given?.signal : init.signal) ?? undefined
    this.template = ownBody === undefined && given?.body ? given : undefined
    if (this.template?.bodyUsed === true) throw new TypeError("The body of the request has been used already")
    const checked = new Request(given?.url ?? input, {
      ...init,
      method: init.method ?? given?.method,
      headers: init.headers ?? given?.headers,
      body: ownBody === undefined && this.template === undefined ? undefined : "",
      signal: null
    } as RequestInit)
    this.request = HttpClientRequest.make(checked.method as HttpMethod.HttpMethod)(checked.url, {
      headers: init.headers ?? given?.headers,
      body: ownBody === undefined ? HttpBody.empty : HttpBody.raw(ownBody)
    })
  }

  /** One attempt: what the caller gave, but for the URL and the headers where an option of the client has changed them. */
  send(fetch: Fetch, request: HttpClientRequest.HttpClientRequest, attempt: AbortSignal): Promise<Response> {
    const signal = this.signal === undefined ? attempt : AbortSignal.any([attempt, this.signal])
    return fetch(this.inputFor(request), { ...this.init, ...this.headersFor(request), signal })
  }

  private inputFor(request: HttpClientRequest.HttpClientRequest): string | URL | Request {
    const input = this.template?.clone() ?? this.input
    const url = urlOf(request)
    if (url === urlOf(this.request)) return input
    return isRequest(input) ? new Request(url, input) : url
  }

  private headersFor({ headers }: HttpClientRequest.HttpClientRequest): Pick<RequestInit, "headers"> {
    const names = Object.keys({ ...this.request.headers, ...headers })
    const changed = names.filter((name) => headers[name] !== this.request.headers[name])
    if (changed.length === 0) return {}
    const all = new Headers(this.init.headers ?? (isRequest(this.input) ? this.input.headers : undefined))
    for (const name of changed) {
      const value = headers[name]
      if (value === undefined) all.delete(name)
      else all.set(name, value)
    }
    return { headers: all }
  }

  /** After the call the request is used, as `fetch` leaves it, and what was kept for another attempt is let go. */
  end(): void {
    this.template?.body?.cancel().catch(() => {})
  }
}

// -----------------------------------------------------------------------------
// one attempt
// -----------------------------------------------------------------------------

class Sending extends Context.Service<
  Sending,
  (request: HttpClientRequest.HttpClientRequest, signal: AbortSignal) => Promise<Response>
>()("@rego/http/ResilientFetch/Sending") {}

/**
 * A client without the spans and headers of `HttpClient.make`, so that the request arrives as it was given, and without
 * its care for responses that nobody reads: those belong to the caller.
 */
const client: HttpClient.HttpClient.With<HttpClientError.HttpClientError, Sending> = HttpClient.makeWith(
  (requests: Effect.Effect<HttpClientRequest.HttpClientRequest>) =>
    Effect.flatMap(requests, (request) =>
      Effect.flatMap(Sending, (send) =>
        Effect.tryPromise({
          try: (signal) => send(request, signal),
          catch: (cause) =>
            new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request, cause }) })
        }).pipe(Effect.map((response) => HttpClientResponse.fromWeb(request, response))))),
  Effect.succeed
)

// -----------------------------------------------------------------------------
// results
// -----------------------------------------------------------------------------

/** What `fetch` itself rejected with, wherever the attempt has such an error. */
const errorOf = (cause: Cause.Cause<unknown>): unknown => {
  if (Cause.hasInterruptsOnly(cause)) return new DOMException("The runtime was closed during the call", "AbortError")
  const error = Cause.squash(cause)
  return HttpClientError.isHttpClientError(error) ? error.reason.cause ?? error : error
}

/** Errors of `fetch` are given back as they are, so what is known about their call is kept beside them. */
const causes = new WeakMap<object, Cause.Cause<unknown>>()

const rejectionOf = (cause: Cause.Cause<unknown>): unknown => {
  const error = errorOf(cause)
  if (typeof error === "object" && error !== null) {
    causes.set(error, cause)
    if (Classifier.wasRetried(cause)) RetriedBelow.add(error)
  }
  return error
}

const responseOf = (answer: HttpClientResponse.HttpClientResponse): Response => {
  const response = Option.getOrThrow(HttpClientResponse.toWeb(answer))
  if (RetriedBelow.has(answer)) RetriedBelow.add(response)
  return response
}

/**
 * The timelines of the call that rejected with an error: its attempts, and why there was none after them.
 *
 * **Details**
 *
 * Empty for other errors, and for the reason of a signal. See `Timeline.fromCause`.
 *
 * @category getters
 * @since 0.1.0
 */
export const timelinesOf = (error: unknown): ReadonlyArray<Timeline.Timeline> => {
  const cause = typeof error === "object" && error !== null ? causes.get(error) : undefined
  return cause === undefined ? [] : Timeline.fromCause(cause)
}

// -----------------------------------------------------------------------------
// constructor
// -----------------------------------------------------------------------------

type Running = Fiber.Fiber<HttpClientResponse.HttpClientResponse, unknown>

/** The caller is answered by what comes first: the end of the call, or the signal. */
const run = (given: Given, start: () => Running): Promise<Response> =>
  new Promise((resolve, reject) => {
    const { signal } = given
    const isUnwanted = (): boolean => signal?.aborted === true
    if (isUnwanted()) return reject(signal!.reason)
    const fiber = start()
    const onAbort = () => {
      reject(signal!.reason)
      fiber.interruptUnsafe()
    }
    fiber.addObserver((exit) => {
      signal?.removeEventListener("abort", onAbort)
      given.end()
      if (exit._tag === "Failure") reject(rejectionOf(exit.cause))
      else resolve(responseOf(exit.value))
    })
    // The first step of the call may have fired the signal, or have ended the call.
    if (isUnwanted()) onAbort()
    else if (fiber.pollUnsafe() === undefined) signal?.addEventListener("abort", onAbort, { once: true })
  })

/**
 * A function like `fetch` whose calls run under the policies of a runtime.
 *
 * **Details**
 *
 * Make it once for each runtime. The runtime builds its layer with the first call; when that fails, calls reject with its
 * error. Dispose of the runtime when the program ends. Throws a `RangeError` that lists everything which is wrong with the
 * options.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (runtime: Runtime, options: Options = {}): Fetch => {
  const { fetch = (input, init) => globalThis.fetch(input, init), ...rest } = options
  const resilient = HttpRego.resilient(client, rest)
  // Bad arguments are a rejection, as with `fetch`.
  return async (input, init) => {
    const given = new Given(input, init)
    const call = Effect.provideService(
      resilient.execute(given.request),
      Sending,
      (request, attempt) => given.send(fetch, request, attempt)
    )
    return run(given, () => runtime.runFork(call))
  }
}
