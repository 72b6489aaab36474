/**
 * One attempt in flight: its fiber, its scope, its permit, and what the effect can read about it.
 *
 * @internal
 */
import type { Clock, Exit, Fiber } from "effect"
import { Option, Scope } from "effect"
import type { Attempt } from "./Attempt.ts"
import type { Permit } from "./Budget.ts"
import { AttemptFacts } from "./CallRecord.ts"
import type { Deadline } from "./Deadline.ts"
import type { Retryable } from "./Outcome.ts"
import type { PolicyKey } from "./PolicyKey.ts"
import type { Timer } from "./Timer.ts"

/** What the effect reads of its attempt; turned off when the attempt is over for its call. */
class Visible implements Attempt, Deadline {
  active = true
  readonly key: PolicyKey
  readonly retry: number
  readonly hedge: number
  readonly at: number
  readonly clock: Clock.Clock
  private readonly last: Exit.Exit<unknown, unknown> | undefined
  constructor(
    key: PolicyKey,
    retry: number,
    hedge: number,
    at: number,
    clock: Clock.Clock,
    last: Exit.Exit<unknown, unknown> | undefined
  ) {
    this.key = key
    this.clock = clock
    this.retry = retry
    this.hedge = hedge
    this.at = at
    this.last = last
  }
  get previous(): Option.Option<Exit.Exit<unknown, unknown>> {
    return Option.fromUndefinedOr(this.last)
  }
}

export class AttemptRun {
  readonly facts: AttemptFacts
  readonly visible: Option.Option<Visible>
  readonly scope: Scope.Closeable | undefined
  readonly permit: Permit | undefined
  /** `Infinity` for never */
  readonly endsAt: number
  fiber: Fiber.Fiber<unknown, unknown> | undefined = undefined
  timer: Timer | undefined = undefined
  /** over for the call: ended by itself, timed out, lost, or the call is over */
  settled = false
  timedOut = false
  /** the fiber itself has ended, finalizers included */
  fiberExit: Exit.Exit<unknown, unknown> | undefined = undefined
  /** what the call saw: the fiber's exit, or our timeout */
  exit: Exit.Exit<any, any> | undefined = undefined
  retryable: Retryable | undefined = undefined
  abandoned = false
  /** in flight when the caller was interrupted, who waits for its end */
  awaited = false
  /** its scope is closed or closing and its value discarded: never twice */
  released = false

  constructor(options: {
    readonly key: PolicyKey
    readonly retry: number
    readonly hedge: number
    readonly startedAt: number
    readonly endsAt: number
    readonly clock: Clock.Clock
    readonly backoffBefore: number
    readonly previous: Exit.Exit<unknown, unknown> | undefined
    readonly permit: Permit | undefined
    readonly parentScope: Scope.Scope | undefined
  }) {
    this.facts = new AttemptFacts(options.retry, options.hedge, options.startedAt, options.backoffBefore)
    this.visible = Option.some(
      new Visible(options.key, options.retry, options.hedge, options.endsAt, options.clock, options.previous)
    )
    this.scope = options.parentScope === undefined ? undefined : Scope.makeUnsafe(options.parentScope.strategy)
    this.permit = options.permit
    this.endsAt = options.endsAt
  }

  /** Nothing of the attempt counts for the call any more; its fiber may still run. */
  settle(endedBy: AttemptFacts["endedBy"], at: number): void {
    this.settled = true
    this.facts.endedBy = endedBy
    this.facts.endedAt = at
    ;(this.visible as Option.Some<Visible>).value.active = false
    this.timer?.cancel()
    this.timer = undefined
  }
}
