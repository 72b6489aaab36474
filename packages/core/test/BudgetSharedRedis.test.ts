/**
 * A budget that two processes share through a real `redis-server`, which is stopped, killed and started again. The only
 * tests of budgets that wait for real time.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { fork } from "node:child_process"
import { once } from "node:events"
import { join } from "node:path"
import type { Answers, Ask, Settings } from "./fixtures/shared-budget.ts"
import * as RedisServer from "./redisServer.ts"

// -----------------------------------------------------------------------------
// processes
// -----------------------------------------------------------------------------

interface Member {
  readonly ask: (times: number) => Effect.Effect<Answers>
}

const member = (settings: Settings): Effect.Effect<Member, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.promise(async () => {
        const child = fork(join(import.meta.dirname, "fixtures/shared-budget.ts"), [JSON.stringify(settings)], {
          execArgv: ["--conditions=@rego/source"]
        })
        await Promise.race([
          once(child, "message"),
          once(child, "exit").then(() => Promise.reject(new Error("the process has ended")))
        ])
        return child
      }),
      RedisServer.end
    ),
    (child) => ({
      ask: (times) =>
        Effect.promise(async () => {
          const answered = once(child, "message")
          child.send({ times } satisfies Ask)
          const [answers] = await answered
          return answers as Answers
        })
    })
  )

/** Asks one at a time until `done`, for at most 5 seconds: how long a client takes to connect again is not ours. */
const askUntil = (member: Member, done: (answers: Answers) => boolean) =>
  Effect.gen(function*() {
    const giveUpAt = performance.now() + 5_000
    while (performance.now() < giveUpAt) {
      const answers = yield* member.ask(1)
      if (done(answers)) return answers
      yield* Effect.sleep(25)
    }
    return assert.fail("not within 5 seconds")
  })

// -----------------------------------------------------------------------------
// tests
// -----------------------------------------------------------------------------

const floor = { ratio: 0, reserve: { burst: 2, start: 2, perSecond: 0 } }

const options = { limit: 20, window: "10 minutes", timeout: "250 millis", retryStoreAfter: "50 millis", floor } as const

/** The limit of the store has no room left in any of these tests, so what it says cannot be what the floor says. */
const fromStore = ({ heard }: Answers) => heard["Granted"] === undefined && heard["limit_exceeded"] === 1
const fromFloor = ({ heard }: Answers) => heard["ratio_exhausted"] === 1

const sharing = () => {
  it.live("two processes share one limit", () =>
    Effect.gen(function*() {
      const port = yield* RedisServer.freePort
      yield* RedisServer.start(port)
      const [one, two] = yield* Effect.all([member({ port, options }), member({ port, options })], {
        concurrency: "unbounded"
      })
      const [a, b] = yield* Effect.all([one.ask(15), two.ask(15)], { concurrency: "unbounded" })
      assert.strictEqual((a.heard["Granted"] ?? 0) + (b.heard["Granted"] ?? 0), 20)
      assert.strictEqual((a.heard["limit_exceeded"] ?? 0) + (b.heard["limit_exceeded"] ?? 0), 10)
    }), 20_000)

  for (
    const [what, down, up] of [
      [
        "is killed",
        (server: ChildProcess) => RedisServer.end(server),
        (_: ChildProcess, port: number) => Effect.asVoid(RedisServer.start(port))
      ],
      [
        "does not answer",
        (server: ChildProcess) => Effect.sync(() => void server.kill("SIGSTOP")),
        (server: ChildProcess) => Effect.sync(() => void server.kill("SIGCONT"))
      ]
    ] as const
  ) {
    it.live(
      `a process goes on with its floor when Redis ${what}, never waits long, and comes back by itself`,
      () =>
        Effect.gen(function*() {
          const port = yield* RedisServer.freePort
          const server = yield* RedisServer.start(port)
          const one = yield* member({ port, options })
          assert.deepStrictEqual((yield* one.ask(30)).heard, { Granted: 20, limit_exceeded: 10 })

          yield* down(server)
          const alone = yield* one.ask(20)
          // an answer of the store may have been on its way
          assert.strictEqual(alone.heard["Granted"], 2)
          assert.isAtLeast(alone.heard["ratio_exhausted"] ?? 0, 17)
          // 250 ms are what it waits; the rest is for a busy machine
          assert.isBelow(alone.longestMillis, 1_000)
          assert.isTrue(fromFloor(yield* one.ask(1)))

          yield* up(server, port)
          // a new server knows of no grants: use up its limit
          yield* askUntil(one, fromStore)
          assert.deepStrictEqual((yield* one.ask(10)).heard, { limit_exceeded: 10 })
        }),
      20_000
    )
  }

  it.live("without a floor it denies while Redis is down", () =>
    Effect.gen(function*() {
      const port = yield* RedisServer.freePort
      const server = yield* RedisServer.start(port)
      const one = yield* member({ port, options: { ...options, onStoreError: "deny" } })
      assert.deepStrictEqual((yield* one.ask(1)).heard, { Granted: 1 })
      yield* RedisServer.end(server)
      assert.deepStrictEqual((yield* one.ask(5)).heard, { store_error: 5 })
    }), 20_000)
}

describe.skipIf(RedisServer.isMissing("BudgetSharedRedis"))("BudgetShared on a real Redis", sharing)
