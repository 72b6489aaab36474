import { assert, describe, it } from "@effect/vitest"
import * as Tally from "../lib/tally.ts"
import type { Report } from "../lib/unitReport.ts"
import { failures, tallyOf } from "../lib/unitReport.ts"

const passed = { fullName: "a waits", status: "passed", failureMessages: [] }
const failed = {
  fullName: "a stops",
  status: "failed",
  failureMessages: ["AssertionError: 1 is not 2\n  at a.test.ts"]
}

const report = (...testResults: Report["testResults"]): Report => ({
  numPassedTests: 1,
  numPendingTests: 2,
  numTodoTests: 3,
  testResults
})

describe("the report of vitest", () => {
  it("has a line for each test that failed, and for a file that could not be loaded", () => {
    const found = failures(
      report(
        { name: "/repo/a.test.ts", status: "failed", assertionResults: [passed, failed] },
        { name: "/repo/b.test.ts", status: "failed", message: "SyntaxError: no\nmore", assertionResults: [] },
        { name: "/repo/c.test.ts", status: "passed", assertionResults: [passed] }
      ),
      "/repo"
    )
    assert.deepStrictEqual(found, ["a.test.ts > a stops: AssertionError: 1 is not 2", "b.test.ts: SyntaxError: no"])
  })

  it("is counted with what was skipped", () => {
    const counted = tallyOf(report({ name: "/repo/a.test.ts", status: "failed", assertionResults: [failed] }), "/repo")
    assert.deepStrictEqual(counted, Tally.make(1, 1, 5))
  })
})
