/**
 * The part of the runner that lives in vitest's process: imports the tests once, and runs those that reach a mutant, the
 * quickest first, until one fails. Vitest itself runs one test here, which runs all others through their functions.
 * A mutant that is reached while modules are imported needs an import of its own.
 */
import { appendFileSync } from "node:fs"
import { clearTimeout, setTimeout } from "node:timers"
import { afterAll, describe, it, TestRunner, vi } from "vitest"
import type { Switch } from "./instrument.ts"
import type { Control, End, Job, Line, Measured } from "./protocol.ts"
import { BEFORE, MAX_TOGETHER, together } from "./protocol.ts"

interface Task {
  readonly type: "suite" | "test"
  readonly name: string
  mode: string
  readonly suite?: Task
  readonly file?: Task
  readonly tasks?: ReadonlyArray<Task>
  readonly context: unknown
  onFinished?: ReadonlyArray<(context: unknown) => unknown> | undefined
}

const TURN_MILLIS = 5

/** Turns that a test may wait longer than it did without a mutant; nobody waits for a test that hangs. */
const PATIENCE = 80

/** Slower tests are not asked: each survivor would wait for them. Those of the first file may take longer. */
const SLOW_MILLIS = 250
const SLOW_OWN_MILLIS = 2_500
const MAX_MILLIS = 1_200

/** Not in a process in which mutants have left things behind. */
const ofMemory = /can be collected/

const MAX_HANGS = 60

const key = "__rego_mutation__"

const theSwitch: Switch = ((globalThis as { [key]?: Switch })[key] ??= {
  active: "",
  hits: 0,
  limit: Infinity,
  cover: undefined
})

const activate = (id: string, limit: number): void => {
  theSwitch.active = id
  theSwitch.hits = 0
  theSwitch.limit = limit
}

const deactivate = (): void => activate("", Infinity)

const testsIn = (task: Task): ReadonlyArray<Task> => task.type === "test" ? [task] : (task.tasks ?? []).flatMap(testsIn)

/** Outermost first. */
const suitesOf = (task: Task): ReadonlyArray<Task> => {
  const own = task.suite ?? task.file
  return own === undefined || own === task ? [] : [...suitesOf(own), own]
}

const nameOf = (task: Task): string => [...suitesOf(task).slice(2).map(({ name }) => name), task.name].join(" > ")

const hooksOf = (suite: Task, name: "beforeEach" | "afterEach"): ReadonlyArray<(...args: Array<unknown>) => unknown> =>
  TestRunner.getSuiteHooks(suite as never)[name] as never

/** A test may have added them while it ran. */
const finishersOf = (task: Task) => task.onFinished ?? []

const callTest = async (task: Task): Promise<void> => {
  const suites = suitesOf(task)
  task.onFinished = undefined
  try {
    for (const suite of suites) for (const hook of hooksOf(suite, "beforeEach")) await hook(task.context, suite)
    await TestRunner.getTestFn(task as never)()
  } finally {
    for (const suite of suites.toReversed()) {
      for (const hook of hooksOf(suite, "afterEach")) await hook(task.context, suite)
    }
    for (const hook of finishersOf(task)) await hook(task.context)
  }
}

interface Ended {
  readonly end: End
  readonly turns: number
}

const runTest = (task: Task, maxTurns: number): Promise<Ended> =>
  new Promise((resolve) => {
    let turns = 0
    let timer: NodeJS.Timeout
    const end = (end: End) => {
      clearTimeout(timer)
      resolve({ end, turns })
    }
    const turn = () => {
      timer = setTimeout(() => ++turns > maxTurns ? end("hung") : turn(), TURN_MILLIS)
    }
    turn()
    callTest(task).then(() => end(theSwitch.hits > theSwitch.limit ? "hung" : "passed"), () =>
      end(theSwitch.hits > theSwitch.limit ? "hung" : "failed"))
  })

const speaker = (log: string) => (line: Line): void => appendFileSync(log, `${JSON.stringify(line)}\n`)

const millisOfCpu = (): number => {
  const { system, user } = process.cpuUsage()
  return (system + user) / 1_000
}

const measureAll = async (
  { log, own }: Job,
  tasks: ReadonlyArray<Task>,
  loaded: ReadonlySet<string>
): Promise<Control> => {
  const say = speaker(log)
  const reach: Record<string, Array<number>> = {}
  const tests: Array<Measured> = []
  for (const [index, task] of tasks.entries()) {
    theSwitch.cover = (id) => {
      const own = reach[id] ??= []
      if (own.at(-1) !== index) own.push(index)
    }
    deactivate()
    const before = millisOfCpu()
    const { end, turns } = await runTest(task, Infinity)
    const millis = millisOfCpu() - before
    const isUnfit = end !== "passed" || ofMemory.test(task.name)
    say(isUnfit ? { unfit: nameOf(task) } : { alive: true })
    const file = suitesOf(task)[1]!.name
    const isOwn = own.includes(file)
    const isSlow = millis > (isOwn ? SLOW_OWN_MILLIS : SLOW_MILLIS)
    tests.push({ name: nameOf(task), file, millis, turns, hits: theSwitch.hits, isOwn, isSlow, isUnfit })
  }
  theSwitch.cover = undefined
  return { tests, reach, loaded: [...loaded] }
}

interface Suspect {
  readonly id: string
  readonly tasks: ReadonlyArray<Task>
  /** the same tests, where no mutant was in force while modules were imported */
  readonly controls: ReadonlyArray<Task>
  /** the tests that may find it */
  readonly indices: ReadonlyArray<number>
}

/**
 * Asks test after test. One that fails is asked again without the mutant: where it fails then as well, something was left
 * behind, and nothing that this process says from then on is worth anything.
 */
class Court {
  isSpoiled = false
  private readonly unfit = new Set<number>()
  private readonly say: (line: Line) => void
  private readonly kills: Array<number>
  private saidAt = performance.now()
  private readonly control: Control
  private readonly isTrusting: boolean
  private readonly isLenient: boolean

  constructor({ isAlone, isLenient, log, unfit }: Job, control: Control) {
    this.isLenient = isLenient
    this.say = speaker(log)
    this.control = control
    this.isTrusting = isAlone
    this.kills = control.tests.map(() => 0)
    control.tests.forEach(({ isUnfit, name }, index) => {
      if (isUnfit || unfit.includes(name)) this.unfit.add(index)
    })
  }

  /** A test that fails without a mutant, in this process, proves nothing of one. */
  async sift(tasks: ReadonlyArray<Task>, indices: ReadonlyArray<number>): Promise<void> {
    this.say({ id: BEFORE })
    for (const index of this.worthIt(indices)) {
      this.showLife()
      if (await this.run("", tasks[index]!, index) === "passed") continue
      this.unfit.add(index)
      this.say({ unfit: nameOf(tasks[index]!) })
    }
    this.say({ id: BEFORE, end: "passed" })
  }

  async judge({ controls, id, indices, tasks }: Suspect): Promise<End> {
    const begun = performance.now()
    for (const index of this.worthIt(indices).toSorted((a, b) => this.cost(a) - this.cost(b))) {
      this.showLife()
      const end = await this.run(id, tasks[index]!, index)
      if (end === "passed") continue
      const test = nameOf(tasks[index]!)
      if (!this.isTrusting && await this.run("", controls[index]!, index) !== "passed") {
        if (this.isLenient) {
          this.unfit.add(index)
          continue
        }
        this.isSpoiled = true
        this.say({ spoiled: test, by: id })
        return end
      }
      this.kills[index]!++
      this.say({ id, end, test, millis: Math.round(performance.now() - begun) })
      return end
    }
    this.say({ id, end: "passed", millis: Math.round(performance.now() - begun) })
    return "passed"
  }

  /** Own tests all, and of the others the quickest ones: every survivor waits for all of them. */
  private worthIt(indices: ReadonlyArray<number>): ReadonlyArray<number> {
    const { tests } = this.control
    const fit = indices.filter((index) => !this.unfit.has(index))
    const quick = fit.filter((index) => !tests[index]!.isSlow)
    let millis = 0
    const chosen = (quick.length > 0 ? quick : fit).toSorted((a, b) => tests[a]!.millis - tests[b]!.millis)
      .filter((index) => tests[index]!.isOwn || (millis += tests[index]!.millis) <= MAX_MILLIS)
    return chosen.length > 0 ? chosen : fit
  }

  /** Tests that found many mutants find more, at little cost: the order changes no fate. */
  private cost(index: number): number {
    return (this.control.tests[index]!.millis + 0.2) / (1 + this.kills[index]!)
  }

  private async run(id: string, task: Task, index: number): Promise<End> {
    const { hits, turns } = this.control.tests[index]!
    activate(id, 50 * hits + 50_000)
    const { end } = await runTest(task, PATIENCE + 10 * turns)
    deactivate()
    return end
  }

  private showLife(): void {
    if (performance.now() - this.saidAt < 1_000) return
    this.say({ alive: true })
    this.saidAt = performance.now()
  }
}

/** Vitest shall not run them itself, nor count them as failed. */
const withdraw = (task: Task): void => {
  for (const test of testsIn(task)) test.mode = "skip"
}

const quiet = (): void => {
  for (const name of ["log", "error", "warn", "info", "debug", "trace"] as const) console[name] = () => {}
}

const MINUTES = 60_000

/** All mutants that no import reaches, in one import. */
const runTogether = async (job: Job): Promise<void> => {
  const loaded = new Set<string>()
  theSwitch.cover = (id) => loaded.add(id)
  it("runs mutants", async (context) => {
    theSwitch.cover = undefined
    const file = context.task.file as unknown as Task
    const tasks = testsIn(file).filter((task) => task.mode === "run" && task !== context.task as unknown)
    withdraw(file)
    const say = speaker(job.log)
    const control = job.control ?? await measureAll(job, tasks, loaded)
    const court = new Court(job, control)
    const indices = tasks.map((_, index) => index)
    const whole = { tasks, controls: tasks, indices }
    if (job.control === undefined) say({ control })
    else await court.sift(tasks, indices)
    // what passes twice passes again: only the mutant can make the difference
    if (job.isAlone) {
      const own = control.reach[job.mutants[0]!]!
      await court.sift(tasks, own)
      await court.sift(tasks, own)
    }
    let hangs = 0
    for (const id of together(job.mutants, control).slice(0, MAX_TOGETHER)) {
      if (hangs > MAX_HANGS || court.isSpoiled) break
      say({ id })
      if (await court.judge({ ...whole, id, indices: control.reach[id]! }) === "hung") hangs++
    }
    if (!court.isSpoiled) say({ done: true })
  }, 60 * MINUTES)
  for (const file of job.files) describe(file, () => import(file))
}

/** One mutant after the other, each with modules that were imported while it was in force. */
const runApart = async (job: Job): Promise<void> => {
  const control = job.control!
  const say = speaker(job.log)
  const court = new Court(job, control)
  const failed = new Set<string>()
  it("runs mutants", async (context) => {
    const file = context.task.file as unknown as Task
    const found = (file.tasks ?? []).filter(({ type }) => type === "suite")
    const tasks = new Map(found.map((suite) => [suite.name, testsIn(suite).filter(({ mode }) => mode === "run")]))
    withdraw(file)
    for (const id of [BEFORE, ...job.mutants]) {
      if (failed.has(id)) continue
      if (court.isSpoiled) return
      const controls = tasks.get(BEFORE)!
      const own = tasks.get(id) ?? []
      say({ id })
      // tests that a mutant makes disappear are missed
      if (id === BEFORE) await court.sift(own, own.map((_, index) => index))
      else if (own.length !== control.tests.length) say({ id, end: "failed", test: "the number of tests" })
      else await court.judge({ id, tasks: own, controls, indices: own.map((_, index) => index) })
    }
    say({ done: true })
  }, 60 * MINUTES)
  for (const id of [BEFORE, ...job.mutants]) {
    collectUnder(id, async () => {
      say({ id })
      vi.resetModules()
      for (const file of job.files) await import(file)
    }, () => {
      failed.add(id)
      say({ id, end: theSwitch.hits > theSwitch.limit ? "hung" : "failed", test: "the import" })
    })
  }
}

interface Collector {
  collect: (file: unknown) => Promise<unknown>
  readonly clear: () => void
}

/** A suite whose tests are collected while a mutant is in force, with the bodies of suites in it; empty where that fails. */
const collectUnder = (id: string, collect: () => Promise<void>, onFailed: () => void): void => {
  let isFailed = false
  const collector = describe(id, () => isFailed ? undefined : collect()) as unknown as Collector
  const all = collector.collect
  collector.collect = async (file) => {
    activate(id, 10_000_000)
    try {
      return await all(file)
    } catch {
      isFailed = true
      onFailed()
      collector.clear()
      return await all(file)
    } finally {
      deactivate()
    }
  }
}

export const runJob = async (job: Job): Promise<void> => {
  quiet()
  afterAll(() => deactivate())
  await (job.reimport ? runApart(job) : runTogether(job))
}
