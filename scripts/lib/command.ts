import { spawn } from "node:child_process"
import { delimiter, join } from "node:path"
import { clearInterval, clearTimeout, setInterval, setTimeout } from "node:timers"
import { root } from "./workspace.ts"

export interface Options {
  readonly cwd?: string
  readonly timeoutMillis?: number
  /** Show the output as it comes, besides capturing it. */
  readonly echo?: boolean
}

export interface Result {
  readonly ok: boolean
  readonly output: string
  readonly timedOut: boolean
}

const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  NO_COLOR: "1",
  PATH: [join(root, "node_modules", ".bin"), process.env["PATH"]].join(delimiter)
})

/** Runs a command to its end. Stdout and stderr are captured together, in the order they were written. */
export const run = (command: string, args: ReadonlyArray<string>, options: Options = {}): Promise<Result> =>
  runUntil(command, args, options, () => false)

/** Runs a command to its end, or until it shall end: that is asked twice a second. */
export const runUntil = (
  command: string,
  args: ReadonlyArray<string>,
  options: Options,
  isEnough: () => boolean
): Promise<Result> =>
  new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: environment(),
      stdio: ["ignore", "pipe", "pipe"],
      detached: true
    })
    let output = ""
    let timedOut = false
    const keep = (text: string): void => {
      output += text
      if (options.echo === true) process.stdout.write(text)
    }
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", keep)

    const killGroup = (): void => {
      timedOut = true
      try {
        // the whole group, or a grandchild would keep the pipes open
        if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL")
      } catch {
        // nobody is left in it, and what keeps the pipes open is elsewhere
      }
      child.stdout.destroy()
      child.stderr.destroy()
    }
    const timer = options.timeoutMillis === undefined ? undefined : setTimeout(killGroup, options.timeoutMillis)
    const watch = setInterval(() => {
      if (isEnough()) killGroup()
    }, 500)
    const settle = (ok: boolean): void => {
      clearTimeout(timer)
      clearInterval(watch)
      resolve({ ok, output, timedOut })
    }
    child.on("error", (error) => {
      output += String(error)
      settle(false)
    })
    child.on("close", (code) => settle(code === 0))
  })
