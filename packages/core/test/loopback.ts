/** A real HTTP server on a free port of this machine that only this machine reaches, and a client that knows its address. */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Layer } from "effect"
import { FetchHttpClient, HttpServer } from "effect/http"
import { createServer } from "node:http"

/** No connection is kept, or the server would wait for its end. */
const client = Layer.fresh(FetchHttpClient.layer).pipe(
  Layer.provide(Layer.succeed(FetchHttpClient.RequestInit)({ keepalive: false }))
)

export const loopback = HttpServer.layerTestClient.pipe(
  Layer.provide(client),
  Layer.provideMerge(NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1" }))
)
