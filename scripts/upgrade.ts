/**
 * Runs the types and the tests of core against the oldest and the newest Effect that its peer range allows, in a copy of the
 * repository. Downloads them; `--version 4.1.0` tries that one alone.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { run } from "./lib/command.ts"
import { copyRepository } from "./lib/copy.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"
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

/** What passed is long, and says nothing. */
const failuresIn = (output: string): string => output.slice(Math.max(0, output.indexOf("Failed Tests")))

const tryVersion = async (version: string): Promise<Tally.Tally> => {
  const folder = mkdtempSync(join(tmpdir(), "rego-upgrade-"))
  try {
    await copyRepository(folder)
    await mustRun(folder, "npm", ["ci", "--no-audit", "--no-fund"])
    await mustRun(folder, "npm", ["install", "--no-save", "--no-audit", "--no-fund", `effect@${version}`])
    if (versionIn(folder) !== version) throw new Error(`npm installed ${versionIn(folder)}`)
    const types = await run("node", ["node_modules/typescript/bin/tsc", "-b", "packages/core/tsconfig.test.json"], {
      cwd: folder
    })
    if (!types.ok) console.log(indent(types.output))
    const tests = await run("node", ["scripts/unit.ts", "packages/core/test"], { cwd: folder })
    const counted = Tally.parse(tests.output.trimEnd().split("\n").at(-1) ?? "") ?? Tally.make(0, 0)
    const tally = Tally.orFailure(counted, { well: tests.ok && counted.passed > 0 })
    if (tally.failed > 0) console.log(indent(failuresIn(tests.output)))
    console.log(`effect ${version}: types ${types.ok ? "ok" : "FAIL"}, tests ${Tally.format(tally)}`)
    return Tally.sum([tally, Tally.ofResults([{ passed: types.ok }])])
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
