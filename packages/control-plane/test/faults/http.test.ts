/**
 * A real web server that does everything wrong that a server can, and a process that goes on.
 */
import { assert, describe, it } from "@effect/vitest"
import { PolicySource } from "@rego/core"
import { Clock, Duration, Effect, Layer, Option } from "effect"
import { FetchHttpClient } from "effect/http"
import * as HttpSource from "../../src/HttpSource.ts"
import type { Handler } from "../originServer.ts"
import * as Origin from "../originServer.ts"
import { aWhile } from "../support.ts"
import type { Options } from "./support.ts"
import { documentOf, isLive, key, reasonOf, refusedPaths, start } from "./support.ts"

/** After a failure at least 10 ms pass. */
const backoff = { initial: "100 millis", max: "100 millis" } as const
const leastWait = 10

const settings = { interval: "20 millis", longPoll: "off", timeout: "5 seconds", backoff } as const

const sourceAt = (url: string, given: Partial<HttpSource.Options>) =>
  HttpSource.layer({ url, ...settings, ...given }).pipe(Layer.provide(FetchHttpClient.layer))

/** A process whose policies, of two attempts, are those of the server. */
const running = (options?: Options, given: Partial<HttpSource.Options> = {}) =>
  Effect.gen(function*() {
    const server = yield* Origin.make
    server.answer(Origin.withEtag(documentOf("1", 2), "\"1\""))
    const process = yield* start(sourceAt(server.url, given), options)
    yield* process.until("the first document", isLive("1"))
    return { server, process }
  })

const flood: Handler = (_, response) => {
  const megabyte = Buffer.alloc(1_000_000, 0x20)
  response.writeHead(200, { "content-type": "application/json" })
  let left = 100
  const write = (): void => {
    if (response.destroyed || left-- === 0) return void response.end()
    if (response.write(megabyte)) setImmediate(write)
    else response.once("drain", write)
  }
  write()
}

describe("with an HTTP server that fails", () => {
  const rows: ReadonlyArray<readonly [string, Handler, PolicySource.Reason["_tag"], Partial<HttpSource.Options>?]> = [
    ["is too slow", () => {}, "Unavailable", { timeout: "200 millis" }],
    ["resets connections", (request) => void request.socket.resetAndDestroy(), "Unavailable"],
    ["answers 500", Origin.status(500), "Unavailable"],
    ["answers 404", Origin.status(404), "NotFound"],
    ["answers 401", Origin.status(401), "Unauthorized"],
    [
      "answers with a page",
      (_, response) => void response.writeHead(200, { "content-type": "text/html" }).end("<p>"),
      "Malformed"
    ],
    ["cuts JSON off", Origin.json(JSON.stringify(documentOf("2", 3)).slice(0, -1)), "Malformed"],
    ["sends 100 MB", flood, "TooLarge"],
    ["nests a document a million levels deep", Origin.json("[".repeat(1_000_000)), "Malformed"],
    ["redirects to another host", Origin.status(302, { location: "http://policies.invalid/" }), "Untrusted"]
  ]
  for (const [what, handler, reason, given] of rows) {
    it.live(`calls go on, and status and timelines say so, while it ${what}`, () =>
      Effect.gen(function*() {
        const { process, server } = yield* running({}, given)
        const [before, began, calls] = [server.seen.length, performance.now(), process.traffic.calls]
        server.answer(handler)
        const status = yield* process.until(reason, (it) => reasonOf(it) === reason)
        assert.deepStrictEqual([status.source, status.revision], ["stale", "1"])
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })
        yield* aWhile

        assert.isAbove(process.traffic.calls, calls)
        // the server may hear of the end of one request after the beginning of the next
        assert.isAtMost(server.mostInFlight, 2)
        assert.isAtMost(server.seen.length - before, 3 + (performance.now() - began) / leastWait)
        assert.strictEqual(process.logs.filter((line) => line.includes("policy source")).length, 1)

        server.answer(Origin.withEtag(documentOf("2", 3), "\"2\""))
        const after = yield* process.until("the second document", isLive("2"))
        assert.isTrue(Option.isNone(after.lastError))
        assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "live", revision: "2" })
      }), 20_000)
  }

  it.live(
    "calls go on while the server is gone, and the document it has when it is back is in force",
    () =>
      Effect.gen(function*() {
        const { process, server } = yield* running()
        yield* server.stop
        yield* process.until("a failure", (it) => reasonOf(it) === "Unavailable")
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })
        yield* server.start
        yield* process.until("the same document", isLive("1"))
        server.answer(Origin.withEtag(documentOf("2", 3), "\"2\""))
        yield* process.until("the second document", isLive("2"))
      }),
    20_000
  )

  it.live("401 stays visible, though a cache on the way still has the document", () =>
    Effect.gen(function*() {
      const { process, server } = yield* running()
      server.answer((request, response) =>
        request.headers["if-none-match"] === undefined
          ? Origin.status(401)(request, response)
          : Origin.status(304)(request, response)
      )
      yield* aWhile
      yield* process.until("the cache", isLive("1"))
      server.answer(Origin.status(401))
      yield* process.until("a failure", (it) => reasonOf(it) === "Unauthorized")
      server.answer((request, response) =>
        request.headers["if-none-match"] === undefined
          ? Origin.status(401)(request, response)
          : Origin.status(304)(request, response)
      )
      yield* aWhile
      yield* aWhile
      assert.strictEqual(reasonOf(yield* process.status), "Unauthorized")
      assert.isAtLeast(process.logs.filter((line) => line.startsWith("Error")).length, 1)
    }), 20_000)
})

describe("with documents that are wrong", () => {
  const policy = documentOf("1", 2).policies[key]!
  const withPolicy = (parts: object) => documentOf("2", 3, { policies: { [key]: { ...policy, ...parts } } })

  const refused: ReadonlyArray<readonly [string, unknown, ReadonlyArray<string>]> = [
    ["an attempt may take no time", withPolicy({ timeout: { perAttempt: 0 } }), [`policies.${key}.timeout.perAttempt`]],
    [
      "a ratio is ten",
      documentOf("2", 3, { budgets: { mine: { type: "ratio", ratio: 10 } } }),
      ["budgets.mine.ratio"]
    ],
    ["it is of another major version", documentOf("2", 3, { schemaVersion: "2.0" }), ["schemaVersion"]],
    ["it has a field that is not known", documentOf("2", 3, { polices: {} }), ["polices"]],
    [
      "it has a field __proto__",
      JSON.stringify(documentOf("2", 3)).replace("{", "{\"__proto__\":{\"off\":[\"*\"]},"),
      ["__proto__"]
    ],
    [
      "it has a field constructor",
      JSON.stringify(documentOf("2", 3)).replace("{", "{\"constructor\":{\"prototype\":{\"off\":[\"*\"]}},"),
      ["constructor"]
    ],
    [
      "a policy has a field __proto__",
      JSON.stringify(documentOf("2", 3)).replace(
        "\"retry\"",
        "\"__proto__\":{\"retry\":{\"maxAttempts\":9}},\"retry\""
      ),
      [`policies.${key}.__proto__`]
    ],
    ["it is a list", [], [""]],
    ["it is null", null, [""]],
    ["it has the revision of the one in force, and other content", documentOf("1", 3), ["revision"]]
  ]
  for (const [what, body, paths] of refused) {
    it.live(`nothing changes when ${what}`, () =>
      Effect.gen(function*() {
        const { process, server } = yield* running()
        server.answer(Origin.json(body))
        const status = yield* process.until("a refusal", (it) => Option.isSome(it.rejected))
        assert.deepStrictEqual(refusedPaths(status), paths)
        assert.deepStrictEqual([status.source, status.revision], ["stale", "1"])
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })
        assert.isAtLeast(yield* process.rejected, 1)
        assert.strictEqual(process.logs.filter((line) => line.includes("was refused")).length, 1)
        assert.isUndefined(({} as Record<string, unknown>)["off"])

        server.answer(Origin.json(documentOf("3", 3)))
        const after = yield* process.until("the next document", isLive("3"))
        assert.isTrue(Option.isNone(after.rejected))
        assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "live", revision: "3" })
      }), 20_000)
  }

  it.live("what is kept of a document with 5,000 mistakes is bounded", () =>
    Effect.gen(function*() {
      const { process, server } = yield* running()
      const policies = Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`users.M${i}`, { retries: i }]))
      server.answer(Origin.json(documentOf("2", 3, { policies })))
      const status = yield* process.until("a refusal", (it) => Option.isSome(it.rejected))
      assert.strictEqual(refusedPaths(status)?.length, 100)
      assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })
    }), 20_000)

  it.live("names such as __proto__ and constructor are keys like any other", () =>
    Effect.gen(function*() {
      const { process, server } = yield* running()
      const text = JSON.stringify(documentOf("2", 3))
      server.answer(
        Origin.json(text.replace(`{"${key}"`, `{"__proto__":{"retry":"off"},"constructor":{"retry":"off"},"${key}"`))
      )
      yield* process.until("the second document", isLive("2"))
      assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "live", revision: "2" })
    }), 20_000)

  it.live(
    "a document that comes back is in force, and the status says that it was before",
    () =>
      Effect.gen(function*() {
        const { process, server } = yield* running()
        server.answer(Origin.json(documentOf("2", 3)))
        yield* process.until("the second document", isLive("2"))
        server.answer(Origin.json(documentOf("1", 2)))
        const status = yield* process.until("the first document", isLive("1"))
        assert.isTrue(status.rolledBack)
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "live", revision: "1" })
      }),
    20_000
  )

  it.live(
    "a document of a newer minor version is in force, and what is not known of it is reported",
    () =>
      Effect.gen(function*() {
        const { process, server } = yield* running()
        server.answer(Origin.json(documentOf("2", 3, { schemaVersion: "1.99", shadow: { percent: 5 } })))
        const status = yield* process.until("the second document", isLive("2"))
        assert.deepStrictEqual(status.issues.map(({ path }) => path.join(".")), ["shadow"])
        assert.deepStrictEqual(yield* process.call, { attempts: 3, source: "live", revision: "2" })
      }),
    20_000
  )

  it.live(
    "an entry that names a classifier which this build does not know keeps its last good version",
    () =>
      Effect.gen(function*() {
        const { process, server } = yield* running()
        server.answer(Origin.json(withPolicy({ retry: { maxAttempts: 3 }, classifier: "of-tomorrow" })))
        const status = yield* process.until("the second document", isLive("2"))
        assert.deepStrictEqual(status.issues.map(({ path }) => path.join(".")), [`policies.${key}.classifier`])
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "live", revision: "2" })
      }),
    20_000
  )

  it.live("its kill switch is in force all the same", () =>
    Effect.gen(function*() {
      const { process, server } = yield* running()
      server.answer(Origin.json(documentOf("2", 3, { off: ["users.*"], polices: {} })))
      yield* process.until("a refusal", (it) => Option.isSome(it.rejected))
      assert.deepStrictEqual(yield* process.call, { attempts: 1, source: "stale", revision: "1" })
    }), 20_000)
})

describe("with a clock that jumps", () => {
  const year = 31_536_000_000

  /** The wall clock of a host is set by others; its monotonic line is not. */
  class Jumping implements Clock.Clock {
    offset = 0
    private readonly live: Clock.Clock = Effect.runSync(Effect.clockWith(Effect.succeed))
    readonly currentTimeMillisUnsafe = () => this.live.currentTimeMillisUnsafe() + this.offset
    readonly currentTimeNanosUnsafe = () => this.live.currentTimeNanosUnsafe() + BigInt(this.offset) * 1_000_000n
    readonly monotonicTimeNanosUnsafe = () => this.live.monotonicTimeNanosUnsafe()
    readonly currentTimeMillis = Effect.sync(this.currentTimeMillisUnsafe)
    readonly currentTimeNanos = Effect.sync(this.currentTimeNanosUnsafe)
    readonly monotonicTimeNanos = this.live.monotonicTimeNanos
    readonly sleep = (duration: Parameters<Clock.Clock["sleep"]>[0]) => this.live.sleep(duration)
  }

  for (const [what, offset] of [["a year ahead", year], ["a year back", -year]] as const) {
    it.live(`documents go on arriving, and ages are sane, after it jumped ${what}`, () =>
      Effect.gen(function*() {
        const clock = new Jumping()
        const { process, server } = yield* running({ clock })
        server.answer(Origin.status(503, { "retry-after": "Thu, 01 Jan 2026 00:00:00 GMT" }))
        yield* process.until("a failure", (it) => reasonOf(it) === "Unavailable")
        clock.offset = offset
        assert.isAtLeast(Duration.toMillis(Option.getOrThrow((yield* process.status).age)), 0)
        assert.deepStrictEqual(yield* process.call, { attempts: 2, source: "stale", revision: "1" })
        server.answer(Origin.json(documentOf("2", 3)))
        yield* process.until("the second document", isLive("2"))
        clock.offset = 0
        server.answer(Origin.json(documentOf("3", 4)))
        yield* process.until("the third document", isLive("3"))
        assert.deepStrictEqual(yield* process.call, { attempts: 4, source: "live", revision: "3" })
      }), 20_000)
  }
})
