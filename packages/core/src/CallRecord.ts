/**
 * What the driver writes down about one call, in plain fields that are filled in place.
 *
 * A record exists for every call, because it is not known beforehand which one will fail; the typed `Timeline` is made
 * from it when somebody reads it. Not part of the public API.
 *
 * @internal
 */
import type { Cause, Clock, Exit } from "effect"
import { Option } from "effect"
import type { Noted } from "./Attempt.ts"
import type { Deadline } from "./Deadline.ts"
import type { Outcome } from "./Outcome.ts"
import type { PolicyKey } from "./PolicyKey.ts"
import type { DenialReason, StopReason } from "./Reasons.ts"
import { denialOf } from "./Reasons.ts"

export const endedBy = ["returned", "timed_out", "interrupted_loser", "interrupted_caller", "abandoned"] as const
export type EndedBy = typeof endedBy[number]

export const results = ["success", "failure", "defect", "interrupted"] as const
export type Result = typeof results[number]

export const policySources = ["local", "live", "stale", "lkg", "bundled", "missing"] as const
export type PolicySource = typeof policySources[number]

export const outcomes = ["Success", "Retryable", "NonRetryable", "Abort"] as const

/** Times are milliseconds on the monotonic line of the call's clock. */
export type Decision =
  | { readonly _tag: "BackoffScheduled"; readonly at: number; readonly delay: number; readonly retryAfter?: number }
  | {
    readonly _tag: "Denied"
    readonly at: number
    readonly kind: "retry" | "hedge"
    /** absent where a rule refused before any budget was asked */
    readonly budget?: string
    readonly reason: DenialReason
    /** the words of a budget of the user's */
    readonly detail?: string
    readonly retryAfter?: number
    readonly count: number
  }
  | { readonly _tag: "Stopped"; readonly at: number; readonly reason: StopReason }

/** What an attempt takes from its call when it starts. */
export interface CallSoFar {
  readonly binding: { readonly key: PolicyKey }
  readonly clock: Clock.Clock
  /** index of the retry group */
  readonly retry: number
  /** how the group before ended, and what was waited since */
  readonly previous: Exit.Exit<unknown, unknown> | undefined
  readonly delayBefore: number | undefined
}

/**
 * What is known of an attempt. One object for the record and for what the effect can read of itself: it keeps nothing of
 * its call, so that what outlives the attempt may hold it.
 */
export class AttemptFacts implements Noted, Deadline {
  /** `undefined` while it runs */
  endedAt: number | undefined = undefined
  endedBy: EndedBy = "abandoned"
  outcome: Outcome | undefined = undefined
  cause: Cause.Cause<unknown> | undefined = undefined
  readonly key: PolicyKey
  readonly retry: number
  readonly hedge: number
  readonly startedAt: number
  /** when it must have ended, `Infinity` for never */
  readonly at: number
  readonly clock: Clock.Clock
  readonly backoffBefore: number | undefined
  private readonly last: Exit.Exit<unknown, unknown> | undefined
  constructor(call: CallSoFar, hedge: number, startedAt: number, at: number) {
    this.key = call.binding.key
    this.retry = call.retry
    this.hedge = hedge
    this.startedAt = startedAt
    this.at = at
    this.clock = call.clock
    this.backoffBefore = hedge === 0 ? call.delayBefore : undefined
    this.last = call.previous
  }

  /** Until it is over for its call. */
  get active(): boolean {
    return this.endedAt === undefined
  }

  get previous(): Option.Option<Exit.Exit<unknown, unknown>> {
    return Option.fromUndefinedOr(this.last)
  }

  note(name: string, value: string): void {
    if (this.active) annotate(this, name, value)
  }
}

/** Names are written in code, and are few. */
const maxAttributes = 16

/** Beside the facts, because nearly no attempt has any, and a field would cost every one of them. */
const attributes = new WeakMap<AttemptFacts, Map<string, string>>()

const annotate = (facts: AttemptFacts, name: string, value: string): void => {
  const known = attributes.get(facts)
  if (known === undefined) attributes.set(facts, new Map([[name, value]]))
  else if (known.has(name) || known.size < maxAttributes) known.set(name, value)
}

export const annotationsOf = (facts: AttemptFacts): ReadonlyMap<string, string> | undefined => attributes.get(facts)

export interface PolicyFacts {
  readonly revision: string
  readonly source: PolicySource
  /** whether the call had retries of its own: an enclosing call does not repeat a failure that was retried below */
  readonly retries: boolean
  /** the pattern of an override that is in force for the key */
  readonly override?: string | undefined
  /** when the source last confirmed the policy, in milliseconds since the epoch; absent while it does */
  readonly confirmedAt?: number | undefined
}

const none: Array<AttemptFacts> = []

export class CallRecord {
  attempts: Array<AttemptFacts> = none
  decisions: Array<Decision> | undefined = undefined
  droppedAttempts = 0
  endedAt = NaN
  /**
   * Wall time less monotonic time when the call ended: all stamps are derived from it, so that a clock that is corrected
   * meanwhile cannot reorder them. The wall clock is read only for records that somebody may read.
   */
  wallOffset = NaN
  result: Result = "success"
  readonly key: PolicyKey
  readonly policy: PolicyFacts
  readonly startedAt: number
  constructor(key: PolicyKey, policy: PolicyFacts, startedAt: number) {
    this.key = key
    this.policy = policy
    this.startedAt = startedAt
  }

  /** Keeps the first attempts and the latest one: what happened first and what decided are both worth more than the middle. */
  add(attempt: AttemptFacts, max: number): void {
    // An array that is pushed to while it is empty gets room for many; most calls have one attempt.
    if (this.attempts.length === 0) this.attempts = [attempt]
    else if (this.attempts.length < max) this.attempts.push(attempt)
    else {
      this.attempts[max - 1] = attempt
      this.droppedAttempts++
    }
  }

  decide(decision: Decision): void {
    if (this.decisions === undefined) this.decisions = [decision]
    else this.decisions.push(decision)
  }

  backoff(at: number, delay: number, retryAfter: number | undefined): void {
    this.decide({ _tag: "BackoffScheduled", at, delay, ...(retryAfter === undefined ? {} : { retryAfter }) })
  }

  denied(
    at: number,
    kind: "retry" | "hedge",
    reason: string,
    count: number,
    budget: string | undefined,
    retryAfter: number | undefined
  ): void {
    this.decide({
      _tag: "Denied",
      at,
      kind,
      ...denialOf(reason),
      count,
      ...(budget === undefined ? {} : { budget }),
      ...(retryAfter === undefined ? {} : { retryAfter })
    })
  }

  end(at: number, exit: Exit.Exit<unknown, unknown> | "interrupted", wallOffset: number): void {
    this.endedAt = at
    this.wallOffset = wallOffset
    this.result = exit === "interrupted" ? exit : resultOf(exit)
  }
}

const resultOf = (exit: Exit.Exit<unknown, unknown>): Result => {
  if (exit._tag === "Success") return "success"
  let interrupted = false
  for (const reason of exit.cause.reasons) {
    if (reason._tag === "Die") return "defect"
    if (reason._tag === "Fail") return "failure"
    interrupted = true
  }
  return interrupted ? "interrupted" : "failure"
}

/** How many are open in this process, whichever copy of this package has opened them. */
const opened: { count: number } = ((globalThis as { [key: symbol]: any })[Symbol.for("@rego/core/opened")] ??= {
  count: 0
})

/** Takes the records of a capture. Chained, so that an inner capture hides nothing from an outer one. */
export class Collector {
  /** Where there are none, as in most programs, a call need not look for its own. */
  static get open(): number {
    return opened.count
  }

  private records: Array<CallRecord> = []
  private closed = false
  dropped = 0
  private readonly max: number
  private readonly outer: Collector | undefined
  constructor(max: number, outer: Collector | undefined) {
    this.max = max
    this.outer = outer
    opened.count++
  }

  add(record: CallRecord): void {
    this.outer?.add(record)
    if (this.closed) return
    if (this.records.length < this.max) this.records.push(record)
    else this.dropped++
  }

  /** Work that outlives the capture goes on; its calls are no longer collected. */
  close(): ReadonlyArray<CallRecord> {
    if (!this.closed) opened.count--
    this.closed = true
    return this.records
  }
}
