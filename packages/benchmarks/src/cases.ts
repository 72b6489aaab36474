/**
 * What is compared. Every case is one call of an operation that succeeds at once, made in a loop inside one fiber.
 */
import { Classifier, Outcome, PolicyLayer, Rego, Timeline } from "@rego/core"
import type { PolicyProvider } from "@rego/core"
import { handleAll, retry, timeout, TimeoutStrategy, wrap } from "cockatiel"
import { Effect, Layer, Logger } from "effect"
import type { Exit } from "effect"

type Services = PolicyProvider.PolicyProvider

/** What is called: as an effect, and for peers that know promises only as a function. */
export interface Operation {
  readonly effect: Effect.Effect<number>
  readonly promise: (() => Promise<number>) | undefined
}

/** `promise`: the operation is asynchronous and ends in a microtask. `sync`: it never suspends. */
export type Source = "promise" | "sync"

/**
 * `request`: as in a program, the effect is made anew for each call, inside a span and a scope of the caller.
 * `constant`: one effect is made once and called over and over.
 */
export type Shape = "request" | "constant"

export interface Group {
  readonly source: Source
  readonly shape: Shape
}

export interface Subject {
  readonly name: string
  readonly call: (operation: Operation) => Effect.Effect<unknown, unknown, Services>
  /** all groups, unless given */
  readonly runsIn?: (group: Group) => boolean
  /** whether its calls in flight are weighed; yes, unless given */
  readonly inFlight?: boolean
}

export interface Case {
  readonly id: string
  readonly group: Group
  readonly subject: Subject
  /** so many calls, one after the other */
  readonly loop: (calls: number) => Effect.Effect<void, never, Services>
}

// -----------------------------------------------------------------------------
// policies
// -----------------------------------------------------------------------------

export const everything = "bench.Everything"
export const noTimers = "bench.NoTimers"

const classifier = Classifier.byTag<{ readonly _tag: "NotFound" }>({
  NotFound: Outcome.nonRetryable({ reason: "not_found" })
})

/** Without loggers: a policy without timeouts is warned about at boot, and here it is meant. */
export const Policies = PolicyLayer.make({
  defaults: { retry: { maxAttempts: 3 }, classifier, budget: "default" },
  policies: {
    [everything]: { timeout: { perAttempt: "1 second", overall: "5 seconds" } },
    [noTimers]: { timeout: "off" }
  }
}).pipe(Layer.provide(Logger.layer([])))

// -----------------------------------------------------------------------------
// subjects
// -----------------------------------------------------------------------------

/** An inner retry of twice within an outer timeout, as their documentation composes them. */
const cockatiel = (abortOnReturn: boolean) =>
  wrap(
    timeout(5_000, { strategy: TimeoutStrategy.Aggressive, abortOnReturn }),
    retry(handleAll, { maxAttempts: 2 })
  )

const ofCockatiel = (name: string, abortOnReturn: boolean): Subject => {
  const policy = cockatiel(abortOnReturn)
  return {
    name,
    runsIn: ({ source }) => source === "promise",
    call: ({ promise }) => Effect.promise(() => policy.execute(promise!))
  }
}

export const bare = "bare effect"
export const composed = "Effect.timeout + retry + timeout"
export const rego = "Rego.resilient, everything on"

export const subjects: ReadonlyArray<Subject> = [
  { name: bare, call: ({ effect }) => effect },
  { name: "Effect.retry({ times: 2 })", call: ({ effect }) => Effect.retry(effect, { times: 2 }) },
  {
    name: composed,
    call: ({ effect }) =>
      effect.pipe(Effect.timeout("1 second"), Effect.retry({ times: 2 }), Effect.timeout("5 seconds"))
  },
  { name: rego, call: ({ effect }) => Rego.resilient(effect, everything) },
  {
    name: "Rego.resilient, everything on, timeline captured",
    call: ({ effect }) => Effect.flatMap(Timeline.capture(Rego.resilient(effect, everything)), exitOf)
  },
  { name: "Rego.resilient, no timeouts", call: ({ effect }) => Rego.resilient(effect, noTimers) },
  ofCockatiel("cockatiel wrap(timeout, retry)", true),
  ofCockatiel("cockatiel, abortOnReturn: false", false),
  {
    name: "mistake: a policy layer for each call",
    runsIn: ({ shape, source }) => source === "promise" && shape === "request",
    inFlight: false,
    // `local`: the layer of the runner must not be found and shared, as it is not in a program that makes this mistake
    call: ({ effect }) => Effect.provide(Rego.resilient(effect, everything), Policies, { local: true })
  }
]

const exitOf = <A, E>([exit]: readonly [Exit.Exit<A, E>, unknown]): Exit.Exit<A, E> => exit

// -----------------------------------------------------------------------------
// cases
// -----------------------------------------------------------------------------

export const operations: Readonly<Record<Source, () => Operation>> = {
  promise: () => {
    const promise = async () => 1
    return { effect: Effect.promise(() => promise()), promise }
  },
  sync: () => ({ effect: Effect.sync(() => 1), promise: undefined })
}

const repeat = <R>(calls: number, call: () => Effect.Effect<unknown, unknown, R>): Effect.Effect<void, never, R> =>
  Effect.suspend(() => {
    let made = 0
    return Effect.orDie(Effect.whileLoop({ while: () => made++ < calls, body: call, step: () => {} }))
  })

const loopOf = ({ shape, source }: Group, { call }: Subject): Case["loop"] => {
  const make = operations[source]
  if (shape === "request") {
    return (calls) => repeat(calls, () => call(make())).pipe(Effect.withSpan("request"), Effect.scoped)
  }
  const constant = call(make())
  return (calls) => repeat(calls, () => constant)
}

export const groups: ReadonlyArray<Group> = [
  { source: "promise", shape: "request" },
  { source: "promise", shape: "constant" },
  { source: "sync", shape: "request" },
  { source: "sync", shape: "constant" }
]

export const idOf = ({ shape, source }: Group, subject: string): string => `${source}/${shape}/${subject}`

export const cases: ReadonlyArray<Case> = groups.flatMap((group) =>
  subjects
    .filter(({ runsIn }) => runsIn === undefined || runsIn(group))
    .map((subject) => ({ id: idOf(group, subject.name), group, subject, loop: loopOf(group, subject) }))
)
