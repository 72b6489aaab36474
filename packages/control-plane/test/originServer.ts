/**
 * A real web server on the loopback interface that answers as a test says, can be killed, and comes back on its port.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect"
import { once } from "node:events"
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:http"
import type { Socket } from "node:net"

export interface Seen {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  /** milliseconds of the live clock */
  readonly at: number
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void

export interface OriginServer {
  readonly url: string
  readonly seen: ReadonlyArray<Seen>
  /** requests that are being answered */
  readonly inFlight: number
  readonly mostInFlight: number
  readonly connections: number
  readonly answer: (handler: Handler) => void
  readonly stop: Effect.Effect<void>
  readonly start: Effect.Effect<void>
}

export const json = (
  body: unknown,
  headers: Record<string, string> = {},
  status = 200
): Handler =>
(_, response) => {
  response.writeHead(status, { "content-type": "application/json", ...headers })
  response.end(typeof body === "string" ? body : JSON.stringify(body))
}

export const status = (code: number, headers: Record<string, string> = {}): Handler => (_, response) => {
  response.writeHead(code, headers)
  response.end()
}

/** As a good control plane does: a document with an `ETag`, and 304 for who has it. */
export const withEtag = (body: unknown, etag: string): Handler => (request, response) =>
  request.headers["if-none-match"] === etag
    ? status(304, { etag })(request, response)
    : json(body, { etag })(request, response)

export const make: Effect.Effect<OriginServer, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(async () => {
    let handler: Handler = status(404)
    let port = 0
    let inFlight = 0
    let mostInFlight = 0
    const seen: Array<Seen> = []
    const sockets = new Set<Socket>()
    const server = createServer((request, response) => {
      seen.push({ path: request.url ?? "", headers: request.headers, at: performance.now() })
      mostInFlight = Math.max(mostInFlight, ++inFlight)
      response.once("close", () => inFlight--)
      handler(request, response)
    })
    server.on("connection", (socket) => {
      sockets.add(socket)
      socket.once("close", () => sockets.delete(socket))
    })
    const start = Effect.promise(async () => {
      server.listen(port, "127.0.0.1")
      await once(server, "listening")
      const address = server.address()
      port = typeof address === "object" && address !== null ? address.port : assert.fail("no port")
    })
    const stop = Effect.promise(async () => {
      if (!server.listening) return
      const closed = once(server, "close")
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    })
    await Effect.runPromise(start)
    return {
      url: `http://127.0.0.1:${port}`,
      seen,
      get inFlight() {
        return inFlight
      },
      get mostInFlight() {
        return mostInFlight
      },
      get connections() {
        return sockets.size
      },
      answer: (next: Handler) => {
        handler = next
      },
      stop,
      start
    }
  }),
  ({ stop }) => stop
)
