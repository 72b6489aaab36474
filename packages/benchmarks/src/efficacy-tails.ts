/** Items 1 and 2: hedges against long tails. */
import { Hedge } from "@rego/core"
import type { Distribution } from "@rego/testing"
import { Scenario } from "@rego/testing"
import type { Column, Item, Reading } from "./efficacy-model.ts"
import { millis, percent, simulated } from "./efficacy-model.ts"
import { hedged, single } from "./efficacy-policies.ts"

export const longTailService = (factor = 1): Distribution.Input => ({
  type: "mixture",
  of: [
    { weight: 95, times: { type: "lognormal", mean: 5 * factor, sd: 2 * factor } },
    { weight: 5, times: { type: "lognormal", mean: 50 * factor, sd: 20 * factor } }
  ]
})

const warmUp = 1_000

const longTail = Scenario.make({
  name: "long tail",
  clients: { type: "closed", concurrency: 20 },
  server: { service: longTailService() },
  requests: 50_000 + warmUp,
  warmUp
})

const atRate = (rate: number, requests: number): Scenario.Scenario =>
  Scenario.make({
    name: "long tail",
    clients: { type: "open", rate },
    server: { service: longTailService() },
    requests: requests + warmUp,
    warmUp
  })

const read: Reading = ({ metrics }) => ({
  p50: metrics.p50,
  p99: metrics.p99,
  p999: metrics.p999,
  extra: metrics.attemptsPerCall - 1
})

export const tailColumns: ReadonlyArray<Column> = [
  { name: "p50", from: "p50", format: millis },
  { name: "p99", from: "p99", format: millis },
  { name: "p99.9", from: "p999", format: millis },
  { name: "extra load", from: "extra", format: percent }
]

export const noHedge = { name: "no hedge", policies: single }
export const oneHedge = { name: "(a) quantile(0.928), 1 hedge", policies: hedged(Hedge.quantile(0.928), 1) }
export const twoHedges = { name: "(b) quantile(0.93), 2 hedges", policies: hedged(Hedge.quantile(0.93), 2) }
const at = (rate: number): string => `(d) maxExtraLoad(0.07), ${rate.toLocaleString("en-US")} calls/s`

const d = (rate: number, requests: number) =>
  simulated(at(rate), atRate(rate, requests), hedged(Hedge.maxExtraLoad(0.07), 1), read)

export const longTailItem: Item = {
  number: 1,
  title: "Long tail",
  about:
    "Times are lognormal with a mean of 5 ms and a standard deviation of 2 ms; one attempt in 20 takes ten times as long. " +
    "50,000 requests after 1,000 of warm-up, 20 at a time; in (d) at a fixed rate, at 5 calls/s 20,000. The default budget. Published for this workload: a static " +
    "10 ms has p99 17.4, p99.9 46.5 at 7.4 % extra load, an adaptive one 17.0, 59.4 at 8.9 %.",
  columns: tailColumns,
  goals: [
    { row: oneHedge.name, column: "p99", atMost: 17 },
    { row: oneHedge.name, column: "p99.9", atMost: 46.5 },
    { row: oneHedge.name, column: "extra load", atMost: 0.074 },
    { row: twoHedges.name, column: "p99", atMost: 17.3 },
    { row: twoHedges.name, column: "p99.9", atMost: 27 },
    { row: twoHedges.name, column: "extra load", atMost: 0.074 },
    { row: at(5), column: "p99", atMost: 23 },
    { row: at(5), column: "extra load", atMost: 0.075 },
    { row: at(50), column: "p99", atMost: 18 },
    { row: at(50), column: "extra load", atMost: 0.075 },
    { row: at(3_000), column: "p99", atMost: 17.3 },
    { row: at(3_000), column: "extra load", atMost: 0.075 }
  ],
  rows: [
    simulated(noHedge.name, longTail, noHedge.policies, read),
    simulated("static 10 ms, 1 hedge", longTail, hedged(Hedge.after("10 millis"), 1), read),
    simulated(oneHedge.name, longTail, oneHedge.policies, read),
    simulated(twoHedges.name, longTail, twoHedges.policies, read),
    simulated("(c) quantile(0.95), 1 hedge", longTail, hedged(Hedge.quantile(0.95), 1), read),
    d(5, 20_000),
    d(50, 50_000),
    d(3_000, 50_000)
  ]
}

// -----------------------------------------------------------------------------
// fan-out
// -----------------------------------------------------------------------------

/** The body, lognormal 3 ± 1.2 ms cut at 10 ms, in hundredths; above it 2 % in two pieces of a Pareto distribution. */
const bodyPoints = 98
const tail = { from: 0.02, slope: 0.956, knee: 80, beyond: 1.803 }
const aboveKnee = tail.from * (10 / tail.knee) ** tail.slope

/** Where one read in a thousand fan-outs of 100 is: the share of single reads above p99.9 of the fan-out. */
const unhedgedShare = 1 - 0.999 ** (1 / 100)
export const unhedgedP999 = tail.knee * (aboveKnee / unhedgedShare) ** (1 / tail.beyond)

const body = (q: number): number => {
  // logistic in the logarithm, which is close to the lognormal and has a quantile in one line
  const scale = 0.385 / 1.7
  const cut = 1 / (1 + Math.exp(-(Math.log(10) - 1.024) / scale))
  const u = Math.max(1e-4, q * cut)
  return Math.exp(1.024 + scale * Math.log(u / (1 - u)))
}

const farthest = 1e-9

const tailAtScale: Distribution.Input = {
  type: "quantiles",
  points: [
    ...Array.from({ length: bodyPoints }, (_, i) => ({ q: i / 100, at: body(i / bodyPoints) })),
    { q: 1 - tail.from, at: 10 },
    { q: 1 - aboveKnee, at: tail.knee },
    { q: 1 - farthest, at: tail.knee * (aboveKnee / farthest) ** (1 / tail.beyond) }
  ]
}

const fanOuts = 1_500
/** 1,000 calls */
const fanWarmUp = 10

const fanOut = Scenario.make({
  name: "fan-out",
  clients: { type: "open", rate: 50 },
  fanOut: 100,
  server: { service: tailAtScale },
  requests: fanOuts + fanWarmUp,
  warmUp: fanWarmUp
})

const readFanOut: Reading = (run) => ({ ...read(run), cut: 1 - run.metrics.p999 / unhedgedP999 })

const q98 = "quantile(0.98), 1 hedge"
const q98two = "quantile(0.98), 2 hedges"
const maxExtra = "maxExtraLoad(0.02), 1 hedge"

export const fanOutItem: Item = {
  number: 2,
  title: "Tail at Scale",
  about:
    "A request of 100 reads at once, done when all are. Reads as in the paper by Dean and Barroso, as far as its figures " +
    `say: 2 % take longer than 10 ms, and p99.9 of a request is ${
      Math.round(unhedgedP999).toLocaleString("en-US")
    } ms without hedges (computed, not sampled). 1,500 requests at 50 per second, after 1,000 calls of warm-up.`,
  columns: [...tailColumns, { name: "less than without", from: "cut", format: percent, bounds: false }],
  goals: [
    { row: q98, column: "p99.9", atMost: 90 },
    { row: q98, column: "extra load", atMost: 0.021 },
    { row: q98two, column: "p99.9", atMost: 30 },
    { row: q98two, column: "less than without", atLeast: 0.98 },
    { row: q98two, column: "extra load", atMost: 0.021 },
    { row: maxExtra, column: "less than without", atLeast: 0.95 }
  ],
  rows: [
    simulated(q98, fanOut, hedged(Hedge.quantile(0.98), 1), readFanOut),
    simulated(q98two, fanOut, hedged(Hedge.quantile(0.98), 2), readFanOut),
    simulated(maxExtra, fanOut, hedged(Hedge.maxExtraLoad(0.02), 1), readFanOut)
  ]
}
