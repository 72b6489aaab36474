/**
 * What one observer is still to be told, in order and within a bound. Calls put notices in and never wait; a fiber that is
 * there only while there is something to tell takes them out.
 *
 * @internal
 */
import type { Metric } from "effect"
import { Cause, Clock, Context, Duration, Effect, Fiber } from "effect"
import type { AsyncContext } from "./AsyncContext.ts"
import { capture } from "./AsyncContext.ts"
import { counter } from "./MetricSeries.ts"
import { instruments } from "./MetricTable.ts"
import { liveClock, nowMillis } from "./Time.ts"

/** Something to tell: made by the call, turned into what the observer gets when it is told. */
export interface Notice<O> {
  readonly tell: (observer: O) => unknown
}

export interface Options {
  readonly name: string
  readonly capacity: number
}

/** Where others may go first. Where time stands still there is one slice. */
const sliceMillis = 0.5

const shutdownTimeout = Duration.seconds(2)

const isPromise = (u: unknown): u is PromiseLike<unknown> =>
  typeof u === "object" && u !== null && "then" in u && typeof u.then === "function"

/** A layer that has the observer. */
interface Owner {
  readonly context: Context.Context<never>
  readonly asyncContext: AsyncContext | undefined
}

interface Waiter {
  readonly until: number
  readonly resume: () => void
}

export class Mailbox<O> {
  dropped = 0
  failed = 0
  private items: Array<Notice<O>> = []
  /** what the fiber works on; `next` is the place of the one it tells next */
  private batch: Array<Notice<O>> = []
  private next = 0
  private pushed = 0
  private told = 0
  private waiters: Array<Waiter> = []
  private fiber: Fiber.Fiber<void> | undefined = undefined
  private running = false
  /** after the last of them has closed nobody waits for the observer any more */
  private owners: ReadonlyArray<Owner> = []
  private closed = false
  /** the latest owner that is there, or the last one that was: where it is told, logged and counted */
  private at: Owner = { context: Context.empty(), asyncContext: undefined }
  private readonly observer: O
  private readonly options: Options
  private readonly counter: Metric.Counter<number>

  constructor(observer: O, options: Options) {
    this.observer = observer
    this.options = options
    this.counter = counter(instruments.observerDropped, [options.name])
  }

  get waiting(): number {
    return this.pushed - this.told
  }

  push(notice: Notice<O>): void {
    if (this.closed || this.waiting >= this.options.capacity) return this.drop(1)
    this.items.push(notice)
    this.pushed++
    this.wake()
  }

  private drop(count: number): void {
    this.dropped += count
    try {
      this.counter.updateUnsafe(count, this.at.context)
    } catch {
      // A registry of the user's that throws changes no call; the number above is right.
    }
  }

  /** It begins in another turn: nothing of an observer runs while a call does. */
  private wake(): void {
    if (this.running) return
    this.running = true
    const { asyncContext } = this.at
    if (asyncContext === undefined) this.fork()
    else asyncContext.runInAsyncScope(this.fork, this, undefined)
  }

  private fork(): void {
    const fiber = Effect.runForkWith(this.at.context)(Effect.andThen(Effect.yieldNow, this.drain))
    this.fiber = fiber
    fiber.addObserver((exit) => {
      if (exit._tag === "Failure" && this.fiber === fiber) this.onBroken(exit.cause)
    })
  }

  /** The observer has interrupted the fiber in which it is told: what it was told last is lost, and the rest goes on. */
  private onBroken(cause: Cause.Cause<never>): void {
    this.running = false
    const untold = this.items.length + this.batch.length - this.next
    if (this.waiting > untold) {
      this.fail(cause)
      this.onTold(undefined)
    }
    if (untold > 0) this.wake()
  }

  private readonly drain: Effect.Effect<void> = Clock.clockWith((clock) => {
    const end = nowMillis(clock) + sliceMillis
    for (let notice = this.take(); notice !== undefined; notice = this.take()) {
      const rest = this.tell(notice)
      if (rest !== undefined) return Effect.andThen(rest, Effect.suspend(() => this.onTold(this.drain)))
      this.onTold(undefined)
      if (nowMillis(clock) >= end) return Effect.andThen(Effect.yieldNow, this.drain)
    }
    this.running = false
    return Effect.void
  })

  private take(): Notice<O> | undefined {
    if (this.next === this.batch.length) {
      this.batch = this.items
      this.items = []
      this.next = 0
    }
    return this.next < this.batch.length ? this.batch[this.next++] : undefined
  }

  private onTold<A>(then: A): A {
    this.told++
    while (this.waiters.length > 0 && this.waiters[0]!.until <= this.told) this.waiters.shift()!.resume()
    return then
  }

  /** What is still to be done for it, if it takes time. */
  private tell(notice: Notice<O>): Effect.Effect<unknown> | undefined {
    try {
      const rest = notice.tell(this.observer)
      if (Effect.isEffect(rest)) return this.guard(rest as Effect.Effect<unknown>)
      // An async function is no Effect, and its rejection must not end the process.
      return isPromise(rest) ? this.guard(Effect.promise(() => Promise.resolve(rest))) : undefined
    } catch (defect) {
      this.fail(Cause.die(defect))
      return undefined
    }
  }

  /** The fiber may have begun under an owner that has left since. */
  private guard(rest: Effect.Effect<unknown>): Effect.Effect<unknown> {
    const { context } = this.at
    return Effect.catchCause(Effect.updateContext(rest, () => context), (cause) => Effect.sync(() => this.fail(cause)))
  }

  /** Said once: an observer that fails may fail with every event. */
  private fail(cause: Cause.Cause<unknown>): void {
    if (this.failed++ > 0) return
    const line = Effect.logError(`rego: a defect in the observer ${this.options.name} changes no call`, cause)
    Effect.runForkWith(this.at.context)(line)
  }

  /** Ends when everything that waited when it was asked for has been told. */
  readonly flush: Effect.Effect<void> = Effect.callback<void>((resume) => {
    if (this.waiting === 0) return resume(Effect.void)
    const waiter: Waiter = { until: this.pushed, resume: () => resume(Effect.void) }
    this.waiters.push(waiter)
    return Effect.sync(() => {
      this.waiters = this.waiters.filter((other) => other !== waiter)
    })
  })

  /** A layer has the observer from now on, until the Effect that is returned has run once. */
  open(context: Context.Context<never>): Effect.Effect<void> {
    const owner: Owner = { context, asyncContext: capture() }
    this.owners = [...this.owners, owner]
    this.closed = false
    this.at = owner
    return Effect.suspend(() => this.leave(owner))
  }

  /**
   * The last one waits until all is told, for a bounded time, on the live clock: under `TestClock` nobody would move the
   * time any more.
   */
  private leave(owner: Owner): Effect.Effect<void> {
    this.owners = this.owners.filter((other) => other !== owner)
    const latest = this.owners.at(-1)
    if (latest !== undefined) {
      this.at = latest
      return Effect.void
    }
    return this.flush.pipe(
      Effect.timeoutOption(shutdownTimeout),
      Effect.provideService(Clock.Clock, liveClock),
      Effect.andThen(Effect.suspend(() => this.owners.length > 0 ? Effect.void : this.end()))
    )
  }

  private end(): Effect.Effect<void> {
    this.closed = true
    const { fiber, waiting } = this
    if (waiting === 0) return Effect.void
    this.items = []
    this.batch = []
    this.next = 0
    this.told = this.pushed
    this.running = false
    this.fiber = undefined
    fiber?.interruptUnsafe()
    for (const waiter of this.waiters.splice(0)) waiter.resume()
    this.drop(waiting)
    return Effect.logWarning(
      `rego: the observer ${this.options.name} was left after ${Duration.format(shutdownTimeout)}, ${waiting} untold`
    )
  }
}
