import { assert, describe, it } from "@effect/vitest"
import type { Budget } from "@rego/core"
import { Hedge, Outcome, PolicyKey } from "@rego/core"
import { Clock, Context, Duration, Effect, Schedule } from "effect"
import { TestClock } from "effect/testing"
import type { HedgerHost } from "../src/CallHost.ts"
import { GroupHedger } from "../src/GroupHedger.ts"
import { HedgeState } from "../src/HedgeState.ts"
import type { Waiting } from "../src/KillSwitch.ts"
import * as Plan from "../src/Plan.ts"
import { Questions } from "../src/Questions.ts"
import { ScheduleSteps } from "../src/ScheduleSteps.ts"
import { Supervisor } from "../src/Supervisor.ts"
import { nowMillis } from "../src/Time.ts"

interface Options {
  readonly trigger?: Hedge.Trigger | Schedule.Schedule<unknown, Hedge.State>
  readonly maxHedges?: number
  readonly tryAcquire?: Budget.Budget["tryAcquire"]
  readonly deadline?: number
  readonly switchedOff?: () => boolean
  /** how late everything is on a busy host, in milliseconds */
  readonly lag?: () => number
  /** what happens inside the first step of a hedge */
  readonly onHedge?: (group: Group, hedge: number) => void
}

const granted = (settled: Array<string>): Budget.Decision => ({
  _tag: "Granted",
  permit: { settle: (use) => settled.push(use) }
})
const denied = (reason: string): Budget.Decision => ({ _tag: "Denied", reason })

/** A group without attempts: what the hedger asks of its call is written down, and nothing runs. */
class Group {
  readonly events: Array<string> = []
  readonly settled: Array<string> = []
  readonly state = new HedgeState(false)
  readonly hedger: GroupHedger
  readonly call = { ended: false }
  readonly waiting = new Set<Waiting>()
  private readonly now: () => number
  private readonly zero: number

  constructor(context: Context.Context<never>, options: Options = {}) {
    const clock = Context.get(context, Clock.Clock)
    const zero = nowMillis(clock)
    this.zero = zero
    this.now = () => nowMillis(clock) - zero
    const trigger = options.trigger ?? Hedge.after(10)
    const plan = Plan.fromSections({ hedge: { trigger, maxHedges: options.maxHedges ?? 3 }, idempotent: true })
    const { call, settled, state } = this
    const host: HedgerHost = {
      binding: {
        key: PolicyKey.make("svc.Get"),
        plan,
        hedgeBudget: {
          tryAcquire: options.tryAcquire ?? (() => granted(settled)),
          state: Effect.succeed({ balance: 1 })
        },
        hedging: state,
        state: { abandoned: 0, hedging: state, reported: new Set() }
      } as never,
      events: undefined,
      switchedOff: options.switchedOff ?? (() => false),
      waiting: this.waiting,
      bounds: { maxKeys: 1, maxAbandoned: 1, maxAttemptRecords: 1 },
      context,
      clock,
      fiberId: 0,
      deadline: zero + (options.deadline ?? Infinity),
      random: () => 0,
      retry: 0,
      get ended() {
        return call.ended
      },
      now: () => nowMillis(clock) + (options.lag?.() ?? 0),
      groupStartedAt: () => zero,
      supervisor: new Supervisor(),
      get questions(): Questions {
        return questions
      },
      cleanup: undefined as never,
      protect: (f) => f(),
      protectInContext: (f) => f(),
      reportDefect: (what) => this.note(`defect in ${what}`),
      onDeadline: () => this.note("deadline"),
      recordDenied: (kind, denial, count) => this.note(`${kind} denied ${JSON.stringify(denial)} ${count} times`),
      start: (hedge) => this.begin(hedge, options.onHedge),
      groupFailed: () => this.note("group failed")
    }
    const questions = new Questions(host)
    const built = Hedge.isTrigger(trigger) ? Hedge.delaysOf(trigger) : new ScheduleSteps(trigger)
    this.hedger = new GroupHedger(host, built)
  }

  private note(event: string): void {
    this.events.push(`${this.now()} ${event}`)
  }

  begin(hedge: number, inside?: Options["onHedge"]): void {
    if (hedge > 0) this.note(`start ${hedge}`)
    const startedAt = this.zero + this.now()
    this.hedger.onStart()
    inside?.(this, hedge)
    this.hedger.onRunning(startedAt)
  }
}

/** A group whose first attempt has just started. */
const started = (options?: Options) =>
  Effect.map(Effect.context<never>(), (context) => {
    const group = new Group(context, options)
    group.begin(0)
    return group
  })

const asked = Outcome.retryable({ reason: "asked", retryAfter: 35 })

describe("GroupHedger", () => {
  describe("when the next hedge is due", () => {
    it.effect("one delay after each start, until there are enough", () =>
      Effect.gen(function*() {
        const group = yield* started({ maxHedges: 2 })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, ["10 start 1", "20 start 2"])
        assert.strictEqual(group.state.statistics.started, 2)
      }))

    it.effect("one delay after a start that a server had put off", () =>
      Effect.gen(function*() {
        const group = yield* started({ maxHedges: 2 })
        yield* TestClock.adjust(4)
        group.hedger.onFailure(35, true, true)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, ["39 start 1", "49 start 2"])
      }))

    it.effect("not at the deadline, and just before it", () =>
      Effect.gen(function*() {
        for (const [deadline, hedges] of [[10, 0], [10.001, 1], [30, 2]] as const) {
          const group = yield* started({ deadline })
          yield* TestClock.adjust("1 second")
          assert.strictEqual(group.events.length, hedges)
        }
      }))

    it.effect("not at all where its timer is so late that the deadline has passed", () =>
      Effect.gen(function*() {
        let lag = 0
        const group = yield* started({ deadline: 15, lag: () => lag })
        lag = 5
        yield* TestClock.adjust("1 second")
        // nor is a budget asked
        assert.deepStrictEqual([group.events, group.settled], [[], []])
      }))

    it.effect("never once the group is closed, and closing twice writes nothing twice", () =>
      Effect.gen(function*() {
        const group = yield* started({ tryAcquire: () => denied("no") })
        yield* TestClock.adjust(15)
        group.hedger.close()
        group.hedger.close()
        yield* TestClock.adjust("1 second")
        assert.strictEqual(group.events.length, 1)
        assert.include(group.events[0], "15 hedge denied")
      }))

    it.effect("never once the call has ended, although nobody closed the group", () =>
      Effect.gen(function*() {
        const group = yield* started()
        group.call.ended = true
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, [])
      }))

    it.effect("counts from a hedge that began and ended inside the start of another one", () =>
      Effect.gen(function*() {
        let failures = 0
        const group = yield* started({
          onHedge: (group, hedge) => {
            if (hedge === 1 && failures++ === 0) group.hedger.onFailure(undefined, true, false)
          }
        })
        yield* TestClock.adjust(10)
        // hedge 1 failed in its first step, so hedge 2 starts at the end of that tick; hedge 3 one delay later
        assert.deepStrictEqual(group.events, ["10 start 1", "10 start 2"])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events.slice(2), ["20 start 3"])
      }))
  })

  describe("onFailure", () => {
    it.effect("without retries: the next hedge starts at the end of the tick", () =>
      Effect.gen(function*() {
        const group = yield* started()
        yield* TestClock.adjust(4)
        assert.isFalse(group.hedger.onFailure(undefined, true, false))
        assert.deepStrictEqual(group.events, [])
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(group.events, ["4 start 1"])
        group.hedger.close()
      }))

    it.effect("without retries: an idle group waits, and its next hedge starts at once", () =>
      Effect.gen(function*() {
        const group = yield* started()
        yield* TestClock.adjust(4)
        assert.isTrue(group.hedger.onFailure(undefined, true, true))
        assert.deepStrictEqual(group.events, ["4 start 1"])
        group.hedger.close()
      }))

    it.effect("two failures of one tick start one hedge", () =>
      Effect.gen(function*() {
        const group = yield* started()
        group.hedger.onFailure(undefined, true, false)
        group.hedger.onFailure(undefined, true, true)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(group.events, ["0 start 1"])
        group.hedger.close()
      }))

    it.effect("a group that is decided in the same tick starts nothing", () =>
      Effect.gen(function*() {
        const group = yield* started()
        group.hedger.onFailure(undefined, true, false)
        group.hedger.close()
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, [])
      }))

    it.effect("with retries: the group does not wait, and its timer goes on", () =>
      Effect.gen(function*() {
        const group = yield* started({ maxHedges: 1 })
        yield* TestClock.adjust(4)
        assert.isFalse(group.hedger.onFailure(undefined, false, false))
        assert.isFalse(group.hedger.onFailure(undefined, false, true))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, ["10 start 1"])
      }))

    it.effect("a retryAfter moves the next hedge to its instant; of two the later one counts", () =>
      Effect.gen(function*() {
        for (const atOnce of [true, false]) {
          const group = yield* started({ maxHedges: 1 })
          yield* TestClock.adjust(4)
          group.hedger.onFailure(35, atOnce, false)
          group.hedger.onFailure(20, atOnce, false)
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(group.events, ["39 start 1"])
        }
      }))

    it.effect("does not wait for an instant at or past the deadline", () =>
      Effect.gen(function*() {
        for (const [deadline, waits] of [[39, false], [40, true]] as const) {
          const group = yield* started({ deadline })
          yield* TestClock.adjust(4)
          assert.strictEqual(group.hedger.onFailure(35, true, true), waits)
          yield* TestClock.adjust("1 second")
          assert.deepStrictEqual(group.events, waits ? ["39 start 1"] : [])
          group.hedger.close()
        }
      }))

    it.effect("does not wait when all hedges are used, or refused", () =>
      Effect.gen(function*() {
        const used = yield* started({ maxHedges: 1 })
        yield* TestClock.adjust(10)
        assert.isFalse(used.hedger.onFailure(undefined, true, true))
        const refused = yield* started({ tryAcquire: () => denied("no") })
        yield* TestClock.adjust(30)
        assert.strictEqual(refused.state.statistics.denied, 3)
        assert.isFalse(refused.hedger.onFailure(undefined, true, true))
      }))
  })

  describe("the switches", () => {
    it.effect("know of a group while it waits and nothing runs in it, and no longer", () =>
      Effect.gen(function*() {
        const group = yield* started()
        assert.strictEqual(group.waiting.size, 0)
        group.hedger.onFailure(35, true, true)
        assert.strictEqual(group.waiting.size, 1)
        yield* TestClock.adjust(35)
        assert.deepStrictEqual([group.events, group.waiting.size], [["35 start 1"], 0])
        const closed = yield* started()
        closed.hedger.onFailure(35, true, true)
        closed.hedger.close()
        assert.strictEqual(closed.waiting.size, 0)
      }))

    it.effect("end no wait when they are about others, nor ask a budget before its time", () =>
      Effect.gen(function*() {
        const group = yield* started({ maxHedges: 1 })
        group.hedger.onFailure(35, true, true)
        yield* TestClock.adjust(4)
        group.hedger.onSwitch()
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([group.events, group.settled], [["35 start 1"], []])
      }))
  })

  it.effect("what a budget or a schedule thinks about has no deadline of its own: attempts run meanwhile", () =>
    Effect.gen(function*() {
      const slow = Schedule.fromStep(Effect.succeed((_now: number, _state: Hedge.State) => Effect.never))
      for (const options of [{ tryAcquire: () => Effect.never }, { trigger: slow }]) {
        const group = yield* started({ ...options, deadline: 50 })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, [])
      }
    }))

  describe("a refusal", () => {
    it.effect("while an attempt runs ends nothing", () =>
      Effect.gen(function*() {
        const running = yield* started({ tryAcquire: () => denied("no") })
        running.hedger.onFailure(undefined, true, false)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(running.events, [])
        const answers = [granted([])]
        const again = yield* started({ tryAcquire: () => answers.pop() ?? denied("no") })
        again.hedger.onFailure(undefined, true, true)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(again.events, ["0 start 1"])
      }))

    it.effect("is asked for again one delay later, three times in all, and never starts the wrong index", () =>
      Effect.gen(function*() {
        const requests: Array<string> = []
        const answers = [denied("a"), granted([]), denied("b"), denied("c"), granted([])]
        const group = yield* started({
          tryAcquire: ({ attempt, cost, kind }) => {
            requests.push(`${kind} ${attempt.retry}.${attempt.hedge} for ${cost}`)
            return answers[requests.length - 1]!
          }
        })
        yield* TestClock.adjust("1 second")
        group.hedger.close()
        assert.deepStrictEqual(requests, [
          "hedge 0.1 for 1",
          "hedge 0.1 for 1",
          "hedge 0.2 for 1",
          "hedge 0.2 for 1"
        ])
        assert.strictEqual(group.events[0], "20 start 1")
        assert.match(group.events[1]!, /^1000 hedge denied .*c.* 3 times$/)
        assert.strictEqual(group.events.length, 2)
      }))

    it.effect("of a group with nothing running ends it, once", () =>
      Effect.gen(function*() {
        const group = yield* started({ tryAcquire: () => denied("no") })
        assert.isTrue(group.hedger.onFailure(undefined, true, true))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, ["0 group failed"])
      }))

    it.effect("of a switched off key is asked live, and no budget is asked", () =>
      Effect.gen(function*() {
        let off = false
        let asked = 0
        const group = yield* started({
          switchedOff: () => off,
          tryAcquire: () => {
            asked++
            return granted([])
          }
        })
        yield* TestClock.adjust(10)
        off = true
        yield* TestClock.adjust("1 second")
        group.hedger.close()
        assert.strictEqual(asked, 1)
        assert.match(group.events[1]!, /switched_off.* 3 times$/)
      }))

    it.effect("that arrives after the group was decided is neither written down nor counted", () =>
      Effect.gen(function*() {
        const group = yield* started({ tryAcquire: () => Effect.delay(Effect.succeed(denied("late")), 50) })
        yield* TestClock.adjust(20)
        group.hedger.close()
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, [])
        assert.strictEqual(group.state.statistics.denied, 0)
      }))
  })

  describe("a grant", () => {
    it.effect("that arrives after the group was decided is given back", () =>
      Effect.gen(function*() {
        const settled: Array<string> = []
        const group = yield* started({ tryAcquire: () => Effect.delay(Effect.sync(() => granted(settled)), 50) })
        yield* TestClock.adjust(20)
        group.hedger.close()
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([group.events, settled], [[], ["unused"]])
      }))

    it.effect("is not used before the instant that a server asked for meanwhile, and asked for anew then", () =>
      Effect.gen(function*() {
        const settled: Array<string> = []
        const group = yield* started({
          maxHedges: 1,
          tryAcquire: () => Effect.delay(Effect.sync(() => granted(settled)), 5)
        })
        yield* TestClock.adjust(12)
        assert.isTrue(
          group.hedger.onFailure(Duration.toMillis(asked._tag === "Retryable" ? asked.retryAfter! : 0), true, true)
        )
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([group.events, settled], [["52 start 1"], ["unused"]])
      }))
  })

  it.effect("a clock that is a tenth of a nanosecond short of the instant that was asked for is there", () =>
    Effect.gen(function*() {
      let lag = 0
      const group = yield* started({ maxHedges: 1, lag: () => lag })
      group.hedger.onFailure(35, true, true)
      lag = -1e-7
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([group.events, group.settled], [["35 start 1"], []])
    }))

  describe("a schedule", () => {
    const taking = (takes: number, delay: number, seen: Array<string> = []) =>
      Schedule.fromStep(Effect.succeed((_now: number, { attempt, launched }: Hedge.State) => {
        seen.push(`for ${attempt.hedge} after ${launched}`)
        return Effect.onInterrupt(
          Effect.as(Effect.sleep(takes), [0, Duration.millis(delay)] as [number, Duration.Duration]),
          () => Effect.sync(() => seen.push("interrupted"))
        )
      }))

    it.effect("is asked once for each start, and its delay counts from that start", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const group = yield* started({ maxHedges: 2, trigger: taking(4, 10, seen) })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, ["10 start 1", "20 start 2"])
        assert.deepStrictEqual(seen, ["for 1 after 1", "for 2 after 2"])
      }))

    it.effect("hears how long its group has run", () =>
      Effect.gen(function*() {
        const elapsed: Array<number> = []
        const trigger = Schedule.fromStep(Effect.succeed((_now: number, state: Hedge.State) => {
          elapsed.push(Duration.toMillis(state.elapsed))
          return Effect.succeed([0, Duration.millis(10)] as [number, Duration.Duration])
        }))
        yield* TestClock.adjust(1_000)
        yield* started({ maxHedges: 2, trigger })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(elapsed, [0, 10])
      }))

    it.effect("is asked for the hedge after the one that a failure starts at once", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const group = yield* started({
          trigger: taking(0, 10, seen),
          onHedge: (group, hedge) => {
            if (hedge === 1) group.hedger.onFailure(undefined, true, false)
          }
        })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, ["10 start 1", "10 start 2", "20 start 3"])
        assert.deepStrictEqual(seen, ["for 1 after 1", "for 3 after 3"])
      }))

    it.effect("does not start a hedge before the instant that a server asked for while it was thinking", () =>
      Effect.gen(function*() {
        const group = yield* started({ maxHedges: 1, trigger: taking(5, 10) })
        yield* TestClock.adjust(2)
        group.hedger.onFailure(100, false, false)
        yield* TestClock.adjust("1 second")
        // and no budget was asked before
        assert.deepStrictEqual([group.events, group.settled], [["102 start 1"], []])
      }))

    it.effect("is interrupted when the group is closed, or when a failure starts the hedge anyway", () =>
      Effect.gen(function*() {
        const seen: Array<string> = []
        const closed = yield* started({ trigger: taking(100, 10, seen) })
        closed.hedger.close()
        assert.deepStrictEqual(seen, ["for 1 after 1", "interrupted"])
        const failed = yield* started({ maxHedges: 1, trigger: taking(100, 10, seen) })
        yield* TestClock.adjust(3)
        failed.hedger.onFailure(undefined, true, false)
        yield* TestClock.adjust(0)
        assert.deepStrictEqual(failed.events, ["3 start 1"])
        assert.deepStrictEqual(seen.slice(2), ["for 1 after 1", "interrupted"])
      }))

    it.effect("that has ended is not asked again", () =>
      Effect.gen(function*() {
        let steps = 0
        const trigger = Schedule.tap(Schedule.recurs(1), () => Effect.sync(() => steps++))
        const group = yield* started({ trigger })
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(group.events, ["0 start 1"])
        assert.isFalse(group.hedger.onFailure(undefined, true, true))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([group.events.length, steps], [1, 1])
      }))

    it.effect("that dies is reported, and nothing starts", () =>
      Effect.gen(function*() {
        const trigger = Schedule.fromStep(Effect.succeed((_now: number, _state: Hedge.State) => Effect.die("boom")))
        const group = yield* started({ trigger })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(group.events, ["0 defect in hedge schedule"])
      }))
  })
})
