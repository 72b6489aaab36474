import { spawn } from "node:child_process"
import { availableParallelism } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import type { Readable } from "node:stream"
import { root } from "../lib/workspace.ts"
import type { Message } from "./runner.ts"

export interface Outcome {
  readonly errors: ReadonlyArray<string>
  readonly output: string
}

type Outcomes = Map<string, Outcome>

interface Child {
  readonly messages: AsyncIterable<string>
  readonly diagnostics: () => string
  readonly kill: () => void
}

const runner = join(import.meta.dirname, "runner.ts")

const startRunner = (paths: ReadonlyArray<string>): Child => {
  const child = spawn(process.execPath, ["--conditions=@rego/source", runner, ...paths], {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe", "pipe"]
  })
  let said = ""
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => said += text)
  }
  return {
    messages: createInterface({ input: child.stdio[3] as Readable }),
    diagnostics: () => said,
    kill: () => child.kill("SIGKILL")
  }
}

/** Follows one runner to its end. The module that ends or blocks the runner has an outcome too. */
const follow = async (paths: ReadonlyArray<string>, boundMillis: number, outcomes: Outcomes): Promise<void> => {
  const child = startRunner(paths)
  let current = paths[0]!
  let output = ""
  let reason = "the process of the example died"
  const onBound = (): void => {
    reason = `still running after ${boundMillis / 1000} s`
    child.kill()
  }
  let timer = setTimeout(onBound, boundMillis)

  for await (const line of child.messages) {
    const message: Message = JSON.parse(line)
    if (message._tag === "Output") output += message.text
    else if (message._tag === "Finished") outcomes.set(current, { errors: message.errors, output })
    else {
      current = message.path
      output = ""
      clearTimeout(timer)
      timer = setTimeout(onBound, boundMillis)
    }
  }
  clearTimeout(timer)
  if (!outcomes.has(current)) outcomes.set(current, { errors: [reason], output: output + child.diagnostics() })
}

const runAll = async (paths: ReadonlyArray<string>, boundMillis: number, outcomes: Outcomes): Promise<void> => {
  for (let left = paths; left.length > 0; left = left.filter((path) => !outcomes.has(path))) {
    await follow(left, boundMillis, outcomes)
  }
}

/** Runs each module, in as many processes as there are processors, and bounds the time of each. */
export const runModules = async (paths: ReadonlyArray<string>, boundMillis = 30_000): Promise<Outcomes> => {
  const outcomes: Outcomes = new Map()
  const lanes = availableParallelism()
  const shares = Array.from({ length: lanes }, (_, lane) => paths.filter((_path, index) => index % lanes === lane))
  await Promise.all(shares.map((share) => runAll(share, boundMillis, outcomes)))
  return outcomes
}
