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
import type { Place } from "./Line.ts"
import { Line } from "./Line.ts"
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
export interface Holder {
  /** A method, because a shared timer is given back only what it holds, and may ask for that. */
  release(alarm: Alarm): void
}

/** What an alarm must have to be its own entry in a timer that calls share. */
export interface Queued extends Place<Sharing> {
  /** when it must ring, on the line of the clock that it is armed on; set before it is armed */
  readonly due: number
}

export type Sharing = Alarm & Queued

/**
 * Waits for an instant, at most one at a time. What waits extends it. The fields are those of the classes that extend it:
 * each call makes some, and those of a base class are made in a step of their own.
 */
export abstract class Alarm {
  abstract holder: Holder | undefined

  /** Must not throw. The alarm is no longer armed. */
  abstract ring(): void

  get armed(): boolean {
    return this.holder !== undefined
  }

  /**
   * For waits whose length occurs again and again: `millis` before it is due was this instant, or the one in which the code
   * that runs began. On a clock other than the live one it may ring before this returns where there is nothing to wait for.
   */
  armShared(this: Sharing, clock: Clock.Clock, context: Context.Context<never>, millis: number): void {
    const shared = clock === liveClock ? SharedTimer.of(millis) : undefined
    if (shared === undefined) return this.armOwn(clock, context, millis)
    this.cancel()
    shared.add(this)
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
  private due = 0
  private readonly alarm: Alarm
  constructor(alarm: Alarm) {
    this.alarm = alarm
  }

  start(millis: number): void {
    this.due = nowMillis(liveClock) + millis
    this.wait(millis)
  }

  private wait(millis: number): void {
    this.handle = hostTimeout(this.onTimeout, millis)
  }

  /** Hosts may fire up to a millisecond early; a wait that a server asked for must not be shortened. */
  private readonly onTimeout = (): void => {
    const { alarm } = this
    const left = this.due - nowMillis(liveClock)
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

  private readonly line = new Line<Sharing>()
  private handle: unknown = undefined
  private firing = false
  private readonly millis: number
  constructor(millis: number) {
    this.millis = millis
  }

  add(alarm: Sharing): void {
    alarm.holder = this
    const idle = this.line.first === undefined
    this.line.join(alarm)
    if (idle) this.hold(alarm.due)
  }

  release(alarm: Sharing): void {
    this.line.leave(alarm)
    if (this.line.first === undefined) this.rest()
  }

  /** The timer of the host runs on when nobody waits any more: the next to wait often comes before it fires. */
  private hold(due: number): void {
    if (isRefable(this.handle)) this.handle.ref()
    else if (!this.firing) this.waitUntil(due)
  }

  /** Nobody waits: it must not hold the process. */
  private rest(): void {
    if (isRefable(this.handle)) return this.handle.unref()
    clearTimeout(this.handle)
    this.handle = undefined
    if (!this.firing) SharedTimer.byMillis.delete(this.millis)
  }

  private waitUntil(due: number): void {
    this.handle = hostTimeout(this.onTimeout, due - nowMillis(liveClock))
  }

  /** What rings may arm and cancel alarms of this timer, itself included. */
  private readonly onTimeout = (): void => {
    this.handle = undefined
    this.firing = true
    const now = nowMillis(liveClock)
    const { line } = this
    for (let alarm = line.first; alarm !== undefined && alarm.due <= now; alarm = line.first) {
      line.leave(alarm)
      alarm.holder = undefined
      alarm.ring()
    }
    this.firing = false
    if (line.first !== undefined) this.waitUntil(line.first.due)
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
  holder: Holder | undefined = undefined
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
