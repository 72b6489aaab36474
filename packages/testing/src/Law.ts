/**
 * A law: something that every part of a kind must do, whoever wrote it. A suite is a list of them.
 *
 * **When to use**
 *
 * The suites are `BudgetLaws`, `ClassifierLaws`, `HedgeLaws`, `PolicySourceLaws` and `ObserverLaws`. Give one a part of your
 * own, and register a test for each law it answers with. A law is an effect without requirements, so any runner will do;
 * with `@effect/vitest`: `for (const law of suite) it.effect(law.name, () => law.run)`.
 *
 * **Details**
 *
 * A law that does not hold dies with an error whose message says what was seen. Laws bring a `TestClock` of their own where
 * they need time, and a seed, so that one that fails fails again.
 *
 * **Example** (All laws of a suite)
 *
 * ```ts
 * import { Budget } from "@rego/core"
 * import { BudgetLaws, Law } from "@rego/testing"
 * import { Effect } from "effect"
 *
 * const forgetful: Budget.Make = Effect.succeed({
 *   tryAcquire: () => ({ _tag: "Denied", reason: "" }),
 *   state: Effect.succeed({ balance: 0 })
 * })
 *
 * await Effect.runPromise(Law.broken(BudgetLaws.make(Budget.ratio()))) // => []
 *
 * const [found] = await Effect.runPromise(Law.broken(BudgetLaws.make(forgetful)))
 * found?.message // => "a denial must have a reason"
 * ```
 *
 * @since 0.1.0
 */
import type { Scope } from "effect"
import { Cause, Clock, Effect, Random } from "effect"
import { TestClock } from "effect/testing"

/**
 * One sentence about every part of a kind, and the test of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  /** a sentence about the part, without its subject */
  readonly name: string
  /** dies when the law does not hold */
  readonly run: Effect.Effect<void>
}

/**
 * A law that did not hold, and what was seen.
 *
 * @category models
 * @since 0.1.0
 */
export interface Broken {
  readonly name: string
  readonly message: string
}

/**
 * What makes a suite repeat.
 *
 * @category options
 * @since 0.1.0
 */
export interface SeedOptions {
  /** of everything that a suite draws at random. Default 20260401 */
  readonly seed?: number | undefined
}

const defaultSeed = 20_260_401

/** @internal */
export const seedOf = ({ seed = defaultSeed }: SeedOptions): number => seed

const messageOf = (cause: Cause.Cause<unknown>): string => {
  const defect = Cause.squash(cause)
  return defect instanceof Error ? defect.message : String(defect)
}

/**
 * Runs a suite and answers with the laws that do not hold.
 *
 * @category running
 * @since 0.1.0
 */
export const broken = (laws: ReadonlyArray<Law>): Effect.Effect<ReadonlyArray<Broken>> =>
  Effect.map(
    Effect.forEach(laws, ({ name, run }) =>
      Effect.map(Effect.exit(run), (exit) =>
        exit._tag === "Success" ? [] : [{ name, message: messageOf(exit.cause) }])),
    (found) =>
      found.flat()
  )

/** Far from the start of time, so that there is a past to go back to. */
const startedAt = "1 hour"

/**
 * A law in virtual time, with a scope and a seeded `Random` of its own.
 *
 * @internal
 */
export const make = (
  name: string,
  check: Effect.Effect<void, never, Scope.Scope>,
  options: SeedOptions = {}
): Law => ({
  name,
  run: TestClock.adjust(startedAt).pipe(
    Effect.andThen(check),
    Effect.scoped,
    Random.withSeed(seedOf(options)),
    Effect.provide(TestClock.layer())
  )
})

/**
 * A law in real time: for what speaks to a server, a file, a process.
 *
 * @internal
 */
export const makeLive = (name: string, check: Effect.Effect<void, never, Scope.Scope>): Law => ({
  name,
  run: check.pipe(Effect.scoped, Effect.provideService(Clock.Clock, Clock.Clock.defaultValue()))
})
