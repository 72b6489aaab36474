/** Gates that take longer than each commit should wait, or that download something. Run before a release. */
import type { Step } from "./lib/steps.ts"
import { runAll } from "./lib/steps.ts"

const steps: ReadonlyArray<Step> = [
  { name: "supply", script: "scripts/supply.ts", args: ["--audit"] },
  // builds what is packed
  { name: "check", script: "scripts/check.ts", args: [] },
  { name: "pack", script: "scripts/pack.ts", args: [] },
  { name: "upgrade", script: "scripts/upgrade.ts", args: [] },
  { name: "interleave", script: "scripts/interleave.ts", flags: ["--conditions=@rego/source"], args: [] },
  { name: "fuzz", script: "scripts/fuzz.ts", flags: ["--conditions=@rego/source"], args: ["--seconds", "120"] },
  { name: "soak", script: "scripts/soak.ts", args: [] }
]

await runAll(steps, { figures: true })
