/**
 * Every document that a control plane has published, in order, and the one that is in force.
 *
 * **Details**
 *
 * A document enters by `publish` or comes back by `rollback`. Both need to know what they replace: who read another
 * document than the one in force is refused (`Conflict`), so that nobody overwrites what they have not seen. A document is
 * judged before it is written. A revision is the name of one content: publishing it again changes nothing, publishing
 * another content under it is refused.
 *
 * The last `keep` publications are kept. The document in force is read from memory: when the storage fails, nothing can be
 * published, and everything that was goes on being served.
 *
 * **Example** (A history in memory)
 *
 * ```ts
 * import * as NodeSqlite from "@rego/control-plane/NodeSqlite"
 * import * as PolicyHistory from "@rego/control-plane/PolicyHistory"
 * import { Effect, Layer, Option } from "effect"
 *
 * const History = PolicyHistory.layer().pipe(Layer.provide(NodeSqlite.layer(":memory:")))
 *
 * const document = (revision: string) => ({ schemaVersion: "1.0", revision, policies: {} })
 *
 * const program = Effect.gen(function*() {
 *   const history = yield* PolicyHistory.PolicyHistory
 *   const { publication } = yield* history.publish(document("1"), "absent")
 *   yield* history.publish(document("2"), [publication.etag])
 *   yield* history.rollback("1", "any")
 *   const current = yield* history.current
 *   Option.map(current, ({ revision }) => revision) // => Option.some("1")
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(History)))
 * ```
 *
 * @since 0.1.0
 */
import { integerField } from "@rego/core/internal/Issue"
import type { Issue } from "@rego/core/Policy"
import { PolicyInvalid } from "@rego/core/Policy"
import type { Clamped } from "@rego/core/PolicySource"
import { Clock, Context, Data, Effect, Layer, Option, Result, Schema, Semaphore, Stream, SubscriptionRef } from "effect"
import type { SqlError } from "effect/sql"
import { SqlClient } from "effect/sql"
import { createHash } from "node:crypto"
import * as DocumentText from "./DocumentText.ts"
import { judge as defaultJudge } from "./Judge.ts"
import * as SourceOptions from "./SourceOptions.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * How a document came into force.
 *
 * @category models
 * @since 0.1.0
 */
export type Kind = "published" | "rolled_back"

/**
 * A publication, without its document.
 *
 * @category models
 * @since 0.1.0
 */
export interface Entry {
  /** 1, 2, … in the order of publication */
  readonly number: number
  readonly revision: string
  /** names the content: equal for equal documents, whatever their spacing and the order of their fields */
  readonly etag: string
  readonly kind: Kind
  /** wall time, in milliseconds */
  readonly at: number
}

/**
 * An entry with its document.
 *
 * @category models
 * @since 0.1.0
 */
export interface Publication extends Entry {
  readonly json: unknown
  /** the document as it is served */
  readonly text: string
}

/**
 * What the caller believes to be in force: nothing (`"absent"`), whatever it is (`"any"`), or one of these documents.
 *
 * @category models
 * @since 0.1.0
 */
export type Expected = "absent" | "any" | ReadonlyArray<string>

/**
 * What publishing did.
 *
 * @category models
 * @since 0.1.0
 */
export interface Published {
  readonly publication: Publication
  readonly previous: Option.Option<Publication>
  /** `false` when the document was in force already */
  readonly changed: boolean
  /** values that clients will move to a limit */
  readonly clamped: ReadonlyArray<Clamped>
}

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/**
 * Why nothing was published.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason =
  | { readonly _tag: "Refused"; readonly issues: ReadonlyArray<Issue> }
  | { readonly _tag: "Conflict"; readonly current: Option.Option<string> }
  | { readonly _tag: "RevisionReused"; readonly revision: string }
  | { readonly _tag: "UnknownRevision"; readonly revision: string }
  | { readonly _tag: "StorageFailed"; readonly detail: string }

const describe = (reason: Reason): string => {
  switch (reason._tag) {
    case "Refused":
      return `the document is refused\n${new PolicyInvalid({ issues: reason.issues }).message}`
    case "Conflict":
      return Option.match(reason.current, {
        onNone: () => "nothing is published yet",
        onSome: (etag) => `another document is in force now, with the tag ${etag}`
      })
    case "RevisionReused":
      return `revision ${
        JSON.stringify(reason.revision)
      } was published with another content: give the document a new one`
    case "UnknownRevision":
      return `revision ${JSON.stringify(reason.revision)} is not in the history`
    case "StorageFailed":
      return `the storage failed: ${reason.detail}`
  }
}

/**
 * Nothing was published or found; what was in force still is.
 *
 * @category errors
 * @since 0.1.0
 */
export class HistoryError extends Data.TaggedError("HistoryError")<{ readonly reason: Reason }> {
  override get message(): string {
    return describe(this.reason)
  }
}

const fail = (reason: Reason): Effect.Effect<never, HistoryError> => Effect.fail(new HistoryError({ reason }))

// -----------------------------------------------------------------------------
// service
// -----------------------------------------------------------------------------

/**
 * The service: what is in force, what was, and how that changes. One change at a time.
 *
 * @category services
 * @since 0.1.0
 */
export class PolicyHistory extends Context.Service<PolicyHistory, {
  /** the document in force; `None` before the first one */
  readonly current: Effect.Effect<Option.Option<Publication>>
  /** the document in force, and each one that replaces it; never loses the last one for a slow reader */
  readonly changes: Stream.Stream<Option.Option<Publication>>
  /** puts a document in force, if what the caller believes to be in force is */
  readonly publish: (json: unknown, expected: Expected) => Effect.Effect<Published, HistoryError>
  /** puts a document of the history in force again */
  readonly rollback: (revision: string, expected: Expected) => Effect.Effect<Published, HistoryError>
  /** a document of the history; fails with `UnknownRevision` */
  readonly find: (revision: string) => Effect.Effect<Publication, HistoryError>
  /** the latest entries, the one in force first */
  readonly list: (limit: number) => Effect.Effect<ReadonlyArray<Entry>, HistoryError>
}>()("@rego/control-plane/PolicyHistory") {}

// -----------------------------------------------------------------------------
// content
// -----------------------------------------------------------------------------

/** JSON with its fields in order: one text for each content. Built as text, so that no key has a meaning. */
const canonical = (json: unknown): string => {
  if (Array.isArray(json)) return `[${json.map(canonical).join(",")}]`
  if (typeof json !== "object" || json === null) return JSON.stringify(json)
  const fields = Object.entries(json).toSorted(([a], [b]) => a < b ? -1 : 1)
  return `{${fields.map(([key, value]) => `${JSON.stringify(key)}:${canonical(value)}`).join(",")}}`
}

/**
 * The tag of a content, as it stands in `ETag`.
 *
 * @category content
 * @since 0.1.0
 */
export const etagOf = (json: unknown): string =>
  `"${createHash("sha256").update(canonical(json)).digest("hex").slice(0, 32)}"`

// -----------------------------------------------------------------------------
// storage
// -----------------------------------------------------------------------------

const Row = Schema.Struct({
  number: Schema.Int,
  revision: Schema.String,
  etag: Schema.String,
  kind: Schema.Literals(["published", "rolled_back"]),
  at: Schema.Int
})
const FullRow = Schema.Struct({ ...Row.fields, document: Schema.String })

const decodeRows = Schema.decodeUnknownEffect(Schema.Array(Row))
const decodeFullRows = Schema.decodeUnknownEffect(Schema.Array(FullRow))

const storageFailed = (error: SqlError.SqlError | Schema.SchemaError): HistoryError =>
  new HistoryError({ reason: { _tag: "StorageFailed", detail: error.message } })

const toPublication = (row: typeof FullRow.Type): Effect.Effect<Publication, HistoryError> => {
  const { document, ...entry } = row
  return Result.match(DocumentText.parse(document), {
    onFailure: (rule) => fail({ _tag: "StorageFailed", detail: `the document of revision ${row.revision} ${rule}` }),
    onSuccess: (json) => Effect.succeed({ ...entry, json, text: document })
  })
}

const makeStorage = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`CREATE TABLE IF NOT EXISTS publications (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    revision TEXT NOT NULL,
    etag TEXT NOT NULL,
    kind TEXT NOT NULL,
    at INTEGER NOT NULL,
    document TEXT NOT NULL
  )`
  yield* sql`CREATE INDEX IF NOT EXISTS publications_revision ON publications (revision, number)`

  const first = (rows: Effect.Effect<ReadonlyArray<unknown>, SqlError.SqlError>) =>
    rows.pipe(
      Effect.flatMap(decodeFullRows),
      Effect.mapError(storageFailed),
      Effect.flatMap(([row]) => row === undefined ? Effect.succeedNone : Effect.asSome(toPublication(row)))
    )

  return {
    latest: first(sql`SELECT * FROM publications ORDER BY number DESC LIMIT 1`),
    find: (revision: string) =>
      first(sql`SELECT * FROM publications WHERE revision = ${revision} ORDER BY number DESC LIMIT 1`),
    list: (limit: number) =>
      sql`SELECT number, revision, etag, kind, at FROM publications ORDER BY number DESC LIMIT ${limit}`.pipe(
        Effect.flatMap(decodeRows),
        Effect.mapError(storageFailed)
      ),
    /** One transaction: the new entry and what it pushes out. */
    add: ({ at, etag, json: _, kind, revision, text }: Omit<Publication, "number">, keep: number) =>
      sql.withTransaction(Effect.gen(function*() {
        const rows = yield* sql<{ number: number }>`
          INSERT INTO publications ${sql.insert({ revision, etag, kind, at, document: text })} RETURNING number`
        const number = rows[0]!.number
        yield* sql`DELETE FROM publications WHERE number <= ${number - keep}`
        return number
      })).pipe(Effect.mapError(storageFailed))
  }
})

// -----------------------------------------------------------------------------
// layer
// -----------------------------------------------------------------------------

/**
 * What a document must pass before it is in force: it gives the revision of the document, and what clients will clamp,
 * or fails with every issue.
 *
 * @category models
 * @since 0.1.0
 */
export type Judge = (
  json: unknown,
  current: Option.Option<Publication>,
  kind: Kind
) => Effect.Effect<
  { readonly revision: string; readonly clamped?: ReadonlyArray<Clamped> | undefined },
  PolicyInvalid
>

/**
 * How much is kept, and what is accepted.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** publications that are kept, 1 to 1,000,000. Default 1,000 */
  readonly keep?: number | undefined
  /**
   * what a document must pass before it is in force, in place of the one that is; fails with every issue. Default: what a
   * live layer would refuse is refused, by the guard as well, which a rollback does not have to pass
   */
  readonly judge?: Judge | undefined
}

const OptionsSchema = Schema.Struct({
  keep: Schema.optional(integerField(1, 1_000_000)),
  judge: Schema.optional(
    Schema.Unknown.pipe(Schema.check(Schema.makeFilter((it) => typeof it === "function" || "must be a function")))
  )
})

const matches = (expected: Expected, current: Option.Option<Publication>): boolean =>
  Option.match(current, {
    onNone: () => expected === "absent",
    onSome: ({ etag }) => expected !== "absent" && (expected === "any" || expected.includes(etag))
  })

const make = Effect.fnUntraced(function*(keep: number, judge: Judge) {
  const storage = yield* makeStorage
  const current = yield* SubscriptionRef.make(yield* storage.latest)
  const oneAtATime = yield* Semaphore.make(1)

  const enter = (kind: Kind, revision: string, json: unknown, etag: string) =>
    Effect.gen(function*() {
      const entry = { revision, etag, kind, at: yield* Clock.currentTimeMillis, json, text: JSON.stringify(json) }
      const publication = { ...entry, number: yield* storage.add(entry, keep) }
      yield* SubscriptionRef.set(current, Option.some(publication))
      return publication
    })

  const replace = Effect.fnUntraced(function*(kind: Kind, json: unknown, expected: Expected) {
    const previous = yield* SubscriptionRef.get(current)
    const etag = etagOf(json)
    const inForce = Option.filter(previous, (publication) => publication.etag === etag)
    // First: who sends the same again, because the answer was lost, expects what was in force before.
    if (Option.isSome(inForce)) return { publication: inForce.value, previous, changed: false, clamped: [] }
    if (!matches(expected, previous)) {
      return yield* fail({ _tag: "Conflict", current: Option.map(previous, ({ etag }) => etag) })
    }
    const { clamped = [], revision } = yield* Effect.mapError(
      judge(json, previous, kind),
      ({ issues }) => new HistoryError({ reason: { _tag: "Refused", issues } })
    )
    const known = yield* storage.find(revision)
    if (Option.exists(known, (publication) => publication.etag !== etag)) {
      return yield* fail({ _tag: "RevisionReused", revision })
    }
    return { publication: yield* enter(kind, revision, json, etag), previous, changed: true, clamped }
  })

  const find = (revision: string) =>
    Effect.flatMap(
      storage.find(revision),
      Option.match({
        onNone: () => fail({ _tag: "UnknownRevision", revision }),
        onSome: Effect.succeed
      })
    )

  // What is stored and what is served must not differ: once writing has begun nobody interrupts it.
  const alone = <A>(effect: Effect.Effect<A, HistoryError>) => oneAtATime.withPermit(Effect.uninterruptible(effect))

  return PolicyHistory.of({
    current: SubscriptionRef.get(current),
    changes: SubscriptionRef.changes(current),
    publish: (json, expected) => alone(replace("published", json, expected)),
    rollback: (revision, expected) =>
      alone(Effect.flatMap(find(revision), ({ json }) => replace("rolled_back", json, expected))),
    find,
    list: storage.list
  })
})

/**
 * A history in a database of `effect/sql` that speaks SQLite, such as `NodeSqlite.layer("rego.sqlite")`. It makes its table
 * where there is none. One process at a time may have it. Throws a `RangeError` that names every option out of range.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<PolicyHistory, HistoryError | SqlError.SqlError, SqlClient.SqlClient> => {
  const { keep = 1_000 } = SourceOptions.read("PolicyHistory", OptionsSchema, options)
  return Layer.effect(PolicyHistory, make(keep, options.judge ?? defaultJudge))
}
