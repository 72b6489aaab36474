/**
 * Metrics of policies that come from a source.
 *
 * @internal
 */
import { Metric } from "effect"

const age = Metric.gauge("rego.policy.age", {
  description: "seconds since the source last confirmed the policies in force"
})

const rejected = Metric.counter("rego.policy.rejected", {
  description: "documents that were refused",
  incremental: true
})

/** One line for each source. */
export const of = (source: string) => ({
  age: Metric.withAttributes(age, { source }),
  rejected: Metric.withAttributes(rejected, { source })
})
