/**
 * What every budget must do, whoever made it: the contract of `Budget`. Give `budgetLaws` a recipe and it registers a test
 * for each law, in virtual time.
 */
import { assert, describe, it } from "@effect/vitest"
import type { Scope } from "effect"
import { Clock, Duration, Effect } from "effect"
import { TestClock } from "effect/testing"
import type { Budget, Call, Decision, Make, Permit, Request } from "../src/Budget.ts"
import * as Outcome from "../src/Outcome.ts"
import * as PolicyKey from "../src/PolicyKey.ts"
import { makeRandom, seed, withSeed } from "./arbitraries.ts"

export interface LawOptions {
  /**
   * which grants make room again when they are settled: those that were never used (default), all of them (a bound on what
   * exists at the same time), or none (a limiter that takes nothing back, a budget that holds nothing)
   */
  readonly gives?: "unused" | "always" | "never" | undefined
  /** whether a cost of 5 takes what five of 1 take. Default true */
  readonly costs?: boolean | undefined
}

export interface Law {
  readonly name: string
  /** dies when the law does not hold */
  readonly check: (make: Make, options: LawOptions) => Effect.Effect<void, never, Scope.Scope>
}

// -----------------------------------------------------------------------------
// asking
// -----------------------------------------------------------------------------

const key = PolicyKey.make("laws.Get")

/** Who grants so many at one instant bounds nothing (`unlimited`): laws about what is left say nothing of it. */
const many = 2_000

const nowMillis = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const callAt = (now: number): Call => ({ key, now, random: () => 0.5 })

const answerOf = <A>(ask: () => A | Effect.Effect<A>): Effect.Effect<A> =>
  Effect.suspend(() => {
    const answer = ask()
    return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
  })

const ask = (budget: Budget, asked: Partial<Request> = {}): Effect.Effect<Decision> =>
  Effect.flatMap(nowMillis, (now) =>
    answerOf(() =>
      budget.tryAcquire({
        key,
        kind: "retry",
        cost: 1,
        attempt: { retry: 1, hedge: 0 },
        random: () => 0.5,
        now,
        ...asked
      })
    ))

/** Asks `times` times, or until it is denied; gives the permits. */
const drain = (
  budget: Budget,
  asked: (nth: number) => Partial<Request> = () => ({}),
  times = many
): Effect.Effect<ReadonlyArray<Permit>> =>
  Effect.gen(function*() {
    const permits: Array<Permit> = []
    while (permits.length < times) {
      const decision = yield* ask(budget, asked(permits.length))
      if (decision._tag === "Denied") break
      permits.push(decision.permit)
    }
    return permits
  })

/** Two of the same recipe, with the same past. */
const twins = (make: Make): Effect.Effect<readonly [Budget, Budget], never, Scope.Scope> =>
  Effect.gen(function*() {
    const pair = [yield* make, yield* make] as const
    const now = yield* nowMillis
    for (const budget of pair) {
      for (let i = 0; i < 30; i++) {
        budget.onCall?.(callAt(now))
        budget.onOutcome?.(Outcome.success, now)
        budget.onCallEnd?.(callAt(now))
      }
    }
    return pair
  })

const settle = (permits: ReadonlyArray<Permit>, use: "used" | "unused"): void => {
  for (const permit of permits) permit.settle(use)
}

const checkDecision = (decision: Decision): void => {
  if (decision._tag === "Granted") {
    assert.strictEqual(typeof decision.permit.settle, "function", "a grant must hold a permit")
    return
  }
  assert.strictEqual(decision._tag, "Denied", "a decision is Granted or Denied")
  assert.isTrue(typeof decision.reason === "string" && decision.reason !== "", "a denial must have a reason")
  if (decision.retryAfter === undefined) return
  assert.isTrue(Duration.isDuration(decision.retryAfter), "retryAfter must be a Duration")
  assert.isAtLeast(Duration.toMillis(decision.retryAfter), 0, "retryAfter must not be negative")
}

const checkState = (budget: Budget): Effect.Effect<void> =>
  Effect.map(budget.state, ({ balance }) => {
    assert.isTrue(typeof balance === "number" && !Number.isNaN(balance), `the balance must be a number, is ${balance}`)
  })

const verdicts: ReadonlyArray<Outcome.Outcome> = [
  Outcome.success,
  Outcome.retryable({ reason: "http_503" }),
  Outcome.retryable({ reason: "http_429", retryAfter: "2 seconds", executed: "no", throttled: true }),
  Outcome.nonRetryable({ reason: "not_found" }),
  Outcome.abort({ reason: "interrupted" })
]

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

const answers: Law = {
  name: "answers Granted or Denied with a reason, whatever happens, and its state is a number",
  check: (make) =>
    Effect.gen(function*() {
      const budget = yield* make
      const random = makeRandom(seed)
      const open: Array<Permit> = []
      const int = (below: number) => Math.floor(random() * below)
      for (let i = 0; i < 2_000; i++) {
        const now = (yield* nowMillis) - (random() < 0.05 ? 60_000 * random() : 0)
        const choice = int(7)
        if (choice === 0) yield* TestClock.adjust(int(10) === 0 ? int(60_000) : int(200))
        else if (choice === 1) budget.onCall?.(callAt(now))
        else if (choice === 2) budget.onCallEnd?.(callAt(now))
        else if (choice === 3) budget.onOutcome?.(verdicts[int(verdicts.length)]!, now)
        else if (choice === 4) open.splice(int(open.length), 1)[0]?.settle(random() < 0.5 ? "used" : "unused")
        else if (choice === 5 && budget.admit !== undefined) {
          const { admit } = budget
          checkDecision(yield* answerOf(() => admit({ ...callAt(now), random })))
        } else {
          const cost = random() < 0.8 ? 1 : 1 + random() * 99
          const decision = yield* ask(budget, { kind: random() < 0.5 ? "retry" : "hedge", cost, now, random })
          checkDecision(decision)
          if (decision._tag === "Granted") open.push(decision.permit)
        }
        if (i % 20 === 0) yield* checkState(budget)
      }
      settle(open, "used")
      yield* checkState(budget)
    })
}

const settledTwice: Law = {
  name: "takes a permit that is settled twice for settled once",
  check: (make) =>
    Effect.gen(function*() {
      const [once, twice] = yield* twins(make)
      const permits = yield* drain(once)
      const others = yield* drain(twice)
      assert.strictEqual(permits.length, others.length)
      for (const [i, permit] of permits.entries()) {
        const use = i % 2 === 0 ? "unused" : "used"
        permit.settle(use)
        others[i]!.settle(use)
        others[i]!.settle("unused")
        others[i]!.settle("used")
        others[i]!.settle("unused")
      }
      assert.deepStrictEqual(yield* twice.state, yield* once.state)
      assert.strictEqual((yield* drain(twice)).length, (yield* drain(once)).length)
    })
}

const unusedMakesRoom: Law = {
  name: "grants again what was settled unused, where it says so",
  check: (make, { gives = "unused" }) =>
    Effect.gen(function*() {
      const [budget] = yield* twins(make)
      const first = yield* drain(budget)
      settle(first, "unused")
      const again = yield* drain(budget)
      if (gives !== "never") assert.strictEqual(again.length, first.length)
      else assert.isAtMost(again.length, first.length)
    })
}

const usedIsSpent: Law = {
  name: "does not grant at once what was used, unless it bounds what exists at the same time",
  check: (make, { gives = "unused" }) =>
    Effect.gen(function*() {
      const [budget] = yield* twins(make)
      const first = yield* drain(budget)
      settle(first, "used")
      const again = yield* drain(budget)
      if (gives === "always") assert.strictEqual(again.length, first.length)
      else if (first.length < many) assert.strictEqual(again.length, 0)
    })
}

const timeGoesBack: Law = {
  name: "never grants more when time goes back",
  check: (make) =>
    Effect.gen(function*() {
      const [steady, confused] = yield* twins(make)
      const now = yield* nowMillis
      const back = [1, 1_000, 60_000, 3_600_000, 1e12]
      const expected = (yield* drain(steady)).length
      // what it has granted stays granted, and a jump there and back is no time passed
      const granted = (yield* drain(confused, (nth) => ({ now: now - back[nth % back.length]! }))).length
      assert.isAtMost(granted, expected)
      for (const by of back) confused.onCall?.(callAt(now - by))
      if (expected < many) assert.isAtMost(granted + (yield* drain(confused)).length, expected)
    })
}

const layersShareNothing: Law = {
  name: "never sees what happened to another one of the same recipe",
  check: (make) =>
    Effect.gen(function*() {
      const [budget, untouched] = yield* twins(make)
      const expected = (yield* drain((yield* twins(make))[0])).length
      yield* drain(budget)
      for (let i = 0; i < 100; i++) budget.onOutcome?.(verdicts[1]!, yield* nowMillis)
      assert.strictEqual((yield* drain(untouched)).length, expected)
    })
}

const costsCount: Law = {
  name: "takes for a cost of 5 what it takes for five of 1",
  check: (make, { costs = true }) =>
    Effect.gen(function*() {
      if (!costs) return
      const [ones, fives] = yield* twins(make)
      const limit = (yield* drain(ones)).length
      if (limit === many) return
      const granted = (yield* drain(fives, () => ({ cost: 5 }))).length
      assert.isAtMost(granted * 5, limit)
      // what is left over pays for single ones
      assert.isAtMost(granted * 5 + (yield* drain(fives)).length, limit)
    })
}

const oneAllowance: Law = {
  name: "grants hedges and retries together no more than retries alone",
  check: (make) =>
    Effect.gen(function*() {
      const [retries, both] = yield* twins(make)
      const limit = (yield* drain(retries)).length
      const mixed = (yield* drain(both, (nth) => ({ kind: nth % 2 === 0 ? "hedge" : "retry" }))).length
      assert.isAtMost(mixed, limit)
      if (limit < many) assert.isAtMost(mixed + (yield* drain(both)).length, limit)
    })
}

const atomic: Law = {
  name: "grants no more to those who ask at the same time: check and take are one step",
  check: (make) =>
    Effect.gen(function*() {
      const [one, crowd] = yield* twins(make)
      const limit = (yield* drain(one)).length
      if (limit === many) return
      const answered = yield* Effect.forEach(
        Array.from({ length: limit + 20 }),
        () => ask(crowd),
        { concurrency: "unbounded" }
      )
      assert.isAtMost(answered.filter(({ _tag }) => _tag === "Granted").length, limit)
    })
}

export const laws = {
  answers,
  settledTwice,
  unusedMakesRoom,
  usedIsSpent,
  timeGoesBack,
  layersShareNothing,
  costsCount,
  oneAllowance,
  atomic
} satisfies Record<string, Law>

/** Registers a test for each law. The recipe is run anew for each budget that a law needs. */
export const budgetLaws = (name: string, make: Make, options: LawOptions = {}): void => {
  describe(`laws of ${name}`, () => {
    for (const law of Object.values(laws)) {
      it.effect(law.name, () =>
        // far from the start of time, so that there is a past to go back to
        TestClock.adjust("1 hour").pipe(
          Effect.andThen(law.check(make, options)),
          Effect.catchDefect((defect) =>
            Effect.die(
              new Error(withSeed(defect instanceof Error ? defect.message : String(defect)), { cause: defect })
            )
          )
        ))
    }
  })
}
