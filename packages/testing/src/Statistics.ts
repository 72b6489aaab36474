/**
 * What many seeds say together, and the normal distribution.
 *
 * @internal
 */

/** The median of the seeds that have a value, and between what bounds it lies with a confidence of 95 % at least. */
export interface Estimate {
  readonly median: number
  readonly low: number
  readonly high: number
  /** seeds without a value: it does not apply to them, as a latency where nothing succeeded */
  readonly missing: number
}

const medianOf = (sorted: ReadonlyArray<number>): number => {
  const middle = sorted.length / 2
  if (sorted.length % 2 === 1) return sorted[Math.floor(middle)]!
  const [below, above] = [sorted[middle - 1]!, sorted[middle]!]
  return below === above ? below : (below + above) / 2
}

/**
 * How many of `n` values may be left out on each side so that the range of the rest still holds the median with a
 * probability of 95 %: of independent values as many as you like lie below the median, as coins fall. 0 for less than six
 * values, whose whole range is not that sure.
 */
const leftOut = (n: number): number => {
  let chance = 2 ** -n
  let tail = chance
  let k = 0
  while (2 * tail <= 0.05) {
    k++
    chance *= (n - k + 1) / k
    tail += chance
  }
  return Math.max(0, k - 1)
}

/** Of the values that apply; those that do not (NaN) are counted. */
export const estimate = (values: ReadonlyArray<number>): Estimate => {
  const sorted = values.filter((value) => !Number.isNaN(value)).toSorted((a, b) => a - b)
  const missing = values.length - sorted.length
  if (sorted.length === 0) return { median: NaN, low: NaN, high: NaN, missing }
  const out = leftOut(sorted.length)
  return { median: medianOf(sorted), low: sorted[out]!, high: sorted[sorted.length - 1 - out]!, missing }
}

const polynomial = (coefficients: ReadonlyArray<number>, x: number): number =>
  coefficients.reduceRight((sum, coefficient) => sum * x + coefficient, 0)

const central = [
  [3.3871327179, 50.434271938, 159.29113202, 59.10937472],
  [1, 17.895169469, 78.757757664, 67.187563600]
] as const
const near = [[1.4234372777, 2.75681539, 1.3067284816, 0.17023821103], [1, 0.7370016425, 0.12021132975]] as const
const far = [[6.657905115, 3.081226386, 0.42868294337, 0.017337203997], [1, 0.24197894225, 0.012258202635]] as const

/** M. J. Wichura, "Algorithm AS 241", Applied Statistics 37 (1988), routine PPND7: seven digits. */
export const normalQuantile = (u: number): number => {
  const q = u - 0.5
  if (Math.abs(q) <= 0.425) {
    const r = 0.180625 - q * q
    return q * polynomial(central[0], r) / polynomial(central[1], r)
  }
  const r = Math.sqrt(-Math.log(q < 0 ? u : 1 - u))
  const [[above, below], shift] = r <= 5 ? [near, 1.6] as const : [far, 5] as const
  return Math.sign(q) * polynomial(above, r - shift) / polynomial(below, r - shift)
}
