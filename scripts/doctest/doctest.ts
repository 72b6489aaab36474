import type { Fence } from "./fences.ts"
import { type FenceModule, inTermsOfSource, place, writeModules } from "./module.ts"
import { type Outcome, runModules } from "./run.ts"
import { typeCheck } from "./typecheck.ts"

export interface Result {
  readonly place: string
  readonly passed: boolean
  readonly errors: ReadonlyArray<string>
  /** What the example printed. */
  readonly output: string
}

export interface Report {
  readonly results: ReadonlyArray<Result>
  /** Type errors that belong to no fence. */
  readonly elsewhere: ReadonlyArray<string>
}

export interface Options {
  /** Where the modules are written: a folder inside the workspace, which is emptied. */
  readonly folder: string
  readonly boundMillis?: number
}

const result = (module: FenceModule, errors: ReadonlyArray<string>, output = ""): Result => ({
  place: place(module.fence),
  passed: errors.length === 0,
  errors: errors.map((error) => inTermsOfSource(module, error)),
  output
})

const notRun: Outcome = { errors: ["the example was not run"], output: "" }

/** Type-checks and runs the fences. One that does not compile is not run, nor one that is a file of a walk-through. */
export const doctest = async (fences: ReadonlyArray<Fence>, options: Options): Promise<Report> => {
  const modules = writeModules(fences, options.folder)
  const { elsewhere, ofModules } = await typeCheck(modules, options.folder)
  const broken = new Map(
    modules.map((module) => [module.path, [...module.problems, ...ofModules.get(module.path) ?? []]])
  )
  const runnable = modules.filter(({ fence, path }) => fence.name === undefined && broken.get(path)!.length === 0)
  const sound = runnable.map(({ path }) => path)
  const outcomes = await runModules(sound, options.boundMillis)
  const results = modules.map((module) => {
    const errors = broken.get(module.path)!
    if (errors.length > 0 || module.fence.name !== undefined) return result(module, errors)
    const outcome = outcomes.get(module.path) ?? notRun
    return result(module, outcome.errors, outcome.output)
  })
  return { results, elsewhere }
}
