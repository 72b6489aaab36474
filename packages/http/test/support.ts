/**
 * What the tests of this package share: policies without a budget in the way, a client that answers after a script, and
 * real servers with real clients.
 */
import { NodeHttpClient } from "@effect/platform-node"
import { assert } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, PolicyLayer, RegoError, Timeline } from "@rego/core"
import { Cause, Clock, Effect, Exit, Layer, Logger, Option } from "effect"
import type { Duration, Scope } from "effect"
import { FetchHttpClient, HttpClient, HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:http"
import type { AddressInfo, Socket } from "node:net"

// -----------------------------------------------------------------------------
// policies
// -----------------------------------------------------------------------------

/** Three attempts, 10 ms apart. */
export const retry: Policy.Input["retry"] = { maxAttempts: 3, backoff: Backoff.constant(10, { jitter: "none" }) }

/** Without the warnings at boot: these policies are careless on purpose. */
export const quietly = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
  layer.pipe(Layer.provide(Logger.layer([])))

export const policiesOf = (policy: Policy.Input) =>
  quietly(Layer.orDie(PolicyLayer.make({ policies: { "*": { budget: "unlimited", ...policy } } })))

// -----------------------------------------------------------------------------
// a client that answers after a script, in virtual time
// -----------------------------------------------------------------------------

export interface Answer {
  readonly status: number
  readonly headers?: Record<string, string>
  readonly body?: string
  /** milliseconds until it comes */
  readonly after?: number
}

export type Step = Answer | "hangs" | { readonly fails: unknown; readonly after?: number }

export const refused: Step = {
  fails: Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED", syscall: "connect" })
}
export const reset: Step = { fails: Object.assign(new Error("socket hang up"), { code: "ECONNRESET" }) }

export interface Sent {
  readonly request: HttpClientRequest.HttpClientRequest
  /** milliseconds of the clock */
  readonly at: number
}

export interface Scripted {
  readonly client: HttpClient.HttpClient
  readonly sent: Array<Sent>
  readonly statusOf: (index: number) => number | undefined
  readonly header: (name: string) => ReadonlyArray<string | undefined>
}

const respond = (request: HttpClientRequest.HttpClientRequest, answer: Answer) =>
  HttpClientResponse.fromWeb(
    request,
    new Response(answer.body ?? null, { status: answer.status, headers: answer.headers ?? {} })
  )

/** One step for each request; the last one is repeated. */
export const scripted = (...steps: ReadonlyArray<Step>): Scripted => {
  const sent: Array<Sent> = []
  const client = HttpClient.make((request) =>
    Effect.flatMap(Clock.currentTimeMillis, (at) => {
      const step = steps[Math.min(sent.length, steps.length - 1)]!
      sent.push({ request, at })
      if (step === "hangs") return Effect.never
      const answer = "fails" in step
        ? Effect.fail(
          new HttpClientError.HttpClientError({
            reason: new HttpClientError.TransportError({ request, cause: step.fails })
          })
        )
        : Effect.sync(() => respond(request, step))
      return Effect.delay(answer, step.after ?? 0)
    })
  )
  return {
    client,
    sent,
    statusOf: (index) => {
      const step = steps[index]
      return step !== undefined && step !== "hangs" && "status" in step ? step.status : undefined
    },
    header: (name) => sent.map(({ request }) => request.headers[name])
  }
}

/** Forks a program at once, lets virtual time pass, and takes its exit, which must be there by then. */
export const inVirtualTime = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  during: Duration.Input = "1 minute"
): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(self, { startImmediately: true })
    yield* TestClock.adjust(during)
    const exit = fiber.pollUnsafe()
    assert.isDefined(exit, `nothing has ended within ${String(during)}`)
    return exit!
  })

// -----------------------------------------------------------------------------
// what became of a call
// -----------------------------------------------------------------------------

/** `"200"`, `"TransportError"`, `"AttemptTimedOut"`, …: what a call of a client came to, in one word. */
export const wordOf = (exit: Exit.Exit<HttpClientResponse.HttpClientResponse, unknown>): string => {
  if (Exit.isSuccess(exit)) return String(exit.value.status)
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  if (RegoError.isRegoError(error)) return error.reason._tag
  return HttpClientError.isHttpClientError(error) ? error.reason._tag : Cause.pretty(exit.cause)
}

/** The verdicts of the attempts, and why the call stopped. */
export const storyOf = (timeline: Timeline.Timeline): ReadonlyArray<string> => [
  ...timeline.attempts.map(({ outcome, reason }) => [outcome, reason].filter((word) => word !== undefined).join(" ")),
  ...timeline.decisions.flatMap((decision) => decision._tag === "Stopped" ? [`stop ${decision.reason}`] : [])
]

// -----------------------------------------------------------------------------
// real servers
// -----------------------------------------------------------------------------

export interface Arrival {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  /** which connection it came on, counted from 0 */
  readonly connection: number
  /** the answer is complete, or the connection has gone */
  ended: boolean
  /** the connection went away before the answer was complete */
  cancelled: boolean
}

export interface Server {
  readonly url: string
  readonly port: number
  readonly arrivals: Array<Arrival>
  /** connections made since the start, and those that are open */
  readonly connections: { made: number; open: number }
}

export type Handler = (request: IncomingMessage, response: ServerResponse, arrival: number) => void

const readBody = (request: IncomingMessage, done: (body: string) => void): void => {
  const chunks: Array<Buffer> = []
  request.on("data", (chunk: Buffer) => chunks.push(chunk))
  request.on("end", () => done(Buffer.concat(chunks).toString()))
}

/** A server on this machine for as long as the scope is open; it counts what arrives. */
export const serve = (handler: Handler, port = 0): Effect.Effect<Server, never, Scope.Scope> => {
  const arrivals: Array<Arrival> = []
  const connections = { made: 0, open: 0 }
  const numbers = new WeakMap<Socket, number>()
  const server = createServer((request, response) =>
    readBody(request, (body) => {
      const arrival: Arrival = {
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        body,
        connection: numbers.get(request.socket) ?? -1,
        ended: false,
        cancelled: false
      }
      response.on("close", () => {
        arrival.ended = true
        arrival.cancelled = !response.writableFinished
      })
      handler(request, response, arrivals.push(arrival) - 1)
    })
  )
  server.on("connection", (socket) => {
    numbers.set(socket, connections.made++)
    connections.open++
    socket.on("close", () => connections.open--)
  })
  const listening = Effect.callback<Server>((resume) => {
    server.listen(port, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo
      resume(Effect.succeed({ url: `http://127.0.0.1:${port}`, port, arrivals, connections }))
    })
  })
  const closing = Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    server.closeAllConnections()
  })
  return Effect.acquireRelease(listening, () => closing)
}

/** Looks again until something holds, for at most four seconds: events of sockets come when they come. */
export const eventually = (what: string, holds: () => boolean): Effect.Effect<void> =>
  Effect.gen(function*() {
    for (let tries = 0; !holds() && tries < 800; tries++) yield* Effect.sleep(5)
    assert.isTrue(holds(), what)
  })

/** The clients that Effect has for Node, with connections that are kept (Node itself closes each one by default). */
export const clients = {
  fetch: FetchHttpClient.layer,
  undici: NodeHttpClient.layerUndici,
  node: NodeHttpClient.layerNodeHttpOptions({ keepAlive: true })
}
