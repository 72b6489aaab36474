/**
 * What every trigger of hedges must do, whoever made it: the contract of a `Schedule` that sees `Hedge.State`.
 *
 * **When to use**
 *
 * For a trigger of your own. Give `make` the schedule and register a test for each law: see `Law`.
 *
 * **Example** (A trigger that remembers other calls)
 *
 * ```ts
 * import { HedgeLaws, Law } from "@rego/testing"
 * import { Hedge } from "@rego/core"
 * import { Duration, Effect, Schedule } from "effect"
 *
 * let asked = 0
 * const slower = Schedule.fromStep(Effect.succeed((_now: number, _state: Hedge.State) => {
 *   const delay = Duration.millis(10 * ++asked % 1_000)
 *   return Effect.succeed<[Duration.Duration, Duration.Duration]>([delay, delay])
 * }))
 *
 * await Effect.runPromise(Law.broken(HedgeLaws.make(Hedge.quantile(0.95)))) // => []
 *
 * const broken = await Effect.runPromise(Law.broken(HedgeLaws.make(slower)))
 * broken.map(({ name }) => name) // => ["is decided by the states of its own call, the clock and Random alone"]
 * ```
 *
 * @since 0.1.0
 */
import { Hedge, Latency } from "@rego/core"
import { Clock, Duration, Effect, Pull, Random, Schedule } from "effect"
import { equals, fail, isTrue, show } from "./AssertionError.ts"
import * as Law from "./Law.ts"

type Trigger = Schedule.Schedule<unknown, Hedge.State>

/** What one step answered: a delay, the end, or why there is none. */
type Answer =
  | { readonly _tag: "Delay"; readonly delay: Duration.Duration }
  | { readonly _tag: "Done" }
  | { readonly _tag: "Broken"; readonly why: string }

interface Check {
  readonly name: string
  readonly check: (trigger: Trigger) => Effect.Effect<void>
}

// -----------------------------------------------------------------------------
// states
// -----------------------------------------------------------------------------

/** Windows of latency: nothing known, a little, enough, a tail that is cut off. */
const snapshots = (random: () => number): ReadonlyArray<Latency.Snapshot> => {
  const filled = (samples: number, complete: number, millis: () => number) => {
    const latency = Latency.makeUnsafe()
    for (let i = 0; i < samples; i++) latency.record(millis(), random() < complete, 0)
    return latency.snapshot(0)
  }
  return [
    filled(0, 1, () => 0),
    filled(3, 1, () => 10 * random()),
    filled(2_000, 1, () => 5 + 20 * random() ** 8),
    filled(500, 0.5, () => 1_000 * random()),
    filled(200, 0, () => 50)
  ]
}

const rounds = 40

/** The states of one group after the other, of calls of many kinds. */
const states: Effect.Effect<ReadonlyArray<Hedge.State>> = Effect.map(Random.Random, (generator) => {
  const random = () => generator.nextDoubleUnsafe()
  const latencies = snapshots(random)
  return Array.from({ length: rounds }, (_, round) => {
    const hedge = 1 + round % 3
    return {
      attempt: { retry: Math.floor(10 * random()), hedge },
      elapsed: Duration.millis(round % 7 === 0 ? 0 : 60_000 * random() ** 4),
      launched: hedge,
      latency: latencies[round % latencies.length]!
    }
  })
})

// -----------------------------------------------------------------------------
// asking
// -----------------------------------------------------------------------------

type Asked = (state: Hedge.State) => Effect.Effect<Answer>

/** A trigger as one call asks it. Each answer is drawn from a seed of its own, so that others shift nothing. */
const begin = (trigger: Trigger): Effect.Effect<Asked> =>
  Effect.map(Schedule.toStep(trigger), (step) => {
    let asked = 0
    return (state) =>
      Random.withSeed(
        answerOf(Effect.flatMap(Clock.currentTimeMillis, (now) => Effect.suspend(() => step(now, state)))),
        ++asked
      )
  })

const broken = (why: string): Answer => ({ _tag: "Broken", why })

const answerOf = (
  pull: Pull.Pull<[unknown, Duration.Duration], unknown, unknown>
): Effect.Effect<Answer> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(
      Pull.matchEffect(pull, {
        onSuccess: ([, delay]) => Effect.succeed<Answer>({ _tag: "Delay", delay }),
        onDone: () => Effect.succeed<Answer>({ _tag: "Done" }),
        onFailure: (cause) => Effect.succeed(broken(`it ended with ${show(cause.reasons[0])}`))
      }),
      { startImmediately: true }
    )
    // A few turns, and no time.
    for (let i = 0; i < 10 && fiber.pollUnsafe() === undefined; i++) yield* Effect.yieldNow
    const exit = fiber.pollUnsafe()
    if (exit === undefined) return broken("it takes time")
    return exit._tag === "Success" ? exit.value : broken("it threw")
  })

const answers = (trigger: Trigger): Effect.Effect<ReadonlyArray<Answer>> =>
  Effect.gen(function*() {
    const found: Array<Answer> = []
    let ask = yield* begin(trigger)
    for (const [i, state] of (yield* states).entries()) {
      // Three hedges in a call; a schedule that has ended is not asked again.
      if (i % 3 === 0 || found.at(-1)?._tag !== "Delay") ask = yield* begin(trigger)
      found.push(yield* ask(state))
    }
    return found
  })

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

const always: Check = {
  name: "answers at once with a delay or ends, whatever is known of the latency",
  check: (trigger) =>
    Effect.map(answers(trigger), (all) => {
      for (const answer of all) if (answer._tag === "Broken") fail(answer.why)
    })
}

const longest = Duration.seconds(30)

const inRange: Check = {
  name: "has delays from 0 to 30 seconds, beyond which they are cut",
  check: (trigger) =>
    Effect.map(answers(trigger), (all) => {
      for (const answer of all) {
        if (answer._tag !== "Delay") continue
        const { delay } = answer
        if (!Duration.isDuration(delay)) return fail(`a delay must be a Duration, is ${show(delay)}`)
        isTrue(
          Duration.isLessThanOrEqualTo(delay, longest) && Duration.toMillis(delay) >= 0,
          `a delay is ${Duration.format(delay)}`
        )
      }
    })
}

const ownStates: Check = {
  name: "is decided by the states of its own call, the clock and Random alone",
  check: (trigger) =>
    Effect.gen(function*() {
      const [first, second, third] = yield* states
      const asked = [first!, second!, third!]
      const alone = yield* begin(trigger)
      const expected: Array<Answer> = []
      for (const state of asked) expected.push(yield* alone(state))
      const [one, other] = [yield* begin(trigger), yield* begin(trigger)]
      for (const [i, state] of asked.entries()) {
        yield* other(asked[2 - i]!)
        equals<Answer>(yield* one(state), expected[i]!, `answer ${i + 1} of a call beside another one`)
      }
    })
}

const checks: ReadonlyArray<Check> = [ownStates, always, inRange]

/**
 * A law for each thing that a trigger must do: a built-in one, or a schedule.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  trigger: Hedge.Trigger | Schedule.Schedule<unknown, Hedge.State>,
  options: Law.SeedOptions = {}
): ReadonlyArray<Law.Law> => {
  const schedule = Schedule.isSchedule(trigger) ? trigger as Trigger : Hedge.toSchedule(trigger as Hedge.Trigger)
  return checks.map(({ check, name }) => Law.make(name, check(schedule), options))
}
