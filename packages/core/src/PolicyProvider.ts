/**
 * The service that answers "which policy does this key get": what a `PolicyLayer` provides and a call requires.
 *
 * **Example** (Asking for the policy of a key)
 *
 * ```ts
 * import { PolicyLayer, PolicyProvider } from "@rego/core"
 * import { Effect, Option } from "effect"
 *
 * const Policies = PolicyLayer.make({ policies: { "users.*": { retry: { maxAttempts: 2 } } } })
 *
 * const program = Effect.gen(function*() {
 *   const provider = yield* PolicyProvider.PolicyProvider
 *   const known = yield* provider.policy("users.Get")
 *   Option.map(known, (policy) => policy.sections.retry) // => Option.some({ maxAttempts: 2 })
 *   const unknown = yield* provider.policy("orders.Get")
 *   Option.isNone(unknown) // => true
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Policies)))
 * ```
 *
 * @since 0.1.0
 */
import type { Cause, Effect, Option, Schedule, Stream } from "effect"
import { Context, Effect as Effects } from "effect"
import type { Budget } from "./Budget.ts"
import type { PolicyFacts, PolicySource } from "./CallRecord.ts"
import type * as Classifier from "./Classifier.ts"
import type * as Hedge from "./Hedge.ts"
import type { HedgeState } from "./HedgeState.ts"
import { show } from "./Issue.ts"
import type * as Latency from "./Latency.ts"
import type { Plan } from "./Plan.ts"
import type { Policy } from "./Policy.ts"
import * as PolicyKey from "./PolicyKey.ts"
import type { Supervisor } from "./Supervisor.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * Where the policies in force come from.
 *
 * @category models
 * @since 0.1.0
 */
export interface PolicyStatus {
  readonly revision: string
  readonly source: Exclude<PolicySource, "missing">
}

/**
 * @category models
 * @since 0.1.0
 */
export interface KeyStatistics {
  readonly key: PolicyKey.PolicyKey
  /** abandoned attempts that still run */
  readonly abandoned: number
  readonly budget: { readonly name: string; readonly balance: number }
  /** `None` for keys whose policy does not hedge */
  readonly hedging: Option.Option<{ readonly hedges: Hedge.Statistics; readonly latency: Latency.Snapshot }>
}

/**
 * @category services
 * @since 0.1.0
 */
export class PolicyProvider extends Context.Service<PolicyProvider, {
  /** the policy of a key as it is now, merged; `None` when no entry matches */
  readonly policy: (key: PolicyKey.Input) => Effect.Effect<Option.Option<Policy<unknown>>>
  readonly status: Effect.Effect<PolicyStatus>
  readonly changes: Stream.Stream<PolicyStatus>
  /** what is known about a key since the layer was built; `None` for one that was not called yet */
  readonly statistics: (key: PolicyKey.Input) => Effect.Effect<Option.Option<KeyStatistics>>
  /** what the driver works with; made by `PolicyLayer` only */
  readonly "~@rego/core/PolicyProvider": Bindings
}>()("@rego/core/PolicyProvider") {}

// -----------------------------------------------------------------------------
// what the driver reads
// -----------------------------------------------------------------------------

/**
 * Everything a call needs to know about its key. One object for each key and revision.
 *
 * @internal
 */
export interface Binding {
  readonly key: PolicyKey.PolicyKey
  readonly plan: Plan
  readonly facts: PolicyFacts
  readonly classifier: Classifier.Any | undefined
  readonly budget: Budget
  /** asked for hedges: the policy's budget, and the one of its hedge section */
  readonly hedgeBudget: Budget
  /** hears of every call and attempt: all budgets of the policy */
  readonly observed: Budget
  /** the trigger, names resolved; `undefined` where the policy does not hedge */
  readonly trigger: Hedge.Delays | Schedule.Schedule<unknown, Hedge.State> | undefined
  /** the layer fails calls of keys that no policy matches */
  readonly refused: boolean
  /** asked live, so that a kill switch also ends the retries of calls in flight */
  readonly switchedOff: () => boolean
  readonly state: KeyState
}

/**
 * What outlives a change of the policy.
 *
 * @internal
 */
export interface KeyState {
  /** attempts that were given up and still run */
  abandoned: number
  /** made for keys that hedge */
  hedging: HedgeState | undefined
  readonly reported: Set<string>
}

/** @internal */
export interface Bounds {
  /** distinct keys; further ones share the overflow key of their namespace */
  readonly maxKeys: number
  readonly maxAbandoned: number
  readonly maxAttemptRecords: number
}

/**
 * The bindings of a layer, by the text of their key as call sites write it.
 *
 * @internal
 */
export class Bindings {
  private readonly byText = new Map<string, Binding>()
  private readonly keys = new Map<string, Binding>()
  private readonly overflowKeys = new Set<string>()
  private readonly isNamed: (key: string) => boolean
  private readonly bind: (key: PolicyKey.PolicyKey, context: Context.Context<never>) => Binding
  readonly bounds: Bounds
  readonly supervisor: Supervisor

  constructor(options: {
    readonly isNamed: (key: string) => boolean
    readonly bind: (key: PolicyKey.PolicyKey, context: Context.Context<never>) => Binding
    readonly bounds: Bounds
    readonly supervisor: Supervisor
  }) {
    this.isNamed = options.isNamed
    this.bind = options.bind
    this.bounds = options.bounds
    this.supervisor = options.supervisor
  }

  /** The hot path is one look-up. */
  get(text: PolicyKey.Input, context: Context.Context<never>): Binding {
    return this.byText.get(text) ?? this.firstSight(text, context)
  }

  /** What is bound for a key, if it was called before. */
  find(text: PolicyKey.Input): Binding | undefined {
    return this.byText.get(text) ?? this.keys.get(PolicyKey.print(text))
  }

  private firstSight(text: PolicyKey.Input, context: Context.Context<never>): Binding {
    const key = this.keyOf(text)
    const known = this.keys.get(key)
    if (known !== undefined) return this.remember(text, known)
    if (key !== PolicyKey.print(text)) return this.remember(text, this.overflow(key, text, context, "is no valid key"))
    if (this.keys.size - this.overflowKeys.size >= this.bounds.maxKeys && !this.isNamed(key)) {
      return this.overflow(this.overflowOf(key), text, context, "is one key too many")
    }
    const binding = this.bind(key, context)
    this.keys.set(key, binding)
    return this.remember(text, binding)
  }

  /** The key under which a call runs. A call never fails because of its key. */
  keyOf(text: PolicyKey.Input): PolicyKey.PolicyKey {
    const key = PolicyKey.print(text)
    return this.isNamed(key) || PolicyKey.isValid(key) ? key as PolicyKey.PolicyKey : this.overflowOf(key)
  }

  /** There are at most as many overflow keys of namespaces as other keys; then comes the one of all namespaces. */
  private overflowOf(text: string): PolicyKey.PolicyKey {
    const key = PolicyKey.overflowOf(text)
    return this.keys.has(key) || this.overflowKeys.size < this.bounds.maxKeys ? key : PolicyKey.overflow
  }

  private overflow(
    key: PolicyKey.PolicyKey,
    text: string,
    context: Context.Context<never>,
    why: string
  ): Binding {
    const binding = this.keys.get(key) ?? this.bind(key, context)
    this.keys.set(key, binding)
    this.overflowKeys.add(key)
    reportOnce(binding, context, "overflow", `calls run under ${key}: ${show(text)} ${why}`)
    return binding
  }

  /** Other spellings of a key are remembered as well, within the same bound. */
  private remember(text: string, binding: Binding): Binding {
    if (this.byText.size < this.bounds.maxKeys * 2 || text === binding.key) this.byText.set(text, binding)
    return binding
  }
}

// -----------------------------------------------------------------------------
// reports
// -----------------------------------------------------------------------------

/**
 * Says something once for a key, in the log of whoever met it first. It runs apart from the call: a logger that is slow,
 * or that throws, changes nothing.
 *
 * @internal
 */
export const reportOnce = (
  binding: Binding,
  context: Context.Context<never>,
  what: string,
  message: string,
  cause?: Cause.Cause<unknown>
): void => {
  if (binding.state.reported.has(what)) return
  binding.state.reported.add(what)
  const line = cause === undefined
    ? Effects.logWarning(`rego ${binding.key}: ${message}`)
    : Effects.logError(`rego ${binding.key}: ${message}`, cause)
  Effects.runForkWith(context)(line)
}
