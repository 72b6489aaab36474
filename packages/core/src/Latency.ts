/**
 * How long the attempts of a key take, as a window that slides: what a hedge trigger reads.
 *
 * **Details**
 *
 * Durations are counted in buckets whose bounds grow by a constant ratio, from 1/8 ms to about 4 minutes, so that every
 * quantile has the same relative error (at most 3 %, or 1 % with `precise`) and memory does not depend on traffic. The
 * window is the longer of 60 seconds and the last 1,000 samples, at most 20 minutes. It consists of three slices that are
 * dropped whole, so at a steady rate it holds up to half as much again, and where the 20 minutes end it, 13 to 20 of them.
 * When the rate changes it may hold less than 1,000, never less than 60 seconds, or 7 minutes where 1,000 took longer.
 *
 * An attempt that was cut short (it lost a race, timed out, failed Retryable, or its caller went away) took *at least* as
 * long as it ran. Leaving it out, or counting it as if it had ended, makes the tail look shorter the more is hedged.
 * It counts as right-censored: quantiles are read from the Kaplan–Meier estimate over the buckets (E. L. Kaplan and
 * P. Meier, "Nonparametric Estimation from Incomplete Observations", J. Amer. Statist. Assoc. 53, 1958). What was cut
 * short within a bucket counts as at risk for half of it, as in a life table (S. J. Cutler and F. Ederer, "Maximum
 * Utilization of the Life Table Method in Analyzing Survival", J. Chronic Dis. 8, 1958): hedges cut all losers at about
 * the same time, and so within a bucket or two.
 *
 * **Example** (Quantiles of complete and censored samples)
 *
 * ```ts
 * import { Latency } from "@rego/core"
 * import { Duration, Option } from "effect"
 *
 * const latency = Latency.makeUnsafe()
 * for (let ms = 1; ms <= 100; ms++) latency.record(ms, true, 0)
 *
 * const p95 = Option.map(latency.snapshot(0).quantile(0.95), (d) => Math.round(Duration.toMillis(d)))
 * Option.exists(p95, (ms) => ms >= 92 && ms <= 98) // => true
 * ```
 *
 * @since 0.1.0
 */
import { Duration, Option } from "effect"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * What a trigger sees: a view of the window as it is now.
 *
 * @category models
 * @since 0.1.0
 */
export interface Snapshot {
  /** samples in the window, censored ones included */
  readonly samples: number
  /** `None` where there are no samples, or where too many were cut short for the estimate to reach `q` */
  readonly quantile: (q: number) => Option.Option<Duration.Duration>
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Latency {
  /** one attempt: `complete` when it answered, else right-censored at `millis`; `now` on the monotonic line */
  readonly record: (millis: number, complete: boolean, now: number) => void
  readonly snapshot: (now: number) => Snapshot
  /** a quantile in milliseconds, `undefined` as in `Snapshot`; remembered until it can have changed by much */
  readonly quantileMillis: (q: number, now: number) => number | undefined
  readonly samples: (now: number) => number
  /** how much longer an attempt that has run for `millis` would have taken: the median of the estimate, 0 if unknown */
  readonly residualMillis: (millis: number, now: number) => number
}

// -----------------------------------------------------------------------------
// buckets
// -----------------------------------------------------------------------------

const lowest = 1 / 8
const octaves = 21
const sliceCount = 3
/** While the third slice fills, the other two are the window. */
const sliceMillis = 60_000 / 2
const sliceSamples = 1_000 / 2
const maxWindowMillis = 20 * 60_000
const maxSliceMillis = maxWindowMillis / sliceCount

/** Buckets per doubling: with bounds a and b = a·2^(1/n) a value between them is off by at most (b - a)/(b + a). */
const perOctave = { normal: 12, precise: 36 } as const

interface Slice {
  readonly events: Uint32Array
  readonly censored: Uint32Array
  startedAt: number
  samples: number
}

const emptySlice = (buckets: number): Slice => ({
  events: new Uint32Array(buckets),
  censored: new Uint32Array(buckets),
  startedAt: -Infinity,
  samples: 0
})

const clear = (slice: Slice, startedAt: number): void => {
  slice.events.fill(0)
  slice.censored.fill(0)
  slice.startedAt = startedAt
  slice.samples = 0
}

/** The share of those at risk when a bucket begins that live longer: who is cut short within it counts half. */
const survive = (events: number, censored: number, atRisk: number): number => 1 - events / (atRisk - censored / 2)

class Window implements Latency {
  private readonly scale: number
  private readonly buckets: number
  private readonly slices: ReadonlyArray<Slice>
  private current = 0
  private recorded = 0
  /** samples in all slices */
  private held = 0
  /** before this instant nothing expires and the current slice is not full, so that most samples need not look */
  private settledUntil = -Infinity
  /** the last quantile read, and what had been recorded then */
  private cachedQ = NaN
  private cachedValue: number | undefined = undefined
  private cachedAt = 0
  private cachedUntil = -1

  constructor(precise: boolean) {
    this.scale = precise ? perOctave.precise : perOctave.normal
    this.buckets = octaves * this.scale + 2
    this.slices = Array.from({ length: sliceCount }, () => emptySlice(this.buckets))
  }

  private bucketOf(millis: number): number {
    if (!(millis > lowest)) return 0
    return Math.min(this.buckets - 1, 1 + Math.floor(Math.log2(millis / lowest) * this.scale))
  }

  /** The value whose relative distance to both bounds is the same. */
  private valueOf(bucket: number): number {
    if (bucket === 0) return lowest
    const low = lowest * 2 ** ((bucket - 1) / this.scale)
    const high = low * 2 ** (1 / this.scale)
    return (2 * low * high) / (low + high)
  }

  readonly record = (millis: number, complete: boolean, now: number): void => {
    const slice = this.sliceAt(now)
    const counts = complete ? slice.events : slice.censored
    counts[this.bucketOf(millis)]!++
    slice.samples++
    this.held++
    this.recorded++
  }

  /** A clock that goes back counts as no time passed. */
  private sliceAt(now: number): Slice {
    if (now < this.settledUntil) return this.slices[this.current]!
    this.dropExpired(now)
    const slice = this.slices[this.current]!
    if (slice.startedAt === -Infinity) slice.startedAt = now
    const age = now - slice.startedAt
    const full = age >= sliceMillis && slice.samples >= sliceSamples
    const current = full || age >= maxSliceMillis ? this.rotate(now) : slice
    this.settledUntil = Math.min(current.startedAt + sliceMillis, this.firstExpiry())
    return current
  }

  private firstExpiry(): number {
    let first = Infinity
    for (const { samples, startedAt } of this.slices) {
      if (samples > 0) first = Math.min(first, startedAt + maxWindowMillis)
    }
    return first
  }

  /** A key that is idle does not rotate: its slices can be older than the turn of the others makes them. */
  private dropExpired(now: number): void {
    for (const slice of this.slices) {
      if (slice.samples > 0 && now - slice.startedAt >= maxWindowMillis) this.drop(slice, -Infinity)
    }
  }

  private rotate(now: number): Slice {
    this.current = (this.current + 1) % sliceCount
    const slice = this.slices[this.current]!
    this.drop(slice, now)
    return slice
  }

  private drop(slice: Slice, startedAt: number): void {
    this.held -= slice.samples
    clear(slice, startedAt)
    this.cachedUntil = -1
  }

  readonly samples = (now: number): number => {
    this.sliceAt(now)
    return this.held
  }

  readonly snapshot = (now: number): Snapshot => ({
    samples: this.samples(now),
    quantile: (q) => Option.map(Option.fromUndefinedOr(this.quantileMillis(q, now)), Duration.millis)
  })

  readonly quantileMillis = (q: number, now: number): number | undefined => {
    const samples = this.samples(now)
    if (this.cachedQ === q && this.recorded < this.cachedUntil && now - this.cachedAt < sliceMillis) {
      return this.cachedValue
    }
    this.cachedValue = this.estimate(q, samples)
    this.cachedQ = q
    this.cachedAt = now
    // One new sample in a hundred cannot move a quantile by much.
    this.cachedUntil = this.recorded + Math.max(1, samples / 100)
    return this.cachedValue
  }

  readonly residualMillis = (millis: number, now: number): number => {
    const samples = this.samples(now)
    const surviving = this.survivingAfter(this.bucketOf(millis), samples)
    const median = surviving === 0 ? undefined : this.estimate(1 - surviving / 2, samples)
    return median !== undefined && median > millis ? median - millis : 0
  }

  private survivingAfter(last: number, samples: number): number {
    let atRisk = samples
    let surviving = 1
    for (let bucket = 0; bucket <= last && atRisk > 0; bucket++) {
      let events = 0
      let censored = 0
      for (const slice of this.slices) {
        events += slice.events[bucket]!
        censored += slice.censored[bucket]!
      }
      surviving *= survive(events, censored, atRisk)
      atRisk -= events + censored
    }
    return samples === 0 ? 0 : surviving
  }

  /** Kaplan–Meier: the share that takes longer than a bucket is the product of the shares that survive each one. */
  private estimate(q: number, samples: number): number | undefined {
    let atRisk = samples
    let surviving = 1
    for (let bucket = 0; bucket < this.buckets && atRisk > 0; bucket++) {
      let events = 0
      let censored = 0
      for (const slice of this.slices) {
        events += slice.events[bucket]!
        censored += slice.censored[bucket]!
      }
      if (events > 0) {
        surviving *= survive(events, censored, atRisk)
        if (surviving <= 1 - q + 1e-12) return this.valueOf(bucket)
      }
      atRisk -= events + censored
    }
    return undefined
  }
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe = (options?: {
  /** relative error at most 1 % instead of 3 %, for three times the memory */
  readonly precise?: boolean | undefined
}): Latency => new Window(options?.precise === true)
