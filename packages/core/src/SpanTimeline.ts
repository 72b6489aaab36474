/**
 * Reads the timelines of calls back from their spans. `CallSpans` writes what is read here; a property holds the two
 * together.
 *
 * @internal
 */
import type { Cause, Tracer } from "effect"
import { Option } from "effect"
import type { AttemptRecord, Decision, Timeline } from "./Timeline.ts"

/** A span that also tells its events, as `Tracer.NativeSpan` does. */
export interface SpanLike extends Tracer.Span {
  readonly events: ReadonlyArray<
    readonly [name: string, startTime: bigint, attributes: Readonly<Record<string, unknown>>]
  >
}

type Fields = Readonly<Record<string, unknown>>
type Ended = Extract<Tracer.SpanStatus, { readonly _tag: "Ended" }>

const nanosInMilli = 1_000_000n

/** The parts apart, because the whole has more digits than a number. */
const toMillis = (nanos: bigint): number => Number(nanos / nanosInMilli) + Number(nanos % nanosInMilli) / 1e6

const endedOf = ({ status }: SpanLike): Ended | undefined => status._tag === "Ended" ? status : undefined

const isDefined = <A>([, value]: readonly [string, A]): boolean => value !== undefined

const withoutUndefined = (fields: Fields): Fields => Object.fromEntries(Object.entries(fields).filter(isDefined))

/** The attributes whose names begin with a prefix, under the rest of their names. */
const under = (prefix: string, attributes: Iterable<readonly [string, unknown]>): Fields =>
  Object.fromEntries(
    Array.from(attributes).flatMap(([name, value]) =>
      name.startsWith(prefix) ? [[name.slice(prefix.length), value]] : []
    )
  )

// -----------------------------------------------------------------------------
// attempts
// -----------------------------------------------------------------------------

const attemptOf = (span: SpanLike, errorOf: (cause: Cause.Cause<unknown>) => string): AttemptRecord => {
  const { attributes, status } = span
  const ended = endedOf(span)
  const endedBy = attributes.get("rego.attempt.ended_by")
  const outcome = attributes.get("rego.outcome")
  const annotations = under("rego.annotation.", attributes)
  const failed = outcome !== undefined && ended?.exit._tag === "Failure"
  return withoutUndefined({
    attempt: { retry: attributes.get("rego.attempt.retry"), hedge: attributes.get("rego.attempt.hedge") },
    startedAt: toMillis(status.startTime),
    endedAt: endedBy === "abandoned" || ended === undefined ? undefined : toMillis(ended.endTime),
    endedBy,
    outcome,
    reason: attributes.get("rego.reason"),
    error: failed && ended.exit._tag === "Failure" ? errorOf(ended.exit.cause) : undefined,
    backoffBefore: attributes.get("rego.attempt.backoff_before"),
    attributes: Object.keys(annotations).length === 0 ? undefined : annotations
  }) as unknown as AttemptRecord
}

/** In the order in which they were started, whatever the order of the spans. */
const inOrder = (a: AttemptRecord, b: AttemptRecord): number =>
  a.attempt.retry - b.attempt.retry || a.attempt.hedge - b.attempt.hedge

/** As the record of the call: the first ones, and the latest. */
const kept = (
  attempts: ReadonlyArray<AttemptRecord>,
  dropped: number
): ReadonlyArray<AttemptRecord> => [...attempts.slice(0, attempts.length - dropped - 1), ...attempts.slice(-1)]

// -----------------------------------------------------------------------------
// calls
// -----------------------------------------------------------------------------

const decisionsOf = ({ events }: SpanLike): ReadonlyArray<Decision> =>
  events.flatMap(([name, at, attributes]) =>
    name.startsWith("rego.") && name !== "rego.call"
      ? [
        {
          _tag: name.slice("rego.".length),
          at: toMillis(at),
          ...under("rego.", Object.entries(attributes))
        } as Decision
      ]
      : []
  )

const timelineOf = (span: SpanLike, attempts: ReadonlyArray<AttemptRecord>): Fields => {
  const { attributes, name, status } = span
  const ended = endedOf(span)!
  const own = under("rego.timeline.", attributes)
  return {
    key: attributes.get("rego.key") ?? name,
    policyRevision: attributes.get("rego.policy.revision"),
    policySource: attributes.get("rego.policy.source"),
    startedAt: toMillis(status.startTime),
    endedAt: toMillis(ended.endTime),
    attempts: kept(attempts, Number(own["droppedAttempts"] ?? 0)),
    decisions: decisionsOf(span),
    result: attributes.get("rego.result"),
    attributes: own
  }
}

const depthOf = ({ parent }: Tracer.Span): number => {
  let depth = 0
  for (let span = Option.getOrUndefined(parent); span?._tag === "Span"; span = Option.getOrUndefined(span.parent)) {
    depth++
  }
  return depth
}

/** Of calls that end in one instant those inside end first. */
const byEnd = (a: SpanLike, b: SpanLike): number => {
  const [first, second] = [endedOf(a)!.endTime, endedOf(b)!.endTime]
  return first < second ? -1 : first > second ? 1 : depthOf(b) - depthOf(a)
}

const isCall = (span: SpanLike): boolean => span.attributes.has("rego.result") && endedOf(span) !== undefined

/** The fields of the timelines, in the order in which the calls ended. */
export const read = (
  spans: ReadonlyArray<SpanLike>,
  toAttempt: (fields: AttemptRecord) => AttemptRecord,
  errorOf: (cause: Cause.Cause<unknown>) => string
): ReadonlyArray<Timeline> => {
  const attempts = new Map<string | undefined, Array<SpanLike>>()
  for (const span of spans) {
    if (!span.attributes.has("rego.attempt.ended_by")) continue
    const call = Option.getOrUndefined(span.parent)?.spanId
    attempts.set(call, [...(attempts.get(call) ?? []), span])
  }
  return spans.filter(isCall).toSorted(byEnd).map((span) => {
    const records = (attempts.get(span.spanId) ?? []).map((attempt) => attemptOf(attempt, errorOf))
    return timelineOf(span, records.toSorted(inOrder).map(toAttempt)) as unknown as Timeline
  })
}
