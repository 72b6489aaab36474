import { assert, describe, it } from "@effect/vitest"
import { boolean, integer, property, seed, withSeed } from "../../core/test/arbitraries.ts"
import { makeRandom } from "../../core/test/random.ts"
import * as RetryInfo from "../src/RetryInfo.ts"
import { debugInfo, emptyRetryInfo, retryInfo, statusBytes } from "./rpc.ts"

describe("RetryInfo", () => {
  describe("fromStatus", () => {
    it("reads the delay, wherever it stands among the details", () => {
      assert.strictEqual(RetryInfo.fromStatus(statusBytes(retryInfo(1, 500_000_000))), 1_500)
      assert.strictEqual(RetryInfo.fromStatus(statusBytes(debugInfo("x"), retryInfo(0, 25_000_000))), 25)
      assert.strictEqual(RetryInfo.fromStatus(statusBytes(retryInfo(2), debugInfo("x"))), 2_000)
    })

    it("takes the longest of several", () => {
      assert.strictEqual(RetryInfo.fromStatus(statusBytes(retryInfo(1), retryInfo(3), retryInfo(2))), 3_000)
    })

    it("finds none where there is none", () => {
      assert.isUndefined(RetryInfo.fromStatus(statusBytes()))
      assert.isUndefined(RetryInfo.fromStatus(statusBytes(debugInfo("google.rpc.RetryInfo"))))
      assert.isUndefined(RetryInfo.fromStatus(statusBytes(emptyRetryInfo)))
      assert.isUndefined(RetryInfo.fromStatus(new Uint8Array()))
    })

    it("takes a negative delay for now, and an enormous one as it is", () => {
      assert.strictEqual(RetryInfo.fromStatus(statusBytes(retryInfo(-5, -1))), 0)
      assert.strictEqual(RetryInfo.fromStatus(statusBytes(retryInfo(315_576_000_000n))), 315_576_000_000_000)
    })

    it("survives a field cut anywhere, bytes that are no message, and 10 KB of noise", () => {
      const whole = statusBytes(debugInfo("x".repeat(200)), retryInfo(1))
      for (let length = 0; length < whole.length; length++) {
        assert.isUndefined(RetryInfo.fromStatus(whole.subarray(0, length)), `${length} bytes`)
      }
      const overlong = new Uint8Array(11).fill(0xff)
      const lies = Uint8Array.of(0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
      const group = Uint8Array.of(0x0b, 0x0c)
      const wrongType = Uint8Array.of(0x18, 0x01)
      for (const bytes of [overlong, lies, group, wrongType]) assert.isUndefined(RetryInfo.fromStatus(bytes))
      const random = makeRandom(seed)
      for (let i = 0; i < 100; i++) {
        const noise = Uint8Array.from({ length: 10_240 }, () => Math.floor(random() * 256))
        assert.isUndefined(RetryInfo.fromStatus(noise), withSeed(`noise ${i}`))
      }
    })

    it("skips fields that it does not know, of every type", () => {
      const varint = [0x50, 0x96, 0x01]
      const fixed64 = [0x59, 1, 2, 3, 4, 5, 6, 7, 8]
      const bytes = [0x62, 2, 9, 9]
      const fixed32 = [0x6d, 1, 2, 3, 4]
      const known = statusBytes(retryInfo(1))
      assert.strictEqual(
        RetryInfo.fromStatus(Uint8Array.from([...varint, ...fixed64, ...known, ...bytes, ...fixed32])),
        1_000
      )
    })

    property(
      "agrees with a protobuf library on every duration",
      { seconds: integer(-1_000, 1_000_000), nanos: integer(0, 999_999), noise: boolean },
      ({ nanos, noise, seconds }) => {
        const sign = seconds < 0 ? -1 : 1
        const details = [retryInfo(seconds, sign * nanos * 1_000), ...(noise ? [debugInfo("é")] : [])]
        const expected = Math.max(0, seconds * 1_000 + sign * nanos / 1_000)
        assert.approximately(RetryInfo.fromStatus(statusBytes(...details)) ?? NaN, expected, 1e-6)
      }
    )
  })

  describe("fromDetails", () => {
    it("goes by the name of the type, and leaves out what is malformed", () => {
      const { value } = retryInfo(1)
      assert.strictEqual(RetryInfo.fromDetails([{ type: "google.rpc.RetryInfo", value }]), 1_000)
      assert.isUndefined(RetryInfo.fromDetails([{ type: "google.rpc.RetryInfo2", value }]))
      const broken = { type: "google.rpc.RetryInfo", value: value.subarray(0, 2) }
      assert.isUndefined(RetryInfo.fromDetails([broken]))
      assert.strictEqual(RetryInfo.fromDetails([broken, { type: "google.rpc.RetryInfo", value }]), 1_000)
    })
  })
})
