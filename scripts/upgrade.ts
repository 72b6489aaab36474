/**
 * Runs the types and the tests of core against the oldest and the newest Effect that its peer range allows, in a copy of the
 * repository. Downloads them; `--version 4.1.0` tries that one alone. Whatever fails is a line, also what fails by itself on
 * a busy machine: run it again alone before you blame the version.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { run } from "./lib/command.ts"
import { copyRepository } from "./lib/copy.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"
import { failures, type Report, tallyOf } from "./lib/unitReport.ts"
import { root } from "./lib/workspace.ts"

const { values } = parseArgs({ options: { version: { type: "string" } } })

const range: string = JSON.parse(readFileSync(join(root, "packages/core/package.json"), "utf8")).peerDependencies.effect

/** npm lists the versions of a range from the oldest to the newest; a single one is no list. */
const versionsOf = async (range: string): Promise<ReadonlyArray<string>> => {
  const { ok, output } = await run("npm", ["view", `effect@${range}`, "version", "--json"])
  if (!ok) throw new Error(`the registry does not say which versions of effect there are\n${output}`)
  return [JSON.parse(output)].flat()
}

const mustRun = async (cwd: string, command: string, args: ReadonlyArray<string>): Promise<void> => {
  const { ok, output } = await run(command, args, { cwd })
  if (!ok) throw new Error(`${command} ${args.join(" ")}\n${output}`)
}

const versionIn = (folder: string): string =>
  JSON.parse(readFileSync(join(folder, "node_modules/effect/package.json"), "utf8")).version

const install = async (folder: string, version: string): Promise<void> => {
  await copyRepository(folder)
  await mustRun(folder, "npm", ["ci", "--no-audit", "--no-fund"])
  await mustRun(folder, "npm", ["install", "--no-save", "--no-audit", "--no-fund", `effect@${version}`])
  if (versionIn(folder) !== version) throw new Error(`npm installed ${versionIn(folder)}`)
}

const checkTypes = async (folder: string): Promise<Tally.Tally> => {
  const tsc = ["node_modules/typescript/bin/tsc", "-b", "packages/core/tsconfig.test.json"]
  const { ok, output } = await run("node", tsc, { cwd: folder })
  if (!ok) console.log(indent(output))
  return Tally.ofResults([{ passed: ok }])
}

/** This question may be asked beside other work: time that is short here is not what it is about. */
const patience = ["--testTimeout=120000", "--hookTimeout=60000"]

const runTests = async (folder: string): Promise<Tally.Tally> => {
  const { ok, output } = await run("node", ["scripts/unit.ts", "packages/core/test", ...patience], { cwd: folder })
  const file = join(folder, ".test-results", "unit.json")
  const report: Report | undefined = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : undefined
  const found = report === undefined ? [] : failures(report, folder)
  if (!ok) console.log(indent(found.length === 0 ? output : found.map((failure) => `FAIL ${failure}`).join("\n")))
  const counted = report === undefined ? Tally.make(0, 0) : tallyOf(report, folder)
  return Tally.orFailure(counted, { well: ok && counted.passed > 0 })
}

const tryVersion = async (version: string): Promise<Tally.Tally> => {
  const folder = mkdtempSync(join(tmpdir(), "rego-upgrade-"))
  try {
    await install(folder, version)
    const types = await checkTypes(folder)
    const tests = await runTests(folder)
    console.log(`effect ${version}: types ${types.failed === 0 ? "ok" : "FAIL"}, tests ${Tally.format(tests)}`)
    return Tally.sum([tests, types])
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const all = values.version === undefined ? await versionsOf(range) : [values.version]
const chosen = [...new Set([all[0]!, all.at(-1)!])]
console.log(`effect@${range}: ${all.length} versions, of which ${chosen.join(" and ")}`)
const tallies = []
for (const version of chosen) tallies.push(await tryVersion(version))
Tally.close(Tally.sum(tallies))
