import { assert, describe, it } from "@effect/vitest"
import { PolicyKey, PolicyLayer, PolicyProvider } from "@rego/core"
import { GrpcKey } from "@rego/grpc"
import { Effect, Option } from "effect"

describe("GrpcKey", () => {
  describe("fromPath", () => {
    // the table that the Go library has for its interceptor
    const rows = [
      ["/Service/Method", "Service.Method"],
      ["Service/Method", "Service.Method"],
      ["/pkg.Service/Method", "pkg.Service.Method"],
      ["/acme.users.v1.Users/Get", "acme.users.v1.Users.Get"],
      ["/Service/Method/Extra", "Service/Method/Extra"],
      ["MethodOnly", "MethodOnly"],
      ["/MethodOnly", "MethodOnly"],
      ["//Method", "/Method"],
      ["/Service/", "Service/"],
      ["", ""]
    ] as const
    for (const [path, key] of rows) {
      it(`${JSON.stringify(path)} is ${JSON.stringify(key)}`, () => {
        assert.strictEqual(GrpcKey.fromPath(path), key)
      })
    }

    it("gives keys that are accepted as they are", () => {
      const key = GrpcKey.fromPath("/acme.users.v1.Users/Get")
      assert.strictEqual(PolicyKey.make(key), key)
    })
  })

  const policies = {
    "exact.pkg.v1.Users.Get": { retry: { maxAttempts: 4 } },
    "acme.users.v1.Users.*": { retry: { maxAttempts: 5 } },
    "acme.users.*": { retry: { maxAttempts: 6 } },
    "acme.*": { retry: { maxAttempts: 7 } }
  }
  const matches = [
    ["/exact.pkg.v1.Users/Get", 4],
    ["/acme.users.v1.Users/Get", 5],
    ["/acme.users.v1.Groups/Get", 6],
    ["/acme.orders.v1.Orders/Place", 7],
    ["/other.Users/Get", undefined]
  ] as const
  for (const [path, maxAttempts] of matches) {
    it.effect(`policies written as text match a method of a package with dots: ${path}`, () =>
      Effect.gen(function*() {
        const provider = yield* PolicyProvider.PolicyProvider
        const policy = yield* provider.policy(GrpcKey.fromPath(path))
        const retry = Option.getOrUndefined(policy)?.sections.retry
        assert.strictEqual(typeof retry === "object" ? retry.maxAttempts : undefined, maxAttempts)
      }).pipe(Effect.provide(PolicyLayer.make({ policies }))))
  }
})
