import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Hedge } from "@rego/core"
import { Effect } from "effect"
import { given, readAll, sleep, until } from "./given.ts"
import { Refusal } from "./servers.ts"
import type { Answering, Arrival } from "./servers.ts"
import { connectClient, connectGrpc, grpcJsEffects, grpcJsInterceptor } from "./worlds.ts"

const retries = (maxAttempts: number): Policy.Input => ({ retry: { maxAttempts, backoff: Backoff.none } })

const hedged: Policy.Input = { hedge: { trigger: Hedge.after("100 millis") }, idempotent: true }

/** Sends messages until its client has gone. */
async function* ticking(arrival: Arrival): AsyncGenerator<string> {
  for (let i = 0; !arrival.wasCancelled; i++) {
    yield `tick ${i}`
    await sleep(5)
  }
}

describe.each([connectGrpc, connectClient, grpcJsInterceptor, grpcJsEffects])(
  "a stream of $name",
  (world) => {
    it.live("is retried before its first message, and then read whole, in order", () =>
      Effect.gen(function*() {
        const expected = Array.from({ length: 500 }, (_, i) => `message ${i}`)
        const answer: Answering = async function*(_, n) {
          if (n < 3) throw new Refusal(14, { message: `busy ${n}` })
          yield* expected
        }
        const ran = yield* given(world, { answer, policy: retries(3) }, (client) => readAll(client.watch("1")))
        assert.deepStrictEqual(ran.value, { names: expected, failure: undefined })
        assert.deepStrictEqual(
          ran.arrivals.map((arrival) => [arrival.id, arrival.header("grpc-previous-rpc-attempts")]),
          [["1", undefined], ["1", "1"], ["1", "2"]]
        )
        assert.deepStrictEqual(ran.timelines.map(({ key }) => key), ["acme.users.v1.Users.Watch"])
      }))

    it.live("is not retried after its first message: the reader gets what came, and the server's error", () =>
      Effect.gen(function*() {
        const answer: Answering = async function*() {
          yield "one"
          yield "two"
          await sleep(20)
          throw new Refusal(14, { message: "broke" })
        }
        const ran = yield* given(world, { answer, policy: retries(3) }, (client) => readAll(client.watch("1")))
        assert.deepStrictEqual(ran.value, {
          names: ["one", "two"],
          failure: { code: 14, message: "broke", reason: undefined }
        })
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    it.live("may be empty", () =>
      Effect.gen(function*() {
        const answer: Answering = async function*() {}
        const ran = yield* given(world, { answer, policy: retries(3) }, (client) => readAll(client.watch("1")))
        assert.deepStrictEqual(ran.value, { names: [], failure: undefined })
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    it.live("that the server refuses for good is sent once", () =>
      Effect.gen(function*() {
        const answer: Answering = () => Promise.reject(new Refusal(7, { message: "not yours" }))
        const ran = yield* given(world, { answer, policy: retries(3) }, (client) => readAll(client.watch("1")))
        assert.deepStrictEqual(ran.value.failure, { code: 7, message: "not yours", reason: undefined })
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    it.live("is bounded by the policy until its first message only", () =>
      Effect.gen(function*() {
        const answer: Answering = async function*(arrival, n) {
          if (n === 1) await arrival.hang()
          for (let i = 0; i < 4; i++) {
            yield `message ${i}`
            await sleep(150)
          }
        }
        const policy = {
          ...retries(2),
          timeout: { perAttempt: "500 millis", overall: "3 seconds" },
          idempotent: true
        } as const
        const ran = yield* given(world, { answer, policy }, async (client, arrivals) => {
          const read = await readAll(client.watch("1"))
          await until(() => arrivals[0]!.wasCancelled, "the server sees the cancellation")
          return read
        })
        assert.deepStrictEqual(ran.value, { names: [0, 1, 2, 3].map((i) => `message ${i}`), failure: undefined })
        // the server is told no deadline of ours, or it would end the stream in its midst
        assert.deepStrictEqual(ran.arrivals.map(({ timeoutMillis }) => timeoutMillis), [undefined, undefined])
      }))

    it.live("has the deadline of who called it, to its end", () =>
      Effect.gen(function*() {
        const policy = { timeout: { perAttempt: "5 seconds" } } as const
        const ran = yield* given(world, { answer: ticking, policy }, async (client, arrivals) => {
          const read = await readAll(client.watch("1", { timeoutMillis: 400 }))
          await until(() => arrivals[0]!.wasCancelled, "the server sees the end")
          return read
        })
        assert.isAbove(ran.value.names.length, 1)
        assert.strictEqual(ran.value.failure?.code, 4)
        assert.isAtMost(ran.arrivals[0]!.timeoutMillis!, 400)
        assert.isBelow(ran.millis, 2_000)
      }))

    it.live("is hedged until its first message; the one that lost is cancelled, the winner is read whole", () =>
      Effect.gen(function*() {
        const answer: Answering = async function*(arrival, n) {
          if (n === 1) await arrival.hang()
          yield "one"
          await sleep(80)
          yield "two"
        }
        const ran = yield* given(world, { answer, policy: hedged }, async (client, arrivals) => {
          const read = await readAll(client.watch("1"))
          await until(() => arrivals[0]!.wasCancelled, "the server sees the cancellation")
          return read
        })
        assert.deepStrictEqual(ran.value, { names: ["one", "two"], failure: undefined })
        assert.deepStrictEqual(ran.arrivals.map(({ wasCancelled }) => wasCancelled), [true, false])
      }))

    it.live("ends at once when its reader stops, and the server sees it", () =>
      Effect.gen(function*() {
        const ran = yield* given(world, { answer: ticking, policy: retries(3) }, async (client, arrivals) => {
          for await (const _ of client.watch("1")) break
          await until(() => arrivals[0]!.wasCancelled, "the server sees the cancellation")
        })
        assert.strictEqual(ran.arrivals.length, 1)
      }))

    for (
      const [what, answer] of [["while it waits for its first message", (arrival: Arrival) => arrival.hang()], [
        "in its midst",
        ticking
      ]] as const
    ) {
      it.live(`ends at once when its signal aborts ${what}, and the server sees it`, () =>
        Effect.gen(function*() {
          const ran = yield* given(world, { answer, policy: retries(3) }, async (client, arrivals) => {
            const controller = new AbortController()
            const reading = readAll(client.watch("1", { signal: controller.signal }))
            await until(() => arrivals.length === 1, "the request arrives")
            await sleep(30)
            controller.abort()
            const read = await reading
            await until(() => arrivals[0]!.wasCancelled, "the server sees the cancellation")
            await sleep(20)
            return read
          })
          assert.isDefined(ran.value.failure)
          assert.strictEqual(ran.arrivals.length, 1)
        }))
    }

    it.live("is read as slowly as its reader wants: the server cannot send all of it ahead", () =>
      Effect.gen(function*() {
        const all = 10_000
        let sent = 0
        const answer: Answering = async function*(arrival) {
          for (; sent < all && !arrival.wasCancelled; sent++) yield "x".repeat(10_000)
        }
        const ran = yield* given(world, { answer, policy: retries(2) }, async (client) => {
          for await (const _ of client.watch("1")) {
            await sleep(150)
            return sent
          }
          return all
        })
        assert.isBelow(ran.value, all / 4)
      }))
  }
)
