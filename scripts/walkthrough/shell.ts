import { type ChildProcess, spawn } from "node:child_process"
import { setTimeout as sleep } from "node:timers/promises"

const POLL_MILLIS = 50

/** A shell that keeps its folder, its variables and its jobs from one command to the next. */
export interface Shell {
  /** Everything that was printed, by the commands and by the jobs that they left behind. */
  readonly output: () => string
  /** Runs commands; answers with the exit code of the last one, or nothing when they took too long. */
  readonly run: (commands: string, boundMillis: number) => Promise<number | undefined>
  readonly close: () => Promise<void>
}

/** Answers whether it came true in time. */
export const waitUntil = async (holds: () => boolean, boundMillis: number): Promise<boolean> => {
  const until = performance.now() + boundMillis
  while (!holds()) {
    if (performance.now() > until) return false
    await sleep(POLL_MILLIS)
  }
  return true
}

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

export const start = (options: { readonly cwd: string; readonly env: NodeJS.ProcessEnv }): Shell => {
  const child = spawn("bash", ["--noprofile", "--norc"], options)
  let printed = ""
  let ended = -1
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => printed += text)
  }

  // a terminal has job control: `kill %1` then ends what a job has started, too
  child.stdin.write("set -m\ntrap 'kill $(jobs -p) 2> /dev/null' EXIT\n")
  const mark = /\n--- ended \d+ \d+\n/g

  return {
    output: () => printed.replaceAll(mark, ""),
    run: async (commands, boundMillis) => {
      const number = ++ended
      // a command that reads from its terminal must not read the commands that follow it
      child.stdin.write(`{ ${commands}\n} < /dev/null; printf '\\n--- ended ${number} %s\\n' $?\n`)
      const end = new RegExp(`\\n--- ended ${number} (\\d+)\\n`)
      await waitUntil(() => end.test(printed) || hasEnded(child), boundMillis)
      const code = end.exec(printed)?.[1]
      return code === undefined ? undefined : Number(code)
    },
    close: async () => {
      child.stdin.end()
      if (!await waitUntil(() => hasEnded(child), 5_000)) child.kill("SIGKILL")
    }
  }
}
