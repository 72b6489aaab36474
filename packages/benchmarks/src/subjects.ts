/**
 * What is compared: ways to make one call of an operation. Ours and Effect's are effects; the other libraries take
 * functions that return promises, and are called as they are where nothing around them is an effect.
 */
import { Observer, Rego, Timeline } from "@rego/core"
import type { PolicyProvider } from "@rego/core"
import { circuitBreaker, ConsecutiveBreaker, handleAll, retry, timeout, TimeoutStrategy, wrap } from "cockatiel"
import type { IPolicy } from "cockatiel"
import { Effect, Tracer } from "effect"
import type { Exit } from "effect"
import CircuitBreaker from "opossum"
import pRetry from "p-retry"
import type { Group } from "./cases.ts"
import { keys, overall, perAttempt, Policies } from "./policies.ts"

export type Services = PolicyProvider.PolicyProvider

interface Common {
  readonly name: string
  /** the groups it runs in; all but failing operations, unless given */
  readonly runsIn?: (group: Group) => boolean
  /** a mistake of a user: shown, and not weighed while calls are in flight */
  readonly mistake?: boolean
}

export interface EffectSubject extends Common {
  readonly effect: (operation: Effect.Effect<number, unknown>) => Effect.Effect<unknown, unknown, Services>
  /** what is provided to all calls of a round, once */
  readonly around?: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

export interface PromiseSubject extends Common {
  readonly promise: (operation: () => Promise<number>) => Promise<unknown>
}

export type Subject = EffectSubject | PromiseSubject

/** Has something around its rounds, which calls in flight do not. */
export const isWatched = (subject: Subject): boolean => "effect" in subject && subject.around !== undefined

// -----------------------------------------------------------------------------
// Effect
// -----------------------------------------------------------------------------

export const bare = "bare effect"
export const effectRetry = "Effect.retry({ times: 2 })"
export const effectTimeout = "Effect.timeout"
export const composed = "Effect.timeout + retry + timeout"
export const raced = "Effect.raceFirst, delayed second"

const fails = ({ source }: Group): boolean => source === "failing"
const everywhere = (): boolean => true

const ofEffect: ReadonlyArray<EffectSubject> = [
  { name: bare, effect: (operation) => operation },
  { name: effectRetry, runsIn: everywhere, effect: (operation) => Effect.retry(operation, { times: 2 }) },
  { name: effectTimeout, effect: (operation) => Effect.timeout(operation, overall) },
  {
    name: composed,
    effect: (operation) =>
      operation.pipe(Effect.timeout(perAttempt), Effect.retry({ times: 2 }), Effect.timeout(overall))
  },
  { name: raced, effect: (operation) => Effect.raceFirst(operation, Effect.delay(operation, perAttempt)) }
]

// -----------------------------------------------------------------------------
// ours
// -----------------------------------------------------------------------------

export const rego = "Rego, everything on"
export const regoTimeline = "Rego, everything on, resilientWithTimeline"
export const regoCapture = "Rego, everything on, Timeline.capture"
export const regoSilent = "Rego, everything on, observers that want nothing"
const regoObserved = "Rego, everything on, one observer"
const regoTraced = "Rego, everything on, spans in memory"
export const regoWithoutHedge = "Rego, everything but the hedge"
export const regoRetryAndBudget = "Rego, retry and budget"
export const regoFailing = "Rego, everything on, backoff none"

const exitOf = <A, E>([exit]: readonly [Exit.Exit<A, E>, unknown]): Exit.Exit<A, E> => exit
const inRequests = ({ from, shape, source }: Group): boolean =>
  source === "promise" && shape === "request" && from === "fiber"

const nothing = (): void => {}

const observed = (observer: Observer.Observer): NonNullable<EffectSubject["around"]> => (self) =>
  Effect.provideService(self, Observer.CurrentObservers, new Set([observer]))

/** Calls of a benchmark leave the event loop no turn, in which observers are told: what is told belongs to the cost. */
const callsBeforeFlush = 256

const flushing = (): EffectSubject["effect"] => {
  let calls = 0
  return (operation) => {
    const call = Rego.resilient(operation, keys.everything)
    return ++calls % callsBeforeFlush === 0 ? Effect.tap(call, Observer.flush) : call
  }
}

/** Makes spans as Effect's own tracer does, and keeps none. */
const tracer = Tracer.make({ span: (options) => new Tracer.NativeSpan(options) })

const ofRego: ReadonlyArray<EffectSubject> = [
  { name: regoTimeline, effect: Rego.resilientWithTimeline(keys.everything) },
  {
    name: regoCapture,
    effect: (operation) => Effect.flatMap(Timeline.capture(Rego.resilient(operation, keys.everything)), exitOf)
  },
  { name: rego, effect: Rego.resilient(keys.everything) },
  {
    name: regoSilent,
    runsIn: inRequests,
    effect: Rego.resilient(keys.everything),
    around: observed(Observer.spans("off"))
  },
  {
    name: regoObserved,
    runsIn: inRequests,
    effect: flushing(),
    around: observed({ onEvent: nothing, onCallEnd: nothing })
  },
  {
    name: regoTraced,
    runsIn: inRequests,
    effect: Rego.resilient(keys.everything),
    around: (self) => Effect.withTracer(self, tracer)
  },
  { name: regoWithoutHedge, effect: Rego.resilient(keys.withoutHedge) },
  { name: regoRetryAndBudget, effect: Rego.resilient(keys.retryAndBudget) },
  { name: regoFailing, runsIn: fails, effect: Rego.resilient(keys.failing) },
  {
    name: "mistake: a span around each call",
    mistake: true,
    runsIn: inRequests,
    effect: (operation) => Effect.withSpan(Rego.resilient(operation, keys.everything), "call")
  },
  {
    name: "mistake: a policy layer for each call",
    mistake: true,
    runsIn: inRequests,
    // `local`: the layer of the runner must not be found and shared, as it is not in a program that makes this mistake
    effect: (operation) => Effect.provide(Rego.resilient(operation, keys.everything), Policies, { local: true })
  }
]

// -----------------------------------------------------------------------------
// other libraries
// -----------------------------------------------------------------------------

const cockatielRetry = "cockatiel retry"
export const cockatielThree = "cockatiel wrap(retry, timeout, breaker)"
export const cockatielFour = "cockatiel wrap(timeout, retry, timeout, breaker)"
export const keptSignal = ", abortOnReturn: false"

const retryTwice = () => retry(handleAll, { maxAttempts: 2 })
const breaker = () => circuitBreaker(handleAll, { halfOpenAfter: 10_000, breaker: new ConsecutiveBreaker(5) })
const within = (millis: number, abortOnReturn: boolean) =>
  timeout(millis, { strategy: TimeoutStrategy.Aggressive, abortOnReturn })

const three = (abortOnReturn: boolean) => wrap(retryTwice(), within(30_000, abortOnReturn), breaker())
const four = (abortOnReturn: boolean) =>
  wrap(within(60_000, abortOnReturn), retryTwice(), within(30_000, abortOnReturn), breaker())

/** Functions that return promises have no synchronous form, and run in no runtime. */
const asynchronous = ({ from, source }: Group): boolean =>
  from !== "runtime" && (source === "promise" || source === "http")

const ofCockatiel = (name: string, policy: IPolicy): PromiseSubject => ({
  name,
  runsIn: asynchronous,
  promise: (operation) => policy.execute(operation)
})

const call = (operation: () => Promise<number>): Promise<number> => operation()
const opossum = new CircuitBreaker(call, { timeout: 30_000 })

const ofOthers: ReadonlyArray<PromiseSubject> = [
  ofCockatiel(cockatielRetry, retryTwice()),
  ofCockatiel(cockatielThree, three(true)),
  ofCockatiel(cockatielThree + keptSignal, three(false)),
  ofCockatiel(cockatielFour, four(true)),
  ofCockatiel(cockatielFour + keptSignal, four(false)),
  { name: "opossum with timeout", runsIn: asynchronous, promise: (operation) => opossum.fire(operation) },
  { name: "p-retry", runsIn: asynchronous, promise: (operation) => pRetry(operation, { retries: 2 }) }
]

export const subjects: ReadonlyArray<Subject> = [...ofEffect, ...ofRego, ...ofOthers]

export const runsIn = (subject: Subject, group: Group): boolean => subject.runsIn?.(group) ?? !fails(group)
