/** Load with faults and reloads on every core, ten minutes or `--minutes 1`: no errors of ours, heap and handles flat. */
import { availableParallelism } from "node:os"
import { parseArgs } from "node:util"
import { run } from "./lib/command.ts"
import { numberOf } from "./lib/flags.ts"
import * as Tally from "./lib/tally.ts"
import { handlesOf, heapOf, type Soaked, wrongs } from "./soak/verdict.ts"

const { values } = parseArgs({ options: { minutes: { type: "string" }, seed: { type: "string" } } })
const minutes = numberOf("minutes", values.minutes, 10)
const seed = numberOf("seed", values.seed, 20_260_401)

const soak = async (process: number): Promise<Soaked> => {
  const flags = ["--expose-gc", "--conditions=@rego/source"]
  const { ok, output } = await run("node", [
    ...flags,
    "scripts/soak/worker.ts",
    String(seed + process),
    String(minutes)
  ], {
    timeoutMillis: minutes * 60_000 + 60_000
  })
  if (!ok) throw new Error(`process ${process} failed\n${output}`)
  return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "")
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

const report = (soaked: Soaked, process: number): { readonly passed: boolean } => {
  const { counts, samples } = soaked
  const [heap, handles] = [heapOf(soaked), handlesOf(soaked)]
  const exits = Object.entries(counts.exits).map(([name, count]) => `${name} ${count}`).join(", ")
  console.log(
    `process ${process}: ${counts.calls} calls, ${counts.accepted} documents taken, ${counts.refused} refused`
  )
  console.log(`  exits: ${exits}`)
  console.log(
    `  heap after warm-up: ${megabytes(heap.early)}, at the end ${megabytes(heap.late)} (${samples.length} samples)`
  )
  console.log(`  handles after warm-up: ${handles.early}, at the end ${handles.late}`)
  const found = wrongs(soaked)
  for (const wrong of found) console.log(`FAIL process ${process}: ${wrong}`)
  return { passed: found.length === 0 }
}

const processes = Array.from({ length: availableParallelism() }, (_, n) => n)
const soaked = await Promise.all(processes.map(soak))
Tally.close(Tally.ofResults(soaked.map(report)))
