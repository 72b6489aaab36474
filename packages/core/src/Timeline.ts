/**
 * The record of one call: every attempt that was started, and every decision in between.
 *
 * **When to use**
 *
 * - `capture` around any program: all calls made inside, nested and concurrent ones too.
 * - `Rego.resilientWithTimeline` for one call: the success comes with its timeline.
 * - `fromCause` where a failure is handled: all calls that the failure went through.
 * - `render` to show one on a terminal, `toSvg` for a picture, `toJson` to keep or send it.
 *
 * **Example** (Capturing a call)
 *
 * ```ts
 * import { PolicyLayer, Rego, Timeline } from "@rego/core"
 * import { Effect } from "effect"
 *
 * let calls = 0
 * const flaky = Effect.suspend(() => ++calls === 1 ? Effect.fail("503") : Effect.succeed("ada"))
 *
 * const program = Effect.gen(function*() {
 *   const [, timelines] = yield* Timeline.capture(flaky.pipe(Rego.resilient("users.Get")))
 *   timelines[0]?.attempts.map((attempt) => attempt.outcome) // => ["Retryable", "Success"]
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(PolicyLayer.defaults)))
 * ```
 *
 * @since 0.1.0
 */
import type { Exit } from "effect"
import { Cause, Context, Data, Effect, Predicate, Result, Schema } from "effect"
import type { AttemptFacts, CallRecord, Decision as DecisionFacts } from "./CallRecord.ts"
import { annotationsOf, Collector, endedBy, outcomes, policySources, results } from "./CallRecord.ts"
import * as Events from "./Event.ts"
import type { Issue } from "./Issue.ts"
import { formatAll, fromSchemaError, parseOptions, show } from "./Issue.ts"
import * as Reasons from "./Reasons.ts"
import * as SpanTimeline from "./SpanTimeline.ts"
import * as WaterfallSvg from "./WaterfallSvg.ts"
import * as WaterfallText from "./WaterfallText.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * Why a call made no further attempt. The list is closed: it is part of the contract, and safe as a metric label.
 *
 * @category models
 * @since 0.1.0
 */
export const StopReason: Schema.Codec<StopReason> = Reasons.StopReason

/**
 * Why a call made no further attempt: the names of the list.
 *
 * @category models
 * @since 0.1.0
 */
export type StopReason = Reasons.StopReason

/**
 * Why an extra attempt, or a call, was refused. The list is closed and safe as a metric label; what a budget of the user's
 * says is `"other"`, and its own words stand apart.
 *
 * @category models
 * @since 0.1.0
 */
export const DenialReason: Schema.Codec<DenialReason> = Reasons.DenialReason

/**
 * Why an extra attempt, or a call, was refused: the names of the list.
 *
 * @category models
 * @since 0.1.0
 */
export type DenialReason = Reasons.DenialReason

/**
 * One started attempt. Stamps are milliseconds since the epoch, fractions included.
 *
 * **Details**
 *
 * `endedBy` says what ended it: `returned` (by itself), `timed_out`, `interrupted_loser` (another attempt of its group
 * won), `interrupted_caller`, or `abandoned`: it was given up and its fiber still ran when the call ended, so that there
 * is no `endedAt`. `outcome` is the tag of the classifier's verdict and `reason` its reason.
 *
 * @category models
 * @since 0.1.0
 */
export class AttemptRecord extends Schema.Class<AttemptRecord>("@rego/core/AttemptRecord")({
  attempt: Schema.Struct({ retry: Schema.Int, hedge: Schema.Int }),
  startedAt: Schema.Number,
  endedAt: Schema.optionalKey(Schema.Number),
  endedBy: Schema.Literals(endedBy),
  outcome: Schema.optionalKey(Schema.Literals(outcomes)),
  reason: Schema.optionalKey(Schema.String),
  /** of a failure, in one line of at most 200 characters */
  error: Schema.optionalKey(Schema.String),
  /** milliseconds waited before it; absent where nothing was */
  backoffBefore: Schema.optionalKey(Schema.Number),
  /** what `Attempt.annotate` wrote, such as `fault` for one that was injected */
  attributes: Schema.optionalKey(Schema.Record(Schema.String, Schema.String))
}) {}

/**
 * What was decided between attempts: a wait, a refusal, the end. `at` is in milliseconds since the epoch, `delay` and
 * `retryAfter` are durations in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export const Decision = Schema.Union([
  Schema.TaggedStruct("BackoffScheduled", {
    at: Schema.Number,
    delay: Schema.Number,
    retryAfter: Schema.optionalKey(Schema.Number)
  }),
  Schema.TaggedStruct("Denied", {
    at: Schema.Number,
    kind: Schema.Literals(["retry", "hedge"]),
    budget: Schema.optionalKey(Schema.String),
    reason: DenialReason,
    /** the words of a budget of the user's */
    detail: Schema.optionalKey(Schema.String),
    retryAfter: Schema.optionalKey(Schema.Number),
    /** refusals that it stands for: those of the hedges of a group are one decision */
    count: Schema.Int
  }),
  Schema.TaggedStruct("Stopped", { at: Schema.Number, reason: StopReason })
])

/**
 * What was decided between attempts.
 *
 * @category models
 * @since 0.1.0
 */
export type Decision = typeof Decision.Type

/**
 * The record of one call. Stamps are milliseconds since the epoch, fractions included, all derived from one reading of
 * the wall clock.
 *
 * **Details**
 *
 * `result` is what the caller got: `success`, `failure`, `defect` or `interrupted`. Where no attempt succeeded, and all the
 * same a value was returned, it is `success`, and the last decision is `Stopped`. Records of attempts are bounded
 * (`maxAttemptRecords` of the policy layer): the first ones and the latest are kept.
 *
 * @category models
 * @since 0.1.0
 */
export class Timeline extends Schema.Class<Timeline>("@rego/core/Timeline")({
  key: Schema.String,
  policyRevision: Schema.String,
  policySource: Schema.Literals(policySources),
  startedAt: Schema.Number,
  endedAt: Schema.Number,
  attempts: Schema.Array(AttemptRecord),
  decisions: Schema.Array(Decision),
  result: Schema.Literals(results),
  /**
   * `droppedAttempts` when the bound on records was reached; `policyAge`, in seconds, when the source of the policy did not
   * confirm it any more; `override`, the pattern of an override that was in force
   */
  attributes: Schema.Record(Schema.String, Schema.String)
}) {}

/**
 * One thing that happened in a call. Plain data with a schema; durations are milliseconds.
 *
 * **Details**
 *
 * The events of a call come in the order in which they happened. `PolicyResolved` is the first, unless the call ends while
 * its policy is on its way (`PolicyLayer.fetch`), and `CallEnded` the last. Only `AttemptAbandoned` and `AbandonedEnded`, of
 * an attempt that was given up, may come after it. `PolicySwapped` belongs to no call. `docs/reasons.md` lists all of them.
 *
 * @category models
 * @since 0.1.0
 */
export const Event = Events.Event

/**
 * One thing that happened in a call.
 *
 * @category models
 * @since 0.1.0
 */
export type Event = Events.Event

// -----------------------------------------------------------------------------
// from records
// -----------------------------------------------------------------------------

const maxErrorLength = 200

/** A terminal would obey them. */
const controlCharacters = /\p{Cc}/gu

const onOneLine = (text: string): string => {
  const line = (text.split("\n", 1)[0] ?? "").replaceAll(controlCharacters, "")
  return line.length > maxErrorLength ? `${line.slice(0, maxErrorLength)}…` : line
}

const summarize = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  const text = error instanceof Error
    ? error.message === "" ? error.name : `${error.name}: ${error.message}`
    : Predicate.hasProperty(error, "_tag")
    ? String(error._tag)
    : typeof error === "string"
    ? error
    : show(error)
  return onOneLine(text)
}

const shortened = (attributes: ReadonlyMap<string, string>): Record<string, string> =>
  Object.fromEntries(Array.from(attributes, ([name, value]) => [onOneLine(String(name)), onOneLine(String(value))]))

/**
 * What was written on an attempt, `undefined` for nothing.
 *
 * @internal
 */
export const annotationsIn = (facts: AttemptFacts): Record<string, string> | undefined => {
  const written = annotationsOf(facts)
  return written === undefined ? undefined : shortened(written)
}

/**
 * An error whose own `toString` or `message` throws must not break the reader of a timeline.
 *
 * @internal
 */
export const errorOf = (cause: Cause.Cause<unknown>): string => {
  try {
    return summarize(cause)
  } catch {
    return "(an error that cannot be printed)"
  }
}

/**
 * Makes instances that are written field by field: what the driver recorded needs no check, and the constructor of a class
 * with a schema makes one that costs more than the call (measured: 2.6 µs against 0.1 for one attempt). With a constructor
 * of its own V8 learns how many fields there are, and makes room for all of them at once.
 */
const unchecked = <A extends object>(type: { readonly prototype: A }): new() => { -readonly [K in keyof A]: A[K] } => {
  const Unchecked = function() {}
  Unchecked.prototype = type.prototype
  return Unchecked as never
}

const UncheckedAttempt = unchecked(AttemptRecord)
const UncheckedTimeline = unchecked(Timeline)

const toAttemptRecord = (facts: AttemptFacts, offset: number): AttemptRecord => {
  const { backoffBefore, cause, endedBy, hedge, outcome, retry } = facts
  const record = new UncheckedAttempt()
  record.attempt = { retry, hedge }
  record.startedAt = facts.startedAt + offset
  if (endedBy !== "abandoned") record.endedAt = facts.endedAt! + offset
  record.endedBy = endedBy
  if (outcome !== undefined) record.outcome = outcome._tag
  if (outcome !== undefined && outcome._tag !== "Success") record.reason = outcome.reason
  if (cause !== undefined) record.error = errorOf(cause)
  if (backoffBefore !== undefined && backoffBefore > 0) record.backoffBefore = backoffBefore
  const attributes = annotationsIn(facts)
  if (attributes !== undefined) record.attributes = attributes
  return record
}

const toDecision = (decision: DecisionFacts, offset: number): Decision => ({ ...decision, at: decision.at + offset })

/** @internal */
export const attributesOf = (
  { droppedAttempts, policy, startedAt, wallOffset }: CallRecord
): Record<string, string> => {
  const attributes: Record<string, string> = {}
  if (droppedAttempts > 0) attributes["droppedAttempts"] = String(droppedAttempts)
  if (policy.override !== undefined) attributes["override"] = policy.override
  if (policy.confirmedAt === undefined) return attributes
  const age = Math.max(0, startedAt + wallOffset - policy.confirmedAt)
  attributes["policyAge"] = String(Math.floor(age / 1_000))
  return attributes
}

/** @internal */
export const fromRecord = (record: CallRecord): Timeline => {
  const { attempts, decisions, policy, wallOffset } = record
  const timeline = new UncheckedTimeline()
  timeline.key = record.key
  timeline.policyRevision = policy.revision
  timeline.policySource = policy.source
  timeline.startedAt = record.startedAt + wallOffset
  timeline.endedAt = record.endedAt + wallOffset
  timeline.attempts = attempts.map((attempt) => toAttemptRecord(attempt, wallOffset))
  timeline.decisions = decisions === undefined ? [] : decisions.map((decision) => toDecision(decision, wallOffset))
  timeline.result = record.result
  timeline.attributes = attributesOf(record)
  return timeline
}

// -----------------------------------------------------------------------------
// capture
// -----------------------------------------------------------------------------

/** @internal */
export const CurrentCollector = Context.Reference<Collector | undefined>(
  "@rego/core/Timeline/CurrentCollector",
  { defaultValue: () => undefined }
)

/** @internal */
export const collectorOf = (context: Context.Context<never>): Collector | undefined =>
  Collector.open === 0 ? undefined : Context.get(context, CurrentCollector)

/**
 * How much a capture keeps.
 *
 * @category options
 * @since 0.1.0
 */
export interface CaptureOptions {
  /** timelines kept; further ones are counted in `dropped`. Default 1,000 */
  readonly maxTimelines?: number | undefined
}

const defaultMaxTimelines = 1_000

/** Runs a program with a collector of its own, and then says what becomes of its exit and of what was collected. */
const collect = <A, E, R, B>(
  self: Effect.Effect<A, E, R>,
  maxTimelines: number,
  end: (exit: Exit.Exit<A, E>, timelines: ReadonlyArray<Timeline>, dropped: number) => Effect.Effect<B>
): Effect.Effect<B, never, R> =>
  Effect.withFiber((fiber) => {
    const collector = new Collector(maxTimelines, fiber.getRef(CurrentCollector))
    return self.pipe(
      Effect.provideService(CurrentCollector, collector),
      // Interrupted as well: calls look for collectors as long as one is open.
      Effect.onExit(() => Effect.sync(() => collector.close())),
      Effect.exit,
      Effect.flatMap((exit) => end(exit, collector.close().map(fromRecord), collector.dropped))
    )
  })

/**
 * Like `capture`, with its bound as an option and the number of timelines that did not fit.
 *
 * @category capturing
 * @since 0.1.0
 */
export const captureWith = (options: CaptureOptions) =>
<A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<
  { readonly exit: Exit.Exit<A, E>; readonly timelines: ReadonlyArray<Timeline>; readonly dropped: number },
  never,
  R
> => {
  const maxTimelines = options.maxTimelines ?? defaultMaxTimelines
  if (!Number.isInteger(maxTimelines) || maxTimelines < 1) {
    throw new RangeError(`Timeline.captureWith: maxTimelines must be an integer from 1, got ${maxTimelines}`)
  }
  return collect(self, maxTimelines, (exit, timelines, dropped) => Effect.succeed({ exit, timelines, dropped }))
}

/**
 * Runs a program and answers with its exit and the timelines of all calls made inside, in the order in which they ended.
 *
 * **Details**
 *
 * Nested and concurrent calls are included. Captures may be nested: the outer one sees the calls of the inner one as
 * well. At most 1,000 timelines are kept; what did not fit is counted and logged (`captureWith` returns the count).
 *
 * **Gotchas**
 *
 * Calls that end after the program has ended (in a detached fiber) are not collected.
 *
 * @category capturing
 * @since 0.1.0
 */
export const capture = <A, E, R>(
  self: Effect.Effect<A, E, R>
): Effect.Effect<readonly [exit: Exit.Exit<A, E>, timelines: ReadonlyArray<Timeline>], never, R> =>
  collect(self, defaultMaxTimelines, (exit, timelines, dropped) => {
    const captured = Effect.succeed([exit, timelines] as const)
    return dropped === 0
      ? captured
      : Effect.andThen(
        Effect.logWarning(`Timeline.capture: ${dropped} timelines did not fit and were dropped`),
        captured
      )
  })

// -----------------------------------------------------------------------------
// causes
// -----------------------------------------------------------------------------

/** The calls that a failure went through, outermost first. */
class CausedBy extends Context.Service<CausedBy, ReadonlyArray<CallRecord>>()("@rego/core/Timeline/CausedBy") {}

/** @internal */
export const recordsOf = (cause: Cause.Cause<unknown>): ReadonlyArray<CallRecord> => {
  // As `Cause.annotations` would say, without a map and a context for each failing attempt.
  const annotated = cause.reasons.findLast(({ annotations }) => annotations.has(CausedBy.key))
  return annotated === undefined ? [] : annotated.annotations.get(CausedBy.key) as ReadonlyArray<CallRecord>
}

/** A cause that is passed from call to call for ever must not grow for ever: the calls in the middle are forgotten. */
const maxCausedBy = 32
const bounded = (records: ReadonlyArray<CallRecord>): ReadonlyArray<CallRecord> =>
  records.length <= maxCausedBy ? records : [...records.slice(0, maxCausedBy / 2), ...records.slice(-maxCausedBy / 2)]

/** @internal */
export const annotate = <E>(cause: Cause.Cause<E>, record: CallRecord): Cause.Cause<E> =>
  Cause.annotate(cause, Context.make(CausedBy, bounded([record, ...recordsOf(cause)])), { overwrite: true })

/**
 * The timelines of all calls that a failure went through, outermost first; empty when it went through none.
 *
 * **Details**
 *
 * At most 32 are kept: the outermost and the innermost. They travel as an annotation of the cause. `Effect.exit`,
 * `tapCause`, `tapError`, `mapError`, `sandbox`, `onExit`, `ensuring`, `withSpan`, `Effect.fn`, `timeout`, `all`, fork and
 * join, `Stream` and `catchTag` of another tag keep it.
 *
 * **Gotchas**
 *
 * What makes a new failure out of the error loses it: `catch` followed by `fail`, `flip`, `result`, `orDie`, `retry`,
 * and `runPromise`, which rejects with the error itself.
 *
 * @category getters
 * @since 0.1.0
 */
export const fromCause = (cause: Cause.Cause<unknown>): ReadonlyArray<Timeline> => recordsOf(cause).map(fromRecord)

// -----------------------------------------------------------------------------
// spans
// -----------------------------------------------------------------------------

/**
 * A span that also tells its events, as `Tracer.NativeSpan` does.
 *
 * @category models
 * @since 0.1.0
 */
export interface SpanLike extends SpanTimeline.SpanLike {}

/**
 * The timelines of the calls that a list of spans shows, in the order in which the calls ended: the same ones that
 * `capture` would have collected.
 *
 * **Details**
 *
 * Needs the spans of the calls and of their attempts (`Observer.spans("attempts")`, or any installed tracer). Spans of
 * others among them are ignored, and so are calls that have not ended.
 *
 * **Gotchas**
 *
 * The errors of attempts are read from the exits of the spans. Spans that were exported and read back have none.
 *
 * **Example** (A tracer that keeps its spans)
 *
 * ```ts
 * import { PolicyLayer, Rego, Timeline } from "@rego/core"
 * import { Effect, Tracer } from "effect"
 *
 * const spans: Array<Tracer.NativeSpan> = []
 * const tracer = Tracer.make({
 *   span: (options) => {
 *     const span = new Tracer.NativeSpan(options)
 *     spans.push(span)
 *     return span
 *   }
 * })
 *
 * const program = Effect.succeed("ada").pipe(Rego.resilient("users.Get"), Effect.withTracer(tracer))
 * await Effect.runPromise(program.pipe(Effect.provide(PolicyLayer.defaults)))
 *
 * spans.map((span) => span.name) // => ["users.Get", "users.Get attempt"]
 * Timeline.fromSpans(spans).map((timeline) => timeline.attempts.length) // => [1]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSpans = (spans: ReadonlyArray<SpanLike>): ReadonlyArray<Timeline> =>
  SpanTimeline.read(spans, (fields) => Object.assign(new UncheckedAttempt(), fields), errorOf).map((fields) =>
    Object.assign(new UncheckedTimeline(), fields)
  )

// -----------------------------------------------------------------------------
// rendering
// -----------------------------------------------------------------------------

/**
 * Draws a timeline as a waterfall for the terminal: a line for each attempt, then the decisions, then what was wasted.
 *
 * **Details**
 *
 * A bar is solid (`█`) where the attempt ended by itself, `▒` where it timed out, and `░` where it lost, where its caller
 * left, or where it still ran when the call ended. Control characters in keys, reasons and errors are replaced.
 *
 * @category rendering
 * @since 0.1.0
 */
export const render: (timeline: Timeline) => string = WaterfallText.render

/**
 * Draws a timeline as a waterfall in SVG: one self-contained text, for a file or for the middle of a page.
 *
 * **Details**
 *
 * It has no script and refers to nothing outside of it. Keys, reasons and errors are escaped. It follows the light or dark
 * scheme of its reader. Its `title` and `desc` say in words what the picture shows.
 *
 * **Gotchas**
 *
 * In a page whose Content-Security-Policy forbids inline styles, `svgStyle` must be allowed by its hash, or the picture is
 * black.
 *
 * **Example** (Writing a picture)
 *
 * ```ts
 * import { PolicyLayer, Rego, Timeline } from "@rego/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const [, timeline] = yield* Effect.succeed("ada").pipe(Rego.resilientWithTimeline("users.Get"))
 *   Timeline.toSvg(timeline).startsWith("<svg xmlns=") // => true
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(PolicyLayer.defaults)))
 * ```
 *
 * @category rendering
 * @since 0.1.0
 */
export const toSvg: (timeline: Timeline) => string = WaterfallSvg.toSvg

/**
 * The style sheet inside every `toSvg`, the same for all, for a Content-Security-Policy that allows it by its hash.
 *
 * @category rendering
 * @since 0.1.0
 */
export const svgStyle: string = WaterfallSvg.style

// -----------------------------------------------------------------------------
// JSON
// -----------------------------------------------------------------------------

/** The minor part grows with fields that older readers may ignore, the major part with what they must not misread. */
const schemaVersion = "1.0"

// bundlers leave out what is not called, if they are told that making it does nothing else
const inJson = /* @__PURE__ */ Schema.toCodecJson(Timeline)
const toEncoded = /* @__PURE__ */ Schema.encodeSync(inJson)
const fromEncoded = /* @__PURE__ */ Schema.decodeUnknownResult(inJson, { ...parseOptions, onExcessProperty: "ignore" })

/**
 * What was given to `fromJson` is no timeline. Holds every issue, each with its path, the rule and the value.
 *
 * @category errors
 * @since 0.1.0
 */
export class TimelineInvalid extends Data.TaggedError("TimelineInvalid")<{
  readonly issues: ReadonlyArray<Issue>
}> {
  override get message(): string {
    return formatAll(this.issues)
  }
}

/**
 * The JSON form of a timeline, with the version of this form as `schemaVersion`; `fromJson` gives the same timeline back.
 *
 * **Details**
 *
 * Within a major version fields are added and never change their meaning. Stamps are milliseconds since the epoch, durations
 * milliseconds.
 *
 * **Example** (There and back)
 *
 * ```ts
 * import { PolicyLayer, Rego, Timeline } from "@rego/core"
 * import { Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const [, timeline] = yield* Effect.succeed("ada").pipe(Rego.resilientWithTimeline("users.Get"))
 *   const text = JSON.stringify(Timeline.toJson(timeline))
 *   yield* Timeline.fromJson(JSON.parse(text)) // => timeline
 *   const refused = yield* Effect.flip(Timeline.fromJson({ schemaVersion: "9.0" }))
 *   refused.message // => `schemaVersion: must be "1.0" or a later 1.x, got "9.0"`
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(PolicyLayer.defaults)))
 * ```
 *
 * @category encoding
 * @since 0.1.0
 */
export const toJson = (
  timeline: Timeline
): { readonly schemaVersion: string; readonly [field: string]: Schema.Json } => ({
  schemaVersion,
  ...toEncoded(timeline) as { readonly [field: string]: Schema.Json }
})

const versionIssue = (json: unknown): Issue | undefined => {
  const version = Predicate.hasProperty(json, "schemaVersion") ? json.schemaVersion : undefined
  if (typeof version === "string" && /^1\.\d+$/.test(version)) return undefined
  return { path: ["schemaVersion"], message: `must be "${schemaVersion}" or a later 1.x, got ${show(version)}` }
}

/**
 * Reads the JSON form of a timeline, or fails with every issue.
 *
 * **Details**
 *
 * Fields that are not known here, of a later minor version, are ignored. A major version that is not known is refused.
 *
 * @category encoding
 * @since 0.1.0
 */
export const fromJson = (json: unknown): Effect.Effect<Timeline, TimelineInvalid> =>
  Effect.suspend(() => {
    const version = versionIssue(json)
    if (version !== undefined) return Effect.fail(new TimelineInvalid({ issues: [version] }))
    return Result.match(fromEncoded(json), {
      onFailure: (error) => Effect.fail(new TimelineInvalid({ issues: fromSchemaError(error) })),
      onSuccess: Effect.succeed
    })
  })

/**
 * The JSON Schema of what `toJson` makes, for readers without this library.
 *
 * @category encoding
 * @since 0.1.0
 */
export const jsonSchema = (): { readonly [field: string]: unknown } => {
  const { definitions, schema } = Schema.toJsonSchemaDocument(inJson, { onExcessProperty: "ignore" })
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Timeline of rego",
    allOf: [{
      type: "object",
      properties: { schemaVersion: { type: "string", pattern: "^1\\.\\d+$" } },
      required: ["schemaVersion"]
    }, schema],
    $defs: definitions
  }
}
