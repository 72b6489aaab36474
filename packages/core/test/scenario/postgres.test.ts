/**
 * `Classifier.sql` on a real PostgreSQL server through `@effect/sql-pg`: conflicts, deadlocks, timeouts, sessions that are
 * ended, a server that restarts. The tests share the server and wait for real time where the database does.
 */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, layer } from "@effect/vitest"
import { Backoff, Classifier, PolicyLayer, Rego, Timeline } from "@rego/core"
import type { Policy } from "@rego/core"
import { Context, Deferred, Effect, Exit, Fiber, Layer } from "effect"
import type { Scope } from "effect"
import { Reactivity } from "effect/reactivity"
import type { SqlError } from "effect/sql"
import { SqlClient } from "effect/sql"
import * as Postgres from "../fixtures/postgres.ts"

const required = process.env["CI"] === "true"

class Server extends Context.Service<Server, Postgres.Postgres>()("test/Server") {
  static readonly layer = Layer.merge(Layer.effect(Server, Postgres.serve), Reactivity.layer)
}

type Services = Server | Reactivity.Reactivity | Scope.Scope

const connect: Effect.Effect<PgClient.PgClient, SqlError.SqlError, Services> = Effect.flatMap(
  Server,
  ({ port }) => PgClient.make({ host: "127.0.0.1", port, username: "rego", database: "postgres", maxConnections: 2 })
)

interface Bank {
  readonly sql: PgClient.PgClient
  /** another pool */
  readonly other: PgClient.PgClient
}

const open: Effect.Effect<Bank, SqlError.SqlError, Services> = Effect.gen(function*() {
  const [sql, other] = [yield* connect, yield* connect]
  yield* sql`drop table if exists accounts`
  yield* sql`create table accounts (id int primary key, amount int not null check (amount >= 0))`
  yield* sql`insert into accounts values (1, 100), (2, 100)`
  return { sql, other }
})

const amounts = ({ sql }: Bank) =>
  Effect.map(
    sql<{ amount: number }>`select amount from accounts order by id`,
    (rows) => rows.map(({ amount }) => amount)
  )

const serializable = Effect.provideService(SqlClient.BeginTransaction, "BEGIN ISOLATION LEVEL SERIALIZABLE")

const endSession = ({ other }: Bank, pid: number) => other`select pg_terminate_backend(${pid})`

const sessionOf = (sql: SqlClient.SqlClient) =>
  Effect.map(sql<{ pid: number }>`select pg_backend_pid() as pid`, (rows) => rows[0]!.pid)

const verdict = (exit: Exit.Exit<unknown, unknown>): string => {
  const outcome = Classifier.sql(exit)
  assert.isDefined(outcome, String(exit))
  if (outcome?._tag === "Retryable") return `retry ${outcome.reason} ${outcome.executed}`
  return outcome?._tag === "NonRetryable" ? `stop ${outcome.reason}` : String(outcome?._tag)
}

const fate = <E, R>(self: Effect.Effect<unknown, E, R>) => Effect.map(Effect.exit(self), verdict)

const retry: Policy.RetryInput = { maxAttempts: 5, backoff: Backoff.constant("20 millis") }
const policies = PolicyLayer.make({
  policies: { "bank.*": { retry, classifier: Classifier.sql, timeout: { overall: "20 seconds" } } }
})

const reasonsOf = (timelines: ReadonlyArray<Timeline.Timeline>) =>
  timelines.map(({ attempts }) => attempts.map(({ reason }) => reason ?? "ok"))

/** A transaction whose session an administrator ends. */
const terminated = (bank: Bank) =>
  bank.sql.withTransaction(Effect.gen(function*() {
    yield* bank.sql`update accounts set amount = amount - 10 where id = 1`
    yield* endSession(bank, yield* sessionOf(bank.sql))
    return yield* bank.sql`select pg_sleep(10)`
  }))

const tests = () =>
  layer(Server.layer, { timeout: "30 seconds", excludeTestServices: true })((it) => {
    for (
      const [what, expected, statement] of [
        ["a duplicate key", "stop sql_unique_violation", "insert into accounts values (1, 1)"],
        ["a check", "stop sql_constraint", "update accounts set amount = -1"],
        ["a syntax error", "stop sql_syntax", "selec 1"],
        ["a missing table", "stop sql_syntax", "select * from nowhere"],
        ["a bad value", "stop sql_other", "select 'x'::int"],
        ["a division by zero", "stop sql_other", "select 1/0"]
      ] as const
    ) {
      it.effect(`${what} is not worth another attempt`, () =>
        Effect.gen(function*() {
          const { sql } = yield* open
          assert.strictEqual(yield* fate(sql.unsafe(statement)), expected)
        }))
    }

    it.effect("a missing right is not worth another attempt", () =>
      Effect.gen(function*() {
        const { sql } = yield* open
        yield* sql`drop role if exists nobody_yet`
        yield* sql`create role nobody_yet`
        const asNobody = sql.withTransaction(Effect.andThen(sql`set local role nobody_yet`, sql`drop table accounts`))
        assert.strictEqual(yield* fate(asNobody), "stop sql_authorization")
      }))

    it.effect("a wrong name at the door is not worth another attempt", () =>
      Effect.gen(function*() {
        const { port } = yield* Server
        const stranger = yield* PgClient.make({ host: "127.0.0.1", port, username: "stranger", database: "postgres" })
        assert.strictEqual(yield* fate(stranger`select 1`), "stop sql_authentication")
      }))

    it.effect("a statement that takes too long, or waits too long for a lock, was undone", () =>
      Effect.gen(function*() {
        const bank = yield* open
        const { other, sql } = bank
        const slow = Effect.andThen(sql`set local statement_timeout = 20`, sql`select pg_sleep(10)`)
        assert.strictEqual(yield* fate(sql.withTransaction(slow)), "retry sql_statement_timeout no")

        const waits = Effect.andThen(other`set local lock_timeout = 20`, other`update accounts set amount = 1`)
        const locked = Effect.andThen(sql`update accounts set amount = 2`, fate(other.withTransaction(waits)))
        assert.strictEqual(yield* sql.withTransaction(locked), "retry sql_lock_timeout no")
        assert.deepStrictEqual(yield* amounts(bank), [2, 2])
      }))

    it.effect("a session that the server ends may have carried out what it was told", () =>
      Effect.gen(function*() {
        const bank = yield* open
        const [pid, statement] = yield* Effect.scoped(Effect.gen(function*() {
          const session = yield* bank.sql.reserve
          const [row] = yield* session.execute("select pg_backend_pid() as pid", [], undefined)
          const running = yield* Effect.forkChild(Effect.exit(session.execute("select pg_sleep(10)", [], undefined)), {
            startImmediately: true
          })
          yield* endSession(bank, row.pid)
          return [row.pid, yield* Fiber.join(running)] as const
        }))
        assert.isNumber(pid)
        assert.strictEqual(verdict(statement), "retry sql_connection_lost maybe")
      }))

    it.effect("a session that ends inside withTransaction is a defect to Effect, and known here", () =>
      Effect.gen(function*() {
        const bank = yield* open
        const exit = yield* Effect.exit(terminated(bank))
        assert.deepStrictEqual(exit._tag === "Failure" ? exit.cause.reasons.map(({ _tag }) => _tag) : [], [
          "Die",
          "Die"
        ])
        assert.strictEqual(verdict(exit), "retry sql_connection_lost maybe")
        assert.deepStrictEqual(yield* amounts(bank), [100, 100])
      }))

    it.effect("a session that was idle for too long has lost nothing but its transaction", () =>
      Effect.gen(function*() {
        const bank = yield* open
        const stalls = Effect.gen(function*() {
          yield* bank.sql`set local idle_in_transaction_session_timeout = 20`
          yield* bank.sql`update accounts set amount = 0`
          yield* Effect.sleep("200 millis")
          yield* bank.sql`select 1`
        })
        assert.strictEqual(yield* fate(bank.sql.withTransaction(stalls)), "retry sql_session_ended no")
        assert.deepStrictEqual(yield* amounts(bank), [100, 100])
      }))

    it.effect("a conflict of serializable transactions is tried again from its BEGIN, even if it must not run twice", () =>
      Effect.gen(function*() {
        const bank = yield* open
        const withdraw = (sql: PgClient.PgClient, id: number, meanwhile: Effect.Effect<unknown, SqlError.SqlError>) =>
          sql.withTransaction(Effect.gen(function*() {
            yield* sql`select sum(amount) from accounts`
            yield* meanwhile
            yield* sql`update accounts set amount = amount - 10 where id = ${id}`
          })).pipe(serializable)

        let runs = 0
        const call = Effect.suspend(() =>
          withdraw(bank.sql, 1, ++runs === 1 ? withdraw(bank.other, 2, Effect.void) : Effect.void)
        )
        const [exit, timelines] = yield* call.pipe(
          Rego.resilient("bank.Withdraw", { idempotent: false }),
          Timeline.capture,
          Effect.provide(policies)
        )
        assert.isTrue(Exit.isSuccess(exit), String(exit))
        assert.deepStrictEqual(reasonsOf(timelines), [["sql_serialization", "ok"]])
        assert.deepStrictEqual(yield* amounts(bank), [90, 90])
      }))

    it.effect("of two transactions in a deadlock both are carried out, once each", () =>
      Effect.gen(function*() {
        const bank = yield* open
        const met = [yield* Deferred.make<void>(), yield* Deferred.make<void>()] as const
        const transfer = (sql: PgClient.PgClient, from: 1 | 2, to: 1 | 2) =>
          sql.withTransaction(Effect.gen(function*() {
            yield* sql`update accounts set amount = amount - 10 where id = ${from}`
            yield* Deferred.succeed(met[from - 1]!, undefined)
            yield* Deferred.await(met[to - 1]!)
            yield* sql`update accounts set amount = amount + 15 where id = ${to}`
          })).pipe(Rego.resilient("bank.Transfer", { idempotent: false }))

        const both = Effect.all([transfer(bank.sql, 1, 2), transfer(bank.other, 2, 1)], { concurrency: "unbounded" })
        const [exit, timelines] = yield* both.pipe(Timeline.capture, Effect.provide(policies))
        assert.isTrue(Exit.isSuccess(exit), String(exit))
        assert.deepStrictEqual(reasonsOf(timelines).toSorted((a, b) => a.length - b.length), [
          ["ok"],
          ["sql_deadlock", "ok"]
        ])
        assert.deepStrictEqual(yield* amounts(bank), [105, 105])
      }))

    it.effect("inside a transaction another attempt cannot succeed: the transaction is aborted already", () =>
      Effect.gen(function*() {
        const { other, sql } = yield* open
        const locked = sql.withTransaction(Effect.gen(function*() {
          yield* sql`update accounts set amount = 1 where id = 1`
          const [exit, timelines] = yield* other.withTransaction(Effect.gen(function*() {
            yield* other`set local lock_timeout = 20`
            yield* other`update accounts set amount = 2 where id = 1`.pipe(Rego.resilient("bank.Set"))
          })).pipe(Timeline.capture, Effect.provide(policies))
          assert.isTrue(Exit.isFailure(exit))
          assert.deepStrictEqual(reasonsOf(timelines), [["sql_lock_timeout", "sql_other"]])
        }))
        yield* locked
      }))

    it.effect("a lost connection is tried again when the call may run twice, and not when it must not", () =>
      Effect.gen(function*() {
        const bank = yield* open
        const booked = (idempotent: boolean) =>
          Effect.gen(function*() {
            let runs = 0
            const once = Effect.suspend(() =>
              ++runs === 1
                ? terminated(bank)
                : bank.sql.withTransaction(bank.sql`update accounts set amount = amount - 10`)
            )
            const [exit, timelines] = yield* once.pipe(
              Rego.resilient("bank.Book", { idempotent }),
              Timeline.capture,
              Effect.provide(policies)
            )
            return [exit._tag, ...reasonsOf(timelines).flat()]
          })
        assert.deepStrictEqual(yield* booked(false), ["Failure", "sql_connection_lost"])
        assert.deepStrictEqual(yield* booked(true), ["Success", "sql_connection_lost", "ok"])
        assert.deepStrictEqual(yield* amounts(bank), [90, 90])
      }))

    it.effect("calls go on by themselves when the server has restarted", () =>
      Effect.gen(function*() {
        const server = yield* Server
        const bank = yield* open
        yield* server.stop()
        const call = bank.sql`select 1`.pipe(Rego.resilient("bank.Ping"), Timeline.capture, Effect.provide(policies))
        const [down, [refused]] = yield* call
        assert.isTrue(Exit.isFailure(down))
        assert.deepStrictEqual(new Set(refused?.attempts.map(({ reason }) => reason)), new Set(["sql_connect"]))
        yield* server.start()
        const [up] = yield* call
        assert.isTrue(Exit.isSuccess(up), String(up))
      }))

    // the last one: the server needs a moment to notice that so many sessions have ended
    it.effect("a server that takes no more connections has executed nothing", () =>
      Effect.gen(function*() {
        // its limit is 12
        const all = Effect.forEach(
          Array.from({ length: 13 }),
          () => Effect.flatMap(connect, (sql) => Effect.andThen(sql.reserve, sql`select 1`))
        )
        assert.strictEqual(yield* fate(Effect.scoped(all)), "retry sql_connect no")
      }))
  })

if (!Postgres.installed && !required) {
  console.warn(
    "\n*** postgres: SKIPPED. There is no postgres and initdb, or no account to run them, so nothing here was" +
      "\n*** tested against a real PostgreSQL. Install it (Debian: apt-get install postgresql). With CI=true these tests" +
      "\n*** fail instead.\n"
  )
}

describe.skipIf(!Postgres.installed && !required)("Classifier.sql on a real PostgreSQL", tests)
