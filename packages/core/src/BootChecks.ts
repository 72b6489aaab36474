/**
 * What is looked at when a layer is built: names that nobody provides, what only merged policies show, costs that can never
 * be granted, gates that would never refuse, and what is allowed but probably not meant. Pure.
 *
 * @internal
 */
import type { Budget } from "./Budget.ts"
import type { Issue } from "./Issue.ts"
import { show } from "./Issue.ts"
import * as Plan from "./Plan.ts"
import type * as Policy from "./Policy.ts"
import * as PolicySet from "./PolicySet.ts"
import type { Steps } from "./Steps.ts"
import { runNow } from "./Steps.ts"

export interface Policies {
  readonly set: PolicySet.PolicySet
  /** keys that no entry matches get the defaults */
  readonly givesDefaults: boolean
}

/** What is provided, by kind. */
export interface Names {
  readonly isBudget: (name: string) => boolean
  readonly isClassifier: (name: string) => boolean
  readonly isTrigger: (name: string) => boolean
}

type Located = readonly [path: ReadonlyArray<string>, sections: Policy.Sections]

/** What is found in every policy as a key gets it. */
const inMerged = function*<A>(
  { givesDefaults, set }: Policies,
  look: (...located: Located) => ReadonlyArray<A>
): Steps<ReadonlyArray<A>> {
  const found: Array<A> = []
  for (const pattern of PolicySet.patterns(set)) {
    yield
    found.push(...look(["policies", pattern], PolicySet.merged(set, pattern)))
  }
  if (givesDefaults) found.push(...look(["defaults"], PolicySet.forMissing(set)))
  return found
}

/** Every policy as it was written. */
const writtenOf = ({ set }: Policies): ReadonlyArray<Located> => [
  [["defaults"], set.defaults],
  ...PolicySet.written(set).map(([pattern, sections]) => [["policies", pattern], sections] as const)
]

export const under = (path: ReadonlyArray<PropertyKey>, found: ReadonlyArray<Issue>): ReadonlyArray<Issue> =>
  found.map((issue) => ({ ...issue, path: [...path, ...issue.path] }))

/** Literal names of policies in code do not get here: they do not compile. */
export const unknownNames = (names: Names, { budget, classifier, hedge }: Policy.Sections): ReadonlyArray<Issue> => {
  const hedging = hedge === "off" ? undefined : hedge
  const named = [
    [["budget"], "budget", typeof budget === "object" ? budget.name : budget, names.isBudget],
    [["hedge", "budget"], "budget", hedging?.budget, names.isBudget],
    [["hedge", "trigger"], "trigger", hedging?.trigger, names.isTrigger],
    [["classifier"], "classifier", classifier, names.isClassifier]
  ] as const
  return named.flatMap(([path, kind, name, isKnown]) =>
    typeof name === "string" && !isKnown(name)
      ? [{ path, message: `must name a ${kind} that is provided, got ${show(name)}` }]
      : []
  )
}

export const nameIssues = (policies: Policies, names: Names): ReadonlyArray<Issue> =>
  writtenOf(policies).flatMap(([path, sections]) => under(path, unknownNames(names, sections)))

/** A budget to look at; `undefined` for one that is not known here. */
export type BudgetOf = (name: string) => Budget | undefined

const maxCostOf = (budget: Budget | undefined, field: "retryCost" | "hedgeCost"): number =>
  Math.min(budget?.maxCost ?? Infinity, (field === "hedgeCost" ? budget?.maxHedgeCost : undefined) ?? Infinity)

/**
 * A cost that its budget can never grant switches retries or hedges off without saying so. A cost of 1 is what nobody has
 * stated, and a budget that does not hold as much is a way to switch them off.
 */
const costIssues = (
  { budget, hedge, hedgeCost, retryCost }: Plan.Plan,
  budgetOf: BudgetOf
): ReadonlyArray<Issue> => {
  if (retryCost === 1 && hedgeCost === 1) return []
  const charged = [
    ["retryCost", retryCost, budget],
    ["hedgeCost", hedgeCost, budget],
    ...(hedge?.budget === undefined ? [] : [["hedgeCost", hedgeCost, hedge.budget] as const])
  ] as const
  return charged.flatMap(([field, cost, name]) => {
    const max = maxCostOf(budgetOf(name), field)
    const what = field === "hedgeCost" ? "grant to a hedge" : "grant"
    return cost <= max ? [] : [{
      path: ["budget", field],
      message: `must be at most what the budget ${show(name)} can ever ${what} (${max}), got ${cost}`
    }]
  })
}

/** A gate for hedges is not asked for first attempts: a budget that counts them there would never refuse. */
const gateIssues = ({ budget, hedge }: Plan.Plan, budgetOf: BudgetOf): ReadonlyArray<Issue> =>
  hedge?.budget === undefined || hedge.budget === budget || budgetOf(hedge.budget)?.admit === undefined ? [] : [{
    path: ["hedge", "budget"],
    message:
      "must name a budget that does not gate first attempts, as adaptiveThrottle does: nobody asks it for them " +
      `here, got ${show(hedge.budget)}`
  }]

/** What only a merged policy can show. */
export const mergedIssues = (sections: Policy.Sections, budgetOf: BudgetOf): ReadonlyArray<Issue> => {
  const plan = Plan.fromSections(sections)
  return [...Plan.problems(plan), ...costIssues(plan, budgetOf), ...gateIssues(plan, budgetOf)]
}

/** The same for every policy as a key gets it. */
export const checking = (policies: Policies, budgetOf: BudgetOf): Steps<ReadonlyArray<Issue>> =>
  inMerged(policies, (path, sections) => under(path, mergedIssues(sections, budgetOf)))

export const allMergedIssues = (policies: Policies, budgetOf: BudgetOf): ReadonlyArray<Issue> =>
  runNow(checking(policies, budgetOf))

export const warning = (policies: Policies): Steps<ReadonlyArray<string>> =>
  inMerged(
    policies,
    (path, sections) =>
      Plan.warnings(Plan.fromSections(sections)).map(({ message }) => `rego ${path.at(-1)}: ${message}`)
  )

export const warnings = (policies: Policies): ReadonlyArray<string> => runNow(warning(policies))
