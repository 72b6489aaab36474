/**
 * What many seeds say together.
 *
 * @internal
 */

/** The median of all seeds, and between what bounds it lies with a confidence of 95 % at least. */
export interface Estimate {
  readonly median: number
  readonly low: number
  readonly high: number
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

/** Values that do not apply (NaN) are left out. */
export const estimate = (values: ReadonlyArray<number>): Estimate => {
  const sorted = values.filter((value) => !Number.isNaN(value)).toSorted((a, b) => a - b)
  if (sorted.length === 0) return { median: NaN, low: NaN, high: NaN }
  const out = leftOut(sorted.length)
  return { median: medianOf(sorted), low: sorted[out]!, high: sorted[sorted.length - 1 - out]! }
}
