import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { House } from "../../core/test/house.ts"
import { apiOf, readModules, violations } from "../../core/test/house.ts"

const folder = join(import.meta.dirname, "..")

/** The rules are those of core. Nothing of a test runner may be loaded, and nothing of Node: the kit runs anywhere. */
const house: House = {
  storeys: [
    // what the others are made of
    ["AssertionError", "Generate"],
    // the testing kit
    [
      "TimelineRows",
      "Downstream",
      "Fault",
      "Law",
      "BudgetLaws",
      "ClassifierLaws",
      "HedgeLaws",
      "PolicySourceLaws",
      "Arbitraries",
      "ObserverLaws"
    ],
    // the simulator: numbers and data
    [
      "ScenarioInvalid",
      "Randomness",
      "Statistics",
      "Histogram",
      "VirtualTime",
      "Distribution",
      "Scenario",
      "Scenarios"
    ],
    // its world, and what is counted of it
    ["ServerModel", "Processes", "Tally", "Simulation"],
    // what users see of it
    ["SimulationReport", "SimulationChart", "Summary", "Simulator"],
    ["index"]
  ],
  isAllowed: (_, from) =>
    /^(?:effect|effect\/Function|effect\/Arbitrary|effect\/testing|@rego\/core|@rego\/core\/internal\/Issue)$/.test(
      from
    )
}

const sources = readModules(join(folder, "src"))

const publicModules = [...sources["index"]!.matchAll(/export \* as (\w+) from/g)].map(([, name]) => name!)

const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
  readonly dependencies?: object
  readonly peerDependencies: object
  readonly exports: object
}

describe("architecture of @rego/testing", () => {
  it("every module keeps to its storey, to the packages it may load and to the fiber's clock", () => {
    assert.deepStrictEqual(violations(house, sources), [])
  })

  it("every module of the table exists, and stands in it once", () => {
    assert.sameMembers(house.storeys.flat(), Object.keys(sources))
  })

  it("notices an import upwards, a test runner, and a clock of its own", () => {
    const found = violations(house, {
      Law: `import { make } from "./BudgetLaws.ts"\nimport { it } from "@effect/vitest"\nDate.now()`
    })
    assert.strictEqual(found.length, 3)
  })

  it("needs effect and core, and no test runner", () => {
    assert.deepStrictEqual(Object.keys(manifest.peerDependencies), ["@rego/core", "effect"])
    assert.isUndefined(manifest.dependencies)
  })

  it("every public module has an entry of its own in package.json, and no other has one", () => {
    const entries = Object.keys(manifest.exports).filter((entry) => entry !== "." && entry !== "./package.json")
    assert.sameMembers(entries, publicModules.map((name) => `./${name}`))
  })
})

describe("API of @rego/testing", () => {
  // a name that comes, goes or changes place is a change of the API: it belongs into this list and into the changelog
  it("has these names", () => {
    assert.deepStrictEqual(apiOf(publicModules, (name) => sources[name]!), {
      Arbitraries: { values: "backoff event outcome policy timeline trigger", types: "" },
      BudgetLaws: { values: "make", types: "Options" },
      ClassifierLaws: { values: "make", types: "Options" },
      Distribution: { values: "Distribution make mean quantile", types: "Distribution Input Shape" },
      Downstream: {
        values: "answer die fail hang make run",
        types: "Arrival Downstream Step StepOptions"
      },
      Fault: {
        values: "Faults answer at defect error hang latency layer",
        types: "Delay Fault Instead LayerOptions Options"
      },
      HedgeLaws: { values: "make", types: "" },
      ObserverLaws: { values: "make", types: "" },
      PolicySourceLaws: { values: "make", types: "Options" },
      Law: { values: "broken", types: "Broken Law SeedOptions" },
      Scenario: {
        values: "Scenario decode lastEnd make",
        types: "ClosedInput EpisodeInput Input OpenInput Scenario ServerInput"
      },
      Scenarios: {
        values: "longTail metastable overload partialOutage rollingRestart shipped slowReplica steady totalOutage",
        types: ""
      },
      SimulationChart: { values: "latency load", types: "Reports" },
      SimulationReport: {
        values: "format formatEstimate metrics table toJson unitOf",
        types: "Counts LoadOverTime Metric Report Run"
      },
      Simulator: { values: "classifier simulate", types: "Options" },
      TimelineRows: {
        values: "anytime between difference expectRows expectTimeline rows",
        types: "Between Expected Row"
      }
    })
  })
})
