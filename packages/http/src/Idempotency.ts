/**
 * Which requests may be sent twice.
 *
 * A request is idempotent when sending it again leaves the server as one request would. For most methods HTTP says so;
 * for `POST` and `PATCH` only the server can, and it does where it accepts an `Idempotency-Key`.
 *
 * @since 0.1.0
 */
import type { HttpClientRequest } from "effect/http"

/**
 * Methods whose semantics make a request idempotent: the safe ones, `PUT` and `DELETE` (RFC 9110, 9.2.2), and `QUERY`
 * (draft-ietf-httpbis-safe-method-w-body).
 *
 * @category constants
 * @since 0.1.0
 */
export const idempotentMethods: ReadonlySet<string> = new Set([
  "GET",
  "HEAD",
  "OPTIONS",
  "TRACE",
  "QUERY",
  "PUT",
  "DELETE"
])

/**
 * The header that makes a request of any method idempotent (draft-ietf-httpapi-idempotency-key-header), as
 * `effect/http` spells the names of headers.
 *
 * @category constants
 * @since 0.1.0
 */
export const header = "idempotency-key"

/**
 * Whether a request may arrive twice: its method is idempotent, or it carries an `Idempotency-Key` that is not empty.
 *
 * **Example** (A POST, without and with a key)
 *
 * ```ts
 * import { Idempotency } from "@rego/http"
 * import { HttpClientRequest } from "effect/http"
 *
 * const charge = HttpClientRequest.post("http://payments/charges")
 * Idempotency.isIdempotent(charge) // => false
 * Idempotency.isIdempotent(charge.pipe(HttpClientRequest.setHeader("Idempotency-Key", "order-17"))) // => true
 * ```
 *
 * @category predicates
 * @since 0.1.0
 */
export const isIdempotent = (request: HttpClientRequest.HttpClientRequest): boolean =>
  idempotentMethods.has(request.method) || (request.headers[header] ?? "").trim() !== ""
