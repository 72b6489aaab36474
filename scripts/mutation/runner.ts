/**
 * Runs mutants in processes of vitest, and watches them: `inside.ts` does the work there. Measured on `PolicyKey` and
 * `Retry`: the same fates as an import of everything for each mutant, for a small part of the work.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { runUntil } from "../lib/command.ts"
import type { Control, End, Job, Line } from "./protocol.ts"
import { BEFORE, MAX_TOGETHER, together } from "./protocol.ts"

export type Status = "killed" | "timed out" | "survived" | "unreached"

/** Mutants in one process: their modules stay in its memory. */
const MAX_APART = 40

const STALL_MILLIS = 25_000

/** The first run transforms every file, on a machine that may be busy. */
const CONTROL_MILLIS = 300_000

export interface Place {
  /** of the copy of the repository */
  readonly folder: string
  /** absolute paths */
  readonly tests: ReadonlyArray<string>
  readonly own: ReadonlyArray<string>
}

/** A module among those that share a process. */
export interface Part {
  readonly mutants: ReadonlyArray<string>
  readonly tests: ReadonlyArray<string>
  /** each mutant gets modules of its own, whether an import reaches it or not */
  readonly isIsolated: boolean
  /** the first of them: the one that is named like it, where there is one */
  readonly file: string | undefined
}

const configOf = (folder: string) => ({
  fsModuleCachePath: `${folder}-cache`,
  include: ["mutants/*.test.ts"],
  pool: "forks",
  isolate: false,
  maxWorkers: 1,
  fileParallelism: false,
  // a test that hangs is found by the turns of the event loop
  testTimeout: 0,
  silent: true
})

const writeFiles = ({ folder }: Place, job: Job): void => {
  const generated = join(folder, "mutants")
  rmSync(generated, { recursive: true, force: true })
  mkdirSync(generated)
  rmSync(job.log, { force: true })
  writeFileSync(join(generated, "job.json"), JSON.stringify(job))
  writeFileSync(
    join(generated, "run.test.ts"),
    `import { readFileSync } from "node:fs"
import { runJob } from "../scripts/mutation/inside.ts"
await runJob(JSON.parse(readFileSync(${JSON.stringify(join(generated, "job.json"))}, "utf8")))
`
  )
  writeFileSync(
    join(folder, "vitest.mutation.config.ts"),
    `import config from "./vitest.config.ts"
export default { ...config, test: { ...config.test, ...${JSON.stringify(configOf(folder))} } }
`
  )
}

const readLog = (log: string): ReadonlyArray<Line> =>
  existsSync(log) ? readFileSync(log, "utf8").trim().split("\n").map((line) => JSON.parse(line)) : []

/** Runs a few mutants, until they are done or one of them stalls; answers what they said. */
const runOnce = async (place: Place, task: Omit<Job, "files" | "own" | "log">): Promise<ReadonlyArray<Line>> => {
  const log = join(place.folder, "mutants.log")
  writeFiles(place, { ...task, files: place.tests, own: place.own, log })
  const args = ["-n", "19", "vitest", "run", "--config", "vitest.mutation.config.ts", "--reporter=dot"]
  let seen = 0
  let since = performance.now()
  const { output } = await runUntil("nice", args, { cwd: place.folder }, () => {
    const lines = readLog(log)
    if (lines.length > seen) [seen, since] = [lines.length, performance.now()]
    const isMeasured = task.control !== undefined || lines.some((line) => "control" in line)
    return performance.now() - since > (isMeasured && seen > 0 ? STALL_MILLIS : CONTROL_MILLIS)
  })
  appendFileSync(join(place.folder, "mutation.log"), output)
  const lines = readLog(log)
  for (const line of lines) {
    if ("spoiled" in line) console.log(`spoiled by ${line.by}: ${line.spoiled}`)
    if ("unfit" in line) console.log(`not asked, because it fails without a mutant: ${line.unfit}`)
  }
  if (process.env["KEEP"]) writeFileSync(`${process.env["KEEP"]}/${Date.now()}.log`, readFileSync(log))
  return lines
}

const endOf = (id: string, lines: ReadonlyArray<Line>): End | undefined =>
  lines.flatMap((line) => "id" in line && line.id === id && line.end !== undefined ? [line.end] : []).at(-1)

const lastBegun = (lines: ReadonlyArray<Line>): string | undefined =>
  lines.flatMap((line) => "id" in line ? [line.id] : []).at(-1)

const statusOfEnd: Readonly<Record<End, Status>> = { failed: "killed", hung: "timed out", passed: "survived" }

type Fates = ReadonlyMap<string, Status>

/** What stopped the process before its end: a mutant that said nothing any more, or one that left something behind. */
const stopperIn = (ids: ReadonlyArray<string>, lines: ReadonlyArray<Line>) => {
  const spoiler = lines.flatMap((line) => "spoiled" in line ? [line.by] : []).at(0)
  const last = lastBegun(lines)
  const staller = ids.find((id) => id === last && endOf(id, lines) === undefined)
  return { spoiler, staller: spoiler === undefined ? staller : undefined }
}

/**
 * All tests pass before the first mutant, or nothing is believed; after that each failure is tried again without its mutant.
 * What came before a stop counts.
 */
export const fatesOf = (ids: ReadonlyArray<string>, lines: ReadonlyArray<Line>): Fates => {
  const { spoiler, staller } = stopperIn(ids, lines)
  const before = lines.some((line) => "control" in line) ? "passed" : endOf(BEFORE, lines)
  const isStopped = spoiler !== undefined || staller !== undefined
  // a mutant may stall the import, before any test runs
  const hasBegun = before === "passed" || before === undefined && isStopped
  if (!hasBegun || !isStopped && !lines.some((line) => "done" in line)) return new Map()
  const ended = ids.flatMap((id) => {
    const end = endOf(id, lines)
    return end === undefined ? [] : [[id, statusOfEnd[end]] as const]
  })
  return new Map([...ended, ...staller === undefined ? [] : [[staller, "timed out"] as const]])
}

interface Mission {
  readonly spoils: Spoils
  readonly control: Control
  readonly mutants: ReadonlyArray<string>
  readonly reimport: boolean
}

/** How often each test was found spoiled. One that is so again and again proves nothing of any mutant. */
class Spoils {
  private readonly times = new Map<string, number>()

  add(lines: ReadonlyArray<Line>): void {
    for (const line of lines) {
      if ("spoiled" in line) this.times.set(line.spoiled, (this.times.get(line.spoiled) ?? 0) + 1)
    }
  }

  get areMany(): boolean {
    return [...this.times.values()].reduce((sum, times) => sum + times, 0) > 4
  }

  get unfit(): ReadonlyArray<string> {
    return [...this.times].filter(([, times]) => times >= 2).map(([name]) => name)
  }
}

/** In as many processes as it takes. */
const runAll = async (place: Place, mission: Mission, most: number, spoiler?: string): Promise<Fates> => {
  const fates = new Map<string, Status>()
  const alone = new Set(spoiler === undefined ? [] : [spoiler])
  let size = most
  let waiting = mission.mutants
  while (waiting.length > 0) {
    const apart = waiting.find((id) => alone.has(id))
    const isAlone = apart !== undefined
    const mutants = isAlone ? [apart] : waiting.slice(0, size)
    const { control, reimport, spoils } = mission
    const lines = await runOnce(place, {
      control,
      reimport,
      unfit: spoils.unfit,
      isLenient: spoils.areMany,
      isAlone,
      mutants
    })
    spoils.add(lines)
    const found = fatesOf(mutants, lines)
    const stopper = stopperIn(mutants, lines).spoiler
    if (found.size === 0 && mutants.length === 1 && stopper === undefined) {
      throw new Error(`see ${place.folder}/mutation.log`)
    }
    for (const [id, status] of found) fates.set(id, status)
    if (stopper !== undefined) alone.add(stopper)
    // an import may have failed as a whole: fewer of them say which one
    size = found.size === 0 && stopper === undefined ? Math.ceil(mutants.length / 4) : most
    waiting = waiting.filter((id) => !fates.has(id))
    console.log(`${mission.reimport ? "apart" : "together"}: ${fates.size} of ${mission.mutants.length}`)
  }
  return fates
}

/** Most are found by the tests of their own module, and the import of one file costs little. */
const runApart = async (place: Place, { file, tests }: Part, mission: Mission) => {
  const { control, mutants } = mission
  const runWith = (files: ReadonlyArray<string>, ids: ReadonlyArray<string>): Promise<Fates> =>
    runAll(
      { ...place, tests: files },
      {
        ...mission,
        control: { ...control, tests: control.tests.filter((test) => files.includes(test.file)) },
        mutants: ids,
        reimport: true
      },
      MAX_APART
    )
  const first: Fates = file === undefined || tests.length === 1 ? new Map() : await runWith([file], mutants)
  const found = [...first].filter(([, status]) => status !== "survived")
  const rest = mutants.filter((id) => !found.some(([other]) => other === id))
  return [...found, ...await runWith(place.tests.filter((test) => tests.includes(test)), rest)]
}

/** The fate of each mutant. */
export const runMutants = async (place: Place, parts: ReadonlyArray<Part>): Promise<Fates> => {
  const ids = parts.flatMap(({ mutants }) => mutants)
  const shared = parts.flatMap(({ isIsolated, mutants }) => isIsolated ? [] : mutants)
  const lines = await runOnce(place, {
    control: undefined,
    mutants: ids,
    reimport: false,
    unfit: [],
    isLenient: false,
    isAlone: false
  })
  const control = lines.find((line) => "control" in line)?.control
  if (control === undefined) {
    throw new Error(`the tests fail without a mutant: see ${join(place.folder, "mutation.log")}`)
  }
  const many = together(shared, control)
  const loaded = new Set(control.loaded)
  const first = fatesOf(many.slice(0, MAX_TOGETHER), lines)
  const spoils = new Spoils()
  spoils.add(lines)
  const rest = { control, spoils, mutants: many.filter((id) => !first.has(id)), reimport: false }
  const fates = new Map<string, Status>([
    ...first,
    ...await runAll(place, rest, MAX_TOGETHER, stopperIn(many, lines).spoiler)
  ])
  for (const part of parts) {
    const found = await runApart(place, part, {
      control,
      spoils,
      mutants: part.mutants.filter((id) => loaded.has(id) || part.isIsolated && control.reach[id] !== undefined),
      reimport: true
    })
    for (const [id, status] of found) fates.set(id, status)
  }
  for (const id of ids) if (!fates.has(id)) fates.set(id, "unreached")
  return fates
}
