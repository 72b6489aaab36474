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
 * 5. *group*: the attempts that run at the same time (today always one; hedges join it);
 * 6. *attempt*: a fiber, a timer and a scope of its own;
 * 7. *the effect*, and whatever its author put inside: a circuit breaker, a rate limiter, a span;
 * 8. *classifier*: on the exit of each attempt, timeouts included.
 *
 * The driver is re-entrant. Running an effect, interrupting a fiber, settling a permit and resuming the caller may all
 * call back into it before they return. So state is written first; after each start the driver looks whether the attempt
 * or the call is over; timers are armed last. Nothing may throw out of an observer, a timer or `register`: foreign code is
 * called through `guard` or in a fiber.
 *
 * @internal
 */
import type { Random as Randoms } from "effect"
import { Cause, Clock, Context, Duration, Effect, Exit, Fiber, Option, Pull, Random, Schedule, Scope } from "effect"
import { CurrentAttempt } from "./Attempt.ts"
import { AttemptRun } from "./AttemptRun.ts"
import * as Backoff from "./Backoff.ts"
import type * as Budget from "./Budget.ts"
import type { StopReason } from "./CallRecord.ts"
import { CallRecord } from "./CallRecord.ts"
import * as Classifier from "./Classifier.ts"
import { Cleanup } from "./Cleanup.ts"
import { CurrentDeadline, enclosing, nowMillis } from "./Deadline.ts"
import * as Outcome from "./Outcome.ts"
import type { Binding, Bindings } from "./PolicyProvider.ts"
import { reportOnce } from "./PolicyProvider.ts"
import * as RegoError from "./RegoError.ts"
import * as Retry from "./Retry.ts"
import * as Timeline from "./Timeline.ts"
import type { Timer } from "./Timer.ts"
import { arm } from "./Timer.ts"

export interface CallOptions {
  readonly idempotent?: boolean | undefined
  readonly classifier?: Classifier.Any | undefined
  readonly onDiscard?: ((value: never) => Effect.Effect<void>) | undefined
}

type AnyExit = Exit.Exit<any, any>
type Resume = (effect: Effect.Effect<any, any>) => void
type ScheduleStep = (now: number, input: Backoff.Input) => Pull.Pull<[unknown, Duration.Duration], never, unknown>

const noOptions: CallOptions = {}

/** What a budget is taken to say that has a defect: no extra attempt, and no call refused. */
const budgetDefect: Budget.Decision = { _tag: "Denied", reason: "budget_defect" }
const freePass: Budget.Decision = { _tag: "Granted", permit: { settle: () => {} } }

/** Sums of floating point milliseconds do not meet exactly. */
const oneMicrosecond = 0.001

const isInheritedDeadline = (cause: Cause.Cause<unknown>): boolean => {
  const error = Cause.findErrorOption(cause)
  return Option.isSome(error) && RegoError.isRegoError(error.value) &&
    error.value.reason._tag === "DeadlineExceeded" && error.value.reason.overall === undefined
}

class Call {
  private readonly self: Effect.Effect<any, any>
  private readonly options: CallOptions
  private readonly bindings: Bindings
  private readonly binding: Binding
  private readonly context: Context.Context<never>
  private readonly fiberId: number
  private readonly clock: Clock.Clock
  private readonly parentScope: Scope.Scope | undefined
  private readonly resume: Resume
  private readonly withTimeline: boolean
  private readonly record: CallRecord
  private readonly deadline: number
  private readonly ownDeadline: boolean

  private retry = 0
  private attempts = 0
  /** the attempts of the current retry group, in the order of their hedge index */
  private group: Array<AttemptRun> = []
  /** how the group before ended */
  private previous: AnyExit | undefined = undefined
  private delayBefore = 0
  private step: ScheduleStep | undefined = undefined
  /** held through a backoff; handed to the attempt that starts after it */
  private permit: Budget.Permit | undefined = undefined
  private timer: Timer | undefined = undefined
  /** a schedule's step or a budget's answer that takes time */
  private helper: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** attempts that were told to stop and did not at once */
  private left: Array<AttemptRun> | undefined = undefined
  private ended = false
  private readonly cleanup: Cleanup

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
    this.context = fiber.context
    this.fiberId = fiber.id
    this.resume = resume
    this.withTimeline = withTimeline
    this.clock = Context.get(this.context, Clock.Clock)
    const startedAt = this.now()
    this.binding = bindings.get(key, this.context)
    this.parentScope = Context.getOrUndefined(this.context as Context.Context<Scope.Scope>, Scope.Scope)
    const around = enclosing(this.context)
    const own = startedAt + this.binding.plan.overall
    this.ownDeadline = own <= around
    this.deadline = this.ownDeadline ? own : around
    this.record = new CallRecord(
      this.binding.key,
      this.binding.facts,
      startedAt,
      this.clock.currentTimeMillisUnsafe()
    )
    this.cleanup = new Cleanup(
      this.context,
      bindings.supervisor,
      options.onDiscard,
      (defect) => this.reportDefect("finalizer", defect)
    )
  }

  private now(): number {
    return nowMillis(this.clock)
  }

  // ---------------------------------------------------------------------------
  // before the first attempt
  // ---------------------------------------------------------------------------

  begin(): void {
    if (this.binding.refused) return this.fail({ _tag: "PolicyMissing" }, "policy_missing")
    if (this.record.startedAt >= this.deadline) return this.deadlinePassed()
    const admit = this.binding.budget.admit
    if (admit === undefined) return this.admitted(undefined)
    const call = { key: this.binding.key, now: this.record.startedAt }
    this.ask(
      () => admit(call),
      freePass,
      (decision) =>
        decision._tag === "Granted" ? this.admitted(decision.permit) : this.fail({
          _tag: "AdmissionDenied",
          budget: this.binding.plan.budget,
          detail: decision.reason,
          retryAfter: Option.fromUndefinedOr(decision.retryAfter)
        }, "admission_denied")
    )
  }

  private admitted(permit: Budget.Permit | undefined): void {
    this.permit = permit
    const onCall = this.binding.budget.onCall
    if (onCall !== undefined) {
      this.guard("budget.onCall", () => onCall({ key: this.binding.key, now: this.record.startedAt }))
    }
    if (this.ended) return
    // An admission that took time may have used up all there was.
    if (this.now() >= this.deadline) return this.deadlinePassed()
    this.start(0)
  }

  // ---------------------------------------------------------------------------
  // an attempt
  // ---------------------------------------------------------------------------

  private start(hedge: number): void {
    const startedAt = this.now()
    const endsAt = Math.min(startedAt + this.binding.plan.perAttempt, this.deadline)
    const attempt = new AttemptRun({
      key: this.binding.key,
      retry: this.retry,
      hedge,
      startedAt,
      endsAt,
      backoffBefore: this.delayBefore,
      previous: this.previous,
      permit: this.permit,
      parentScope: this.parentScope
    })
    this.permit = undefined
    this.attempts++
    this.group.push(attempt)
    this.record.add(attempt.facts, this.bindings.bounds.maxAttemptRecords)
    const fiber = Effect.runForkWith(this.contextOf(attempt, endsAt))(this.self)
    attempt.fiber = fiber
    fiber.addObserver((exit) => this.onFiberEnd(attempt, exit))
    if (attempt.fiberExit !== undefined) return
    // The attempt's own first step may have ended the call, and could not be interrupted before it was known here.
    if (attempt.settled) return this.interruptAttempt(attempt)
    if (endsAt !== Infinity) this.armAttempt(attempt, endsAt - startedAt)
  }

  private contextOf(attempt: AttemptRun, endsAt: number): Context.Context<never> {
    let context = Context.add(this.context, CurrentAttempt, attempt.visible)
    if (endsAt !== Infinity) context = Context.add(context, CurrentDeadline, attempt.visible)
    return attempt.scope === undefined ? context : Context.add(context, Scope.Scope, attempt.scope)
  }

  private armAttempt(attempt: AttemptRun, millis: number): void {
    attempt.timer = arm(this.clock, this.context, millis, () => {
      if (!this.ended && !attempt.settled) this.protect(() => this.onTimer(attempt))
    })
  }

  private onFiberEnd(attempt: AttemptRun, exit: AnyExit): void {
    attempt.fiberExit = exit
    this.protect(() => {
      const late = attempt.settled
      if (!late) attempt.settle("returned", this.now())
      this.settlePermit(attempt.permit, "used")
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
    return exit._tag === "Failure" && attempt.endsAt - this.now() < oneMicrosecond && isInheritedDeadline(exit.cause)
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
    attempt.fiber?.interruptUnsafe(this.fiberId)
    if (attempt.fiber === undefined || attempt.fiberExit !== undefined || attempt.abandoned || attempt.awaited) return
    attempt.abandoned = true
    if (this.left === undefined) this.left = [attempt]
    else this.left.push(attempt)
    this.binding.state.abandoned++
    this.bindings.supervisor.add(attempt.fiber)
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
    attempt.exit = exit
    attempt.facts.outcome = outcome
    if (exit._tag === "Failure") attempt.facts.cause = exit.cause
    const onOutcome = this.binding.budget.onOutcome
    if (onOutcome !== undefined) this.guard("budget.onOutcome", () => onOutcome(outcome, attempt.facts.endedAt))
    if (this.ended) return
    if (outcome._tag !== "Retryable") return this.conclude(attempt, Retry.endReason(outcome))
    attempt.retryable = outcome
    if (this.group.every((other) => other.settled)) this.groupFailed()
  }

  private classify(exit: AnyExit, timedOut: boolean): Outcome.Outcome {
    try {
      const any: Exit.Exit<never, RegoError.RegoError> = exit as any
      const outcome = this.options.classifier?.(any) ?? this.binding.classifier?.(any)
      if (outcome === undefined) return Classifier.classifyDefault(exit, timedOut, this.binding.plan.nested)
      if (Outcome.isOutcome(outcome)) return outcome
      throw new TypeError(`a classifier must return an Outcome or undefined, got ${String(outcome)}`)
    } catch (defect) {
      this.reportDefect("classifier", defect)
      return Outcome.nonRetryable({ reason: "classifier_defect" })
    }
  }

  private groupFailed(): void {
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
    this.askBackoff(last, outcome)
  }

  /** A call site's word counts more than the policy's. */
  private idempotent(): boolean | undefined {
    return this.options.idempotent ?? this.binding.plan.idempotent
  }

  // ---------------------------------------------------------------------------
  // between attempts: how long, may we, wait
  // ---------------------------------------------------------------------------

  private random(): Randoms.Random {
    return Context.get(this.context, Random.Random)
  }

  private askBackoff(last: AttemptRun, outcome: Outcome.Retryable): void {
    const backoff = this.binding.plan.backoff
    const floor = Retry.floorOf(outcome)
    if (Schedule.isSchedule(backoff)) return this.askSchedule(backoff, last, outcome, floor)
    const random = this.random()
    const delay = Backoff.delayMillis(backoff, this.retry, this.delayBefore, () => random.nextDoubleUnsafe(), floor)
    this.plan(last, outcome, delay)
  }

  /** A user's schedule is built at the first failure, and each of its steps is an effect that may take time or fail. */
  private askSchedule(
    schedule: Schedule.Schedule<unknown, Backoff.Input>,
    last: AttemptRun,
    outcome: Outcome.Retryable,
    floor: number
  ): void {
    const input = { exit: last.exit!, outcome, attempt: { retry: this.retry, hedge: last.facts.hedge } }
    const now = this.clock.currentTimeMillisUnsafe()
    const built = this.step === undefined ? Schedule.toStep(schedule) : Effect.succeed(this.step)
    const delay = Effect.flatMap(built, (step) => {
      this.step = step
      return Pull.matchEffect(step(now, input), {
        onSuccess: ([, duration]) => Effect.succeed<number | undefined>(Duration.toMillis(duration)),
        onDone: () => Effect.succeed(undefined),
        onFailure: Effect.failCause
      })
    })
    this.help(delay, (exit) => {
      if (exit._tag === "Failure") {
        this.reportDefect("backoff schedule", exit.cause)
        return this.conclude(last, "schedule_defect")
      }
      if (exit.value === undefined) return this.conclude(last, "schedule_done")
      this.plan(last, outcome, Math.max(floor, Retry.clampScheduleDelay(exit.value)))
    })
  }

  private plan(last: AttemptRun, outcome: Outcome.Retryable, delay: number): void {
    const random = this.random()
    const wait = Retry.wait({
      plan: this.binding.plan,
      outcome,
      delay,
      left: this.deadline - this.now(),
      random: () => random.nextDoubleUnsafe()
    })
    if (typeof wait !== "number") return this.conclude(last, wait)
    this.askBudget(last, () => {
      // An answer that took time may have used up what was left.
      if (this.deadline - this.now() <= wait) return this.conclude(last, "deadline_would_pass")
      this.pause(last, wait, Retry.retryAfterMillis(outcome))
    })
  }

  private askBudget(last: AttemptRun, granted: () => void): void {
    const { budget, key, plan, state } = this.binding
    if (state.abandoned >= this.bindings.bounds.maxAbandoned) {
      return this.deny(last, "abandoned", "abandoned", undefined)
    }
    const request = {
      key,
      kind: "retry" as const,
      cost: plan.retryCost,
      attempt: { retry: this.retry + 1, hedge: 0 },
      now: this.now()
    }
    this.ask(() => budget.tryAcquire(request), budgetDefect, (decision) => {
      if (decision._tag === "Denied") return this.deny(last, decision.reason, "budget_denied", decision.retryAfter)
      this.permit = decision.permit
      granted()
    })
  }

  private deny(last: AttemptRun, reason: string, stop: StopReason, retryAfter: Duration.Duration | undefined): void {
    this.record.decide({
      _tag: "BudgetDenied",
      at: this.now(),
      kind: "retry",
      budget: this.binding.plan.budget,
      reason,
      count: 1,
      ...(retryAfter === undefined ? {} : { retryAfter: Duration.toMillis(retryAfter) })
    })
    this.conclude(last, stop)
  }

  private pause(last: AttemptRun, wait: number, retryAfter: number | undefined): void {
    this.group.forEach((attempt) => this.cleanup.release(attempt))
    if (this.ended) return
    if (wait <= 0) return this.next(last, wait)
    this.record.decide({
      _tag: "BackoffScheduled",
      at: this.now(),
      delay: wait,
      ...(retryAfter === undefined ? {} : { retryAfter })
    })
    this.setTimer(wait, () => this.wake(last, wait))
  }

  /** A wait too short for the clock is over before `arm` returns: what it led to may have a timer of its own by then. */
  private setTimer(millis: number, then: () => void): void {
    let fired = false
    const timer = arm(this.clock, this.context, millis, () => {
      fired = true
      this.timer = undefined
      if (!this.ended) this.protect(then)
    })
    if (!fired) this.timer = timer
  }

  private wake(last: AttemptRun, waited: number): void {
    const stop = this.stopNow()
    if (stop !== undefined) return this.conclude(last, stop)
    const window = this.binding.budget.window
    if (window === undefined || waited <= Duration.toMillis(window)) return this.next(last, waited)
    this.settlePermit(this.takePermit(), "unused")
    if (this.ended) return
    this.askBudget(last, () => {
      const stop = this.stopNow()
      return stop === undefined ? this.next(last, waited) : this.conclude(last, stop)
    })
  }

  /** Late timers and answers happen on a busy host: what would start now would be cut at once. */
  private stopNow(): StopReason | undefined {
    if (this.binding.switchedOff()) return "switched_off"
    return this.now() >= this.deadline ? "deadline_would_pass" : undefined
  }

  private next(last: AttemptRun, waited: number): void {
    this.previous = last.exit
    this.retry++
    this.group = []
    this.delayBefore = waited
    this.start(0)
  }

  // ---------------------------------------------------------------------------
  // questions that may take time
  // ---------------------------------------------------------------------------

  private ask(
    question: () => Budget.Decision | Effect.Effect<Budget.Decision>,
    onDefect: Budget.Decision,
    answer: (decision: Budget.Decision) => void
  ): void {
    const giveBack = (decision: Budget.Decision) => {
      if (decision._tag === "Granted") this.settlePermit(decision.permit, "unused")
    }
    const asked = this.guard("budget", question) ?? onDefect
    if (!Effect.isEffect(asked)) return this.ended ? giveBack(asked) : answer(asked)
    this.help(asked, (exit) => {
      if (exit._tag === "Success") return answer(exit.value)
      this.reportDefect("budget", exit.cause)
      if (!this.ended) answer(onDefect)
    }, giveBack)
  }

  /** Runs an effect of a mechanism inside the deadline and the interruption of the call. */
  private help<A>(effect: Effect.Effect<A>, done: (exit: Exit.Exit<A>) => void, tooLate?: (value: A) => void): void {
    const fiber = Effect.runForkWith(this.context)(effect)
    const counted = !this.ended
    if (counted) this.helper = fiber
    fiber.addObserver((exit) =>
      this.protect(() => {
        if (this.helper === fiber) {
          this.helper = undefined
          this.cancelTimer()
          return done(exit)
        }
        if (exit._tag === "Success") tooLate?.(exit.value)
        if (counted && this.cleanup.waiting) this.cleanup.oneLess()
      })
    )
    // Its own first step has ended the call.
    if (!counted) return this.dropHelper(fiber)
    if (this.helper !== fiber || this.deadline === Infinity) return
    this.setTimer(this.deadline - this.now(), () => this.helpTooLate())
  }

  private dropHelper(fiber: Fiber.Fiber<unknown, unknown>): void {
    fiber.interruptUnsafe(this.fiberId)
    this.bindings.supervisor.add(fiber)
  }

  private helpTooLate(): void {
    const last = this.group[0]
    if (last === undefined) this.deadlinePassed()
    else this.conclude(last, "deadline_would_pass")
  }

  // ---------------------------------------------------------------------------
  // ends
  // ---------------------------------------------------------------------------

  private conclude(attempt: AttemptRun, stop: StopReason | undefined): void {
    this.finish(attempt.exit!, attempt, stop, "interrupted_loser")
  }

  private fail(reason: RegoError.Reason, stop: StopReason): void {
    this.finish(Exit.fail(RegoError.makeWithoutStack(this.binding.key, reason)), undefined, stop, "timed_out")
  }

  private deadlinePassed(): void {
    this.fail({
      _tag: "DeadlineExceeded",
      overall: this.ownDeadline ? Duration.millis(this.binding.plan.overall) : undefined,
      attempts: this.attempts,
      lastCause: this.previous?._tag === "Failure" ? Option.some(this.previous.cause) : Option.none()
    }, "deadline_exceeded")
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
      this.endWaits()
      this.endGroup(returned, running, now)
      this.closeRecord(now, stop, exit)
      result = this.result(exit)
    } catch (defect) {
      result = Exit.die(defect)
    }
    this.resume(result)
  }

  private endGroup(returned: AttemptRun | undefined, running: "interrupted_loser" | "timed_out", now: number): void {
    for (const attempt of this.group) if (!attempt.settled) attempt.settle(running, now)
    for (const attempt of this.group) {
      if (attempt.fiberExit === undefined) this.interruptAttempt(attempt)
      else if (attempt !== returned || attempt.timedOut) this.cleanup.release(attempt)
      else if (this.parentScope !== undefined) this.cleanup.keep(attempt, this.parentScope)
    }
  }

  private closeRecord(now: number, stop: StopReason | undefined, exit: AnyExit | "interrupted"): void {
    this.left?.forEach((attempt) => {
      if (attempt.fiberExit === undefined) attempt.facts.endedBy = "abandoned"
    })
    if (stop !== undefined) this.record.decide({ _tag: "Stopped", at: now, reason: stop })
    this.record.end(now, exit)
    Context.get(this.context, Timeline.CurrentCollector)?.add(this.record)
  }

  private result(exit: AnyExit): AnyExit {
    if (exit._tag === "Failure") return Exit.failCause(Timeline.annotate(exit.cause, this.record))
    return this.withTimeline ? Exit.succeed([exit.value, Timeline.fromRecord(this.record)]) : exit
  }

  /** The caller was interrupted: interrupts what runs and waits for its end, but not for what was given up before. */
  onInterrupt(): Effect.Effect<void> {
    if (this.ended) return Effect.void
    this.ended = true
    this.cleanup.waiting = true
    const now = this.now()
    if (this.helper !== undefined) this.cleanup.oneMore()
    this.endWaits()
    for (const attempt of this.group) {
      if (attempt.fiberExit !== undefined) this.cleanup.release(attempt)
      else if (!attempt.abandoned) {
        attempt.settle("interrupted_caller", now)
        attempt.awaited = true
        this.cleanup.oneMore()
        this.interruptAttempt(attempt)
      }
    }
    this.closeRecord(now, "interrupted", "interrupted")
    return this.cleanup.quiet
  }

  private cancelTimer(): void {
    this.timer?.cancel()
    this.timer = undefined
  }

  private takePermit(): Budget.Permit | undefined {
    const permit = this.permit
    this.permit = undefined
    return permit
  }

  private endWaits(): void {
    this.cancelTimer()
    this.settlePermit(this.takePermit(), "unused")
    const helper = this.helper
    this.helper = undefined
    helper?.interruptUnsafe(this.fiberId)
    if (helper !== undefined && !this.cleanup.waiting) this.bindings.supervisor.add(helper)
  }

  // ---------------------------------------------------------------------------
  // guards
  // ---------------------------------------------------------------------------

  private settlePermit(permit: Budget.Permit | undefined, use: "used" | "unused"): void {
    if (permit !== undefined) this.guard("budget.settle", () => permit.settle(use))
  }

  private guard<A>(what: string, f: () => A): A | undefined {
    try {
      return f()
    } catch (defect) {
      this.reportDefect(what, defect)
      return undefined
    }
  }

  private reportDefect(what: string, defect: unknown): void {
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
    return Effect.suspend(() => call.onInterrupt())
  })
