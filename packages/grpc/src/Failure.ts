/**
 * What the errors of Connect and of grpc-js have in common, read without importing either of them.
 *
 * @internal
 */
import { Classifier } from "@rego/core"
import { Predicate } from "effect"
import * as Pushback from "./Pushback.ts"
import * as RetryInfo from "./RetryInfo.ts"

/**
 * - `not_sent`: the request has not left this process;
 * - `refused`: the server's HTTP/2 layer refused the stream, which promises that nothing was done (RFC 9113, 8.7);
 * - `lost`: the connection ended, and nobody knows how far the server came;
 * - `too_large`: a message is over the limit of this client, now and every other time.
 */
export type LocalCause = "not_sent" | "refused" | "lost" | "too_large"

export interface Failure {
  readonly code: number
  /** set where the failure was made on this side of the wire, and tells why */
  readonly local: LocalCause | undefined
  /** milliseconds, or `Infinity` for "do not retry" */
  readonly pushback: number | undefined
  /** milliseconds that a `RetryInfo` asks for */
  readonly retryDelay: number | undefined
  /** retries that a layer below has made already */
  readonly previousAttempts: number
  /** the part of the error that stays the same object while libraries wrap it anew */
  readonly identity: object
}

/** The same text in the metadata of both worlds; several values are one text with commas, as HTTP has it. */
type Lookup = (name: string) => string | undefined

const previousAttempts = (lookup: Lookup): number => {
  const text = lookup("grpc-previous-rpc-attempts")
  return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : 0
}

const pushback = (lookup: Lookup): number | undefined => {
  const text = lookup(Pushback.header)
  return text === undefined ? undefined : Pushback.parse(text)
}

// -----------------------------------------------------------------------------
// grpc-js
// -----------------------------------------------------------------------------

/** The part of `Metadata` that is used here. */
interface Metadata {
  readonly get: (key: string) => ReadonlyArray<unknown>
  readonly getMap: () => Record<string, unknown>
}

/** `StatusObject`, which every `ServiceError` is as well. */
interface Status {
  readonly code: number
  readonly details: string
  readonly metadata: Metadata
}

const isStatus = (u: unknown): u is Status =>
  Predicate.hasProperty(u, "code") && Number.isInteger(u.code) &&
  Predicate.hasProperty(u, "details") && typeof u.details === "string" &&
  Predicate.hasProperty(u, "metadata") && Predicate.hasProperty(u.metadata, "getMap") &&
  Predicate.hasProperty(u.metadata, "get") && typeof u.metadata.get === "function"

/** As grpc-js 1.14.7 words them. A server may use the same words, but its statuses come with metadata. */
const statusTexts: ReadonlyArray<readonly [RegExp, LocalCause]> = [
  [/^(?:\w+: )?No connection established/, "not_sent"],
  [/^Name resolution failed for target /, "not_sent"],
  [/^Failed to start HTTP\/2 stream with error /, "not_sent"],
  [/^Stream refused by server$/, "refused"],
  [/^Received message (?:larger than max |that decompresses to a size larger than )/, "too_large"],
  [/^Attempted to send message with a size larger than /, "too_large"]
]

const localCauseOfStatus = ({ details, metadata }: Status): LocalCause | undefined =>
  Object.keys(metadata.getMap()).length > 0 ? undefined : statusTexts.find(([text]) => text.test(details))?.[1]

const fromStatus = (status: Status): Failure => {
  const { metadata } = status
  const lookup: Lookup = (name) => {
    const values = metadata.get(name)
    return values.length === 0 ? undefined : values.join(", ")
  }
  const [bytes] = metadata.get("grpc-status-details-bin")
  return {
    code: status.code,
    local: localCauseOfStatus(status),
    pushback: pushback(lookup),
    retryDelay: bytes instanceof Uint8Array ? RetryInfo.fromStatus(bytes) : undefined,
    previousAttempts: previousAttempts(lookup),
    identity: metadata
  }
}

// -----------------------------------------------------------------------------
// Connect
// -----------------------------------------------------------------------------

interface ConnectError extends Error {
  readonly code: number
  readonly rawMessage: string
  readonly metadata: Headers
  readonly details: ReadonlyArray<unknown>
  readonly isWireError?: boolean
}

const isConnectError = (u: unknown): u is ConnectError =>
  u instanceof Error && u.name === "ConnectError" &&
  Predicate.hasProperty(u, "code") && Number.isInteger(u.code) &&
  Predicate.hasProperty(u, "rawMessage") && typeof u.rawMessage === "string" &&
  Predicate.hasProperty(u, "details") && Array.isArray(u.details) &&
  Predicate.hasProperty(u, "metadata") && Predicate.hasProperty(u.metadata, "get")

/** The codes of Node's errors. */
const nodeCodes: Readonly<Record<string, LocalCause>> = {
  ECONNREFUSED: "not_sent",
  ENOTFOUND: "not_sent",
  EAI_AGAIN: "not_sent",
  ERR_HTTP2_GOAWAY_SESSION: "not_sent",
  ERR_HTTP2_INVALID_SESSION: "not_sent",
  ECONNRESET: "lost",
  EPIPE: "lost",
  ERR_HTTP2_SESSION_ERROR: "lost"
}

/**
 * As Node 24 and connect-node 2.3.0 word them. Node gives streams of a connection that broke the code CANCEL; a stream that
 * we cancelled ourselves is not judged.
 */
const connectTexts: ReadonlyArray<readonly [RegExp, LocalCause]> = [
  [/\bREFUSED_STREAM\b|\bNGHTTP2_REFUSED_STREAM\b/, "refused"],
  [/^http\/2 stream closed with error code CANCEL\b/, "lost"],
  [/^message size (?:\d+ )?is larger than configured /, "too_large"]
]

const nodeCodeOf = (u: unknown): LocalCause | undefined =>
  u instanceof Error && "code" in u && typeof u.code === "string" ? nodeCodes[u.code] : undefined

const localCauseOfConnect = (error: ConnectError): LocalCause | undefined => {
  if (error.isWireError === true) return undefined
  const byCode = Classifier.causesOf(error).map(nodeCodeOf).find((cause) => cause !== undefined)
  return byCode ?? connectTexts.find(([text]) => text.test(error.rawMessage))?.[1]
}

const isDetail = (u: unknown): u is RetryInfo.Detail =>
  Predicate.hasProperty(u, "type") && typeof u.type === "string" &&
  Predicate.hasProperty(u, "value") && u.value instanceof Uint8Array

const fromConnect = (error: ConnectError): Failure => {
  const lookup: Lookup = (name) => error.metadata.get(name) ?? undefined
  return {
    code: error.code,
    local: localCauseOfConnect(error),
    pushback: pushback(lookup),
    retryDelay: RetryInfo.fromDetails(error.details.filter(isDetail)),
    previousAttempts: previousAttempts(lookup),
    identity: error
  }
}

// -----------------------------------------------------------------------------
// either
// -----------------------------------------------------------------------------

/** `undefined` for what is no error of gRPC, a status OK included. */
export const from = (u: unknown): Failure | undefined => {
  const failure = isConnectError(u) ? fromConnect(u) : isStatus(u) ? fromStatus(u) : undefined
  return failure === undefined || failure.code === 0 ? undefined : failure
}
