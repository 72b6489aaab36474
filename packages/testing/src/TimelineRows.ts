/**
 * A timeline as rows of `[at, event]`, which read from top to bottom, and an assertion that compares them.
 *
 * **When to use**
 *
 * `expectTimeline` in a test of a call: it says in one place what was tried, when, and why the call stopped. It needs no
 * test runner: what differs is an error, with a diff as its message.
 *
 * **Details**
 *
 * `at` is in milliseconds since the start of the call. The events are
 *
 * | event | what happened |
 * | --- | --- |
 * | `start 0`, `start 1`, `start 1.1` | the first attempt began, the first retry, the first hedge of that retry |
 * | `end 0 Retryable typed_failure` | an attempt returned, with its verdict and the reason of it |
 * | `end 0 Success fault=delay_2s` | the same with an attribute of the attempt (`Attempt.annotate`) |
 * | `timed_out 0 Retryable attempt_timeout` | another end than by itself: also `interrupted_loser`, `interrupted_caller`, `abandoned` |
 * | `wait 2000`, `wait 2000 asked 1500` | a backoff, and what the server asked for |
 * | `retry denied by default: empty` | a budget refused an extra attempt |
 * | `hedge denied: unhealthy` | a rule refused it before any budget was asked |
 * | `stop attempts_exhausted` | why there was no further attempt |
 * | `success`, `failure`, `defect`, `interrupted` | the result; the last row |
 *
 * Of one instant attempts come before decisions.
 *
 * **Example** (A call that waits and stops)
 *
 * ```ts
 * import { Backoff, PolicyLayer, Rego, Timeline } from "@rego/core"
 * import { TimelineRows } from "@rego/testing"
 * import { Effect, Fiber } from "effect"
 * import { TestClock } from "effect/testing"
 *
 * const Policies = PolicyLayer.make({
 *   policies: {
 *     "users.Get": { retry: { maxAttempts: 2, backoff: Backoff.constant("20 seconds") } }
 *   }
 * })
 *
 * const test = Effect.gen(function*() {
 *   const call = yield* Effect.fail("503").pipe(
 *     Rego.resilient("users.Get"),
 *     Timeline.capture,
 *     Effect.forkChild({ startImmediately: true })
 *   )
 *   yield* TestClock.adjust("20 seconds")
 *   const [, [timeline]] = yield* Fiber.join(call)
 *   TimelineRows.expectTimeline(timeline, [
 *     [0, "start 0"],
 *     [0, "end 0 Retryable typed_failure"],
 *     [0, /^wait/],
 *     [TimelineRows.between(0, "20 seconds"), "start 1"],
 *     [TimelineRows.between(0, "20 seconds"), "end 1 Retryable typed_failure"],
 *     [TimelineRows.anytime, "stop attempts_exhausted"],
 *     [TimelineRows.anytime, "failure"]
 *   ])
 * })
 *
 * await Effect.runPromise(test.pipe(Effect.provide([Policies, TestClock.layer()])))
 * ```
 *
 * @since 0.1.0
 */
import type { Timeline } from "@rego/core"
import { Duration, TextDiff } from "effect"
import { fail } from "./AssertionError.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * What happened at an instant, in milliseconds since the beginning.
 *
 * @category models
 * @since 0.1.0
 */
export type Row = readonly [at: number, event: string]

/**
 * From `min` to `max`, both included, in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Between {
  readonly min: number
  readonly max: number
}

/**
 * A row that is wanted: an instant or a stretch of time, and an event or a pattern that it matches.
 *
 * @category models
 * @since 0.1.0
 */
export type Expected = readonly [at: number | Duration.Input | Between, event: string | RegExp]

/**
 * A stretch of time for a row, both ends included: where jitter or another process decides when.
 *
 * @category constructors
 * @since 0.1.0
 */
export const between = (min: Duration.Input, max: Duration.Input): Between => ({
  min: Duration.toMillis(min),
  max: Duration.toMillis(max)
})

/**
 * Any instant: for a row whose time does not matter.
 *
 * @category constructors
 * @since 0.1.0
 */
export const anytime: Between = { min: 0, max: Infinity }

// -----------------------------------------------------------------------------
// timelines as rows
// -----------------------------------------------------------------------------

const words = (...parts: ReadonlyArray<string | number | undefined>): string =>
  parts.filter((part) => part !== undefined).join(" ")

const attemptRows = (timeline: Timeline.Timeline, attempt: Timeline.AttemptRecord): ReadonlyArray<Row> => {
  const { hedge, retry } = attempt.attempt
  const name = hedge === 0 ? `${retry}` : `${retry}.${hedge}`
  const notes = Object.entries(attempt.attributes ?? {}).map(([key, value]) => `${key}=${value}`)
  const end = attempt.endedBy === "returned" ? "end" : attempt.endedBy
  return [
    [attempt.startedAt, `start ${name}`],
    [attempt.endedAt ?? timeline.endedAt, words(end, name, attempt.outcome, attempt.reason, ...notes)]
  ]
}

const decisionRow = (decision: Timeline.Decision): Row => {
  switch (decision._tag) {
    case "BackoffScheduled":
      return [
        decision.at,
        words("wait", decision.delay, decision.retryAfter === undefined ? undefined : `asked ${decision.retryAfter}`)
      ]
    case "Denied": {
      const by = decision.budget === undefined ? "" : ` by ${decision.budget}`
      return [decision.at, `${decision.kind} denied${by}: ${decision.detail ?? decision.reason}`]
    }
    case "Stopped":
      return [decision.at, `stop ${decision.reason}`]
  }
}

/**
 * Everything in a timeline, with times since its start: attempts before decisions of the same instant, the result last.
 *
 * @category conversions
 * @since 0.1.0
 */
export const rows = (timeline: Timeline.Timeline): ReadonlyArray<Row> => {
  const attempts = timeline.attempts.flatMap((attempt) => attemptRows(timeline, attempt))
  const events = [...attempts, ...timeline.decisions.map(decisionRow)].toSorted(([a], [b]) => a - b)
  return [...events, [timeline.endedAt, timeline.result] as const].map(([at, event]) => [
    at - timeline.startedAt,
    event
  ])
}

// -----------------------------------------------------------------------------
// comparing
// -----------------------------------------------------------------------------

const isBetween = (at: Expected[0]): at is Between => typeof at === "object" && "min" in at

/** @internal */
export const isAt = (wanted: Expected[0], at: number): boolean =>
  isBetween(wanted) ? at >= wanted.min && at <= wanted.max : at === Duration.toMillis(wanted)

const matches = ([at, event]: Expected, [actualAt, actual]: Row): boolean =>
  isAt(at, actualAt) && (typeof event === "string" ? event === actual : actual.search(event) !== -1)

/** @internal */
export const showAt = (at: Expected[0]): string => {
  if (typeof at === "number") return String(at)
  if (isBetween(at)) return at === anytime ? "anytime" : `between(${at.min}, ${at.max})`
  return typeof at === "string" ? JSON.stringify(at) : Duration.format(Duration.fromInputUnsafe(at))
}

const showRow = ([at, event]: Expected): string =>
  `[${showAt(at)}, ${typeof event === "string" ? JSON.stringify(event) : String(event)}]`

const marks = { Equal: " ", Delete: "-", Insert: "+" } as const

/**
 * What differs, line by line: `-` is wanted and did not happen, `+` happened and is not wanted; `undefined` when all rows
 * are as wanted.
 *
 * @category comparing
 * @since 0.1.0
 */
export const difference = (actual: ReadonlyArray<Row>, expected: ReadonlyArray<Expected>): string | undefined => {
  const edits = TextDiff.diffWith<Expected>((wanted, row) => matches(wanted, row as Row))(expected, actual)
  return edits.every(({ _tag }) => _tag === "Equal")
    ? undefined
    : edits.flatMap(({ _tag, items }) => items.map((item) => `${marks[_tag]} ${showRow(item)}`)).join("\n")
}

/**
 * Throws an error with a diff unless rows are as wanted. `what` begins its message.
 *
 * @category comparing
 * @since 0.1.0
 */
export const expectRows = (
  actual: ReadonlyArray<Row>,
  expected: ReadonlyArray<Expected>,
  what = "rows"
): void => {
  const found = difference(actual, expected)
  if (found !== undefined) fail(`${what}: not as expected (- expected, + happened)\n${found}`)
}

/**
 * Throws an error with a diff unless a timeline has exactly these rows.
 *
 * **Details**
 *
 * `undefined` is accepted, and is an error: a capture that caught no call has no first timeline.
 *
 * @category comparing
 * @since 0.1.0
 */
export const expectTimeline = (
  timeline: Timeline.Timeline | undefined,
  expected: ReadonlyArray<Expected>
): void =>
  timeline === undefined
    ? fail("expected a timeline, but no call was made")
    : expectRows(rows(timeline), expected, `timeline of ${timeline.key}`)
