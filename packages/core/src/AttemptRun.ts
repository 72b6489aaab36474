/**
 * One attempt in flight: its fiber, its scope, its permit, its timer, and what the effect can read about it.
 *
 * Each call makes one, so it takes what it needs from its call instead of options that would be made for it alone.
 *
 * @internal
 */
import type { Clock, Exit, Fiber } from "effect"
import { Option, Scope } from "effect"
import type { Noted } from "./Attempt.ts"
import type { Permit } from "./Budget.ts"
import type { AttemptHost } from "./CallHost.ts"
import { annotate, AttemptFacts } from "./CallRecord.ts"
import type { Deadline } from "./Deadline.ts"
import type { Retryable } from "./Outcome.ts"
import type { PolicyKey } from "./PolicyKey.ts"
import { Alarm } from "./Timer.ts"

/** What the effect reads of its attempt; turned off when the attempt is over for its call. */
class Visible implements Noted, Deadline {
  active = true
  readonly key: PolicyKey
  /** when it must have ended, `Infinity` for never */
  readonly at: number
  readonly clock: Clock.Clock
  private readonly facts: AttemptFacts
  private readonly last: Exit.Exit<unknown, unknown> | undefined
  constructor(host: AttemptHost, facts: AttemptFacts, at: number) {
    this.key = host.binding.key
    this.facts = facts
    this.at = at
    this.clock = host.clock
    this.last = host.previous
  }
  get retry(): number {
    return this.facts.retry
  }
  get hedge(): number {
    return this.facts.hedge
  }
  get previous(): Option.Option<Exit.Exit<unknown, unknown>> {
    return Option.fromUndefinedOr(this.last)
  }
  note(name: string, value: string): void {
    if (this.active) annotate(this.facts, name, value)
  }
}

export class AttemptRun extends Alarm {
  readonly facts: AttemptFacts
  readonly visible: Option.Some<Visible>
  readonly scope: Scope.Closeable | undefined
  readonly permit: Permit | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  /** the fiber itself has ended, finalizers included */
  fiberExit: Exit.Exit<unknown, unknown> | undefined = undefined
  /** what the call saw: the fiber's exit, or our timeout */
  exit: Exit.Exit<any, any> | undefined = undefined
  abandoned = false
  /** in flight when the caller was interrupted, who waits for its end */
  awaited = false
  /** its scope is closed or closing and its value discarded: never twice */
  released = false
  private readonly host: AttemptHost

  constructor(host: AttemptHost, hedge: number, startedAt: number, endsAt: number, permit: Permit | undefined) {
    super()
    this.host = host
    this.facts = new AttemptFacts(host.retry, hedge, startedAt, hedge === 0 ? host.delayBefore : 0)
    this.visible = Option.some(new Visible(host, this.facts, endsAt)) as Option.Some<Visible>
    this.scope = host.parentScope === undefined ? undefined : Scope.makeUnsafe(host.parentScope.strategy)
    this.permit = permit
  }

  /** `Infinity` for never */
  get endsAt(): number {
    return this.visible.value.at
  }

  /** over for the call: ended by itself, timed out, lost, or the call is over */
  get settled(): boolean {
    return this.facts.endedAt !== undefined
  }

  get timedOut(): boolean {
    return this.facts.endedBy === "timed_out"
  }

  /** the verdict, once the call has seen its exit and may go on after it */
  get retryable(): Retryable | undefined {
    const { outcome } = this.facts
    return this.exit !== undefined && outcome?._tag === "Retryable" ? outcome : undefined
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
    this.visible.value.active = false
    this.cancel()
  }
}
