/**
 * Metrics of policies that come from a source.
 *
 * @internal
 */
import { counter, gauge } from "./MetricSeries.ts"
import { instruments } from "./MetricTable.ts"

/** A series for each source. */
export const of = (source: string) => ({
  age: gauge(instruments.policyAge, [source]),
  rejected: counter(instruments.policyRejected, [source])
})
