/**
 * Many failing calls at once, in an order that chance decides: attempts that fail, hang, die, release slowly or cannot be
 * interrupted; callers that go away; policies that change meanwhile. In virtual time, so that a million of them take minutes.
 */
import { Budget, PolicyLayer, PolicySource, Rego, RegoError } from "@rego/core"
import type { Scope } from "effect"
import { Cause, Effect, Exit, Fiber, Layer, Logger, Queue, Stream } from "effect"
import { TestClock } from "effect/testing"
import { makeRandom } from "./random.ts"

export interface Options {
  readonly calls: number
  readonly seed: number
}

export interface Figures {
  readonly calls: number
  readonly attempts: number
  readonly reloads: number
  /** how the calls ended */
  readonly exits: Readonly<Record<string, number>>
  readonly permits: { readonly granted: number; readonly settled: number; readonly settledAgain: number }
  /** what the budget holds, before the first call and after the last */
  readonly balance: readonly [number, number]
  /** attempts whose work or whose release has not ended */
  readonly running: number
}

const BATCH = 500

class World {
  readonly random: () => number
  readonly exits: Record<string, number> = {}
  attempts = 0
  running = 0
  reloads = 0
  granted = 0
  settled = 0
  settledAgain = 0

  constructor(seed: number) {
    this.random = makeRandom(seed)
  }

  readonly below = (n: number): number => Math.floor(this.random() * n)

  /** One attempt of a kind that chance chooses; few succeed. */
  readonly attempt: Effect.Effect<string, string> = Effect.suspend(() => {
    this.attempts++
    this.running++
    const millis = this.below(20)
    return Effect.ensuring(this.work(this.below(100), millis), Effect.sync(() => this.running--))
  })

  private work(dice: number, millis: number): Effect.Effect<string, string> {
    const slowRelease = Effect.sleep(this.below(30))
    if (dice < 40) return Effect.fail("at once")
    if (dice < 60) return Effect.andThen(Effect.sleep(millis), Effect.fail("later"))
    if (dice < 70) return Effect.onExit(Effect.andThen(Effect.sleep(millis), Effect.fail("held")), () => slowRelease)
    if (dice < 80) return Effect.onInterrupt(Effect.never, () => slowRelease)
    if (dice < 85) return Effect.uninterruptible(Effect.andThen(Effect.sleep(millis), Effect.fail("stubborn")))
    if (dice < 90) return Effect.andThen(Effect.yieldNow, Effect.fail("yielded"))
    if (dice < 93) return Effect.die("a defect of the effect")
    if (dice < 95) return Effect.interrupt
    return Effect.andThen(Effect.sleep(millis), Effect.succeed("fine"))
  }

  /** Bounded by what is out at the same time, and every permit is counted. */
  readonly budget: Budget.Make = Effect.map(Budget.concurrency({ min: 400, ratio: 0.5 }), (inner) => ({
    ...inner,
    tryAcquire: (request: Budget.Request) => this.counted(inner.tryAcquire(request)),
    onCall: inner.onCall?.bind(inner),
    onOutcome: inner.onOutcome?.bind(inner)
  } as Budget.Budget))

  private readonly counted = (answer: ReturnType<Budget.Budget["tryAcquire"]>) => {
    if (Effect.isEffect(answer)) throw new Error("this budget answers at once")
    if (answer._tag === "Denied") return answer
    this.granted++
    let settled = false
    const { permit } = answer
    return {
      ...answer,
      permit: {
        settle: (use: "used" | "unused") => {
          if (settled) this.settledAgain++
          else this.settled++
          settled = true
          permit.settle(use)
        }
      }
    }
  }

  readonly document = (): object => ({
    schemaVersion: "1.0",
    revision: String(++this.reloads),
    ...this.below(10) === 0 && { off: ["svc.Get1"] },
    policies: {
      "svc.*": {
        retry: {
          maxAttempts: 1 + this.below(4),
          backoff: { type: "constant", delay: `${1 + this.below(10)} millis` }
        },
        timeout: { perAttempt: `${5 + this.below(20)} millis`, overall: `${20 + this.below(80)} millis` },
        ...this.below(2) === 0 && { hedge: { trigger: { type: "after", delay: "3 millis" }, maxHedges: 2 } },
        idempotent: true,
        budget: "counted",
        force: true
      }
    }
  })
}

const nameOf = (exit: Exit.Exit<string, string | RegoError.RegoError>): string => {
  if (Exit.isSuccess(exit)) return exit.value
  const [reason] = exit.cause.reasons
  if (reason === undefined) return "an empty cause"
  if (Cause.isInterruptReason(reason)) return "interrupted"
  if (Cause.isDieReason(reason)) return `died: ${String(reason.defect)}`
  return RegoError.isRegoError(reason.error) ? reason.error.reason._tag : reason.error
}

const runBatch = Effect.fnUntraced(function*(world: World, size: number, publish: Effect.Effect<unknown>) {
  const fibers: Array<Fiber.Fiber<string, string | RegoError.RegoError>> = []
  const call = () => world.attempt.pipe(Rego.resilient(`svc.Get${world.below(8)}`))
  for (let i = 0; i < size; i++) {
    const fiber = yield* Effect.forkChild(call(), { startImmediately: world.below(2) === 0 })
    fibers.push(fiber)
    if (world.below(100) < 15) {
      yield* Effect.forkChild(Effect.delay(Fiber.interrupt(fiber), world.below(40)))
    }
  }
  yield* TestClock.adjust(1 + world.below(10))
  yield* publish
  for (let i = 0; i < 100 && fibers.some((fiber) => fiber.pollUnsafe() === undefined); i++) {
    yield* TestClock.adjust("5 millis")
  }
  for (const fiber of fibers) {
    const exit = fiber.pollUnsafe()
    const name = exit === undefined ? "never ended" : nameOf(exit)
    world.exits[name] = (world.exits[name] ?? 0) + 1
  }
})

/** Runs the calls, waits until their losers have ended as well, and says what is left. Needs a `TestClock`. */
export const interleave = (options: Options): Effect.Effect<Figures, never, Scope.Scope> =>
  Effect.gen(function*() {
    const world = new World(options.seed)
    const queue = yield* Queue.unbounded<PolicySource.Found>()
    const publish = Effect.suspend(() => Queue.offer(queue, PolicySource.document(world.document())))
    const source = PolicySource.make({ name: "chance", found: Stream.fromQueue(queue) })
    const budget = yield* world.budget
    const balance = Effect.map(budget.state, (state) => state.balance)
    const Policies = PolicyLayer.live({ limits: { maxAbandoned: 1_000_000 } }).pipe(
      Layer.provide([
        Layer.succeed(PolicySource.PolicySource, source),
        Budget.layer("counted", Effect.succeed(budget), { scope: "shared" }),
        Logger.layer([])
      ]),
      Layer.orDie
    )
    yield* publish
    const before = yield* balance
    const after = yield* Effect.gen(function*() {
      yield* TestClock.adjust("10 millis")
      for (let done = 0; done < options.calls; done += BATCH) {
        yield* runBatch(world, Math.min(BATCH, options.calls - done), publish)
      }
      // the slowest release takes less than this
      yield* TestClock.adjust("1 second")
      return yield* balance
    }).pipe(Effect.provide(Policies))
    return {
      calls: options.calls,
      attempts: world.attempts,
      reloads: world.reloads,
      exits: world.exits,
      permits: { granted: world.granted, settled: world.settled, settledAgain: world.settledAgain },
      balance: [before, after] as const,
      running: world.running
    }
  })

/** What must hold of the figures, a line for each that does not. */
export const wrongs = ({ balance, calls, exits, permits, running }: Figures): ReadonlyArray<string> => {
  const ended = Object.values(exits).reduce((sum, count) => sum + count, 0)
  const allowed = new Set([
    "fine",
    "at once",
    "later",
    "held",
    "stubborn",
    "yielded",
    "interrupted",
    "died: a defect of the effect",
    "AttemptTimedOut",
    "DeadlineExceeded"
  ])
  return [
    ...ended === calls ? [] : [`${calls} calls, ${ended} exits`],
    ...Object.entries(exits).filter(([name]) => !allowed.has(name)).map(([name, count]) => `${count} times: ${name}`),
    ...permits.granted === permits.settled ? [] : [`${permits.granted - permits.settled} permits are out`],
    ...permits.settledAgain === 0 ? [] : [`${permits.settledAgain} permits came back twice`],
    ...balance[0] === balance[1] ? [] : [`the budget held ${balance[0]}, and now ${balance[1]}`],
    ...running === 0 ? [] : [`${running} attempts have not ended`]
  ]
}
