import { assert, describe, expectTypeOf, it } from "@effect/vitest"
import { Backoff, Hedge, PolicyLayer, Rego } from "@rego/core"
import { Downstream, TimelineRows } from "@rego/testing"
import type { Scope } from "effect"
import { Cause, Context, Data, Effect, Exit, Fiber, Layer } from "effect"
import { TestClock } from "effect/testing"

class Unavailable extends Data.TaggedError("Unavailable")<{ readonly status: number }> {}

const messageOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (exit._tag === "Success") return assert.fail("it succeeded")
  const defect = Cause.squash(exit.cause)
  return defect instanceof Error ? defect.message : assert.fail(`no error: ${String(defect)}`)
}

/** Tells a story on its own, and gives how it ended. */
const tell = <E>(test: Effect.Effect<unknown, E, Scope.Scope>) => Effect.exit(Effect.scoped(test))

const Policies = PolicyLayer.make({
  policies: {
    "users.Get": {
      retry: { maxAttempts: 3, backoff: Backoff.constant("10 seconds", { jitter: "none" }) },
      timeout: { perAttempt: "5 seconds" },
      idempotent: true
    },
    "users.Hedged": { hedge: { trigger: Hedge.after("1 second") }, timeout: { overall: "1 minute" }, idempotent: true }
  }
})

describe("Downstream", () => {
  it.effect("answers, fails, dies and hangs as the story says, and has the types of it", () =>
    Effect.gen(function*() {
      const error = new Unavailable({ status: 503 })
      const users = yield* Downstream.make("users", [
        Downstream.fail(error),
        Downstream.answer("ada", { after: "2 seconds" }),
        Downstream.die("bug"),
        Downstream.run("a step of one's own", Effect.fail("404" as const)),
        Downstream.hang()
      ])
      expectTypeOf(users).toEqualTypeOf<Downstream.Downstream<string, Unavailable | "404">>()
      expectTypeOf(users.request()).toEqualTypeOf<Effect.Effect<string, Unavailable | "404">>()

      assert.deepStrictEqual(yield* Effect.exit(users.request()), Exit.fail(error))
      const slow = yield* Effect.forkChild(users.request("GET /1"), { startImmediately: true })
      assert.strictEqual(users.running, 1)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(yield* Fiber.join(slow), "ada")
      assert.deepStrictEqual(yield* Effect.exit(users.request()), Exit.die("bug"))
      assert.deepStrictEqual(yield* Effect.exit(users.request()), Exit.fail("404" as const))
      const silent = yield* Effect.forkChild(users.request(), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(silent.pollUnsafe())
      yield* Fiber.interrupt(silent)

      assert.deepStrictEqual(users.rows, [
        [0, "asked 1"],
        [0, "failed 1"],
        [0, "asked 2: \"GET /1\""],
        [2_000, "answered 2"],
        [2_000, "asked 3"],
        [2_000, "died 3"],
        [2_000, "asked 4"],
        [2_000, "failed 4"],
        [2_000, "asked 5"],
        [62_000, "interrupted 5"]
      ])
      assert.strictEqual(users.running, 0)
    }))

  it.effect("shows which attempt asked, and when", () =>
    Effect.gen(function*() {
      const users = yield* Downstream.make("users", [
        Downstream.fail("503"),
        Downstream.hang({ attempt: { retry: 1 }, at: "10 seconds" }),
        Downstream.answer("ada", {
          attempt: { retry: 2, hedge: 0 },
          at: TimelineRows.between("20 seconds", "30 seconds")
        })
      ])
      const call = yield* Effect.forkChild(Rego.resilient(users.request(), "users.Get"), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* Fiber.join(call), "ada")
      assert.deepStrictEqual(
        users.story,
        `  1. fail "503"
    asked 1 at 0 by primary, failed at 0
  2. hang
    asked 2 at 10s by retry 1, interrupted at 15s
  3. answer "ada"
    asked 3 at 25s by retry 2, answered at 25s`
      )
    }).pipe(Effect.provide(Policies)))

  it.effect("goes on to the end where it is uninterruptible, and says that it was too late", () =>
    Effect.gen(function*() {
      const users = yield* Downstream.make("users", [
        Downstream.answer("late", { after: "7 seconds", uninterruptible: true }),
        Downstream.answer("ada")
      ])
      const call = yield* Effect.forkChild(Rego.resilient(users.request(), "users.Get"), { startImmediately: true })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* Fiber.join(call), "ada")
      TimelineRows.expectRows(users.rows, [
        [0, "asked 1 by primary"],
        ["7 seconds", "answered 1 too late"],
        ["15 seconds", "asked 2 by retry 1"],
        ["15 seconds", "answered 2"]
      ])
    }).pipe(Effect.provide(Policies)))

  it.effect("tells several requests at the same time apart", () =>
    Effect.gen(function*() {
      const users = yield* Downstream.make("users", [
        Downstream.hang({ attempt: { hedge: 0 } }),
        Downstream.answer("ada", { after: "1 second", attempt: { hedge: 1 } })
      ])
      const call = yield* Effect.forkChild(Rego.resilient(users.request(), "users.Hedged"), { startImmediately: true })
      yield* TestClock.adjust("1500 millis")
      assert.strictEqual(users.running, 2)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(yield* Fiber.join(call), "ada")
      assert.deepStrictEqual(users.rows.slice(2), [[2_000, "answered 2"], [2_000, "interrupted 1"]])
    }).pipe(Effect.provide(Policies)))

  it.effect("can stand for several requests, or for all that come", () =>
    Effect.gen(function*() {
      const users = yield* Downstream.make("users", [
        Downstream.fail("503", { times: 2 }),
        Downstream.answer("ada", { times: Infinity })
      ])
      const exits = yield* Effect.forEach([1, 2, 3, 4], () => Effect.exit(users.request()))
      assert.deepStrictEqual(exits.map(({ _tag }) => _tag), ["Failure", "Failure", "Success", "Success"])
    }))

  it.effect("is told completely when the rest stands for all that come", () =>
    Effect.gen(function*() {
      const users = yield* Downstream.make("users", [Downstream.answer("ada", { times: Infinity })])
      yield* users.verify
    }))

  it("refuses a number of times that is none", () => {
    for (const times of [0, -1, 1.5, NaN]) {
      assert.throws(() => Downstream.hang({ times }), `times must be an integer from 1, or Infinity, got ${times}`)
    }
  })

  describe("expect", () => {
    it.effect("compares by structure, or asks a predicate", () =>
      Effect.gen(function*() {
        const users = yield* Downstream.make("users", [
          Downstream.answer("ada", { expect: { method: "GET", id: 1 } }),
          Downstream.answer("grace", { expect: (request: unknown) => String(request).startsWith("GET") })
        ])
        assert.strictEqual(yield* users.request({ method: "GET", id: 1 }), "ada")
        assert.strictEqual(yield* users.request("GET /2"), "grace")
      }))
  })

  describe("a story that is not what happened", () => {
    const cases: ReadonlyArray<
      readonly [
        what: string,
        story: ReadonlyArray<Downstream.Step<string, string>>,
        requests: ReadonlyArray<unknown>,
        message: string
      ]
    > = [
      [
        "too many requests",
        [Downstream.answer("ada")],
        ["GET /1", "GET /2"],
        `downstream "users": request 2 came, and the story expects no more than 1
  1. answer "ada"
    asked 1 at 0: "GET /1", answered at 0
  not in the story: asked 2 at 0: "GET /2"`
      ],
      [
        "a request where none is expected",
        [],
        ["GET /1"],
        `downstream "users": request 1 came, and the story expects none
  not in the story: asked 1 at 0: "GET /1"`
      ],
      [
        "too few requests",
        [Downstream.fail("503", { times: 3 }), Downstream.answer("ada")],
        ["GET /1"],
        `downstream "users": 3 requests never came, from step 1 on
  1. fail "503" 3 times
    asked 1 at 0: "GET /1", failed at 0
  2. answer "ada"
    nobody asked`
      ],
      [
        "the wrong order",
        [Downstream.answer("ada", { expect: "GET /1" }), Downstream.answer("grace", { expect: "GET /2" })],
        ["GET /2"],
        `downstream "users": request 1 came in the wrong order: it is the one of step 2, and step 1 is next
  1. answer "ada"
    nobody asked
  2. answer "grace"
    nobody asked
  not in the story: asked 1 at 0: "GET /2"`
      ],
      [
        "another request",
        [Downstream.answer("ada", { expect: "GET /1" })],
        ["GET /3"],
        `downstream "users": request 1 is not the one of step 1: expected the request "GET /1"
  1. answer "ada"
    nobody asked
  not in the story: asked 1 at 0: "GET /3"`
      ],
      [
        "another attempt",
        [Downstream.answer("ada", { attempt: { retry: 1 } })],
        [undefined],
        `downstream "users": request 1 is not the one of step 1: expected it of the attempt retry 1
  1. answer "ada"
    nobody asked
  not in the story: asked 1 at 0`
      ],
      [
        "another time",
        [Downstream.answer("ada", { at: "10 seconds" })],
        [undefined],
        `downstream "users": request 1 is not the one of step 1: expected it at "10 seconds"
  1. answer "ada"
    nobody asked
  not in the story: asked 1 at 0`
      ]
    ]
    for (const [what, story, requests, message] of cases) {
      it.effect(`fails the test with both: ${what}`, () =>
        Effect.gen(function*() {
          const exit = yield* tell(Effect.gen(function*() {
            const users = yield* Downstream.make("users", story)
            // Whoever sends them may well handle what comes back, defects too.
            for (const request of requests) yield* Effect.exit(users.request(request))
          }))
          assert.strictEqual(messageOf(exit), message)
        }))
    }

    it.effect("is a defect for who sends the request, and so are all that follow", () =>
      Effect.gen(function*() {
        let exits: ReadonlyArray<Exit.Exit<unknown, unknown>> = []
        yield* tell(Effect.gen(function*() {
          const users = yield* Downstream.make("users", [
            Downstream.answer("ada"),
            Downstream.answer("b", { expect: 2 })
          ])
          exits = yield* Effect.forEach([1, 3, 2], (request) => Effect.exit(users.request(request)))
        }))
        assert.deepStrictEqual(exits[0], Exit.succeed("ada"))
        assert.match(messageOf(exits[1]!), /request 2 is not the one of step 2/)
        assert.match(messageOf(exits[2]!), /request 3 came after the story had been left/)
      }))

    it.effect("does not hide why a test failed already", () =>
      Effect.gen(function*() {
        const exit = yield* tell(Effect.andThen(Downstream.make("users", [Downstream.hang()]), Effect.fail("own")))
        assert.deepStrictEqual(exit, Exit.fail("own"))
      }))

    it.effect("is found after a step without an end, whatever that has answered", () =>
      Effect.gen(function*() {
        const exit = yield* tell(Effect.gen(function*() {
          const steps = [Downstream.answer("ada", { times: Infinity }), Downstream.fail("503")] as const
          const users = yield* Downstream.make("users", steps)
          yield* users.request()
        }))
        assert.match(messageOf(exit), /1 request never came/)
      }))

    it.effect("is found where a predicate throws: what it threw at has not been accepted", () =>
      Effect.gen(function*() {
        const exit = yield* tell(Effect.gen(function*() {
          const expect = (request: { readonly url: string }) => request.url.startsWith("/1")
          const users = yield* Downstream.make("users", [Downstream.answer("ada", { expect })])
          yield* Effect.exit(users.request({}))
          yield* Effect.exit(users.request({ url: "/1" }))
        }))
        assert.match(messageOf(exit), /not in the story: asked 1 at 0/)
      }))

    it.effect("is found by a layer as well, when it closes", () =>
      Effect.gen(function*() {
        class Users extends Context.Service<Users, { readonly get: Effect.Effect<string> }>()("test/Users") {}
        const layer = Layer.effect(
          Users,
          Effect.map(Downstream.make("users", [Downstream.answer("ada", { times: 2 })]), (users) =>
            Users.of({ get: users.request() }))
        )
        const exit = yield* Effect.exit(Effect.provide(
          Effect.flatMap(Users, ({ get }) =>
            get),
          layer
        ))
        assert.match(messageOf(exit), /1 request never came, from step 1 on/)
      }))
  })
})
