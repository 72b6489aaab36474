import { assert, describe, it } from "@effect/vitest"
import type { Budget } from "@rego/core"
import { Attempt, Backoff, Hedge, Outcome, PolicyProvider, Rego, Timeline } from "@rego/core"
import { Clock, Deferred, Duration, Effect, Exit, Fiber, Option, Random, Schedule, Scope } from "effect"
import { TestClock } from "effect/testing"
import { seed, withSeed } from "../arbitraries.ts"
import { makeRandom } from "../random.ts"
import { Judged, judged } from "../support.ts"
import {
  describeExit,
  Fibers,
  fork,
  key,
  Permits,
  policies,
  policiesWith,
  Sleeps,
  slowToStop,
  stubborn,
  uncaught
} from "./probes.ts"

// -----------------------------------------------------------------------------
// what the tests share
// -----------------------------------------------------------------------------

const after10 = Hedge.after("10 millis")
const hedged = (maxHedges = 1, trigger: Hedge.Trigger | Schedule.Schedule<unknown, Hedge.State> = after10) => ({
  idempotent: true,
  hedge: { trigger, maxHedges, maxFailing: 1 }
})
const twice = { retry: { maxAttempts: 2, backoff: Backoff.constant("20 millis", { jitter: "none" }) } } as const

/** Runs the effect of the attempt's hedge index, counted over all groups. */
const byHedge = <A, E, R>(run: (hedge: number, retry: number) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Attempt.CurrentAttempt, (current) => {
    const { hedge, retry } = Option.getOrThrow(current)
    return run(hedge, retry)
  })

const never = Effect.never as Effect.Effect<never>

const askedToWait = (retryAfter: number) => new Judged(Outcome.retryable({ reason: "asked", retryAfter }))

/** How a call ended and when, in virtual time. */
const answer = <A, E, R>(call: Effect.Effect<A, E, R>, during: Duration.Input = "1 minute") =>
  Effect.gen(function*() {
    const startedAt = yield* Clock.currentTimeMillis
    const fiber = yield* fork(Effect.flatMap(Effect.exit(call), (exit) =>
      Effect.map(Clock.currentTimeMillis, (now) =>
        `${describeExit(exit)} at ${now - startedAt}`)))
    yield* TestClock.adjust(during)
    return fiber.pollUnsafe() === undefined ? "running" : yield* Fiber.join(fiber)
  })

/** Runs a call and gives the fiber that made it, so that whatever runs inside can interrupt it. */
const caught = <A, E, R>(call: (caller: () => Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E, R>) => {
  let caller: Fiber.Fiber<unknown, unknown> | undefined
  return Effect.withFiber<A, E, R>((fiber) => {
    caller = fiber
    return call(() => caller!)
  })
}

const step = (millis: number): [number, Duration.Duration] => [0, Duration.millis(millis)]

const statistics = Effect.gen(function*() {
  const provider = yield* PolicyProvider.PolicyProvider
  const found = Option.getOrThrow(yield* provider.statistics(key))
  return { ...Option.getOrThrow(found.hedging).hedges, abandoned: found.abandoned }
})

/** Answers of a budget that take time. */
const later = (millis: number, decision: () => Budget.Decision): Effect.Effect<Budget.Decision> =>
  Effect.andThen(Effect.sleep(millis), Effect.sync(decision))

describe("Executor, hedged", () => {
  // ---------------------------------------------------------------------------
  // re-entrancy
  // ---------------------------------------------------------------------------

  describe("an attempt that ends another one while it is being ended itself", () => {
    it.effect("its finalizer fails the hedge when it times out: the group is judged once, whole", () =>
      Effect.gen(function*() {
        const latch = yield* Deferred.make<never, string>()
        let runs = 0
        const call = byHedge((hedge, retry) =>
          Effect.suspend(() => {
            runs++
            if (retry > 0) return Effect.succeed(`retry ${retry}`)
            return hedge === 0
              ? Effect.onInterrupt(never, () => Effect.asVoid(Deferred.fail(latch, "hedge")))
              : Deferred.await(latch)
          })
        )
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success retry 1 at 45")
        assert.strictEqual(runs, 3)
      }).pipe(Effect.provide(policies({ ...hedged(), ...twice, timeout: { perAttempt: 25 } }))))

    it.effect("its finalizer answers for the hedge when it times out", () =>
      Effect.gen(function*() {
        const latch = yield* Deferred.make<string>()
        const call = byHedge((hedge) =>
          hedge === 0
            ? Effect.onInterrupt(never, () => Effect.asVoid(Deferred.succeed(latch, "hedge")))
            : Deferred.await(latch)
        )
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success hedge at 25")
      }).pipe(Effect.provide(policies({ ...hedged(), timeout: { perAttempt: 25, overall: 1_000 } }))))

    for (const callback of ["onOutcome", "settle", "classifier"] as const) {
      it.effect(`a ${callback} of ours that fails the primary while the hedge is judged: one retry follows, not two`, () => {
        let latch: Deferred.Deferred<never, string> | undefined
        let runs = 0
        const fire = () => void Deferred.doneUnsafe(latch!, Exit.fail("primary"))
        const call = byHedge((hedge, retry) =>
          Effect.suspend(() => {
            runs++
            if (retry > 0) return Effect.succeed(`retry ${retry}`)
            return hedge === 0 ? Deferred.await(latch!) : Effect.andThen(Effect.sleep(5), Effect.fail("hedge"))
          })
        )
        const isHedge = (exit: Exit.Exit<unknown, unknown>) => describeExit(exit) === "failure hedge"
        return Effect.gen(function*() {
          latch = yield* Deferred.make<never, string>()
          assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success retry 1 at 35")
          assert.strictEqual(runs, 3)
        }).pipe(Effect.provide(policiesWith({
          ...hedged(),
          ...twice,
          ...(callback === "classifier" ? { classifier: (exit) => void (isHedge(exit) && fire()) } : {})
        }, {
          ...(callback === "onOutcome"
            ? { onOutcome: (outcome) => void (outcome._tag === "Retryable" && fire()) }
            : {}),
          tryAcquire: ({ kind }) => ({
            _tag: "Granted",
            permit: { settle: () => void (kind === "hedge" && callback === "settle" && fire()) }
          })
        })))
      })
    }
  })

  // ---------------------------------------------------------------------------
  // never too late, never too early
  // ---------------------------------------------------------------------------

  describe("a hedge is not started", () => {
    it.effect("at the deadline, when the budget's answer arrives in that very instant", () => {
      let runs = 0
      const permits = new Permits()
      return Effect.gen(function*() {
        const latch = yield* Deferred.make<Budget.Decision>()
        // sleeps before the call does, so that its answer comes before any timer of the call
        yield* fork(Effect.andThen(Effect.sleep(100), Effect.suspend(() => Deferred.succeed(latch, permits.grant()))))
        const call = Effect.suspend(() => {
          runs++
          return never
        })
        const gated = policiesWith({ ...hedged(), timeout: { overall: 100 } }, {
          tryAcquire: () => Deferred.await(latch)
        })
        const result = yield* answer(Effect.provide(Rego.resilient(call, key), gated))
        assert.strictEqual(result, "failure DeadlineExceeded at 100")
        assert.strictEqual(runs, 1)
        assert.deepStrictEqual(permits.counts, { granted: 1, used: 0, unused: 1, twice: 0 })
      })
    })

    it.effect("before the instant a server asked for while the budget was thinking, and then it asks again", () => {
      const starts: Array<string> = []
      const permits = new Permits()
      const call = byHedge((hedge) =>
        Effect.flatMap(Clock.currentTimeMillis, (now) => {
          starts.push(`${hedge} at ${now}`)
          if (hedge === 0) return never
          return hedge === 1 ? Effect.andThen(Effect.sleep(12), Effect.fail(askedToWait(100))) : Effect.succeed("third")
        })
      )
      return Effect.gen(function*() {
        // hedge 1 starts at 15 and fails at 27; the question for hedge 2 is asked at 25 and answered at 30
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success third at 132")
        assert.deepStrictEqual(starts, ["0 at 0", "1 at 15", "2 at 132"])
        assert.deepStrictEqual(permits.counts, { granted: 3, used: 2, unused: 1, twice: 0 })
      }).pipe(Effect.provide(policiesWith({ ...hedged(2), retry: { maxAttempts: 1 }, classifier: judged }, {
        tryAcquire: () => later(5, permits.grant)
      })))
    })

    for (const retry of [{}, { retry: { maxAttempts: 1 } }]) {
      it.effect(`when a server asked for an instant past the deadline, ${"retry" in retry ? "with" : "without"} retries`, () => {
        let runs = 0
        const call = byHedge((hedge) =>
          Effect.suspend(() => {
            runs++
            return hedge === 1 ? Effect.andThen(Effect.sleep(5), Effect.fail(askedToWait(200))) : never
          })
        )
        return Effect.gen(function*() {
          const [exit, [timeline]] = yield* Effect.flatten(
            fork(Timeline.capture(Rego.resilient(call, key))).pipe(
              Effect.tap(() => TestClock.adjust("1 second")),
              Effect.flatMap((fiber) => Effect.succeed(Fiber.join(fiber)))
            )
          )
          assert.strictEqual(describeExit(exit), "failure DeadlineExceeded")
          assert.strictEqual(runs, 2)
          assert.deepStrictEqual(timeline?.decisions.map(({ _tag }) => _tag), ["Stopped"])
        }).pipe(Effect.provide(policies({ ...hedged(3), ...retry, classifier: judged, timeout: { overall: 100 } })))
      })
    }

    it.effect("inside the calls of a call inside a hedge, however deep", () => {
      const starts: Array<string> = []
      const leaf = Effect.suspend(() => {
        starts.push("leaf")
        return Effect.andThen(Effect.sleep(50), Effect.succeed("leaf"))
      })
      const middle = Effect.suspend(() => {
        starts.push("middle")
        return Rego.resilient(leaf, "svc.Leaf")
      })
      const call = byHedge((hedge) => hedge === 0 ? never : Rego.resilient(middle, "svc.Middle"))
      return Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success leaf at 60")
        assert.deepStrictEqual(starts, ["middle", "leaf"])
      }).pipe(Effect.provide(policies(hedged(1))))
    })

    it.effect("inside a hedge, but again in what outlives it", () => {
      let runs = 0
      const outlives = Effect.andThen(
        Effect.sleep(100),
        Rego.resilient(Effect.suspend(() => ++runs === 1 ? never : Effect.succeed("hedged")), "svc.Detached")
      )
      let detached: Fiber.Fiber<unknown, unknown> | undefined
      const call = byHedge((hedge) =>
        hedge === 0 ? never : Effect.flatMap(Effect.forkDetach(outlives), (fiber) => {
          detached = fiber
          return Effect.succeed("ok")
        })
      )
      return Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success ok at 10")
        assert.strictEqual(describeExit(detached?.pollUnsafe()), "success hedged")
      }).pipe(Effect.provide(policies(hedged(1))))
    })
  })

  describe("a trigger schedule", () => {
    const slow = (millis: number, delay = 0) =>
      Schedule.fromStep(
        Effect.succeed((_now: number, _input: Hedge.State) =>
          Effect.as(millis === Infinity ? never : Effect.sleep(millis), [
            0,
            Duration.millis(delay)
          ] as [number, Duration.Duration])
        )
      )

    it.effect("that never answers keeps nothing waiting: where no retry follows, a failure starts the hedge at once", () => {
      const call = byHedge((hedge) =>
        hedge === 0 ? Effect.andThen(Effect.sleep(5), Effect.fail("no")) : Effect.succeed("ok")
      )
      return Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success ok at 5")
      }).pipe(Effect.provide(policies(hedged(1, slow(Infinity)))))
    })

    it.effect("whose step was under way when its group ended is not stepped twice at a time in the next group", () => {
      let inStep = 0
      let most = 0
      const steps = Schedule.fromStep(Effect.succeed((_now: number, _input: Hedge.State) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            most = Math.max(most, ++inStep)
          }),
          () => Effect.as(Effect.sleep(50), [0, Duration.zero] as [number, Duration.Duration]),
          () => Effect.sync(() => inStep--)
        )
      ))
      const call = byHedge((_, retry) =>
        retry === 0
          ? Effect.andThen(Effect.sleep(5), Effect.fail("no"))
          : Effect.andThen(Effect.sleep(200), Effect.succeed("ok"))
      )
      return Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success ok at 225")
        assert.deepStrictEqual([inStep, most], [0, 1])
      }).pipe(Effect.provide(policies({ ...hedged(1, steps), ...twice })))
    })

    for (const [name, schedule] of [["is done", Schedule.recurs(0)], ["dies", dying()]] as const) {
      it.effect(`that ${name} starts no more hedges, not even at once after a failure`, () => {
        let runs = 0
        const call = byHedge((hedge) =>
          Effect.suspend(() => {
            runs++
            return hedge === 0 ? Effect.andThen(Effect.sleep(5), Effect.fail("no")) : Effect.succeed("ok")
          })
        )
        return Effect.gen(function*() {
          assert.strictEqual(yield* answer(Rego.resilient(call, key)), "failure no at 5")
          assert.strictEqual(runs, 1)
        }).pipe(Effect.provide(policies(hedged(3, schedule))))
      })
    }

    it.effect("that answers after its group was decided arms nothing", () => {
      const sleeps = new Sleeps()
      const gates: Array<Deferred.Deferred<string, Judged>> = []
      const call = byHedge((hedge) => Deferred.await(gates[hedge]!))
      let asked = 0
      let reply: Deferred.Deferred<void> | undefined
      const schedule = Schedule.fromStep(
        Effect.succeed((_now: number, _input: Hedge.State) =>
          Effect.as(++asked < 3 ? Effect.void : Deferred.await(reply!), [0, Duration.millis(10)] as [
            number,
            Duration.Duration
          ])
        )
      )
      return Effect.gen(function*() {
        for (let i = 0; i < 3; i++) gates.push(yield* Deferred.make<string, Judged>())
        reply = yield* Deferred.make<void>()
        const caller = yield* fork(sleeps.watch(Rego.resilient(call, key)))
        yield* TestClock.adjust(20)
        assert.strictEqual(asked, 3)
        yield* Effect.sync(() => {
          Deferred.doneUnsafe(gates[0]!, Exit.fail(askedToWait(500)))
          Deferred.doneUnsafe(gates[1]!, Exit.succeed("won"))
          Deferred.doneUnsafe(reply!, Exit.void)
        })
        yield* TestClock.adjust(1)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "success won")
        assert.strictEqual(sleeps.pending, 0)
      }).pipe(Effect.provide(policies({ ...hedged(3, schedule), classifier: judged })))
    })
  })

  // ---------------------------------------------------------------------------
  // first steps
  // ---------------------------------------------------------------------------

  describe("a hedge whose first step", () => {
    it.effect("answers for the primary: the primary wins, the hedge is interrupted, nothing hangs", () =>
      Effect.gen(function*() {
        const latch = yield* Deferred.make<string>()
        const call = byHedge((hedge) =>
          hedge === 0 ? Deferred.await(latch) : Effect.andThen(Deferred.succeed(latch, "primary"), never)
        )
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success primary at 10")
      }).pipe(Effect.provide(policies(hedged(3)))))

    it.effect("answers for the primary and then itself: the primary wins", () =>
      Effect.gen(function*() {
        const latch = yield* Deferred.make<string>()
        const call = byHedge((hedge) =>
          hedge === 0 ? Deferred.await(latch) : Effect.as(Deferred.succeed(latch, "primary"), "hedge")
        )
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success primary at 10")
      }).pipe(Effect.provide(policies(hedged(3)))))

    it.effect("fails the primary for good and then succeeds: the success wins", () =>
      Effect.gen(function*() {
        const latch = yield* Deferred.make<never, Judged>()
        const call = byHedge((hedge) =>
          hedge === 0
            ? Deferred.await(latch)
            : Effect.as(Deferred.fail(latch, new Judged(Outcome.nonRetryable({ reason: "no" }))), "hedge")
        )
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success hedge at 10")
      }).pipe(Effect.provide(policies({ ...hedged(3), classifier: judged }))))

    for (const retry of [{}, twice]) {
      const expected = "retry" in retry ? "success retry at 30" : "success second at 10"
      it.effect(`fails the primary and itself, ${"retry" in retry ? "with" : "without"} retries: ${expected}`, () =>
        Effect.gen(function*() {
          const latch = yield* Deferred.make<never, string>()
          const call = byHedge((hedge, index): Effect.Effect<string, string> => {
            if (index > 0) return Effect.succeed("retry")
            if (hedge === 0) return Deferred.await(latch)
            return hedge === 1
              ? Effect.andThen(Deferred.fail(latch, "primary"), Effect.fail("hedge"))
              : Effect.succeed("second")
          })
          assert.strictEqual(yield* answer(Rego.resilient(call, key)), expected)
        }).pipe(Effect.provide(policies({ ...hedged(3), ...retry }))))
    }

    it.effect("dies: the call dies with it, and the primary is interrupted", () =>
      Effect.gen(function*() {
        const call = byHedge((hedge) => hedge === 0 ? never : Effect.die("hedge"))
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "defect hedge at 10")
      }).pipe(Effect.provide(policies(hedged(3)))))

    const endings: Record<string, { readonly ending: Effect.Effect<string, string>; readonly millis: number }> = {
      "and succeeds": { ending: Effect.succeed("ok"), millis: 0 },
      "and fails": { ending: Effect.fail("no"), millis: 0 },
      "and waits": { ending: never, millis: 0 },
      "and takes time to clean up": { ending: slowToStop(50), millis: 50 },
      "and cannot be interrupted": { ending: stubborn(50), millis: 50 }
    }
    for (const [name, { ending, millis }] of Object.entries(endings)) {
      it.effect(`interrupts the caller ${name}: it is waited for, and nothing is left`, () => {
        const permits = new Permits()
        const fibers = new Fibers()
        const sleeps = new Sleeps()
        let runs = 0
        const call = caught((caller) =>
          byHedge((hedge) =>
            Effect.suspend(() => {
              runs++
              if (hedge === 0) return never as Effect.Effect<string, string>
              caller().interruptUnsafe()
              return ending
            })
          ).pipe(Rego.resilient(key))
        )
        return Effect.gen(function*() {
          const before = fibers.live
          const caller = yield* fork(sleeps.watch(call))
          yield* TestClock.adjust(10)
          assert.strictEqual(describeExit(caller.pollUnsafe()), millis === 0 ? "interrupted" : "running")
          yield* TestClock.adjust(millis)
          assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
          assert.strictEqual(sleeps.pending, 0)
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual([runs, permits.used, permits.open, permits.settledTwice], [2, 1, 0, 0])
          assert.strictEqual(fibers.live, before)
        }).pipe(
          Effect.provide(policiesWith({ ...hedged(3), timeout: { overall: 500 } }, { tryAcquire: permits.grant })),
          fibers.watch
        )
      })
    }
  })

  describe("a loser whose finalizer", () => {
    it.effect("interrupts the caller that has its answer already changes nothing", () =>
      Effect.gen(function*() {
        const call = caught((caller) =>
          byHedge((hedge) =>
            hedge === 0
              ? Effect.onInterrupt(never, () => Effect.sync(() => caller().interruptUnsafe()))
              : Effect.succeed("won")
          ).pipe(Rego.resilient(key))
        )
        const fiber = yield* fork(Effect.uninterruptible(call))
        yield* TestClock.adjust(10)
        assert.strictEqual(describeExit(fiber.pollUnsafe()), "interrupted")
        const other = byHedge((hedge) => hedge === 0 ? never : Effect.succeed("won"))
        assert.strictEqual(yield* answer(Rego.resilient(other, key)), "success won at 10")
      }).pipe(Effect.provide(policies(hedged()))))

    it.effect("throws does not reach the caller, nor the process", () =>
      Effect.gen(function*() {
        const call = byHedge((hedge) =>
          hedge === 0 ? Effect.onInterrupt(never, () => Effect.die("finalizer")) : Effect.succeed("won")
        )
        let result = ""
        const seen = yield* uncaught(Effect.gen(function*() {
          result = yield* answer(Rego.resilient(call, key))
        }))
        assert.deepStrictEqual([result, seen], ["success won at 10", []])
      }).pipe(Effect.provide(policies(hedged()))))
  })

  // ---------------------------------------------------------------------------
  // promptness
  // ---------------------------------------------------------------------------

  describe("the answer of the winner does not wait", () => {
    const losers: Record<string, Effect.Effect<string>> = {
      "for a loser that cannot be interrupted": stubborn(10_000),
      "for a loser that takes 10 s to clean up": slowToStop(10_000),
      "for a loser whose child takes 10 s to clean up": Effect.andThen(
        Effect.forkChild(slowToStop(10_000), { startImmediately: true }),
        never
      )
    }
    for (const [name, loser] of Object.entries(losers)) {
      for (const wins of [0, 1]) {
        it.effect(`${name}, ${wins === 0 ? "a hedge" : "the primary"}; it is counted until it ends`, () => {
          const permits = new Permits()
          const call = byHedge((hedge) =>
            hedge === wins ? Effect.as(Effect.sleep(wins === 0 ? 15 : 7), `h${hedge}`) : loser
          )
          return Effect.gen(function*() {
            const expected = `success h${wins} at ${wins === 0 ? 15 : 17}`
            assert.strictEqual(yield* answer(Rego.resilient(call, key), "1 second"), expected)
            assert.strictEqual((yield* statistics).abandoned, 1)
            assert.strictEqual(permits.open, wins === 0 ? 1 : 0)
            yield* TestClock.adjust("10 seconds")
            assert.strictEqual((yield* statistics).abandoned, 0)
            assert.deepStrictEqual(permits.counts, { granted: 1, used: 1, unused: 0, twice: 0 })
          }).pipe(Effect.provide(policiesWith(hedged(), { tryAcquire: permits.grant })))
        })
      }
    }

    it.effect("for the budget that thinks about another hedge, even if that takes time to stop", () => {
      const permits = new Permits()
      let asked = 0
      const tryAcquire = () =>
        ++asked === 1 ? permits.grant() : Effect.onInterrupt(later(1_000, permits.grant), () => Effect.sleep(1_000))
      const call = byHedge((hedge) => hedge === 0 ? never : Effect.as(Effect.sleep(15), "won"))
      return Effect.gen(function*() {
        assert.strictEqual(yield* answer(Rego.resilient(call, key)), "success won at 25")
        assert.deepStrictEqual(permits.counts, { granted: 1, used: 1, unused: 0, twice: 0 })
      }).pipe(Effect.provide(policiesWith(hedged(3), { tryAcquire })))
    })

    it.effect("losers are interrupted in the same instant, before the caller goes on", () => {
      const events: Array<string> = []
      const call = byHedge((hedge) =>
        hedge < 2
          ? Effect.onInterrupt(never, () => Effect.sync(() => void events.push(`interrupted ${hedge}`)))
          : Effect.succeed("won")
      )
      return Effect.gen(function*() {
        const caller = yield* fork(
          Effect.tap(Rego.resilient(call, key), () => Effect.sync(() => events.push("answer")))
        )
        yield* TestClock.adjust(20)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "success won")
        assert.deepStrictEqual(events, ["interrupted 0", "interrupted 1", "answer"])
      }).pipe(Effect.provide(policies(hedged(2))))
    })
  })

  // ---------------------------------------------------------------------------
  // resources
  // ---------------------------------------------------------------------------

  describe("what attempts leave behind", () => {
    const resource = (events: Array<string>, name: string, millis = 0) =>
      Effect.acquireRelease(
        Effect.sync(() => void events.push(`open ${name}`)),
        (_, exit) =>
          Effect.andThen(Effect.sleep(millis), Effect.sync(() => events.push(`close ${name}: ${describeExit(exit)}`)))
      )

    it.effect("the winner's scope is kept, the losers' are closed as interrupted, and nobody waits for them", () => {
      const events: Array<string> = []
      const call = byHedge((hedge) =>
        Effect.andThen(resource(events, `h${hedge}`, 100), hedge === 1 ? Effect.succeed("won") : never)
      )
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const result = yield* answer(Effect.provideService(Rego.resilient(call, key), Scope.Scope, scope), 50)
        assert.strictEqual(result, "success won at 10")
        assert.deepStrictEqual(events, ["open h0", "open h1"])
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(events.slice(2), ["close h0: interrupted"])
        const closing = yield* fork(Scope.close(scope, Exit.void))
        yield* TestClock.adjust(100)
        assert.isDefined(closing.pollUnsafe())
        assert.deepStrictEqual(events.slice(3), ["close h1: success undefined"])
      }).pipe(Effect.provide(policies(hedged())))
    })

    it.effect("a success that lost in the same tick is discarded once, and its scope closed as interrupted", () => {
      const events: Array<string> = []
      return Effect.gen(function*() {
        const scope = yield* Scope.make()
        const latch = yield* Deferred.make<void>()
        const call = byHedge((hedge) =>
          Effect.as(Effect.andThen(resource(events, `h${hedge}`), Deferred.await(latch)), `h${hedge}`)
        )
        const onDiscard = (value: string) => Effect.sync(() => void events.push(`discard ${value}`))
        const caller = yield* fork(
          Effect.provideService(Rego.resilient(call, key, { onDiscard }), Scope.Scope, scope)
        )
        yield* TestClock.adjust(20)
        yield* Deferred.succeed(latch, undefined)
        yield* TestClock.adjust(1)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "success h0")
        assert.deepStrictEqual(events.slice(3).toSorted(), [
          "close h1: interrupted",
          "close h2: interrupted",
          "discard h1",
          "discard h2"
        ])
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(events.slice(7), ["close h0: success undefined"])
      }).pipe(Effect.provide(policies(hedged(2))))
    })

    it.effect("a success that had arrived when the caller was interrupted in the same tick is discarded", () => {
      const discarded: Array<string> = []
      return Effect.gen(function*() {
        const latch = yield* Deferred.make<string>()
        const call = byHedge((hedge) => hedge === 0 ? Deferred.await(latch) : never)
        const onDiscard = (value: string) => Effect.sync(() => void discarded.push(value))
        const caller = yield* fork(Rego.resilient(call, key, { onDiscard }))
        yield* TestClock.adjust(10)
        yield* Effect.sync(() => {
          Deferred.doneUnsafe(latch, Exit.succeed("first"))
          caller.interruptUnsafe()
        })
        yield* TestClock.adjust(1)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
        assert.deepStrictEqual(discarded, ["first"])
      }).pipe(Effect.provide(policies(hedged())))
    })

    it.effect("the scope of a Retryable attempt stays open until its group has decided, then it is closed or kept", () => {
      const run = (retry: Partial<typeof twice>, last: string) => {
        const events: Array<string> = []
        const call = byHedge((hedge, index): Effect.Effect<string, string, Scope.Scope> =>
          index > 0 ? Effect.succeed("retry") : Effect.andThen(
            resource(events, `h${hedge}`),
            Effect.andThen(Effect.sleep(hedge === 0 ? 15 : 20), Effect.fail(`h${hedge}`))
          )
        )
        return Effect.gen(function*() {
          const scope = yield* Scope.make()
          const caller = yield* fork(Effect.provideService(Rego.resilient(call, key), Scope.Scope, scope))
          yield* TestClock.adjust(29)
          assert.deepStrictEqual(events, ["open h0", "open h1"])
          yield* TestClock.adjust(21)
          const closed = events.slice(2)
          yield* TestClock.adjust(100)
          assert.strictEqual(describeExit(caller.pollUnsafe()), last)
          yield* Scope.close(scope, Exit.void)
          return [closed, events.slice(2 + closed.length)]
        }).pipe(Effect.provide(policies({ ...hedged(), retry: { maxAttempts: 1 }, ...retry })))
      }
      return Effect.gen(function*() {
        assert.deepStrictEqual(yield* run(twice, "success retry"), [
          ["close h0: failure h0", "close h1: failure h1"],
          []
        ])
        assert.deepStrictEqual(yield* run({}, "failure h0"), [["close h1: failure h1"], [
          "close h0: success undefined"
        ]])
      })
    })
  })

  // ---------------------------------------------------------------------------
  // interruption
  // ---------------------------------------------------------------------------

  describe("the caller, interrupted", () => {
    interface Phase {
      readonly policy: Parameters<typeof policiesWith>[0]
      readonly takes?: number
      /** when the caller is interrupted, how long it then waits, what has been started, and what the budget granted */
      readonly at: number
      readonly waits: number
      readonly runs: number
      readonly granted: number
      readonly attempt: Effect.Effect<string, string>
    }
    const slowTrigger = Schedule.fromStep(
      Effect.succeed((_now: number, _state: Hedge.State) =>
        Effect.as(Effect.onInterrupt(Effect.sleep(100), () => Effect.sleep(40)), [0, Duration.zero] as [
          number,
          Duration.Duration
        ])
      )
    )
    const phases: Record<string, Phase> = {
      "before any hedge": { policy: hedged(3), at: 5, waits: 0, runs: 1, granted: 0, attempt: never },
      "with primary and hedges running": { policy: hedged(3), at: 25, waits: 0, runs: 3, granted: 2, attempt: never },
      "with primary and hedges running that take 30 ms to clean up": {
        policy: hedged(3),
        at: 25,
        waits: 30,
        runs: 3,
        granted: 2,
        attempt: slowToStop(30)
      },
      "with attempts that cannot be interrupted": {
        policy: hedged(2),
        at: 25,
        waits: 95,
        runs: 3,
        granted: 2,
        attempt: stubborn(100)
      },
      "while the trigger schedule takes its time": {
        policy: hedged(1, slowTrigger),
        at: 25,
        waits: 40,
        runs: 1,
        granted: 0,
        attempt: never
      },
      "while the budget thinks about a hedge": {
        policy: hedged(1),
        takes: 50,
        at: 25,
        waits: 0,
        runs: 1,
        granted: 0,
        attempt: never
      },
      "while a failed group waits for the budget": {
        policy: hedged(1),
        takes: 50,
        at: 25,
        waits: 0,
        runs: 1,
        granted: 0,
        attempt: Effect.andThen(Effect.sleep(15), Effect.fail("no"))
      },
      "while a failed group waits for the instant a server asked for": {
        policy: { ...hedged(1), classifier: () => Outcome.retryable({ reason: "asked", retryAfter: 100 }) },
        at: 25,
        waits: 0,
        runs: 1,
        granted: 0,
        attempt: Effect.fail("no")
      },
      "in the backoff after a group": {
        policy: { ...hedged(1), ...twice },
        at: 25,
        waits: 0,
        runs: 2,
        granted: 2,
        attempt: Effect.andThen(Effect.sleep(12), Effect.fail("no"))
      }
    }
    for (const [name, phase] of Object.entries(phases)) {
      it.effect(`${name}: waits ${phase.waits} ms, and leaves nothing`, () => {
        const permits = new Permits()
        const fibers = new Fibers()
        const sleeps = new Sleeps()
        let runs = 0
        const call = Effect.suspend(() => {
          runs++
          return phase.attempt
        })
        return Effect.gen(function*() {
          const before = fibers.live
          const caller = yield* fork(sleeps.watch(Rego.resilient(call, key)))
          yield* TestClock.adjust(phase.at)
          assert.strictEqual(describeExit(caller.pollUnsafe()), "running")
          caller.interruptUnsafe()
          if (phase.waits > 0) {
            yield* TestClock.adjust(phase.waits - 1)
            assert.strictEqual(describeExit(caller.pollUnsafe()), "running")
            yield* TestClock.adjust(1)
          }
          assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
          assert.strictEqual(sleeps.pending, 0)
          assert.strictEqual(fibers.live, before)
          yield* TestClock.adjust("1 minute")
          assert.strictEqual(runs, phase.runs)
          assert.deepStrictEqual([permits.granted, permits.open, permits.settledTwice], [phase.granted, 0, 0])
        }).pipe(
          Effect.provide(policiesWith(phase.policy, {
            tryAcquire: () => phase.takes === undefined ? permits.grant() : later(phase.takes, permits.grant)
          })),
          fibers.watch
        )
      })
    }

    it.effect("waits for the attempts in flight, not for a trigger's step that was taken back before", () => {
      let asked = 0
      const trigger = Schedule.fromStep(Effect.succeed((_now: number, _state: Hedge.State) =>
        ++asked === 1
          ? Effect.as(
            Effect.onInterrupt(never, () => Effect.sleep(500)),
            [0, Duration.zero] as [number, Duration.Duration]
          )
          : Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(1_000)])
      ))
      const call = byHedge((hedge) => hedge === 0 ? Effect.andThen(Effect.sleep(5), Effect.fail("no")) : slowToStop(30))
      return Effect.gen(function*() {
        const caller = yield* fork(Rego.resilient(call, key))
        yield* TestClock.adjust(20)
        caller.interruptUnsafe()
        yield* TestClock.adjust(29)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "running")
        yield* TestClock.adjust(1)
        assert.strictEqual(describeExit(caller.pollUnsafe()), "interrupted")
        yield* TestClock.adjust("1 second")
      }).pipe(Effect.provide(policies(hedged(2, trigger))))
    })
  })

  // ---------------------------------------------------------------------------
  // everything at once
  // ---------------------------------------------------------------------------

  /** A policy in which everything that a hedge meets can happen. */
  const anyPolicy = (random: () => number, bounded: boolean): Parameters<typeof policiesWith>[0] => {
    const int = (n: number) => Math.floor(random() * n)
    const millis = (n: number) => 1 + int(n)
    const slow = Schedule.fromStep(
      Effect.succeed((_now: number, _state: Hedge.State) =>
        Effect.suspend(() => Effect.as(Effect.sleep(millis(15)), step(millis(20))))
      )
    )
    const trigger = [
      Hedge.after(millis(20)),
      Hedge.quantile(0.9, { fallback: millis(15), minSamples: 20 }),
      slow
    ][int(3)]!
    const maxAttempts = millis(3)
    return {
      idempotent: true,
      classifier: judged,
      hedge: { trigger, maxHedges: millis(3), maxFailing: random() < 0.5 ? 1 : 0.3 },
      ...(random() < 0.5 ? {} : { retry: { maxAttempts, backoff: Backoff.constant(int(15)) } }),
      ...(random() < 0.4 && !bounded ? {} : { timeout: { perAttempt: millis(40), overall: 20 + int(150) } })
    }
  }

  /** Milliseconds; often none, because what takes no time is where verdicts meet starts. */
  const shortly = (random: () => number, most: number) => random() < 0.4 ? 0 : Math.floor(random() * most)

  /** An attempt that ends in any of the ways in which attempts end, and holds something in its scope. */
  const anyAttempt = (random: () => number, open: { scopes: number; running: number; started: number }) =>
    Effect.suspend(() => {
      open.started++
      const after = shortly(random, 45)
      const kind = Math.floor(random() * 9)
      const ends: Effect.Effect<string, unknown> = [
        Effect.succeed("ok"),
        Effect.succeed("ok"),
        Effect.fail("no"),
        Effect.fail(askedToWait(shortly(random, 30))),
        Effect.fail(new Judged(Outcome.nonRetryable({ reason: "final" }))),
        Effect.fail(new Judged(Outcome.abort({ reason: "given_up" }))),
        Effect.die("defect"),
        slowToStop(Math.floor(random() * 20)),
        stubborn(Math.floor(random() * 60))
      ][kind]!
      const held = Effect.acquireRelease(
        Effect.sync(() => open.scopes++),
        () => Effect.andThen(Effect.sleep(Math.floor(random() * 5)), Effect.sync(() => open.scopes--))
      )
      return Effect.andThen(held, after === 0 ? ends : Effect.andThen(Effect.sleep(after), ends)).pipe(
        Effect.onExit(() => Effect.sync(() => open.running--)),
        (self) => Effect.suspend(() => (open.running++, self))
      )
    })

  it.effect("10,000 calls interrupted at random instants leave no fiber, timer, permit or scope", () => {
    const random = makeRandom(seed)
    const permits = new Permits()
    const fibers = new Fibers()
    const sleeps = new Sleeps()
    const open = { scopes: 0, running: 0, started: 0 }
    const seen = { interrupted: 0, ended: 0 }
    const tryAcquire = () => {
      const denied = { _tag: "Denied", reason: "no" } as const
      const decide = () => random() < 0.15 ? denied : permits.grant()
      return random() < 0.3 ? later(Math.floor(random() * 20), decide) : decide()
    }
    const batch = Effect.gen(function*() {
      const policy = anyPolicy(random, false)
      yield* Effect.gen(function*() {
        const callers = new Array<Fiber.Fiber<unknown, unknown>>()
        for (let i = 0; i < 100; i++) {
          callers.push(yield* fork(Effect.scoped(Rego.resilient(anyAttempt(random, open), key))))
        }
        for (let step = 0; step < 10; step++) {
          yield* TestClock.adjust(1 + Math.floor(random() * 25))
          for (let i = step; i < callers.length; i += 10) callers[i]!.interruptUnsafe()
        }
        yield* TestClock.adjust("1 second")
        for (const caller of callers) {
          const exit = describeExit(caller.pollUnsafe())
          assert.notStrictEqual(exit, "running")
          assert.notMatch(exit, /defect (?!defect)/, withSeed("the driver has a defect"))
          seen[exit === "interrupted" ? "interrupted" : "ended"]++
        }
        const { abandoned, started, wasted, won } = yield* statistics
        assert.deepStrictEqual([abandoned, started], [0, won + wasted])
      }).pipe(Effect.provide(policiesWith(policy, { tryAcquire })))
    })
    return Effect.gen(function*() {
      const before = fibers.live
      for (let i = 0; i < 100; i++) {
        yield* batch
        const left = { ...open, sleeps: sleeps.pending, fibers: fibers.live - before, permits: permits.open }
        const none = { scopes: 0, running: 0, started: open.started, sleeps: 0, fibers: 0, permits: 0 }
        assert.deepStrictEqual(left, none, withSeed(`after ${100 * (i + 1)} calls`))
      }
      const { started } = open
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(open.started, started)
      assert.strictEqual(permits.settledTwice, 0)
      assert.strictEqual(seen.interrupted + seen.ended, 10_000)
      assert.isAbove(Math.min(seen.interrupted, seen.ended), 500)
      assert.isAbove(permits.unused, 10)
    }).pipe(sleeps.watch, fibers.watch)
  }, 120_000)

  it.effect("hedged calls have the same result, at the same instant, with and without capture", () => {
    const once = (start: number, captured: boolean) => {
      const random = makeRandom(start)
      const open = { scopes: 0, running: 0, started: 0 }
      const starts: Array<string> = []
      return Effect.gen(function*() {
        const zero = yield* Clock.currentTimeMillis
        const attempt = byHedge((hedge, retry) =>
          Effect.flatMap(Clock.currentTimeMillis, (now) => {
            starts.push(`${retry}.${hedge} at ${now - zero}`)
            return anyAttempt(random, open)
          })
        )
        const call = Effect.scoped(Rego.resilient(attempt, key))
        const result = yield* answer(captured ? Effect.flatMap(Timeline.capture(call), ([exit]) => exit) : call)
        return [result, ...starts]
      }).pipe(Effect.provide(policiesWith(anyPolicy(random, true), {})), Random.withSeed(start))
    }
    return Effect.gen(function*() {
      let runs = 0
      for (let i = 0; i < 200; i++) {
        const plain = yield* once(seed + i, false)
        assert.deepStrictEqual(yield* once(seed + i, true), plain, withSeed(`call ${i}`))
        runs += plain.length - 1
      }
      assert.isAbove(runs, 400)
    })
  }, 60_000)

  it.effect("every call under a random hedged policy keeps its promises", () => {
    const random = makeRandom(seed + 1)
    return Effect.gen(function*() {
      const seen = { hedges: 0, timelines: 0 }
      for (let i = 0; i < 500; i++) {
        const policy = anyPolicy(random, true)
        const permits = new Permits()
        const open = { scopes: 0, running: 0, started: 0 }
        const takes = Math.floor(random() * 20)
        const tryAcquire = () =>
          random() < 0.2
            ? { _tag: "Denied", reason: "no" } as const
            : takes > 8
            ? later(takes, permits.grant)
            : permits.grant()
        yield* Effect.gen(function*() {
          const call = Effect.scoped(Rego.resilient(anyAttempt(random, open), key))
          const caller = yield* fork(Timeline.capture(call))
          yield* TestClock.adjust("2 seconds")
          const exit = caller.pollUnsafe()
          if (exit?._tag !== "Success") return assert.fail(withSeed(`call ${i} did not end`))
          const [timeline] = exit.value[1]
          assert.notMatch(describeExit(exit.value[0]), /defect (?!defect)/, withSeed(`call ${i}`))
          check(timeline!, policy, open.started, i)
          assert.deepStrictEqual([open.scopes, open.running], [0, 0])
          const hedges = timeline!.attempts.filter(({ attempt }) => attempt.hedge > 0).length
          const stats = yield* statistics
          assert.deepStrictEqual([stats.started, stats.won + stats.wasted], [hedges, hedges], withSeed(`call ${i}`))
          assert.deepStrictEqual([permits.open, permits.settledTwice, permits.used], [0, 0, open.started - 1])
          seen.hedges += hedges
          seen.timelines++
        }).pipe(Effect.provide(policiesWith(policy, { tryAcquire })))
      }
      assert.isAbove(seen.hedges, 200)
    })
  }, 60_000)
})

const tolerance = 0.001

/** What holds for the timeline of every hedged call. */
function check(
  timeline: Timeline.Timeline,
  policy: Parameters<typeof policiesWith>[0],
  started: number,
  call: number
): void {
  const say = (message: string) => withSeed(`call ${call}: ${message}\n${Timeline.render(timeline)}`)
  const retry = policy.retry === "off" ? undefined : policy.retry
  const hedge = policy.hedge === "off" ? undefined : policy.hedge
  const timeout = policy.timeout === "off" ? undefined : policy.timeout
  const overall = timeout?.overall === undefined ? Infinity : Number(timeout.overall)
  const { attempts } = timeline
  assert.strictEqual(attempts.length, started, say("one record for each started attempt"))
  assert.isAtMost(timeline.endedAt - timeline.startedAt, overall + tolerance, say("ends in time"))
  const groups = [...new Set(attempts.map(({ attempt }) => attempt.retry))]
  assert.isAtMost(groups.length, retry?.maxAttempts ?? 1, say("maxAttempts"))
  for (const index of groups) {
    const group = attempts.filter(({ attempt }) => attempt.retry === index)
    assert.deepStrictEqual(group.map(({ attempt }) => attempt.hedge), group.map((_, i) => i), say("hedges in order"))
    assert.isAtMost(group.length, 1 + (hedge?.maxHedges ?? 1), say("maxHedges"))
    for (const [i, { startedAt }] of group.entries()) {
      assert.isBelow(startedAt - timeline.startedAt, overall, say("no start at the deadline"))
      if (i > 0) assert.isAtLeast(startedAt, group[i - 1]!.startedAt, say("starts in order"))
    }
  }
  for (const attempt of attempts) {
    assert.isAtMost(attempt.endedAt ?? 0, timeline.endedAt + tolerance, say("nothing after the end"))
  }
  const definite = attempts.filter(({ outcome }) => outcome !== undefined && outcome !== "Retryable")
  assert.isAtMost(new Set(definite.map(({ endedAt }) => endedAt)).size, 1, say("the first definite tick ends the call"))
  const denials = timeline.decisions.filter((d) => d._tag === "Denied" && d.kind === "hedge")
  assert.isAtMost(denials.length, groups.length, say("one record of denials in a group"))
  for (const denial of denials) if (denial._tag === "Denied") assert.isAtMost(denial.count, 3, say("denials"))
}

function dying(): Schedule.Schedule<unknown, Hedge.State> {
  return Schedule.fromStep(Effect.succeed((_now: number, _input: Hedge.State) => Effect.die("trigger")))
}
