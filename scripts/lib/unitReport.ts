import { relative } from "node:path"
import * as Tally from "./tally.ts"

/** What vitest writes with `--reporter=json`, as far as it is read. */
export interface Report {
  readonly numPassedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly testResults: ReadonlyArray<{
    readonly name: string
    readonly status: string
    /** why a file failed to load */
    readonly message?: string
    readonly assertionResults: ReadonlyArray<{
      readonly fullName: string
      readonly status: string
      readonly failureMessages?: ReadonlyArray<string> | null
    }>
  }>
}

const firstLine = (text = ""): string => text.split("\n")[0]!.slice(0, 200)

/** A line for each test that failed. A file that fails to load has no failed test in it, and is a failure of its own. */
export const failures = ({ testResults }: Report, root: string): ReadonlyArray<string> =>
  testResults.flatMap(({ assertionResults, message, name, status }) => {
    const file = relative(root, name)
    const failed = assertionResults.filter((test) => test.status === "failed")
    if (failed.length === 0) return status === "failed" ? [`${file}: ${firstLine(message)}`] : []
    return failed.map(({ failureMessages, fullName }) => `${file} > ${fullName}: ${firstLine(failureMessages?.[0])}`)
  })

export const tallyOf = (report: Report, root: string): Tally.Tally =>
  Tally.make(report.numPassedTests, failures(report, root).length, report.numPendingTests + report.numTodoTests)
