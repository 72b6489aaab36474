/**
 * A real HTTP server on loopback, in a process of its own so that its work is not counted as ours.
 */
import { fork } from "node:child_process"
import { once } from "node:events"
import { Agent, get } from "node:http"
import { join } from "node:path"

export interface Loopback {
  /** sends a request and reads the answer */
  readonly get: () => Promise<number>
  readonly close: () => void
}

const fetchNumber = (port: number, agent: Agent): Promise<number> =>
  new Promise((resolve, reject) => {
    const request = get({ host: "127.0.0.1", port, path: "/", agent }, (response) => {
      let body = ""
      response.setEncoding("utf8")
      response.on("data", (chunk: string) => {
        body += chunk
      })
      response.on("end", () => resolve(Number(body)))
      response.on("error", reject)
    })
    request.on("error", reject)
  })

export const open = async (): Promise<Loopback> => {
  const server = fork(join(import.meta.dirname, "loopback-server.ts"), { execArgv: [] })
  const died = once(server, "exit").then(([code]) => Promise.reject(new Error(`the server ended with ${code}`)))
  const [port] = await Promise.race([once(server, "message") as Promise<[number]>, died])
  // from here on it ends when it is told to
  died.catch(() => {})
  const agent = new Agent({ keepAlive: true, maxSockets: 64 })
  return {
    get: () => fetchNumber(port, agent),
    close: () => {
      agent.destroy()
      server.disconnect()
    }
  }
}

/** For measurements without a request. */
export const none: Loopback = {
  get: () => Promise.reject(new Error("no server was started")),
  close: () => {}
}
