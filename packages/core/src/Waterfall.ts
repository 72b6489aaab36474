/**
 * A timeline in rows and words, for whatever draws it: attempts with their place on the time of the call, decisions as
 * sentences, what was lost. Not part of the public API: users meet it in `Timeline.render` and `Timeline.toSvg`.
 *
 * @internal
 */
import type { AttemptRecord, Decision, Timeline } from "./Timeline.ts"

/** What became of an attempt, as far as a picture can tell it apart. */
export type Fate = "success" | "failure" | "timeout" | "lost" | "running"

/** Times are milliseconds since the call began. */
export interface Row {
  readonly label: string
  readonly from: number
  readonly to: number
  /** it waited so long before it began; 0 without a wait */
  readonly waited: number
  readonly fate: Fate
  /** its answer ended a group in which others still ran */
  readonly won: boolean
  /** the verdict of the classifier, what ended the attempt where it was not the attempt itself, and its attributes */
  readonly verdict: string
  readonly error: string | undefined
}

export interface Note {
  readonly at: number
  readonly kind: "wait" | "denied" | "stopped"
  readonly text: string
}

export interface Waterfall {
  readonly title: string
  readonly duration: number
  readonly rows: ReadonlyArray<Row>
  readonly notes: ReadonlyArray<Note>
  /** what attempts cost whose answer nobody waited for; `undefined` when there are none */
  readonly wasted: string | undefined
}

// -----------------------------------------------------------------------------
// text
// -----------------------------------------------------------------------------

/** A terminal would obey control characters, and text that runs backwards would say something else than it does. */
const unprintable = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069\uFFFE\uFFFF]/gu

/** Keys, reasons and errors come from servers, documents and files: none of it is trusted where it is shown. */
export const printable = (text: string): string => text.replaceAll(unprintable, "\uFFFD")

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;"
}

/** Text for the content of an element, or for an attribute in quotes; of HTML and of XML. */
export const escape = (text: string): string => printable(text).replaceAll(/[&<>"']/g, (it) => entities[it]!)

/** Tenths of a millisecond below a second, hundredths of a second above. */
export const millis = (duration: number): string =>
  duration < 1_000 ? `${Number(duration.toFixed(1))}ms` : `${Number((duration / 1_000).toFixed(2))}s`

// -----------------------------------------------------------------------------
// attempts
// -----------------------------------------------------------------------------

const labelOf = ({ hedge, retry }: AttemptRecord["attempt"]): string =>
  `${retry === 0 ? "first" : `retry ${retry}`}${hedge > 0 ? ` hedge ${hedge}` : ""}`

const isWasted = ({ endedBy }: AttemptRecord): boolean => endedBy === "interrupted_loser" || endedBy === "abandoned"

const fateOf = ({ endedBy, outcome }: AttemptRecord): Fate => {
  switch (endedBy) {
    case "returned":
      return outcome === "Success" ? "success" : "failure"
    case "timed_out":
      return "timeout"
    case "abandoned":
      return "running"
    case "interrupted_loser":
    case "interrupted_caller":
      return "lost"
  }
}

/** A retry takes the place of failures; only an answer takes the place of attempts that still run. */
const hasWon = (timeline: Timeline, attempt: AttemptRecord): boolean =>
  attempt.endedBy === "returned" && attempt.outcome !== "Retryable" &&
  timeline.attempts.some((other) => isWasted(other) && other.attempt.retry === attempt.attempt.retry)

const verdictOf = (attempt: AttemptRecord, won: boolean): string => {
  const how = attempt.endedBy === "returned" ? won ? ["(won)"] : [] : [`(${attempt.endedBy})`]
  const notes = Object.entries(attempt.attributes ?? {}).map(([name, value]) => `${name}=${value}`)
  return printable([attempt.outcome, attempt.reason, ...how, ...notes].filter((part) => part !== undefined).join(" "))
}

const rowOf = (timeline: Timeline, attempt: AttemptRecord): Row => {
  const won = hasWon(timeline, attempt)
  return {
    label: labelOf(attempt.attempt),
    from: attempt.startedAt - timeline.startedAt,
    to: (attempt.endedAt ?? timeline.endedAt) - timeline.startedAt,
    waited: attempt.backoffBefore ?? 0,
    fate: fateOf(attempt),
    won,
    verdict: verdictOf(attempt, won),
    error: attempt.error === undefined ? undefined : printable(attempt.error)
  }
}

const wastedIn = ({ attempts, endedAt }: Timeline): string | undefined => {
  const wasted = attempts.filter(isWasted)
  if (wasted.length === 0) return undefined
  const total = wasted.reduce((sum, attempt) => sum + (attempt.endedAt ?? endedAt) - attempt.startedAt, 0)
  const count = wasted.length === 1 ? "1 attempt" : `${wasted.length} attempts`
  return `wasted: ${millis(total)} in ${count} whose answer came too late or never`
}

// -----------------------------------------------------------------------------
// decisions
// -----------------------------------------------------------------------------

const deniedText = (decision: Extract<Decision, { readonly _tag: "Denied" }>): string => {
  const { budget, count, kind, retryAfter } = decision
  const who = budget === undefined ? "" : `budget ${JSON.stringify(budget)} `
  const times = count > 1 ? ` (${count} times)` : ""
  const later = retryAfter === undefined || !Number.isFinite(retryAfter) ? "" : `, room in ${millis(retryAfter)}`
  const reason = decision.detail ?? decision.reason
  return `${who}denied a ${kind}: ${reason}${later}${times}`
}

const noteOf = (decision: Decision, startedAt: number): Note => {
  const at = decision.at - startedAt
  switch (decision._tag) {
    case "BackoffScheduled": {
      const asked = decision.retryAfter === undefined ? "" : ` (the server asked for ${millis(decision.retryAfter)})`
      return { at, kind: "wait", text: `wait ${millis(decision.delay)}${asked}` }
    }
    case "Denied":
      return { at, kind: "denied", text: printable(deniedText(decision)) }
    case "Stopped":
      return { at, kind: "stopped", text: `stopped, ${decision.reason}` }
  }
}

// -----------------------------------------------------------------------------
// the whole
// -----------------------------------------------------------------------------

/** Where the policy came from, its revision and its age. */
export const policyOf = ({ attributes, policyRevision, policySource }: Timeline): string => {
  const { override, policyAge } = attributes
  const named = policyRevision === policySource || policySource === "missing" ? [] : [policyRevision]
  const age = policyAge === undefined ? [] : [`${policyAge}s old`]
  const overridden = override === undefined ? [] : [`overridden for ${override}`]
  return printable([[policySource, ...named].join(" "), ...age, ...overridden].join(", "))
}

/** Attempts of which there is no record. A timeline that was read from a file can say anything. */
export const droppedOf = ({ attributes }: Timeline): number => {
  const dropped = Number(attributes["droppedAttempts"] ?? 0)
  return Number.isSafeInteger(dropped) ? Math.max(0, dropped) : 0
}

const attemptsOf = (timeline: Timeline): string => {
  const dropped = droppedOf(timeline)
  const count = timeline.attempts.length + dropped
  return `${count} ${count === 1 ? "attempt" : "attempts"}${dropped === 0 ? "" : ` (${dropped} not kept)`}`
}

/** None where a timeline that was read ends before it begins. */
const durationOf = ({ endedAt, startedAt }: Timeline): number => {
  const duration = endedAt - startedAt
  return Number.isFinite(duration) ? Math.max(0, duration) : 0
}

export const make = (timeline: Timeline): Waterfall => {
  const duration = durationOf(timeline)
  return {
    title: `${printable(timeline.key)}: ${timeline.result} after ${millis(duration)}, ${attemptsOf(timeline)}, policy ${
      policyOf(timeline)
    }`,
    duration,
    rows: timeline.attempts.map((attempt) => rowOf(timeline, attempt)),
    notes: timeline.decisions.map((decision) => noteOf(decision, timeline.startedAt)),
    wasted: wastedIn(timeline)
  }
}
