/**
 * One-shot timers on the clock of a call.
 *
 * On the live clock a timer is a `setTimeout`, which runs in the asynchronous context (`AsyncLocalStorage`) of the call
 * that armed it. On any other clock (`TestClock`) it is a fiber that sleeps, so that virtual time moves it.
 *
 * @internal
 */
import type { Clock, Context } from "effect"
import { Duration, Effect } from "effect"
import { liveClock, nowMillis } from "./Time.ts"

// Core is compiled without the types of a host; every host has these.
declare const setTimeout: (f: () => void, millis: number) => unknown
declare const clearTimeout: (handle: unknown) => void
declare const queueMicrotask: (f: () => void) => void

/** `setTimeout` fires at once when it is asked for more; longer waits are chained. */
const maxTimeout = 2_147_483_647

export interface Timer {
  readonly cancel: () => void
}

class LiveTimer implements Timer {
  private handle: unknown
  private readonly due: number
  private readonly fire: () => void
  constructor(millis: number, fire: () => void) {
    this.due = nowMillis(liveClock) + millis
    this.fire = fire
    this.arm(millis)
  }

  private arm(millis: number): void {
    this.handle = setTimeout(this.onTimeout, Math.min(Math.ceil(millis), maxTimeout))
  }

  /** Hosts may fire up to a millisecond early; a wait that a server asked for must not be shortened. */
  private readonly onTimeout = (): void => {
    const left = this.due - nowMillis(liveClock)
    if (left > 0) this.arm(left)
    else this.fire()
  }

  cancel(): void {
    clearTimeout(this.handle)
  }
}

const sleepingTimer = (
  clock: Clock.Clock,
  context: Context.Context<never>,
  millis: number,
  fire: () => void
): Timer => {
  let cancelled = false
  const fiber = Effect.runForkWith(context)(clock.sleep(Duration.millis(millis)))
  fiber.addObserver((exit) => {
    if (!cancelled && exit._tag === "Success") fire()
  })
  return {
    cancel: () => {
      cancelled = true
      fiber.interruptUnsafe()
    }
  }
}

/** `fire` must not throw. It may be called before this returns where the wait is not positive. */
export const arm = (
  clock: Clock.Clock,
  context: Context.Context<never>,
  millis: number,
  fire: () => void
): Timer => clock === liveClock ? new LiveTimer(Math.max(0, millis), fire) : sleepingTimer(clock, context, millis, fire)

/** Holds at most one timer. A wait too short for the clock is over before `arm` returns, and leaves nothing behind. */
export class TimerSlot {
  private timer: Timer | undefined = undefined

  get armed(): boolean {
    return this.timer !== undefined
  }

  set(clock: Clock.Clock, context: Context.Context<never>, millis: number, fire: () => void): void {
    this.cancel()
    let fired = false
    const timer = arm(clock, context, millis, () => {
      fired = true
      this.timer = undefined
      fire()
    })
    if (!fired) this.timer = timer
  }

  cancel(): void {
    this.timer?.cancel()
    this.timer = undefined
  }
}

/**
 * Runs `f` when all that happens in this tick has happened. On the live clock a tick is a turn of JavaScript; under
 * another clock it is a step of the fiber's scheduler, which `TestClock` waits for.
 */
export const endOfTick = (clock: Clock.Clock, context: Context.Context<never>, f: () => void): void => {
  if (clock === liveClock) return queueMicrotask(f)
  Effect.runForkWith(context)(Effect.yieldNow).addObserver(f)
}
