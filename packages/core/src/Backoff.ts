/**
 * How long a call waits before each retry.
 *
 * **When to use**
 *
 * - `exponential`: the default; each wait is `factor` times the one before, up to `max`.
 * - `decorrelated`: spreads callers that started together better than it follows a curve.
 * - `constant`: the same wait each time, for work that is polled.
 * - `none`: no wait, where the next attempt goes somewhere else.
 * - Any `Schedule` with `Backoff.Input` as its input can stand in for one of these.
 *
 * **Details**
 *
 * Jitter is on by default (`"full"`): callers that failed together must not come back together. With `d` the wait of the
 * curve, `full` waits `random(0, d)`, `equal` waits `d / 2 + random(0, d / 2)`, and `decorrelated` waits
 * `min(max, random(initial, factor × the wait before))`. Formulas: M. Brooker, "Exponential Backoff And Jitter", AWS
 * Architecture Blog, 2015. Random waits are whole milliseconds, rounded up. Randomness comes from Effect's `Random`, so a
 * seed reproduces every wait.
 *
 * **Example** (The curve, without jitter)
 *
 * ```ts
 * import { Backoff } from "@rego/core"
 * import { Duration, Effect, Schedule } from "effect"
 *
 * const backoff = Backoff.exponential({ initial: "10 millis", max: "50 millis", jitter: "none" })
 *
 * const program = Effect.gen(function*() {
 *   const waits: Array<string> = []
 *   const fourWaits = Backoff.toSchedule(backoff).pipe(
 *     Schedule.upTo({ times: 4 }),
 *     Schedule.tap(({ output }) => Effect.sync(() => waits.push(Duration.format(output))))
 *   )
 *   yield* Effect.ignore(Effect.retry(Effect.fail("503"), fourWaits))
 *   return waits
 * })
 *
 * await Effect.runPromise(program) // => ["10ms", "20ms", "40ms", "50ms"]
 * ```
 *
 * @since 0.1.0
 */
import type { Exit } from "effect"
import { Duration, Effect, Random, Schedule, Schema, SchemaTransformation } from "effect"
import type { Id } from "./Attempt.ts"
import { durationField, numberField, parseDuration, show, zeroOrBetween } from "./Issue.ts"
import type { Retryable } from "./Outcome.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * How much of a wait is left to chance: `none` of it, all of it (`full`), the second half (`equal`), or a range that
 * grows with the wait before (`decorrelated`).
 *
 * @category models
 * @since 0.1.0
 */
export type Jitter = "none" | "full" | "equal" | "decorrelated"

/**
 * How long a call waits before each retry: what the constructors of this module make.
 *
 * @category models
 * @since 0.1.0
 */
export type Backoff = Exponential | Constant | None

/**
 * Waits that grow by `factor` from `initial` to `max`: made by `exponential` and `decorrelated`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Exponential {
  readonly _tag: "Exponential"
  readonly initial: Duration.Duration
  readonly max: Duration.Duration
  readonly factor: number
  readonly jitter: Jitter
}

/**
 * The same wait each time, before jitter: made by `constant`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Constant {
  readonly _tag: "Constant"
  readonly delay: Duration.Duration
  readonly jitter: Exclude<Jitter, "decorrelated">
}

/**
 * No wait: the constant `none`.
 *
 * @category models
 * @since 0.1.0
 */
export interface None {
  readonly _tag: "None"
}

/**
 * What a `Schedule` used as a backoff sees of the attempt (or group of attempts) that has just failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Input {
  readonly exit: Exit.Exit<unknown, unknown>
  readonly outcome: Retryable
  readonly attempt: Id
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

const isWait = (d: Duration.Duration): boolean => Duration.isFinite(d) && !Duration.isNegative(d)

/** Reads the numbers of a constructor; throws one error that names every field that is none. */
const readWaits = <K extends string>(
  constructor: string,
  inputs: Readonly<Record<K, Duration.Input>>,
  factor: number = 1
): Record<K, Duration.Duration> => {
  const waits = {} as Record<K, Duration.Duration>
  const problems: Array<string> = []
  // Where the factor is no number, neither are the waits: they would all be zero, which is a hot loop.
  if (Number.isNaN(factor)) problems.push(`factor must be a number, got ${show(factor)}`)
  for (const name of Object.keys(inputs) as Array<K>) {
    const parsed = parseDuration(inputs[name])
    if (typeof parsed === "string") problems.push(`${name} ${parsed}`)
    else if (!isWait(parsed)) problems.push(`${name} must be finite and not negative, got ${Duration.format(parsed)}`)
    else waits[name] = parsed
  }
  if (problems.length > 0) throw new RangeError(`Backoff.${constructor}: ${problems.join("; ")}`)
  return waits
}

/**
 * Waits that grow by a factor.
 *
 * **Details**
 *
 * `initial` is the wait before the first retry, `max` the longest one. `factor` is 2 and `jitter` is `"full"` unless
 * given (`factor` is 3 with jitter `"decorrelated"`). A policy accepts waits up to 30 seconds and factors from 1 to 10.
 *
 * Throws a `RangeError` that names every wait which is no finite duration of zero or more, and a factor that is `NaN`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const exponential = (options: {
  readonly initial: Duration.Input
  readonly max: Duration.Input
  readonly factor?: number | undefined
  readonly jitter?: Jitter | undefined
}): Backoff => {
  const jitter = options.jitter ?? "full"
  const factor = options.factor ?? (jitter === "decorrelated" ? 3 : 2)
  return {
    _tag: "Exponential",
    ...readWaits("exponential", { initial: options.initial, max: options.max }, factor),
    factor,
    jitter
  }
}

/**
 * The same wait each time.
 *
 * **Gotchas**
 *
 * Jitter is `"full"` unless given, as everywhere: the wait is then anything from zero to `delay`.
 *
 * Throws a `RangeError` for a delay that is no finite duration of zero or more.
 *
 * @category constructors
 * @since 0.1.0
 */
export const constant = (
  delay: Duration.Input,
  options?: { readonly jitter?: Exclude<Jitter, "decorrelated"> | undefined }
): Backoff => ({ _tag: "Constant", ...readWaits("constant", { delay }), jitter: options?.jitter ?? "full" })

/**
 * Each wait is random between `initial` and three times the wait before, up to `max`. Throws a `RangeError` as
 * `exponential` does.
 *
 * @category constructors
 * @since 0.1.0
 */
export const decorrelated = (options: {
  readonly initial: Duration.Input
  readonly max: Duration.Input
}): Backoff => exponential({ ...options, jitter: "decorrelated" })

/**
 * No wait at all, for a next attempt that goes somewhere else. What a server asks for is waited for all the same, exactly.
 *
 * @category constructors
 * @since 0.1.0
 */
export const none: Backoff = { _tag: "None" }

/**
 * Whether a value is a `Backoff`. A `Schedule` is none, though a policy takes one in its place.
 *
 * @category guards
 * @since 0.1.0
 */
export const isBackoff = (u: unknown): u is Backoff =>
  typeof u === "object" && u !== null && "_tag" in u &&
  (u._tag === "Exponential" || u._tag === "Constant" || u._tag === "None")

// -----------------------------------------------------------------------------
// schema
// -----------------------------------------------------------------------------

const jitters = ["none", "full", "equal", "decorrelated"] as const
const wait = Schema.Duration.pipe(Schema.check(zeroOrBetween("1 millis", "30 seconds")))
const waitFromInput = durationField("1 millis", "30 seconds")
const factor = numberField(1, 10)
const notBelowInitial = Schema.makeFilter<{ readonly initial: Duration.Duration; readonly max: Duration.Duration }>(
  ({ initial, max }) =>
    Duration.isLessThan(max, initial)
      ? {
        path: ["max"],
        issue: `must not be less than initial (${Duration.format(initial)}), got ${Duration.format(max)}`
      }
      : undefined
)

/**
 * A backoff within the limits of a policy: waits of 0 or from 1 millisecond to 30 seconds, factors from 1 to 10.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Backoff = Schema.Union([
  Schema.TaggedStruct("Exponential", {
    initial: wait,
    max: wait,
    factor,
    jitter: Schema.Literals(jitters)
  }).pipe(Schema.check(notBelowInitial)),
  Schema.TaggedStruct("Constant", { delay: wait, jitter: Schema.Literals(["none", "full", "equal"]) }),
  Schema.TaggedStruct("None", {})
])

const ExponentialJson = Schema.Struct({
  type: Schema.Literal("exponential"),
  initial: waitFromInput,
  max: waitFromInput,
  factor: Schema.optionalKey(factor),
  jitter: Schema.optionalKey(Schema.Literals(jitters))
}).pipe(Schema.check(notBelowInitial))

const ConstantJson = Schema.Struct({
  type: Schema.Literal("constant"),
  delay: waitFromInput,
  jitter: Schema.optionalKey(Schema.Literals(["none", "full", "equal"]))
})

const fromJson = (json: typeof ExponentialJson.Type | typeof ConstantJson.Type): typeof Backoff.Type =>
  (json.type === "exponential" ? exponential(json) : constant(json.delay, json)) as typeof Backoff.Type

const toJson = (backoff: Backoff): typeof ExponentialJson.Type | typeof ConstantJson.Type => {
  switch (backoff._tag) {
    case "Exponential": {
      const { _tag, ...rest } = backoff
      return { type: "exponential", ...rest }
    }
    case "Constant":
      return { type: "constant", delay: backoff.delay, jitter: backoff.jitter }
    case "None":
      return { type: "constant", delay: Duration.zero, jitter: "none" }
  }
}

/**
 * A backoff as it stands in a policy document: `{ "type": "exponential", "initial": "10 millis", "max": "250 millis" }`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const BackoffFromJson = Schema.Union([ExponentialJson, ConstantJson]).pipe(
  Schema.decodeTo(Backoff, SchemaTransformation.transform({ decode: fromJson, encode: toJson }))
)

/** @internal */
export const ScheduleOrBackoff = Schema.Union([
  Backoff,
  Schema.declare(
    (u: unknown): u is Schedule.Schedule<unknown, Input> => Schedule.isSchedule(u),
    { expected: "a backoff or a Schedule" }
  )
])

// -----------------------------------------------------------------------------
// delays
// -----------------------------------------------------------------------------

/** Whole milliseconds within bounds: a host has no finer timers, and whole waits meet a deadline exactly. */
const wholeMillis = (millis: number, min: number, max: number): number =>
  Math.min(max, Math.max(min, Math.ceil(millis)))

const jittered = (jitter: Exclude<Jitter, "decorrelated">, delay: number, random: () => number): number => {
  switch (jitter) {
    case "none":
      return delay
    case "full":
      return wholeMillis(delay * random(), 0, delay)
    case "equal":
      return wholeMillis(delay / 2 + (delay / 2) * random(), delay / 2, delay)
  }
}

const exponentialDelay = (
  backoff: Exponential,
  retry: number,
  previous: number,
  random: () => number,
  floor: number
): number => {
  const initial = Math.max(Duration.toMillis(backoff.initial), floor)
  const max = Math.max(Duration.toMillis(backoff.max), floor)
  if (backoff.jitter === "decorrelated") {
    // The wait before the first one is the initial wait, so that the first is spread as well.
    const upper = Math.max(initial, previous) * backoff.factor
    return wholeMillis(initial + (upper - initial) * random(), initial, max)
  }
  return jittered(backoff.jitter, Math.min(max, initial * backoff.factor ** retry), random)
}

/**
 * The wait before retry number `retry + 1`, in milliseconds. `previous` is the wait before (0 for none), `floor` raises
 * the curve where a server asked for less load.
 *
 * @internal
 */
export const delayMillis = (
  backoff: Backoff,
  retry: number,
  previous: number,
  random: () => number,
  floor: number
): number => {
  switch (backoff._tag) {
    case "None":
      return floor
    case "Constant":
      return jittered(backoff.jitter, Math.max(Duration.toMillis(backoff.delay), floor), random)
    case "Exponential":
      return exponentialDelay(backoff, retry, previous, random, floor)
  }
}

/**
 * Whether the author asked for exact waits: then nothing is added to what a server asks for either.
 *
 * @internal
 */
export const hasJitter = (backoff: Backoff): boolean => backoff._tag !== "None" && backoff.jitter !== "none"

/**
 * The same waits as a `Schedule` that never ends; its output is the wait.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toSchedule = (self: Backoff): Schedule.Schedule<Duration.Duration> =>
  Schedule.fromStep(Effect.sync(() => {
    let retry = 0
    let previous = 0
    return () =>
      Effect.withFiber((fiber) => {
        const random = fiber.getRef(Random.Random)
        previous = delayMillis(self, retry++, previous, () => random.nextDoubleUnsafe(), 0)
        const delay = Duration.millis(previous)
        return Effect.succeed<[Duration.Duration, Duration.Duration]>([delay, delay])
      })
  }))
