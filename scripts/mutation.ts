/**
 * Mutation tests of `packages/core/src`: does a test fail when an expression is changed? `npm run mutation -- --module Retry`
 * changes a copy of the repository, so that work can go on meanwhile, and writes the report of all modules anew. Several
 * modules share one process, which saves the start, and each other's tests.
 * `--render` only writes the page, after a judgement was added to `judgements.json`.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { copyRepository } from "./lib/copy.ts"
import { root } from "./lib/workspace.ts"
import { instrument } from "./mutation/instrument.ts"
import { type Judgements, page, readJson, type Report, resultOf } from "./mutation/report.ts"
import { runMutants } from "./mutation/runner.ts"
import { isIsolated, testsOf } from "./mutation/tests.ts"

const { values } = parseArgs({
  options: { module: { type: "string", multiple: true }, render: { type: "boolean" }, queue: { type: "string" } }
})

const kept = join(root, "packages/core/mutation")

const copyTo = async (folder: string): Promise<void> => {
  rmSync(folder, { recursive: true, force: true })
  await copyRepository(folder)
  // everything else is found further up, in the node_modules of the repository
  mkdirSync(join(folder, "node_modules", "@rego"), { recursive: true })
  for (const name of readdirSync(join(folder, "packages"))) {
    symlinkSync(join(folder, "packages", name), join(folder, "node_modules", "@rego", name))
  }
}

const modules = readdirSync(join(root, "packages/core/src")).map((file) => file.replace(/\.ts$/, ""))

const readReport = (): Report => readJson(join(kept, "report.json"), {})

const render = (report: Report): void => {
  // a module that is only types and re-exports has nothing to change
  const unmeasured = modules.filter((name) => !(name in report) && name !== "index")
  const judgements = readJson<Judgements>(join(kept, "judgements.json"), {})
  writeFileSync(join(kept, "README.md"), page(report, judgements, unmeasured))
}

const pathOf = (folder: string, test: string): string => join(folder, `packages/core/test/${test}.test.ts`)

/** A copy of a module in which a switch chooses what is changed. */
const prepare = async (folder: string, module: string) => {
  if (!modules.includes(module)) throw new Error(`there is no packages/core/src/${module}.ts`)
  const source = join(folder, "packages/core/src", `${module}.ts`)
  const text = readFileSync(source, "utf8")
  const { code, mutants } = await instrument(source, text, module)
  writeFileSync(source, code)
  const tests = testsOf(module).filter((name) => existsSync(pathOf(folder, name)))
  return { module, text, mutants, tests, file: tests[0] === undefined ? undefined : pathOf(folder, tests[0]) }
}

const keep = (results: Report): void => {
  const all = { ...readReport(), ...results }
  const report = Object.fromEntries(Object.entries(all).toSorted(([a], [b]) => a < b ? -1 : 1))
  writeFileSync(join(kept, "report.json"), `${JSON.stringify(report, undefined, 2)}\n`)
  render(report)
  for (const [module, { killed, mutants, survivors, timedOut }] of Object.entries(results)) {
    console.log(`${module}: ${mutants} mutants, ${killed} killed, ${timedOut} timed out, ${survivors.length} survived`)
  }
}

/** In one process, with the tests of all of them. */
const measure = async (names: ReadonlyArray<string>): Promise<void> => {
  const folder = join(root, ".mutation", values.queue ?? "copy")
  await copyTo(folder)
  const prepared: Array<Awaited<ReturnType<typeof prepare>>> = []
  for (const name of names) prepared.push(await prepare(folder, name))
  const parts = prepared.map(({ file, module, mutants, tests }) => ({
    isIsolated: isIsolated(module),
    mutants: mutants.map(({ id }) => id),
    tests: tests.map((test) => pathOf(folder, test)),
    file
  }))
  const place = {
    folder,
    tests: [...new Set(parts.flatMap(({ tests }) => tests))],
    own: parts.flatMap(({ file }) => file === undefined ? [] : [file])
  }
  const fates = await runMutants(place, parts)
  const listed = (tests: ReadonlyArray<string>) => [...new Set([...tests, ...prepared.flatMap((other) => other.tests)])]
  keep(Object.fromEntries(
    prepared.map(({ module, mutants, tests, text }) => [module, resultOf(text, listed(tests), mutants, fates)])
  ))
}

mkdirSync(kept, { recursive: true })
if (values.module !== undefined) await measure(values.module)
if (values.render === true) render(readReport())
