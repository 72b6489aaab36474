/**
 * How long a simulated server takes: distributions of times, as data.
 *
 * **When to use**
 *
 * - `lognormal`: the usual shape of a service; mean and standard deviation are those of the times, not of their logarithms.
 * - `quantiles`: what a dashboard says (p50, p90, p99). Between two points the curve is that of a Pareto tail.
 * - `empirical`: times that were measured.
 * - `mixture`: most requests are like this, a few like that.
 * - `pareto`: a tail without an end. `exponential`: what queueing theory is about. `constant`, `uniform`: for tests.
 *
 * **Details**
 *
 * Times are drawn by inversion: one uniform number gives one time, and the same number gives the same share of every
 * distribution. So two policies can be compared on the same slowness.
 *
 * **Example** (A tail of stragglers)
 *
 * ```ts
 * import { Distribution } from "@rego/testing"
 *
 * const stragglers = Distribution.make({
 *   type: "mixture",
 *   of: [
 *     { weight: 95, times: { type: "constant", value: "5 millis" } },
 *     { weight: 5, times: { type: "constant", value: "50 millis" } }
 *   ]
 * })
 * const at = Distribution.quantile(stragglers)
 *
 * at(0.5) // => 5
 * at(0.99) // => 50
 * Distribution.mean(stragglers) // => 7.25
 * ```
 *
 * @since 0.1.0
 */
import { durationField, fromSchemaError, numberField, parseOptions, rule } from "@rego/core/internal/Issue"
import { Duration, Schema } from "effect"
import { ScenarioInvalid } from "./ScenarioInvalid.ts"
import { normalQuantile } from "./Statistics.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * A distribution whose times are written as `D`.
 *
 * @category models
 * @since 0.1.0
 */
export type Shape<D> =
  | { readonly type: "constant"; readonly value: D }
  | { readonly type: "uniform"; readonly min: D; readonly max: D }
  | { readonly type: "exponential"; readonly mean: D }
  /** `mean` and `sd` of the times themselves */
  | { readonly type: "lognormal"; readonly mean: D; readonly sd: D }
  /** no time is below `min`; the mean is endless from a `shape` of 1 down */
  | { readonly type: "pareto"; readonly min: D; readonly shape: number }
  /** 1 to 100,000 times, each as likely as the others */
  | { readonly type: "empirical"; readonly values: ReadonlyArray<D> }
  /** 2 to 1,000 points, in order; the first is the least time, and below its `q` there is nothing less */
  | { readonly type: "quantiles"; readonly points: ReadonlyArray<{ readonly q: number; readonly at: D }> }
  /** weights need not sum to 1 */
  | {
    readonly type: "mixture"
    readonly of: ReadonlyArray<{ readonly weight: number; readonly times: Shape<D> }>
  }

/**
 * How long work takes, as data.
 *
 * @category models
 * @since 0.1.0
 */
export type Distribution = Shape<Duration.Duration>

/**
 * A distribution as people write it: `"5 millis"`, or a number of milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export type Input = Shape<Duration.Input>

// -----------------------------------------------------------------------------
// schema
// -----------------------------------------------------------------------------

const time = durationField(0, "24 hours")
const positive = durationField("1 micros", "24 hours")

const inOrder = rule<ReadonlyArray<{ readonly q: number; readonly at: Duration.Duration }>>(
  (points) =>
    points.every(({ at, q }, i) =>
      i === 0 || (q > points[i - 1]!.q && Duration.toMillis(at) >= Duration.toMillis(points[i - 1]!.at))
    ),
  "points whose q and at grow from one to the next"
)

const between = (min: number, max: number, what: string) =>
  rule<ReadonlyArray<unknown>>(({ length }) => length >= min && length <= max, `${min} to ${max} ${what}`)

const simple = [
  Schema.Struct({ type: Schema.Literal("constant"), value: time }),
  Schema.Struct({ type: Schema.Literal("uniform"), min: time, max: time }),
  Schema.Struct({ type: Schema.Literal("exponential"), mean: positive }),
  Schema.Struct({ type: Schema.Literal("lognormal"), mean: positive, sd: positive }),
  Schema.Struct({ type: Schema.Literal("pareto"), min: positive, shape: numberField(0.1, 100) }),
  Schema.Struct({
    type: Schema.Literal("empirical"),
    values: Schema.Array(time).pipe(Schema.check(between(1, 100_000, "times")))
  }),
  Schema.Struct({
    type: Schema.Literal("quantiles"),
    points: Schema.Array(Schema.Struct({ q: numberField(0, 1), at: time })).pipe(
      Schema.check(between(2, 1_000, "points"), inOrder)
    )
  })
] as const

/**
 * The schema of distributions as they stand in a scenario file.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Distribution: Schema.Codec<Distribution, unknown> = Schema.Union([
  ...simple,
  Schema.Struct({
    type: Schema.Literal("mixture"),
    of: Schema.Array(Schema.Struct({
      weight: numberField(0, 1e9),
      times: Schema.suspend((): Schema.Codec<Distribution, unknown> => Distribution)
    })).pipe(
      Schema.check(
        between(1, 100, "parts"),
        rule<ReadonlyArray<{ readonly weight: number }>>(
          (parts) => parts.some(({ weight }) => weight > 0),
          "parts of which one has a weight"
        )
      )
    )
  })
])

const decode = Schema.decodeUnknownResult(Distribution, parseOptions)

/**
 * Checks a distribution. Throws `ScenarioInvalid` with every issue.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (input: Input): Distribution => {
  const decoded = decode(input)
  if (decoded._tag === "Failure") throw new ScenarioInvalid({ issues: fromSchemaError(decoded.failure) })
  return decoded.success
}

// -----------------------------------------------------------------------------
// quantiles
// -----------------------------------------------------------------------------

type Quantile = (u: number) => number

const lognormalQuantile = (mean: number, sd: number): Quantile => {
  const variance = Math.log(1 + (sd / mean) ** 2)
  const mu = Math.log(mean) - variance / 2
  const sigma = Math.sqrt(variance)
  return (u) => Math.exp(mu + sigma * normalQuantile(u))
}

/** The piece that holds `u`, by bisection: the last point at or below it. */
const pieceOf = (qs: Float64Array, u: number): number => {
  let low = 0
  let high = qs.length - 2
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (qs[middle]! <= u) low = middle
    else high = middle - 1
  }
  return low
}

/** A straight line between the logarithms of the time and of the share above it: the tail of a Pareto distribution. */
const pointsQuantile = (points: ReadonlyArray<{ readonly q: number; readonly at: Duration.Duration }>): Quantile => {
  const qs = Float64Array.from(points, ({ q }) => q)
  const times = Float64Array.from(points, ({ at }) => Duration.toMillis(at))
  return (u) => {
    if (u <= qs[0]!) return times[0]!
    if (u >= qs[qs.length - 1]!) return times[times.length - 1]!
    const i = pieceOf(qs, u)
    const [q0, q1, t0, t1] = [qs[i]!, qs[i + 1]!, times[i]!, times[i + 1]!]
    if (q1 >= 1 || t0 <= 0) return t0 + (t1 - t0) * (u - q0) / (q1 - q0)
    return t0 * (t1 / t0) ** (Math.log((1 - u) / (1 - q0)) / Math.log((1 - q1) / (1 - q0)))
  }
}

const mixtureQuantile = (of: ReadonlyArray<{ readonly weight: number; readonly times: Distribution }>): Quantile => {
  const total = of.reduce((sum, { weight }) => sum + weight, 0)
  const parts = of.map(({ times, weight }) => ({ share: weight / total, at: quantile(times) }))
  return (u) => {
    let below = 0
    for (const { at, share } of parts) {
      if (u < below + share) return at((u - below) / share)
      below += share
    }
    return parts.findLast(({ share }) => share > 0)!.at(u)
  }
}

/**
 * The time in milliseconds that a share `u` of all times, more than 0 and less than 1, does not exceed. A mixture draws
 * with it as any other distribution, but its times are not in order: each part has its own range of `u`.
 *
 * @category reading
 * @since 0.1.0
 */
export const quantile = (distribution: Distribution): (u: number) => number => {
  switch (distribution.type) {
    case "constant": {
      const value = Duration.toMillis(distribution.value)
      return () => value
    }
    case "uniform": {
      const [min, max] = [Duration.toMillis(distribution.min), Duration.toMillis(distribution.max)]
      return (u) => min + (max - min) * u
    }
    case "exponential": {
      const mean = Duration.toMillis(distribution.mean)
      return (u) => -mean * Math.log(1 - u)
    }
    case "lognormal":
      return lognormalQuantile(Duration.toMillis(distribution.mean), Duration.toMillis(distribution.sd))
    case "pareto": {
      const [min, power] = [Duration.toMillis(distribution.min), -1 / distribution.shape]
      return (u) => min * (1 - u) ** power
    }
    case "empirical": {
      const sorted = distribution.values.map((value) => Duration.toMillis(value)).toSorted((a, b) => a - b)
      return (u) => sorted[Math.min(sorted.length - 1, Math.floor(u * sorted.length))]!
    }
    case "quantiles":
      return pointsQuantile(distribution.points)
    case "mixture":
      return mixtureQuantile(distribution.of)
  }
}

/** More of them change the mean of a lognormal with a long tail by less than a thousandth. */
const meanSteps = 20_000

/**
 * The mean in milliseconds: exact where there is a formula, else that of 20,000 quantiles. `Infinity` for a `pareto` whose
 * shape is 1 or less.
 *
 * @category reading
 * @since 0.1.0
 */
export const mean = (distribution: Distribution): number => {
  switch (distribution.type) {
    case "exponential":
    case "lognormal":
      return Duration.toMillis(distribution.mean)
    case "pareto": {
      const { min, shape } = distribution
      return shape <= 1 ? Infinity : Duration.toMillis(min) * shape / (shape - 1)
    }
    case "mixture": {
      const total = distribution.of.reduce((sum, { weight }) => sum + weight, 0)
      return distribution.of.reduce((sum, { times, weight }) => sum + mean(times) * weight / total, 0)
    }
    default: {
      const at = quantile(distribution)
      let sum = 0
      for (let i = 0; i < meanSteps; i++) sum += at((i + 0.5) / meanSteps)
      return sum / meanSteps
    }
  }
}
