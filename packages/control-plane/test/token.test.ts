/**
 * Whatever a server does, the token is seen by nobody but the server: everything that leaves a source is searched for it.
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Inspectable, Layer, Logger, Redacted, References, Stream, Tracer } from "effect"
import { FetchHttpClient, Headers, HttpClient } from "effect/http"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { inspect } from "node:util"
import * as HttpSource from "../src/HttpSource.ts"
import * as LastKnownGoodStore from "../src/LastKnownGoodStore.ts"
import { documentOf, isLive, start } from "./faults/support.ts"
import * as Files from "./files.ts"
import type { Handler } from "./originServer.ts"
import * as Origin from "./originServer.ts"
import { eventually, listen } from "./support.ts"

const token = "S3cret-T0ken"

/** Or its beginning, in any spelling: the name of a host is in small letters, whatever it was made of. */
const shows = (text: string): boolean => text.toLowerCase().includes(token.toLowerCase().slice(0, 6))

const quick = {
  interval: "10 millis",
  longPoll: "off",
  timeout: "50 millis",
  backoff: { initial: "10 millis", max: "10 millis" }
} as const

const document = { schemaVersion: "1.0", revision: "7", policies: {} }

interface Captured {
  readonly texts: Array<string>
  readonly spans: Array<Tracer.NativeSpan>
}

const tracerOf = (spans: Array<Tracer.NativeSpan>) =>
  Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })

/** A program that wants to see everything: all logs, all spans, all headers in them, none of them redacted. */
const capturing = ({ spans, texts }: Captured) => {
  const logger = Logger.make((options) => {
    texts.push(
      inspect(options.message, { depth: 20 }),
      inspect(options.cause, { depth: 20 }),
      JSON.stringify(Logger.formatStructured.log(options))
    )
  })
  return Layer.mergeAll(
    Logger.layer([logger]),
    Layer.succeed(References.MinimumLogLevel, "All"),
    Layer.succeed(Tracer.Tracer, tracerOf(spans)),
    Layer.succeed(HttpClient.TracerHeaderFilter, () => true),
    Layer.succeed(Headers.CurrentRedactedNames, [])
  )
}

/** What an exporter sends of a span. */
const exported = ({ attributes, events, links, name, status }: Tracer.NativeSpan): string => {
  const failure = status._tag === "Ended" && Exit.isFailure(status.exit) ? Cause.pretty(status.exit.cause) : ""
  return inspect([name, [...attributes], events, links.map((link) => link.attributes), failure], { depth: 20 })
}

const presented = (authorization: string | undefined): string => authorization?.slice("Bearer ".length) ?? "none"

const faults: ReadonlyArray<readonly [string, Handler]> = [
  ["answers", Origin.withEtag(document, "\"7\"")],
  ["does not know the token", Origin.status(401, { "www-authenticate": "Bearer realm=\"x\"" })],
  ["forbids", Origin.status(403)],
  ["fails", Origin.status(500)],
  ["resets the connection", (request) => void request.socket.resetAndDestroy()],
  ["is too slow", () => {}],
  [
    "repeats the token in a content type",
    (request, response) =>
      void response.writeHead(200, { "content-type": `text/${presented(request.headers.authorization)}` }).end()
  ],
  [
    "repeats the token in a content type that is long",
    (request, response) => {
      const type = `text/${"x".repeat(49)}${presented(request.headers.authorization)}`
      response.writeHead(200, { "content-type": type }).end()
    }
  ],
  ["repeats the token in other headers", (request, response) =>
    void response.writeHead(500, {
      "x-token": presented(request.headers.authorization),
      "retry-after": presented(request.headers.authorization)
    }).end()],
  [
    "repeats the token in an ETag and in JSON that is none",
    (request, response) =>
      Origin.json(presented(request.headers.authorization), {
        etag: `"${presented(request.headers.authorization)}"`
      })(request, response)
  ],
  [
    "redirects to a host that is named after the token",
    (request, response) =>
      Origin.status(302, { location: `http://${presented(request.headers.authorization)}.example` })(request, response)
  ]
]

const clients: ReadonlyArray<readonly [string, Layer.Layer<HttpClient.HttpClient>]> = [
  ["fetch", FetchHttpClient.layer],
  ["undici", NodeHttpClient.layerUndici],
  ["node:http", NodeHttpClient.layerNodeHttp]
]

describe("the token of an HttpSource", () => {
  it.live(
    "is in no status, change, log, span or timeline of a process, nor in what it saves",
    () =>
      Effect.gen(function*() {
        const server = yield* Origin.make
        const spans: Array<Tracer.NativeSpan> = []
        const path = join(yield* Files.directory, "last-good.json")
        const source = HttpSource.layer({ url: server.url, token: Redacted.make(token), ...quick })
        server.answer(Origin.withEtag(documentOf("1", 2), "\"1\""))
        const process = yield* start(source.pipe(Layer.provide(FetchHttpClient.layer)), {
          store: LastKnownGoodStore.layerFile({ path }).pipe(Layer.provide(NodeServices.layer)),
          tracer: tracerOf(spans)
        })
        const texts: Array<string> = []
        const changes = yield* Effect.forkScoped(
          Stream.runForEach(process.changes, (change) => Effect.sync(() => texts.push(inspect(change, { depth: 20 }))))
        )
        yield* process.until("the document", isLive("1"))
        for (const [what, handler] of faults.slice(1)) {
          server.answer(handler)
          const seen = server.seen.length
          yield* eventually(what, () => server.seen.length > seen + 1)
          texts.push(inspect(yield* process.status, { depth: 20 }), JSON.stringify(yield* process.status))
          texts.push(inspect(yield* process.call))
        }
        yield* Fiber.interrupt(changes)
        texts.push(...process.logs, ...spans.map(exported), readFileSync(path, "utf8"))
        assert.isAbove(spans.length, faults.length)
        assert.isAbove(process.logs.length, 4)
        assert.deepStrictEqual(texts.filter(shows), [])
      }),
    20_000
  )

  for (const [name, client] of clients) {
    it.live(`is in no log, span, error, or name, with ${name}`, () =>
      Effect.gen(function*() {
        const server = yield* Origin.make
        const captured: Captured = { texts: [], spans: [] }
        const make = HttpSource.make({
          url: server.url,
          token: Redacted.make(token),
          ...quick
        })
        const run = Effect.gen(function*() {
          const source = yield* make
          const heard = yield* listen(source)
          for (const [what, handler] of faults) {
            server.answer(handler)
            const [before, seen] = [heard.found.length, server.seen.length]
            yield* eventually(what, () => heard.found.length > before + 1 && server.seen.length > seen)
          }
          yield* server.stop
          const before = heard.found.length
          yield* eventually("a failure", () => heard.found.length > before + 1)
          for (const found of heard.found) {
            captured.texts.push(
              inspect(found, { depth: 20 }),
              JSON.stringify(found),
              Inspectable.toStringUnknown(found),
              found._tag === "Failed" ? `${found.error} ${found.error.stack}` : ""
            )
            if (found._tag === "Failed") yield* Effect.logError("failed", found.error)
          }
          captured.texts.push(inspect(source, { depth: 5 }), source.name)
        })
        yield* run.pipe(Effect.provide(client), Effect.provide(capturing(captured)))

        assert.isAbove(captured.spans.length, faults.length)
        assert.isTrue(server.seen.every(({ headers }) => headers.authorization === `Bearer ${token}`))
        captured.texts.push(...captured.spans.map(exported))
        assert.deepStrictEqual(captured.texts.filter(shows), [])
      }), 20_000)
  }
})
