/**
 * The bodies of requests and responses, as far as sending again is concerned: which ones can be sent twice, and what to do
 * with those that nobody will read.
 *
 * @internal
 */
import { Duration, Effect, Stream } from "effect"
import type { HttpBody } from "effect/http/HttpBody"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"

// -----------------------------------------------------------------------------
// requests
// -----------------------------------------------------------------------------

/** What clients take besides text and bytes, and read from the start each time: a `Blob`, a form, search parameters. */
const readAnew: ReadonlySet<string> = new Set(["Blob", "File", "FormData", "URLSearchParams"])

const isReadAnew = (body: unknown): boolean =>
  body === undefined || body === null || typeof body === "string" || ArrayBuffer.isView(body) ||
  body instanceof ArrayBuffer || readAnew.has(Object.prototype.toString.call(body).slice("[object ".length, -1))

/**
 * Whether a body is the same each time it is sent. A stream may be: many are descriptions that open a file or walk a list
 * anew; but one that reads a socket is used up by its first run, and nothing tells them apart.
 */
export const isReplayable = (body: HttpBody): boolean => {
  switch (body._tag) {
    case "Empty":
    case "Uint8Array":
    case "FormData":
      return true
    case "Raw":
      return isReadAnew(body.body)
    case "Stream":
      return false
  }
}

// -----------------------------------------------------------------------------
// responses
// -----------------------------------------------------------------------------

export interface DrainLimits {
  readonly bytes: number
  readonly within: Duration.Duration
}

/** A body that says that it is too long is not begun. */
const patience = (response: HttpClientResponse, { bytes, within }: DrainLimits): Duration.Duration =>
  Number(response.headers["content-length"] ?? 0) > bytes ? Duration.zero : within

/**
 * Ends a response that nobody reads. A short rest is read, so that the connection can be used again; a body that is long,
 * or slow, is cancelled, which costs the connection: closing the stream of a response aborts its request.
 */
export const discard = (response: HttpClientResponse, limits: DrainLimits): Effect.Effect<void> =>
  Effect.suspend(() => {
    let room = limits.bytes
    const rest = Stream.takeWhile(response.stream, (chunk) => (room -= chunk.byteLength) >= 0)
    return Effect.timeoutOption(Stream.runDrain(rest), patience(response, limits))
  }).pipe(Effect.ignoreCause)
