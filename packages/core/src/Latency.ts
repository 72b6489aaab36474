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
import { beforeAllSlots } from "./SlidingSum.ts"

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
 * A window of durations. It has no fiber and reads no clock: all times are given.
 *
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

/** What is looked at for every sample is told in whole ticks, which lie in the window itself (see `beforeAllSlots`). */
const tickMillis = 125
const tickOf = (now: number): number => Math.floor(now / tickMillis)
const cacheTicks = sliceMillis / tickMillis

/** Of the binary form of a number: its power of two, and where between two of them it lies. */
const exponentShift = 20
const exponentOfLowest = 1_023 - 3
const mantissaBits = 12
const number = new Float64Array(1)
const words = new Uint32Array(number.buffer)
/** the word with the exponent, whatever the byte order of the host */
const high = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1 ? 1 : 0

/**
 * Buckets per doubling: with bounds a and b = a·2^(1/n) a value between them is off by at most (b - a)/(b + a). Which bucket
 * of its doubling a number falls into is looked up by the first bits of its mantissa, which moves a bound by less than
 * 0.03 % and costs a fraction of a logarithm.
 */
class Scale {
  readonly perOctave: number
  readonly buckets: number
  private readonly ofMantissa: Uint8Array
  constructor(perOctave: number) {
    this.perOctave = perOctave
    this.buckets = octaves * perOctave + 2
    const steps = 2 ** mantissaBits
    this.ofMantissa = Uint8Array.from(
      { length: steps },
      (_, step) => Math.floor(Math.log2(1 + (step + 0.5) / steps) * perOctave)
    )
  }

  bucketOf(millis: number): number {
    if (!(millis > lowest)) return 0
    number[0] = millis
    const word = words[high]!
    const octave = (word >>> exponentShift) - exponentOfLowest
    const mantissa = (word >>> (exponentShift - mantissaBits)) & (2 ** mantissaBits - 1)
    return Math.min(this.buckets - 1, 1 + octave * this.perOctave + this.ofMantissa[mantissa]!)
  }

  /** The value whose relative distance to both bounds is the same. */
  valueOf(bucket: number): number {
    if (bucket === 0) return lowest
    const low = lowest * 2 ** ((bucket - 1) / this.perOctave)
    const up = low * 2 ** (1 / this.perOctave)
    return (2 * low * up) / (low + up)
  }
}

const normal = new Scale(12)
const precise = new Scale(36)

interface Slice {
  startedAt: number
  /** of the current slice only known when it is left */
  samples: number
}

/** The share of those at risk when a bucket begins that live longer: who is cut short within it counts half. */
const survive = (events: number, censored: number, atRisk: number): number => 1 - events / (atRisk - censored / 2)

class Window implements Latency {
  // What all samples touch stands side by side, and in the object itself: see `beforeAllSlots`.
  private readonly scale: Scale
  /**
   * For each slice a row of complete samples, then a row of censored ones. The rows hold the buckets that have been seen,
   * in whole octaves: few keys spread over all of them, and there are many keys.
   */
  private counts = new Uint32Array(0)
  private width = 0
  /** the bucket that the rows begin with */
  private first = 0
  private current = 0
  /** before this tick nothing expires and the current slice is not full, so that most samples need not look */
  private settledUntil = beforeAllSlots
  /** All samples ever; how many are held follows. */
  private recorded = 0
  private dropped = 0

  /** the last quantile read, the tick of then, and how much must have been recorded to read it again */
  private cachedValue: number | undefined = undefined
  private cachedQ = NaN
  private cachedAt = 0
  private cachedUntil = -1
  /** what had been recorded when the current slice began */
  private recordedBefore = 0
  private readonly slices: ReadonlyArray<Slice> = Array.from(
    { length: sliceCount },
    () => ({ startedAt: -Infinity, samples: 0 })
  )

  constructor(scale: Scale) {
    this.scale = scale
  }

  record(millis: number, complete: boolean, now: number): void {
    this.advance(now)
    const bucket = this.scale.bucketOf(millis)
    if (bucket < this.first || bucket >= this.first + this.width) this.widen(bucket)
    const row = this.current * 2 + (complete ? 0 : 1)
    this.counts[row * this.width + bucket - this.first]!++
    this.recorded++
  }

  /** samples in all slices */
  private get held(): number {
    return this.recorded - this.dropped
  }

  private samplesOf(index: number): number {
    return index === this.current ? this.recorded - this.recordedBefore : this.slices[index]!.samples
  }

  /** Makes room for a bucket, in whole octaves. */
  private widen(bucket: number): void {
    const { perOctave } = this.scale
    const octave = Math.floor(bucket / perOctave) * perOctave
    if (this.width === 0) this.first = octave
    const first = Math.min(this.first, octave)
    const end = Math.max(this.first + this.width, octave + perOctave)
    const counts = new Uint32Array(sliceCount * 2 * (end - first))
    for (let row = 0; row < sliceCount * 2; row++) {
      const from = this.counts.subarray(row * this.width, (row + 1) * this.width)
      counts.set(from, row * (end - first) + this.first - first)
    }
    this.counts = counts
    this.first = first
    this.width = end - first
  }

  /** A clock that goes back counts as no time passed. */
  private advance(now: number): void {
    if (tickOf(now) >= this.settledUntil) this.settle(now)
  }

  private settle(now: number): void {
    this.dropExpired(now)
    const slice = this.slices[this.current]!
    if (slice.startedAt === -Infinity) slice.startedAt = now
    const age = now - slice.startedAt
    const full = age >= sliceMillis && this.samplesOf(this.current) >= sliceSamples
    if (full || age >= maxSliceMillis) this.rotate(now)
    this.settledUntil = tickOf(Math.min(this.slices[this.current]!.startedAt + sliceMillis, this.firstExpiry()))
  }

  private firstExpiry(): number {
    let expiry = Infinity
    this.slices.forEach(({ startedAt }, index) => {
      if (this.samplesOf(index) > 0) expiry = Math.min(expiry, startedAt + maxWindowMillis)
    })
    return expiry
  }

  /** A key that is idle does not rotate: its slices can be older than the turn of the others makes them. */
  private dropExpired(now: number): void {
    for (let index = 0; index < sliceCount; index++) {
      if (this.samplesOf(index) > 0 && now - this.slices[index]!.startedAt >= maxWindowMillis) {
        this.drop(index, -Infinity)
      }
    }
  }

  private rotate(now: number): void {
    this.slices[this.current]!.samples = this.samplesOf(this.current)
    this.current = (this.current + 1) % sliceCount
    this.recordedBefore = this.recorded - this.slices[this.current]!.samples
    this.drop(this.current, now)
  }

  private drop(index: number, startedAt: number): void {
    const slice = this.slices[index]!
    this.counts.fill(0, index * 2 * this.width, (index + 1) * 2 * this.width)
    this.dropped += this.samplesOf(index)
    slice.startedAt = startedAt
    slice.samples = 0
    if (index === this.current) this.recordedBefore = this.recorded
    this.cachedUntil = -1
  }

  samples(now: number): number {
    this.advance(now)
    return this.held
  }

  snapshot(now: number): Snapshot {
    return {
      samples: this.samples(now),
      quantile: (q) => Option.map(Option.fromUndefinedOr(this.quantileMillis(q, now)), Duration.millis)
    }
  }

  quantileMillis(q: number, now: number): number | undefined {
    const samples = this.samples(now)
    const tick = tickOf(now)
    if (this.cachedQ === q && this.recorded < this.cachedUntil && tick - this.cachedAt < cacheTicks) {
      return this.cachedValue
    }
    this.cachedValue = this.estimate(q)
    this.cachedQ = q
    this.cachedAt = tick
    // One new sample in a hundred cannot move a quantile by much.
    this.cachedUntil = this.recorded + Math.max(1, Math.ceil(samples / 100))
    return this.cachedValue
  }

  residualMillis(millis: number, now: number): number {
    const samples = this.samples(now)
    const surviving = samples === 0 ? 0 : this.survivingAfter(this.scale.bucketOf(millis))
    const median = surviving === 0 ? undefined : this.estimate(1 - surviving / 2)
    return median !== undefined && median > millis ? median - millis : 0
  }

  /** Kaplan–Meier: the share that takes longer than a bucket is the product of the shares that survive each one. */
  private survivingAfter(last: number): number {
    let surviving = 1
    this.walk((bucket, survived) => {
      if (bucket > last) return true
      surviving = survived
      return false
    })
    return surviving
  }

  private estimate(q: number): number | undefined {
    let found: number | undefined
    this.walk((bucket, survived) => {
      if (survived > 1 - q + 1e-12) return false
      found = this.scale.valueOf(bucket)
      return true
    })
    return found
  }

  /** The share that survives each bucket in which something ended, until `visit` has seen enough. */
  private walk(visit: (bucket: number, surviving: number) => boolean): void {
    const { counts, width } = this
    let atRisk = this.held
    let surviving = 1
    for (let index = 0; index < width && atRisk > 0; index++) {
      const events = counts[index]! + counts[2 * width + index]! + counts[4 * width + index]!
      const censored = counts[width + index]! + counts[3 * width + index]! + counts[5 * width + index]!
      if (events > 0) {
        surviving *= survive(events, censored, atRisk)
        if (visit(this.first + index, surviving)) return
      }
      atRisk -= events + censored
    }
  }
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * An empty window: 6 KiB of counters at most, or 18 KiB with `precise`, which brings the relative error from 3 % to 1
 * %.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeUnsafe = (options?: {
  /** relative error at most 1 % instead of 3 %, for three times the memory */
  readonly precise?: boolean | undefined
}): Latency => new Window(options?.precise === true ? precise : normal)
