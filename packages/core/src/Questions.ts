/**
 * Calls into foreign code (budgets, schedules) in the one guarded place, and waits for the answers that take time, inside
 * the deadline and the interruption of the call.
 *
 * @internal
 */
import type { Exit } from "effect"
import { Effect, Fiber, Predicate } from "effect"
import type { Budget, Call, Decision, Permit, Request } from "./Budget.ts"
import type { CallHost } from "./CallHost.ts"
import { show } from "./Issue.ts"
import { spent } from "./Permit.ts"
import { TimerSlot } from "./Timer.ts"

/** What a budget with a defect is taken to say to an extra attempt. */
export const budgetDefect: Decision = { _tag: "Denied", reason: "budget_defect" }

/** What a budget with a defect is taken to say to a call: a defect of ours never refuses one. */
export const freePass: Decision = spent

/** Anything else must not count as a grant. */
const checkDecision = (answer: Decision): Decision => {
  if (Predicate.isObject(answer) && (answer._tag === "Granted" || answer._tag === "Denied")) return answer
  throw new TypeError(`a budget must answer with a Decision, got ${show(answer)}`)
}

export class Questions {
  /** made for the first answer that takes time */
  private pending: Set<Fiber.Fiber<unknown, unknown>> | undefined = undefined
  private timer: TimerSlot | undefined = undefined
  private readonly host: CallHost
  constructor(host: CallHost) {
    this.host = host
  }

  settle(permit: Permit | undefined, use: "used" | "unused"): void {
    try {
      permit?.settle(use)
    } catch (defect) {
      this.host.reportDefect("budget.settle", defect)
    }
  }

  /** What a budget says to an extra attempt: at once, or in an effect. */
  acquire(budget: Budget, request: Request): Decision | Effect.Effect<Decision> {
    try {
      const answered = budget.tryAcquire(request)
      return Effect.isEffect(answered) ? answered : checkDecision(answered)
    } catch (defect) {
      this.host.reportDefect("budget", defect)
      return budgetDefect
    }
  }

  /** Whether a call may begin: a defect of ours never refuses it. */
  admit(budget: Budget, call: Call): Decision | Effect.Effect<Decision> {
    try {
      const answered = budget.admit!(call)
      return Effect.isEffect(answered) ? answered : checkDecision(answered)
    } catch (defect) {
      this.host.reportDefect("budget", defect)
      return freePass
    }
  }

  /**
   * Waits for an answer. `onDefect` is what a budget with a defect is taken to say. `between`: no attempt runs meanwhile
   * whose own timer would end the call at its deadline.
   */
  await(
    asked: Effect.Effect<Decision>,
    onDefect: Decision,
    answer: (decision: Decision) => void,
    between: boolean
  ): void {
    this.run(
      Effect.map(asked, checkDecision),
      (exit) => {
        if (exit._tag === "Success") return answer(exit.value)
        this.host.reportDefect("budget", exit.cause)
        if (!this.host.ended) answer(onDefect)
      },
      between,
      (decision) => this.giveBack(decision)
    )
  }

  giveBack(decision: Decision): void {
    if (decision._tag === "Granted") this.settle(decision.permit, "unused")
  }

  /** `tooLate` gets an answer that nobody waits for any more. The result takes the question back. */
  run<A>(
    effect: Effect.Effect<A>,
    done: (exit: Exit.Exit<A>) => void,
    between: boolean,
    tooLate?: (value: A) => void
  ): () => void {
    const fiber = Effect.runForkWith(this.host.context)(effect)
    const counted = !this.host.ended
    if (counted) this.pending = (this.pending ?? new Set()).add(fiber)
    fiber.addObserver((exit) =>
      this.host.protect(() => {
        if (this.pending?.delete(fiber) === true) {
          if (between) this.cancelDeadline()
          return done(exit)
        }
        if (exit._tag === "Success") tooLate?.(exit.value)
      })
    )
    // Its own first step has ended the call.
    if (!counted) this.drop(fiber)
    else if (between && this.pending?.has(fiber) === true) this.armDeadline()
    return () => {
      if (this.pending?.delete(fiber) === true) this.drop(fiber)
    }
  }

  /** For waits in which nothing runs whose own timer would end the call. */
  armDeadline(): void {
    const { host } = this
    if (host.ended || this.timer?.armed === true || host.deadline === Infinity) return
    this.timer ??= new TimerSlot()
    this.timer.set(host.clock, host.context, host.deadline - host.now(), () => {
      if (!host.ended) host.protect(() => host.onDeadline())
    })
  }

  private drop(fiber: Fiber.Fiber<unknown, unknown>): void {
    fiber.interruptUnsafe(this.host.fiberId)
    this.host.supervisor.add(fiber)
  }

  cancelDeadline(): void {
    this.timer?.cancel()
  }

  /** The call is over: interrupts what is still asked. An interrupted caller waits for it, nobody else does. */
  end(): void {
    this.cancelDeadline()
    if (this.pending === undefined) return
    const fibers = [...this.pending]
    this.pending.clear()
    const { cleanup } = this.host
    for (const fiber of fibers) {
      if (!cleanup.waiting) this.drop(fiber)
      else {
        cleanup.oneMore()
        fiber.addObserver(() => cleanup.oneLess())
        fiber.interruptUnsafe(this.host.fiberId)
      }
    }
  }
}
