/**
 * The other side of `01-first-call.ts`: an HTTP server on this machine that misbehaves after a script, so that each run
 * of the example sees the same answers.
 */
import { Context, Effect, Layer } from "effect"
import type { RequestListener, ServerResponse } from "node:http"
import { serve } from "./local-server.ts"

interface Reply {
  readonly status: number
  readonly body: unknown
  readonly retryAfterSeconds?: number
  readonly delayMillis?: number
}

type Answer = Reply | "drop the connection"

const ok = (body: unknown): Reply => ({ status: 200, body })
const unavailable: Reply = { status: 503, body: "try again" }
const hangs: Reply = { status: 200, body: "too late", delayMillis: 60_000 }

/** What each path answers, one entry for each request; the last entry stands for all that follow. */
const script: Readonly<Record<string, ReadonlyArray<Answer>>> = {
  "/users/ada": [ok({ name: "Ada" })],
  "/users/bob": [unavailable, ok({ name: "Bob" })],
  "/users/cy": [{ ...unavailable, retryAfterSeconds: 1 }, ok({ name: "Cy" })],
  "/users/dora": ["drop the connection", ok({ name: "Dora" })],
  "/users/eve": [hangs, ok({ name: "Eve" })],
  "/reports/today": [unavailable, hangs],
  "/search": [unavailable]
}

const notFound: Reply = { status: 404, body: "no such page" }

const send = (reply: Reply, response: ServerResponse): void => {
  response.statusCode = reply.status
  response.setHeader("content-type", "application/json")
  if (reply.retryAfterSeconds !== undefined) response.setHeader("retry-after", reply.retryAfterSeconds)
  response.end(JSON.stringify(reply.body))
}

const misbehave = (requests: Map<string, number>): RequestListener => (request, response) => {
  const path = request.url ?? "/"
  const seen = requests.get(path) ?? 0
  requests.set(path, seen + 1)
  const answers = script[path] ?? [notFound]
  const answer = answers[seen] ?? answers.at(-1) ?? notFound
  if (answer === "drop the connection") return request.socket.destroy()
  const timer = setTimeout(() => send(answer, response), answer.delayMillis ?? 0)
  response.once("close", () => clearTimeout(timer))
}

export class FlakyServer extends Context.Service<FlakyServer, {
  readonly url: string
  /** how often a path was asked for */
  readonly requests: (path: string) => number
}>()("examples/FlakyServer") {
  static readonly layer = Layer.effect(
    FlakyServer,
    Effect.gen(function*() {
      const requests = new Map<string, number>()
      const url = yield* serve(misbehave(requests))
      return { url, requests: (path) => requests.get(path) ?? 0 }
    })
  )
}
