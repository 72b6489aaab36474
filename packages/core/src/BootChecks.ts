/**
 * What is looked at when a layer is built: names that nobody provides, what only merged policies show, costs that can never
 * be granted, and what is allowed but probably not meant. Pure.
 *
 * @internal
 */
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

/** A cost that its budget can never grant switches retries or hedges off without saying so. */
const costIssues = (
  { budget, hedge, hedgeCost, retryCost }: Plan.Plan,
  maxCost: (name: string) => number
): ReadonlyArray<Issue> => {
  if (retryCost === 1 && hedgeCost === 1) return []
  const charged = [
    ["retryCost", retryCost, budget],
    ["hedgeCost", hedgeCost, budget],
    ...(hedge?.budget === undefined ? [] : [["hedgeCost", hedgeCost, hedge.budget] as const])
  ] as const
  return charged.flatMap(([field, cost, name]) => {
    const max = maxCost(name)
    return cost <= max ? [] : [{
      path: ["budget", field],
      message: `must be at most what the budget ${show(name)} can ever grant (${max}), got ${cost}`
    }]
  })
}

/** What only a merged policy can show. */
export const mergedIssues = (
  sections: Policy.Sections,
  maxCost: (name: string) => number
): ReadonlyArray<Issue> => {
  const plan = Plan.fromSections(sections)
  return [...Plan.problems(plan), ...costIssues(plan, maxCost)]
}

/** The same for every policy as a key gets it. */
export const checking = (policies: Policies, maxCost: (name: string) => number): Steps<ReadonlyArray<Issue>> =>
  inMerged(policies, (path, sections) => under(path, mergedIssues(sections, maxCost)))

export const allMergedIssues = (policies: Policies, maxCost: (name: string) => number): ReadonlyArray<Issue> =>
  runNow(checking(policies, maxCost))

export const warning = (policies: Policies): Steps<ReadonlyArray<string>> =>
  inMerged(
    policies,
    (path, sections) =>
      Plan.warnings(Plan.fromSections(sections)).map(({ message }) => `rego ${path.at(-1)}: ${message}`)
  )

export const warnings = (policies: Policies): ReadonlyArray<string> => runNow(warning(policies))
