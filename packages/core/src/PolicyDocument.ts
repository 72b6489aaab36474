/**
 * Policies and budgets as data: what a file or a control plane holds.
 *
 * **Details**
 *
 * `policies` maps keys, `prefix.*` and `*` to policies; `defaults` lie under every entry that matches; `budgets` are named
 * budgets as data; `off` and `hedgeOff` are the kill switches. Durations are text (`"250 millis"`) or milliseconds. Decoding
 * reports every issue with its path, unknown fields included. Fields that this version does not know are accepted only in
 * a document of a newer minor version.
 *
 * An entry may say `force: true`, for a change that the guard of a live layer would refuse, and `rollout`, a change that
 * only a share of the instances gets.
 *
 * **Example** (Decoding)
 *
 * ```ts
 * import { PolicyDocument } from "@rego/core"
 * import { Effect } from "effect"
 *
 * const document = {
 *   schemaVersion: "1.0",
 *   revision: "2026-11-23.1",
 *   policies: { "users.*": { retry: { maxAttempts: 4 }, timeout: { overall: "1 second" } } }
 * }
 *
 * const typo = { ...document, policies: { "users.*": { retry: { maxAtempts: 40 }, timeout: { overall: "1 sec" } } } }
 *
 * const program = Effect.gen(function*() {
 *   const decoded = yield* PolicyDocument.decode(document)
 *   decoded.revision // => "2026-11-23.1"
 *   const refused = yield* Effect.flip(PolicyDocument.decode(typo))
 *   refused.issues.length // => 2
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @since 0.1.0
 */
import { DateTime, Effect, Option, Predicate, Schema, SchemaIssue, SchemaTransformation } from "effect"
import * as BootChecks from "./BootChecks.ts"
import { reservedNames } from "./Budget.ts"
import { BudgetData } from "./BudgetData.ts"
import * as DocumentClamp from "./DocumentClamp.ts"
import * as DocumentGuard from "./DocumentGuard.ts"
import type { Issue } from "./Issue.ts"
import { fromSchemaError, numberField, parseOptions, show } from "./Issue.ts"
import type { Policy, Sections } from "./Policy.ts"
import { fromSections, InDocument, PolicyInvalid } from "./Policy.ts"
import * as PolicyDiff from "./PolicyDiff.ts"
import type * as PolicyKey from "./PolicyKey.ts"
import type { Difference } from "./PolicyProvider.ts"
import * as PolicySet from "./PolicySet.ts"
import type { Clamped } from "./PolicySource.ts"
import type { Steps } from "./Steps.ts"
import { define, runNow } from "./Steps.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

const supportedMajor = 1
const supportedMinor = 0

const Version = Schema.String.pipe(Schema.check(Schema.makeFilter((text) => {
  const major = /^(\d{1,9})\.\d{1,9}$/.exec(text)?.[1]
  if (major === undefined) return `must be "major.minor", got ${show(text)}`
  return Number(major) === supportedMajor || `must have the major version ${supportedMajor}, got ${show(text)}`
})))

const Revision = Schema.String.pipe(Schema.check(Schema.isMinLength(1), Schema.isMaxLength(200)))

/**
 * The schema of a budget in a document: its `type`, and the options of the constructor that the type names.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Budget = BudgetData

const force = Schema.optional(Schema.Boolean)

/**
 * A policy of a document, with what only a document says of it.
 *
 * **Details**
 *
 * `rollout.change` is laid over the entry, for `percent` of the instances (0 to 100). An instance that is chosen for a share
 * is chosen for every larger one. `force` lets a change pass that the guard would refuse; it counts only in the document
 * that changes the entry.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Entry = Schema.Struct({
  ...InDocument.fields,
  force,
  rollout: Schema.optional(Schema.Struct({
    percent: numberField(0, 100),
    change: InDocument
  }))
})

/**
 * A policy of a document, decoded.
 *
 * @category models
 * @since 0.1.0
 */
export type Entry = typeof Entry.Type

const instantText = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/

const instantRule = "must be an instant such as \"2026-11-23T10:00:00Z\", with its offset"

/** JavaScript takes the 30th of February for the 2nd of March. */
const isDay = (text: string): boolean =>
  Option.exists(DateTime.make(text), (day) => DateTime.formatIsoDateUtc(day) === text)

const readInstant = (text: string): Option.Option<DateTime.Utc> =>
  instantText.test(text) && isDay(text.slice(0, "2026-11-23".length))
    ? Option.map(DateTime.make(text), DateTime.toUtc)
    : Option.none()

const Instant = Schema.String.pipe(
  Schema.check(Schema.makeFilter(() => true, {
    toJsonSchema: () => ({ pattern: instantText.source, description: instantRule })
  })),
  Schema.decodeTo(
    Schema.DateTimeUtc,
    SchemaTransformation.transformEffect<DateTime.Utc, string>({
      decode: (text) =>
        Option.match(readInstant(text), {
          onNone: () =>
            Effect.fail(new SchemaIssue.InvalidValue({ message: `${instantRule}, got ${show(text)}` }, text)),
          onSome: Effect.succeed
        }),
      encode: (instant) => Effect.succeed(DateTime.formatIso(instant))
    })
  )
)

/**
 * An entry of a kill switch: a key, `prefix.*` or `*`; or one of them with the instant at which it lapses.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Switch = Schema.Union([
  Schema.String,
  Schema.Struct({ key: Schema.String, until: Schema.optional(Instant) })
])

/**
 * An entry of `off` or `hedgeOff`, decoded.
 *
 * @category models
 * @since 0.1.0
 */
export type Switch = typeof Switch.Type

/**
 * The schema of a document. `decode` adds what a schema of single values cannot say: names of entries and of budgets.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PolicyDocument = Schema.Struct({
  schemaVersion: Version,
  /** opaque, 1 to 200 characters; shown in every timeline */
  revision: Revision,
  defaults: Schema.optional(Schema.Struct({ ...InDocument.fields, force })),
  budgets: Schema.optional(Schema.Record(Schema.String, Budget)),
  policies: Schema.Record(Schema.String, Entry),
  /** no retries and no hedges for these keys */
  off: Schema.optional(Schema.Array(Switch)),
  /** no hedges for these keys */
  hedgeOff: Schema.optional(Schema.Array(Switch))
})

/**
 * A document, decoded: durations, backoffs and triggers are values.
 *
 * @category models
 * @since 0.1.0
 */
export type PolicyDocument = typeof PolicyDocument.Type

// -----------------------------------------------------------------------------
// kill switches
// -----------------------------------------------------------------------------

/**
 * Which keys are switched off, each pattern with the instant at which it lapses, in milliseconds since the epoch
 * (`Infinity` for never).
 *
 * @internal
 */
export interface Switches {
  readonly off: ReadonlyArray<SwitchedKeys>
  readonly hedgeOff: ReadonlyArray<SwitchedKeys>
}

/** @internal */
export interface SwitchedKeys {
  readonly pattern: string
  readonly until: number
}

const readSwitch = (entry: unknown): ReadonlyArray<SwitchedKeys> => {
  const { key, until } = typeof entry === "string" ? { key: entry } : Predicate.isReadonlyObject(entry) ? entry : {}
  if (typeof key !== "string" || !PolicySet.isPattern(key)) return []
  const instant = typeof until === "string" ? readInstant(until) : Option.none()
  return [{ pattern: key, until: Option.match(instant, { onNone: () => Infinity, onSome: DateTime.toEpochMillis }) }]
}

const decodedSwitch = (entry: Switch): SwitchedKeys => {
  const { key, until } = typeof entry === "string" ? { key: entry } : entry
  return { pattern: key, until: until === undefined ? Infinity : DateTime.toEpochMillis(until) }
}

/** @internal */
export const switchesIn = (document: PolicyDocument): Switches => ({
  off: (document.off ?? []).map(decodedSwitch),
  hedgeOff: (document.hedgeOff ?? []).map(decodedSwitch)
})

const readSwitches = (list: unknown): ReadonlyArray<SwitchedKeys> | undefined =>
  Array.isArray(list) ? list.flatMap(readSwitch) : undefined

/**
 * The kill switches of a document that may be wrong everywhere else. `undefined` where a list is missing or none. An entry
 * whose `until` cannot be read has none: whoever wrote it wanted the keys off.
 *
 * @internal
 */
export const switchesOf = (json: unknown): { readonly [K in keyof Switches]: Switches[K] | undefined } => {
  const { hedgeOff, off } = Predicate.isReadonlyObject(json) ? json : {}
  return { off: readSwitches(off), hedgeOff: readSwitches(hedgeOff) }
}

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

const decoderOf = <A, E>(schema: Schema.Codec<A, E>) => ({
  strict: Schema.decodeUnknownResult(schema, parseOptions),
  lenient: Schema.decodeUnknownResult(schema, { ...parseOptions, onExcessProperty: "ignore" })
})

const wholeDecoder = decoderOf(PolicyDocument)
const entryDecoder = decoderOf(Entry)

const namesOf = (json: unknown): ReadonlyArray<string> => Predicate.isReadonlyObject(json) ? Object.keys(json) : []

/** An entry of a switch that has another type is found by the schema. */
const switchIssues = (field: string, list: unknown, issues: Array<Issue>): void => {
  for (const [i, entry] of (Array.isArray(list) ? list : []).entries()) {
    if (typeof entry === "string") PolicySet.checkPattern(entry, [field, i], issues)
    else if (Predicate.isReadonlyObject(entry) && typeof entry["key"] === "string") {
      PolicySet.checkPattern(entry["key"], [field, i, "key"], issues)
    }
  }
}

/**
 * Names that must not be, found in the raw JSON: wrong values elsewhere must not hide them. Those of entries are looked at
 * with the entries.
 */
const nameIssues = (json: unknown): ReadonlyArray<Issue> => {
  const issues: Array<Issue> = []
  if (!Predicate.isReadonlyObject(json)) return issues
  const { budgets, hedgeOff, off } = json
  switchIssues("off", off, issues)
  switchIssues("hedgeOff", hedgeOff, issues)
  for (const name of namesOf(budgets)) {
    if (reservedNames.has(name)) {
      issues.push({ path: ["budgets", name], message: `is a name that cannot be redefined, got ${show(name)}` })
    }
  }
  return issues
}

const isNewerMinor = (input: unknown): boolean => {
  const version = Predicate.isReadonlyObject(input) ? input["schemaVersion"] : undefined
  return typeof version === "string" && Number(version.split(".")[1]) > supportedMinor
}

/**
 * A document, with what was ignored in it because it is newer; or every issue.
 *
 * @internal
 */
export type Read =
  | { readonly document: PolicyDocument; readonly ignored: ReadonlyArray<Issue> }
  | { readonly document: undefined; readonly issues: ReadonlyArray<Issue> }

/** What is wrong with the parts of a document. */
interface Noted {
  readonly issues: Array<Issue>
  readonly ignored: Array<Issue>
  readonly names: Array<Issue>
}

const decodePart = <A, E>(
  decoder: ReturnType<typeof decoderOf<A, E>>,
  part: unknown,
  path: ReadonlyArray<string>,
  isNewer: boolean,
  noted: Noted
): A | undefined => {
  const strict = decoder.strict(part)
  if (strict._tag === "Success") return strict.success
  const decoded = isNewer ? decoder.lenient(part) : strict
  const [failure, list] = decoded._tag === "Failure"
    ? [decoded.failure, noted.issues]
    : [strict.failure, noted.ignored]
  list.push(...BootChecks.under(path, fromSchemaError(failure)))
  return decoded._tag === "Success" ? decoded.success : undefined
}

const readingEntries = function*(
  policies: Readonly<Record<string, unknown>>,
  isNewer: boolean,
  noted: Noted
): Steps<PolicyDocument["policies"]> {
  const entries: Record<string, Entry> = {}
  const known = new Map<unknown, Entry>()
  for (const pattern of Object.keys(policies)) {
    yield
    const path = ["policies", pattern]
    PolicySet.checkPattern(pattern, path, noted.names)
    const json = policies[pattern]
    const entry = known.get(json) ?? decodePart(entryDecoder, json, path, isNewer, noted)
    if (entry === undefined) continue
    define(entries, pattern, entry)
    // What is ignored is listed with each path.
    if (!isNewer) known.set(json, entry)
  }
  return entries
}

/** Entry by entry; what has none to go through is decoded whole. @internal */
export const reading = function*(json: unknown): Steps<Read> {
  const policies = Predicate.isReadonlyObject(json) && Predicate.isReadonlyObject(json["policies"])
    ? json["policies"]
    : undefined
  const noted: Noted = { issues: [], ignored: [], names: [] }
  const isNewer = isNewerMinor(json)
  const others = policies === undefined ? json : { ...json as object, policies: {} }
  const document = decodePart(wholeDecoder, others, [], isNewer, noted)
  const entries = policies === undefined ? {} : yield* readingEntries(policies, isNewer, noted)
  const issues = [...noted.issues, ...noted.names, ...nameIssues(json)]
  return issues.length > 0 || document === undefined
    ? { document: undefined, issues }
    : { document: { ...document, policies: entries }, ignored: noted.ignored }
}

/** @internal */
export const read = (json: unknown): Read => runNow(reading(json))

const decodePolicy = Schema.decodeUnknownResult(InDocument, parseOptions)

/**
 * One policy, as it stands in a document, or every issue.
 *
 * @internal
 */
export const readPolicy = (
  json: unknown
): { readonly sections: Sections | undefined; readonly issues: ReadonlyArray<Issue> } => {
  const decoded = decodePolicy(json)
  return decoded._tag === "Success"
    ? { sections: decoded.success, issues: [] }
    : { sections: undefined, issues: fromSchemaError(decoded.failure) }
}

/**
 * Decodes unknown JSON, or fails with every issue. Changes nothing in what it is given.
 *
 * **Gotchas**
 *
 * A document of a newer minor version may have fields that this version does not know: they are ignored, and listed in a
 * warning.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = (json: unknown): Effect.Effect<PolicyDocument, PolicyInvalid> =>
  Effect.suspend(() => {
    const found = read(json)
    if (found.document === undefined) return Effect.fail(new PolicyInvalid({ issues: found.issues }))
    if (found.ignored.length === 0) return Effect.succeed(found.document)
    const ignored = new PolicyInvalid({ issues: found.ignored }).message
    return Effect.as(
      Effect.logWarning(`PolicyDocument: fields of a newer version were ignored\n${ignored}`),
      found.document
    )
  })

/**
 * The JSON form of a document; `decode` gives the same document back. Throws for what a document cannot say, such as a
 * backoff of `Backoff.none`.
 *
 * @category encoding
 * @since 0.1.0
 */
export const encode: (document: PolicyDocument) => unknown = Schema.encodeSync(PolicyDocument)

// -----------------------------------------------------------------------------
// looking at documents
// -----------------------------------------------------------------------------

/**
 * The policy of a key under a document, merged; `None` when no entry matches. Rollouts are left out: they depend on who
 * asks.
 *
 * @category getters
 * @since 0.1.0
 */
export const policyOf = (document: PolicyDocument, key: PolicyKey.Input): Option.Option<Policy<unknown>> =>
  Option.map(
    Option.fromUndefinedOr(PolicySet.resolve(PolicySet.make(document.policies, document.defaults), key)),
    fromSections
  )

/**
 * The same JSON with the values that a live layer would clamp, and what it would say of them. What is no document comes back
 * as it is.
 *
 * @category comparing
 * @since 0.1.0
 */
export const clamp: (
  json: unknown
) => { readonly json: unknown; readonly clamped: ReadonlyArray<Clamped> } = DocumentClamp.clampDocument

/**
 * Every field that is different, with its path and both values.
 *
 * @category comparing
 * @since 0.1.0
 */
export const diff = (before: PolicyDocument, after: PolicyDocument): ReadonlyArray<Difference> =>
  PolicyDiff.between(before, after)

/**
 * What the guard of a live layer would say to a change from one document to another; nothing when it would let it pass.
 *
 * @category comparing
 * @since 0.1.0
 */
export const guard = (before: PolicyDocument, after: PolicyDocument): ReadonlyArray<Issue> =>
  DocumentGuard.issues(before, after)

// -----------------------------------------------------------------------------
// JSON Schema
// -----------------------------------------------------------------------------

/** What decodes durations takes anything and says what is wrong with it, so that the generator knows nothing of them. */
const durationJson = {
  description: "a duration: text such as \"250 millis\", or a number of milliseconds",
  anyOf: [
    { type: "string", pattern: "^\\d+(\\.\\d+)?\\s+(nano|micro|milli|second|minute|hour|day|week)s?$" },
    { type: "number" }
  ]
}

/** A field that is left out is `undefined` in code, which the generator writes as `null`; no document has one. */
const mended = (schema: unknown): unknown => {
  if (Array.isArray(schema)) return schema.map(mended)
  if (!Predicate.isReadonlyObject(schema)) return schema
  if (Object.keys(schema).length === 0) return durationJson
  const { anyOf, ...rest } = schema
  const fields = Object.fromEntries(Object.entries(rest).map(([name, value]) => [name, mended(value)]))
  if (!Array.isArray(anyOf)) return fields
  const left = anyOf.filter((member) => !(Predicate.isReadonlyObject(member) && member["type"] === "null")).map(mended)
  return left.length === 1 ? { ...left[0] as object, ...fields } : { ...fields, anyOf: left }
}

/**
 * The JSON Schema of a document, for editors and for checks without this library; also a file of the package,
 * `@rego/core/policy-document.schema.json`.
 *
 * **Gotchas**
 *
 * It cannot say everything that `decode` checks: names of entries and budgets, the length of a duration.
 *
 * @category encoding
 * @since 0.1.0
 */
export const jsonSchema = (): { readonly [key: string]: unknown } => {
  const { definitions, schema } = Schema.toJsonSchemaDocument(PolicyDocument, { onExcessProperty: "error" })
  const described = mended(schema) as Readonly<Record<string, unknown>>
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Policy document of rego",
    ...described,
    ...(Object.keys(definitions).length === 0 ? {} : { $defs: mended(definitions) })
  }
}
