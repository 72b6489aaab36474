/**
 * Faults that are put into a running application: errors, latency, silence, answers, for a share of the requests.
 *
 * **When to use**
 *
 * To see what callers notice when a dependency is in trouble, before it is: in a test, or as an exercise on a running
 * application. Call sites do not change. A layer around what is to be tested injects the faults, and without the layer there
 * are none.
 *
 * **Details**
 *
 * A fault takes the place of an attempt's effect: inside of the attempt's timeout, before the classifier, so that retries,
 * hedges, budgets and timelines see it as they would see the real thing. The attempt is marked in its timeline with the
 * attribute `fault`, and so is the current span: with the names of all that were injected. `Fault.at` marks a place outside
 * of any call.
 *
 * **Example** (Half of the requests fail)
 *
 * ```ts
 * import { Backoff, PolicyLayer, Rego, Timeline } from "@rego/core"
 * import { Fault, TimelineRows } from "@rego/testing"
 * import { Effect, Layer } from "effect"
 *
 * const Policies = PolicyLayer.make({
 *   policies: { "users.*": { retry: { maxAttempts: 3, backoff: Backoff.none }, timeout: { overall: "1 second" } } }
 * })
 *
 * const Faults = Fault.layer([Fault.error("503", { keys: "users.*", rate: 0.5 })], { seed: "rain" })
 *
 * const test = Effect.gen(function*() {
 *   const [exit, [timeline]] = yield* Effect.succeed("ada").pipe(Rego.resilient("users.Get"), Timeline.capture)
 *   exit._tag // => "Success"
 *   timeline?.attempts.map(({ attributes }) => attributes?.["fault"]) // => ["error \"503\"", undefined]
 * })
 *
 * await Effect.runPromise(test.pipe(Effect.provide(Faults.pipe(Layer.provide(Policies)))))
 * ```
 *
 * @since 0.1.0
 */
import { Attempt, PolicyProvider } from "@rego/core"
import type { Fiber } from "effect"
import { Clock, Context, Duration, Effect, Layer, Option, Random } from "effect"
import { show } from "./AssertionError.ts"
import { millisOn, nowMillis } from "./Now.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * Which attempts a fault hits, and when. By default all of them, from the start to the end.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** which keys: exact ones, `prefix.*` or `*`, as in policies. Default `"*"` */
  readonly keys?: string | ReadonlyArray<string> | undefined
  /** share of the requests, 0 to 1. Default 1 */
  readonly rate?: number | undefined
  /** when it begins, since the layer was built. Default at once */
  readonly from?: Duration.Input | undefined
  /** when it ends, since the layer was built. Default never */
  readonly until?: Duration.Input | undefined
  /** which attempts: only first ones, only hedges; places outside of calls are no attempts. Default all, and places */
  readonly when?: ((attempt: Attempt.Attempt) => boolean) | undefined
  /** what stands in timelines and counts. Default a description */
  readonly name?: string | undefined
}

/**
 * What is injected, and where.
 *
 * @category models
 * @since 0.1.0
 */
export interface Fault {
  readonly name: string
  readonly keys: ReadonlyArray<string>
  readonly rate: number
  /** milliseconds since the layer was built */
  readonly from: number
  readonly until: number
  readonly when: ((attempt: Attempt.Attempt) => boolean) | undefined
  /** what happens: it is waited for a while, or an exit takes the place of the effect */
  readonly effect: Delay | Instead
}

/**
 * Milliseconds, drawn evenly between both.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delay {
  readonly _tag: "Delay"
  readonly min: number
  readonly max: number
}

/**
 * An effect that takes the place of that of the attempt.
 *
 * @category models
 * @since 0.1.0
 */
export interface Instead {
  readonly _tag: "Instead"
  readonly effect: Effect.Effect<unknown, unknown>
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

const pattern = /^(?:\*|[A-Za-z0-9_./:-]{1,126}\.\*|[A-Za-z0-9_./:-]{1,128})$/

/** One error that names every option out of range. */
const check = (what: string, issues: ReadonlyArray<string>): void => {
  if (issues.length > 0) throw new RangeError(`Fault.${what}: ${issues.join("; ")}`)
}

const millisOf = (input: Duration.Input): number =>
  Option.match(Duration.fromInput(input), { onNone: () => NaN, onSome: Duration.toMillis })

const make = (what: string, description: string, effect: Fault["effect"], options: Options = {}): Fault => {
  const { rate = 1, when } = options
  const keys = [options.keys ?? "*"].flat()
  const from = millisOf(options.from ?? 0)
  const until = options.until === undefined ? Infinity : millisOf(options.until)
  check(what, [
    ...keys.flatMap((key) =>
      typeof key === "string" && pattern.test(key)
        ? []
        : [`keys: must be keys, "prefix.*" or "*", got ${show(key)}`]
    ),
    ...keys.length === 0 ? ["keys: must name at least one"] : [],
    ...rate >= 0 && rate <= 1 ? [] : [`rate: must be from 0 to 1, got ${show(rate)}`],
    ...from >= 0 ? [] : [`from: must be a duration that is not negative, got ${show(options.from)}`],
    ...until >= from ? [] : [`until: must be a duration that is not before from, got ${show(options.until)}`]
  ])
  return { name: options.name ?? description, keys, rate, from, until, when, effect }
}

/**
 * The effect is not run, and fails with this error.
 *
 * **Gotchas**
 *
 * Types cannot see it: inject errors that the effect can fail with.
 *
 * @category constructors
 * @since 0.1.0
 */
export const error = (error: unknown, options?: Options): Fault =>
  make("error", `error ${nameOf(error)}`, { _tag: "Instead", effect: Effect.fail(error) }, options)

/** Errors by their tag or their name: a timeline is no place for what they carry. */
const nameOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null) return show(error)
  if ("_tag" in error) return String(error._tag)
  return error instanceof Error ? error.name : show(error)
}

/**
 * The effect is not run, and there is a defect.
 *
 * @category constructors
 * @since 0.1.0
 */
export const defect = (defect: unknown, options?: Options): Fault =>
  make("defect", `defect ${nameOf(defect)}`, { _tag: "Instead", effect: Effect.die(defect) }, options)

/**
 * The effect is not run, and succeeds with this value: a response with status 503, an empty page.
 *
 * **Gotchas**
 *
 * Types cannot see it: inject values that the effect can succeed with.
 *
 * @category constructors
 * @since 0.1.0
 */
export const answer = (value: unknown, options?: Options): Fault =>
  make("answer", `answer ${show(value)}`, { _tag: "Instead", effect: Effect.succeed(value) }, options)

/**
 * The effect is not run, and there is no answer until the attempt is interrupted.
 *
 * @category constructors
 * @since 0.1.0
 */
export const hang = (options?: Options): Fault =>
  make("hang", "hang", { _tag: "Instead", effect: Effect.never }, options)

/**
 * The effect is run later: after a fixed time, or one drawn evenly between two.
 *
 * @category constructors
 * @since 0.1.0
 */
export const latency = (
  delay: Duration.Input | { readonly min: Duration.Input; readonly max: Duration.Input },
  options?: Options
): Fault => {
  const [min, max] = isRange(delay) ? [millisOf(delay.min), millisOf(delay.max)] : [millisOf(delay), millisOf(delay)]
  check(
    "latency",
    min >= 0 && max >= min && max < Infinity ? [] : [
      `must be a finite duration, or two of which max is not less than min, got ${show(delay)}`
    ]
  )
  const text = min === max ? showMillis(min) : `${showMillis(min)} to ${showMillis(max)}`
  return make("latency", `latency ${text}`, { _tag: "Delay", min, max }, options)
}

const isRange = (
  delay: Parameters<typeof latency>[0]
): delay is { readonly min: Duration.Input; readonly max: Duration.Input } =>
  typeof delay === "object" && "min" in delay && "max" in delay

const showMillis = (millis: number): string => Duration.format(Duration.millis(millis))

// -----------------------------------------------------------------------------
// injecting
// -----------------------------------------------------------------------------

/**
 * The faults of a layer, for an exercise that changes while it runs.
 *
 * @category services
 * @since 0.1.0
 */
export class Faults extends Context.Service<Faults, {
  /** replaces all of them; `[]` ends the exercise. Times are still counted since the layer was built */
  readonly set: (faults: ReadonlyArray<Fault>) => Effect.Effect<void>
  /** how often each was injected since the layer was built, by name */
  readonly injected: Effect.Effect<Readonly<Record<string, number>>>
  /** what `at` works with */
  readonly "~@rego/testing/Fault": Injector
}>()("@rego/testing/Fault/Faults") {}

const covers = (key: string, of: string): boolean =>
  key === "*" || key === of || (key.endsWith(".*") && of.startsWith(key.slice(0, -1)))

/** What is injected into one request. */
interface Injected {
  readonly names: Array<string>
  delay: number
  instead: Effect.Effect<unknown, unknown> | undefined
}

class Injector {
  faults: ReadonlyArray<Fault>
  readonly injected = new Map<string, number>()
  private readonly startedAt: number
  /** of the fiber unless the layer has a seed */
  private readonly random: Random.Random | undefined

  constructor(faults: ReadonlyArray<Fault>, startedAt: number, random: Random.Random | undefined) {
    this.faults = faults
    this.startedAt = startedAt
    this.random = random
  }

  around<A, E, R>(self: Effect.Effect<A, E, R>, key: string, attempt?: Attempt.Attempt): Effect.Effect<A, E, R> {
    return Effect.withFiber((fiber) => {
      const { delay, instead, names } = this.draw(key, attempt, fiber)
      if (names.length === 0) return self
      for (const name of names) this.injected.set(name, (this.injected.get(name) ?? 0) + 1)
      const run = (instead ?? self) as Effect.Effect<A, E, R>
      return Effect.andThen(mark(names), delay > 0 ? Effect.delay(run, delay) : run)
    })
  }

  /** In the order of the list: delays add up, and what comes instead of the effect ends the list. */
  private draw(key: string, attempt: Attempt.Attempt | undefined, fiber: Fiber.Fiber<unknown, unknown>): Injected {
    const now = millisOn(fiber.getRef(Clock.Clock)) - this.startedAt
    const random = () => (this.random ?? fiber.getRef(Random.Random)).nextDoubleUnsafe()
    const injected: Injected = { names: [], delay: 0, instead: undefined }
    for (const fault of this.faults) {
      if (!concerns(fault, key, attempt, now)) continue
      if (!this.hits(fault, random)) continue
      injected.names.push(fault.name)
      if (fault.effect._tag === "Instead") {
        injected.instead = fault.effect.effect
        break
      }
      const { max, min } = fault.effect
      injected.delay += min === max ? min : min + (max - min) * random()
    }
    return injected
  }

  /**
   * Numbers of the layer's own are drawn also where it is sure what comes of it, so that another rate does not shift what
   * comes after. Those of the fiber are the application's, and are left alone there.
   */
  private hits({ rate }: Fault, random: () => number): boolean {
    if (this.random === undefined && (rate === 0 || rate === 1)) return rate === 1
    return random() < rate
  }
}

const concerns = (
  { from, keys, until, when }: Fault,
  key: string,
  attempt: Attempt.Attempt | undefined,
  now: number
): boolean =>
  now >= from && now < until && keys.some((pattern) => covers(pattern, key)) &&
  (when === undefined || (attempt !== undefined && when(attempt)))

/** What was injected into an attempt, or under a span: a second mark there must not hide the first. */
const marks = new WeakMap<object, Set<string>>()

const allIn = (where: object, names: ReadonlyArray<string>): string => {
  const all = new Set([...marks.get(where) ?? [], ...names])
  marks.set(where, all)
  return [...all].join(", ")
}

const mark = (names: ReadonlyArray<string>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const attempt = yield* Attempt.CurrentAttempt
    if (Option.isSome(attempt)) yield* Attempt.annotate("fault", allIn(attempt.value, names))
    const span = yield* Effect.option(Effect.currentSpan)
    if (Option.isSome(span)) span.value.attribute("fault", allIn(span.value, names))
  })

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * How faults are drawn.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions {
  /** faults are drawn from a `Random` of their own. Default: the one of the fiber that is hit, where a rate is between 0 and 1 */
  readonly seed?: string | number | undefined
}

const injector = (faults: ReadonlyArray<Fault>, { seed }: LayerOptions): Effect.Effect<Injector> =>
  Effect.gen(function*() {
    const random = seed === undefined ? undefined : yield* Random.withSeed(Random.Random, seed)
    return new Injector(faults, yield* nowMillis, random)
  })

/**
 * Injects faults into every attempt of every call that uses this layer, and into the places below it that `at` marks.
 *
 * **Details**
 *
 * Faults are asked in the order of the list. Delays add up; the first fault that takes the place of the effect ends the
 * list. The layer stands on the layer of policies: `Faults.pipe(Layer.provideMerge(Policies))` in place of `Policies` puts
 * a whole application under them. It logs one warning when it is built.
 *
 * **Example** (Two minutes in which one of two replicas is slow)
 *
 * ```ts
 * import { Hedge, PolicyLayer, Rego } from "@rego/core"
 * import { Fault } from "@rego/testing"
 * import { Clock, Effect, Fiber, Layer } from "effect"
 * import { TestClock } from "effect/testing"
 *
 * const Policies = PolicyLayer.make({
 *   policies: {
 *     "users.Get": { hedge: { trigger: Hedge.after("50 millis") }, timeout: { overall: "5 seconds" }, idempotent: true }
 *   }
 * })
 *
 * const slow = Fault.latency("1 second", { until: "2 minutes", when: ({ hedge }) => hedge === 0 })
 *
 * const time = Effect.gen(function*() {
 *   const startedAt = yield* Clock.currentTimeMillis
 *   const call = yield* Clock.currentTimeMillis.pipe(
 *     Rego.resilient("users.Get"),
 *     Effect.forkChild({ startImmediately: true })
 *   )
 *   yield* TestClock.adjust("5 seconds")
 *   return (yield* Fiber.join(call)) - startedAt
 * })
 *
 * const test = Effect.gen(function*() {
 *   yield* time // => 50
 *   yield* TestClock.adjust("2 minutes")
 *   yield* time // => 0
 *   yield* Effect.flatMap(Fault.Faults, (faults) => faults.injected) // => { "latency 1s": 1 }
 * })
 *
 * const Faulty = Fault.layer([slow]).pipe(Layer.provideMerge(Policies))
 * await Effect.runPromise(test.pipe(Effect.provide(Faulty), Effect.provide(TestClock.layer())))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  faults: ReadonlyArray<Fault>,
  options: LayerOptions = {}
): Layer.Layer<PolicyProvider.PolicyProvider | Faults, never, PolicyProvider.PolicyProvider> =>
  Layer.unwrap(Effect.gen(function*() {
    const injecting = yield* injector(faults, options)
    yield* Effect.logWarning(`faults are injected: ${faults.map(({ name }) => name).join(", ") || "none yet"}`)
    return Layer.merge(
      PolicyProvider.around((self, attempt) => injecting.around(self, attempt.key, attempt)),
      Layer.succeed(Faults, serviceOf(injecting))
    )
  }))

const serviceOf = (injecting: Injector): Faults["Service"] => ({
  set: (faults) =>
    Effect.sync(() => {
      injecting.faults = faults
    }),
  injected: Effect.sync(() => Object.fromEntries(injecting.injected)),
  "~@rego/testing/Fault": injecting
})

/**
 * A place where faults can be injected into any effect, a call or not: a query, a step of a job.
 *
 * **Details**
 *
 * Does nothing unless a fault layer is provided. Inside of an attempt the mark is written on it.
 *
 * **Example** (A query that fails)
 *
 * ```ts
 * import { PolicyLayer } from "@rego/core"
 * import { Fault } from "@rego/testing"
 * import { Effect, Layer } from "effect"
 *
 * const query = Effect.succeed(["ada"]).pipe(Fault.at("db.Users"))
 * const Faults = Fault.layer([Fault.answer([], { keys: "db.*" })]).pipe(Layer.provide(PolicyLayer.defaults))
 *
 * await Effect.runPromise(query) // => ["ada"]
 * await Effect.runPromise(Effect.provide(query, Faults)) // => []
 * ```
 *
 * @category injecting
 * @since 0.1.0
 */
export const at = (key: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => {
    const faults = Context.getOption(fiber.context as Context.Context<Faults>, Faults)
    return Option.isSome(faults) ? faults.value["~@rego/testing/Fault"].around(self, key) : self
  })
