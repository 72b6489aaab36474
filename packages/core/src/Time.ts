/**
 * The two lines of time that everything is measured on: a call's own clock, and the live clock of the host.
 *
 * @internal
 */
import { Clock, Context } from "effect"

export const liveClock: Clock.Clock = Context.get(Context.empty(), Clock.Clock)

/** `Context.get` also asks what kind of key it was given, and every call looks for its clock. */
export const clockOf = (context: Context.Context<never>): Clock.Clock =>
  Context.getOrUndefined(context, Clock.Clock) ?? liveClock

/** Sums of floating point milliseconds do not meet exactly, and clocks count whole nanoseconds. */
export const oneMicrosecond = 0.001

const view = new DataView(new ArrayBuffer(8))

/**
 * The same number as `Number(nanos) / 1e6`, for 292 years around zero: `Number` takes a fifth to two fifths of the time in
 * which a clock is read, and a call reads its clock twice.
 */
export const millisOf = (nanos: bigint): number => {
  view.setBigInt64(0, nanos)
  return (view.getInt32(0) * 0x1_0000_0000 + view.getUint32(4)) / 1e6
}

/** Milliseconds on the monotonic line, fractions included. Clocks of tests may stand anywhere. */
export const nowMillis = (clock: Clock.Clock): number =>
  clock === liveClock ? millisOf(clock.monotonicTimeNanosUnsafe()) : Number(clock.monotonicTimeNanosUnsafe()) / 1e6
