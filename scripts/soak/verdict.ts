import type { Counts } from "./load.ts"

export interface Sample {
  /** milliseconds since the start */
  readonly at: number
  /** bytes, after a collection */
  readonly heap: number
  /** timers, sockets and whatever else keeps a process alive */
  readonly handles: number
}

export interface Soaked {
  readonly counts: Counts
  readonly samples: ReadonlyArray<Sample>
  /** handles that are left when everything was closed */
  readonly left: ReadonlyArray<string>
}

const median = (numbers: ReadonlyArray<number>): number =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? 0

interface Trend {
  readonly early: number
  readonly late: number
}

/** The first quarter is warm-up; then the median of the first third against that of the last. */
const trend = (samples: ReadonlyArray<Sample>, of: (sample: Sample) => number): Trend => {
  const warm = samples.slice(Math.ceil(samples.length / 4))
  const third = Math.floor(warm.length / 3)
  return { early: median(warm.slice(0, third).map(of)), late: median(warm.slice(-third).map(of)) }
}

export const heapOf = (soaked: Soaked): Trend => trend(soaked.samples, (sample) => sample.heap)
export const handlesOf = (soaked: Soaked): Trend => trend(soaked.samples, (sample) => sample.handles)

/** What calls in flight may make of it: they are not the same ones at each look. */
const heapSlack = (early: number): number => early * 0.05 + 1_000_000
const handlesSlack = (early: number): number => early * 0.25 + 10

const grown = (what: string, { early, late }: Trend, slack: (early: number) => number): ReadonlyArray<string> =>
  late <= early + slack(early) ? [] : [`${what} grew from ${early} to ${late}`]

/** What is wrong with a soak, a line for each. */
export const wrongs = (soaked: Soaked): ReadonlyArray<string> => {
  const { counts, left } = soaked
  const some = [...new Set(counts.wrongs)].slice(0, 5)
  return [
    ...counts.wrongs.length === 0 ? [] : [`${counts.wrongs.length} errors of ours: ${some.join("; ")}`],
    ...soaked.samples.length < 12 ? [`only ${soaked.samples.length} samples`] : [],
    ...grown("the heap", heapOf(soaked), heapSlack),
    ...grown("handles", handlesOf(soaked), handlesSlack),
    ...left.length === 0 ? [] : [`${left.length} handles are left: ${[...new Set(left)].join(", ")}`],
    ...counts.calls === 0 ? ["no call was made"] : [],
    ...counts.refused === 0 ? ["no document was refused"] : []
  ]
}
