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
 * called where a defect is caught and reported (`classify`, `tellCall`, `tellOutcome`, `Questions`), or in a fiber.
 *
 * It is longer than the house allows: what is left here shares the state of one call (who runs, who was judged, whether it
 * is over), and handing that state around would hide the order in which it is written.
 *
 * @internal
 */
import type { Clock } from "effect"
import { Cause, Context, Duration, Effect, Effectable, Exit, Fiber, Option, Random, Scope } from "effect"
import type { Attempt } from "./Attempt.ts"
import { CurrentAttempt } from "./Attempt.ts"
import { AttemptRun } from "./AttemptRun.ts"
import { Between } from "./Between.ts"
import type { Awaited, Binding, Bindings, Bounds } from "./Bindings.ts"
import { reportOnce } from "./Bindings.ts"
import type * as Budget from "./Budget.ts"
import type { CallEvents } from "./CallEvents.ts"
import { eventsOf } from "./CallEvents.ts"
import type { AttemptHost, BetweenHost, CleanupHost, Denial, HedgerHost } from "./CallHost.ts"
import type { EndedBy } from "./CallRecord.ts"
import { CallRecord } from "./CallRecord.ts"
import * as Classifier from "./Classifier.ts"
import { Cleanup } from "./Cleanup.ts"
import { CurrentDeadline, enclosing } from "./Deadline.ts"
import { GroupHedger } from "./GroupHedger.ts"
import type * as Hedge from "./Hedge.ts"
import { show } from "./Issue.ts"
import type { Kind, Waiting } from "./KillSwitch.ts"
import * as Outcome from "./Outcome.ts"
import { freePass, Questions } from "./Questions.ts"
import type { StopReason } from "./Reasons.ts"
import type { Options } from "./Rego.ts"
import * as RegoError from "./RegoError.ts"
import * as Retry from "./Retry.ts"
import { ScheduleSteps } from "./ScheduleSteps.ts"
import type { Supervisor } from "./Supervisor.ts"
import { clockOf, liveClock, nowMillis, oneMicrosecond } from "./Time.ts"
import * as Timeline from "./Timeline.ts"
import { endOfTick } from "./Timer.ts"

/** Those of a call site, whatever its types are. */
export type CallOptions = Options<never, never>

type AnyExit = Exit.Exit<any, any>
type Resume = (effect: Effect.Effect<any, any>) => void

const noOptions: CallOptions = {}

const firstAttempt = { retry: 0, hedge: 0 }

const callerGone = Outcome.abort({ reason: "caller_interrupted" })

/** The hedge that runs the current code, however deep below it. */
const EnclosingHedge: Context.Reference<Option.Option<Attempt>> = Context.Reference(
  "@rego/core/Executor/EnclosingHedge",
  { defaultValue: Option.none<Attempt> }
)

/** The call is also the effect that cancels it, so that nothing is made for the interruption of a call that ends. */
class Call extends Effectable.Class<void> implements AttemptHost, BetweenHost, CleanupHost, HedgerHost {
  binding: Binding
  readonly context: Context.Context<never>
  readonly clock: Clock.Clock
  readonly fiberId: number
  /** -1 until the call is admitted */
  retry = -1

  private readonly self: Effect.Effect<any, any>
  private readonly options: CallOptions
  private readonly bindings: Bindings
  /** `undefined` once the call has ended */
  private resume: Resume | undefined
  private readonly withTimeline: boolean
  private readonly startedAt: number
  /** the deadline around the call; most have none, and a number is dear where every call has it */
  private inherited: number | undefined = undefined
  /** `undefined` where nobody listens */
  readonly events: CallEvents | undefined

  private attempts = 0
  /** the first attempt of the current retry group; its hedges follow in the order of their index */
  private first: AttemptRun | undefined = undefined
  private hedger: GroupHedger | undefined = undefined
  private trigger: Hedge.Delays | ScheduleSteps<Hedge.State> | undefined = undefined

  // Made when they are needed first: most calls succeed at once.
  private written: CallRecord | undefined = undefined
  private asking: Questions | undefined = undefined
  private cleaning: Cleanup | undefined = undefined
  private between: Between | undefined = undefined

  constructor(
    self: Effect.Effect<any, any>,
    key: string,
    options: CallOptions,
    bindings: Bindings,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: Resume,
    withTimeline: boolean
  ) {
    super()
    const { context } = fiber
    this.self = self
    this.options = options
    this.bindings = bindings
    this.context = context
    this.fiberId = fiber.id
    this.resume = resume
    this.withTimeline = withTimeline
    this.clock = clockOf(context)
    this.startedAt = this.now()
    // JavaScript may pass anything, and a call never fails because of its key.
    this.binding = bindings.get(typeof key === "string" ? key : String(key), context)
    this.inherit()
    this.events = eventsOf(fiber, this, this.startedAt)
  }

  asEffect(): Effect.Effect<void> {
    return this.onInterrupt()
  }

  now(): number {
    return nowMillis(this.clock)
  }

  get ended(): boolean {
    return this.resume === undefined
  }

  /** Looked up for each attempt: most calls have one, and a call in flight keeps what it has. */
  get parentScope(): Scope.Scope | undefined {
    return Context.getOrUndefined(this.context, Scope.Scope)
  }

  private inherit(): void {
    const at = enclosing(this.context, this.clock)
    this.inherited = at === Infinity ? undefined : at
  }

  /** On the monotonic line of the clock, `Infinity` for none. */
  get deadline(): number {
    const own = this.startedAt + this.binding.plan.overall
    return this.inherited === undefined ? own : Math.min(own, this.inherited)
  }

  groupStartedAt(): number {
    return this.first!.facts.startedAt
  }

  get bounds(): Bounds {
    return this.bindings.bounds
  }

  get supervisor(): Supervisor {
    return this.bindings.supervisor
  }

  get waiting(): Set<Waiting> {
    return this.bindings.switches.waiting
  }

  switchedOff(kind: Kind): boolean {
    return this.bindings.switches.isOff(this.binding.key, kind, this.clock)
  }

  get questions(): Questions {
    return this.asking ??= new Questions(this)
  }

  get cleanup(): Cleanup {
    return this.cleaning ??= new Cleanup(this)
  }

  get onDiscard(): CallOptions["onDiscard"] {
    return this.options.onDiscard
  }

  get random(): () => number {
    const random = Context.get(this.context, Random.Random)
    return () => random.nextDoubleUnsafe()
  }

  /** how the group before ended */
  get previous(): AnyExit | undefined {
    return this.between?.previous
  }

  get delayBefore(): number | undefined {
    return this.between?.waited
  }

  /** Most groups are one attempt, for which no array is made. */
  private get group(): ReadonlyArray<AttemptRun> {
    const group: Array<AttemptRun> = []
    for (let attempt = this.first; attempt !== undefined; attempt = attempt.next) group.push(attempt)
    return group
  }

  /** Made when there is more to say than one attempt, or when somebody may read it. */
  private get record(): CallRecord {
    return this.written ??= this.openRecord()
  }

  private openRecord(): CallRecord {
    const record = new CallRecord(this.binding.key, this.binding.facts, this.startedAt)
    for (let attempt = this.first; attempt !== undefined; attempt = attempt.next) {
      record.add(attempt.facts, this.bounds.maxAttemptRecords)
    }
    return record
  }

  // ---------------------------------------------------------------------------
  // before the first attempt
  // ---------------------------------------------------------------------------

  begin(now: number = this.startedAt): void {
    const { budget, notReady } = this.binding
    if (notReady !== undefined && notReady !== "missing") return this.awaitPolicy(notReady)
    this.events?.policyResolved(now, this.startedAt)
    if (notReady !== undefined) return this.fail({ _tag: "PolicyMissing" }, "policy_missing")
    if (now >= this.deadline) return this.deadlinePassed()
    if (budget.admit === undefined) return this.admit(undefined, now)
    const asked = this.questions.admit(budget, this.asCall(now))
    if (!Effect.isEffect(asked)) return this.ended ? this.questions.giveBack(asked) : this.onAdmission(asked, now)
    this.questions.await(asked, freePass, (decision) => this.onAdmission(decision, this.now()), true)
  }

  private onAdmission(decision: Budget.Decision, now: number): void {
    if (decision._tag === "Granted") {
      this.events?.granted(now, "call", firstAttempt)
      return this.admit(decision.permit, now)
    }
    this.events?.denied(now, "call", firstAttempt, { budget: this.binding.plan.budget, ...decision })
    this.fail({
      _tag: "AdmissionDenied",
      budget: this.binding.plan.budget,
      detail: decision.reason,
      retryAfter: Option.fromUndefinedOr(decision.retryAfter)
    }, "admission_denied")
  }

  /** A policy that was on its way is there, or will not be. The wait counts: the call began when it was made. */
  private awaitPolicy(awaited: Awaited): void {
    this.questions.run(awaited.policy, () => {
      this.binding = this.bindings.get(this.binding.key, this.context)
      this.inherit()
      this.begin(this.now())
    }, true)
  }

  private asCall(now: number): Budget.Call {
    return { key: this.binding.key, now, random: this.random }
  }

  private admit(permit: Budget.Permit | undefined, now: number): void {
    const { hedging, observed, trigger } = this.binding
    const { startedAt } = this
    this.retry = 0
    if (observed.onCall !== undefined) {
      this.tellCall("onCall", startedAt)
      if (this.ended) return this.settle(permit, "unused")
    }
    // An admission that took time may have used up all there was.
    if (now >= this.deadline) {
      this.settle(permit, "unused")
      return this.deadlinePassed()
    }
    if (trigger !== undefined) {
      hedging!.onCall(startedAt)
      if (this.mayHedge()) this.trigger = ScheduleSteps.from(trigger)
    }
    this.startGroup(permit, now)
  }

  /** A call inside a hedge does not hedge again, nor does a call inside that one. */
  private mayHedge(): boolean {
    const idempotent = this.idempotent()
    if (idempotent === undefined) this.reportUnstated()
    if (idempotent !== true || !this.replayable()) return false
    const enclosingHedge = Context.get(this.context, EnclosingHedge)
    return Option.isNone(enclosingHedge) || !enclosingHedge.value.active
  }

  /** Known to a call only: a policy that does not state it may be used by calls that do, as those of HTTP clients. */
  private reportUnstated(): void {
    const message = "its hedge section has no effect on calls that do not state idempotent, and neither does the policy"
    reportOnce(this.binding, this.context, "unstated", message)
  }

  private startGroup(permit: Budget.Permit | undefined, now: number): void {
    const { trigger } = this
    this.first = undefined
    if (trigger !== undefined) {
      this.hedger = new GroupHedger(this, trigger)
    }
    this.start(0, permit, now)
  }

  // ---------------------------------------------------------------------------
  // an attempt
  // ---------------------------------------------------------------------------

  start(hedge: number, permit: Budget.Permit | undefined, startedAt: number): void {
    const { perAttempt } = this.binding.plan
    const endsAt = Math.min(startedAt + perAttempt, this.deadline)
    const attempt = new AttemptRun(this, hedge, startedAt, endsAt, permit)
    this.add(attempt)
    this.asking?.cancelDeadline()
    const { hedger } = this
    hedger?.onStart()
    this.run(attempt)
    // The attempt's own first step may have ended the call, and could not be interrupted before it was known here.
    if (attempt.settled && attempt.fiberExit === undefined) return this.interruptAttempt(attempt)
    if (!attempt.settled && endsAt !== Infinity) this.arm(attempt, startedAt)
    hedger?.onRunning(startedAt)
  }

  private add(attempt: AttemptRun): void {
    if (this.attempts++ > 0) this.record.add(attempt.facts, this.bounds.maxAttemptRecords)
    let last = this.first
    while (last?.next !== undefined) last = last.next
    if (last === undefined) this.first = attempt
    else last.next = attempt
    this.events?.attemptStarted(attempt)
  }

  private run(attempt: AttemptRun): void {
    const visible = Option.some(attempt.facts)
    let context: Context.Context<never> = Context.addUnsafe(this.context, CurrentAttempt.key, visible)
    if (attempt.endsAt !== Infinity) context = Context.addUnsafe(context, CurrentDeadline.key, visible)
    if (attempt.scope !== undefined) context = Context.addUnsafe(context, Scope.Scope.key, attempt.scope)
    if (attempt.facts.hedge > 0) context = Context.add(context, EnclosingHedge, visible)
    this.binding.state.running++
    if (this.events !== undefined) context = this.events.inAttempt(context, attempt)
    const fiber = Effect.runForkWith(context)(this.self)
    attempt.fiber = fiber
    const exit = fiber.pollUnsafe()
    // Bound, not an arrow: half the bytes for each attempt in flight.
    if (exit === undefined) fiber.addObserver(attempt.onFiberExit.bind(attempt))
    else attempt.onFiberExit(exit)
  }

  /** Timeouts repeat from call to call, so calls share the timers for them; what is left of a deadline is odd. */
  private arm(attempt: AttemptRun, startedAt: number): void {
    const { clock, context } = this
    const { overall, perAttempt } = this.binding.plan
    if (attempt.endsAt < this.deadline) attempt.armShared(clock, context, perAttempt)
    else if (startedAt === this.startedAt && this.ownsDeadline) attempt.armShared(clock, context, overall)
    else attempt.armOwn(clock, context, attempt.endsAt - this.now())
  }

  /** Whether the deadline is the policy's, and not one of an enclosing call. */
  private get ownsDeadline(): boolean {
    return this.deadline === this.startedAt + this.binding.plan.overall
  }

  onTime(attempt: AttemptRun): void {
    if (this.ended || attempt.settled) return
    this.protectInContext(() => {
      if (!attempt.settled) this.runOut(attempt)
    })
  }

  onFiberExit(attempt: AttemptRun, exit: AnyExit): void {
    attempt.fiberExit = exit
    this.binding.state.running--
    try {
      const late = attempt.settled
      if (!late) attempt.settle("returned", this.now())
      if (attempt.permit !== undefined) this.settle(attempt.permit, "used")
      if (late) this.onLateEnd(attempt)
      else if (!this.ended) this.onReturn(attempt, exit)
    } catch (defect) {
      this.collapse(defect)
    }
  }

  private onReturn(attempt: AttemptRun, exit: AnyExit): void {
    if (this.ranOut(attempt, exit)) this.runOut(attempt)
    else this.judge(attempt, exit)
  }

  /**
   * A call inside inherits the instant of this attempt. Which of the two timers comes first depends on what was started
   * first; it is this attempt's timeout in both cases, or nested calls would keep it from being retried.
   */
  private ranOut(attempt: AttemptRun, exit: AnyExit): boolean {
    return exit._tag === "Failure" && attempt.endsAt - attempt.facts.endedAt! < oneMicrosecond &&
      RegoError.isInheritedDeadline(exit.cause)
  }

  private runOut(attempt: AttemptRun): void {
    if (attempt.endsAt === this.deadline) this.deadlinePassed()
    else this.timeOut(attempt)
  }

  /** The caller never waits for an attempt that timed out, even if it does not stop. */
  private timeOut(attempt: AttemptRun): void {
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
    if (fiber === undefined || attempt.fiberExit !== undefined || attempt.left !== undefined) return
    attempt.left = "abandoned"
    this.cleanup.abandon(attempt)
    this.binding.state.abandoned++
    this.events?.abandoned(attempt)
    this.supervisor.add(fiber)
  }

  private onLateEnd(attempt: AttemptRun): void {
    const { left } = attempt
    if (left === "abandoned") {
      this.binding.state.abandoned--
      this.events?.abandonedEnded(attempt)
    }
    this.release(attempt)
    if (left === "awaited") this.cleanup.oneLess()
  }

  // ---------------------------------------------------------------------------
  // verdicts
  // ---------------------------------------------------------------------------

  private judge(attempt: AttemptRun, exit: AnyExit): void {
    const outcome = this.classify(exit, attempt.timedOut)
    const { startedAt } = attempt.facts
    const endedAt = attempt.facts.endedAt!
    attempt.facts.outcome = outcome
    if (exit._tag === "Failure") attempt.facts.cause = exit.cause
    this.events?.attemptEnded(attempt)
    if (!this.isSecondAnswer(attempt, outcome)) this.tellOutcome(outcome, endedAt)
    this.binding.hedging?.onOutcome(outcome, startedAt, endedAt)
    if (this.ended) return
    // Last, because what is called above may end other attempts: a group is judged when all of its attempts are.
    attempt.exit = exit
    if (outcome._tag !== "Retryable") return this.arrive(attempt)
    this.onRetryable(outcome)
  }

  /** Of answers that arrive in one tick only the first is told to budgets: a call deposits once. */
  private isSecondAnswer(attempt: AttemptRun, outcome: Outcome.Outcome): boolean {
    return !this.isAlone(attempt) && Classifier.isAnswer(outcome) &&
      this.arrived.some((other) => other !== attempt && Classifier.isAnswer(other.facts.outcome!))
  }

  private tellOutcome(outcome: Outcome.Outcome, now: number): void {
    try {
      this.binding.observed.onOutcome?.(outcome, now)
    } catch (defect) {
      this.reportDefect("budget.onOutcome", defect)
    }
  }

  private tellCall(what: "onCall" | "onCallEnd", now: number): void {
    try {
      if (this.binding.observed[what] !== undefined) this.binding.observed[what](this.asCall(now))
    } catch (defect) {
      this.reportDefect(`budget.${what}`, defect)
    }
  }

  /** Most groups are one attempt, and what is asked about the others of the group has an answer at once. */
  private isAlone(attempt: AttemptRun): boolean {
    return this.first === attempt && attempt.next === undefined
  }

  private idle(): boolean {
    for (let attempt = this.first; attempt !== undefined; attempt = attempt.next) {
      if (attempt.exit === undefined) return false
    }
    return true
  }

  /** Waits for the attempts still running, and where no retry would follow for a hedge that starts at once. */
  private onRetryable(outcome: Outcome.Retryable): void {
    const idle = this.idle()
    const waits = this.hedger?.onFailure(Outcome.retryAfterMillis(outcome), !this.binding.plan.retries, idle) === true
    if (!idle || this.ended || this.hasArrived()) return
    if (!waits) return this.groupFailed()
    if (this.idle()) this.questions.armDeadline()
  }

  /** A definite outcome ends its group at once; those of one tick are ranked, so that their order does not matter. */
  private arrive(attempt: AttemptRun): void {
    if (!this.isAlone(attempt) && this.hasArrived(attempt)) return
    this.hedger?.close()
    if (this.idle()) return this.concludeAt(attempt.facts.endedAt!, attempt)
    endOfTick(this.clock, this.context, () => this.protect(() => this.conclude(Retry.best(this.arrived))))
  }

  /** Whether an attempt of the group has a definite outcome, the given one aside. */
  private hasArrived(besides?: AttemptRun): boolean {
    for (let attempt = this.first; attempt !== undefined; attempt = attempt.next) {
      if (attempt !== besides && attempt.definite) return true
    }
    return false
  }

  /** Those of one tick: the best of them wins, not the first. */
  private get arrived(): ReadonlyArray<AttemptRun> {
    return this.group.filter((attempt) => attempt.definite)
  }

  private classify(exit: AnyExit, timedOut: boolean): Outcome.Outcome {
    try {
      const any: Exit.Exit<never, RegoError.RegoError> = exit as any
      const { nested } = this.binding.plan
      const outcome = this.options.classifier?.(any) ?? this.binding.classifier?.(any) ??
        Classifier.unlessRetriedBelow(this.options.protocol?.(any, nested), exit, nested)
      if (outcome === undefined) return Classifier.classifyDefault(exit, timedOut, nested)
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

  private replayable(): boolean {
    return this.options.replayable !== false
  }

  groupFailed(): void {
    this.hedger?.close()
    const last = this.first!
    const outcome = last.next === undefined
      ? last.retryable!
      : Retry.combine(this.group.map((attempt) => attempt.retryable!))
    const stop = Retry.refusal({
      plan: this.binding.plan,
      retry: this.retry,
      outcome,
      // It counts for calls that are not idempotent, whose groups are one attempt.
      mayStillRun: last.timedOut,
      replayable: this.replayable(),
      idempotent: this.idempotent(),
      switchedOff: this.switchedOff("retry")
    })
    if (stop !== undefined) return this.conclude(last, stop)
    this.between ??= new Between(this)
    this.between.begin({ last, outcome, retry: this.retry })
  }

  // ---------------------------------------------------------------------------
  // between groups
  // ---------------------------------------------------------------------------

  next(permit: Budget.Permit | undefined): void {
    // Only now is it sure that the last exit is not returned: a wait may still end the call with it.
    for (let attempt = this.first; attempt !== undefined; attempt = attempt.next) this.release(attempt)
    if (this.ended) return this.settle(permit, "unused")
    this.countHedges(undefined)
    this.written ??= this.openRecord()
    this.retry++
    this.startGroup(permit, this.now())
  }

  /** Most failures leave nothing behind. */
  private release(attempt: AttemptRun): void {
    if (attempt.scope !== undefined || attempt.fiberExit?._tag === "Success") this.cleanup.release(attempt)
  }

  recordBackoff(delay: number, retryAfter: number | undefined): void {
    const now = this.now()
    this.record.backoff(now, delay, retryAfter)
    this.events?.backoff(now, delay, retryAfter)
  }

  recordDenied(kind: "retry" | "hedge", { budget, reason, retryAfter }: Denial, count: number): void {
    // A budget may be foreign code without types.
    const millis = Duration.isDuration(retryAfter) ? Duration.toMillis(retryAfter) : undefined
    this.record.denied(this.now(), kind, reason, count, budget, millis)
  }

  onDeadline(): void {
    const last = this.first
    if (last === undefined) return this.deadlinePassed()
    this.events?.deadlinePassed(this.now(), this.attempts)
    this.conclude(last, "deadline_would_pass")
  }

  // ---------------------------------------------------------------------------
  // ends
  // ---------------------------------------------------------------------------

  conclude(attempt: AttemptRun, stop?: StopReason): void {
    this.concludeAt(this.now(), attempt, stop)
  }

  private concludeAt(now: number, attempt: AttemptRun, stop?: StopReason): void {
    this.finish(now, attempt.exit!, attempt, stop ?? Retry.endReason(attempt.facts.outcome!), "interrupted_loser")
  }

  private fail(reason: RegoError.Reason, stop: StopReason): void {
    const error = RegoError.makeWithoutStack(this.binding.key, reason)
    this.finish(this.now(), Exit.fail(error), undefined, stop, "timed_out")
  }

  private deadlinePassed(): void {
    this.events?.deadlinePassed(this.now(), this.attempts)
    this.fail({
      _tag: "DeadlineExceeded",
      overall: this.ownsDeadline ? Duration.millis(this.binding.plan.overall) : undefined,
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
    now: number,
    exit: AnyExit,
    returned: AttemptRun | undefined,
    stop: StopReason | undefined,
    running: "interrupted_loser" | "timed_out"
  ): void {
    const { resume } = this
    if (resume === undefined) return
    this.resume = undefined
    let result: AnyExit
    try {
      this.endParts()
      this.events?.returns(returned)
      this.endGroup(returned, running, now)
      this.closeRecord(now, stop, exit)
      result = this.result(exit)
    } catch (defect) {
      result = Exit.die(defect)
    }
    resume(result)
  }

  private endGroup(returned: AttemptRun | undefined, running: "interrupted_loser" | "timed_out", now: number): void {
    for (let attempt = this.first; attempt !== undefined; attempt = attempt.next) {
      if (!attempt.settled) this.cut(attempt, running, now)
    }
    for (let attempt = this.first; attempt !== undefined; attempt = attempt.next) {
      if (attempt.fiberExit === undefined) this.interruptAttempt(attempt)
      else if (attempt !== returned || attempt.timedOut) this.release(attempt)
      else if (attempt.scope?.state._tag === "Open") this.cleanup.keep(attempt.scope, this.parentScope!)
    }
    this.countHedges(returned)
  }

  /** The caller was interrupted: interrupts what runs and waits for its end, but not for what was given up before. */
  private onInterrupt(): Effect.Effect<void> {
    if (this.ended) return Effect.void
    this.resume = undefined
    this.cleanup.waiting = true
    const now = this.now()
    this.endParts()
    this.reportAbort(now)
    for (let attempt = this.first; attempt !== undefined; attempt = attempt.next) {
      if (attempt.fiberExit !== undefined) this.release(attempt)
      else if (attempt.left === undefined) {
        this.cut(attempt, "interrupted_caller", now)
        attempt.left = "awaited"
        this.cleanup.oneMore()
        this.interruptAttempt(attempt)
      }
    }
    this.countHedges(undefined)
    this.closeRecord(now, "interrupted", "interrupted")
    return this.cleanup.quiet
  }

  /**
   * An attempt whose caller has gone says nothing about the dependency, and a budget that counts attempts must know. It
   * knows of hedges itself: what was granted for one is settled when it ends.
   */
  private reportAbort(now: number): void {
    const { first } = this
    if (first !== undefined && first.exit === undefined) this.tellOutcome(callerGone, now)
  }

  /** The questions first: what the parts take back themselves is waited for by nobody. */
  private endParts(): void {
    this.asking?.end()
    this.hedger?.close()
    this.between?.end()
  }

  /** An attempt that is cut short took at least as long as it has run. */
  private cut(attempt: AttemptRun, endedBy: EndedBy, now: number): void {
    attempt.settle(endedBy, now)
    this.binding.hedging?.onCut(now - attempt.facts.startedAt, now)
    this.events?.attemptEnded(attempt)
  }

  private countHedges(returned: AttemptRun | undefined): void {
    if (this.first?.next === undefined) return
    const hedges = this.group.length - 1
    const now = this.now()
    // Of a group that failed the first attempt stands for all, and is returned.
    const won = returned?.facts.hedge ?? 0
    const saved = this.binding.hedging!.onGroupEnd(hedges, won, now - this.groupStartedAt(), now)
    this.events?.groupEnded(now, this.group, won, saved)
  }

  private closeRecord(now: number, stop: StopReason | undefined, exit: AnyExit | "interrupted"): void {
    this.cleaning?.markAbandoned()
    if (stop !== undefined) this.record.decide({ _tag: "Stopped", at: now, reason: stop })
    if (this.retry >= 0) this.tellCall("onCallEnd", now)
    const collector = Timeline.collectorOf(this.context)
    const { events } = this
    const isRead = collector !== undefined || events !== undefined || this.withTimeline
    // Nobody can read the record of such a success: only a failure carries it.
    if (!isRead && exit !== "interrupted" && exit._tag === "Success") return
    this.record.end(now, exit, events?.wallOffset ?? this.clock.currentTimeMillisUnsafe() - now)
    collector?.add(this.record)
    events?.callEnded(this.record, stop, exit === "interrupted" ? Exit.interrupt(this.fiberId) : exit)
  }

  private result(exit: AnyExit): AnyExit {
    if (exit._tag === "Failure") return Exit.failCause(Timeline.annotate(exit.cause, this.record))
    return this.withTimeline ? Exit.succeed([exit.value, Timeline.fromRecord(this.record)]) : exit
  }

  // ---------------------------------------------------------------------------
  // guards
  // ---------------------------------------------------------------------------

  private settle(permit: Budget.Permit | undefined, use: "used" | "unused"): void {
    if (permit !== undefined) this.questions.settle(permit, use)
  }

  reportDefect(what: string, defect: unknown): void {
    const cause = Cause.isCause(defect) ? defect : Cause.die(defect)
    reportOnce(this.binding, this.context, what, `a defect in the ${what} changes nothing for the caller`, cause)
  }

  protect(f: () => void): void {
    try {
      f()
    } catch (defect) {
      this.collapse(defect)
    }
  }

  /**
   * Calls share timers, and whoever rings must go on in the asynchronous context of its own call. The fiber of the caller
   * has kept it: it is resumed, and waits again. What cancels the call is still on its stack, from when the call began.
   */
  protectInContext(f: () => void): void {
    const { resume } = this
    if (this.clock !== liveClock || resume === undefined) return this.protect(f)
    // A scheduler may let others go first: meanwhile the call may end, or another timer ring.
    let meanwhile: Effect.Effect<any, any> | undefined
    this.resume = (effect) => {
      meanwhile = effect
    }
    const goOn = Effect.callback<any, any>((next) => {
      if (!this.ended) {
        // Who has rung meanwhile holds what comes next, and others may go first again before it goes on.
        if (meanwhile === undefined) this.resume = next
        this.protect(f)
      }
      if (meanwhile !== undefined) next(meanwhile)
    })
    // The fiber may end with the call, and its observers may throw.
    this.protect(() => resume(goOn))
  }

  /** A defect of the driver itself ends the call as a defect: nothing may hang, and no observer may throw. */
  collapse(defect: unknown): void {
    this.finish(this.now(), Exit.die(defect), undefined, undefined, "interrupted_loser")
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
    const bindings = bindingsOf(fiber.context)
    const call = new Call(
      bindings.surround(self as Effect.Effect<any, any>),
      key,
      options ?? noOptions,
      bindings,
      fiber,
      resume,
      withTimeline
    )
    try {
      call.begin()
    } catch (defect) {
      call.collapse(defect)
    }
    return call.ended ? undefined : call
  })
