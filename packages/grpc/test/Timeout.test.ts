import { assert, describe, it } from "@effect/vitest"
import { integer, property } from "../../core/test/arbitraries.ts"
import * as Timeout from "../src/Timeout.ts"

describe("Timeout", () => {
  describe("ofGrpc", () => {
    it("reads every unit", () => {
      const rows = [["1H", 3_600_000], ["2M", 120_000], ["3S", 3_000], ["1500m", 1_500], ["5u", 0.005], [
        "7n",
        0.000007
      ]]
      for (const [text, millis] of rows) assert.strictEqual(Timeout.ofGrpc.parse(String(text)), millis)
    })

    it("reads nothing else", () => {
      for (const text of ["", "1", "m", "-1m", "1.5S", "123456789m", "1 m", "1s"]) {
        assert.isUndefined(Timeout.ofGrpc.parse(text), text)
      }
    })

    it("rounds down, and never to nothing: no time at all could be taken for no limit", () => {
      assert.strictEqual(Timeout.ofGrpc.print(199.9), "199m")
      assert.strictEqual(Timeout.ofGrpc.print(0.3), "1m")
      assert.strictEqual(Timeout.ofGrpc.print(0), "1m")
    })

    it("counts in seconds what has more than eight digits", () => {
      assert.strictEqual(Timeout.ofGrpc.print(99_999_999), "99999999m")
      assert.strictEqual(Timeout.ofGrpc.print(100_000_000), "100000S")
      assert.strictEqual(Timeout.ofGrpc.print(Number.MAX_SAFE_INTEGER), "99999999S")
    })
  })

  describe("ofConnect", () => {
    it("is a number of milliseconds of at most ten digits", () => {
      assert.strictEqual(Timeout.ofConnect.print(1_500.9), "1500")
      assert.strictEqual(Timeout.ofConnect.print(0), "1")
      assert.strictEqual(Timeout.ofConnect.print(1e12), "9999999999")
      assert.strictEqual(Timeout.ofConnect.parse("1500"), 1_500)
      for (const text of ["", "1m", "-1", "12345678901"]) assert.isUndefined(Timeout.ofConnect.parse(text), text)
    })
  })

  for (const [name, format] of [["grpc", Timeout.ofGrpc], ["connect", Timeout.ofConnect]] as const) {
    property(
      `a server is never given more than what is left (${name})`,
      { millis: integer(1, 200_000_000) },
      ({ millis }) => {
        const given = format.parse(format.print(millis)) ?? NaN
        assert.isAtMost(given, millis)
        assert.isAbove(given, millis - 1_000)
      }
    )
  }

  it("goes by the content type of the request", () => {
    const rows = [
      ["application/grpc", Timeout.ofGrpc],
      ["application/grpc+proto", Timeout.ofGrpc],
      ["application/grpc-web+json", Timeout.ofGrpc],
      ["application/proto", Timeout.ofConnect],
      ["application/connect+proto", Timeout.ofConnect],
      [null, Timeout.ofConnect]
    ] as const
    for (const [type, format] of rows) assert.strictEqual(Timeout.formatOf(type), format, String(type))
  })
})
