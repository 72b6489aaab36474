/**
 * `npm run bench -- --gate` reads what the gate holds and says where it is worse than its limits. `--gate --update` writes
 * new limits from what it reads now. `--gate --spread 20` reads so often, and writes what came and went from run to run
 * into `results/gate-spread.json` and `docs/performance.md`.
 */
import { fork } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { environment, page, resultsFile } from "./environment.ts"
import type { Limits, Reading, Spread } from "./gate.ts"
import {
  isComparable,
  judge,
  least,
  lineOf,
  medians,
  ofMemory,
  ofTime,
  spreadIntoPage,
  suggest,
  toJson,
  within
} from "./gate.ts"
import type { Measurement } from "./results.ts"

const file = join(import.meta.dirname, "../gate.json")

const spreadFile = resultsFile("gate-spread")

const readLimits = (): Limits => JSON.parse(readFileSync(file, "utf8"))

// -----------------------------------------------------------------------------
// readings
// -----------------------------------------------------------------------------

const inWorker = (what: "memory" | "time", flags: ReadonlyArray<string>): Promise<ReadonlyArray<Measurement>> =>
  new Promise((resolve, reject) => {
    const execArgv = [...process.execArgv, ...flags]
    const worker = fork(join(import.meta.dirname, "gate-worker.ts"), [what], { execArgv })
    worker.on("message", (measured) => resolve(measured as ReadonlyArray<Measurement>))
    worker.on(
      "exit",
      (code) => reject(new Error(`the worker that measures ${what} ended with ${code}, and said nothing`))
    )
  })

/** A large young generation lets many calls allocate before the collector runs. */
const memoryFlags = ["--no-opt", "--min-semi-space-size=16", "--max-semi-space-size=16"]

type Read = () => Promise<ReadonlyArray<Reading>>

const memory: Read = async () => ofMemory(await inWorker("memory", memoryFlags))
const time: Read = async () => ofTime(await inWorker("time", []))

const both: Read = async () => [...await memory(), ...await time()]

const attempts = 3

/** What lies above its limit is read again before it counts against somebody. */
const readWithin = async (limits: Limits, read: Read): Promise<ReadonlyArray<Reading>> => {
  let readings = await read()
  for (let i = 1; i < attempts && !within(limits, readings); i++) readings = least(readings, await read())
  return readings
}

// -----------------------------------------------------------------------------
// commands
// -----------------------------------------------------------------------------

const check = async (limits: Limits): Promise<void> => {
  const node = process.versions.node
  if (!isComparable(limits, node)) {
    console.log(`the limits are of node ${limits.node}, and this is ${node}, which allocates other amounts`)
    return console.log(`0 passed, 0 failed, ${limits.limits.length} skipped`)
  }
  const verdicts = judge(limits, [...await readWithin(limits, memory), ...await readWithin(limits, time)])
  for (const verdict of verdicts) console.log(lineOf(verdict))
  const failed = verdicts.filter(({ passed }) => !passed).length
  console.log(`${verdicts.length - failed} passed, ${failed} failed`)
  if (failed > 0) process.exitCode = 1
}

const readRuns = async (times: number): Promise<ReadonlyArray<ReadonlyArray<Reading>>> => {
  const runs: Array<ReadonlyArray<Reading>> = []
  while (runs.length < times) {
    const readings = await both()
    runs.push(readings)
    console.error(`${runs.length}/${times}  ${readings.map(({ figure }) => figure).join("  ")}`)
  }
  return runs
}

/** New limits, as the median of some runs; the page shows them beside the spread that was found. */
const update = async (): Promise<void> => {
  const limits = suggest(process.versions.node, medians(await readRuns(3)))
  writeFileSync(file, toJson(limits))
  writeFileSync(page, spreadIntoPage(readFileSync(page, "utf8"), JSON.parse(readFileSync(spreadFile, "utf8")), limits))
  console.log(toJson(limits))
}

const spread = async (times: number): Promise<void> => {
  const found: Spread = { ...environment(), runs: await readRuns(times) }
  writeFileSync(spreadFile, `${JSON.stringify(found)}\n`)
  writeFileSync(page, spreadIntoPage(readFileSync(page, "utf8"), found, readLimits()))
}

export const gate = (options: { readonly update: boolean; readonly spread: number }): Promise<void> => {
  if (options.spread > 0) return spread(options.spread)
  return options.update ? update() : check(readLimits())
}
