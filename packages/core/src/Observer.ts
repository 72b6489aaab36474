/**
 * Somebody who is told what happens in calls: each event while it happens, and the timeline when a call has ended.
 *
 * **When to use**
 *
 * For logs, metrics and alarms of your own. `Timeline.capture` is simpler where only the calls of one program count.
 *
 * **Details**
 *
 * An observer never delays or changes a call. It is told in a fiber of its own, in another turn of the event loop, from a
 * queue of 4,096 notices: one that is slow, hangs, throws or dies loses notices, and they are counted
 * (`Observer.statistics`, and the metric `rego.observer.dropped`). The events of a call arrive in order, its timeline after
 * them. A call without observers makes no events at all.
 *
 * **Example** (Counting attempts that failed)
 *
 * ```ts
 * import { Observer, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Layer } from "effect"
 *
 * const seen: Array<string> = []
 * const Observers = Observer.layer([{
 *   name: "failures",
 *   onEvent: (event) => {
 *     if (event._tag === "AttemptEnded" && event.outcome === "Retryable") seen.push(`${event.key} ${event.error}`)
 *   }
 * }])
 *
 * let calls = 0
 * const flaky = Effect.suspend(() => ++calls === 1 ? Effect.fail("503") : Effect.succeed("ada"))
 *
 * const program = Effect.gen(function*() {
 *   yield* flaky.pipe(Rego.resilient("users.Get"))
 *   yield* Observer.flush
 *   seen // => ["users.Get 503"]
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Layer.merge(PolicyLayer.defaults, Observers))))
 * ```
 *
 * @since 0.1.0
 */
import type { Duration, Option, Scope } from "effect"
import { Context, Effect, Layer } from "effect"
import type { AttemptFacts, CallRecord } from "./CallRecord.ts"
import type { Notice } from "./Mailbox.ts"
import { Mailbox } from "./Mailbox.ts"
import type { Siblings } from "./ObserverLayers.ts"
import { contextOf, newKey, siblingsOf } from "./ObserverLayers.ts"
import { RecentCalls } from "./RecentCalls.ts"
import * as Timeline from "./Timeline.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * How much of a call is shown as spans:
 *
 * - `"attempts"`: a span for the call, and one for each attempt, whatever tracer is there;
 * - `"call"`: a span for the call;
 * - `"event"`: no span; one event on the span of the caller, if there is one;
 * - `"auto"`: `"attempts"` where a tracer is installed, otherwise nothing: nobody sees the spans of Effect's own tracer;
 * - `"off"`: nothing.
 *
 * @category models
 * @since 0.1.0
 */
export type Spans = "attempts" | "call" | "event" | "auto" | "off"

/**
 * What an observer returns is ignored, unless it is an Effect: it is run before the observer is told the next thing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Observer {
  /** for logs and metrics. Default `"observer"` */
  readonly name?: string | undefined
  /** notices that may wait for it, from 1; further ones are dropped and counted. Default 4,096 */
  readonly capacity?: number | undefined
  /** told each event of a call, in order */
  readonly onEvent?: ((event: Timeline.Event) => void | Effect.Effect<void>) | undefined
  /** told after the events of the call */
  readonly onCallEnd?: ((timeline: Timeline.Timeline) => void | Effect.Effect<void>) | undefined
  /** made by `Observer.spans` only */
  readonly "~@rego/core/Observer/spans"?: Spans | undefined
  /** what it reports, and where to: of several that have the same the last one is told */
  readonly "~@rego/core/Observer/reports"?: ReadonlyArray<unknown> | undefined
}

const none: ReadonlySet<Observer> = new Set()

/**
 * The observers of the calls made here. A call reads them once, when it begins.
 *
 * **Gotchas**
 *
 * Of layers side by side it holds the observers of one; calls, `flush` and the policies hear for all of them. Who sets it
 * directly replaces all: add with `layer` and `mergeWithExisting`.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentObservers: Context.Reference<ReadonlySet<Observer>> = Context.Reference(
  "@rego/core/Observer/CurrentObservers",
  { defaultValue: () => none }
)

// -----------------------------------------------------------------------------
// mailboxes
// -----------------------------------------------------------------------------

const defaultCapacity = 4_096

const isCapacity = (capacity: unknown): capacity is number => Number.isSafeInteger(capacity) && Number(capacity) >= 1

const check = (observer: Observer): Observer => {
  const { capacity } = observer
  if (capacity === undefined || isCapacity(capacity)) return observer
  throw new RangeError(`Observer: capacity must be an integer from 1, got ${capacity}`)
}

const mailboxes = new WeakMap<Observer, Mailbox<Observer>>()

const mailboxOf = (observer: Observer): Mailbox<Observer> => {
  const known = mailboxes.get(observer)
  if (known !== undefined) return known
  const { capacity, name } = observer
  const mailbox = new Mailbox(observer, {
    name: name ?? "observer",
    capacity: isCapacity(capacity) ? capacity : defaultCapacity
  })
  mailboxes.set(observer, mailbox)
  return mailbox
}

// -----------------------------------------------------------------------------
// sinks
// -----------------------------------------------------------------------------

/**
 * Those who hear of a call, sorted by what they want. Made once for each set of observers.
 *
 * @internal
 */
export interface Sinks {
  readonly events: ReadonlyArray<Mailbox<Observer>>
  readonly ends: ReadonlyArray<Mailbox<Observer>>
  readonly spans: Spans
  /** the layer that has set them, and those that were built with it */
  readonly siblings: Siblings | undefined
}

const sinks = new WeakMap<ReadonlySet<Observer>, Sinks>()

const reportSame = (a: Observer, b: Observer): boolean => {
  const [one, other] = [a["~@rego/core/Observer/reports"], b["~@rego/core/Observer/reports"]]
  return one !== undefined && one.length === other?.length && one.every((part, i) => Object.is(part, other[i]))
}

/** Two that count the same in one place would count it twice. */
const eachOnce = (observers: ReadonlyArray<Observer>): ReadonlyArray<Observer> =>
  observers.filter((observer, i) => !observers.slice(i + 1).some((later) => reportSame(observer, later)))

const sinksOf = (observers: ReadonlySet<Observer>): Sinks => {
  const known = sinks.get(observers)
  if (known !== undefined) return known
  const all = eachOnce(Array.from(observers))
  const made: Sinks = {
    events: all.filter(({ onEvent }) => onEvent !== undefined).map(mailboxOf),
    ends: all.filter(({ onCallEnd }) => onCallEnd !== undefined).map(mailboxOf),
    spans: all.map((observer) => observer["~@rego/core/Observer/spans"]).findLast((level) => level !== undefined) ??
      "auto",
    siblings: siblingsOf(observers)
  }
  sinks.set(observers, made)
  return made
}

/** What the code of users has said of an attempt. */
const wordsOf = (attempt: AttemptFacts) => {
  const { cause } = attempt
  const attributes = Timeline.annotationsIn(attempt)
  return {
    ...(cause === undefined ? {} : { error: Timeline.errorOf(cause) }),
    ...(attributes === undefined ? {} : { attributes })
  }
}

/**
 * Those who hear of a call that is made in a context. It names `observers`; layers side by side may have set others.
 *
 * @internal
 */
export const sinksIn = (context: Context.Context<never>, observers: ReadonlySet<Observer>): Sinks => {
  const found = sinksOf(observers)
  const all = found.siblings?.unite(context, observers) ?? observers
  return all === observers ? found : sinksOf(all)
}

/**
 * The observers that a context names, without those of layers side by side.
 *
 * @internal
 */
export const namedIn = (context: Context.Context<never>): ReadonlySet<Observer> =>
  Context.getOrUndefined(context, CurrentObservers) ?? none

/**
 * All observers of a context.
 *
 * @internal
 */
export const observersIn = (context: Context.Context<never>): ReadonlySet<Observer> => {
  const observers = namedIn(context)
  return siblingsOf(observers)?.unite(context, observers) ?? observers
}

/**
 * An event on its way. What it says of an attempt that ended is put into words when it is told, not while the call runs.
 *
 * @internal
 */
export class EventNotice implements Notice<Observer> {
  private event: Timeline.Event
  private ended: AttemptFacts | undefined
  constructor(event: Timeline.Event, ended?: AttemptFacts) {
    this.event = event
    this.ended = ended
  }

  tell(observer: Observer): unknown {
    if (this.ended !== undefined) {
      this.event = { ...this.event, ...wordsOf(this.ended) } as Timeline.Event
      this.ended = undefined
    }
    return observer.onEvent?.(this.event)
  }
}

/** @internal */
export class EndNotice implements Notice<Observer> {
  private timeline: Timeline.Timeline | undefined = undefined
  private readonly record: CallRecord
  constructor(record: CallRecord) {
    this.record = record
  }

  tell(observer: Observer): unknown {
    this.timeline ??= Timeline.fromRecord(this.record)
    return observer.onCallEnd?.(this.timeline)
  }
}

/**
 * Tells observers of what happened outside of calls.
 *
 * @internal
 */
export const tell = (observers: ReadonlySet<Observer>, event: Timeline.Event): void => {
  const notice = new EventNotice(event)
  for (const mailbox of sinksOf(observers).events) mailbox.push(notice)
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * Checks an observer and returns it: throws a `RangeError` when `capacity` is no integer from 1. Not needed for `layer`, which
 * checks what it is given; it types the callbacks of an object that stands alone.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Omit<Observer, `~@rego/core/Observer/${string}`>): Observer => check(options)

/**
 * Says how much of a call is shown as spans, in place of the default `"auto"`. Of several the last counts.
 *
 * **Example** (No spans of ours)
 *
 * ```ts
 * import { Observer } from "@rego/core"
 *
 * const Quiet = Observer.layer([Observer.spans("off")], { mergeWithExisting: true })
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const spans = (level: Spans): Observer => ({ name: "spans", "~@rego/core/Observer/spans": level })

// -----------------------------------------------------------------------------
// recent calls
// -----------------------------------------------------------------------------

/**
 * How many calls `recent` keeps, and which.
 *
 * @category options
 * @since 0.1.0
 */
export interface RecentOptions {
  /** how many of the latest calls are kept, 1 to 10,000. Default 200 */
  readonly capacity?: number | undefined
  /** calls that were quicker are not kept, unless they failed. By default all are */
  readonly slowerThan?: Duration.Input | undefined
  /** how many of the latest failures and defects are kept besides, to 10,000. Default 50 */
  readonly keepFailed?: number | undefined
  /** how many of the slowest calls are kept besides, of the hour before the latest call, to 10,000. Default 20 */
  readonly keepSlowest?: number | undefined
}

/**
 * A call that was kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface RecentCall {
  /** names the call among those of its process; made of letters, digits and a dash */
  readonly id: string
  readonly timeline: Timeline.Timeline
}

/**
 * Which of the calls that are kept are wanted; what is left out does not matter.
 *
 * @category options
 * @since 0.1.0
 */
export interface RecentFilter {
  /** a part of the key, in small or capital letters */
  readonly key?: string | undefined
  /** how the call ended */
  readonly result?: Timeline.Timeline["result"] | undefined
  /** calls that took at least this long */
  readonly slowerThan?: Duration.Input | undefined
  /** attempts that were started: 2 for the calls that were retried or hedged */
  readonly minAttempts?: number | undefined
  /** default `"latest"` */
  readonly order?: "latest" | "slowest" | undefined
  /** by default all that match */
  readonly limit?: number | undefined
}

/**
 * An observer that keeps timelines.
 *
 * @category models
 * @since 0.1.0
 */
export interface Recent extends Observer {
  readonly onCallEnd: (timeline: Timeline.Timeline) => void
  /** what is kept and matches */
  readonly calls: (filter?: RecentFilter) => Effect.Effect<ReadonlyArray<RecentCall>>
  /** `None` for a call that is not kept any more */
  readonly find: (id: string) => Effect.Effect<Option.Option<RecentCall>>
  /** calls that have ended since it was made, kept or not */
  readonly seen: Effect.Effect<number>
}

/**
 * An observer that keeps the timelines of the latest calls, and apart from them those of the latest failures and of the
 * slowest calls, so that a flood of good calls does not wash them away. For a page of whoever is on call: `DebugRoutes` of
 * `@rego/http` shows it.
 *
 * **Details**
 *
 * Memory is bounded: at most `capacity + keepFailed + keepSlowest` timelines. Throws a `RangeError` for options out of
 * range.
 *
 * **Example** (What was slow just now?)
 *
 * ```ts
 * import { Observer, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Layer } from "effect"
 *
 * const recent = Observer.recent({ capacity: 500, keepSlowest: 50 })
 * const App = Layer.merge(PolicyLayer.defaults, Observer.layer([recent]))
 *
 * const program = Effect.gen(function*() {
 *   yield* Effect.sleep("5 millis").pipe(Rego.resilient("users.Get"))
 *   yield* Effect.succeed("tea").pipe(Rego.resilient("cups.Get"))
 *   yield* Observer.flush
 *   const calls = yield* recent.calls({ order: "slowest", limit: 10 })
 *   calls.map(({ timeline }) => timeline.key) // => ["users.Get", "cups.Get"]
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(App)))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const recent = (options: RecentOptions = {}): Recent => new RecentCalls(options)

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/** Owns the observer for as long as the scope lasts: then what waits is told, for at most two seconds. */
const own = (observer: Observer): Effect.Effect<Observer, never, Scope.Scope> =>
  Effect.flatMap(Effect.context<never>(), (context) => {
    const mailbox = mailboxOf(check(observer))
    return Effect.as(Effect.acquireRelease(Effect.sync(() => mailbox.open(context)), (close) => close), observer)
  })

type AnyObserver = Observer | Effect.Effect<Observer, any, any>

/**
 * Sets the observers of all calls made under the layer. Replaces those that were set around it, unless
 * `mergeWithExisting` is true, as `Logger.layer` does.
 *
 * **Details**
 *
 * Of layers side by side (`Layer.mergeAll`, an array for `Effect.provide`) the observers of all are told, each of them
 * once, and together they replace what was set around them.
 *
 * An Effect among them is run when the layer is built, in the scope of the layer. When the layer closes, what still waits
 * is told for at most two seconds of real time; what is left then is dropped and counted.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Observers extends ReadonlyArray<AnyObserver>>(
  observers: Observers,
  options?: { readonly mergeWithExisting?: boolean | undefined } | undefined
): Layer.Layer<
  never,
  Observers extends readonly [] ? never : Effect.Error<Observers[number]>,
  Exclude<Observers extends readonly [] ? never : Effect.Services<Observers[number]>, Scope.Scope>
> => {
  const key = newKey()
  return Layer.effectContext(Effect.gen(function*() {
    const around = options?.mergeWithExisting === true ? observersIn(yield* Effect.context<never>()) : none
    const all = new Set(around)
    for (const observer of observers as ReadonlyArray<AnyObserver>) {
      all.add(yield* own(Effect.isEffect(observer) ? yield* observer : observer))
    }
    return yield* contextOf(key, CurrentObservers, all)
  })) as never
}

// -----------------------------------------------------------------------------
// inspecting
// -----------------------------------------------------------------------------

/**
 * How an observer keeps up, in notices: an event or the end of a call is one.
 *
 * @category models
 * @since 0.1.0
 */
export interface Statistics {
  /** notices that wait now */
  readonly waiting: number
  /** notices that were dropped because too many waited, or because its layer had closed */
  readonly dropped: number
  /** notices at which it threw, failed or died; the first is logged */
  readonly failed: number
}

/**
 * How an observer keeps up.
 *
 * @category getters
 * @since 0.1.0
 */
export const statistics = (observer: Observer): Effect.Effect<Statistics> =>
  Effect.sync(() => {
    const { dropped, failed, waiting } = mailboxOf(observer)
    return { waiting, dropped, failed }
  })

/**
 * Ends when the current observers have been told everything that has happened so far: for tests, and before a program ends.
 * It waits for ever for one that hangs.
 *
 * @category getters
 * @since 0.1.0
 */
export const flush: Effect.Effect<void> = Effect.withFiber((fiber) =>
  Effect.forEach(observersIn(fiber.context), (observer) => mailboxOf(observer).flush, {
    concurrency: "unbounded",
    discard: true
  })
)
