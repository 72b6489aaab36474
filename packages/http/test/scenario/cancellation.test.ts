/** What 1,000 cancelled calls leave behind: nothing. Fewer of other clients: what one call leaves is counted as well. */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Hedge } from "@rego/core"
import { HttpRego } from "@rego/http"
import { Effect, Fiber } from "effect"
import { HttpClient } from "effect/http"
import type { Handler, Server } from "../support.ts"
import { clients, eventually, policiesOf, serve } from "../support.ts"

const callsOf = (client: string): number => client === "fetch" ? 1_000 : 300
const atATime = 50

/** What keeps the process alive, of the kinds that a call could leave behind. */
const resources = (): Readonly<Record<string, number>> => {
  const all = process.getActiveResourcesInfo()
  const count = (kind: string) => all.filter((one) => one === kind).length
  return { sockets: count("TCPSocketWrap"), connects: count("TCPConnectWrap"), timers: count("Timeout") }
}

const handler: Handler = (request, response) => {
  if (request.url === "/busy") response.writeHead(503, { connection: "close" }).end("busy")
}

const policy: Policy.Input = {
  retry: { maxAttempts: 3, backoff: Backoff.constant("10 seconds", { jitter: "none" }) },
  timeout: { perAttempt: "20 seconds", overall: "60 seconds" },
  hedge: { trigger: Hedge.after("5 millis"), maxFailing: 1 }
}

/** Where calls are when they are cancelled: how many requests they have sent until then, and what is to be seen. */
interface Phase {
  readonly path: string
  readonly requests: number
  readonly until?: (server: Server) => boolean
}

const phases: ReadonlyArray<Phase> = [
  // while a request and its hedge run
  { path: "/hangs", requests: 2 },
  // while it waits for its next attempt
  { path: "/busy", requests: 1, until: ({ connections }) => connections.open === 0 },
  // at once
  { path: "/hangs", requests: 0 }
]

/** Sends a batch, waits until all of it is where it should be, and cancels it. */
const cancelBatch = (server: Server, { path, requests, until = () => true }: Phase) =>
  Effect.gen(function*() {
    const client = HttpRego.resilient(yield* HttpClient.HttpClient)
    const arrived = server.arrivals.length + requests * atATime
    const batch = yield* Effect.all(
      Array.from({ length: atATime }, () => Effect.forkChild(client.get(`${server.url}${path}`)))
    )
    yield* eventually(`${arrived} requests are there`, () => server.arrivals.length >= arrived && until(server))
    yield* Fiber.interruptAll(batch)
  })

describe("cancelled calls", () => {
  for (const [name, layer] of Object.entries(clients)) {
    it.live(
      `leave no socket and no timer behind, ${callsOf(name)} with the client ${name}`,
      () =>
        Effect.gen(function*() {
          const server = yield* serve(handler)
          const before = resources()
          const batches = Array.from(
            { length: callsOf(name) / atATime },
            (_, i) => cancelBatch(server, phases[i % phases.length]!)
          )
          yield* Effect.all(batches, { discard: true }).pipe(Effect.provide(policiesOf(policy)), Effect.provide(layer))
          yield* eventually("the server has no connection left", () => server.connections.open === 0)
          // the test runner has timers of its own, which come and go
          for (const kind of Object.keys(before)) {
            yield* eventually(`no ${kind} are left on this side`, () => resources()[kind]! <= before[kind]!)
          }
          const arrived = server.arrivals.length
          yield* Effect.sleep(30)
          assert.strictEqual(server.arrivals.length, arrived)
        }),
      60_000
    )
  }
})
