/**
 * Layers that decide what each key gets. Build one at the edge of the application.
 *
 * **Details**
 *
 * A key gets its exact entry, laid over the longest `prefix.*` that matches, laid over `*`, laid over `defaults`. A key
 * that no entry matches is missing: it runs once, observed, with one warning, unless `onMissing` says otherwise.
 *
 * State (budgets, abandoned attempts that still run) belongs to the layer: all calls under one layer share it,
 * two layers share nothing, and it is freed with the layer. When the layer closes it interrupts abandoned attempts and
 * waits for them for at most `shutdownTimeout`, on the live clock.
 *
 * **Gotchas**
 *
 * Provided around a single call (`effect.pipe(Effect.provide(Policies))`) its state is new each time, so that its
 * budget knows of no other call, and the call waits for its own abandoned attempts at the end. It warns when it is built more than 10 times within
 * 10 seconds. Provide it before the layers of the clients that it protects: layers side by side close in parallel.
 *
 * **Example** (Policies for an application)
 *
 * ```ts
 * import { Backoff, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, ManagedRuntime } from "effect"
 *
 * const Policies = PolicyLayer.make({
 *   defaults: { timeout: { overall: "2 seconds" } },
 *   policies: {
 *     "users.*": { retry: { maxAttempts: 3, backoff: Backoff.exponential({ initial: "10 millis", max: "250 millis" }) } },
 *     "users.Create": { idempotent: false }
 *   }
 * })
 *
 * const runtime = ManagedRuntime.make(Policies)
 *
 * await runtime.runPromise(Effect.succeed("ada").pipe(Rego.resilient("users.Get"))) // => "ada"
 * await runtime.dispose()
 * ```
 *
 * @since 0.1.0
 */
import type { Scope } from "effect"
import { Clock, Context, Duration, Effect, Layer, Option, Predicate, Schema, Stream } from "effect"
import * as BootChecks from "./BootChecks.ts"
import * as Budget from "./Budget.ts"
import * as BudgetData from "./BudgetData.ts"
import * as Classifier from "./Classifier.ts"
import { CombinedBudget } from "./CombinedBudget.ts"
import * as Hedge from "./Hedge.ts"
import { HedgeState } from "./HedgeState.ts"
import type { Issue } from "./Issue.ts"
import { durationBetween, DurationFromInput, fromSchemaError, integerBetween, parseOptions } from "./Issue.ts"
import * as Plan from "./Plan.ts"
import * as Policy from "./Policy.ts"
import * as PolicyDocument from "./PolicyDocument.ts"
import type { Binding, KeyState, KeyStatistics, PolicyStatus } from "./PolicyProvider.ts"
import { Bindings, PolicyProvider, reportOnce } from "./PolicyProvider.ts"
import * as PolicySet from "./PolicySet.ts"
import { Supervisor } from "./Supervisor.ts"
import { nowMillis } from "./Time.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * What a key gets that no policy matches: one attempt, observed; `defaults` laid over `Policy.defaults`; or the error
 * `PolicyMissing`.
 *
 * @category options
 * @since 0.1.0
 */
export type OnMissing = "single-attempt" | "defaults" | "fail"

/**
 * Bounds on what a layer keeps.
 *
 * @category options
 * @since 0.1.0
 */
export interface Limits {
  /** distinct keys, 1 to 1,000,000; further ones share the overflow key of their namespace. Default 1,000 */
  readonly maxKeys?: number | undefined
  /** abandoned attempts of a key that still run, before its extra attempts are denied, 1 to 1,000,000. Default 64 */
  readonly maxAbandoned?: number | undefined
  /** attempt records of a call, 2 to 1,000: the first ones and the last are kept. Default 16 */
  readonly maxAttemptRecords?: number | undefined
  /** how long the layer waits for abandoned attempts when it closes, up to 10 minutes. Default 5 seconds */
  readonly shutdownTimeout?: Duration.Input | undefined
}

const count = (max: number, min = 1) => Schema.optional(Schema.Number.pipe(Schema.check(integerBetween(min, max))))

const LimitsSchema = Schema.Struct({
  maxKeys: count(1_000_000),
  maxAbandoned: count(1_000_000),
  maxAttemptRecords: count(1_000, 2),
  shutdownTimeout: Schema.optional(DurationFromInput.pipe(Schema.check(durationBetween(0, "10 minutes"))))
})

// -----------------------------------------------------------------------------
// what a layer is built from
// -----------------------------------------------------------------------------

interface Source {
  readonly set: PolicySet.PolicySet
  readonly status: PolicyStatus
  readonly onMissing: OnMissing
  readonly off: ReadonlyArray<string>
  readonly budgets: ReadonlyMap<string, Budget.Registered>
  readonly limits: typeof LimitsSchema.Type
}

interface Environment {
  readonly source: Source
  /** what was provided to the layer: registries, by name */
  readonly registries: Context.Context<never>
  readonly findBudget: (name: string) => Budget.Budget | undefined
}

const builtIn: ReadonlyMap<string, Budget.Make> = new Map([
  ["default", Budget.ratio()],
  ["unlimited", Budget.unlimited],
  ["none", Budget.none]
])

const findBudget = (
  source: Source,
  registries: Context.Context<never>,
  scope: Context.Context<Scope.Scope>
) =>
(name: string): Budget.Budget | undefined => {
  const make = builtIn.get(name)
  return make === undefined
    ? (source.budgets.get(name) ?? Budget.findNamed(registries, name))?.forKey()
    : Budget.build(make, scope)
}

const namesOf = (source: Source, registries: Context.Context<never>): BootChecks.Names => ({
  isBudget: (name) => builtIn.has(name) || source.budgets.has(name) || Budget.findNamed(registries, name) !== undefined,
  isClassifier: (name) => Classifier.findNamed(registries, name) !== undefined,
  isTrigger: (name) => Hedge.findNamed(registries, name) !== undefined
})

const refuse = (issues: ReadonlyArray<Issue>): Effect.Effect<void, Policy.PolicyInvalid> =>
  issues.length === 0 ? Effect.void : Effect.fail(new Policy.PolicyInvalid({ issues }))

// -----------------------------------------------------------------------------
// bindings
// -----------------------------------------------------------------------------

const sectionsFor = (source: Source, key: string): Policy.Sections | undefined =>
  PolicySet.resolve(source.set, key) ?? (source.onMissing === "defaults" ? PolicySet.forMissing(source.set) : undefined)

const classifierOf = (environment: Environment, plan: Plan.Plan): Classifier.Any | undefined =>
  typeof plan.classifier === "string" ? Classifier.findNamed(environment.registries, plan.classifier) : plan.classifier

const triggerOf = (environment: Environment, plan: Plan.Plan): Binding["trigger"] => {
  const trigger = typeof plan.hedge?.trigger === "string"
    ? Hedge.findNamed(environment.registries, plan.hedge.trigger)
    : plan.hedge?.trigger
  return Hedge.isTrigger(trigger) ? Hedge.delaysOf(trigger) : trigger
}

const bind = (environment: Environment) => (key: Binding["key"], context: Context.Context<never>): Binding => {
  const { findBudget, source } = environment
  const sections = sectionsFor(source, key)
  const missing = sections === undefined
  const plan = missing ? Plan.singleAttempt : Plan.fromSections(sections)
  const switchedOff = PolicySet.covers(source.off, key)
  const state: KeyState = {
    abandoned: 0,
    hedging: plan.hedge === undefined ? undefined : new HedgeState(plan.hedge.precise),
    reported: new Set()
  }
  const budget = findBudget(plan.budget) ?? findBudget("default")!
  const gate = plan.hedge?.budget === undefined || plan.hedge.budget === plan.budget
    ? undefined
    : findBudget(plan.hedge.budget)
  const combined = gate === undefined ? budget : new CombinedBudget(gate, budget, plan.hedge?.budget)
  const binding: Binding = {
    key,
    plan,
    facts: {
      revision: source.status.revision,
      source: missing ? "missing" : source.status.source,
      retries: plan.retries
    },
    classifier: classifierOf(environment, plan),
    budget,
    hedgeBudget: combined,
    observed: combined,
    trigger: triggerOf(environment, plan),
    refused: missing && source.onMissing === "fail",
    switchedOff: () => switchedOff,
    state
  }
  if (missing) reportOnce(binding, context, "missing", "no policy matches this key")
  return binding
}

// -----------------------------------------------------------------------------
// the layer
// -----------------------------------------------------------------------------

/** Builds within this many milliseconds count together; more of them mean that the layer is provided around calls. */
const rebuildWindow = 10_000
const maxRebuilds = 10

/** When a layer was built, for each clock: tests that share a layer have a time line each. */
class Builds {
  private readonly times = new WeakMap<Clock.Clock, Array<number>>()
  private warned = false

  /** Whether this build is the one to warn at. */
  add(clock: Clock.Clock): boolean {
    const now = nowMillis(clock)
    const times = (this.times.get(clock) ?? []).filter((at) => now - at <= rebuildWindow)
    times.push(now)
    this.times.set(clock, times.slice(-maxRebuilds - 1))
    if (this.warned || times.length <= maxRebuilds) return false
    this.warned = true
    return true
  }
}

const warnWhenRebuilt = (builds: Builds): Effect.Effect<void> =>
  Clock.clockWith((clock) =>
    builds.add(clock)
      ? Effect.logWarning(
        "PolicyLayer: built more than 10 times within 10 seconds. Provide it once, at the edge of the application: " +
          "around a single call its budgets start anew each time"
      )
      : Effect.void
  )

const statisticsOf = (binding: Binding): Effect.Effect<KeyStatistics> =>
  Effect.zipWith(binding.budget.state, Clock.monotonicTimeNanos, ({ balance }, nanos) => ({
    key: binding.key,
    abandoned: binding.state.abandoned,
    budget: { name: binding.plan.budget, balance },
    hedging: Option.map(Option.fromUndefinedOr(binding.state.hedging), (hedging) => ({
      hedges: hedging.statistics,
      latency: hedging.latency.snapshot(Number(nanos) / 1e6)
    }))
  }))

const build = Effect.fnUntraced(function*(source: Source) {
  const registries = yield* Effect.context<never>()
  const policies = { set: source.set, givesDefaults: source.onMissing === "defaults" }
  yield* refuse(BootChecks.issues(policies, namesOf(source, registries)))
  const scope = yield* Effect.context<Scope.Scope>()
  const find = findBudget(source, registries, scope)
  yield* refuse(BootChecks.costIssues(policies, find))
  const supervisor = new Supervisor()
  yield* Effect.addFinalizer(() => supervisor.close(source.limits.shutdownTimeout ?? Duration.seconds(5)))
  yield* Effect.forEach(BootChecks.warnings(policies), (warning) => Effect.logWarning(warning), { discard: true })
  const bindings = new Bindings({
    isNamed: (key) => source.set.exact.has(key),
    bind: bind({ source, registries, findBudget: find }),
    bounds: {
      maxKeys: source.limits.maxKeys ?? 1_000,
      maxAbandoned: source.limits.maxAbandoned ?? 64,
      maxAttemptRecords: source.limits.maxAttemptRecords ?? 16
    },
    supervisor
  })
  return PolicyProvider.of({
    policy: (key) =>
      Effect.sync(() => {
        const sections = sectionsFor(source, bindings.keyOf(key))
        return Option.map(Option.fromUndefinedOr(sections), Policy.fromSections)
      }),
    status: Effect.succeed(source.status),
    statistics: (key) =>
      Effect.suspend(() => {
        const binding = bindings.find(key)
        return binding === undefined ? Effect.succeedNone : Effect.asSome(statisticsOf(binding))
      }),
    changes: Stream.empty,
    "~@rego/core/PolicyProvider": bindings
  })
})

const toLayer = <R = never>(
  source: Effect.Effect<Source, Policy.PolicyInvalid, R>
): Layer.Layer<PolicyProvider, Policy.PolicyInvalid, Exclude<R, Scope.Scope>> => {
  const builds = new Builds()
  return Layer.effect(
    PolicyProvider,
    Effect.andThen(warnWhenRebuilt(builds), Effect.flatMap(source, build))
  ) as Layer.Layer<PolicyProvider, Policy.PolicyInvalid, Exclude<R, Scope.Scope>>
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<B extends string, C extends string, T extends string, N> {
  /** keys, `prefix.*` and `*` */
  readonly policies: { readonly [key: string]: Policy.Input<B, C, T> | Policy.Policy<N> }
  /** lies under every entry that matches; does not make a key known */
  readonly defaults?: Policy.Input<B, C, T> | Policy.Policy<N> | undefined
  readonly onMissing?: OnMissing | undefined
  readonly limits?: Limits | undefined
}

const OptionsSchema = Schema.Struct({
  policies: Schema.Record(Schema.String, Schema.Unknown),
  defaults: Schema.optional(Schema.Unknown),
  onMissing: Schema.optional(Schema.Literals(["single-attempt", "defaults", "fail"])),
  limits: Schema.optional(LimitsSchema)
})

const decodeOptions = Schema.decodeUnknownResult(OptionsSchema, parseOptions)

const checkOptions = (options: unknown): Effect.Effect<Source, Policy.PolicyInvalid> =>
  Effect.suspend(() => {
    const decoded = decodeOptions(options)
    const { defaults, policies } = (Predicate.isObject(options) ? options : {}) as Readonly<Record<string, unknown>>
    const issues: Array<Issue> = decoded._tag === "Failure" ? [...fromSchemaError(decoded.failure)] : []
    const entries = Object.fromEntries(
      Object.entries(Predicate.isObject(policies) ? policies : {}).map(([pattern, policy]) => {
        PolicySet.checkPattern(pattern, ["policies", pattern], issues)
        return [pattern, Policy.check(policy, ["policies", pattern], issues) ?? {}]
      })
    )
    const under = defaults === undefined ? {} : Policy.check(defaults, ["defaults"], issues)
    if (issues.length > 0 || decoded._tag === "Failure") return Effect.fail(new Policy.PolicyInvalid({ issues }))
    return Effect.succeed({
      set: PolicySet.make(entries, under),
      status: { revision: "local", source: "local" as const },
      onMissing: decoded.success.onMissing ?? "single-attempt",
      off: [],
      budgets: new Map(),
      limits: decoded.success.limits ?? {}
    })
  })

/**
 * Policies written in code.
 *
 * **Details**
 *
 * Fails with every issue of every policy. Names of budgets and classifiers become requirements of the layer: a literal name
 * that nobody provides does not compile, one that is no literal fails here.
 *
 * @category layers
 * @since 0.1.0
 */
export const make = <
  const B extends string = never,
  const C extends string = never,
  const T extends string = never,
  const N = never
>(options: Options<B, C, T, N>): Layer.Layer<PolicyProvider, Policy.PolicyInvalid, Policy.Names<B, C, T> | N> =>
  toLayer<Policy.Names<B, C, T> | N>(checkOptions(options)) as Layer.Layer<
    PolicyProvider,
    Policy.PolicyInvalid,
    Policy.Names<B, C, T> | N
  >

/**
 * `Policy.defaults` for every key: three attempts, no timeouts.
 *
 * @category layers
 * @since 0.1.0
 */
export const defaults: Layer.Layer<PolicyProvider> = Layer.orDie(make({ policies: {}, onMissing: "defaults" }))

const documentBudgets = (
  document: PolicyDocument.PolicyDocument
): Effect.Effect<ReadonlyMap<string, Budget.Registered>, never, Scope.Scope> =>
  Effect.map(Effect.context<Scope.Scope>(), (context) => {
    const budgets = Object.entries(document.budgets ?? {})
    return new Map(budgets.map(([name, data]) => {
      const make = BudgetData.toMake(data)
      if (data.scope !== "shared") return [name, { forKey: () => Budget.build(make, context) }]
      const shared = Budget.build(make, context)
      return [name, { forKey: () => shared }]
    }))
  })

const fromDecoded = (document: PolicyDocument.PolicyDocument): Effect.Effect<Source, never, Scope.Scope> =>
  Effect.map(documentBudgets(document), (budgets) => ({
    set: PolicySet.make(document.policies, document.defaults),
    status: { revision: document.revision, source: "local" as const },
    onMissing: "single-attempt" as const,
    off: document.off ?? [],
    budgets,
    limits: {}
  }))

/**
 * Policies from a document: unknown JSON, as it was read from a file that ships with the application.
 *
 * **Details**
 *
 * Fails with every issue of the document. Budgets and classifiers that it names and does not define are looked up among
 * those provided to the layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const fromDocument = (json: unknown): Layer.Layer<PolicyProvider, Policy.PolicyInvalid> =>
  toLayer(Effect.flatMap(PolicyDocument.decode(json), fromDecoded))
