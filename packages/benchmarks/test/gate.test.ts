import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { groups, idOf } from "../src/cases.ts"
import type { Limits } from "../src/gate.ts"
import {
  bytesSubjects,
  inFlightSubjects,
  isComparable,
  judge,
  least,
  lineOf,
  ofMemory,
  ofTime,
  spreadIntoPage,
  suggest,
  timed,
  within
} from "../src/gate.ts"
import { bytesOf, inFlightOf } from "../src/results.ts"

const root = join(import.meta.dirname, "../../..")
const read = (path: string): string => readFileSync(join(root, path), "utf8")

const limits: Limits = { node: "24.21.0", limits: [{ id: "bytes", limit: 100, measured: 98 }] }
const passed = (figure: number) => judge(limits, [{ id: "bytes", figure }]).map(({ passed }) => passed)

const ofBytes = (id: string) => ({ id, unit: "bytes", calls: 1, rounds: [1, 5, 900] }) as const
const memory = [
  ...bytesSubjects.map((name) => ofBytes(bytesOf(idOf(groups.request, name)))),
  ...inFlightSubjects.map((name) => ofBytes(inFlightOf(name)))
]
const times = [
  { id: timed.of, unit: "ns", calls: 1, rounds: [50, 500, 40] },
  { id: timed.to, unit: "ns", calls: 1, rounds: [100, 1_000, 100] }
] as const

describe("gate", () => {
  describe("readings", () => {
    it("are medians of bytes, and the median of ratios of time", () => {
      assert.deepStrictEqual([...new Set(ofMemory(memory).map(({ figure }) => figure))], [5])
      assert.deepStrictEqual(ofTime(times).map(({ figure }) => figure), [0.5])
    })

    it("are never made from half of what was to be measured", () => {
      assert.throws(() => ofMemory(memory.slice(1)), /not measured/)
      assert.throws(() => ofTime(times.slice(1)), /not measured/)
    })
  })

  describe("judge", () => {
    it("passes at the limit and fails above it", () => {
      assert.deepStrictEqual([passed(100), passed(101)], [[true], [false]])
      assert.strictEqual(lineOf(judge(limits, [{ id: "bytes", figure: 101 }])[0]!), "FAIL bytes: 101, at most 100")
    })

    it("fails what has no limit, and a limit that nothing was read for", () => {
      const verdicts = judge(limits, [{ id: "new", figure: 1 }])
      assert.deepStrictEqual(verdicts.map(({ id, passed }) => [id, passed]), [["new", false], ["bytes", false]])
    })
  })

  it("is read again where a reading lies above its limit, and the least counts", () => {
    const [above, below] = [[{ id: "bytes", figure: 101 }], [{ id: "bytes", figure: 99 }]]
    assert.deepStrictEqual([within(limits, above), within(limits, below)], [false, true])
    assert.deepStrictEqual([least(above, below), least(below, above)], [below, below])
    assert.isFalse(within(limits, [{ id: "new", figure: 1 }]))
  })

  describe("suggest", () => {
    const readings = [...ofMemory(memory), ...ofTime(times)]

    it("gives limits that what was read now passes, and little more", () => {
      const suggested = suggest("24.0.0", readings)
      assert.isTrue(judge(suggested, readings).every(({ passed }) => passed))
      const worse = readings.map(({ figure, id }) => ({ id, figure: figure * 1.5 }))
      assert.isFalse(judge(suggested, worse).some(({ passed }) => passed))
    })

    it("raises no alarm about time below 0.6", () => {
      const limitOf = (rounds: ReadonlyArray<number>) =>
        suggest("24.0.0", ofTime(times.map((it) => it.id === timed.of ? { ...it, rounds } : it))).limits[0]?.limit
      assert.deepStrictEqual([limitOf([40]), limitOf([100])], [0.6, 1.15])
    })
  })

  it("compares bytes only with those of the same major version of Node", () => {
    assert.isTrue(isComparable(limits, "24.0.1"))
    assert.isFalse(isComparable(limits, "26.21.0"))
  })

  describe("committed", () => {
    const committed: Limits = JSON.parse(read("packages/benchmarks/gate.json"))

    it("has a limit for everything that is read, and no other", () => {
      const ids = [...ofMemory(memory), ...ofTime(times)].map(({ id }) => id)
      assert.deepStrictEqual(committed.limits.map(({ id }) => id), ids)
    })

    it("is what docs/performance.md shows", () => {
      const page = read("docs/performance.md")
      const spread = JSON.parse(read("packages/benchmarks/results/gate-spread.json"))
      assert.strictEqual(spreadIntoPage(page, spread, committed), page)
    })
  })
})
