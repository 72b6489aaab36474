/**
 * What an error of `effect/sql` means for the next attempt. Read by its shape, so that nothing of `effect/sql` is loaded.
 *
 * Effect's drivers give a `SqlError` a reason; its `cause` is what the driver or the database said. Where the reason is not
 * enough, the code in there decides: SQLSTATE (PostgreSQL 15, appendix A), MySQL's error number, or the code of a socket.
 *
 * @internal
 */
import { Predicate } from "effect"
import * as Outcome from "./Outcome.ts"

// -----------------------------------------------------------------------------
// what the database said
// -----------------------------------------------------------------------------

interface Reason {
  readonly _tag: string
  readonly operation?: unknown
  readonly cause?: unknown
  readonly isRetryable?: unknown
}

const sqlErrorId = "~effect/sql/SqlError"
const reasonId = "~effect/sql/SqlError/Reason"

const isReason = (u: unknown): u is Reason =>
  Predicate.hasProperty(u, reasonId) && Predicate.hasProperty(u, "_tag") && typeof u._tag === "string"

/** The reason of the first `SqlError` among an error and what it was made from. */
const reasonOf = (causes: ReadonlyArray<object>): Reason | undefined =>
  causes
    .map((cause) =>
      Predicate.hasProperty(cause, sqlErrorId) && Predicate.hasProperty(cause, "reason") ? cause.reason : cause
    )
    .find(isReason)

/** SQLSTATE, `SQLITE_BUSY`, `ECONNRESET`; MySQL's and SQLite's numbers, where there is no such text. */
const codeOf = (native: unknown): string | undefined => {
  if (Predicate.hasProperty(native, "code") && typeof native.code === "string") return native.code
  return Predicate.hasProperty(native, "errno") && typeof native.errno === "number" ? String(native.errno) : undefined
}

// -----------------------------------------------------------------------------
// connections
// -----------------------------------------------------------------------------

/**
 * - `sql_connect`: there was no connection, so nothing was sent.
 * - `sql_session_ended`: the server had ended the session while nothing ran in it, and with it an open transaction.
 * - `sql_connection_lost`: the answer was still to come. A statement, or a `COMMIT`, may have been carried out.
 */
type ConnectionVerdict = "sql_connect" | "sql_session_ended" | "sql_connection_lost"

const words = (text: string): ReadonlyArray<string> => text.split(/\s+/)

const codes: Readonly<Record<ConnectionVerdict, ReadonlyArray<string>>> = {
  sql_connect: [
    // could not connect, refused by the server, too many connections, starting up or shutting down
    words("08001 08004 53300 57P03"),
    words("ECONNREFUSED ENOTFOUND EAI_AGAIN EHOSTUNREACH ENETUNREACH"),
    // MySQL's answers to the handshake
    words("ER_CON_COUNT_ERROR ER_BAD_HOST_ERROR ER_HANDSHAKE_ERROR ER_TOO_MANY_USER_CONNECTIONS"),
    words("SQLITE_CANTOPEN")
  ].flat(),
  // idle for too long, outside of a transaction and inside
  sql_session_ended: words("57P05 25P03"),
  sql_connection_lost: [
    // outcome unknown; ended by an administrator, by a crash
    words("40003 57P01 57P02"),
    words("ECONNRESET EPIPE ETIMEDOUT"),
    words("PROTOCOL_CONNECTION_LOST ER_SERVER_SHUTDOWN")
  ].flat()
}

const byCode: ReadonlyMap<string, ConnectionVerdict> = new Map(
  Object.entries(codes).flatMap(([verdict, known]) =>
    known.map((code) => [code, verdict as ConnectionVerdict] as const)
  )
)

/** Steps of Effect's drivers before a statement is sent. */
const connecting: ReadonlySet<unknown> = new Set(["connect", "acquireConnection", "open", "openDatabase"])

const isBeforeSending = ({ cause, operation }: Reason): boolean =>
  connecting.has(operation) || (Predicate.hasProperty(cause, "syscall") && cause.syscall === "connect")

const connectionVerdict = (reason: Reason): ConnectionVerdict | undefined => {
  const known = byCode.get(codeOf(reason.cause) ?? "")
  if (known === undefined && reason._tag !== "ConnectionError") return undefined
  return isBeforeSending(reason) ? "sql_connect" : known ?? "sql_connection_lost"
}

// -----------------------------------------------------------------------------
// the verdict
// -----------------------------------------------------------------------------

/** The database has undone the statement or the whole transaction before it said so. */
const undone: ReadonlyMap<string, string> = new Map([
  ["SerializationError", "sql_serialization"],
  ["DeadlockError", "sql_deadlock"],
  ["LockTimeoutError", "sql_lock_timeout"],
  ["StatementTimeoutError", "sql_statement_timeout"]
])

/** Asking again gets the same answer. */
const final: ReadonlyMap<string, string> = new Map([
  ["AuthenticationError", "sql_authentication"],
  ["AuthorizationError", "sql_authorization"],
  ["SqlSyntaxError", "sql_syntax"],
  ["UniqueViolation", "sql_unique_violation"],
  ["ConstraintError", "sql_constraint"]
])

const judge = (reason: Reason): Outcome.Outcome => {
  const code = codeOf(reason.cause)
  const said = code === undefined ? {} : { attributes: { "db.response.status_code": code } }
  const rolledBack = undone.get(reason._tag)
  if (rolledBack !== undefined) return Outcome.retryable({ reason: rolledBack, executed: "no", ...said })
  const verdict = connectionVerdict(reason)
  if (verdict !== undefined) {
    const executed = verdict === "sql_connection_lost" ? "maybe" : "no"
    return Outcome.retryable({ reason: verdict, executed, ...said })
  }
  // a reason that a later version of Effect may bring says itself whether it is worth another attempt
  return reason.isRetryable === true
    ? Outcome.retryable({ reason: "sql_other", ...said })
    : Outcome.nonRetryable({ reason: final.get(reason._tag) ?? "sql_other", ...said })
}

/** An error and what it was made from; `undefined` for what is no error of `effect/sql`. */
export const ofCauses = (causes: ReadonlyArray<object>): Outcome.Outcome | undefined => {
  const reason = reasonOf(causes)
  if (reason !== undefined) return judge(reason)
  return Predicate.isTagged(causes[0], "ResultLengthMismatch")
    ? Outcome.nonRetryable({ reason: "sql_result_length" })
    : undefined
}

export const isConnectionError = (causes: ReadonlyArray<object>): boolean => {
  const reason = reasonOf(causes)
  return reason !== undefined && connectionVerdict(reason) !== undefined
}
