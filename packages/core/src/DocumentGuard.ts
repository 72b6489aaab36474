/**
 * Refuses changes that are within the limits and yet are most likely a mistake: a timeout cut to less than a tenth, attempts
 * or a ratio raised more than threefold. An entry that changes and says `force: true` means it. Pure.
 *
 * @internal
 */
import { Duration } from "effect"
import type { BudgetData } from "./BudgetData.ts"
import type { Issue } from "./Issue.ts"
import * as Plan from "./Plan.ts"
import type * as Policy from "./Policy.ts"
import * as PolicyDiff from "./PolicyDiff.ts"
import type { Entry, PolicyDocument } from "./PolicyDocument.ts"
import * as PolicySet from "./PolicySet.ts"
import { own } from "./PolicySet.ts"
import * as RatioBudget from "./RatioBudget.ts"
import { rolledOut } from "./Rollout.ts"
import type { Steps } from "./Steps.ts"
import { mapValues, runNow } from "./Steps.ts"

const cut = 1 / 10
const raise = 3

/** Sums and products of fractions are not exact in binary. */
const epsilon = 1e-9

type Path = ReadonlyArray<PropertyKey>

const hint = "say force: true if that is meant"

// -----------------------------------------------------------------------------
// one policy
// -----------------------------------------------------------------------------

/** Numbers of a policy as a key gets it; `undefined` where there is nothing to compare. */
interface Facts {
  readonly runs: number
  /** what bounds an attempt: its own timeout, or that of the call */
  readonly perAttempt: number
  readonly overall: number
  readonly ratio: number | undefined
}

const { ratio: defaultRatio } = /* @__PURE__ */ RatioBudget.numbersOf({})

/** Extra attempts for each answer: only budgets that are a share of the traffic can be compared. */
const ratioOf = (document: PolicyDocument, name: string): number | undefined => {
  const data = own(document.budgets, name)
  if (data !== undefined) return data.type === "ratio" ? RatioBudget.numbersOf(data).ratio : undefined
  return name === "default" ? defaultRatio : name === "unlimited" ? Infinity : name === "none" ? 0 : undefined
}

const factsOf = (document: PolicyDocument, sections: Policy.Sections): Facts => {
  const plan = Plan.fromSections(sections)
  return {
    runs: plan.maxAttempts * (1 + (plan.hedge?.maxHedges ?? 0)),
    perAttempt: Math.min(plan.perAttempt, plan.overall),
    overall: plan.overall,
    ratio: ratioOf(document, plan.budget)
  }
}

const show = (millis: number): string => Duration.format(Duration.millis(millis))

const cutIssue = (path: Path, before: number, after: number): ReadonlyArray<Issue> =>
  before !== Infinity && after < before * cut - epsilon
    ? [{
      path,
      message: `must not fall below a tenth of what the key has now (${show(before)}), got ${show(after)}: ${hint}`
    }]
    : []

const raiseIssue = (path: Path, what: string, before: number, after: number): ReadonlyArray<Issue> =>
  after > before * raise + epsilon
    ? [{
      path,
      message: `${what} must not rise above three times what the key has now (${before}), got ${after}: ${hint}`
    }]
    : []

/** A ratio of nothing has no multiples: what rises from there is compared with the default. */
const ratioIssue = (path: Path, before: number | undefined, after: number | undefined): ReadonlyArray<Issue> =>
  before === undefined || after === undefined
    ? []
    : raiseIssue(path, "the ratio of the budget", before === 0 ? defaultRatio : before, after)

/** Where it is the call's timeout that bounds an attempt, it is said once. */
const cutIssues = (path: Path, before: Facts, after: Facts): ReadonlyArray<Issue> => {
  const ofCall = cutIssue([...path, "timeout", "overall"], before.overall, after.overall)
  return ofCall.length > 0 && after.perAttempt === after.overall
    ? ofCall
    : [...ofCall, ...cutIssue([...path, "timeout", "perAttempt"], before.perAttempt, after.perAttempt)]
}

const compare = (path: Path, before: Facts, after: Facts): ReadonlyArray<Issue> => [
  ...cutIssues(path, before, after),
  ...raiseIssue([...path, "retry", "maxAttempts"], "attempts × (1 + hedges)", before.runs, after.runs),
  ...ratioIssue([...path, "budget"], before.ratio, after.ratio)
]

/** Two policies of one key, where there is no document. */
export const between = (before: Policy.Sections, after: Policy.Sections): ReadonlyArray<Issue> => {
  const none = { schemaVersion: "1.0", revision: "none", policies: {} }
  return compare([], factsOf(none, before), factsOf(none, after))
}

// -----------------------------------------------------------------------------
// documents
// -----------------------------------------------------------------------------

type Forceable = { readonly force?: boolean | undefined } | undefined

const withoutForce = (entry: Forceable): unknown => entry === undefined ? undefined : { ...entry, force: undefined }

/** The entry changes in this document, and says so. One that has said so for long lets nothing pass. */
const isForced = (before: Forceable, after: Forceable): boolean =>
  after?.force === true &&
  PolicyDiff.between(withoutForce(before), withoutForce(after)).length > 0

/** What a document gives to those whom no rollout has reached, and to those whom all have. */
const targetsOf = function*({ defaults, policies }: PolicyDocument): Steps<ReadonlyArray<PolicySet.PolicySet>> {
  const base = yield* PolicySet.making(policies, defaults)
  const all = yield* mapValues<Entry, Policy.Sections>(policies, rolledOut)
  return all === policies ? [base] : [base, yield* PolicySet.making(all, defaults)]
}

/** For keys that no entry matches: there is no entry of this name. */
const unmatched = ""

/** The entries of two documents, each once, and what stands for the other keys where these get the defaults. */
const patternsOf = function*(
  before: PolicyDocument,
  after: PolicyDocument,
  givesDefaults: boolean
): Steps<ReadonlyArray<string>> {
  const patterns = Object.keys(after.policies)
  yield
  for (const pattern of Object.keys(before.policies)) {
    yield
    if (!Object.hasOwn(after.policies, pattern)) patterns.push(pattern)
  }
  return givesDefaults && !patterns.includes("*") ? [...patterns, unmatched] : patterns
}

/** Whether something that makes up what keys get is forced; `gets` is that, and `target` where it was found. */
const isForcedFor = (
  before: PolicyDocument,
  after: PolicyDocument,
  target: PolicySet.PolicySet,
  key: string,
  gets: Policy.Sections
): boolean => {
  const { budget } = Plan.fromSections(gets)
  return isForced(before.defaults, after.defaults) ||
    isForced(own<BudgetData>(before.budgets, budget), own<BudgetData>(after.budgets, budget)) ||
    PolicySet.matching(target, key).some(([name]) => isForced(own(before.policies, name), own(after.policies, name)))
}

/**
 * What a change from one document to another must not do. A rollout is judged as if it had reached everybody, so that all
 * instances judge alike. `givesDefaults`: keys that no entry matches get the defaults.
 */
export const guarding = function*(
  before: PolicyDocument,
  after: PolicyDocument,
  givesDefaults = false
): Steps<ReadonlyArray<Issue>> {
  const resolve = (set: PolicySet.PolicySet, key: string) =>
    PolicySet.resolve(set, key) ?? (givesDefaults ? PolicySet.forMissing(set) : undefined)
  const base = yield* PolicySet.making(before.policies, before.defaults)
  const targets = yield* targetsOf(after)
  const found = new Map<string, Issue>()
  for (const pattern of yield* patternsOf(before, after, givesDefaults)) {
    yield
    const key = PolicySet.keyOf(pattern)
    const path = pattern === unmatched ? ["defaults"] : ["policies", pattern]
    const had = resolve(base, key)
    for (const target of targets) {
      const gets = resolve(target, key)
      if (had === undefined || gets === undefined) continue
      const now = compare(path, factsOf(before, had), factsOf(after, gets))
      if (now.length === 0 || isForcedFor(before, after, target, key, gets)) continue
      for (const issue of now) found.set(JSON.stringify(issue.path), issue)
    }
  }
  return Array.from(found.values())
}

export const issues = (
  before: PolicyDocument,
  after: PolicyDocument,
  givesDefaults = false
): ReadonlyArray<Issue> => runNow(guarding(before, after, givesDefaults))
