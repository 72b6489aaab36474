/**
 * The two lines of time that everything is measured on: a call's own clock, and the live clock of the host.
 *
 * @internal
 */
import { Clock, Context } from "effect"

export const liveClock: Clock.Clock = Context.get(Context.empty(), Clock.Clock)

/** Sums of floating point milliseconds do not meet exactly, and clocks count whole nanoseconds. */
export const oneMicrosecond = 0.001

/** Milliseconds on the monotonic line, fractions included. */
export const nowMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / 1e6
