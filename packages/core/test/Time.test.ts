import { assert, describe, it } from "@effect/vitest"
import type { Clock } from "effect"
import { liveClock, millisOf, nowMillis, wallOffset } from "../src/Time.ts"
import { integer, property } from "./arbitraries.ts"

/** Far above any reading of this process, so that what was read before does not count. */
const start = 1e12

const wallOf = (offset: number, now: number): number => offset + now

const clockAt = (monotonic: bigint, wall: bigint): Clock.Clock =>
  ({ monotonicTimeNanosUnsafe: () => monotonic, currentTimeNanosUnsafe: () => wall }) as Clock.Clock

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
    assert.strictEqual(nowMillis(clockAt(2n ** 80n, 0n)), 2 ** 80 / 1e6)
  })

  it("reads the wall time of another clock each time", () => {
    assert.strictEqual(wallOffset(clockAt(0n, 7_000_000n), 2), 5)
    assert.strictEqual(wallOffset(clockAt(0n, 9_000_000n), 2), 7)
  })

  it("reads the wall time of the live clock again after 10 ms, and when time goes back", () => {
    const offset = wallOffset(liveClock, start)
    assert.isTrue(Math.abs(wallOf(offset, start) - Date.now()) < 60_000)
    assert.strictEqual(wallOffset(liveClock, start + 9.99), offset)
    // the wall clock has not moved by as much
    assert.notStrictEqual(wallOffset(liveClock, start + 60_000), offset)
    assert.notStrictEqual(wallOffset(liveClock, start + 60_000), wallOffset(liveClock, start + 60_010))
    const earlier = wallOffset(liveClock, start)
    assert.isTrue(Math.abs(wallOf(earlier, start) - Date.now()) < 60_000)
  })
})
