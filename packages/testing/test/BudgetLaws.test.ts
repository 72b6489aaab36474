import { describe } from "@effect/vitest"
import type { Outcome } from "@rego/core"
import { Budget } from "@rego/core"
import { BudgetLaws } from "@rego/testing"
import { Effect } from "effect"
import { holds, notices, seed } from "./support.ts"

const answers = "answers Granted or Denied with a reason, whatever happens, and its state is a number"
const settledTwice = "takes a permit that is settled twice for settled once"
const unusedMakesRoom = "grants again what was settled unused, where it says so"
const usedIsSpent = "does not grant at once what was used, unless it bounds what exists at the same time"
const timeGoesBack = "never grants more when time goes back"
const layersShareNothing = "never sees what happened to another one of the same recipe"
const costsCount = "takes for a cost of 5 what it takes for five of 1"
const oneAllowance = "grants hedges and retries together no more than retries alone"
const atomic = "grants no more to those who ask at the same time: check and take are one step"

type Broken = readonly [what: string, breaks: ReadonlyArray<string>, make: Budget.Make, options?: BudgetLaws.Options]

/** A bucket of 10 that never refills, with one thing changed. */
const bucket = (
  change: (parts: { tokens: number; ends: number }) => Partial<Budget.Budget>,
  options: {
    readonly settle?: (parts: { tokens: number }, cost: number, use: "used" | "unused") => void
    readonly cost?: (request: Budget.Request) => number
    readonly parts?: { tokens: number; ends: number }
  } = {}
): Budget.Make =>
  Effect.sync(() => {
    const parts = options.parts ?? { tokens: 10, ends: 0 }
    const costOf = options.cost ?? ((request) => request.cost)
    return {
      tryAcquire: (request) => {
        const cost = costOf(request)
        if (parts.tokens < cost) return { _tag: "Denied", reason: "empty" }
        parts.tokens -= cost
        let settled = false
        const settle = options.settle ?? ((_, __, use) => {
          if (!settled && use === "unused") parts.tokens += cost
          settled = true
        })
        return { _tag: "Granted", permit: { settle: (use) => settle(parts, cost, use) } }
      },
      state: Effect.sync(() => ({ balance: parts.tokens })),
      ...change(parts)
    }
  })

const refundsAlways = (parts: { tokens: number }, cost: number, use: "used" | "unused") => {
  if (use === "unused") parts.tokens += cost
}

const module = { tokens: 1_000, ends: 0 }

const broken: ReadonlyArray<Broken> = [
  ["gives no reason", [answers], bucket(() => ({ tryAcquire: () => ({ _tag: "Denied", reason: "" }) }))],
  [
    "throws when it hears of an outcome",
    [answers],
    bucket(() => ({
      onOutcome: (outcome: Outcome.Outcome) => {
        if (outcome._tag === "Abort") throw new Error("abort")
      }
    }))
  ],
  ["has no number for its state", [answers], bucket(() => ({ state: Effect.succeed({ balance: NaN }) }))],
  ["dies when it is asked for its state", [answers], bucket(() => ({ state: Effect.die("state") }))],
  ["refunds each time a permit is settled", [settledTwice], bucket(() => ({}), { settle: refundsAlways })],
  ["forgets to give back", [unusedMakesRoom], bucket(() => ({}), { settle: () => {} })],
  [
    "gives back what was used",
    [usedIsSpent],
    bucket(() => ({}), {
      settle: (parts, cost) => {
        parts.tokens += cost
      }
    })
  ],
  [
    "takes a clock that goes back for time that passed",
    [timeGoesBack],
    Effect.sync((): Budget.Budget => {
      let tokens = 10
      let last: number | undefined
      return {
        tryAcquire: ({ now }) => {
          if (last !== undefined) tokens = Math.min(10, tokens + Math.abs(now - last))
          last = now
          if (tokens < 1) return { _tag: "Denied", reason: "empty" }
          tokens--
          return { _tag: "Granted", permit: { settle: () => {} } }
        },
        state: Effect.sync(() => ({ balance: tokens }))
      }
    }),
    { gives: "never", costs: false }
  ],
  ["keeps its state in the module", [layersShareNothing], bucket(() => ({}), { parts: module })],
  ["charges 1 for any cost", [costsCount], bucket(() => ({}), { cost: () => 1 })],
  [
    "charges twice for what costs more than 1",
    [costsCount],
    bucket(() => ({}), { cost: ({ cost }) => cost === 1 ? 1 : 2 * cost })
  ],
  [
    "has an allowance for hedges beside that for retries",
    [oneAllowance],
    Effect.map(
      Effect.all([bucket(() => ({})), bucket(() => ({}))]),
      ([retries, hedges]): Budget.Budget => ({
        tryAcquire: (request) => (request.kind === "hedge" ? hedges : retries).tryAcquire(request),
        state: retries.state
      })
    )
  ],
  [
    "checks first and takes later",
    [atomic],
    Effect.sync((): Budget.Budget => {
      let tokens = 10
      return {
        tryAcquire: ({ cost }) =>
          Effect.suspend((): Effect.Effect<Budget.Decision> => {
            if (tokens < cost) return Effect.succeed({ _tag: "Denied", reason: "empty" })
            return Effect.map(Effect.yieldNow, () => {
              tokens -= cost
              let settled = false
              return {
                _tag: "Granted",
                permit: {
                  settle: (use) => {
                    if (!settled && use === "unused") tokens += cost
                    settled = true
                  }
                }
              }
            })
          }),
        state: Effect.sync(() => ({ balance: tokens }))
      }
    })
  ]
]

const suiteOf = (make: Budget.Make, options: BudgetLaws.Options = {}) => BudgetLaws.make(make, { seed, ...options })

describe("BudgetLaws", () => {
  holds("ratio", suiteOf(Budget.ratio()))
  holds("ratio of calls, without a reserve", suiteOf(Budget.ratio({ of: "calls", reserve: { burst: 0 } })))
  holds("unlimited", suiteOf(Budget.unlimited))
  holds("none", suiteOf(Budget.none))
  holds("a bucket of one's own", suiteOf(bucket(() => ({}))))

  notices(
    BudgetLaws.make(Budget.none),
    broken.map(([what, breaks, make, options]) => ({ what, breaks, suite: suiteOf(make, options) }))
  )
})
