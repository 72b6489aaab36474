/**
 * One-shot timers on the clock of a call.
 *
 * On the live clock a timer is a `setTimeout`. Those of equal length share one: a call that ends before its timeout then
 * costs two steps in a list, and nothing is allocated, because what waits is its own entry. A shared timer fires in the
 * asynchronous context (`AsyncLocalStorage`) of whichever call armed it: who starts something when it rings must go back
 * to its own (`AsyncContext`). On any other clock (`TestClock`) a timer is a fiber that sleeps, so that virtual time moves
 * it.
 *
 * @internal
 */
import type { Clock, Context, Fiber } from "effect"
import { Duration, Effect } from "effect"
import { liveClock, nowMillis } from "./Time.ts"

// Core is compiled without the types of a host; every host has these.
declare const setTimeout: (f: () => void, millis: number) => unknown
declare const clearTimeout: (handle: unknown) => void
declare const queueMicrotask: (f: () => void) => void

/** `setTimeout` fires at once when it is asked for more; longer waits are chained. */
const maxTimeout = 2_147_483_647

const hostTimeout = (f: () => void, millis: number): unknown =>
  setTimeout(f, Math.min(Math.max(0, Math.ceil(millis)), maxTimeout))

/** What an alarm is armed with, until it rings or is cancelled. */
interface Holder {
  readonly release: (alarm: Alarm) => void
}

/** Waits for an instant, at most one at a time. What waits extends it, and so is its own entry in a shared timer. */
export abstract class Alarm {
  /** on the line of the live clock; written by the holder */
  due = 0
  ahead: Alarm | undefined = undefined
  behind: Alarm | undefined = undefined
  holder: Holder | undefined = undefined

  /** Must not throw. The alarm is no longer armed. */
  abstract ring(): void

  get armed(): boolean {
    return this.holder !== undefined
  }

  /**
   * For waits whose length occurs again and again. `now` is the instant from which the wait counts: this one, or the one
   * in which the code that runs began. On a clock other than the live one it may ring before this returns where there is
   * nothing to wait for.
   */
  armShared(clock: Clock.Clock, context: Context.Context<never>, millis: number, now: number): void {
    const shared = clock === liveClock ? SharedTimer.of(millis) : undefined
    if (shared === undefined) return this.armOwn(clock, context, millis)
    this.cancel()
    shared.add(this, now)
  }

  /** For waits of any length; as `armShared` otherwise. On the live clock it rings in the asynchronous context of now. */
  armOwn(clock: Clock.Clock, context: Context.Context<never>, millis: number): void {
    this.cancel()
    const timer = clock === liveClock ? new OwnTimer(this) : new SleepingTimer(this)
    this.holder = timer
    timer.start(Math.max(0, millis), clock, context)
  }

  cancel(): void {
    const { holder } = this
    if (holder === undefined) return
    this.holder = undefined
    holder.release(this)
  }
}

// -----------------------------------------------------------------------------
// a timer of its own
// -----------------------------------------------------------------------------

class OwnTimer implements Holder {
  private handle: unknown
  private readonly alarm: Alarm
  constructor(alarm: Alarm) {
    this.alarm = alarm
  }

  start(millis: number): void {
    this.alarm.due = nowMillis(liveClock) + millis
    this.wait(millis)
  }

  private wait(millis: number): void {
    this.handle = hostTimeout(this.onTimeout, millis)
  }

  /** Hosts may fire up to a millisecond early; a wait that a server asked for must not be shortened. */
  private readonly onTimeout = (): void => {
    const { alarm } = this
    const left = alarm.due - nowMillis(liveClock)
    if (left > 0) return this.wait(left)
    alarm.holder = undefined
    alarm.ring()
  }

  release(): void {
    clearTimeout(this.handle)
  }
}

// -----------------------------------------------------------------------------
// a timer for all waits of one length
// -----------------------------------------------------------------------------

/** Lengths come from policies and from buckets of a latency window; beyond so many an alarm gets a timer of its own. */
const maxShared = 256

/** A timer of Node can stop holding the process, which is cheaper than clearing it; other hosts have numbers. */
interface Refable {
  readonly ref: () => void
  readonly unref: () => void
}

const isRefable = (handle: unknown): handle is Refable =>
  typeof handle === "object" && handle !== null && "unref" in handle

/** First in, first out: waits of one length end in the order in which they began. */
export class SharedTimer implements Holder {
  private static readonly byMillis = new Map<number, SharedTimer>()

  static of(millis: number): SharedTimer | undefined {
    const known = SharedTimer.byMillis.get(millis)
    if (known !== undefined) return known
    if (!(millis >= 1) || SharedTimer.byMillis.size >= maxShared) return undefined
    const timer = new SharedTimer(millis)
    SharedTimer.byMillis.set(millis, timer)
    return timer
  }

  /** the lengths that are shared now, for tests */
  static get lengths(): ReadonlySet<number> {
    return new Set(SharedTimer.byMillis.keys())
  }

  private first: Alarm | undefined = undefined
  private last: Alarm | undefined = undefined
  private handle: unknown = undefined
  private firing = false
  private readonly millis: number
  constructor(millis: number) {
    this.millis = millis
  }

  add(alarm: Alarm, now: number): void {
    alarm.due = now + this.millis
    alarm.holder = this
    if (this.last === undefined) {
      this.first = alarm
      this.hold()
    } else {
      this.last.behind = alarm
      alarm.ahead = this.last
    }
    this.last = alarm
  }

  release(alarm: Alarm): void {
    this.unlink(alarm)
    if (this.first === undefined) this.rest()
  }

  private unlink(alarm: Alarm): void {
    const { ahead, behind } = alarm
    if (ahead === undefined) this.first = behind
    else ahead.behind = behind
    if (behind === undefined) this.last = ahead
    else behind.ahead = ahead
    alarm.ahead = undefined
    alarm.behind = undefined
  }

  /** The timer of the host runs on when nobody waits any more: the next to wait often comes before it fires. */
  private hold(): void {
    if (isRefable(this.handle)) this.handle.ref()
    else if (!this.firing) this.wait(this.millis)
  }

  /** Nobody waits: it must not hold the process. */
  private rest(): void {
    if (isRefable(this.handle)) return this.handle.unref()
    clearTimeout(this.handle)
    this.handle = undefined
    if (!this.firing) SharedTimer.byMillis.delete(this.millis)
  }

  private wait(millis: number): void {
    this.handle = hostTimeout(this.onTimeout, millis)
  }

  /** What rings may arm and cancel alarms of this timer, itself included. */
  private readonly onTimeout = (): void => {
    this.handle = undefined
    this.firing = true
    const now = nowMillis(liveClock)
    for (let alarm = this.first; alarm !== undefined && alarm.due <= now; alarm = this.first) {
      this.unlink(alarm)
      alarm.holder = undefined
      alarm.ring()
    }
    this.firing = false
    if (this.first !== undefined) this.wait(this.first.due - nowMillis(liveClock))
    else SharedTimer.byMillis.delete(this.millis)
  }
}

// -----------------------------------------------------------------------------
// a sleep on another clock
// -----------------------------------------------------------------------------

class SleepingTimer implements Holder {
  private fiber: Fiber.Fiber<void> | undefined = undefined
  private readonly alarm: Alarm
  constructor(alarm: Alarm) {
    this.alarm = alarm
  }

  start(millis: number, clock: Clock.Clock, context: Context.Context<never>): void {
    const { alarm } = this
    this.fiber = Effect.runForkWith(context)(clock.sleep(Duration.millis(millis)))
    this.fiber.addObserver((exit) => {
      if (alarm.holder !== this || exit._tag !== "Success") return
      alarm.holder = undefined
      alarm.ring()
    })
  }

  release(): void {
    this.fiber?.interruptUnsafe()
  }
}

// -----------------------------------------------------------------------------
// other waits
// -----------------------------------------------------------------------------

/** An alarm that calls a function, for waits that are not on the way of a call that succeeds. */
export class TimerSlot extends Alarm {
  private fire: (() => void) | undefined = undefined

  set(clock: Clock.Clock, context: Context.Context<never>, millis: number, fire: () => void): void {
    this.fire = fire
    this.armOwn(clock, context, millis)
  }

  ring(): void {
    this.fire?.()
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
