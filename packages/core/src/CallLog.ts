/**
 * What is written to the log about one call, and how often. Pure, but for the counting.
 *
 * @internal
 */
import type { LogLevel } from "effect"
import { countOf, resultOf, stopOf } from "./CallMetrics.ts"
import type { Result } from "./CallMetrics.ts"
import type { Timeline } from "./Timeline.ts"

/** `"None"` writes no line. */
export type Levels = Readonly<Record<Result | "defect", LogLevel.Severity | "None">>

export const defaultLevels: Levels = {
  success: "Info",
  failure: "Warn",
  denied: "Warn",
  deadline: "Warn",
  defect: "Error",
  interrupted: "Debug"
}

export interface Line {
  readonly level: LogLevel.Severity
  readonly message: string
  readonly annotations: Readonly<Record<string, string | number>>
}

// -----------------------------------------------------------------------------
// lines
// -----------------------------------------------------------------------------

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`

/** A value that is returned though no attempt succeeded is a success for the caller, and a failure for who reads the log. */
const levelOf = (timeline: Timeline, levels: Levels): LogLevel.Severity | "None" => {
  if (timeline.result === "defect") return levels.defect
  const result = resultOf(timeline)
  return result === "success" && stopOf(timeline) !== undefined ? levels.failure : levels[result]
}

/** Whether it needed more than one attempt, or failed. A caller that went away while the first one ran is neither. */
const isWorthALine = (timeline: Timeline): boolean =>
  countOf(timeline).attempts > 1 || (stopOf(timeline) !== undefined && timeline.result !== "interrupted")

const lastDenial = ({ decisions }: Timeline): string | undefined => {
  const denied = decisions.findLast((decision) => decision._tag === "Denied")
  return denied?._tag === "Denied" ? denied.reason : undefined
}

const rounded = (millis: number): number => Math.round(millis * 1_000) / 1_000

const annotationsOf = (timeline: Timeline): Line["annotations"] => {
  const { attempts, retries, hedges } = countOf(timeline)
  const last = timeline.attempts.findLast(({ outcome }) => outcome !== undefined && outcome !== "Success")
  const all = {
    "rego.key": timeline.key,
    "rego.result": resultOf(timeline),
    "rego.stop": stopOf(timeline),
    "rego.duration_ms": rounded(timeline.endedAt - timeline.startedAt),
    "rego.attempts": attempts,
    "rego.retries": retries,
    "rego.hedges": hedges,
    "rego.reason": last?.reason,
    "rego.error": last?.error,
    "rego.denied": lastDenial(timeline),
    "rego.policy.revision": timeline.policyRevision,
    "rego.policy.source": timeline.policySource
  }
  return Object.fromEntries(
    Object.entries(all).filter((entry): entry is [string, string | number] => entry[1] !== undefined)
  )
}

export const lineOf = (timeline: Timeline, levels: Levels): Line | undefined => {
  const level = levelOf(timeline, levels)
  if (level === "None" || !isWorthALine(timeline)) return undefined
  const stop = stopOf(timeline)
  const made = counted(countOf(timeline).attempts, "attempt")
  return {
    level,
    message: `rego ${timeline.key}: ${resultOf(timeline)} after ${made}${stop === undefined ? "" : `, ${stop}`}`,
    annotations: annotationsOf(timeline)
  }
}

// -----------------------------------------------------------------------------
// limits
// -----------------------------------------------------------------------------

interface Written {
  lines: number
  suppressed: number
}

const others = "(other keys)"

/** So many lines of a key in a window of time; what is beyond is counted. Keys beyond the bound share one allowance. */
export class LineLimit {
  private readonly keys = new Map<string, Written>()
  private readonly maxLines: number
  private readonly maxKeys: number
  constructor(maxLines: number, maxKeys: number) {
    this.maxLines = maxLines
    this.maxKeys = maxKeys
  }

  allows(key: string): boolean {
    const written = this.keys.get(key) ?? this.begin(key)
    if (written.lines < this.maxLines) {
      written.lines++
      return true
    }
    written.suppressed++
    return false
  }

  private begin(key: string): Written {
    const name = this.keys.size < this.maxKeys ? key : others
    const written = this.keys.get(name) ?? { lines: 0, suppressed: 0 }
    this.keys.set(name, written)
    return written
  }

  /** Ends the window: a line for each key of which not all was written. */
  next(window: string): ReadonlyArray<Line> {
    const lines = Array.from(this.keys).filter(([, { suppressed }]) => suppressed > 0).map((
      [key, { suppressed }]
    ): Line => ({
      level: "Warn",
      message: `rego ${key}: ${counted(suppressed, "line")} suppressed within ${window}`,
      annotations: { "rego.key": key, "rego.suppressed": suppressed }
    }))
    this.keys.clear()
    return lines
  }
}
