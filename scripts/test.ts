import type { Step } from "./lib/steps.ts"
import { runAll } from "./lib/steps.ts"

const benchFlags = ["--expose-gc", "--no-flush-bytecode", "--conditions=@rego/source"]

const steps: ReadonlyArray<Step> = [
  { name: "check", script: "scripts/check.ts", args: [] },
  { name: "lint", script: "scripts/lint.ts", args: [] },
  { name: "supply", script: "scripts/supply.ts", args: [] },
  { name: "packages", script: "scripts/packages.ts", args: [] },
  { name: "unit", script: "scripts/unit.ts", args: [] },
  { name: "doctest", script: "scripts/doctest.ts", args: ["--quiet"] },
  { name: "walkthrough", script: "scripts/walkthrough.ts", args: [] },
  { name: "examples", script: "scripts/examples.ts", args: [] },
  // last and alone: it measures
  { name: "gate", script: "packages/benchmarks/src/bench.ts", flags: benchFlags, args: ["--gate"] }
]

const soak: Step = { name: "soak", script: "scripts/soak.ts", args: ["--minutes", "1"] }

// a minute is long for whoever waits at a desk
const inCi = process.env["CI"] === undefined ? [] : [soak]

await runAll([...inCi, ...steps])
