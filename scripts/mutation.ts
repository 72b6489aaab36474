/**
 * Mutation tests of `packages/core/src`: does a test fail when an expression is changed? `npm run mutation -- --module Retry`
 * changes a copy of the repository, so that work can go on meanwhile, and writes the report of all modules anew.
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
import { testsOf } from "./mutation/tests.ts"

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

const measure = async (module: string): Promise<void> => {
  if (!modules.includes(module)) throw new Error(`there is no packages/core/src/${module}.ts`)
  const folder = join(root, ".mutation", values.queue ?? "copy")
  await copyTo(folder)
  const tests = testsOf(module).filter((name) => existsSync(join(root, `packages/core/test/${name}.test.ts`)))
  const source = join(folder, "packages/core/src", `${module}.ts`)
  const text = readFileSync(source, "utf8")
  const { code, mutants } = await instrument(source, text)
  writeFileSync(source, code)
  const place = { folder, tests: tests.map((name) => join(folder, `packages/core/test/${name}.test.ts`)) }
  const fates = await runMutants(place, mutants.map(({ id }) => id))
  const result = resultOf(text, tests, mutants, fates)
  const all = { ...readReport(), [module]: result }
  const report = Object.fromEntries(Object.entries(all).toSorted(([a], [b]) => a < b ? -1 : 1))
  writeFileSync(join(kept, "report.json"), `${JSON.stringify(report, undefined, 2)}\n`)
  render(report)
  const { killed, survivors, timedOut } = result
  console.log(
    `${module}: ${mutants.length} mutants, ${killed} killed, ${timedOut} timed out, ${survivors.length} survived`
  )
}

mkdirSync(kept, { recursive: true })
for (const module of values.module ?? []) await measure(module)
if (values.render === true) render(readReport())
