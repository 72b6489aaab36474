/** A client of grpc-js under policies, against a server that is busy first; Connect is only loaded. */
import * as grpc from "@grpc/grpc-js"
import { Backoff, PolicyLayer } from "@rego/core"
import { GrpcKey } from "@rego/grpc"
import * as Connect from "@rego/grpc/Connect"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import { Effect } from "effect"

if (GrpcKey.fromPath("/acme.Users/Get") !== "acme.Users.Get") throw new Error("grpc: key")
if (typeof Connect.interceptor !== "function") throw new Error("grpc: Connect")

const json = {
  serialize: (message: string) => Buffer.from(message),
  deserialize: (bytes: Buffer) => bytes.toString()
}
const get: grpc.MethodDefinition<string, string> = {
  path: "/acme.Users/Get",
  requestStream: false,
  responseStream: false,
  requestSerialize: json.serialize,
  requestDeserialize: json.deserialize,
  responseSerialize: json.serialize,
  responseDeserialize: json.deserialize
}

let requests = 0
const server = new grpc.Server()
server.addService({ get }, {
  get: (_call: grpc.ServerUnaryCall<string, string>, done: grpc.sendUnaryData<string>) =>
    ++requests < 3 ? done({ code: grpc.status.UNAVAILABLE, details: "busy" }) : done(null, "ada")
})
const port = await new Promise<number>((resolve, reject) =>
  server.bindAsync(
    "127.0.0.1:0",
    grpc.ServerCredentials.createInsecure(),
    (error, bound) => error === null ? resolve(bound) : reject(error)
  )
)

interface Users extends grpc.Client {
  get(ask: string, done: grpc.requestCallback<string>): grpc.ClientUnaryCall
}
const Users = grpc.makeGenericClientConstructor({ get }, "Users") as unknown as {
  new(address: string, credentials: grpc.ChannelCredentials): Users
}

const Policies = PolicyLayer.make({
  policies: {
    "acme.Users.*": {
      retry: { maxAttempts: 3, backoff: Backoff.constant("5 millis") },
      timeout: { overall: "10 seconds" }
    }
  }
})
const client = new Users(`127.0.0.1:${port}`, grpc.credentials.createInsecure())
const call = Effect.gen(function*() {
  const users = yield* GrpcJs.makeClient(client)
  return yield* users.get("ada")
})
const answer = await Effect.runPromise(call.pipe(Effect.provide(Policies)))
client.close()
server.forceShutdown()
if (String(answer) !== "ada" || requests !== 3) throw new Error(`grpc: ${String(answer)} after ${requests} requests`)
