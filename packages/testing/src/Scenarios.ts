/**
 * Scenarios that come with the package: what a dependency does in a good hour, and in bad ones.
 *
 * **Details**
 *
 * Where nothing else is said, requests come independently of each other at 200 per second from 10 processes, a request takes
 * 20 ms on average (lognormal, standard deviation 10 ms), and the server has 4 replicas with room for 20 attempts each: it is
 * a twentieth busy. A run is two minutes of virtual time; what goes wrong begins after 30 seconds.
 *
 * | scenario | what happens |
 * | --- | --- |
 * | `steady` | nothing; one attempt in 1,000 fails |
 * | `long-tail` | one attempt in 20 takes ten times as long |
 * | `partial-outage` | for 30 seconds half of the attempts fail |
 * | `total-outage` | for 30 seconds nobody is there |
 * | `overload` | for 30 seconds three times as much is asked of a server that is 40 % busy and sheds what it has no room for |
 * | `metastable` | a server that is 90 % busy stands still for 10 seconds, and its queue is longer than its clients wait |
 * | `rolling-restart` | one replica after the other is gone for 5 seconds |
 * | `slow-replica` | for 60 seconds one of four replicas takes 20 times as long |
 *
 * **Example** (By name, as on the command line)
 *
 * ```ts
 * import { Scenarios } from "@rego/testing"
 *
 * Object.keys(Scenarios.shipped).length // => 8
 * Scenarios.shipped["long-tail"] // => Scenarios.longTail
 * ```
 *
 * @since 0.1.0
 */
import type { Input, OpenInput, Scenario, ServerInput } from "./Scenario.ts"
import { make } from "./Scenario.ts"

const clients: OpenInput = { type: "open", rate: 200, processes: 10 }

const server: ServerInput = {
  replicas: 4,
  concurrency: 20,
  service: { type: "lognormal", mean: "20 millis", sd: "10 millis" }
}

const usual = { clients, server, duration: "2 minutes", warmUp: 1_000 } satisfies Omit<Input, "name">

/**
 * Nothing happens: what a policy costs when it is not needed.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const steady: Scenario = make({
  ...usual,
  name: "steady",
  description: "nothing happens; one attempt in 1,000 fails",
  server: { ...server, failureRate: 0.001 }
})

/**
 * One attempt in 20 takes ten times as long, whichever replica it goes to.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const longTail: Scenario = make({
  ...usual,
  name: "long-tail",
  description: "one attempt in 20 takes ten times as long",
  server: {
    ...server,
    service: {
      type: "mixture",
      of: [
        { weight: 95, times: { type: "lognormal", mean: "20 millis", sd: "8 millis" } },
        { weight: 5, times: { type: "lognormal", mean: "200 millis", sd: "80 millis" } }
      ]
    }
  }
})

/**
 * Half of the attempts fail for 30 seconds.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const partialOutage: Scenario = make({
  ...usual,
  name: "partial-outage",
  description: "for 30 seconds half of the attempts fail",
  episodes: [{ type: "failing", rate: 0.5, at: "30 seconds", for: "30 seconds" }]
})

/**
 * Nobody is there for 30 seconds: connections are refused.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const totalOutage: Scenario = make({
  ...usual,
  name: "total-outage",
  description: "for 30 seconds nobody is there",
  episodes: [{ type: "down", at: "30 seconds", for: "30 seconds" }]
})

/**
 * Three times as much for 30 seconds, which is 120 % of what the server can do. It sheds what it has no room for.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const overload: Scenario = make({
  ...usual,
  name: "overload",
  description: "for 30 seconds 120 % of what the server can do; it sheds what it has no room for",
  clients: { ...clients, rate: 400 },
  server: { ...server, concurrency: 5, queue: { limit: 20 } },
  episodes: [{ type: "load", factor: 3, at: "30 seconds", for: "30 seconds" }]
})

/**
 * A server that is 90 % busy stands still for 10 seconds, and its queue has no end. It drops what nobody waits for any more
 * when its turn comes, and then finishes what it has begun, in vain where the client gives up meanwhile. Retries without a
 * bound keep it there.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const metastable: Scenario = make({
  name: "metastable",
  description: "a server that is 90 % busy stands still for 10 seconds, and its queue is longer than its clients wait",
  clients: { type: "open", rate: 270, processes: 10 },
  server: { concurrency: 30, cancellation: "before-work", service: { type: "exponential", mean: "100 millis" } },
  episodes: [{ type: "freeze", at: "30 seconds", for: "10 seconds" }],
  duration: "2 minutes",
  warmUp: 1_000
})

/**
 * One replica after the other is gone for 5 seconds.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const rollingRestart: Scenario = make({
  ...usual,
  name: "rolling-restart",
  description: "one replica after the other is gone for 5 seconds",
  episodes: [0, 1, 2, 3].map((replica) => ({
    type: "down",
    replicas: [replica],
    at: `${30 + 10 * replica} seconds`,
    for: "5 seconds"
  }))
})

/**
 * One of four replicas takes 20 times as long for a minute.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const slowReplica: Scenario = make({
  ...usual,
  name: "slow-replica",
  description: "for 60 seconds one of four replicas takes 20 times as long",
  server: { ...server, routing: "other-replica" },
  episodes: [{ type: "slow", factor: 20, replicas: [0], at: "30 seconds", for: "60 seconds" }]
})

/**
 * All of them by name.
 *
 * @category scenarios
 * @since 0.1.0
 */
export const shipped: Readonly<Record<string, Scenario>> = Object.fromEntries(
  [steady, longTail, partialOutage, totalOutage, overload, metastable, rollingRestart, slowReplica].map((scenario) => [
    scenario.name,
    scenario
  ])
)
