/**
 * Moves values of a document that are outside of the limits to the nearest one, where that can neither fail a call that
 * would have succeeded nor send what the budget would not. The list is closed; everything else out of range refuses the
 * document (`docs/decisions/0005-remote-policies-are-clamped.md`). Pure: works on unknown JSON, and changes nothing in it.
 *
 * @internal
 */
import { Duration, Predicate } from "effect"
import { parseDuration } from "./Issue.ts"
import * as Plan from "./Plan.ts"
import type * as Policy from "./Policy.ts"
import * as PolicySet from "./PolicySet.ts"
import type { Clamped } from "./PolicySource.ts"
import type { Steps } from "./Steps.ts"
import { mapValues, runNow } from "./Steps.ts"

type Path = ReadonlyArray<PropertyKey>

// -----------------------------------------------------------------------------
// values
// -----------------------------------------------------------------------------

/** The value to take instead, `undefined` where the value stays: it is in range, or no clamp is safe for it. */
type Limit = (value: unknown) => unknown

const number = (replacement: (n: number) => number): Limit => (value) => {
  if (typeof value !== "number" || !Number.isFinite(value)) return undefined
  const limited = replacement(value)
  return limited === value ? undefined : limited
}

const integer = (replacement: (n: number) => number): Limit => (value) =>
  Number.isInteger(value) ? number(replacement)(value) : undefined

const duration = (exceeds: (d: Duration.Duration) => boolean, limit: string): Limit => (value) => {
  const parsed = parseDuration(value)
  return typeof parsed !== "string" && Duration.isFinite(parsed) && exceeds(parsed) ? limit : undefined
}

const atMost = (limit: string): Limit => {
  const max = Duration.fromInputUnsafe(limit as Duration.Input)
  return duration((d) => Duration.isGreaterThan(d, max), limit)
}

const atLeast = (limit: string): Limit => {
  const min = Duration.fromInputUnsafe(limit as Duration.Input)
  return duration((d) => Duration.isLessThan(d, min), limit)
}

const either = (...limits: ReadonlyArray<Limit>): Limit => (value) => {
  for (const limit of limits) {
    const limited = limit(value)
    if (limited !== undefined) return limited
  }
  return undefined
}

// -----------------------------------------------------------------------------
// the list
// -----------------------------------------------------------------------------

interface Clamps {
  readonly [field: string]: Limit | Clamps
}

const cost = number((n) => Math.max(1, n))

const clampsOfPolicy: Clamps = {
  retry: {
    maxAttempts: integer((n) => Math.min(10, Math.max(1, n))),
    maxRetryAfter: atMost("5 minutes"),
    backoff: {
      initial: atLeast("1 millis"),
      max: atMost("30 seconds"),
      delay: either(atLeast("1 millis"), atMost("30 seconds"))
    }
  },
  timeout: { perAttempt: atMost("1 day"), overall: atMost("1 day") },
  hedge: { maxHedges: integer((n) => Math.min(3, n)) },
  budget: { retryCost: cost, hedgeCost: cost }
}

const clampsOfBudget: Clamps = {
  reserve: { burst: number((n) => Math.min(100, n)), perSecond: number((n) => Math.min(10, n)) }
}

// -----------------------------------------------------------------------------
// unknown JSON
// -----------------------------------------------------------------------------

type Clamper = (json: unknown, path: Path, clamped: Array<Clamped>) => unknown

/** The same object, where no field of it changes. */
const withFields = (
  json: unknown,
  clampers: Readonly<Record<string, Clamper>>,
  path: Path,
  clamped: Array<Clamped>
) => {
  if (!Predicate.isReadonlyObject(json)) return json
  const changes = Object.entries(clampers).flatMap(([field, clamp]) => {
    if (!Object.hasOwn(json, field)) return []
    const value = clamp(json[field], [...path, field], clamped)
    return Object.is(value, json[field]) ? [] : [[field, value] as const]
  })
  return changes.length === 0 ? json : { ...json, ...Object.fromEntries(changes) }
}

const clampValue = (limit: Limit): Clamper => (value, path, clamped) => {
  const limited = limit(value)
  if (limited === undefined) return value
  clamped.push({ path, value, limit: limited })
  return limited
}

const clampFields = (clamps: Clamps): Clamper => {
  const clampers = Object.fromEntries(
    Object.entries(clamps).map(([field, clamp]) => [
      field,
      typeof clamp === "function" ? clampValue(clamp) : clampFields(clamp)
    ])
  )
  return (json, path, clamped) => withFields(json, clampers, path, clamped)
}

/** What stands under names that are not known here. */
const clampAll = (clamp: Clamper): Clamper => (json, path, clamped) =>
  Predicate.isReadonlyObject(json)
    ? withFields(json, Object.fromEntries(Object.keys(json).map((name) => [name, clamp])), path, clamped)
    : json

/** No hedges: the section says so with a word. */
const clampNoHedges: Clamper = (json, path, clamped) => {
  if (
    !Predicate.isReadonlyObject(json) || !Predicate.isReadonlyObject(json["hedge"]) || json["hedge"]["maxHedges"] !== 0
  ) return json
  clamped.push({ path: [...path, "hedge", "maxHedges"], value: 0, limit: "off" })
  return { ...json, hedge: "off" }
}

const clampValues = clampFields(clampsOfPolicy)

const clampPolicy: Clamper = (json, path, clamped) => clampValues(clampNoHedges(json, path, clamped), path, clamped)

const clampChange: Clamper = (json, path, clamped) => withFields(json, { change: clampPolicy }, path, clamped)

const clampEntry: Clamper = (json, path, clamped) =>
  withFields(clampPolicy(json, path, clamped), { rollout: clampChange }, path, clamped)

const clampOthers: Clamper = (json, path, clamped) =>
  withFields(json, { defaults: clampPolicy, budgets: clampAll(clampFields(clampsOfBudget)) }, path, clamped)

export interface ClampedJson {
  readonly json: unknown
  readonly clamped: ReadonlyArray<Clamped>
}

/** A document with its values clamped. What is no document comes back as it is. Clamping again changes nothing. */
export const clamping = function*(json: unknown): Steps<ClampedJson> {
  const clamped: Array<Clamped> = []
  const others = clampOthers(json, [], clamped)
  if (!Predicate.isReadonlyObject(others) || !Object.hasOwn(others, "policies")) return { json: others, clamped }
  const { policies } = others
  if (!Predicate.isReadonlyObject(policies)) return { json: others, clamped }
  const kept = new Set<unknown>()
  const entries = yield* mapValues(policies, (entry, pattern) => {
    if (kept.has(entry)) return entry
    const result = clampEntry(entry, ["policies", pattern], clamped)
    if (Object.is(result, entry)) kept.add(entry)
    return result
  })
  return { json: entries === policies ? others : { ...others, policies: entries }, clamped }
}

export const clampDocument = (json: unknown): ClampedJson => runNow(clamping(json))

/** The same for one policy, as a source for single keys answers it. */
export const clampOnePolicy = (json: unknown): ClampedJson => {
  const clamped: Array<Clamped> = []
  return { json: clampPolicy(json, [], clamped), clamped }
}

// -----------------------------------------------------------------------------
// merged policies
// -----------------------------------------------------------------------------

const levels: ReadonlyArray<(pattern: string) => boolean> = [
  (pattern) => pattern === "*",
  (pattern) => pattern.endsWith(".*"),
  (pattern) => !pattern.endsWith("*")
]

export interface ClampedSet {
  readonly set: PolicySet.PolicySet
  readonly clamped: ReadonlyArray<Clamped>
}

const hasHedge = ({ hedge }: Policy.Sections): boolean => typeof hedge === "object"

type Entries = Readonly<Record<string, Policy.Sections>>
type Note = (path: Path, merged: Policy.Sections, hedge: Policy.Sections["hedge"]) => void

const lowering = (set: PolicySet.PolicySet, entries: Entries, isHere: (pattern: string) => boolean, note: Note) =>
  mapValues(entries, (entry, pattern) => {
    if (!isHere(pattern)) return entry
    const merged = PolicySet.merged(set, pattern)
    const hedge = Plan.loweredHedge(merged)
    if (hedge === undefined) return entry
    note(["policies", pattern], merged, hedge)
    return { ...entry, hedge }
  })

/** From the most general entry to the most particular, because each inherits from those before. */
export const clampingMerged = function*(
  entries: Entries,
  defaults: Policy.Sections,
  givesDefaults: boolean
): Steps<ClampedSet> {
  const clamped: Array<Clamped> = []
  const note: Note = (path, merged, hedge) => {
    const limit = typeof hedge === "object" ? hedge.maxHedges : hedge
    clamped.push({ path: [...path, "hedge", "maxHedges"], value: Plan.fromSections(merged).hedge?.maxHedges, limit })
  }
  const forMissing = PolicySet.forMissing(PolicySet.make({}, defaults))
  const under = givesDefaults ? Plan.loweredHedge(forMissing) : undefined
  if (under !== undefined) note(["defaults"], forMissing, under)
  let set = yield* PolicySet.making(entries, under === undefined ? defaults : { ...defaults, hedge: under })
  if (!hasHedge(defaults) && !PolicySet.written(set).some(([, sections]) => hasHedge(sections))) return { set, clamped }
  let current = entries
  for (const isHere of levels) {
    const next = yield* lowering(set, current, isHere, note)
    if (next === current) continue
    current = next
    set = yield* PolicySet.making(current, set.defaults)
  }
  return { set, clamped }
}

export const clampMerged = (
  entries: Entries,
  defaults: Policy.Sections,
  givesDefaults: boolean
): ClampedSet => runNow(clampingMerged(entries, defaults, givesDefaults))
