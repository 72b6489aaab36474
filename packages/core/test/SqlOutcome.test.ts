import { assert, describe, it } from "@effect/vitest"
import { Classifier, Outcome } from "@rego/core"
import { Cause, Data, Exit } from "effect"
import { SqlError } from "effect/sql"
import * as SqlOutcome from "../src/SqlOutcome.ts"

type Reason = keyof Pick<
  typeof SqlError,
  | "ConnectionError"
  | "AuthenticationError"
  | "AuthorizationError"
  | "SqlSyntaxError"
  | "ConstraintError"
  | "DeadlockError"
  | "SerializationError"
  | "LockTimeoutError"
  | "StatementTimeoutError"
  | "UnknownError"
>

/** What the driver was told: `code` as PostgreSQL, MySQL and sockets have it, `errno` of MySQL and SQLite. */
interface Said {
  readonly code?: string
  readonly errno?: number
  readonly syscall?: string
  readonly operation?: string
}

const ofError = (error: unknown) => SqlOutcome.ofCauses(Classifier.causesOf(error))

const sqlError = (reason: Reason, { operation, ...said }: Said = {}): SqlError.SqlError => {
  const cause = Object.assign(new Error("said"), said)
  const props = operation === undefined ? { cause } : { cause, operation }
  return new SqlError.SqlError({ reason: new SqlError[reason](props) })
}

const verdict = (outcome: Outcome.Outcome | undefined): string =>
  outcome === undefined
    ? "no opinion"
    : outcome._tag === "Retryable"
    ? `retry ${outcome.reason} ${outcome.executed}`
    : outcome._tag === "NonRetryable"
    ? `stop ${outcome.reason}`
    : outcome._tag

const rows = (what: string, table: ReadonlyArray<readonly [Reason, Said, string]>) =>
  describe(what, () => {
    for (const [reason, said, expected] of table) {
      it(`${reason} ${Object.values(said).join(" ")} → ${expected}`, () => {
        assert.strictEqual(verdict(ofError(sqlError(reason, said))), expected)
      })
    }
  })

// The reasons are those that @effect/sql-pg 4.0.5, @effect/sql-mysql2 4.0.0-rc.111 and effect/sql 4.1 give these codes.
describe("SqlOutcome", () => {
  rows("PostgreSQL", [
    ["SerializationError", { code: "40001" }, "retry sql_serialization no"],
    ["DeadlockError", { code: "40P01" }, "retry sql_deadlock no"],
    ["UnknownError", { code: "40003" }, "retry sql_connection_lost maybe"],
    ["UnknownError", { code: "40002" }, "stop sql_other"],
    ["LockTimeoutError", { code: "55P03" }, "retry sql_lock_timeout no"],
    ["StatementTimeoutError", { code: "57014" }, "retry sql_statement_timeout no"],
    ["ConnectionError", { code: "08000" }, "retry sql_connection_lost maybe"],
    ["ConnectionError", { code: "08001" }, "retry sql_connect no"],
    ["ConnectionError", { code: "08003" }, "retry sql_connection_lost maybe"],
    ["ConnectionError", { code: "08004" }, "retry sql_connect no"],
    ["ConnectionError", { code: "08006" }, "retry sql_connection_lost maybe"],
    ["ConnectionError", { code: "08007" }, "retry sql_connection_lost maybe"],
    ["ConnectionError", { code: "08P01" }, "retry sql_connection_lost maybe"],
    ["ConnectionError", { code: "08P01", operation: "connect" }, "retry sql_connect no"],
    ["UnknownError", { code: "53300" }, "retry sql_connect no"],
    ["UnknownError", { code: "53100" }, "stop sql_other"],
    ["UnknownError", { code: "57P01" }, "retry sql_connection_lost maybe"],
    ["UnknownError", { code: "57P01", operation: "connect" }, "retry sql_connect no"],
    ["UnknownError", { code: "57P02" }, "retry sql_connection_lost maybe"],
    ["UnknownError", { code: "57P03" }, "retry sql_connect no"],
    ["UnknownError", { code: "57P04" }, "stop sql_other"],
    ["UnknownError", { code: "57P05" }, "retry sql_session_ended no"],
    ["UnknownError", { code: "25P03" }, "retry sql_session_ended no"],
    ["UnknownError", { code: "25P02" }, "stop sql_other"],
    ["ConstraintError", { code: "23502" }, "stop sql_constraint"],
    ["ConstraintError", { code: "23503" }, "stop sql_constraint"],
    ["ConstraintError", { code: "23514" }, "stop sql_constraint"],
    ["SqlSyntaxError", { code: "42601" }, "stop sql_syntax"],
    ["SqlSyntaxError", { code: "42P01" }, "stop sql_syntax"],
    ["AuthorizationError", { code: "42501" }, "stop sql_authorization"],
    ["AuthenticationError", { code: "28P01", operation: "connect" }, "stop sql_authentication"],
    ["UnknownError", { code: "22P02" }, "stop sql_other"],
    ["UnknownError", { code: "XX000" }, "stop sql_other"]
  ])

  rows("MySQL", [
    ["DeadlockError", { code: "ER_LOCK_DEADLOCK", errno: 1213 }, "retry sql_deadlock no"],
    ["LockTimeoutError", { code: "ER_LOCK_WAIT_TIMEOUT", errno: 1205 }, "retry sql_lock_timeout no"],
    ["StatementTimeoutError", { code: "ER_QUERY_TIMEOUT", errno: 3024 }, "retry sql_statement_timeout no"],
    ["ConnectionError", { code: "ER_CON_COUNT_ERROR", errno: 1040 }, "retry sql_connect no"],
    ["ConnectionError", { code: "ER_TOO_MANY_USER_CONNECTIONS", errno: 1203 }, "retry sql_connect no"],
    ["UnknownError", { code: "PROTOCOL_CONNECTION_LOST" }, "retry sql_connection_lost maybe"],
    ["UnknownError", { code: "ER_SERVER_SHUTDOWN", errno: 1053 }, "retry sql_connection_lost maybe"],
    ["ConstraintError", { code: "ER_ROW_IS_REFERENCED_2", errno: 1451 }, "stop sql_constraint"],
    ["AuthenticationError", { code: "ER_ACCESS_DENIED_ERROR", errno: 1045 }, "stop sql_authentication"],
    ["SqlSyntaxError", { code: "ER_PARSE_ERROR", errno: 1064 }, "stop sql_syntax"],
    ["UnknownError", { code: "ER_DATA_TOO_LONG", errno: 1406 }, "stop sql_other"]
  ])

  rows("sockets", [
    ["ConnectionError", { code: "ECONNREFUSED", syscall: "connect", operation: "connect" }, "retry sql_connect no"],
    ["UnknownError", { code: "ECONNREFUSED", operation: "execute" }, "retry sql_connect no"],
    ["UnknownError", { code: "ENOTFOUND", syscall: "getaddrinfo", operation: "execute" }, "retry sql_connect no"],
    ["UnknownError", { code: "ETIMEDOUT", syscall: "connect", operation: "execute" }, "retry sql_connect no"],
    ["UnknownError", { code: "ETIMEDOUT", syscall: "read", operation: "execute" }, "retry sql_connection_lost maybe"],
    ["UnknownError", { code: "ECONNRESET", syscall: "read" }, "retry sql_connection_lost maybe"],
    ["UnknownError", { code: "EPIPE", syscall: "write" }, "retry sql_connection_lost maybe"],
    ["ConnectionError", { operation: "query" }, "retry sql_connection_lost maybe"],
    ["ConnectionError", {}, "retry sql_connection_lost maybe"],
    ["ConnectionError", { operation: "acquireConnection" }, "retry sql_connect no"]
  ])

  rows("SQLite", [
    ["LockTimeoutError", { code: "ERR_SQLITE_ERROR", errno: 5 }, "retry sql_lock_timeout no"],
    ["LockTimeoutError", { code: "SQLITE_LOCKED" }, "retry sql_lock_timeout no"],
    ["ConnectionError", { code: "SQLITE_CANTOPEN", operation: "execute" }, "retry sql_connect no"],
    ["UnknownError", { code: "SQLITE_CORRUPT" }, "stop sql_other"]
  ])

  it("knows a unique violation, which carries the name of its constraint", () => {
    const reason = new SqlError.UniqueViolation({ cause: { code: "23505" }, constraint: "users_email_key" })
    assert.deepStrictEqual(
      ofError(new SqlError.SqlError({ reason })),
      Outcome.nonRetryable({ reason: "sql_unique_violation", attributes: { "db.response.status_code": "23505" } })
    )
  })

  it("has a verdict on each reason of effect/sql that agrees with its isRetryable", () => {
    assert.strictEqual(SqlError.SqlErrorReason.members.length, 11)
    for (const Reason of SqlError.SqlErrorReason.members) {
      const reason = new Reason({ cause: new Error("said"), constraint: "c" })
      const outcome = ofError(new SqlError.SqlError({ reason }))
      assert.strictEqual(outcome?._tag === "Retryable", reason.isRetryable, reason._tag)
    }
  })

  it("trusts isRetryable for a reason it does not know", () => {
    const unknown = (isRetryable: boolean) => ({
      "~effect/sql/SqlError": "~effect/sql/SqlError",
      reason: { "~effect/sql/SqlError/Reason": "~effect/sql/SqlError/Reason", _tag: "NewError", isRetryable }
    })
    assert.strictEqual(verdict(ofError(unknown(true))), "retry sql_other maybe")
    assert.strictEqual(verdict(ofError(unknown(false))), "stop sql_other")
  })

  it("says the code of the database where there is one", () => {
    const attributes = (said: Said) => {
      const outcome = ofError(sqlError("DeadlockError", said))
      return outcome !== undefined && "attributes" in outcome ? outcome.attributes : "none"
    }
    assert.deepStrictEqual(attributes({ code: "40P01" }), { "db.response.status_code": "40P01" })
    assert.deepStrictEqual(attributes({ errno: 1213 }), { "db.response.status_code": "1213" })
    assert.deepStrictEqual(attributes({}), "none")
  })

  class UsersError extends Data.TaggedError("UsersError")<{ readonly cause: unknown }> {}

  it("looks through errors around the one of the database, but not for ever", () => {
    const wrap = (times: number): unknown =>
      times === 0 ? sqlError("DeadlockError") : new UsersError({ cause: wrap(times - 1) })
    assert.strictEqual(verdict(ofError(wrap(1))), "retry sql_deadlock no")
    assert.strictEqual(verdict(ofError(wrap(15))), "retry sql_deadlock no")
    assert.strictEqual(verdict(ofError(wrap(16))), "no opinion")
    const round: { cause?: unknown } = {}
    round.cause = round
    assert.strictEqual(verdict(ofError(round)), "no opinion")
  })

  it("knows a reason that stands alone, as Effect.catchReason hands it over", () => {
    assert.strictEqual(verdict(ofError(new SqlError.DeadlockError({ cause: 1 }))), "retry sql_deadlock no")
  })

  it("knows a resolver that answers with too few rows", () => {
    const mismatch = new SqlError.ResultLengthMismatch({ expected: 2, actual: 1 })
    assert.strictEqual(verdict(ofError(mismatch)), "stop sql_result_length")
  })

  it("has no opinion on anything else", () => {
    const others = [
      undefined,
      null,
      "DeadlockError",
      1,
      new Error("x"),
      { _tag: "SqlError" },
      new UsersError({ cause: 1 })
    ]
    for (const other of others) assert.isUndefined(ofError(other))
  })

  describe("Classifier.sql", () => {
    const lost = sqlError("ConnectionError", { operation: "query" })
    const deadlock = sqlError("DeadlockError", { code: "40P01" })
    const together = (...causes: ReadonlyArray<Cause.Cause<unknown>>) => Exit.failCause(causes.reduce(Cause.combine))

    const exits: ReadonlyArray<readonly [string, Exit.Exit<unknown, unknown>, string]> = [
      ["a success", Exit.succeed(lost), "no opinion"],
      ["a failure", Exit.fail(deadlock), "retry sql_deadlock no"],
      ["a failure of something else", Exit.fail(new Error("x")), "no opinion"],
      ["interruption", Exit.interrupt(1), "no opinion"],
      [
        "a connection lost in a transaction",
        together(Cause.die(lost), Cause.die(lost)),
        "retry sql_connection_lost maybe"
      ],
      [
        "the same with the failure kept",
        together(Cause.fail(lost), Cause.die(lost)),
        "retry sql_connection_lost maybe"
      ],
      ["a failure whose rollback failed", together(Cause.die(deadlock), Cause.die(lost)), "no opinion"],
      ["another defect beside it", together(Cause.fail(lost), Cause.die("bug")), "no opinion"],
      ["interruption beside it", together(Cause.interrupt(1), Cause.die(lost)), "no opinion"],
      ["a defect of the database alone", Exit.die(deadlock), "no opinion"]
    ]
    for (const [what, exit, expected] of exits) {
      it(`${what} → ${expected}`, () => assert.strictEqual(verdict(Classifier.sql(exit)), expected))
    }
  })
})
