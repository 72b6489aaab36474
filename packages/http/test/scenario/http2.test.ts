/** A real server of HTTP/2 on this machine, and the client of undici that speaks it. */
import { NodeHttpClient } from "@effect/platform-node"
import * as Undici from "@effect/platform-node/Undici"
import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { HttpRego } from "@rego/http"
import { Effect, Layer } from "effect"
import { HttpClient } from "effect/http"
import { once } from "node:events"
import type { ServerHttp2Stream } from "node:http2"
import { constants, createServer } from "node:http2"
import type { AddressInfo } from "node:net"
import { policiesOf, retry, storyOf, wordOf } from "../support.ts"

type Answer = (stream: ServerHttp2Stream) => void

const ok: Answer = (stream) => {
  stream.respond({ ":status": 200 })
  stream.end("ada")
}
const closes = (code: number): Answer => (stream) => stream.close(code)
const refuses = closes(constants.NGHTTP2_REFUSED_STREAM)

/** Answers one stream after the other as told; the last answer is repeated. */
const serve = (...answers: ReadonlyArray<Answer>) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      let streams = 0
      const server = createServer().on("stream", (stream) => {
        stream.on("error", () => {})
        answers[Math.min(streams++, answers.length - 1)]!(stream)
      })
      server.listen(0, "127.0.0.1")
      await once(server, "listening")
      return {
        url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
        streams: () => streams,
        close: () => server.close()
      }
    }),
    ({ close }) => Effect.sync(close)
  )

/** Without TLS, which has nothing to do with it. */
const clientOf = (url: string) =>
  NodeHttpClient.layerUndiciNoDispatcher.pipe(Layer.provide(Layer.effect(
    NodeHttpClient.Dispatcher,
    Effect.acquireRelease(
      Effect.sync(() => new Undici.H2CClient(url)),
      (client) => Effect.promise(() => client.destroy())
    )
  )))

const post = (url: string) =>
  Effect.gen(function*() {
    const resilient = HttpRego.resilient(yield* HttpClient.HttpClient)
    const [exit, [timeline]] = yield* Timeline.capture(resilient.post(url))
    return [wordOf(exit), ...storyOf(timeline!)]
  }).pipe(Effect.provide(policiesOf({ retry, idempotent: false })), Effect.provide(clientOf(url)))

describe("against a real server of HTTP/2", () => {
  it.live("even a POST is sent again when its stream is refused, because nothing was done", () =>
    Effect.gen(function*() {
      // undici sends a refused request a second time itself before it says so
      const server = yield* serve(refuses, refuses, refuses, ok)
      assert.deepStrictEqual(yield* post(server.url), ["200", "Retryable refused_stream", "Success"])
      assert.strictEqual(server.streams(), 4)
    }))

  it.live("a POST is not sent again when its stream is closed in any other way", () =>
    Effect.gen(function*() {
      const server = yield* serve(closes(constants.NGHTTP2_INTERNAL_ERROR), ok)
      assert.deepStrictEqual(yield* post(server.url), ["TransportError", "Retryable transport", "stop not_idempotent"])
      assert.strictEqual(server.streams(), 1)
    }))
})
