/**
 * The driver: runs one call as a state machine. It asks the rules (`Retry`, `Classifier`, the budget) and executes what
 * they say; it holds no rule of its own. There is one path, whatever the policy and whoever listens.
 *
 * The order in which mechanisms wrap a call, outermost first, and why each stands where it does:
 *
 * 1. *policy*: looked up first, because everything else comes from it;
 * 2. *deadline*: around all that takes time, so it is known before anything is waited for;
 * 3. *admission*: once per call and before any work, where refusing is cheapest;
 * 4. *retry loop*: one group of attempts after the other, with the budget asked before each wait, so that a call that will
 *    be refused does not sleep first;
 * 5. *group*: the first attempt and its hedges, which start after it, through the gates and the budget;
 * 6. *attempt*: a fiber, a timer and a scope of its own;
 * 7. *the effect*, and whatever its author put inside: a circuit breaker, a rate limiter, a span;
 * 8. *classifier*: on the exit of each attempt, timeouts included.
 *
 * The driver is re-entrant. Running an effect, interrupting a fiber, settling a permit and resuming the caller may all
 * call back into it before they return. So state is written first; after each start the driver looks whether the attempt
 * or the call is over; timers are armed last. Nothing may throw out of an observer, a timer or `register`: foreign code is
 * called through `guard` or in a fiber.
 *
 * It is longer than the house allows: what is left here shares the state of one call (who runs, who was judged, whether it
 * is over), and handing that state around would hide the order in which it is written.
 *
 * @internal
 */
import { Cause, Clock, Context, Duration, Effect, Exit, Fiber, Option, Random, Scope } from "effect"
import type { Attempt } from "./Attempt.ts"
import { CurrentAttempt } from "./Attempt.ts"
import { AttemptRun } from "./AttemptRun.ts"
import { Between } from "./Between.ts"
import type * as Budget from "./Budget.ts"
import type { BetweenHost, Denial, HedgerHost } from "./CallHost.ts"
import type { EndedBy, StopReason } from "./CallRecord.ts"
import { CallRecord } from "./CallRecord.ts"
import * as Classifier from "./Classifier.ts"
import { Cleanup } from "./Cleanup.ts"
import { CurrentDeadline, enclosing } from "./Deadline.ts"
import { GroupHedger } from "./GroupHedger.ts"
import type * as Hedge from "./Hedge.ts"
import { show } from "./Issue.ts"
import * as Outcome from "./Outcome.ts"
import type { Binding, Bindings, Bounds } from "./PolicyProvider.ts"
import { reportOnce } from "./PolicyProvider.ts"
import { Questions } from "./Questions.ts"
import * as RegoError from "./RegoError.ts"
import * as Retry from "./Retry.ts"
import { ScheduleSteps } from "./ScheduleSteps.ts"
import { nowMillis, oneMicrosecond } from "./Time.ts"
import * as Timeline from "./Timeline.ts"
import { arm, endOfTick } from "./Timer.ts"

export interface CallOptions {
  readonly idempotent?: boolean | undefined
  readonly classifier?: Classifier.Any | undefined
  readonly defaultClassifier?: Classifier.Any | undefined
  readonly onDiscard?: ((value: never) => Effect.Effect<void>) | undefined
}

type AnyExit = Exit.Exit<any, any>
type Resume = (effect: Effect.Effect<any, any>) => void

const noOptions: CallOptions = {}

/** Never written to: the first attempt of a group replaces it. */
const noAttempts: Array<AttemptRun> = []

const callerGone = Outcome.abort({ reason: "caller_interrupted" })

/** A defect of ours never refuses a call. */
const freePass: Budget.Decision = { _tag: "Granted", permit: { settle: () => {} } }

/** The hedge that runs the current code, however deep below it. */
const EnclosingHedge: Context.Reference<Option.Option<Attempt>> = Context.Reference(
  "@rego/core/Executor/EnclosingHedge",
  { defaultValue: Option.none<Attempt> }
)

class Call implements BetweenHost, HedgerHost {
  readonly binding: Binding
  readonly bounds: Bounds
  readonly context: Context.Context<never>
  readonly clock: Clock.Clock
  readonly fiberId: number
  readonly deadline: number
  readonly random: () => number
  ended = false
  /** index of the retry group */
  retry = 0

  private readonly self: Effect.Effect<any, any>
  private readonly options: CallOptions
  private readonly bindings: Bindings
  private readonly parentScope: Scope.Scope | undefined
  private readonly resume: Resume
  private readonly withTimeline: boolean
  private readonly record: CallRecord
  private readonly ownDeadline: boolean
  private readonly cleanup: Cleanup
  private readonly questions: Questions
  /** made for calls that fail once */
  private between: Between | undefined = undefined

  private attempts = 0
  private admitted = false
  /** the attempts of the current retry group, in the order of their hedge index */
  private group: Array<AttemptRun> = noAttempts
  private hedger: GroupHedger | undefined = undefined
  private trigger: Hedge.Trigger | ScheduleSteps<Hedge.State> | undefined = undefined
  /** definite outcomes that arrived in this tick while others still run: the best of them wins, not the first */
  private arrived: Array<AttemptRun> | undefined = undefined
  /** how the group before ended */
  private previous: AnyExit | undefined = undefined
  private delayBefore = 0
  /** attempts that were told to stop and did not at once */
  private left: Array<AttemptRun> | undefined = undefined

  constructor(
    self: Effect.Effect<any, any>,
    key: string,
    options: CallOptions,
    bindings: Bindings,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: Resume,
    withTimeline: boolean
  ) {
    this.self = self
    this.options = options
    this.bindings = bindings
    this.bounds = bindings.bounds
    this.context = fiber.context
    this.fiberId = fiber.id
    this.resume = resume
    this.withTimeline = withTimeline
    this.clock = Context.get(this.context, Clock.Clock)
    const startedAt = this.now()
    // JavaScript may pass anything, and a call never fails because of its key.
    this.binding = bindings.get(typeof key === "string" ? key : String(key), this.context)
    this.parentScope = Context.getOrUndefined(this.context as Context.Context<Scope.Scope>, Scope.Scope)
    const random = Context.get(this.context, Random.Random)
    this.random = () => random.nextDoubleUnsafe()
    const around = enclosing(this.context, this.clock)
    const own = startedAt + this.binding.plan.overall
    this.ownDeadline = own <= around
    this.deadline = this.ownDeadline ? own : around
    this.record = new CallRecord(this.binding.key, this.binding.facts, startedAt, this.clock.currentTimeMillisUnsafe())
    this.cleanup = new Cleanup(
      this.context,
      bindings.supervisor,
      options.onDiscard,
      (defect) => this.reportDefect("finalizer", defect)
    )
    this.questions = new Questions(this, this.cleanup, bindings.supervisor)
  }

  now(): number {
    return nowMillis(this.clock)
  }

  groupStartedAt(): number {
    return this.group[0]!.facts.startedAt
  }

  // ---------------------------------------------------------------------------
  // before the first attempt
  // ---------------------------------------------------------------------------

  begin(): void {
    if (this.binding.refused) return this.fail({ _tag: "PolicyMissing" }, "policy_missing")
    if (this.record.startedAt >= this.deadline) return this.deadlinePassed()
    const admit = this.binding.budget.admit
    if (admit === undefined) return this.admit(undefined)
    this.questions.askBudget(
      () => admit(this.asCall(this.record.startedAt)),
      freePass,
      (decision) =>
        decision._tag === "Granted" ? this.admit(decision.permit) : this.fail({
          _tag: "AdmissionDenied",
          budget: this.binding.plan.budget,
          detail: decision.reason,
          retryAfter: Option.fromUndefinedOr(decision.retryAfter)
        }, "admission_denied"),
      true
    )
  }

  private asCall(now: number): Budget.Call {
    return { key: this.binding.key, now, random: this.random }
  }

  private admit(permit: Budget.Permit | undefined): void {
    const { startedAt } = this.record
    const { onCall } = this.binding.observed
    this.admitted = true
    if (onCall !== undefined) this.questions.guard("budget.onCall", () => onCall(this.asCall(startedAt)))
    if (this.ended) return this.questions.settle(permit, "unused")
    // An admission that took time may have used up all there was.
    if (this.now() >= this.deadline) {
      this.questions.settle(permit, "unused")
      return this.deadlinePassed()
    }
    this.binding.state.hedging?.onCall(startedAt)
    if (this.mayHedge()) this.trigger = ScheduleSteps.from(this.binding.trigger!)
    this.startGroup(permit)
  }

  /** A call inside a hedge does not hedge again, nor does a call inside that one. */
  private mayHedge(): boolean {
    return this.binding.trigger !== undefined && this.idempotent() === true &&
      !Option.exists(Context.get(this.context, EnclosingHedge), (attempt) => attempt.active)
  }

  private startGroup(permit: Budget.Permit | undefined): void {
    this.group = noAttempts
    this.hedger = this.trigger === undefined
      ? undefined
      : new GroupHedger(this, this.questions, this.binding.state.hedging!, this.trigger)
    this.start(0, permit)
  }

  // ---------------------------------------------------------------------------
  // an attempt
  // ---------------------------------------------------------------------------

  start(hedge: number, permit: Budget.Permit | undefined): void {
    const startedAt = this.now()
    const endsAt = Math.min(startedAt + this.binding.plan.perAttempt, this.deadline)
    const attempt = new AttemptRun({
      key: this.binding.key,
      retry: this.retry,
      hedge,
      startedAt,
      endsAt,
      clock: this.clock,
      backoffBefore: hedge === 0 ? this.delayBefore : 0,
      previous: this.previous,
      permit,
      parentScope: this.parentScope
    })
    this.attempts++
    if (this.group.length === 0) this.group = [attempt]
    else this.group.push(attempt)
    this.record.add(attempt.facts, this.bounds.maxAttemptRecords)
    this.questions.cancelDeadline()
    const { hedger } = this
    hedger?.onStart(startedAt)
    this.run(attempt, endsAt)
    // The attempt's own first step may have ended the call, and could not be interrupted before it was known here.
    if (attempt.settled && attempt.fiberExit === undefined) return this.interruptAttempt(attempt)
    if (!attempt.settled && endsAt !== Infinity) this.arm(attempt, endsAt - startedAt)
    hedger?.onRunning()
  }

  private run(attempt: AttemptRun, endsAt: number): void {
    let context = Context.add(this.context, CurrentAttempt, attempt.visible)
    if (endsAt !== Infinity) context = Context.add(context, CurrentDeadline, attempt.visible)
    if (attempt.scope !== undefined) context = Context.add(context, Scope.Scope, attempt.scope)
    if (attempt.facts.hedge > 0) context = Context.add(context, EnclosingHedge, attempt.visible)
    const fiber = Effect.runForkWith(context)(this.self)
    attempt.fiber = fiber
    fiber.addObserver((exit) => this.onFiberEnd(attempt, exit))
  }

  private arm(attempt: AttemptRun, millis: number): void {
    attempt.timer = arm(this.clock, this.context, millis, () => {
      if (!this.ended && !attempt.settled) this.protect(() => this.onTimer(attempt))
    })
  }

  private onFiberEnd(attempt: AttemptRun, exit: AnyExit): void {
    attempt.fiberExit = exit
    this.protect(() => {
      const late = attempt.settled
      if (!late) attempt.settle("returned", this.now())
      this.questions.settle(attempt.permit, "used")
      if (late) return this.onLateEnd(attempt)
      if (this.ended) return
      if (this.ranOut(attempt, exit)) return this.onTimer(attempt)
      this.judge(attempt, exit)
    })
  }

  /**
   * A call inside inherits the instant of this attempt. Which of the two timers comes first depends on what was started
   * first; it is this attempt's timeout in both cases, or nested calls would keep it from being retried.
   */
  private ranOut(attempt: AttemptRun, exit: AnyExit): boolean {
    return exit._tag === "Failure" && attempt.endsAt - this.now() < oneMicrosecond &&
      RegoError.isInheritedDeadline(exit.cause)
  }

  private onTimer(attempt: AttemptRun): void {
    if (attempt.endsAt === this.deadline) this.deadlinePassed()
    else this.timeOut(attempt)
  }

  /** The caller never waits for an attempt that timed out, even if it does not stop. */
  private timeOut(attempt: AttemptRun): void {
    attempt.timedOut = true
    attempt.settle("timed_out", this.now())
    this.interruptAttempt(attempt)
    if (this.ended) return
    const error = RegoError.makeWithoutStack(this.binding.key, {
      _tag: "AttemptTimedOut",
      perAttempt: Duration.millis(this.binding.plan.perAttempt),
      attempt: { retry: attempt.facts.retry, hedge: attempt.facts.hedge }
    })
    this.judge(attempt, Exit.fail(error))
  }

  /** An attempt that is still running after it was told to stop is supervised, and counted while it runs. */
  private interruptAttempt(attempt: AttemptRun): void {
    const { fiber } = attempt
    fiber?.interruptUnsafe(this.fiberId)
    if (fiber === undefined || attempt.fiberExit !== undefined || attempt.abandoned || attempt.awaited) return
    attempt.abandoned = true
    if (this.left === undefined) this.left = [attempt]
    else this.left.push(attempt)
    this.binding.state.abandoned++
    this.bindings.supervisor.add(fiber)
  }

  private onLateEnd(attempt: AttemptRun): void {
    if (attempt.abandoned) this.binding.state.abandoned--
    this.cleanup.release(attempt)
    if (attempt.awaited) this.cleanup.oneLess()
  }

  // ---------------------------------------------------------------------------
  // verdicts
  // ---------------------------------------------------------------------------

  private judge(attempt: AttemptRun, exit: AnyExit): void {
    const outcome = this.classify(exit, attempt.timedOut)
    const { endedAt, startedAt } = attempt.facts
    attempt.facts.outcome = outcome
    if (exit._tag === "Failure") attempt.facts.cause = exit.cause
    const { onOutcome } = this.binding.observed
    if (onOutcome !== undefined) this.questions.guard("budget.onOutcome", () => onOutcome(outcome, endedAt))
    this.binding.state.hedging?.onOutcome(outcome, startedAt, endedAt)
    if (this.ended) return
    // Last, because what is called above may end other attempts: a group is judged when all of its attempts are.
    attempt.exit = exit
    if (outcome._tag !== "Retryable") return this.arrive(attempt)
    attempt.retryable = outcome
    this.onRetryable(outcome)
  }

  private idle(): boolean {
    return this.group.every((attempt) => attempt.exit !== undefined)
  }

  /** Waits for the attempts still running, and where no retry would follow for a hedge that starts at once. */
  private onRetryable(outcome: Outcome.Retryable): void {
    const idle = this.idle()
    const waits = this.hedger?.onFailure(Outcome.retryAfterMillis(outcome), !this.binding.plan.retries, idle) === true
    if (!idle || this.ended || this.arrived !== undefined) return
    if (!waits) return this.groupFailed()
    if (this.idle()) this.questions.armDeadline()
  }

  /** A definite outcome ends its group at once; those of one tick are ranked, so that their order does not matter. */
  private arrive(attempt: AttemptRun): void {
    if (this.arrived !== undefined) {
      this.arrived.push(attempt)
      return
    }
    this.hedger?.close()
    if (this.idle()) return this.conclude(attempt)
    const arrived = [attempt]
    this.arrived = arrived
    endOfTick(this.clock, this.context, () => this.protect(() => this.conclude(Retry.best(arrived))))
  }

  private classify(exit: AnyExit, timedOut: boolean): Outcome.Outcome {
    try {
      const any: Exit.Exit<never, RegoError.RegoError> = exit as any
      const { classifier, defaultClassifier } = this.options
      const outcome = classifier?.(any) ?? this.binding.classifier?.(any) ?? defaultClassifier?.(any)
      if (outcome === undefined) return Classifier.classifyDefault(exit, timedOut, this.binding.plan.nested)
      if (Outcome.isOutcome(outcome)) return outcome
      throw new TypeError(`a classifier must return an Outcome or undefined, got ${show(outcome)}`)
    } catch (defect) {
      this.reportDefect("classifier", defect)
      return Outcome.nonRetryable({ reason: "classifier_defect" })
    }
  }

  /** A call site's word counts more than the policy's. */
  private idempotent(): boolean | undefined {
    return this.options.idempotent ?? this.binding.plan.idempotent
  }

  groupFailed(): void {
    this.hedger?.close()
    const last = this.group[0]!
    const outcome = Retry.combine(this.group.map((attempt) => attempt.retryable!))
    const stop = Retry.refusal({
      plan: this.binding.plan,
      retry: this.retry,
      outcome,
      mayStillRun: this.group.some((attempt) => attempt.timedOut),
      idempotent: this.idempotent(),
      switchedOff: this.binding.switchedOff()
    })
    if (stop !== undefined) return this.conclude(last, stop)
    this.between ??= new Between(this, this.questions)
    this.between.begin({ last, outcome, retry: this.retry, delayBefore: this.delayBefore })
  }

  // ---------------------------------------------------------------------------
  // between groups
  // ---------------------------------------------------------------------------

  next(last: AttemptRun, waited: number, permit: Budget.Permit | undefined): void {
    // Only now is it sure that the last exit is not returned: a wait may still end the call with it.
    for (const attempt of this.group) this.cleanup.release(attempt)
    if (this.ended) return this.questions.settle(permit, "unused")
    this.countHedges(undefined)
    this.previous = last.exit
    this.retry++
    this.delayBefore = waited
    this.startGroup(permit)
  }

  recordBackoff(delay: number, retryAfter: number | undefined): void {
    this.record.backoff(this.now(), delay, retryAfter)
  }

  recordDenied(kind: "retry" | "hedge", { budget, reason, retryAfter }: Denial, count: number): void {
    this.record.denied(this.now(), kind, reason, count, budget, retryAfter && Duration.toMillis(retryAfter))
  }

  readonly onDeadline = (): void => {
    const last = this.group[0]
    if (last === undefined) this.deadlinePassed()
    else this.conclude(last, "deadline_would_pass")
  }

  // ---------------------------------------------------------------------------
  // ends
  // ---------------------------------------------------------------------------

  conclude(attempt: AttemptRun, stop?: StopReason): void {
    this.finish(attempt.exit!, attempt, stop ?? Retry.endReason(attempt.facts.outcome!), "interrupted_loser")
  }

  private fail(reason: RegoError.Reason, stop: StopReason): void {
    this.finish(Exit.fail(RegoError.makeWithoutStack(this.binding.key, reason)), undefined, stop, "timed_out")
  }

  private deadlinePassed(): void {
    this.fail({
      _tag: "DeadlineExceeded",
      overall: this.ownDeadline ? Duration.millis(this.binding.plan.overall) : undefined,
      attempts: this.attempts,
      lastCause: this.lastCause()
    }, "deadline_exceeded")
  }

  /** Of the attempts that have failed: one of the group that still runs, else the one that stood for the group before. */
  private lastCause(): Option.Option<Cause.Cause<unknown>> {
    const last = this.group.find((attempt) => attempt.exit?._tag === "Failure")?.exit ?? this.previous
    return last?._tag === "Failure" ? Option.some(last.cause) : Option.none()
  }

  private finish(
    exit: AnyExit,
    returned: AttemptRun | undefined,
    stop: StopReason | undefined,
    running: "interrupted_loser" | "timed_out"
  ): void {
    if (this.ended) return
    this.ended = true
    let result: AnyExit
    try {
      const now = this.now()
      this.endParts()
      this.endGroup(returned, running, now)
      this.closeRecord(now, stop, exit)
      result = this.result(exit)
    } catch (defect) {
      result = Exit.die(defect)
    }
    this.resume(result)
  }

  private endGroup(returned: AttemptRun | undefined, running: "interrupted_loser" | "timed_out", now: number): void {
    for (const attempt of this.group) if (!attempt.settled) this.cut(attempt, running, now)
    for (const attempt of this.group) {
      if (attempt.fiberExit === undefined) this.interruptAttempt(attempt)
      else if (attempt !== returned || attempt.timedOut) this.cleanup.release(attempt)
      else if (this.parentScope !== undefined) this.cleanup.keep(attempt, this.parentScope)
    }
    this.countHedges(returned)
  }

  /** The caller was interrupted: interrupts what runs and waits for its end, but not for what was given up before. */
  onInterrupt(): Effect.Effect<void> {
    if (this.ended) return Effect.void
    this.ended = true
    this.cleanup.waiting = true
    const now = this.now()
    this.endParts()
    this.reportAbort(now)
    for (const attempt of this.group) {
      if (attempt.fiberExit !== undefined) this.cleanup.release(attempt)
      else if (!attempt.abandoned) {
        this.cut(attempt, "interrupted_caller", now)
        attempt.awaited = true
        this.cleanup.oneMore()
        this.interruptAttempt(attempt)
      }
    }
    this.countHedges(undefined)
    this.closeRecord(now, "interrupted", "interrupted")
    return this.cleanup.quiet
  }

  /** The questions first: what the parts take back themselves is waited for by nobody. */
  /** An attempt whose caller has gone says nothing about the dependency, and a budget that counts attempts must know. */
  private reportAbort(now: number): void {
    const { onOutcome } = this.binding.observed
    if (onOutcome === undefined || this.idle()) return
    this.questions.guard("budget.onOutcome", () => onOutcome(callerGone, now))
  }

  private endParts(): void {
    this.questions.end()
    this.hedger?.close()
    this.between?.end()
  }

  /** An attempt that is cut short took at least as long as it has run. */
  private cut(attempt: AttemptRun, endedBy: EndedBy, now: number): void {
    attempt.settle(endedBy, now)
    this.binding.state.hedging?.onCut(now - attempt.facts.startedAt, now)
  }

  private countHedges(returned: AttemptRun | undefined): void {
    const hedges = this.group.length - 1
    if (hedges <= 0) return
    const now = this.now()
    const won = returned?.retryable === undefined ? returned?.facts.hedge ?? 0 : 0
    this.binding.state.hedging!.onGroupEnd(hedges, won, now - this.groupStartedAt(), now)
  }

  private closeRecord(now: number, stop: StopReason | undefined, exit: AnyExit | "interrupted"): void {
    this.left?.forEach((attempt) => {
      if (attempt.fiberExit === undefined) attempt.facts.endedBy = "abandoned"
    })
    if (stop !== undefined) this.record.decide({ _tag: "Stopped", at: now, reason: stop })
    const { onCallEnd } = this.binding.observed
    if (this.admitted && onCallEnd !== undefined) {
      this.questions.guard("budget.onCallEnd", () => onCallEnd(this.asCall(now)))
    }
    this.record.end(now, exit)
    Context.get(this.context, Timeline.CurrentCollector)?.add(this.record)
  }

  private result(exit: AnyExit): AnyExit {
    if (exit._tag === "Failure") return Exit.failCause(Timeline.annotate(exit.cause, this.record))
    return this.withTimeline ? Exit.succeed([exit.value, Timeline.fromRecord(this.record)]) : exit
  }

  // ---------------------------------------------------------------------------
  // guards
  // ---------------------------------------------------------------------------

  reportDefect(what: string, defect: unknown): void {
    const cause = Cause.isCause(defect) ? defect : Cause.die(defect)
    reportOnce(this.binding, this.context, what, `a defect in the ${what} changes nothing for the caller`, cause)
  }

  /** A defect of the driver itself ends the call as a defect: nothing may hang, and no observer may throw. */
  protect(f: () => void): void {
    try {
      f()
    } catch (defect) {
      this.finish(Exit.die(defect), undefined, undefined, "interrupted_loser")
    }
  }
}

/** Runs an effect as a call. `bindings` are the ones of the provider in the context unless they were taken before. */
export const execute = (
  self: Effect.Effect<any, any, any>,
  key: string,
  options: CallOptions | undefined,
  bindingsOf: (context: Context.Context<never>) => Bindings,
  withTimeline: boolean
): Effect.Effect<any, any, any> =>
  Effect.callback<any, any>((resume) => {
    const fiber = Fiber.getCurrent()!
    const call = new Call(
      self as Effect.Effect<any, any>,
      key,
      options ?? noOptions,
      bindingsOf(fiber.context),
      fiber,
      resume,
      withTimeline
    )
    call.protect(() => call.begin())
    return call.ended ? undefined : Effect.suspend(() => call.onInterrupt())
  })
