/** Items 3, 7, 8 and 9: what is sent while nobody answers, and what is saved. */
import type { Policy } from "@rego/core"
import { Budget, Rego } from "@rego/core"
import * as BudgetShared from "@rego/core/BudgetShared"
import type { Simulator } from "@rego/testing"
import { Scenario } from "@rego/testing"
import { Layer } from "effect"
import * as RateLimiter from "effect/persistence/RateLimiter"
import type { Column, Goal, Item, Reading, Row } from "./efficacy-model.ts"
import { percent, plainNumber, seconds, simulated, wholePercent } from "./efficacy-model.ts"
import { naive, ours, peers, policy, retrying, withBudget } from "./efficacy-policies.ts"

const service = { type: "lognormal", mean: "20 millis", sd: "10 millis" } as const

const second = 1_000
const outageAt = 60 * second

/** attempts for each call that began within so many seconds of the outage */
const perCall = (length: number): Reading => ({ counts }) => ({
  [`first${length}`]: counts.between("attempts", outageAt, outageAt + length * second) /
    counts.between("offered", outageAt, outageAt + length * second)
})

// -----------------------------------------------------------------------------
// 3
// -----------------------------------------------------------------------------

const outageLength = 600 * second
const outageEnd = outageAt + outageLength

/** Afterwards half of the attempts still fail, so that there is something to rescue. */
const totalOutage = (rate: number): Scenario.Scenario =>
  Scenario.make({
    name: "total outage",
    clients: { type: "open", rate, arrivals: "even" },
    server: { service },
    episodes: [
      { type: "down", at: outageAt, for: outageLength },
      { type: "failing", rate: 0.5, at: outageEnd, for: "60 seconds" }
    ],
    duration: outageEnd + 60 * second,
    resolution: 100
  })

const readOutage: Reading = (run) => ({
  ...perCall(10)(run),
  ...perCall(60)(run),
  ...perCall(600)(run),
  rescue: ((run.counts.firstAfter("rescued", outageEnd) ?? Infinity) - outageEnd) / second
})

const rates = [100, 1]
const named = (name: string, rate: number): string => `${name}, ${rate.toLocaleString("en-US")} calls/s`
const oursAt = (rate: number): string => named("default budget", rate)

const outageGoals = (rate: number, limits: readonly [number, number, number, number]): ReadonlyArray<Goal> =>
  ["first 10 s", "60 s", "600 s", "first rescue after"].map((column, i) => ({
    row: oursAt(rate),
    column,
    atMost: limits[i]!
  }))

export const outageItem: Item = {
  number: 3,
  title: "Total outage",
  about:
    "Nobody is there for 600 seconds, after a minute in which all is well: attempts for each call. Afterwards half of the " +
    "attempts fail, and the first call that a retry saves is waited for. Three attempts.",
  columns: [
    { name: "first 10 s", from: "first10", format: plainNumber },
    { name: "60 s", from: "first60", format: plainNumber },
    { name: "600 s", from: "first600", format: plainNumber },
    { name: "first rescue after", from: "rescue", format: seconds }
  ],
  goals: [
    ...outageGoals(100, [1.11, 1.02, 1.005, 1]),
    ...outageGoals(1, [2.1, 1.3, 1.15, 12])
  ],
  rows: [
    ...rates.map((rate) => simulated(oursAt(rate), totalOutage(rate), ours, readOutage)),
    ...peers.flatMap(([name, policies]) =>
      rates.map((rate) => simulated(named(name, rate), totalOutage(rate), policies, readOutage))
    )
  ]
}

// -----------------------------------------------------------------------------
// 7
// -----------------------------------------------------------------------------

const nested: Simulator.Operation = (send) =>
  send.pipe(
    Rego.resilient("store.Read", { idempotent: true }),
    Rego.resilient("service.Get", { idempotent: true }),
    Rego.resilient("edge.Show", { idempotent: true })
  )

const nestedOutage = Scenario.make({
  name: "nested",
  clients: { type: "open", rate: 100, arrivals: "even" },
  server: { service },
  episodes: [{ type: "down", at: outageAt, for: "60 seconds" }],
  duration: outageAt + 61 * second
})

const patient: Policy.Input = { ...retrying, timeout: { perAttempt: "10 seconds" } }
const nestedDefault = "default budget"
const nestedUnlimited = "\"unlimited\""
const nestedAllowed = "\"unlimited\", and `retry.nested: \"allow\"`"

export const nestedItem: Item = {
  number: 7,
  title: "Nested calls",
  about:
    "A call inside a call inside a call, each with three attempts, 100 per second, while nobody is there for 60 s.",
  columns: [{ name: "attempts at the bottom for each call", from: "first60", format: plainNumber }],
  goals: [
    { row: nestedDefault, column: "attempts at the bottom for each call", atMost: 1.05 },
    { row: nestedUnlimited, column: "attempts at the bottom for each call", atMost: 3.01 }
  ],
  rows: [
    simulated(nestedDefault, nestedOutage, policy(patient), perCall(60), { operation: nested }),
    simulated(nestedUnlimited, nestedOutage, policy({ ...patient, budget: "unlimited" }), perCall(60), {
      operation: nested
    }),
    simulated(
      nestedAllowed,
      nestedOutage,
      policy({ ...patient, retry: { maxAttempts: 3, nested: "allow" }, budget: "unlimited" }),
      perCall(60),
      { operation: nested }
    )
  ]
}

// -----------------------------------------------------------------------------
// 8
// -----------------------------------------------------------------------------

const throttledOutage = 300 * second
const throttledAt = 15 * second
const throttledEnd = throttledAt + throttledOutage
const throttledAfter = 75 * second

const throttleScenario = Scenario.make({
  name: "throttle",
  clients: { type: "open", rate: 1_000 },
  server: { service },
  episodes: [{ type: "down", at: throttledAt, for: throttledOutage }],
  duration: throttledEnd + throttledAfter,
  resolution: second
})

const window = 5 * second

/** seconds until 5 seconds have 95 % of what is asked admitted */
const readmitted: Reading = ({ counts }) => {
  const probes = counts.between("attempts", throttledAt + 60 * second, throttledEnd) /
    counts.between("offered", throttledAt + 60 * second, throttledEnd)
  for (let from = throttledEnd; from + window <= throttledEnd + throttledAfter; from += second) {
    const admitted = counts.between("attempts", from, from + window) / counts.between("offered", from, from + window)
    if (admitted >= 0.95) return { probes, admitted: (from - throttledEnd) / second }
  }
  return { probes, admitted: Infinity }
}

const throttle = withBudget(Budget.adaptiveThrottle(), { timeout: { overall: "1 second" } })

const throttleDefault = "adaptiveThrottle()"

export const throttleItem: Item = {
  number: 8,
  title: "adaptiveThrottle",
  about:
    "1,000 calls per second; nobody is there for 5 minutes. Probes: the share of calls that is sent meanwhile, from " +
    "the second minute on.",
  columns: [
    { name: "probes", from: "probes", format: wholePercent },
    { name: "95 % admitted after", from: "admitted", format: seconds }
  ],
  goals: [
    { row: throttleDefault, column: "probes", atLeast: 0.09 },
    { row: throttleDefault, column: "95 % admitted after", atMost: 60 }
  ],
  rows: [simulated(throttleDefault, throttleScenario, throttle, readmitted)]
}

// -----------------------------------------------------------------------------
// 9
// -----------------------------------------------------------------------------

const smallRates = [0.1, 1, 10, 100, 1_000]

/** 2,000 calls, and 20 seconds at least */
const lengthOf = (rate: number): number => Math.max(20, 2_000 / rate) * second

const failing = (rate: number, share: number): Scenario.Scenario =>
  Scenario.make({
    name: "small clients",
    clients: { type: "open", rate },
    server: { service, failureRate: share },
    duration: lengthOf(rate)
  })

const readRescued: Reading = ({ counts, metrics }) => {
  const [rescued, failed] = (["rescued", "failed"] as const).map((what) => counts.between(what, 0, Infinity))
  return { attempts: metrics.attemptsPerCall, rescued: rescued! / (rescued! + failed!) }
}

const short = (processes: number, rate: number, processLifetime?: string): Scenario.Scenario =>
  Scenario.make({
    name: "short-lived",
    clients: { type: "open", rate, processes, processLifetime: processLifetime as never },
    server: { service },
    episodes: [{ type: "down", at: outageAt, for: "60 seconds" }],
    duration: outageAt + 60 * second
  })

const readShort: Reading = (run) => ({ attempts: perCall(60)(run)["first60"]! })

/** What a fleet of 270 calls per second is granted together: a tenth. */
const fleetShare = BudgetShared.make({ limit: 27, window: "1 second" })

const fleet = withBudget(Budget.all(Budget.ratio(), fleetShare))

const shared = RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))

const smallRows: ReadonlyArray<Row> = [0.01, 0.05, 0.2].flatMap((share) =>
  smallRates.map((rate) =>
    simulated(`${share * 100} % fail, ${rate.toLocaleString("en-US")} calls/s`, failing(rate, share), ours, readRescued)
  )
)

const columns: ReadonlyArray<Column> = [
  { name: "attempts for each call", from: "attempts", format: plainNumber },
  { name: "of calls that failed at first, rescued", from: "rescued", format: percent }
]

export const smallItem: Item = {
  number: 9,
  title: "Small and short-lived clients",
  about:
    "The default budget is for each key and process. Failures of 1, 5 and 20 % at several rates; then 60 s in which nobody " +
    "is there, for one process of 1 call/s, one that is replaced every 10 s, and 270 processes of 1 call/s each, with and " +
    "without a budget that they share (27 extra attempts per second together, by the memory store).",
  columns,
  goals: [],
  rows: [
    ...smallRows,
    simulated("outage, 1 process of 1 call/s", short(1, 1), ours, readShort),
    simulated("outage, 1 call/s, a new process every 10 s", short(1, 1, "10 seconds"), ours, readShort),
    simulated("outage, 270 processes of 1 call/s", short(270, 270), ours, readShort),
    simulated("outage, 270 processes of 1 call/s, shared budget too", short(270, 270), fleet, readShort, { shared }),
    simulated("outage, 270 processes that live 10 s", short(270, 270, "10 seconds"), ours, readShort),
    simulated(
      "outage, 270 processes that live 10 s, shared budget too",
      short(270, 270, "10 seconds"),
      fleet,
      readShort,
      { shared }
    ),
    simulated("outage, 270 processes of 1 call/s, naive", short(270, 270), naive, readShort)
  ]
}
