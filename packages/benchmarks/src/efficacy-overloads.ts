/** Items 4, 5 and 6: servers that have too little room, or become slow. */
import { Budget, Hedge } from "@rego/core"
import { Scenario } from "@rego/testing"
import type { Goal, Item, Reading, Row } from "./efficacy-model.ts"
import { atMostSeconds, count, finite, percent, perSecond, seconds, simulated, wholePercent } from "./efficacy-model.ts"
import { naive, noRetry, ours, policy, retrying, withBudget } from "./efficacy-policies.ts"

const second = 1_000

// -----------------------------------------------------------------------------
// 4
// -----------------------------------------------------------------------------

const service = { type: "exponential", mean: "100 millis" } as const
const freezeAt = 20 * second

const frozen = (
  rate: number,
  processes: number,
  cancellation: "honoured" | "before-work" | "ignored",
  after: number
): Scenario.Scenario =>
  Scenario.make({
    name: "metastable",
    clients: { type: "open", rate, processes },
    server: { concurrency: 30, service, cancellation },
    episodes: [{ type: "freeze", at: freezeAt, for: "10 seconds" }],
    duration: freezeAt + (10 + after) * second,
    resolution: 100
  })

/** seconds for which a run goes on after the freeze; a server with a backlog of what nobody waits for takes longer */
const afterwards = 40
const backlogged = 160

const recovery: Reading = ({ metrics }) => ({ recovery: metrics.recovery })

const processCounts = [1, 10, 100, 270]
const oursOf = (rate: number, processes: number): string =>
  `default budget, ${rate} calls/s, ${processes} process${processes === 1 ? "" : "es"}`
const ignored = (name: string): string => `${name}, cancellation ignored`

const rowsAt = (rate: number, counts: ReadonlyArray<number>): ReadonlyArray<Row> =>
  counts.map((processes) =>
    simulated(oursOf(rate, processes), frozen(rate, processes, "before-work", afterwards), ours, recovery)
  )

const metastableGoals: ReadonlyArray<Goal> = processCounts.flatMap((processes) => [
  { row: oursOf(270, processes), column: "within 10 s, of 20 seeds", atLeast: 16 },
  { row: oursOf(270, processes), column: "within 30 s, of 20 seeds", atLeast: 20 }
])

export const metastableItem: Item = {
  number: 4,
  title: "Metastable failure",
  note:
    "Recovery is the first window that is good, as the goal has it. At 280 calls/s, 93 % of what the server can do, chance " +
    "fills its queue now and then with nobody's help: a few seeds take long whatever the policy.",
  about:
    "A server of 30 places with exponential times of 100 ms on average (300 calls/s) stands still for 10 s; its queue has no " +
    "end. It drops what nobody waits for when its turn comes, and finishes what it has begun. Open loop, three attempts of a " +
    "second each. Time from the end of the freeze until 5 s bring 95 % of what is asked. A run ends " +
    `${afterwards} s after the freeze, and ${backlogged} s after it where cancellation is ignored: \`never\` is not within that. ` +
    "A server that ignores cancellation works off its backlog whatever the policy: the goal is 1.3 × the time without retries. One that also stops in the middle " +
    "of its work comes back from anything at this load: no work is lost, and exponential times have no memory.",
  columns: [
    { name: "recovery", from: "recovery", format: seconds },
    { name: "within 10 s, of 20 seeds", from: "recovery", reduce: atMostSeconds(10), format: count },
    { name: "within 30 s, of 20 seeds", from: "recovery", reduce: atMostSeconds(30), format: count },
    { name: "within the run, of 20 seeds", from: "recovery", reduce: finite, format: count }
  ],
  goals: [
    ...metastableGoals,
    { row: "naive, 270 calls/s, 1 process", column: "within the run, of 20 seeds", atMost: 0 },
    {
      row: ignored(oursOf(270, 1)),
      column: "recovery",
      atMost: 1.3,
      timesRow: ignored("no retry, 270 calls/s")
    }
  ],
  rows: [
    simulated("no retry, 270 calls/s", frozen(270, 1, "before-work", afterwards), noRetry, recovery),
    ...rowsAt(270, processCounts),
    ...rowsAt(280, [1, 270]),
    simulated("naive, 270 calls/s, 1 process", frozen(270, 1, "before-work", afterwards), naive, recovery),
    simulated(
      "naive, 270 calls/s, cancellation honoured throughout",
      frozen(270, 1, "honoured", afterwards),
      naive,
      recovery
    ),
    simulated(ignored("no retry, 270 calls/s"), frozen(270, 1, "ignored", backlogged), noRetry, recovery),
    simulated(ignored(oursOf(270, 1)), frozen(270, 1, "ignored", backlogged), ours, recovery),
    simulated(ignored("naive, 270 calls/s"), frozen(270, 1, "ignored", backlogged), naive, recovery)
  ]
}

// -----------------------------------------------------------------------------
// 5
// -----------------------------------------------------------------------------

const overloaded = (rate: number): Scenario.Scenario =>
  Scenario.make({
    name: "overload",
    clients: { type: "open", rate },
    server: { concurrency: 30, queue: { limit: 30 }, service },
    duration: "2 minutes",
    warmUp: 1_000
  })

const hedgedRetries = policy({ ...retrying, hedge: { trigger: Hedge.quantile(0.95), maxHedges: 1 } })

const readLoad: Reading = ({ metrics }) => ({
  goodput: metrics.goodput,
  failed: metrics.failed,
  hedges: metrics.hedgesPerCall
})

const without = "120 %, no hedging"
const withHedges = "120 %, hedge at quantile(0.95)"

export const overloadItem: Item = {
  number: 5,
  title: "Overload",
  note:
    "What is shed counts as failing: the hedges of the key are denied as `unhealthy` while more than 5 % of its attempts fail.",
  about:
    "360 calls per second for a server of 300, with a queue of 30 and what is more shed. Three attempts of a second " +
    "each, under the default budget.",
  columns: [
    { name: "goodput", from: "goodput", format: perSecond },
    { name: "failed", from: "failed", format: wholePercent },
    { name: "hedges for each call", from: "hedges", format: percent }
  ],
  goals: [
    { row: withHedges, column: "goodput", atLeast: 0.99, timesRow: without },
    { row: withHedges, column: "hedges for each call", atMost: 0.001 }
  ],
  rows: [
    simulated(without, overloaded(360), ours, readLoad),
    simulated(withHedges, overloaded(360), hedgedRetries, readLoad),
    simulated("90 %, no hedging", overloaded(270), ours, readLoad),
    simulated("90 %, hedge at quantile(0.95)", overloaded(270), hedgedRetries, readLoad)
  ]
}

// -----------------------------------------------------------------------------
// 6
// -----------------------------------------------------------------------------

const slowAt = 60 * second
const slowFor = 60 * second

const slow = Scenario.make({
  name: "slow and failing",
  clients: { type: "open", rate: 200 },
  server: { service: { type: "lognormal", mean: 20, sd: 8 }, failureRate: 0.02 },
  episodes: [{ type: "slow", factor: 3, at: slowAt, for: slowFor }],
  duration: slowAt + slowFor
})

const readSlow: Reading = ({ counts }) => {
  const within = (what: "failed" | "offered" | "hedges") => counts.between(what, slowAt, slowAt + slowFor)
  return { failed: within("failed") / within("offered"), hedges: within("hedges") / within("offered") }
}

const live = "quantile(0.95)"
const fixed = "after(\"40 millis\")"

const armed = (trigger: Hedge.Trigger) => policy({ ...retrying, hedge: { trigger } })

const keepingMore = withBudget(Budget.ratio({ keepForRetries: 0.3 }), {
  ...retrying,
  hedge: { trigger: Hedge.after("40 millis") }
})

export const slowItem: Item = {
  number: 6,
  title: "Slow, with hedges armed",
  note:
    "The fixed delay is close to the goal: nearly every call wants a hedge, and the share of the budget that is kept for " +
    "retries is just what 2 % of failures need. Keeping 30 % leaves no errors, for one hedge less in 100 calls.",
  about: "For a minute everything takes three times as long, while 2 % of the attempts fail as before. 200 calls per " +
    "second; 20 ms on average. Hedges must not use up the retries that hide the failures.",
  columns: [
    { name: "callers' errors", from: "failed", format: percent },
    { name: "hedges for each call", from: "hedges", format: percent }
  ],
  goals: [live, fixed].map((row) => ({ row, column: "callers' errors", atMost: 0.003 })),
  rows: [
    simulated("no hedging", slow, ours, readSlow),
    simulated(live, slow, armed(Hedge.quantile(0.95)), readSlow),
    simulated(fixed, slow, armed(Hedge.after("40 millis")), readSlow),
    simulated(`${fixed}, keepForRetries: 0.3`, slow, keepingMore, readSlow)
  ]
}
