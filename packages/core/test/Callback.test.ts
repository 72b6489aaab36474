import { assert, describe, it } from "@effect/vitest"
import { Callback } from "@rego/core"
import { Cause, Effect } from "effect"
import type { Line } from "./support.ts"
import { withLog } from "./support.ts"

const boom = new Error("boom")
const throws = (): number => {
  throw boom
}

describe("Callback", () => {
  it("gives what the function gives, and what stands for it where it throws", () => {
    const guarded = Callback.guard("the size option")
    const noReport = () => assert.fail("there is nothing to report")
    assert.strictEqual(guarded(() => 7, () => 1, noReport), 7)
    assert.strictEqual(guarded(throws, () => 1, () => {}), 1)
  })

  it.effect("reports the first defect, and no other one", () =>
    Effect.gen(function*() {
      const guarded = Callback.guard("the size option")
      const reports: Array<Effect.Effect<void>> = []
      for (let i = 0; i < 3; i++) guarded(throws, () => 1, (line) => reports.push(line))
      assert.strictEqual(reports.length, 1)
      const lines: Array<Line> = []
      yield* withLog(reports[0]!, lines)
      assert.deepStrictEqual(lines, [{
        level: "Error",
        message: "rego: a defect in the size option fails no call",
        cause: Cause.die(boom)
      }])
    }))
})
