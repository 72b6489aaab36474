/**
 * From what was counted to a report.
 *
 * @internal
 */
import { Option } from "effect"
import { Histogram } from "./Histogram.ts"
import type { Scenario } from "./Scenario.ts"
import { lastEnd } from "./Scenario.ts"
import type { LoadOverTime, Metric, Report, Run } from "./SimulationReport.ts"
import { metrics } from "./SimulationReport.ts"
import type { Estimate } from "./Statistics.ts"
import { estimate } from "./Statistics.ts"
import type { Count, Tally } from "./Tally.ts"

// -----------------------------------------------------------------------------
// from a run
// -----------------------------------------------------------------------------

const recoveryWindow = 5_000
const recoveryStep = 100
const recoveredShare = 0.95

/**
 * Seconds from the end of the last episode to the first five seconds that bring nearly all that is asked. NaN where nothing
 * went wrong, and where the run does not have five seconds after it.
 */
const recoveryOf = (scenario: Scenario, { load }: Tally, endedAt: number): number => {
  const end = lastEnd(scenario)
  if (Option.isNone(end) || end.value + recoveryWindow > endedAt) return NaN
  for (let from = end.value; from + recoveryWindow <= endedAt; from += recoveryStep) {
    const offered = load.between("offered", from, from + recoveryWindow)
    if (offered > 0 && load.between("succeeded", from, from + recoveryWindow) >= recoveredShare * offered) {
      return (from - end.value) / 1_000
    }
  }
  return Infinity
}

/** What a run is reduced to; `endedAt` in milliseconds. */
export const fromTally = (scenario: Scenario, seed: number, tally: Tally, endedAt: number): Run => {
  const { attempts, calls, hedges, hedgesWon, latency, load, requests, retries, succeeded } = tally
  const failed = Array.from(tally.failures.values()).reduce((sum, n) => sum + n, 0)
  return {
    seed,
    requests,
    calls,
    failures: Object.fromEntries(Array.from(tally.failures).toSorted(([a], [b]) => a < b ? -1 : 1)),
    metrics: {
      p50: latency.quantile(0.5),
      p90: latency.quantile(0.9),
      p99: latency.quantile(0.99),
      p999: latency.quantile(0.999),
      max: latency.count === 0 ? NaN : latency.max,
      mean: latency.mean,
      failed: failed / (succeeded + failed),
      unanswered: tally.unanswered / requests,
      goodput: succeeded / (endedAt - tally.countsFrom) * 1_000,
      attemptsPerCall: attempts / calls,
      retriesPerCall: retries / calls,
      hedgesPerCall: hedges / calls,
      hedgesWon: hedgesWon / hedges,
      recovery: recoveryOf(scenario, tally, endedAt)
    },
    counts: {
      between: (what, from, to) => load.between(what, from, to),
      firstAfter: (what, from) => load.firstAfter(what, from)
    }
  }
}

// -----------------------------------------------------------------------------
// from many runs
// -----------------------------------------------------------------------------

/** Down to one in a million, evenly on a scale of nines. */
const shares = [0.0001, 0.001, 0.01, 0.05, ...Array.from({ length: 61 }, (_, i) => 1 - 10 ** (-i / 10))].filter(
  (share) => share > 0
)

const latencyOf = (tallies: ReadonlyArray<Tally>): Report["latency"] => {
  const all = new Histogram()
  for (const { latency } of tallies) all.add(latency)
  return shares.toSorted((a, b) => a - b).flatMap((share) =>
    all.count * (1 - share) < 1 ? [] : [[share, all.quantile(share)] as const]
  )
}

/** Charts are a few hundred pixels wide. */
const maxPoints = 300

const loadOf = (tallies: ReadonlyArray<Tally>): LoadOverTime => {
  const finest = Math.max(...tallies.map(({ load }) => load.slotMillis))
  const length = Math.max(...tallies.map(({ load }) => load.length * load.slotMillis / finest))
  const slotMillis = finest * Math.max(1, Math.ceil(length / maxPoints))
  const slots = Math.ceil(length * finest / slotMillis)
  const over = (what: Count): ReadonlyArray<number> =>
    Array.from({ length: slots }, (_, slot) => {
      const [from, to] = [slot * slotMillis, (slot + 1) * slotMillis]
      const sum = tallies.reduce((sum, { load }) => sum + load.between(what, from, to), 0)
      return sum / tallies.length / slotMillis * 1_000
    })
  return { slotMillis, offered: over("offered"), succeeded: over("succeeded"), attempts: over("attempts") }
}

/** The report on all seeds. */
export const fromRuns = (
  scenario: Scenario,
  runs: ReadonlyArray<{ readonly run: Run; readonly tally: Tally }>
): Report => {
  const tallies = runs.map(({ tally }) => tally)
  return {
    scenario,
    runs: runs.map(({ run }) => run),
    metrics: Object.fromEntries(
      metrics.map((metric) => [metric, estimate(runs.map(({ run }) => run.metrics[metric]))])
    ) as Record<Metric, Estimate>,
    latency: latencyOf(tallies),
    load: loadOf(tallies)
  }
}
