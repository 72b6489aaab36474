/**
 * One request of an HTTP source, and what its answer means.
 *
 * Nothing that a server or a client library said is repeated in an error: such text may hold a header, a body or a token.
 *
 * @internal
 */
import type * as PolicySource from "@rego/core/PolicySource"
import * as ServerHints from "@rego/http/ServerHints"
import { ByteSize, Clock, Context, Effect, Redacted, Result, Stream } from "effect"
import type { Scope } from "effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as DocumentText from "./DocumentText.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

export interface Settings {
  readonly url: URL
  readonly token: Effect.Effect<Redacted.Redacted, unknown> | undefined
  readonly bounds: Required<{ [K in keyof DocumentText.Bounds]: number }>
}

export interface Ask {
  /** the `ETag` of the last document */
  readonly etag: string | undefined
  /** for how long the server may hold its answer, in seconds; only with an `etag` is there something to wait for */
  readonly wait: number | undefined
  /** what became of the last document */
  readonly report: string | undefined
}

export type Answer =
  | { readonly _tag: "Document"; readonly text: string; readonly etag: string | undefined }
  | { readonly _tag: "NotModified" }

/** The server has held its answer for as long as it was asked to, or would have. */
export interface Held {
  readonly held: boolean
}

type Response = HttpClientResponse.HttpClientResponse

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

const unavailable = (detail: string): PolicySource.Reason => ({ _tag: "Unavailable", detail })
const malformed = (detail: string): PolicySource.Reason => ({ _tag: "Malformed", detail })

/** Names of system errors, such as `ECONNREFUSED` or `UND_ERR_SOCKET`. */
const code = /^[A-Z][A-Z0-9_]{2,39}$/

/** The code of a failed connection, wherever in the chain of causes it is: codes hold no content. */
const codeOf = (error: unknown, depth = 0): string | undefined => {
  if (typeof error !== "object" || error === null || depth > 5) return undefined
  const own = "code" in error ? error.code : undefined
  if (typeof own === "string" && code.test(own)) return own
  return "cause" in error ? codeOf(error.cause, depth + 1) : undefined
}

const withCode = (detail: string, error: unknown): string => {
  const known = codeOf(error)
  return known === undefined ? detail : `${detail} (${known})`
}

const fromClient = (error: HttpClientError.HttpClientError): PolicySource.Reason =>
  unavailable(withCode(
    error.reason._tag === "TransportError" ? "no connection" : "the answer could not be read",
    error.reason
  ))

// -----------------------------------------------------------------------------
// request
// -----------------------------------------------------------------------------

const scheme = "Bearer "

/** What may stand in a header: anything else would be quoted by the client library when it refuses it. */
const headerValue = /^[\x21-\x7e]+$/

const tokenOf = (settings: Settings): Effect.Effect<string | undefined, PolicySource.Reason> => {
  if (settings.token === undefined) return Effect.succeed(undefined)
  const refused = (detail: string): PolicySource.Reason => ({ _tag: "Unauthorized", detail })
  return settings.token.pipe(
    Effect.catchCause(() => Effect.fail(refused("the token could not be obtained"))),
    Effect.flatMap((token) => {
      const value = Redacted.value(token)
      return headerValue.test(value)
        ? Effect.succeed(scheme + value)
        : Effect.fail(refused("the token is empty, or has characters that a header cannot have, such as a line end"))
    })
  )
}

/**
 * Two details hold something that the server said, and a server can say what it was sent; the name of a host comes in small
 * letters.
 */
const withoutToken = (reason: PolicySource.Reason, authorization: string | undefined): PolicySource.Reason => {
  if (!("detail" in reason) || authorization === undefined) return reason
  const token = new RegExp(authorization.slice(scheme.length).replaceAll(/\W/g, "\\$&"), "gi")
  return { ...reason, detail: reason.detail.replaceAll(token, "<redacted>") }
}

const headersOf = ({ etag, report, wait }: Ask, authorization: string | undefined): Record<string, string> => ({
  accept: "application/json",
  ...(authorization === undefined ? {} : { authorization }),
  ...(etag === undefined ? {} : { "if-none-match": etag }),
  ...(etag === undefined || wait === undefined ? {} : { prefer: `wait=${wait}` }),
  ...(report === undefined ? {} : { "rego-report": report })
})

// -----------------------------------------------------------------------------
// redirects
// -----------------------------------------------------------------------------

const maxRedirects = 3

const redirects: ReadonlySet<number> = new Set([301, 302, 303, 307, 308])

/** Within the origin only: the token and the trust belong to the host that was named. */
const redirectOf = (response: Response, from: URL): Result.Result<URL, PolicySource.Reason> => {
  const location = response.headers["location"]
  const to = location === undefined ? null : URL.parse(location, from.href)
  if (to === null) return Result.fail(unavailable(`status ${response.status} without a valid Location`))
  const isTrusted = to.origin === from.origin && to.username === "" && to.password === ""
  return isTrusted
    ? Result.succeed(to)
    : Result.fail({ _tag: "Untrusted", detail: `redirected to another origin, ${to.origin}` })
}

const follow = (
  send: (url: URL) => Effect.Effect<Response, PolicySource.Reason, Scope.Scope>,
  url: URL,
  left = maxRedirects
): Effect.Effect<Response, PolicySource.Reason, Scope.Scope> =>
  Effect.flatMap(send(url), (response) => {
    if (!redirects.has(response.status)) return Effect.succeed(response)
    if (left === 0) return Effect.fail(unavailable(`redirected more than ${maxRedirects} times`))
    return Effect.flatMap(Effect.fromResult(redirectOf(response, url)), (to) => follow(send, to, left - 1))
  })

// -----------------------------------------------------------------------------
// answer
// -----------------------------------------------------------------------------

const json = /^application\/(?:[\w.+-]+\+)?json[ \t]*(?:;|$)/i

/** Whole or not at all: a part of a token would not be known as one. */
const shown = (type: string | undefined): string => {
  if (type === undefined) return "none"
  return type.length > 60 ? "a long one" : `"${type}"`
}

const contentTypeIssue = (response: Response): PolicySource.Reason | undefined => {
  const type = response.headers["content-type"]
  if (type !== undefined && json.test(type)) return undefined
  return malformed(`the content type must be application/json, got ${shown(type)}`)
}

const readBody = (response: Response, maxBytes: number): Effect.Effect<Uint8Array, PolicySource.Reason> => {
  const tooLarge = Effect.fail<PolicySource.Reason>({ _tag: "TooLarge", limit: maxBytes })
  if (Number(response.headers["content-length"]) > maxBytes) return tooLarge
  return response.stream.pipe(
    Stream.mapError(fromClient),
    Stream.limitBytes(ByteSize.bytes(maxBytes), () => Stream.fromEffect(tooLarge)),
    Stream.runCollect,
    Effect.map((chunks) => Buffer.concat(chunks))
  )
}

/** An `ETag` is sent back as it came: only what is one is kept. */
const etagOf = (response: Response): string | undefined => {
  const etag = response.headers["etag"]
  return etag !== undefined && /^(?:W\/)?"[\x21\x23-\x7e]{0,1000}"$/.test(etag) ? etag : undefined
}

const readDocument = (response: Response, { bounds }: Settings): Effect.Effect<Answer, PolicySource.Reason> => {
  const wrongType = contentTypeIssue(response)
  if (wrongType !== undefined) return Effect.fail(wrongType)
  return Effect.flatMap(
    readBody(response, bounds.maxBytes),
    (bytes) =>
      Effect.fromResult(Result.mapBoth(DocumentText.decode(bytes, bounds), {
        onFailure: malformed,
        onSuccess: (text): Answer => ({ _tag: "Document", text, etag: etagOf(response) })
      }))
  )
}

const failureOf = (response: Response, now: number): PolicySource.Reason => {
  const detail = `status ${response.status}`
  switch (response.status) {
    case 401:
    case 403:
      return { _tag: "Unauthorized", detail }
    case 404:
    case 410:
      return { _tag: "NotFound", detail }
    default:
      return { _tag: "Unavailable", detail, retryAfter: ServerHints.read(response.headers, now).retryAfter }
  }
}

const answerOf = (response: Response, settings: Settings, ask: Ask): Effect.Effect<Answer, PolicySource.Reason> => {
  if (response.status === 200) return readDocument(response, settings)
  if (response.status === 304 && ask.etag !== undefined) return Effect.succeed({ _tag: "NotModified" })
  return Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.fail(failureOf(response, now)))
}

// -----------------------------------------------------------------------------
// exchange
// -----------------------------------------------------------------------------

/** `fetch` follows redirects by itself, to wherever they lead. */
const manualRedirects = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.contextWith((context: Context.Context<R>) =>
    Effect.provideService(effect, FetchHttpClient.RequestInit, {
      ...Context.getOrUndefined(context, FetchHttpClient.RequestInit),
      redirect: "manual"
    })
  )

/** Whatever headers the program has in its spans, those of these requests are not for them: a server may repeat a token. */
const withoutHeadersInSpans = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, HttpClient.TracerHeaderFilter, () => false)

/** Sends one request, follows it to its answer and reads that; the connection is let go when it is over. */
export const exchange = (
  client: HttpClient.HttpClient,
  settings: Settings,
  ask: Ask
): Effect.Effect<Answer & Held, PolicySource.Reason> => {
  const scoped = HttpClient.withScope(client)
  const send = (headers: Record<string, string>) => (url: URL) =>
    Effect.mapError(scoped.execute(HttpClientRequest.get(url).pipe(HttpClientRequest.setHeaders(headers))), fromClient)
  const converse = (authorization: string | undefined) =>
    Effect.gen(function*() {
      const response = yield* follow(send(headersOf(ask, authorization)), settings.url)
      const answer = yield* answerOf(response, settings, ask)
      return { ...answer, held: /^\s*wait\b/i.test(response.headers["preference-applied"] ?? "") }
    }).pipe(Effect.mapError((reason) => withoutToken(reason, authorization)))
  return Effect.flatMap(tokenOf(settings), converse).pipe(Effect.scoped, manualRedirects, withoutHeadersInSpans)
}
