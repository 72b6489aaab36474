/** `Classifier.sql` on a real SQLite database: two connections to one file, whose locks collide. Nothing waits. */
import { assert, describe, it } from "@effect/vitest"
import { Backoff, Classifier, PolicyLayer, Rego, Timeline } from "@rego/core"
import type { Policy } from "@rego/core"
import { Cause, Effect, Exit } from "effect"
import type { Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import { SqlClient, SqlError } from "effect/sql"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Sqlite from "../fixtures/sqlite.ts"

const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "rego-sqlite-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

interface Bank {
  readonly sql: SqlClient.SqlClient
  /** another connection to the same file */
  readonly other: SqlClient.SqlClient
}

const open: Effect.Effect<Bank, SqlError.SqlError, Scope.Scope | Reactivity.Reactivity> = Effect.gen(function*() {
  const file = join(yield* directory, "bank.db")
  const [sql, other] = [yield* Sqlite.open(file), yield* Sqlite.open(file)]
  yield* sql`create table accounts (id integer primary key, amount integer not null check (amount >= 0), iban text unique)`
  yield* sql`insert into accounts values (1, 100, 'A'), (2, 0, 'B')`
  return { sql, other }
})

const amounts = ({ other }: Bank) =>
  Effect.map(
    other<{ amount: number }>`select amount from accounts order by id`,
    (rows) => rows.map(({ amount }) => amount)
  )

/** Writes nothing until its end, so that a transaction holds the lock while the effect runs. */
const whileLocked = <A, E>({ other }: Bank, self: Effect.Effect<A, E>) =>
  other.withTransaction(Effect.andThen(other`update accounts set amount = amount where id = 2`, self)).pipe(
    Effect.provideService(SqlClient.BeginTransaction, "BEGIN IMMEDIATE")
  )

const verdict = (exit: Exit.Exit<unknown, unknown>): string => {
  const outcome = Classifier.sql(exit)
  assert.isDefined(outcome, String(exit))
  if (outcome?._tag === "Retryable") return `retry ${outcome.reason} ${outcome.executed}`
  return outcome?._tag === "NonRetryable" ? `stop ${outcome.reason}` : String(outcome?._tag)
}

const real = (name: string, test: Effect.Effect<void, unknown, Scope.Scope | Reactivity.Reactivity>): void =>
  it.effect(name, () => Effect.provide(test, Reactivity.layer))

const retry: Policy.RetryInput = { maxAttempts: 3, backoff: Backoff.none }
const policies = PolicyLayer.make({
  policies: { "bank.*": { retry, classifier: Classifier.sql, timeout: { overall: "1 minute" } } }
})

const reasonsOf = (timelines: ReadonlyArray<Timeline.Timeline>) =>
  timelines.map(({ attempts }) => attempts.map(({ reason }) => reason ?? "ok"))

describe("Classifier.sql on SQLite", () => {
  real(
    "a statement that finds the database locked was not executed",
    Effect.gen(function*() {
      const bank = yield* open
      const exit = yield* whileLocked(bank, Effect.exit(bank.sql`update accounts set amount = 1 where id = 1`))
      assert.strictEqual(verdict(exit), "retry sql_lock_timeout no")
      assert.deepStrictEqual(yield* amounts(bank), [100, 0])
    })
  )

  real(
    "a transaction that has read what another one then changed can only begin again",
    Effect.gen(function*() {
      const bank = yield* open
      const exit = yield* Effect.exit(bank.sql.withTransaction(Effect.gen(function*() {
        yield* bank.sql`select * from accounts`
        yield* bank.other`update accounts set amount = 50 where id = 1`
        yield* bank.sql`update accounts set amount = amount - 10 where id = 1`
      })))
      assert.strictEqual(verdict(exit), "retry sql_lock_timeout no")
      assert.deepStrictEqual(yield* amounts(bank), [50, 0])
    })
  )

  for (
    const [what, expected, statement] of [
      ["a duplicate value", "stop sql_unique_violation", "insert into accounts values (3, 1, 'A')"],
      // to Effect a constraint, not a unique violation
      ["a duplicate primary key", "stop sql_constraint", "insert into accounts values (1, 1, 'C')"],
      ["a check", "stop sql_constraint", "update accounts set amount = -1"],
      ["a null", "stop sql_constraint", "insert into accounts values (3, null, 'C')"],
      ["a syntax error", "stop sql_other", "selec 1"],
      ["a missing table", "stop sql_other", "select * from nowhere"]
    ] as const
  ) {
    real(
      `${what} is not worth another attempt`,
      Effect.gen(function*() {
        const { sql } = yield* open
        assert.strictEqual(verdict(yield* Effect.exit(sql.unsafe(statement))), expected)
      })
    )
  }

  real(
    "a file that cannot be opened is a connection that was never made",
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Sqlite.open(join(yield* directory, "no/such/folder.db")))
      assert.strictEqual(verdict(exit), "retry sql_connect no")
    })
  )
})

describe("a call around a transaction", () => {
  real(
    "begins the whole transaction again, even when it must not run twice",
    Effect.gen(function*() {
      const bank = yield* open
      const { other, sql } = bank
      let runs = 0
      const transfer = sql.withTransaction(Effect.gen(function*() {
        const [from] = yield* sql<{ amount: number }>`select amount from accounts where id = 1`
        // somebody else books in between, the first time
        if (++runs === 1) yield* other`update accounts set amount = amount - 30 where id = 1`
        yield* sql`update accounts set amount = ${from!.amount - 10} where id = 1`
        yield* sql`update accounts set amount = amount + 10 where id = 2`
      }))

      const [exit, timelines] = yield* transfer.pipe(
        Rego.resilient("bank.Transfer", { idempotent: false }),
        Timeline.capture,
        Effect.provide(policies)
      )
      assert.isTrue(Exit.isSuccess(exit))
      assert.deepStrictEqual(reasonsOf(timelines), [["sql_lock_timeout", "ok"]])
      // 100 - 30 - 10: nothing is lost, and nothing is booked twice
      assert.deepStrictEqual(yield* amounts(bank), [60, 10])
    })
  )

  real(
    "inside the transaction, another attempt meets the same snapshot and fails in the same way",
    Effect.gen(function*() {
      const { other, sql } = yield* open
      const [exit, timelines] = yield* sql.withTransaction(Effect.gen(function*() {
        yield* sql`select * from accounts`
        yield* other`update accounts set amount = 70 where id = 1`
        yield* sql`update accounts set amount = amount - 10 where id = 1`.pipe(Rego.resilient("bank.Withdraw"))
      })).pipe(Timeline.capture, Effect.provide(policies))
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(reasonsOf(timelines), [["sql_lock_timeout", "sql_lock_timeout", "sql_lock_timeout"]])
    })
  )

  real(
    "gives the error of the database to the caller when it stops",
    Effect.gen(function*() {
      const bank = yield* open
      const [exit] = yield* whileLocked(
        bank,
        bank.sql`update accounts set amount = 1`.pipe(
          Rego.resilient("bank.Reset"),
          Timeline.capture,
          Effect.provide(policies)
        )
      )
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.isTrue(SqlError.isSqlError(error))
      assert.strictEqual(SqlError.isSqlError(error) ? error.reason._tag : "", "LockTimeoutError")
    })
  )

  real(
    "leaves a failure alone that a call inside has already retried",
    Effect.gen(function*() {
      const bank = yield* open
      let runs = 0
      const update = Effect.suspend(() => {
        runs++
        return bank.sql`update accounts set amount = 1`
      })
      const [, timelines] = yield* whileLocked(
        bank,
        update.pipe(
          Rego.resilient("bank.Inner"),
          Rego.resilient("bank.Outer"),
          Timeline.capture,
          Effect.provide(policies)
        )
      )
      assert.strictEqual(runs, 3)
      assert.deepStrictEqual(reasonsOf(timelines).at(-1), ["retried_below"])
    })
  )
})
