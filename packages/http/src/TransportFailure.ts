/**
 * Why no answer came: what the error of a client says about the connection, and whether the server can have seen the
 * request.
 *
 * Clients wrap what the host reports in errors of their own, so the whole chain of causes is looked through. A connection
 * that was never made is told from one that broke by the system call that failed, where Node says which, and by the code
 * of the error. A failed certificate ends the handshake before a byte of the request is sent; another TLS error can also
 * come later, on a connection in use.
 *
 * @internal
 */
import { Outcome } from "@rego/core"

// -----------------------------------------------------------------------------
// what a link says
// -----------------------------------------------------------------------------

interface Link {
  readonly name: unknown
  readonly code: unknown
  readonly syscall: unknown
  readonly message: unknown
}

type Verdict = (link: Link) => boolean

const codes = (...list: ReadonlyArray<string>): Verdict => {
  const known = new Set<unknown>(list)
  return ({ code }) => known.has(code)
}

const codesLike = (pattern: RegExp): Verdict => ({ code }) => typeof code === "string" && pattern.test(code)

/** The codes with which OpenSSL refuses a certificate (X509_V_ERR_*, as Node names them). */
const certificate = codesLike(
  /^(?:CERT_|CRL_|UNABLE_TO_|DEPTH_ZERO_SELF_SIGNED_CERT$|SELF_SIGNED_CERT_IN_CHAIN$|INVALID_(?:CA|PURPOSE)$|PATH_LENGTH_EXCEEDED$|HOSTNAME_MISMATCH$|ERROR_IN_(?:CERT|CRL)_|ERR_TLS_CERT_|ERR_TLS_HANDSHAKE_TIMEOUT$)/
)

/** A `DOMException` carries a number. Effect's `TimeoutError` has none, and is no abort. */
const domAbort = 20
const domTimeout = 23

const aborted: Verdict = ({ code, name }) =>
  code === "ABORT_ERR" || code === "UND_ERR_ABORTED" || code === domAbort || code === domTimeout ||
  name === "AbortError"

const connecting: Verdict = ({ syscall }) => syscall === "connect"

const refusedStream: Verdict = ({ code, message }) =>
  code === "ERR_HTTP2_STREAM_ERROR" && typeof message === "string" && message.includes("NGHTTP2_REFUSED_STREAM")

const malformed: Verdict = (link) => link.name === "HTTPParserError" || codesLike(/^HPE_/)(link)

const never = (reason: string): Outcome.Outcome => Outcome.retryable({ reason, executed: "no" })
const perhaps = (reason: string): Outcome.Outcome => Outcome.retryable({ reason, executed: "maybe" })

/** The first row that fits any link of the chain counts. */
const table: ReadonlyArray<readonly [Verdict, Outcome.Outcome]> = [
  [aborted, Outcome.abort({ reason: "aborted" })],
  [codes("ECONNREFUSED", "ConnectionRefused"), never("connection_refused")],
  [codes("ENOTFOUND", "EAI_AGAIN", "EAI_FAIL", "EAI_NODATA", "EAI_NONAME"), never("name_not_resolved")],
  [(link) => connecting(link) && link.code === "ETIMEDOUT", never("connect_timeout")],
  [codes("UND_ERR_CONNECT_TIMEOUT"), never("connect_timeout")],
  [connecting, never("connect_failed")],
  [certificate, never("certificate")],
  [refusedStream, never("refused_stream")],
  [codes("ECONNRESET", "ECONNABORTED", "EPIPE", "UND_ERR_SOCKET", "ERR_STREAM_PREMATURE_CLOSE"), perhaps("reset")],
  [codes("ETIMEDOUT", "UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT"), perhaps("transport_timeout")],
  [codes("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENETRESET"), perhaps("unreachable")],
  [codesLike(/^(?:EPROTO$|ERR_SSL_)/), perhaps("tls")],
  [malformed, perhaps("malformed_response")],
  [
    codesLike(
      /^(?:ERR_INVALID_|ERR_UNESCAPED_CHARACTERS$|ERR_HTTP_INVALID_|UND_ERR_INVALID_ARG$|UND_ERR_NOT_SUPPORTED$)/
    ),
    Outcome.nonRetryable({ reason: "invalid_request" })
  ]
]

/** What a chain says, `undefined` when none of its links is known to come from a connection. */
export const judgeChain = (chain: ReadonlyArray<object>): Outcome.Outcome | undefined =>
  table.find(([fits]) => (chain as ReadonlyArray<object & Link>).some(fits))?.[1]

/** Of something that a client called a transport error, and nothing more is known. */
export const unknown: Outcome.Outcome = perhaps("transport")
