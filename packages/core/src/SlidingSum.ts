/**
 * Sums over a window that slides by whole slots: fixed memory, constant time.
 *
 * @internal
 */

/**
 * Where a slot that moves forward begins. It is whole because a small whole number is kept in the object that has it, and
 * any other in a place of its own. Where there are many keys most of their memory is far away: what all calls touch is
 * therefore little, in few objects, and side by side in them.
 */
export const beforeAllSlots = -(2 ** 30)

/** The sum over the last `size` slots; `advance` drops what has left the window. */
export class SlidingSum {
  sum = 0
  private readonly size: number
  /** Made when there is something to add: every key has several. A plain array: so short a typed one is mostly header. */
  private ring: Array<number> | undefined = undefined
  private current = -Infinity
  /** where in the ring the current slot is: slots are too large for a quick division */
  private head = 0
  constructor(size: number) {
    this.size = size
  }

  advance(slot: number): void {
    const { ring, size } = this
    if (ring === undefined || slot - this.current >= size) {
      ring?.fill(0)
      this.sum = 0
      this.current = Math.max(this.current, slot)
      return
    }
    for (; this.current < slot; this.current++) {
      this.head = this.head + 1 === size ? 0 : this.head + 1
      this.sum -= ring[this.head]!
      ring[this.head] = 0
    }
  }

  /** Of a slot that has been advanced to; one that has left the window counts no more. */
  add(slot: number, amount: number): void {
    const back = this.current - slot
    if (back >= this.size) return
    this.ring ??= Array.from({ length: this.size }, () => 0)
    this.ring[this.at(back | 0)]! += amount
    this.sum += amount
  }

  /** The same amounts in slots of another length: `to` says where a slot goes, `current` is the slot of now. */
  resliced(current: number, to: (slot: number) => number): SlidingSum {
    const { ring, size } = this
    const next = new SlidingSum(size)
    next.advance(current)
    if (ring === undefined) return next
    for (let slot = this.current - size + 1; slot <= this.current; slot++) {
      const amount = ring[this.at(this.current - slot)]!
      if (amount !== 0) next.add(to(slot), amount)
    }
    return next
  }

  /** Takes one from the oldest slot that holds one: no slot falls below nothing, and what leaves first is taken first. */
  removeOldest(): void {
    const { ring, size } = this
    if (ring === undefined) return
    for (let back = size - 1; back >= 0; back--) {
      const index = this.at(back)
      if (ring[index]! < 1) continue
      ring[index]! -= 1
      this.sum -= 1
      return
    }
  }

  private at(back: number): number {
    return this.head >= back ? this.head - back : this.head - back + this.size
  }
}

/** Several sums over one window, which moves for all of them at once. */
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

  /** In the current slot. */
  add(counter: number, count: number): void {
    this.sums[counter]! += count
    this.ring[this.head + counter]! += count
  }

  sum(counter: number): number {
    return this.sums[counter]!
  }
}
