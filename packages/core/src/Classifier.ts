/**
 * What the exit of one attempt means: done, worth another attempt, final, or given up.
 *
 * **Details**
 *
 * A classifier is a pure function from an exit to an `Outcome`; `undefined` means that it has no opinion. A call asks its
 * own classifier first (the `classifier` option), then the one of its policy, then that of an adapter for a protocol (the
 * `protocol` option), then `typedFailures`, which always answers.
 * A classifier that throws makes the attempt NonRetryable with the reason `classifier_defect`: the caller gets the
 * attempt's own exit, and the defect is reported once for the key.
 *
 * **Example** (A classifier for two errors, the rest by default)
 *
 * ```ts
 * import { Classifier, Outcome } from "@rego/core"
 * import { Data, Exit } from "effect"
 *
 * class Unavailable extends Data.TaggedError("Unavailable")<{ readonly after: number }> {}
 * class NotFound extends Data.TaggedError("NotFound") {}
 *
 * const users = Classifier.byTag<Unavailable | NotFound>({
 *   Unavailable: (error) => Outcome.retryable({ reason: "unavailable", retryAfter: error.after }),
 *   NotFound: Outcome.nonRetryable({ reason: "not_found" })
 * })
 *
 * users(Exit.fail(new NotFound())) // => { _tag: "NonRetryable", reason: "not_found" }
 * users(Exit.succeed(1)) // => undefined
 * ```
 *
 * @since 0.1.0
 */
import type { Exit, Types } from "effect"
import { Cause, Context, Layer, Option } from "effect"
import { dual } from "effect/Function"
import * as Outcome from "./Outcome.ts"
import { isRegoError } from "./RegoError.ts"
import type { RegoError } from "./RegoError.ts"
import * as SqlOutcome from "./SqlOutcome.ts"
import { recordsOf } from "./Timeline.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * Blocks inference from this position but resolves when instantiated. The intrinsic `NoInfer` also blocks the inference
 * of a nested generic call (`byTag` inside the `classifier` option), so it cannot be used here.
 *
 * @internal
 */
export type Late<T> = [T][T extends any ? 0 : never]

/**
 * A pure function from the exit of one attempt to a verdict, or to `undefined` where it has no opinion.
 *
 * **Gotchas**
 *
 * It is asked for each attempt of each call, in any order: keep no state in it, and read no clock. One that throws
 * makes the attempt `NonRetryable` with the reason `classifier_defect`; the call returns the exit of the attempt all
 * the same.
 *
 * @category models
 * @since 0.1.0
 */
export interface Classifier<in A, in E> {
  (exit: Exit.Exit<A, E | RegoError>): Outcome.Outcome | undefined
}

/**
 * What an adapter for a protocol says of an exit on which the call site and the policy have no opinion.
 *
 * **Details**
 *
 * `nested` is the setting `retry.nested` of the policy. Where it is `"refuse"`, what a call inside has already retried is
 * not retried again. The call sees to that where a failure carries the timeline that tells so; only the adapter can for values,
 * and for failures that came through promises or callbacks.
 *
 * @category models
 * @since 0.1.0
 */
export interface Protocol<in A, in E> {
  (exit: Exit.Exit<A, E | RegoError>, nested: "allow" | "refuse"): Outcome.Outcome | undefined
}

/**
 * The type of a slot that takes any classifier: a policy, a registry.
 *
 * @category models
 * @since 0.1.0
 */
export type Any = Classifier<never, never>

/**
 * What `byTag` takes: for each tag of an error a verdict, or a function from the error to one.
 *
 * @category models
 * @since 0.1.0
 */
export type Cases<E> = {
  readonly [K in Types.Tags<E | RegoError>]?:
    | Outcome.Outcome
    | ((error: Types.ExtractTag<E | RegoError, K>) => Outcome.Outcome | undefined)
    | undefined
}

/**
 * The requirement of a policy layer whose policies name this classifier.
 *
 * @category models
 * @since 0.1.0
 */
export interface Named<in out Name extends string> {
  readonly "~@rego/core/Classifier": Name
}

/**
 * One requirement for each name, so that a layer of several satisfies policies that use one of them.
 *
 * @internal
 */
export type AllNamed<Names extends string> = { readonly [Name in Names]: Named<Name> }[Names]

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * A classifier from a function: for successes as well as failures, where the cases of `byTag` are not enough.
 *
 * **Gotchas**
 *
 * The exit may be anything that an attempt can end with: a defect, an interruption, a `RegoError`. `findFailure` gives the
 * error that is left to a classifier of errors.
 *
 * **Example** (A success that is worth another attempt)
 *
 * ```ts
 * import { Classifier, Outcome } from "@rego/core"
 * import { Exit } from "effect"
 *
 * const byStatus = Classifier.make<{ readonly status: number }>((exit) =>
 *   exit._tag === "Success" && exit.value.status === 503 ? Outcome.retryable({ reason: "http_503" }) : undefined
 * )
 *
 * byStatus(Exit.succeed({ status: 503 }))?._tag // => "Retryable"
 * byStatus(Exit.succeed({ status: 200 })) // => undefined
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A = unknown, E = unknown>(
  f: (exit: Exit.Exit<A, E | RegoError>) => Outcome.Outcome | undefined
): Classifier<A, E> => f

const tagOf = (error: unknown): unknown =>
  typeof error === "object" && error !== null && "_tag" in error ? error._tag : undefined

/**
 * A classifier of typed failures by their `_tag`; no opinion on successes, defects and tags that are not listed. The head of
 * this page has an example.
 *
 * @category constructors
 * @since 0.1.0
 */
export const byTag = <E, A = unknown>(cases: Cases<E>): Classifier<A, E> => (exit) => {
  const error = firstFailure(exit)
  if (Option.isNone(error)) return undefined
  const tag = tagOf(error.value)
  const found = typeof tag === "string" && Object.hasOwn(cases, tag)
    ? (cases as Record<string, Outcome.Outcome | ((error: unknown) => Outcome.Outcome | undefined) | undefined>)[tag]
    : undefined
  return typeof found === "function" ? found(error.value) : found
}

/**
 * A classifier of the typed failures that satisfy a predicate; they are Retryable, with the reason `predicate`, unless an
 * outcome is given.
 *
 * **Details**
 *
 * No opinion on successes, defects, interruptions, and failures with a `RegoError`: the predicate is not asked then.
 *
 * **Example** (A final failure)
 *
 * ```ts
 * import { Classifier, Outcome } from "@rego/core"
 * import { Exit } from "effect"
 *
 * const final = Outcome.nonRetryable({ reason: "not_found" })
 * const notFound = Classifier.fromPredicate<string>((error) => error === "404", final)
 *
 * notFound(Exit.fail("404")) // => final
 * notFound(Exit.fail("503")) // => undefined
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromPredicate = <E, A = unknown>(
  predicate: (error: E) => boolean,
  outcome: Outcome.Outcome = Outcome.retryable({ reason: "predicate" })
): Classifier<A, E> =>
(exit) => {
  const error = firstFailure(exit)
  return Option.isSome(error) && !isRegoError(error.value) && predicate(error.value) ? outcome : undefined
}

/**
 * No opinion on anything.
 *
 * @category constructors
 * @since 0.1.0
 */
export const never: Classifier<unknown, unknown> = () => undefined

const firstFailure = <A, E>(exit: Exit.Exit<A, E>): Option.Option<E> =>
  exit._tag === "Success" || Cause.hasDies(exit.cause) ? Option.none() : Cause.findErrorOption(exit.cause)

// -----------------------------------------------------------------------------
// the last of the chain
// -----------------------------------------------------------------------------

/** Reasons of verdicts that say nothing about the dependency: they pay nothing into a budget. */
const notAnAnswer: ReadonlySet<string> = new Set([
  "defect",
  "classifier_defect",
  "rejected_locally",
  "retried_below",
  "nested_stop"
])

/**
 * Whether the dependency itself answered.
 *
 * @internal
 */
export const isAnswer = (outcome: Outcome.Outcome): boolean =>
  outcome._tag === "Success" || (outcome._tag === "NonRetryable" && !notAnAnswer.has(outcome.reason))

const interrupted = Outcome.abort({ reason: "interrupted" })
const defect = Outcome.nonRetryable({ reason: "defect" })
const nestedStop = Outcome.nonRetryable({ reason: "nested_stop" })
const retriedBelow = Outcome.nonRetryable({ reason: "retried_below" })
const rejectedLocally = Outcome.nonRetryable({ reason: "rejected_locally" })
const attemptTimeout = Outcome.retryable({ reason: "attempt_timeout" })
const typedFailure = Outcome.retryable({ reason: "typed_failure" })

const localRejections: ReadonlySet<unknown> = new Set(["CircuitBreakerError", "RateLimiterError"])

/**
 * The verdict on an exit that nobody else judged. `ownTimeout`: the exit was made by the call itself when its per-attempt
 * timeout passed, and so is no answer of a call inside.
 *
 * @internal
 */
export const classifyDefault = (
  exit: Exit.Exit<unknown, unknown>,
  ownTimeout: boolean,
  nested: "allow" | "refuse"
): Outcome.Outcome => {
  if (exit._tag === "Success") return Outcome.success
  if (ownTimeout) return attemptTimeout
  if (Cause.hasDies(exit.cause)) return defect
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isNone(error)) return interrupted
  if (isRegoError(error.value)) return nestedStop
  if (localRejections.has(tagOf(error.value))) return rejectedLocally
  return nested === "refuse" && wasRetried(exit.cause) ? retriedBelow : typedFailure
}

/**
 * Whether a call with retries of its own has given up on this failure, so that nobody around it is to ask again.
 *
 * **When to use**
 *
 * Where a failure leaves Effect. What tells of its calls is on the cause, and lost with it: an adapter that hands errors on to
 * promises or callbacks remembers here which ones were retried.
 *
 * @category getters
 * @since 0.1.0
 */
export const wasRetried = (cause: Cause.Cause<unknown>): boolean =>
  recordsOf(cause).some((record) => record.policy.retries)

/** What was called Retryable although a call inside has given up on it. */
const wasRetriedBelow = (outcome: Outcome.Outcome | undefined, exit: Exit.Exit<unknown, unknown>): boolean =>
  outcome?._tag === "Retryable" && exit._tag === "Failure" && wasRetried(exit.cause)

/**
 * What an adapter calls Retryable is not, where a call inside has already given up on that failure: only one layer retries.
 *
 * @internal
 */
export const unlessRetriedBelow = (
  outcome: Outcome.Outcome | undefined,
  exit: Exit.Exit<unknown, unknown>,
  nested: "allow" | "refuse"
): Outcome.Outcome | undefined => nested === "refuse" && wasRetriedBelow(outcome, exit) ? retriedBelow : outcome

/** Our own timeout has not been through a call yet, so its cause carries no timeline. */
const isOwnTimeout = (exit: Exit.Exit<unknown, unknown>): boolean => {
  const error = firstFailure(exit)
  return exit._tag === "Failure" && Option.isSome(error) && isRegoError(error.value) &&
    error.value.reason._tag === "AttemptTimedOut" && recordsOf(exit.cause).length === 0
}

/**
 * The classifier that ends every chain.
 *
 * **Details**
 *
 * | exit | outcome |
 * | --- | --- |
 * | success | Success |
 * | typed failure | Retryable `typed_failure`, `executed: "maybe"` |
 * | the per-attempt timeout of this call | Retryable `attempt_timeout` |
 * | a typed failure that a nested call has already retried | NonRetryable `retried_below` |
 * | a `RegoError` of a nested call | NonRetryable `nested_stop` |
 * | an error of Effect's `CircuitBreaker` or `RateLimiter` | NonRetryable `rejected_locally` |
 * | a defect, alone or with others | NonRetryable `defect` |
 * | interruption only | Abort `interrupted` |
 *
 * @category constructors
 * @since 0.1.0
 */
export const typedFailures: Classifier<unknown, unknown> = (exit) => classifyDefault(exit, isOwnTimeout(exit), "refuse")

// -----------------------------------------------------------------------------
// for those who write a classifier of errors
// -----------------------------------------------------------------------------

/**
 * The failure that is left to a classifier of errors: `None` for what the rules of a call decide, whatever the error says.
 *
 * **Details**
 *
 * The rules decide on successes, defects and interruptions, on the timeout of the attempt, on a `RegoError` of a call inside,
 * and on what Effect's `CircuitBreaker` or `RateLimiter` has rejected.
 *
 * **Example** (A classifier that knows one error)
 *
 * ```ts
 * import { Classifier, Outcome } from "@rego/core"
 * import { Exit, Option } from "effect"
 *
 * const busy = Classifier.make((exit) =>
 *   Option.getOrUndefined(Classifier.findFailure(exit)) === "busy" ? Outcome.retryable({ reason: "busy" }) : undefined
 * )
 *
 * busy(Exit.fail("busy")) // => Outcome.retryable({ reason: "busy" })
 * busy(Exit.die("busy")) // => undefined
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const findFailure = <E>(exit: Exit.Exit<unknown, E>): Option.Option<Exclude<E, RegoError>> => {
  if (exit._tag === "Success" || classifyDefault(exit, isOwnTimeout(exit), "allow") !== typedFailure) {
    return Option.none()
  }
  return Cause.findErrorOption(exit.cause) as Option.Option<Exclude<E, RegoError>>
}

/** Deeper chains are made by mistake, or on purpose. */
const maxCauses = 16

/** Node tries several addresses of a name, and collects why each of them failed. */
const madeFrom = (error: object): ReadonlyArray<unknown> => [
  (error as { readonly cause?: unknown }).cause,
  ...(error instanceof AggregateError ? error.errors : [])
]

/**
 * An error and those that it was made from, nearest first: its `cause`, the `cause` of that, and those that an
 * `AggregateError` collects. At most 16, each once; none for an error that is no object.
 *
 * **When to use**
 *
 * In a classifier of errors that reach it wrapped in others.
 *
 * **Example** (What a program made of a refused connection)
 *
 * ```ts
 * import { Classifier } from "@rego/core"
 *
 * const refused = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })
 * const error = new Error("no users", { cause: new TypeError("fetch failed", { cause: refused }) })
 *
 * Classifier.causesOf(error).some((cause) => "code" in cause && cause.code === "ECONNREFUSED") // => true
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const causesOf = (error: unknown): ReadonlyArray<object> => {
  const found = new Set<object>()
  const queue = [error]
  while (queue.length > 0 && found.size < maxCauses) {
    const next = queue.shift()
    if (typeof next !== "object" || next === null || found.has(next)) continue
    found.add(next)
    queue.push(...madeFrom(next))
  }
  return [...found]
}

// -----------------------------------------------------------------------------
// protocols
// -----------------------------------------------------------------------------

/**
 * What an adapter says of its protocol, as a classifier for policies and call sites.
 *
 * **Details**
 *
 * A classifier of the user's decides, also on what a call inside has already retried. This one leaves such a failure to the
 * end of the chain, where `retry.nested` of the policy counts, unless it is an answer that no attempt would change.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromProtocol = <A, E>(protocol: Protocol<A, E>): Classifier<A, E> => (exit) => {
  const outcome = protocol(exit, "refuse")
  return wasRetriedBelow(outcome, exit) ? undefined : outcome
}

/**
 * What an exit failed with. `withTransaction` makes defects of a failure when its `ROLLBACK` fails as well, which it does
 * whenever the connection was lost: these are looked at too.
 */
const sqlFailure = (cause: Cause.Cause<unknown>): Option.Option<unknown> => {
  if (!Cause.hasDies(cause)) return Cause.findErrorOption(cause)
  const errors = cause.reasons.map((reason) =>
    Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : undefined
  )
  return errors.every((error) => SqlOutcome.isConnectionError(causesOf(error))) ? Option.some(errors[0]) : Option.none()
}

/**
 * A classifier of the errors of `effect/sql`, alone or as the `cause` of an error of yours; no opinion on others.
 *
 * **Details**
 *
 * | `SqlError` | outcome | `executed` |
 * | --- | --- | --- |
 * | serialization failure, deadlock, lock timeout, statement timeout | Retryable | no: the database undid it |
 * | no connection could be had, the server takes no more, it is starting | Retryable | no: nothing was sent |
 * | the server has ended an idle session | Retryable | no: nothing ran |
 * | the connection was lost, the server is shutting down, it crashed | Retryable | maybe: a `COMMIT` may have arrived |
 * | unique violation, constraint, syntax, authentication, authorization | NonRetryable | |
 * | anything else | what its `isRetryable` says | maybe |
 *
 * A failure that a call inside has already retried is left to the end of the chain (`retried_below`). A connection that
 * is lost inside `withTransaction` reaches the caller as a defect, because the rollback fails too; it is known here.
 *
 * **Gotchas**
 *
 * The verdict is about the statement or transaction that failed. Make that the effect of the call: one statement, or one
 * `withTransaction`, with `Rego.resilient` outside.
 *
 * **Example** (A deadlock, and a duplicate)
 *
 * ```ts
 * import { Classifier, Outcome } from "@rego/core"
 * import { Exit } from "effect"
 * import { SqlError } from "effect/sql"
 *
 * const cause = Object.assign(new Error("deadlock detected"), { code: "40P01" })
 * const deadlock = new SqlError.SqlError({ reason: new SqlError.DeadlockError({ cause }) })
 * const attributes = { "db.response.status_code": "40P01" }
 * Classifier.sql(Exit.fail(deadlock)) // => Outcome.retryable({ reason: "sql_deadlock", executed: "no", attributes })
 *
 * const reason = new SqlError.UniqueViolation({ cause: new Error("duplicate key"), constraint: "users_email_key" })
 * const duplicate = new SqlError.SqlError({ reason })
 * Classifier.sql(Exit.fail(duplicate)) // => Outcome.nonRetryable({ reason: "sql_unique_violation" })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const sql: Classifier<unknown, unknown> = fromProtocol((exit) => {
  const error = exit._tag === "Success" ? Option.none() : sqlFailure(exit.cause)
  return Option.isNone(error) ? undefined : SqlOutcome.ofCauses(causesOf(error.value))
})

// -----------------------------------------------------------------------------
// combinators
// -----------------------------------------------------------------------------

/**
 * Asks the second classifier where the first has no opinion. Associative, with `never` as its identity.
 *
 * @category combinators
 * @since 0.1.0
 */
export const orElse: {
  <A, E>(that: Classifier<Late<A>, Late<E>>): (self: Classifier<A, E>) => Classifier<A, E>
  <A, E>(self: Classifier<Late<A>, Late<E>>, that: Classifier<Late<A>, Late<E>>): Classifier<A, E>
  <A, E>(self: Classifier<A, E>, that: Classifier<A, E>): Classifier<A, E>
} = dual(
  2,
  <A, E>(self: Classifier<A, E>, that: Classifier<A, E>): Classifier<A, E> => (exit) => self(exit) ?? that(exit)
)

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/** One context key for each name, so that layers of several registries merge. */
const registryPrefix = "@rego/core/Classifier/"

/**
 * Registers classifiers under names that policies can use. Provide it *to* the policy layer.
 *
 * **Example** (A classifier by its name)
 *
 * ```ts
 * import { Classifier, Outcome, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Layer } from "effect"
 *
 * const declined = Classifier.fromPredicate<string>(() => true, Outcome.nonRetryable({ reason: "declined" }))
 *
 * const Policies = PolicyLayer.make({
 *   policies: { "payments.*": { retry: {}, timeout: { overall: "1 second" }, classifier: "payments" } }
 * }).pipe(Layer.provide(Classifier.layer({ payments: declined })))
 *
 * let attempts = 0
 * const charge = Effect.suspend(() => Effect.fail(`declined ${++attempts}`)).pipe(Rego.resilient("payments.Charge"))
 * await Effect.runPromise(charge.pipe(Effect.flip, Effect.provide(Policies))) // => "declined 1"
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const C extends Readonly<Record<string, Any>>>(
  classifiers: C
): Layer.Layer<AllNamed<keyof C & string>> => {
  const services = new Map<string, Any>(
    Object.entries(classifiers).map(([name, classifier]) => [`${registryPrefix}${name}`, classifier])
  )
  return Layer.succeedContext(Context.makeUnsafe<AllNamed<keyof C & string>>(services))
}

/** @internal */
export const findNamed = (context: Context.Context<never>, name: string): Any | undefined =>
  context.mapUnsafe.get(`${registryPrefix}${name}`)
