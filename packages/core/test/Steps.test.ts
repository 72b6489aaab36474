import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import type { Gate } from "../src/DocumentGate.ts"
import * as DocumentGate from "../src/DocumentGate.ts"
import type { Steps } from "../src/Steps.ts"
import { mapValues, runInSlices, runNow, sliceMillisOn } from "../src/Steps.ts"
import {
  all,
  boolean,
  effectProperty,
  integer,
  json,
  map,
  oneOf,
  partial,
  pick,
  property,
  record
} from "./arbitraries.ts"
import { hurried } from "./support.ts"

/** Each step ends a slice. */
const sliced = <A>(begin: () => Steps<A>) => Effect.provideService(runInSlices(begin), Clock.Clock, hurried)

const counting = function*(count: number, onStep: (n: number) => void = () => {}): Steps<number> {
  for (let n = 0; n < count; n++) {
    onStep(n)
    yield
  }
  return count
}

describe("Steps", () => {
  describe("runInSlices", () => {
    it.effect("runs in one go where time stands still", () =>
      Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(runInSlices(() => counting(10_000)), { startImmediately: true })
        assert.isDefined(fiber.pollUnsafe())
      }))

    it.effect("lets other fibers run between two slices", () =>
      Effect.gen(function*() {
        const order: Array<string> = []
        const steps = (name: string) => sliced(() => counting(3, (n) => order.push(`${name}${n}`)))
        yield* Effect.all([steps("a"), steps("b")], { concurrency: "unbounded" })
        assert.deepStrictEqual(order, ["a0", "b0", "a1", "b1", "a2", "b2"])
      }))

    it.live("gives each turn of the event loop one slice, so that timers and sockets have theirs", () =>
      Effect.gen(function*() {
        let turns = 0
        let going = true
        const turn = () => {
          turns++
          if (going) setImmediate(turn)
        }
        setImmediate(turn)
        yield* sliced(() => counting(100))
        going = false
        assert.isAtLeast(turns, 99)
      }))

    it.effect("ends a slice when a step has taken two microseconds", () =>
      Effect.gen(function*() {
        let turns = 0
        const others = yield* Effect.forkChild(
          Effect.forever(Effect.andThen(Effect.yieldNow, Effect.sync(() => turns++)))
        )
        let nanos = 0n
        const clock = { ...hurried, monotonicTimeNanosUnsafe: () => (nanos += 2_000n) }
        yield* Effect.provideService(runInSlices(() => counting(100)), Clock.Clock, clock)
        yield* Fiber.interrupt(others)
        // others may need two turns for each look
        assert.isAtLeast(turns, 49)
      }))

    it("takes longer slices where a turn costs milliseconds, and leaves time to draw", () => {
      assert.strictEqual(sliceMillisOn({}), 4)
      assert.isBelow(sliceMillisOn(globalThis), 0.002)
    })

    it.effect("begins anew each time, and only when it runs", () =>
      Effect.gen(function*() {
        let begun = 0
        const effect = runInSlices(() => {
          begun++
          return counting(3)
        })
        assert.strictEqual(begun, 0)
        assert.deepStrictEqual([yield* effect, yield* effect, begun], [3, 3, 2])
      }))

    it.effect("can be interrupted between two slices: the next step never comes", () =>
      Effect.gen(function*() {
        let last = -1
        const fiber = yield* Effect.forkChild(sliced(() => counting(1_000, (n) => (last = n))), {
          startImmediately: true
        })
        yield* Effect.repeat(Effect.yieldNow, { times: 5 })
        yield* Fiber.interrupt(fiber)
        const reached = last
        assert.isAtLeast(reached, 1)
        assert.isBelow(reached, 999)
        yield* Effect.repeat(Effect.yieldNow, { times: 5 })
        assert.strictEqual(last, reached)
      }))

    it.effect("dies of what a step throws", () =>
      Effect.gen(function*() {
        const exit = yield* Effect.exit(sliced(() =>
          counting(3, (n) => {
            if (n === 2) throw new Error("boom")
          })
        ))
        assert.isTrue(exit._tag === "Failure" && exit.cause.reasons[0]?._tag === "Die")
      }))
  })

  describe("mapValues", () => {
    it("is the record itself where no value changes, and stops before each", () => {
      const record = { a: 1, b: 2 }
      const steps = mapValues(record, (n) => n)
      assert.deepStrictEqual([steps.next().done, steps.next().done], [false, false])
      assert.strictEqual(steps.next().value, record)
    })

    it("stops before each that it takes over, where only the last one changes", () => {
      const steps = mapValues({ a: 1, b: 2, c: 3 }, (n) => n === 3 ? 4 : n)
      assert.deepStrictEqual(Array.from({ length: 5 }, () => steps.next().done), Array(5).fill(false))
      assert.deepStrictEqual(steps.next().value, { a: 1, b: 2, c: 4 })
    })

    property("changes what it is told to, in the order of the record", {
      entries: record(pick(["a", "b", "__proto__", "constructor", "7"]), integer(0, 9), 5)
    }, ({ entries }) => {
      const doubled = runNow(mapValues(entries, (n) => n * 2))
      assert.deepStrictEqual(Object.entries(doubled), Object.entries(entries).map(([name, n]) => [name, n * 2]))
    })
  })

  describe("a judgement", () => {
    const gate = (refuses: boolean, givesDefaults: boolean): Gate => ({
      provided: {
        isBudget: (name) => name === "default",
        isClassifier: () => false,
        isTrigger: () => false,
        budget: () => undefined
      },
      onInvalidEntry: refuses ? "refuse-document" : "keep-last-good",
      givesDefaults,
      instance: "pod-1"
    })

    const policy = partial({
      retry: oneOf<unknown>(map(integer(0, 12), (maxAttempts) => ({ maxAttempts })), json),
      timeout: map(pick(["1 second", "2 days", "1 millis", 0]), (overall) => ({ overall })),
      hedge: map(integer(0, 4), (maxHedges) => ({ trigger: { type: "after", delay: "10 millis" }, maxHedges })),
      budget: pick(["default", "unknown"]),
      typo: pick([1])
    })

    const entry = map(
      all([policy, partial({ force: boolean, rollout: map(policy, (change) => ({ percent: 50, change })) })]),
      ([sections, more]) => ({ ...sections, ...more })
    )

    const documentOf = map(
      all([
        record(pick(["*", "a.*", "a.b.*", "a.Get", "a.b.Get", "not a key", "__proto__"]), entry, 5),
        partial({ defaults: policy, schemaVersion: pick(["1.0", "1.7", "2.0"]), off: pick([["a.*"], "a", [" "]]) })
      ]),
      ([policies, more]) => ({ schemaVersion: "1.0", revision: "1", policies, ...more })
    )

    effectProperty(
      "says the same in slices as in one go",
      {
        earlier: documentOf,
        later: oneOf<unknown>(documentOf, documentOf, documentOf, json),
        refuses: boolean,
        gives: boolean
      },
      ({ earlier, gives, later, refuses }) =>
        Effect.gen(function*() {
          const asked = gate(refuses, gives)
          const none = { inForce: undefined, delivered: undefined, revisions: new Map<string, string>() }
          const first = runNow(DocumentGate.judging(asked, none, earlier, true))
          const document = first._tag === "Accepted" ? first.accepted.document : undefined
          const before = { inForce: document, delivered: document, revisions: new Map([["0", "other"]]) }
          const verdict = yield* sliced(() => DocumentGate.judging(asked, before, later, true))
          assert.deepStrictEqual(verdict, runNow(DocumentGate.judging(asked, before, later, true)))
        }),
      300
    )
  })
})
