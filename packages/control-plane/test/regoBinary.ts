/**
 * The command line: as users run it, in a process of its own, and without one.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert } from "@effect/vitest"
import type { Scope } from "effect"
import { Console, Effect, Layer, Runtime, Stdio } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as CommandLine from "../src/CommandLine.ts"
import { version } from "../src/Version.ts"

const binary = join(import.meta.dirname, "../bin/rego.js")

export type Environment = Readonly<Record<string, string>>

export interface Running {
  readonly child: ChildProcess
  readonly stdout: string
  readonly stderr: string
  /** the exit code, or the signal that ended it */
  readonly ended: Effect.Effect<number | string | null>
}

/** Runs until it ends, or the scope does. */
export const start = (
  args: ReadonlyArray<string>,
  environment: Environment = {}
): Effect.Effect<Running, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn(process.execPath, ["--conditions=@rego/source", binary, ...args], {
        env: { PATH: process.env["PATH"], NO_COLOR: "1", ...environment },
        stdio: ["ignore", "pipe", "pipe"]
      })
      let [stdout, stderr] = ["", ""]
      child.stdout.on("data", (chunk) => stdout += String(chunk))
      child.stderr.on("data", (chunk) => stderr += String(chunk))
      const ended = new Promise<number | string | null>((resolve) => {
        child.once("close", (code, signal) => resolve(code ?? signal))
      })
      return {
        child,
        get stdout() {
          return stdout
        },
        get stderr() {
          return stderr
        },
        ended: Effect.promise(() => ended)
      }
    }),
    ({ child, ended }) =>
      Effect.suspend(() => {
        child.kill("SIGKILL")
        return ended
      })
  )

export interface Ended {
  readonly code: number | string | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs to the end. */
export const run = (args: ReadonlyArray<string>, environment?: Environment): Effect.Effect<Ended> =>
  Effect.scoped(
    Effect.flatMap(
      start(args, environment),
      (running) => Effect.map(running.ended, (code) => ({ code, stdout: running.stdout, stderr: running.stderr }))
    )
  )

/** What a process would run, here: it takes most of a second to start one. */
export const runHere = (args: ReadonlyArray<string>): Effect.Effect<Ended> =>
  Effect.gen(function*() {
    const said = { stdout: "", stderr: "" }
    const console: Console.Console = {
      ...globalThis.console,
      log: (...texts) => void (said.stdout += `${texts.join(" ")}\n`),
      error: (...texts) => void (said.stderr += `${texts.join(" ")}\n`)
    }
    const exit = yield* CommandLine.run(version).pipe(
      Effect.provide(Layer.merge(NodeServices.layer, Stdio.layerTest({ args: Effect.succeed(args) }))),
      Effect.provideService(Console.Console, console),
      Effect.exit
    )
    const code = yield* Effect.callback<number>((resume) =>
      Runtime.defaultTeardown(exit, (code) => resume(Effect.succeed(code)))
    )
    return { code, ...said }
  })

/** A directory with files, for as long as the scope is open. */
export const withFiles = (files: Readonly<Record<string, unknown>>): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const directory = mkdtempSync(join(tmpdir(), "rego-cli-"))
      for (const [name, content] of Object.entries(files)) {
        writeFileSync(join(directory, name), typeof content === "string" ? content : JSON.stringify(content))
      }
      return directory
    }),
    (directory) => Effect.sync(() => rmSync(directory, { recursive: true }))
  )

/** Waits for text on the standard output. */
export const printed = (running: Running, pattern: RegExp): Effect.Effect<RegExpExecArray> =>
  Effect.promise(async () => {
    const giveUpAt = performance.now() + 30_000
    for (;;) {
      const found = pattern.exec(running.stdout)
      if (found !== null) return found
      if (performance.now() > giveUpAt) assert.fail(`not printed: ${pattern}\n${running.stdout}\n${running.stderr}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  })
