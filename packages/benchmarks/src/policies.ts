/**
 * The policies that are measured. Timeouts and hedges are armed for each call and never fire: their delays are longer
 * than any measurement.
 */
import { Backoff, Budget, Classifier, Hedge, Outcome, PolicyLayer } from "@rego/core"
import type { Policy } from "@rego/core"
import { Layer, Logger } from "effect"

export const perAttempt = "30 seconds"
export const overall = "60 seconds"
const hedgeDelay = "20 seconds"

const classifier = Classifier.byTag<{ readonly _tag: "NotFound" }>({
  NotFound: Outcome.nonRetryable({ reason: "not_found" })
})

const timeouts = { perAttempt, overall } as const

/** Both timeouts, retries, the default budget, a classifier, and a hedge that reads the latency of its key. */
const everything = {
  retry: { maxAttempts: 3 },
  timeout: timeouts,
  hedge: { trigger: Hedge.quantile(0.95, { min: hedgeDelay, fallback: hedgeDelay }), maxHedges: 1 },
  idempotent: true,
  classifier,
  budget: "default"
} as const satisfies Policy.Input<"default">

export const keys = {
  everything: "bench.Everything",
  withoutHedge: "bench.WithoutHedge",
  retryAndBudget: "bench.RetryAndBudget",
  failing: "bench.Failing"
} as const

/**
 * A tenth of the successes, as the default budget allows, cannot pay for two retries of each call. This one can, and it
 * decides each time.
 */
const ample = Budget.layer("ample", Budget.tokenBucket({ capacity: 1_000_000, refillPerSecond: 1_000_000 }))

/** Without loggers: a policy without timeouts is warned about at boot, and here it is meant. */
const silent = Logger.layer([])

export const Policies = PolicyLayer.make({
  policies: {
    [keys.everything]: everything,
    [keys.withoutHedge]: { ...everything, hedge: "off" },
    [keys.retryAndBudget]: { retry: { maxAttempts: 3 }, budget: "default" },
    [keys.failing]: { ...everything, retry: { maxAttempts: 3, backoff: Backoff.none }, budget: "ample" }
  }
}).pipe(Layer.provide([ample, silent]), Layer.orDie)

/** Keys without number, and all of them with everything on. */
export const manyKeys = (maxKeys: number) =>
  PolicyLayer.make({ policies: { "scale.*": everything }, limits: { maxKeys } }).pipe(
    Layer.provide(silent),
    Layer.orDie
  )

export const keyNumber = (n: number): string => `scale.Key${n.toString(36)}`
