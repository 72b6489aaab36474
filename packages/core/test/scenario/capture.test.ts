/** Timelines of whole programs: what a capture sees, and what a cause carries. */
import { assert, describe, it } from "@effect/vitest"
import { Backoff, PolicyLayer, Rego, Timeline } from "@rego/core"
import { Cause, Data, Effect, Exit, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Line } from "../support.ts"
import {
  assertFailsWith,
  call,
  fails,
  hangs,
  inVirtualTime,
  key,
  policiesOf,
  rows,
  script,
  succeeds,
  under
} from "../support.ts"

const boom = new Error("boom")
const backoff = Backoff.constant("10 millis", { jitter: "none" })
const any = () =>
  PolicyLayer.make({ policies: { "*": { retry: { backoff }, budget: "unlimited" } }, limits: { maxKeys: 5_000 } })
const keysOf = (timelines: ReadonlyArray<Timeline.Timeline>) => timelines.map((timeline) => timeline.key)
const take = (name: string, millis: number) => script(succeeds(name, millis)).effect.pipe(Rego.resilient(name))

describe("Timeline.capture", () => {
  it.effect("gives the exit and the calls in the order in which they ended, nested and concurrent ones too", () =>
    Effect.gen(function*() {
      const program = Effect.all([
        take("slow", 30),
        take("fast", 10),
        Effect.andThen(take("inner", 5), Effect.sleep("15 millis")).pipe(Rego.resilient("outer"))
      ], { concurrency: "unbounded" }).pipe(Effect.as("done"))
      const [exit, timelines] = yield* Effect.flatten(inVirtualTime(Timeline.capture(program))).pipe((self) =>
        under(self, any())
      )
      assert.deepStrictEqual(exit, Exit.succeed("done"))
      assert.deepStrictEqual(timelines.map((timeline) => [timeline.key, timeline.endedAt]), [
        ["inner", 5],
        ["fast", 10],
        ["outer", 20],
        ["slow", 30]
      ])
    }))

  it.effect("gives the calls of a program that failed, and the failure as it was", () =>
    Effect.gen(function*() {
      const [exit, timelines] = yield* Effect.flatten(
        inVirtualTime(Timeline.capture(script(fails(boom)).effect.pipe(Rego.resilient(key))))
      ).pipe((self) => under(self, any()))
      assertFailsWith(exit, boom)
      assert.deepStrictEqual(timelines.map((timeline) => timeline.attempts.length), [3])
    }))

  it.effect("hides nothing from a capture around it", () =>
    Effect.gen(function*() {
      const inner = Timeline.capture(take("b", 5))
      const program = Effect.andThen(
        take("a", 5),
        Effect.flatMap(inner, ([, of]) => Effect.as(take("c", 5), keysOf(of)))
      )
      const [exit, timelines] = yield* Effect.flatten(inVirtualTime(Timeline.capture(program))).pipe((self) =>
        under(self, any())
      )
      assert.deepStrictEqual(exit, Exit.succeed(["b"]))
      assert.deepStrictEqual(keysOf(timelines), ["a", "b", "c"])
    }))

  it.effect("keeps two captures that run at the same time apart", () =>
    Effect.gen(function*() {
      const both = Effect.all([
        Timeline.capture(Effect.all([take("a", 5), take("b", 15)])),
        Timeline.capture(Effect.all([take("c", 10), take("d", 10)]))
      ], { concurrency: "unbounded" })
      const [[, first], [, second]] = yield* Effect.flatten(inVirtualTime(both)).pipe((self) => under(self, any()))
      assert.deepStrictEqual([keysOf(first), keysOf(second)], [["a", "b"], ["c", "d"]])
    }))

  it.effect("does not collect detached calls that end after it has closed, and what it gave does not grow", () =>
    Effect.gen(function*() {
      const program = Effect.andThen(
        Effect.forkDetach(take("late", 60), { startImmediately: true }),
        take("in-time", 10)
      )
      yield* Effect.gen(function*() {
        const [, timelines] = yield* Effect.flatten(inVirtualTime(Timeline.capture(program), "10 millis"))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(keysOf(timelines), ["in-time"])
      }).pipe((self) => under(self, any()))
    }))

  it.effect("gives a detached call to the capture around it, if that is still open", () =>
    Effect.gen(function*() {
      const inner = Timeline.capture(Effect.forkDetach(take("late", 60), { startImmediately: true }))
      const [, timelines] = yield* Effect.flatten(
        inVirtualTime(Timeline.capture(Effect.andThen(inner, Effect.sleep("1 second"))))
      ).pipe((self) => under(self, any()))
      assert.deepStrictEqual(keysOf(timelines), ["late"])
    }))

  it.effect("has the call that its caller interrupted", () =>
    Effect.gen(function*() {
      const interrupted = Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(script(hangs).effect.pipe(Rego.resilient(key)), {
          startImmediately: true
        })
        yield* Effect.sleep("5 millis")
        yield* Fiber.interrupt(fiber)
      })
      const [, timelines] = yield* Effect.flatten(inVirtualTime(Timeline.capture(interrupted))).pipe((self) =>
        under(self, any())
      )
      assert.deepStrictEqual(timelines.map(rows), [[
        [0, "start 0"],
        [5, "interrupted_caller 0"],
        [5, "stop interrupted"],
        [5, "interrupted"]
      ]])
    }))

  describe("is bounded", () => {
    const many = (n: number) =>
      Effect.forEach(Array.from({ length: n }, (_, i) => i), (i) => Effect.succeed(i).pipe(Rego.resilient(`k${i}`)), {
        discard: true
      })

    it.effect("to a number that is given, and counts what did not fit", () =>
      Effect.gen(function*() {
        const { dropped, exit, timelines } = yield* many(7).pipe(
          Timeline.captureWith({ maxTimelines: 3 }),
          (self) => under(self, any())
        )
        assert.isTrue(Exit.isSuccess(exit))
        assert.deepStrictEqual([keysOf(timelines), dropped], [["k0", "k1", "k2"], 4])
      }))

    it.effect("to 1,000 unless given, and logs what did not fit", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        const [, timelines] = yield* Timeline.capture(many(1_003)).pipe((self) => under(self, any(), log))
        assert.strictEqual(timelines.length, 1_000)
        assert.deepStrictEqual(log.flatMap(({ message }) => message.includes("capture") ? [message] : []), [
          "Timeline.capture: 3 timelines did not fit and were dropped"
        ])
      }))

    it.effect("on its own: a small inner capture takes nothing from the outer one", () =>
      Effect.gen(function*() {
        const [, timelines] = yield* many(5).pipe(
          Timeline.captureWith({ maxTimelines: 1 }),
          Timeline.capture,
          (self) => under(self, any())
        )
        assert.strictEqual(timelines.length, 5)
      }))
  })
})

describe("Timeline.fromCause", () => {
  class Other extends Data.TaggedError("Other") {}
  class Lost extends Data.TaggedError("Lost") {}
  type Failing = Effect.Effect<never, Lost | Other>
  const lost = new Lost()
  const failing = (): Failing =>
    Effect.fail(lost).pipe(Rego.resilient(key), (self) => under(self, policiesOf({}))) as Failing

  const keeps: Record<string, (self: Failing) => Effect.Effect<unknown, unknown>> = {
    exit: (self) => Effect.flatten(Effect.exit(self)),
    "catchCause to failCause": (self) => Effect.catchCause(self, Effect.failCause),
    tapCause: (self) => Effect.tapCause(self, () => Effect.void),
    tapError: (self) => Effect.tapError(self, () => Effect.void),
    "catchTag of another tag": (self) => Effect.catchTag(self, "Other", () => Effect.void),
    mapError: (self) => Effect.mapError(self, () => "mapped"),
    sandbox: (self) => Effect.catch(Effect.sandbox(self), Effect.failCause),
    onExit: (self) => Effect.onExit(self, () => Effect.void),
    ensuring: (self) => Effect.ensuring(self, Effect.void),
    withSpan: (self) => Effect.withSpan(self, "span"),
    "Effect.fn": (self) => Effect.fn("name")(() => self)(),
    timeout: (self) => Effect.timeout(self, "1 second"),
    all: (self) => Effect.all([self, Effect.void]),
    "all, concurrently": (self) => Effect.all([self, Effect.void], { concurrency: "unbounded" }),
    "fork and join": (self) => Effect.flatMap(Effect.forkChild(self), Fiber.join),
    Stream: (self) => Stream.runDrain(Stream.fromEffect(self))
  }
  const loses: Record<string, (self: Failing) => Effect.Effect<unknown, unknown>> = {
    "catch to fail": (self) => Effect.catch(self, Effect.fail),
    "catchTag of its own tag": (self) => Effect.catchTag(self, "Lost", Effect.fail),
    flip: (self) => Effect.flip(Effect.flip(self)),
    result: (self) => Effect.flatMap(Effect.result(self), Effect.fromResult),
    orDie: (self) => Effect.orDie(self),
    retry: (self) => Effect.retry(self, { times: 1 }),
    runPromise: (self) =>
      Effect.callback<never, unknown>((resume) => {
        Effect.runPromise(self).catch((error: unknown) => resume(Effect.fail(error)))
      })
  }
  const found = (self: Effect.Effect<unknown, unknown>) =>
    Effect.map(Effect.exit(self), (exit) => {
      assert.isTrue(Exit.isFailure(exit))
      return exit._tag === "Failure" ? keysOf(Timeline.fromCause(exit.cause)) : []
    })

  for (const [operator, f] of Object.entries(keeps)) {
    it.effect(`survives ${operator}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* found(f(failing())), [key])
      }))
  }
  for (const [operator, f] of Object.entries(loses)) {
    it.effect(`is lost by ${operator}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* found(f(failing())), [])
      }))
  }

  it.effect("gives all calls that a failure went through, outermost first", () =>
    Effect.gen(function*() {
      const nested = Effect.fail(boom).pipe(Rego.resilient("in"), Rego.resilient("mid"), Rego.resilient("out"))
      const exit = yield* inVirtualTime(nested).pipe((self) => under(self, any()))
      const timelines = exit._tag === "Failure" ? Timeline.fromCause(exit.cause) : []
      assert.deepStrictEqual(timelines.map((timeline) => [timeline.key, timeline.attempts.length]), [
        ["out", 1],
        ["mid", 1],
        ["in", 3]
      ])
    }))

  it.effect("gives the timeline of a defect", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.die(boom).pipe(Rego.resilient(key))).pipe((self) => under(self, any()))
      const timelines = exit._tag === "Failure" ? Timeline.fromCause(exit.cause) : []
      assert.deepStrictEqual(timelines.map((timeline) => timeline.result), ["defect"])
    }))

  it.effect("gives the timeline of a RegoError", () =>
    Effect.gen(function*() {
      const ran = yield* call(script(hangs).effect, { policy: { timeout: { overall: "5 millis" } } })
      const [timeline] = ran.exit._tag === "Failure" ? Timeline.fromCause(ran.exit.cause) : []
      assert.deepStrictEqual(rows(timeline!), ran.rows)
    }))

  it.effect("gives nothing for a call that its caller interrupted", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.gen(function*() {
        const fiber = yield* Effect.forkChild(Effect.never.pipe(Rego.resilient(key)), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        return yield* Fiber.await(fiber)
      }).pipe((self) => under(self, any()))
      assert.deepStrictEqual(exit._tag === "Failure" ? Timeline.fromCause(exit.cause) : undefined, [])
    }))

  it("gives nothing for a cause that went through no call", () => {
    assert.deepStrictEqual(Timeline.fromCause(Cause.fail("x")), [])
  })
})
