/**
 * Work that is long, and must not hold up the calls: it is written as a generator that stops where others may go first.
 *
 * @internal
 */
import type { Clock } from "effect"
import { Effect, Exit, Fiber } from "effect"
import { clockOf, nowMillis } from "./Time.ts"

/** Stops after each small part, and returns the whole. */
export type Steps<A> = Generator<void, A, void>

/** All steps at once, where nobody waits or an answer is needed now. */
export const runNow = <A>(steps: Steps<A>): A => {
  for (;;) {
    const step = steps.next()
    if (step.done === true) return step.value
  }
}

/** Sets a field of a record that is being made, whatever its name is: `__proto__` is one as well. */
export const define = <B>(record: Record<string, B>, name: string, value: B): void => {
  if (name in record) {
    Object.defineProperty(record, name, { value, writable: true, enumerable: true, configurable: true })
  } else record[name] = value
}

/** The same record with other values; the record itself where all of them stay. A step for each. */
export const mapValues = function*<A extends B, B = A>(
  record: Readonly<Record<string, A>>,
  change: (value: A, name: string) => B
): Steps<Readonly<Record<string, B>>> {
  const names = Object.keys(record)
  let changes: Record<string, B> | undefined
  for (let index = 0; index < names.length; index++) {
    yield
    const name = names[index]!
    const value = record[name]!
    const changed = change(value, name)
    if (changes === undefined && !Object.is(changed, value)) changes = yield* copying(record, names.slice(0, index))
    if (changes !== undefined) define(changes, name, changed)
  }
  return changes ?? record
}

const copying = function*<A extends B, B>(
  record: Readonly<Record<string, A>>,
  names: ReadonlyArray<string>
): Steps<Record<string, B>> {
  const copy: Record<string, B> = {}
  for (const name of names) {
    yield
    define(copy, name, record[name]!)
  }
  return copy
}

/**
 * A call that comes meanwhile waits for a slice, and for the rest of its last step: both must be short beside a call that
 * waits for nothing. On most clocks a slice is a step, and costs a turn of the event loop. Where a turn costs some
 * milliseconds, as with the timers of browsers, slices leave room for what is drawn 60 times a second.
 */
export const sliceMillisOn = (host: object): number => "setImmediate" in host ? 0.001 : 4

const sliceMillis = /* @__PURE__ */ sliceMillisOn(globalThis)

/** The exit of the whole, `undefined` while there is more to do. */
const runSlice = <A>(steps: Steps<A>, clock: Clock.Clock): Exit.Exit<A> | undefined => {
  try {
    const end = nowMillis(clock) + sliceMillis
    do {
      const step = steps.next()
      if (step.done === true) return Exit.succeed(step.value)
    } while (nowMillis(clock) < end)
    return undefined
  } catch (defect) {
    return Exit.die(defect)
  }
}

/**
 * A slice with each turn of the event loop, so that timers, sockets and other fibers have theirs between two of them. Can be
 * interrupted there. Where time stands still there is one slice only.
 *
 * The fiber sleeps meanwhile, and its scheduler is asked for turns directly: waking the fiber takes longer than most steps.
 * So a step must not ask for the fiber that it runs in.
 */
export const runInSlices = <A>(begin: () => Steps<A>): Effect.Effect<A> =>
  Effect.callback<A>((resume) => {
    const { context, currentDispatcher } = Fiber.getCurrent()!
    const clock = clockOf(context)
    const steps = begin()
    let interrupted = false
    const turn = (): void => {
      if (interrupted) return
      const exit = runSlice(steps, clock)
      if (exit === undefined) currentDispatcher.scheduleTask(turn, 0)
      else resume(exit)
    }
    turn()
    return Effect.sync(() => {
      interrupted = true
    })
  })
