import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { assert, describe, it } from "@effect/vitest"
import type { PolicySource } from "@rego/core"
import { Effect, Layer, Option, Redacted } from "effect"
import type { HttpClient } from "effect/http"
import { FetchHttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import * as HttpSource from "../src/HttpSource.ts"
import type { Handler, OriginServer } from "./originServer.ts"
import * as Origin from "./originServer.ts"
import { aWhile, eventually, listen, refusal } from "./support.ts"

const document = { schemaVersion: "1.0", revision: "7", policies: {} }

const quick = {
  interval: "20 millis",
  longPoll: "off",
  timeout: "5 seconds",
  backoff: { initial: "20 millis", max: "40 millis" }
} as const

const clients: ReadonlyArray<readonly [string, Layer.Layer<HttpClient.HttpClient>]> = [
  ["fetch", FetchHttpClient.layer],
  ["node:http", NodeHttpClient.layerNodeHttp]
]

/** The client lives as long as the test. */
const sourceOf = (options: HttpSource.Options, client = FetchHttpClient.layer) =>
  Effect.flatMap(
    Layer.build(client),
    (context) => HttpSource.make({ ...quick, ...options }).pipe(Effect.provideContext(context))
  )

const heardFrom = (
  options: Partial<HttpSource.Options> & { readonly path?: string },
  handler: Handler,
  client?: Layer.Layer<HttpClient.HttpClient>
) =>
  Effect.gen(function*() {
    const server = yield* Origin.make
    server.answer(handler)
    const { path = "/v1/policies", ...given } = options
    const source = yield* sourceOf({ url: server.url + path, ...given }, client)
    const heard = yield* listen(source)
    return { server, source, heard }
  })

const times = (server: OriginServer, count: number) =>
  eventually(`${count} requests`, () => server.seen.length >= count)

describe("HttpSource", () => {
  for (const [name, client] of clients) {
    describe(`with ${name}`, () => {
      it.live("finds a document, then asks whether there is another one", () =>
        Effect.gen(function*() {
          const { heard, server } = yield* heardFrom({}, Origin.withEtag(document, "\"7\""), client)
          yield* times(server, 3)
          yield* eventually("an unchanged one", () => heard.last?._tag === "Unchanged")
          assert.deepStrictEqual(heard.documents, [document])
          assert.deepStrictEqual(
            server.seen.slice(0, 3).map(({ headers, path }) => [path, headers["accept"], headers["if-none-match"]]),
            [
              ["/v1/policies", "application/json", undefined],
              ["/v1/policies", "application/json", "\"7\""],
              ["/v1/policies", "application/json", "\"7\""]
            ]
          )
        }))

      const faults: ReadonlyArray<readonly [string, Handler, PolicySource.Reason]> = [
        ["500", Origin.status(500), { _tag: "Unavailable", detail: "status 500", retryAfter: undefined }],
        ["404", Origin.status(404), { _tag: "NotFound", detail: "status 404" }],
        ["401", Origin.status(401), { _tag: "Unauthorized", detail: "status 401" }],
        ["403", Origin.status(403), { _tag: "Unauthorized", detail: "status 403" }],
        [
          "304 that nobody asked for",
          Origin.status(304),
          { _tag: "Unavailable", detail: "status 304", retryAfter: undefined }
        ],
        [
          "a page",
          (_, response) => void response.writeHead(200, { "content-type": "text/html" }).end("<html>"),
          { _tag: "Malformed", detail: "the content type must be application/json, got \"text/html\"" }
        ],
        [
          "no content type",
          (_, response) => void response.writeHead(200).end("{}"),
          { _tag: "Malformed", detail: "the content type must be application/json, got none" }
        ],
        ["a document nested a million levels deep", Origin.json("[".repeat(1_000_000)), {
          _tag: "Malformed",
          detail: "is nested deeper than 32 levels"
        }],
        [
          "a redirect to another host",
          (request, response) =>
            Origin.status(302, { location: `http://localhost:${request.socket.localPort}/` })(request, response),
          { _tag: "Untrusted", detail: "" }
        ],
        [
          "a redirect to nowhere",
          Origin.status(302),
          { _tag: "Unavailable", detail: "status 302 without a valid Location" }
        ],
        [
          "redirects in a circle",
          Origin.status(307, { location: "/again" }),
          { _tag: "Unavailable", detail: "redirected more than 3 times" }
        ]
      ]
      for (const [what, handler, expected] of faults) {
        it.live(`says so when it gets ${what}, and finds the document later`, () =>
          Effect.gen(function*() {
            const { heard, server } = yield* heardFrom({}, handler, client)
            yield* eventually("a failure", () => heard.failures.length > 0)
            const reason = heard.failures[0]!
            if (expected._tag === "Untrusted") assert.strictEqual(reason._tag, "Untrusted")
            else assert.deepStrictEqual(reason, expected)
            server.answer(Origin.json(document))
            yield* eventually("the document", () => heard.documents.length > 0)
            assert.deepStrictEqual(heard.documents, [document])
          }))
      }

      it.live("says so when JSON is cut off", () =>
        Effect.gen(function*() {
          const { heard } = yield* heardFrom({}, Origin.json(JSON.stringify(document).slice(0, -2)), client)
          yield* eventually("a failure", () => heard.failures.length > 0)
          assert.strictEqual(heard.failures[0]?._tag, "Malformed")
        }))

      it.live("says so when a connection is reset, before an answer and in the middle of one", () =>
        Effect.gen(function*() {
          const { heard, server } = yield* heardFrom({}, (request) => void request.socket.resetAndDestroy(), client)
          yield* eventually("a failure", () => heard.failures.length > 0)
          assert.deepStrictEqual(heard.failures[0]?._tag, "Unavailable")
          const before = heard.failures.length
          server.answer((request, response) => {
            response.writeHead(200, { "content-type": "application/json", "content-length": "1000" })
            response.write("{ \"schemaVersion\":")
            setTimeout(() => request.socket.resetAndDestroy(), 5)
          })
          yield* eventually("another failure", () => heard.failures.length > before + 1)
          assert.deepStrictEqual(heard.failures.at(-1)?._tag, "Unavailable")
          assert.deepStrictEqual(heard.documents, [])
        }))

      it.live("stops reading at the limit, whether or not the size was announced", () =>
        Effect.gen(function*() {
          const megabyte = Buffer.alloc(1_000_000, 0x20)
          let written = 0
          const flood = (announced: boolean): Handler => (_, response) => {
            response.writeHead(200, {
              "content-type": "application/json",
              ...(announced ? { "content-length": String(100 * megabyte.length) } : {})
            })
            let left = 100
            const write = () => {
              while (left-- > 0 && !response.destroyed) {
                written += megabyte.length
                if (!response.write(megabyte)) return void response.once("drain", write)
              }
              response.end()
            }
            write()
          }
          const { heard, server } = yield* heardFrom({}, flood(true), client)
          yield* eventually("a failure", () => heard.failures.length > 1)
          server.answer(flood(false))
          const before = heard.failures.length
          yield* eventually("more failures", () => heard.failures.length > before + 2)
          for (const reason of heard.failures) assert.deepStrictEqual(reason, { _tag: "TooLarge", limit: 1_048_576 })
          // what was under way when reading stopped: buffers of two sockets
          assert.isBelow(written / server.seen.length, 20_000_000)
          server.answer(Origin.json(document))
          yield* eventually("the document", () => heard.documents.length > 0)
        }), 20_000)

      it.live("lets go of an answer that it does not read", () =>
        Effect.gen(function*() {
          const { heard, server } = yield* heardFrom({}, (_, response) => {
            response.writeHead(500, { "content-type": "application/json" })
            // it does not end
            response.write("x".repeat(100_000))
          }, client)
          yield* eventually("failures", () => heard.failures.length > 5)
          yield* eventually("that nothing is left", () => server.inFlight <= 1)
          assert.isAtMost(server.mostInFlight, 2)
        }))

      it.live("gives up on a server that is too slow, and on one that sends byte after byte", () =>
        Effect.gen(function*() {
          const { heard, server } = yield* heardFrom({ timeout: "50 millis" }, () => {}, client)
          yield* eventually("a failure", () => heard.failures.length > 0)
          server.answer((_, response) => {
            response.writeHead(200, { "content-type": "application/json" })
            const timer = setInterval(() => response.write(" "), 5)
            response.once("close", () => clearInterval(timer))
          })
          const before = heard.failures.length
          yield* eventually("more failures", () => heard.failures.length > before + 3)
          for (const reason of heard.failures) {
            assert.deepStrictEqual(reason, { _tag: "Unavailable", detail: "no answer in time" })
          }
          // the server may hear of the end of one request after the beginning of the next
          assert.isAtMost(server.mostInFlight, 2)
        }))

      it.live("follows redirects within the origin, with the token", () =>
        Effect.gen(function*() {
          const { heard, server } = yield* heardFrom({ token: Redacted.make("s3cret") }, (request, response) => {
            const handler = request.url === "/v2" ? Origin.json(document) : Origin.status(308, { location: "/v2" })
            handler(request, response)
          }, client)
          yield* eventually("the document", () => heard.documents.length > 0)
          assert.deepStrictEqual(
            server.seen.slice(0, 2).map(({ headers, path }) => [path, headers.authorization]),
            [["/v1/policies", "Bearer s3cret"], ["/v2", "Bearer s3cret"]]
          )
        }))

      it.live("does not send a token, or anything else, to another origin", () =>
        Effect.gen(function*() {
          const other = yield* Origin.make
          other.answer(Origin.json(document))
          const { heard } = yield* heardFrom(
            { token: Redacted.make("s3cret") },
            Origin.status(302, { location: `${other.url}/v1/policies` }),
            client
          )
          yield* eventually("failures", () => heard.failures.length > 2)
          assert.deepStrictEqual(heard.failures[0], {
            _tag: "Untrusted",
            detail: `redirected to another origin, ${other.url}`
          })
          assert.strictEqual(other.seen.length, 0)
        }))

      it.live("holds one request, and lets it go when its layer closes", () =>
        Effect.gen(function*() {
          const server = yield* Origin.make
          server.answer(() => {})
          yield* Effect.scoped(Effect.gen(function*() {
            yield* listen(yield* sourceOf({ url: server.url }, client))
            yield* eventually("a request", () => server.inFlight === 1)
          }))
          yield* eventually("no request", () => server.inFlight === 0)
          const before = server.seen.length
          yield* aWhile
          assert.strictEqual(server.seen.length, before)
        }))
    })
  }

  it.live("goes on when the server is not there, goes away, and comes back", () =>
    Effect.gen(function*() {
      const server = yield* Origin.make
      server.answer(Origin.withEtag(document, "\"7\""))
      yield* server.stop
      const heard = yield* listen(yield* sourceOf({ url: server.url }))
      yield* eventually("failures", () => heard.failures.length > 2)
      assert.deepStrictEqual(heard.failures[0], { _tag: "Unavailable", detail: "no connection (ECONNREFUSED)" })
      yield* server.start
      yield* eventually("the document", () => heard.documents.length === 1)
      yield* server.stop
      const before = heard.failures.length
      yield* eventually("failures", () => heard.failures.length > before)
      yield* server.start
      yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
      assert.deepStrictEqual(heard.documents, [document])
    }))

  it.live("tells a document that came again from a new one when there is no ETag", () =>
    Effect.gen(function*() {
      const { heard, server } = yield* heardFrom({}, Origin.json(document))
      yield* times(server, 3)
      assert.deepStrictEqual(heard.documents, [document])
      const next = { ...document, revision: "8" }
      server.answer(Origin.json(next))
      yield* eventually("the next document", () => heard.documents.length > 1)
      assert.deepStrictEqual(heard.documents, [document, next])
    }))

  it.live("asks again for a document that was cut off, however its ETag looks", () =>
    Effect.gen(function*() {
      const { heard, server } = yield* heardFrom({}, Origin.json("{", { etag: "\"7\"" }))
      yield* eventually("failures", () => heard.failures.length > 1)
      assert.isTrue(server.seen.every(({ headers }) => headers["if-none-match"] === undefined))
    }))

  it.live("asks for the whole document after it was not authorized", () =>
    Effect.gen(function*() {
      const { heard, server } = yield* heardFrom({}, Origin.withEtag(document, "\"7\""))
      yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
      server.answer(Origin.status(401))
      yield* eventually("a failure", () => heard.failures.length > 0)
      const before = server.seen.length
      yield* times(server, before + 1)
      assert.isUndefined(server.seen.at(-1)?.headers["if-none-match"])
      server.answer(Origin.withEtag(document, "\"7\""))
      yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
      assert.deepStrictEqual(heard.documents, [document])
    }))

  describe("waits", () => {
    it.live("as long as Retry-After says", () =>
      Effect.gen(function*() {
        const { heard, server } = yield* heardFrom(
          { maxRetryAfter: "150 millis" },
          Origin.status(503, { "retry-after": "60" })
        )
        yield* times(server, 2)
        assert.isAtLeast(server.seen[1]!.at - server.seen[0]!.at, 145)
        assert.strictEqual(heard.failures[0]?._tag, "Unavailable")
      }))

    it.live("at the server, where it holds its answers", () =>
      Effect.gen(function*() {
        const next = { ...document, revision: "8" }
        const held: Array<() => void> = []
        const { heard, server } = yield* heardFrom(
          { interval: "1 hour", longPoll: "2 seconds" },
          (request, response) => {
            const send = (body: unknown, etag: string) =>
              Origin.json(body, { etag, "preference-applied": "wait" })(request, response)
            if (request.headers["if-none-match"] === undefined) return send(document, "\"7\"")
            held.push(() => send(next, "\"8\""))
          }
        )
        yield* eventually("a request that is held", () => held.length === 1)
        assert.deepStrictEqual(server.seen.map(({ headers }) => headers["prefer"]), [undefined, "wait=2"])
        held[0]!()
        yield* eventually("the next document", () => heard.documents.length === 2)
        yield* eventually("another request that is held", () => held.length === 2)
      }))

    it.live("at the server as soon as there is a document, whatever the server said of the first answer", () =>
      Effect.gen(function*() {
        const { server } = yield* heardFrom({ interval: "1 hour", longPoll: "60 seconds" }, (request, response) => {
          if (request.headers["prefer"] === undefined) Origin.withEtag(document, "\"7\"")(request, response)
        })
        yield* eventually("a request that is held", () => server.inFlight === 1 && server.seen.length === 2)
      }))

    it.live("not at a server that has just come back: that it is there is known at once", () =>
      Effect.gen(function*() {
        const { heard, server } = yield* heardFrom(
          { interval: "1 hour", longPoll: "60 seconds" },
          (request, response) => {
            if (request.headers["prefer"] === undefined) Origin.withEtag(document, "\"7\"")(request, response)
          }
        )
        yield* eventually("a request that is held", () => server.inFlight === 1 && server.seen.length === 2)
        yield* server.stop
        yield* eventually("a failure", () => heard.failures.length > 0)
        yield* server.start
        yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
        yield* eventually("a request that is held", () => server.inFlight === 1)
      }))

    it.live("for the interval at a server without tags: there is nothing to hold an answer for", () =>
      Effect.gen(function*() {
        const { server } = yield* heardFrom({ interval: "1 hour", longPoll: "2 seconds" }, Origin.json(document))
        yield* times(server, 1)
        yield* Effect.sleep("700 millis")
        assert.strictEqual(server.seen.length, 1)
      }))

    it.live("for the interval, where a server says that it holds its answers and does not", () =>
      Effect.gen(function*() {
        const { heard, server } = yield* heardFrom(
          { interval: "1 hour", longPoll: "2 seconds" },
          (request, response) =>
            request.headers["if-none-match"] === undefined
              ? Origin.json(document, { etag: "\"7\"", "preference-applied": "wait" })(request, response)
              : Origin.status(304, { "preference-applied": "wait" })(request, response)
        )
        yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
        yield* Effect.sleep("700 millis")
        assert.strictEqual(server.seen.length, 2)
      }))

    it.live("for the interval, where somebody on the way changes the tag, so that each answer is the same document", () =>
      Effect.gen(function*() {
        const { heard, server } = yield* heardFrom(
          { interval: "1 hour", longPoll: "2 seconds" },
          Origin.json(document, { etag: "\"7-gzip\"", "preference-applied": "wait" })
        )
        yield* eventually("unchanged", () => heard.last?._tag === "Unchanged")
        yield* Effect.sleep("700 millis")
        assert.strictEqual(server.seen.length, 2)
      }))

    it.live("no longer than it asked the server to hold the answer, and its own limit", () =>
      Effect.gen(function*() {
        const { heard } = yield* heardFrom(
          { longPoll: "1 second", timeout: "50 millis" },
          (request, response) => {
            if (request.headers["if-none-match"] === undefined) {
              Origin.json(document, { etag: "\"7\"" })(request, response)
            }
          }
        )
        yield* eventually("a failure", () => heard.failures.length > 0)
        assert.deepStrictEqual(heard.failures[0], { _tag: "Unavailable", detail: "no answer in time" })
      }))
  })

  describe("token", () => {
    it.live("is read for each request", () =>
      Effect.gen(function*() {
        let reads = 0
        const token = Effect.sync(() => Redacted.make(`token-${++reads}`))
        const { server } = yield* heardFrom({ token }, Origin.json(document))
        yield* times(server, 2)
        assert.deepStrictEqual(
          server.seen.slice(0, 2).map(({ headers }) => headers.authorization),
          ["Bearer token-1", "Bearer token-2"]
        )
      }))

    const rows: ReadonlyArray<readonly [string, Effect.Effect<Redacted.Redacted, unknown>]> = [
      ["cannot be obtained", Effect.fail(new Error("vault says s3cret"))],
      ["dies", Effect.die(new Error("s3cret"))],
      ["has a line end", Effect.succeed(Redacted.make("s3cret\n"))],
      ["is empty", Effect.succeed(Redacted.make(""))]
    ]
    for (const [what, token] of rows) {
      it.live(`that ${what} is reported as not authorized, without a request and without its text`, () =>
        Effect.gen(function*() {
          const { heard, server } = yield* heardFrom({ token }, Origin.json(document))
          yield* eventually("a failure", () => heard.failures.length > 0)
          assert.strictEqual(heard.failures[0]?._tag, "Unauthorized")
          assert.notInclude(JSON.stringify(heard.failures), "s3cret")
          assert.strictEqual(server.seen.length, 0)
        }))
    }
  })

  describe("keeps its token to itself when", () => {
    const echoes: ReadonlyArray<readonly [string, Handler]> = [
      ["the server says it in a content type", (request, response) => {
        const token = request.headers.authorization?.slice("Bearer ".length)
        response.writeHead(200, { "content-type": `text/${token}` }).end()
      }],
      ["the server sends it to a host", (request, response) => {
        const token = request.headers.authorization?.slice("Bearer ".length)
        response.writeHead(302, { location: `http://${token}.example/${token}` }).end()
      }],
      [
        "the server says it in a document that is none",
        (request, response) => Origin.json(`${request.headers.authorization}`)(request, response)
      ]
    ]
    for (const [what, handler] of echoes) {
      it.live(what, () =>
        Effect.gen(function*() {
          const { heard } = yield* heardFrom({ token: Redacted.make("s3cret") }, handler)
          yield* eventually("a failure", () => heard.failures.length > 0)
          assert.notInclude(JSON.stringify(heard.found), "s3cret")
        }))
    }
  })

  it.live("says with the next request what became of a document", () =>
    Effect.gen(function*() {
      const { server, source } = yield* heardFrom({}, Origin.json(document))
      assert.isUndefined(server.seen[0]?.headers["rego-report"])
      const sent = () => server.seen.at(-1)?.headers["rego-report"]
      yield* source.report({ _tag: "Accepted", revision: "7 ü", rolledBack: false, clamped: [], issues: [] })
      yield* eventually("accepted", () => sent() === "accepted; revision=\"7%20%C3%BC\"")
      const issues = [{ path: ["policies"], message: "s3cret" }]
      yield* source.report({ _tag: "Rejected", revision: Option.some("8"), issues })
      yield* eventually("rejected", () => sent() === "rejected; revision=\"8\"; issues=1")
      yield* source.report({ _tag: "Rejected", revision: Option.none(), issues })
      yield* eventually("rejected", () => sent() === "rejected; issues=1")
      const revision = `${"x".repeat(199)}🙂`
      yield* source.report({ _tag: "Accepted", revision, rolledBack: false, clamped: [], issues: [] })
      yield* eventually("half a character", () => sent() === `accepted; revision="${"x".repeat(199)}%EF%BF%BD"`)
    }))

  describe("options", () => {
    it("are read at once, with every mistake, and without secrets", () => {
      const wrong = {
        url: "http://user:s3cret@policies.example",
        token: "s3cret",
        interval: 0,
        longPoll: "1 day",
        backoff: { initial: Number.NaN },
        maxBytes: -1,
        maxDepth: 1e9,
        intervall: "1 second"
      }
      const names = ["url", "token", "interval", "longPoll", "backoff.initial", "maxBytes", "maxDepth", "intervall"]
      assert.notInclude(refusal(() => HttpSource.layer(wrong as never), names), "s3cret")
    })

    for (const url of ["policies.json", "ftp://policies.example", "", 7]) {
      it(`refuse ${JSON.stringify(url)} as an address`, () => {
        assert.throws(() => HttpSource.layer({ url } as never), /url: must be an absolute http: or https: URL/)
      })
    }

    it.effect("leave a query out of the name", () =>
      Effect.gen(function*() {
        const source = yield* sourceOf({ url: "https://policies.example/v1?key=s3cret#x" })
        assert.strictEqual(source.name, "https://policies.example/v1")
        yield* TestClock.adjust(0)
      }))
  })
})
