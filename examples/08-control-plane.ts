/**
 * A control plane: policies change while the process runs, and calls go on when the control plane does not.
 *
 * Run it with `node --conditions=@rego/source examples/08-control-plane.ts`. It starts `rego serve` and a server that fails
 * every request, so that the number of requests of a call is what its policy allows. All of it is on this machine.
 */
import * as NodeServices from "@effect/platform-node/NodeServices"
import * as HttpSource from "@rego/control-plane/HttpSource"
import * as LastKnownGoodStore from "@rego/control-plane/LastKnownGoodStore"
import { PolicyLayer, Rego, Timeline } from "@rego/core"
import { Effect, Layer, Schedule } from "effect"
import { FetchHttpClient, HttpClient } from "effect/http"
import assert from "node:assert"
import type { ChildProcess } from "node:child_process"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { serve } from "./local-server.ts"

// -----------------------------------------------------------------------------
// the application: a call, its policies from a control plane, the last good ones on disk
// -----------------------------------------------------------------------------

interface Places {
  readonly policies: string
  readonly stock: string
  readonly lastGood: string
}

const application = ({ lastGood, policies, stock }: Places) => {
  const Policies = PolicyLayer.live().pipe(
    Layer.provide([
      HttpSource.layer({ url: policies, backoff: { initial: "200 millis", max: "1 second" } }),
      LastKnownGoodStore.layerFile({ path: lastGood })
    ]),
    Layer.provideMerge([FetchHttpClient.layer, NodeServices.layer])
  )
  const getStock = Effect.gen(function*() {
    const client = HttpClient.filterStatusOk(yield* HttpClient.HttpClient)
    return yield* client.get(stock)
  }).pipe(Rego.resilient("stock.Get"))
  /** One call; its timeline says by which policies it ran. */
  const call = Effect.map(Timeline.capture(Effect.exit(getStock)), ([, [timeline]]) => timeline!)
  return { Policies, call }
}

const show = ({ attempts, policyRevision, policySource }: Timeline.Timeline): string =>
  `revision ${policyRevision}, ${policySource}: ${attempts.length} ${attempts.length === 1 ? "request" : "requests"}`

/** Calls again and again until one ran by the policies that are waited for. */
const callUntil = <R>(
  call: Effect.Effect<Timeline.Timeline, never, R>,
  holds: (timeline: Timeline.Timeline) => boolean
) =>
  call.pipe(
    Effect.repeat({ until: holds, schedule: Schedule.spaced("20 millis") }),
    Effect.timeoutOrElse({
      duration: "30 seconds",
      orElse: () => Effect.die(new Error("the policies that were waited for did not come"))
    })
  )

// -----------------------------------------------------------------------------
// the control plane: `rego serve` in a process of its own
// -----------------------------------------------------------------------------

const token = "example-token-0123456789"

const rego = join(import.meta.dirname, "../packages/control-plane/bin/rego.js")

interface Server {
  readonly child: ChildProcess
  readonly url: string
}

/** Its first line begins with its address. */
const startServer = (directory: string, port = 0): Effect.Effect<Server> =>
  Effect.callback((resume) => {
    const args = ["--conditions=@rego/source", rego, "serve", directory, "--port", String(port)]
    const child = spawn(process.execPath, args, {
      env: { ...process.env, REGO_WRITE_TOKEN: token },
      stdio: ["ignore", "pipe", "inherit"]
    })
    child.stdout.once("data", (line) => resume(Effect.succeed({ child, url: String(line).split(" ")[0]! })))
  })

const kill = (child: ChildProcess): Effect.Effect<void> =>
  Effect.callback((resume) => {
    if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
    child.once("exit", () => resume(Effect.void))
    child.kill("SIGKILL")
  })

const send = (method: "PUT" | "POST", url: string, body: unknown, precondition: Readonly<Record<string, string>>) =>
  Effect.promise(async () => {
    const response = await fetch(url, {
      method,
      headers: { "content-type": "application/json", authorization: `Bearer ${token}`, ...precondition },
      body: JSON.stringify(body)
    })
    assert(response.ok, await response.text())
    return response.headers.get("etag")!
  })

const many = {
  schemaVersion: "1.0",
  revision: "1",
  budgets: { plenty: { type: "tokenBucket", capacity: 100, refillPerSecond: 100 } },
  policies: {
    "stock.*": {
      retry: { maxAttempts: 2, backoff: { type: "constant", delay: "5 millis" } },
      hedge: { trigger: { type: "after", delay: "20 millis" }, maxFailing: 1 },
      timeout: { overall: "2 seconds" },
      budget: "plenty",
      idempotent: true
    }
  }
}

/** Attempts down, hedging off. */
const few = {
  ...many,
  revision: "2",
  policies: { "stock.*": { ...many.policies["stock.*"], retry: { maxAttempts: 1 }, hedge: "off" } }
}

// -----------------------------------------------------------------------------
// a process that starts while the control plane is down
// -----------------------------------------------------------------------------

const restarted = (places: Places) => {
  const { call, Policies } = application(places)
  return Effect.gen(function*() {
    console.log(`  ${show(yield* callUntil(call, ({ policySource }) => policySource === "lkg"))}`)
    console.log("  (and when the control plane is back)")
    console.log(`  ${show(yield* callUntil(call, ({ policySource }) => policySource === "live"))}`)
  }).pipe(Effect.provide(Policies))
}

/** Answers with what it has printed so far. */
const startAgain = ({ lastGood, policies, stock }: Places) => {
  const args = ["--conditions=@rego/source", import.meta.filename, policies, stock, lastGood]
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
  const printed = { text: "" }
  child.stdout.on("data", (chunk) => {
    printed.text += String(chunk)
  })
  const exited = new Promise<number | null>((resolve) => {
    child.once("exit", resolve)
  })
  return { child, printed, exited }
}

// -----------------------------------------------------------------------------
// the story
// -----------------------------------------------------------------------------

const story = (directory: string) =>
  Effect.gen(function*() {
    const stock = yield* serve((_, response) => {
      setTimeout(() => response.writeHead(503).end(), 60)
    })
    let server = yield* startServer(directory)
    yield* Effect.addFinalizer(() => kill(server.child))
    const first = yield* send("PUT", server.url, many, { "if-none-match": "*" })
    const places = { policies: server.url, stock, lastGood: join(directory, "last-good.json") }
    const { call, Policies } = application(places)

    yield* Effect.gen(function*() {
      console.log("\nThe control plane has revision 1: two attempts, each with a hedge")
      console.log(`  ${show(yield* call)}`)

      console.log("\nRevision 2 is published: one attempt, no hedges")
      const publishedAt = performance.now()
      yield* send("PUT", server.url, few, { "if-match": first })
      console.log(`  ${show(yield* callUntil(call, ({ policyRevision }) => policyRevision === "2"))}`)
      const seconds = (performance.now() - publishedAt) / 1_000
      console.log(`  ${seconds < 1 ? "within a second" : `after ${seconds.toFixed(1)} s: this machine is busy`}`)

      console.log("\nThe control plane is killed: calls go on, and their timelines say how old their policies are")
      yield* kill(server.child)
      const stale = yield* callUntil(call, ({ policySource }) => policySource === "stale")
      console.log(`  ${show(stale)}`)
      assert.strictEqual(stale.policyRevision, "2")

      console.log("\nAnother process starts while it is down: the last good policies are on disk")
      const again = startAgain(places)
      yield* Effect.addFinalizer(() => kill(again.child))
      const hasStarted = Effect.sync(() => again.printed.text.includes("(and when"))
      yield* Effect.repeat(hasStarted, { until: (it) => it, schedule: Schedule.spaced("20 millis") })

      server = yield* startServer(directory, Number(new URL(server.url).port))
      assert.strictEqual(yield* Effect.promise(() => again.exited), 0)
      process.stdout.write(again.printed.text)
      assert.match(again.printed.text, /revision 2, lkg: 1 request[^]*revision 2, live: 1 request/)

      console.log("\nIt is back, with its history. Back to revision 1")
      yield* callUntil(call, ({ policySource }) => policySource === "live")
      yield* send("POST", server.url.replace("policies", "rollback"), { revision: "1" }, { "if-match": "*" })
      const back = yield* callUntil(call, ({ policyRevision }) => policyRevision === "1")
      console.log(`  ${show(back)}`)
      assert.strictEqual(back.attempts.length, 4)
    }).pipe(Effect.provide(Policies))
  }).pipe(Effect.scoped, Effect.orDie)

const [policies, stock, lastGood] = process.argv.slice(2)
if (policies !== undefined && stock !== undefined && lastGood !== undefined) {
  await Effect.runPromise(restarted({ policies, stock, lastGood }))
} else {
  const directory = mkdtempSync(join(tmpdir(), "rego-example-"))
  try {
    await Effect.runPromise(story(directory))
  } finally {
    rmSync(directory, { recursive: true })
  }
}
