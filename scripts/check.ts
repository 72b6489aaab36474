import { globSync, readFileSync } from "node:fs"
import { dirname, join, matchesGlob } from "node:path"
import { run } from "./lib/command.ts"
import * as Tally from "./lib/tally.ts"
import { root } from "./lib/workspace.ts"

interface Diagnostic {
  readonly file: string
  readonly line: number
}

interface Project {
  readonly name: string
  readonly globs: ReadonlyArray<string>
}

const read = (path: string): string => readFileSync(join(root, path), "utf8")

const readConfig = (path: string): {
  readonly references?: ReadonlyArray<{ readonly path: string }>
  readonly include?: ReadonlyArray<string>
} => JSON.parse(read(path).replaceAll(/^\s*\/\/.*$/gm, ""))

const configPath = (reference: string): string =>
  reference.endsWith(".json") ? reference : join(reference, "tsconfig.json")

const project = (path: string): Project => {
  const includes = readConfig(path).include ?? []
  const globs = includes.map((pattern) => join(dirname(path), pattern.includes(".") ? pattern : `${pattern}/**`))
  return { name: path, globs: [path, ...globs] }
}

const diagnostics = (output: string): Array<Diagnostic> =>
  Array.from(
    output.matchAll(/^(\S.*?)\((\d+),\d+\): error TS/gm),
    ([, file = "", line]) => ({ file, line: Number(line) })
  )

/** Type tests are lines that only the compiler can fail: an equality of types, or an error that is expected. */
const typeTests = (file: string): Array<Diagnostic> => {
  const text = read(file)
  const marks = text.matchAll(/\bis<\s*Equals<|\/\/ @ts-expect-error/g)
  return Array.from(marks, ({ index }) => ({ file, line: text.slice(0, index).split("\n").length }))
}

/** An equality may span lines: an error belongs to the last type test at or above it. */
const failedTypeTests = (tests: ReadonlyArray<Diagnostic>, errors: ReadonlyArray<Diagnostic>): number =>
  new Set(
    errors.flatMap(({ file, line }) => tests.findLast((test) => test.file === file && test.line <= line) ?? [])
  ).size

const { ok, output } = await run("tsc", ["-b", "--pretty", "false", ...process.argv.slice(2)])
if (output !== "") console.log(output.trimEnd())

const errors = diagnostics(output)
const projects = (readConfig("tsconfig.json").references ?? []).map(({ path }) => project(configPath(path)))
const broken = projects.filter(({ globs }) => errors.some(({ file }) => globs.some((glob) => matchesGlob(file, glob))))
const tests = globSync("packages/*/typetest/**/*.ts", { cwd: root }).toSorted().flatMap(typeTests)
const brokenTests = failedTypeTests(tests, errors)

console.log(`${projects.length} projects, ${tests.length} type tests`)
Tally.close(Tally.orFailure(
  Tally.make(projects.length + tests.length - broken.length - brokenTests, broken.length + brokenTests),
  { well: ok }
))
