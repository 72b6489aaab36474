import { existsSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { run } from "./lib/command.ts"
import * as Tally from "./lib/tally.ts"
import { tallyOf } from "./lib/unitReport.ts"
import { root } from "./lib/workspace.ts"

const reportFile = join(root, ".test-results", "unit.json")

const readTally = (): Tally.Tally =>
  existsSync(reportFile) ? tallyOf(JSON.parse(readFileSync(reportFile, "utf8")), root) : Tally.make(0, 1)

rmSync(reportFile, { force: true })
const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${reportFile}`]
const { ok } = await run("vitest", ["run", ...reporters, ...process.argv.slice(2)], { echo: true })
Tally.close(Tally.orFailure(readTally(), { well: ok }))
