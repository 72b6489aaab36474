/**
 * What an exit means in HTTP: the status of a response, the kind of a transport error, and what the server asks for.
 *
 * **When to use**
 *
 * - Inside `HttpRego.resilient` it is at work already.
 * - `http` as the classifier of a policy or of a call site, around any effect that fails with an `HttpClientError` or
 *   succeeds with a response. Errors of your own are looked through by their `cause`.
 * - `make` for a server with habits of its own.
 *
 * **Details**
 *
 * The reasons are a closed set: `http_` and the status, `http_503_final` where the server said not to try again, the
 * kinds of transport errors, and a few for requests and answers that cannot be used; `docs/http.md` lists them. It has no
 * opinion on what is not of HTTP, nor on what the rules of a call decide: its own timeouts, defects, interruptions, what a
 * circuit breaker or a rate limiter refused, and what a call inside has already retried.
 *
 * **Example** (Around an effect that reads the body)
 *
 * ```ts
 * import { HttpClassifier } from "@rego/http"
 * import { Exit } from "effect"
 * import { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
 *
 * const request = HttpClientRequest.get("http://users.test/users/1")
 * const answered = (status: number) => HttpClientResponse.fromWeb(request, new Response(null, { status }))
 *
 * HttpClassifier.http(Exit.succeed(answered(204))) // => { _tag: "Success" }
 *
 * class UsersError extends Error {}
 * const reason = new HttpClientError.StatusCodeError({ request, response: answered(404) })
 * const wrapped = new UsersError("no user", { cause: new HttpClientError.HttpClientError({ reason }) })
 * HttpClassifier.http(Exit.fail(wrapped)) // => { _tag: "NonRetryable", reason: "http_404" }
 * ```
 *
 * @since 0.1.0
 */
import type { Classifier as Classifiers } from "@rego/core"
import { Classifier, Outcome, RegoError } from "@rego/core"
import { Clock, Context, Duration, Option, Schema } from "effect"
import type { Exit } from "effect"
import * as Headers from "effect/http/Headers"
import * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as RetriedBelow from "./RetriedBelow.ts"
import * as ServerHints from "./ServerHints.ts"
import * as TransportFailure from "./TransportFailure.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * What is special about a server: which of its statuses another attempt may change, 100 to 599.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** the statuses that another attempt may change, instead of `retryableStatuses` */
  readonly retryable?: Iterable<number> | undefined
  /**
   * Statuses, beside 425 and 429, that this server sends only before it has done any work: another attempt may change them,
   * and even a POST is sent again.
   */
  readonly rejectsBeforeWork?: Iterable<number> | undefined
}

/**
 * 408, 425, 429, 500, 502, 503 and 504.
 *
 * @category constants
 * @since 0.1.0
 */
export const retryableStatuses: ReadonlyArray<number> = [408, 425, 429, 500, 502, 503, 504]

/** Early data that the server will not look at, and a quota that was used up: both before any work. */
const refusedBeforeWork: ReadonlyArray<number> = [425, 429]

/**
 * What is true of a server, in the form that is asked for each attempt.
 *
 * @internal
 */
export interface Rules {
  readonly retryable: ReadonlySet<number>
  readonly beforeWork: ReadonlySet<number>
  /** milliseconds since 1970, for instants in the headers of servers that send no `Date` */
  readonly now: () => number
}

// -----------------------------------------------------------------------------
// answers
// -----------------------------------------------------------------------------

interface Answer {
  readonly status: number
  readonly headers: object
}

const isStatus = (u: unknown): u is number => typeof u === "number" && Number.isInteger(u) && u >= 100 && u <= 599

/** A response of Effect makes its headers anew each time they are asked for: they are left alone where they do not matter. */
const isAnswer = (u: unknown): u is Answer => {
  if (typeof u !== "object" || u === null) return false
  if (HttpClientResponse.TypeId in u) return true
  const { headers, status } = u as { readonly headers?: unknown; readonly status?: unknown }
  return isStatus(status) && typeof headers === "object" && headers !== null
}

/** Quotas are reported with every answer; only for these did they refuse the request. */
const refusedForLoad: ReadonlySet<number> = new Set([429, 503])
const askedFor = /retry-after/

const hintsOf = ({ headers, status }: Answer, now: number): ServerHints.ServerHints => {
  const hints = ServerHints.read(Headers.fromInput(headers as Headers.Input), now)
  const meant = hints.field === undefined || askedFor.test(hints.field) || refusedForLoad.has(status)
  return meant ? hints : { retry: hints.retry }
}

/** It failed, and wants no further attempt: no answer that others in flight should yield to (decision 22). */
const final = (reason: string): Outcome.Outcome =>
  Outcome.retryable({ reason: `${reason}_final`, retryAfter: Duration.infinity })

const ofAnswer = (answer: Answer, { beforeWork, now, retryable }: Rules): Outcome.Outcome => {
  const { status } = answer
  const listed = retryable.has(status)
  if (status < 400 && !listed) return Outcome.success
  const reason = `http_${status}`
  const hints = hintsOf(answer, now())
  if (!(hints.retry ?? listed)) return listed ? final(reason) : Outcome.nonRetryable({ reason })
  return Outcome.retryable({
    reason,
    retryAfter: hints.retryAfter,
    throttled: status === 429,
    executed: beforeWork.has(status) ? "no" : "maybe"
  })
}

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

const encode = Outcome.nonRetryable({ reason: "encode" })
const invalidUrl = Outcome.nonRetryable({ reason: "invalid_url" })
const decode = Outcome.nonRetryable({ reason: "decode" })
const nestedStop = Outcome.nonRetryable({ reason: "nested_stop" })
const retriedBelow = Outcome.nonRetryable({ reason: "retried_below" })

/** A body that broke off is no answer, whatever the status; one that cannot be understood says what its status says. */
const ofBody = (reason: HttpClientError.ResponseError, rules: Rules): Outcome.Outcome => {
  const status = ofAnswer(reason.response, rules)
  if (status._tag !== "Success") return status
  return TransportFailure.judgeChain(Classifier.causesOf(reason.cause)) ?? decode
}

const ofClientError = ({ reason }: HttpClientError.HttpClientError, rules: Rules): Outcome.Outcome => {
  switch (reason._tag) {
    case "TransportError":
      return TransportFailure.judgeChain(Classifier.causesOf(reason.cause)) ?? TransportFailure.unknown
    case "StatusCodeError":
      return ofAnswer(reason.response, rules)
    case "DecodeError":
    case "EmptyBodyError":
      return ofBody(reason, rules)
    case "EncodeError":
      return encode
    case "InvalidUrlError":
      return invalidUrl
  }
}

/** Clients outside of Effect put the answer beside their error, or its status and headers into it. */
const answerOf = (link: object): Answer | undefined => {
  const { response } = link as { readonly response?: unknown }
  return isAnswer(response) ? response : isAnswer(link) ? link : undefined
}

const ofChain = (chain: ReadonlyArray<object>, rules: Rules): Outcome.Outcome | undefined => {
  // `HttpRego.layer` hands a RegoError on as the cause of an HttpClientError
  if (chain.some(RegoError.isRegoError)) return nestedStop
  const clientError = chain.find(HttpClientError.isHttpClientError)
  if (clientError !== undefined) return ofClientError(clientError, rules)
  if (chain.some(Schema.isSchemaError)) return decode
  const answer = chain.map(answerOf).find((found) => found !== undefined)
  return answer === undefined ? TransportFailure.judgeChain(chain) : ofAnswer(answer, rules)
}

/** Only one layer retries: a response that a call inside has given up on is not asked for again. */
const wasRetried = (chain: ReadonlyArray<object>): boolean =>
  chain.some((link) => RetriedBelow.has(link) || RetriedBelow.has((link as { readonly response?: unknown }).response))

// -----------------------------------------------------------------------------
// exits
// -----------------------------------------------------------------------------

const judgeValue = (value: unknown, rules: Rules, nested: "allow" | "refuse"): Outcome.Outcome | undefined => {
  if (!isAnswer(value)) return undefined
  const outcome = ofAnswer(value, rules)
  return outcome._tag === "Retryable" && nested === "refuse" && RetriedBelow.has(value) ? retriedBelow : outcome
}

const judgeFailure = (
  exit: Exit.Failure<unknown, unknown>,
  rules: Rules,
  nested: "allow" | "refuse"
): Outcome.Outcome | undefined => {
  const error = Classifier.findFailure(exit)
  if (Option.isNone(error)) return undefined
  const chain = Classifier.causesOf(error.value)
  const outcome = ofChain(chain, rules)
  return outcome?._tag === "Retryable" && nested === "refuse" && wasRetried(chain) ? retriedBelow : outcome
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * What is wrong with options, all of it.
 *
 * @internal
 */
export const problems = ({ rejectsBeforeWork, retryable }: Options, prefix = ""): ReadonlyArray<string> =>
  Object.entries({ retryable, rejectsBeforeWork }).flatMap(([name, list]) =>
    [...list ?? []].flatMap((status, i) =>
      isStatus(status) ? [] : [`${prefix}${name}[${i}] must be 100 to 599, got ${status}`]
    )
  )

/** @internal */
export const rulesOf = ({ rejectsBeforeWork = [], retryable = retryableStatuses }: Options): Omit<Rules, "now"> => ({
  retryable: new Set([...retryable, ...rejectsBeforeWork]),
  beforeWork: new Set([...refusedBeforeWork, ...rejectsBeforeWork])
})

/** @internal */
export const protocol = (rules: Rules): Classifiers.Protocol<unknown, unknown> => (exit, nested) =>
  exit._tag === "Success" ? judgeValue(exit.value, rules, nested) : judgeFailure(exit, rules, nested)

const liveClock = Context.get(Context.empty(), Clock.Clock)

/**
 * A classifier for servers with habits of their own.
 *
 * **Details**
 *
 * Throws a `RangeError` that lists every entry which is no status.
 *
 * **Gotchas**
 *
 * An instant in `Retry-After` is compared with the `Date` of the response, and where there is none with the clock of the
 * host: a classifier cannot see the clock of a test.
 *
 * **Example** (A server that also answers 409 while it works on the first request)
 *
 * ```ts
 * import { HttpClassifier } from "@rego/http"
 * import { Exit } from "effect"
 *
 * const payments = HttpClassifier.make({ retryable: [...HttpClassifier.retryableStatuses, 409] })
 *
 * const outcome = payments(Exit.succeed({ status: 409, headers: {} }))
 * outcome?._tag // => "Retryable"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Classifiers.Classifier<unknown, unknown> => {
  const wrong = problems(options)
  if (wrong.length > 0) throw new RangeError(`HttpClassifier: ${wrong.join("; ")}`)
  return Classifier.fromProtocol(protocol({ ...rulesOf(options), now: () => liveClock.currentTimeMillisUnsafe() }))
}

/**
 * The classifier with its defaults.
 *
 * @category constructors
 * @since 0.1.0
 */
export const http: Classifiers.Classifier<unknown, unknown> = make()
