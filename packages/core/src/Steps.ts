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

/** The same record with other values; the record itself where all of them stay. A step for each. */
export const mapValues = function*<A extends B, B = A>(
  record: Readonly<Record<string, A>>,
  change: (value: A, name: string) => B
): Steps<Readonly<Record<string, B>>> {
  const changes: Array<readonly [string, B]> = []
  for (const name of Object.keys(record)) {
    yield
    const value = record[name]!
    const changed = change(value, name)
    if (!Object.is(changed, value)) changes.push([name, changed])
  }
  return changes.length === 0 ? record : { ...record, ...Object.fromEntries(changes) }
}

/**
 * A call that comes meanwhile waits that long, and for one more step: both must be short beside a call that waits for
 * nothing. Shorter slices cost more turns of the event loop than the work itself.
 */
const sliceMillis = 0.005

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
