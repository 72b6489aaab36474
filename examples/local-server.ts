/** An HTTP server on this machine for as long as a scope is open: the other side of the examples. */
import { Effect } from "effect"
import type { Scope } from "effect"
import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"

const listen = (server: Server): Effect.Effect<Server> =>
  Effect.callback((resume) => {
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  })

const close = (server: Server): Effect.Effect<void> =>
  Effect.callback((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })

/** Its answer is the address: `http://127.0.0.1:…`. */
export const serve = (onRequest: RequestListener): Effect.Effect<string, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(listen(createServer(onRequest)), close),
    (server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  )
