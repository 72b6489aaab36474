/**
 * What every observer must do, whoever made it.
 *
 * **When to use**
 *
 * For an observer of your own. Give `make` a recipe of it and register a test for each law: see `Law`. An observer that
 * throws or hangs changes nothing for a call; what it was to see is lost.
 *
 * **Example** (An observer that expects an error in every attempt)
 *
 * ```ts
 * import { Observer } from "@rego/core"
 * import { Law, ObserverLaws } from "@rego/testing"
 * import { Effect } from "effect"
 *
 * const lengths: Array<number> = []
 * const careless = Observer.make({
 *   name: "careless",
 *   onEvent: (event) => {
 *     if (event._tag === "AttemptEnded") lengths.push(event.error!.length)
 *   }
 * })
 *
 * const broken = await Effect.runPromise(Law.broken(ObserverLaws.make(Effect.succeed(careless))))
 * broken.map(({ name }) => name) // => ["takes every event and every timeline"]
 * broken[0]?.message.startsWith("it throws on an event AttemptEnded: TypeError") // => true
 * ```
 *
 * @since 0.1.0
 */
import type { Timeline } from "@rego/core"
import { Observer } from "@rego/core"
import type { Scope } from "effect"
import { Effect, Exit } from "effect"
import * as Arbitrary from "effect/Arbitrary"
import { TestClock } from "effect/testing"
import * as Arbitraries from "./Arbitraries.ts"
import { equals, fail, isTrue, show } from "./AssertionError.ts"
import * as Law from "./Law.ts"

/** What an observer is told, as a sentence and as a function. */
interface Notice {
  readonly what: string
  readonly value: Timeline.Event | Timeline.Timeline
  readonly tell: (observer: Observer.Observer) => unknown
}

interface Check {
  readonly name: string
  readonly check: (observer: Observer.Observer, notices: ReadonlyArray<Notice>) => Effect.Effect<void>
}

// -----------------------------------------------------------------------------
// notices
// -----------------------------------------------------------------------------

const eventNotice = (value: Timeline.Event): Notice => ({
  what: `an event ${value._tag}`,
  value,
  tell: (observer) => observer.onEvent?.(value)
})

const endNotice = (value: Timeline.Timeline): Notice => ({
  what: `a timeline of ${value.attempts.length} attempts`,
  value,
  tell: (observer) => observer.onCallEnd?.(value)
})

const samples = 200

/** Events of every kind, with and without what they may leave out, and timelines of every kind. */
const notices = (seed: number): Effect.Effect<ReadonlyArray<Notice>> =>
  Effect.gen(function*() {
    const events = yield* Arbitrary.sampleEffect(Arbitraries.event, { count: samples, seed })
    const timelines = yield* Arbitrary.sampleEffect(Arbitraries.timeline, { count: samples / 4, seed })
    return [...events.map(eventNotice), ...timelines.map(endNotice)]
  }).pipe(Effect.orDie)

const told = (observer: Observer.Observer, { tell, what }: Notice): Effect.Effect<void> => {
  try {
    const answer = tell(observer)
    return Effect.isEffect(answer) ? finishes(answer as Effect.Effect<unknown>, what) : Effect.void
  } catch (error) {
    return fail(`it throws on ${what}: ${error instanceof Error ? `${error.name}: ${error.message}` : show(error)}`)
  }
}

const patience = "1 second"

const finishes = (answer: Effect.Effect<unknown>, what: string): Effect.Effect<void> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(answer, { startImmediately: true })
    if (fiber.pollUnsafe() === undefined) yield* TestClock.adjust(patience)
    const exit = fiber.pollUnsafe()
    if (exit === undefined) return fail(`it is not done with ${what} after ${patience}`)
    if (Exit.isFailure(exit)) fail(`it fails on ${what}: ${show(exit.cause.reasons[0])}`)
  })

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

const isUsable: Check = {
  name: "listens to something, and a layer takes it",
  check: (observer) =>
    Effect.gen(function*() {
      isTrue(observer.onEvent !== undefined || observer.onCallEnd !== undefined, "it has neither onEvent nor onCallEnd")
      isTrue(observer.name === undefined || observer.name.trim() !== "", "its name is empty")
      yield* Effect.provide(Effect.void, Observer.layer([observer]))
    })
}

const takesAll: Check = {
  name: "takes every event and every timeline",
  check: (observer, all) => Effect.forEach(all, (notice) => told(observer, notice), { discard: true })
}

const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))

/** Told without looking at what becomes of it: that is another law. */
const ignored = (observer: Observer.Observer, notice: Notice): void => {
  try {
    notice.tell(observer)
  } catch {
    // another law
  }
}

const changesNothing: Check = {
  name: "leaves what it is told as it is, for the next observer",
  check: (observer, all) =>
    Effect.sync(() => {
      for (const notice of all) {
        const before = plain(notice.value)
        ignored(observer, notice)
        equals(plain(notice.value), before, `${notice.what}, after it was told`)
      }
    })
}

const checks: ReadonlyArray<Check> = [isUsable, takesAll, changesNothing]

/**
 * A law for each thing that an observer must do. The recipe is run anew for each law; one that needs services is provided
 * with them first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  observer: Effect.Effect<Observer.Observer, never, Scope.Scope>,
  options: Law.SeedOptions = {}
): ReadonlyArray<Law.Law> =>
  checks.map(({ check, name }) =>
    Law.make(
      name,
      Effect.flatMap(observer, (made) => Effect.flatMap(notices(Law.seedOf(options)), (all) => check(made, all))),
      options
    )
  )
