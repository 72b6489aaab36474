/**
 * Which failures are not to be retried again: only one layer retries. Inside of Effect a failure carries the timeline that
 * tells so; promises and callbacks lose it.
 *
 * @internal
 */
import { Classifier } from "@rego/core"
import { Cause } from "effect"
import type { Failure } from "./Failure.ts"
import * as Failures from "./Failure.ts"

/** Failures that were retried before they left an interceptor. */
const retried = new WeakSet<object>()

/** Statuses that an interceptor has made of an error of ours. */
const stops = new WeakSet<object>()

/** A call inside, an interceptor of this package or the retries of grpc-js have retried it. */
export const wasRetried = ({ identity, previousAttempts }: Failure): boolean =>
  previousAttempts > 0 || retried.has(identity)

export const isStop = ({ identity }: Failure): boolean => stops.has(identity)

export const addStop = (identity: object): void => {
  stops.add(identity)
}

/** The error that a cause leaves an interceptor with. */
export const leave = (cause: Cause.Cause<unknown>): unknown => {
  const error = Cause.squash(cause)
  const failure = Classifier.wasRetried(cause) ? Failures.from(error) : undefined
  if (failure !== undefined) retried.add(failure.identity)
  return error
}
