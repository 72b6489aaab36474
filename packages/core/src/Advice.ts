/**
 * What can be said of a policy before it is in force: when its budget denies, and what in it is allowed and probably not
 * meant. Pure.
 *
 * @internal
 */
import { Duration } from "effect"
import * as Backoff from "./Backoff.ts"
import type { BudgetData } from "./BudgetData.ts"
import * as Hedge from "./Hedge.ts"
import * as Plan from "./Plan.ts"
import { own } from "./PolicySet.ts"
import * as RatioBudget from "./RatioBudget.ts"

/** Extra attempts that a budget lets through while the dependency answers nothing. */
export interface Outage {
  readonly atFirst: number
  readonly atOnce: number
  readonly perSecond: number
}

export interface BudgetFacts {
  /** when it denies, in a sentence */
  readonly denies: string
  /** `undefined` where it depends on what the budget has seen, or where the document does not define the budget */
  readonly outage: Outage | undefined
}

// -----------------------------------------------------------------------------
// budgets
// -----------------------------------------------------------------------------

const percent = (share: number): string => `${Number((share * 100).toFixed(2))} %`

const ratioFacts = (data: Extract<BudgetData, { readonly type: "ratio" }>): BudgetFacts => {
  const numbers = RatioBudget.numbersOf(data)
  const { burst, keepForRetries, of, perSecond, ratio, start } = numbers
  const window = Duration.format(numbers.window)
  const what = of === "calls" ? "calls" : "calls that were answered"
  return {
    denies:
      `when the extra attempts of the last ${window} would be more than ${percent(ratio)} of the ${what} in it, ` +
      `and the reserve is empty (${
        Math.min(start, burst)
      } at first, ${burst} at most, ${perSecond} more per second); ` +
      `hedges leave ${percent(keepForRetries)} of both to retries`,
    outage: of === "calls" ? undefined : { atFirst: Math.min(start, burst), atOnce: burst, perSecond }
  }
}

const factsOf = (data: BudgetData): BudgetFacts => {
  switch (data.type) {
    case "ratio":
      return ratioFacts(data)
    case "tokenBucket":
      return {
        denies: `when its bucket is empty: ${data.capacity} tokens at most, ${data.refillPerSecond} more per second`,
        outage: { atFirst: data.capacity, atOnce: data.capacity, perSecond: data.refillPerSecond }
      }
    case "successTokens":
      return {
        denies: `while half of its ${data.maxTokens} tokens or more are gone: a failure takes one, ` +
          `a success gives ${data.tokenRatio} back`,
        outage: undefined
      }
    case "concurrency":
      return {
        denies: data.ratio === undefined
          ? `while ${data.max} extra attempts run`
          : `while the extra attempts that run are ${percent(data.ratio)} of the calls that run, ${
            data.min ?? 3
          } at least`,
        outage: undefined
      }
    case "adaptiveThrottle":
      return {
        denies: `at random, first attempts included, once the dependency answers less than one of ${
          data.k ?? 2
        } attempts`,
        outage: undefined
      }
  }
}

const builtIn: ReadonlyMap<string, BudgetFacts> = new Map([
  ["unlimited", { denies: "never", outage: undefined }],
  ["none", { denies: "always", outage: { atFirst: 0, atOnce: 0, perSecond: 0 } }]
])

const unknownBudget: BudgetFacts = {
  denies: "as the process decides that registers it: the document does not define it",
  outage: undefined
}

type Budgets = Readonly<Record<string, BudgetData>>

const dataOf = (budgets: Budgets, name: string): BudgetData | undefined =>
  name === "default" ? { type: "ratio" } : own(budgets, name)

export const budgetFacts = (budgets: Budgets, name: string): BudgetFacts => {
  const data = dataOf(budgets, name)
  return builtIn.get(name) ?? (data === undefined ? unknownBudget : factsOf(data))
}

// -----------------------------------------------------------------------------
// warnings
// -----------------------------------------------------------------------------

const least = () => 0

/** How many groups can start before the deadline when each attempt takes its whole time and each wait is the shortest. */
const groupsThatFit = ({ backoff, maxAttempts, overall, perAttempt }: Plan.Plan): number => {
  let [at, wait] = [0, 0]
  for (let retry = 0; retry < maxAttempts - 1; retry++) {
    wait = Backoff.isBackoff(backoff) ? Backoff.delayMillis(backoff, retry, wait, least, 0) : 0
    at += perAttempt + wait
    if (at >= overall) return retry + 1
  }
  return maxAttempts
}

/** The share of calls that a trigger hedges when nothing is wrong. */
const expectedLoad = ({ hedge }: Plan.Plan): number | undefined => {
  if (!Hedge.isTrigger(hedge?.trigger)) return undefined
  const { trigger } = hedge
  return trigger._tag === "MaxExtraLoad" ? trigger.load : trigger._tag === "Quantile" ? 1 - trigger.q : undefined
}

/** Above it the budget refuses hedges on an ordinary day: slow attempts come in clusters. */
const shareOfRatio = 0.6

/** `1 - 0.94` is a little more than 0.06 in binary. */
const epsilon = 1e-9

const loadWarning = (budgets: Budgets, plan: Plan.Plan): ReadonlyArray<Plan.Warning> => {
  const data = dataOf(budgets, plan.budget)
  const load = expectedLoad(plan)
  const ratio = data?.type === "ratio" ? RatioBudget.numbersOf(data).ratio : undefined
  return load === undefined || ratio === undefined || load <= shareOfRatio * ratio + epsilon ? [] : [{
    rule: "trigger_load",
    message:
      `the trigger hedges about ${percent(load)} of the calls, more than ${shareOfRatio} × the ratio of the budget ` +
      `(${percent(ratio)}): hedges will be refused on an ordinary day`
  }]
}

const advice = (plan: Plan.Plan): ReadonlyArray<Plan.Warning | false> => [
  plan.perAttempt < plan.overall && groupsThatFit(plan) < plan.maxAttempts && {
    rule: "attempts_do_not_fit",
    message:
      `only ${groupsThatFit(plan)} of ${plan.maxAttempts} attempts fit into timeout.overall when each takes its ` +
      "whole timeout.perAttempt"
  },
  plan.hedge !== undefined && plan.budget === "unlimited" && {
    rule: "hedging_without_budget",
    message: "hedges without a budget: when the dependency gets slow, its load doubles"
  },
  plan.maxAttempts > 1 && plan.idempotent === undefined && plan.hedge === undefined && {
    rule: "idempotent_unstated",
    message: "nothing states whether the operation may run twice: attempts that time out are not retried"
  },
  plan.hedge !== undefined && plan.idempotent === undefined && {
    rule: "idempotent_unstated",
    message: "hedges only for calls that state idempotent: true by themselves, as requests of HTTP clients do"
  },
  plan.maxAttempts > 1 && Backoff.isBackoff(plan.backoff) && !Backoff.hasJitter(plan.backoff) && {
    rule: "no_jitter",
    message: "the backoff has no jitter: callers that failed together come back together"
  },
  (plan.maxAttempts > 1 || plan.hedge !== undefined) && plan.classifier === undefined && {
    rule: "default_classifier",
    message:
      "no classifier is named: where the call site brings none, every typed failure is retried, HTTP 400 and 404 too"
  }
]

/** Everything on the list, what boot says of a policy included. */
export const warnings = (budgets: Budgets, plan: Plan.Plan): ReadonlyArray<Plan.Warning> => [
  ...Plan.warnings(plan),
  ...advice(plan).filter((warning) => warning !== false),
  ...loadWarning(budgets, plan)
]
