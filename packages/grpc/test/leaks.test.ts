import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Hedge } from "@rego/core"
import { Effect } from "effect"
import { failureOf, given, readAll, until } from "./given.ts"
import type { Answering } from "./servers.ts"
import { Refusal } from "./servers.ts"
import type { Client } from "./worlds.ts"
import { connectGrpc, connectHttp1, grpcJsInterceptor } from "./worlds.ts"

/** What keeps this process alive: its timers, and both ends of every connection. */
const alive = () => {
  const counted = { timers: 0, sockets: 0 }
  for (const name of process.getActiveResourcesInfo()) {
    if (name === "Timeout") counted.timers++
    if (name === "TCPSocketWrap") counted.sockets++
  }
  return counted
}

const policy: Policy.Input = {
  retry: { maxAttempts: 2, backoff: Backoff.constant("30 seconds", { jitter: "none" }) },
  hedge: { trigger: Hedge.after("20 seconds") },
  timeout: { perAttempt: "25 seconds", overall: "1 minute" },
  idempotent: true
}

const answer: Answering = (arrival) =>
  arrival.id === "warm" ?
    Promise.resolve("ada")
    : arrival.id === "busy" ?
    Promise.reject(new Refusal(14))
    : arrival.hang()

/** Cancelled in an attempt while a hedge waits for its turn, in a backoff, and in a stream. */
const kinds = [
  (client: Client, signal: AbortSignal) => failureOf(client.unary("get", "hang", { signal })),
  (client: Client, signal: AbortSignal) => failureOf(client.unary("get", "busy", { signal })),
  (client: Client, signal: AbortSignal) => readAll(client.watch("hang", { signal }))
]

/** Fewer over HTTP/1.1 and by grpc-js: what one call leaves is counted as well. */
const callsOf = (world: typeof connectGrpc): number => world === connectGrpc ? 1_000 : 300
const atOnce = 100

/** Calls that have arrived at the server are cancelled, so many at once. */
const callAndCancel = async (client: Client, arrived: () => boolean): Promise<void> => {
  const controller = new AbortController()
  const ended = Array.from({ length: atOnce }, (_, i) => kinds[i % kinds.length]!(client, controller.signal))
  await until(arrived, "the requests arrive")
  controller.abort()
  await Promise.all(ended)
}

const worlds = [connectGrpc, connectHttp1, grpcJsInterceptor]

for (const world of worlds) {
  const calls = callsOf(world)
  describe(world.name, () => {
    const body = Effect.gen(function*() {
      const before = alive()
      const ran = yield* given(world, { answer, policy }, async (client, arrivals) => {
        await client.unary("get", "warm")
        const warm = alive()
        for (let done = atOnce; done <= calls; done += atOnce) {
          await callAndCancel(client, () => arrivals.length === 1 + done)
        }
        const hanging = arrivals.filter(({ id }) => id === "hang")
        await until(() => hanging.every(({ wasCancelled }) => wasCancelled), "the server sees the cancellations")
        // over HTTP/1.1 a cancelled request takes its connection with it, and node keeps the others for a while
        const kept = world === connectHttp1 ? 2 * atOnce : warm.sockets
        await until(() => alive().sockets <= kept, `at most ${kept} sockets`)
        await until(() => alive().timers <= warm.timers, `${warm.timers} timers, as before`)
      })
      assert.strictEqual(ran.arrivals.length, 1 + calls)
      yield* Effect.promise(() => until(() => alive().sockets <= before.sockets, "no socket is left"))
    })
    it.live(`leaves no timer and no socket behind after ${calls} cancelled calls`, () => body, 30_000)
  })
}
