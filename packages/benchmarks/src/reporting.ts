/**
 * What metrics and logs cost a call: all of it, what happens behind the call's back included. Nothing is exported, and lines
 * go to a logger that forgets them.
 */
import { Observer, Rego, RegoLogs, RegoMetrics } from "@rego/core"
import { Effect, Layer, Logger, Metric } from "effect"
import type { Case } from "./cases.ts"
import { operationOf } from "./operations.ts"
import type { Source } from "./operations.ts"
import { keys } from "./policies.ts"
import type { Services } from "./subjects.ts"

export const reporting = {
  success: "reporting/a success, nobody told",
  successMetrics: "reporting/a success, with metrics",
  successLogs: "reporting/a success, with logs",
  retried: "reporting/two failures, then success, nobody told",
  retriedMetrics: "reporting/two failures, then success, with metrics",
  retriedLogs: "reporting/two failures, then success, with logs"
} as const

/** Fewer than may wait, so that nothing is dropped, and what waits is told before more calls are made. */
const batch = 500

const calling =
  (key: string, source: Source, observers: Layer.Layer<never, never, Services>): Case["run"] =>
  ({ loopback, runtime }, calls) => {
    const operation = operationOf(source, loopback)
    let left = calls
    const call = (): Effect.Effect<unknown, never, Services> =>
      Effect.orDie(
        left % batch === 0
          ? Effect.andThen(Rego.resilient(operation.effect(), key), Observer.flush)
          : Rego.resilient(operation.effect(), key)
      )
    const all = Effect.andThen(
      Effect.whileLoop({ while: () => left-- > 0, body: call, step: () => {} }),
      Observer.flush
    )
    return runtime.runPromise(
      all.pipe(Effect.provide(observers), Effect.provideService(Metric.MetricRegistry, new Map()))
    )
  }

const forgetting = Logger.layer([Logger.make(() => {})])

/** As many lines as are allowed in a minute are more than a round has calls: each retried call writes one. */
const logs = RegoLogs.layer({ maxLines: 10_000 }).pipe(Layer.provide(forgetting))

const rows = [
  [reporting.success, keys.everything, "promise", Layer.empty],
  [reporting.successMetrics, keys.everything, "promise", RegoMetrics.layer()],
  [reporting.successLogs, keys.everything, "promise", logs],
  [reporting.retried, keys.failing, "failing", Layer.empty],
  [reporting.retriedMetrics, keys.failing, "failing", RegoMetrics.layer()],
  [reporting.retriedLogs, keys.failing, "failing", logs]
] as const

export const reportingCases: ReadonlyArray<Case> = rows.map(([id, key, source, observers]) => ({
  id,
  run: calling(key, source, observers)
}))
