/**
 * Policy documents from a feature flag, through OpenFeature: the value of an object flag is the document.
 *
 * **When to use**
 *
 * Where a flag service is how a team changes what runs: its rules, environments and audit log are then those of the
 * policies as well. `@openfeature/server-sdk` and the provider of the service are for the application to install.
 *
 * **Details**
 *
 * The flag is evaluated when the provider says that it is ready, or that something has changed, and about every `interval`.
 * The default value of an evaluation is never taken for a document: a flag that is missing, disabled or broken is a failure
 * of the source, and so is a provider whose values are stale.
 *
 * **Example** (A flag in memory)
 *
 * ```ts
 * import { TypedInMemoryProvider, OpenFeature } from "@openfeature/server-sdk"
 * import { PolicySource } from "@rego/core"
 * import * as OpenFeatureSource from "@rego/control-plane/OpenFeatureSource"
 * import { Effect, Stream } from "effect"
 *
 * const document = { schemaVersion: "1.0", revision: "7", policies: {} }
 * await OpenFeature.setProviderAndWait(
 *   "example",
 *   new TypedInMemoryProvider({ policies: { disabled: false, variants: { on: document }, defaultVariant: "on" } })
 * )
 *
 * const source = OpenFeatureSource.make({ flag: "policies", client: OpenFeature.getClient("example") })
 * const found = await Effect.runPromise(source.found.pipe(Stream.take(1), Stream.runCollect))
 * found // => [PolicySource.document(document)]
 * ```
 *
 * @since 0.1.0
 */
import type { Client, EvaluationContext, EvaluationDetails, JsonValue } from "@openfeature/server-sdk"
import {
  ErrorCode,
  OpenFeature,
  ProviderEvents,
  ProviderStatus,
  StandardResolutionReasons
} from "@openfeature/server-sdk"
import * as PolicySource from "@rego/core/PolicySource"
import type { Duration, Scope } from "effect"
import { Effect, Exit, Layer, Option, Predicate, Queue, Result, Schema } from "effect"
import type { Bounds } from "./DocumentText.ts"
import * as DocumentText from "./DocumentText.ts"
import { LastText } from "./LastText.ts"
import { OneAtATime } from "./OneAtATime.ts"
import * as Refresh from "./Refresh.ts"
import * as SourceOptions from "./SourceOptions.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * Which flag, and how it is evaluated.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Bounds {
  /** key of an object flag */
  readonly flag: string
  /** Default: the client of the default domain, `OpenFeature.getClient()` */
  readonly client?: Client | undefined
  /** what the rules of the flag are about: the service, its environment, its region */
  readonly context?: EvaluationContext | undefined
  /** how often the flag is evaluated, whatever the provider says, 10 milliseconds to 24 hours. Default 30 seconds */
  readonly interval?: Duration.Input | undefined
  /** how long an evaluation may take, 10 milliseconds to 5 minutes. Default 5 seconds */
  readonly timeout?: Duration.Input | undefined
  /** waits after failures: the first range, and the longest, 10 milliseconds to 1 hour. Default 1 second, 1 minute */
  readonly backoff?:
    | { readonly initial?: Duration.Input | undefined; readonly max?: Duration.Input | undefined }
    | undefined
}

/** The message does not show the value: a client leads to all that its provider knows. */
const ClientOption = Schema.Unknown.pipe(
  Schema.check(
    Schema.makeFilter((input) => Predicate.hasProperty(input, "getObjectDetails") || "must be a client of OpenFeature")
  )
)

const OptionsSchema = Schema.Struct({
  flag: Schema.String.pipe(Schema.check(Schema.isMinLength(1))),
  client: Schema.optional(ClientOption),
  context: Schema.optional(Schema.Unknown),
  interval: SourceOptions.duration("10 millis", "24 hours"),
  timeout: SourceOptions.duration("10 millis", "5 minutes"),
  backoff: SourceOptions.backoff,
  ...SourceOptions.bounds
})

const defaultTimeout = 5_000

interface Settings {
  readonly name: string
  readonly flag: string
  readonly context: EvaluationContext | undefined
  readonly bounds: Required<{ [K in keyof Bounds]: number }>
  readonly timing: Refresh.Timing
  readonly timeout: number
}

const settingsOf = (options: Options): Settings => {
  const given = SourceOptions.read("OpenFeatureSource", OptionsSchema, options)
  return {
    name: `flag:${given.flag}`,
    flag: given.flag,
    context: options.context,
    bounds: SourceOptions.boundsOf(given),
    timing: SourceOptions.timing(given),
    timeout: SourceOptions.millis(given.timeout, defaultTimeout)
  }
}

// -----------------------------------------------------------------------------
// evaluation
// -----------------------------------------------------------------------------

/** What is given back in place of a value that there is not; no document is `null`. */
const none: JsonValue = null

/** The message of a provider is not repeated: it may hold an address or a key. */
const failureOf = (errorCode: string): PolicySource.Reason => {
  const detail = `the evaluation failed (${errorCode})`
  switch (errorCode) {
    case ErrorCode.FLAG_NOT_FOUND:
      return { _tag: "NotFound", detail }
    case ErrorCode.PARSE_ERROR:
    case ErrorCode.TYPE_MISMATCH:
      return { _tag: "Malformed", detail }
    default:
      return { _tag: "Unavailable", detail }
  }
}

/** A value may be anything that a provider makes up: it is read through its text, as everything else. */
const textOf = (value: unknown, maxBytes: number): Result.Result<string, PolicySource.Reason> =>
  Result.flatMap(
    Result.mapError(
      DocumentText.print(value),
      (rule): PolicySource.Reason => ({ _tag: "Malformed", detail: `the value ${rule}` })
    ),
    (text) =>
      Buffer.byteLength(text) > maxBytes ? Result.fail({ _tag: "TooLarge", limit: maxBytes }) : Result.succeed(text)
  )

const readDetails = (
  { errorCode, value }: EvaluationDetails<JsonValue>,
  last: LastText,
  maxBytes: number
): Result.Result<PolicySource.Found, PolicySource.Reason> => {
  if (errorCode !== undefined) return Result.fail(failureOf(errorCode))
  if (value === none || value === undefined) {
    return Result.fail({ _tag: "NotFound", detail: "the flag is disabled, or has no value" })
  }
  return Result.flatMap(textOf(value, maxBytes), (text) => last.read(text))
}

const stale: PolicySource.Reason = { _tag: "Unavailable", detail: "the values of the provider are stale" }

class Evaluation {
  private readonly evaluations = new OneAtATime()
  private readonly last: LastText
  private readonly client: Client
  private readonly settings: Settings
  constructor(client: Client, settings: Settings) {
    this.client = client
    this.settings = settings
    this.last = new LastText(settings.bounds)
  }

  readonly look: Effect.Effect<Refresh.Look> = Effect.suspend(() => {
    const { context, flag, timeout } = this.settings
    const details = Effect.tryPromise(() => this.client.getObjectDetails(flag, none, context))
    return Effect.map(this.evaluations.run(details, timeout), (answer): Refresh.Look => ({
      found: Option.match(answer, {
        onNone: () => [this.failed({ _tag: "Unavailable", detail: "no answer in time" })],
        onSome: (exit) => Exit.isSuccess(exit) ? this.read(exit.value) : [this.failed(failureOf(ErrorCode.GENERAL))]
      })
    }))
  })

  /** A document that is stale is still the best there is; only it is not known to be the current one. */
  private read(details: EvaluationDetails<JsonValue>): ReadonlyArray<PolicySource.Found> {
    const read = readDetails(details, this.last, this.settings.bounds.maxBytes)
    if (Result.isFailure(read)) return [this.failed(read.failure)]
    const isStale = details.reason === StandardResolutionReasons.STALE ||
      this.client.providerStatus === ProviderStatus.STALE
    if (!isStale) return [read.success]
    return read.success._tag === "Document" ? [read.success, this.failed(stale)] : [this.failed(stale)]
  }

  private failed(reason: PolicySource.Reason): PolicySource.Found {
    return PolicySource.failed(new PolicySource.SourceError({ source: this.settings.name, reason }))
  }
}

// -----------------------------------------------------------------------------
// source
// -----------------------------------------------------------------------------

const events = [
  ProviderEvents.Ready,
  ProviderEvents.ConfigurationChanged,
  ProviderEvents.Stale,
  ProviderEvents.Error
] as const

const originOf = (client: Client, settings: Settings): Effect.Effect<Refresh.Origin, never, Scope.Scope> =>
  Effect.gen(function*() {
    const changed = yield* Refresh.signal
    const notify = () => void Queue.offerUnsafe(changed, undefined)
    yield* Effect.acquireRelease(
      Effect.sync(() => events.forEach((event) => client.addHandler(event, notify))),
      () => Effect.sync(() => events.forEach((event) => client.removeHandler(event, notify)))
    )
    return { look: new Evaluation(client, settings).look, changed }
  })

/**
 * A source that evaluates a flag. Throws a `RangeError` that names every option out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): PolicySource.PolicySource["Service"] => {
  const settings = settingsOf(options)
  const origin = Effect.suspend(() => originOf(options.client ?? OpenFeature.getClient(), settings))
  return PolicySource.make({ name: settings.name, found: Refresh.stream(settings.timing, origin) })
}

/**
 * The source as a layer, for `PolicyLayer.live`. Throws a `RangeError` as `make` does.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<PolicySource.PolicySource> =>
  Layer.succeed(PolicySource.PolicySource, make(options))
