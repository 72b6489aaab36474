/**
 * A folder over HTTP on this machine, for a look at the site and for its tests.
 *
 * @internal
 */
import { readFile } from "node:fs/promises"
import { createServer, type Server } from "node:http"
import { extname, join, normalize } from "node:path"

const types: Readonly<Record<string, string>> = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".json": "application/json"
}

/** The file of an address; never one outside of the folder. */
const fileOf = (folder: string, url: string): string => {
  const path = normalize(decodeURIComponent(new URL(url, "http://127.0.0.1").pathname))
  return join(folder, path.endsWith("/") ? `${path}index.html` : path)
}

/** Rejects for an address that is none, and for a file that is not there. */
const read = async (folder: string, url: string) => {
  const file = fileOf(folder, url)
  return { content: await readFile(file), type: types[extname(file)] ?? "text/plain" }
}

export interface Served {
  readonly url: string
  readonly close: () => Promise<void>
}

const urlOf = (server: Server): string => {
  const address = server.address()
  return `http://127.0.0.1:${typeof address === "object" ? address?.port : ""}/`
}

export const serve = (folder: string, port = 0): Promise<Served> =>
  new Promise((resolve) => {
    const server = createServer((request, response) => {
      read(folder, request.url ?? "/").then(
        ({ content, type }) => response.writeHead(200, { "content-type": type }).end(content),
        () => response.writeHead(404).end()
      )
    })
    const close = (): Promise<void> => new Promise((done) => server.close(() => done()))
    server.listen(port, "127.0.0.1", () => resolve({ url: urlOf(server), close }))
  })
