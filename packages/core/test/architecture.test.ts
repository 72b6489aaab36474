import { assert, describe, it } from "@effect/vitest"
import { join } from "node:path"
import type { House } from "./house.ts"
import { imports, readModules, storeysShown, violations, withoutComments } from "./house.ts"

/**
 * The house. At run time a module imports only from lower storeys, or from modules listed before it on its own storey.
 * Types may point anywhere: they are gone when the code runs.
 */
const storeys: ReadonlyArray<ReadonlyArray<string>> = [
  // vocabulary
  [
    "Issue",
    "Callback",
    "PolicyKey",
    "Outcome",
    "Attempt",
    "RegoError",
    "Reasons",
    "CallRecord",
    "Event",
    "SpanTimeline",
    "Waterfall",
    "WaterfallText",
    "WaterfallSvg",
    "Timeline",
    "Time",
    "Steps",
    "SlidingSum",
    "Line",
    "MetricTable",
    "MetricReasons"
  ],
  // policy: types, data, recipes
  [
    "Backoff",
    "SqlOutcome",
    "Classifier",
    "Permit",
    "Bucket",
    "RatioBudget",
    "TokenBucket",
    "SuccessTokens",
    "ConcurrencyBudget",
    "AdaptiveThrottle",
    "CombinedBudget",
    "Budget",
    "BudgetData",
    "Latency",
    "Hedge",
    "HedgeState",
    "Policy",
    "PolicySet",
    "Plan",
    "BootChecks",
    "PolicyDiff",
    "DocumentClamp",
    "Rollout",
    "DocumentGuard",
    "PolicyDocument",
    "DocumentGate"
  ],
  // services
  [
    "AsyncContext",
    "Apart",
    "MetricSeries",
    "Mailbox",
    "RecentCalls",
    "ObserverLayers",
    "Observer",
    "PolicySource",
    "LastKnownGood",
    "Supervisor",
    "KillSwitch",
    "BudgetStates",
    "Bindings",
    "Binder",
    "PolicyProvider",
    "BudgetShared"
  ],
  // decisions
  ["Deadline", "Retry", "WorstCase", "Advice", "PolicyReview", "Explanation", "CallMetrics", "CallLog"],
  // executor
  [
    "Timer",
    "AttemptRun",
    "Cleanup",
    "CallHost",
    "CallSpans",
    "CallEvents",
    "Questions",
    "ScheduleSteps",
    "Between",
    "GroupHedger",
    "Executor"
  ],
  // facade
  [
    "ProviderState",
    "Overrides",
    "ProviderLayer",
    "PolicyMetrics",
    "ProviderMetrics",
    "RegoMetrics",
    "RegoLogs",
    "LivePolicies",
    "LiveLayer",
    "FetchedPolicies",
    "FetchLayer",
    "PolicyLayer",
    "ResilientService",
    "Rego",
    "ResilientClient",
    "index"
  ]
]

/** Stable parts of Effect; other sub-paths may be unstable, and load what a small program does not need. */
const allowedPackages: ReadonlySet<string> = new Set(["effect", "effect/Function"])

/** Modules with an entry of their own, which the others do not load. */
const unstable: ReadonlySet<string> = new Set(["BudgetShared effect/persistence/RateLimiter"])

const house: House = {
  storeys,
  isAllowed: (name, from) => allowedPackages.has(from) || unstable.has(`${name} ${from}`)
}

const sources = readModules(join(import.meta.dirname, "../src"))

describe("architecture", () => {
  it("every module keeps to its storey, to stable imports and to the fiber's clock", () => {
    assert.deepStrictEqual(violations(house, sources), [])
  })

  it("every module of the table exists, and stands in it once", () => {
    const listed = storeys.flat()
    assert.deepStrictEqual(listed.filter((name) => !(name in sources)), [])
    assert.strictEqual(new Set(listed).size, listed.length)
  })

  it("the page shows this table", () => {
    assert.deepStrictEqual<unknown>(storeysShown()[0], storeys)
  })

  it("sees the imports of real modules", () => {
    assert.includeMembers([...imports(withoutComments(sources["Classifier"] ?? ""))], [
      "effect",
      "effect/Function",
      "./Outcome.ts",
      "./Timeline.ts"
    ])
    assert.isAbove(imports(withoutComments(sources["index"] ?? "")).length, 10)
  })

  describe("notices", () => {
    const rows: ReadonlyArray<readonly [string, Readonly<Record<string, string>>, ReadonlyArray<string>]> = [
      ["an import from a higher storey", { Outcome: `import * as Retry from "./Retry.ts"` }, [
        "Outcome (storey 0) imports Retry (storey 3), which does not stand before it"
      ]],
      ["an import of a later module of the same storey", { Backoff: `import { none } from "./Budget.ts"` }, [
        "Backoff (storey 1) imports Budget (storey 1), which does not stand before it"
      ]],
      ["an import of itself", { Rego: `import * as Rego from "./Rego.ts"` }, [
        "Rego (storey 5) imports Rego (storey 5), which does not stand before it"
      ]],
      ["an upward re-export", { Issue: `export * as Rego from "./Rego.ts"` }, [
        "Issue (storey 0) imports Rego (storey 5), which does not stand before it"
      ]],
      ["an upward import over several lines, a type among its names", {
        Issue: `import {\n  type Input,\n  make\n} from "./Policy.ts"`
      }, ["Issue (storey 0) imports Policy (storey 1), which does not stand before it"]],
      ["an upward dynamic import, and one for its side effects", {
        Issue: `import "./Rego.ts"\nconst x = import("./Plan.ts")`
      }, [
        "Issue (storey 0) imports Rego (storey 5), which does not stand before it",
        "Issue (storey 0) imports Plan (storey 1), which does not stand before it"
      ]],
      ["a module without a storey", { Helpers: "export const x = 1", "internal/x": "" }, [
        "Helpers has no storey",
        "internal/x has no storey"
      ]],
      ["an import that is not among the stable ones", {
        Rego: `import * as A from "effect/Arbitrary"\nimport fs from "node:fs"\nimport { x } from "effect/persistence"`
      }, [
        "Rego imports effect/Arbitrary, which is not among the stable ones",
        "Rego imports node:fs, which is not among the stable ones",
        "Rego imports effect/persistence, which is not among the stable ones"
      ]],
      ["time and randomness from outside of the fiber", {
        Timer: `const t = Date.now() + performance.now() * Math.random() + Number(new Date())`
      }, ["Timer uses Date.now", "Timer uses performance.now", "Timer uses Math.random", "Timer uses new Date"]]
    ]
    for (const [what, modules, expected] of rows) {
      it(what, () => {
        assert.deepStrictEqual(violations(house, modules), expected)
      })
    }
  })

  describe("allows", () => {
    const rows: ReadonlyArray<readonly [string, Readonly<Record<string, string>>]> = [
      ["imports of lower storeys and of earlier modules", {
        Budget: `import * as O from "./Outcome.ts"\nimport { R } from "./RatioBudget.ts"`
      }],
      ["imports of types from anywhere", {
        Issue:
          `import type { Rego } from "./Rego.ts"\nimport { type A, type B } from "./Policy.ts"\nexport type { C } from "./Plan.ts"`
      }],
      ["words in comments and in text", {
        Issue: `// Date.now()\n/* Math.random() import { x } from "./Rego.ts" */\nconst a = "http://x" // new Date`
      }]
    ]
    for (const [what, modules] of rows) {
      it(what, () => {
        assert.deepStrictEqual(violations(house, modules), [])
      })
    }
  })
})
