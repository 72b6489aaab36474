/**
 * Files, Redis and flags that fail while calls go on. What each source does by itself is in its own test.
 */
import * as NodeRedis from "@effect/platform-node/NodeRedis"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { OpenFeature, TypedInMemoryProvider } from "@openfeature/server-sdk"
import { Context, Effect, Layer, Logger } from "effect"
import { Redis } from "effect/persistence"
import * as fs from "node:fs"
import { join } from "node:path"
import * as RedisServer from "../../../core/test/redisServer.ts"
import * as FileSource from "../../src/FileSource.ts"
import * as OpenFeatureSource from "../../src/OpenFeatureSource.ts"
import * as RedisSource from "../../src/RedisSource.ts"
import * as Files from "../files.ts"
import { documentOf, isLive, reasonOf, start } from "./support.ts"

const backoff = { initial: "20 millis", max: "40 millis" } as const

describe("with a file that fails", () => {
  const sourceAt = (path: string) =>
    FileSource.layer({ path, interval: "20 millis", settle: "20 millis" }).pipe(Layer.provide(NodeServices.layer))

  const rows: ReadonlyArray<readonly [string, (path: string) => void, string]> = [
    ["is removed", (path) => fs.rmSync(path), "NotFound"],
    ["is cut off", (path) => fs.truncateSync(path, 20), "Malformed"],
    ["is empty", (path) => fs.truncateSync(path, 0), "Malformed"],
    ["has 100 MB", (path) => fs.truncateSync(path, 100_000_000), "TooLarge"],
    ["becomes a directory", (path) => {
      fs.rmSync(path)
      fs.mkdirSync(path)
    }, "Malformed"]
  ]
  for (const [what, spoil, reason] of rows) {
    it.live(`calls go on, and status and timelines say so, when it ${what}`, () =>
      Effect.gen(function*() {
        const path = join(yield* Files.directory, "policies.json")
        fs.writeFileSync(path, JSON.stringify(documentOf("1", 2)))
        const process = yield* start(sourceAt(path))
        yield* process.until("the first document", isLive("1"))
        spoil(path)
        yield* process.until(reason, (it) => reasonOf(it) === reason)
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })
        fs.rmSync(path, { recursive: true, force: true })
        fs.writeFileSync(path, JSON.stringify(documentOf("2", 3)))
        yield* process.until("the second document", isLive("2"))
        assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "live", revision: "2" })
      }), 20_000)
  }

  it.live("a process boots before the file is there", () =>
    Effect.gen(function*() {
      const path = join(yield* Files.directory, "policies.json")
      const process = yield* start(sourceAt(path), { startupTimeout: "50 millis" })
      assert.strictEqual((yield* process.call).source, "missing")
      yield* process.until("NotFound", (it) => reasonOf(it) === "NotFound")
      fs.writeFileSync(path, JSON.stringify(documentOf("1", 2)))
      yield* process.until("the document", isLive("1"))
    }), 20_000)
})

const redisTests = () => {
  const quietly = Layer.provide(Logger.layer([]))
  const clientAt = (port: number) => NodeRedis.layer({ url: `redis://127.0.0.1:${port}` }).pipe(quietly)
  const sourceAt = (port: number) =>
    RedisSource.layer({ key: "policies", redis: clientAt(port), interval: "20 millis", timeout: "200 millis", backoff })
  const publish = (port: number, document: unknown) =>
    Effect.scoped(
      Effect.flatMap(Layer.build(clientAt(port)), (context) =>
        Context.get(context, Redis.Redis).send("SET", "policies", JSON.stringify(document)))
    )

  it.live(
    "a process boots while the server is down, and calls go on while it is killed and comes back",
    () =>
      Effect.gen(function*() {
        const port = yield* RedisServer.freePort
        const process = yield* start(sourceAt(port), { bundled: documentOf("bundled", 4), startupTimeout: "50 millis" })
        assert.deepStrictEqual(yield* process.call, { attempts: 4, source: "bundled", revision: "bundled" })
        yield* process.until("a failure", (it) => reasonOf(it) === "Unavailable")

        const server = yield* RedisServer.start(port)
        yield* publish(port, documentOf("1", 2))
        yield* process.until("the first document", isLive("1"))
        yield* RedisServer.end(server)
        yield* process.until("a failure", (it) => reasonOf(it) === "Unavailable")
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })

        yield* RedisServer.start(port)
        yield* process.until("no document", (it) => reasonOf(it) === "NotFound")
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })
        yield* publish(port, documentOf("2", 3))
        yield* process.until("the second document", isLive("2"))
        assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "live", revision: "2" })
      }),
    20_000
  )
}

describe.skipIf(RedisServer.isMissing("faults/others"))("with a Redis that fails", redisTests)

describe("with a flag that fails", () => {
  it.live("calls go on while the flag is gone, and when it is back", () =>
    Effect.gen(function*() {
      const flags = (document: ReturnType<typeof documentOf>) => ({
        policies: { disabled: false, variants: { on: document }, defaultVariant: "on" as const }
      })
      const provider = new TypedInMemoryProvider(flags(documentOf("1", 2)))
      yield* Effect.promise(() => OpenFeature.setProviderAndWait("faults", provider))
      const client = OpenFeature.getClient("faults")
      const process = yield* start(
        OpenFeatureSource.layer({ flag: "policies", client, interval: "20 millis", backoff })
      )
      yield* process.until("the first document", isLive("1"))
      provider.putConfiguration({} as never)
      yield* process.until("NotFound", (it) => reasonOf(it) === "NotFound")
      assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })
      provider.putConfiguration(flags(documentOf("2", 3)))
      yield* process.until("the second document", isLive("2"))
      assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "live", revision: "2" })
    }), 20_000)
})
