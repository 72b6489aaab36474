/**
 * Work that is long, and must not hold up the calls: it is written as a generator that stops where others may go first.
 *
 * @internal
 */
import { Clock, Effect } from "effect"
import { nowMillis } from "./Time.ts"

/** Stops after each small part, and returns the whole. */
export type Steps<A> = Generator<void, A, void>

/** All steps at once, where nobody waits or an answer is needed now. */
export const runNow = <A>(steps: Steps<A>): A => {
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** A call that comes meanwhile waits that long at most, and for one more step: both must be short beside a call. */
const sliceMillis = 0.02

/**
 * A slice with each turn of the event loop, so that timers, sockets and other fibers have theirs between two of them. Can be
 * interrupted there. Where time stands still there is one slice only.
 */
export const runInSlices = <A>(begin: () => Steps<A>): Effect.Effect<A> =>
  Clock.clockWith((clock) => {
    const steps = begin()
    const slice: Effect.Effect<A> = Effect.suspend(() => {
      const end = nowMillis(clock) + sliceMillis
      do {
        const step = steps.next()
        if (step.done === true) return Effect.succeed(step.value)
      } while (nowMillis(clock) < end)
      return Effect.andThen(Effect.yieldNow, slice)
    })
    return slice
  })
