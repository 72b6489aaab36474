/**
 * What every budget must do, whoever made it: the contract of `Budget`.
 *
 * **When to use**
 *
 * For a budget of your own. Give `make` its recipe and register a test for each law: see `Law`.
 *
 * **Example** (The laws of a budget)
 *
 * ```ts
 * import { Budget } from "@rego/core"
 * import { BudgetLaws, Law } from "@rego/testing"
 * import { Effect } from "effect"
 *
 * // grants three at the same time, and forgets to take them back
 * const leaky: Budget.Make = Effect.sync(() => {
 *   let running = 0
 *   return {
 *     tryAcquire: () =>
 *       ++running <= 3
 *         ? { _tag: "Granted", permit: { settle: () => {} } }
 *         : { _tag: "Denied", reason: "too_many" },
 *     state: Effect.sync(() => ({ balance: 3 - running }))
 *   }
 * })
 *
 * const suite = BudgetLaws.make(leaky, { gives: "always", costs: false })
 * const broken = await Effect.runPromise(Law.broken(suite))
 * broken[0]?.name // => "grants again what was settled unused, where it says so"
 * broken[0]?.message // => "grants after all were given back unused: expected 3, got 0"
 * ```
 *
 * @since 0.1.0
 */
import type { Budget } from "@rego/core"
import { Outcome, PolicyKey } from "@rego/core"
import type { Scope } from "effect"
import { Duration, Effect, Random } from "effect"
import { TestClock } from "effect/testing"
import { equals, isAtMost, isTrue, show } from "./AssertionError.ts"
import * as Law from "./Law.ts"
import { nowMillis } from "./Now.ts"

/**
 * What the budget promises, beyond what all of them do.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Law.SeedOptions {
  /**
   * which grants make room again when they are settled: those that were never used (default), all of them (a bound on what
   * exists at the same time), or none (a limiter that takes nothing back, a budget that holds nothing)
   */
  readonly gives?: "unused" | "always" | "never" | undefined
  /** whether a cost of 5 takes what five of 1 take. Default true */
  readonly costs?: boolean | undefined
}

interface Check {
  readonly name: string
  readonly check: (make: Budget.Make, options: Options) => Effect.Effect<void, never, Scope.Scope>
}

// -----------------------------------------------------------------------------
// asking
// -----------------------------------------------------------------------------

const key = PolicyKey.make("laws.Get")

/** Who grants so many at one instant bounds nothing (`unlimited`): laws about what is left say nothing of it. */
const many = 2_000

const callAt = (now: number): Budget.Call => ({ key, now, random: () => 0.5 })

const answerOf = <A>(ask: () => A | Effect.Effect<A>): Effect.Effect<A> =>
  Effect.suspend(() => {
    const answer = ask()
    return Effect.isEffect(answer) ? answer : Effect.succeed(answer)
  })

const ask = (budget: Budget.Budget, asked: Partial<Budget.Request> = {}): Effect.Effect<Budget.Decision> =>
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
  budget: Budget.Budget,
  asked: (nth: number) => Partial<Budget.Request> = () => ({}),
  times = many
): Effect.Effect<ReadonlyArray<Budget.Permit>> =>
  Effect.gen(function*() {
    const permits: Array<Budget.Permit> = []
    while (permits.length < times) {
      const decision = yield* ask(budget, asked(permits.length))
      if (decision._tag === "Denied") break
      permits.push(decision.permit)
    }
    return permits
  })

/** Two of the same recipe, with the same past. */
const twins = (make: Budget.Make): Effect.Effect<readonly [Budget.Budget, Budget.Budget], never, Scope.Scope> =>
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

const settle = (permits: ReadonlyArray<Budget.Permit>, use: "used" | "unused"): void => {
  for (const permit of permits) permit.settle(use)
}

const checkDecision = (decision: Budget.Decision): void => {
  if (decision._tag === "Granted") {
    isTrue(typeof decision.permit.settle === "function", "a grant must hold a permit")
    return
  }
  isTrue(decision._tag === "Denied", `a decision must be Granted or Denied, is ${show(decision)}`)
  isTrue(typeof decision.reason === "string" && decision.reason !== "", "a denial must have a reason")
  if (decision.retryAfter === undefined) return
  isTrue(Duration.isDuration(decision.retryAfter), "retryAfter must be a Duration")
  isTrue(Duration.toMillis(decision.retryAfter) >= 0, "retryAfter must not be negative")
}

const checkState = (budget: Budget.Budget): Effect.Effect<void> =>
  Effect.map(budget.state, ({ balance }) => {
    isTrue(typeof balance === "number" && !Number.isNaN(balance), `the balance must be a number, is ${balance}`)
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

/** One thing that happens to a budget at some instant, chosen at random; grants are collected in `open`. */
const anything = (budget: Budget.Budget, random: () => number, open: Array<Budget.Permit>): Effect.Effect<void> =>
  Effect.gen(function*() {
    const int = (below: number) => Math.floor(random() * below)
    const now = (yield* nowMillis) - (random() < 0.05 ? 60_000 * random() : 0)
    const { admit } = budget
    switch (int(7)) {
      case 0:
        return yield* TestClock.adjust(int(10) === 0 ? int(60_000) : int(200))
      case 1:
        return budget.onCall?.(callAt(now))
      case 2:
        return budget.onCallEnd?.(callAt(now))
      case 3:
        return budget.onOutcome?.(verdicts[int(verdicts.length)]!, now)
      case 4:
        return open.splice(int(open.length), 1)[0]?.settle(random() < 0.5 ? "used" : "unused")
      case 5:
        if (admit !== undefined) return checkDecision(yield* answerOf(() => admit({ ...callAt(now), random })))
    }
    const cost = random() < 0.8 ? 1 : 1 + random() * 99
    const decision = yield* ask(budget, { kind: random() < 0.5 ? "retry" : "hedge", cost, now, random })
    checkDecision(decision)
    if (decision._tag === "Granted") open.push(decision.permit)
  })

const answers: Check = {
  name: "answers Granted or Denied with a reason, whatever happens, and its state is a number",
  check: (make) =>
    Effect.gen(function*() {
      const budget = yield* make
      const generator = yield* Random.Random
      const open: Array<Budget.Permit> = []
      for (let i = 0; i < 2_000; i++) {
        yield* anything(budget, () => generator.nextDoubleUnsafe(), open)
        if (i % 20 === 0) yield* checkState(budget)
      }
      settle(open, "used")
      yield* checkState(budget)
    })
}

const settledTwice: Check = {
  name: "takes a permit that is settled twice for settled once",
  check: (make) =>
    Effect.gen(function*() {
      const [once, twice] = yield* twins(make)
      const permits = yield* drain(once)
      const others = yield* drain(twice)
      equals(others.length, permits.length, "grants of two of the same recipe")
      for (const [i, permit] of permits.entries()) {
        const use = i % 2 === 0 ? "unused" : "used"
        permit.settle(use)
        others[i]!.settle(use)
        others[i]!.settle("unused")
        others[i]!.settle("used")
        others[i]!.settle("unused")
      }
      equals(yield* twice.state, yield* once.state, "the state after settling twice")
      equals((yield* drain(twice)).length, (yield* drain(once)).length, "grants after settling twice")
    })
}

const unusedMakesRoom: Check = {
  name: "grants again what was settled unused, where it says so",
  check: (make, { gives = "unused" }) =>
    Effect.gen(function*() {
      const [budget] = yield* twins(make)
      const first = yield* drain(budget)
      settle(first, "unused")
      const again = yield* drain(budget)
      if (gives !== "never") equals(again.length, first.length, "grants after all were given back unused")
      else isAtMost(again.length, first.length, "grants after all were given back unused")
    })
}

const usedIsSpent: Check = {
  name: "does not grant at once what was used, unless it bounds what exists at the same time",
  check: (make, { gives = "unused" }) =>
    Effect.gen(function*() {
      const [budget] = yield* twins(make)
      const first = yield* drain(budget)
      settle(first, "used")
      const again = yield* drain(budget)
      if (gives === "always") equals(again.length, first.length, "grants after all had ended")
      else if (first.length < many) equals(again.length, 0, "grants after all were used")
    })
}

const timeGoesBack: Check = {
  name: "never grants more when time goes back",
  check: (make) =>
    Effect.gen(function*() {
      const [steady, confused] = yield* twins(make)
      const now = yield* nowMillis
      const back = [1, 1_000, 60_000, 3_600_000, 1e12]
      const expected = (yield* drain(steady)).length
      // what it has granted stays granted, and a jump there and back is no time passed
      const granted = (yield* drain(confused, (nth) => ({ now: now - back[nth % back.length]! }))).length
      isAtMost(granted, expected, "grants while time goes back")
      for (const by of back) confused.onCall?.(callAt(now - by))
      if (expected < many) isAtMost(granted + (yield* drain(confused)).length, expected, "grants when time was back")
    })
}

const layersShareNothing: Check = {
  name: "never sees what happened to another one of the same recipe",
  check: (make) =>
    Effect.gen(function*() {
      const [budget, untouched] = yield* twins(make)
      const expected = (yield* drain((yield* twins(make))[0])).length
      yield* drain(budget)
      for (let i = 0; i < 100; i++) budget.onOutcome?.(verdicts[1]!, yield* nowMillis)
      equals((yield* drain(untouched)).length, expected, "grants of one that nobody has used")
    })
}

const costsCount: Check = {
  name: "takes for a cost of 5 what it takes for five of 1",
  check: (make, { costs = true }) =>
    Effect.gen(function*() {
      if (!costs) return
      const [ones, fives] = yield* twins(make)
      const limit = (yield* drain(ones)).length
      if (limit === many) return
      const granted = (yield* drain(fives, () => ({ cost: 5 }))).length
      isAtMost(granted * 5, limit, "tokens granted in fives")
      // what does not make five more pays for single ones: nothing is left, and nothing was lost
      equals(granted * 5 + (yield* drain(fives)).length, limit, "tokens granted in fives and ones")
    })
}

const oneAllowance: Check = {
  name: "grants hedges and retries together no more than retries alone",
  check: (make) =>
    Effect.gen(function*() {
      const [retries, both] = yield* twins(make)
      const limit = (yield* drain(retries)).length
      const mixed = (yield* drain(both, (nth) => ({ kind: nth % 2 === 0 ? "hedge" : "retry" }))).length
      isAtMost(mixed, limit, "hedges and retries")
      if (limit < many) isAtMost(mixed + (yield* drain(both)).length, limit, "hedges, retries and retries after them")
    })
}

const atomic: Check = {
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
      isAtMost(answered.filter(({ _tag }) => _tag === "Granted").length, limit, "grants of one instant")
    })
}

// -----------------------------------------------------------------------------
// suite
// -----------------------------------------------------------------------------

/** The first one is first because what is shared is used up by the others. */
const checks: ReadonlyArray<Check> = [
  layersShareNothing,
  answers,
  settledTwice,
  unusedMakesRoom,
  usedIsSpent,
  timeGoesBack,
  costsCount,
  oneAllowance,
  atomic
]

/**
 * A law for each thing that a budget must do. The recipe is run anew for each budget that a law needs.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (budget: Budget.Make, options: Options = {}): ReadonlyArray<Law.Law> =>
  checks.map(({ check, name }) => Law.make(name, check(budget, options), options))
