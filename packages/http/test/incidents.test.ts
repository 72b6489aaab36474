/** `docs/incidents.md` is asked of the example, as a reader would: each command answers with what the page shows. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Scope } from "effect"
import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "../../..")
const page = readFileSync(join(root, "docs/incidents.md"), "utf8")

interface Command {
  readonly path: string
  /** the lines that the page shows as its answer */
  readonly shown: ReadonlyArray<string>
}

const commands: ReadonlyArray<Command> = [
  ...page.matchAll(/```console\n\$ curl -s 'http:\/\/127\.0\.0\.1:9464(?<path>[^']*)'[^\n]*\n(?<shown>[\s\S]*?)```/g)
].map(({ groups }) => ({ path: groups?.["path"] ?? "", shown: (groups?.["shown"] ?? "").trimEnd().split("\n") }))

/** What does not depend on the run: neither ids nor times, ports or the length of bars. */
const shapeOf = (line: string): string =>
  line
    .replace(/^\w+-\w+ {2}/, "id  ")
    .replace(/│[^│]*│/, "│bar│")
    .replaceAll(/\d+(?:\.\d+)?m?s\b/g, "time")
    .replace(/127\.0\.0\.1:\d+/, "host")

/** The example, once it serves; it has ended when the scope closes. */
const example: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function*() {
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      spawn("node", ["--conditions=@rego/source", "examples/09-observability.ts", "--serve", "0"], {
        cwd: root,
        stdio: ["ignore", "pipe", "inherit"]
      })
    ),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  return yield* Effect.promise(() =>
    new Promise<string>((resolve, reject) => {
      let output = ""
      child.stdout.on("data", (chunk: Buffer) => {
        output += chunk.toString()
        const url = /(?<url>http:\/\/127\.0\.0\.1:\d+)\/metrics, until/.exec(output)?.groups?.["url"]
        if (url !== undefined) resolve(url)
      })
      child.once("exit", () => reject(new Error(`the example has ended\n${output}`)))
    })
  )
})

const textOf = (url: string) => Effect.promise(async () => (await fetch(url)).text())

/** All that match, because the page shows one of them. */
const withoutLimit = (path: string): string => path.replace(/&limit=\d+/, "")

const checkText = (url: string, { path, shown }: Command) =>
  Effect.gen(function*() {
    const found = (yield* textOf(`${url}${withoutLimit(path)}`)).split("\n").map(shapeOf)
    for (const line of shown) assert.include(found, shapeOf(line), path)
  })

const checkJson = (url: string, { path, shown }: Command) =>
  Effect.gen(function*() {
    const { calls } = JSON.parse(yield* textOf(`${url}${path}`))
    const found = calls.map((it: Record<string, string>) => `${it["policySource"]} ${it["policyRevision"]}`)
    for (const line of shown) assert.include(found, line.trim().replace(/^\d+ /, ""))
  })

describe("docs/incidents.md", () => {
  it.live("shows what its commands answer", () =>
    Effect.gen(function*() {
      assert.lengthOf(commands, 5)
      const url = yield* example
      for (const command of commands) {
        yield* command.path.includes(".json") ? checkJson(url, command) : checkText(url, command)
      }
      assert.include(
        yield* textOf(`${url}/metrics`),
        `rego_call_stopped_total{key="orders.Create",reason="not_idempotent"}`
      )
    }).pipe(Effect.scoped), 90_000)
})
