/**
 * What is counted of a run, in bounded memory: totals without the warm-up, and load over time with it.
 *
 * @internal
 */
import type { Attempt } from "@rego/core"
import { Histogram } from "./Histogram.ts"

/** A request without an answer has failed when it was waited for so many milliseconds; of others it is not known yet. */
const patience = 10_000

/** More slots than this are merged in pairs, each twice as long. */
const maxSlots = 20_000

const counts = ["offered", "succeeded", "failed", "attempts", "hedges", "rescued"] as const

export type Count = typeof counts[number]

/** Counts over time. */
export class Load {
  slotMillis: number
  private readonly slots: Record<Count, Array<number>> = {
    offered: [],
    succeeded: [],
    failed: [],
    attempts: [],
    hedges: [],
    rescued: []
  }
  constructor(slotMillis: number) {
    this.slotMillis = slotMillis
  }

  add(what: Count, now: number): void {
    const slot = Math.floor(now / this.slotMillis)
    if (slot >= maxSlots) {
      this.coarsen()
      return this.add(what, now)
    }
    const slots = this.slots[what]
    while (slots.length <= slot) slots.push(0)
    slots[slot]!++
  }

  private coarsen(): void {
    this.slotMillis *= 2
    for (const what of counts) {
      const fine = this.slots[what]
      this.slots[what] = Array.from(
        { length: Math.ceil(fine.length / 2) },
        (_, i) => fine[2 * i]! + (fine[2 * i + 1] ?? 0)
      )
    }
  }

  get length(): number {
    return Math.max(...counts.map((what) => this.slots[what].length))
  }

  at(what: Count, slot: number): number {
    return this.slots[what][slot] ?? 0
  }

  /** of the slots that lie within two instants; parts of a slot count by their share */
  between(what: Count, from: number, to: number): number {
    let sum = 0
    const last = Math.min(this.slots[what].length - 1, Math.ceil(to / this.slotMillis) - 1)
    for (let slot = Math.max(0, Math.floor(from / this.slotMillis)); slot <= last; slot++) {
      const start = slot * this.slotMillis
      const overlap = Math.min(to, start + this.slotMillis) - Math.max(from, start)
      sum += this.at(what, slot) * overlap / this.slotMillis
    }
    return sum
  }

  /** the end of the first slot at or after an instant that has one of these; `undefined` when there is none */
  firstAfter(what: Count, from: number): number | undefined {
    for (let slot = Math.ceil(from / this.slotMillis); slot < this.slots[what].length; slot++) {
      if (this.at(what, slot) > 0) return (slot + 1) * this.slotMillis
    }
    return undefined
  }
}

export class Tally {
  requests = 0
  succeeded = 0
  /** those that were waited for long enough are failures besides */
  unanswered = 0
  readonly failures = new Map<string, number>()
  calls = 0
  attempts = 0
  retries = 0
  hedges = 0
  hedgesWon = 0
  readonly latency = new Histogram()
  readonly load: Load
  /** when the first request began that counts */
  countsFrom = NaN
  constructor(slotMillis: number) {
    this.load = new Load(slotMillis)
  }

  onRequest(counted: boolean, calls: number, now: number): void {
    this.load.add("offered", now)
    if (!counted) return
    if (Number.isNaN(this.countsFrom)) this.countsFrom = now
    this.requests++
    this.calls += calls
  }

  onAttempt(counted: boolean, { hedge, retry }: Attempt.Id, now: number): void {
    this.load.add("attempts", now)
    if (hedge > 0) this.load.add("hedges", now)
    if (!counted) return
    this.attempts++
    if (hedge > 0) this.hedges++
    else if (retry > 0) this.retries++
  }

  /** A call has succeeded, by this attempt. */
  onAnswer(counted: boolean, { hedge, retry }: Attempt.Id, now: number): void {
    if (retry > 0) this.load.add("rescued", now)
    if (counted && hedge > 0) this.hedgesWon++
  }

  onEnd(counted: boolean, failure: string | undefined, millis: number, now: number): void {
    this.load.add(failure === undefined ? "succeeded" : "failed", now)
    if (!counted) return
    if (failure !== undefined) return this.fail(failure)
    this.succeeded++
    this.latency.record(millis)
  }

  /** The run has ended without an answer to a request that began so many milliseconds before. */
  onUnanswered(counted: boolean, millis: number): void {
    if (!counted) return
    this.unanswered++
    if (millis >= patience) this.fail("unanswered")
  }

  private fail(why: string): void {
    this.failures.set(why, (this.failures.get(why) ?? 0) + 1)
  }
}
