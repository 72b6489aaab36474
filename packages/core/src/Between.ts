/**
 * From a failed group to the start of the next one: how long to wait, may we, wait. Any "no" ends the call with the last
 * attempt's own exit.
 *
 * @internal
 */
import { Duration, Effect, Schedule } from "effect"
import type { Id } from "./Attempt.ts"
import * as Backoff from "./Backoff.ts"
import type { Decision, Permit, Request } from "./Budget.ts"
import type { BetweenHost, FailedGroup } from "./CallHost.ts"
import type { Waiting } from "./KillSwitch.ts"
import { retryAfterMillis } from "./Outcome.ts"
import { budgetDefect } from "./Questions.ts"
import type { StopReason } from "./Reasons.ts"
import * as Retry from "./Retry.ts"
import { ScheduleSteps } from "./ScheduleSteps.ts"
import type { Holder } from "./Timer.ts"
import { Alarm } from "./Timer.ts"

/** What a grant is for: the wait before the next attempt, or the attempt itself after a wait that was too long for it. */
type Purpose = "wait" | "start"

export class Between extends Alarm implements Waiting {
  holder: Holder | undefined = undefined
  /** of the group that failed last, once another one follows it */
  previous: FailedGroup["last"]["exit"] = undefined
  waited = 0
  private wait = 0
  private group: FailedGroup | undefined = undefined
  private pausing = false
  private steps: ScheduleSteps<Backoff.Input> | undefined = undefined
  /** held through the wait, and handed to the attempt that starts after it */
  private permit: Permit | undefined = undefined
  private readonly host: BetweenHost
  private readonly random: () => number
  constructor(host: BetweenHost) {
    super()
    this.host = host
    this.random = host.random
  }

  begin(group: FailedGroup): void {
    const { backoff } = this.host.binding.plan
    const floor = Retry.floorOf(group.outcome)
    this.group = group
    if (Schedule.isSchedule(backoff)) return this.askSchedule(backoff, group, floor)
    this.plan(group, Backoff.delayMillis(backoff, group.retry, this.waited, this.random, floor))
  }

  /** Built at the first failure, once for the call. */
  private askSchedule(schedule: Schedule.Schedule<unknown, Backoff.Input>, group: FailedGroup, floor: number): void {
    this.steps ??= new ScheduleSteps(schedule)
    const { last, outcome, retry } = group
    const input = { exit: last.exit!, outcome, attempt: { retry, hedge: last.facts.hedge } }
    this.host.questions.run(this.steps.next(this.host.clock.currentTimeMillisUnsafe(), input), (exit) => {
      if (exit._tag === "Failure") {
        this.host.reportDefect("backoff schedule", exit.cause)
        return this.host.conclude(last, "schedule_defect")
      }
      if (exit.value === undefined) return this.host.conclude(last, "schedule_done")
      this.plan(group, Math.max(floor, Retry.clampScheduleDelay(exit.value)))
    }, true)
  }

  private left(now: number): number {
    return this.host.deadline - now
  }

  private plan(group: FailedGroup, delay: number): void {
    const { binding } = this.host
    const now = this.host.now()
    const wait = Retry.wait({
      plan: binding.plan,
      outcome: group.outcome,
      delay,
      left: this.left(now),
      random: this.random
    })
    if (typeof wait !== "number") return this.stop(wait)
    this.wait = wait
    this.askBudget("wait", now)
  }

  private stop(reason: StopReason): void {
    this.host.conclude(this.group!.last, reason)
  }

  // ---------------------------------------------------------------------------
  // may we
  // ---------------------------------------------------------------------------

  private askBudget(purpose: Purpose, now: number): void {
    const { binding: { budget, key, plan, state }, bounds, questions } = this.host
    if (state.abandoned >= bounds.maxAbandoned) return this.stop("abandoned")
    const attempt = this.nextAttempt
    const request: Request = { key, kind: "retry", cost: plan.retryCost, attempt, now, random: this.random }
    const asked = questions.acquire(budget, request)
    if (!Effect.isEffect(asked)) {
      return this.host.ended
        ? questions.giveBack(asked)
        : this.onDecision(asked, purpose, now)
    }
    // An answer that took time may have used up what was left.
    questions.await(asked, budgetDefect, (decision) => this.onDecision(decision, purpose, this.host.now()), true)
  }

  private get nextAttempt(): Id {
    return { retry: this.group!.retry + 1, hedge: 0 }
  }

  private onDecision(decision: Decision, purpose: Purpose, now: number): void {
    if (decision._tag === "Denied") {
      const denial = { budget: this.host.binding.plan.budget, ...decision }
      this.host.events?.denied(now, "retry", this.nextAttempt, denial)
      this.host.recordDenied("retry", denial, 1)
      return this.stop("budget_denied")
    }
    this.permit = decision.permit
    this.host.events?.granted(now, "retry", this.nextAttempt)
    if (purpose === "start") this.startUnless(this.stopNow(now))
    else if (this.left(now) <= this.wait) this.stop("deadline_would_pass")
    else this.pause()
  }

  // ---------------------------------------------------------------------------
  // wait
  // ---------------------------------------------------------------------------

  private pause(): void {
    // A switch that came while a budget thought about it was not heard: nobody waited yet.
    if (this.host.switchedOff("retry")) return this.stop("switched_off")
    if (this.wait <= 0) return this.start()
    this.host.recordBackoff(this.wait, retryAfterMillis(this.group!.outcome))
    this.pausing = true
    this.host.waiting.add(this)
    this.armOwn(this.host.clock, this.host.context, this.wait)
  }

  /** A wait for what is switched off now is a wait for nothing. */
  onSwitch(): void {
    if (!this.pausing || this.host.ended || !this.host.switchedOff("retry")) return
    this.host.protect(() => this.stop("switched_off"))
  }

  private stopWaiting(): void {
    if (!this.pausing) return
    this.pausing = false
    this.host.waiting.delete(this)
  }

  ring(): void {
    if (!this.host.ended) this.host.protect(() => this.wake())
  }

  private wake(): void {
    this.stopWaiting()
    const now = this.host.now()
    const stop = this.stopNow(now)
    const { window } = this.host.binding.budget
    if (stop !== undefined || window === undefined || this.wait <= Duration.toMillis(window)) {
      return this.startUnless(stop)
    }
    this.host.questions.settle(this.takePermit(), "unused")
    if (!this.host.ended) this.askBudget("start", now)
  }

  /** Late timers and answers happen on a busy host: what would start now would be cut at once. */
  private stopNow(now: number): StopReason | undefined {
    if (this.host.switchedOff("retry")) return "switched_off"
    return this.left(now) <= 0 ? "deadline_would_pass" : undefined
  }

  private startUnless(stop: StopReason | undefined): void {
    if (stop === undefined) this.start()
    else this.stop(stop)
  }

  private start(): void {
    this.previous = this.group!.last.exit
    this.waited = this.wait
    this.host.next(this.takePermit())
  }

  private takePermit(): Permit | undefined {
    const { permit } = this
    this.permit = undefined
    return permit
  }

  /** The call is over: a grant that waited is given back. */
  end(): void {
    this.stopWaiting()
    this.cancel()
    if (this.permit !== undefined) this.host.questions.settle(this.takePermit(), "unused")
  }
}
