/**
 * What a key gets: retries, timeouts, hedges, a budget, a classifier.
 *
 * **Details**
 *
 * A section that is absent is inherited (from a wildcard entry, then from the layer's `defaults`), and off when nothing is
 * inherited; the literal `"off"` switches an inherited section off. Fields of a section that is present fall back to the
 * defaults below. There are no other flags.
 *
 * | field | default | limits |
 * | --- | --- | --- |
 * | `retry.maxAttempts` | 3, the first one counted | 1 to 10 |
 * | `retry.backoff` | exponential, 10 ms to 250 ms, factor 2, full jitter | waits 0 to 30 s, factor 1 to 10 |
 * | `retry.maxRetryAfter` | 10 s | 0 to 5 min |
 * | `retry.nested` | `"refuse"` | |
 * | `timeout.perAttempt`, `timeout.overall` | none | 1 ms to 24 h |
 * | `hedge.trigger` | required | delays 1 ms to 24 h, quantiles 0.5 to 0.9999 |
 * | `hedge.maxHedges` | 1 | 1 to 3, attempts × (1 + hedges) at most 12 |
 * | `hedge.maxFailing` | 0.05 | 0 to 1 |
 * | `hedge.precise` | `false`: latency within 3 % | `true`: within 1 % |
 * | `hedge.budget` | none besides `budget` | one that does not gate first attempts |
 * | `budget` | the budget `default` of the key | costs 1 to 100 |
 * | `classifier` | none of its own | |
 * | `idempotent` | unstated | |
 *
 * **Example** (A policy, and one that is refused)
 *
 * ```ts
 * import { Backoff, Policy } from "@rego/core"
 *
 * const policy = Policy.make({
 *   retry: { maxAttempts: 4, backoff: Backoff.exponential({ initial: "10 millis", max: "250 millis" }) },
 *   timeout: { perAttempt: "200 millis", overall: "1 second" },
 *   idempotent: true
 * })
 *
 * const refused = () => {
 *   try {
 *     return Policy.make({ retry: { maxAttempts: 100 }, timeout: { overall: 0 } })
 *   } catch (error) {
 *     return error instanceof Policy.PolicyInvalid ? error.message.split("\n") : error
 *   }
 * }
 *
 * Policy.isPolicy(policy) // => true
 * refused() // => ["retry.maxAttempts: must be an integer between 1 and 10, got 100", "timeout.overall: must be between 1ms and 1d, got 0"]
 * ```
 *
 * @since 0.1.0
 */
import type { Duration, Schedule } from "effect"
import { Data, Schema } from "effect"
import * as Backoff from "./Backoff.ts"
import type * as Budget from "./Budget.ts"
import type * as Classifier from "./Classifier.ts"
import * as Hedge from "./Hedge.ts"
import { durationField, formatAll, fromSchemaError, integerField, numberField, parseOptions } from "./Issue.ts"
import type { Issue } from "./Issue.ts"

export type {
  /**
   * What is wrong with an input: its path, and the rule and the value in one sentence.
   *
   * @category errors
   * @since 0.1.0
   */
  Issue
} from "./Issue.ts"

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/**
 * Something given at boot was refused. Holds every issue, each with its path, the rule and the value.
 *
 * @category errors
 * @since 0.1.0
 */
export class PolicyInvalid extends Data.TaggedError("PolicyInvalid")<{
  readonly issues: ReadonlyArray<Issue>
}> {
  override get message(): string {
    return formatAll(this.issues)
  }
}

// -----------------------------------------------------------------------------
// input
// -----------------------------------------------------------------------------

/**
 * Retries: without this section a call makes one group of attempts. `{}` has all defaults.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryInput {
  /** the first attempt counts: 3 means two retries. 1 to 10, default 3 */
  readonly maxAttempts?: number | undefined
  /**
   * The wait before each retry: a `Backoff` with waits up to 30 seconds, or any `Schedule` that sees `Backoff.Input` and
   * needs no service. Default: exponential, 10 ms to 250 ms, factor 2, full jitter
   */
  readonly backoff?: Backoff.Backoff | Schedule.Schedule<unknown, Backoff.Input> | undefined
  /** a server that asks for a longer wait ends the call; up to 5 minutes, default 10 seconds */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** whether a failure that a nested call has already retried is retried again; `"refuse"` unless given */
  readonly nested?: "allow" | "refuse" | undefined
}

/**
 * Timeouts, 1 millisecond to 24 hours each; what is left out does not bound anything.
 *
 * @category models
 * @since 0.1.0
 */
export interface TimeoutInput {
  /** how long one attempt may take; an attempt that it cuts off is tried again only where `idempotent` is `true` */
  readonly perAttempt?: Duration.Input | undefined
  /** how long the call may take, with all attempts, waits and the look-up of its policy */
  readonly overall?: Duration.Input | undefined
}

/**
 * Hedges: when a second request is sent although the first one has not failed, and what holds it back.
 *
 * @category models
 * @since 0.1.0
 */
export interface HedgeInput<T extends string = string> {
  /** a `Hedge.Trigger`, any `Schedule` that sees `Hedge.State`, or the name of a registered one */
  readonly trigger: Hedge.Trigger | Schedule.Schedule<unknown, Hedge.State> | T
  /** extra attempts beside the first of each group, 1 to 3. Default 1; attempts × (1 + hedges) is at most 12 */
  readonly maxHedges?: number | undefined
  /** no hedges while more than this share of the key's attempts of the trailing 10 seconds failed Retryable. Default 0.05 */
  readonly maxFailing?: number | undefined
  /** latency within 1 % instead of 3 %, for three times the memory. Default `false` */
  readonly precise?: boolean | undefined
  /** a further budget that must grant each hedge, besides the one of the policy */
  readonly budget?: string | undefined
}

/**
 * The budget for extra attempts: a name, or a name and what a retry and a hedge cost, 1 to 100 tokens each. The cost
 * is 1 unless given.
 *
 * @category models
 * @since 0.1.0
 */
export type BudgetInput<B extends string = string> =
  | B
  | { readonly name: B; readonly retryCost?: number | undefined; readonly hedgeCost?: number | undefined }

/**
 * A policy as it is written. What is left out is inherited, and off where nothing is inherited; `"off"` switches an
 * inherited section off. Only the budget is never off: without a name it is `default`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Input<B extends string = string, C extends string = string, T extends string = string> {
  /** whether and how a call tries again; the default is not to */
  readonly retry?: RetryInput | "off" | undefined
  /** how long an attempt and a call may take; there is no default */
  readonly timeout?: TimeoutInput | "off" | undefined
  /** hedges start only where `idempotent` is true */
  readonly hedge?: HedgeInput<T> | "off" | undefined
  /** which budget the retries and hedges of the key draw on; `default` unless named */
  readonly budget?: BudgetInput<B> | undefined
  /** asked after the classifier of the call site: a function, or the name of one that `Classifier.layer` registered */
  readonly classifier?: Classifier.Any | C | undefined
  /** `true`, `false` or unstated: which failures may be retried is a table in `docs/idempotency.md` */
  readonly idempotent?: boolean | undefined
}

/**
 * Names become requirements of the layer that uses them; the built-in ones and what is not a literal do not.
 *
 * @category models
 * @since 0.1.0
 */
export type Names<B extends string, C extends string, T extends string> =
  | (B extends "default" | "unlimited" | "none" ? never : string extends B ? never : Budget.Named<B>)
  | (C extends string ? string extends C ? never : Classifier.Named<C> : never)
  | (T extends string ? string extends T ? never : Hedge.Named<T> : never)

// -----------------------------------------------------------------------------
// schemas
// -----------------------------------------------------------------------------

const attempts = integerField(1, 10)
const retryAfter = durationField(0, "5 minutes")
const timeLimit = durationField("1 millis", "1 day")
const hedges = integerField(1, 3)
const failing = numberField(0, 1)
const cost = numberField(1, 100)
const off = Schema.Literal("off")
const nonEmpty = Schema.String.pipe(Schema.check(Schema.isMinLength(1)))

/** One definition of the fields for code and for documents, which differ in how a backoff and a classifier are written. */
const sectionsWith = <B extends Schema.Constraint, T extends Schema.Constraint, C extends Schema.Constraint>(
  backoff: B,
  trigger: T,
  classifier: C
) => ({
  retry: Schema.optional(Schema.Union([
    off,
    Schema.Struct({
      maxAttempts: Schema.optional(attempts),
      backoff: Schema.optional(backoff),
      maxRetryAfter: Schema.optional(retryAfter),
      nested: Schema.optional(Schema.Literals(["allow", "refuse"]))
    })
  ])),
  timeout: Schema.optional(Schema.Union([
    off,
    Schema.Struct({ perAttempt: Schema.optional(timeLimit), overall: Schema.optional(timeLimit) })
  ])),
  hedge: Schema.optional(Schema.Union([
    off,
    Schema.Struct({
      trigger,
      maxHedges: Schema.optional(hedges),
      maxFailing: Schema.optional(failing),
      precise: Schema.optional(Schema.Boolean),
      budget: Schema.optional(nonEmpty)
    })
  ])),
  budget: Schema.optional(Schema.Union([
    nonEmpty,
    Schema.Struct({ name: nonEmpty, retryCost: Schema.optional(cost), hedgeCost: Schema.optional(cost) })
  ])),
  classifier: Schema.optional(classifier),
  idempotent: Schema.optional(Schema.Boolean)
})

const ClassifierFunction = Schema.declare((u: unknown): u is Classifier.Any => typeof u === "function", {
  expected: "a classifier"
})

const InCode = Schema.Struct(sectionsWith(
  Backoff.ScheduleOrBackoff,
  Schema.Union([nonEmpty, Hedge.ScheduleOrTrigger]),
  Schema.Union([nonEmpty, ClassifierFunction])
))

/**
 * A policy as it stands in a document: data only, so that it has a JSON form.
 *
 * @internal
 */
export const InDocument = Schema.Struct(
  sectionsWith(Backoff.BackoffFromJson, Schema.Union([nonEmpty, Hedge.TriggerFromJson]), nonEmpty)
)

/**
 * The sections of a policy, checked, not yet merged with what they inherit.
 *
 * @internal
 */
export type Sections = typeof InCode.Type

const decodeInCode = Schema.decodeUnknownResult(InCode, parseOptions)

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

const TypeId = "~@rego/core/Policy"

/**
 * A checked policy. `N` are the names it uses, which the layer that takes it will require.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy<out N = never> {
  readonly [TypeId]: { readonly names: () => N }
  /** what was given, checked; absent sections are inherited */
  readonly sections: Sections
}

/** @internal */
export const fromSections = (sections: Sections): Policy<any> => ({
  [TypeId]: { names: () => undefined as never },
  sections
})

/**
 * Whether a value was made by `make`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPolicy = (u: unknown): u is Policy<unknown> => typeof u === "object" && u !== null && TypeId in u

/** @internal */
export const check = (
  input: unknown,
  path: ReadonlyArray<PropertyKey>,
  issues: Array<Issue>
): Sections | undefined => {
  if (isPolicy(input)) return input.sections
  const decoded = decodeInCode(input)
  if (decoded._tag === "Success") return decoded.success
  for (const issue of fromSchemaError(decoded.failure)) issues.push({ ...issue, path: [...path, ...issue.path] })
  return undefined
}

/**
 * Makes a policy. Throws `PolicyInvalid` with every issue when a value is outside the limits or a field is not known.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <
  const B extends string = never,
  const C extends string = never,
  const T extends string = never
>(policy: Input<B, C, T>): Policy<Names<B, C, T>> => {
  const issues: Array<Issue> = []
  const sections = check(policy, [], issues)
  if (sections === undefined) throw new PolicyInvalid({ issues })
  return fromSections(sections)
}

// -----------------------------------------------------------------------------
// merging
// -----------------------------------------------------------------------------

const mergeSection = <S extends object>(
  base: S | "off" | undefined,
  over: S | "off" | undefined
): S | "off" | undefined => {
  if (over === undefined) return base
  if (over === "off" || base === undefined || base === "off") return over
  const merged = { ...base } as Record<string, unknown>
  for (const [field, value] of Object.entries(over)) if (value !== undefined) merged[field] = value
  return merged as S
}

/**
 * Lays one policy over another: fields merge inside a section, a tagged value (backoff, budget) is replaced whole, `"off"`
 * removes an inherited section, and an absent one changes nothing.
 *
 * @internal
 */
export const merge = (base: Sections, over: Sections): Sections => ({
  retry: mergeSection(base.retry, over.retry),
  timeout: mergeSection(base.timeout, over.timeout),
  hedge: mergeSection(base.hedge, over.hedge),
  budget: over.budget ?? base.budget,
  classifier: over.classifier ?? base.classifier,
  idempotent: over.idempotent ?? base.idempotent
})

// -----------------------------------------------------------------------------
// presets
// -----------------------------------------------------------------------------

/** @internal */
export const defaultBackoff: Backoff.Backoff = Backoff.exponential({ initial: "10 millis", max: "250 millis" })

/**
 * Three attempts, waits from 10 ms to 250 ms with full jitter, no timeouts.
 *
 * @category presets
 * @since 0.1.0
 */
export const defaults: Policy = make({ retry: {} })

/**
 * A request to a service: three attempts, waits from 100 ms to 2 s, 10 s for an attempt, 30 s in all.
 *
 * @category presets
 * @since 0.1.0
 */
export const http: Policy = make({
  retry: { maxAttempts: 3, backoff: Backoff.exponential({ initial: "100 millis", max: "2 seconds" }) },
  timeout: { perAttempt: "10 seconds", overall: "30 seconds" }
})

/**
 * A statement to a database: three attempts, waits from 100 ms to 5 s with equal jitter, 30 s for an attempt, 60 s in all.
 *
 * @category presets
 * @since 0.1.0
 */
export const database: Policy = make({
  retry: { maxAttempts: 3, backoff: Backoff.exponential({ initial: "100 millis", max: "5 seconds", jitter: "equal" }) },
  timeout: { perAttempt: "30 seconds", overall: "60 seconds" }
})

/**
 * Work that nobody waits for: five attempts, waits from 1 s to 30 s, five minutes in all.
 *
 * @category presets
 * @since 0.1.0
 */
export const backgroundJob: Policy = make({
  retry: { maxAttempts: 5, backoff: Backoff.exponential({ initial: "1 second", max: "30 seconds" }) },
  timeout: { overall: "5 minutes" }
})

/**
 * A call on the path of a page: two attempts, waits from 10 ms to 50 ms, 500 ms for an attempt, one second in all, and a
 * hedge at the 95th percentile (after 100 ms until there are samples) where `idempotent` is true.
 *
 * @category presets
 * @since 0.1.0
 */
export const lowLatency: Policy = make({
  retry: { maxAttempts: 2, backoff: Backoff.exponential({ initial: "10 millis", max: "50 millis", jitter: "equal" }) },
  timeout: { perAttempt: "500 millis", overall: "1 second" },
  hedge: { trigger: Hedge.quantile(0.95, { fallback: "100 millis" }) }
})

/**
 * A request to a language model: three attempts, waits from 1 s to 20 s, servers may ask for up to a minute, two minutes
 * for an attempt, five in all.
 *
 * @category presets
 * @since 0.1.0
 */
export const llm: Policy = make({
  retry: {
    maxAttempts: 3,
    backoff: Backoff.exponential({ initial: "1 second", max: "20 seconds" }),
    maxRetryAfter: "1 minute"
  },
  timeout: { perAttempt: "2 minutes", overall: "5 minutes" }
})
