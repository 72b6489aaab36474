/**
 * Makes bindings: which policy a key gets, with its names resolved and its state attached.
 *
 * @internal
 */
import type { Context } from "effect"
import type { Binding, KeyState, Policies } from "./Bindings.ts"
import { reportOnce } from "./Bindings.ts"
import type { BudgetStates } from "./BudgetStates.ts"
import type { PolicySource } from "./CallRecord.ts"
import * as Classifier from "./Classifier.ts"
import { CombinedBudget } from "./CombinedBudget.ts"
import * as Hedge from "./Hedge.ts"
import { HedgeState } from "./HedgeState.ts"
import * as Plan from "./Plan.ts"
import * as Policy from "./Policy.ts"
import * as PolicySet from "./PolicySet.ts"

/** Laid over what every key gets that its pattern covers, for a while. */
export interface Override {
  readonly pattern: string
  readonly sections: Policy.Sections
}

/** What is in force. */
export interface InForce {
  readonly set: PolicySet.PolicySet
  readonly onMissing: "single-attempt" | "defaults" | "fail"
  readonly overrides: ReadonlyArray<Override>
  readonly revision: string
  readonly source: PolicySource
  /** when the source last confirmed it, in milliseconds since the epoch; `undefined` while it does */
  readonly confirmedAt: number | undefined
}

export interface Environment {
  /** what was provided to the layer: registries, by name */
  readonly registries: Context.Context<never>
  readonly budgets: BudgetStates
}

/** The overrides of a key, from the most general to the most particular. */
const overridesOf = (overrides: ReadonlyArray<Override>, key: string): ReadonlyArray<Override> =>
  overrides.length === 0
    ? overrides
    : overrides.filter(({ pattern }) => PolicySet.covers(pattern, key))
      .toSorted((a, b) => particularity(a, key) - particularity(b, key))

/** The key itself may be as short as a pattern that covers it: `a.B` and `a.*`. */
const particularity = ({ pattern }: Override, key: string): number => pattern === key ? key.length + 1 : pattern.length

/** What is written for a key, and what is laid over it, merged; `undefined` when nothing matches it. */
export const overlaid = (inForce: InForce, key: string): Policy.Sections | undefined => {
  const { onMissing, overrides, set } = inForce
  const written = PolicySet.resolve(set, key) ?? (onMissing === "defaults" ? PolicySet.forMissing(set) : undefined)
  return overridesOf(overrides, key).reduce<Policy.Sections | undefined>(
    (under, { sections }) => Policy.merge(under ?? set.defaults, sections),
    written
  )
}

/** The policy of a key. An override was judged with what was written when it was made, and more may stand there now. */
export const sectionsFor = (inForce: InForce, key: string): Policy.Sections | undefined => {
  const sections = overlaid(inForce, key)
  return sections === undefined || inForce.overrides.length === 0 ? sections : Plan.withinLimits(sections)
}

const classifierOf = (registries: Context.Context<never>, plan: Plan.Plan): Classifier.Any | undefined =>
  typeof plan.classifier === "string" ? Classifier.findNamed(registries, plan.classifier) : plan.classifier

const triggerOf = (registries: Context.Context<never>, plan: Plan.Plan): Binding["trigger"] => {
  const trigger = typeof plan.hedge?.trigger === "string"
    ? Hedge.findNamed(registries, plan.hedge.trigger)
    : plan.hedge?.trigger
  return Hedge.isTrigger(trigger) ? Hedge.delaysOf(trigger) : trigger
}

interface Planned {
  readonly plan: Plan.Plan
  readonly classifier: Binding["classifier"]
  readonly trigger: Binding["trigger"]
}

const planned = (registries: Context.Context<never>, sections: Policy.Sections | undefined): Planned => {
  const plan = sections === undefined ? Plan.singleAttempt : Plan.fromSections(sections)
  return { plan, classifier: classifierOf(registries, plan), trigger: triggerOf(registries, plan) }
}

/** What is known of the latency of a key is kept through every change but that of its precision. */
const hedgingOf = (state: KeyState, plan: Plan.Plan): HedgeState | undefined => {
  if (plan.hedge === undefined) return undefined
  if (state.hedging?.precise !== plan.hedge.precise) state.hedging = new HedgeState(plan.hedge.precise)
  return state.hedging
}

export const factsOf = (inForce: InForce, key: string, plan: Plan.Plan, missing: boolean): Binding["facts"] => {
  const override = overridesOf(inForce.overrides, key).at(-1)?.pattern
  return {
    revision: inForce.revision,
    source: missing ? "missing" : inForce.source,
    retries: plan.retries,
    override,
    confirmedAt: inForce.confirmedAt
  }
}

/**
 * Keys of one pattern share what is read in each call: where there are many keys, what each has of its own is far away.
 */
class Plans {
  private readonly bySet = new WeakMap<PolicySet.PolicySet, Map<string, Planned>>()
  private readonly registries: Context.Context<never>
  constructor(registries: Context.Context<never>) {
    this.registries = registries
  }

  of(inForce: InForce, key: string, sections: Policy.Sections | undefined): Planned {
    const { overrides, set } = inForce
    if (sections === undefined || set.exact.has(key) || overrides.length > 0) return planned(this.registries, sections)
    const shared = this.bySet.get(set) ?? new Map<string, Planned>()
    this.bySet.set(set, shared)
    const pattern = PolicySet.matching(set, key).at(-1)?.[0] ?? ""
    const known = shared.get(pattern) ?? planned(this.registries, sections)
    shared.set(pattern, known)
    return known
  }
}

const bind = (
  { budgets }: Environment,
  plans: Plans,
  inForce: InForce,
  state: KeyState,
  context: Context.Context<never>
): Binding => {
  const { key } = state
  const sections = sectionsFor(inForce, key)
  const missing = sections === undefined
  const { classifier, plan, trigger } = plans.of(inForce, key, sections)
  const find = (name: string) => budgets.find(name, key, state.budgets)
  const budget = find(plan.budget) ?? find("default")!
  const gate = plan.hedge?.budget === undefined || plan.hedge.budget === plan.budget
    ? undefined
    : find(plan.hedge.budget)
  const combined = gate === undefined ? budget : new CombinedBudget(gate, budget, plan.hedge?.budget)
  const binding: Binding = {
    // What all calls touch stands side by side.
    key,
    notReady: missing && inForce.onMissing === "fail" ? "missing" : undefined,
    plan,
    budget,
    observed: combined,
    trigger,
    hedging: hedgingOf(state, plan),
    state,
    classifier,
    facts: factsOf(inForce, key, plan, missing),
    hedgeBudget: combined
  }
  if (missing) reportOnce(binding, context, "missing", "no policy matches this key")
  return binding
}

/** `inForce` is read for each binding, so that all of them change at once when it does. */
export const policies = (environment: Environment, inForce: () => InForce): Policies => {
  const plans = new Plans(environment.registries)
  return {
    isNamed: (key) => inForce().set.exact.has(key),
    bind: (state, context) => bind(environment, plans, inForce(), state, context)
  }
}
