import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Effect, FileSystem, PlatformError } from "effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { join } from "node:path"
import * as FileSource from "../src/FileSource.ts"
import { directory } from "./files.ts"
import { aWhile, eventually, listen, refusal } from "./support.ts"

const documentOf = (revision: string) => ({ schemaVersion: "1.0", revision, policies: {} })
const textOf = (revision: string) => JSON.stringify(documentOf(revision))

/** What reads the file often hides whether the watch has seen anything. */
const watchOnly = { interval: "1 hour", settle: "20 millis" } as const
const pollOnly = { interval: "20 millis", watch: false, settle: "20 millis" } as const

const listenTo = (path: string, options: Partial<FileSource.Options>) =>
  Effect.flatMap(FileSource.make({ path, ...options }).pipe(Effect.provide(NodeServices.layer)), listen)

const replace = (path: string, text: string) => {
  fs.writeFileSync(`${path}.new`, text)
  fs.renameSync(`${path}.new`, path)
}

const revisions = (documents: ReadonlyArray<unknown>) => documents.map((it) => (it as { revision: string }).revision)

describe("FileSource", () => {
  const ways = [["by its watch", watchOnly], ["by reading now and then", pollOnly]] as const
  for (const [how, options] of ways) {
    describe(how, () => {
      it.live("finds a document, and each one that replaces it", () =>
        Effect.gen(function*() {
          const path = join(yield* directory, "policies.json")
          replace(path, textOf("1"))
          const heard = yield* listenTo(path, options)
          yield* eventually("the first document", () => heard.documents.length === 1)
          // the watch begins at the same time as the first look
          yield* aWhile
          for (const revision of ["2", "3", "4"]) {
            replace(path, textOf(revision))
            yield* eventually(`document ${revision}`, () => heard.documents.length === Number(revision))
          }
          assert.deepStrictEqual(revisions(heard.documents), ["1", "2", "3", "4"])
          assert.deepStrictEqual(heard.failures, [])
        }))

      it.live("never finds half of a document that is written in place", () =>
        Effect.gen(function*() {
          const path = join(yield* directory, "policies.json")
          fs.writeFileSync(path, textOf("1"))
          const heard = yield* listenTo(path, { ...options, settle: "500 millis" })
          yield* eventually("the first document", () => heard.documents.length === 1)
          yield* aWhile
          const text = JSON.stringify({ ...documentOf("2"), padding: "x".repeat(1_000) })
          const file = fs.openSync(path, "w")
          for (let at = 0; at < text.length; at += 50) {
            fs.writeSync(file, text.slice(at, at + 50))
            yield* Effect.sleep("5 millis")
          }
          fs.closeSync(file)
          yield* eventually("the second document", () => heard.documents.length === 2)
          assert.deepStrictEqual(revisions(heard.documents), ["1", "2"])
          assert.deepStrictEqual(heard.failures, [])
        }))

      it.live("says so when the file is removed, or broken, and finds the next document", () =>
        Effect.gen(function*() {
          const path = join(yield* directory, "policies.json")
          replace(path, textOf("1"))
          const heard = yield* listenTo(path, options)
          yield* eventually("the first document", () => heard.documents.length === 1)
          yield* aWhile
          fs.rmSync(path)
          yield* eventually("a failure", () => heard.failures.length > 0)
          assert.deepStrictEqual(heard.failures[0], { _tag: "NotFound", detail: "there is no such file" })
          replace(path, "{ \"revision\": ")
          yield* eventually("another failure", () => heard.failures.at(-1)?._tag === "Malformed")
          replace(path, textOf("2"))
          yield* eventually("the second document", () => heard.documents.length === 2)
          assert.strictEqual(heard.last?._tag, "Document")
        }))
    })
  }

  it.live("sees how Kubernetes replaces a mounted ConfigMap", () =>
    Effect.gen(function*() {
      const mount = yield* directory
      const publish = (revision: string) => {
        fs.mkdirSync(join(mount, `..${revision}`))
        fs.writeFileSync(join(mount, `..${revision}`, "policies.json"), textOf(revision))
        fs.symlinkSync(`..${revision}`, join(mount, "..data_tmp"))
        fs.renameSync(join(mount, "..data_tmp"), join(mount, "..data"))
      }
      publish("1")
      fs.symlinkSync(join("..data", "policies.json"), join(mount, "policies.json"))
      const heard = yield* listenTo(join(mount, "policies.json"), watchOnly)
      yield* eventually("the first document", () => heard.documents.length === 1)
      yield* aWhile
      publish("2")
      yield* eventually("the second document", () => heard.documents.length === 2)
      assert.deepStrictEqual(heard.failures, [])
    }))

  it.live("waits for a directory that is not there yet", () =>
    Effect.gen(function*() {
      const parent = join(yield* directory, "later")
      const heard = yield* listenTo(join(parent, "policies.json"), { interval: "20 millis", settle: 0 })
      yield* eventually("failures", () => heard.failures.length > 1)
      fs.mkdirSync(parent)
      replace(join(parent, "policies.json"), textOf("1"))
      yield* eventually("the document", () => heard.documents.length === 1)
    }))

  it.live("does not look when another file of the directory changes", () =>
    Effect.gen(function*() {
      const parent = yield* directory
      replace(join(parent, "policies.json"), textOf("1"))
      const heard = yield* listenTo(join(parent, "policies.json"), watchOnly)
      yield* eventually("the watch", () => heard.found.length === 2)
      for (let i = 0; i < 100; i++) fs.appendFileSync(join(parent, "other.log"), "x")
      yield* aWhile
      assert.strictEqual(heard.found.length, 2)
    }))

  describe("does not read", () => {
    it.live("more than its limit, though a file of 100 MB takes no time to make", () =>
      Effect.gen(function*() {
        const path = join(yield* directory, "policies.json")
        fs.writeFileSync(path, "")
        fs.truncateSync(path, 100_000_000)
        const heard = yield* listenTo(path, pollOnly)
        yield* eventually("a failure", () => heard.failures.length > 0)
        assert.deepStrictEqual(heard.failures[0], { _tag: "TooLarge", limit: 1_048_576 })
      }))

    const others: ReadonlyArray<readonly [string, (path: string) => void]> = [
      ["a pipe, for which it would wait forever", (path) => void spawnSync("mkfifo", [path])],
      ["a directory", (path) => fs.mkdirSync(path)],
      ["a device without an end", (path) => fs.symlinkSync("/dev/zero", path)]
    ]
    for (const [what, make] of others) {
      it.live(what, () =>
        Effect.gen(function*() {
          const path = join(yield* directory, "policies.json")
          make(path)
          assert.isTrue(fs.existsSync(path))
          const heard = yield* listenTo(path, pollOnly)
          yield* eventually("a failure", () => heard.failures.length > 0)
          assert.deepStrictEqual(heard.failures[0], { _tag: "Malformed", detail: "it is not a file" })
        }))
    }
  })

  it.live("says so when it may not read the file", () =>
    Effect.gen(function*() {
      // the tests may run as root, who may read everything
      const denied = PlatformError.systemError({
        _tag: "PermissionDenied",
        module: "FileSystem",
        method: "stat",
        pathOrDescriptor: "/policies.json"
      })
      const source = yield* FileSource.make({ path: "/policies.json", ...pollOnly }).pipe(
        Effect.provideService(FileSystem.FileSystem, FileSystem.makeNoop({ stat: () => Effect.fail(denied) })),
        Effect.provide(NodeServices.layer)
      )
      const heard = yield* listen(source)
      yield* eventually("a failure", () => heard.failures.length > 0)
      assert.deepStrictEqual(heard.failures[0], { _tag: "Unauthorized", detail: "the file may not be read" })
    }))

  it.live("asks a disk that hangs once, however often it looks: each question takes a thread of the process", () =>
    Effect.gen(function*() {
      let asked = 0
      const hangs = Effect.suspend(() => {
        asked++
        return Effect.uninterruptible(Effect.never)
      })
      const options = { path: "/policies.json", ...pollOnly, interval: "10 millis", timeout: "10 millis" } as const
      const source = yield* FileSource.make(options).pipe(
        Effect.provideService(FileSystem.FileSystem, FileSystem.makeNoop({ stat: () => hangs })),
        Effect.provide(NodeServices.layer)
      )
      const heard = yield* listen(source)
      yield* eventually("failures", () => heard.failures.length > 4)
      assert.deepStrictEqual(heard.failures[4], { _tag: "Unavailable", detail: "the file was not read in time" })
      assert.strictEqual(asked, 1)
    }))

  it.live("stops watching and reading when its scope closes", () =>
    Effect.gen(function*() {
      const path = join(yield* directory, "policies.json")
      replace(path, textOf("1"))
      const heard = yield* Effect.scoped(
        Effect.tap(listenTo(path, { interval: "20 millis" }), (it) => eventually("it", () => it.documents.length > 0))
      )
      const before = heard.found.length
      replace(path, textOf("2"))
      yield* aWhile
      assert.strictEqual(heard.found.length, before)
    }))

  it("reads its options at once, with every mistake", () => {
    const wrong = { path: "", interval: "2 days", watch: "yes", settle: -1, maxBytes: 1.5, file: "x" }
    refusal(() => FileSource.layer(wrong as never), ["path", "interval", "watch", "settle", "maxBytes", "file"])
  })
})
