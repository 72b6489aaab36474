/**
 * Does what the pages with programs to write say, as a new user would: writes the files, runs the commands, compares what
 * they print. By itself it takes the packages of this workspace, and the commands that install do nothing; with
 * `--installed` it packs and installs them, in a folder outside of the workspace. `--verbose` prints the transcript.
 */
import { chmodSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"
import { root } from "./lib/workspace.ts"
import { after, isWalkthrough, mask, type Step, stepsOf } from "./walkthrough/page.ts"
import { type Shell, start, waitUntil } from "./walkthrough/shell.ts"

const COMMAND_BOUND_MILLIS = 300_000
const OUTPUT_BOUND_MILLIS = 30_000

const installed = process.argv.includes("--installed")
const verbose = process.argv.includes("--verbose")

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(typeof address === "object" ? address?.port ?? 0 : 0))
    })
  })

/** In the workspace there is nothing to install: `npm` does nothing, and `npx` runs what the workspace has. */
const writeShims = (folder: string): string => {
  const shims = join(folder, "shims")
  mkdirSync(shims)
  const bin = join(root, "node_modules", ".bin")
  for (const [name, text] of [["npm", "exit 0"], ["npx", `name=$1; shift; exec "${bin}/$name" "$@"`]] as const) {
    writeFileSync(join(shims, name), `#!/bin/sh\n${text}\n`)
    chmodSync(join(shims, name), 0o755)
  }
  return shims
}

/** The environment of a new user: nothing of the npm that runs this script. */
const environment = (home: string): NodeJS.ProcessEnv => {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("npm_") && name !== "NODE_OPTIONS")
  const path = (process.env["PATH"] ?? "").split(delimiter).filter((it) => !it.includes("node_modules"))
  const env = { ...Object.fromEntries(own), HOME: home, NO_COLOR: "1" }
  const node = dirname(process.execPath)
  if (installed) return { ...env, PATH: [node, ...path].join(delimiter) }
  writeFileSync(join(home, "package.json"), JSON.stringify({ private: true, type: "module" }))
  return {
    ...env,
    NODE_OPTIONS: "--conditions=@rego/source",
    PATH: [writeShims(home), node, ...path].join(delimiter)
  }
}

const makeHome = (): string => {
  const parent = installed ? tmpdir() : join(root, ".walkthrough")
  mkdirSync(parent, { recursive: true })
  return mkdtempSync(join(parent, "home-"))
}

const lines = (text: string): Array<string> => text.split("\n").map(mask)

/** Answers with what is wrong, if anything is. */
const takeStep = async (step: Step, shell: Shell, seen: { at: number }): Promise<string | undefined> => {
  const { _tag, code } = step
  if (_tag === "Expect") {
    const expected = lines(code.trimEnd())
    const rest = (): Array<string> => lines(shell.output()).slice(seen.at)
    const found = await waitUntil(() => after(rest(), expected) !== undefined, OUTPUT_BOUND_MILLIS)
    if (!found) return `it printed\n${indent(shell.output().split("\n").slice(seen.at).join("\n"), "  | ")}`
    seen.at += after(rest(), expected)!
    return undefined
  }
  const commands = _tag === "Run" ? code : `cat > ${step.name} << '-- end of file'\n${code}-- end of file`
  const exit = await shell.run(commands, COMMAND_BOUND_MILLIS)
  return exit === 0 ? undefined : `it ended with ${exit ?? "no exit code in time"}\n${indent(shell.output(), "  | ")}`
}

const transcribe = ({ _tag, code, ...step }: Step, printed: string): void => {
  const typed = _tag === "Run" ? code.replaceAll(/^(?! )/gm, "$ ").replace(/\$ $/, "") : ""
  const written = "name" in step ? `[${step.name} is written]\n` : ""
  process.stdout.write(`${typed}${written}${printed}`)
}

const walk = async (file: string): Promise<Tally.Tally> => {
  const home = makeHome()
  const shell = start({ cwd: installed ? root : home, env: environment(home) })
  const port = installed ? "4141" : String(await freePort())
  const seen = { at: 0 }
  let taken = 0
  try {
    for (const step of stepsOf(readFileSync(join(root, file), "utf8").replaceAll("4141", port))) {
      const before = shell.output().length
      const problem = await takeStep(step, shell, seen)
      if (verbose) transcribe(step, shell.output().slice(before))
      if (problem !== undefined) {
        console.log(`FAIL ${file}:${step.line}\n${indent(problem)}`)
        return Tally.make(taken, 1)
      }
      taken++
    }
    console.log(`ok   ${file}`)
    return Tally.make(taken, 0)
  } finally {
    await shell.close()
    rmSync(home, { recursive: true, force: true })
  }
}

const named = process.argv.slice(2).filter((it) => !it.startsWith("--"))
const pages = globSync("docs/*.md", { cwd: root }).toSorted()
  .filter((file) => isWalkthrough(readFileSync(join(root, file), "utf8")))
  .filter((file) => named.length === 0 || named.includes(file))

const tallies = []
for (const page of pages) tallies.push(await walk(page))
Tally.close(Tally.sum([Tally.make(0, pages.length === 0 ? 1 : 0), ...tallies]))
