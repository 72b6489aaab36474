import { assert, describe, it } from "@effect/vitest"
import { join } from "node:path"
import type { House } from "../../core/test/house.ts"
import { hasTheseNames, isWholeInItsIndex, keepsToItsHouse, readPackage } from "../../core/test/packageHouse.ts"

const testing = readPackage(join(import.meta.dirname, ".."))

/** The rules are those of core. Nothing of a test runner may be loaded, and nothing of Node: the kit runs anywhere. */
const house: House = {
  storeys: [
    // what the others are made of
    ["AssertionError", "Generate", "Now"],
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

describe("architecture of @rego/testing", () => {
  keepsToItsHouse(testing, house, {
    Law: `import { make } from "./BudgetLaws.ts"\nimport { it } from "@effect/vitest"\nDate.now()`
  })

  it("needs effect and core, and no test runner", () => {
    assert.deepStrictEqual(Object.keys(testing.manifest.peerDependencies), ["@rego/core", "effect"])
    assert.isUndefined(testing.manifest.dependencies)
  })

  isWholeInItsIndex(testing)
})

describe("API of @rego/testing", () => {
  hasTheseNames(testing, {
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
      values: "Scenario ScenarioInvalid decode lastEnd make",
      types: "ClosedInput EpisodeInput Input OpenInput Scenario ServerInput"
    },
    Scenarios: {
      values: "longTail metastable overload partialOutage rollingRestart shipped slowReplica steady totalOutage",
      types: ""
    },
    SimulationChart: { values: "latency load", types: "Reports" },
    SimulationReport: {
      values: "format formatEstimate metrics table toJson unitOf",
      types: "Counts Estimate LoadOverTime Metric Report Run"
    },
    Simulator: { values: "ServerFailed classifier simulate", types: "Answer Operation Options Report" },
    TimelineRows: {
      values: "anytime between difference expectRows expectTimeline rows",
      types: "Between Expected Row"
    }
  })
})
