import { assert, describe, it } from "@effect/vitest"
import type { Sample, Soaked } from "../soak/verdict.ts"
import { wrongs } from "../soak/verdict.ts"

const samples = (heapOf: (n: number) => number, handlesOf: (n: number) => number): ReadonlyArray<Sample> =>
  Array.from({ length: 40 }, (_, n) => ({ at: n, heap: heapOf(n), handles: handlesOf(n) }))

const counts = { calls: 100, accepted: 9, refused: 1, exits: {}, wrongs: [] }

const soaked = (change: Partial<Soaked> = {}): Soaked => ({
  counts,
  samples: samples(() => 30e6, () => 20),
  left: [],
  ...change
})

describe("soak", () => {
  it("passes when nothing grows after the warm-up", () => {
    assert.deepStrictEqual(wrongs(soaked()), [])
    assert.deepStrictEqual(wrongs(soaked({ samples: samples((n) => n < 8 ? 9e6 : 30e6, (n) => n < 8 ? 1 : 20) })), [])
  })

  it("finds a heap that grows, and handles that stay", () => {
    assert.deepStrictEqual(wrongs(soaked({ samples: samples((n) => 30e6 + n * 200_000, () => 20) })), [
      "the heap grew from 33000000 to 37000000"
    ])
    assert.deepStrictEqual(wrongs(soaked({ samples: samples(() => 30e6, (n) => 20 + n) })), [
      "handles grew from 35 to 55"
    ])
    assert.deepStrictEqual(wrongs(soaked({ left: ["Timeout", "Timeout"] })), ["2 handles are left: Timeout"])
  })

  it("finds errors of ours, and a soak in which nothing happened", () => {
    const wrong = { ...counts, wrongs: ["wrong: x", "wrong: x"] }
    assert.deepStrictEqual(wrongs(soaked({ counts: wrong })), ["2 errors of ours: wrong: x"])
    assert.deepStrictEqual(wrongs(soaked({ counts: { ...counts, calls: 0, refused: 0 }, samples: [] })), [
      "only 0 samples",
      "no call was made",
      "no document was refused"
    ])
  })
})
