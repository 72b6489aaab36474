/**
 * One attempt in flight: its fiber, its scope, its permit and its timer.
 *
 * Each call makes one, so it takes what it needs from its call instead of options that would be made for it alone.
 *
 * @internal
 */
import type { Exit, Fiber } from "effect"
import { Scope } from "effect"
import type { Permit } from "./Budget.ts"
import type { AttemptHost } from "./CallHost.ts"
import { AttemptFacts } from "./CallRecord.ts"
import type { Retryable } from "./Outcome.ts"
import type { Holder, Queued, Sharing } from "./Timer.ts"
import { Alarm } from "./Timer.ts"

export class AttemptRun extends Alarm implements Queued {
  holder: Holder | undefined = undefined
  ahead: Sharing | undefined = undefined
  behind: Sharing | undefined = undefined
  readonly facts: AttemptFacts
  readonly scope: Scope.Closeable | undefined
  readonly permit: Permit | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** the fiber itself has ended, finalizers included */
  fiberExit: Exit.Exit<unknown, unknown> | undefined = undefined
  /** what the call saw: the fiber's exit, or our timeout */
  exit: Exit.Exit<any, any> | undefined = undefined
  /**
   * `abandoned`: it was told to end and did not at once; the supervisor waits for it, and nobody else. `awaited`: it ran when
   * the caller was interrupted, who waits. `released`: it has ended, its scope is closed or closing and its value discarded:
   * never twice.
   */
  left: "abandoned" | "awaited" | "released" | undefined = undefined
  /** the hedge that was started after it, in its group */
  next: AttemptRun | undefined = undefined
  private readonly host: AttemptHost

  constructor(host: AttemptHost, hedge: number, startedAt: number, endsAt: number, permit: Permit | undefined) {
    super()
    this.host = host
    this.facts = new AttemptFacts(host, hedge, startedAt, endsAt)
    const parent = host.parentScope
    this.scope = parent === undefined ? undefined : Scope.makeUnsafe(parent.strategy)
    this.permit = permit
  }

  /** `Infinity` for never */
  get endsAt(): number {
    return this.facts.at
  }

  get due(): number {
    return this.facts.at
  }

  /** over for the call: ended by itself, timed out, lost, or the call is over */
  get settled(): boolean {
    return !this.facts.active
  }

  get timedOut(): boolean {
    return this.facts.endedBy === "timed_out"
  }

  /** the verdict, once the call has seen its exit and may go on after it */
  get retryable(): Retryable | undefined {
    const { outcome } = this.facts
    return this.exit !== undefined && outcome?._tag === "Retryable" ? outcome : undefined
  }

  /** the call has seen its exit, and ends with it or a better one */
  get definite(): boolean {
    return this.exit !== undefined && this.facts.outcome?._tag !== "Retryable"
  }

  ring(): void {
    this.host.onTime(this)
  }

  onFiberExit(exit: Exit.Exit<unknown, unknown>): void {
    this.host.onFiberExit(this, exit)
  }

  /** Nothing of the attempt counts for the call any more; its fiber may still run. */
  settle(endedBy: AttemptFacts["endedBy"], at: number): void {
    this.facts.endedBy = endedBy
    this.facts.endedAt = at
    this.cancel()
  }
}
