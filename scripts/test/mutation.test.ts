import { assert, describe, it } from "@effect/vitest"
import { instrument } from "../mutation/instrument.ts"
import type { Line } from "../mutation/protocol.ts"
import { BEFORE } from "../mutation/protocol.ts"
import { page, resultOf } from "../mutation/report.ts"
import type { Status } from "../mutation/runner.ts"
import { fatesOf } from "../mutation/runner.ts"

const source = "export const f = (a: number): boolean =>\n  a < 2 ||\n  a > 3\n"

describe("mutation", () => {
  it("changes that survive are kept as the text of the change, in the order of their lines", async () => {
    const { mutants } = await instrument("f.ts", source)
    const fates = new Map<string, Status>(mutants.map(({ id }) => [id, "killed"]))
    const idOf = (replacement: string) => mutants.find((mutant) => mutant.replacement === replacement)!.id
    fates.set(idOf("a >= 3"), "survived")
    fates.set(idOf("a <= 2"), "unreached")
    fates.set(idOf("() => undefined"), "timed out")
    assert.deepStrictEqual(resultOf(source, ["F"], mutants, fates), {
      tests: ["F"],
      mutants: mutants.length,
      killed: mutants.length - 3,
      timedOut: 1,
      survivors: [
        { line: 2, change: "a < 2 => a <= 2", unreached: true },
        { line: 3, change: "a > 3 => a >= 3" }
      ]
    })
  })

  describe("what a process said is believed", () => {
    const fates = (lines: ReadonlyArray<Line>) => Object.fromEntries(fatesOf(["1", "2"], lines))
    const before: Line = { id: BEFORE, end: "passed" }
    const one: ReadonlyArray<Line> = [{ id: "1" }, { id: "1", end: "failed" }]
    const two: ReadonlyArray<Line> = [{ id: "2" }, { id: "2", end: "passed" }]

    it("only where the tests pass without a mutant before", () => {
      assert.deepStrictEqual(fates([before, ...one, ...two, { done: true }]), {
        1: "killed",
        2: "survived"
      })
      assert.deepStrictEqual(fates([before, ...one, ...two]), {})
      assert.deepStrictEqual(fates([{ id: BEFORE, end: "failed" }, ...one, ...two, { done: true }]), {})
      assert.deepStrictEqual(fates([...one, ...two, { done: true }]), {})
    })

    it("up to the mutant that stopped it, which has timed out", () => {
      assert.deepStrictEqual(fates([before, ...one, { id: "2" }, { alive: true }]), { 1: "killed", 2: "timed out" })
    })

    it("up to the mutant that left something behind, which is nobody's verdict", () => {
      assert.deepStrictEqual(fates([before, ...one, { id: "2" }, { spoiled: "a test", by: "2" }]), { 1: "killed" })
    })
  })

  it("the page names what was not judged, and what was not measured", () => {
    const survivors = [{ line: 1, change: "1 => 3" }, { line: 2, change: "a || b => a && b" }]
    const report = { A: { tests: ["A"], mutants: 3, killed: 1, timedOut: 0, survivors } }
    const text = page(report, { A: { "1 => 3": "equal" } }, ["B"])
    assert.include(text, "Not measured: B.")
    assert.include(text, "| A | 3 | 1 | 0 | 2 | 33.3 % | 1 |")
    assert.include(text, "| 1 | `1 => 3` | equal |")
    assert.include(page(report, { A: { "1 => 3": "gap: later" } }, []), "| A | 3 | 1 | 0 | 2 | 33.3 % | 2 |")
    const byPattern = page(report, { A: { "regex: => 3$": "equal", "a || b => a && b": "harmless" } }, [])
    assert.include(byPattern, "| A | 3 | 1 | 0 | 2 | 33.3 % | 0 |")
    assert.include(byPattern, "| 1 | `1 => 3` | equal |")
    assert.include(text, "| 2 | `a \\|\\| b => a && b` | not judged |")
  })
})
