/**
 * What one finished call adds to the metrics. Pure: from a timeline to a list of updates.
 *
 * A call is what its caller saw, an attempt is what the dependency saw. A hedge that lost is neither a success nor an error
 * of the dependency: it was not waited for. It has an outcome of its own, so that it stands in no error rate, neither above
 * nor below the line.
 *
 * @internal
 */
import type { Name } from "./MetricTable.ts"
import type { AttemptRecord, Decision, StopReason, Timeline } from "./Timeline.ts"
import { droppedOf } from "./Waterfall.ts"

export const results = ["success", "failure", "denied", "deadline", "interrupted"] as const
export const kinds = ["primary", "retry", "hedge"] as const
export const outcomes = ["success", "retryable", "non_retryable", "abort", "timed_out", "lost"] as const

export type Result = typeof results[number]
export type Kind = typeof kinds[number]
export type Outcome = typeof outcomes[number]

export interface Update {
  readonly metric: Name
  readonly value: number
  /** those of the table without the key, in its order; what is missing or empty is no attribute */
  readonly attributes: ReadonlyArray<string>
}

/** A reason as it may stand in a label, whatever a classifier wrote. */
export type LabelOf = (reason: string) => string

const noAttributes: ReadonlyArray<string> = []

const update = (metric: Name, value: number, attributes = noAttributes): Update => ({ metric, value, attributes })

const seconds = (millis: number): number => millis / 1_000

// -----------------------------------------------------------------------------
// the call
// -----------------------------------------------------------------------------

/** `undefined` after a success. */
export const stopOf = ({ decisions }: Timeline): StopReason | undefined => {
  const last = decisions.at(-1)
  return last?._tag === "Stopped" ? last.reason : undefined
}

/** What the caller saw: an error of ours only where there was none of the dependency to return. */
export const resultOf = (timeline: Timeline): Result => {
  if (timeline.result === "success" || timeline.result === "interrupted") return timeline.result
  const stop = stopOf(timeline)
  return stop === "admission_denied" ? "denied" : stop === "deadline_exceeded" ? "deadline" : "failure"
}

export interface Count {
  readonly attempts: number
  readonly retries: number
  readonly hedges: number
}

/** Records of attempts are bounded, but the last one is always kept, and each group has one attempt that is no hedge. */
export const countOf = (timeline: Timeline): Count => {
  const { attempts } = timeline
  const last = attempts.at(-1)
  if (last === undefined) return { attempts: 0, retries: 0, hedges: 0 }
  const all = attempts.length + droppedOf(timeline)
  const { retry } = last.attempt
  return { attempts: all, retries: retry, hedges: all - retry - 1 }
}

/** A wait that the end of the call cut short counts as far as it went. */
const backoffOf = ({ decisions, endedAt }: Timeline): number =>
  decisions.reduce(
    (sum, decision) =>
      decision._tag === "BackoffScheduled" ? sum + Math.min(decision.delay, endedAt - decision.at) : sum,
    0
  )

/** As the driver ranks outcomes that arrive in one tick; a Retryable one decides nothing. */
const ranks = { Success: 0, NonRetryable: 1, Abort: 2 } as const

const rankOf = ({ endedBy, outcome }: AttemptRecord): number =>
  endedBy !== "returned" || outcome === undefined || outcome === "Retryable" ? Infinity : ranks[outcome]

/** The attempt whose answer was returned: the best outcome, and of equal ones that of the lower hedge. */
const winnerOf = ({ attempts }: Timeline, stop: StopReason | undefined): AttemptRecord | undefined => {
  if (stop === "deadline_exceeded" || stop === "interrupted") return undefined
  let winner: AttemptRecord | undefined
  let rank = Infinity
  for (const attempt of attempts) {
    if (rankOf(attempt) >= rank) continue
    rank = rankOf(attempt)
    winner = attempt
  }
  return winner
}

// -----------------------------------------------------------------------------
// attempts
// -----------------------------------------------------------------------------

export const kindOf = ({ attempt: { hedge, retry } }: AttemptRecord): Kind =>
  hedge > 0 ? "hedge" : retry > 0 ? "retry" : "primary"

const returned = { Success: "success", Retryable: "retryable", NonRetryable: "non_retryable", Abort: "abort" } as const

/**
 * Who is said to be abandoned was given up before: with a verdict when its timeout passed, else because the call ended
 * without it.
 */
export const outcomeOf = (record: AttemptRecord, stop: StopReason | undefined): Outcome => {
  switch (record.endedBy) {
    case "timed_out":
      return "timed_out"
    case "interrupted_loser":
      return "lost"
    case "interrupted_caller":
      return "abort"
    case "abandoned":
      if (record.outcome !== undefined || stop === "deadline_exceeded") return "timed_out"
      return stop === "interrupted" ? "abort" : "lost"
    case "returned":
      return record.outcome === undefined ? "lost" : returned[record.outcome]
  }
}

const attemptUpdate = (timeline: Timeline, record: AttemptRecord, stop: StopReason | undefined, labelOf: LabelOf) => {
  const millis = (record.endedAt ?? timeline.endedAt) - record.startedAt
  const reason = record.reason === undefined ? "" : labelOf(record.reason)
  return update("attemptDuration", seconds(millis), [kindOf(record), outcomeOf(record, stop), reason])
}

type Denied = Extract<Decision, { readonly _tag: "Denied" }>

const denialUpdate = ({ budget = "", count, kind, reason }: Denied): Update =>
  update("budgetDenied", count, [kind, reason, budget])

// -----------------------------------------------------------------------------
// all of it
// -----------------------------------------------------------------------------

const hedgeUpdates = (hedges: number, winner: AttemptRecord | undefined): ReadonlyArray<Update> => {
  const won = winner !== undefined && winner.attempt.hedge > 0 ? 1 : 0
  return [
    update("callHedges", hedges),
    ...(won === 0 ? [] : [update("hedgeWon", won)]),
    ...(hedges === won ? [] : [update("hedgeWasted", hedges - won)])
  ]
}

/** In the order of the table. */
export const updatesOf = (timeline: Timeline, labelOf: LabelOf): ReadonlyArray<Update> => {
  const { attempts, decisions, endedAt, startedAt } = timeline
  const stop = stopOf(timeline)
  const count = countOf(timeline)
  const backoff = decisions.length === 0 ? 0 : backoffOf(timeline)
  const updates = [update("callDuration", seconds(endedAt - startedAt), [resultOf(timeline)])]
  if (count.attempts > 0) updates.push(update("callAttempts", count.attempts))
  if (count.retries > 0) updates.push(update("callRetries", count.retries))
  if (backoff > 0) updates.push(update("callBackoff", seconds(backoff)))
  if (stop !== undefined) updates.push(update("callStopped", 1, [stop]))
  for (const attempt of attempts) updates.push(attemptUpdate(timeline, attempt, stop, labelOf))
  if (count.hedges > 0) updates.push(...hedgeUpdates(count.hedges, winnerOf(timeline, stop)))
  for (const decision of decisions) if (decision._tag === "Denied") updates.push(denialUpdate(decision))
  return updates
}
