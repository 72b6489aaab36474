/**
 * What the tests of whole calls share: a scripted effect, a call under a policy in virtual time, and a timeline as rows.
 */
import { assert } from "@effect/vitest"
import type { Policy, PolicyProvider } from "@rego/core"
import { Budget, Classifier, Outcome, PolicyLayer, Rego, RegoError, Timeline } from "@rego/core"
import { TimelineRows } from "@rego/testing"
import { Cause, Clock, Duration, Effect, Exit, Layer, Logger, Option, Random, References, Schema, Tracer } from "effect"
import { TestClock } from "effect/testing"

export const seed = process.env["REGO_SEED"] ?? "20260401"

export const key = "svc.Method"

// -----------------------------------------------------------------------------
// scripts
// -----------------------------------------------------------------------------

export interface Step<A, E> {
  /** `undefined`: runs until it is interrupted */
  readonly exit: Exit.Exit<A, E> | undefined
  readonly after: number
}

export const fails = <E>(error: E, after = 0): Step<never, E> => ({ exit: Exit.fail(error), after })
export const succeeds = <A>(value: A, after = 0): Step<A, never> => ({ exit: Exit.succeed(value), after })
export const dies = (defect: unknown, after = 0): Step<never, never> => ({ exit: Exit.die(defect), after })
export const hangs: Step<never, never> = { exit: undefined, after: 0 }

export interface Script<A, E> {
  readonly effect: Effect.Effect<A, E>
  readonly runs: number
  readonly interrupts: number
  /** attempts that have started and not ended */
  readonly running: number
  /** when each run started, in milliseconds since the first one did */
  readonly startedAt: ReadonlyArray<number>
}

const nowMillis = Clock.clockWith((clock) => Effect.succeed(Number(clock.monotonicTimeNanosUnsafe()) / 1e6))

/** Runs one step for each run of the effect; the last one is repeated. */
export const script = <A = never, E = never>(...steps: ReadonlyArray<Step<A, E>>): Script<A, E> => {
  const seen = { runs: 0, interrupts: 0, running: 0, first: 0, startedAt: new Array<number>() }
  const run = Effect.gen(function*() {
    const now = yield* nowMillis
    if (seen.runs === 0) seen.first = now
    seen.startedAt.push(now - seen.first)
    const { after, exit } = steps[Math.min(seen.runs++, steps.length - 1)]!
    if (exit === undefined) return yield* Effect.never
    if (after > 0) yield* Effect.sleep(after)
    return yield* exit
  })
  const effect = Effect.suspend(() => {
    seen.running++
    return Effect.onExit(run, (exit) =>
      Effect.sync(() => {
        seen.running--
        if (exit._tag === "Failure" && Cause.hasInterrupts(exit.cause)) seen.interrupts++
      }))
  })
  return {
    effect,
    get runs() {
      return seen.runs
    },
    get interrupts() {
      return seen.interrupts
    },
    get running() {
      return seen.running
    },
    get startedAt() {
      return seen.startedAt
    }
  }
}

/** A schema of integers, both ends included. */
export const integers = (minimum: number, maximum: number) =>
  Schema.Int.pipe(Schema.check(Schema.isBetween({ minimum, maximum })))

export type Ending = "ok" | "fail" | "refused" | "asked" | "throttled" | "final" | "abort" | "die" | "hang"

/** A step that ends as a word says; `judged` gives its verdict. */
export const stepThat = (ending: Ending, after: number, n: number, retryAfter = after): Step<unknown, Error> => {
  const failed = (outcome: Outcome.Outcome) => ({ exit: Exit.fail(new Judged(outcome)), after })
  switch (ending) {
    case "ok":
      return { exit: Exit.succeed(n), after }
    case "fail":
      return { exit: Exit.fail(new Error(`failure ${n}`)), after }
    case "refused":
      return failed(Outcome.retryable({ reason: "refused", executed: "no" }))
    case "asked":
      return failed(Outcome.retryable({ reason: "asked", retryAfter }))
    case "throttled":
      return failed(Outcome.retryable({ reason: "throttled", throttled: true }))
    case "final":
      return failed(Outcome.nonRetryable({ reason: "final" }))
    case "abort":
      return failed(Outcome.abort({ reason: "abort" }))
    case "die":
      return { exit: Exit.die(new Error(`defect ${n}`)), after }
    case "hang":
      return { exit: undefined, after }
  }
}

// -----------------------------------------------------------------------------
// timelines as rows
// -----------------------------------------------------------------------------

export type Row = TimelineRows.Row

export const { rows } = TimelineRows

/** The rows of a call that failed and stopped after its first attempt. */
export const stoppedAtOnce = (reason: Timeline.StopReason, verdict = "Retryable typed_failure"): ReadonlyArray<Row> => [
  [0, "start 0"],
  [0, `end 0 ${verdict}`],
  [0, `stop ${reason}`],
  [0, "failure"]
]

// -----------------------------------------------------------------------------
// logs
// -----------------------------------------------------------------------------

export interface Line {
  readonly level: string
  readonly message: string
  readonly cause: Cause.Cause<unknown>
}

/** Runs an effect with a logger of its own and gives what was logged so far. */
export const withLog = <A, E, R>(self: Effect.Effect<A, E, R>, lines: Array<Line> = []): Effect.Effect<A, E, R> => {
  const logger = Logger.make<unknown, void>(({ cause, logLevel, message }) => {
    lines.push({ level: logLevel, message: [message].flat().map(String).join(" "), cause })
  })
  return self.pipe(
    Effect.provideService(Logger.CurrentLoggers, new Set([logger])),
    Effect.provideService(References.MinimumLogLevel, "All")
  )
}

// -----------------------------------------------------------------------------
// calls
// -----------------------------------------------------------------------------

export type Policies = Layer.Layer<PolicyProvider.PolicyProvider, Policy.PolicyInvalid>

export interface Under<A, E> {
  /** the policy of the key; its budget is `unlimited` unless it names one */
  readonly policy?: Policy.Input | undefined
  /** instead of a policy */
  readonly layer?: Policies | undefined
  readonly key?: string | undefined
  readonly options?: Rego.Options<A, E> | undefined
  /** virtual time that passes before the result is looked at */
  readonly during?: Duration.Input | undefined
  readonly seed?: string | undefined
  readonly log?: Array<Line> | undefined
}

export interface Ran<A, E> {
  readonly exit: Exit.Exit<A, E | RegoError.RegoError>
  readonly timeline: Timeline.Timeline
  readonly rows: ReadonlyArray<Row>
}

export const policiesOf = (policy: Policy.Input, limits?: PolicyLayer.Limits): Policies =>
  PolicyLayer.make({ policies: { [key]: { budget: "unlimited", ...policy } }, limits })

/** Makes a call without typed options, for helpers that are generic in A and E. */
export const resilient = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  name: string,
  options?: Rego.Options<A, E>
): Effect.Effect<A, E | RegoError.RegoError, R | PolicyProvider.PolicyProvider> =>
  Rego.resilient(self, name, options as Rego.Options)

/** Forks a program at once, lets virtual time pass, and takes its exit, which must be there by then. */
export const inVirtualTime = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  during: Duration.Input = "1 minute"
): Effect.Effect<Exit.Exit<A, E>, never, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(self, { startImmediately: true })
    yield* TestClock.adjust(during)
    const exit = fiber.pollUnsafe()
    assert.isDefined(exit, `nothing has ended within ${String(during)}`)
    return exit!
  })

/** Provides a layer that must build, and a logger, and a seed for jitter. */
export const under = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  layer: Policies,
  log?: Array<Line>
): Effect.Effect<A, E, Exclude<R, PolicyProvider.PolicyProvider>> =>
  withLog(Effect.provide(self, Layer.orDie(layer)), log)

/** One call under a policy, in virtual time. */
export const call = <A, E>(effect: Effect.Effect<A, E>, options: Under<A, E> = {}): Effect.Effect<Ran<A, E>> => {
  const layer = options.layer ?? policiesOf(options.policy ?? {})
  const captured = Timeline.capture(resilient(effect, options.key ?? key, options.options))
  return inVirtualTime(captured, options.during).pipe(
    Effect.flatten,
    Effect.map(([exit, timelines]) => {
      const timeline = timelines.at(-1)!
      return { exit, timeline, rows: rows(timeline) }
    }),
    (self) => under(self, layer, options.log),
    Random.withSeed(options.seed ?? seed)
  )
}

// -----------------------------------------------------------------------------
// exits
// -----------------------------------------------------------------------------

/** The exit is exactly this failure: the same object, and nothing beside it. */
export const assertFailsWith = (exit: Exit.Exit<unknown, unknown>, error: unknown): void => {
  assert.isTrue(Exit.isFailure(exit), `expected a failure, got ${String(exit)}`)
  const reasons = exit._tag === "Failure" ? exit.cause.reasons : []
  assert.strictEqual(reasons.length, 1)
  const [reason] = reasons
  assert.strictEqual(reason !== undefined && Cause.isFailReason(reason) ? reason.error : reason, error)
}

export const assertDiesWith = (exit: Exit.Exit<unknown, unknown>, defect: unknown): void => {
  assert.isTrue(Exit.isFailure(exit), `expected a failure, got ${String(exit)}`)
  const reasons = exit._tag === "Failure" ? exit.cause.reasons : []
  assert.strictEqual(reasons.length, 1)
  const [reason] = reasons
  assert.strictEqual(reason !== undefined && Cause.isDieReason(reason) ? reason.defect : reason, defect)
}

export const assertSucceedsWith = (exit: Exit.Exit<unknown, unknown>, value: unknown): void => {
  assert.isTrue(Exit.isSuccess(exit), `expected a success, got ${String(exit)}`)
  assert.strictEqual(exit._tag === "Success" ? exit.value : undefined, value)
}

/** The one failure of an exit, which must be a `RegoError`. */
export const regoErrorOf = (exit: Exit.Exit<unknown, unknown>): RegoError.RegoError => {
  const reasons = exit._tag === "Failure" ? exit.cause.reasons : []
  const error = reasons.length === 1 && Cause.isFailReason(reasons[0]!) ? reasons[0].error : undefined
  if (!RegoError.isRegoError(error)) throw new Error(`expected a RegoError, got ${String(exit)}`)
  return error
}

/** What a constructor says of input that it refuses. */
export const refusal = (make: () => unknown): string => {
  try {
    make()
  } catch (error) {
    assert.instanceOf(error, RangeError)
    return (error as RangeError).message
  }
  return assert.fail("was accepted")
}

// -----------------------------------------------------------------------------
// classifiers and budgets
// -----------------------------------------------------------------------------

/** A failure that carries its own verdict. */
export class Judged extends Error {
  readonly outcome: Outcome.Outcome
  constructor(outcome: Outcome.Outcome) {
    super(outcome._tag)
    this.outcome = outcome
  }
}

export const judged: Classifier.Classifier<unknown, unknown> = Classifier.make((exit) => {
  const error = exit._tag === "Failure" ? Cause.squash(exit.cause) : undefined
  return error instanceof Judged ? error.outcome : undefined
})

export const askedToWait = (
  retryAfter: Duration.Input,
  more: Omit<Parameters<typeof Outcome.retryable>[0], "reason"> = {}
) => new Judged(Outcome.retryable({ reason: "asked", retryAfter, ...more }))

export interface Counts {
  asked: number
  taken: number
  used: number
  unused: number
  /** settled more than once, which must never be */
  again: number
}

/** A budget that counts what it grants and what comes back. */
export const countingBudget = (options: {
  readonly grants?: (asked: number) => boolean
  /** how long each answer takes, in milliseconds */
  readonly takes?: number
  readonly window?: Duration.Duration
} = {}): { readonly counts: Counts; readonly make: Budget.Make } => {
  const counts: Counts = { asked: 0, taken: 0, used: 0, unused: 0, again: 0 }
  const answer = (): Budget.Decision => {
    counts.asked++
    if (options.grants?.(counts.asked) === false) return { _tag: "Denied", reason: "counted" }
    counts.taken++
    let settled = false
    return {
      _tag: "Granted",
      permit: {
        settle: (use) => {
          if (settled) counts.again++
          settled = true
          counts[use]++
        }
      }
    }
  }
  const { takes = 0, window } = options
  return {
    counts,
    make: Effect.succeed({
      tryAcquire: () => takes > 0 ? Effect.andThen(Effect.sleep(takes), Effect.sync(answer)) : answer(),
      window,
      state: Effect.succeed({ balance: 0 })
    })
  }
}

/** A layer of one key with a budget of its own, registered as `own`. */
export const withBudget = (policy: Policy.Input, make: Budget.Make, limits?: PolicyLayer.Limits): Policies =>
  policiesOf({ ...policy, budget: "own" }, limits).pipe(Layer.provide(Budget.layer("own", make)))

// -----------------------------------------------------------------------------
// leaks
// -----------------------------------------------------------------------------

/** Runs an effect on the test's clock and counts the sleeps on it that have not ended. */
export const countingSleeps = <A, E, R>(
  use: (pending: () => number) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Clock.clockWith((clock) => {
    let pending = 0
    const counting: Clock.Clock = {
      ...clock,
      sleep: (duration) =>
        Effect.acquireUseRelease(
          Effect.sync(() => pending++),
          () => clock.sleep(duration),
          () => Effect.sync(() => pending--)
        )
    }
    return Effect.provideService(use(() => pending), Clock.Clock, counting)
  })

/** A clock on which a second passes whenever it is looked at, and sleeps never end: work in slices stops at each step. */
export const hurried: Clock.Clock = (() => {
  let nanos = 0n
  const look = () => (nanos += 1_000_000_000n)
  const millis = () => Number(look()) / 1e6
  return {
    currentTimeMillisUnsafe: millis,
    currentTimeMillis: Effect.sync(millis),
    currentTimeNanosUnsafe: look,
    currentTimeNanos: Effect.sync(look),
    monotonicTimeNanosUnsafe: look,
    monotonicTimeNanos: Effect.sync(look),
    sleep: (duration) => Duration.isZero(duration) ? Effect.void : Effect.never
  }
})()

/** A tracer that keeps the spans that it makes. */
export const makeTracer = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer }
}

/** A status in which nothing is wrong, but what is said. */
export const status = (more: Partial<PolicyProvider.PolicyStatus>): PolicyProvider.PolicyStatus => ({
  revision: "7",
  source: "live",
  age: Option.none(),
  lastError: Option.none(),
  storeError: Option.none(),
  rejected: Option.none(),
  rolledBack: false,
  clamped: [],
  issues: [],
  off: [],
  hedgeOff: [],
  overrides: [],
  ...more
})
