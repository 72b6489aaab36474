import { assert, describe, it } from "@effect/vitest"
import type { Clock } from "effect"
import { liveClock, millisOf, nowMillis } from "../src/Time.ts"
import { integer, property } from "./arbitraries.ts"

const clockAt = (monotonic: bigint): Clock.Clock => ({ monotonicTimeNanosUnsafe: () => monotonic }) as Clock.Clock

describe("Time", () => {
  property(
    "reads whole nanoseconds as Number does, rounding included",
    { high: integer(-(2 ** 31), 2 ** 31 - 1), low: integer(0, 2 ** 32 - 1) },
    ({ high, low }) => {
      const nanos = BigInt(high) * 2n ** 32n + BigInt(low)
      assert.strictEqual(millisOf(nanos), Number(nanos) / 1e6)
    }
  )

  it("reads the live clock on its own monotonic line", () => {
    const before = Number(liveClock.monotonicTimeNanosUnsafe()) / 1e6
    const now = nowMillis(liveClock)
    const after = Number(liveClock.monotonicTimeNanosUnsafe()) / 1e6
    assert.isTrue(before <= now && now <= after)
  })

  it("reads another clock wherever it stands", () => {
    assert.strictEqual(nowMillis(clockAt(2n ** 80n)), 2 ** 80 / 1e6)
  })
})
