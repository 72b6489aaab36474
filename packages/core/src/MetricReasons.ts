/**
 * The reasons that may be labels of metrics. A classifier's reason is free text, and may hold an id or a message of a
 * server: what is in no list here is `other`.
 *
 * Core names the reasons of the protocol packages as well, because a label that says `other` wherever one was forgotten
 * helps nobody; their tests compare what they say with this list.
 *
 * @internal
 */

export const other = "other"

const words = (list: string): ReadonlyArray<string> => list.trim().split(/\s+/)

/** Of core's own classifiers and the driver. */
const ofCalls = words(`
  typed_failure attempt_timeout defect interrupted nested_stop retried_below rejected_locally predicate
  classifier_defect caller_interrupted
`)

const ofSql = words(`
  sql_connect sql_session_ended sql_connection_lost sql_serialization sql_deadlock sql_lock_timeout
  sql_statement_timeout sql_authentication sql_authorization sql_syntax sql_unique_violation sql_constraint
  sql_result_length sql_other
`)

/** The statuses that are registered; a server may send any number. */
const statuses = words(`
  400 401 402 403 404 405 406 407 408 409 410 411 412 413 414 415 416 417 421 422 423 424 425 426 428 429 431 451
  500 501 502 503 504 505 506 507 508 510 511
`)

/** Those after which a server may say that no further attempt is wanted. */
const finals = words("408 425 429 500 502 503 504")

const ofHttp = [
  ...statuses.map((status) => `http_${status}`),
  ...finals.map((status) => `http_${status}_final`),
  ...words(`
    aborted connection_refused name_not_resolved connect_timeout connect_failed certificate refused_stream reset
    transport_timeout unreachable tls malformed_response invalid_request transport encode invalid_url decode
  `)
]

const ofGrpc = words(`
  cancelled unknown invalid_argument deadline_exceeded not_found already_exists permission_denied resource_exhausted
  failed_precondition aborted out_of_range unimplemented internal unavailable data_loss unauthenticated do_not_retry
  not_sent refused connection_lost message_too_large
`).map((name) => `grpc_${name}`)

export const known: ReadonlySet<string> = new Set([...ofCalls, ...ofSql, ...ofHttp, ...ofGrpc])
