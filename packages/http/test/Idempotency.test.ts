import { assert, describe, it } from "@effect/vitest"
import { Idempotency } from "@rego/http"
import { HttpClientRequest } from "effect/http"

const request = HttpClientRequest.make("POST")("http://service.test/")

describe("Idempotency", () => {
  describe("isIdempotent", () => {
    for (const method of ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] as const) {
      it(`says yes to ${method}`, () => {
        assert.isTrue(Idempotency.isIdempotent(HttpClientRequest.make(method)("/")))
      })
    }

    for (const method of ["POST", "PATCH"] as const) {
      it(`says no to ${method}`, () => {
        assert.isFalse(Idempotency.isIdempotent(HttpClientRequest.make(method)("/")))
      })
    }

    it("says yes to a POST with an Idempotency-Key, however its name is written", () => {
      for (const name of ["Idempotency-Key", "idempotency-key", "IDEMPOTENCY-KEY"]) {
        assert.isTrue(Idempotency.isIdempotent(HttpClientRequest.setHeader(request, name, "k-1")))
      }
    })

    it("says no to a POST whose Idempotency-Key is empty", () => {
      for (const value of ["", "  "]) {
        assert.isFalse(Idempotency.isIdempotent(HttpClientRequest.setHeader(request, "Idempotency-Key", value)))
      }
    })
  })
})
