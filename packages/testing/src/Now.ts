/**
 * Milliseconds on the monotonic line of a clock, fractions included, as calls read it.
 *
 * @internal
 */
import { Clock, Effect } from "effect"

export const millisOn = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** On the clock of the fiber. */
export const nowMillis: Effect.Effect<number> = Effect.map(Clock.Clock, millisOn)
