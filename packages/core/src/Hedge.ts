/**
 * When a call sends the same request again although the first one has not failed: after a delay, at a quantile of the
 * key's latency, or for a share of extra load.
 *
 * **When to use**
 *
 * For reads whose tail is much longer than their body, sent to something that has more than one place to answer from. A
 * hedge to the same slow host wins nothing: route it by `Attempt.CurrentAttempt`.
 *
 * **Details**
 *
 * A trigger is data, or any `Schedule` with `Hedge.State` as its input: each delay is counted from the last start in the
 * group. Hedges start only when the call or the policy says `idempotent: true`, through the budget and the gates of
 * `docs/hedging.md`.
 *
 * **Example** (A hedge that wins)
 *
 * ```ts
 * import { Attempt, Hedge, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Option } from "effect"
 *
 * const Policies = PolicyLayer.make({
 *   policies: { "users.Get": { hedge: { trigger: Hedge.after("5 millis") }, timeout: { overall: "1 second" }, idempotent: true } }
 * })
 *
 * const read = Effect.flatMap(Attempt.CurrentAttempt, (attempt) =>
 *   Option.exists(attempt, ({ hedge }) => hedge > 0) ? Effect.succeed("second replica") : Effect.never)
 *
 * await Effect.runPromise(read.pipe(Rego.resilient("users.Get"), Effect.provide(Policies))) // => "second replica"
 * ```
 *
 * @since 0.1.0
 */
import { Cause, Context, Duration, Effect, Layer, Option, Schedule, Schema, SchemaTransformation } from "effect"
import type { Id } from "./Attempt.ts"
import {
  durationBetween,
  durationField,
  formatAll,
  fromSchemaError,
  integerField,
  numberField,
  parseOptions
} from "./Issue.ts"
import type { Snapshot } from "./Latency.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * When the next hedge of a group is due, as data: what `after`, `quantile` and `maxExtraLoad` make.
 *
 * @category models
 * @since 0.1.0
 */
export type Trigger = After | Quantile | MaxExtraLoad

/**
 * A fixed delay after the last start: made by `after`.
 *
 * @category models
 * @since 0.1.0
 */
export interface After {
  readonly _tag: "After"
  readonly delay: Duration.Duration
}

/**
 * A live quantile of the latency of the key: made by `quantile`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Quantile {
  readonly _tag: "Quantile"
  readonly q: number
  /** samples needed before the quantile counts */
  readonly minSamples: number
  /** the delay until then; no hedge without one */
  readonly fallback: Option.Option<Duration.Duration>
  readonly min: Duration.Duration
  readonly max: Option.Option<Duration.Duration>
}

/**
 * A share of the calls that may be hedged, 0.0001 to 0.5: made by `maxExtraLoad`.
 *
 * @category models
 * @since 0.1.0
 */
export interface MaxExtraLoad {
  readonly _tag: "MaxExtraLoad"
  readonly load: number
}

/**
 * What a `Schedule` used as a trigger sees of its group.
 *
 * @category models
 * @since 0.1.0
 */
export interface State {
  /** the hedge that the schedule is asked for */
  readonly attempt: Id
  /** since the start of the group */
  readonly elapsed: Duration.Duration
  /** attempts started in the group so far */
  readonly launched: number
  /** how long attempts of the key take, as it is now */
  readonly latency: Snapshot
}

/**
 * What the hedges of a key did since its layer was built.
 *
 * @category models
 * @since 0.1.0
 */
export interface Statistics {
  /** hedges that were started */
  readonly started: number
  /** hedges whose answer was returned */
  readonly won: number
  /** hedges that were started and not needed */
  readonly wasted: number
  /** ticks that a gate or a budget refused */
  readonly denied: number
  /** an estimate: how much longer the winners' groups would have waited, by the median of the key's latency */
  readonly saved: Duration.Duration
}

/**
 * The requirement of a policy layer whose policies name this trigger.
 *
 * @category models
 * @since 0.1.0
 */
export interface Named<in out Name extends string> {
  readonly "~@rego/core/Hedge": Name
}

/**
 * One requirement for each name, so that a layer of several satisfies policies that use one of them.
 *
 * @internal
 */
export type AllNamed<Names extends string> = { readonly [Name in Names]: Named<Name> }[Names]

// -----------------------------------------------------------------------------
// schema
// -----------------------------------------------------------------------------

const delay = durationBetween("1 millis", "1 day")
const duration = durationField("1 millis", "1 day")
const typed = Schema.Duration.pipe(Schema.check(delay))
const share = numberField(0.5, 0.9999)
const samples = integerField(1, 100_000)
const load = numberField(0.0001, 0.5)

const issueOf = (min: Duration.Duration, max: Duration.Duration) =>
  Duration.isLessThan(max, min)
    ? { path: ["max"], issue: `must not be less than min (${Duration.format(min)}), got ${Duration.format(max)}` }
    : undefined

/**
 * A trigger within the limits of a policy.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Trigger = Schema.Union([
  Schema.TaggedStruct("After", { delay: typed }),
  Schema.TaggedStruct("Quantile", {
    q: share,
    minSamples: samples,
    fallback: Schema.Option(typed),
    min: typed,
    max: Schema.Option(typed)
  }).pipe(Schema.check(Schema.makeFilter(({ max, min }) => Option.isSome(max) ? issueOf(min, max.value) : undefined))),
  Schema.TaggedStruct("MaxExtraLoad", { load })
])

const AfterJson = Schema.Struct({ type: Schema.Literal("after"), delay: duration })
const QuantileJson = Schema.Struct({
  type: Schema.Literal("quantile"),
  q: share,
  minSamples: Schema.optional(samples),
  fallback: Schema.optional(duration),
  min: Schema.optional(duration),
  max: Schema.optional(duration)
}).pipe(Schema.check(Schema.makeFilter(({ max, min }) => min && max ? issueOf(min, max) : undefined)))
const MaxExtraLoadJson = Schema.Struct({ type: Schema.Literal("maxExtraLoad"), load })
const TriggerJson = Schema.Union([AfterJson, QuantileJson, MaxExtraLoadJson])
type TriggerJson = typeof TriggerJson.Type

const fromJson = (json: TriggerJson): Trigger => {
  switch (json.type) {
    case "after":
      return { _tag: "After", delay: json.delay }
    case "quantile":
      return makeQuantile(json)
    case "maxExtraLoad":
      return { _tag: "MaxExtraLoad", load: json.load }
  }
}

const toJson = (trigger: Trigger): TriggerJson => {
  switch (trigger._tag) {
    case "After":
      return { type: "after", delay: trigger.delay }
    case "Quantile":
      return {
        type: "quantile",
        q: trigger.q,
        minSamples: trigger.minSamples,
        min: trigger.min,
        ...(Option.isSome(trigger.fallback) ? { fallback: trigger.fallback.value } : {}),
        ...(Option.isSome(trigger.max) ? { max: trigger.max.value } : {})
      }
    case "MaxExtraLoad":
      return { type: "maxExtraLoad", load: trigger.load }
  }
}

/**
 * A trigger as it stands in a policy document: `{ "type": "quantile", "q": 0.95, "fallback": "100 millis" }`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const TriggerFromJson = TriggerJson.pipe(
  Schema.decodeTo(
    Trigger,
    SchemaTransformation.transform<typeof Trigger.Encoded, TriggerJson>({
      decode: (json) => fromJson(json) as typeof Trigger.Encoded,
      encode: (trigger) => toJson(trigger as Trigger)
    })
  )
)

/** @internal */
export const ScheduleOrTrigger = Schema.Union([
  Trigger,
  Schema.declare((u: unknown): u is Schedule.Schedule<unknown, State> => Schedule.isSchedule(u), {
    expected: "a trigger or a Schedule"
  })
])

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

const decodeJson = Schema.decodeUnknownResult(TriggerJson, parseOptions)

/** Throws one error that names every option out of range. */
const read = (constructor: string, input: unknown): Trigger => {
  const decoded = decodeJson(input)
  if (decoded._tag === "Success") return fromJson(decoded.success)
  throw new RangeError(`Hedge.${constructor}: ${formatAll(fromSchemaError(decoded.failure))}`)
}

/** `1 - 0.9999` is a little less than 0.0001 in binary. */
const roundingError = 1e-3

/** Below this many samples an estimate of the quantile says nothing: ten are wanted above it. */
const defaultMinSamples = (q: number): number => Math.max(50, Math.ceil(10 / (1 - q) - roundingError))

const makeQuantile = (options: typeof QuantileJson.Type): Trigger => ({
  _tag: "Quantile",
  q: options.q,
  minSamples: options.minSamples ?? defaultMinSamples(options.q),
  fallback: Option.fromUndefinedOr(options.fallback),
  min: options.min ?? Duration.millis(1),
  max: Option.fromUndefinedOr(options.max)
})

/**
 * A hedge when an attempt has run for a fixed time, 1 millisecond to 24 hours.
 *
 * **Details**
 *
 * Throws a `RangeError` for any other delay.
 *
 * **Gotchas**
 *
 * A delay near the median of the key sends half of the calls twice. Choose one that few calls exceed, or use `quantile`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const after = (delay: Duration.Input): Trigger => read("after", { type: "after", delay })

/**
 * A hedge when an attempt has run longer than a share of the key's attempts, 0.5 to 0.9999.
 *
 * **Details**
 *
 * The quantile is the live one of the key's latency (see `Latency`). Below `minSamples` (default `max(50, 10 / (1 - q))`)
 * the `fallback` delay is used, and there is no hedge without one. The value is held between `min` (1 millisecond) and
 * `max`; where too many samples were cut short for the estimate to reach `q` it is `max`, or no hedge.
 *
 * `minSamples` is 1 to 100,000; `fallback`, `min` and `max` are 1 millisecond to 24 hours, `max` not below `min`. Throws a
 * `RangeError` that names every option out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const quantile = (
  q: number,
  options: {
    readonly minSamples?: number | undefined
    readonly fallback?: Duration.Input | undefined
    readonly min?: Duration.Input | undefined
    readonly max?: Duration.Input | undefined
  } = {}
): Trigger => read("quantile", { ...options, type: "quantile", q })

/**
 * Hedges for a share of the calls: `0.05` is 5 % extra load, 0.0001 to 0.5.
 *
 * **Details**
 *
 * The trigger is the live `1 - load` quantile. The share is the target; the ceiling is an allowance of 1.25 × `load` of the
 * calls of the trailing 10 seconds plus 10, because slow attempts come in clusters, and a ceiling at the target would
 * refuse exactly those. The budget of the policy applies as well. Throws a `RangeError` for a share out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const maxExtraLoad = (load: number): Trigger => read("maxExtraLoad", { type: "maxExtraLoad", load })

/**
 * Whether a value is a `Trigger`. A `Schedule` is none, though a policy takes one in its place.
 *
 * @category guards
 * @since 0.1.0
 */
export const isTrigger = (u: unknown): u is Trigger =>
  typeof u === "object" && u !== null && "_tag" in u &&
  (u._tag === "After" || u._tag === "Quantile" || u._tag === "MaxExtraLoad")

// -----------------------------------------------------------------------------
// delays
// -----------------------------------------------------------------------------

/**
 * What a built-in trigger reads: a window of latency, as it is at an instant.
 *
 * @internal
 */
export interface Reading {
  readonly samples: (now: number) => number
  readonly quantileMillis: (q: number, now: number) => number | undefined
}

/**
 * A built-in trigger in the form that the driver reads.
 *
 * @internal
 */
export interface Delays {
  /** of `maxExtraLoad` */
  readonly load: number | undefined
  /** milliseconds, here and below; `undefined` where the quantile says when */
  readonly fixed: number | undefined
  readonly q: number
  readonly minSamples: number
  readonly fallback: number | undefined
  readonly min: number
  readonly max: number | undefined
}

const toMillis = (duration: Option.Option<Duration.Duration>): number | undefined =>
  Option.getOrUndefined(Option.map(duration, Duration.toMillis))

const always = { load: undefined, q: 0, minSamples: 0, fallback: undefined, min: 1, max: undefined }

/** @internal */
export const delaysOf = (trigger: Trigger): Delays => {
  switch (trigger._tag) {
    case "After":
      return { ...always, fixed: Duration.toMillis(trigger.delay) }
    case "Quantile":
      return {
        load: undefined,
        fixed: undefined,
        q: trigger.q,
        minSamples: trigger.minSamples,
        fallback: toMillis(trigger.fallback),
        min: Duration.toMillis(trigger.min),
        max: toMillis(trigger.max)
      }
    case "MaxExtraLoad": {
      const q = 1 - trigger.load
      return { ...always, load: trigger.load, fixed: undefined, q, minSamples: defaultMinSamples(q) }
    }
  }
}

/**
 * How long after the last start the next hedge is due, `undefined` for never.
 *
 * @internal
 */
export const delayMillis = (delays: Delays, reading: Reading, now: number): number | undefined => {
  if (delays.fixed !== undefined) return delays.fixed
  if (reading.samples(now) < delays.minSamples) return delays.fallback
  const value = reading.quantileMillis(delays.q, now) ?? delays.max
  return value === undefined ? undefined : Math.min(delays.max ?? Infinity, Math.max(delays.min, value))
}

/**
 * The same trigger as a `Schedule`: its output is the delay, and it ends where there is no hedge.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toSchedule = (self: Trigger): Schedule.Schedule<Duration.Duration, State> => {
  const delays = delaysOf(self)
  return Schedule.fromStep(Effect.succeed((now: number, { latency }: State) => {
    const reading = { samples: () => latency.samples, quantileMillis: (q: number) => toMillis(latency.quantile(q)) }
    const millis = delayMillis(delays, reading, now)
    return millis === undefined
      ? Cause.done(Duration.zero)
      : Effect.succeed<[Duration.Duration, Duration.Duration]>([Duration.millis(millis), Duration.millis(millis)])
  }))
}

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

const registryPrefix = "@rego/core/Hedge/"

/**
 * Registers triggers under names that policies can use. Provide it *to* the policy layer.
 *
 * **Example** (A schedule by its name)
 *
 * ```ts
 * import { Hedge, PolicyLayer } from "@rego/core"
 * import { Layer, Schedule } from "effect"
 *
 * export const Policies = PolicyLayer.make({
 *   policies: {
 *     "users.Get": { hedge: { trigger: "doubling" }, timeout: { overall: "1 second" }, idempotent: true }
 *   }
 * }).pipe(Layer.provide(Hedge.layer({ doubling: Schedule.exponential("20 millis") })))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const T extends Readonly<Record<string, Trigger | Schedule.Schedule<unknown, State>>>>(
  triggers: T
): Layer.Layer<AllNamed<keyof T & string>> =>
  Layer.succeedContext(Context.makeUnsafe<AllNamed<keyof T & string>>(
    new Map(Object.entries(triggers).map(([name, trigger]) => [`${registryPrefix}${name}`, trigger]))
  ))

/** @internal */
export const findNamed = (
  context: Context.Context<never>,
  name: string
): Trigger | Schedule.Schedule<unknown, State> | undefined => context.mapUnsafe.get(`${registryPrefix}${name}`)
