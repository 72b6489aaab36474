/**
 * A client of `effect/sql` for the SQLite that comes with Node (`node:sqlite`): nothing to install, nothing to compile.
 *
 * One connection, held by one statement or one transaction at a time. Why it is here, and what will replace it, is in
 * `docs/decisions/0032-sqlite-of-node.md`.
 *
 * @since 0.1.0
 */
import { Context, Effect, Layer, Semaphore, Stream } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlConnection } from "effect/sql"
import { SqlClient, SqlError, Statement } from "effect/sql"
import type { SQLInputValue } from "node:sqlite"
import { DatabaseSync } from "node:sqlite"

/** What SQLite says of a file is in the message; `errcode` says of which kind it is. */
const toSqlError = (cause: unknown): SqlError.SqlError => {
  const code = typeof cause === "object" && cause !== null && "errcode" in cause ? cause.errcode : undefined
  const message = cause instanceof Error ? cause.message : String(cause)
  return new SqlError.SqlError({ reason: SqlError.classifySqliteError({ code, message }, { message }) })
}

const attempt = <A>(evaluate: () => A): Effect.Effect<A, SqlError.SqlError> =>
  Effect.try({ try: evaluate, catch: toSqlError })

type Params = ReadonlyArray<unknown>

/** What SQLite does not know is refused by `node:sqlite` itself. */
const values = (params: Params): Array<SQLInputValue> => params as Array<SQLInputValue>

const connectionOf = (database: DatabaseSync): SqlConnection.Connection => {
  const rows = (sql: string, params: Params) => attempt(() => database.prepare(sql).all(...values(params)))
  const arrays = (sql: string, params: Params) =>
    attempt(() => {
      const statement = database.prepare(sql)
      statement.setReturnArrays(true)
      return statement.all(...values(params)) as unknown as ReadonlyArray<ReadonlyArray<unknown>>
    })
  const execute: SqlConnection.Connection["execute"] = (sql, params, transform) =>
    Effect.map(rows(sql, params), (found) => transform === undefined ? found : transform(found))
  return {
    execute,
    executeRaw: rows,
    executeUnprepared: execute,
    executeValues: arrays,
    executeValuesUnprepared: arrays,
    executeStream: (sql, params, transform) => Stream.fromIterableEffect(execute(sql, params, transform))
  }
}

const open = (filename: string): Effect.Effect<DatabaseSync, SqlError.SqlError> =>
  attempt(() => {
    const database = new DatabaseSync(filename)
    try {
      // A second server on the same file would not see what the first one publishes: only one may have it.
      database.exec("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
      database.exec("BEGIN IMMEDIATE; COMMIT;")
    } catch (error) {
      database.close()
      throw error
    }
    return database
  })

/**
 * Opens a file, or `":memory:"`, for as long as the scope is open. Fails when another process has it open.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (filename: string): Layer.Layer<SqlClient.SqlClient, SqlError.SqlError> =>
  Layer.effectContext(Effect.gen(function*() {
    const database = yield* Effect.acquireRelease(open(filename), (database) => Effect.sync(() => database.close()))
    const semaphore = yield* Semaphore.make(1)
    const client = yield* SqlClient.make({
      ...SqlClient.makeSqliteAcquirers({ connection: Effect.succeed(connectionOf(database)), semaphore }),
      compiler: Statement.makeCompilerSqlite(),
      driver: "node-sqlite",
      spanAttributes: [["db.system.name", "sqlite"]]
    })
    return Context.make(SqlClient.SqlClient, client)
  })).pipe(Layer.provide(Reactivity.layer))
