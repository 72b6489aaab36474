import type { Any } from "@bufbuild/protobuf/wkt"
import { Code as ConnectCode, ConnectError } from "@connectrpc/connect"
import { assert, describe, it } from "@effect/vitest"
import { Metadata, status as GrpcJsCode } from "@grpc/grpc-js"
import type { Policy } from "@rego/core"
import { Backoff, Outcome, PolicyLayer, Rego, Timeline } from "@rego/core"
import { GrpcStatus } from "@rego/grpc"
import { Cause, Effect, Exit } from "effect"
import { withLog } from "../../core/test/support.ts"
import * as Retried from "../src/Retried.ts"
import { debugInfo, retryInfo, statusBytes } from "./rpc.ts"

interface Made {
  readonly metadata?: Readonly<Record<string, string>>
  readonly details?: ReadonlyArray<Any>
  readonly text?: string
}

/** As a `ServiceError` of grpc-js: an error with the fields of a status. */
const ofGrpcJs = (code: number, { details = [], metadata = {}, text = "x" }: Made = {}) => {
  const all = new Metadata()
  for (const [name, value] of Object.entries(metadata)) all.set(name, value)
  if (details.length > 0) all.set("grpc-status-details-bin", Buffer.from(statusBytes(...details)))
  return Object.assign(new Error(text), { code, details: text, metadata: all })
}

/** As Connect reads it from the wire. */
const ofConnect = (code: number, { details = [], metadata = {}, text = "x" }: Made = {}) => {
  const error = new ConnectError(text, code as ConnectCode, { ...metadata })
  error.details = details.map(({ typeUrl, value }) => ({ type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1), value }))
  error.isWireError = true
  return error
}

const worlds = [["grpc-js", ofGrpcJs], ["Connect", ofConnect]] as const

const judge = (error: unknown, options?: GrpcStatus.Options) =>
  GrpcStatus.classifier(options)(Exit.fail(error as never))

const { abort, nonRetryable, retryable } = Outcome

describe("GrpcStatus", () => {
  describe("Code", () => {
    it("numbers the codes as both libraries do", () => {
      for (const [name, code] of Object.entries(GrpcStatus.Code)) {
        assert.strictEqual(GrpcJsCode[name as keyof typeof GrpcJsCode], code, name)
        if (code > 0) assert.isString(ConnectCode[code], name)
      }
      assert.strictEqual(Object.keys(ConnectCode).length / 2, Object.keys(GrpcStatus.Code).length - 1)
    })

    it("takes what gRPC does not number for UNKNOWN", () => {
      assert.strictEqual(GrpcStatus.nameOf(14), "UNAVAILABLE")
      for (const code of [-1, 17, 99, NaN]) assert.strictEqual(GrpcStatus.nameOf(code), "UNKNOWN")
    })
  })

  describe("classifier", () => {
    const table: Readonly<Record<Exclude<GrpcStatus.CodeName, "OK">, Outcome.Outcome>> = {
      CANCELLED: abort({ reason: "grpc_cancelled" }),
      UNKNOWN: nonRetryable({ reason: "grpc_unknown" }),
      INVALID_ARGUMENT: nonRetryable({ reason: "grpc_invalid_argument" }),
      DEADLINE_EXCEEDED: retryable({ reason: "grpc_deadline_exceeded" }),
      NOT_FOUND: nonRetryable({ reason: "grpc_not_found" }),
      ALREADY_EXISTS: nonRetryable({ reason: "grpc_already_exists" }),
      PERMISSION_DENIED: nonRetryable({ reason: "grpc_permission_denied" }),
      RESOURCE_EXHAUSTED: retryable({ reason: "grpc_resource_exhausted", throttled: true }),
      FAILED_PRECONDITION: nonRetryable({ reason: "grpc_failed_precondition" }),
      ABORTED: nonRetryable({ reason: "grpc_aborted" }),
      OUT_OF_RANGE: nonRetryable({ reason: "grpc_out_of_range" }),
      UNIMPLEMENTED: nonRetryable({ reason: "grpc_unimplemented" }),
      INTERNAL: nonRetryable({ reason: "grpc_internal" }),
      UNAVAILABLE: retryable({ reason: "grpc_unavailable" }),
      DATA_LOSS: nonRetryable({ reason: "grpc_data_loss" }),
      UNAUTHENTICATED: nonRetryable({ reason: "grpc_unauthenticated" })
    }

    for (const [world, make] of worlds) {
      for (const [name, outcome] of Object.entries(table)) {
        it(`${name} of ${world} is ${outcome._tag}`, () => {
          assert.deepStrictEqual(judge(make(GrpcStatus.Code[name as GrpcStatus.CodeName])), outcome)
        })
      }

      it(`a code that ${world} does not know is taken for UNKNOWN`, () => {
        assert.deepStrictEqual(judge(make(99)), nonRetryable({ reason: "grpc_unknown" }))
      })

      it(`reads the pushback of ${world}: an exact wait`, () => {
        assert.deepStrictEqual(
          judge(make(14, { metadata: { "grpc-retry-pushback-ms": "25" } })),
          retryable({ reason: "grpc_unavailable", retryAfter: 25, exact: true })
        )
      })

      for (const text of ["-1", "soon", "1.5", ""]) {
        it(`takes ${JSON.stringify(text)} as the pushback of ${world} for "do not retry"`, () => {
          assert.deepStrictEqual(
            judge(make(14, { metadata: { "grpc-retry-pushback-ms": text } })),
            retryable({ reason: "grpc_do_not_retry", retryAfter: "Infinity", exact: true })
          )
        })
      }

      it(`reads pushback of ${world} only where the status allows a retry at all`, () => {
        assert.deepStrictEqual(
          judge(make(5, { metadata: { "grpc-retry-pushback-ms": "25" } })),
          nonRetryable({ reason: "grpc_not_found" })
        )
      })

      it(`takes the RetryInfo of ${world} for the least wait, and pushback for the exact one`, () => {
        const details = [debugInfo("x"), retryInfo(1, 500_000_000)]
        assert.deepStrictEqual(
          judge(make(8, { details })),
          retryable({ reason: "grpc_resource_exhausted", retryAfter: 1_500, throttled: true })
        )
        assert.deepStrictEqual(
          judge(make(8, { details, metadata: { "grpc-retry-pushback-ms": "0" } })),
          retryable({ reason: "grpc_resource_exhausted", retryAfter: 0, exact: true, throttled: true })
        )
      })

      it(`does not retry what a layer below has retried (${world})`, () => {
        const retried = make(14, { metadata: { "grpc-previous-rpc-attempts": "3" } })
        assert.deepStrictEqual(judge(retried), nonRetryable({ reason: "retried_below" }))
        const first = make(14, { metadata: { "grpc-previous-rpc-attempts": "0" } })
        assert.deepStrictEqual(judge(first), retryable({ reason: "grpc_unavailable" }))
        const final = make(5, { metadata: { "grpc-previous-rpc-attempts": "3" } })
        assert.deepStrictEqual(judge(final), nonRetryable({ reason: "grpc_not_found" }))
      })
    }

    /** How a call inside leaves an error behind. */
    const causeOf = (policy: Policy.Input, error: unknown) =>
      Effect.fail(error).pipe(
        Rego.resilient("inner.Call", { classifier: GrpcStatus.classifier() }),
        Effect.sandbox,
        Effect.flip,
        Effect.provide(PolicyLayer.make({ policies: { "*": { ...policy, budget: "unlimited" } } })),
        (self) => withLog(self)
      )
    const twice: Policy.Input = { retry: { maxAttempts: 2, backoff: Backoff.none } }

    for (const [world, make] of worlds) {
      it.effect(`does not retry what a call inside has retried, as an effect or out of an interceptor (${world})`, () =>
        Effect.gen(function*() {
          const cause = yield* causeOf(twice, make(14))
          // the end of the chain knows what the policy allows
          assert.isUndefined(GrpcStatus.classifier()(Exit.failCause(cause)))
          assert.deepStrictEqual(judge(Retried.leave(cause)), nonRetryable({ reason: "retried_below" }))
          const { code, details, metadata } = ofGrpcJs(14)
          Retried.leave(yield* causeOf(twice, { code, details, metadata }))
          // grpc-js makes another error of a status
          assert.deepStrictEqual(
            judge(Object.assign(new Error("x"), { code, details, metadata })),
            nonRetryable({ reason: "retried_below" })
          )
        }))

      it.effect(`retries what a call inside left alone, and takes its final answers as they are (${world})`, () =>
        Effect.gen(function*() {
          const once = yield* causeOf({}, make(14))
          assert.deepStrictEqual(judge(Retried.leave(once)), retryable({ reason: "grpc_unavailable" }))
          const final = yield* causeOf(twice, make(5))
          assert.deepStrictEqual(judge(Retried.leave(final)), nonRetryable({ reason: "grpc_not_found" }))
        }))
    }

    it("looks through what wraps an error, and survives a chain without an end", () => {
      const wrapped = new Error("outer", { cause: new Cause.UnknownError(ofConnect(5)) })
      assert.deepStrictEqual(judge(wrapped), nonRetryable({ reason: "grpc_not_found" }))
      const circle: { cause?: unknown } = {}
      circle.cause = { cause: circle }
      assert.isUndefined(judge(circle))
    })

    it("has no opinion on what is no error of gRPC", () => {
      const status = ofGrpcJs(0)
      const others = ["14", 14, null, undefined, new Error("x"), { code: 14 }, { code: 14, details: "x" }, status]
      for (const other of others) assert.isUndefined(judge(other))
      assert.isUndefined(judge(Object.assign(new Error("x"), { code: "ECONNREFUSED", details: "x", metadata: {} })))
      assert.isUndefined(GrpcStatus.classifier()(Exit.succeed(1)))
      assert.isUndefined(GrpcStatus.classifier()(Exit.die(ofConnect(14))))
      assert.isUndefined(GrpcStatus.classifier()(Exit.interrupt()))
    })

    it("takes a stop of a call inside for final, and leaves the timeout of its own call to others", async () => {
      const Policies = PolicyLayer.make({
        policies: { "*": { retry: { maxAttempts: 2 }, timeout: { perAttempt: "5 millis" }, idempotent: true } }
      })
      const regoError = await Effect.runPromise(
        Effect.never.pipe(Rego.resilient("inner.Call"), Effect.flip, Effect.provide(Policies))
      )
      assert.isUndefined(judge(regoError))
      const passedOn = new ConnectError("x", ConnectCode.Unavailable, undefined, undefined, regoError)
      assert.deepStrictEqual(judge(passedOn), nonRetryable({ reason: "nested_stop" }))
    })
  })

  describe("what this side of the wire knows", () => {
    const causedBy = (code: ConnectCode, nodeCode: string, text = "x") =>
      new ConnectError(text, code, undefined, undefined, Object.assign(new Error(text), { code: nodeCode }))

    const notSent = retryable({ reason: "grpc_not_sent", executed: "no" })
    const refused = retryable({ reason: "grpc_refused", executed: "no" })
    const lost = retryable({ reason: "grpc_connection_lost" })
    const tooLarge = nonRetryable({ reason: "grpc_message_too_large" })

    const rows: ReadonlyArray<readonly [string, unknown, Outcome.Outcome]> = [
      [
        "a refused connection (grpc-js)",
        ofGrpcJs(14, { text: "No connection established. Last error: Error: …" }),
        notSent
      ],
      ["the same under round_robin", ofGrpcJs(14, { text: "round_robin: No connection established. …" }), notSent],
      ["a name that does not resolve", ofGrpcJs(14, { text: "Name resolution failed for target dns:x:1" }), notSent],
      [
        "a stream that could not be opened",
        ofGrpcJs(13, { text: "Failed to start HTTP/2 stream with error x" }),
        notSent
      ],
      ["REFUSED_STREAM (grpc-js)", ofGrpcJs(14, { text: "Stream refused by server" }), refused],
      [
        "a lost connection (grpc-js)",
        ofGrpcJs(14, { text: "Connection dropped" }),
        retryable({ reason: "grpc_unavailable" })
      ],
      ["a message over the limit", ofGrpcJs(8, { text: "Received message larger than max (9 vs 4)" }), tooLarge],
      ["a refused connection (Connect)", causedBy(ConnectCode.Unavailable, "ECONNREFUSED"), notSent],
      ["a name that does not resolve (Connect)", causedBy(ConnectCode.Unavailable, "ENOTFOUND"), notSent],
      ["a connection that is going away", causedBy(ConnectCode.Internal, "ERR_HTTP2_GOAWAY_SESSION"), notSent],
      [
        "REFUSED_STREAM (Connect)",
        causedBy(ConnectCode.Internal, "ERR_HTTP2_STREAM_ERROR", "… NGHTTP2_REFUSED_STREAM"),
        refused
      ],
      [
        "another broken stream",
        causedBy(ConnectCode.Internal, "ERR_HTTP2_STREAM_ERROR", "… NGHTTP2_INTERNAL_ERROR"),
        nonRetryable({ reason: "grpc_internal" })
      ],
      ["a reset connection", causedBy(ConnectCode.Aborted, "ECONNRESET"), lost],
      ["a connection that ended with an error", causedBy(ConnectCode.Internal, "ERR_HTTP2_SESSION_ERROR"), lost],
      [
        "a connection that ended below a stream",
        new ConnectError("http/2 stream closed with error code CANCEL (0x8)", ConnectCode.Canceled),
        lost
      ],
      [
        "a message over the limit (Connect)",
        new ConnectError("message size 9 is larger than configured readMaxBytes 4", ConnectCode.ResourceExhausted),
        tooLarge
      ]
    ]
    for (const [what, error, outcome] of rows) {
      it(`${what}: ${outcome._tag}${outcome._tag === "Retryable" ? `, executed ${outcome.executed}` : ""}`, () => {
        assert.deepStrictEqual(judge(error), outcome)
      })
    }

    it("does not believe a server that uses the same words", () => {
      const text = "Stream refused by server"
      assert.deepStrictEqual(
        judge(ofGrpcJs(14, { text, metadata: { "content-type": "application/grpc" } })),
        retryable({ reason: "grpc_unavailable" })
      )
      assert.deepStrictEqual(
        judge(ofConnect(13, { text: "http/2 stream closed with error code REFUSED_STREAM (0x7)" })),
        nonRetryable({ reason: "grpc_internal" })
      )
    })
  })

  describe("options", () => {
    it("`retryable` replaces the list, which is there to be extended", () => {
      assert.deepStrictEqual(GrpcStatus.retryableCodes, ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"])
      const options: GrpcStatus.Options = { retryable: ["ABORTED", "CANCELLED"] }
      assert.deepStrictEqual(judge(ofConnect(10), options), retryable({ reason: "grpc_aborted" }))
      assert.deepStrictEqual(judge(ofConnect(1), options), retryable({ reason: "grpc_cancelled" }))
      assert.deepStrictEqual(judge(ofConnect(14), options), nonRetryable({ reason: "grpc_unavailable" }))
    })

    it("`rejectsBeforeWork` says that nothing was done, and so that another attempt may help", () => {
      const options: GrpcStatus.Options = { rejectsBeforeWork: ["RESOURCE_EXHAUSTED", "FAILED_PRECONDITION"] }
      assert.deepStrictEqual(
        judge(ofConnect(8), options),
        retryable({ reason: "grpc_resource_exhausted", executed: "no", throttled: true })
      )
      assert.deepStrictEqual(
        judge(ofConnect(9), options),
        retryable({ reason: "grpc_failed_precondition", executed: "no" })
      )
      assert.deepStrictEqual(judge(ofConnect(14), options), retryable({ reason: "grpc_unavailable" }))
    })

    it("refuses every name that is no code of a failure, at once", () => {
      const bad = { retryable: ["UNAVAILABLE", "OK", "Unavailable"], rejectsBeforeWork: ["toString", 14] } as never
      assert.throws(
        () => GrpcStatus.classifier(bad),
        RangeError,
        /retryable\[1\].*"OK"; retryable\[2\].*"Unavailable"; rejectsBeforeWork\[0\].*"toString"; rejectsBeforeWork\[1\].*14/
      )
    })
  })

  it.effect("serves a call that is made by hand, as the classifier of its policy", () =>
    Effect.gen(function*() {
      const call = Effect.fail(ofGrpcJs(5)).pipe(Rego.resilient("acme.Users.Get"))
      const [, [timeline]] = yield* Timeline.capture(call)
      assert.deepStrictEqual(timeline!.attempts.map(({ outcome, reason }) => [outcome, reason]), [
        ["NonRetryable", "grpc_not_found"]
      ])
    }).pipe(Effect.provide(
      PolicyLayer.make({ policies: { "acme.*": { retry: {}, classifier: GrpcStatus.classifier() } } })
    )))
})
