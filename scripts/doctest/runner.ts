/**
 * Imports the modules it is given, one after the other, and tells its parent what came of each.
 *
 * A module has ended when the event loop is empty, not when its import has: what it left running in the background is
 * awaited, and what that throws is still its own error.
 */
import { writeSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { inspect } from "node:util"

export type Message =
  | { readonly _tag: "Started"; readonly path: string }
  | { readonly _tag: "Output"; readonly text: string }
  | { readonly _tag: "Finished"; readonly errors: ReadonlyArray<string> }

const CHANNEL = 3

const queue = process.argv.slice(2)
let importing = false
let errors: Array<string> = []

const send = (message: Message): void => {
  writeSync(CHANNEL, `${JSON.stringify(message)}\n`)
}

const capture: typeof process.stdout.write = (chunk: string | Uint8Array) => {
  send({ _tag: "Output", text: typeof chunk === "string" ? chunk : Buffer.from(chunk).toString() })
  return true
}

const isAssertion = (error: unknown): error is Error => error instanceof Error && error.name === "AssertionError"

const ownFrames = (text: string): string =>
  text.split("\n").filter((line) => !/^\s+at .*(node:internal|\/node_modules\/|\/scripts\/doctest\/)/.test(line)).join(
    "\n"
  )

const addError = (error: unknown): void => {
  errors.push(ownFrames(isAssertion(error) ? error.stack ?? error.message : inspect(error)))
}

const start = (path: string): void => {
  send({ _tag: "Started", path })
  errors = []
  importing = true
  process.exitCode = undefined
  // keeps the loop turning once more, or a module without any I/O would be the last one
  setImmediate(() => {})
  import(pathToFileURL(path).href).catch(addError).finally(() => {
    importing = false
  })
}

const finish = (): void => {
  if (importing) errors.push("a top-level await never settles")
  if (Number(process.exitCode ?? 0) !== 0) errors.push(`the exit code was set to ${process.exitCode}`)
  send({ _tag: "Finished", errors })
}

const onEarlyExit = (code: number): void => {
  errors.push(`the example ended the process with code ${code}`)
  finish()
}

const next = (): void => {
  const path = queue.shift()
  if (path !== undefined) return start(path)
  process.off("exit", onEarlyExit)
  process.exit(0)
}

process.stdout.write = capture
process.stderr.write = capture
process.on("uncaughtException", addError)
process.on("unhandledRejection", addError)
process.on("beforeExit", () => {
  finish()
  next()
})
process.on("exit", onEarlyExit)
next()
