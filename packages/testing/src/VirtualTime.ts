/**
 * Time that passes when something is due, and not before: a heap of events, a clock on it, and the scheduler of the fibers
 * that live in it.
 *
 * `TestClock` is made for tests, where a person moves the time; it sorts its sleepers at each step and waits for the host
 * between them. Here nobody waits: an event makes everything happen that follows from it at its instant, then the next one
 * is taken. The instants are whole nanoseconds, so that sums of waits meet exactly.
 *
 * @internal
 */
import { Clock, Context, Duration, Effect, Scheduler } from "effect"

/** Something that is due. Two of one instant happen in the order in which they were scheduled. */
export abstract class Event {
  /** nanoseconds; written by `VirtualTime` */
  due = 0
  order = 0
  /** its place in the heap, -1 outside */
  place = -1

  /** must not throw */
  abstract happen(): void
}

class Task extends Event {
  readonly happen: () => void
  constructor(happen: () => void) {
    super()
    this.happen = happen
  }
}

class Sleeper extends Event {
  private readonly resume: (effect: Effect.Effect<void>) => void
  constructor(resume: (effect: Effect.Effect<void>) => void) {
    super()
    this.resume = resume
  }
  happen(): void {
    this.resume(Effect.void)
  }
}

const isBefore = (a: Event, b: Event): boolean => a.due < b.due || (a.due === b.due && a.order < b.order)

/** A binary heap in which each event knows its place: most timers are cancelled long before they are due. */
class Heap {
  private readonly events: Array<Event> = []

  get size(): number {
    return this.events.length
  }

  get first(): Event | undefined {
    return this.events[0]
  }

  add(event: Event): void {
    this.events.push(event)
    this.up(event, this.events.length - 1)
  }

  remove(event: Event): void {
    const { place } = event
    event.place = -1
    const last = this.events.pop()!
    if (last === event) return
    last.place = place
    this.events[place] = last
    this.up(last, place)
    this.down(last, last.place)
  }

  private put(event: Event, place: number): void {
    this.events[place] = event
    event.place = place
  }

  private up(event: Event, from: number): void {
    let place = from
    while (place > 0) {
      const parent = (place - 1) >> 1
      if (!isBefore(event, this.events[parent]!)) break
      this.put(this.events[parent]!, place)
      place = parent
    }
    this.put(event, place)
  }

  private down(event: Event, from: number): void {
    const { events } = this
    let place = from
    for (;;) {
      let child = 2 * place + 1
      if (child >= events.length) break
      if (child + 1 < events.length && isBefore(events[child + 1]!, events[child]!)) child++
      if (!isBefore(events[child]!, event)) break
      this.put(events[child]!, place)
      place = child
    }
    this.put(event, place)
  }
}

const nanosPerMilli = 1_000_000

export class VirtualTime implements Clock.Clock {
  private nanos = 0
  private asBigInt = 0n
  private order = 0
  private readonly heap = new Heap()
  private ready: Array<() => void> = []
  private readonly epochMillis: number

  /** @param epochMillis the wall time at which virtual time begins */
  constructor(epochMillis: number) {
    this.epochMillis = epochMillis
  }

  /** milliseconds since the beginning */
  get now(): number {
    return this.nanos / nanosPerMilli
  }

  /** events that are scheduled */
  get pending(): number {
    return this.heap.size
  }

  schedule(millis: number, event: Event): void {
    event.due = this.nanos + Math.round(Math.max(0, millis) * nanosPerMilli)
    event.order = this.order++
    this.heap.add(event)
  }

  /** Runs `f` after a while. */
  after(millis: number, f: () => void): Event {
    const task = new Task(f)
    this.schedule(millis, task)
    return task
  }

  cancel(event: Event): void {
    if (event.place >= 0) this.heap.remove(event)
  }

  /** Lets the next event happen and all that follows from it at its instant. `false`: nothing is scheduled. */
  step(): boolean {
    const event = this.heap.first
    if (event === undefined) return false
    this.heap.remove(event)
    this.nanos = event.due
    event.happen()
    this.settle()
    return true
  }

  /** Runs the fibers that have given way. */
  settle(): void {
    while (this.ready.length > 0) {
      const { ready } = this
      this.ready = []
      for (const run of ready) run()
    }
  }

  // ---------------------------------------------------------------------------
  // as a clock
  // ---------------------------------------------------------------------------

  currentTimeMillisUnsafe(): number {
    return this.epochMillis + Math.floor(this.now)
  }

  currentTimeNanosUnsafe(): bigint {
    return BigInt(this.epochMillis) * BigInt(nanosPerMilli) + this.monotonicTimeNanosUnsafe()
  }

  /** A call reads the clock several times in one instant, and a bigint is made from scratch. */
  monotonicTimeNanosUnsafe(): bigint {
    if (Number(this.asBigInt) !== this.nanos) this.asBigInt = BigInt(this.nanos)
    return this.asBigInt
  }

  readonly currentTimeMillis = Effect.sync(() => this.currentTimeMillisUnsafe())
  readonly currentTimeNanos = Effect.sync(() => this.currentTimeNanosUnsafe())
  readonly monotonicTimeNanos = Effect.sync(() => this.monotonicTimeNanosUnsafe())

  sleep(duration: Duration.Duration): Effect.Effect<void> {
    const millis = Duration.toMillis(duration)
    return millis === Infinity ? Effect.never : Effect.callback<void>((resume) => {
      const sleeper = new Sleeper(resume)
      this.schedule(millis, sleeper)
      return Effect.sync(() => this.cancel(sleeper))
    })
  }

  /** What a fiber needs to live in this time: its clock, and a scheduler that never waits for the host. */
  readonly context: Context.Context<never> = Context.empty().pipe(
    Context.add(Clock.Clock, this as Clock.Clock),
    Context.add(
      Scheduler.Scheduler,
      new Scheduler.MixedScheduler("async", (run) => {
        this.ready.push(run)
        return () => {
          this.ready = this.ready.filter((other) => other !== run)
        }
      })
    )
  )
}
