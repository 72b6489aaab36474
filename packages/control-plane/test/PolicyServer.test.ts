import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Redacted, Tracer } from "effect"
import { HttpServer } from "effect/http"
import { TestClock } from "effect/testing"
import { once } from "node:events"
import type { IncomingMessage } from "node:http"
import { request as httpRequest } from "node:http"
import { text } from "node:stream/consumers"
import * as PolicyHistory from "../src/PolicyHistory.ts"
import * as PolicyServer from "../src/PolicyServer.ts"
import { document, put, putFirst, readToken, send, server, writeToken } from "./serverSupport.ts"
import { refusal } from "./support.ts"

const turn = Effect.callback<void>((resume) => {
  setImmediate(() => resume(Effect.void))
})

/** Lets virtual time pass until a request that goes over a real socket is answered. */
const answered = Effect.fnUntraced(function*<A, E>(fiber: Fiber.Fiber<A, E>) {
  for (let seconds = 0; seconds <= 1_000; seconds++) {
    for (let i = 0; i < 10; i++) yield* turn
    if (fiber.pollUnsafe() !== undefined) return { answer: yield* Fiber.join(fiber), seconds }
    yield* TestClock.adjust("1 second")
  }
  return assert.fail("the request was never answered")
})

/** Reads from a server that it calls by another name. */
const getAs = (host: string, path: string) =>
  Effect.flatMap(HttpServer.HttpServer, ({ address }) =>
    Effect.promise(async () => {
      const request = httpRequest(`${HttpServer.formatAddress(address)}${path}`, { headers: { host } }).end()
      const [response] = await once(request, "response") as [IncomingMessage]
      return text(response)
    }))

/** Sends a document whose length nobody says beforehand. */
const sendInPieces = (text: string) =>
  Effect.flatMap(HttpServer.HttpServer, ({ address }) =>
    Effect.callback<number | undefined>((resume) => {
      const headers = { "content-type": "application/json", authorization: `Bearer ${writeToken}`, "if-match": "*" }
      const request = httpRequest(
        `${HttpServer.formatAddress(address)}/v1/policies`,
        { method: "PUT", headers },
        (response) => resume(Effect.succeed(response.statusCode))
      )
      request.on("error", (error) => resume(Effect.die(error)))
      for (let i = 0; i < text.length; i += 100) request.write(text.slice(i, i + 100))
      request.end()
    }))

describe("PolicyServer", () => {
  it("reads its options at once, with every mistake, and without its tokens", () => {
    const wrong = { tokens: "s3cret", maxBytes: 0, maxDepth: 1, maxWait: "2 days", maxWaiting: -1, port: 1 }
    const names = ["tokens", "maxBytes", "maxDepth", "maxWait", "maxWaiting", "port"]
    assert.notInclude(refusal(() => PolicyServer.layer(wrong as never), names), "s3cret")
  })

  describe("reading", () => {
    it.effect("has nothing to serve before the first document is published", () =>
      Effect.gen(function*() {
        const { json, status } = yield* send("GET", "/v1/policies")
        assert.strictEqual(status, 404)
        assert.strictEqual(json.detail, "no document was published yet")
      }).pipe(Effect.provide(server())))

    it.effect("serves the document in force with its tag", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        const { headers, json, status } = yield* send("GET", "/v1/policies")
        assert.strictEqual(status, 200)
        assert.deepStrictEqual(json, document("1"))
        assert.strictEqual(headers["etag"], PolicyHistory.etagOf(document("1")))
        assert.strictEqual(headers["content-type"], "application/json")
      }).pipe(Effect.provide(server())))

    it.effect("answers 304 to who knows it already", () =>
      Effect.gen(function*() {
        const { headers } = yield* putFirst(document("1"))
        const etag = headers["etag"]!
        for (const known of [etag, `W/${etag}`, `"other", ${etag}`]) {
          const { status, text } = yield* send("GET", "/v1/policies", { headers: { "if-none-match": known } })
          assert.strictEqual(status, 304, known)
          assert.strictEqual(text, "")
        }
      }).pipe(Effect.provide(server())))

    it.effect("serves documents of the history by their revision", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        yield* put(document("2"))
        assert.deepStrictEqual((yield* send("GET", "/v1/policies?revision=1")).json, document("1"))
        assert.deepStrictEqual(JSON.parse(yield* getAs("a b", "/v1/policies?revision=1")), document("1"))
        assert.strictEqual((yield* send("GET", "/v1/policies?revision=3")).status, 404)
      }).pipe(Effect.provide(server())))
  })

  describe("waiting", () => {
    it.effect("holds the answer for as long as it was asked to, and says so", () =>
      Effect.gen(function*() {
        const { headers } = yield* putFirst(document("1"))
        const waiting = yield* Effect.forkChild(send("GET", "/v1/policies", {
          headers: { "if-none-match": headers["etag"]!, prefer: "wait=30" }
        }))
        const { answer, seconds } = yield* answered(waiting)
        assert.strictEqual(answer.status, 304)
        assert.strictEqual(answer.headers["preference-applied"], "wait")
        assert.isAtLeast(seconds, 30)
      }).pipe(Effect.provide(server())))

    it.effect("never waits longer than its bound", () =>
      Effect.gen(function*() {
        const { headers } = yield* putFirst(document("1"))
        const waiting = yield* Effect.forkChild(send("GET", "/v1/policies", {
          headers: { "if-none-match": headers["etag"]!, prefer: "respond-async, wait=100000" }
        }))
        const { seconds } = yield* answered(waiting)
        assert.isAtMost(seconds, 10)
      }).pipe(Effect.provide(server({ maxWait: "5 seconds" }))))

    it.effect("answers as soon as another document is published", () =>
      Effect.gen(function*() {
        const { headers } = yield* putFirst(document("1"))
        const waiting = yield* Effect.forkChild(send("GET", "/v1/policies", {
          headers: { "if-none-match": headers["etag"]!, prefer: "wait=30" }
        }))
        for (let i = 0; i < 20; i++) yield* turn
        assert.isUndefined(waiting.pollUnsafe())
        yield* put(document("2"))
        const answer = yield* Fiber.join(waiting)
        assert.deepStrictEqual(answer.json, document("2"))
        assert.strictEqual(answer.headers["preference-applied"], "wait")
      }).pipe(Effect.provide(server())))

    it.effect("does not hold who is one too many, and does not say that it did", () =>
      Effect.gen(function*() {
        const { headers } = yield* putFirst(document("1"))
        const wait = send("GET", "/v1/policies", { headers: { "if-none-match": headers["etag"]!, prefer: "wait=30" } })
        const first = yield* Effect.forkChild(wait)
        for (let i = 0; i < 20; i++) yield* turn
        const second = yield* wait
        assert.strictEqual(second.status, 304)
        assert.isUndefined(second.headers["preference-applied"])
        assert.isUndefined(first.pollUnsafe())
        yield* put(document("2"))
        yield* Fiber.join(first)
      }).pipe(Effect.provide(server({ maxWaiting: 1 }))))
  })

  describe("publishing", () => {
    it.effect("answers 201 to the first document, 200 to the next ones, and says what was replaced", () =>
      Effect.gen(function*() {
        const first = yield* putFirst(document("1"))
        assert.strictEqual(first.status, 201)
        assert.deepInclude(first.json, { revision: "1", number: 1, kind: "published", changed: true })
        const second = yield* put(document("2"), { "if-match": first.headers["etag"]! })
        assert.strictEqual(second.status, 200)
        assert.deepInclude(second.json, { revision: "2", number: 2, replaced: "1" })
      }).pipe(Effect.provide(server())))

    it.effect("wants to know which document is replaced", () =>
      Effect.gen(function*() {
        assert.strictEqual((yield* put(document("1"), {})).status, 428)
        assert.strictEqual((yield* send("GET", "/v1/policies")).status, 404)
      }).pipe(Effect.provide(server())))

    it.effect("refuses who has not seen the document in force, and names its tag", () =>
      Effect.gen(function*() {
        const { headers } = yield* putFirst(document("1"))
        const second = yield* put(document("2"), { "if-match": headers["etag"]! })
        const late = yield* put(document("3"), { "if-match": headers["etag"]! })
        assert.strictEqual(late.status, 412)
        assert.strictEqual(late.headers["etag"], second.headers["etag"])
        assert.strictEqual((yield* putFirst(document("4"))).status, 412)
        assert.deepStrictEqual((yield* send("GET", "/v1/policies")).json, document("2"))
      }).pipe(Effect.provide(server())))

    it.effect("takes the same document again for the same publication", () =>
      Effect.gen(function*() {
        const { headers } = yield* putFirst(document("1"))
        yield* put(document("2"), { "if-match": headers["etag"]! })
        const again = yield* put(document("2"), { "if-match": headers["etag"]! })
        assert.strictEqual(again.status, 200)
        assert.deepInclude(again.json, { revision: "2", number: 2, changed: false })
      }).pipe(Effect.provide(server())))

    it.effect("answers a refused document with every issue, its path and the rule, and keeps the one in force", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        const { headers, json, status } = yield* put({
          schemaVersion: "1.0",
          revision: "2",
          policies: { "users.*": { retry: { maxAtempts: 4 }, timeout: { overall: 0 } } }
        })
        assert.strictEqual(status, 422)
        assert.strictEqual(headers["content-type"], "application/problem+json")
        assert.deepStrictEqual(json.issues.map((issue: { text: string }) => issue.text), [
          `policies["users.*"].retry.maxAtempts: is not a field that is known here, got 4`,
          `policies["users.*"].timeout.overall: must be between 1ms and 1d, got 0`
        ])
        assert.deepStrictEqual((yield* send("GET", "/v1/policies")).json, document("1"))
      }).pipe(Effect.provide(server())))

    it.effect("refuses what the guard of a live layer would refuse, unless the entry says force", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        const cut = { overall: "10 millis" }
        const after = (revision: string, more: object) => ({
          ...document(revision),
          policies: { "users.*": { timeout: cut, ...more } }
        })
        const { json, status } = yield* put(after("2", {}))
        assert.strictEqual(status, 422)
        assert.match(json.issues[0].text, /^policies\["users\.\*"\]\.timeout\.overall: must not fall below a tenth/)
        assert.strictEqual((yield* put(after("3", { force: true }))).status, 200)
      }).pipe(Effect.provide(server())))

    it.effect("says which values clients will clamp, and serves the document as it was written", () =>
      Effect.gen(function*() {
        const { json } = yield* putFirst(document("1", 40))
        const path = ["policies", "users.*", "retry", "maxAttempts"]
        assert.deepStrictEqual(json.clamped, [{ path, value: 40, limit: 10 }])
        assert.deepStrictEqual((yield* send("GET", "/v1/policies")).json, document("1", 40))
      }).pipe(Effect.provide(server())))

    it.effect("refuses another content under a revision that was published", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        const { json, status } = yield* put(document("1", 4))
        assert.strictEqual(status, 409)
        assert.match(json.detail, /revision "1" was published with another content/)
      }).pipe(Effect.provide(server())))
  })

  describe("rolling back", () => {
    it.effect("puts a document of the history in force again", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        yield* put(document("2"))
        const { json, status } = yield* send("POST", "/v1/rollback", {
          json: { revision: "1" },
          headers: { "if-match": "*" },
          token: writeToken
        })
        assert.strictEqual(status, 200)
        assert.deepInclude(json, { revision: "1", number: 3, kind: "rolled_back", replaced: "2" })
        assert.deepStrictEqual((yield* send("GET", "/v1/policies")).json, document("1"))
        const { json: { entries } } = yield* send("GET", "/v1/history")
        assert.deepStrictEqual(
          entries.map(({ kind, revision }: PolicyHistory.Entry) => [kind, revision]),
          [["rolled_back", "1"], ["published", "2"], ["published", "1"]]
        )
      }).pipe(Effect.provide(server())))

    it.effect("takes a step back that the guard would refuse as a step forward: it was in force before", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1", 10))
        yield* put(document("2", 1))
        assert.strictEqual((yield* put(document("3", 10))).status, 422)
        const back = { json: { revision: "1" }, headers: { "if-match": "*" }, token: writeToken }
        assert.strictEqual((yield* send("POST", "/v1/rollback", back)).status, 200)
      }).pipe(Effect.provide(server())))

    it.effect("refuses a revision that is not in the history, a body that names none, and who has not looked", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        const rollback = (json: unknown, headers: Record<string, string> = { "if-match": "*" }) =>
          send("POST", "/v1/rollback", { json, headers, token: writeToken })
        assert.strictEqual((yield* rollback({ revision: "7" })).status, 404)
        assert.strictEqual((yield* rollback({})).status, 400)
        assert.strictEqual((yield* rollback({ revision: "1" }, {})).status, 428)
        assert.strictEqual((yield* rollback({ revision: "1" }, { "if-match": "\"other\"" })).status, 200)
      }).pipe(Effect.provide(server())))
  })

  describe("security", () => {
    it.effect("writes nothing without the token for writing", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        const rows: ReadonlyArray<readonly [string | undefined, number]> = [
          [undefined, 401],
          ["", 401],
          ["guess", 401],
          [writeToken.slice(0, -1), 401],
          [`${writeToken}x`, 401],
          [writeToken.toUpperCase(), 401],
          [readToken, 403]
        ]
        for (const [token, expected] of rows) {
          const headers: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` }
          const change = yield* send("PUT", "/v1/policies", {
            json: document("2"),
            headers: { ...headers, "if-match": "*" }
          })
          assert.strictEqual(change.status, expected, token)
          const back = yield* send("POST", "/v1/rollback", {
            json: { revision: "1" },
            headers: { ...headers, "if-match": "*" }
          })
          assert.strictEqual(back.status, expected, token)
        }
        const history = yield* PolicyHistory.PolicyHistory
        assert.strictEqual((yield* history.list(10)).length, 1)
      }).pipe(
        Effect.provide(server({ tokens: { read: Redacted.make(readToken), write: Redacted.make(writeToken) } }))
      ))

    it.effect("asks for the token before it reads the body", () =>
      Effect.gen(function*() {
        const { headers, status } = yield* send("PUT", "/v1/policies", { text: "x".repeat(100_000) })
        assert.strictEqual(status, 401)
        assert.match(headers["www-authenticate"] ?? "", /^Bearer/)
      }).pipe(Effect.provide(server())))

    it.effect("reads with either token where there is one for reading", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        for (const path of ["/v1/policies", "/v1/policies?revision=1", "/v1/history"]) {
          assert.strictEqual((yield* send("GET", path)).status, 401, path)
          assert.strictEqual((yield* send("GET", path, { token: "guess" })).status, 401, path)
          assert.strictEqual((yield* send("GET", path, { token: readToken })).status, 200, path)
          assert.strictEqual((yield* send("GET", path, { token: writeToken })).status, 200, path)
        }
        assert.strictEqual((yield* send("GET", "/health")).status, 200)
      }).pipe(
        Effect.provide(server({ tokens: { read: Redacted.make(readToken), write: Redacted.make(writeToken) } }))
      ))

    it.effect("is read-only without a token for writing", () =>
      Effect.gen(function*() {
        const { json, status } = yield* putFirst(document("1"))
        assert.strictEqual(status, 403)
        assert.match(json.detail, /read-only/)
      }).pipe(Effect.provide(server({ tokens: {} }))))

    it.effect("refuses bodies that are too large, announced or not, and no JSON", () =>
      Effect.gen(function*() {
        const large = { ...document("1"), padding: "x".repeat(2_000) }
        const announced = yield* putFirst(large)
        assert.strictEqual(announced.status, 413)
        assert.strictEqual(yield* sendInPieces(JSON.stringify(large)), 413)
        const write = { token: writeToken, headers: { "if-none-match": "*" } }
        assert.strictEqual((yield* send("PUT", "/v1/policies", { ...write, text: "{" })).status, 400)
        assert.strictEqual((yield* send("PUT", "/v1/policies", { ...write, text: "[".repeat(500) })).status, 400)
        const html = yield* send("PUT", "/v1/policies", {
          ...write,
          text: "{}",
          headers: { ...write.headers, "content-type": "text/html" }
        })
        assert.strictEqual(html.status, 415)
        assert.strictEqual((yield* send("GET", "/v1/policies")).status, 404)
      }).pipe(Effect.provide(server({ maxBytes: 1_000 }))))

    it.effect("has no path that leads to a file", () =>
      Effect.gen(function*() {
        yield* putFirst(document("1"))
        const paths = [
          "/v1/policies/../../../etc/passwd",
          "/v1/policies/..%2f..%2f..%2fetc%2fpasswd",
          "/..%5c..%5cetc%5cpasswd",
          "/etc/passwd",
          "/v1/policies?revision=../../../etc/passwd",
          "/v1/policies?revision=%00",
          "/v1/policies?revision=1'%20OR%20'1'='1"
        ]
        for (const path of paths) {
          const { status, text } = yield* send("GET", path)
          assert.strictEqual(status, 404, path)
          assert.notMatch(text, /root:/)
        }
      }).pipe(Effect.provide(server())))

    it.effect("keeps keys with a meaning in JavaScript as plain data", () =>
      Effect.gen(function*() {
        const text = `{ "schemaVersion": "1.0", "revision": "1", "policies": { "__proto__": { "retry": {} } } }`
        yield* send("PUT", "/v1/policies", { text, token: writeToken, headers: { "if-none-match": "*" } })
        assert.isUndefined(({} as Record<string, unknown>)["retry"])
        assert.isUndefined(({} as Record<string, unknown>)["polluted"])
      }).pipe(Effect.provide(server())))

    it.effect("never shows a token in answers, logs or spans", () => {
      const seen: Array<string> = []
      const logs = Logger.layer([
        Logger.map(Logger.formatStructured, (line) => {
          seen.push(JSON.stringify(line))
        })
      ])
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          const attribute = span.attribute.bind(span)
          span.attribute = (key, value) => {
            seen.push(`${key}=${JSON.stringify(value)}`)
            attribute(key, value)
          }
          return span
        }
      })
      return Effect.gen(function*() {
        const answers = [
          yield* putFirst(document("1")),
          yield* put(document("1", 4)),
          yield* put({ revision: "2" }),
          yield* put(document("2"), { "if-match": "*" }, `${writeToken}x`),
          yield* send("GET", "/v1/nothing", { token: writeToken }),
          yield* send("GET", "/v1/policies", { token: writeToken })
        ]
        const spansAndLogs = seen.join("\n")
        assert.match(spansAndLogs, /policies published/)
        assert.match(spansAndLogs, /http\.route="\/v1\/policies"/)
        assert.notInclude(`${JSON.stringify(answers)}${spansAndLogs}`, writeToken)
      }).pipe(
        Effect.provide(server().pipe(Layer.provide(logs))),
        Effect.provideService(Tracer.Tracer, tracer)
      )
    })
  })
})
