/**
 * Looks at documents before they are in force: would one be accepted, what would be clamped, and what does a change from one
 * to another mean for which keys.
 *
 * **When to use**
 *
 * In tools and in tests: `rego check`, `rego diff` and `rego serve` are made of it. A live layer judges by the same rules.
 *
 * **Gotchas**
 *
 * Names of budgets, classifiers and triggers that the document does not define are accepted: only the process knows which
 * of them it registers.
 *
 * **Example** (A change that is refused)
 *
 * ```ts
 * import { PolicyReview } from "@rego/core"
 * import { Option } from "effect"
 *
 * const document = (revision: string, overall: string) => ({
 *   schemaVersion: "1.0",
 *   revision,
 *   policies: { "users.*": { retry: { maxAttempts: 40 }, timeout: { overall } } }
 * })
 *
 * const before = PolicyReview.review(document("1", "2 seconds"))
 * before.clamped // => [{ path: ["policies", "users.*", "retry", "maxAttempts"], value: 40, limit: 10 }]
 *
 * const after = PolicyReview.review(document("2", "10 millis"), { before: Option.getOrThrow(before.document) })
 * after.issues.length // => 1
 * ```
 *
 * @since 0.1.0
 */
import type { Effect } from "effect"
import { DateTime, Option } from "effect"
import * as Advice from "./Advice.ts"
import * as BootChecks from "./BootChecks.ts"
import type { Budget } from "./Budget.ts"
import type { BudgetData } from "./BudgetData.ts"
import { toState } from "./BudgetData.ts"
import type { ClampedSet } from "./DocumentClamp.ts"
import { clampingMerged } from "./DocumentClamp.ts"
import type { Gate } from "./DocumentGate.ts"
import { judging } from "./DocumentGate.ts"
import * as Issues from "./Issue.ts"
import type { Issue } from "./Issue.ts"
import * as Plan from "./Plan.ts"
import * as Policy from "./Policy.ts"
import * as PolicyDiff from "./PolicyDiff.ts"
import type { Entry, PolicyDocument } from "./PolicyDocument.ts"
import { switchesIn } from "./PolicyDocument.ts"
import type { Difference } from "./PolicyProvider.ts"
import * as PolicySet from "./PolicySet.ts"
import type { Clamped } from "./PolicySource.ts"
import * as Rollout from "./Rollout.ts"
import type { Steps } from "./Steps.ts"
import { mapValues, runInSlices, runNow } from "./Steps.ts"

// -----------------------------------------------------------------------------
// review
// -----------------------------------------------------------------------------

/**
 * What would become of a document.
 *
 * @category models
 * @since 0.1.0
 */
export interface Review {
  /** `None` where it cannot be read */
  readonly revision: Option.Option<string>
  /** with its values clamped; `None` when it is refused */
  readonly document: Option.Option<PolicyDocument>
  /** why it is refused */
  readonly issues: ReadonlyArray<Issue>
  readonly clamped: ReadonlyArray<Clamped>
  /** fields of a newer version, which would be ignored */
  readonly ignored: ReadonlyArray<Issue>
  /** what is allowed and probably not meant, of an accepted document */
  readonly warnings: ReadonlyArray<Warning>
}

/**
 * Something that is allowed and probably not meant. `docs/control-plane.md` lists the rules.
 *
 * @category models
 * @since 0.1.0
 */
export interface Warning {
  /** the entry whose keys get it */
  readonly pattern: string
  readonly rule: string
  readonly message: string
}

/**
 * What a document is compared with.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** the document in force: the guard of a live layer compares with it. No guard without one */
  readonly before?: PolicyDocument | undefined
}

const budget = (_: string, data: BudgetData | undefined): Budget | undefined =>
  data === undefined ? undefined : toState(data)

const gate: Gate = {
  provided: { isBudget: () => true, isClassifier: () => true, isTrigger: () => true, budget },
  onInvalidEntry: "refuse-document",
  givesDefaults: false,
  instance: ""
}

const choosing = (document: PolicyDocument, rolledOut: boolean): Steps<Readonly<Record<string, Policy.Sections>>> =>
  mapValues<Entry, Policy.Sections>(document.policies, (entry) => rolledOut ? Rollout.rolledOut(entry) : entry)

/**
 * The entries as an instance gets them that no rollout has reached, or that all have.
 *
 * @internal
 */
export const entriesOf = (
  document: PolicyDocument,
  rolledOut: boolean
): Readonly<Record<string, Policy.Sections>> => runNow(choosing(document, rolledOut))

const clampingSet = function*(document: PolicyDocument, rolledOut: boolean): Steps<ClampedSet> {
  return yield* clampingMerged(yield* choosing(document, rolledOut), document.defaults ?? {}, false)
}

/**
 * What keys get of a document, as a live layer would have it.
 *
 * @internal
 */
export const setOf = (document: PolicyDocument, rolledOut: boolean): PolicySet.PolicySet =>
  runNow(clampingSet(document, rolledOut)).set

/** What is said more than once is said once. */
const distinct = function*<A>(found: ReadonlyArray<A>): Steps<ReadonlyArray<A>> {
  const said = new Map<string, A>()
  for (const one of found) {
    yield
    said.set(JSON.stringify(one), one)
  }
  return Array.from(said.values())
}

/** What all instances get together: an instance judges what it gets, a review what any of them may get. */
const clampingSets = function*(document: PolicyDocument): Steps<ReadonlyArray<ClampedSet>> {
  return [yield* clampingSet(document, false), yield* clampingSet(document, true)]
}

const issuing = function*(document: PolicyDocument, sets: ReadonlyArray<ClampedSet>): Steps<ReadonlyArray<Issue>> {
  const budgetOf = (name: string) => budget(name, PolicySet.own(document.budgets, name))
  const found: Array<ReadonlyArray<Issue>> = []
  for (const { set } of sets) found.push(yield* BootChecks.checking({ set, givesDefaults: false }, budgetOf))
  return yield* distinct(found.flat())
}

const warning = function*(document: PolicyDocument, sets: ReadonlyArray<ClampedSet>): Steps<ReadonlyArray<Warning>> {
  const found: Array<Warning> = []
  for (const { set } of sets) {
    for (const pattern of PolicySet.patterns(set)) {
      yield
      const plan = Plan.fromSections(PolicySet.merged(set, pattern))
      for (const each of Advice.warnings(document.budgets ?? {}, plan)) found.push({ pattern, ...each })
    }
  }
  return yield* distinct(found)
}

const reviewing = function*(json: unknown, options: Options): Steps<Review> {
  const before = { inForce: undefined, delivered: options.before, revisions: new Map<string, string>() }
  const verdict = yield* judging(gate, before, json, true)
  if (verdict._tag === "Rejected") {
    return {
      revision: verdict.revision,
      document: Option.none(),
      issues: verdict.issues,
      clamped: [],
      ignored: [],
      warnings: []
    }
  }
  const { document, issues: ignored } = verdict.accepted
  const sets = yield* clampingSets(document)
  const issues = yield* issuing(document, sets)
  const clamped = yield* distinct([...verdict.accepted.clamped, ...sets.flatMap((each) => each.clamped)])
  return {
    revision: Option.some(document.revision),
    document: issues.length === 0 ? Option.some(document) : Option.none(),
    issues,
    clamped,
    ignored,
    warnings: issues.length === 0 ? yield* warning(document, sets) : []
  }
}

/**
 * Judges a document, as unknown JSON, by the rules of a live layer. It never fails: what is wrong is in `issues`. The guard
 * is asked only where `before` is given.
 *
 * @category reviewing
 * @since 0.1.0
 */
export const review = (json: unknown, options: Options = {}): Review => runNow(reviewing(json, options))

/**
 * The same for a process that answers others meanwhile, such as a control plane: in short pieces, between which timers,
 * sockets and other fibers have their turn.
 *
 * **Gotchas**
 *
 * What it is given must not be changed before it has ended.
 *
 * **Example** (A document is looked at while others are served)
 *
 * ```ts
 * import { PolicyReview } from "@rego/core"
 * import { Effect } from "effect"
 *
 * const document = { schemaVersion: "1.0", revision: "7", policies: { "users.*": { retry: { maxAttempts: 40 } } } }
 *
 * const { clamped } = await Effect.runPromise(PolicyReview.reviewEffect(document))
 * clamped // => [{ path: ["policies", "users.*", "retry", "maxAttempts"], value: 40, limit: 10 }]
 * ```
 *
 * @category reviewing
 * @since 0.1.0
 */
export const reviewEffect = (json: unknown, options: Options = {}): Effect.Effect<Review> =>
  runInSlices(() => reviewing(json, options))

// -----------------------------------------------------------------------------
// diff
// -----------------------------------------------------------------------------

/**
 * What the keys of an entry get now.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeysChange {
  /** a key, `prefix.*` or `*`; keys with a more particular entry have one of their own */
  readonly pattern: string
  readonly differences: ReadonlyArray<Difference>
}

/**
 * What a change means: for which keys, and for what all keys share.
 *
 * @category models
 * @since 0.1.0
 */
export interface Diff {
  /** merged policies: a change of `defaults` shows at every entry that inherits it */
  readonly keys: ReadonlyArray<KeysChange>
  /** budgets and kill switches */
  readonly shared: ReadonlyArray<Difference>
}

const isKnown = { known: true }

type Tagged = { readonly _tag: string }

const isTagged = (value: unknown): value is Tagged => typeof value === "object" && value !== null && "_tag" in value

/** A tagged value as a document writes it. */
const inWords = (value: unknown): unknown => {
  if (!isTagged(value)) return value
  const { _tag, ...numbers } = value
  return { type: `${_tag[0]?.toLowerCase()}${_tag.slice(1)}`, ...numbers }
}

const sectionsInWords = (sections: Policy.Sections): object => {
  const { hedge, retry, ...rest } = Policy.merge(sections, {})
  return {
    retry: typeof retry === "object" ? { ...retry, backoff: inWords(retry.backoff) } : retry,
    hedge: typeof hedge === "object" ? { ...hedge, trigger: inWords(hedge.trigger) } : hedge,
    ...rest
  }
}

/** Everything that the keys of an entry get, and how far it is rolled out. */
const keysFields = (document: PolicyDocument, set: PolicySet.PolicySet, pattern: string): object => {
  const sections = PolicySet.resolve(set, PolicySet.keyOf(pattern))
  const rollout = PolicySet.own(document.policies, pattern)?.rollout
  if (sections === undefined) return {}
  const change = rollout && { ...rollout, change: sectionsInWords(rollout.change) }
  return { ...isKnown, ...sectionsInWords(sections), rollout: change }
}

const sharedFields = (document: PolicyDocument): object => {
  const { hedgeOff, off } = switchesIn(document)
  const until = (switches: typeof off) =>
    Object.fromEntries(
      switches.map(({ pattern, until }) => [pattern, until === Infinity ? "off" : `off until ${iso(until)}`])
    )
  return { budgets: document.budgets ?? {}, off: until(off), hedgeOff: until(hedgeOff) }
}

const iso = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

/**
 * What a change from one document to another means, and for which keys.
 *
 * @category reviewing
 * @since 0.1.0
 */
export const diff = (before: PolicyDocument, after: PolicyDocument): Diff => {
  const [had, has] = [setOf(before, false), setOf(after, false)]
  const patterns = new Set([...Object.keys(before.policies), ...Object.keys(after.policies)])
  const keys = Array.from(patterns).toSorted().flatMap((pattern) => {
    const differences = PolicyDiff.between(keysFields(before, had, pattern), keysFields(after, has, pattern))
    return differences.length === 0 ? [] : [{ pattern, differences }]
  })
  return { keys, shared: PolicyDiff.between(sharedFields(before), sharedFields(after)) }
}

// -----------------------------------------------------------------------------
// printing
// -----------------------------------------------------------------------------

/**
 * Prints a path the way JavaScript reads it: `policies["users.*"].retry`.
 *
 * @category printing
 * @since 0.1.0
 */
export const formatPath: (path: ReadonlyArray<PropertyKey>) => string = Issues.formatPath

/**
 * Prints an issue on one line: its path, the rule, the value.
 *
 * @category printing
 * @since 0.1.0
 */
export const formatIssue = (issue: Issue): string => Issues.formatAll([issue])
