/**
 * A gRPC client under policies: one call that the server pushes back, one that meets a slow replica, and fifty while the
 * server is down. Prints the timelines, and what the server saw of each.
 *
 * Run it with `node --conditions=@rego/source examples/06-grpc-client.ts`.
 */
import * as grpc from "@grpc/grpc-js"
import { Backoff, Budget, Hedge, PolicyLayer, Timeline } from "@rego/core"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import { Effect, Layer } from "effect"
import assert from "node:assert"

// -----------------------------------------------------------------------------
// the service; a generator would have made this from a .proto file, with messages that are not JSON
// -----------------------------------------------------------------------------

interface Ask {
  readonly id: string
}

interface User {
  readonly name: string
}

const method = (name: string): grpc.MethodDefinition<Ask, User> => ({
  path: `/acme.users.v1.Users/${name}`,
  requestStream: false,
  responseStream: false,
  requestSerialize: (ask) => Buffer.from(JSON.stringify(ask)),
  requestDeserialize: (bytes) => JSON.parse(bytes.toString()),
  responseSerialize: (user) => Buffer.from(JSON.stringify(user)),
  responseDeserialize: (bytes) => JSON.parse(bytes.toString())
})

const definition = { get: method("Get"), find: method("Find") }

interface UsersClient extends grpc.Client {
  get(ask: Ask, done: grpc.requestCallback<User>): grpc.ClientUnaryCall
  find(ask: Ask, done: grpc.requestCallback<User>): grpc.ClientUnaryCall
}

const UsersClient = grpc.makeGenericClientConstructor(definition, "Users") as unknown as {
  new(address: string, credentials: grpc.ChannelCredentials): UsersClient
}

// -----------------------------------------------------------------------------
// the server
// -----------------------------------------------------------------------------

type Call = grpc.ServerUnaryCall<Ask, User>
type Done = grpc.sendUnaryData<User>

/** Refuses the first request, and says when the client may come back; then it works until somebody pulls the plug. */
class Server {
  requests = 0
  cancelled = 0
  down = false
  private readonly server = new grpc.Server()

  private readonly get = (_: Call, done: Done): void => {
    this.requests++
    if (!this.down && this.requests > 1) return done(null, { name: "ada" })
    const metadata = new grpc.Metadata()
    if (!this.down) metadata.set("grpc-retry-pushback-ms", "40")
    done({ code: grpc.status.UNAVAILABLE, details: this.down ? "down" : "busy", metadata })
  }

  /** The first one meets a replica that does not answer. */
  private readonly find = (call: Call, done: Done): void => {
    if (++this.requests > 1) return done(null, { name: "grace" })
    call.once("cancelled", () => this.cancelled++)
  }

  readonly listen = Effect.acquireRelease(
    Effect.callback<string>((resume) => {
      this.server.addService(definition, { get: this.get, find: this.find })
      this.server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
        resume(error === null ? Effect.succeed(`127.0.0.1:${port}`) : Effect.die(error))
      })
    }),
    () => Effect.sync(() => this.server.forceShutdown())
  )
}

// -----------------------------------------------------------------------------
// the policies, and the client
// -----------------------------------------------------------------------------

const Policies = PolicyLayer.make({
  policies: {
    "acme.users.v1.Users.*": {
      retry: { maxAttempts: 4, backoff: Backoff.exponential({ initial: "10 millis", max: "100 millis" }) },
      timeout: { perAttempt: "500 millis", overall: "2 seconds" },
      budget: "users"
    },
    "acme.users.v1.Users.Find": { hedge: { trigger: Hedge.after("50 millis") }, idempotent: true }
  }
}).pipe(
  Layer.provide(Budget.layer("users", Budget.successTokens({ maxTokens: 10, tokenRatio: 0.1 }), { scope: "shared" }))
)

const usersAt = (address: string) =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() => new UsersClient(address, grpc.credentials.createInsecure())),
      (client) => Effect.sync(() => client.close())
    ),
    (client) => GrpcJs.makeClient(client)
  )

// -----------------------------------------------------------------------------
// three situations
// -----------------------------------------------------------------------------

const show = (title: string, timelines: ReadonlyArray<Timeline.Timeline>, seen: string): void => {
  console.log(`\n${title}`)
  for (const timeline of timelines) console.log(Timeline.render(timeline))
  console.log(`the server saw ${seen}`)
}

const program = Effect.gen(function*() {
  const server = new Server()
  const users = yield* usersAt(yield* server.listen)

  const [ada, pushed] = yield* Timeline.capture(users.get({ id: "1" }))
  show("The server is busy, and says when to come back", pushed, `${server.requests} requests`)
  assert.deepStrictEqual((yield* ada).name, "ada")
  assert.deepStrictEqual(pushed[0]?.decisions.map((it) => it._tag === "BackoffScheduled" && it.delay), [40])

  server.requests = 0
  const [grace, hedged] = yield* Timeline.capture(users.find({ id: "2" }))
  while (server.cancelled === 0) yield* Effect.sleep("10 millis")
  show("A replica does not answer", hedged, `${server.requests} requests, and the cancellation of ${server.cancelled}`)
  assert.strictEqual((yield* grace).name, "grace")
  assert.deepStrictEqual([server.requests, server.cancelled], [2, 1])

  server.requests = 0
  server.down = true
  for (let i = 0; i < 50; i++) yield* Effect.ignore(users.get({ id: "3" }))
  show("The server is down: 50 calls of up to 4 attempts", [], `${server.requests} requests`)
  assert(server.requests < 60, "the tokens of gRFC A6 hold")
})

await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(Policies)))
