/**
 * Policy documents from a web server.
 *
 * **When to use**
 *
 * Where a control plane speaks HTTP: `rego serve`, a file behind a web server, an endpoint of your own. What is sent and
 * what an answer means is in `docs/policy-sources.md`.
 *
 * **Details**
 *
 * One request at a time. A server that can hold its answer until there is something new is asked to (`longPoll`); any other
 * is asked about every `interval`. What fails is asked again after a wait that grows, up to a minute, and is never shorter
 * than the server's `Retry-After`. An answer is read up to `maxBytes` and for at most `timeout`.
 *
 * **Gotchas**
 *
 * Redirects are followed within the origin of `url` only. The token is read for each request, so that one which is replaced
 * while the process runs is used; it is never part of an error, a span or `status`.
 *
 * **Example** (A control plane with a token)
 *
 * ```ts
 * import { PolicySource } from "@rego/core"
 * import * as HttpSource from "@rego/control-plane/HttpSource"
 * import { Effect, Layer, Redacted } from "effect"
 * import { FetchHttpClient } from "effect/http"
 *
 * const Source = HttpSource.layer({
 *   url: "https://policies.example/v1/policies",
 *   token: Redacted.make("secret"),
 *   interval: "10 seconds"
 * }).pipe(Layer.provide(FetchHttpClient.layer))
 *
 * const name = Effect.map(PolicySource.PolicySource, (source) => source.name)
 * await Effect.runPromise(name.pipe(Effect.provide(Source))) // => "https://policies.example/v1/policies"
 * ```
 *
 * @since 0.1.0
 */
import { durationField } from "@rego/core/internal/Issue"
import * as PolicySource from "@rego/core/PolicySource"
import { Duration, Effect, Layer, Redacted, Result, Schema } from "effect"
import * as HttpClient from "effect/http/HttpClient"
import type { Bounds } from "./DocumentText.ts"
import * as HttpExchange from "./HttpExchange.ts"
import { LastText } from "./LastText.ts"
import * as Refresh from "./Refresh.ts"
import * as SourceOptions from "./SourceOptions.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * Which address, and how it is asked.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Bounds {
  /** of the document; `http:` or `https:`, without a user and a password */
  readonly url: string | URL
  /** sent as a bearer token. An effect is run for each request */
  readonly token?: Redacted.Redacted | Effect.Effect<Redacted.Redacted, unknown> | undefined
  /** how often a server is asked that does not hold its answers, 10 milliseconds to 24 hours. Default 30 seconds */
  readonly interval?: Duration.Input | undefined
  /** for how long a server may hold its answer, 1 second to 5 minutes. Default 25 seconds */
  readonly longPoll?: Duration.Input | "off" | undefined
  /** how long an answer may take, beyond what it may be held, 10 milliseconds to 5 minutes. Default 10 seconds */
  readonly timeout?: Duration.Input | undefined
  /** waits after failures: the first range, and the longest, 10 milliseconds to 1 hour. Default 1 second, 1 minute */
  readonly backoff?:
    | { readonly initial?: Duration.Input | undefined; readonly max?: Duration.Input | undefined }
    | undefined
  /** the longest `Retry-After` that is honoured, up to 24 hours. Default 10 minutes */
  readonly maxRetryAfter?: Duration.Input | undefined
}

/** Neither message shows the value: it may hold a secret. */
const UrlOption = Schema.Unknown.pipe(Schema.check(Schema.makeFilter((input) => {
  const url = typeof input === "string" || input instanceof URL ? URL.parse(String(input)) : null
  if (url === null || !/^https?:$/.test(url.protocol)) return "must be an absolute http: or https: URL"
  return (url.username === "" && url.password === "") || "must not hold a user and a password: use token"
})))

const TokenOption = Schema.Unknown.pipe(
  Schema.check(
    Schema.makeFilter((input) =>
      Redacted.isRedacted(input) || Effect.isEffect(input) || "must be a Redacted, or an Effect of one"
    )
  )
)

const OptionsSchema = Schema.Struct({
  url: UrlOption,
  token: Schema.optional(TokenOption),
  interval: SourceOptions.duration("10 millis", "24 hours"),
  longPoll: Schema.optional(Schema.Union([Schema.Literal("off"), durationField("1 second", "5 minutes")])),
  timeout: SourceOptions.duration("10 millis", "5 minutes"),
  backoff: SourceOptions.backoff,
  maxRetryAfter: SourceOptions.duration(0, "24 hours"),
  ...SourceOptions.bounds
})

const defaultLongPoll = 25_000
const defaultTimeout = 10_000

/** Between two requests to a server that holds its answers. */
const gap = 500

/** A server that says it holds its answers, and answers sooner than this that nothing is new, does not. */
const shortestHold = 1_000

interface Settings extends HttpExchange.Settings {
  readonly name: string
  readonly timing: Refresh.Timing
  /** in seconds */
  readonly wait: number | undefined
  readonly timeout: number
}

const effectOf = (token: Options["token"]): Settings["token"] =>
  Redacted.isRedacted(token) ? Effect.succeed(token as Redacted.Redacted) : token

const settingsOf = (options: Options): Settings => {
  const given = SourceOptions.read("HttpSource", OptionsSchema, options)
  const url = new URL(options.url)
  const hold = given.longPoll === "off" ? undefined : SourceOptions.millis(given.longPoll, defaultLongPoll)
  return {
    name: `${url.origin}${url.pathname}`,
    url,
    token: effectOf(options.token),
    bounds: SourceOptions.boundsOf(given),
    timing: SourceOptions.timing(given),
    wait: hold === undefined ? undefined : Math.floor(hold / 1_000),
    timeout: SourceOptions.millis(given.timeout, defaultTimeout)
  }
}

// -----------------------------------------------------------------------------
// source
// -----------------------------------------------------------------------------

/** One run of the stream: what it knows of the server. */
class Conversation {
  private etag: string | undefined = undefined
  /** the last look was a good one: all there is to wait for is a change */
  private isCurrent = false
  private readonly last: LastText
  private readonly client: HttpClient.HttpClient
  private readonly settings: Settings
  private readonly report: () => string | undefined
  constructor(client: HttpClient.HttpClient, settings: Settings, report: () => string | undefined) {
    this.client = client
    this.settings = settings
    this.report = report
    this.last = new LastText(settings.bounds)
  }

  readonly look: Effect.Effect<Refresh.Look> = Effect.suspend(() => {
    const wait = this.isCurrent && this.etag !== undefined ? this.settings.wait : undefined
    return Effect.match(Effect.timed(this.ask(wait)), {
      onFailure: (reason) => this.failed(reason),
      onSuccess: ([took, answer]) => this.answered(answer, Duration.toMillis(took), wait !== undefined)
    })
  })

  private ask(wait: number | undefined): Effect.Effect<HttpExchange.Answer & HttpExchange.Held, PolicySource.Reason> {
    return HttpExchange.exchange(this.client, this.settings, { etag: this.etag, wait, report: this.report() }).pipe(
      Effect.timeoutOrElse({
        duration: this.settings.timeout + 1_000 * (wait ?? 0),
        orElse: () => Effect.fail<PolicySource.Reason>({ _tag: "Unavailable", detail: "no answer in time" })
      })
    )
  }

  private answered(answer: HttpExchange.Answer & HttpExchange.Held, took: number, asked: boolean): Refresh.Look {
    const isDocument = answer._tag === "Document"
    const read = isDocument ? this.last.read(answer.text) : Result.succeed(PolicySource.unchanged)
    if (Result.isFailure(read)) return this.failed(read.failure)
    if (isDocument) this.etag = answer.etag
    // a tag that is changed on the way makes every answer a document, and the same one
    const held = answer.held && (read.success._tag === "Document" || took >= shortestHold)
    return { found: [read.success], pause: this.pause(asked ? held : this.etag !== undefined) }
  }

  /**
   * Soon after a good answer that was held, and after the first good one, which was not asked to be: that a server is there
   * must be known at once, and a change that comes next must not wait for the interval.
   */
  private pause(soon: boolean): number | undefined {
    this.isCurrent = true
    return soon && this.settings.wait !== undefined ? Math.min(gap, this.settings.timing.interval) : undefined
  }

  private failed(reason: PolicySource.Reason): Refresh.Look {
    this.isCurrent = false
    // a cache on the way must not say "not modified" in place of an origin that no longer knows who asks
    if (reason._tag === "Unauthorized") this.etag = undefined
    return { found: [PolicySource.failed(new PolicySource.SourceError({ source: this.settings.name, reason }))] }
  }
}

/** Half of a character has no place in a header. */
const shown = (revision: string): string => encodeURIComponent(Buffer.from(revision.slice(0, 200)).toString())

const reportHeader = (report: PolicySource.Report): string => {
  if (report._tag === "Accepted") return `accepted; revision="${shown(report.revision)}"`
  const revision = report.revision._tag === "Some" ? `; revision="${shown(report.revision.value)}"` : ""
  return `rejected${revision}; issues=${report.issues.length}`
}

/**
 * A source that asks the given client. Throws a `RangeError` that names every option out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options
): Effect.Effect<PolicySource.PolicySource["Service"], never, HttpClient.HttpClient> => {
  const settings = settingsOf(options)
  return Effect.map(HttpClient.HttpClient, (client) => {
    let report: string | undefined = undefined
    return PolicySource.make({
      name: settings.name,
      found: Refresh.stream(settings.timing, Effect.sync(() => new Conversation(client, settings, () => report))),
      report: (became) =>
        Effect.sync(() => {
          report = reportHeader(became)
        })
    })
  })
}

/**
 * The source as a layer, for `PolicyLayer.live`. Throws a `RangeError` as `make` does.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<PolicySource.PolicySource, never, HttpClient.HttpClient> =>
  Layer.effect(PolicySource.PolicySource, make(options))
