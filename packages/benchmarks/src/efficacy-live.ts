/**
 * Item 10: item 1 on a real HTTP server. Its times are three times as long, so that timers of a millisecond and what a
 * request costs on loopback count little, and the figures are divided by three again.
 */
import { Rego } from "@rego/core"
import { Scenario } from "@rego/testing"
import { Effect } from "effect"
import { fork } from "node:child_process"
import { once } from "node:events"
import { Agent, get } from "node:http"
import { join } from "node:path"
import type { Goal, Item, Policies, Row, Values } from "./efficacy-model.ts"
import { simulated } from "./efficacy-model.ts"
import { longTailItem, longTailService, noHedge, oneHedge, tailColumns, twoHedges } from "./efficacy-tails.ts"
import { quantile } from "./statistics.ts"

const factor = 3
const concurrency = 20
const warmUp = 1_000
const requests = 50_000

interface Server {
  readonly read: Effect.Effect<void, Error>
  readonly sent: () => number
  readonly close: () => void
}

const start = async (): Promise<Server> => {
  const server = fork(join(import.meta.dirname, "efficacy-live-server.ts"), [String(factor)], {
    execArgv: ["--conditions=@rego/source"]
  })
  const [port] = (await once(server, "message")) as [number]
  const agent = new Agent({ keepAlive: true })
  let sent = 0
  const read = Effect.callback<void, Error>((resume) => {
    sent++
    const request = get({ host: "127.0.0.1", port, path: "/", agent }, (response) => {
      response.resume()
      response.on("end", () => resume(Effect.void))
    })
    request.on("error", (error) => resume(Effect.fail(error)))
    return Effect.sync(() => request.destroy())
  })
  return {
    read,
    sent: () => sent,
    close: () => {
      agent.destroy()
      server.disconnect()
    }
  }
}

const measure = async (policies: Policies): Promise<Values> => {
  const server = await start()
  const call = server.read.pipe(Rego.resilient("live.Read", { idempotent: true }))
  const times: Array<number> = []
  let begun = 0
  let sentBefore = 0
  const client = Effect.gen(function*() {
    while (begun < warmUp + requests) {
      const number = begun++
      if (number === warmUp) sentBefore = server.sent()
      const from = performance.now()
      yield* call
      if (number >= warmUp) times.push((performance.now() - from) / factor)
    }
  })
  const clients = Effect.all(Array.from({ length: concurrency }, () => client), { concurrency: "unbounded" })
  await Effect.runPromise(Effect.provide(clients, policies as never) as Effect.Effect<unknown>)
  const extra = (server.sent() - sentBefore) / requests - 1
  server.close()
  const at = (q: number): ReadonlyArray<number> => [Number(quantile(times, q).toPrecision(5))]
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), extra: [Number(extra.toPrecision(4))] }
}

interface Tried {
  readonly name: string
  readonly policies: Policies
}

const live = ({ name, policies }: Tried): Row => ({ name: `live: ${name}`, measure: () => measure(policies) })

/** Budgets count in seconds: with times that are longer there are fewer calls in a window, and chance denies more hedges. */
const sameWorld = Scenario.make({
  name: "the same, simulated",
  clients: { type: "closed", concurrency },
  server: { service: longTailService(factor) },
  requests: warmUp + requests,
  warmUp
})

const beside = ({ name, policies }: Tried): Row =>
  simulated(`simulated: ${name}`, sameWorld, policies, ({ metrics }) => ({
    p50: metrics.p50 / factor,
    p99: metrics.p99 / factor,
    p999: metrics.p999 / factor,
    extra: metrics.attemptsPerCall - 1
  }))

const likeSimulated = ({ name }: Tried, column: string, times: number): Goal => ({
  row: `live: ${name}`,
  column,
  atMost: times,
  timesRow: `simulated: ${name}`
})

const goalsOfItem1 = ({ name }: Tried): ReadonlyArray<Goal> =>
  longTailItem.goals.filter(({ row }) => row === name).map((goal) => ({ ...goal, row: `live: ${name}` }))

export const liveItem: Item = {
  number: 10,
  title: "Item 1 on a real HTTP server",
  about:
    "One run on loopback: a server of Node's `http` in a process of its own, 20 clients at a time, 50,000 requests after " +
    "1,000 of warm-up. Times are three times those of item 1, and divided by three here, so that what the host adds is small " +
    "beside them. The server is told when a hedge has lost (the connection is closed), and draws a time for each attempt. The " +
    "goals of the hedged rows are those of item 1. Beside each row the same world in the simulator, medians of 20 seeds. With " +
    "times thirty times as long, and a hundred calls per second, item 1 is reached neither live nor simulated: there are so few " +
    "calls in the window of the budget that chance denies hedges.",
  columns: tailColumns,
  goals: [
    likeSimulated(noHedge, "p99", 1.1),
    likeSimulated(noHedge, "p99.9", 1.15),
    ...goalsOfItem1(oneHedge),
    ...goalsOfItem1(twoHedges)
  ],
  rows: [noHedge, oneHedge, twoHedges].flatMap((tried) => [live(tried), beside(tried)])
}
