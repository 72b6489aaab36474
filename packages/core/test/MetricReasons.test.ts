import { assert, describe, it } from "@effect/vitest"
import { known, other } from "../src/MetricReasons.ts"
import { reasonsIn } from "./reasonsIn.ts"

describe("MetricReasons", () => {
  it("knows every reason that the classifiers of core give", () => {
    const said = reasonsIn(new URL("../src", import.meta.url))
    assert.includeMembers([...said], [
      "typed_failure",
      "attempt_timeout",
      "caller_interrupted",
      "sql_deadlock",
      "sql_other"
    ])
    assert.deepStrictEqual([...said].filter((reason) => !known.has(reason)), [])
  })

  it("lists words that need no escape anywhere, and not the one for all others", () => {
    for (const reason of known) assert.match(reason, /^[a-z][a-z0-9_]{0,63}$/)
    assert.isFalse(known.has(other))
  })
})
