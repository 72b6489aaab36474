/**
 * Every metric of the library: its name, what it counts, in which unit, by which attributes. Dashboards, alert rules and
 * `docs/metrics.md` are checked against this table, and nothing is reported that does not stand in it.
 *
 * Names and units follow the semantic conventions of OpenTelemetry: seconds for time, `{attempt}` for things that are
 * counted. The metrics of a call have the shape of those of gRPC (proposal A96), under names of their own: where both are
 * exported they do not mix.
 *
 * @internal
 */

/** What one metric is. */
export interface Instrument {
  /** as OpenTelemetry knows it */
  readonly name: string
  readonly type: "counter" | "gauge" | "histogram"
  /** UCUM: `s`, or what is counted in braces */
  readonly unit: string
  readonly description: string
  /** in the order in which values are given; the last ones may be absent */
  readonly attributes: ReadonlyArray<string>
  /** upper bounds of the buckets, for histograms */
  readonly boundaries?: ReadonlyArray<number> | undefined
}

/**
 * In seconds. What OpenTelemetry advises for the duration of HTTP requests, and what lies below and above it: a hedge is
 * worth it between services that answer within a millisecond, and a call to a language model takes half a minute.
 */
export const durations: ReadonlyArray<number> = [
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.075,
  0.1,
  0.25,
  0.5,
  0.75,
  1,
  2.5,
  5,
  7.5,
  10,
  30,
  60
]

/** gRPC proposal A96: no call makes more than 12 attempts. */
export const counts: ReadonlyArray<number> = [1, 2, 3, 4, 5, 10]

export const instruments = {
  callDuration: {
    name: "rego.call.duration",
    type: "histogram",
    unit: "s",
    description: "how long calls took, retries, hedges and waits included",
    attributes: ["key", "result"],
    boundaries: durations
  },
  callAttempts: {
    name: "rego.call.attempts",
    type: "histogram",
    unit: "{attempt}",
    description: "attempts started by a call; calls that started none are not reported",
    attributes: ["key"],
    boundaries: counts
  },
  callRetries: {
    name: "rego.call.retries",
    type: "histogram",
    unit: "{retry}",
    description: "retries made by a call; calls without one are not reported",
    attributes: ["key"],
    boundaries: counts
  },
  callHedges: {
    name: "rego.call.hedges",
    type: "histogram",
    unit: "{hedge}",
    description: "hedges started by a call; calls without one are not reported",
    attributes: ["key"],
    boundaries: counts
  },
  callBackoff: {
    name: "rego.call.backoff",
    type: "histogram",
    unit: "s",
    description: "how long a call waited between its attempts; calls that did not wait are not reported",
    attributes: ["key"],
    boundaries: durations
  },
  callStopped: {
    name: "rego.call.stopped",
    type: "counter",
    unit: "{call}",
    description: "calls that ended without a success, by the reason why no further attempt was made",
    attributes: ["key", "reason"]
  },
  attemptDuration: {
    name: "rego.attempt.duration",
    type: "histogram",
    unit: "s",
    description: "how long attempts took; those that were cut short took at least so long",
    attributes: ["key", "kind", "outcome", "reason"],
    boundaries: durations
  },
  attemptsActive: {
    name: "rego.attempts.active",
    type: "gauge",
    unit: "{attempt}",
    description: "attempts that run at this moment, abandoned ones included",
    attributes: ["key"]
  },
  attemptsAbandoned: {
    name: "rego.attempts.abandoned",
    type: "gauge",
    unit: "{attempt}",
    description: "attempts that were given up and still run at this moment",
    attributes: ["key"]
  },
  hedgeWon: {
    name: "rego.hedge.won",
    type: "counter",
    unit: "{hedge}",
    description: "hedges whose answer was returned",
    attributes: ["key"]
  },
  hedgeWasted: {
    name: "rego.hedge.wasted",
    type: "counter",
    unit: "{hedge}",
    description: "hedges that were started and not needed",
    attributes: ["key"]
  },
  hedgeSaved: {
    name: "rego.hedge.saved",
    type: "counter",
    unit: "s",
    description: "estimated time that callers did not wait because a hedge answered first",
    attributes: ["key"]
  },
  budgetDenied: {
    name: "rego.budget.denied",
    type: "counter",
    unit: "{attempt}",
    description: "extra attempts that were refused; without a budget where a rule refused before any budget was asked",
    attributes: ["key", "kind", "reason", "budget"]
  },
  budgetAvailable: {
    name: "rego.budget.available",
    type: "gauge",
    unit: "{attempt}",
    description: "what the budget of a key holds now: extra attempts, or whatever its kind counts",
    attributes: ["key", "budget"]
  },
  policyInfo: {
    name: "rego.policy.info",
    type: "gauge",
    unit: "{policy}",
    description: "1 for the policies in force, with their revision and how current they are",
    attributes: ["state", "revision"]
  },
  policyAge: {
    name: "rego.policy.age",
    type: "gauge",
    unit: "s",
    description: "time since the source last confirmed the policies in force",
    attributes: ["source"]
  },
  policyRejected: {
    name: "rego.policy.rejected",
    type: "counter",
    unit: "{document}",
    description: "documents that were refused",
    attributes: ["source"]
  },
  observerDropped: {
    name: "rego.observer.dropped",
    type: "counter",
    unit: "{event}",
    description: "events and ends of calls that an observer was too slow for",
    attributes: ["observer"]
  }
} as const satisfies Readonly<Record<string, Instrument>>

export type Name = keyof typeof instruments

export const table: ReadonlyArray<Instrument> = Object.values(instruments)

// -----------------------------------------------------------------------------
// names for Prometheus
// -----------------------------------------------------------------------------

const suffix = ({ type, unit }: Instrument): string =>
  `${unit === "s" ? "_seconds" : ""}${type === "counter" ? "_total" : ""}`

const prometheusNames: ReadonlyMap<string, string> = new Map(
  table.map((instrument) => [instrument.name, `${instrument.name.replaceAll(".", "_")}${suffix(instrument)}`])
)

/** The name that a collector of OpenTelemetry gives a metric when it passes it on to Prometheus. Other names stay. */
export const prometheusName = (name: string): string => prometheusNames.get(name) ?? name
