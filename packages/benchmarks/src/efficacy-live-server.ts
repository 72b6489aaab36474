/** The server of `efficacy-live.ts`: answers after a time from the distribution of item 1, and stops when the client does. */
import { Distribution } from "@rego/testing"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { longTailService } from "./efficacy-tails.ts"
import { seeded } from "./statistics.ts"

const timeOf = Distribution.quantile(Distribution.make(longTailService(Number(process.argv[2]))))
const random = seeded(20_260_401)

const server = createServer({ keepAliveTimeout: 60_000 }, (_, response) => {
  const timer = setTimeout(() => {
    response.writeHead(200, { "content-type": "text/plain", "content-length": "1" })
    response.end("1")
  }, timeOf(random()))
  response.on("close", () => clearTimeout(timer))
})

server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port))
process.on("disconnect", () => process.exit())
