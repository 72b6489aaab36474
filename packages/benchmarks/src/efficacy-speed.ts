/** Not efficacy, but what makes it affordable: how fast the simulator is. */
import { Hedge } from "@rego/core"
import { Scenario, Simulator } from "@rego/testing"
import { Effect } from "effect"
import type { Item, Policies, Row } from "./efficacy-model.ts"
import { hedged, ours, single } from "./efficacy-policies.ts"

const calls = 50_000
const warmUpCalls = 50_000

const scenario = (requests: number): Scenario.Scenario =>
  Scenario.make({
    name: "speed",
    clients: { type: "open", rate: 1_000 },
    server: { service: { type: "lognormal", mean: "20 millis", sd: "10 millis" } },
    requests
  })

const simulate = (policies: Policies, requests: number, seed: number) =>
  Effect.runPromise(
    Simulator.simulate(scenario(requests), { policies, seeds: [seed], idempotent: true }) as Effect.Effect<unknown>
  )

/** Processor time, which others on the machine do not stretch as much as they stretch the time of day. */
const perSecond = async (policies: Policies, seed: number): Promise<number> => {
  const before = process.cpuUsage()
  await simulate(policies, calls, seed)
  const { system, user } = process.cpuUsage(before)
  return Math.round(calls / ((system + user) / 1e6))
}

const row = (name: string, policies: Policies): Row => ({
  name,
  measure: async (seeds) => {
    await simulate(policies, warmUpCalls, 0)
    const values: Array<number> = []
    for (const seed of seeds) values.push(await perSecond(policies, seed))
    return { speed: values }
  }
})

const plain = "plain: 3 attempts, a timeout for each, default budget"
const column = "calls per second of processor time"

export const speedItem: Item = {
  number: 11,
  title: "Speed of the simulator",
  about: `${calls.toLocaleString("en-US")} calls in a run, 1,000 per second of virtual time.`,
  columns: [{ name: column, from: "speed", format: (value) => Math.round(value).toLocaleString("en-US") }],
  goals: [{ row: plain, column, atLeast: 50_000 }],
  rows: [
    row("one attempt, overall timeout", single),
    row(plain, ours),
    row("hedge at quantile(0.95), overall timeout", hedged(Hedge.quantile(0.95), 1))
  ]
}
