/**
 * On a real `redis-server`, which is stopped, killed and started again.
 */
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import { assert, describe, it } from "@effect/vitest"
import { PolicySource } from "@rego/core"
import { Context, Deferred, Effect, Layer, Logger, Schedule } from "effect"
import { Redis } from "effect/persistence"
import { once } from "node:events"
import type { AddressInfo, Socket } from "node:net"
import { connect, createServer } from "node:net"
import * as RedisServer from "../../core/test/redisServer.ts"
import * as RedisSource from "../src/RedisSource.ts"
import { aWhile, eventually, listen, refusal } from "./support.ts"

const key = "rego:policies"

const documentOf = (revision: string) => ({ schemaVersion: "1.0", revision, policies: {} })
const textOf = (revision: string) => JSON.stringify(documentOf(revision))
const revisions = (documents: ReadonlyArray<unknown>) => documents.map((it) => (it as { revision: string }).revision)

/** The client of Effect reports every lost connection. */
const clientOf = (port: number, credentials = "") =>
  NodeRedis.layer({ url: `redis://${credentials}127.0.0.1:${port}` }).pipe(Layer.provide(Logger.layer([])))

const backoff = { initial: "20 millis", max: "50 millis" } as const
const pollOnly = { interval: "20 millis", timeout: "5 seconds", backoff } as const
const messageOnly = { interval: "1 hour", timeout: "5 seconds", backoff } as const

/** Where the server is to be down: a client that is not connected keeps a command until it is late. */
const impatient = { timeout: "300 millis" } as const

const listenTo = (port: number, options: Partial<RedisSource.Options>, credentials?: string) =>
  listen(RedisSource.make({ key, redis: clientOf(port, credentials), ...options }))

interface Publisher {
  readonly send: Redis.Redis["Service"]["send"]
  readonly set: (text: string) => Effect.Effect<unknown, Redis.RedisError>
  readonly publish: (text: string) => Effect.Effect<unknown, Redis.RedisError>
}

const publisher = (port: number, credentials?: string) =>
  Effect.map(Layer.build(clientOf(port, credentials)), (context): Publisher => {
    const { send } = Context.get(context, Redis.Redis)
    const set = (text: string) => send("SET", key, text)
    return { send, set, publish: (text) => Effect.andThen(set(text), send("PUBLISH", key, "")) }
  })

/** The connection for messages is made on its own time. */
const subscribed = ({ send }: Publisher) =>
  Effect.repeat(send<ReadonlyArray<unknown>>("PUBSUB", "NUMSUB", key), {
    until: ([, count]) => Number(count) === 1,
    schedule: Schedule.spaced("5 millis")
  })

/** A way to a server on which what is open can be swallowed, while new connections get through. */
const wayTo = (port: number) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const [sockets, swallowed] = [new Set<Socket>(), new Set<Socket>()]
      const server = createServer((socket) => {
        const upstream = connect(port, "127.0.0.1")
        for (const [from, to] of [[socket, upstream], [upstream, socket]] as const) {
          sockets.add(from.on("error", () => {}))
          from.pipe(to)
        }
      }).listen(0, "127.0.0.1")
      await once(server, "listening")
      return {
        port: (server.address() as AddressInfo).port,
        swallow: () => sockets.forEach((socket) => swallowed.add(socket.unpipe())),
        /** what was swallowed hears of it, as when a host comes back that knows nothing of it */
        reset: () => swallowed.forEach((socket) => socket.destroy()),
        open: () => [...sockets].filter(({ destroyed }) => !destroyed).length / 2,
        close: () => {
          for (const socket of sockets) socket.destroy()
          server.close()
        }
      }
    }),
    ({ close }) => Effect.sync(close)
  )

const withServer = Effect.gen(function*() {
  const port = yield* RedisServer.freePort
  const server = yield* RedisServer.start(port)
  return { port, server, redis: yield* publisher(port) }
})

const tests = () => {
  it.live("finds a document, and each one that a message announces", () =>
    Effect.gen(function*() {
      const { port, redis } = yield* withServer
      yield* redis.set(textOf("1"))
      const heard = yield* listenTo(port, messageOnly)
      yield* eventually("the first document", () => heard.documents.length === 1)
      yield* subscribed(redis)
      for (const revision of ["2", "3", "4"]) {
        yield* redis.publish(textOf(revision))
        yield* eventually(`document ${revision}`, () => heard.documents.length === Number(revision))
      }
      assert.deepStrictEqual(revisions(heard.documents), ["1", "2", "3", "4"])
      assert.deepStrictEqual(heard.failures, [])
    }), 20_000)

  it.live("finds a document that no message announced", () =>
    Effect.gen(function*() {
      const { port, redis } = yield* withServer
      yield* redis.set(textOf("1"))
      const heard = yield* listenTo(port, pollOnly)
      yield* eventually("the first document", () => heard.documents.length === 1)
      yield* redis.set(textOf("2"))
      yield* eventually("the second document", () => heard.documents.length === 2)
      yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
    }), 20_000)

  it.live("waits for a server that is not there yet", () =>
    Effect.gen(function*() {
      const port = yield* RedisServer.freePort
      const heard = yield* listenTo(port, { ...pollOnly, ...impatient })
      yield* eventually("failures", () => heard.failures.length > 2)
      assert.deepStrictEqual(heard.failures[0], { _tag: "Unavailable", detail: "no connection" })
      yield* RedisServer.start(port)
      yield* (yield* publisher(port)).set(textOf("1"))
      yield* eventually("the document", () => heard.documents.length === 1)
    }), 20_000)

  it.live(
    "goes on when the server is killed, and finds what is there when it comes back",
    () =>
      Effect.gen(function*() {
        const { port, redis, server } = yield* withServer
        yield* redis.set(textOf("1"))
        const heard = yield* listenTo(port, { ...pollOnly, ...impatient })
        yield* eventually("the first document", () => heard.documents.length === 1)
        yield* RedisServer.end(server)
        yield* eventually("failures", () => heard.failures.length > 1)
        assert.strictEqual(heard.failures[0]?._tag, "Unavailable")
        yield* RedisServer.start(port)
        yield* eventually("that the key is gone", () => heard.failures.at(-1)?._tag === "NotFound")
        const again = yield* publisher(port)
        yield* again.set(textOf("2"))
        yield* eventually("the second document", () => heard.documents.length === 2)
        // messages as well
        yield* subscribed(again)
      }),
    20_000
  )

  it.live("listens again after the server came back", () =>
    Effect.gen(function*() {
      const { port, redis, server } = yield* withServer
      yield* redis.set(textOf("1"))
      const heard = yield* listenTo(port, { ...messageOnly, ...impatient })
      yield* subscribed(redis)
      yield* RedisServer.end(server)
      yield* RedisServer.start(port)
      const again = yield* publisher(port)
      yield* subscribed(again)
      yield* again.publish(textOf("2"))
      yield* eventually("the second document", () => heard.documents.length === 2)
    }), 20_000)

  it.live("makes another connection when its client has given up", () =>
    Effect.gen(function*() {
      const { port, redis, server } = yield* withServer
      yield* redis.set(textOf("1"))
      const givesUp = NodeRedis.layer({ socket: { host: "127.0.0.1", port, reconnectStrategy: false } })
      const heard = yield* listenTo(port, {
        ...pollOnly,
        ...impatient,
        redis: givesUp.pipe(Layer.provide(Logger.layer([])))
      })
      yield* eventually("the first document", () => heard.documents.length === 1)
      yield* RedisServer.end(server)
      yield* eventually("failures", () => heard.failures.length > 1)
      yield* RedisServer.start(port)
      yield* (yield* publisher(port)).set(textOf("2"))
      yield* eventually("the second document", () => heard.documents.length === 2)
    }), 20_000)

  it.live("has a connection of its own, also where the program has built the same layer", () =>
    Effect.gen(function*() {
      const { port, redis } = yield* withServer
      yield* redis.set(textOf("1"))
      let built = 0
      const client = Layer.effectContext(Effect.tap(Layer.build(clientOf(port)), () => Effect.sync(() => built++)))
      const source = RedisSource.layer({ key, redis: client, ...pollOnly })
      const context = yield* Layer.build(Layer.merge(client, source))
      const heard = yield* Effect.provideContext(listen(Context.get(context, PolicySource.PolicySource)), context)
      yield* eventually("the document", () => heard.documents.length === 1)
      assert.strictEqual(built, 2)
    }), 20_000)

  it.live(
    "looks when listening has begun: what was announced before was heard by nobody",
    () =>
      Effect.gen(function*() {
        const { port, redis } = yield* withServer
        yield* redis.set(textOf("1"))
        const gate = yield* Deferred.make<void>()
        const slow = Layer.effect(
          Redis.Redis,
          Effect.map(Redis.Redis, (client) =>
            Redis.Redis.of({
              ...client,
              subscribe: (channel) => Effect.andThen(Deferred.await(gate), client.subscribe(channel))
            }))
        ).pipe(Layer.provide(clientOf(port)))
        const heard = yield* listenTo(port, { ...messageOnly, redis: slow })
        yield* eventually("the first document", () => heard.documents.length === 1)
        yield* redis.publish(textOf("2"))
        yield* aWhile
        assert.strictEqual(heard.documents.length, 1)
        yield* Deferred.succeed(gate, undefined)
        yield* eventually("the second document", () => heard.documents.length === 2)
      }),
    20_000
  )

  it.live("sends one command to a server that does not answer, however often it looks", () =>
    Effect.gen(function*() {
      const { port, redis, server } = yield* withServer
      const reads = Effect.map(
        redis.send<string>("INFO", "commandstats"),
        (stats) => Number(/cmdstat_getrange:calls=(\d+)/.exec(stats)?.[1] ?? 0)
      )
      yield* redis.set(textOf("1"))
      const quick = { ...pollOnly, timeout: "20 millis", backoff: { initial: "10 millis", max: "10 millis" } } as const
      const heard = yield* listenTo(port, quick)
      yield* eventually("the document", () => heard.documents.length === 1)
      const before = yield* reads
      server.kill("SIGSTOP")
      yield* eventually("failures", () => heard.failures.length > 60)
      for (const reason of heard.failures) {
        assert.deepStrictEqual(reason, { _tag: "Unavailable", detail: "no answer in time" })
      }
      server.kill("SIGCONT")
      assert.isBelow((yield* reads) - before, 30)
      yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
    }), 20_000)

  it.live(
    "makes another connection when one is open and dead: its host is gone, and nobody said so",
    () =>
      Effect.gen(function*() {
        const { port, redis } = yield* withServer
        yield* redis.set(textOf("1"))
        const way = yield* wayTo(port)
        const heard = yield* listenTo(way.port, { ...pollOnly, timeout: "50 millis" })
        yield* eventually("the document", () => heard.documents.length === 1)
        way.swallow()
        yield* redis.set(textOf("2"))
        yield* eventually("the second document", () => heard.documents.length === 2)
        assert.deepStrictEqual(heard.failures[0], { _tag: "Unavailable", detail: "no answer in time" })
        // for the key and for messages, before and after
        assert.isAtMost(way.open(), 4)
        way.reset()
        yield* eventually("that nothing is left of the dead one", () => way.open() === 2)
      }),
    20_000
  )

  it.live(
    "says so when a server takes the connection and says nothing, and goes on when it does",
    () =>
      Effect.gen(function*() {
        const { port, redis, server } = yield* withServer
        yield* redis.set(textOf("1"))
        server.kill("SIGSTOP")
        const heard = yield* listenTo(port, { ...pollOnly, timeout: "20 millis" })
        yield* eventually("failures", () => heard.failures.length > 12)
        assert.deepStrictEqual(heard.failures[0], { _tag: "Unavailable", detail: "no answer in time" })
        server.kill("SIGCONT")
        yield* eventually("the document", () => heard.documents.length === 1)
      }),
    20_000
  )

  it.live("closes while the server does not answer", () =>
    Effect.gen(function*() {
      const { port, redis, server } = yield* withServer
      yield* redis.set(textOf("1"))
      yield* Effect.scoped(Effect.gen(function*() {
        const heard = yield* listenTo(port, { ...pollOnly, timeout: "20 millis" })
        yield* eventually("the document", () => heard.documents.length === 1)
        server.kill("SIGSTOP")
        yield* eventually("a failure", () => heard.last?._tag === "Failed")
      }))
      server.kill("SIGCONT")
    }), 20_000)

  describe("says so when", () => {
    const rows: ReadonlyArray<
      readonly [string, (redis: Publisher) => Effect.Effect<unknown, Redis.RedisError>, unknown]
    > = [
      ["there is no key", () => Effect.void, {
        _tag: "NotFound",
        detail: "there is no such key, or nothing in it"
      }],
      ["the key is a list", ({ send }) => send("RPUSH", key, "x"), {
        _tag: "Malformed",
        detail: "the key holds no string"
      }],
      ["the value is too large", ({ set }) => set("x".repeat(3_000_000)), { _tag: "TooLarge", limit: 1_048_576 }],
      ["the value is nested too deep", ({ set }) => set("[".repeat(100_000)), {
        _tag: "Malformed",
        detail: "is nested deeper than 32 levels"
      }]
    ]
    for (const [what, prepare, expected] of rows) {
      it.live(what, () =>
        Effect.gen(function*() {
          const { port, redis } = yield* withServer
          yield* prepare(redis)
          const heard = yield* listenTo(port, pollOnly)
          yield* eventually("a failure", () => heard.failures.length > 0)
          assert.deepStrictEqual(heard.failures[0], expected)
          yield* redis.send("DEL", key)
          yield* redis.set(textOf("1"))
          yield* eventually("the document", () => heard.documents.length === 1)
        }), 20_000)
    }

    it.live("a password is missing, or wrong, without showing it", () =>
      Effect.gen(function*() {
        const port = yield* RedisServer.freePort
        yield* RedisServer.start(port, ["--requirepass", "right"])
        for (const credentials of ["", ":s3cret@"]) {
          const heard = yield* listenTo(port, pollOnly, credentials)
          yield* eventually("a failure", () => heard.failures.length > 0)
          assert.strictEqual(heard.failures[0]?._tag, "Unauthorized")
          assert.notInclude(JSON.stringify(heard.found), "s3cret")
        }
      }), 20_000)
  })

  it.live("reads the key where it may not listen to the channel", () =>
    Effect.gen(function*() {
      const { port, redis } = yield* withServer
      yield* redis.send(
        "ACL",
        "SETUSER",
        "reader",
        "on",
        ">pw",
        `~${key}`,
        "+getrange",
        "+client",
        "+ping",
        "resetchannels"
      )
      yield* redis.set(textOf("1"))
      const heard = yield* listenTo(port, pollOnly, "reader:pw@")
      yield* eventually("the first document", () => heard.documents.length === 1)
      yield* redis.set(textOf("2"))
      yield* eventually("the second document", () => heard.documents.length === 2)
      yield* aWhile
      assert.deepStrictEqual(heard.failures, [])
    }), 20_000)
}

describe.skipIf(RedisServer.isMissing("RedisSource"))("RedisSource on a real Redis", tests)

describe("RedisSource", () => {
  it("reads its options at once, with every mistake, and without what a connection is made of", () => {
    const wrong = { key: "", channel: "", redis: { url: "redis://:s3cret@redis" }, interval: 0, backoff: 1, url: 1 }
    const message = refusal(() => RedisSource.layer(wrong as never), [
      "key",
      "channel",
      "redis",
      "interval",
      "backoff",
      "url"
    ])
    assert.notInclude(message, "s3cret")
  })
})
