import { assert, describe, it } from "@effect/vitest"
import type { PolicySource } from "@rego/core"
import { Effect, Stream } from "effect"
import * as MemorySource from "../src/MemorySource.ts"

describe("MemorySource", () => {
  it.effect("says in order what it is told to say, to whoever listens later", () =>
    Effect.gen(function*() {
      const { confirm, fail, publish, source } = yield* MemorySource.make({ name: "test" })
      yield* publish({ revision: "1" })
      yield* confirm
      yield* fail({ _tag: "NotFound", detail: "gone" })
      const found = yield* source.found.pipe(Stream.take(3), Stream.runCollect)
      assert.deepStrictEqual(found.map(({ _tag }) => _tag), ["Document", "Unchanged", "Failed"])
      const last = found[2]
      assert.strictEqual(
        last?._tag === "Failed" ? last.error.message : undefined,
        "policy source test: no document, gone"
      )
    }))

  it.effect("keeps the last thousand reports", () =>
    Effect.gen(function*() {
      const { reports, source } = yield* MemorySource.make()
      const report = (revision: number): PolicySource.Report => ({
        _tag: "Accepted",
        revision: String(revision),
        rolledBack: false,
        clamped: [],
        issues: []
      })
      for (let i = 1; i <= 1_001; i++) yield* source.report(report(i))
      const kept = yield* reports
      assert.strictEqual(kept.length, 1_000)
      assert.deepStrictEqual(kept[0], report(2))
    }))
})
