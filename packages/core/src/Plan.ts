/**
 * A merged policy in the form that the driver reads: plain numbers, nothing left to decode on the way of a call.
 *
 * @internal
 */
import type { Schedule } from "effect"
import { Duration } from "effect"
import type * as Backoff from "./Backoff.ts"
import type * as Classifier from "./Classifier.ts"
import type * as Hedge from "./Hedge.ts"
import type { Issue } from "./Issue.ts"
import * as Policy from "./Policy.ts"

export interface HedgePlan {
  readonly trigger: Hedge.Trigger | Schedule.Schedule<unknown, Hedge.State> | string
  readonly maxHedges: number
  readonly maxFailing: number
  readonly precise: boolean
  readonly budget: string | undefined
}

export interface Plan {
  /** whether the policy has a retry section at all */
  readonly retries: boolean
  readonly maxAttempts: number
  readonly backoff: Backoff.Backoff | Schedule.Schedule<unknown, Backoff.Input>
  readonly maxRetryAfter: number
  readonly nested: "allow" | "refuse"
  /** `Infinity` for none, here and below */
  readonly perAttempt: number
  readonly overall: number
  readonly budget: string
  readonly retryCost: number
  readonly hedgeCost: number
  readonly hedge: HedgePlan | undefined
  readonly classifier: Classifier.Any | string | undefined
  readonly idempotent: boolean | undefined
}

const defaultMaxRetryAfter = 10_000

const limit = (duration: Duration.Duration | undefined): number =>
  duration === undefined ? Infinity : Duration.toMillis(duration)

const section = <S extends object>(value: S | "off" | undefined): S | undefined => value === "off" ? undefined : value

const hedgeOf = (sections: Policy.Sections): HedgePlan | undefined => {
  const hedge = section(sections.hedge)
  return hedge === undefined ? undefined : {
    trigger: hedge.trigger,
    maxHedges: hedge.maxHedges ?? 1,
    maxFailing: hedge.maxFailing ?? 0.05,
    precise: hedge.precise ?? false,
    budget: hedge.budget
  }
}

export const fromSections = (sections: Policy.Sections): Plan => {
  const retry = section(sections.retry)
  const timeout = section(sections.timeout)
  const budget = typeof sections.budget === "string" ? { name: sections.budget } : sections.budget
  return {
    retries: retry !== undefined,
    maxAttempts: retry === undefined ? 1 : retry.maxAttempts ?? 3,
    backoff: retry?.backoff ?? Policy.defaultBackoff,
    maxRetryAfter: retry?.maxRetryAfter === undefined ? defaultMaxRetryAfter : Duration.toMillis(retry.maxRetryAfter),
    nested: retry?.nested ?? "refuse",
    perAttempt: limit(timeout?.perAttempt),
    overall: limit(timeout?.overall),
    budget: budget?.name ?? "default",
    retryCost: budget?.retryCost ?? 1,
    hedgeCost: budget?.hedgeCost ?? 1,
    hedge: hedgeOf(sections),
    classifier: sections.classifier,
    idempotent: sections.idempotent
  }
}

/** One attempt, no limits: what a key gets that no policy matches. */
export const singleAttempt: Plan = fromSections({})

const maxRuns = 12

/** How many hedges beside each attempt keep a call within the bound on its runs. */
export const maxHedgesFor = (maxAttempts: number): number => Math.floor(maxRuns / maxAttempts) - 1

/** What only the merged policy can show. */
export const problems = (plan: Plan): ReadonlyArray<Issue> => {
  const runs = plan.maxAttempts * (1 + (plan.hedge?.maxHedges ?? 0))
  return runs <= maxRuns ? [] : [{
    path: ["hedge", "maxHedges"],
    message:
      `attempts × (1 + hedges) must be at most ${maxRuns}, got ${plan.maxAttempts} × (1 + ${plan.hedge?.maxHedges}) = ${runs}`
  }]
}

/** Fewer hedges for a merged policy that could run too often; `undefined` where it stays as it is. */
export const loweredHedge = (merged: Policy.Sections): Policy.Sections["hedge"] => {
  const plan = fromSections(merged)
  if (plan.hedge === undefined || problems(plan).length === 0) return undefined
  const maxHedges = maxHedgesFor(plan.maxAttempts)
  return maxHedges < 1 ? "off" : { ...merged.hedge as object, maxHedges } as Policy.Sections["hedge"]
}

/** The same policy, or one that runs no more often than a call may. */
export const withinLimits = (merged: Policy.Sections): Policy.Sections => {
  const hedge = loweredHedge(merged)
  return hedge === undefined ? merged : { ...merged, hedge }
}

/** What is allowed and probably not meant. */
export interface Warning {
  readonly rule: string
  readonly message: string
}

/** What is said once at boot. `Advice` has more, for who asks. */
export const warnings = (plan: Plan): ReadonlyArray<Warning> => {
  const found: Array<Warning> = []
  const extras = plan.maxAttempts > 1 || plan.hedge !== undefined
  const warn = (rule: string, message: string) => found.push({ rule, message })
  if (extras && plan.perAttempt === Infinity && plan.overall === Infinity) {
    warn("no_timeout", "retries or hedges are on and there is no timeout: an attempt that hangs is never given up")
  }
  if (plan.perAttempt >= plan.overall && plan.perAttempt !== Infinity) {
    warn("per_attempt_never_applies", "timeout.perAttempt is not shorter than timeout.overall, so it never applies")
  }
  if (plan.budget === "unlimited" && extras) {
    warn("unlimited_budget", "the budget is \"unlimited\": nothing holds back a storm of retries")
  }
  return found
}
