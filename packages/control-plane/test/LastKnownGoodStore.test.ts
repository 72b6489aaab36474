import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { LastKnownGood } from "@rego/core"
import { Clock, Effect, Fiber, FileSystem, Layer, Option, Path } from "effect"
import { KeyValueStore } from "effect/persistence"
import { TestClock } from "effect/testing"
import { fork } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import { join } from "node:path"
import * as LastKnownGoodStore from "../src/LastKnownGoodStore.ts"
import * as Files from "./files.ts"
import { refusal } from "./support.ts"

const document = { schemaVersion: "1.0", revision: "7", policies: {} }
const next = { ...document, revision: "8" }

const fileStore = (path: string, options: Partial<LastKnownGoodStore.FileOptions> = {}) =>
  Effect.provide(
    LastKnownGood.LastKnownGood,
    LastKnownGoodStore.layerFile({ path, ...options }).pipe(Layer.provide(NodeServices.layer))
  )

const loaded = (store: LastKnownGood.LastKnownGood["Service"]) =>
  Effect.map(store.load, (it) => Option.getOrUndefined(it)?.json)

const refused = <A>(effect: Effect.Effect<A, LastKnownGood.StoreError>) =>
  Effect.map(Effect.flip(effect), ({ detail, operation }) => `${operation}: ${detail}`)

describe("LastKnownGoodStore", () => {
  describe("layerFile", () => {
    it.live("gives back the document and when it was saved, to another process as well", () =>
      Effect.gen(function*() {
        const path = join(yield* Files.directory, "deep", "inside", "last-good.json")
        const store = yield* fileStore(path)
        assert.deepStrictEqual(yield* store.load, Option.none())
        const before = yield* Clock.currentTimeMillis
        yield* store.save(document)
        yield* store.save(next)
        const saved = Option.getOrThrow(yield* (yield* fileStore(path)).load)
        assert.deepStrictEqual(saved.json, next)
        assert.isAtLeast(saved.savedAt, before)
        assert.strictEqual(store.name, path)
      }))

    it.live("leaves one file, which only its owner may read", () =>
      Effect.gen(function*() {
        const directory = yield* Files.directory
        const path = join(directory, "last-good.json")
        const store = yield* fileStore(path)
        yield* Effect.forEach([document, next, document], store.save)
        assert.deepStrictEqual(fs.readdirSync(directory), ["last-good.json"])
        assert.strictEqual(fs.statSync(path).mode & 0o777, 0o600)
      }))

    it.live("has the whole of one document, whenever a process is killed that saves", () =>
      Effect.gen(function*() {
        const directory = yield* Files.directory
        const kill = (delay: number) =>
          Effect.gen(function*() {
            const path = join(directory, `${delay}.json`)
            const child = fork(join(import.meta.dirname, "fixtures/saving.ts"), [path], {
              execArgv: ["--conditions=@rego/source"]
            })
            yield* Effect.promise(() => once(child, "message"))
            yield* Effect.sleep(delay)
            const exited = once(child, "exit")
            child.kill("SIGKILL")
            yield* Effect.promise(() => exited)
            return (yield* loaded(yield* fileStore(path))) as { readonly padding: string }
          })
        const left = yield* Effect.all([kill(7), kill(19)], { concurrency: 2 })
        assert.deepStrictEqual(left.map(({ padding }) => padding.length), [200_000, 200_000])
      }), 30_000)

    it.live("removes what a process left behind that was killed, when it is old", () =>
      Effect.gen(function*() {
        const directory = yield* Files.directory
        const [old, young] = ["last-good.json.tmp-old", "last-good.json.tmp-young"]
        for (const name of [old, young, "other.tmp-old"]) fs.writeFileSync(join(directory, name), "x")
        for (const name of [old, "other.tmp-old"]) fs.utimesSync(join(directory, name), 1, 1)
        yield* (yield* fileStore(join(directory, "last-good.json"))).save(document)
        assert.deepStrictEqual(fs.readdirSync(directory).toSorted(), ["last-good.json", young, "other.tmp-old"])
      }))

    const damages: ReadonlyArray<readonly [string, (path: string) => void, string]> = [
      ["half of it is there", (path) => fs.truncateSync(path, 100), "load: it is damaged: no JSON"],
      ["nothing of it is there", (path) => fs.truncateSync(path, 0), "load: it is damaged: no JSON"],
      [
        "a byte has changed",
        (path) => fs.writeFileSync(path, fs.readFileSync(path, "utf8").replace("revision", "revisioN")),
        "load: it is damaged: the checksum is wrong"
      ],
      ["it is no text", (path) => fs.writeFileSync(path, Uint8Array.of(0xff)), "load: it is damaged: it is not UTF-8"],
      [
        "it is a document, as people write it",
        (path) => fs.writeFileSync(path, JSON.stringify(document)),
        "load: it is damaged: not what this library writes"
      ],
      [
        "it has 100 MB",
        (path) => fs.truncateSync(path, 100_000_000),
        "load: the file is larger than 6292480 bytes"
      ],
      [
        "it is a directory",
        (path) => {
          fs.rmSync(path)
          fs.mkdirSync(path)
        },
        "load: it is not a file"
      ]
    ]
    for (const [what, damage, expected] of damages) {
      it.live(`says so when ${what}`, () =>
        Effect.gen(function*() {
          const path = join(yield* Files.directory, "last-good.json")
          const store = yield* fileStore(path)
          yield* store.save(document)
          damage(path)
          assert.strictEqual(yield* refused(store.load), expected)
        }))
    }

    it.live("saves over what is damaged", () =>
      Effect.gen(function*() {
        const path = join(yield* Files.directory, "last-good.json")
        fs.writeFileSync(path, "{")
        const store = yield* fileStore(path)
        yield* store.save(document)
        assert.deepStrictEqual(yield* loaded(store), document)
      }))

    it.live("says so when there cannot be a directory", () =>
      Effect.gen(function*() {
        const file = join(yield* Files.directory, "file")
        fs.writeFileSync(file, "x")
        const store = yield* fileStore(join(file, "last-good.json"))
        assert.strictEqual(yield* refused(store.save(document)), "save: the file could not be written (EEXIST)")
        assert.strictEqual(yield* refused(store.load), "load: the file could not be read (ENOTDIR)")
      }))

    it.effect("gives up on a disk that hangs, and asks it no second time: each question takes a thread", () =>
      Effect.gen(function*() {
        let asked = 0
        const hangs = Effect.suspend(() => {
          asked++
          return Effect.uninterruptible(Effect.never)
        })
        const disk = FileSystem.makeNoop({ stat: () => hangs, makeDirectory: () => hangs })
        const layer = LastKnownGoodStore.layerFile({ path: "/last-good.json" })
        const store = yield* LastKnownGood.LastKnownGood.pipe(
          Effect.provide(layer.pipe(Layer.provide([Layer.succeed(FileSystem.FileSystem, disk), Path.layer])))
        )
        for (const effect of [store.load, store.save(document), store.save(next)]) {
          const fiber = yield* Effect.forkChild(Effect.flip(Effect.asVoid(effect)), { startImmediately: true })
          yield* TestClock.adjust("5 seconds")
          assert.strictEqual((yield* Fiber.join(fiber)).detail, "it took too long")
        }
        assert.strictEqual(asked, 1)
      }))

    describe.skipIf(!Files.hasDisks("LastKnownGoodStore"))("on a disk", () => {
      it.live("that is full keeps the document it had, says so, and leaves nothing behind", () =>
        Effect.gen(function*() {
          const disk = yield* Files.disk
          const store = yield* fileStore(join(disk.path, "last-good.json"))
          yield* store.save(document)
          disk.fill()
          const large = { ...next, padding: "x".repeat(30_000) }
          assert.strictEqual(yield* refused(store.save(large)), "save: the file could not be written (ENOSPC)")
          assert.deepStrictEqual(yield* loaded(store), document)
          assert.deepStrictEqual(fs.readdirSync(disk.path).toSorted(), ["filler", "last-good.json"])
          disk.free()
          yield* store.save(large)
          assert.deepStrictEqual(yield* loaded(store), large)
        }))

      it.live("that may not be written to keeps the document it had, and says so", () =>
        Effect.gen(function*() {
          const disk = yield* Files.disk
          const store = yield* fileStore(join(disk.path, "last-good.json"))
          yield* store.save(document)
          disk.setReadOnly(true)
          assert.strictEqual(yield* refused(store.save(next)), "save: the file could not be written (EROFS)")
          assert.deepStrictEqual(yield* loaded(store), document)
          disk.setReadOnly(false)
          yield* store.save(next)
          assert.deepStrictEqual(yield* loaded(store), next)
        }))
    })
  })

  describe("layer", () => {
    const memory = LastKnownGoodStore.layer().pipe(Layer.provideMerge(KeyValueStore.layerMemory))

    it.effect("keeps the document in a key-value store", () =>
      Effect.gen(function*() {
        const store = yield* LastKnownGood.LastKnownGood
        assert.deepStrictEqual(yield* store.load, Option.none())
        yield* TestClock.setTime(1_000)
        yield* store.save(document)
        assert.deepStrictEqual(yield* store.load, Option.some({ json: document, savedAt: 1_000 }))
        assert.isTrue(yield* (yield* KeyValueStore.KeyValueStore).has("rego/last-known-good"))
      }).pipe(Effect.provide(memory)))

    const storeOn = (changes: Partial<KeyValueStore.KeyValueStore>) =>
      Effect.provide(
        LastKnownGood.LastKnownGood,
        LastKnownGoodStore.layer({ key: "policies" }).pipe(
          Layer.provide(Layer.effect(
            KeyValueStore.KeyValueStore,
            Effect.map(KeyValueStore.KeyValueStore, (store) => KeyValueStore.make({ ...store, ...changes }))
          )),
          Layer.provide(KeyValueStore.layerMemory)
        )
      )

    it.effect("says so when the store fails", () =>
      Effect.gen(function*() {
        const failure = Effect.fail(new KeyValueStore.KeyValueStoreError({ method: "set", message: "no connection" }))
        const store = yield* storeOn({ get: () => failure, set: () => failure })
        assert.strictEqual(yield* refused(store.load), "load: no connection")
        assert.strictEqual(yield* refused(store.save(document)), "save: no connection")
      }))

    it.effect("gives up on a store that does not answer", () =>
      Effect.gen(function*() {
        const store = yield* storeOn({ get: () => Effect.never, set: () => Effect.never })
        for (const effect of [store.load, store.save(document)]) {
          const fiber = yield* Effect.forkChild(Effect.flip(Effect.asVoid(effect)), { startImmediately: true })
          yield* TestClock.adjust("4999 millis")
          assert.isUndefined(fiber.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          assert.strictEqual((yield* Fiber.join(fiber)).detail, "it took too long")
        }
      }))
  })

  it("reads its options at once, with every mistake", () => {
    const wrong = { path: "", key: "", timeout: 0, maxBytes: 0, maxDepth: 0 }
    refusal(() => LastKnownGoodStore.layerFile(wrong as never), ["path", "key", "timeout", "maxBytes", "maxDepth"])
    refusal(() => LastKnownGoodStore.layer(wrong as never), ["path", "key", "timeout", "maxBytes", "maxDepth"])
  })
})
