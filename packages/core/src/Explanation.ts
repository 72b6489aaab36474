/**
 * What a document gives a key, where each value comes from, and what that can do at its worst: before it is in force.
 *
 * **When to use**
 *
 * In a review, and in a test that holds a document to what a dependency can bear. `rego explain` prints it.
 *
 * **Details**
 *
 * The worst case is an upper bound: no call of the key runs the effect more often, waits longer or takes longer, whatever
 * the dependency does, whether budgets grant or deny. An enclosing deadline makes it shorter. It is computed for what the
 * policy (or the option `idempotent`, as a call site would) says of idempotency: hedges start only where that is `true`.
 *
 * **Gotchas**
 *
 * Not in the bound: the answer of a budget that is asked over the network, and the first sight of a key with
 * `PolicyLayer.fetch`. Both end at the deadline.
 *
 * **Example** (A bound in a test)
 *
 * ```ts
 * import { Explanation, PolicyDocument } from "@rego/core"
 * import { Duration, Effect } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const document = yield* PolicyDocument.decode({
 *     schemaVersion: "1.0",
 *     revision: "7",
 *     defaults: { timeout: { perAttempt: "200 millis" } },
 *     policies: { "users.*": { retry: { maxAttempts: 4 }, idempotent: true } }
 *   })
 *   const { fields, worst } = Explanation.make(document, "users.Get")
 *   worst.attempts // => 4
 *   Duration.format(worst.duration) // => "870ms"
 *   fields.find(({ path }) => path === "timeout.perAttempt")?.from // => "defaults"
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @since 0.1.0
 */
import { Duration, Option, Schema } from "effect"
import * as Advice from "./Advice.ts"
import { formatPath } from "./Issue.ts"
import * as Plan from "./Plan.ts"
import * as Policy from "./Policy.ts"
import type { PolicyDocument, SwitchedKeys } from "./PolicyDocument.ts"
import { switchesIn } from "./PolicyDocument.ts"
import * as PolicyKey from "./PolicyKey.ts"
import { setOf } from "./PolicyReview.ts"
import * as PolicySet from "./PolicySet.ts"
import * as WorstCase from "./WorstCase.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * A value in force, as JSON, and the entry that states it: `undefined` for what nobody states.
 *
 * @category models
 * @since 0.1.0
 */
export interface Field {
  readonly path: string
  readonly value: unknown
  readonly from: string | undefined
}

/**
 * The most that a call of the key can do: an upper bound on attempts, waits and time.
 *
 * @category models
 * @since 0.1.0
 */
export interface Worst {
  /** retry groups: the first one counts */
  readonly groups: number
  /** attempts of a group, its hedges included */
  readonly perGroup: number
  /** how often a call runs the effect */
  readonly attempts: number
  /** the longest wait before each retry, by the backoff */
  readonly waits: ReadonlyArray<Duration.Duration>
  /** the longest wait before each retry where the server asks for it */
  readonly waitsAsked: ReadonlyArray<Duration.Duration>
  /** how long a call takes; `Duration.infinity` where an attempt that hangs is never given up */
  readonly duration: Duration.Duration
  /** the same where the server asks for the waits */
  readonly durationAsked: Duration.Duration
}

/**
 * What a budget lets through when the dependency answers nothing.
 *
 * @category models
 * @since 0.1.0
 */
export interface Outage {
  /** extra attempts of a process that has just started */
  readonly atFirst: number
  /** extra attempts at most at once, later */
  readonly atOnce: number
  readonly perSecond: number
}

/**
 * What is known of the budget of a key before a call is made.
 *
 * @category models
 * @since 0.1.0
 */
export interface BudgetFacts {
  readonly name: string
  /** when it denies, in a sentence */
  readonly denies: string
  /** `None` where it depends on what the budget has seen, or where the document does not define the budget */
  readonly outage: Option.Option<Outage>
}

/**
 * What is allowed and probably not meant.
 *
 * @category models
 * @since 0.1.0
 */
export interface Warning {
  readonly rule: string
  readonly message: string
}

/**
 * All that a document says about one key.
 *
 * @category models
 * @since 0.1.0
 */
export interface Explanation {
  /** under which calls run: the key that was given, or the overflow key of its namespace where it looks like an id */
  readonly key: string
  readonly revision: string
  /** the entries that are laid over each other, from general to specific; empty for a key that no entry matches */
  readonly matched: ReadonlyArray<string>
  readonly fields: ReadonlyArray<Field>
  /** what the kill switches of the document leave: nothing is off, hedges are, or hedges and retries are */
  readonly switchedOff: "nothing" | "hedges" | "everything"
  readonly worst: Worst
  readonly budget: BudgetFacts
  readonly warnings: ReadonlyArray<Warning>
}

// -----------------------------------------------------------------------------
// fields
// -----------------------------------------------------------------------------

type Matched = ReadonlyArray<readonly [from: string, sections: Policy.Sections]>

/** What stands in the document, not what an instance makes of it: a rollout is an entry over its entry. */
const matchedBy = (document: PolicyDocument, set: PolicySet.PolicySet, key: string, rolledOut: boolean): Matched => {
  const named = PolicySet.matching(set, key).flatMap(([pattern]) => {
    const entry = document.policies[pattern]!
    const path = ["policies", pattern]
    const change = rolledOut ? entry.rollout?.change : undefined
    const changed = change === undefined ? [] : [[formatPath([...path, "rollout", "change"]), change] as const]
    return [[formatPath(path), entry] as const, ...changed]
  })
  return document.defaults === undefined || named.length === 0 ? named : [["defaults", document.defaults], ...named]
}

/** A plan as it would be written with nothing left out. */
const writtenOut = (plan: Plan.Plan): Policy.Sections => ({
  retry: plan.retries
    ? {
      maxAttempts: plan.maxAttempts,
      backoff: plan.backoff,
      maxRetryAfter: Duration.millis(plan.maxRetryAfter),
      nested: plan.nested
    }
    : "off",
  timeout: {
    ...(plan.perAttempt === Infinity ? {} : { perAttempt: Duration.millis(plan.perAttempt) }),
    ...(plan.overall === Infinity ? {} : { overall: Duration.millis(plan.overall) })
  },
  hedge: plan.hedge === undefined ? "off" : plan.hedge,
  budget: { name: plan.budget, retryCost: plan.retryCost, hedgeCost: plan.hedgeCost },
  ...(plan.classifier === undefined ? {} : { classifier: plan.classifier }),
  ...(plan.idempotent === undefined ? {} : { idempotent: plan.idempotent })
})

const encode = Schema.encodeSync(Policy.InDocument)

const sectionNames = ["retry", "timeout", "hedge"] as const
const valueNames = ["budget", "classifier", "idempotent"] as const

/** The last entry that states it: what it overrode, or switched off before, does not count. */
const statedBy = (matched: Matched, states: (sections: Policy.Sections) => unknown): string | undefined =>
  matched.findLast(([, sections]) => states(sections) !== undefined)?.[0]

const sectionFields = (
  matched: Matched,
  name: typeof sectionNames[number],
  written: object | "off" | undefined
): ReadonlyArray<Field> => {
  if (written === "off" || written === undefined) {
    return [{ path: name, value: "off", from: statedBy(matched, (sections) => sections[name]) }]
  }
  return Object.entries(written).filter(([, value]) => value !== undefined).map(([field, value]) => ({
    path: `${name}.${field}`,
    value,
    from: statedBy(matched, (sections) => {
      const section = sections[name]
      return section === "off" ? undefined : section?.[field as never]
    })
  }))
}

const fieldsOf = (matched: Matched, plan: Plan.Plan): ReadonlyArray<Field> => {
  const written = encode(writtenOut(plan) as typeof Policy.InDocument.Type)
  return [
    ...sectionNames.flatMap((name) => sectionFields(matched, name, written[name])),
    ...valueNames.map((name) => ({
      path: name,
      value: written[name] ?? "unstated",
      from: statedBy(matched, (sections) => sections[name])
    }))
  ]
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/** Calls whose key looks like an id, or is no key, run under another one. */
const keyOf = (set: PolicySet.PolicySet, text: string): string =>
  set.exact.has(text) || PolicyKey.isValid(text) ? text : PolicyKey.overflowOf(text)

const toWorst = (worst: WorstCase.WorstCase): Worst => ({
  groups: worst.groups,
  perGroup: worst.perGroup,
  attempts: worst.groups * worst.perGroup,
  waits: worst.waits.map((millis) => Duration.millis(millis)),
  waitsAsked: worst.waitsAsked.map((millis) => Duration.millis(millis)),
  duration: Duration.millis(worst.duration),
  durationAsked: Duration.millis(worst.durationAsked)
})

/**
 * What `make` takes for granted about the call and the instance.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** what the call site says; as the policy says unless given */
  readonly idempotent?: boolean | undefined
  /** as for an instance that every rollout has reached; for one that none has unless given */
  readonly rolledOut?: boolean | undefined
  /** in milliseconds since the epoch: kill switches that have lapsed by then do not count. All count unless given */
  readonly now?: number | undefined
}

const switchedOff = (document: PolicyDocument, key: string, now: number): Explanation["switchedOff"] => {
  const { hedgeOff, off } = switchesIn(document)
  const isOff = ({ pattern, until }: SwitchedKeys): boolean => now < until && PolicySet.covers(pattern, key)
  return off.some(isOff) ? "everything" : hedgeOff.some(isOff) ? "hedges" : "nothing"
}

/**
 * Explains what a document gives a key. A key that no entry matches gets one attempt; one that looks like an id is explained
 * under the overflow key of its namespace, as calls run.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (document: PolicyDocument, key: PolicyKey.Input, options: Options = {}): Explanation => {
  const { idempotent, now = -Infinity, rolledOut = false } = options
  const set = setOf(document, rolledOut)
  const runsUnder = keyOf(set, PolicyKey.print(key))
  const sections = PolicySet.resolve(set, runsUnder)
  const plan = sections === undefined ? Plan.singleAttempt : Plan.fromSections(sections)
  const matched = matchedBy(document, set, runsUnder, rolledOut)
  const off = switchedOff(document, runsUnder, now)
  const { outage, ...facts } = Advice.budgetFacts(document.budgets ?? {}, plan.budget)
  return {
    key: runsUnder,
    revision: document.revision,
    matched: matched.map(([from]) => from),
    fields: fieldsOf(matched, plan),
    switchedOff: off,
    worst: toWorst(WorstCase.make({
      plan,
      retriesOff: off === "everything",
      hedgesOff: off !== "nothing",
      idempotent: idempotent ?? plan.idempotent
    })),
    budget: { name: plan.budget, ...facts, outage: Option.fromUndefinedOr(outage) },
    warnings: sections === undefined ? [] : Advice.warnings(document.budgets ?? {}, plan)
  }
}
