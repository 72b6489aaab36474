import { assert, describe, it } from "@effect/vitest"
import type { Policy, Rego } from "@rego/core"
import { Attempt, Backoff, Budget, Hedge, Outcome, PolicyLayer, PolicyProvider, Timeline } from "@rego/core"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Layer, Option, Random, Schedule } from "effect"
import { TestClock } from "effect/testing"
import type { Line, Policies, Row } from "../support.ts"
import {
  askedToWait,
  assertFailsWith,
  assertSucceedsWith,
  call,
  countingBudget,
  dies,
  fails,
  hangs,
  inVirtualTime,
  Judged,
  judged,
  key,
  policiesOf,
  regoErrorOf,
  resilient,
  script,
  seed,
  succeeds,
  under,
  withBudget
} from "../support.ts"

// -----------------------------------------------------------------------------
// what the tests share
// -----------------------------------------------------------------------------

const after10 = Hedge.after("10 millis")
const twentyMillis = Backoff.constant("20 millis", { jitter: "none" })

/** Never unhealthy unless a test says otherwise: what fails here fails on purpose. */
const hedged = (
  maxHedges = 1,
  trigger: Hedge.Trigger | Schedule.Schedule<unknown, Hedge.State> = after10
): Policy.Input => ({ idempotent: true, hedge: { trigger, maxHedges, maxFailing: 1 } })

const retries = (maxAttempts: number): Policy.Input => ({ retry: { maxAttempts, backoff: twentyMillis } })

const boom = new Error("boom")
const nonRetryable = new Judged(Outcome.nonRetryable({ reason: "final" }))
const abort = new Judged(Outcome.abort({ reason: "given_up" }))
const unreached = new Judged(Outcome.retryable({ reason: "refused", executed: "no" }))

const statistics = Effect.gen(function*() {
  const provider = yield* PolicyProvider.PolicyProvider
  const found = Option.getOrThrow(yield* provider.statistics(key))
  return Option.getOrThrow(found.hedging).hedges
})

const counts = Effect.map(statistics, ({ denied, started, wasted, won }) => ({ denied, started, wasted, won }))

/** Makes calls one after the other under one layer, then looks. */
const afterCalls = <A>(
  policies: Policies,
  calls: Effect.Effect<unknown, unknown, PolicyProvider.PolicyProvider>,
  look: Effect.Effect<A, never, PolicyProvider.PolicyProvider>
): Effect.Effect<A> =>
  inVirtualTime(Effect.andThen(Effect.exit(calls), look), "1 hour").pipe(
    Effect.flatten,
    (self) => under(self, policies),
    Random.withSeed(seed)
  )

/** Runs the effect of the attempt's hedge index. */
const byHedge = <A, E, R>(run: (hedge: number, retry: number) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(Attempt.CurrentAttempt, (current) => {
    const { hedge, retry } = Option.getOrThrow(current)
    return run(hedge, retry)
  })

/** What is run by a call finds the provider of that call. */
const inside = <A, E>(self: Effect.Effect<A, E, PolicyProvider.PolicyProvider>) => self as Effect.Effect<A, E>

const at = (millis: number, effect: Effect.Effect<string, unknown>) => Effect.andThen(Effect.sleep(millis), effect)

describe("Executor", () => {
  // ---------------------------------------------------------------------------
  // which calls
  // ---------------------------------------------------------------------------

  describe("hedges only where idempotent is true", () => {
    const outcomes = {
      "an attempt that goes on": hangs,
      "a refused one": fails(unreached, 5),
      "a failed one": fails(boom, 5),
      "a timed out one": hangs
    } as const
    for (const idempotent of [true, undefined, false]) {
      for (const [name, first] of Object.entries(outcomes)) {
        it.effect(`idempotent ${idempotent}: ${name} ${idempotent === true ? "is hedged" : "is not hedged"}`, () =>
          Effect.gen(function*() {
            const s = script<string, unknown>(first, succeeds("second", 2))
            const timedOut = name.startsWith("a timed out")
            const ran = yield* call(s.effect, {
              policy: {
                ...hedged(),
                idempotent,
                classifier: judged,
                timeout: timedOut ? { perAttempt: 5 } : { overall: 50 }
              }
            })
            const startedAt = idempotent !== true ? [0] : first === hangs && !timedOut ? [0, 10] : [0, 5]
            assert.deepStrictEqual(s.startedAt, startedAt)
            assert.strictEqual(Exit.isSuccess(ran.exit), idempotent === true)
          }))
      }
    }

    it.effect("a call site's word counts more than the policy's, both ways", () =>
      Effect.gen(function*() {
        for (const [policy, site, runs] of [[true, false, 1], [false, true, 2], [undefined, true, 2]] as const) {
          const s = script(hangs, succeeds("hedge"))
          yield* call(s.effect, {
            policy: { ...hedged(), idempotent: policy, timeout: { overall: 50 } },
            options: { idempotent: site }
          })
          assert.strictEqual(s.runs, runs)
        }
      }))

    it.effect("a key whose calls leave it unstated is warned about once, by the first of them that runs", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        const warned = () => log.filter(({ message }) => message.includes("idempotent"))
        const run = (options: Rego.Options) => resilient(Effect.void, key, options)
        const program = Effect.gen(function*() {
          yield* run({ idempotent: true })
          yield* run({ idempotent: false })
          assert.deepStrictEqual(warned(), [])
          yield* run({})
          yield* run({})
        })
        yield* under(program, policiesOf(hedged()), log)
        assert.deepStrictEqual(warned(), [])

        yield* under(program, policiesOf({ ...hedged(), idempotent: undefined }), log)
        assert.deepStrictEqual(warned().map(({ level, message }) => [level, message]), [[
          "Warn",
          `rego ${key}: its hedge section has no effect on calls that do not state idempotent, and neither does the policy`
        ]])
      }))

    it.effect("an attempt that uses up its input is not hedged, whoever says that it is idempotent", () =>
      Effect.gen(function*() {
        const s = script(hangs, succeeds("hedge"))
        yield* call(s.effect, {
          policy: { ...hedged(), timeout: { overall: 50 } },
          options: { idempotent: true, replayable: false }
        })
        assert.strictEqual(s.runs, 1)
      }))

    it.effect("a policy whose hedge section is off does not hedge", () =>
      Effect.gen(function*() {
        const s = script(hangs, succeeds("hedge"))
        const layer = PolicyLayer.make({
          policies: { "svc.*": { hedge: "off" } },
          defaults: { ...hedged(), timeout: { overall: 50 } }
        })
        yield* call(s.effect, { layer })
        assert.strictEqual(s.runs, 1)
      }))
  })

  // ---------------------------------------------------------------------------
  // when
  // ---------------------------------------------------------------------------

  describe("when a hedge starts", () => {
    it.effect("one delay after the first attempt, and not when that has ended before", () =>
      Effect.gen(function*() {
        for (const [took, runs] of [[9, 1], [11, 2]] as const) {
          const s = script(succeeds("first", took), hangs)
          const ran = yield* call(s.effect, { policy: hedged() })
          assertSucceedsWith(ran.exit, "first")
          assert.strictEqual(s.runs, runs)
        }
      }))

    it.effect("all three at their own due times, each counted from the start before it", () =>
      Effect.gen(function*() {
        const s = script(hangs, hangs, hangs, succeeds("third hedge", 1))
        const ran = yield* call(s.effect, { policy: hedged(3) })
        assert.deepStrictEqual(s.startedAt, [0, 10, 20, 30])
        assert.deepStrictEqual(ran.rows, [
          [0, "start 0"],
          [10, "start 0.1"],
          [20, "start 0.2"],
          [30, "start 0.3"],
          [31, "interrupted_loser 0"],
          [31, "interrupted_loser 0.1"],
          [31, "interrupted_loser 0.2"],
          [31, "end 0.3 Success"],
          [31, "success"]
        ])
        assert.strictEqual(s.interrupts, 3)
      }))

    it.effect("no more of them than maxHedges", () =>
      Effect.gen(function*() {
        for (const maxHedges of [1, 2, 3]) {
          const s = script(hangs)
          yield* call(s.effect, { policy: { ...hedged(maxHedges), timeout: { overall: 1_000 } } })
          assert.strictEqual(s.runs, 1 + maxHedges)
        }
      }))

    it.effect("never at or past the deadline", () =>
      Effect.gen(function*() {
        for (const [overall, startedAt] of [[20, [0, 10]], [20.5, [0, 10, 20]], [10, [0]], [5, [0]]] as const) {
          const s = script(hangs)
          const ran = yield* call(s.effect, { policy: { ...hedged(3), timeout: { overall } } })
          assert.deepStrictEqual(s.startedAt, startedAt)
          assert.strictEqual(regoErrorOf(ran.exit).reason._tag, "DeadlineExceeded")
          assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, overall)
          assert.isTrue(ran.timeline.attempts.every(({ endedBy }) => endedBy === "timed_out"))
        }
      }))

    it.effect("the deadline while a hedge hangs: what the first attempt failed with is the last cause", () =>
      Effect.gen(function*() {
        const s = script(fails(boom, 15), hangs)
        const ran = yield* call(s.effect, { policy: { ...hedged(), ...retries(2), timeout: { overall: 50 } } })
        const { reason } = regoErrorOf(ran.exit)
        const cause = reason._tag === "DeadlineExceeded" ? reason.lastCause : Option.none()
        assert.strictEqual(Option.getOrUndefined(Option.map(cause, Cause.squash)), boom)
      }))

    it.effect("not when the first attempt ends in the very tick in which it is due", () =>
      Effect.gen(function*() {
        const s = script(succeeds("first", 10), succeeds("hedge"))
        const ran = yield* call(s.effect, { policy: hedged() })
        // the timer of the hedge was armed after the attempt went to sleep
        assertSucceedsWith(ran.exit, "first")
        assert.strictEqual(s.runs, 1)
      }))

    it.effect("after a retry the count begins anew", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom, 15), fails(boom, 25), succeeds("retry", 12), hangs)
        const ran = yield* call(s.effect, { policy: { ...hedged(), ...retries(2) } })
        assert.deepStrictEqual(ran.rows, [
          [0, "start 0"],
          [10, "start 0.1"],
          [15, "end 0 Retryable typed_failure"],
          [35, "end 0.1 Retryable typed_failure"],
          [35, "wait 20"],
          [55, "start 1"],
          [65, "start 1.1"],
          [67, "end 1 Success"],
          [67, "interrupted_loser 1.1"],
          [67, "success"]
        ])
      }))

    for (const [maxAttempts, maxHedges] of [[1, 3], [2, 2], [3, 3], [4, 2], [6, 1]] as const) {
      it.effect(`maxAttempts counts groups: ${maxAttempts} × (1 + ${maxHedges}) runs at most`, () =>
        Effect.gen(function*() {
          const s = script(fails(boom, 100))
          const ran = yield* call(s.effect, { policy: { ...hedged(maxHedges), ...retries(maxAttempts) } })
          assertFailsWith(ran.exit, boom)
          assert.strictEqual(s.runs, maxAttempts * (1 + maxHedges))
          assert.strictEqual(ran.timeline.attempts.length, s.runs)
        }))
    }

    it.effect("more than 12 runs are refused at boot, where the sections of several entries are merged", () =>
      Effect.gen(function*() {
        const layer = PolicyLayer.make({
          policies: {
            "svc.*": { hedge: { trigger: after10, maxHedges: 3 } },
            "svc.Method": { retry: { maxAttempts: 4 } }
          }
        })
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(layer)))
        assert.include(String(exit._tag === "Failure" ? exit.cause : ""), "4 × (1 + 3) = 16")
      }))
  })

  // ---------------------------------------------------------------------------
  // failures
  // ---------------------------------------------------------------------------

  describe("a Retryable outcome", () => {
    it.effect("with a retry section: the retry rules decide when nothing runs any more, and no hedge starts meanwhile", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom, 5), succeeds("retry"))
        const ran = yield* call(s.effect, { policy: { ...hedged(3), ...retries(2) } })
        assertSucceedsWith(ran.exit, "retry")
        assert.deepStrictEqual(s.startedAt, [0, 25])
      }))

    it.effect("with a retry section: a retryAfter that is over at once starts no hedge when nothing runs any more", () =>
      Effect.gen(function*() {
        const { counts, make } = countingBudget()
        const s = script<string, unknown>(fails(askedToWait(0), 5), succeeds("retry", 1))
        const ran = yield* call(s.effect, {
          layer: withBudget({ ...hedged(1), ...retries(2), classifier: judged }, make)
        })
        assertSucceedsWith(ran.exit, "retry")
        assert.deepStrictEqual(ran.rows, [
          [0, "start 0"],
          [5, "end 0 Retryable asked"],
          [5, "start 1"],
          [6, "end 1 Success"],
          [6, "success"]
        ])
        assert.deepStrictEqual([counts.taken, counts.used], [1, 1])
      }))

    it.effect("with a retry section that allows one attempt: the call ends, a hedge is no retry", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom, 5), succeeds("hedge"))
        const ran = yield* call(s.effect, { policy: { ...hedged(3), ...retries(1) } })
        assertFailsWith(ran.exit, boom)
        assert.strictEqual(ran.timeline.decisions.at(-1)?._tag, "Stopped")
        assert.strictEqual(s.runs, 1)
      }))

    it.effect("with a retry section waits for the hedge that runs, and for further ones at their times", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom, 15), hangs, succeeds("second hedge", 5))
        const ran = yield* call(s.effect, { policy: { ...hedged(2), ...retries(2) } })
        assertSucceedsWith(ran.exit, "second hedge")
        assert.deepStrictEqual(s.startedAt, [0, 10, 20])
      }))

    for (const retry of [undefined, "off"] as const) {
      it.effect(`without a retry section (${retry ?? "absent"}) starts the next hedge at once`, () =>
        Effect.gen(function*() {
          const s = script<string, Error>(fails(boom, 3), fails(boom, 4), succeeds("second hedge", 1))
          const ran = yield* call(s.effect, { policy: { ...hedged(3), retry } })
          assertSucceedsWith(ran.exit, "second hedge")
          assert.deepStrictEqual(ran.rows, [
            [0, "start 0"],
            [3, "end 0 Retryable typed_failure"],
            [3, "start 0.1"],
            [7, "end 0.1 Retryable typed_failure"],
            [7, "start 0.2"],
            [8, "end 0.2 Success"],
            [8, "success"]
          ])
        }))
    }

    it.effect("ends the call with the first attempt's exit when all hedges are used", () =>
      Effect.gen(function*() {
        const errors = [0, 1, 2].map((n) => new Error(`failure ${n}`))
        const s = script<never, Error>(...errors.map((error) => fails(error, 1)))
        const ran = yield* call(s.effect, { policy: hedged(2) })
        assertFailsWith(ran.exit, errors[0])
        assert.deepStrictEqual(s.startedAt, [0, 1, 2])
        assert.deepStrictEqual(ran.rows.slice(-2), [[3, "stop no_retries"], [3, "failure"]])
      }))

    it.effect("with nothing running starts the next hedge before the clock moves on, whatever that does", () =>
      Effect.gen(function*() {
        const failing = script(fails(boom))
        const ran = yield* call(failing.effect, { policy: hedged(3), during: 0 })
        assertFailsWith(ran.exit, boom)
        assert.deepStrictEqual([failing.runs, ran.rows.at(-2)], [4, [0, "stop no_retries"]])
        const succeeding = script<string, Error>(fails(boom), fails(boom), succeeds("hedge"))
        assertSucceedsWith((yield* call(succeeding.effect, { policy: hedged(3), during: 0 })).exit, "hedge")
        const denied = script(fails(boom))
        const { exit } = yield* call(denied.effect, { layer: withBudget(hedged(3), Budget.none), during: 0 })
        assertFailsWith(exit, boom)
        assert.strictEqual(denied.runs, 1)
      }))

    it.effect("the delay of the next hedge is counted from the one that was started at once", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom, 3), hangs, succeeds("second hedge", 1))
        yield* call(s.effect, { policy: hedged(2) })
        assert.deepStrictEqual(s.startedAt, [0, 3, 13])
      }))

    for (const [name, policy] of [["without", {}], ["with", retries(1)]] as const) {
      it.effect(`a retryAfter moves the group's next hedge to that instant, ${name} retries`, () =>
        Effect.gen(function*() {
          const s = script<string, unknown>(hangs, fails(askedToWait(40), 5), hangs, succeeds("third hedge", 1))
          const ran = yield* call(s.effect, { policy: { ...hedged(3), ...policy, classifier: judged } })
          assertSucceedsWith(ran.exit, "third hedge")
          // hedge 1 fails at 15 and asks for 40 ms, then the delays go on from there
          assert.deepStrictEqual(s.startedAt, [0, 10, 55, 65])
        }))

      it.effect(`a shorter retryAfter moves it forward, ${name} retries`, () =>
        Effect.gen(function*() {
          const trigger = Hedge.after(100)
          const s = script<string, unknown>(hangs, fails(askedToWait(7), 5), succeeds("second hedge", 1))
          yield* call(s.effect, { policy: { ...hedged(3, trigger), ...policy, classifier: judged } })
          assert.deepStrictEqual(s.startedAt, [0, 100, 112])
        }))
    }

    for (const [name, policy] of [["without", {}], ["with", retries(3)]] as const) {
      it.effect(`a retryAfter without an end starts no more hedges and lets the others finish, ${name} retries`, () =>
        Effect.gen(function*() {
          const no = askedToWait("Infinity")
          const wins = script<string, unknown>(succeeds("first", 60), fails(no, 5), hangs)
          const won = yield* call(wins.effect, { policy: { ...hedged(3), ...policy, classifier: judged } })
          assertSucceedsWith(won.exit, "first")
          assert.deepStrictEqual(wins.startedAt, [0, 10])
          const loses = script<string, unknown>(fails(boom, 60), fails(no, 5), hangs)
          const lost = yield* call(loses.effect, { policy: { ...hedged(3), ...policy, classifier: judged } })
          assertFailsWith(lost.exit, boom)
          assert.deepStrictEqual(loses.startedAt, [0, 10])
        }))
    }

    it.effect("a group that waits for the instant a server asked for ends at once when a hedge cannot start in time", () =>
      Effect.gen(function*() {
        const asked = askedToWait(60)
        const s = script<string, unknown>(fails(asked, 5), succeeds("never"))
        const ran = yield* call(s.effect, { policy: { ...hedged(), classifier: judged, timeout: { overall: 65 } } })
        assertFailsWith(ran.exit, asked)
        assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 5)
      }))

    it.effect("a group that waits with nothing running waits as long as it was asked to", () =>
      Effect.gen(function*() {
        const s = script<string, unknown>(fails(askedToWait(60), 5), succeeds("hedge", 1))
        const ran = yield* call(s.effect, { policy: { ...hedged(), classifier: judged, timeout: { overall: 70 } } })
        assertSucceedsWith(ran.exit, "hedge")
        assert.deepStrictEqual(s.startedAt, [0, 65])
      }))

    it.effect("a timed out attempt counts as one, and its hedge starts at once", () =>
      Effect.gen(function*() {
        const s = script<string, unknown>(hangs, succeeds("hedge", 1))
        const ran = yield* call(s.effect, { policy: { ...hedged(1, Hedge.after(500)), timeout: { perAttempt: 30 } } })
        assertSucceedsWith(ran.exit, "hedge")
        assert.deepStrictEqual(s.startedAt, [0, 30])
      }))
  })

  describe("a definite outcome", () => {
    const cases = [
      ["Success", succeeds("won", 5), "end 0.1 Success"],
      ["NonRetryable", fails(nonRetryable, 5), "end 0.1 NonRetryable final"],
      ["Abort", fails(abort, 5), "end 0.1 Abort given_up"],
      ["a defect", dies(boom, 5), "end 0.1 NonRetryable defect"]
    ] as const
    for (const [name, step, row] of cases) {
      for (const policy of [{}, retries(3)]) {
        it.effect(`${name} of a hedge ends the call at once, ${"retry" in policy ? "with" : "without"} retries`, () =>
          Effect.gen(function*() {
            const s = script<string, unknown>(hangs, step, succeeds("never", 100))
            const ran = yield* call(s.effect, { policy: { ...hedged(3), ...policy, classifier: judged } })
            assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 15)
            assert.deepInclude(ran.rows, [15, row] as Row)
            assert.deepInclude(ran.rows, [15, "interrupted_loser 0"] as Row)
            assert.strictEqual(s.runs, 2)
            if (step.exit?._tag === "Failure") assert.strictEqual(ran.exit._tag, "Failure")
          }))
      }
    }

    it.effect("in an earlier tick wins over a better one that comes later", () =>
      Effect.gen(function*() {
        const s = script<string, unknown>(succeeds("first", 16), fails(nonRetryable, 5))
        const ran = yield* call(s.effect, { policy: { ...hedged(1), classifier: judged } })
        assertFailsWith(ran.exit, nonRetryable)
      }))
  })

  // ---------------------------------------------------------------------------
  // the order of arrival
  // ---------------------------------------------------------------------------

  describe("outcomes of one tick", () => {
    const verdicts = ["Success", "NonRetryable", "Abort", "Retryable"] as const
    type Verdict = typeof verdicts[number]
    const rank = (verdict: Verdict) => verdicts.indexOf(verdict)

    const exitOf = (verdict: Verdict, hedge: number): Exit.Exit<string, Judged> => {
      const judge = (outcome: Outcome.Outcome) =>
        Exit.fail(new Judged({ ...outcome, reason: `h${hedge}` } as Outcome.Outcome))
      switch (verdict) {
        case "Success":
          return Exit.succeed(`h${hedge}`)
        case "NonRetryable":
          return judge(Outcome.nonRetryable({ reason: "" }))
        case "Abort":
          return judge(Outcome.abort({ reason: "" }))
        case "Retryable":
          return judge(Outcome.retryable({ reason: "" }))
      }
    }

    const permutations = <A>(items: ReadonlyArray<A>): ReadonlyArray<ReadonlyArray<A>> =>
      items.length <= 1
        ? [items]
        : items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]))

    /** Which attempt's exit is returned when those of the group end in one tick in the given order. */
    const winner = (group: ReadonlyArray<Verdict>, order: ReadonlyArray<number>, policy: Policy.Input) =>
      Effect.gen(function*() {
        const gates = yield* Effect.all(group.map(() => Deferred.make<string, Judged>()))
        const more = yield* Deferred.make<string, Judged>()
        const effect = byHedge((hedge) => hedge < group.length ? Deferred.await(gates[hedge]!) : Deferred.await(more))
        const fiber = yield* Effect.forkChild(resilient(effect, key), { startImmediately: true })
        yield* TestClock.adjust(10 * (group.length - 1))
        yield* Effect.sync(() => {
          for (const i of order) Deferred.doneUnsafe(gates[i]!, exitOf(group[i]!, i))
        })
        yield* TestClock.adjust(1)
        const exit = fiber.pollUnsafe()
        if (exit === undefined) {
          yield* Fiber.interrupt(fiber)
          return "running"
        }
        if (exit._tag === "Success") return exit.value
        const [reason] = exit.cause.reasons
        const error = reason?._tag === "Fail" ? reason.error : undefined
        return error instanceof Judged && error.outcome._tag !== "Success" ? error.outcome.reason : String(error)
      }).pipe((self) =>
        under(self, policiesOf({ ...hedged(Math.min(3, group.length)), ...policy, classifier: judged }))
      )

    const groups = (size: number): ReadonlyArray<ReadonlyArray<Verdict>> =>
      size === 0 ? [[]] : groups(size - 1).flatMap((group) => verdicts.map((verdict) => [...group, verdict]))

    for (const [name, policy] of [["with", retries(1)], ["without", {}]] as const) {
      for (const size of [2, 3]) {
        it.effect(
          `every group of ${size} in every order, ${name} retries: the best, then the lower hedge index`,
          () =>
            Effect.gen(function*() {
              for (const group of groups(size)) {
                const best = group.indexOf(verdicts[Math.min(...group.map(rank))]!)
                const expected = group.every((v) => v === "Retryable") && name === "without" ? "running" : `h${best}`
                for (const order of permutations(group.map((_, i) => i))) {
                  const won = yield* winner(group, order, policy)
                  if (won !== expected) assert.fail(`${group} in order ${order}: ${won} instead of ${expected}`)
                }
              }
            }),
          60_000
        )
      }
    }

    it.effect("a hedge that would start at once for a failure does not decide the call before what else arrives", () =>
      Effect.gen(function*() {
        for (const order of permutations([0, 1])) {
          const gates = yield* Effect.all([0, 1].map(() => Deferred.make<string, Judged>()))
          const effect = byHedge((hedge) => hedge < 2 ? Deferred.await(gates[hedge]!) : Effect.succeed("too eager"))
          const exit = yield* Effect.gen(function*() {
            const fiber = yield* Effect.forkChild(resilient(effect, key), { startImmediately: true })
            yield* TestClock.adjust(10)
            yield* Effect.sync(() => {
              const exits = [Exit.fail(unreached), Exit.fail(nonRetryable)]
              for (const i of order) Deferred.doneUnsafe(gates[i]!, exits[i]!)
            })
            yield* TestClock.adjust(1)
            return fiber.pollUnsafe()!
          }).pipe((self) => under(self, policiesOf({ ...hedged(3), classifier: judged })))
          assertFailsWith(exit, nonRetryable)
        }
      }))

    for (const order of permutations([0, 1, 2])) {
      it.effect(`a group that failed whole does not depend on the order ${order}`, () =>
        Effect.gen(function*() {
          // the longest wait is asked for by hedge 1, and hedge 2 may have been executed
          const errors = [
            new Judged(Outcome.retryable({ reason: "h0", executed: "no", retryAfter: 10 })),
            new Judged(Outcome.retryable({ reason: "h1", executed: "no", retryAfter: 300 })),
            new Judged(Outcome.retryable({ reason: "h2", executed: "maybe" }))
          ]
          const ends = (i: number) => 30 + 5 * order.indexOf(i)
          const effect = byHedge((hedge, retry) =>
            retry > 0 ? Effect.succeed("retry") : at(ends(hedge) - 10 * hedge, Effect.fail(errors[hedge]))
          )
          const ran = yield* call(effect, { policy: { ...hedged(2), ...retries(2), classifier: judged } })
          assertSucceedsWith(ran.exit, "retry")
          assert.deepInclude(ran.rows, [40, "wait 300 asked 300"] as Row)
          const last = yield* call(effect, { policy: { ...hedged(2), ...retries(1), classifier: judged } })
          assertFailsWith(last.exit, errors[0])
        }))
    }
  })

  // ---------------------------------------------------------------------------
  // denials
  // ---------------------------------------------------------------------------

  describe("a denied hedge", () => {
    const denies = (grants: (asked: number) => boolean, policy: Policy.Input, takes = 0) => {
      const budget = countingBudget({ grants, takes })
      return { ...budget, layer: withBudget(policy, budget.make) }
    }

    it.effect("uses its tick, not its place: it is asked for again one delay later", () =>
      Effect.gen(function*() {
        const { counts, layer } = denies((asked) => asked > 2, hedged())
        const s = script(hangs, succeeds("hedge", 1))
        const ran = yield* call(s.effect, { layer })
        assertSucceedsWith(ran.exit, "hedge")
        assert.deepStrictEqual(s.startedAt, [0, 30])
        assert.strictEqual(counts.asked, 3)
        assert.deepStrictEqual(ran.timeline.decisions, [
          { _tag: "Denied", at: 31, kind: "hedge", budget: "own", reason: "other", detail: "counted", count: 2 }
        ])
      }))

    it.effect("is asked for at most 3 times in a group, written down once, and changes nothing else", () =>
      Effect.gen(function*() {
        for (const takes of [0, 3]) {
          const { counts, layer } = denies(() => false, hedged(3), takes)
          const s = script(succeeds("first", 200))
          const ran = yield* call(s.effect, { layer })
          assertSucceedsWith(ran.exit, "first")
          assert.strictEqual(counts.asked, 3)
          assert.deepStrictEqual(ran.rows, [
            [0, "start 0"],
            [200, "end 0 Success"],
            [200, "hedge denied by own: counted"],
            [200, "success"]
          ])
          assert.deepInclude(ran.timeline.decisions[0], { count: 3 })
        }
      }))

    it.effect("is asked for again in the next group", () =>
      Effect.gen(function*() {
        const asked: Array<string> = []
        const own = withBudget(
          { ...hedged(), ...retries(2) },
          Effect.succeed({
            tryAcquire: ({ attempt, kind }) => {
              asked.push(`${kind} ${attempt.retry}.${attempt.hedge}`)
              return kind === "retry"
                ? { _tag: "Granted", permit: { settle: () => {} } }
                : { _tag: "Denied", reason: "no" }
            },
            state: Effect.succeed({ balance: 0 })
          })
        )
        const ran = yield* call(script<string, Error>(fails(boom, 25), succeeds("retry", 15)).effect, { layer: own })
        assertSucceedsWith(ran.exit, "retry")
        assert.deepStrictEqual(asked, ["hedge 0.1", "hedge 0.1", "retry 1.0", "hedge 1.1"])
        assert.deepStrictEqual(
          ran.timeline.decisions.flatMap((d) => d._tag === "Denied" ? [[d.at, d.count]] : []),
          [[25, 2], [60, 1]]
        )
      }))

    it.effect("after its third denial a hedge still starts at once for no failure: the group ends", () =>
      Effect.gen(function*() {
        const { counts, layer } = denies(() => false, hedged(3))
        const s = script<string, Error>(fails(boom, 100), succeeds("never"))
        const ran = yield* call(s.effect, { layer })
        assertFailsWith(ran.exit, boom)
        assert.deepStrictEqual([s.runs, counts.asked], [1, 3])
      }))

    it.effect("with nothing running ends the call with its own failure, sync and async", () =>
      Effect.gen(function*() {
        for (const takes of [0, 4]) {
          const { counts, layer } = denies(() => false, hedged(3), takes)
          const s = script<string, Error>(fails(boom, 5), succeeds("never"))
          const ran = yield* call(s.effect, { layer })
          assertFailsWith(ran.exit, boom)
          assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 5 + takes)
          assert.deepStrictEqual([s.runs, counts.asked], [1, 1])
        }
      }))

    for (const [name, exit] of [["a success", succeeds("first", 35)], ["a failure", fails(boom, 35)]] as const) {
      it.effect(`never changes the result of a call: ${name}`, () =>
        Effect.gen(function*() {
          const runs = [policiesOf(retries(1)), denies(() => false, { ...hedged(3), ...retries(1) }).layer]
          const [plain, denied] = yield* Effect.all(
            runs.map((layer) => call(script<string, Error>(exit).effect, { layer }))
          )
          if (plain!.exit._tag === "Success") assertSucceedsWith(denied!.exit, "first")
          else assertFailsWith(denied!.exit, boom)
          assert.strictEqual(
            denied!.timeline.endedAt - denied!.timeline.startedAt,
            plain!.timeline.endedAt - plain!.timeline.startedAt
          )
        }))
    }

    it.effect("a budget that dies denies, is reported once, and the call goes on", () =>
      Effect.gen(function*() {
        for (
          const tryAcquire of [() => Effect.die("budget"), (): never => {
            throw new Error("budget")
          }]
        ) {
          const log: Array<Line> = []
          const layer = withBudget(hedged(), Effect.succeed({ tryAcquire, state: Effect.succeed({ balance: 0 }) }))
          const ran = yield* call(script(succeeds("first", 100)).effect, { layer, log })
          assertSucceedsWith(ran.exit, "first")
          assert.deepInclude(ran.timeline.decisions[0], { reason: "budget_defect", count: 3 })
          assert.strictEqual(log.filter(({ message }) => message.includes("defect in the budget")).length, 1)
        }
      }))
  })

  // ---------------------------------------------------------------------------
  // gates
  // ---------------------------------------------------------------------------

  describe("the gates", () => {
    const reasons = (timeline: Timeline.Timeline) =>
      timeline.decisions.flatMap((d) => d._tag === "Denied" && d.kind === "hedge" ? [d.reason] : [])

    /** `n` calls that end at once, some of them Retryable, then one that a hedge would help. */
    const afterTraffic = (failing: number, of: number, policy: Policy.Input, wait = 0) =>
      Effect.gen(function*() {
        for (let i = 0; i < of; i++) {
          yield* Effect.exit(resilient(i < failing ? Effect.fail(boom) : Effect.succeed("ok"), key))
        }
        yield* Effect.sleep(wait)
        const s = script(succeeds("slow", 15), hangs)
        const [, [timeline]] = yield* Timeline.capture(resilient(s.effect, key))
        return { runs: s.runs, reasons: reasons(timeline!) }
      }).pipe(
        (self) => inVirtualTime(self, "1 minute"),
        Effect.flatten,
        (self) => under(self, policiesOf(policy))
      )

    const strict: Policy.Input = { idempotent: true, retry: { maxAttempts: 1 }, hedge: { trigger: after10 } }

    const health = [
      ["4 failures say nothing, whatever their share", 4, 4, true],
      ["5 of 100 are not more than 5 %", 5, 100, true],
      ["5 of 99 are", 5, 99, false],
      ["all of 5 are", 5, 5, false],
      ["6 of 121 are not", 6, 121, true]
    ] as const
    for (const [name, failing, of, healthy] of health) {
      it.effect(`unhealthy: ${name}`, () =>
        Effect.gen(function*() {
          const seen = yield* afterTraffic(failing, of, strict)
          assert.deepStrictEqual(seen, healthy ? { runs: 2, reasons: [] } : { runs: 1, reasons: ["unhealthy"] })
        }))
    }

    it.effect("unhealthy: is over 10 seconds later", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual((yield* afterTraffic(50, 50, strict, 9_000)).reasons, ["unhealthy"])
        assert.deepStrictEqual((yield* afterTraffic(50, 50, strict, 10_000)).reasons, [])
      }))

    it.effect("unhealthy: the share is the policy's", () =>
      Effect.gen(function*() {
        const half: Policy.Input = { ...strict, hedge: { trigger: after10, maxFailing: 0.5 } }
        assert.deepStrictEqual((yield* afterTraffic(10, 20, half)).reasons, [])
        assert.deepStrictEqual((yield* afterTraffic(11, 20, half)).reasons, ["unhealthy"])
      }))

    it.effect("unhealthy: losers, aborts and callers that went away are no failures", () =>
      Effect.gen(function*() {
        const seen = yield* Effect.gen(function*() {
          for (let i = 0; i < 20; i++) {
            yield* Effect.exit(resilient(script(hangs, succeeds("won", 1)).effect, key))
            yield* Effect.exit(resilient(Effect.fail(abort), key))
            yield* Effect.exit(Effect.timeoutOption(resilient(Effect.never, key), 5))
          }
          const s = script(succeeds("slow", 15), hangs)
          yield* resilient(s.effect, key)
          return s.runs
        }).pipe(
          (self) => inVirtualTime(self, "1 minute"),
          Effect.flatten,
          (self) => under(self, policiesOf({ ...strict, classifier: judged }))
        )
        assert.strictEqual(seen, 2)
      }))

    it.effect("pushback: until the latest retryAfter seen on the key, from whatever call", () =>
      Effect.gen(function*() {
        const starts = yield* Effect.gen(function*() {
          yield* Effect.exit(resilient(Effect.fail(askedToWait(100)), key))
          const first = script(succeeds("slow", 50))
          const [, [timeline]] = yield* Timeline.capture(resilient(first.effect, key))
          yield* Effect.sleep(45)
          const second = script(hangs, succeeds("hedge", 1))
          yield* resilient(second.effect, key)
          return { reasons: reasons(timeline!), runs: first.runs, startedAt: second.startedAt }
        }).pipe(
          (self) => inVirtualTime(self, "1 minute"),
          Effect.flatten,
          (self) => under(self, policiesOf({ ...strict, classifier: judged }))
        )
        assert.deepStrictEqual(starts, { reasons: ["pushback"], runs: 1, startedAt: [0, 10] })
      }))

    it.effect("allowance: maxExtraLoad starts at most 1.25 × its share of the calls of 10 seconds, plus 10", () =>
      Effect.gen(function*() {
        const trigger = Hedge.maxExtraLoad(0.2)
        const policy: Policy.Input = { idempotent: true, hedge: { trigger, maxFailing: 1 } }
        const denied = yield* Effect.gen(function*() {
          // the estimate needs samples: 80 calls of 10 ms in 0.8 s
          for (let i = 0; i < 80; i++) yield* resilient(at(10, Effect.succeed("ok")), key)
          const fibers = yield* Effect.forEach(
            Array.from({ length: 60 }),
            () => Effect.forkChild(resilient(script(hangs, hangs).effect, key), { startImmediately: true })
          )
          yield* Effect.sleep(15)
          const { started } = yield* statistics
          for (const fiber of fibers) yield* Fiber.interrupt(fiber)
          return started
        }).pipe((self) => inVirtualTime(self, "1 minute"), Effect.flatten, (self) => under(self, policiesOf(policy)))
        assert.strictEqual(denied, Math.floor(1.25 * 0.2 * 140 + 10))
      }))

    it.effect("abandoned: no hedge while maxAbandoned given up attempts of the key still run; primaries start", () =>
      Effect.gen(function*() {
        const stubborn = Effect.uninterruptible(Effect.as(Effect.sleep(1_000), "late"))
        const policy: Policy.Input = { ...strict, timeout: { perAttempt: 20 } }
        const seen = yield* Effect.gen(function*() {
          for (let i = 0; i < 2; i++) {
            yield* Effect.exit(resilient(byHedge((h) => h === 0 ? stubborn : Effect.never), key))
          }
          const s = script(succeeds("slow", 15))
          const [exit, [timeline]] = yield* Timeline.capture(resilient(s.effect, key))
          yield* Effect.sleep(1_000)
          const later = script(succeeds("slow", 15))
          yield* resilient(later.effect, key)
          return [exit._tag, s.runs, ...reasons(timeline!), later.runs]
        }).pipe(
          (self) => inVirtualTime(self, "1 minute"),
          Effect.flatten,
          (self) =>
            under(self, policiesOf({ ...policy, hedge: { trigger: after10, maxFailing: 1 } }, { maxAbandoned: 2 }))
        )
        assert.deepStrictEqual(seen, ["Success", 1, "abandoned", 2])
      }))

    it.effect("switched_off: a key that a document switches off is not hedged", () =>
      Effect.gen(function*() {
        const document = (off: ReadonlyArray<string>) => ({
          schemaVersion: "1.0",
          revision: "r1",
          off,
          policies: { [key]: { hedge: { trigger: { type: "after", delay: "10 millis" } }, idempotent: true } }
        })
        for (const [off, runs, denied] of [[[], 2, []], [["svc.*"], 1, ["switched_off"]]] as const) {
          const s = script(succeeds("slow", 15), hangs)
          const ran = yield* call(s.effect, { layer: PolicyLayer.fromDocument(document(off)) })
          assertSucceedsWith(ran.exit, "slow")
          assert.deepStrictEqual([s.runs, reasons(ran.timeline)], [runs, denied])
        }
      }))

    it.effect("hedge.budget is a gate besides the policy's budget: both must grant, and neither keeps what the other refused", () =>
      Effect.gen(function*() {
        for (const [own, gate] of [[true, true], [true, false], [false, true], [false, false]] as const) {
          const budgets = { own: countingBudget({ grants: () => own }), gate: countingBudget({ grants: () => gate }) }
          const layer = policiesOf({
            idempotent: true,
            budget: "own",
            hedge: { trigger: after10, maxFailing: 1, budget: "gate" }
          }).pipe(Layer.provide([Budget.layer("own", budgets.own.make), Budget.layer("gate", budgets.gate.make)]))
          const s = script(succeeds("slow", 15), hangs)
          yield* call(s.effect, { layer })
          assert.strictEqual(s.runs, own && gate ? 2 : 1)
          for (const { counts } of [budgets.own, budgets.gate]) {
            assert.strictEqual(counts.taken, counts.used + counts.unused)
            assert.strictEqual(counts.used, own && gate ? 1 : 0)
          }
        }
      }))

    it.effect("the record of a denied hedge names the budget that denied it", () =>
      Effect.gen(function*() {
        const denied: Array<unknown> = []
        for (const [own, gate] of [[Budget.unlimited, Budget.none], [Budget.none, Budget.unlimited]] as const) {
          const layer = policiesOf({
            idempotent: true,
            budget: "own",
            hedge: { trigger: after10, maxFailing: 1, budget: "gate" }
          }).pipe(Layer.provide([Budget.layer("own", own), Budget.layer("gate", gate)]))
          const { timeline } = yield* call(script(succeeds("slow", 15)).effect, { layer })
          denied.push(...timeline.decisions.map((decision) => decision._tag === "Denied" ? decision.budget : decision))
        }
        assert.deepStrictEqual(denied, ["gate", "own"])
      }))

    it.effect("hedge.budget that is the policy's own is asked once for each hedge", () =>
      Effect.gen(function*() {
        const own = countingBudget()
        const layer = policiesOf({
          idempotent: true,
          budget: "own",
          hedge: { trigger: after10, maxFailing: 1, budget: "own" }
        }).pipe(Layer.provide(Budget.layer("own", own.make)))
        const s = script(succeeds("slow", 15), hangs)
        yield* call(s.effect, { layer })
        assert.deepStrictEqual([s.runs, own.counts.asked], [2, 1])
      }))

    it.effect("hedge.budget is not asked for retries", () =>
      Effect.gen(function*() {
        const gate = countingBudget()
        const layer = policiesOf({
          ...retries(3),
          idempotent: true,
          hedge: { trigger: after10, budget: "gate", maxFailing: 1 }
        }).pipe(Layer.provide(Budget.layer("gate", gate.make)))
        const s = script(fails(boom))
        yield* call(s.effect, { layer })
        assert.deepStrictEqual([s.runs, gate.counts.asked], [3, 0])
      }))

    it.effect("the default budget lets hedges use its reserve above what is kept for retries", () =>
      Effect.gen(function*() {
        const seen = yield* afterCalls(
          PolicyLayer.make({ policies: { [key]: hedged() } }),
          Effect.forEach(Array.from({ length: 20 }), () => resilient(script(succeeds("slow", 15), hangs).effect, key)),
          counts
        )
        // 5 tokens at the start, 2 kept for retries; every tenth success pays for one more
        assert.isAtLeast(seen.started, 3)
        assert.isAtMost(seen.started, 5)
        assert.strictEqual(seen.started + seen.denied, 20)
      }))
  })

  // ---------------------------------------------------------------------------
  // inside a hedge
  // ---------------------------------------------------------------------------

  describe("calls inside an attempt", () => {
    it.effect("are hedged inside a primary and not inside a hedge", () =>
      Effect.gen(function*() {
        const inner = { primary: script(hangs, hangs), hedge: script(hangs, hangs) }
        const effect = inside(
          byHedge((hedge) => resilient((hedge === 0 ? inner.primary : inner.hedge).effect, "svc.Inner"))
        )
        yield* call(effect, {
          layer: PolicyLayer.make({
            policies: { "svc.*": { ...hedged(), budget: "unlimited", timeout: { overall: 100 } } }
          })
        })
        assert.deepStrictEqual([inner.primary.runs, inner.hedge.runs], [2, 1])
      }))

    it.effect("inside a hedge still retry", () =>
      Effect.gen(function*() {
        const inner = script<string, Error>(fails(boom), succeeds("ok"))
        const effect = inside(byHedge((hedge) => hedge === 0 ? Effect.never : resilient(inner.effect, "svc.Inner")))
        const ran = yield* call(effect, {
          layer: PolicyLayer.make({ policies: { "svc.*": { ...hedged(), ...retries(2), budget: "unlimited" } } })
        })
        assertSucceedsWith(ran.exit, "ok")
        assert.strictEqual(inner.runs, 2)
      }))
  })

  // ---------------------------------------------------------------------------
  // triggers
  // ---------------------------------------------------------------------------

  describe("quantile", () => {
    /** Calls of the given durations, then one that hangs until its hedges answer. */
    const startsAfter = (trigger: Hedge.Trigger, durations: ReadonlyArray<number>, hang = 5_000) =>
      Effect.gen(function*() {
        for (const millis of durations) yield* resilient(at(millis, Effect.succeed("ok")), key)
        const s = script(succeeds("slow", hang), hangs)
        yield* resilient(s.effect, key)
        return s.startedAt
      }).pipe(
        (self) => inVirtualTime(self, "1 hour"),
        Effect.flatten,
        (self) => under(self, policiesOf(hedged(1, trigger)))
      )
    const of = (count: number, millis: number) => Array.from({ length: count }, () => millis)

    it.effect("does not hedge below minSamples, and does from then on", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* startsAfter(Hedge.quantile(0.9), of(99, 20)), [0])
        const [, second] = yield* startsAfter(Hedge.quantile(0.9), of(100, 20))
        assert.closeTo(second!, 20, 20 * 0.03)
        const [, own] = yield* startsAfter(Hedge.quantile(0.9, { minSamples: 3 }), of(3, 20))
        assert.closeTo(own!, 20, 20 * 0.03)
      }))

    it.effect("hedges after the fallback until there are enough samples", () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* startsAfter(Hedge.quantile(0.9, { fallback: 70 }), of(10, 20)), [0, 70])
      }))

    it.effect("is held between min and max", () =>
      Effect.gen(function*() {
        const few = { minSamples: 5 }
        assert.deepStrictEqual(yield* startsAfter(Hedge.quantile(0.9, { ...few, min: 50 }), of(10, 20)), [0, 50])
        assert.deepStrictEqual(yield* startsAfter(Hedge.quantile(0.9, { ...few, max: 15 }), of(10, 20)), [0, 15])
        const [, quick] = yield* startsAfter(Hedge.quantile(0.9, few), of(10, 0.2))
        assert.strictEqual(quick, 1)
      }))

    it.effect("that the estimate does not reach is max, or no hedge", () =>
      Effect.gen(function*() {
        // all samples are cut short at 20 ms: nobody knows how long a call takes
        const starts = (trigger: Hedge.Trigger) =>
          Effect.gen(function*() {
            for (let i = 0; i < 10; i++) yield* Effect.exit(resilient(at(20, Effect.fail(boom)), key))
            const s = script(succeeds("slow", 500), hangs)
            yield* resilient(s.effect, key)
            return s.startedAt
          }).pipe(
            (self) => inVirtualTime(self),
            Effect.flatten,
            (self) => under(self, policiesOf({ ...hedged(1, trigger), ...retries(1) }))
          )
        assert.deepStrictEqual(yield* starts(Hedge.quantile(0.9, { minSamples: 5 })), [0])
        assert.deepStrictEqual(yield* starts(Hedge.quantile(0.9, { minSamples: 5, max: 90 })), [0, 90])
      }))
  })

  describe("a Schedule as a trigger", () => {
    const states: Array<Omit<Hedge.State, "latency">> = []
    const seeing = Schedule.fromStep(Effect.sync(() => {
      states.length = 0
      return (_now: number, { attempt, elapsed, launched }: Hedge.State) => {
        states.push({ attempt, elapsed, launched })
        return Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(10 * states.length)])
      }
    }))

    it.effect("gives each delay from the last start, and sees its group", () =>
      Effect.gen(function*() {
        const s = script(hangs, hangs, hangs, succeeds("third hedge", 1))
        yield* call(s.effect, { policy: hedged(3, seeing) })
        assert.deepStrictEqual(s.startedAt, [0, 10, 30, 60])
        assert.deepStrictEqual(
          states.map((
            { attempt, elapsed, launched }
          ) => [attempt.retry, attempt.hedge, Duration.toMillis(elapsed), launched]),
          [[0, 1, 0, 1], [0, 2, 10, 2], [0, 3, 30, 3]]
        )
      }))

    it.effect("sees the latency of its key", () =>
      Effect.gen(function*() {
        const seen: Array<number> = []
        const trigger = Schedule.fromStep(Effect.succeed((_now: number, { latency }: Hedge.State) => {
          seen.push(latency.samples)
          return Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(10)])
        }))
        yield* afterCalls(
          policiesOf(hedged(1, trigger)),
          Effect.forEach([1, 2, 3], (n) => resilient(at(n, Effect.succeed("ok")), key)),
          Effect.void
        )
        assert.deepStrictEqual(seen, [0, 1, 2])
      }))

    it.effect("is built once for a call and not for a call that does not ask it", () =>
      Effect.gen(function*() {
        let built = 0
        const trigger = Schedule.fromStep(Effect.sync(() => {
          built++
          return (_now: number, _state: Hedge.State) =>
            Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(10)])
        }))
        const s = script<string, Error>(fails(boom, 50), fails(boom, 40), fails(boom, 50), fails(boom, 40))
        yield* call(s.effect, { policy: { ...hedged(1, trigger), ...retries(2) } })
        assert.deepStrictEqual([s.runs, built], [4, 1])
        yield* call(Effect.succeed("sync"), { policy: hedged(1, trigger) })
        assert.strictEqual(built, 1)
      }))

    it.effect("that is done starts no more hedges", () =>
      Effect.gen(function*() {
        const trigger = Schedule.addDelay(Schedule.recurs(2), () => Effect.succeed(Duration.millis(10)))
        const s = script(hangs)
        yield* call(s.effect, { policy: { ...hedged(3, trigger), timeout: { overall: 500 } } })
        assert.deepStrictEqual(s.startedAt, [0, 10, 20])
      }))

    it.effect("that dies is reported once, starts no more hedges, and changes nothing", () =>
      Effect.gen(function*() {
        const log: Array<Line> = []
        let steps = 0
        const trigger = Schedule.fromStep(Effect.succeed((_now: number, _state: Hedge.State) =>
          ++steps === 1
            ? Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(10)])
            : Effect.die("trigger")
        ))
        const s = script<string, Error>(fails(boom, 50), fails(boom, 40), succeeds("retry", 60))
        const ran = yield* call(s.effect, { policy: { ...hedged(3, trigger), ...retries(2) }, log })
        assertSucceedsWith(ran.exit, "retry")
        assert.deepStrictEqual(s.startedAt, [0, 10, 70])
        assert.strictEqual(log.filter(({ message }) => message.includes("hedge schedule")).length, 1)
      }))

    it.effect("that takes time: the delay still counts from the last start", () =>
      Effect.gen(function*() {
        const trigger = (takes: number) =>
          Schedule.fromStep(Effect.succeed((_now: number, _state: Hedge.State) =>
            Effect.as(Effect.sleep(takes), [0, Duration.millis(10)] as [number, Duration.Duration])
          ))
        for (const [takes, second] of [[4, 10], [25, 25]] as const) {
          const s = script(hangs, succeeds("hedge", 1))
          yield* call(s.effect, { policy: hedged(1, trigger(takes)) })
          assert.deepStrictEqual(s.startedAt, [0, second])
        }
      }))

    it.effect("that takes time holds up neither the answer nor the deadline", () =>
      Effect.gen(function*() {
        const trigger = Schedule.fromStep(Effect.succeed((_now: number, _state: Hedge.State) =>
          Effect.as(Effect.never, [0, Duration.zero] as [number, Duration.Duration])
        ))
        const ran = yield* call(script(succeeds("first", 5)).effect, { policy: hedged(1, trigger) })
        assert.strictEqual(ran.timeline.endedAt - ran.timeline.startedAt, 5)
        const late = yield* call(script(hangs).effect, { policy: { ...hedged(1, trigger), timeout: { overall: 30 } } })
        assert.strictEqual(late.timeline.endedAt - late.timeline.startedAt, 30)
      }))

    const clamped = [["an infinite delay", Infinity, 30_000], ["-5 ms", -5, 0], ["1 hour", 3_600_000, 30_000]] as const
    for (const [name, delay, second] of clamped) {
      it.effect(`that answers ${name} is taken to say ${second} ms`, () =>
        Effect.gen(function*() {
          const trigger = Schedule.fromStep(Effect.succeed((_now: number, _state: Hedge.State) =>
            Effect.succeed<[number, Duration.Duration]>([0, Duration.millis(delay)])
          ))
          const s = script(hangs, succeeds("hedge", 1))
          yield* call(s.effect, { policy: hedged(1, trigger) })
          assert.deepStrictEqual(s.startedAt, [0, second])
        }))
    }

    it.effect("toSchedule of a trigger does what the trigger does", () =>
      Effect.gen(function*() {
        for (const trigger of [after10, Hedge.quantile(0.9, { fallback: 25 }), Hedge.quantile(0.9)]) {
          const [plain, scheduled] = [script(succeeds("slow", 60), hangs), script(succeeds("slow", 60), hangs)]
          yield* call(plain.effect, { policy: hedged(2, trigger) })
          yield* call(scheduled.effect, { policy: hedged(2, Hedge.toSchedule(trigger)) })
          assert.deepStrictEqual(scheduled.startedAt, plain.startedAt)
        }
      }))
  })

  describe("a named trigger", () => {
    it.effect("is looked up among those provided to the layer, triggers and schedules", () =>
      Effect.gen(function*() {
        const triggers = Hedge.layer({ slow: Hedge.after(30), quick: Schedule.spaced(5) })
        const names: ReadonlyArray<readonly [name: string, second: number]> = [["slow", 30], ["quick", 5]]
        for (const [name, second] of names) {
          const s = script(hangs, succeeds("hedge", 1))
          const layer = PolicyLayer.make({
            policies: { [key]: { idempotent: true, hedge: { trigger: name } } }
          }).pipe(Layer.provide(triggers))
          yield* call(s.effect, { layer })
          assert.deepStrictEqual(s.startedAt, [0, second])
        }
      }))

    it.effect("that nobody provides fails the boot, with its path", () =>
      Effect.gen(function*() {
        const trigger: string = "p95"
        const layer = PolicyLayer.make({ policies: { [key]: { idempotent: true, hedge: { trigger } } } })
        const exit = yield* Effect.exit(Effect.scoped(Layer.build(layer)))
        const printed = exit._tag === "Failure" ? String(exit.cause) : ""
        assert.include(printed, "must name a trigger that is provided, got \"p95\"")
      }))
  })

  // ---------------------------------------------------------------------------
  // what is written down
  // ---------------------------------------------------------------------------

  describe("statistics", () => {
    it.effect("add up: started is won plus wasted once all calls have ended, denied is counted apart", () =>
      Effect.gen(function*() {
        let asked = 0
        const own = withBudget(
          { ...hedged(2), ...retries(2), classifier: judged },
          Effect.succeed({
            tryAcquire: ({ kind }) =>
              kind === "hedge" && ++asked % 4 === 0
                ? { _tag: "Denied", reason: "no" }
                : { _tag: "Granted", permit: { settle: () => {} } },
            state: Effect.succeed({ balance: 0 })
          })
        )
        const seen = yield* afterCalls(
          own,
          Effect.forEach([
            script<string, unknown>(hangs, succeeds("hedge wins", 1)),
            script<string, unknown>(succeeds("first wins", 15), hangs),
            script<string, unknown>(fails(boom, 15), fails(boom, 15), succeeds("retry")),
            script<string, unknown>(hangs, hangs, fails(nonRetryable, 1)),
            script<string, unknown>(succeeds("denied", 25))
          ], (s) => Effect.exit(resilient(s.effect, key))),
          Effect.andThen(Effect.exit(Effect.timeout(resilient(Effect.never, key), 15)), counts)
        )
        assert.strictEqual(seen.started, seen.won + seen.wasted)
        assert.deepStrictEqual([seen.won, seen.denied], [2, Math.floor(asked / 4)])
        assert.strictEqual(seen.started, asked - seen.denied)
      }))

    it.effect("saved time is an estimate: how much longer the others would have taken, by the key's own latency", () =>
      Effect.gen(function*() {
        const slow = 200
        const { saved, won } = yield* afterCalls(
          policiesOf(hedged()),
          Effect.andThen(
            Effect.forEach(
              Array.from({ length: 100 }),
              (_, i) =>
                resilient(byHedge((h) => h > 0 ? Effect.never : at(i % 2 === 0 ? 5 : slow, Effect.succeed("ok"))), key)
            ),
            resilient(script(hangs, succeeds("hedge", 5)).effect, key)
          ),
          statistics
        )
        assert.strictEqual(won, 1)
        // at 15 ms it is one of the slow half, which take 200
        assert.closeTo(Duration.toMillis(saved), slow - 15, slow * 0.03)
      }))

    it.effect("are there for keys that hedge only", () =>
      Effect.gen(function*() {
        const seen = yield* afterCalls(
          policiesOf(retries(2)),
          resilient(Effect.succeed("ok"), key),
          Effect.flatMap(PolicyProvider.PolicyProvider, (provider) => provider.statistics(key))
        )
        assert.isTrue(Option.isNone(Option.getOrThrow(seen).hedging))
      }))
  })

  describe("the timeline", () => {
    it.effect("has one record for each started attempt, whatever became of it", () =>
      Effect.gen(function*() {
        const s = script<string, Error>(fails(boom, 25), hangs, fails(boom, 5), hangs, hangs, succeeds("won", 3))
        const ran = yield* call(s.effect, { policy: { ...hedged(2), ...retries(2), timeout: { perAttempt: 40 } } })
        assertSucceedsWith(ran.exit, "won")
        assert.deepStrictEqual(
          ran.timeline.attempts.map(({ attempt, endedBy, outcome }) =>
            `${attempt.retry}.${attempt.hedge} ${endedBy} ${outcome ?? "-"}`
          ),
          [
            "0.0 returned Retryable",
            "0.1 timed_out Retryable",
            "0.2 returned Retryable",
            "1.0 interrupted_loser -",
            "1.1 interrupted_loser -",
            "1.2 returned Success"
          ]
        )
        assert.strictEqual(ran.timeline.attempts.length, s.runs)
      }))

    it.effect("an attempt knows its hedge index and how the group before ended", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const effect = Effect.flatMap(Attempt.CurrentAttempt, (current) => {
          const { hedge, previous, retry } = Option.getOrThrow(current)
          seen.push(`${retry}.${hedge} ${Option.isSome(previous)}`)
          return retry === 0 ? at(15, Effect.fail(boom)) : Effect.never
        })
        yield* call(effect, { policy: { ...hedged(), ...retries(2), timeout: { overall: 100 } } })
        assert.deepStrictEqual(seen, ["0.0 false", "0.1 false", "1.0 true", "1.1 true"])
      }))
  })
})
