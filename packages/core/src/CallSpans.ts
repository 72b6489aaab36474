/**
 * The spans of one call: one for the call, one for each attempt. They begin when what they show begins, and are finished
 * together when the call ends: only then is it known who won, and which attempts were left running.
 *
 * They are made from the tracer itself, because their times must be those of the record: a span that began a moment after
 * an attempt that took no time would end before it began.
 *
 * @internal
 */
import type { Context as ContextModule } from "effect"
import { Context, Exit, LogLevel, Option, References, Tracer } from "effect"
import type { AttemptRun } from "./AttemptRun.ts"
import type { CallRecord } from "./CallRecord.ts"
import { annotationsOf } from "./CallRecord.ts"
import { attributesOf } from "./Timeline.ts"

type AnyContext = ContextModule.Context<never>
type AnyExit = Exit.Exit<unknown, unknown>
type Attributes = Record<string, unknown>

export type Level = "attempts" | "call"

const nanosInMilli = 1_000_000n

/** Exact for what fits into milliseconds with fractions: the parts are converted apart. */
const toNanos = (millis: number): bigint => {
  const whole = Math.floor(millis)
  return BigInt(whole) * nanosInMilli + BigInt(Math.round((millis - whole) * 1e6))
}

/** Spans that are not propagated are no parents; the nearest one around them is. */
const propagated = (span: Tracer.AnySpan | undefined): Tracer.AnySpan | undefined => {
  let parent = span
  while (parent !== undefined && Context.get(parent.annotations, Tracer.DisablePropagation)) {
    parent = parent._tag === "Span" ? Option.getOrUndefined(parent.parent) : undefined
  }
  return parent
}

const isSampled = (context: AnyContext, parent: Tracer.AnySpan | undefined): boolean =>
  parent?.sampled !== false &&
  !LogLevel.isGreaterThan(
    Context.get(context, Tracer.MinimumTraceLevel),
    Context.get(context, Tracer.CurrentTraceLevel)
  )

const begin = (
  context: AnyContext,
  name: string,
  kind: Tracer.SpanKind,
  parent: Tracer.AnySpan | undefined,
  startTime: bigint
): Tracer.Span => {
  const span = Context.get(context, Tracer.Tracer).span({
    name,
    kind,
    parent: Option.fromUndefinedOr(parent),
    annotations: Context.empty(),
    links: [...Context.get(context, References.TracerSpanLinks)],
    startTime,
    root: false,
    sampled: isSampled(context, parent)
  })
  writeAll(span, Context.get(context, References.TracerSpanAnnotations))
  return span
}

const writeAll = (span: Tracer.Span, attributes: Readonly<Attributes>): void => {
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) span.attribute(name, value)
}

const prefixed = (prefix: string, fields: Readonly<Attributes>): Attributes =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [prefix + name, value]))

interface Shown {
  readonly attempt: AttemptRun
  readonly span: Tracer.Span
}

const attemptAttributes = (record: CallRecord, { facts }: AttemptRun): Attributes => {
  const { backoffBefore, endedBy, hedge, outcome, retry } = facts
  return {
    "rego.key": record.key,
    "rego.attempt.retry": retry,
    "rego.attempt.hedge": hedge,
    "rego.attempt.ended_by": endedBy,
    "rego.attempt.backoff_before": backoffBefore === 0 ? undefined : backoffBefore,
    "rego.outcome": outcome?._tag,
    "rego.reason": outcome === undefined || outcome._tag === "Success" ? undefined : outcome.reason,
    ...prefixed("rego.annotation.", Object.fromEntries(annotationsOf(facts) ?? []))
  }
}

const stopOf = (record: CallRecord): string | undefined => {
  const last = record.decisions?.at(-1)
  return last?._tag === "Stopped" ? last.reason : undefined
}

const callAttributes = (record: CallRecord): Attributes => ({
  "rego.key": record.key,
  "rego.result": record.result,
  "rego.reason": stopOf(record),
  "rego.attempts": record.attempts.length + record.droppedAttempts,
  "rego.policy.revision": record.policy.revision,
  "rego.policy.source": record.policy.source,
  ...prefixed("rego.timeline.", attributesOf(record))
})

/** One event in place of spans. */
export const writeEvent = (span: Tracer.Span, record: CallRecord): void => {
  span.event("rego.call", toNanos(record.endedAt + record.wallOffset), callAttributes(record))
}

export class CallSpans {
  readonly span: Tracer.Span
  private readonly shown: Array<Shown> = []
  private readonly context: AnyContext
  private readonly offset: number
  private readonly level: Level
  private readonly timed: boolean

  constructor(level: Level, context: AnyContext, key: string, startedAt: number, offset: number) {
    this.level = level
    this.context = context
    this.offset = offset
    this.timed = Context.get(context, References.TracerTimingEnabled)
    const parent = propagated(
      Context.getOrUndefined(context as ContextModule.Context<Tracer.ParentSpan>, Tracer.ParentSpan)
    )
    this.span = begin(context, key, "client", parent, this.at(startedAt))
  }

  private at(millis: number): bigint {
    return this.timed ? toNanos(millis + this.offset) : 0n
  }

  attemptStarted(attempt: AttemptRun): void {
    if (this.level !== "attempts") return
    const name = `${this.span.name} attempt`
    const span = begin(this.context, name, "internal", this.span, this.at(attempt.facts.startedAt))
    this.shown.push({ attempt, span })
  }

  /** What an attempt does is shown under it. */
  inAttempt(context: AnyContext, attempt: AttemptRun): AnyContext {
    const shown = this.shown.find((one) => one.attempt === attempt)
    return Context.add(context, Tracer.ParentSpan, shown === undefined ? this.span : shown.span)
  }

  end(record: CallRecord, exit: AnyExit, returned: AttemptRun | undefined): void {
    this.link(returned)
    for (const shown of this.shown) this.endAttempt(record, shown)
    writeAll(this.span, callAttributes(record))
    for (const { _tag, at, ...fields } of record.decisions ?? []) {
      this.span.event(`rego.${_tag}`, this.at(at), prefixed("rego.", fields))
    }
    this.span.end(this.at(record.endedAt), exit)
  }

  /** A loser was interrupted, and that is no error. */
  private endAttempt(record: CallRecord, { attempt, span }: Shown): void {
    writeAll(span, attemptAttributes(record, attempt))
    span.end(this.at(attempt.facts.endedAt ?? record.endedAt), attempt.exit ?? Exit.interrupt())
  }

  private link(returned: AttemptRun | undefined): void {
    const winner = this.shown.find(({ attempt }) => attempt === returned)
    if (winner === undefined) return
    for (const loser of this.shown) {
      if (loser === winner || loser.attempt.facts.retry !== winner.attempt.facts.retry) continue
      loser.span.addLinks([{ span: winner.span, attributes: { "rego.link": "winner" } }])
      winner.span.addLinks([{ span: loser.span, attributes: { "rego.link": "loser" } }])
    }
  }
}
