import { assert, describe, it } from "@effect/vitest"
import { Backoff, Classifier, Outcome, PolicyLayer, Rego, RegoError } from "@rego/core"
import { HttpClassifier } from "@rego/http"
import { Cause, Data, Duration, Effect, Exit, Schema } from "effect"
import { HttpClientError, HttpClientRequest, HttpClientResponse } from "effect/http"
import * as Internals from "../src/HttpClassifier.ts"
import * as RetriedBelow from "../src/RetriedBelow.ts"

// -----------------------------------------------------------------------------
// what the tests share
// -----------------------------------------------------------------------------

const request = HttpClientRequest.get("http://users.test/users/1")

const answered = (status: number, headers: Record<string, string> = {}) =>
  // a web response has no informational status
  status < 200
    ? { status, headers }
    : HttpClientResponse.fromWeb(request, new Response(null, { status, headers }))

const response = (status: number, headers?: Record<string, string>): HttpClientResponse.HttpClientResponse =>
  HttpClientResponse.fromWeb(request, new Response(null, { status, headers: headers ?? {} }))

const clientError = (reason: HttpClientError.HttpClientErrorReason) => new HttpClientError.HttpClientError({ reason })
const transport = (cause?: unknown) => clientError(new HttpClientError.TransportError({ request, cause }))
const statusError = (status: number, headers?: Record<string, string>) =>
  clientError(new HttpClientError.StatusCodeError({ request, response: response(status, headers) }))
const decodeError = (status: number, cause?: unknown) =>
  clientError(new HttpClientError.DecodeError({ request, response: response(status), cause }))

const systemError = (code: string | number, more: object = {}): Error =>
  Object.assign(new Error(String(code)), { code, ...more })

class UsersError extends Data.TaggedError("UsersError")<{ readonly cause: unknown }> {}

const judge = (exit: Exit.Exit<unknown, unknown>, classifier = HttpClassifier.http): Outcome.Outcome | undefined =>
  classifier(exit)
const ofError = (error: unknown): Outcome.Outcome | undefined => judge(Exit.fail(error))

/** `"Retryable http_503"`, and what makes it special. */
const words = (outcome: Outcome.Outcome | undefined): string => {
  if (outcome === undefined) return "no opinion"
  if (outcome._tag === "Success") return "Success"
  const special = outcome._tag !== "Retryable" ? [] : [
    outcome.executed === "no" ? "not executed" : "",
    outcome.throttled === true ? "throttled" : "",
    outcome.retryAfter === undefined ? "" : `after ${Duration.toMillis(outcome.retryAfter)}`
  ]
  return [outcome._tag, outcome.reason, ...special].filter((word) => word !== "").join(" ")
}

describe("HttpClassifier", () => {
  // ---------------------------------------------------------------------------
  // statuses
  // ---------------------------------------------------------------------------

  describe("a response", () => {
    const rows: ReadonlyArray<readonly [status: number, verdict: string]> = [
      [101, "Success"],
      [200, "Success"],
      [204, "Success"],
      [302, "Success"],
      [304, "Success"],
      [400, "NonRetryable http_400"],
      [401, "NonRetryable http_401"],
      [404, "NonRetryable http_404"],
      [408, "Retryable http_408"],
      [409, "NonRetryable http_409"],
      [413, "NonRetryable http_413"],
      [421, "NonRetryable http_421"],
      [422, "NonRetryable http_422"],
      [425, "Retryable http_425 not executed"],
      [429, "Retryable http_429 not executed throttled"],
      [500, "Retryable http_500"],
      [501, "NonRetryable http_501"],
      [502, "Retryable http_502"],
      [503, "Retryable http_503"],
      [504, "Retryable http_504"],
      [505, "NonRetryable http_505"],
      [511, "NonRetryable http_511"],
      [599, "NonRetryable http_599"]
    ]
    for (const [status, verdict] of rows) {
      it(`with status ${status} is ${verdict}`, () => {
        assert.strictEqual(words(judge(Exit.succeed(answered(status)))), verdict)
      })
    }

    it("is judged the same as a value, as the error of filterStatusOk, and as a web response", () => {
      for (const [status, verdict] of rows.filter(([status]) => status >= 400)) {
        assert.strictEqual(words(ofError(statusError(status))), verdict)
        assert.strictEqual(words(judge(Exit.succeed(new Response(null, { status })))), verdict)
      }
    })

    it("that is no response is nobody's business", () => {
      for (const value of [undefined, null, 503, "503", {}, { status: 503 }, { status: 42, headers: {} }]) {
        assert.strictEqual(words(judge(Exit.succeed(value))), "no opinion")
      }
    })
  })

  // ---------------------------------------------------------------------------
  // hints
  // ---------------------------------------------------------------------------

  describe("server hints", () => {
    const rows: ReadonlyArray<readonly [string, status: number, headers: Record<string, string>, verdict: string]> = [
      ["Retry-After on 429", 429, { "retry-after": "2" }, "Retryable http_429 not executed throttled after 2000"],
      ["Retry-After on 503", 503, { "retry-after": "2" }, "Retryable http_503 after 2000"],
      ["Retry-After on 500, where others ignore it", 500, { "retry-after": "1" }, "Retryable http_500 after 1000"],
      ["an instant, against the server's own Date", 503, {
        "date": "Sun, 06 Nov 1994 08:49:35 GMT",
        "retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"
      }, "Retryable http_503 after 2000"],
      [
        "a wait of a day is reported as it is: the policy decides",
        503,
        { "retry-after": "86400" },
        "Retryable http_503 after 86400000"
      ],
      ["a malformed wait is no wait", 503, { "retry-after": "-1" }, "Retryable http_503"],
      ["a quota on 429", 429, { "ratelimit-reset": "3" }, "Retryable http_429 not executed throttled after 3000"],
      ["a quota on 503", 503, { "x-ratelimit-reset-after": "0.5" }, "Retryable http_503 after 500"],
      ["a quota that is only reported beside a 500", 500, { "x-ratelimit-reset": "3600" }, "Retryable http_500"],
      [
        "x-should-retry: false on 503",
        503,
        { "x-should-retry": "false", "retry-after": "1" },
        "Retryable http_503_final after Infinity"
      ],
      ["x-should-retry: true on 409", 409, { "x-should-retry": "true" }, "Retryable http_409"],
      ["x-should-retry: false on 404", 404, { "x-should-retry": "false" }, "NonRetryable http_404"],
      ["x-should-retry: true on 200", 200, { "x-should-retry": "true", "retry-after": "1" }, "Success"],
      ["Retry-After on 404", 404, { "retry-after": "1" }, "NonRetryable http_404"]
    ]
    for (const [name, status, headers, verdict] of rows) {
      it(`${name}: ${verdict}`, () => {
        assert.strictEqual(words(judge(Exit.succeed(response(status, headers)))), verdict)
        if (status >= 400) assert.strictEqual(words(ofError(statusError(status, headers))), verdict)
      })
    }
  })

  // ---------------------------------------------------------------------------
  // transport
  // ---------------------------------------------------------------------------

  describe("a transport error", () => {
    const rows: ReadonlyArray<readonly [string, cause: unknown, verdict: string]> = [
      ["refused", systemError("ECONNREFUSED", { syscall: "connect" }), "Retryable connection_refused not executed"],
      [
        "refused, of a host without system calls",
        systemError("ConnectionRefused"),
        "Retryable connection_refused not executed"
      ],
      [
        "unknown name",
        systemError("ENOTFOUND", { syscall: "getaddrinfo" }),
        "Retryable name_not_resolved not executed"
      ],
      ["name server down", systemError("EAI_AGAIN"), "Retryable name_not_resolved not executed"],
      ["connect timed out", systemError("ETIMEDOUT", { syscall: "connect" }), "Retryable connect_timeout not executed"],
      ["connect timed out, undici", systemError("UND_ERR_CONNECT_TIMEOUT"), "Retryable connect_timeout not executed"],
      [
        "no route while connecting",
        systemError("EHOSTUNREACH", { syscall: "connect" }),
        "Retryable connect_failed not executed"
      ],
      ["no route on a connection", systemError("EHOSTUNREACH", { syscall: "read" }), "Retryable unreachable"],
      ["self-signed certificate", systemError("DEPTH_ZERO_SELF_SIGNED_CERT"), "Retryable certificate not executed"],
      ["expired certificate", systemError("CERT_HAS_EXPIRED"), "Retryable certificate not executed"],
      [
        "wrong host in the certificate",
        systemError("ERR_TLS_CERT_ALTNAME_INVALID"),
        "Retryable certificate not executed"
      ],
      ["unknown issuer", systemError("UNABLE_TO_VERIFY_LEAF_SIGNATURE"), "Retryable certificate not executed"],
      ["a TLS error that may come later", systemError("ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC"), "Retryable tls"],
      [
        "a stream refused by HTTP/2",
        systemError("ERR_HTTP2_STREAM_ERROR", {
          message: "Stream closed with error code NGHTTP2_REFUSED_STREAM"
        }),
        "Retryable refused_stream not executed"
      ],
      [
        "a stream ended by HTTP/2",
        systemError("ERR_HTTP2_STREAM_ERROR", {
          message: "Stream closed with error code NGHTTP2_INTERNAL_ERROR"
        }),
        "Retryable transport"
      ],
      ["reset", systemError("ECONNRESET", { syscall: "read" }), "Retryable reset"],
      ["socket hang up", systemError("ECONNRESET", { message: "socket hang up" }), "Retryable reset"],
      ["other side closed, undici", systemError("UND_ERR_SOCKET"), "Retryable reset"],
      ["broken pipe", systemError("EPIPE", { syscall: "write" }), "Retryable reset"],
      ["no answer in time", systemError("UND_ERR_HEADERS_TIMEOUT"), "Retryable transport_timeout"],
      ["read timed out", systemError("ETIMEDOUT", { syscall: "read" }), "Retryable transport_timeout"],
      ["not HTTP, node", systemError("HPE_INVALID_CONSTANT"), "Retryable malformed_response"],
      ["not HTTP, undici", Object.assign(new Error("x"), { name: "HTTPParserError" }), "Retryable malformed_response"],
      ["a header that may not be sent", systemError("ERR_INVALID_CHAR"), "NonRetryable invalid_request"],
      ["an argument that undici refuses", systemError("UND_ERR_INVALID_ARG"), "NonRetryable invalid_request"],
      ["given up by a signal", new DOMException("stop", "AbortError"), "Abort aborted"],
      ["given up by AbortSignal.timeout", new DOMException("late", "TimeoutError"), "Abort aborted"],
      ["given up, undici", systemError("UND_ERR_ABORTED"), "Abort aborted"],
      ["of a browser, which says nothing", new TypeError("Failed to fetch"), "Retryable transport"],
      ["without a cause", undefined, "Retryable transport"]
    ]
    for (const [name, cause, verdict] of rows) {
      it(`${name}: ${verdict}`, () => {
        assert.strictEqual(words(ofError(transport(cause))), verdict)
        assert.strictEqual(words(ofError(transport(new TypeError("fetch failed", { cause })))), verdict)
      })
    }

    it("of several addresses is that of the attempts to connect", () => {
      const addresses = ["::1", "127.0.0.1"].map(() => systemError("ECONNREFUSED", { syscall: "connect" }))
      const verdict = words(ofError(transport(new AggregateError(addresses))))
      assert.strictEqual(verdict, "Retryable connection_refused not executed")
    })

    it("is recognized without an HttpClientError around it, where its code is known", () => {
      const failed = new TypeError("fetch failed", { cause: systemError("ECONNRESET") })
      assert.strictEqual(words(ofError(new Cause.UnknownError(failed))), "Retryable reset")
      assert.strictEqual(words(ofError(new Error("disk full", { cause: systemError("ENOSPC") }))), "no opinion")
    })
  })

  // ---------------------------------------------------------------------------
  // other errors
  // ---------------------------------------------------------------------------

  describe("an HttpClientError", () => {
    const rows: ReadonlyArray<readonly [string, error: unknown, verdict: string]> = [
      [
        "of a request that cannot be encoded",
        clientError(new HttpClientError.EncodeError({ request })),
        "NonRetryable encode"
      ],
      ["of an invalid URL", clientError(new HttpClientError.InvalidUrlError({ request })), "NonRetryable invalid_url"],
      ["of a body that is no JSON", decodeError(200, new SyntaxError("x")), "NonRetryable decode"],
      ["of a 503 whose body is no JSON", decodeError(503, new SyntaxError("x")), "Retryable http_503"],
      ["of a 404 whose body is no JSON", decodeError(404, new SyntaxError("x")), "NonRetryable http_404"],
      ["of a body that broke off", decodeError(200, systemError("ECONNRESET")), "Retryable reset"],
      [
        "of a body that broke off, fetch",
        decodeError(200, new TypeError("terminated", { cause: systemError("UND_ERR_SOCKET") })),
        "Retryable reset"
      ],
      [
        "of a body that is missing",
        clientError(new HttpClientError.EmptyBodyError({ request, response: response(200) })),
        "NonRetryable decode"
      ]
    ]
    for (const [name, error, verdict] of rows) {
      it(`${name}: ${verdict}`, () => {
        assert.strictEqual(words(ofError(error)), verdict)
      })
    }
  })

  describe("a wrapped error", () => {
    it("is looked through, however deep: a wrapped 404 is final and a wrapped 503 is not", () => {
      for (const [status, verdict] of [[404, "NonRetryable http_404"], [503, "Retryable http_503"]] as const) {
        let error: unknown = statusError(status)
        for (let depth = 0; depth < 8; depth++) {
          error = depth % 2 === 0 ? new UsersError({ cause: error }) : new Error("wrapped", { cause: error })
          assert.strictEqual(words(ofError(error)), verdict)
        }
      }
    })

    it("of another client is judged by the answer beside it", () => {
      const headers = { "retry-after": "2" }
      const byResponse = Object.assign(new Error("HTTP 503"), {
        response: new Response(null, { status: 503, headers })
      })
      const byFields = Object.assign(new Error("HTTP 503"), { status: 503, headers: new Headers(headers) })
      for (const error of [byResponse, byFields, new UsersError({ cause: byResponse })]) {
        assert.strictEqual(words(ofError(error)), "Retryable http_503 after 2000")
      }
    })

    it("may go round in circles", () => {
      const a = new Error("a")
      const b = new Error("b", { cause: a })
      a.cause = b
      assert.strictEqual(words(ofError(a)), "no opinion")
    })

    it("of a Schema is a body that asking again does not change", () => {
      const exit = Effect.runSyncExit(Schema.decodeUnknownEffect(Schema.Struct({ id: Schema.Int }))({}))
      assert.strictEqual(words(judge(exit)), "NonRetryable decode")
    })

    it("that is not of HTTP is left to the next classifier", () => {
      for (const error of ["boom", new Error("boom"), new UsersError({ cause: "boom" }), undefined, null]) {
        assert.strictEqual(words(ofError(error)), "no opinion")
      }
    })
  })

  // ---------------------------------------------------------------------------
  // what the rules of a call decide
  // ---------------------------------------------------------------------------

  describe("has no opinion on", () => {
    const stop = new RegoError.RegoError({ key: "a.B" as never, reason: { _tag: "PolicyMissing" } })
    const rows: ReadonlyArray<readonly [string, Exit.Exit<unknown, unknown>]> = [
      ["a defect", Exit.die(statusError(503))],
      ["an interruption", Exit.interrupt()],
      ["a RegoError", Exit.fail(stop)],
      ["what a circuit breaker refused", Exit.fail({ _tag: "CircuitBreakerError", cause: statusError(503) })],
      ["what a rate limiter refused", Exit.fail({ _tag: "RateLimiterError" })]
    ]
    for (const [name, exit] of rows) {
      it(name, () => {
        assert.strictEqual(words(judge(exit)), "no opinion")
      })
    }
  })

  describe("only one layer retries", () => {
    const attempts = (error: unknown, nested: "allow" | "refuse", retriesBelow: boolean) =>
      Effect.gen(function*() {
        let requests = 0
        const send = Effect.suspend(() => {
          requests++
          return Effect.fail(error)
        })
        const retry = (maxAttempts: number) => ({ maxAttempts, nested, backoff: Backoff.none })
        const Policies = PolicyLayer.make({
          policies: { outer: { retry: retry(3) }, inner: retriesBelow ? { retry: retry(2) } : {} },
          defaults: { budget: "unlimited" }
        })
        const judge = Internals.protocol({ ...Internals.rulesOf({}), now: () => 0 })
        const options = { protocol: judge, onDiscard: () => Effect.void }
        const inner = send.pipe(Rego.resilient("inner", options), Effect.mapError((cause) => new UsersError({ cause })))
        yield* inner.pipe(Rego.resilient("outer", options), Effect.exit, Effect.provide(Policies))
        return requests
      })

    it.effect("a failure that a call inside has retried is not retried again, unless the policy allows it", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* attempts(statusError(503), "refuse", true), 2)
        assert.strictEqual(yield* attempts(statusError(503), "allow", true), 6)
        assert.strictEqual(yield* attempts(statusError(404), "allow", true), 1)
        assert.strictEqual(yield* attempts(statusError(503), "refuse", false), 3)
      }))

    it("a RegoError that a client hands on as the cause of its error is a stop", () => {
      const stop = new RegoError.RegoError({ key: "a.B" as never, reason: { _tag: "PolicyMissing" } })
      assert.strictEqual(words(ofError(transport(stop))), "NonRetryable nested_stop")
    })

    it("a response that a call inside has given up on is not asked for again, as a value and as an error", () => {
      const given = response(503)
      RetriedBelow.add(given)
      const failed = clientError(new HttpClientError.StatusCodeError({ request, response: given }))
      for (const exit of [Exit.succeed(given), Exit.fail(failed), Exit.fail(new UsersError({ cause: failed }))]) {
        assert.strictEqual(words(judge(exit)), "NonRetryable retried_below")
      }
    })
  })

  // ---------------------------------------------------------------------------
  // options
  // ---------------------------------------------------------------------------

  describe("make", () => {
    it("takes another list of statuses", () => {
      const payments = HttpClassifier.make({ retryable: [409, 503] })
      assert.strictEqual(words(judge(Exit.succeed(response(409)), payments)), "Retryable http_409")
      assert.strictEqual(words(judge(Exit.succeed(response(503)), payments)), "Retryable http_503")
      assert.strictEqual(words(judge(Exit.succeed(response(500)), payments)), "NonRetryable http_500")
    })

    it("takes a status that is no error: a 202 that is not ready yet", () => {
      const jobs = HttpClassifier.make({ retryable: [202] })
      const outcome = judge(Exit.succeed(response(202, { "retry-after": "1" })), jobs)
      assert.strictEqual(words(outcome), "Retryable http_202 after 1000")
    })

    it("believes a server that rejects before any work", () => {
      const gateway = HttpClassifier.make({ rejectsBeforeWork: [503] })
      assert.strictEqual(words(judge(Exit.succeed(response(503)), gateway)), "Retryable http_503 not executed")
      assert.strictEqual(words(judge(Exit.succeed(response(502)), gateway)), "Retryable http_502")
    })

    it("takes what is rejected before any work for worth another attempt, and no other status besides the list", () => {
      const busy = HttpClassifier.make({ retryable: [], rejectsBeforeWork: [423] })
      assert.strictEqual(words(judge(Exit.succeed(response(423)), busy)), "Retryable http_423 not executed")
      assert.strictEqual(words(judge(Exit.succeed(response(429)), busy)), "NonRetryable http_429")
      assert.strictEqual(words(judge(Exit.succeed(response(503)), busy)), "NonRetryable http_503")
    })

    it("refuses what is no status, all of it at once", () => {
      assert.throws(
        () => HttpClassifier.make({ retryable: [503, 42, Number.NaN], rejectsBeforeWork: [5.5] }),
        RangeError,
        "HttpClassifier: retryable[1] must be 100 to 599, got 42; retryable[2] must be 100 to 599, got NaN; " +
          "rejectsBeforeWork[0] must be 100 to 599, got 5.5"
      )
    })

    it("goes before another classifier, and after one", () => {
      const mine = Classifier.make((exit) =>
        exit._tag === "Success" ? Outcome.nonRetryable({ reason: "mine" }) : undefined
      )
      const both = Classifier.orElse(mine, HttpClassifier.http)
      assert.strictEqual(words(judge(Exit.succeed(response(503)), both)), "NonRetryable mine")
      assert.strictEqual(words(judge(Exit.fail(statusError(503)), both)), "Retryable http_503")
    })
  })
})
