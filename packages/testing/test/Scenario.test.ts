import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Option } from "effect"
import { Scenario, Scenarios } from "../src/index.ts"

const good: Scenario.Input = {
  name: "good",
  clients: { type: "open", rate: 10 },
  server: { service: { type: "constant", value: 1 } },
  requests: 10
}

const issuesOf = (json: unknown) =>
  Effect.map(Effect.flip(Scenario.decode(json)), ({ issues }) => issues.map(({ path }) => path.join(".")))

describe("Scenario", () => {
  it("writes every default out", () => {
    const { clients, episodes, fanOut, server, warmUp } = Scenario.make(good)
    assert.deepStrictEqual(clients, { type: "open", rate: 10, arrivals: "poisson", processes: 1 })
    assert.deepStrictEqual([episodes, fanOut, warmUp], [[], 1, 0])
    assert.deepInclude(server, { replicas: 1, routing: "random", cancellation: "honoured", failureRate: 0 })
    assert.deepStrictEqual(server.refuseAfter, Duration.millis(1))
  })

  const wrong: ReadonlyArray<readonly [string, object, ReadonlyArray<string>]> = [
    ["a rate of nothing", { clients: { type: "open", rate: 0 } }, ["clients.rate"]],
    ["NaN", { clients: { type: "open", rate: NaN } }, ["clients.rate"]],
    ["half a client", { clients: { type: "closed", concurrency: 1.5 } }, ["clients.concurrency"]],
    ["no end", { requests: undefined }, ["duration"]],
    ["an unknown field", { sever: {} }, ["sever"]],
    ["several", { warmUp: -1, fanOut: 0, name: "" }, ["name", "fanOut", "warmUp"]],
    [
      "a replica that is not there",
      { episodes: [{ type: "down", at: 0, for: 1, replicas: [0, 3] }] },
      ["episodes.0.replicas.1"]
    ],
    ["an episode beyond the end", { duration: 10, episodes: [{ type: "down", at: 5, for: 6 }] }, ["episodes.0"]],
    [
      "more load of clients that wait",
      { clients: { type: "closed", concurrency: 1 }, episodes: [{ type: "load", at: 0, for: 1, factor: 2 }] },
      ["episodes.0"]
    ],
    ["a field of another episode", { episodes: [{ type: "freeze", at: 0, for: 1, factor: 2 }] }, ["episodes.0.factor"]]
  ]
  for (const [what, parts, paths] of wrong) {
    it.effect(`refuses ${what}, and says where`, () =>
      Effect.gen(function*() {
        assert.sameMembers(yield* issuesOf({ ...good, ...parts }), [...paths])
      }))
  }

  it.effect("refuses what is no scenario at all", () =>
    Effect.gen(function*() {
      for (const json of [null, 7, [], "text"]) assert.isNotEmpty(yield* issuesOf(json))
    }))

  it("make throws what decode fails with", () => {
    assert.throws(() => Scenario.make({ ...good, fanOut: 0 }), /fanOut: must be an integer between 1 and 1000, got 0/)
  })

  it("lastEnd: when everything that went wrong has ended", () => {
    const episodes = [{ type: "down", at: 5, for: 10 }, { type: "freeze", at: 1, for: 2 }] as const
    assert.deepStrictEqual(Scenario.lastEnd(Scenario.make({ ...good, episodes })), Option.some(15))
    assert.deepStrictEqual(Scenario.lastEnd(Scenario.make(good)), Option.none())
  })

  it("the shipped ones are those of the issue, each under its own name and with a sentence", () => {
    assert.deepStrictEqual(Object.keys(Scenarios.shipped), [
      "steady",
      "long-tail",
      "partial-outage",
      "total-outage",
      "overload",
      "metastable",
      "rolling-restart",
      "slow-replica"
    ])
    for (const [name, scenario] of Object.entries(Scenarios.shipped)) {
      assert.strictEqual(scenario.name, name)
      assert.isNotEmpty(scenario.description)
    }
  })
})
