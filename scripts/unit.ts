import { existsSync, readFileSync, rmSync } from "node:fs"
import { join } from "node:path"
import { run } from "./lib/command.ts"
import * as Tally from "./lib/tally.ts"
import { root } from "./lib/workspace.ts"

interface Report {
  readonly numPassedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: ReadonlyArray<{
    readonly status: string
    readonly assertionResults: ReadonlyArray<{ readonly status: string }>
  }>
}

const reportFile = join(root, ".test-results", "unit.json")

/** A file that fails to load has no failed test in it, and is a failure of its own. */
const failures = ({ testResults }: Report): number =>
  testResults.reduce((total, file) => {
    const tests = file.assertionResults.filter((test) => test.status === "failed").length
    return total + (tests === 0 && file.status === "failed" ? 1 : tests)
  }, 0)

const readTally = (): Tally.Tally => {
  if (!existsSync(reportFile)) return Tally.make(0, 1)
  const report: Report = JSON.parse(readFileSync(reportFile, "utf8"))
  return Tally.make(report.numPassedTests, failures(report), report.numPendingTests + report.numTodoTests)
}

rmSync(reportFile, { force: true })
const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${reportFile}`]
const { ok } = await run("vitest", ["run", ...reporters, ...process.argv.slice(2)], { echo: true })
Tally.close(Tally.orFailure(readTally(), { well: ok }))
