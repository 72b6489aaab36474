import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Stream } from "effect"
import { HttpBody, HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { Readable } from "node:stream"
import * as Bodies from "../src/Bodies.ts"

const bytes = new Uint8Array([1, 2, 3])

describe("Bodies", () => {
  describe("isReplayable", () => {
    const anew: Readonly<Record<string, HttpBody.HttpBody>> = {
      "no body": HttpBody.empty,
      "text": HttpBody.text("x"),
      "JSON": HttpBody.jsonUnsafe({ a: 1 }),
      "bytes": HttpBody.uint8Array(bytes),
      "a form": HttpBody.formData(new FormData()),
      "search parameters": HttpBody.urlParams({ a: "1" }),
      "raw text": HttpBody.raw("x"),
      "raw bytes": HttpBody.raw(bytes),
      "a raw buffer": HttpBody.raw(Buffer.from("x")),
      "a raw ArrayBuffer": HttpBody.raw(new ArrayBuffer(3)),
      "a raw Blob": HttpBody.raw(new Blob(["x"])),
      "a raw File": HttpBody.raw(new File(["x"], "x.txt")),
      "a raw form": HttpBody.raw(new FormData()),
      "raw search parameters": HttpBody.raw(new URLSearchParams({ a: "1" })),
      "nothing, raw": HttpBody.raw(undefined)
    }
    for (const [name, body] of Object.entries(anew)) {
      it(`${name} can be sent again`, () => {
        assert.isTrue(Bodies.isReplayable(body))
      })
    }

    const once: Readonly<Record<string, HttpBody.HttpBody>> = {
      "a stream of Effect": HttpBody.stream(Stream.succeed(bytes)),
      "a web stream": HttpBody.raw(new Blob(["x"]).stream()),
      "a stream of Node": HttpBody.raw(Readable.from(["x"])),
      "a generator": HttpBody.raw((function*() {
        yield bytes
      })()),
      "an object that nobody knows": HttpBody.raw({ read: () => bytes })
    }
    for (const [name, body] of Object.entries(once)) {
      it(`${name} is sent once`, () => {
        assert.isFalse(Bodies.isReplayable(body))
      })
    }
  })

  describe("discard", () => {
    const limits = { bytes: 10, within: Duration.seconds(1) }

    /** A body of chunks, one every `every` milliseconds of the clock, that records what was taken and how it ended. */
    const body = (sizes: ReadonlyArray<number>, every = 0) => {
      const seen = { chunks: 0, end: "open" }
      const stream = new ReadableStream<Uint8Array>({
        pull: async (controller) => {
          if (seen.chunks === sizes.length) {
            seen.end = "read"
            return controller.close()
          }
          if (every === Infinity) return new Promise(() => {})
          controller.enqueue(new Uint8Array(sizes[seen.chunks++]!))
        },
        cancel: () => {
          seen.end = "cancelled"
        }
      }, { highWaterMark: 0 })
      return { seen, stream }
    }

    const discard = (stream: ReadableStream | null, headers: Record<string, string> = {}) => {
      const request = HttpClientRequest.get("http://users.test/")
      return Bodies.discard(HttpClientResponse.fromWeb(request, new Response(stream, { headers })), limits)
    }

    it.live("reads a short rest to its end", () =>
      Effect.gen(function*() {
        const { seen, stream } = body([4, 4, 2])
        yield* discard(stream)
        assert.deepStrictEqual(seen, { chunks: 3, end: "read" })
      }))

    it.live("cancels what is longer than the limit", () =>
      Effect.gen(function*() {
        const { seen, stream } = body([4, 4, 4, 4, 4])
        yield* discard(stream)
        assert.deepStrictEqual(seen, { chunks: 3, end: "cancelled" })
      }))

    it.effect("cancels what is slower than the limit", () =>
      Effect.gen(function*() {
        const { seen, stream } = body([4], Infinity)
        const fiber = yield* Effect.forkChild(discard(stream), { startImmediately: true })
        yield* TestClock.adjust("999 millis")
        assert.strictEqual(seen.end, "open")
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(fiber)
        assert.strictEqual(seen.end, "cancelled")
      }))

    it.effect("does not begin a body that says that it is too long", () =>
      Effect.gen(function*() {
        const { seen, stream } = body([4], Infinity)
        const fiber = yield* Effect.forkChild(discard(stream, { "content-length": "11" }), { startImmediately: true })
        // no time passes: to wait for the limit would be too long
        yield* TestClock.adjust(0)
        yield* Fiber.join(fiber)
        assert.deepStrictEqual(seen, { chunks: 0, end: "cancelled" })
      }))

    it.live("takes a body that is not there, and one that breaks off", () =>
      Effect.gen(function*() {
        yield* discard(null)
        yield* discard(new ReadableStream({ pull: (controller) => controller.error(new Error("reset")) }))
      }))
  })
})
