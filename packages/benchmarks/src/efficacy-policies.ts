/** The policies that are tried, and the budgets of others beside ours. */
import type { Policy } from "@rego/core"
import { Backoff, Budget, Hedge, PolicyLayer } from "@rego/core"
import { Effect, Layer } from "effect"
import type { Policies } from "./efficacy-model.ts"

/** A policy for every key, under the default budget unless it says otherwise. */
export const policy = (sections: Policy.Input): Policies => PolicyLayer.make({ policies: { "*": sections } })

const overall = { overall: "30 seconds" } as const

export const single = policy({ timeout: overall })

export const hedged = (trigger: Hedge.Trigger, maxHedges: number, more: Policy.Input = {}): Policies =>
  policy({ hedge: { trigger, maxHedges }, timeout: overall, idempotent: true, ...more })

const retry = { maxAttempts: 3, backoff: Backoff.exponential({ initial: "10 millis", max: "250 millis" }) }

/** Three attempts of a second each: what a client of a dependency of 100 ms would say. */
export const retrying: Policy.Input = { retry, timeout: { perAttempt: "1 second" }, idempotent: true }

export const ours = policy(retrying)
export const naive = policy({ ...retrying, budget: "unlimited" })
export const noRetry = policy({ timeout: { perAttempt: "1 second" } })

/** The same under another budget, which each key has for itself. */
export const withBudget = (budget: Budget.Make<any>, sections: Policy.Input = retrying): Policies =>
  PolicyLayer.make({ policies: { "*": { ...sections, budget: "another" } } }).pipe(
    Layer.provide(Budget.layer("another", budget))
  )

/** Finagle's RetryBudget: 20 % of the calls of 10 s, and 10 per second at least (facts of its documentation). */
const finagle = withBudget(
  Budget.ratio({ ratio: 0.2, of: "calls", reserve: { burst: 100, start: 100, perSecond: 10 }, keepForRetries: 0 })
)

/** gRPC's retry throttling (A6) with the numbers of its example. */
const grpc = withBudget(Budget.successTokens({ maxTokens: 10, tokenRatio: 0.1 }))

/** The retry quota of the AWS SDKs: 500 tokens, 14 for a retry, and one back for each success. */
class RetryQuota implements Budget.Budget {
  private tokens = 500
  readonly tryAcquire = (): Budget.Decision => {
    if (this.tokens < 14) return { _tag: "Denied", reason: "quota_used_up" }
    this.tokens -= 14
    return { _tag: "Granted", permit: { settle: () => {} } }
  }
  readonly onOutcome: NonNullable<Budget.Budget["onOutcome"]> = ({ _tag }) => {
    if (_tag === "Success") this.tokens = Math.min(500, this.tokens + 1)
  }
  readonly state = Effect.sync(() => ({ balance: this.tokens / 14 }))
}

const aws = withBudget(Effect.sync(() => new RetryQuota()))

/** What stands beside ours in the tables about retries. */
export const peers: ReadonlyArray<readonly [string, Policies]> = [
  ["naive, 3 attempts", naive],
  ["Finagle, 20 % of calls", finagle],
  ["AWS, quota of 500 at 14", aws],
  ["gRPC, {10, 0.1}", grpc]
]
