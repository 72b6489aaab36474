/**
 * Parts of a call that decide, as plain calls: what a budget, a record of latency and the reading of a quantile cost.
 */
import { Budget, Latency, Outcome, PolicyKey } from "@rego/core"
import { Effect } from "effect"
import type { Case } from "./cases.ts"

export const parts = {
  empty: "parts/empty call",
  granted: "parts/budget decision, granted and given back",
  denied: "parts/budget decision, denied",
  record: "parts/latency record",
  read: "parts/quantile read, nothing new",
  recordAndRead: "parts/latency record and quantile read"
} as const

/** One loop for all, so that none of them is inlined into a loop of its own. Time goes on by a microsecond a call. */
const loop = (calls: number, call: (now: number) => number): number => {
  let sum = 0
  for (let i = 0; i < calls; i++) sum += call(i / 1_000)
  return sum
}

/** Keeps results from being seen as unused. */
let sink = 0

const part = (id: string, make: () => (now: number) => number): Case => ({
  id,
  run: async (_, calls) => {
    sink += loop(calls, make())
  }
})

const key = PolicyKey.make("bench.Parts")
const retry = { retry: 1, hedge: 0 }

const request = (now: number): Budget.Request => ({
  key,
  kind: "retry",
  cost: 1,
  attempt: retry,
  now,
  random: Math.random
})

interface Prompt extends Budget.Budget {
  readonly tryAcquire: (request: Budget.Request) => Budget.Decision
}

const makeBudget = (): Prompt => {
  const budget = Effect.runSync(Effect.scoped(Budget.ratio()))
  if (Effect.isEffect(budget.tryAcquire(request(0)))) throw new Error("the default budget decides at once")
  return budget as Prompt
}

/** Successes that pay for more than one grant at a time. */
const deposits = 1_000

const granted = () => {
  const budget = makeBudget()
  for (let i = 0; i < deposits; i++) budget.onOutcome?.(Outcome.success, 0)
  return (now: number): number => {
    const decision = budget.tryAcquire(request(now))
    if (decision._tag === "Denied") throw new Error(`denied: ${decision.reason}`)
    decision.permit.settle("unused")
    return 1
  }
}

const denied = () => {
  const budget = makeBudget()
  while (budget.tryAcquire(request(0))._tag === "Granted") continue
  return (now: number): number => budget.tryAcquire(request(now))._tag === "Denied" ? 1 : 0
}

/** From a fifth of a millisecond to half a second, most of them short. */
const durations = Float64Array.from({ length: 1_024 }, (_, i) => 0.2 * 10 ** (((i * 389) % 1_024) / 300))

const filled = (): Latency.Latency => {
  const latency = Latency.makeUnsafe()
  for (const millis of durations) latency.record(millis, true, 0)
  return latency
}

const durationAt = (now: number): number => durations[(now * 1_000) & 1_023]!

const record = () => {
  const latency = filled()
  return (now: number): number => {
    latency.record(durationAt(now), true, now)
    return 1
  }
}

const read = () => {
  const latency = filled()
  return (now: number): number => latency.quantileMillis(0.95, now)!
}

const recordAndRead = () => {
  const latency = filled()
  return (now: number): number => {
    latency.record(durationAt(now), true, now)
    return latency.quantileMillis(0.95, now)!
  }
}

export const partCases: ReadonlyArray<Case> = [
  part(parts.empty, () => () => 1),
  part(parts.granted, granted),
  part(parts.denied, denied),
  part(parts.record, record),
  part(parts.read, read),
  part(parts.recordAndRead, recordAndRead)
]

/**
 * What was computed, so that nobody can leave it out.
 *
 * @public
 */
export const computed = (): number => sink
