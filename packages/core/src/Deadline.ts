/**
 * The instant by which a call must have ended, and how it reaches the calls inside.
 *
 * **Details**
 *
 * A call's deadline is its own overall timeout or the deadline around it, whichever comes first. Inside an attempt the
 * current deadline is the attempt's: the earlier of its per-attempt timeout and the deadline of the call. It counts only
 * while that attempt runs, so that what outlives it (a pooled connection, a detached fiber) does not inherit an instant
 * that has passed.
 *
 * **Example** (Passing the time that is left to a server)
 *
 * ```ts
 * import { Deadline, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Option } from "effect"
 *
 * const send = Effect.map(Deadline.remaining, Option.isSome)
 *
 * const program = Effect.gen(function*() {
 *   yield* send // => false
 *   yield* send.pipe(Rego.resilient("users.Get")) // => true
 * })
 *
 * const Policies = PolicyLayer.make({ policies: { "users.*": { timeout: { overall: "1 second" } } } })
 * await Effect.runPromise(program.pipe(Effect.provide(Policies)))
 * ```
 *
 * @since 0.1.0
 */
import { Clock, Context, Duration, Effect, Option } from "effect"
import { dual } from "effect/Function"
import { parseDuration } from "./Issue.ts"
import { nowMillis } from "./Time.ts"

/**
 * An instant on the clock of a fiber, for as long as what it bounds runs.
 *
 * @category models
 * @since 0.1.0
 */
export interface Deadline {
  /** milliseconds on the monotonic line of the clock */
  readonly at: number
  /** false once what it bounds has ended */
  readonly active: boolean
  /** the clock that `at` is on: under another one (`TestClock.withLive`) the deadline says nothing */
  readonly clock: Clock.Clock
}

/**
 * The deadline around the current code, `None` where nothing bounds it. Read it with `remaining`, set it with
 * `withDeadline`.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentDeadline: Context.Reference<Option.Option<Deadline>> = Context.Reference(
  "@rego/core/Deadline/CurrentDeadline",
  { defaultValue: Option.none<Deadline> }
)

/**
 * The enclosing deadline on a clock, `Infinity` for none.
 *
 * @internal
 */
export const enclosing = (context: Context.Context<never>, clock: Clock.Clock): number => {
  const deadline = Context.getOrUndefined(context, CurrentDeadline)
  return deadline?._tag === "Some" && deadline.value.active && deadline.value.clock === clock
    ? deadline.value.at
    : Infinity
}

/**
 * How much time is left, `None` when nothing bounds the current code. Never negative.
 *
 * @category getters
 * @since 0.1.0
 */
export const remaining: Effect.Effect<Option.Option<Duration.Duration>> = Effect.withFiber((fiber) => {
  const clock = fiber.getRef(Clock.Clock)
  const at = enclosing(fiber.context, clock)
  return Effect.succeed(
    at === Infinity ? Option.none() : Option.some(Duration.millis(Math.max(0, at - nowMillis(clock))))
  )
})

const readMillis = (duration: Duration.Input): number => {
  const parsed = parseDuration(duration)
  if (typeof parsed === "string") throw new RangeError(`Deadline.withDeadline: ${parsed}`)
  if (Duration.isNegative(parsed)) {
    throw new RangeError(`Deadline.withDeadline: must not be negative, got ${Duration.format(parsed)}`)
  }
  return Duration.toMillis(parsed)
}

/**
 * Bounds all calls inside an effect, as if they were made inside a call with this overall timeout.
 *
 * **Gotchas**
 *
 * Throws a `RangeError` for what is no duration, or a negative one. It bounds the calls, not the effect: code between them
 * is not interrupted (`Effect.timeout` does that). An enclosing deadline that is earlier stays in force.
 *
 * **Example** (One deadline for several calls)
 *
 * ```ts
 * import { Deadline, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Fiber } from "effect"
 * import { TestClock } from "effect/testing"
 *
 * const call = Effect.as(Effect.sleep("60 millis"), "ada").pipe(
 *   Rego.resilient("users.Get"),
 *   Effect.catchReason("RegoError", "DeadlineExceeded", () => Effect.succeed("no time left"))
 * )
 *
 * const program = Effect.gen(function*() {
 *   const both = yield* Effect.all([call, call]).pipe(
 *     Deadline.withDeadline("100 millis"),
 *     Effect.forkChild({ startImmediately: true })
 *   )
 *   yield* TestClock.adjust("1 second")
 *   yield* Fiber.join(both) // => ["ada", "no time left"]
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide([PolicyLayer.defaults, TestClock.layer()])))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withDeadline: {
  (duration: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E, R> => {
  const millis = readMillis(duration)
  return Effect.withFiber((fiber) => {
    const clock = fiber.getRef(Clock.Clock)
    const at = Math.min(nowMillis(clock) + millis, enclosing(fiber.context, clock))
    const deadline = { at, active: true, clock }
    return Effect.onExit(
      Effect.provideService(self, CurrentDeadline, Option.some<Deadline>(deadline)),
      () =>
        Effect.sync(() => {
          deadline.active = false
        })
    )
  })
})

/**
 * Frees an effect from the deadline around it: for work that must go on after the call, such as filling a cache.
 *
 * @category combinators
 * @since 0.1.0
 */
export const none = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, CurrentDeadline, Option.none())
