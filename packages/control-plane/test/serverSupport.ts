import { Effect, Layer, Redacted } from "effect"
import { HttpClient, HttpClientRequest, type HttpClientResponse, HttpRouter } from "effect/http"
import { loopback } from "../../core/test/loopback.ts"
import * as NodeSqlite from "../src/NodeSqlite.ts"
import * as PolicyHistory from "../src/PolicyHistory.ts"
import * as PolicyServer from "../src/PolicyServer.ts"

export const document = (revision: string, maxAttempts = 3): object => ({
  schemaVersion: "1.0",
  revision,
  policies: { "users.*": { retry: { maxAttempts }, timeout: { overall: "1 second" } } }
})

export const writeToken = "write-token-0123456789"
export const readToken = "read-token-0123456789"

export const history = (
  options: Partial<PolicyHistory.Options> = {},
  filename = ":memory:"
): Layer.Layer<PolicyHistory.PolicyHistory> =>
  PolicyHistory.layer(options).pipe(
    Layer.provide(NodeSqlite.layer(filename)),
    Layer.orDie
  )

/** A real server on a free port of this machine, its history, and a client that knows its address. */
export const server = (options: PolicyServer.Options = {}, kept: Partial<PolicyHistory.Options> = {}) =>
  HttpRouter.serve(PolicyServer.layer({ tokens: { write: Redacted.make(writeToken) }, ...options }), {
    disableLogger: true,
    disableListenLog: true
  }).pipe(Layer.provideMerge(history(kept)), Layer.provideMerge(loopback))

export interface Send {
  readonly token?: string | undefined
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly json?: unknown
  readonly text?: string | undefined
}

/** Sends a request, and reads all of the answer. */
export const send = (
  method: "GET" | "PUT" | "POST" | "DELETE",
  path: string,
  { headers, json, text, token }: Send = {}
) =>
  Effect.gen(function*() {
    const body = text ?? (json === undefined ? undefined : JSON.stringify(json))
    const request = HttpClientRequest.make(method)(path).pipe(
      body === undefined ? (self) => self : HttpClientRequest.bodyText(body, "application/json"),
      token === undefined ? (self) => self : HttpClientRequest.bearerToken(token),
      HttpClientRequest.setHeaders(headers ?? {})
    )
    const response: HttpClientResponse.HttpClientResponse = yield* HttpClient.execute(request)
    const answer = yield* response.text
    return { status: response.status, headers: response.headers, text: answer, json: parsed(answer) }
  })

const parsed = (text: string): any => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export const put = (
  json: unknown,
  headers: Readonly<Record<string, string>> = { "if-match": "*" },
  token = writeToken
) => send("PUT", "/v1/policies", { json, headers, token })

/** Publishes the first document of a history. */
export const putFirst = (json: unknown) => put(json, { "if-none-match": "*" })
