/** The server of `loopback.ts`: sends its port to its parent, and ends with it. */
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"

const server = createServer({ keepAliveTimeout: 60_000 }, (_, response) => {
  response.writeHead(200, { "content-type": "text/plain", "content-length": "1" })
  response.end("1")
})

server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port))
process.on("disconnect", () => process.exit())
