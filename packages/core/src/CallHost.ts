/**
 * What the parts of a call see of it. Types only: the parts (`Questions`, `Between`, `GroupHedger`) are steps of one state
 * machine, told apart by what they decide about, and `Executor` holds them together.
 *
 * @internal
 */
import type { Clock, Context, Duration } from "effect"
import type { AttemptRun } from "./AttemptRun.ts"
import type { Permit } from "./Budget.ts"
import type { StopReason } from "./CallRecord.ts"
import type { Retryable } from "./Outcome.ts"
import type { Binding, Bounds } from "./PolicyProvider.ts"

export interface Denial {
  /** absent where a rule refused before any budget was asked */
  readonly budget?: string | undefined
  readonly reason: string
  readonly retryAfter?: Duration.Duration | undefined
}

export interface CallHost {
  readonly binding: Binding
  readonly bounds: Bounds
  readonly context: Context.Context<never>
  readonly clock: Clock.Clock
  readonly fiberId: number
  /** on the monotonic line of the clock, `Infinity` for none */
  readonly deadline: number
  readonly random: () => number
  readonly ended: boolean
  readonly now: () => number
  /** runs what a timer or an observer calls: a defect of ours ends the call and is never thrown */
  readonly protect: (f: () => void) => void
  readonly reportDefect: (what: string, defect: unknown) => void
  /** the deadline passed while no attempt ran */
  readonly onDeadline: () => void
  readonly recordDenied: (kind: "retry" | "hedge", denial: Denial, count: number) => void
}

/** What `Between` ends in: another group, or the end of the call with the last exit. */
export interface BetweenHost extends CallHost {
  readonly conclude: (last: AttemptRun, stop: StopReason) => void
  readonly next: (last: AttemptRun, waited: number, permit: Permit | undefined) => void
  readonly recordBackoff: (delay: number, retryAfter: number | undefined) => void
}

/** A group that failed: the attempt that stands for it, the verdict on all of it, and what came before. */
export interface FailedGroup {
  readonly last: AttemptRun
  readonly outcome: Retryable
  readonly retry: number
  readonly delayBefore: number
}

export interface HedgerHost extends CallHost {
  /** index of the retry group */
  readonly retry: number
  readonly groupStartedAt: () => number
  readonly start: (hedge: number, permit: Permit) => void
  /** a hedge that the group waits for will not come */
  readonly groupFailed: () => void
}
