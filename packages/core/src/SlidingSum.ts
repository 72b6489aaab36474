/**
 * A sum over a window that slides by whole slots: fixed memory, constant time.
 *
 * @internal
 */
/** The sum over the last `size` slots; `advance` drops what has left the window. */
export class SlidingSum {
  sum = 0
  private readonly ring: Float64Array
  private current = -Infinity
  constructor(size: number) {
    this.ring = new Float64Array(size)
  }

  private index(slot: number): number {
    const size = this.ring.length
    return ((slot % size) + size) % size
  }

  advance(slot: number): void {
    if (slot - this.current >= this.ring.length) {
      this.ring.fill(0)
      this.sum = 0
      this.current = slot
    }
    while (this.current < slot) {
      const leaving = this.index(++this.current)
      this.sum -= this.ring[leaving]!
      this.ring[leaving] = 0
    }
  }

  add(slot: number, amount: number): void {
    if (slot <= this.current - this.ring.length) return
    this.ring[this.index(slot)]! += amount
    this.sum += amount
  }

  /** The same amounts in slots of another length: `to` says where a slot goes, `current` is the slot of now. */
  resliced(current: number, to: (slot: number) => number): SlidingSum {
    const size = this.ring.length
    const next = new SlidingSum(size)
    next.advance(current)
    for (let slot = this.current - size + 1; slot <= this.current; slot++) {
      const amount = this.ring[this.index(slot)]!
      if (amount !== 0) next.add(to(slot), amount)
    }
    return next
  }

  /** Takes one from the oldest slot that holds one: no slot falls below nothing, and what leaves first is taken first. */
  removeOldest(): void {
    for (let slot = this.current - this.ring.length + 1; slot <= this.current; slot++) {
      const index = this.index(slot)
      if (this.ring[index]! < 1) continue
      this.ring[index]! -= 1
      this.sum -= 1
      return
    }
  }
}
