/**
 * What one call tells about itself while it runs. Made only when somebody listens: the driver holds `undefined` otherwise,
 * and nothing here is allocated.
 *
 * Nothing that is called from here may delay the call, throw, or change it: observers are told through their mailboxes, in
 * another turn; a tracer is foreign code, and guarded.
 *
 * @internal
 */
import type { Exit, Fiber, Tracer } from "effect"
import { Duration, Tracer as Tracers } from "effect"
import type { Id } from "./Attempt.ts"
import type { AttemptRun } from "./AttemptRun.ts"
import type { CallHost, Denial } from "./CallHost.ts"
import type { CallRecord } from "./CallRecord.ts"
import type { Level } from "./CallSpans.ts"
import { CallSpans, writeEvent } from "./CallSpans.ts"
import { EndNotice, EventNotice, namedIn, sinksIn } from "./Observer.ts"
import type { Sinks } from "./Observer.ts"
import { retryAfterMillis } from "./Outcome.ts"
import { denialOf } from "./Reasons.ts"
import type { StopReason } from "./Reasons.ts"
import type * as Timeline from "./Timeline.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>
type Kind = "call" | "retry" | "hedge"
type Common = "key" | "call" | "at"
type Without<E, K extends PropertyKey> = E extends unknown ? Omit<E, K> : never
type Said = Without<Timeline.Event, Common>

let calls = 0

/** Counts in this process; starts again long after every reader has forgotten the first ones. */
const nextCall = (): number => calls = calls === Number.MAX_SAFE_INTEGER ? 1 : calls + 1

const idOf = ({ facts: { hedge, retry } }: AttemptRun): Id => ({ retry, hedge })

const spansFor = (fiber: AnyFiber, { spans }: Sinks): Level | Tracer.Span | undefined => {
  const { span, tracer, tracerEnabled } = fiber.cache
  if (!tracerEnabled || spans === "off") return undefined
  if (spans === "event") return span?._tag === "Span" ? span : undefined
  if (spans !== "auto") return spans
  return tracer === undefined || tracer === Tracers.nativeTracer ? undefined : "attempts"
}

export class CallEvents {
  /** wall time less monotonic time, read once: what is told of a call has the times of its record */
  readonly wallOffset: number
  private readonly id = nextCall()
  private readonly host: CallHost
  private readonly sinks: Sinks
  private readonly heard: boolean
  private spans: CallSpans | undefined
  private caller: Tracer.Span | undefined
  /** attempts whose end was not told yet */
  private open: Array<AttemptRun> = []
  private winner: AttemptRun | undefined = undefined
  private ended = false

  constructor(host: CallHost, sinks: Sinks, show: Level | Tracer.Span | undefined, startedAt: number) {
    this.host = host
    this.sinks = sinks
    this.heard = sinks.events.length > 0
    this.wallOffset = Number(host.clock.currentTimeNanosUnsafe()) / 1e6 - startedAt
    this.caller = typeof show === "object" ? show : undefined
    this.spans = typeof show === "string"
      ? this.traced(() => new CallSpans(show, host.context, host.binding.key, startedAt, this.wallOffset))
      : undefined
  }

  private tell(at: number, said: Said, ended?: AttemptRun["facts"]): void {
    const event = { key: this.host.binding.key, call: this.id, at: at + this.wallOffset, ...said } as Timeline.Event
    const notice = new EventNotice(event, ended)
    for (const mailbox of this.sinks.events) mailbox.push(notice)
  }

  /** A tracer that throws is not asked again for this call. */
  private traced<A>(use: () => A): A | undefined {
    try {
      return use()
    } catch (defect) {
      this.spans = undefined
      this.host.reportDefect("tracer", defect)
      return undefined
    }
  }

  // ---------------------------------------------------------------------------
  // before the first attempt, and between attempts
  // ---------------------------------------------------------------------------

  policyResolved(at: number, startedAt: number): void {
    if (!this.heard) return
    const { revision, source } = this.host.binding.facts
    this.tell(at, { _tag: "PolicyResolved", revision, source, startedAt: startedAt + this.wallOffset })
  }

  granted(at: number, kind: Kind, attempt: Id): void {
    if (this.heard) this.tell(at, { _tag: "BudgetGranted", kind, budget: this.host.binding.plan.budget, attempt })
  }

  denied(at: number, kind: Kind, attempt: Id, { budget, reason, retryAfter }: Denial): void {
    if (!this.heard) return
    this.tell(at, {
      _tag: "BudgetDenied",
      kind,
      attempt,
      ...denialOf(reason),
      ...(budget === undefined ? {} : { budget }),
      // A budget may be foreign code without types.
      ...(Duration.isDuration(retryAfter) ? { retryAfter: Duration.toMillis(retryAfter) } : {})
    })
  }

  backoff(at: number, delay: number, retryAfter: number | undefined): void {
    if (!this.heard) return
    this.tell(at, { _tag: "BackoffScheduled", delay, ...(retryAfter === undefined ? {} : { retryAfter }) })
  }

  // ---------------------------------------------------------------------------
  // attempts
  // ---------------------------------------------------------------------------

  attemptStarted(attempt: AttemptRun): void {
    this.open.push(attempt)
    this.traced(() => this.spans?.attemptStarted(attempt))
    const { backoffBefore, startedAt } = attempt.facts
    if (this.heard) {
      this.tell(startedAt, { _tag: "AttemptStarted", attempt: idOf(attempt), backoffBefore: backoffBefore ?? 0 })
    }
  }

  inAttempt(context: CallHost["context"], attempt: AttemptRun): CallHost["context"] {
    const { spans } = this
    return spans === undefined ? context : this.traced(() => spans.inAttempt(context, attempt)) ?? context
  }

  /** Once for each attempt, whoever ends it. */
  attemptEnded(attempt: AttemptRun): void {
    const place = this.open.indexOf(attempt)
    if (place < 0) return
    this.open.splice(place, 1)
    if (!this.heard) return
    const { endedAt, endedBy, outcome, startedAt } = attempt.facts
    const at = endedAt ?? this.host.now()
    this.tell(at, {
      _tag: "AttemptEnded",
      attempt: idOf(attempt),
      startedAt: startedAt + this.wallOffset,
      endedBy,
      ...(outcome === undefined ? {} : { outcome: outcome._tag }),
      ...(outcome === undefined || outcome._tag === "Success" ? {} : { reason: outcome.reason })
    }, attempt.facts)
    const retryAfter = outcome?._tag === "Retryable" ? retryAfterMillis(outcome) : undefined
    if (retryAfter !== undefined) this.tell(at, { _tag: "Pushback", attempt: idOf(attempt), retryAfter })
    if (attempt.left === "abandoned") this.abandoned(attempt)
  }

  /** An attempt that was told to stop still runs; told after its end for the call. */
  abandoned(attempt: AttemptRun): void {
    if (this.heard && !this.open.includes(attempt)) {
      this.tell(this.host.now(), { _tag: "AttemptAbandoned", attempt: idOf(attempt) })
    }
  }

  abandonedEnded(attempt: AttemptRun): void {
    if (this.heard) this.tell(this.host.now(), { _tag: "AbandonedEnded", attempt: idOf(attempt) })
  }

  // ---------------------------------------------------------------------------
  // hedges
  // ---------------------------------------------------------------------------

  hedgeDue(at: number, attempt: Id): void {
    if (this.heard) this.tell(at, { _tag: "HedgeDue", attempt })
  }

  hedgeStarted(at: number, attempt: Id): void {
    this.granted(at, "hedge", attempt)
    if (this.heard) this.tell(at, { _tag: "HedgeStarted", attempt })
  }

  /** `won` is the index of the hedge whose answer is returned, 0 for none. */
  groupEnded(at: number, group: ReadonlyArray<AttemptRun>, won: number, saved: number): void {
    if (!this.heard) return
    for (const attempt of group) {
      const { hedge } = attempt.facts
      if (hedge === 0) continue
      this.tell(
        at,
        hedge === won
          ? { _tag: "HedgeWon", attempt: idOf(attempt), saved }
          : { _tag: "HedgeWasted", attempt: idOf(attempt) }
      )
    }
  }

  // ---------------------------------------------------------------------------
  // ends
  // ---------------------------------------------------------------------------

  deadlinePassed(at: number, attempts: number): void {
    if (this.heard) this.tell(at, { _tag: "DeadlinePassed", attempts })
  }

  /** The attempt whose exit the call returns. */
  returns(attempt: AttemptRun | undefined): void {
    this.winner = attempt
  }

  callEnded(record: CallRecord, reason: StopReason | undefined, exit: Exit.Exit<unknown, unknown>): void {
    if (this.ended) return
    this.ended = true
    while (this.open.length > 0) this.attemptEnded(this.open[0]!)
    if (this.heard) this.tellEnd(record, reason)
    if (this.sinks.ends.length > 0) {
      const notice = new EndNotice(record)
      for (const mailbox of this.sinks.ends) mailbox.push(notice)
    }
    this.traced(() => this.spans?.end(record, exit, this.winner))
    const { caller } = this
    if (caller !== undefined) this.traced(() => writeEvent(caller, record))
  }

  private tellEnd(record: CallRecord, reason: StopReason | undefined): void {
    if (reason !== undefined) this.tell(record.endedAt, { _tag: "Stopped", reason })
    this.tell(record.endedAt, {
      _tag: "CallEnded",
      result: record.result,
      startedAt: record.startedAt + this.wallOffset,
      attempts: record.attempts.length + record.droppedAttempts,
      ...(reason === undefined ? {} : { reason })
    })
  }
}

/** `undefined` where nobody listens. */
export const eventsOf = (fiber: AnyFiber, host: CallHost, startedAt: number): CallEvents | undefined => {
  const observers = namedIn(fiber.context)
  if (observers.size === 0 && fiber.cache.tracer === undefined) return undefined
  try {
    const sinks = sinksIn(fiber.context, observers)
    const show = spansFor(fiber, sinks)
    if (show === undefined && sinks.events.length === 0 && sinks.ends.length === 0) return undefined
    return new CallEvents(host, sinks, show, startedAt)
  } catch (defect) {
    host.reportDefect("observers", defect)
    return undefined
  }
}
