/**
 * A real `redis-server` on the loopback interface. What uses it is skipped, loudly, where there is none, and fails instead
 * with CI=true.
 */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect"
import type { ChildProcess } from "node:child_process"
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { createServer } from "node:net"

/** Whether tests that need a server are to be skipped. */
export const isMissing = (test: string): boolean => {
  const installed = spawnSync("redis-server", ["--version"]).status === 0
  if (installed || process.env["CI"] === "true") return false
  console.warn(
    `\n*** ${test}: SKIPPED. There is no redis-server on PATH, so nothing here was tested against a real Redis.` +
      "\n*** Install it (Debian: apt-get install redis-server). With CI=true these tests fail instead.\n"
  )
  return true
}

export const freePort = Effect.promise(async () => {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const address = server.address()
  server.close()
  await once(server, "close")
  return typeof address === "object" && address !== null ? address.port : assert.fail("no port")
})

export const end = (child: ChildProcess) =>
  Effect.promise(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, "exit")
    child.kill("SIGKILL")
    await exited
  })

/** A server without a disk, on the loopback interface only; it has ended when the scope closes. */
export const start = (
  port: number,
  options: ReadonlyArray<string> = []
): Effect.Effect<ChildProcess, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.promise(() =>
      new Promise<ChildProcess>((resolve, reject) => {
        const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", ...options]
        const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "inherit"] })
        let output = ""
        child.stdout.on("data", (chunk: Buffer) => {
          output += chunk.toString()
          if (output.includes("Ready to accept connections")) resolve(child)
        })
        child.once("error", reject)
        child.once("exit", () => reject(new Error(`redis-server has ended\n${output}`)))
      })
    ),
    end
  )
