/**
 * A budget for a whole fleet: extra attempts of all processes together, on Effect's `RateLimiter` with its memory or Redis
 * store.
 *
 * **When to use**
 *
 * Where many small processes call one dependency, so that a reserve for each of them adds up to a storm. A process with
 * enough traffic of its own is better served by `Budget.ratio`: it asks nobody.
 *
 * **Details**
 *
 * The store is asked once for each extra attempt, never for a first one. The answer is waited for at most `timeout`
 * (50 milliseconds). When the store fails or is too slow, `onStoreError` decides: `"allow-floor"` (default) asks a local
 * `Budget.ratio` with the options of `floor`, `"deny"` refuses. A store that failed is left alone for `retryStoreAfter`
 * (1 second), so that an outage of the store costs one wait a second and is over by itself.
 *
 * **Gotchas**
 *
 * A limiter takes nothing back: a grant whose attempt never starts is spent until its window ends.
 *
 * **Example** (Ten extra attempts a second for all processes)
 *
 * ```ts
 * import { Budget, PolicyLayer, Rego } from "@rego/core"
 * import * as BudgetShared from "@rego/core/BudgetShared"
 * import { Effect, Layer } from "effect"
 * import { RateLimiter } from "effect/persistence"
 *
 * const Fleet = Budget.layer("fleet", BudgetShared.make({ limit: 10, window: "1 second" }), { scope: "shared" })
 *
 * // with layerStoreRedis() instead, all processes share the limit
 * const Limiter = RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))
 *
 * const Policies = PolicyLayer.make({
 *   policies: { "users.*": { retry: { maxAttempts: 3 }, timeout: { overall: "1 second" }, budget: "fleet" } }
 * }).pipe(Layer.provide(Fleet), Layer.provide(Limiter))
 *
 * let attempts = 0
 * const flaky = Effect.suspend(() => ++attempts < 3 ? Effect.fail("503") : Effect.succeed("ada"))
 *
 * await Effect.runPromise(flaky.pipe(Rego.resilient("users.Get"), Effect.provide(Policies))) // => "ada"
 * ```
 *
 * @since 0.1.0
 */
import { Clock, Duration, Effect, Exit, Option, Schema } from "effect"
import * as RateLimiter from "effect/persistence/RateLimiter"
import { apart } from "./Apart.ts"
import * as Budget from "./Budget.ts"
import { durationField, integerField } from "./Issue.ts"
import { spent } from "./Permit.ts"

/**
 * The limit, where it is kept, and what happens when that place is down.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** extra attempts in a window, 1 to 1,000,000 */
  readonly limit: number
  /** 100 milliseconds to 1 hour */
  readonly window: Duration.Input
  /** name of the limit in the store: budgets with the same name share it. Default `"default"` */
  readonly name?: string | undefined
  /** how long an answer is waited for, 1 millisecond to 1 second. Default 50 milliseconds */
  readonly timeout?: Duration.Input | undefined
  /** what happens when the store fails or is too slow. Default `"allow-floor"` */
  readonly onStoreError?: "allow-floor" | "deny" | undefined
  /** the local budget of `"allow-floor"` */
  readonly floor?: Budget.RatioOptions | undefined
  /** how long a store that failed is not asked again, up to 1 minute. Default 1 second */
  readonly retryStoreAfter?: Duration.Input | undefined
}

const Numbers = Schema.Struct({
  limit: integerField(1, 1_000_000),
  window: durationField("100 millis", "1 hour"),
  name: Schema.optional(Schema.String.pipe(Schema.check(Schema.isMinLength(1)))),
  timeout: Schema.optional(durationField("1 millis", "1 second")),
  onStoreError: Schema.optional(Schema.Literals(["allow-floor", "deny"])),
  floor: Schema.optional(Schema.Unknown),
  retryStoreAfter: Schema.optional(durationField(0, "1 minute"))
})

type Answer = Budget.Decision | "store_error"

/** A store that hangs, even one that cannot be interrupted, must not hold the call. */
const bounded = (ask: Effect.Effect<Answer>, timeout: Duration.Duration): Effect.Effect<Answer> =>
  apart(Effect.exit(ask)).pipe(
    Effect.timeoutOption(timeout),
    Effect.map((exit) => Option.isSome(exit) && Exit.isSuccess(exit.value) ? exit.value.value : "store_error")
  )

const deniedFor = (retryAfter: Duration.Duration | undefined): Budget.Decision => ({
  _tag: "Denied",
  reason: "limit_exceeded",
  retryAfter
})

const askLimiter = (
  limiter: RateLimiter.RateLimiter,
  numbers: typeof Numbers.Type,
  cost: number
): Effect.Effect<Answer> =>
  limiter.consume({
    key: `rego:budget:${numbers.name ?? "default"}`,
    limit: numbers.limit,
    window: numbers.window,
    onExceeded: "fail",
    tokens: cost
  }).pipe(
    Effect.map((): Answer => spent),
    Effect.catchReason("RateLimiterError", "RateLimitExceeded", ({ retryAfter }) =>
      // the limiter names its window for what it will never grant
      Effect.succeed<Answer>(deniedFor(cost > numbers.limit ? undefined : retryAfter))),
    Effect.catchCause(() => Effect.succeed<Answer>("store_error"))
  )

class SharedBudget implements Budget.Budget {
  /** `undefined` while the store is well */
  private storeAskedAgainAt: number | undefined = undefined
  private readonly limiter: RateLimiter.RateLimiter
  private readonly floor: Budget.Budget
  private readonly numbers: typeof Numbers.Type
  readonly window: Duration.Duration
  readonly maxCost: number
  constructor(limiter: RateLimiter.RateLimiter, floor: Budget.Budget, numbers: typeof Numbers.Type) {
    this.limiter = limiter
    this.floor = floor
    this.numbers = numbers
    this.window = numbers.window
    this.maxCost = numbers.limit
  }

  readonly onCall = (call: Budget.Call): void => this.floor.onCall?.(call)

  readonly onOutcome: NonNullable<Budget.Budget["onOutcome"]> = (outcome, now) => this.floor.onOutcome?.(outcome, now)

  readonly tryAcquire = (request: Budget.Request): Budget.Decision | Effect.Effect<Budget.Decision> => {
    if (this.storeAskedAgainAt !== undefined) {
      if (request.now < this.storeAskedAgainAt) return this.withoutStore(request)
      // one asks whether the store is back, while the others do without
      this.leaveAlone(request.now)
    }
    const ask = askLimiter(this.limiter, this.numbers, request.cost)
    return Effect.flatMap(bounded(ask, this.numbers.timeout ?? Duration.millis(50)), (answer) => {
      if (answer !== "store_error") {
        this.storeAskedAgainAt = undefined
        return Effect.succeed(answer)
      }
      return Effect.flatMap(Clock.monotonicTimeNanos, (nanos) => {
        const now = Number(nanos) / 1e6
        this.leaveAlone(now)
        const decision = this.withoutStore({ ...request, now })
        return Effect.isEffect(decision) ? decision : Effect.succeed(decision)
      })
    })
  }

  private leaveAlone(now: number): void {
    this.storeAskedAgainAt = now + Duration.toMillis(this.numbers.retryStoreAfter ?? Duration.seconds(1))
  }

  private withoutStore(request: Budget.Request): Budget.Decision | Effect.Effect<Budget.Decision> {
    return this.numbers.onStoreError === "deny"
      ? { _tag: "Denied", reason: "store_error" }
      : this.floor.tryAcquire(request)
  }

  /** What the floor holds: a limiter does not say what is left without taking some of it. */
  get state(): Budget.Budget["state"] {
    return this.floor.state
  }
}

/**
 * A budget on the `RateLimiter` that the layer is provided with. Throws a `RangeError` that names every option out of
 * range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Budget.Make<RateLimiter.RateLimiter> => {
  const numbers = Budget.readOptions("shared", Numbers, options)
  const floor = Budget.ratio(options.floor)
  return Effect.gen(function*() {
    return new SharedBudget(yield* RateLimiter.RateLimiter, yield* floor, numbers)
  })
}
