/** A `fetch` under policies, against a server that answers 503 first. */
import { Backoff, PolicyLayer } from "@rego/core"
import { ResilientFetch } from "@rego/http"
import { ManagedRuntime } from "effect"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

let requests = 0
const server = createServer((_request, response) => {
  response.writeHead(++requests < 3 ? 503 : 200).end(String(requests))
})
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))

const runtime = ManagedRuntime.make(PolicyLayer.make({
  policies: {
    "*": { retry: { maxAttempts: 3, backoff: Backoff.constant("5 millis") }, timeout: { overall: "10 seconds" } }
  }
}))
const resilientFetch = ResilientFetch.make(runtime)
const { port } = server.address() as AddressInfo
const response = await resilientFetch(`http://127.0.0.1:${port}/users`)
const text = await response.text()
await runtime.dispose()
server.close()
server.closeAllConnections()
if (response.status !== 200 || text !== "3") throw new Error(`http: ${response.status} ${text}`)
