/**
 * What every document passes that does not come from the code: validate, clamp, guard. Pure: it answers what is to become of
 * a document, and changes nothing.
 *
 * @internal
 */
import { Option, Predicate } from "effect"
import * as BootChecks from "./BootChecks.ts"
import type { Budget } from "./Budget.ts"
import { clamping, clampingMerged } from "./DocumentClamp.ts"
import * as DocumentGuard from "./DocumentGuard.ts"
import type { Issue } from "./Issue.ts"
import { show } from "./Issue.ts"
import type { Entry } from "./PolicyDocument.ts"
import * as PolicyDocument from "./PolicyDocument.ts"
import type { PolicySet } from "./PolicySet.ts"
import { own } from "./PolicySet.ts"
import type { Clamped } from "./PolicySource.ts"
import * as Rollout from "./Rollout.ts"
import type { Steps } from "./Steps.ts"
import { define, mapValues } from "./Steps.ts"

type Document = PolicyDocument.PolicyDocument

/** A document that is in force, or may be. */
export interface Accepted {
  /** what was found; entries that say the same are one object */
  readonly json: unknown
  /** what stands for its content: two documents with the same text are the same */
  readonly fingerprint: string
  /** clamped; entries that could not be taken are the last good ones */
  readonly document: Document
  /** what this instance gets of it, merged policies within the limits */
  readonly set: PolicySet
  readonly clamped: ReadonlyArray<Clamped>
  /** entries that were not taken, and fields that were ignored */
  readonly issues: ReadonlyArray<Issue>
}

export type Verdict =
  | { readonly _tag: "Accepted"; readonly accepted: Accepted }
  | {
    readonly _tag: "Rejected"
    readonly fingerprint: string
    readonly revision: Option.Option<string>
    readonly issues: ReadonlyArray<Issue>
  }

export interface Provided {
  readonly isBudget: (name: string) => boolean
  readonly isClassifier: (name: string) => boolean
  readonly isTrigger: (name: string) => boolean
  /** a budget to look at; `data` where the document defines it */
  readonly budget: (name: string, data: NonNullable<Document["budgets"]>[string] | undefined) => Budget | undefined
}

export interface Gate {
  readonly provided: Provided
  readonly onInvalidEntry: "keep-last-good" | "refuse-document"
  /** keys that no entry matches get the defaults */
  readonly givesDefaults: boolean
  /** who asks: rollouts choose instances by their name */
  readonly instance: string
}

/** What came before. */
export interface Before {
  /** its entries stand in for those that cannot be taken */
  readonly inForce: Document | undefined
  /** what the source delivered last; the guard compares with it */
  readonly delivered: Document | undefined
  /** revisions of the source that were accepted, with the fingerprint of each */
  readonly revisions: ReadonlyMap<string, string>
}

// -----------------------------------------------------------------------------
// content
// -----------------------------------------------------------------------------

/** Deeper than any document; what is nested for no purpose must not use up the stack. */
const maxDepth = 32

/** Stands before what has no JSON; in JSON there is no such character. */
const foreign = "\0"

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === Array.prototype || prototype === null
}

const inner = (value: object, above: Array<object>): string => {
  if (above.length > maxDepth || above.includes(value)) return foreign
  above.push(value)
  const text = Array.isArray(value) ? `[${value.map((item) => canonical(item, above)).join()}]` : fieldsOf(value, above)
  above.pop()
  return isPlain(value) ? text : foreign + text
}

/** By hand: it is asked of each entry of a document, and none of them should take long. */
const fieldsOf = (value: object, above: Array<object>): string => {
  let text = ""
  for (const name of Object.keys(value).toSorted()) {
    text += `${JSON.stringify(name)}:${canonical((value as any)[name], above)},`
  }
  return `{${text}}`
}

/** Text in which the order of fields does not matter; of what has no JSON (a source may answer anything) some text. */
const canonical = (value: unknown, above: Array<object> = []): string => {
  if (typeof value === "string") return JSON.stringify(value)
  if (typeof value === "object" && value !== null) return inner(value, above)
  const hasJson = value === null || typeof value === "number" || typeof value === "boolean"
  return hasJson ? String(value) : foreign + String(value)
}

/** Sums: the order of entries does not matter, and need not be made. */
class Fingerprint {
  private length = 0
  private first = 0
  private second = 0

  add(text: string): void {
    this.length += text.length
    this.first = (this.first + Rollout.hash(text)) >>> 0
    this.second = (this.second + Rollout.hash(text, 0x9e3779b9)) >>> 0
  }

  toString(): string {
    return `${this.length}:${this.first}:${this.second}`
  }
}

interface Content {
  /** documents are kept for long, their fingerprints for longer */
  readonly fingerprint: string
  /** the document, in which entries that say the same are one object: they are read once, and kept once */
  readonly json: unknown
}

/** What a document says, whatever the order of its fields. */
export const contentOf = function*(json: unknown): Steps<Content> {
  const policies = Predicate.isReadonlyObject(json) ? json["policies"] : undefined
  const fingerprint = new Fingerprint()
  if (!Predicate.isReadonlyObject(policies)) {
    fingerprint.add(canonical(json))
    return { fingerprint: fingerprint.toString(), json }
  }
  fingerprint.add(canonical({ ...json as object, policies: {} }))
  const known = new Map<string, unknown>()
  const entries: Record<string, unknown> = {}
  for (const pattern of Object.keys(policies)) {
    // Two short steps, not a longer one.
    yield
    const entry = policies[pattern]
    const text = canonical(entry)
    yield
    fingerprint.add(`${JSON.stringify(pattern)}:${text}`)
    const same = known.get(text)
    if (same === undefined && !text.includes(foreign)) known.set(text, entry)
    define(entries, pattern, same ?? entry)
  }
  return { fingerprint: fingerprint.toString(), json: { ...json as object, policies: entries } }
}

const revisionOf = (json: unknown): Option.Option<string> => {
  const revision = typeof json === "object" && json !== null && "revision" in json ? json.revision : undefined
  return typeof revision === "string" && revision !== "" ? Option.some(revision) : Option.none()
}

// -----------------------------------------------------------------------------
// entries
// -----------------------------------------------------------------------------

/** An entry that was never good: one attempt, whatever it inherits. */
const oneAttempt: Entry = { retry: "off", hedge: "off" }

const namesOf = (gate: Gate, document: Document): BootChecks.Names => ({
  ...gate.provided,
  isBudget: (name) => own(document.budgets, name) !== undefined || gate.provided.isBudget(name)
})

const entryIssues = (names: BootChecks.Names, entry: Entry): ReadonlyArray<Issue> => [
  ...BootChecks.unknownNames(names, entry),
  ...BootChecks.under(["rollout", "change"], BootChecks.unknownNames(names, entry.rollout?.change ?? {}))
]

interface Settled {
  readonly document: Document
  readonly issues: ReadonlyArray<Issue>
}

/** During a deploy old instances do not know the new names: such an entry keeps its last good version, and only that one. */
const settling = function*(gate: Gate, before: Document | undefined, document: Document): Steps<Settled> {
  const names = namesOf(gate, document)
  const found: Array<Issue> = []
  const settle = <E extends Entry>(path: ReadonlyArray<string>, entry: E, lastGood: E): E => {
    const issues = BootChecks.under(path, entryIssues(names, entry))
    found.push(...issues)
    return issues.length === 0 ? entry : lastGood
  }
  const policies = yield* mapValues(
    document.policies,
    (entry, pattern) => settle(["policies", pattern], entry, own(before?.policies, pattern) ?? oneAttempt)
  )
  const { defaults } = document
  const settled = defaults && settle(["defaults"], defaults, before?.defaults ?? oneAttempt)
  if (found.length === 0) return { document, issues: [] }
  return { document: { ...document, policies, ...(settled === undefined ? {} : { defaults: settled }) }, issues: found }
}

// -----------------------------------------------------------------------------
// the gate
// -----------------------------------------------------------------------------

const reused = (before: Before, revision: string, fingerprint: string): ReadonlyArray<Issue> => {
  const known = before.revisions.get(revision)
  return known === undefined || known === fingerprint ? [] : [{
    path: ["revision"],
    message: `must be a new one for other content (revision_reused), got ${show(revision)}`
  }]
}

/** A revision that was in force before is known to be good, however large the step back is. */
const guarding = function*(gate: Gate, before: Before, document: Document): Steps<ReadonlyArray<Issue>> {
  return before.delivered === undefined || before.revisions.has(document.revision)
    ? []
    : yield* DocumentGuard.guarding(before.delivered, document, gate.givesDefaults)
}

/** Nothing that it reads may change before it has ended. */
export const judging = function*(gate: Gate, before: Before, delivered: unknown, guarded: boolean): Steps<Verdict> {
  const { fingerprint, json } = yield* contentOf(delivered)
  const reject = (issues: ReadonlyArray<Issue>): Verdict => (
    { _tag: "Rejected", fingerprint, revision: revisionOf(json), issues }
  )
  const raw = yield* clamping(json)
  const read = yield* PolicyDocument.reading(raw.json)
  if (read.document === undefined) return reject(read.issues)
  const { document, issues } = yield* settling(gate, before.inForce, read.document)
  if (issues.length > 0 && gate.onInvalidEntry === "refuse-document") return reject(issues)
  const chosen = yield* Rollout.choosing(document.policies, gate.instance)
  const merged = yield* clampingMerged(chosen, document.defaults ?? {}, gate.givesDefaults)
  const policies = { set: merged.set, givesDefaults: gate.givesDefaults }
  const refused = [
    ...reused(before, document.revision, fingerprint),
    ...(yield* BootChecks.checking(policies, (name) => gate.provided.budget(name, own(document.budgets, name)))),
    ...(guarded ? yield* guarding(gate, before, document) : [])
  ]
  if (refused.length > 0) return reject(refused)
  const accepted: Accepted = {
    json,
    fingerprint,
    document,
    set: merged.set,
    clamped: [...raw.clamped, ...merged.clamped],
    issues: [...issues, ...read.ignored]
  }
  return { _tag: "Accepted", accepted }
}
