import { assert, describe, it } from "@effect/vitest"
import { Latency } from "@rego/core"
import { Duration, Option } from "effect"
import { integer, pick, property, seed, withSeed } from "./arbitraries.ts"
import { makeRandom } from "./random.ts"

interface Sample {
  readonly millis: number
  readonly complete: boolean
}

// -----------------------------------------------------------------------------
// exact references
// -----------------------------------------------------------------------------

const ascending = (values: ReadonlyArray<number>): ReadonlyArray<number> => values.toSorted((a, b) => a - b)

const exactQuantile = (values: ReadonlyArray<number>, q: number): number =>
  ascending(values)[Math.max(0, Math.ceil(q * values.length - 1e-9) - 1)]!

/** Kaplan–Meier on the samples themselves: the share that takes longer, after each event. Ties: events come first. */
const exactSurvival = (samples: ReadonlyArray<Sample>): ReadonlyArray<readonly [millis: number, share: number]> => {
  const sorted = samples.toSorted((a, b) => a.millis - b.millis || Number(b.complete) - Number(a.complete))
  let surviving = 1
  return sorted.flatMap(({ complete, millis }, i) => {
    if (!complete) return []
    surviving *= 1 - 1 / (sorted.length - i)
    return [[millis, surviving] as const]
  })
}

const exactCensoredQuantile = (samples: ReadonlyArray<Sample>, q: number): number | undefined =>
  exactSurvival(samples).find(([, surviving]) => surviving <= 1 - q + 1e-9)?.[0]

// -----------------------------------------------------------------------------
// samples
// -----------------------------------------------------------------------------

type Draw = (random: () => number) => number

const normal: Draw = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())

const distributions: Readonly<Record<string, Draw>> = {
  lognormal: (random) => Math.min(200_000, 12 * Math.exp(normal(random))),
  pareto: (random) => Math.min(200_000, 2 * (1 - random()) ** (-1 / 1.3)),
  bimodal: (random) => random() < 0.93 ? 1 + 3 * random() : 60 + 60 * random(),
  "a single value": () => 17
}

const names = Object.keys(distributions)

const drawn = (name: string, size: number, random: () => number): ReadonlyArray<number> =>
  Array.from({ length: size }, () => distributions[name]!(random))

/** Some are cut short: at a time of their own, or all at nearly the same one, as where a hedge wins. */
const censored = (values: ReadonlyArray<number>, together: boolean, random: () => number): ReadonlyArray<Sample> => {
  const hedgedAt = exactQuantile(values, 0.9)
  return values.map((millis, i) => {
    const cut = together ? hedgedAt * (1 + 0.3 * random()) : values[(i + 1) % values.length]! * 3
    return cut < millis ? { millis: cut, complete: false } : { millis, complete: true }
  })
}

const trackerOf = (samples: ReadonlyArray<Sample>, precise = false): Latency.Latency => {
  const latency = Latency.makeUnsafe({ precise })
  for (const { complete, millis } of samples) latency.record(millis, complete, 0)
  return latency
}

const complete = (millis: number): Sample => ({ millis, complete: true })
const cut = (millis: number): Sample => ({ millis, complete: false })
const times = <A>(n: number, value: A): ReadonlyArray<A> => Array.from({ length: n }, () => value)

const quantiles = [0.5, 0.75, 0.9, 0.95, 0.99, 0.999]
const rounding = 1e-9

// -----------------------------------------------------------------------------
// the window
// -----------------------------------------------------------------------------

const minute = 60_000
const second = 1_000
const longest = 20 * minute
/** of the 20 minutes, what is there when the oldest of the three slices has just been dropped */
const longestSure = longest * 2 / 3
/** whatever the rate does: one slice that was full by its samples after 30 seconds, and one that was full by its age */
const alwaysSure = 430 * second

/** A tracker beside the times of all samples it was given: it holds the last ones, because slices are dropped whole. */
class Recorded {
  readonly latency = Latency.makeUnsafe()
  readonly times: Array<number> = []

  record(at: number, millis = 10): void {
    this.latency.record(millis, true, at)
    this.times.push(at)
  }

  held(now: number): ReadonlyArray<number> {
    const count = this.latency.samples(now)
    return count === 0 ? [] : this.times.slice(-count)
  }

  check(now: number): void {
    const held = this.held(now)
    const younger = (millis: number) => this.times.filter((at) => at > now - millis).length
    assert.isAtLeast(held.length, younger(minute), `the last 60 seconds at ${now}`)
    assert.isAtLeast(held.length, Math.min(1_000, younger(alwaysSure)), `the last 1,000 samples at ${now}`)
    assert.isAtLeast(held[0] ?? now, now - longest, `nothing older than 20 minutes at ${now}`)
  }
}

/** Every typed array that can be reached from a value. */
const typedBytes = (value: unknown, seen = new Set<unknown>()): number => {
  if (typeof value !== "object" || value === null || seen.has(value)) return 0
  seen.add(value)
  if (ArrayBuffer.isView(value)) return value.buffer.byteLength
  return Object.values(value).reduce<number>((sum, inner) => sum + typedBytes(inner, seen), 0)
}

describe("Latency", () => {
  describe("quantileMillis", () => {
    property(
      "is off by at most 3 % from the exact quantile of the same samples, 1 % when precise",
      {
        name: pick(names),
        size: integer(1, 3_000),
        q: pick(quantiles),
        n: integer(0, 1e6),
        precise: pick([true, false])
      },
      ({ n, name, precise, q, size }) => {
        const values = drawn(name, size, makeRandom(n))
        const estimate = trackerOf(values.map(complete), precise).quantileMillis(q, 0)!
        const error = Math.abs(estimate / exactQuantile(values, q) - 1)
        assert.isAtMost(error, (precise ? 0.01 : 0.03) + rounding, `${name}, ${size} samples, q ${q}`)
      },
      300
    )

    property(
      "stays within 3 % of the exact Kaplan–Meier estimate, give or take 2 % of the samples, when some are cut short",
      {
        name: pick(["lognormal", "pareto"]),
        size: integer(500, 3_000),
        together: pick([true, false]),
        n: integer(0, 1e6)
      },
      ({ n, name, size, together }) => {
        const random = makeRandom(n)
        const samples = censored(drawn(name, size, random), together, random)
        const latency = trackerOf(samples)
        for (const q of [0.5, 0.75, 0.85, 0.9, 0.92]) {
          const estimate = latency.quantileMillis(q, 0) ?? Infinity
          const low = exactCensoredQuantile(samples, q - 0.02) ?? Infinity
          const high = exactCensoredQuantile(samples, q + 0.02) ?? Infinity
          assert.isAtLeast(estimate, low * 0.97, `q ${q}`)
          assert.isAtMost(estimate, high * 1.03, `q ${q}`)
        }
      }
    )

    it("halves what were cut within a bucket: they were at risk for half of it", () => {
      // 36 answer and 36 are cut in one bucket: at risk all the time they would leave 64 % above it, never 44 %; half, 56 %
      const samples = Array.from({ length: 100 }, (_, i) => i % 2 === 0 ? complete(10) : cut(10)).slice(0, 72)
      const rest = times(28, complete(1_000))
      const latency = trackerOf([...samples, ...rest])
      assert.closeTo(latency.quantileMillis(0.43, 0)!, 10, 0.3)
      assert.closeTo(latency.quantileMillis(0.45, 0)!, 1_000, 30)
    })

    it("reads the textbook example: times of remission of 21 patients", () => {
      const events = [6, 6, 6, 7, 10, 13, 16, 22, 23]
      const censorings = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
      const samples = [...events.map(complete), ...censorings.map(cut)]
      const published = [[6, 0.857], [7, 0.807], [10, 0.753], [13, 0.69], [16, 0.627], [22, 0.538], [
        23,
        0.448
      ]] as const
      const steps = new Map(exactSurvival(samples))
      for (const [week, share] of published) {
        assert.closeTo(steps.get(week)!, share, 0.0006, `the reference, week ${week}`)
      }
      const latency = trackerOf(samples, true)
      for (const [week, share] of published) {
        const estimate = latency.quantileMillis(1 - share - 0.02, 0)!
        assert.closeTo(estimate / week, 1, 0.01 + rounding, `week ${week}`)
      }
    })

    it("has no value where there are no samples, and none where only cut ones are", () => {
      assert.isUndefined(Latency.makeUnsafe().quantileMillis(0.5, 0))
      assert.isUndefined(trackerOf(times(100, cut(5))).quantileMillis(0.5, 0))
    })

    it("has no value where too many were cut short for the estimate to reach it", () => {
      const latency = trackerOf([...times(90, complete(10)), ...times(10, cut(50))])
      assert.closeTo(latency.quantileMillis(0.9, 0)!, 10, 0.3)
      assert.isUndefined(latency.quantileMillis(0.95, 0))
    })

    it("counts a cut sample neither as an event nor as nothing", () => {
      // 5 of 100 answer at 100 ms, and 5 were cut at 50 ms: of those that reach 50 ms all but the last take 100 ms
      const samples = [...times(90, complete(10)), ...times(5, cut(50)), ...times(5, complete(100))]
      assert.closeTo(trackerOf(samples).quantileMillis(0.95, 0)!, 100, 3)
      assert.closeTo(trackerOf(samples).quantileMillis(0.91, 0)!, 100, 3)
      const asEvents = trackerOf(samples.map(({ millis }) => complete(millis)))
      assert.closeTo(asEvents.quantileMillis(0.91, 0)!, 50, 1.5)
      const dropped = trackerOf(samples.filter((sample) => sample.complete))
      assert.closeTo(dropped.quantileMillis(0.94, 0)!, 10, 0.3)
    })

    it("does not depend on the order of the samples", () => {
      const random = makeRandom(seed)
      const samples = censored(drawn("lognormal", 2_000, random), false, random)
      const read = (all: ReadonlyArray<Sample>) => quantiles.map((q) => trackerOf(all).quantileMillis(q, 0))
      assert.deepStrictEqual(read(samples), read(samples.toReversed()), withSeed("reversed"))
    })

    property("never falls when q rises", { name: pick(names), n: integer(0, 1e6) }, ({ n, name }) => {
      const random = makeRandom(n)
      const latency = trackerOf(censored(drawn(name, 500, random), true, random))
      const read = ascending(Array.from({ length: 30 }, random)).map((q) => latency.quantileMillis(q, 0) ?? Infinity)
      assert.deepStrictEqual(read, [...ascending(read)])
    })
  })

  describe("record", () => {
    const extreme = [
      [0, 1 / 8],
      [-0, 1 / 8],
      [-5, 1 / 8],
      [NaN, 1 / 8],
      [-Infinity, 1 / 8],
      [1e-12, 1 / 8],
      [1 / 8, 1 / 8]
    ] as const
    for (const [millis, expected] of extreme) {
      it(`takes ${Object.is(millis, -0) ? "-0" : millis} for the shortest time it knows`, () => {
        const latency = trackerOf([complete(millis)])
        assert.strictEqual(latency.samples(0), 1)
        assert.strictEqual(latency.quantileMillis(0.5, 0), expected)
      })
    }

    for (const millis of [1e9, Number.MAX_VALUE, Infinity]) {
      it(`takes ${millis} for the longest time it knows, more than 4 minutes`, () => {
        const estimate = trackerOf([complete(millis)]).quantileMillis(0.5, 0)!
        assert.isAbove(estimate, 4 * minute)
        assert.isBelow(estimate, 5 * minute)
      })
    }

    it("is not led astray by extreme samples among others", () => {
      const latency = trackerOf([...times(97, complete(20)), complete(NaN), complete(-1), complete(Infinity)])
      assert.closeTo(latency.quantileMillis(0.5, 0)!, 20, 0.6)
      assert.closeTo(latency.quantileMillis(0.98, 0)!, 20, 0.6)
    })

    it("needs memory for the octaves it has seen, at most 6 KiB, and three times as much when precise", () => {
      // what all windows share to find a bucket, is no memory of any
      const shared = typedBytes(Latency.makeUnsafe())
      const sharedPrecise = typedBytes(Latency.makeUnsafe({ precise: true }))
      const latency = Latency.makeUnsafe()
      const precise = Latency.makeUnsafe({ precise: true })
      for (const millis of [5, 6, 7.9, 4.1]) latency.record(millis, true, 0)
      assert.isAtMost(typedBytes(latency) - shared, 2 * 3 * 2 * 4 * 12)
      const random = makeRandom(seed)
      for (let i = 0; i < 100_000; i++) {
        for (const it of [latency, precise]) it.record(1e9 * random() ** 8, random() < 0.9, i * 10)
      }
      const most = 3 * 2 * 4 * (21 * 12 + 12)
      assert.isAtMost(typedBytes(latency) - shared, most)
      assert.isAtMost(typedBytes(precise) - sharedPrecise, 3 * most)
      assert.isAtMost(most, 6.2 * 1_024)
    })
  })

  describe("window", () => {
    it("is one whole: its estimate is that of all samples in it, in whichever part of it they came", () => {
      // each part holds slower samples than the one before, some of them cut short; the fourth begins where the first was
      const part = (index: number): ReadonlyArray<Sample> =>
        Array.from(
          { length: 500 },
          (_, i) => ({ millis: 1 + (i * (index + 1) ** 3) / 2, complete: i % 3 !== index % 3 })
        )
      const latency = Latency.makeUnsafe()
      for (let index = 0; index < 5; index++) {
        const now = index * 30_000
        for (const { complete, millis } of part(index)) latency.record(millis, complete, now)
        const all = Latency.makeUnsafe()
        for (let held = Math.max(0, index - 2); held <= index; held++) {
          for (const { complete, millis } of part(held)) all.record(millis, complete, 0)
        }
        assert.strictEqual(latency.samples(now), all.samples(0))
        for (const q of [0.1, 0.3, 0.5, 0.7, 0.9]) {
          assert.strictEqual(latency.quantileMillis(q, now), all.quantileMillis(q, 0), `part ${index}, q ${q}`)
        }
      }
    })

    const rates = [
      ["1 sample in 10 seconds", 10_000, longestSure, longest],
      ["1 sample a second", 1_000, longestSure, longest],
      ["2 samples a second", 500, 1_000 * 500, 1_500 * 500],
      ["10 samples a second", 100, 1_000 * 100, 1_500 * 100],
      ["17 samples a second", 60, minute, 1.5 * minute],
      ["200 samples a second", 5, minute, 1.5 * minute]
    ] as const
    for (const [name, gap, shortest, longestHeld] of rates) {
      it(`holds between ${shortest / second} and ${longestHeld / second} seconds at ${name}`, () => {
        const recorded = new Recorded()
        const until = 2.5 * longestHeld
        for (let at = 0; at <= until; at += gap) {
          recorded.record(at)
          if (at % (20 * gap) !== 0 || at < longestHeld) continue
          const age = at - recorded.held(at)[0]!
          assert.isAtLeast(age, shortest - gap)
          assert.isAtMost(age, longestHeld)
        }
      })
    }

    property(
      "holds 60 seconds, 1,000 samples unless they took more than 7 minutes, and nothing older than 20 minutes",
      { n: integer(0, 1e6) },
      ({ n }) => {
        const random = makeRandom(n)
        const recorded = new Recorded()
        let now = 1_000_000 * random()
        for (let step = 0; step < 60; step++) {
          const gap = [1, 50, 700, 5_000, 250_000][Math.floor(random() * 5)]!
          const burst = Math.floor(random() * 120)
          for (let i = 0; i < burst; i++) {
            now += gap * random() / (gap > 1_000 ? 10 : 1)
            recorded.record(now)
          }
          now += random() < 0.2 ? random() * 30 * minute : 0
          recorded.check(now)
        }
      },
      60
    )

    it("counts nothing that is older than 20 minutes when it is asked rarely", () => {
      const recorded = new Recorded()
      for (let i = 0; i < 100; i++) recorded.record(0)
      for (let at = 19.9 * minute; at < 3 * 60 * minute; at += 19.9 * minute) {
        recorded.check(at)
        recorded.record(at)
      }
    })

    it("counts nothing that is older than 20 minutes when it is only read", () => {
      const recorded = new Recorded()
      for (let at = 0; at < 700; at++) recorded.record(at * second)
      for (let at = 700 * second; at < 60 * minute; at += 7 * second) recorded.check(at)
      assert.strictEqual(recorded.latency.samples(60 * minute), 0)
      assert.isUndefined(recorded.latency.quantileMillis(0.5, 60 * minute))
    })

    it("keeps the last 1,000 samples over an idle time shorter than the 20 minutes", () => {
      const recorded = new Recorded()
      for (let i = 0; i < 1_000; i++) recorded.record(i)
      assert.strictEqual(recorded.latency.samples(19 * minute), 1_000)
      assert.strictEqual(recorded.latency.samples(20 * minute), 0)
    })

    it("forgets a slow time when it is over, within two windows", () => {
      const recorded = new Recorded()
      let now = 0
      for (; now < 3 * minute; now += 20) recorded.record(now, 300)
      for (; now < 6 * minute; now += 20) recorded.record(now, 10)
      assert.closeTo(recorded.latency.quantileMillis(0.999, now)!, 10, 0.3)
    })

    it("takes a clock that goes back for one that stands still", () => {
      const recorded = new Recorded()
      for (let i = 0; i < 100; i++) recorded.record(10 * minute + i)
      for (let i = 0; i < 100; i++) recorded.record(i, 40)
      assert.strictEqual(recorded.latency.samples(0), 200)
      assert.closeTo(recorded.latency.quantileMillis(0.5, 0)!, 10, 0.3)
      assert.closeTo(recorded.latency.quantileMillis(0.9, 0)!, 40, 1.2)
      assert.strictEqual(recorded.latency.samples(10 * minute + longest), 0)
    })

    it("starts on any line of time", () => {
      for (const start of [-1e9, 0, 1e12]) {
        const recorded = new Recorded()
        for (let at = start; at < start + 3 * minute; at += 40) recorded.record(at)
        recorded.check(start + 3 * minute)
      }
    })
  })

  describe("cache", () => {
    property(
      "gives a value that was right at most one in a hundred samples and 30 seconds ago",
      { n: integer(0, 1e6), gap: pick([1, 30, 900, 20_000]), q: pick([0.5, 0.9, 0.95]) },
      ({ gap, n, q }) => {
        const random = makeRandom(n)
        const cached = Latency.makeUnsafe()
        const fresh = Latency.makeUnsafe()
        const past: Array<{ at: number; samples: number; value: number | undefined }> = []
        for (let step = 0, at = 0; step < 1_500; step++) {
          at += random() < 0.01 ? random() * 30 * minute : gap * 2 * random()
          const millis = (step % 900 > 600 ? 50 : 5) * (1 + random())
          const completed = random() < 0.97
          for (const latency of [cached, fresh]) latency.record(millis, completed, at)
          // asked for another one in between, a tracker has nothing remembered
          fresh.quantileMillis(0.3, at)
          past.push({ at, samples: fresh.samples(at), value: fresh.quantileMillis(q, at) })
          const value = cached.quantileMillis(q, at)
          const right = past.slice(-Math.max(...past.slice(-30).map(({ samples }) => samples)) / 100 - 1).some((
            then,
            i,
            all
          ) =>
            then.value === value && at - then.at < 30 * second &&
            all.length - 1 - i < Math.max(1, then.samples / 100)
          )
          assert.isTrue(right, `${value} at step ${step}, where ${past.at(-1)!.value} is right`)
        }
      },
      40
    )

    it("remembers for less than 30 seconds what few samples have changed", () => {
      const latency = Latency.makeUnsafe()
      for (let i = 0; i < 1_000; i++) latency.record(10, true, 0)
      const before = latency.quantileMillis(0.995, 0)
      for (let i = 0; i < 9; i++) latency.record(1_000, true, 1)
      assert.strictEqual(latency.quantileMillis(0.995, 29_999), before)
      assert.isAbove(latency.quantileMillis(0.995, 30_000)!, 900)
    })

    it("looks again at the second new sample where it holds 150: one in a hundred is rounded up", () => {
      const latency = Latency.makeUnsafe()
      for (let i = 0; i < 150; i++) latency.record(10, true, 0)
      const before = latency.quantileMillis(0.995, 0)
      latency.record(1_000, true, 0)
      assert.strictEqual(latency.quantileMillis(0.995, 0), before)
      latency.record(1_000, true, 0)
      assert.isAbove(latency.quantileMillis(0.995, 0)!, 900)
    })

    it("is not asked for another quantile than the one it remembers", () => {
      const latency = trackerOf(Array.from({ length: 1_000 }, (_, i) => complete(i + 1)))
      for (const q of [0.5, 0.9, 0.5, 0.99]) {
        assert.closeTo(latency.quantileMillis(q, 0)! / (1_000 * q), 1, 0.03)
      }
    })

    it("remembers nothing of samples that have left the window", () => {
      const latency = trackerOf(times(500, complete(10)))
      assert.closeTo(latency.quantileMillis(0.5, 0)!, 10, 0.3)
      assert.isUndefined(latency.quantileMillis(0.5, longest))
    })

    it("remembers that there is no value for no longer than a value", () => {
      const latency = Latency.makeUnsafe()
      assert.isUndefined(latency.quantileMillis(0.5, 0))
      latency.record(10, true, 0)
      assert.closeTo(latency.quantileMillis(0.5, 0)!, 10, 0.3)
    })
  })

  describe("residualMillis", () => {
    it("counts what took as long as the attempt has run as over", () => {
      const latency = trackerOf([...times(10, complete(100)), ...times(10, complete(200))])
      assert.closeTo(latency.residualMillis(100, 0), 100, 6)
    })

    it("is the median of what is left, of those that have run so long", () => {
      // of 1, 2, … 1,000: who has run for 400 ms takes 700 ms in the median
      const latency = trackerOf(Array.from({ length: 1_000 }, (_, i) => complete(i + 1)), true)
      assert.closeTo(latency.residualMillis(400, 0), 300, 15)
      assert.closeTo(latency.residualMillis(0, 0), 500, 10)
    })

    it("sees through samples that were cut short", () => {
      const samples = Array.from({ length: 1_000 }, (_, i) => complete(i + 1))
      const withCut = samples.map(({ millis }, i) => i % 3 === 0 && millis > 500 ? cut(500) : complete(millis))
      assert.closeTo(trackerOf(withCut, true).residualMillis(400, 0), 300, 20)
    })

    it("is 0 where nothing is known: no samples, beyond the longest one, or where the estimate ends", () => {
      assert.strictEqual(Latency.makeUnsafe().residualMillis(10, 0), 0)
      assert.strictEqual(trackerOf(times(10, complete(5))).residualMillis(50, 0), 0)
      assert.strictEqual(trackerOf([...times(10, complete(5)), ...times(30, cut(20))]).residualMillis(10, 0), 0)
    })

    property("is a finite time that is not negative", { name: pick(names), n: integer(0, 1e6) }, ({ n, name }) => {
      const random = makeRandom(n)
      const latency = trackerOf(censored(drawn(name, 200, random), false, random))
      for (const millis of [0, -1, NaN, 1e9, Infinity, 1, 10, 100, 1_000]) {
        const residual = latency.residualMillis(millis, 0)
        assert.isTrue(residual >= 0 && residual < Infinity, `${millis}: ${residual}`)
      }
    })
  })

  describe("snapshot", () => {
    it("shows the samples, cut ones included, and quantiles as durations", () => {
      const snapshot = trackerOf([...times(90, complete(10)), ...times(10, cut(50))]).snapshot(0)
      assert.strictEqual(snapshot.samples, 100)
      assert.closeTo(Duration.toMillis(Option.getOrThrow(snapshot.quantile(0.5))), 10, 0.3)
      assert.isTrue(Option.isNone(snapshot.quantile(0.95)))
    })

    it("is empty before the first sample, and when all have left the window", () => {
      const latency = trackerOf(times(10, complete(10)))
      for (const snapshot of [Latency.makeUnsafe().snapshot(0), latency.snapshot(longest)]) {
        assert.strictEqual(snapshot.samples, 0)
        assert.isTrue(Option.isNone(snapshot.quantile(0.5)))
      }
    })
  })
})
