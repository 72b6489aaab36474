import { assert, describe, it } from "@effect/vitest"
import { page, resultOf } from "../mutation/report.ts"

const source = "const a = 1\nconst b = a < 2 ||\n  a > 3\n"

const mutant = (
  status: string,
  start: readonly [number, number],
  end: readonly [number, number],
  replacement: string,
  statusReason = ""
) => ({
  mutatorName: "Any",
  replacement,
  status,
  statusReason,
  location: { start: { line: start[0], column: start[1] }, end: { line: end[0], column: end[1] } }
})

const reportOf = (...mutants: ReadonlyArray<ReturnType<typeof mutant>>) =>
  ({ files: { "packages/core/src/A.ts": { source, mutants } } }) as Parameters<typeof resultOf>[0]

const killed = mutant("Killed", [1, 11], [1, 12], "2")
const survivor = mutant("Survived", [2, 11], [3, 8], "a <= 2 && a > 3")
const unreached = mutant("NoCoverage", [1, 11], [1, 12], "3")

describe("mutation", () => {
  describe("resultOf", () => {
    it("counts what was killed, and keeps what survived as the text of the change", () => {
      assert.deepStrictEqual(resultOf(reportOf(killed, survivor, unreached), ["A"]), {
        tests: ["A"],
        mutants: 3,
        killed: 1,
        timedOut: 0,
        survivors: [
          { line: 1, change: "1 => 3", unreached: true },
          { line: 2, change: "a < 2 || a > 3 => a <= 2 && a > 3" }
        ]
      })
    })

    it("counts a mutant that keeps a test file from loading as killed", () => {
      const reason = "An error occurred outside of a test run: Plan.test.ts: Invalid Input: undefined"
      assert.strictEqual(resultOf(reportOf(mutant("RuntimeError", [1, 1], [1, 2], "x", reason)), []).killed, 1)
    })

    it("makes nothing of a run whose mutants failed to start", () => {
      assert.throws(
        () => resultOf(reportOf(mutant("RuntimeError", [1, 1], [1, 2], "x")), []),
        /1 mutants ended in an error/
      )
    })
  })

  it("the page names what was not judged, and what was not measured", () => {
    const report = { A: resultOf(reportOf(killed, survivor, unreached), ["A"]) }
    const text = page(report, { A: { "1 => 3": "equal" } }, ["B"])
    assert.include(text, "Not measured: B.")
    assert.include(text, "| A | 3 | 1 | 0 | 2 | 33.3 % |")
    assert.include(text, "| 1 | `1 => 3` | equal |")
    assert.include(text, "| 2 | `a < 2 \\|\\| a > 3 => a <= 2 && a > 3` | not judged |")
  })
})
