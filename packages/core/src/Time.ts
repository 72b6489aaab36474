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

const number = new DataView(new ArrayBuffer(8))

/**
 * The same number as `Number(nanos) / 1e6`, for 292 years around zero. A call reads its clock twice, and `Number` takes as
 * long as reading the clock (measured: 45 ns of 100, and 8 in halves).
 */
export const millisOf = (nanos: bigint): number => {
  number.setBigInt64(0, nanos)
  return (number.getInt32(0) * 0x1_0000_0000 + number.getUint32(4)) / 1e6
}

/** Milliseconds on the monotonic line, fractions included. Clocks of tests may stand anywhere. */
export const nowMillis = (clock: Clock.Clock): number =>
  clock === liveClock ? millisOf(clock.monotonicTimeNanosUnsafe()) : Number(clock.monotonicTimeNanosUnsafe()) / 1e6

/** So long a correction of the wall clock of the host may go unseen. */
const offsetMillis = 10

let offset = 0
let readAt = -Infinity

/**
 * Wall time less monotonic time. On the live clock it is read at most every 10 milliseconds, as it changes only when the
 * wall clock is corrected; `now` is a reading of the monotonic line that has just been taken.
 */
export const wallOffset = (clock: Clock.Clock, now: number): number => {
  if (clock !== liveClock) return Number(clock.currentTimeNanosUnsafe()) / 1e6 - now
  if (now < readAt || now - readAt >= offsetMillis) {
    offset = Number(clock.currentTimeNanosUnsafe()) / 1e6 - now
    readAt = now
  }
  return offset
}
