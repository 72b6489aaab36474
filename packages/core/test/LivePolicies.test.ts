import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { live } from "./liveSupport.ts"

describe("PolicyLayer.live", () => {
  it.effect("is in force at boot when the source has a document", () =>
    Effect.gen(function*() {
      const { memory, status } = yield* live({ first: [{ policies: { "svc.*": { retry: { maxAttempts: 2 } } } }] })
      const now = yield* status
      assert.deepStrictEqual([now.revision, now.source], ["1", "live"])
      assert.deepStrictEqual(memory.reports, [
        { _tag: "Accepted", revision: "1", rolledBack: false, clamped: [], issues: [] }
      ])
    }))
})
