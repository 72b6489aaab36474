/**
 * Which failures have been retried already: only one layer retries.
 *
 * @internal
 */
import { Timeline } from "@rego/core"
import { Cause } from "effect"
import type { Failure } from "./Failure.ts"
import * as Failures from "./Failure.ts"

/** Whether a call inside has retried. One that had no retries of its own leaves its failure to whoever is around it. */
export const inside = (cause: Cause.Cause<unknown>): boolean =>
  Timeline.fromCause(cause).some(({ decisions }) => {
    const stop = decisions.at(-1)
    return stop?._tag === "Stopped" && stop.reason !== "no_retries"
  })

/** Failures that were retried before they left an interceptor: promises and callbacks lose the timeline that tells so. */
const known = new WeakSet<object>()

export const isKnown = (failure: Failure): boolean => known.has(failure.identity)

/** The error that a cause leaves an interceptor with. */
export const leave = (cause: Cause.Cause<unknown>): unknown => {
  const error = Cause.squash(cause)
  const failure = inside(cause) ? Failures.from(error) : undefined
  if (failure !== undefined) known.add(failure.identity)
  return error
}
