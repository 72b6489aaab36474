/**
 * Random numbers that a seed repeats, as streams and by number.
 *
 * Whatever is compared must meet the same world: calls arrive at the same instants and meet the same slowness under each
 * policy. So arrivals have a stream of their own, and what an attempt meets is drawn by the number of its request and of
 * the attempt, not from a stream that the policy's own draws would shift.
 *
 * @internal
 */
import type { Random } from "effect"

const twoTo32 = 2 ** 32
const golden = 0x9e3779b9

/** The finalizer of MurmurHash3 (A. Appleby, public domain): each bit of the input changes half of the output. */
const mix = (n: number): number => {
  let h = n | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

/** One number of 32 bits from two. */
export const hash = (a: number, b: number): number => mix(Math.imul(mix(a + golden), 31) + Math.imul(b, golden) + 1)

/** In (0, 1): never 0, of which some quantiles have no value. */
export const uniform = (a: number, b: number): number => (hash(a, b) + 0.5) / twoTo32

/** A stream: sfc32 of PractRand (C. Doty-Humphrey, public domain). */
export class Stream implements Random.Random {
  private a: number
  private b: number
  private c: number
  private counter = 1

  /** @param name streams of one seed and of different names have nothing to do with each other */
  constructor(seed: number, name: number) {
    this.a = hash(seed, name)
    this.b = hash(this.a, 2)
    this.c = hash(this.b, 3)
    for (let i = 0; i < 12; i++) this.next()
  }

  private next(): number {
    const sum = (this.a + this.b + this.counter++) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum | 0
    return sum >>> 0
  }

  nextDoubleUnsafe(): number {
    return this.next() / twoTo32
  }

  nextIntUnsafe(): number {
    return this.next() * 2 ** 21 + (this.next() >>> 11) - Number.MAX_SAFE_INTEGER
  }

  /** a wait between events that come `perMilli` on average, independently of each other */
  nextGap(perMilli: number): number {
    return -Math.log(1 - this.nextDoubleUnsafe()) / perMilli
  }
}
