/**
 * What the driver looks up for each call: everything that is known about its key, in one object.
 *
 * A binding is made when its key is called first, from the policies in force then. When these change all bindings are
 * forgotten in one step, so that no call sees half of a change. What outlives a change (budgets, latency, attempts that
 * were given up) is the state of the key, which is made once.
 *
 * @internal
 */
import type { Context, Schedule } from "effect"
import { Cause, Effect, Option } from "effect"
import type { Around } from "./Attempt.ts"
import { CurrentAttempt } from "./Attempt.ts"
import type { Budget } from "./Budget.ts"
import type { PolicyFacts } from "./CallRecord.ts"
import type * as Classifier from "./Classifier.ts"
import type * as Hedge from "./Hedge.ts"
import type { HedgeState } from "./HedgeState.ts"
import { show } from "./Issue.ts"
import type { KillSwitch } from "./KillSwitch.ts"
import type { Plan } from "./Plan.ts"
import * as PolicyKey from "./PolicyKey.ts"
import type { Supervisor } from "./Supervisor.ts"

/** Everything that a call needs to know about its key. One object for each key and change of the policies. */
export interface Binding {
  readonly key: PolicyKey.PolicyKey
  readonly plan: Plan
  /** replaced, never changed, when the source of the policies goes or comes back */
  facts: PolicyFacts
  readonly classifier: Classifier.Any | undefined
  readonly budget: Budget
  /** asked for hedges: the policy's budget, and the one of its hedge section */
  readonly hedgeBudget: Budget
  /** hears of every call and attempt: all budgets of the policy */
  readonly observed: Budget
  /** the trigger, names resolved; `undefined` where the policy does not hedge */
  readonly trigger: Hedge.Delays | Schedule.Schedule<unknown, Hedge.State> | undefined
  /** `undefined` where the policy does not hedge */
  readonly hedging: HedgeState | undefined
  /** why a call cannot begin: no policy matches and the layer fails such calls, or its policy is on the way */
  readonly notReady: "missing" | Awaited | undefined
  /** made anew for each call, because what it says may be another thing in the next one */
  readonly passing?: boolean | undefined
  readonly state: KeyState
}

/** A policy on the way. The wait is bounded; when it ends the key is looked up again. */
export interface Awaited {
  readonly policy: Effect.Effect<void>
}

/** What outlives a change of the policy. */
export interface KeyState {
  readonly key: PolicyKey.PolicyKey
  /** attempts whose fiber has not ended */
  running: number
  /** those of them that were given up */
  abandoned: number
  /** made when the key hedges first */
  hedging: HedgeState | undefined
  /** what was said once of this key; of most nothing is */
  reported: Set<string> | undefined
  /** budgets of this key that no document defines, by name */
  readonly budgets: Map<string, Budget>
  /** how call sites write the key */
  readonly texts: Set<string>
}

export interface Bounds {
  /** distinct keys; further ones share the overflow key of their namespace */
  readonly maxKeys: number
  readonly maxAbandoned: number
  readonly maxAttemptRecords: number
}

/** What bindings are made from: the policies in force when it is asked. */
export interface Policies {
  /** an entry has exactly this name: such a key is always accepted */
  readonly isNamed: (key: string) => boolean
  readonly bind: (state: KeyState, context: Context.Context<never>) => Binding
}

export interface Options {
  readonly policies: Policies
  readonly bounds: Bounds
  readonly supervisor: Supervisor
  readonly switches: KillSwitch
}

/** The bindings of a layer, by the text of their key as call sites write it. */
export class Bindings {
  private byText = new Map<string, Binding>()
  private keys = new Map<string, Binding>()
  private readonly policies: Policies
  private readonly states = new Map<string, KeyState>()
  private readonly overflowKeys = new Set<string>()
  private readonly watchers = new Set<(binding: Binding) => void>()
  readonly bounds: Bounds
  readonly supervisor: Supervisor
  readonly switches: KillSwitch
  private around: Around | undefined = undefined

  constructor(options: Options) {
    this.policies = options.policies
    this.bounds = options.bounds
    this.supervisor = options.supervisor
    this.switches = options.switches
  }

  /** The hot path is one look-up. */
  get(text: PolicyKey.Input, context: Context.Context<never>): Binding {
    return this.byText.get(text) ?? this.firstSight(text, context)
  }

  /** The same, with something around each attempt; what is around it already stays outside. */
  withAround(around: Around): Bindings {
    const outer = this.around
    const both: Around = outer === undefined ? around : (self, attempt) => outer(around(self, attempt), attempt)
    // Everything is shared, what comes later too.
    return Object.assign(Object.create(this) as Bindings, { around: both })
  }

  /** Costs a call nothing but a look at a field, unless something is around its attempts. */
  surround(self: Effect.Effect<any, any>): Effect.Effect<any, any> {
    const { around } = this
    return around === undefined ? self : within(around, self)
  }

  /** The policies are others from now on. Calls that have begun keep the binding that they have. */
  clear(): void {
    this.byText = new Map()
    this.keys = new Map()
    for (const state of this.states.values()) state.texts.clear()
  }

  /** The policy of one key is another from now on. */
  drop(key: string): void {
    const texts = this.states.get(key)?.texts
    this.keys.delete(key)
    texts?.forEach((text) => this.byText.delete(text))
    texts?.clear()
  }

  /** Tells what is bound where its policy comes from now. */
  setFacts(factsOf: (binding: Binding) => PolicyFacts): void {
    for (const binding of this.keys.values()) binding.facts = factsOf(binding)
  }

  /** What is known of a key, if it was called before. */
  find(text: PolicyKey.Input, context: Context.Context<never>): Binding | undefined {
    const state = this.states.get(this.keyOf(text))
    return state && this.bind(state, context)
  }

  private firstSight(text: PolicyKey.Input, context: Context.Context<never>): Binding {
    const key = this.keyOf(text)
    const state = this.states.get(key)
    if (state !== undefined) return this.remember(text, this.bind(state, context))
    if (key !== PolicyKey.print(text)) return this.remember(text, this.overflow(key, text, context, "is no valid key"))
    if (this.states.size - this.overflowKeys.size >= this.bounds.maxKeys && !this.policies.isNamed(key)) {
      return this.overflow(this.overflowOf(key), text, context, "is one key too many")
    }
    return this.remember(text, this.bind(this.stateOf(key), context))
  }

  /** The key under which a call runs. A call never fails because of its key. */
  keyOf(text: PolicyKey.Input): PolicyKey.PolicyKey {
    const key = PolicyKey.print(text)
    return this.policies.isNamed(key) || PolicyKey.isValid(key) ? key as PolicyKey.PolicyKey : this.overflowOf(key)
  }

  /** There are at most as many overflow keys of namespaces as other keys; then comes the one of all namespaces. */
  private overflowOf(text: string): PolicyKey.PolicyKey {
    const key = PolicyKey.overflowOf(text)
    return this.states.has(key) || this.overflowKeys.size < this.bounds.maxKeys ? key : PolicyKey.overflow
  }

  private overflow(
    key: PolicyKey.PolicyKey,
    text: string,
    context: Context.Context<never>,
    why: string
  ): Binding {
    const binding = this.bind(this.stateOf(key), context)
    this.overflowKeys.add(key)
    reportOnce(binding, context, "overflow", `calls run under ${key}: ${show(text)} ${why}`)
    return binding
  }

  private stateOf(key: PolicyKey.PolicyKey): KeyState {
    const known = this.states.get(key)
    if (known !== undefined) return known
    const state: KeyState = {
      key,
      running: 0,
      abandoned: 0,
      hedging: undefined,
      reported: undefined,
      budgets: new Map(),
      texts: new Set()
    }
    this.states.set(key, state)
    return state
  }

  private bind(state: KeyState, context: Context.Context<never>): Binding {
    const known = this.keys.get(state.key)
    if (known !== undefined) return known
    const binding = this.policies.bind(state, context)
    if (binding.passing !== true) {
      this.keys.set(state.key, binding)
      this.tellWatchers(binding, context)
    }
    return binding
  }

  /** They ask budgets for their state, which is foreign code, and this is the look-up of a call. */
  private tellWatchers(binding: Binding, context: Context.Context<never>): void {
    for (const watcher of this.watchers) {
      try {
        watcher(binding)
      } catch (defect) {
        reportOnce(binding, context, "metrics", "a defect in the metrics changes no call", Cause.die(defect))
      }
    }
  }

  /** Hears of every key that is bound, now and after each change of the policies. The answer ends it. */
  watch(watcher: (binding: Binding) => void): () => void {
    for (const binding of this.keys.values()) watcher(binding)
    this.watchers.add(watcher)
    return () => this.watchers.delete(watcher)
  }

  /** Other spellings of a key are remembered as well, within the same bound. */
  private remember(text: string, binding: Binding): Binding {
    if (binding.passing === true) return binding
    if (this.byText.size < this.bounds.maxKeys * 2 || text === binding.key) {
      this.byText.set(text, binding)
      binding.state.texts.add(text)
    }
    return binding
  }
}

const within = (around: Around, self: Effect.Effect<any, any>): Effect.Effect<any, any> =>
  Effect.flatMap(CurrentAttempt, (attempt) => Option.isSome(attempt) ? around(self, attempt.value) : self)

// -----------------------------------------------------------------------------
// reports
// -----------------------------------------------------------------------------

/**
 * Says something once for a key, in the log of whoever met it first. It runs apart from the call: a logger that is slow,
 * or that throws, changes nothing.
 */
export const reportOnce = (
  binding: Binding,
  context: Context.Context<never>,
  what: string,
  message: string,
  cause?: Cause.Cause<unknown>
): void => {
  const reported = binding.state.reported ??= new Set()
  if (reported.has(what)) return
  reported.add(what)
  const line = cause === undefined
    ? Effect.logWarning(`rego ${binding.key}: ${message}`)
    : Effect.logError(`rego ${binding.key}: ${message}`, cause)
  Effect.runForkWith(context)(line)
}
