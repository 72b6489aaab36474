/** Asking a budget directly, as the driver of a call does. */
import { assert } from "@effect/vitest"
import type { Budget } from "@rego/core"
import { Outcome, PolicyKey } from "@rego/core"
import { Effect } from "effect"
import { TestClock } from "effect/testing"

const key = PolicyKey.make("users.Get")

export const failed = Outcome.retryable({ reason: "http_503" })

export type Asked = Partial<Budget.Request>

export const requestOf = (asked: Asked = {}): Budget.Request => ({
  key,
  kind: "retry",
  cost: 1,
  attempt: { retry: 1, hedge: 0 },
  random: () => 0.5,
  now: 0,
  ...asked
})

export const callOf = (now = 0, random: () => number = () => 0.5): Budget.Call => ({ key, now, random })

/** The answer of a budget that takes no time. */
export const decide = (budget: Budget.Budget, asked: Asked = {}): Budget.Decision => {
  const decision = budget.tryAcquire(requestOf(asked))
  return Effect.isEffect(decision) ? assert.fail("the answer takes time") : decision
}

export const decideLater = (budget: Budget.Budget, asked: Asked = {}): Effect.Effect<Budget.Decision> =>
  Effect.suspend(() => {
    const decision = budget.tryAcquire(requestOf(asked))
    return Effect.isEffect(decision) ? decision : Effect.succeed(decision)
  })

export const permitOf = (decision: Budget.Decision): Budget.Permit =>
  decision._tag === "Granted" ? decision.permit : assert.fail(`denied: ${decision.reason}`)

export const denialOf = (decision: Budget.Decision): Budget.Decision & { readonly _tag: "Denied" } =>
  decision._tag === "Denied" ? decision : assert.fail("granted")

export const take = (budget: Budget.Budget, asked: Asked = {}): Budget.Permit => permitOf(decide(budget, asked))

/** How many of `times` asks are granted. */
export const grants = (budget: Budget.Budget, times: number, asked: Asked = {}): number => {
  let granted = 0
  for (let i = 0; i < times; i++) if (decide(budget, asked)._tag === "Granted") granted++
  return granted
}

export const outcomes = (budget: Budget.Budget, outcome: Outcome.Outcome, times: number, now = 0): void => {
  for (let i = 0; i < times; i++) budget.onOutcome?.(outcome, now)
}

/** Lets virtual time pass in steps until the effect has ended: the ends of ticks between them need turns, not time. */
export const untilEnded = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkChild(self, { startImmediately: true })
    for (let i = 0; i < 5_000 && fiber.pollUnsafe() === undefined; i++) yield* TestClock.adjust("20 millis")
    return yield* fiber.pollUnsafe() ?? assert.fail("has not ended")
  })
