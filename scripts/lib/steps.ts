import { run } from "./command.ts"
import * as Tally from "./tally.ts"
import { indent } from "./text.ts"

/** A program that closes with a tally. */
export interface Step {
  readonly name: string
  readonly script: string
  readonly flags?: ReadonlyArray<string>
  readonly args: ReadonlyArray<string>
}

export interface Options {
  /** show what a step prints even when it passes: its figures are wanted */
  readonly figures?: boolean
}

const lastLine = (output: string): string => output.trimEnd().split("\n").at(-1) ?? ""

const runStep = async ({ args, flags = [], name, script }: Step, options: Options): Promise<Tally.Tally> => {
  const started = performance.now()
  const { ok, output } = await run("node", [...flags, script, ...args])
  const counted = Tally.parse(lastLine(output))
  const tally = Tally.orFailure(counted ?? Tally.make(0, 0), { well: ok && counted !== undefined })

  if (tally.failed > 0 || options.figures === true) console.log(indent(output, `${name} | `))
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${name.padEnd(12)}${seconds.padStart(6)} s   ${Tally.format(tally)}`)
  return tally
}

/** Runs the steps one after another, all of them, and closes with the sum of their tallies. */
export const runAll = async (steps: ReadonlyArray<Step>, options: Options = {}): Promise<void> => {
  const tallies = []
  for (const step of steps) tallies.push(await runStep(step, options))
  Tally.close(Tally.sum(tallies))
}
