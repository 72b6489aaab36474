/**
 * From a failed group to the start of the next one: how long to wait, may we, wait. Any "no" ends the call with the last
 * attempt's own exit.
 *
 * @internal
 */
import { Duration, Schedule } from "effect"
import * as Backoff from "./Backoff.ts"
import type { Permit } from "./Budget.ts"
import type { BetweenHost, FailedGroup } from "./CallHost.ts"
import type { StopReason } from "./CallRecord.ts"
import type { Waiting } from "./KillSwitch.ts"
import { retryAfterMillis } from "./Outcome.ts"
import type { Questions } from "./Questions.ts"
import { budgetDefect } from "./Questions.ts"
import * as Retry from "./Retry.ts"
import { ScheduleSteps } from "./ScheduleSteps.ts"
import { TimerSlot } from "./Timer.ts"

export class Between implements Waiting {
  private steps: ScheduleSteps<Backoff.Input> | undefined = undefined
  /** held through the wait, and handed to the attempt that starts after it */
  private permit: Permit | undefined = undefined
  /** the group whose backoff is waited for */
  private pausing: FailedGroup | undefined = undefined
  private readonly timer = new TimerSlot()
  private readonly host: BetweenHost
  private readonly questions: Questions
  constructor(host: BetweenHost) {
    this.host = host
    this.questions = host.questions
  }

  begin(group: FailedGroup): void {
    const { backoff } = this.host.binding.plan
    const floor = Retry.floorOf(group.outcome)
    if (Schedule.isSchedule(backoff)) return this.askSchedule(backoff, group, floor)
    this.plan(group, Backoff.delayMillis(backoff, group.retry, group.delayBefore, this.host.random, floor))
  }

  /** Built at the first failure, once for the call. */
  private askSchedule(schedule: Schedule.Schedule<unknown, Backoff.Input>, group: FailedGroup, floor: number): void {
    this.steps ??= new ScheduleSteps(schedule)
    const { last, outcome, retry } = group
    const input = { exit: last.exit!, outcome, attempt: { retry, hedge: last.facts.hedge } }
    this.questions.run(this.steps.next(this.host.clock.currentTimeMillisUnsafe(), input), (exit) => {
      if (exit._tag === "Failure") {
        this.host.reportDefect("backoff schedule", exit.cause)
        return this.host.conclude(last, "schedule_defect")
      }
      if (exit.value === undefined) return this.host.conclude(last, "schedule_done")
      this.plan(group, Math.max(floor, Retry.clampScheduleDelay(exit.value)))
    }, true)
  }

  private left(): number {
    return this.host.deadline - this.host.now()
  }

  private plan(group: FailedGroup, delay: number): void {
    const { last, outcome } = group
    const { binding, random } = this.host
    const wait = Retry.wait({ plan: binding.plan, outcome, delay, left: this.left(), random })
    if (typeof wait !== "number") return this.host.conclude(last, wait)
    this.askBudget(group, () => {
      // An answer that took time may have used up what was left.
      if (this.left() <= wait) return this.host.conclude(last, "deadline_would_pass")
      this.pause(group, wait)
    })
  }

  private askBudget(group: FailedGroup, granted: () => void): void {
    const { binding: { budget, key, plan, state }, bounds, random } = this.host
    if (state.abandoned >= bounds.maxAbandoned) return this.host.conclude(group.last, "abandoned")
    const attempt = { retry: group.retry + 1, hedge: 0 }
    const request = { key, kind: "retry" as const, cost: plan.retryCost, attempt, now: this.host.now(), random }
    this.questions.askBudget(() => budget.tryAcquire(request), budgetDefect, (decision) => {
      if (decision._tag === "Granted") {
        this.permit = decision.permit
        return granted()
      }
      this.host.recordDenied("retry", { ...decision, budget: plan.budget }, 1)
      this.host.conclude(group.last, "budget_denied")
    }, true)
  }

  private pause(group: FailedGroup, wait: number): void {
    if (wait <= 0) return this.next(group, wait)
    // A switch that came while a budget thought about it was not heard: nobody waited yet.
    if (this.host.switchedOff("retry")) return this.host.conclude(group.last, "switched_off")
    this.host.recordBackoff(wait, retryAfterMillis(group.outcome))
    this.pausing = group
    this.host.waiting.add(this)
    this.timer.set(this.host.clock, this.host.context, wait, () => {
      if (!this.host.ended) this.host.protect(() => this.wake(group, wait))
    })
  }

  /** A wait for what is switched off now is a wait for nothing. */
  onSwitch(): void {
    const { pausing } = this
    if (pausing === undefined || this.host.ended || !this.host.switchedOff("retry")) return
    this.host.protect(() => this.host.conclude(pausing.last, "switched_off"))
  }

  private stopWaiting(): void {
    if (this.pausing === undefined) return
    this.pausing = undefined
    this.host.waiting.delete(this)
  }

  private wake(group: FailedGroup, waited: number): void {
    this.stopWaiting()
    const stop = this.stopNow()
    if (stop !== undefined) return this.host.conclude(group.last, stop)
    const { window } = this.host.binding.budget
    if (window === undefined || waited <= Duration.toMillis(window)) return this.next(group, waited)
    this.questions.settle(this.takePermit(), "unused")
    if (this.host.ended) return
    this.askBudget(group, () => {
      const late = this.stopNow()
      return late === undefined ? this.next(group, waited) : this.host.conclude(group.last, late)
    })
  }

  /** Late timers and answers happen on a busy host: what would start now would be cut at once. */
  private stopNow(): StopReason | undefined {
    if (this.host.switchedOff("retry")) return "switched_off"
    return this.left() <= 0 ? "deadline_would_pass" : undefined
  }

  private next(group: FailedGroup, waited: number): void {
    this.host.next(group.last, waited, this.takePermit())
  }

  private takePermit(): Permit | undefined {
    const { permit } = this
    this.permit = undefined
    return permit
  }

  /** The call is over: a grant that waited is given back. */
  end(): void {
    this.stopWaiting()
    this.timer.cancel()
    this.questions.settle(this.takePermit(), "unused")
  }
}
