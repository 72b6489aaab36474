import { run } from "./lib/command.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"

interface Step {
  readonly name: string
  readonly script: string
  readonly flags?: ReadonlyArray<string>
  readonly args: ReadonlyArray<string>
}

const benchFlags = ["--expose-gc", "--no-flush-bytecode", "--conditions=@rego/source"]

const steps: ReadonlyArray<Step> = [
  { name: "check", script: "scripts/check.ts", args: [] },
  { name: "lint", script: "scripts/lint.ts", args: [] },
  { name: "unit", script: "scripts/unit.ts", args: [] },
  { name: "doctest", script: "scripts/doctest.ts", args: ["--quiet"] },
  { name: "walkthrough", script: "scripts/walkthrough.ts", args: [] },
  { name: "examples", script: "scripts/examples.ts", args: [] },
  // last and alone: it measures
  { name: "gate", script: "packages/benchmarks/src/bench.ts", flags: benchFlags, args: ["--gate"] }
]

const lastLine = (output: string): string => output.trimEnd().split("\n").at(-1) ?? ""

const runStep = async ({ args, flags = [], name, script }: Step): Promise<Tally.Tally> => {
  const started = performance.now()
  const { ok, output } = await run("node", [...flags, script, ...args])
  const counted = Tally.parse(lastLine(output))
  const tally = Tally.orFailure(counted ?? Tally.make(0, 0), { well: ok && counted !== undefined })

  if (tally.failed > 0) console.log(indent(output, `${name} | `))
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${name.padEnd(12)}${seconds.padStart(6)} s   ${Tally.format(tally)}`)
  return tally
}

const tallies = []
for (const step of steps) tallies.push(await runStep(step))
Tally.close(Tally.sum(tallies))
