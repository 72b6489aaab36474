/**
 * Sums over a window that slides by whole slots: fixed memory, constant time.
 *
 * @internal
 */
/** The sum over the last `size` slots; `advance` drops what has left the window. */
export class SlidingSum {
  sum = 0
  /** A plain array: so short a typed one is mostly header, and every key has several. */
  private readonly ring: Array<number>
  private current = -Infinity
  /** where in the ring the current slot is: slots are too large for a quick division */
  private head = 0
  constructor(size: number) {
    this.ring = Array.from({ length: size }, () => 0)
  }

  advance(slot: number): void {
    if (slot - this.current >= this.ring.length) {
      this.ring.fill(0)
      this.sum = 0
      this.current = slot
    }
    for (; this.current < slot; this.current++) {
      this.head = this.head + 1 === this.ring.length ? 0 : this.head + 1
      this.sum -= this.ring[this.head]!
      this.ring[this.head] = 0
    }
  }

  /** One more in the current slot. */
  increment(): void {
    this.ring[this.head]!++
    this.sum++
  }

  /** Of a slot that has been advanced to; one that has left the window counts no more. */
  add(slot: number, amount: number): void {
    const back = this.current - slot
    if (back >= this.ring.length) return
    this.ring[this.at(back | 0)]! += amount
    this.sum += amount
  }

  /** The same amounts in slots of another length: `to` says where a slot goes, `current` is the slot of now. */
  resliced(current: number, to: (slot: number) => number): SlidingSum {
    const size = this.ring.length
    const next = new SlidingSum(size)
    next.advance(current)
    for (let slot = this.current - size + 1; slot <= this.current; slot++) {
      const amount = this.ring[this.at(this.current - slot)]!
      if (amount !== 0) next.add(to(slot), amount)
    }
    return next
  }

  /** Takes one from the oldest slot that holds one: no slot falls below nothing, and what leaves first is taken first. */
  removeOldest(): void {
    for (let back = this.ring.length - 1; back >= 0; back--) {
      const index = this.at(back)
      if (this.ring[index]! < 1) continue
      this.ring[index]! -= 1
      this.sum -= 1
      return
    }
  }

  private at(back: number): number {
    return this.head >= back ? this.head - back : this.head - back + this.ring.length
  }
}

/**
 * Counters over one window, slot by slot side by side: where there are many keys most of their memory is far away, and what
 * a call counts lies in one place.
 */
export class SlidingCounts {
  private readonly sums: Array<number>
  private readonly ring: Array<number>
  private current = -Infinity
  private head = 0
  constructor(size: number, counters: number) {
    this.sums = Array.from({ length: counters }, () => 0)
    this.ring = Array.from({ length: size * counters }, () => 0)
  }

  /** A clock that goes back counts as no time passed. */
  advance(slot: number): void {
    if (slot > this.current) this.move(slot)
  }

  private move(slot: number): void {
    const { ring, sums } = this
    for (let left = Math.min(slot - this.current, ring.length / sums.length); left > 0; left--) {
      this.head = this.head + sums.length === ring.length ? 0 : this.head + sums.length
      for (let counter = 0; counter < sums.length; counter++) {
        sums[counter]! -= ring[this.head + counter]!
        ring[this.head + counter] = 0
      }
    }
    this.current = slot
  }

  /** Counts one in the current slot. */
  count(counter: number): void {
    this.sums[counter]!++
    this.ring[this.head + counter]!++
  }

  sum(counter: number): number {
    return this.sums[counter]!
  }
}
