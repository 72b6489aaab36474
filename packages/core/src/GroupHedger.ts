/**
 * The hedges of one retry group: when the next one is due, and what becomes of a tick that is refused.
 *
 * A delay is counted from the last start. A refused hedge uses its tick, not its place: it is asked for again one delay
 * later, at most three times in a group. A `retryAfter` moves the next hedge to that instant. The policy without a retry
 * section starts the next hedge at once when an attempt fails Retryable (gRFC A6).
 *
 * @internal
 */
import { Duration, Effect } from "effect"
import type { Decision, Permit } from "./Budget.ts"
import type { Denial, HedgerHost } from "./CallHost.ts"
import * as Hedge from "./Hedge.ts"
import type { HedgeState } from "./HedgeState.ts"
import type { Waiting } from "./KillSwitch.ts"
import { budgetDefect } from "./Questions.ts"
import type { DenialReason } from "./Reasons.ts"
import * as Retry from "./Retry.ts"
import { ScheduleSteps } from "./ScheduleSteps.ts"
import { oneMicrosecond } from "./Time.ts"
import type { Holder, Queued, Sharing } from "./Timer.ts"
import { Alarm, endOfTick } from "./Timer.ts"

const maxDenials = 3

export class GroupHedger extends Alarm implements Waiting, Queued {
  holder: Holder | undefined = undefined
  ahead: Sharing | undefined = undefined
  behind: Sharing | undefined = undefined
  due = 0
  /** attempts started so far, hedges and the one before them */
  private launched = 0
  private denials: Array<Denial> | undefined = undefined
  /** until when a server asked to wait: in few groups, and a number is dear where every group has it */
  private asked: number | undefined = undefined
  /** whose answer is awaited before the next hedge; a schedule's is taken back by this function */
  private asking: "budget" | (() => void) | undefined = undefined
  /** the next hedge is asked for at the end of this tick */
  private soon = false
  private closed = false
  /** nothing runs in the group any more: it ends unless the next hedge starts */
  private idle = false
  private readonly host: HedgerHost
  /** `undefined` once its schedule has ended: no more hedges */
  private trigger: Hedge.Delays | ScheduleSteps<Hedge.State> | undefined

  constructor(host: HedgerHost, trigger: Hedge.Delays | ScheduleSteps<Hedge.State>) {
    super()
    this.host = host
    this.trigger = trigger
  }

  private get notBefore(): number {
    return this.asked ?? -Infinity
  }

  private get state(): HedgeState {
    return this.host.binding.hedging!
  }

  /** An attempt is about to start; its first step may already end it. */
  onStart(): void {
    this.launched++
    this.asking = undefined
    this.stopWaiting()
  }

  /** The attempt that was started last runs: the next hedge is due one delay later. */
  onRunning(startedAt: number): void {
    this.armNext(startedAt)
  }

  private mayAsk(): boolean {
    return !this.closed && this.trigger !== undefined && this.asking === undefined &&
      (this.denials === undefined || this.denials.length < maxDenials) &&
      this.launched <= this.host.binding.plan.hedge!.maxHedges
  }

  private armNext(from: number): void {
    if (!this.mayAsk() || this.armed || this.soon) return
    const { trigger } = this
    if (trigger instanceof ScheduleSteps) return this.askSchedule(trigger, from)
    const millis = Hedge.delayMillis(trigger!, this.state.latency, from)
    if (millis !== undefined) this.armAfter(from, millis)
  }

  /** At the end of this tick: what else arrives in it may end the group, whatever the order. `idle`: nothing else can. */
  private armNow(idle: boolean): void {
    this.cancel()
    if (this.host.now() < this.notBefore) return this.armAt(this.notBefore)
    if (this.soon) return
    if (idle) return this.ask()
    this.soon = true
    endOfTick(this.host.clock, this.host.context, () => {
      this.soon = false
      if (!this.host.ended) this.host.protect(() => this.ask())
    })
  }

  /** Delays repeat from call to call, so calls share the timers for them. */
  private armAfter(from: number, millis: number): void {
    const { clock, context, deadline } = this.host
    if (from + millis < this.notBefore) return this.armAt(this.notBefore)
    this.due = from + millis
    if (this.due < deadline) this.armShared(clock, context, millis)
  }

  private armAt(due: number): void {
    const { clock, context, deadline } = this.host
    this.cancel()
    if (due < deadline) this.armOwn(clock, context, Math.max(0, due - this.host.now()))
  }

  /** The group waits for a hedge and nothing else: a server asked it to. */
  private waitIdle(): void {
    this.idle = true
    this.host.waiting.add(this)
  }

  private stopWaiting(): void {
    if (!this.idle) return
    this.idle = false
    this.host.waiting.delete(this)
  }

  /** A wait for what is switched off now is a wait for nothing. */
  onSwitch(): void {
    if (this.closed || this.host.ended || !this.host.switchedOff("hedge")) return
    this.host.protect(() => {
      this.cancel()
      this.ask()
    })
  }

  ring(): void {
    if (this.host.ended) return
    const { launched } = this
    this.host.protectInContext(() => {
      // A failure may have started one meanwhile: the next has a delay of its own.
      if (this.launched === launched) this.ask()
    })
  }

  // ---------------------------------------------------------------------------
  // when
  // ---------------------------------------------------------------------------

  private askSchedule(steps: ScheduleSteps<Hedge.State>, from: number): void {
    const now = this.host.now()
    const state: Hedge.State = {
      attempt: { retry: this.host.retry, hedge: this.launched },
      elapsed: Duration.millis(now - this.host.groupStartedAt()),
      launched: this.launched,
      latency: this.state.latency.snapshot(now)
    }
    this.asking = () => {}
    this.step(steps.next(this.host.clock.currentTimeMillisUnsafe(), state), (millis) => {
      this.asking = undefined
      if (millis !== undefined && this.mayAsk()) this.armAt(Math.max(from + millis, this.notBefore))
    })
  }

  private step(step: Effect.Effect<number | undefined>, answer: (millis: number | undefined) => void): void {
    let answered = false
    const forget = this.host.questions.run(step, (exit) => {
      answered = true
      if (exit._tag === "Failure") this.host.reportDefect("hedge schedule", exit.cause)
      const millis = exit._tag === "Failure" ? undefined : exit.value
      if (millis === undefined) this.trigger = undefined
      answer(millis === undefined ? undefined : Retry.clampScheduleDelay(millis))
    }, false)
    if (!answered) this.asking = forget
  }

  /** A schedule is not asked again before its last answer. */
  private forgetTrigger(): void {
    const { asking } = this
    if (typeof asking !== "function") return
    this.asking = undefined
    asking()
  }

  // ---------------------------------------------------------------------------
  // may we
  // ---------------------------------------------------------------------------

  private unfit(): DenialReason | undefined {
    const { binding: { plan, state }, bounds } = this.host
    if (this.host.switchedOff("hedge")) return "switched_off"
    if (state.abandoned >= bounds.maxAbandoned) return "abandoned"
    const load = this.trigger instanceof ScheduleSteps ? undefined : this.trigger?.load
    return this.state.unfit(plan.hedge!.maxFailing, load, this.host.now())
  }

  private ask(): void {
    // Late timers happen on a busy host: what would start now would be cut at once.
    if (!this.mayAsk() || this.host.now() >= this.host.deadline) return
    this.asking = "budget"
    this.host.events?.hedgeDue(this.host.now(), { retry: this.host.retry, hedge: this.launched })
    const unfit = this.unfit()
    if (unfit !== undefined) return this.refused({ reason: unfit })
    const { binding: { hedgeBudget, key, plan }, random, retry } = this.host
    const hedge = this.launched
    const request = {
      key,
      kind: "hedge" as const,
      cost: plan.hedgeCost,
      attempt: { retry, hedge },
      now: this.host.now(),
      random
    }
    const { questions } = this.host
    const asked = questions.acquire(hedgeBudget, request)
    if (!Effect.isEffect(asked)) return this.host.ended ? questions.giveBack(asked) : this.onDecision(hedge, asked)
    questions.await(asked, budgetDefect, (decision) => this.onDecision(hedge, decision), false)
  }

  private onDecision(hedge: number, decision: Decision): void {
    if (decision._tag === "Granted") return this.granted(hedge, decision.permit)
    this.refused({ budget: this.host.binding.plan.budget, ...decision })
  }

  /** While the budget thought about it the group or the time may have ended, a server or an operator may have spoken. */
  private granted(hedge: number, permit: Permit): void {
    const now = this.host.now()
    const late = this.closed || now >= this.host.deadline
    if (!late && this.host.switchedOff("hedge")) {
      this.host.questions.settle(permit, "unused")
      return this.refused({ reason: "switched_off" })
    }
    if (!late && this.notBefore - now < oneMicrosecond) {
      this.state.onStarted(now)
      this.host.events?.hedgeStarted(now, { retry: this.host.retry, hedge })
      return this.host.start(hedge, permit, now)
    }
    this.asking = undefined
    if (!late) this.armAt(this.notBefore)
    this.host.questions.settle(permit, "unused")
  }

  private refused(denial: Denial): void {
    if (this.closed) return
    this.asking = undefined
    this.state.onDenied()
    this.denials = [...this.denials ?? [], denial]
    this.host.events?.denied(this.host.now(), "hedge", { retry: this.host.retry, hedge: this.launched }, denial)
    if (this.idle) this.host.groupFailed()
    else this.armNext(this.host.now())
  }

  /**
   * An attempt of the group failed Retryable. Answers whether the group must wait for a hedge although nothing runs.
   * `atOnce`: no retry will follow, so a hedge is the only way on.
   */
  onFailure(retryAfter: number | undefined, atOnce: boolean, idle: boolean): boolean {
    if (retryAfter !== undefined) this.asked = Math.max(this.notBefore, this.host.now() + retryAfter)
    if (atOnce) return this.nextAtOnce(idle) && idle
    // Where nothing runs the retry rules decide next; a hedge that is due now must not come before them.
    if (retryAfter !== undefined && this.armed && !idle) this.armAt(this.notBefore)
    return false
  }

  private nextAtOnce(idle: boolean): boolean {
    this.forgetTrigger()
    if (this.notBefore >= this.host.deadline) {
      this.cancel()
      return false
    }
    if (idle) this.waitIdle()
    if (this.asking === "budget") return true
    if (!this.mayAsk()) return false
    this.armNow(idle)
    return true
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    this.stopWaiting()
    this.cancel()
    this.forgetTrigger()
    if (this.denials !== undefined) this.host.recordDenied("hedge", this.denials.at(-1)!, this.denials.length)
  }
}
