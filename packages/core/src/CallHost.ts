/**
 * What the parts of a call see of it. Types only: the parts (`Questions`, `Between`, `GroupHedger`) are steps of one state
 * machine, told apart by what they decide about, and `Executor` holds them together.
 *
 * @internal
 */
import type { Clock, Context, Duration, Effect, Exit, Scope } from "effect"
import type { AttemptRun } from "./AttemptRun.ts"
import type { Binding, Bounds } from "./Bindings.ts"
import type { Permit } from "./Budget.ts"
import type { CallEvents } from "./CallEvents.ts"
import type { CallSoFar } from "./CallRecord.ts"
import type { Cleanup } from "./Cleanup.ts"
import type { Kind, Waiting } from "./KillSwitch.ts"
import type { Retryable } from "./Outcome.ts"
import type { Questions } from "./Questions.ts"
import type { StopReason } from "./Reasons.ts"
import type { Supervisor } from "./Supervisor.ts"

export interface Denial {
  /** absent where a rule refused before any budget was asked */
  readonly budget?: string | undefined
  readonly reason: string
  readonly retryAfter?: Duration.Duration | undefined
}

export interface CallHost {
  readonly binding: Binding
  readonly bounds: Bounds
  readonly supervisor: Supervisor
  readonly context: Context.Context<never>
  readonly clock: Clock.Clock
  readonly fiberId: number
  /** on the monotonic line of the clock, `Infinity` for none */
  readonly deadline: number
  readonly random: () => number
  readonly ended: boolean
  /** `undefined` where nobody listens */
  readonly events: CallEvents | undefined
  /** both are made when a call first needs them: one that succeeds at once needs neither */
  readonly questions: Questions
  readonly cleanup: Cleanup
  readonly now: () => number
  /** asked live, so that a kill switch also ends the extra attempts of calls in flight */
  readonly switchedOff: (kind: Kind) => boolean
  /** the calls that hear of a kill switch while they wait */
  readonly waiting: Set<Waiting>
  /** runs what a timer or an observer calls: a defect of ours ends the call and is never thrown */
  readonly protect: (f: () => void) => void
  /** `protect` for what rings on a timer that calls share: in the asynchronous context of the call */
  readonly protectInContext: (f: () => void) => void
  readonly reportDefect: (what: string, defect: unknown) => void
  /** the deadline passed while no attempt ran */
  readonly onDeadline: () => void
  readonly recordDenied: (kind: "retry" | "hedge", denial: Denial, count: number) => void
}

export interface CleanupHost extends Pick<CallHost, "context" | "supervisor" | "reportDefect"> {
  /** for values that nobody gets */
  readonly onDiscard: ((value: never) => Effect.Effect<void>) | undefined
}

/** What an attempt takes from its call, and whom it tells. */
export interface AttemptHost extends CallSoFar {
  /** the caller's, in which each attempt has one of its own */
  readonly parentScope: Scope.Scope | undefined
  readonly onTime: (attempt: AttemptRun) => void
  readonly onFiberExit: (attempt: AttemptRun, exit: Exit.Exit<unknown, unknown>) => void
}

/** What `Between` ends in: another group, or the end of the call with the last exit. */
export interface BetweenHost extends CallHost {
  readonly conclude: (last: AttemptRun, stop: StopReason) => void
  readonly next: (permit: Permit | undefined) => void
  readonly recordBackoff: (delay: number, retryAfter: number | undefined) => void
}

/** A group that failed: the attempt that stands for it, and the verdict on all of it. */
export interface FailedGroup {
  readonly last: AttemptRun
  readonly outcome: Retryable
  readonly retry: number
}

export interface HedgerHost extends CallHost {
  /** index of the retry group */
  readonly retry: number
  readonly groupStartedAt: () => number
  readonly start: (hedge: number, permit: Permit, now: number) => void
  /** a hedge that the group waits for will not come */
  readonly groupFailed: () => void
}
