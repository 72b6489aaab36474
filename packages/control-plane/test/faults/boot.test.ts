/**
 * A process that boots while its source is down: with the last good document of a real disk, whatever state that is in.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Option } from "effect"
import { FetchHttpClient } from "effect/http"
import { KeyValueStore } from "effect/persistence"
import * as fs from "node:fs"
import { join } from "node:path"
import * as HttpSource from "../../src/HttpSource.ts"
import * as LastKnownGoodStore from "../../src/LastKnownGoodStore.ts"
import * as SavedText from "../../src/SavedText.ts"
import * as Files from "../files.ts"
import * as Origin from "../originServer.ts"
import { eventually } from "../support.ts"
import type { Process } from "./support.ts"
import { documentOf, isLive, reasonOf, start } from "./support.ts"

const sourceAt = (url: string) =>
  HttpSource.layer({
    url,
    interval: "20 millis",
    longPoll: "off",
    timeout: "100 millis",
    backoff: { initial: "20 millis", max: "40 millis" }
  }).pipe(Layer.provide(FetchHttpClient.layer))

const storeAt = (path: string) => LastKnownGoodStore.layerFile({ path }).pipe(Layer.provide(NodeServices.layer))

const textOf = (json: unknown, savedAt = Date.now()): string => {
  const encoded = SavedText.encode({ json, savedAt }, { maxBytes: 1_000_000, maxDepth: 32 })
  return encoded._tag === "Success" ? encoded.success : assert.fail(encoded.failure)
}

const serverWith = (document: unknown) =>
  Effect.tap(Origin.make, (server) => Effect.sync(() => server.answer(Origin.withEtag(document, "\"1\""))))

const bundled = documentOf("bundled", 4)

const comesBack = (server: Origin.OriginServer, process: Process) =>
  Effect.gen(function*() {
    yield* server.start
    yield* process.until("the document of the server", isLive("1"))
    assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "live", revision: "1" })
  })

describe("a process that boots while its server is down", () => {
  it.live("has the last good document of the process before it", () =>
    Effect.gen(function*() {
      const path = join(yield* Files.directory, "last-good.json")
      const server = yield* serverWith(documentOf("1", 2))
      yield* Effect.scoped(Effect.gen(function*() {
        const process = yield* start(sourceAt(server.url), { store: storeAt(path) })
        yield* process.until("the document", isLive("1"))
        yield* eventually("that it is saved", () => fs.existsSync(path))
      }))
      yield* server.stop
      const process = yield* start(sourceAt(server.url), { store: storeAt(path), bundled })
      assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "lkg", revision: "1" })
      const status = yield* process.until("a failure", (it) => reasonOf(it) === "Unavailable")
      assert.strictEqual(status.source, "lkg")
      assert.isTrue(Option.isSome(status.age))
      yield* comesBack(server, process)
    }), 20_000)

  const damages: ReadonlyArray<readonly [string, (path: string) => void, RegExp]> = [
    ["is cut off", (path) => fs.writeFileSync(path, textOf(documentOf("lkg", 3)).slice(0, 100)), /damaged/],
    [
      "has a byte that changed",
      (path) => fs.writeFileSync(path, textOf(documentOf("lkg", 3)).replace("lkg", "lkG")),
      /checksum/
    ],
    ["is empty", (path) => fs.writeFileSync(path, ""), /damaged/],
    ["has 100 MB", (path) => {
      fs.writeFileSync(path, "")
      fs.truncateSync(path, 100_000_000)
    }, /larger/],
    ["is a directory", (path) => fs.mkdirSync(path), /not a file/],
    [
      "is forty days old",
      (path) => fs.writeFileSync(path, textOf(documentOf("lkg", 3), Date.now() - 40 * 86_400_000)),
      /old/
    ],
    [
      "would be refused",
      (path) => fs.writeFileSync(path, textOf({ ...documentOf("lkg", 3), schemaVersion: "9.0" })),
      /the last known good document was refused/
    ]
  ]
  /** Boot waits for the server as long as it may: all of them at the same time. */
  const bootWith = ([what, damage, expected]: (typeof damages)[number]) =>
    Effect.scoped(Effect.gen(function*() {
      const path = join(yield* Files.directory, "last-good.json")
      const server = yield* serverWith(documentOf("1", 2))
      yield* server.stop
      damage(path)
      const process = yield* start(sourceAt(server.url), { store: storeAt(path), bundled, startupTimeout: "1 second" })
      assert.deepStrictEqual(yield* process.call, { attempts: 4, source: "bundled", revision: "bundled" }, what)
      const said = [
        ...Option.toArray(Option.map((yield* process.status).storeError, ({ message }) => message)),
        ...process.logs
      ]
      assert.match(said.join("\n"), expected, what)
      yield* comesBack(server, process)
    }))

  it.live(
    "has the bundled document when the last good one is damaged, and says so",
    () => Effect.forEach(damages, bootWith, { concurrency: "unbounded" }),
    20_000
  )

  it.live("makes one attempt when there is no document at all", () =>
    Effect.gen(function*() {
      const server = yield* serverWith(documentOf("1", 2))
      yield* server.stop
      const process = yield* start(sourceAt(server.url), { startupTimeout: "50 millis" })
      const { attempts, source } = yield* process.call
      assert.deepStrictEqual([attempts, source], [1, "missing"])
      yield* process.until("a failure", (it) => reasonOf(it) === "Unavailable")
      yield* comesBack(server, process)
    }), 20_000)

  it.live(
    "does not wait for a server that never answers when it has a last good document",
    () =>
      Effect.gen(function*() {
        const path = join(yield* Files.directory, "last-good.json")
        fs.writeFileSync(path, textOf(documentOf("lkg", 3)))
        const server = yield* Origin.make
        server.answer(() => {})
        const process = yield* start(sourceAt(server.url), { store: storeAt(path), startupTimeout: "5 minutes" })
        assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "lkg", revision: "lkg" })
      }),
    20_000
  )
})

describe("a process that cannot save its last good document", () => {
  const stores: ReadonlyArray<readonly [string, (directory: string) => string, RegExp]> = [
    ["there cannot be a directory", (directory) => {
      fs.writeFileSync(join(directory, "file"), "")
      return join(directory, "file", "last-good.json")
    }, /could not save, the file could not be written/]
  ]
  for (const [what, prepare, expected] of stores) {
    it.live(`goes on, and says so, when ${what}`, () =>
      Effect.gen(function*() {
        const path = prepare(yield* Files.directory)
        const server = yield* serverWith(documentOf("1", 2))
        const process = yield* start(sourceAt(server.url), { store: storeAt(path) })
        const status = yield* process.until("an error", (it) =>
          Option.exists(it.storeError, ({ operation }) => operation === "save"))
        assert.match(Option.getOrThrow(status.storeError).message, expected)
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "live", revision: "1" })
      }), 20_000)
  }

  it.live("goes on, and says so, when its key-value store fails or never answers", () =>
    Effect.gen(function*() {
      const server = yield* serverWith(documentOf("1", 2))
      const broken = Effect.fail(new KeyValueStore.KeyValueStoreError({ method: "set", message: "no connection" }))
      for (const answer of [broken, Effect.never]) {
        const kv = Layer.effect(
          KeyValueStore.KeyValueStore,
          Effect.map(KeyValueStore.KeyValueStore, (store) =>
            KeyValueStore.make({ ...store, get: () => answer, set: () => answer }))
        ).pipe(Layer.provide(KeyValueStore.layerMemory))
        const store = LastKnownGoodStore.layer({ timeout: "50 millis" }).pipe(Layer.provide(kv))
        const process = yield* start(sourceAt(server.url), { store })
        yield* process.until("an error", (it) =>
          Option.exists(it.storeError, ({ operation }) => operation === "save"))
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "live", revision: "1" })
      }
    }), 20_000)

  describe.skipIf(!Files.hasDisks("faults/boot"))("on a disk", () => {
    const disks: ReadonlyArray<readonly [string, (disk: Files.Disk) => void, (disk: Files.Disk) => void, string]> = [
      ["is full", (disk) => disk.fill(), (disk) => disk.free(), "ENOSPC"],
      ["is read-only", (disk) => disk.setReadOnly(true), (disk) => disk.setReadOnly(false), "EROFS"]
    ]
    for (const [what, spoil, mend, code] of disks) {
      it.live(
        `that ${what} goes on, says so, keeps the document before, and saves the next one`,
        () =>
          Effect.gen(function*() {
            const disk = yield* Files.disk
            const path = join(disk.path, "last-good.json")
            const server = yield* serverWith(documentOf("1", 2))
            const process = yield* start(sourceAt(server.url), { store: storeAt(path) })
            yield* eventually("that it is saved", () => fs.existsSync(path))
            const before = fs.readFileSync(path, "utf8")
            spoil(disk)
            // larger than what a full disk may still have room for
            const next = documentOf("2", 3, { policies: { ...documentOf("2", 3).policies, ...many(100) } })
            server.answer(Origin.json(next))
            yield* process.until("the second document", isLive("2"))
            const status = yield* process.until("an error", (it) => Option.isSome(it.storeError))
            assert.include(Option.getOrThrow(status.storeError).message, code)
            assert.strictEqual(fs.readFileSync(path, "utf8"), before)
            assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "live", revision: "2" })
            mend(disk)
            server.answer(Origin.json(documentOf("3", 2)))
            yield* process.until("the third document", isLive("3"))
            yield* process.until("no error", (it) => Option.isNone(it.storeError))
            yield* eventually("that it is saved", () => fs.readFileSync(path, "utf8").includes("\\\"3\\\""))
          }),
        20_000
      )
    }
  })
})

const many = (count: number) =>
  Object.fromEntries(
    Array.from(
      { length: count },
      (_, i) => [`orders.M${i}`, { retry: { maxAttempts: 2 }, timeout: { overall: "1 second" } }]
    )
  )
