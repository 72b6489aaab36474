import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Budget, Classifier, Hedge, PolicyLayer } from "@rego/core"
import { Effect, Layer } from "effect"
import { createServer } from "node:net"
import { failureOf, given, sleep, until } from "./given.ts"
import { retryInfo } from "./rpc.ts"
import { listening, Refusal } from "./servers.ts"
import type { Answering } from "./servers.ts"
import {
  connectClient,
  connectConnect,
  connectGrpc,
  connectHttp1,
  connectWeb,
  grpcJsEffects,
  grpcJsInterceptor,
  seen
} from "./worlds.ts"

const retries = (maxAttempts: number, backoff: Backoff.Backoff = Backoff.none): Policy.Input => ({
  retry: { maxAttempts, backoff }
})

/** Waits that no test waits for. */
const never = Backoff.constant("30 seconds", { jitter: "none" })

const unavailable = (n: number, more: ConstructorParameters<typeof Refusal>[1] = {}) =>
  new Refusal(14, { message: `busy ${n}`, ...more })

/** Fails so many times, then says which attempt this is, as its metadata tell. */
const failing = (times: number, more?: ConstructorParameters<typeof Refusal>[1]): Answering => async (arrival, n) => {
  if (n <= times) throw unavailable(n, more)
  return `ada after ${arrival.header("grpc-previous-rpc-attempts") ?? "none"}`
}

/** The first so many requests get no answer. */
const hanging = (times: number): Answering => (arrival, n) => n <= times ? arrival.hang() : Promise.resolve(`ada ${n}`)

const worlds = [connectGrpc, connectClient, grpcJsInterceptor, grpcJsEffects]

/** Effects have errors of ours as they are; outside of them everything has a status. */
const isEffects = (name: string): boolean => name.endsWith("of effects")

describe.each(worlds)("$name", (world) => {
  const stopped = (code: number) => isEffects(world.name) ? undefined : code

  describe("retries", () => {
    it.live("tells the server how many attempts there were before", () =>
      Effect.gen(function*() {
        const ran = yield* given(
          world,
          { answer: failing(2), policy: retries(3) },
          (client) => client.unary("get", "1")
        )
        assert.strictEqual(ran.value, "ada after 2")
        assert.deepStrictEqual(
          ran.arrivals.map((arrival) => arrival.header("grpc-previous-rpc-attempts")),
          [undefined, "1", "2"]
        )
        assert.deepStrictEqual(ran.timelines.map(({ key }) => key), ["acme.users.v1.Users.Get"])
      }))

    it.live("sends the same request and the caller's headers each time", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: failing(2), policy: retries(3) }, (client) =>
          client.unary("get", "7", { headers: { "x-tenant": "blue" } }))
        assert.deepStrictEqual(
          ran.arrivals.map((arrival) => [arrival.id, arrival.header("x-tenant")]),
          [["7", "blue"], ["7", "blue"], ["7", "blue"]]
        )
      }))

    it.live("ends with the server's own last answer", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: failing(9), policy: retries(3) }, (client) =>
          failureOf(client.unary("get", "1")))
        assert.deepStrictEqual(ran.value, { code: 14, message: "busy 3", reason: undefined })
        assert.strictEqual(ran.arrivals.length, 3)
      }))

    it.live("sends once what the server refuses for good", () =>
      Effect.gen(function*() {
        const answer: Answering = () => Promise.reject(new Refusal(3, { message: "no such user" }))
        const ran = yield* given(world, { answer, policy: retries(3) }, (client) => failureOf(client.unary("get", "1")))
        assert.deepStrictEqual(ran.value, { code: 3, message: "no such user", reason: undefined })
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    it.live("sends once what no policy matches", () =>
      Effect.gen(function*() {
        const layer = Layer.orDie(PolicyLayer.make({ policies: {} }))
        const ran = yield* given(world, { answer: failing(9), layer }, (client) => failureOf(client.unary("get", "1")))
        assert.strictEqual(ran.value.code, 14)
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    it.live("asks the policy what its status codes mean", () =>
      Effect.gen(function*() {
        const answer: Answering = (_, n) => n < 3 ? Promise.reject(new Refusal(10)) : Promise.resolve("ada")
        const options = { server: { retryable: ["ABORTED"] } } as const
        const ran = yield* given(world, { answer, policy: retries(3), options }, (client) => client.unary("get", "1"))
        assert.strictEqual(ran.value, "ada")
      }))

    it.live("asks the classifier of the policy first, and its own table where that has no opinion", () =>
      Effect.gen(function*() {
        const eventually = Classifier.fromPredicate<unknown>((error) => seen(error).code === 5)
        const answer: Answering = (_, n) => Promise.reject(new Refusal([5, 14, 3][n - 1]!))
        const policy = { ...retries(9), classifier: eventually }
        const ran = yield* given(world, { answer, policy }, (client) => failureOf(client.unary("get", "1")))
        assert.strictEqual(ran.value.code, 3)
        assert.deepStrictEqual(
          ran.timelines[0]!.attempts.map(({ reason }) => reason),
          ["predicate", "grpc_unavailable", "grpc_invalid_argument"]
        )
      }))

    it.live("sends again what never arrived, even if it must not be repeated", () =>
      Effect.gen(function*() {
        const port = yield* Effect.scoped(listening(createServer()))
        const policy = { ...retries(3), idempotent: false }
        const ran = yield* given(world, { answer: failing(0), policy, port }, (client) =>
          failureOf(client.unary("get", "1")))
        assert.strictEqual(ran.value.code, 14)
        assert.deepStrictEqual(
          ran.timelines.flatMap(({ attempts }) =>
            attempts.map(({ reason }) =>
              reason
            )
          ),
          ["grpc_not_sent", "grpc_not_sent", "grpc_not_sent"]
        )
      }))

    it.live("sends once what must not be repeated and may have been executed", () =>
      Effect.gen(function*() {
        const policy = { ...retries(3), idempotent: false }
        const ran = yield* given(world, { answer: failing(9), policy }, (client) => failureOf(client.unary("get", "1")))
        assert.strictEqual(ran.arrivals.length, 1)
        assert.deepInclude(ran.timelines[0]!.decisions.at(-1), { reason: "not_idempotent" })
      }))
  })

  describe("what the server asks for", () => {
    it.live("waits exactly as long as pushback says, whatever the backoff", () =>
      Effect.gen(function*() {
        const answer = failing(1, { metadata: { "grpc-retry-pushback-ms": "25" } })
        const ran = yield* given(world, { answer, policy: retries(2, never) }, (client) => client.unary("get", "1"))
        assert.strictEqual(ran.value, "ada after 1")
        const waits = ran.timelines[0]!.decisions.map((it) =>
          it._tag === "BackoffScheduled" && [it.delay, it.retryAfter]
        )
        assert.deepStrictEqual(waits, [[25, 25]])
        assert.isAtLeast(ran.arrivals[1]!.at - ran.arrivals[0]!.at, 24)
      }))

    for (const pushback of ["-1", "soon", "1.5", "99999999999"]) {
      it.live(`does not retry after a pushback of ${JSON.stringify(pushback)}`, () =>
        Effect.gen(function*() {
          const answer = failing(1, { metadata: { "grpc-retry-pushback-ms": pushback } })
          const ran = yield* given(
            world,
            { answer, policy: retries(4) },
            (client) => failureOf(client.unary("get", "1"))
          )
          assert.deepStrictEqual(ran.value, { code: 14, message: "busy 1", reason: undefined })
          yield* Effect.promise(() => sleep(20))
          assert.strictEqual(ran.arrivals.length, 1)
          assert.deepInclude(ran.timelines[0]!.attempts[0], { reason: "grpc_do_not_retry" })
        }))
    }

    it.live("never comes back earlier than a RetryInfo says", () =>
      Effect.gen(function*() {
        const answer = failing(1, { details: [retryInfo(0, 30_000_000)] })
        const ran = yield* given(world, { answer, policy: retries(2) }, (client) => client.unary("get", "1"))
        const [wait] = ran.timelines[0]!.decisions
        assert.deepInclude(wait, { _tag: "BackoffScheduled", retryAfter: 30 })
        assert.isAtLeast(ran.arrivals[1]!.at - ran.arrivals[0]!.at, 29)
      }))

    it.live("stops at once when it would have to wait too long", () =>
      Effect.gen(function*() {
        const answer = failing(1, { details: [retryInfo(86_400)] })
        const ran = yield* given(world, { answer, policy: retries(2) }, (client) => failureOf(client.unary("get", "1")))
        assert.strictEqual(ran.value.message, "busy 1")
        assert.deepInclude(ran.timelines[0]!.decisions.at(-1), { reason: "retry_after_too_long" })
      }))
  })

  describe("deadlines", () => {
    it.live("gives the server the time that the policy leaves", () =>
      Effect.gen(function*() {
        const policy = { timeout: { perAttempt: "1 second", overall: "5 seconds" } } as const
        const ran = yield* given(world, { answer: failing(0), policy }, (client) => client.unary("get", "1"))
        assert.isAtMost(ran.arrivals[0]!.timeoutMillis!, 1_000)
        assert.isAbove(ran.arrivals[0]!.timeoutMillis!, 500)
      }))

    it.live("gives the server the time that the caller allows, where that is less", () =>
      Effect.gen(function*() {
        const policy = { timeout: { perAttempt: "5 seconds" } } as const
        const ran = yield* given(world, { answer: failing(0), policy }, (client) =>
          client.unary("get", "1", { timeoutMillis: 1_000 }))
        assert.isAtMost(ran.arrivals[0]!.timeoutMillis!, 1_000)
        assert.isAbove(ran.arrivals[0]!.timeoutMillis!, 500)
      }))

    it.live("gives the server of a later attempt what is left then", () =>
      Effect.gen(function*() {
        const answer: Answering = async (_, n) => {
          await sleep(60)
          if (n === 1) throw unavailable(1)
          return "ada"
        }
        const ran = yield* given(world, { answer, policy: retries(2) }, (client) =>
          client.unary("get", "1", { timeoutMillis: 2_000 }))
        assert.isAtMost(ran.arrivals[1]!.timeoutMillis!, 1_940)
      }))

    it.live("gives the server no deadline where there is none", () =>
      Effect.gen(function*() {
        const ran = yield* given(
          world,
          { answer: failing(0), policy: retries(2) },
          (client) => client.unary("get", "1")
        )
        assert.isUndefined(ran.arrivals[0]!.timeoutMillis)
      }))

    it.live("ends at the caller's deadline, and the server sees that", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: hanging(9), policy: retries(3) }, async (client, arrivals) => {
          const failure = await failureOf(client.unary("get", "1", { timeoutMillis: 300 }))
          await until(() => arrivals.every(({ wasCancelled }) => wasCancelled), "the server sees the end")
          return failure
        })
        assert.strictEqual(ran.value.code, stopped(4))
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    it.live("does not retry an attempt that was cut off and may still run: a status of its own deadline is no answer", () =>
      Effect.gen(function*() {
        const policy = { ...retries(3), timeout: { perAttempt: "300 millis" } } as const
        const ran = yield* given(world, { answer: hanging(9), policy }, (client) => failureOf(client.unary("get", "1")))
        assert.strictEqual(ran.value.code, stopped(4))
        yield* Effect.promise(() => sleep(30))
        assert.strictEqual(ran.arrivals.length, 1)
        assert.deepInclude(ran.timelines[0]!.attempts[0], { endedBy: "timed_out" })
        assert.deepInclude(ran.timelines[0]!.decisions.at(-1), { reason: "not_idempotent" })
      }))

    for (const [code, name] of [[4, "DEADLINE_EXCEEDED"], [1, "CANCELLED"]] as const) {
      it.live(`takes ${name} at the deadline of an attempt for that deadline, and earlier for an answer`, () =>
        Effect.gen(function*() {
          const policy = (perAttempt: number) => ({ ...retries(2), timeout: { perAttempt } })
          const atDeadline: Answering = async (arrival) => {
            await sleep(Math.max(0, arrival.timeoutMillis! - 4))
            throw new Refusal(code)
          }
          const late = yield* given(
            world,
            { answer: atDeadline, policy: policy(300) },
            (client) => failureOf(client.unary("get", "1"))
          )
          assert.deepInclude(late.timelines[0]!.attempts[0], { endedBy: "timed_out", reason: "attempt_timeout" })
          assert.strictEqual(late.arrivals.length, 1)
          const atOnce: Answering = () => Promise.reject(new Refusal(code))
          const early = yield* given(
            world,
            { answer: atOnce, policy: policy(3_000) },
            (client) => failureOf(client.unary("get", "1"))
          )
          assert.deepInclude(early.timelines[0]!.attempts[0], { reason: `grpc_${name.toLowerCase()}` })
          assert.strictEqual(early.arrivals.length, code === 4 ? 2 : 1)
        }))
    }

    it.live("retries an attempt that was cut off where the method may run twice, and cancels it", () =>
      Effect.gen(function*() {
        const policy = { ...retries(2), timeout: { perAttempt: "500 millis" }, idempotent: true } as const
        const ran = yield* given(world, { answer: hanging(1), policy }, async (client, arrivals) => {
          const name = await client.unary("get", "1")
          await until(() => arrivals[0]!.wasCancelled, "the server sees the cancellation")
          return name
        })
        assert.strictEqual(ran.value, "ada 2")
      }))

    it.live("sends nothing when there is no time at all", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: failing(0), policy: retries(2, never) }, (client, arrivals) => {
          // zero is no limit for Connect, so the least that can be said
          const call = client.unary("get", "1", { timeoutMillis: world.name.includes("grpc-js") ? 0 : 0.0001 })
          return failureOf(call).then((failure) => ({ failure, arrived: arrivals.length }))
        })
        assert.strictEqual(ran.value.failure.code, stopped(4))
        assert.strictEqual(ran.value.arrived, 0)
      }))
  })

  describe("hedges", () => {
    const hedged: Policy.Input = { hedge: { trigger: Hedge.after("100 millis") }, idempotent: true }

    it.live("answers with the hedge, and the server sees the cancellation of the one that lost", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: hanging(1), policy: hedged }, async (client, arrivals) => {
          const name = await client.unary("get", "1")
          await until(() => arrivals[0]!.wasCancelled, "the server sees the cancellation")
          return name
        })
        assert.strictEqual(ran.value, "ada 2")
        assert.deepStrictEqual(ran.arrivals.map(({ wasCancelled }) => wasCancelled), [true, false])
        assert.strictEqual(ran.arrivals[1]!.header("grpc-previous-rpc-attempts"), "1")
      }))

    it.live("are not sent while nothing says that the method may run twice", () =>
      Effect.gen(function*() {
        const answer: Answering = async () => {
          await sleep(250)
          return "ada"
        }
        const ran = yield* given(
          world,
          { answer, policy: { hedge: { trigger: Hedge.after("50 millis") } } },
          (client) => client.unary("get", "1")
        )
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    it.live("end with the deadline of the call, all of them", () =>
      Effect.gen(function*() {
        const policy: Policy.Input = { ...hedged, timeout: { overall: "500 millis" } }
        const ran = yield* given(world, { answer: hanging(9), policy }, async (client, arrivals) => {
          const failure = await failureOf(client.unary("get", "1"))
          await until(() => arrivals.every(({ wasCancelled }) => wasCancelled), "the server sees the end of both")
          return failure
        })
        assert.strictEqual(ran.value.reason, world === grpcJsInterceptor ? undefined : "DeadlineExceeded")
        assert.strictEqual(ran.value.code, stopped(4))
        assert.strictEqual(ran.arrivals.length, 2)
      }))

    it.live("do not start any more when the call was cancelled", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: hanging(9), policy: hedged }, async (client, arrivals) => {
          const controller = new AbortController()
          const call = failureOf(client.unary("get", "1", { signal: controller.signal }))
          await until(() => arrivals.length === 1, "the request arrives")
          controller.abort()
          await call
          await sleep(50)
          const before = arrivals.length
          await sleep(150)
          return before
        })
        assert.strictEqual(ran.arrivals.length, ran.value)
        assert.isTrue(ran.arrivals.every(({ wasCancelled }) => wasCancelled))
      }))

    it.live("starts no further hedge after a pushback that says no, and waits for the first attempt", () =>
      Effect.gen(function*() {
        const answer: Answering = async (_, n) => {
          if (n > 1) throw unavailable(n, { metadata: { "grpc-retry-pushback-ms": "-1" } })
          await sleep(500)
          return "ada"
        }
        const policy: Policy.Input = { ...hedged, hedge: { trigger: Hedge.after("100 millis"), maxHedges: 3 } }
        const ran = yield* given(world, { answer, policy }, (client) => client.unary("get", "1"))
        assert.strictEqual(ran.value, "ada")
        assert.strictEqual(ran.arrivals.length, 2)
      }))

    it.live("gives each attempt an answer of its own", () =>
      Effect.gen(function*() {
        const answer: Answering = async (arrival, n) => {
          await sleep(n === 1 ? 50 : 45)
          return `answer to ${arrival.header("grpc-previous-rpc-attempts") ?? 0}`
        }
        const policy: Policy.Input = { ...hedged, hedge: { trigger: Hedge.after("2 millis") } }
        const ran = yield* given(world, { answer, policy }, async (client) => {
          const name = await client.unary("get", "1")
          await sleep(30)
          return name
        })
        const winner = ran.timelines[0]!.attempts.find(({ endedBy }) => endedBy === "returned")!
        assert.strictEqual(ran.value, `answer to ${winner.attempt.hedge}`)
      }))

    it.live("a hedge that the budget denies does not keep the call: it ends when its only attempt has failed", () =>
      Effect.gen(function*() {
        const ran = yield* given(
          world,
          { answer: failing(9), policy: { ...hedged, budget: "none", timeout: { overall: "3 seconds" } } },
          (client) => failureOf(client.unary("get", "1"))
        )
        assert.strictEqual(ran.value.message, "busy 1")
        assert.isBelow(ran.millis, 1_500)
      }))
  })

  describe("cancellation", () => {
    it.live("sends nothing for a signal that is aborted already", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: failing(0), policy: retries(2) }, async (client) => {
          await failureOf(client.unary("get", "1", { signal: AbortSignal.abort() }))
          await sleep(20)
        })
        assert.strictEqual(ran.arrivals.length, 0)
      }))

    it.live("ends a call that is under way at once, and the server sees it", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: hanging(9), policy: retries(3) }, async (client, arrivals) => {
          const controller = new AbortController()
          const call = failureOf(client.unary("get", "1", { signal: controller.signal }))
          await until(() => arrivals.length === 1, "the request arrives")
          controller.abort()
          const failure = await call
          await until(() => arrivals[0]!.wasCancelled, "the server sees the cancellation")
          await sleep(20)
          return failure
        })
        assert.strictEqual(ran.value.code, isEffects(world.name) ? undefined : 1)
        assert.strictEqual(ran.arrivals.length, 1)
        assert.deepInclude(ran.timelines[0]!.attempts[0], { endedBy: "interrupted_caller" })
      }))

    it.live("ends a call that waits for its next attempt at once", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: failing(9), policy: retries(3, never) }, async (client, arrivals) => {
          const controller = new AbortController()
          const call = failureOf(client.unary("get", "1", { signal: controller.signal }))
          await until(() => arrivals.length === 1, "the request arrives")
          await sleep(50)
          controller.abort()
          await call
          await sleep(20)
        })
        assert.isBelow(ran.millis, 5_000)
        assert.strictEqual(ran.arrivals.length, 1)
      }))
  })

  describe("our own errors", () => {
    it.live("a call that a budget refuses is not sent", () =>
      Effect.gen(function*() {
        const throttle = Budget.adaptiveThrottle({ k: 1.5, minRequests: 1, maxReject: 0.99 })
        const layer = Layer.orDie(PolicyLayer.make({
          policies: { "*": { budget: "throttle" } }
        })).pipe(Layer.provide(Budget.layer("throttle", throttle)))
        const ran = yield* given(world, { answer: failing(1_000), layer }, async (client) => {
          const reasons: Array<readonly [number | undefined, string | undefined]> = []
          for (let i = 0; i < 200; i++) {
            const { code, reason } = await failureOf(client.unary("get", "1"))
            reasons.push([code, reason])
          }
          return reasons
        })
        const refused = ran.value.filter(([code]) => code !== 14 || ran.arrivals.length === 0)
        assert.isBelow(ran.arrivals.length, 100)
        if (isEffects(world.name)) assert.strictEqual(refused.length, 200 - ran.arrivals.length)
        else assert.strictEqual(refused.length, 0)
        const expected = world.name.includes("grpc-js interceptor") ? 0 : 200 - ran.arrivals.length
        assert.strictEqual(ran.value.filter(([, reason]) => reason === "AdmissionDenied").length, expected)
      }))

    it.live("a call that has no policy is not sent, where the layer says so", () =>
      Effect.gen(function*() {
        const layer = Layer.orDie(PolicyLayer.make({ policies: {}, onMissing: "fail" }))
        const ran = yield* given(world, { answer: failing(0), layer }, (client) => failureOf(client.unary("get", "1")))
        assert.strictEqual(ran.value.code, stopped(9))
        assert.include(ran.value.message, "acme.users.v1.Users.Get")
        assert.strictEqual(ran.arrivals.length, 0)
      }))
  })

  describe("options", () => {
    it.live("take the key and the idempotency of a method from the program", () =>
      Effect.gen(function*() {
        const layer = Layer.orDie(PolicyLayer.make({
          policies: { "users.Get": { ...retries(3), budget: "unlimited" } }
        }))
        const paths: Array<string> = []
        const options = {
          key: ({ path }: { readonly path: string }) => {
            paths.push(path)
            return "users.Get"
          },
          idempotent: () => false
        }
        const ran = yield* given(world, { answer: failing(9), layer, options }, (client) =>
          failureOf(client.unary("get", "1")))
        assert.deepStrictEqual(paths, ["/acme.users.v1.Users/Get"])
        assert.strictEqual(ran.timelines[0]!.key, "users.Get")
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    it.live("take one key and one word for all methods", () =>
      Effect.gen(function*() {
        const layer = Layer.orDie(PolicyLayer.make({ policies: { "users.Any": retries(3) } }))
        const options = { key: "users.Any", idempotent: false }
        const ran = yield* given(world, { answer: failing(9), layer, options }, (client) =>
          failureOf(client.unary("get", "1")))
        assert.strictEqual(ran.timelines[0]!.key, "users.Any")
        assert.deepInclude(ran.timelines[0]!.decisions.at(-1), { reason: "not_idempotent" })
      }))

    for (const what of ["key", "idempotent"] as const) {
      it.live(`${what}, as a function that throws: the call has its own key and is sent once, with a line in the log`, () =>
        Effect.gen(function*() {
          const options = {
            idempotent: false,
            [what]: () => {
              throw new Error("boom")
            }
          }
          const ran = yield* given(world, { answer: failing(9), policy: retries(3), options }, async (client) => [
            await failureOf(client.unary("get", "1")),
            await failureOf(client.unary("get", "2"))
          ])
          assert.deepStrictEqual(ran.value.map(({ message }) => message), ["busy 1", "busy 2"])
          assert.strictEqual(ran.timelines[0]!.key, "acme.users.v1.Users.Get")
          assert.deepStrictEqual(
            ran.log.filter(({ level }) => level === "Error").map(({ message }) => message),
            [`rego: a defect in the ${what} option of a gRPC client fails no call`]
          )
        }))
    }
  })
})

/** The other protocols differ in their headers, in how errors are written, and in how a request is cancelled. */
describe.each([connectConnect, connectHttp1, connectWeb])("$name", (world) => {
  it.live("numbers its attempts, gives each the time that is left, and cancels those that lost", () =>
    Effect.gen(function*() {
      const policy: Policy.Input = {
        ...retries(2),
        timeout: { overall: "10 seconds" },
        hedge: { trigger: Hedge.after("250 millis") },
        idempotent: true
      }
      const answer: Answering = (arrival, n) =>
        n === 1 ? Promise.reject(unavailable(1)) : n === 2 ? arrival.hang() : Promise.resolve(`ada ${n}`)
      const ran = yield* given(world, { answer, policy }, async (client, arrivals) => {
        const name = await client.unary("get", "1")
        await until(() => arrivals[1]!.wasCancelled, "the server sees the cancellation")
        return name
      })
      assert.strictEqual(ran.value, "ada 3")
      const numbers = ran.arrivals.map((arrival) => arrival.header("grpc-previous-rpc-attempts"))
      assert.deepStrictEqual(numbers, [undefined, "1", "2"])
      const times = ran.arrivals.map(({ timeoutMillis }) => timeoutMillis!)
      assert.isAtMost(times[0]!, 10_000)
      assert.isAbove(times[2]!, 1_000)
      assert.isBelow(times[2]!, times[0]! - 30)
    }))
})
