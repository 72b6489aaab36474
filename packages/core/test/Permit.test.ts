import { assert, describe, it } from "@effect/vitest"
import type { Decision } from "../src/Budget.ts"
import { settledOnce, spent } from "../src/Permit.ts"
import { permitOf } from "./budgetSupport.ts"

describe("Permit", () => {
  describe("settledOnce", () => {
    for (const first of ["used", "unused"] as const) {
      it(`hears of its end once, and of the first one: ${first}`, () => {
        const heard: Array<string> = []
        const permit = permitOf(settledOnce((use) => heard.push(use)))
        permit.settle(first)
        permit.settle("used")
        permit.settle("unused")
        assert.deepStrictEqual(heard, [first])
      })
    }

    it("is settled once by functions that were taken out of it, however many", () => {
      const heard: Array<string> = []
      const permit = permitOf(settledOnce((use) => heard.push(use)))
      const { settle } = permit
      const { settle: again } = permit
      settle("unused")
      again("used")
      permit.settle("used")
      assert.deepStrictEqual(heard, ["unused"])
    })

    it("keeps its permit when a wrapper copies the decision", () => {
      const heard: Array<string> = []
      const decision: Decision = { ...settledOnce((use) => heard.push(use)) }
      permitOf(decision).settle("used")
      assert.deepStrictEqual(heard, ["used"])
    })

    it("does not hear again when it is settled while it hears", () => {
      let heard = 0
      const permit = permitOf(settledOnce(() => {
        heard++
        permit.settle("unused")
      }))
      permit.settle("used")
      assert.strictEqual(heard, 1)
    })

    it("does not hear again after it has thrown", () => {
      let heard = 0
      const permit = permitOf(settledOnce(() => {
        heard++
        throw new Error("settle")
      }))
      assert.throws(() => permit.settle("used"), "settle")
      permit.settle("used")
      assert.strictEqual(heard, 1)
    })
  })

  it("a grant that is spent hears nothing of its end", () => {
    const permit = permitOf(spent)
    permit.settle("used")
    permit.settle("unused")
    assert.deepStrictEqual(Object.keys(permit), ["settle"])
  })
})
