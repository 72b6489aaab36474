/**
 * A small control plane over HTTP: serves the document in force, and lets who may write replace it.
 *
 * **Details**
 *
 * | request | what it does |
 * | --- | --- |
 * | `GET /v1/policies` | the document in force, with its `ETag`; `If-None-Match` and `Prefer: wait=30` make it wait for another one |
 * | | `Rego-Report`, which `HttpSource` sends, says what became of the last one: a rejection is logged |
 * | `GET /v1/policies?revision=…` | a document of the history |
 * | `PUT /v1/policies` | publishes a document; `If-Match` names the one it replaces, `If-None-Match: *` publishes the first |
 * | `GET /v1/history?limit=…` | the latest publications |
 * | `POST /v1/rollback` | `{ "revision": "…" }` puts a document of the history in force again; `If-Match` as for `PUT` |
 * | `GET /health` | that the server runs; needs no token |
 *
 * What is refused is answered with `application/problem+json`; a document that is refused has every issue in it.
 *
 * **Gotchas**
 *
 * It speaks plain HTTP: put it behind something that ends TLS before it leaves the machine.
 *
 * @since 0.1.0
 */
import { integerField } from "@rego/core/internal/Issue"
import { formatIssue } from "@rego/core/PolicyReview"
import {
  ByteSize,
  Duration,
  Effect,
  Layer,
  Option,
  Predicate,
  Redacted,
  Result,
  Schema,
  Semaphore,
  Stream
} from "effect"
import {
  HttpIncomingMessage,
  HttpRouter,
  type HttpServerError,
  HttpServerRequest,
  HttpServerResponse,
  ProblemDetails
} from "effect/http"
import * as Bearer from "./Bearer.ts"
import { ClientReports } from "./ClientReports.ts"
import * as DocumentText from "./DocumentText.ts"
import * as PolicyHistory from "./PolicyHistory.ts"
import * as SourceOptions from "./SourceOptions.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

export type {
  /**
   * Who may read, and who may write.
   *
   * @category options
   * @since 0.1.0
   */
  Tokens
} from "./Bearer.ts"

/**
 * Who may read and write, and how much a request may ask for.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends DocumentText.Bounds {
  /** tokens for reading and for writing; without one for writing the server is read-only */
  readonly tokens?: Bearer.Tokens | undefined
  /** how long a request may wait for another document (`Prefer: wait`), up to 1 hour. Default 60 seconds */
  readonly maxWait?: Duration.Input | undefined
  /** requests that wait at the same time, up to 1,000,000; further ones are answered at once. Default 1,000 */
  readonly maxWaiting?: number | undefined
}

/** The message does not show the value: it may be a token. */
const TokensOption = Schema.Unknown.pipe(
  Schema.check(Schema.makeFilter((input) =>
    Predicate.isObject(input) &&
      Object.entries(input).every(([need, token]) =>
        (need === "read" || need === "write") && (token === undefined || Redacted.isRedacted(token))
      ) || "must be an object of Redacted, read and write"
  ))
)

const OptionsSchema = Schema.Struct({
  tokens: Schema.optional(TokensOption),
  maxWait: SourceOptions.duration(0, "1 hour"),
  maxWaiting: Schema.optional(integerField(0, 1_000_000)),
  ...SourceOptions.bounds
})

type Request = HttpServerRequest.HttpServerRequest
type Response = HttpServerResponse.HttpServerResponse
type SearchParams = HttpServerRequest.ParsedSearchParams

// -----------------------------------------------------------------------------
// problems
// -----------------------------------------------------------------------------

const problem = (
  status: number,
  title: string,
  detail: string,
  extensions: Readonly<Record<string, unknown>> = {}
): Response => ProblemDetails.toResponse({ type: "about:blank", status, title, detail, ...extensions })

const fromHistory = (error: PolicyHistory.HistoryError): Response => {
  const { message, reason } = error
  switch (reason._tag) {
    case "Refused": {
      const issues = reason.issues.map((issue) => ({
        path: issue.path,
        message: issue.message,
        text: formatIssue(issue)
      }))
      return problem(422, "Document refused", message, { issues })
    }
    case "Conflict": {
      const response = problem(412, "Precondition failed", message)
      return Option.match(reason.current, {
        onNone: () => response,
        onSome: (etag) => HttpServerResponse.setHeader(response, "etag", etag)
      })
    }
    case "RevisionReused":
      return problem(409, "Revision reused", message)
    case "UnknownRevision":
      return problem(404, "Unknown revision", message)
    case "StorageFailed":
      return problem(503, "Storage failed", "nothing was published; the document in force goes on being served")
  }
}

// -----------------------------------------------------------------------------
// authorization
// -----------------------------------------------------------------------------

const unauthorized = HttpServerResponse.setHeader(
  problem(401, "Unauthorized", "a bearer token is required, and the one given, if any, is not known"),
  "www-authenticate",
  "Bearer realm=\"rego\""
)

const forbidden = (tokens: Bearer.Tokens): Response =>
  problem(
    403,
    "Forbidden",
    tokens.write === undefined
      ? "this server is read-only: it was started without a token for writing"
      : "this token may read, and not write"
  )

/** Before anything else of a request is looked at, its body included. */
const authorized = <E, R>(
  tokens: Bearer.Tokens,
  need: "read" | "write",
  handler: (request: Request) => Effect.Effect<Response, E, R>
) =>
(request: Request): Effect.Effect<Response, E, R> => {
  switch (Bearer.judge(tokens, need, request.headers["authorization"])) {
    case "granted":
      return handler(request)
    case "unknown":
      return Effect.succeed(unauthorized)
    case "forbidden":
      return Effect.succeed(forbidden(tokens))
  }
}

// -----------------------------------------------------------------------------
// what a request says
// -----------------------------------------------------------------------------

const tags = (header: string): ReadonlyArray<string> => header.match(/(?:W\/)?"[^"]*"/g) ?? []

/** Reading compares weakly: what a proxy weakened still names the content. */
const knownTags = (request: Request): ReadonlyArray<string> =>
  tags(request.headers["if-none-match"] ?? "").map((tag) => tag.replace("W/", ""))

const expectedBy = (request: Request): PolicyHistory.Expected | undefined => {
  const match = request.headers["if-match"]?.trim()
  if (match !== undefined) return match === "*" ? "any" : tags(match)
  return request.headers["if-none-match"]?.trim() === "*" ? "absent" : undefined
}

/** RFC 7240, section 4.3: `Prefer: wait=30`, in seconds. */
const waitOf = (request: Request, max: Duration.Duration): Duration.Duration | undefined => {
  const seconds = /(?:^|[,;\s])wait\s*=\s*"?(?<seconds>\d{1,9})"?/i.exec(request.headers["prefer"] ?? "")?.groups
    ?.["seconds"]
  return seconds === undefined ? undefined : Duration.min(Duration.seconds(Number(seconds)), max)
}

/** Of a parameter that came twice the first counts. */
const parameter = (name: string): Effect.Effect<string | undefined, never, SearchParams> =>
  Effect.map(HttpServerRequest.ParsedSearchParams, (params) => [params[name]].flat()[0])

const isJson = (request: Request): boolean =>
  /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(request.headers["content-type"] ?? "")

const tooLarge = (bounds: DocumentText.Bounds): Response =>
  problem(413, "Content too large", `the body is larger than ${bounds.maxBytes ?? DocumentText.defaultMaxBytes} bytes`)

const unreadable = (bounds: DocumentText.Bounds, error: HttpServerError.HttpServerError): Response =>
  error.reason._tag === "RequestParseError" && error.reason.reason === "BodyTooLarge"
    ? tooLarge(bounds)
    : problem(400, "Bad request", "the body could not be read")

/** The JSON of a body, or the answer to a request whose body is none. */
const bodyOf = (request: Request, bounds: DocumentText.Bounds): Effect.Effect<unknown, Response> => {
  const maxBytes = bounds.maxBytes ?? DocumentText.defaultMaxBytes
  if (!isJson(request)) return Effect.fail(problem(415, "Unsupported media type", "the body must be application/json"))
  return request.arrayBuffer.pipe(
    Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(maxBytes)),
    Effect.mapError((error) => unreadable(bounds, error)),
    Effect.flatMap((buffer) =>
      Result.match(DocumentText.fromBytes(new Uint8Array(buffer), bounds), {
        onFailure: (rule) => Effect.fail(problem(400, "Bad request", `the body ${rule}`)),
        onSuccess: Effect.succeed
      })
    )
  )
}

// -----------------------------------------------------------------------------
// answers
// -----------------------------------------------------------------------------

const notChanged = (etag: string): Response => HttpServerResponse.empty({ status: 304, headers: { etag } })

const served = (publication: PolicyHistory.Publication): Response =>
  HttpServerResponse.text(publication.text, {
    contentType: "application/json",
    headers: { etag: publication.etag, "cache-control": "no-cache", "x-content-type-options": "nosniff" }
  })

const published = ({ changed, clamped, previous, publication }: PolicyHistory.Published): Response => {
  const { at, etag, kind, number, revision } = publication
  const replaced = Option.getOrUndefined(Option.map(previous, ({ revision }) => revision))
  return HttpServerResponse.jsonUnsafe({ revision, number, kind, at, changed, replaced, clamped }, {
    status: changed && Option.isNone(previous) ? 201 : 200,
    headers: { etag }
  })
}

/** The next request may follow at once: this server holds it for as long as there is nothing new. */
const waited = HttpServerResponse.setHeader("preference-applied", "wait")

const nothingYet = problem(404, "Nothing published", "no document was published yet")

const preconditionRequired = problem(
  428,
  "Precondition required",
  "say which document this one replaces: If-Match with its ETag, or If-None-Match: * for the first one"
)

// -----------------------------------------------------------------------------
// routes
// -----------------------------------------------------------------------------

const Rollback = Schema.Struct({ revision: Schema.String })
const isRollback = Schema.is(Rollback)

const maxListed = 1_000

const make = Effect.fnUntraced(function*(options: Options) {
  const history = yield* PolicyHistory.PolicyHistory
  const maxWait = Duration.fromInputUnsafe(options.maxWait ?? "60 seconds")
  const waiting = yield* Semaphore.make(options.maxWaiting ?? 1_000)
  const tokens = options.tokens ?? {}
  const reports = new ClientReports()

  const otherThan = (known: ReadonlyArray<string>) =>
    history.changes.pipe(
      Stream.filter(Option.exists(({ etag }) => !known.includes(etag))),
      Stream.runHead,
      Effect.map(Option.flatten)
    )

  const answer = (known: ReadonlyArray<string>, current: Option.Option<PolicyHistory.Publication>): Response =>
    Option.match(current, {
      onNone: () => nothingYet,
      onSome: (publication) => known.includes(publication.etag) ? notChanged(publication.etag) : served(publication)
    })

  /** Whoever is one too many is not told that the server waited: it comes back at its own pace. */
  const answerInTime = (
    known: ReadonlyArray<string>,
    current: Option.Option<PolicyHistory.Publication>,
    wait: Duration.Duration
  ): Effect.Effect<Response> => {
    if (!Option.exists(current, ({ etag }) => known.includes(etag))) {
      return Effect.succeed(waited(answer(known, current)))
    }
    return otherThan(known).pipe(
      Effect.timeoutOption(wait),
      Effect.map((found) => waited(answer(known, Option.orElse(Option.flatten(found), () => current)))),
      waiting.withPermitsIfAvailable(1),
      Effect.map(Option.getOrElse(() => answer(known, current)))
    )
  }

  const readOne = (revision: string) => Effect.map(history.find(revision), served)

  const readCurrent = (request: Request) => {
    const known = knownTags(request)
    const wait = waitOf(request, maxWait)
    const client = Option.getOrElse(request.remoteAddress, () => "unknown")
    return Effect.flatMap(
      Effect.andThen(reports.hear(client, request.headers["rego-report"]), history.current),
      (current) => wait === undefined ? Effect.succeed(answer(known, current)) : answerInTime(known, current, wait)
    )
  }

  const read = (request: Request) =>
    Effect.flatMap(
      parameter("revision"),
      (revision) => revision === undefined ? readCurrent(request) : readOne(revision)
    )

  const replaced = (done: PolicyHistory.Published) =>
    Effect.as(
      Effect.logInfo(
        done.changed ? `policies ${done.publication.kind}` : "policies unchanged",
        { revision: done.publication.revision, replaced: Option.getOrUndefined(done.previous)?.revision }
      ),
      published(done)
    )

  const write = (request: Request) => {
    const expected = expectedBy(request)
    if (expected === undefined) return Effect.succeed(preconditionRequired)
    return bodyOf(request, options).pipe(
      Effect.flatMap((json) => history.publish(json, expected)),
      Effect.flatMap(replaced)
    )
  }

  const rollback = (request: Request) => {
    const expected = expectedBy(request)
    if (expected === undefined) return Effect.succeed(preconditionRequired)
    return bodyOf(request, options).pipe(
      Effect.filterOrFail(isRollback, () => problem(400, "Bad request", "the body must be { \"revision\": \"…\" }")),
      Effect.flatMap(({ revision }) => history.rollback(revision, expected)),
      Effect.flatMap(replaced)
    )
  }

  const list = () =>
    Effect.flatMap(parameter("limit"), (given = "50") => {
      const limit = Number(given)
      return Number.isInteger(limit) && limit >= 1 && limit <= maxListed
        ? Effect.map(history.list(limit), (entries) => HttpServerResponse.jsonUnsafe({ entries }))
        : Effect.succeed(problem(400, "Bad request", `limit must be an integer between 1 and ${maxListed}`))
    })

  const answered =
    <R>(handler: (request: Request) => Effect.Effect<Response, Response | PolicyHistory.HistoryError, R>) =>
    (request: Request): Effect.Effect<Response, never, R> =>
      Effect.catch(handler(request), (error) =>
        HttpServerResponse.isHttpServerResponse(error)
          ? Effect.succeed(error)
          : Effect.as(report(error), fromHistory(error)))

  return [
    HttpRouter.route("GET", "/v1/policies", authorized(tokens, "read", answered(read))),
    HttpRouter.route("PUT", "/v1/policies", authorized(tokens, "write", answered(write))),
    HttpRouter.route("GET", "/v1/history", authorized(tokens, "read", answered(list))),
    HttpRouter.route("POST", "/v1/rollback", authorized(tokens, "write", answered(rollback))),
    HttpRouter.route("GET", "/health", HttpServerResponse.text("ok"))
  ]
})

/** Who published learns of everything else from the answer; what the storage says is for who runs the server. */
const report = (error: PolicyHistory.HistoryError): Effect.Effect<void> =>
  error.reason._tag === "StorageFailed" ? Effect.logError(error.message) : Effect.void

/**
 * The routes, to be served by `HttpRouter.serve`. They encrypt nothing: put something that ends TLS before them. Throws a
 * `RangeError` that names every option out of range.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<never, never, HttpRouter.HttpRouter | PolicyHistory.PolicyHistory> => {
  SourceOptions.read("PolicyServer", OptionsSchema, options)
  return HttpRouter.addAll(make(options))
}
