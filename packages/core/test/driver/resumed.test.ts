/**
 * What rings on a timer that calls share goes on in the fiber of its caller. A scheduler may let others go first: here one
 * that keeps the caller waiting for as long as a test likes.
 */
import { assert, describe, it } from "@effect/vitest"
import { Attempt, Backoff, Hedge, Rego } from "@rego/core"
import type { Policy, Timeline } from "@rego/core"
import {
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  ManagedRuntime,
  Option,
  Schedule,
  Scheduler
} from "effect"
import { setImmediate, setTimeout } from "node:timers/promises"
import { describeExit, key, policies } from "./probes.ts"

const until = async (holds: () => boolean): Promise<void> => {
  for (let waited = 0; !holds(); waited++) {
    assert.isBelow(waited, 2_000, "it never happens")
    await setTimeout(1)
  }
}

/** Lets one fiber wait before its next step, from the instant on in which it is held. */
class Holding extends Scheduler.MixedScheduler {
  held: Fiber.Fiber<unknown, unknown> | undefined = undefined
  waits = false
  private from = 1
  private readonly tasks: Array<() => void>
  constructor() {
    const tasks: Array<() => void> = []
    super("async", (task) => {
      tasks.push(task)
      return () => {}
    })
    this.tasks = tasks
  }

  override shouldYield(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    if (fiber !== this.held || fiber.currentOpCount < this.from) return false
    this.waits = true
    return true
  }

  /** Lets it do what it waits before, and keeps it waiting before what comes after that. */
  async step(): Promise<void> {
    // to go on after a yield is a step of its own
    this.from = 3
    this.tasks.splice(0).forEach((task) => task())
    await setImmediate()
    this.from = 1
  }

  async release(): Promise<void> {
    this.held = undefined
    while (this.tasks.length > 0) {
      this.tasks.splice(0).forEach((task) => task())
      await setImmediate()
    }
  }
}

const idOf = Effect.map(Attempt.CurrentAttempt, (attempt) => {
  const { hedge, retry } = Option.getOrThrow(attempt)
  return `${retry}.${hedge}`
})

/** Attempts that answer when they are told to. */
class Attempts {
  readonly started: Array<string> = []
  readonly interrupted: Array<string> = []
  private readonly answers = new Map<string, Deferred.Deferred<string, string>>()

  readonly effect = Effect.flatMap(idOf, (id) => {
    this.started.push(id)
    const answer = Deferred.makeUnsafe<string, string>()
    this.answers.set(id, answer)
    return Effect.onInterrupt(Deferred.await(answer), () => Effect.sync(() => void this.interrupted.push(id)))
  })

  end(id: string, exit: Exit.Exit<string, string>): void {
    Deferred.doneUnsafe(this.answers.get(id)!, exit)
  }
}

type Call = Fiber.Fiber<readonly [string, Timeline.Timeline], unknown>

interface Held {
  readonly attempts: Attempts
  readonly scheduler: Holding
  readonly call: Call
}

const runtimeOf = (policy: Policy.Input<never, never>) =>
  ManagedRuntime.make(Layer.provide(policies({ idempotent: true, ...policy }), Logger.layer([])))

/** Begins a call, and goes on when the first timer has rung and the caller is kept waiting. */
const withHeldCall = async (policy: Policy.Input<never, never>, test: (held: Held) => Promise<void>): Promise<void> => {
  const runtime = runtimeOf(policy)
  const scheduler = new Holding()
  const attempts = new Attempts()
  const context = Context.add(await runtime.context(), Scheduler.Scheduler, scheduler)
  const call = Effect.runForkWith(context)(Rego.resilientWithTimeline(attempts.effect, key))
  assert.deepStrictEqual(attempts.started, ["0.0"])
  scheduler.held = call
  await until(() => scheduler.waits)
  await test({ attempts, scheduler, call })
  await runtime.dispose()
}

const timesOut = {
  retry: { maxAttempts: 3, backoff: Backoff.none },
  timeout: { perAttempt: 20, overall: "20 seconds" }
} as const

const exitOf = async (call: Call): Promise<string> => {
  await until(() => call.pollUnsafe() !== undefined)
  return describeExit(Exit.map(call.pollUnsafe()!, ([value]) => value))
}

const endsOf = (call: Call): ReadonlyArray<string> => {
  const exit = call.pollUnsafe()!
  return Exit.isSuccess(exit) ? exit.value[1].attempts.map(({ endedBy }) => endedBy) : []
}

describe("Executor, when a timer has rung and the caller is kept waiting", () => {
  it("times the attempt out as soon as the caller goes on", () =>
    withHeldCall(timesOut, async ({ attempts, call, scheduler }) => {
      assert.deepStrictEqual(attempts.started, ["0.0"])
      await scheduler.release()
      assert.deepStrictEqual([attempts.started, attempts.interrupted], [["0.0", "1.0"], ["0.0"]])
      attempts.end("1.0", Exit.succeed("second"))
      assert.strictEqual(await exitOf(call), "success second")
      assert.deepStrictEqual(endsOf(call), ["timed_out", "returned"])
    }))

  it("takes an answer that comes meanwhile", () =>
    withHeldCall(timesOut, async ({ attempts, call, scheduler }) => {
      attempts.end("0.0", Exit.succeed("late"))
      await scheduler.release()
      assert.strictEqual(await exitOf(call), "success late")
      assert.deepStrictEqual([attempts.started, attempts.interrupted], [["0.0"], []])
    }))

  it("retries after a failure that comes meanwhile, and does not time that attempt out as well", () =>
    withHeldCall(timesOut, async ({ attempts, call, scheduler }) => {
      attempts.end("0.0", Exit.fail("no"))
      assert.deepStrictEqual(attempts.started, ["0.0", "1.0"])
      await scheduler.release()
      assert.deepStrictEqual([attempts.started, attempts.interrupted], [["0.0", "1.0"], []])
      attempts.end("1.0", Exit.succeed("second"))
      assert.strictEqual(await exitOf(call), "success second")
      assert.deepStrictEqual(endsOf(call), ["returned", "returned"])
    }))

  it("takes the answer of a retry that starts and ends meanwhile", () =>
    withHeldCall(timesOut, async ({ attempts, call, scheduler }) => {
      attempts.end("0.0", Exit.fail("no"))
      attempts.end("1.0", Exit.succeed("second"))
      await scheduler.release()
      assert.strictEqual(await exitOf(call), "success second")
    }))

  it("interrupts the attempt when the caller is interrupted meanwhile, once", () =>
    withHeldCall(timesOut, async ({ attempts, call, scheduler }) => {
      call.interruptUnsafe()
      await scheduler.release()
      assert.isTrue(Exit.hasInterrupts(call.pollUnsafe()!))
      assert.deepStrictEqual([attempts.started, attempts.interrupted], [["0.0"], ["0.0"]])
    }))

  const hedged = {
    hedge: { trigger: Hedge.after(20) },
    retry: { maxAttempts: 1 },
    timeout: { perAttempt: 60, overall: "20 seconds" }
  } as const

  it("starts the hedge when the caller goes on", () =>
    withHeldCall(hedged, async ({ attempts, call, scheduler }) => {
      assert.deepStrictEqual(attempts.started, ["0.0"])
      await scheduler.release()
      assert.deepStrictEqual(attempts.started, ["0.0", "0.1"])
      attempts.end("0.1", Exit.succeed("hedge"))
      assert.strictEqual(await exitOf(call), "success hedge")
      assert.deepStrictEqual(attempts.interrupted, ["0.0"])
    }))

  it("does what both timers ask for that rang meanwhile", () =>
    withHeldCall(hedged, async ({ attempts, call, scheduler }) => {
      await setTimeout(80)
      assert.deepStrictEqual([attempts.started, attempts.interrupted], [["0.0"], []])
      await scheduler.release()
      assert.deepStrictEqual([attempts.started, attempts.interrupted], [["0.0", "0.1"], ["0.0"]])
      attempts.end("0.1", Exit.succeed("hedge"))
      assert.strictEqual(await exitOf(call), "success hedge")
    }))

  it("takes an answer that comes after two timers rang", () =>
    withHeldCall(hedged, async ({ attempts, call, scheduler }) => {
      await setTimeout(80)
      attempts.end("0.0", Exit.succeed("late"))
      await scheduler.release()
      assert.strictEqual(await exitOf(call), "success late")
      assert.deepStrictEqual(attempts.started, ["0.0"])
    }))

  it("takes an answer that comes between what two timers ask for that rang meanwhile", () =>
    withHeldCall(hedged, async ({ attempts, call, scheduler }) => {
      await setTimeout(80)
      await scheduler.step()
      assert.deepStrictEqual([attempts.started, attempts.interrupted], [["0.0", "0.1"], []])
      attempts.end("0.1", Exit.succeed("hedge"))
      await setImmediate()
      await scheduler.release()
      assert.strictEqual(await exitOf(call), "success hedge")
      assert.deepStrictEqual(endsOf(call), ["interrupted_loser", "returned"])
    }))

  const hedgedTwice = (trigger: Hedge.Trigger | Schedule.Schedule<unknown, Hedge.State>) => ({
    hedge: { trigger, maxHedges: 2 },
    timeout: { overall: "20 seconds" } as const
  })

  it("starts one hedge where a failure starts it meanwhile, and the next one its delay later", () =>
    withHeldCall(hedgedTwice(Hedge.after(20)), async ({ attempts, call, scheduler }) => {
      attempts.end("0.0", Exit.fail("no"))
      await setImmediate()
      assert.deepStrictEqual(attempts.started, ["0.0", "0.1"])
      await scheduler.release()
      assert.deepStrictEqual(attempts.started, ["0.0", "0.1"])
      await until(() => attempts.started.length === 3)
      attempts.end("0.2", Exit.succeed("second hedge"))
      assert.strictEqual(await exitOf(call), "success second hedge")
    }))

  it("starts one hedge where a failure starts it meanwhile, and the next would come after the deadline", () =>
    withHeldCall(hedgedTwice(Schedule.exponential(20, 1_000)), async ({ attempts, call, scheduler }) => {
      attempts.end("0.0", Exit.fail("no"))
      await setImmediate()
      await scheduler.release()
      assert.deepStrictEqual(attempts.started, ["0.0", "0.1"])
      attempts.end("0.1", Exit.succeed("hedge"))
      assert.strictEqual(await exitOf(call), "success hedge")
    }))

  it("ends at the deadline that passed meanwhile", () =>
    withHeldCall({ ...hedged, timeout: { overall: 60 } }, async ({ attempts, call, scheduler }) => {
      await setTimeout(80)
      await scheduler.release()
      assert.include(await exitOf(call), "DeadlineExceeded")
      assert.deepStrictEqual(attempts.interrupted, ["0.0"])
    }))
})

/** With less no effect gets anywhere. */
const fewest = 3

describe("Executor, with a scheduler that yields as often as it can", () => {
  it("passes all timeouts, hedges and retries of a call on, and ends as it would without", async () => {
    const runtime = runtimeOf({
      hedge: { trigger: Hedge.after(5) },
      retry: { maxAttempts: 6, backoff: Backoff.none },
      timeout: { perAttempt: 15, overall: "20 seconds" }
    })
    const started: Array<string> = []
    const effect = Effect.flatMap(idOf, (id) => {
      started.push(id)
      return id === "5.0" ? Effect.interrupt : Effect.never
    })
    const exit = await runtime.runPromise(
      Rego.resilient(effect, key).pipe(Effect.exit, Effect.provideService(Scheduler.MaxOpsBeforeYield, fewest))
    )
    assert.isTrue(Exit.hasInterrupts(exit))
    assert.deepStrictEqual(started.filter((id) => id.endsWith(".0")).length, 6)
    await runtime.dispose()
  })
})

describe("Executor, when a timer has rung and the caller has an observer that throws", () => {
  it("goes on ringing for other calls", async () => {
    const runtime = runtimeOf({ timeout: { overall: 20 } })
    const call = Rego.resilient(Effect.never, key)
    const observed = runtime.runFork(call)
    const other = runtime.runFork(call)
    observed.addObserver(() => {
      throw new Error("of an observer")
    })
    await until(() => other.pollUnsafe() !== undefined)
    assert.strictEqual(describeExit(await runtime.runPromiseExit(call)), "failure DeadlineExceeded")
    await runtime.dispose()
  })
})
