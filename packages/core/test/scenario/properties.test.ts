/** What holds for every policy and every script of outcomes. */
import { assert, describe, it } from "@effect/vitest"
import type { Policy } from "@rego/core"
import { Backoff, Classifier, Outcome, Timeline } from "@rego/core"
import { Arbitrary, Cause, Duration, Effect, Exit, Random, Schema } from "effect"
import { TestClock } from "effect/testing"
import type { Step } from "../support.ts"
import {
  countingBudget,
  countingSleeps,
  integers,
  inVirtualTime,
  judged,
  key,
  policiesOf,
  resilient,
  script,
  seed,
  stepThat,
  under,
  withBudget
} from "../support.ts"

// -----------------------------------------------------------------------------
// arbitrary policies and scripts
// -----------------------------------------------------------------------------

const BackoffInput = Schema.Union([
  Schema.Struct({
    kind: Schema.Literal("exponential"),
    initial: integers(0, 40),
    more: integers(0, 200),
    factor: integers(1, 4),
    jitter: Schema.Literals(["none", "full", "equal", "decorrelated"])
  }),
  Schema.Struct({
    kind: Schema.Literal("constant"),
    delay: integers(0, 60),
    jitter: Schema.Literals(["none", "full", "equal"])
  }),
  Schema.Struct({ kind: Schema.Literal("none") })
])

const PolicyInput = Schema.Struct({
  maxAttempts: integers(1, 6),
  backoff: BackoffInput,
  maxRetryAfter: integers(0, 120),
  perAttempt: Schema.Union([Schema.Undefined, integers(1, 60)]),
  overall: Schema.Union([Schema.Undefined, integers(1, 250)]),
  idempotent: Schema.Union([Schema.Undefined, Schema.Boolean])
})

const StepInput = Schema.Struct({
  kind: Schema.Literals(["ok", "fail", "refused", "asked", "throttled", "final", "abort", "die", "hang", "busy"]),
  after: integers(0, 70),
  retryAfter: integers(0, 150)
})

const Scenario = Schema.Struct({
  policy: PolicyInput,
  steps: Schema.NonEmptyArray(StepInput),
  budget: Schema.Struct({
    takes: integers(0, 30),
    denies: integers(1, 6),
    window: Schema.Union([Schema.Undefined, integers(1, 40)])
  }),
  seed: integers(0, 1_000_000)
})
type Scenario = typeof Scenario.Type

const check = { arbitrary: { seed, runs: 300 } }

const backoffOf = (input: Scenario["policy"]["backoff"]): Backoff.Backoff => {
  switch (input.kind) {
    case "exponential":
      return Backoff.exponential({ ...input, max: input.initial + input.more })
    case "constant":
      return Backoff.constant(input.delay, input)
    case "none":
      return Backoff.none
  }
}

class Busy {
  readonly n: number
  constructor(n: number) {
    this.n = n
  }
}

/** Successes of this class are tried again. */
const classifier: Classifier.Any = Classifier.orElse(
  judged,
  Classifier.make<unknown, unknown>((exit) =>
    exit._tag === "Success" && exit.value instanceof Busy ? Outcome.retryable({ reason: "busy" }) : undefined
  )
)

const policyOf = ({ policy }: Scenario): Policy.Input => ({
  retry: { maxAttempts: policy.maxAttempts, backoff: backoffOf(policy.backoff), maxRetryAfter: policy.maxRetryAfter },
  timeout: { perAttempt: policy.perAttempt, overall: policy.overall },
  idempotent: policy.idempotent,
  classifier
})

const stepOf = ({ after, kind, retryAfter }: typeof StepInput.Type, n: number): Step<unknown, Error> =>
  kind === "busy" ? { exit: Exit.succeed(new Busy(n)), after } : stepThat(kind, after, n, retryAfter)

const stepsOf = (scenario: Scenario) => scenario.steps.map(stepOf)

const budgetOf = ({ budget }: Scenario) =>
  countingBudget({
    takes: budget.takes < 10 ? 0 : budget.takes,
    grants: (asked) => asked % budget.denies !== 0 || budget.denies === 1,
    ...(budget.window === undefined ? {} : { window: Duration.millis(budget.window) })
  })

/** Long enough for the longest call that can end: six attempts, their waits, their timeouts. */
const longEnough = "10 minutes"

/** A call that hangs without any timeout has no end to look at. */
const ends = ({ policy, steps }: Scenario): boolean =>
  policy.perAttempt !== undefined || policy.overall !== undefined || steps.every((step) => step.kind !== "hang")

const scenarios = Arbitrary.filter(Arbitrary.schema(Scenario), ends)

const reasonsOf = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<unknown> =>
  exit._tag === "Success"
    ? [exit.value]
    : exit.cause.reasons.map((reason) =>
      Cause.isFailReason(reason) ? reason.error : Cause.isDieReason(reason) ? reason.defect : reason._tag
    )

/** Sub-microsecond fractions that a clock of whole nanoseconds adds to random waits. */
const tolerance = 0.001

// -----------------------------------------------------------------------------
// bounds of a wait
// -----------------------------------------------------------------------------

/** The range of the backoff before retry `n`, from the formulas of the documentation. */
const rangeOf = (
  input: Scenario["policy"]["backoff"],
  retry: number,
  previous: number,
  floor: number
): readonly [from: number, to: number] => {
  if (input.kind === "none") return [floor, floor]
  if (input.kind === "constant") {
    const delay = Math.max(input.delay, floor)
    return [input.jitter === "none" ? delay : input.jitter === "equal" ? delay / 2 : 0, delay]
  }
  const initial = Math.max(input.initial, floor)
  const max = Math.max(input.initial + input.more, floor)
  if (input.jitter === "decorrelated") {
    return [Math.min(initial, max), Math.min(max, Math.max(initial, previous) * input.factor)]
  }
  const delay = Math.min(max, initial * input.factor ** retry)
  return [input.jitter === "none" ? delay : input.jitter === "equal" ? delay / 2 : 0, delay]
}

describe("every call", () => {
  it.effect.prop(
    "has no more attempts than allowed, ends in time, waits within bounds, and returns its last attempt",
    { scenario: scenarios },
    ({ scenario }) =>
      Effect.gen(function*() {
        const { policy } = scenario
        const { counts, make } = budgetOf(scenario)
        const steps = stepsOf(scenario)
        const s = script(...steps)
        yield* countingSleeps((pending) =>
          Effect.gen(function*() {
            const [exit, timelines] = yield* Effect.flatten(
              inVirtualTime(Timeline.capture(resilient(s.effect, key)), longEnough)
            )
            const [timeline] = timelines
            assert.strictEqual(timelines.length, 1)
            if (timeline === undefined) return

            // attempts
            assert.isAtMost(s.runs, policy.maxAttempts)
            assert.isAtLeast(s.runs, 1)
            assert.deepStrictEqual(
              timeline.attempts.map(({ attempt }) => attempt),
              Array.from({ length: s.runs }, (_, retry) => ({ retry, hedge: 0 }))
            )
            assert.deepStrictEqual(
              timeline.attempts.map(({ startedAt }) => Math.round((startedAt - timeline.startedAt) * 1_000)),
              s.startedAt.map((at) => Math.round(at * 1_000))
            )

            // time
            const total = timeline.endedAt - timeline.startedAt
            if (policy.overall !== undefined) assert.isAtMost(total, policy.overall + tolerance)
            for (const attempt of timeline.attempts) {
              const took = attempt.endedAt! - attempt.startedAt
              if (policy.perAttempt !== undefined) assert.isAtMost(took, policy.perAttempt + tolerance)
            }

            // waits
            let previous = 0
            const waits = timeline.decisions.filter((d) => d._tag === "BackoffScheduled")
            for (const attempt of timeline.attempts.slice(1)) {
              const last = timeline.attempts[attempt.attempt.retry - 1]!
              const wait = waits.find(({ at }) => at >= last.endedAt! && at < attempt.startedAt)
              const delay = wait?.delay ?? 0
              assert.strictEqual(attempt.backoffBefore ?? 0, delay)
              assert.isAtLeast(attempt.startedAt - last.endedAt!, delay - tolerance)
              const step = scenario.steps[Math.min(last.attempt.retry, scenario.steps.length - 1)]!
              const returned = last.endedBy === "returned"
              const floor = returned && step.kind === "throttled" ? 1_000 : 0
              const [from, to] = rangeOf(policy.backoff, last.attempt.retry, previous, floor)
              if (returned && step.kind === "asked") {
                const exact = policy.backoff.kind === "none" || policy.backoff.jitter === "none"
                assert.isAtMost(step.retryAfter, policy.maxRetryAfter)
                assert.isAtLeast(delay, step.retryAfter)
                assert.isAtMost(delay, step.retryAfter + (exact ? 0 : Math.max(to, step.retryAfter / 4)) + tolerance)
              } else {
                assert.isAtLeast(delay, from - tolerance)
                assert.isAtMost(delay, to + tolerance)
              }
              previous = delay
            }

            // result
            const [result] = reasonsOf(exit)
            const lastStep = steps[Math.min(s.runs - 1, steps.length - 1)]!
            if (timeline.attempts.at(-1)!.endedBy === "returned") {
              assert.strictEqual(result, reasonsOf(lastStep.exit!)[0])
            } else assert.strictEqual((result as { readonly _tag?: string })._tag, "RegoError")
            const stops = timeline.decisions.filter((d) => d._tag === "Stopped")
            assert.strictEqual(stops.length, timeline.attempts.at(-1)!.outcome === "Success" ? 0 : 1)

            // nothing left, nothing later
            assert.strictEqual(s.running, 0)
            assert.strictEqual(pending(), 0)
            yield* TestClock.adjust("1 hour")
            assert.strictEqual(s.runs, timeline.attempts.length)
            assert.strictEqual(counts.taken, counts.used + counts.unused)
            assert.strictEqual(counts.again, 0)
            assert.strictEqual(counts.used, s.runs - 1)
          }).pipe((self) => under(self, withBudget(policyOf(scenario), make)), Random.withSeed(scenario.seed))
        )
      }),
    check
  )

  it.effect.prop(
    "that is interrupted at any instant settles at once, and leaves no permit, no sleep and no attempt behind",
    { scenario: Arbitrary.schema(Scenario), at: Arbitrary.schema(integers(0, 300)) },
    ({ at, scenario }) =>
      Effect.gen(function*() {
        const { counts, make } = budgetOf(scenario)
        const s = script(...stepsOf(scenario))
        yield* countingSleeps((pending) =>
          Effect.gen(function*() {
            const fiber = yield* Effect.forkChild(Timeline.capture(resilient(s.effect, key)), {
              startImmediately: true
            })
            yield* TestClock.adjust(at)
            fiber.interruptUnsafe()
            assert.isDefined(fiber.pollUnsafe())
            const { runs } = s
            assert.strictEqual(s.running, 0)
            assert.strictEqual(pending(), 0)
            yield* TestClock.adjust("1 hour")
            assert.strictEqual(s.runs, runs)
            assert.strictEqual(counts.taken, counts.used + counts.unused)
            assert.strictEqual(counts.again, 0)
          }).pipe((self) => under(self, withBudget(policyOf(scenario), make)), Random.withSeed(scenario.seed))
        )
      }),
    check
  )

  it.effect.prop(
    "is reproduced by its seed",
    { scenario: scenarios },
    ({ scenario }) =>
      Effect.gen(function*() {
        const waits = Effect.gen(function*() {
          const s = script(...stepsOf(scenario))
          const [, [timeline]] = yield* Effect.flatten(
            inVirtualTime(Timeline.capture(resilient(s.effect, key)), longEnough)
          )
          return timeline!.decisions.flatMap((d) => d._tag === "BackoffScheduled" ? [d.delay] : [])
        }).pipe((self) => under(self, policiesOf(policyOf(scenario))), Random.withSeed(scenario.seed))
        assert.deepStrictEqual(yield* waits, yield* waits)
      }),
    { arbitrary: { seed, runs: 50 } }
  )
})
