/**
 * An allowance for extra attempts: retries and hedges together.
 *
 * **When to use**
 *
 * Every policy with retries has one: the budget `default` unless the policy names another. Retries help against failures
 * that are rare. When most calls fail they multiply the load of a dependency that is already in trouble, so a budget lets
 * through only a share of what the dependency still answers.
 *
 * **Details**
 *
 * A constructor is a recipe (`Budget.Make`): it holds no state. `Budget.layer` builds the state, once for each key or once
 * for all, so two layers never share any. A budget is asked for each extra attempt, before the backoff, never for the
 * first attempt of a call (unless it has `admit`). What it grants is a permit, which is settled exactly once: `"used"` when
 * the attempt's fiber has ended, `"unused"` when the attempt is sure never to start, and then the grant is given back.
 *
 * **Example** (A budget of one's own: every other one)
 *
 * ```ts
 * import { Budget, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Layer } from "effect"
 *
 * const everyOther: Budget.Make = Effect.sync(() => {
 *   let asked = 0
 *   return {
 *     tryAcquire: () =>
 *       ++asked % 2 === 1
 *         ? { _tag: "Granted", permit: { settle: (use) => { if (use === "unused") asked-- } } }
 *         : { _tag: "Denied", reason: "every_other" },
 *     state: Effect.sync(() => ({ balance: asked % 2 === 0 ? 1 : 0 }))
 *   }
 * })
 *
 * let attempts = 0
 * const failing = Effect.suspend(() => Effect.fail(`failure ${++attempts}`))
 *
 * const Policies = PolicyLayer.make({
 *   policies: { "users.Get": { retry: { maxAttempts: 5 }, budget: "own" } }
 * }).pipe(Layer.provide(Budget.layer("own", everyOther)))
 *
 * const program = failing.pipe(Rego.resilient("users.Get"), Effect.flip, Effect.provide(Policies))
 *
 * await Effect.runPromise(program) // => "failure 2"
 * ```
 *
 * @since 0.1.0
 */
import type { Exit, Scope } from "effect"
import { Cause, Context, Duration, Effect, Fiber, Layer, Schema } from "effect"
import { AdaptiveThrottle } from "./AdaptiveThrottle.ts"
import type { ThrottleNumbers as Throttle } from "./AdaptiveThrottle.ts"
import type { Id } from "./Attempt.ts"
import { admitOf, CombinedBudget } from "./CombinedBudget.ts"
import { ConcurrencyBudget } from "./ConcurrencyBudget.ts"
import type { Numbers as Bounds } from "./ConcurrencyBudget.ts"
import * as Issue from "./Issue.ts"
import { durationField, integerField, numberField } from "./Issue.ts"
import type { Outcome } from "./Outcome.ts"
import { spent } from "./Permit.ts"
import type { PolicyKey } from "./PolicyKey.ts"
import { RatioBudget } from "./RatioBudget.ts"
import { SuccessTokens } from "./SuccessTokens.ts"
import { TokenBucket } from "./TokenBucket.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * What a budget is asked: may this call make an extra attempt?
 *
 * @category models
 * @since 0.1.0
 */
export interface Request {
  readonly key: PolicyKey
  readonly kind: "retry" | "hedge"
  /** tokens that the attempt takes: `retryCost` or `hedgeCost` of the policy, 1 to 100 */
  readonly cost: number
  /** the attempt that would start */
  readonly attempt: Id
  /** milliseconds on the monotonic line of the call's clock; a budget reads no clock of its own */
  readonly now: number
  /** Effect's `Random` of the call, between 0 and 1 */
  readonly random: () => number
}

/**
 * What a budget has granted for one extra attempt, until it is settled.
 *
 * **Details**
 *
 * A call settles it once: `"used"` when the fiber of the attempt has ended, `"unused"` when the attempt is sure never
 * to start; then the grant must be given back.
 *
 * **Gotchas**
 *
 * `settle` must do nothing when it is called again, and must not throw.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permit {
  readonly settle: (use: "used" | "unused") => void
}

/**
 * The answer of a budget. A reason that is not of the closed list of this library is `other` in timelines and metrics;
 * timelines have the word itself in `detail`.
 *
 * @category models
 * @since 0.1.0
 */
export type Decision =
  | { readonly _tag: "Granted"; readonly permit: Permit }
  | {
    readonly _tag: "Denied"
    readonly reason: string
    /** how long until asking again can help, where that is known; what fills by other means than time may help earlier */
    readonly retryAfter?: Duration.Duration | undefined
  }

/**
 * A call, as a budget hears of it when it begins and ends, and when a budget with `admit` is asked whether it may
 * begin.
 *
 * @category models
 * @since 0.1.0
 */
export interface Call {
  readonly key: PolicyKey
  readonly now: number
  readonly random: () => number
}

/**
 * What a call needs to know of a budget. All functions are called by the driver of a call, and must be quick. A defect in
 * one of them is reported once for the key: in `tryAcquire` it counts as a refusal, in `admit` as none.
 *
 * @category models
 * @since 0.1.0
 */
export interface Budget {
  /**
   * One atomic step: check and take. An answer that takes time may be interrupted, and is lost then: take in its last step,
   * or give back in `Effect.onInterrupt`.
   */
  readonly tryAcquire: (request: Request) => Decision | Effect.Effect<Decision>
  /** a call begins */
  readonly onCall?: ((call: Call) => void) | undefined
  /** a call that began has ended, whatever its result */
  readonly onCallEnd?: ((call: Call) => void) | undefined
  /** an attempt has ended with this verdict, as the call saw it; lost attempts have none */
  readonly onOutcome?: ((outcome: Outcome, now: number) => void) | undefined
  /** only on budgets that may refuse a call before its first attempt */
  readonly admit?: ((call: Call) => Decision | Effect.Effect<Decision>) | undefined
  /** the highest cost that can ever be granted, where there is one: a policy that asks for more is refused at boot */
  readonly maxCost?: number | undefined
  /** the same for a hedge, where that is less */
  readonly maxHedgeCost?: number | undefined
  /** a permit that waited longer than this is asked for again before its attempt starts */
  readonly window?: Duration.Duration | undefined
  /** what it holds now, for `PolicyProvider.statistics` and metrics: extra attempts of cost 1, or whatever it counts */
  readonly state: Effect.Effect<{ readonly balance: number }>
}

/**
 * A recipe for a budget. Run by a layer, once for each key or once for all.
 *
 * @category models
 * @since 0.1.0
 */
export type Make<R = never> = Effect.Effect<Budget, never, R | Scope.Scope>

/**
 * The requirement of a policy layer whose policies name this budget.
 *
 * @category models
 * @since 0.1.0
 */
export interface Named<in out Name extends string> {
  readonly "~@rego/core/Budget": Name
}

/**
 * One requirement for each name, so that a layer of several satisfies policies that use one of them.
 *
 * @internal
 */
export type AllNamed<Names extends string> = { readonly [Name in Names]: Named<Name> }[Names]

// -----------------------------------------------------------------------------
// ratio
// -----------------------------------------------------------------------------

/**
 * The options of `ratio`.
 *
 * @category options
 * @since 0.1.0
 */
export interface RatioOptions {
  /** extra attempts for each deposit, 0 to 0.5. Default 0.1 */
  readonly ratio?: number | undefined
  /** what deposits: calls that the dependency answered, or every call. Default `"successes"` */
  readonly of?: "successes" | "calls" | undefined
  /** how long a deposit counts, 1 second to 10 minutes. Default 10 seconds */
  readonly window?: Duration.Input | undefined
  /** a bucket for clients with few calls */
  readonly reserve?: {
    /** what the bucket holds at most, 0 to 100. Default 10 */
    readonly burst?: number | undefined
    /** what it holds at first. Default 5, at most `burst` */
    readonly start?: number | undefined
    /** how fast it refills, 0 to 10. Default 0.1 */
    readonly perSecond?: number | undefined
  } | undefined
  /** share that hedges may not take, 0 to 1. Default 0.2 */
  readonly keepForRetries?: number | undefined
}

/**
 * The options of `ratio` as they stand in a policy document.
 *
 * @category schemas
 * @since 0.1.0
 */
export const RatioOptions = Schema.Struct({
  ratio: Schema.optional(numberField(0, 0.5)),
  of: Schema.optional(Schema.Literals(["successes", "calls"])),
  window: Schema.optional(durationField("1 second", "10 minutes")),
  reserve: Schema.optional(Schema.Struct({
    burst: Schema.optional(integerField(0, 100)),
    start: Schema.optional(integerField(0, 100)),
    perSecond: Schema.optional(numberField(0, 10))
  })),
  keepForRetries: Schema.optional(numberField(0, 1))
})

/**
 * Decodes the options of a constructor, or throws one error that names every option out of range.
 *
 * @internal
 */
export const readOptions = <S extends Schema.Constraint>(
  constructor: string,
  schema: S,
  options: unknown
): S["Type"] => Issue.readOptions(`Budget.${constructor}`, schema, options)

/**
 * Extra attempts in proportion to what the dependency still answers, and a small reserve for clients with few calls.
 *
 * **Details**
 *
 * An extra attempt of cost c is granted if the extras paid from the ratio part in the trailing window, plus c, are at most
 * `ratio` × the deposits of that window; else if the reserve (a bucket of `burst`, starting at `start`, refilled by
 * `perSecond`) holds c. A call deposits once, when the dependency has answered it (Success or NonRetryable); with
 * `of: "calls"` every call deposits when it begins. Hedges take at most `1 - keepForRetries` of the ratio part, and of the
 * reserve only what lies above `keepForRetries × burst`. The `retryAfter` of a refusal is how long until the reserve holds
 * the cost: deposits may help earlier.
 *
 * The law, checked by a model test: at every grant, extras paid from the ratio part in `(t - window, t]` are at most
 * `ratio` × deposits in `(t - window, t]`; over any interval `(s, t]`, extras are at most `ratio` × deposits in
 * `(s - window, t]` + `burst` + `perSecond × (t - s)`. In a total outage attempts per call fall to
 * 1 + perSecond ÷ call rate within one window.
 *
 * Throws a `RangeError` that names every option out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ratio = (options: RatioOptions = {}): Make => {
  const numbers = readOptions("ratio", RatioOptions, options)
  return Effect.sync(() => new RatioBudget(numbers))
}

// -----------------------------------------------------------------------------
// buckets, tokens, reservations
// -----------------------------------------------------------------------------

// The numbers of each budget, for the constructors and for documents.

const positive = numberField(0.001, 1_000_000)
const notNegative = numberField(0, 1_000_000)

/** @internal */
export const TokenBucketNumbers = Schema.Struct({ capacity: positive, refillPerSecond: notNegative })

const tokens = numberField(0.001, 1_000)

/** @internal */
export const SuccessTokensNumbers = Schema.Struct({ maxTokens: tokens, tokenRatio: tokens })

/** @internal */
export const ConcurrencyNumbers = Schema.Struct({
  min: Schema.optional(notNegative),
  ratio: Schema.optional(numberField(0, 10)),
  max: Schema.optional(notNegative)
})

/** @internal */
export const ThrottleNumbers = Schema.Struct({
  k: Schema.optional(numberField(1.5, 10)),
  window: Schema.optional(durationField("1 second", "10 minutes")),
  maxReject: Schema.optional(numberField(0, 0.99)),
  minRequests: Schema.optional(integerField(1, 1_000_000))
})

/**
 * A bucket that holds `capacity` tokens at most, full at first, refilled at a constant rate.
 *
 * **Details**
 *
 * `capacity` is 0.001 to 1,000,000, `refillPerSecond` 0 to 1,000,000. Over any stretch of time, extra attempts cost at most
 * `capacity` plus `refillPerSecond` × its length. Throws a `RangeError` that names every option out of range.
 *
 * **Gotchas**
 *
 * It knows nothing of the traffic: the same bucket is too small for a busy client and too large for a quiet one. Prefer
 * `ratio` unless the dependency itself names a number.
 *
 * @category constructors
 * @since 0.1.0
 */
export const tokenBucket = (options: { readonly capacity: number; readonly refillPerSecond: number }): Make => {
  const { capacity, refillPerSecond } = readOptions("tokenBucket", TokenBucketNumbers, options)
  return Effect.sync(() => new TokenBucket(capacity, refillPerSecond))
}

/**
 * The retry throttling of gRPC: tokens start at `maxTokens`, each Retryable attempt takes one, each success gives
 * `tokenRatio` back, and extra attempts start only while more than half are left.
 *
 * **Details**
 *
 * gRFC A6, "Client Retry Design". Costs do not count: an attempt is paid for by its failure. Abort and NonRetryable change
 * nothing. Both options are 0.001 to 1,000. Throws a `RangeError` that names every option out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const successTokens = (options: { readonly maxTokens: number; readonly tokenRatio: number }): Make => {
  const { maxTokens, tokenRatio } = readOptions("successTokens", SuccessTokensNumbers, options)
  return Effect.sync(() => new SuccessTokens(maxTokens, tokenRatio))
}

/**
 * A bound on extra attempts that exist at the same time, those that wait in a backoff included: `max` of them, or `ratio`
 * × the calls in flight, and at least `min`.
 *
 * **Details**
 *
 * `max` and `min` are 0 to 1,000,000, `ratio` is 0 to 10. `min` is 3 with `ratio`. Throws a `RangeError` that names every
 * option out of range.
 *
 * **Gotchas**
 *
 * It holds nothing back where attempts fail fast: they are never many at the same time. Combine it with `ratio`, by `all`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const concurrency = (
  options: { readonly min?: number | undefined } & ({ readonly ratio: number } | { readonly max: number })
): Make => {
  const numbers = boundsOf(readOptions("concurrency", ConcurrencyNumbers, options))
  return Effect.sync(() => new ConcurrencyBudget(numbers))
}

/** @internal */
export const boundsOf = (numbers: typeof ConcurrencyNumbers.Type): Bounds => {
  const { max = Infinity, ratio = 0 } = numbers
  return { min: numbers.ratio === undefined && numbers.max !== undefined ? max : numbers.min ?? 3, max, ratio }
}

/**
 * Refuses attempts, first ones included, in proportion to how many the dependency does not answer.
 *
 * **Details**
 *
 * An attempt is refused with the probability `(requests - k × accepts) / (requests + 1)`, at most `maxReject` (0.9), over
 * the trailing `window` (30 seconds), once there were `minRequests` (20). `k` is 2 unless given: lower refuses earlier. A
 * request is every attempt that was wanted, an accept one that the dependency answered. Source: "Handling Overload", Site
 * Reliability Engineering (O'Reilly 2016), chapter 21; the ceiling is ours: without it a long outage would leave nobody to
 * find out that it is over.
 *
 * Limits: `k` 1.5 to 10, `window` 1 second to 10 minutes, `maxReject` 0 to 0.99, `minRequests` 1 to 1,000,000. Throws a
 * `RangeError` that names every option out of range.
 *
 * **Gotchas**
 *
 * A call that it refuses runs nothing and fails with a `RegoError`, reason `AdmissionDenied`.
 *
 * **Gotchas**
 *
 * It is the `budget` of a policy, never its `hedge.budget`, which is not asked for first attempts and could not count them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const adaptiveThrottle = (options: {
  readonly k?: number | undefined
  readonly window?: Duration.Input | undefined
  readonly maxReject?: number | undefined
  readonly minRequests?: number | undefined
} = {}): Make => {
  const numbers = throttleOf(readOptions("adaptiveThrottle", ThrottleNumbers, options))
  return Effect.sync(() => new AdaptiveThrottle(numbers))
}

/** @internal */
export const throttleOf = (numbers: typeof ThrottleNumbers.Type): Throttle => ({
  k: numbers.k ?? 2,
  window: numbers.window ?? Duration.seconds(30),
  maxReject: numbers.maxReject ?? 0.9,
  minRequests: numbers.minRequests ?? 20
})

// -----------------------------------------------------------------------------
// combinators
// -----------------------------------------------------------------------------

/**
 * Grants what both grant. What the first granted is given back when the second denies. For a second limit beside the
 * default one: `Budget.all(Budget.ratio(), …)`.
 *
 * @category combinators
 * @since 0.1.0
 */
export const all = <R1, R2>(self: Make<R1>, that: Make<R2>): Make<R1 | R2> =>
  Effect.zipWith(self, that, (first, second): Budget => new CombinedBudget(first, second))

/** The parents of a layer: a parent is built once for all of its names and keys, however many children it has. */
type Parents = Map<Make<any>, Make<any>>

const CurrentParents = Context.Reference<Parents | undefined>("@rego/core/Budget/CurrentParents", {
  defaultValue: () => undefined
})

const parentOf = <R>(parent: Make<R>): Make<R> =>
  Effect.flatMap(CurrentParents, (parents) => {
    if (parents === undefined) return parent
    const known = parents.get(parent)
    if (known !== undefined) return known
    // kept before it is run: while one that takes time is built, other keys wait for the same
    return Effect.flatMap(Effect.cached(parent), (once) => {
      parents.set(parent, once)
      return once
    })
  })

/**
 * A budget for each key under one parent for all keys of the layer: one operation cannot drain another's, and all of them
 * together stay within the parent.
 *
 * **Details**
 *
 * An extra attempt needs a grant of both. The parent is built once for the layer in which it is named, however many keys
 * there are.
 *
 * @category combinators
 * @since 0.1.0
 */
export const child = <R1, R2>(self: Make<R1>, parent: Make<R2>): Make<R1 | R2> => all(self, parentOf(parent))

// -----------------------------------------------------------------------------
// unlimited, none
// -----------------------------------------------------------------------------

const alwaysDenied: Decision = { _tag: "Denied", reason: "none" }

/**
 * Grants everything. A policy that names it has no protection against retry storms; boot logs that.
 *
 * @category constructors
 * @since 0.1.0
 */
export const unlimited: Make = Effect.succeed({
  tryAcquire: () => spent,
  state: Effect.succeed({ balance: Infinity })
})

/**
 * Denies every extra attempt.
 *
 * @category constructors
 * @since 0.1.0
 */
export const none: Make = Effect.succeed({
  tryAcquire: () => alwaysDenied,
  state: Effect.succeed({ balance: 0 })
})

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * `"key"`: each key has a state of its own, so that one operation cannot drain another's. `"shared"`: one for all.
 *
 * @category options
 * @since 0.1.0
 */
export type Scoping = { readonly scope?: "key" | "shared" | undefined }

/** @internal */
export interface Registered {
  readonly forKey: () => Budget
}

const registryPrefix = "@rego/core/Budget/"

/** @internal */
export const reservedNames: ReadonlySet<string> = new Set(["default", "unlimited", "none"])

const broken = (reason: string): Budget => ({
  tryAcquire: () => ({ _tag: "Denied", reason }),
  state: Effect.succeed({ balance: 0 })
})

const builtFrom = (exit: Exit.Exit<Budget>): Budget => exit._tag === "Success" ? exit.value : broken("budget_defect")

/** Until a recipe that takes time has ended, who asks waits for it; what happened meanwhile is not counted. */
const pending = (fiber: Fiber.Fiber<Budget>): Budget => {
  const built = Effect.map(Fiber.await(fiber), builtFrom)
  const ready = () => {
    const exit = fiber.pollUnsafe()
    return exit?._tag === "Success" ? exit.value : undefined
  }
  /** calls that the budget has not heard of: their end is none for it either */
  let unheard = 0
  return {
    // Whether it gates primaries, and how long its permits hold, is known once it is built.
    get admit() {
      const budget = ready()
      return budget && admitOf(budget)
    },
    get window() {
      return ready()?.window
    },
    tryAcquire: (request) =>
      Effect.flatMap(built, (budget) => {
        const decision = budget.tryAcquire(request)
        return Effect.isEffect(decision) ? decision : Effect.succeed(decision)
      }),
    onCall: (call) => {
      const budget = ready()
      if (budget === undefined) unheard++
      else budget.onCall?.(call)
    },
    onCallEnd: (call) => {
      if (unheard > 0) unheard--
      else ready()?.onCallEnd?.(call)
    },
    onOutcome: (outcome, now) => ready()?.onOutcome?.(outcome, now),
    state: Effect.flatMap(built, (budget) => budget.state)
  }
}

/**
 * Runs a recipe on the first sight of a key. Most end at once.
 *
 * @internal
 */
export const build = (make: Make, context: Context.Context<Scope.Scope>): Budget => {
  const fiber = Effect.runForkWith(context)(
    Effect.tapCause(make, (cause) => Effect.logError("a budget could not be built", Cause.pretty(cause)))
  )
  const exit = fiber.pollUnsafe()
  return exit === undefined ? pending(fiber) : builtFrom(exit)
}

const register = <R>(
  make: Make<R>,
  scope: "key" | "shared",
  parents: Parents
): Effect.Effect<Registered, never, R | Scope.Scope> =>
  Effect.flatMap(Effect.context<R | Scope.Scope>(), (outer) => {
    const context = Context.add(outer, CurrentParents, parents)
    const recipe = Effect.provide(make, context) as Make
    return scope === "shared"
      ? Effect.map(recipe, (budget) => ({ forKey: () => budget }))
      : Effect.succeed({ forKey: () => build(recipe, context) })
  })

/**
 * Registers a budget under a name that policies can use. Provide it *to* the policy layer.
 *
 * **Details**
 *
 * The state is built for each key unless `scope` is `"shared"`. `default`, `unlimited` and `none` are taken: naming one
 * of them throws a `RangeError`.
 *
 * **Example** (A budget with less in reserve)
 *
 * ```ts
 * import { Backoff, Budget, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Layer } from "effect"
 *
 * const Careful = Budget.layer("careful", Budget.ratio({ reserve: { burst: 2, start: 2 } }))
 *
 * const Policies = PolicyLayer.make({
 *   policies: {
 *     "payments.*": { retry: { backoff: Backoff.none }, timeout: { overall: "1 second" }, budget: "careful" }
 *   }
 * }).pipe(Layer.provide(Careful))
 *
 * let attempts = 0
 * const failing = Effect.suspend(() => Effect.fail(++attempts)).pipe(Rego.resilient("payments.Charge"), Effect.ignore)
 *
 * // three attempts, and one for each call once the reserve is empty
 * await Effect.runPromise(Effect.andThen(failing, failing).pipe(Effect.provide(Policies)))
 * attempts // => 4
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Name extends string, R = never>(
  name: Name,
  budget: Make<R>,
  options?: Scoping
): Layer.Layer<Named<Name>, never, Exclude<R, Scope.Scope>> =>
  layers({ [name]: budget }, options) as unknown as Layer.Layer<Named<Name>, never, Exclude<R, Scope.Scope>>

/**
 * Registers several budgets at once, by their names, as `layer` does one.
 *
 * @category layers
 * @since 0.1.0
 */
export const layers = <const B extends Readonly<Record<string, Make<any>>>>(
  budgets: B,
  options?: Scoping
): Layer.Layer<AllNamed<keyof B & string>, never, Exclude<Effect.Services<B[keyof B]>, Scope.Scope>> => {
  const names = Object.keys(budgets)
  const taken = names.filter((name) => reservedNames.has(name))
  if (taken.length > 0) throw new RangeError(`Budget.layer: ${taken.join(", ")} cannot be redefined`)
  return Layer.effectContext(Effect.gen(function*() {
    const services = new Map<string, Registered>()
    const parents: Parents = new Map()
    for (const name of names) {
      services.set(`${registryPrefix}${name}`, yield* register(budgets[name]!, options?.scope ?? "key", parents))
    }
    return Context.makeUnsafe<AllNamed<keyof B & string>>(services)
  })) as any
}

/** @internal */
export const findNamed = (context: Context.Context<never>, name: string): Registered | undefined =>
  context.mapUnsafe.get(`${registryPrefix}${name}`)
