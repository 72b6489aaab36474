/**
 * Layers that decide what each key gets. Build one at the edge of the application.
 *
 * **Details**
 *
 * A key gets its exact entry, laid over the longest `prefix.*` that matches, laid over `*`, laid over `defaults`. A key
 * that no entry matches is missing: it runs once, observed, with one warning, unless `onMissing` says otherwise.
 *
 * State (budgets, what is still running of given up attempts) belongs to the layer: all calls under one layer share it,
 * two layers share nothing, and it is freed with the layer. When the layer closes it interrupts given up attempts and
 * waits for them for at most `shutdownTimeout`, on the live clock.
 *
 * **Gotchas**
 *
 * Provided around a single call (`effect.pipe(Effect.provide(Policies))`) its state is new each time, so no budget ever
 * denies, and the call waits for its own given up attempts at the end. It warns when it is built more than 10 times within
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
import { Clock, Context, Duration, Effect, Layer, Option, Schema, Scope, Stream } from "effect"
import * as Budget from "./Budget.ts"
import * as Classifier from "./Classifier.ts"
import { nowMillis } from "./Deadline.ts"
import type { Issue } from "./Issue.ts"
import { durationBetween, DurationFromInput, fromSchemaError, integerBetween, parseOptions, show } from "./Issue.ts"
import * as Plan from "./Plan.ts"
import * as Policy from "./Policy.ts"
import * as PolicyDocument from "./PolicyDocument.ts"
import * as PolicyKey from "./PolicyKey.ts"
import type { Binding, KeyState, PolicyStatus } from "./PolicyProvider.ts"
import { Bindings, PolicyProvider, reportOnce } from "./PolicyProvider.ts"
import * as PolicySet from "./PolicySet.ts"
import { Supervisor } from "./Supervisor.ts"

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
  /** given up attempts of a key that still run, before its extra attempts are denied, 1 to 1,000,000. Default 64 */
  readonly maxAbandoned?: number | undefined
  /** attempt records of a call, 1 to 1,000: the first ones and the last are kept. Default 16 */
  readonly maxAttemptRecords?: number | undefined
  /** how long the layer waits for given up attempts when it closes, up to 10 minutes. Default 5 seconds */
  readonly shutdownTimeout?: Duration.Input | undefined
}

const count = (max: number) => Schema.optional(Schema.Number.pipe(Schema.check(integerBetween(1, max))))

const LimitsSchema = Schema.Struct({
  maxKeys: count(1_000_000),
  maxAbandoned: count(1_000_000),
  maxAttemptRecords: count(1_000),
  shutdownTimeout: Schema.optional(DurationFromInput.pipe(Schema.check(durationBetween(0, "10 minutes"))))
})

const decodeLimits = Schema.decodeUnknownResult(LimitsSchema, parseOptions)

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

const hasBudget = (source: Source, registries: Context.Context<never>, name: string): boolean =>
  builtIn.has(name) || source.budgets.has(name) || Budget.findNamed(registries, name) !== undefined

/** Names of budgets and classifiers that nobody provides. Literal names do not get here: they do not compile. */
const unknownNames = (source: Source, registries: Context.Context<never>): ReadonlyArray<Issue> =>
  [
    ...PolicySet.merged(source.set),
    ...(source.onMissing === "defaults" ? [["defaults", PolicySet.forMissing(source.set)] as const] : [])
  ].flatMap(([pattern, sections]) => {
    const { budget, classifier } = Plan.fromSections(sections)
    const issues: Array<Issue> = []
    if (!hasBudget(source, registries, budget)) {
      issues.push({
        path: ["policies", pattern, "budget"],
        message: `must name a budget that is provided, got ${show(budget)}`
      })
    }
    if (typeof classifier === "string" && Classifier.findNamed(registries, classifier) === undefined) {
      issues.push({
        path: ["policies", pattern, "classifier"],
        message: `must name a classifier that is provided, got ${show(classifier)}`
      })
    }
    return issues
  })

// -----------------------------------------------------------------------------
// bindings
// -----------------------------------------------------------------------------

const planFor = (source: Source, key: string): { readonly plan: Plan.Plan; readonly missing: boolean } => {
  const sections = PolicySet.resolve(source.set, key)
  if (sections !== undefined) return { plan: Plan.fromSections(sections), missing: false }
  return source.onMissing === "defaults"
    ? { plan: Plan.fromSections(PolicySet.forMissing(source.set)), missing: false }
    : { plan: Plan.singleAttempt, missing: true }
}

const classifierOf = (environment: Environment, plan: Plan.Plan): Classifier.Any | undefined =>
  typeof plan.classifier === "string" ? Classifier.findNamed(environment.registries, plan.classifier) : plan.classifier

const bind = (environment: Environment) => (key: Binding["key"], context: Context.Context<never>): Binding => {
  const { findBudget, source } = environment
  const { missing, plan } = planFor(source, key)
  const switchedOff = PolicySet.covers(source.off, key)
  const state: KeyState = { abandoned: 0, reported: new Set() }
  const binding: Binding = {
    key,
    plan,
    facts: {
      revision: source.status.revision,
      source: missing ? "missing" : source.status.source,
      retries: plan.retries
    },
    classifier: classifierOf(environment, plan),
    budget: findBudget(plan.budget) ?? findBudget("default")!,
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

const warnAtBoot = (set: PolicySet.PolicySet): Effect.Effect<void> =>
  Effect.forEach(
    PolicySet.merged(set).flatMap(([pattern, sections]) =>
      Plan.warnings(Plan.fromSections(sections)).map((warning) => `rego ${pattern}: ${warning}`)
    ),
    (warning) => Effect.logWarning(warning),
    { discard: true }
  )

const build = Effect.fnUntraced(function*(source: Source) {
  const registries = yield* Effect.context<never>()
  const issues = unknownNames(source, registries)
  if (issues.length > 0) return yield* new Policy.PolicyInvalid({ issues })
  const scope = yield* Effect.context<Scope.Scope>()
  const supervisor = new Supervisor()
  yield* Effect.addFinalizer(() => supervisor.close(source.limits.shutdownTimeout ?? Duration.seconds(5)))
  yield* warnAtBoot(source.set)
  const bindings = new Bindings({
    isNamed: (key) => source.set.exact.has(key),
    bind: bind({ source, registries, findBudget: findBudget(source, registries, scope) }),
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
        const sections = PolicySet.resolve(source.set, PolicyKey.print(key))
        return Option.map(Option.fromUndefinedOr(sections), Policy.fromSections)
      }),
    status: Effect.succeed(source.status),
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
export interface Options<B extends string, C extends string, N> {
  /** keys, `prefix.*` and `*` */
  readonly policies: { readonly [key: string]: Policy.Input<B, C> | Policy.Policy<N> }
  /** lies under every entry that matches; does not make a key known */
  readonly defaults?: Policy.Input<B, C> | Policy.Policy<N> | undefined
  readonly onMissing?: OnMissing | undefined
  readonly limits?: Limits | undefined
}

const checkOptions = (options: Options<string, string, unknown>): Effect.Effect<Source, Policy.PolicyInvalid> =>
  Effect.suspend(() => {
    const issues: Array<Issue> = []
    const entries = Object.fromEntries(
      Object.entries(options.policies).map(([pattern, policy]) => {
        PolicySet.checkPattern(pattern, ["policies", pattern], issues)
        return [pattern, Policy.check(policy, ["policies", pattern], issues) ?? {}]
      })
    )
    const defaults = options.defaults === undefined ? {} : Policy.check(options.defaults, ["defaults"], issues)
    const limits = decodeLimits(options.limits ?? {})
    if (limits._tag === "Failure") {
      for (const issue of fromSchemaError(limits.failure)) issues.push({ ...issue, path: ["limits", ...issue.path] })
    }
    if (issues.length > 0 || limits._tag === "Failure") return Effect.fail(new Policy.PolicyInvalid({ issues }))
    return Effect.succeed({
      set: PolicySet.make(entries, defaults),
      status: { revision: "local", source: "local" as const },
      onMissing: options.onMissing ?? "single-attempt",
      off: [],
      budgets: new Map(),
      limits: limits.success
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
  const N = never
>(options: Options<B, C, N>): Layer.Layer<PolicyProvider, Policy.PolicyInvalid, Policy.Names<B, C> | N> =>
  toLayer<Policy.Names<B, C> | N>(checkOptions(options as Options<string, string, unknown>)) as Layer.Layer<
    PolicyProvider,
    Policy.PolicyInvalid,
    Policy.Names<B, C> | N
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
    return new Map(budgets.map(([name, { scope, type: _, ...options }]) => {
      const make = Budget.ratio(options)
      if (scope !== "shared") return [name, { forKey: () => Budget.build(make, context) }]
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
