/**
 * Policies and budgets as data: what a file or a control plane holds.
 *
 * **Details**
 *
 * `policies` maps keys, `prefix.*` and `*` to policies; `defaults` lie under every entry that matches; `budgets` are named
 * budgets as data; `off` lists keys and patterns that get no retries at all. Durations are text (`"250 millis"`) or
 * milliseconds. Decoding reports every issue with its path, unknown fields included. Fields that this version does not
 * know are accepted only in a document of a newer minor version.
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
import { Effect, Schema } from "effect"
import { reservedNames } from "./Budget.ts"
import { BudgetData } from "./BudgetData.ts"
import type { Issue } from "./Issue.ts"
import { fromSchemaError, parseOptions, show } from "./Issue.ts"
import { InDocument, PolicyInvalid } from "./Policy.ts"
import { checkPattern } from "./PolicySet.ts"

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

const Revision = Schema.String.pipe(Schema.check(Schema.isMinLength(1)))

/**
 * @category schemas
 * @since 0.1.0
 */
export const Budget = BudgetData

/**
 * The schema of a document. `decode` adds what a schema of single values cannot say: names of entries and of budgets.
 *
 * @category schemas
 * @since 0.1.0
 */
export const PolicyDocument = Schema.Struct({
  schemaVersion: Version,
  /** opaque; shown in every timeline */
  revision: Revision,
  defaults: Schema.optional(InDocument),
  budgets: Schema.optional(Schema.Record(Schema.String, Budget)),
  policies: Schema.Record(Schema.String, InDocument),
  off: Schema.optional(Schema.Array(Schema.String))
})

/**
 * @category models
 * @since 0.1.0
 */
export type PolicyDocument = typeof PolicyDocument.Type

// -----------------------------------------------------------------------------
// decoding
// -----------------------------------------------------------------------------

const decodeStrict = Schema.decodeUnknownResult(PolicyDocument, parseOptions)
const decodeLenient = Schema.decodeUnknownResult(PolicyDocument, { ...parseOptions, onExcessProperty: "ignore" })

const namesOf = (json: unknown): ReadonlyArray<string> =>
  typeof json === "object" && json !== null && !Array.isArray(json) ? Object.keys(json) : []

/** Names that must not be, found in the raw JSON: wrong values elsewhere must not hide them. */
const nameIssues = (json: unknown): ReadonlyArray<Issue> => {
  const issues: Array<Issue> = []
  if (typeof json !== "object" || json === null) return issues
  const { budgets, off, policies } = json as Readonly<Record<string, unknown>>
  for (const pattern of namesOf(policies)) checkPattern(pattern, ["policies", pattern], issues)
  for (const [i, pattern] of (Array.isArray(off) ? off : []).entries()) {
    if (typeof pattern === "string") checkPattern(pattern, ["off", i], issues)
  }
  for (const name of namesOf(budgets)) {
    if (reservedNames.has(name)) {
      issues.push({ path: ["budgets", name], message: `is a name that cannot be redefined, got ${show(name)}` })
    }
  }
  return issues
}

const isNewerMinor = (input: unknown): boolean => {
  const version = typeof input === "object" && input !== null && "schemaVersion" in input
    ? input.schemaVersion
    : undefined
  return typeof version === "string" && Number(version.split(".")[1]) > supportedMinor
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
    const strict = decodeStrict(json)
    const decoded = strict._tag === "Failure" && isNewerMinor(json) ? decodeLenient(json) : strict
    const names = nameIssues(json)
    if (decoded._tag === "Failure") {
      return Effect.fail(new PolicyInvalid({ issues: [...fromSchemaError(decoded.failure), ...names] }))
    }
    if (names.length > 0) return Effect.fail(new PolicyInvalid({ issues: names }))
    if (strict._tag === "Success") return Effect.succeed(decoded.success)
    const ignored = new PolicyInvalid({ issues: fromSchemaError(strict.failure) }).message
    return Effect.as(
      Effect.logWarning(`PolicyDocument: fields of a newer version were ignored\n${ignored}`),
      decoded.success
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
