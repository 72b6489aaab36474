/**
 * The timelines of the latest calls, of the latest failures and of the slowest calls, in bounded rings. Users meet it as
 * `Observer.recent`.
 *
 * @internal
 */
import { Duration, Effect, Option } from "effect"
import { parseDuration } from "./Issue.ts"
import type { RecentCall, RecentFilter, RecentOptions } from "./Observer.ts"
import type { Timeline } from "./Timeline.ts"
import { droppedOf } from "./Waterfall.ts"

const durationOf = ({ timeline }: RecentCall): number => timeline.endedAt - timeline.startedAt

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

const maxKept = 10_000

const sizeOf = (name: string, given: number | undefined, otherwise: number, min: number): number => {
  const size = given ?? otherwise
  if (Number.isInteger(size) && size >= min && size <= maxKept) return size
  throw new RangeError(`Observer.recent: ${name} must be an integer between ${min} and ${maxKept}, got ${size}`)
}

const millisOf = (slowerThan: Duration.Input | undefined): number => {
  if (slowerThan === undefined) return 0
  const parsed = parseDuration(slowerThan)
  if (typeof parsed === "string") throw new RangeError(`Observer.recent: slowerThan ${parsed}`)
  return Duration.toMillis(parsed)
}

// -----------------------------------------------------------------------------
// what is kept
// -----------------------------------------------------------------------------

/** The latest ones, in no order. */
class Ring {
  readonly kept: Array<RecentCall> = []
  private next = 0
  private readonly size: number
  constructor(size: number) {
    this.size = size
  }

  add(call: RecentCall): void {
    if (this.size === 0) return
    this.kept[this.next] = call
    this.next = (this.next + 1) % this.size
  }
}

/** Long enough to find what woke somebody up; the slowest call since the start would stay for ever, and tell nothing. */
const slowestWindow = 3_600_000

/** The slowest ones of the last hour, the slowest first. */
class Slowest {
  private kept: ReadonlyArray<RecentCall> = []
  /** when the earliest of them ended */
  private earliest = Infinity
  private readonly size: number
  constructor(size: number) {
    this.size = size
  }

  add(call: RecentCall): void {
    if (this.size === 0) return
    const last = this.kept[this.size - 1]
    const { endedAt } = call.timeline
    if (last !== undefined && durationOf(last) >= durationOf(call) && !isOld(this.earliest, endedAt)) return
    this.kept = [...this.at(endedAt), call].toSorted((a, b) => durationOf(b) - durationOf(a)).slice(0, this.size)
    this.earliest = Math.min(...this.kept.map(({ timeline }) => timeline.endedAt))
  }

  at(now: number): ReadonlyArray<RecentCall> {
    return this.kept.filter(({ timeline }) => !isOld(timeline.endedAt, now))
  }
}

const isOld = (endedAt: number, now: number): boolean => now - endedAt > slowestWindow

// -----------------------------------------------------------------------------
// looking at it
// -----------------------------------------------------------------------------

/** The second part of an id, without which calls that ended in one instant would have no order. */
const numberOf = ({ id }: RecentCall): number => parseInt(id.slice(id.lastIndexOf("-") + 1), 36)

const orders: Readonly<Record<NonNullable<RecentFilter["order"]>, (a: RecentCall, b: RecentCall) => number>> = {
  latest: (a, b) => b.timeline.endedAt - a.timeline.endedAt || numberOf(b) - numberOf(a),
  slowest: (a, b) => durationOf(b) - durationOf(a) || numberOf(b) - numberOf(a)
}

const matches = ({ key = "", minAttempts = 0, result, slowerThan }: RecentFilter) => {
  const [wanted, millis] = [key.toLowerCase(), millisOf(slowerThan)]
  return (call: RecentCall): boolean =>
    call.timeline.key.toLowerCase().includes(wanted) &&
    (result === undefined || call.timeline.result === result) &&
    call.timeline.attempts.length + droppedOf(call.timeline) >= minAttempts &&
    durationOf(call) >= millis
}

export class RecentCalls {
  readonly name = "recent"
  private total = 0
  /** when the call ended that it was told of last, kept or not */
  private now = -Infinity
  private readonly slowerThan: number
  private readonly latest: Ring
  private readonly failed: Ring
  private readonly slowest: Slowest
  constructor(options: RecentOptions) {
    this.latest = new Ring(sizeOf("capacity", options.capacity, 200, 1))
    this.failed = new Ring(sizeOf("keepFailed", options.keepFailed, 50, 0))
    this.slowest = new Slowest(sizeOf("keepSlowest", options.keepSlowest, 20, 0))
    this.slowerThan = millisOf(options.slowerThan)
  }

  readonly onCallEnd = (timeline: Timeline): void => {
    this.total++
    this.now = timeline.endedAt
    const id = `${Math.floor(timeline.startedAt).toString(36)}-${this.total.toString(36)}`
    const call = { id, timeline }
    const hasFailed = timeline.result === "failure" || timeline.result === "defect"
    if (!hasFailed && durationOf(call) < this.slowerThan) return
    this.latest.add(call)
    this.slowest.add(call)
    if (hasFailed) this.failed.add(call)
  }

  readonly seen: Effect.Effect<number> = Effect.sync(() => this.total)

  readonly calls = (filter: RecentFilter = {}): Effect.Effect<ReadonlyArray<RecentCall>> =>
    Effect.sync(() =>
      [...this.all()].filter(matches(filter)).toSorted(orders[filter.order ?? "latest"]).slice(0, filter.limit)
    )

  readonly find = (id: string): Effect.Effect<Option.Option<RecentCall>> =>
    Effect.sync(() => Option.fromUndefinedOr([...this.all()].find((call) => call.id === id)))

  /** One call may be in all three. */
  private all(): ReadonlySet<RecentCall> {
    return new Set([...this.latest.kept, ...this.failed.kept, ...this.slowest.at(this.now)])
  }
}
