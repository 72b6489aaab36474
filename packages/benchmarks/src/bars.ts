/**
 * What the library is held to: each row compares two things that were measured in the same run, or one with a number.
 */
import { groups, idOf } from "./cases.ts"
import { perCaptured, perKey } from "./memory.ts"
import { parts } from "./parts.ts"
import { reporting } from "./reporting.ts"
import type { Measurement, Results } from "./results.ts"
import { find, inFlightOf, median, ratio } from "./results.ts"
import { scale } from "./scale.ts"
import * as Subjects from "./subjects.ts"
import { swaps } from "./swaps.ts"

export interface Bar {
  readonly number: string
  readonly name: string
  /** ids of measurements; without `to` the bar is an amount */
  readonly of: string
  readonly to?: string
  /** shown beside an amount: what is measured, and what it is called there */
  readonly beside?: readonly [id: string, name: string]
  /** at most; a row without one is shown for comparison */
  readonly bar?: number
  readonly goal?: number
}

const { constant, failing, fibers, http, outside, request, runtime } = groups

const composed = idOf(request, Subjects.composed)
const emptyCall = [parts.empty, "an empty call"] as const

export const bars: ReadonlyArray<Bar> = [
  {
    number: "1",
    name: "everything on, success",
    of: idOf(request, Subjects.regoTimeline),
    to: composed,
    bar: 0.25,
    goal: 0.17
  },
  {
    number: "1",
    name: "everything on, in a Timeline.capture of its own",
    of: idOf(request, Subjects.regoCapture),
    to: composed
  },
  {
    number: "1",
    name: "everything on, one constant effect",
    of: idOf(constant, Subjects.regoTimeline),
    to: idOf(constant, Subjects.composed)
  },
  {
    number: "1",
    name: "everything on, from 64 fibers",
    of: idOf(fibers, Subjects.regoTimeline),
    to: idOf(fibers, Subjects.composed)
  },
  {
    number: "2",
    name: "same, without timeline and hedge",
    of: idOf(request, Subjects.regoWithoutHedge),
    to: composed,
    bar: 0.2,
    goal: 0.14
  },
  {
    number: "2",
    name: "same, one constant effect",
    of: idOf(constant, Subjects.regoWithoutHedge),
    to: idOf(constant, Subjects.composed)
  },
  {
    number: "3",
    name: "everything on, from outside",
    of: idOf(outside, Subjects.regoTimeline),
    to: idOf(outside, Subjects.cockatielThree),
    bar: 0.33,
    goal: 0.22
  },
  {
    number: "3",
    name: "same, through a ManagedRuntime",
    of: idOf(runtime, Subjects.regoTimeline),
    to: idOf(outside, Subjects.cockatielThree)
  },
  {
    number: "3",
    name: "same, against abortOnReturn: false",
    of: idOf(outside, Subjects.regoTimeline),
    to: idOf(outside, Subjects.cockatielThree + Subjects.keptSignal)
  },
  {
    number: "4",
    name: "retry and budget, no timer",
    of: idOf(request, Subjects.regoRetryAndBudget),
    to: idOf(request, Subjects.effectRetry),
    bar: 0.8,
    goal: 0.65
  },
  {
    number: "5",
    name: "hedge armed and not fired, everything else on",
    of: idOf(request, Subjects.rego),
    to: idOf(request, Subjects.raced),
    bar: 0.5
  },
  {
    number: "6",
    name: "two failures, then success",
    of: idOf(failing, Subjects.regoFailing),
    to: idOf(failing, Subjects.effectRetry),
    bar: 0.6
  },
  {
    number: "7",
    name: "timeline captured",
    of: idOf(request, Subjects.regoTimeline),
    to: idOf(request, Subjects.rego),
    bar: 1.3
  },
  {
    number: "7",
    name: "same, in a Timeline.capture of its own",
    of: idOf(request, Subjects.regoCapture),
    to: idOf(request, Subjects.rego)
  },
  {
    number: "8",
    name: "memory of a call in flight, everything on",
    of: inFlightOf(Subjects.regoTimeline),
    to: inFlightOf(Subjects.composed),
    bar: 0.35
  },
  {
    number: "8",
    name: "same, against cockatiel",
    of: inFlightOf(Subjects.regoTimeline),
    to: inFlightOf(Subjects.cockatielFour),
    bar: 0.25
  },
  { number: "8", name: "memory kept for a call inside a capture", of: perCaptured },
  { number: "9", name: "10,000 keys", of: scale.manyKeys, to: scale.oneKey, bar: 1.25 },
  { number: "9", name: "a call beside 100,000 in flight", of: scale.besideMany, to: scale.besideFew, bar: 1.25 },
  {
    number: "9",
    name: "100,000 calls started and ended together",
    of: scale.manyInFlight,
    to: scale.fewInFlight,
    bar: 1.25
  },
  { number: "9", name: "same, bare effects", of: scale.manyBare, to: scale.fewBare },
  {
    number: "9",
    name: "after 1,000 layers built and closed",
    of: scale.lastLayer,
    to: scale.firstLayer
  },
  { number: "9", name: "after 1,000 policy swaps", of: swaps.often, to: swaps.never, bar: 1.25 },
  { number: "10", name: "budget decision, granted", of: parts.granted, beside: emptyCall, bar: 100 },
  { number: "10", name: "budget decision, denied", of: parts.denied, beside: emptyCall, bar: 100 },
  { number: "10", name: "latency record", of: parts.record, beside: emptyCall, bar: 40 },
  { number: "10", name: "quantile read, nothing new", of: parts.read, beside: emptyCall, bar: 40 },
  { number: "10", name: "latency record and quantile read", of: parts.recordAndRead, beside: emptyCall, bar: 80 },
  { number: "10", name: "memory of a key", of: perKey, bar: 8_192 },
  {
    number: "11",
    name: "loopback HTTP GET, processor time",
    of: idOf(http, Subjects.regoTimeline),
    to: idOf(http, Subjects.bare),
    bar: 1.15
  },
  { number: "12", name: "p99 of calls while 10,000 policies change", of: swaps.busy, to: swaps.quiet, bar: 1.5 },
  {
    number: "12",
    name: "slowest call meanwhile",
    of: swaps.busySlowest,
    beside: [swaps.quietSlowest, "while nothing changes"],
    bar: 5_000_000
  },
  { number: "13", name: "a success, with metrics", of: reporting.successMetrics, to: reporting.success },
  { number: "13", name: "a success, with logs", of: reporting.successLogs, to: reporting.success },
  {
    number: "13",
    name: "two failures, then success, with metrics",
    of: reporting.retriedMetrics,
    to: reporting.retried
  },
  { number: "13", name: "two failures, then success, with logs", of: reporting.retriedLogs, to: reporting.retried }
]

// -----------------------------------------------------------------------------
// verdicts
// -----------------------------------------------------------------------------

export interface Verdict {
  readonly number: string
  readonly name: string
  readonly unit: Measurement["unit"]
  readonly median: number
  /** what the bar is about: a ratio, or the amount itself */
  readonly figure: number
  readonly to: string | undefined
  readonly beside: readonly [amount: number, name: string] | undefined
  readonly bar: number | undefined
  readonly goal: number | undefined
  readonly holds: boolean | undefined
}

const judge = (results: Results, bar: Bar): Verdict | undefined => {
  const of = find(results, bar.of)
  const to = bar.to === undefined ? undefined : find(results, bar.to)
  const beside = bar.beside === undefined ? undefined : find(results, bar.beside[0])
  if (of === undefined || (bar.to !== undefined && to === undefined)) return undefined
  const amount = median(of)
  const figure = to === undefined ? amount : ratio(of, to)
  return {
    number: bar.number,
    name: bar.name,
    unit: of.unit,
    median: amount,
    figure,
    to: bar.to === undefined ? undefined : bar.to.slice(bar.to.lastIndexOf("/") + 1),
    beside: beside === undefined ? undefined : [median(beside), bar.beside![1]],
    bar: bar.bar,
    goal: bar.goal,
    holds: bar.bar === undefined ? undefined : figure <= bar.bar
  }
}

/** The verdict on each bar that was measured, in the order of the table. */
export const verdicts = (results: Results): ReadonlyArray<Verdict> => bars.flatMap((bar) => judge(results, bar) ?? [])

/** What must be measured to judge the bars. */
export const needed: ReadonlySet<string> = new Set(
  bars.flatMap((bar) => [bar.of, bar.to, bar.beside?.[0]].filter((id) => id !== undefined))
)
