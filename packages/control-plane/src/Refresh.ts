/**
 * When a source looks again: the rules, and the loop that all sources run.
 *
 * One look at a time. After a good one the next comes after `interval`, give or take a fifth, so that processes which began
 * together do not stay together. After a failure the wait is drawn from a range that doubles with each further failure
 * (full jitter), and is never shorter than what the origin asks for.
 *
 * @internal
 */
import type * as PolicySource from "@rego/core/PolicySource"
import { Duration, Effect, Queue, Random, Stream } from "effect"
import type { Scope } from "effect"

// -----------------------------------------------------------------------------
// rules
// -----------------------------------------------------------------------------

/** Milliseconds. */
export interface Timing {
  readonly interval: number
  readonly backoff: { readonly initial: number; readonly max: number }
  readonly maxRetryAfter: number
}

export const defaultTiming: Timing = {
  interval: 30_000,
  backoff: { initial: 1_000, max: 60_000 },
  maxRetryAfter: 600_000
}

/** How far a wait may be from `interval`, as a part of it. */
const spread = 0.2

/** Full jitter draws waits near zero as well: this part of the first range keeps requests apart. */
const least = 0.1

/** What is added to a wait that the origin asked for, at most, as a part of it. */
const added = 0.25

export const afterSuccess = (interval: number, random: number): number =>
  interval + interval * spread * (2 * random - 1)

export const afterFailure = (
  { backoff, maxRetryAfter }: Timing,
  failure: { readonly failures: number; readonly retryAfter?: number | undefined },
  random: number
): number => {
  const floor = Math.min(least * backoff.initial, backoff.max)
  const ceiling = Math.min(backoff.initial * 2 ** (failure.failures - 1), backoff.max)
  const drawn = floor + (ceiling - floor) * random
  if (failure.retryAfter === undefined) return drawn
  const asked = Math.min(failure.retryAfter, maxRetryAfter)
  return Math.max(drawn, asked + asked * added * random)
}

// -----------------------------------------------------------------------------
// loop
// -----------------------------------------------------------------------------

/** What one look found. */
export interface Look {
  readonly found: ReadonlyArray<PolicySource.Found>
  /** the origin holds its answers until there is something new: the wait until the next look, in place of `interval` */
  readonly pause?: number | undefined
}

export interface Origin {
  readonly look: Effect.Effect<Look>
  /** something has changed, perhaps: look soon, whatever was found before */
  readonly changed?: Queue.Dequeue<void> | undefined
}

/** A change rarely comes alone: a flood of them must not be a flood of looks. */
const settle = 50

/** What makes a signal of `Origin.changed`: many of them while nobody looks are one. */
export const signal: Effect.Effect<Queue.Queue<void>> = Queue.sliding<void>(1)

const lastOf = ({ found }: Look): PolicySource.Found | undefined => found.at(-1)

const retryAfterOf = ({ error: { reason } }: Extract<PolicySource.Found, { readonly _tag: "Failed" }>) =>
  reason._tag === "Unavailable" && reason.retryAfter !== undefined ? Duration.toMillis(reason.retryAfter) : undefined

const sleepUnlessChanged = (millis: number, changed: Origin["changed"]): Effect.Effect<void> =>
  changed === undefined
    ? Effect.sleep(millis)
    : Effect.raceFirst(Effect.sleep(millis), Effect.andThen(Effect.ignore(Queue.take(changed)), Effect.sleep(settle)))

/** Looks at once, and goes on for ever; the scope of the origin is that of the stream. */
export const stream = (
  timing: Timing,
  origin: Effect.Effect<Origin, never, Scope.Scope>
): Stream.Stream<PolicySource.Found> =>
  Stream.unwrap(Effect.map(origin, ({ changed, look }) => {
    let wait: Effect.Effect<void> = Effect.void
    let failures = 0
    const waitAfter = (seen: Look, random: number): number => {
      const last = lastOf(seen)
      failures = last?._tag === "Failed" ? failures + 1 : 0
      return last?._tag === "Failed"
        ? afterFailure(timing, { failures, retryAfter: retryAfterOf(last) }, random)
        : afterSuccess(seen.pause ?? timing.interval, random)
    }
    const next = Effect.gen(function*() {
      yield* wait
      const seen = yield* look
      wait = sleepUnlessChanged(waitAfter(seen, yield* Random.next), changed)
      return seen.found
    })
    return Stream.fromIterableEffectRepeat(next)
  }))
