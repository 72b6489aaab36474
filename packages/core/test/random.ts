/**
 * Random numbers that a seed repeats, for tests and for scripts that run without a test runner.
 */

/** Numbers in [0, 1) (mulberry32): for long scripts, where drawing each step from an arbitrary would be slow. */
export const makeRandom = (start: number): () => number => {
  let state = start >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
