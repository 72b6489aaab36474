import { assert, describe, it } from "@effect/vitest"
import { GrpcStatus } from "@rego/grpc"
import { known } from "../../core/src/MetricReasons.ts"
import { reasonsIn } from "../../core/test/reasonsIn.ts"

describe("the reasons of gRPC", () => {
  it("are all labels of metrics, those of every code too", () => {
    const said = reasonsIn(new URL("../src", import.meta.url))
    assert.includeMembers([...said], ["grpc_not_sent", "grpc_connection_lost"])
    const codes = Object.keys(GrpcStatus.Code).filter((name) => name !== "OK").map((name) =>
      `grpc_${name.toLowerCase()}`
    )
    const all = [...said, ...codes, "grpc_do_not_retry"]
    assert.deepStrictEqual(all.filter((reason) => !known.has(reason)), [])
  })
})
