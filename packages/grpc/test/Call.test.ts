import { createGrpcTransport } from "@connectrpc/connect-node"
import { assert, describe, it } from "@effect/vitest"
import * as Connect from "@rego/grpc/Connect"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import { Users, UsersClient } from "./acme.ts"

describe("options that cannot be used", () => {
  const ways: Readonly<Record<string, (options: Connect.Options) => unknown>> = {
    "Connect.interceptor": Connect.interceptor,
    "Connect.makeClient": (options) =>
      Connect.makeClient(Users, createGrpcTransport({ baseUrl: "http://127.0.0.1:1" }), options),
    "GrpcJs.interceptor": GrpcJs.interceptor,
    "GrpcJs.makeClient": (options) => GrpcJs.makeClient(Object.create(UsersClient.prototype) as UsersClient, options)
  }
  for (const [way, make] of Object.entries(ways)) {
    it(`are refused by ${way}, all of them, before any effect runs`, () => {
      const server = { retryable: ["OK"], rejectsBeforeWork: ["Aborted"] } as never
      assert.throws(
        () => make({ key: "users.48121001", server }),
        RangeError,
        new RegExp([
          "^@rego/grpc: key: \"users\\.48121001\" must be the same .* looks like an id",
          "server.retryable\\[0\\] must be the name of a code .* got \"OK\"",
          "server.rejectsBeforeWork\\[0\\] must be the name of a code .* got \"Aborted\"$"
        ].join("; "))
      )
    })
  }
})
