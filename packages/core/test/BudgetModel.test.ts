/**
 * The laws of design 5.6, against exact references, over 1,000,000 generated steps of calls, outcomes, retries, hedges,
 * clock moves and interruptions. A violation names the life it happened in and the seed that repeats it.
 */
import { assert, describe, it } from "@effect/vitest"
import { Budget, Outcome, PolicyKey } from "@rego/core"
import { Duration } from "effect"
import { ConcurrencyBudget } from "../src/ConcurrencyBudget.ts"
import { RatioBudget } from "../src/RatioBudget.ts"
import { SuccessTokens } from "../src/SuccessTokens.ts"
import { TokenBucket } from "../src/TokenBucket.ts"
import { seed, withSeed } from "./arbitraries.ts"
import { makeRandom } from "./random.ts"

type Options = typeof Budget.RatioOptions.Type

const key = PolicyKey.make("users.Get")
const failed = Outcome.retryable({ reason: "http_503" })

const request = (now: number, options: { kind?: "retry" | "hedge"; cost?: number } = {}): Budget.Request => ({
  key,
  kind: options.kind ?? "retry",
  cost: options.cost ?? 1,
  attempt: { retry: 0, hedge: 0 },
  random: () => 0.5,
  now
})

const noReserve = { burst: 0, start: 0, perSecond: 0 }

const tolerance = 1e-6

const stepsOfALife = 2_000

/** Many lives of many budgets, each told apart by the seed of its own. */
const lives = (
  steps: number,
  live: (random: () => number) => { readonly step: () => void; readonly end?: () => void; readonly about: unknown }
): void => {
  for (let done = 0, nth = 0; done < steps; done += stepsOfALife, nth++) {
    const { about, end, step } = live(makeRandom(Math.imul(seed, 1_000_003) + nth))
    let i = 0
    try {
      for (; i < stepsOfALife; i++) step()
      end?.()
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      throw new Error(withSeed(`life ${nth}, step ${i}, of a budget ${JSON.stringify(about)}: ${message}`), {
        cause: error
      })
    }
  }
}

const pickOf = <A>(random: () => number, values: Array<A>): A | undefined =>
  values.splice(Math.floor(random() * values.length), 1)[0]

// -----------------------------------------------------------------------------
// ratio
// -----------------------------------------------------------------------------

/** What happened, as an exact reference sees it: nothing is put into slots. */
interface Extra {
  readonly at: number
  readonly cost: number
  readonly hedge: boolean
  /** deposits that had been made when it was granted */
  readonly depositsBefore: number
  refunded: boolean
}

/**
 * A random life of one budget: calls, outcomes, retries and hedges of random cost, permits that are settled late, twice or
 * never, idle times, bursts, and a clock that goes back. `at` is the time as the budget sees it: never going back.
 */
class Life {
  readonly deposits: Array<number> = []
  readonly extras: Array<Extra> = []
  readonly budget: RatioBudget
  readonly window: number
  private readonly options: Options
  private readonly random: () => number
  private readonly open: Array<{ readonly permit: Budget.Permit; readonly extra: Extra }> = []
  private readonly health: number
  private readonly hurry: number
  private clock: number
  private at: number

  constructor(options: Options, random: () => number) {
    this.options = options
    this.budget = new RatioBudget(options)
    this.window = Duration.toMillis(this.budget.window)
    this.random = random
    this.clock = random() * 1e6
    this.at = this.clock
    this.health = random()
    this.hurry = random() ** 3
  }

  private int(below: number): number {
    return Math.floor(this.random() * below)
  }

  step(onGrant: (life: Life, extra: Extra) => void): void {
    const choice = this.random()
    if (choice < 0.15) this.move()
    else if (choice < 0.55) this.call()
    else if (choice < 0.85) this.want(onGrant)
    else this.settle()
  }

  private move(): void {
    const size = this.random()
    const by = size < 0.1
      ? this.window * 2 * this.random()
      : size < 0.2
      ? this.window / 20
      : this.window * this.hurry * 0.05
    // whole milliseconds meet the edges of slots, fractions do not
    this.clock += this.random() < 0.05 ? -this.window * this.random() : this.random() < 0.5 ? Math.round(by) : by
  }

  /** The time at which the budget hears of something: one that goes back is none that it has seen. */
  private now(): number {
    this.at = Math.max(this.at, this.clock)
    return this.clock
  }

  private call(): void {
    this.budget.onCall?.({ key, now: this.clock, random: this.random })
    const outcome = this.random() < this.health
      ? this.random() < 0.5 ? Outcome.success : Outcome.nonRetryable({ reason: "not_found" })
      : this.random() < 0.5
      ? failed
      : Outcome.abort({ reason: "interrupted" })
    const answered = outcome._tag === "Success" || outcome._tag === "NonRetryable"
    this.budget.onOutcome?.(outcome, this.clock)
    if (this.options.of !== "calls" && !answered) return
    this.now()
    this.deposits.push(this.at)
  }

  private want(onGrant: (life: Life, extra: Extra) => void): void {
    const hedge = this.random() < 0.4
    const cost = this.random() < 0.7 ? 1 : this.random() < 0.5 ? 1 + this.int(5) : 1 + this.int(30) / 10
    const decision = this.budget.tryAcquire(request(this.now(), { kind: hedge ? "hedge" : "retry", cost }))
    if (decision._tag === "Denied") return
    const extra = { at: this.at, cost, hedge, depositsBefore: this.deposits.length, refunded: false }
    this.extras.push(extra)
    this.open.push({ permit: decision.permit, extra })
    onGrant(this, extra)
  }

  private settle(): void {
    const [settled] = this.open.splice(this.int(this.open.length), 1)
    if (settled === undefined) return
    settled.extra.refunded = this.random() < 0.4
    settled.permit.settle(settled.extra.refunded ? "unused" : "used")
    // a second settlement, of either kind, changes nothing
    if (this.random() < 0.3) settled.permit.settle(this.random() < 0.5 ? "unused" : "used")
  }

  inWindow(at: number, kind: "deposits" | "extras" | "hedges"): number {
    let sum = 0
    if (kind === "deposits") {
      for (let i = this.deposits.length - 1; i >= 0 && this.deposits[i]! > at - this.window; i--) sum++
      return sum
    }
    for (let i = this.extras.length - 1; i >= 0 && this.extras[i]!.at > at - this.window; i--) {
      const extra = this.extras[i]!
      if (!extra.refunded && (kind === "extras" || extra.hedge)) sum += extra.cost
    }
    return sum
  }
}

const randomOptions = (random: () => number, withReserve: boolean): Options => ({
  ratio: random() < 0.1 ? 0 : Math.round(random() * 500) / 1_000,
  of: random() < 0.5 ? "successes" : "calls",
  window: Duration.millis(1_000 + Math.floor(random() * 20_000)),
  keepForRetries: Math.round(random() * 10) / 10,
  reserve: withReserve
    ? { burst: Math.floor(random() * 101), start: Math.floor(random() * 101), perSecond: random() ** 2 * 10 }
    : noReserve
})

const liveRatio = (
  steps: number,
  withReserve: boolean,
  onGrant: (life: Life, extra: Extra, options: Options) => void,
  onEnd: (life: Life, options: Options) => void = () => {}
): { readonly granted: number } => {
  let granted = 0
  lives(steps, (random) => {
    const options = randomOptions(random, withReserve)
    const life = new Life(options, random)
    return {
      about: options,
      step: () => life.step((self, extra) => onGrant(self, extra, options)),
      end: () => {
        granted += life.extras.length
        onEnd(life, options)
      }
    }
  })
  return { granted }
}

/**
 * L2 for every interval at once: with g(s) = extras(s) - ratio × deposits(s - window) - perMilli × s, extras in (s, t] are
 * within the law for all s < t exactly when the same sum at t does not exceed the least g before it by more than `burst`.
 */
const checkIntervals = (life: Life, options: Options): void => {
  const ratio = options.ratio ?? 0.1
  const perMilli = (options.reserve?.perSecond ?? 0.1) / 1_000
  const burst = options.reserve?.burst ?? 10
  let used = 0
  let least = Infinity
  let left = 0
  for (const extra of life.extras) {
    if (extra.refunded) continue
    while (left < life.deposits.length && life.deposits[left]! < extra.at - life.window) left++
    least = Math.min(least, used - ratio * left - perMilli * extra.at)
    used += extra.cost
    const over = used - ratio * extra.depositsBefore - perMilli * extra.at - least - burst
    if (over > tolerance) assert.fail(`at ${extra.at} extras are ${over} over the law of some interval that ends there`)
  }
}

// -----------------------------------------------------------------------------
// successTokens
// -----------------------------------------------------------------------------

/** gRFC A6 in whole thousandths of a token; permits that are settled, in any way, change nothing. */
const liveTokens = (random: () => number, seen: { granted: number; denied: number }) => {
  // round numbers meet the half exactly
  const round = random() < 0.5
  const maxTokens = round ? 1 + Math.floor(random() * 20) : 0.001 + Math.floor(random() ** 2 * 999_000) / 1_000
  const tokenRatio = round ? [0.1, 0.5, 1][Math.floor(random() * 3)]! : (1 + Math.floor(random() ** 3 * 2_000)) / 1_000
  const budget = new SuccessTokens(maxTokens, tokenRatio)
  const max = Math.round(maxTokens * 1_000)
  const health = random()
  const open: Array<Budget.Permit> = []
  let tokens = max
  const outcome = () => {
    const success = random() < health
    const other = random() < 0.2
    if (other) {
      return budget.onOutcome?.(
        random() < 0.5 ? Outcome.abort({ reason: "gone" }) : Outcome.nonRetryable({ reason: "no" })
      )
    }
    tokens = success ? Math.min(max, tokens + Math.round(tokenRatio * 1_000)) : Math.max(0, tokens - 1_000)
    budget.onOutcome?.(success ? Outcome.success : failed)
  }
  const want = () => {
    const decision = budget.tryAcquire()
    const expected = tokens * 2 > max
    if ((decision._tag === "Granted") !== expected) {
      assert.fail(`${decision._tag} with ${tokens} of ${max} thousandths`)
    }
    if (decision._tag === "Denied") seen.denied++
    else {
      seen.granted++
      open.push(decision.permit)
    }
  }
  return {
    about: { maxTokens, tokenRatio },
    step: () => {
      const choice = random()
      if (choice < 0.5) outcome()
      else if (choice < 0.85) want()
      else pickOf(random, open)?.settle(random() < 0.5 ? "used" : "unused")
    }
  }
}

// -----------------------------------------------------------------------------
// concurrency
// -----------------------------------------------------------------------------

const liveConcurrency = (random: () => number, seen: { granted: number; denied: number }) => {
  const fixed = random() < 0.3
  const min = Math.floor(random() * 10)
  const ratio = Math.round(random() * 1_000) / 1_000
  const max = random() < 0.3 ? min + Math.floor(random() * 20) : Infinity
  const options = fixed ? { min, ratio: 0, max: min } : { min, ratio, max }
  const budget = new ConcurrencyBudget(options)
  const open: Array<{ readonly permit: Budget.Permit; readonly cost: number }> = []
  const held = () => open.reduce((sum, { cost }) => sum + cost, 0)
  let calls = 0
  const limit = () => Math.min(options.max, Math.max(options.min, options.ratio * calls))
  const want = () => {
    const cost = 1 + Math.floor(random() ** 4 * 5)
    const decision = budget.tryAcquire(request(0, { kind: random() < 0.5 ? "retry" : "hedge", cost }))
    const expected = held() + cost <= limit()
    if ((decision._tag === "Granted") !== expected) {
      assert.fail(`${decision._tag} for ${cost} with ${held()} of ${limit()} in flight`)
    }
    if (decision._tag === "Denied") seen.denied++
    else {
      seen.granted++
      open.push({ permit: decision.permit, cost })
    }
  }
  const settle = () => {
    const permit = pickOf(random, open)?.permit
    permit?.settle(random() < 0.5 ? "used" : "unused")
    if (random() < 0.3) permit?.settle("unused")
  }
  return {
    about: options,
    step: () => {
      const choice = random()
      if (choice < 0.25) {
        calls++
        budget.onCall?.()
      } else if (choice < 0.45) {
        if (calls > 0) {
          calls--
          budget.onCallEnd()
        }
      } else if (choice < 0.75) want()
      else settle()
    },
    end: () => {
      while (open.length > 0) settle()
      for (; calls > 0; calls--) budget.onCallEnd()
      // nothing is left: as much is granted as by a new one
      let granted = 0
      while (granted <= limit() && budget.tryAcquire(request(0))._tag === "Granted") granted++
      assert.strictEqual(granted, Math.floor(limit()))
    }
  }
}

// -----------------------------------------------------------------------------
// tokenBucket
// -----------------------------------------------------------------------------

/** Over any interval (s, t], extras are at most capacity + rate × (t - s); those given back do not count. */
const liveBucket = (random: () => number, seen: { granted: number; denied: number }) => {
  const capacity = 1 + Math.floor(random() * 50)
  const refillPerSecond = random() ** 2 * 20
  const perMilli = refillPerSecond / 1_000
  const budget = new TokenBucket(capacity, refillPerSecond)
  const extras: Array<{ readonly at: number; readonly cost: number; refunded: boolean }> = []
  const open: Array<{ readonly permit: Budget.Permit; readonly extra: (typeof extras)[number] }> = []
  let clock = random() * 1e6
  let at = clock
  const want = () => {
    at = Math.max(at, clock)
    const cost = random() < 0.7 ? 1 : 1 + Math.floor(random() * 30) / 10
    const decision = budget.tryAcquire(request(clock, { kind: random() < 0.5 ? "retry" : "hedge", cost }))
    if (decision._tag === "Denied") {
      seen.denied++
      return
    }
    seen.granted++
    const extra = { at, cost, refunded: false }
    extras.push(extra)
    open.push({ permit: decision.permit, extra })
  }
  return {
    about: { capacity, refillPerSecond },
    step: () => {
      const choice = random()
      if (choice < 0.25) clock += random() < 0.05 ? -1_000 * random() : random() ** 3 * 3_000
      else if (choice < 0.65) want()
      else {
        const settled = pickOf(random, open)
        if (settled === undefined) return
        settled.extra.refunded = random() < 0.4
        settled.permit.settle(settled.extra.refunded ? "unused" : "used")
        if (random() < 0.3) settled.permit.settle("unused")
      }
    },
    end: () => {
      let used = 0
      let least = Infinity
      for (const extra of extras) {
        if (extra.refunded) continue
        least = Math.min(least, used - perMilli * extra.at)
        used += extra.cost
        const over = used - perMilli * extra.at - least - capacity
        if (over > tolerance) {
          assert.fail(`at ${extra.at} extras are ${over} over the law of some interval that ends there`)
        }
      }
    }
  }
}

describe("budgets in 1,000,000 random steps", () => {
  describe("ratio", () => {
    it("L1: at every grant, extras of the trailing window are at most ratio × its deposits", () => {
      const { granted } = liveRatio(200_000, false, (life, extra, options) => {
        const extras = life.inWindow(extra.at, "extras")
        const allowed = (options.ratio ?? 0.1) * life.inWindow(extra.at, "deposits")
        if (extras > allowed + tolerance) assert.fail(`${extras} extras at ${extra.at}, allowed are ${allowed}`)
      })
      assert.isAbove(granted, 5_000)
    })

    it("L1 for hedges: they take at most 1 - keepForRetries of it", () => {
      const { granted } = liveRatio(200_000, false, (life, extra, options) => {
        if (!extra.hedge) return
        const share = 1 - (options.keepForRetries ?? 0.2)
        const hedges = life.inWindow(extra.at, "hedges")
        const allowed = (options.ratio ?? 0.1) * share * life.inWindow(extra.at, "deposits")
        if (hedges > allowed + tolerance) assert.fail(`${hedges} hedges at ${extra.at}, allowed are ${allowed}`)
      })
      assert.isAbove(granted, 2_000)
    })

    it("L2: over any interval, extras are at most ratio × deposits + burst + perSecond × its length", () => {
      const { granted } = liveRatio(200_000, true, () => {}, checkIntervals)
      assert.isAbove(granted, 10_000)
    })
  })

  describe("successTokens", () => {
    it("grants exactly while more than half of the tokens are left", () => {
      const seen = { granted: 0, denied: 0 }
      lives(150_000, (random) => liveTokens(random, seen))
      assert.isAbove(Math.min(seen.granted, seen.denied), 5_000)
    })
  })

  describe("concurrency", () => {
    it("holds exactly what its limit allows, and nothing when all is over", () => {
      const seen = { granted: 0, denied: 0 }
      lives(150_000, (random) => liveConcurrency(random, seen))
      assert.isAbove(Math.min(seen.granted, seen.denied), 5_000)
    })
  })

  describe("tokenBucket", () => {
    it("lets out at most capacity + refill × time over any interval, late refunds included", () => {
      const seen = { granted: 0, denied: 0 }
      lives(100_000, (random) => liveBucket(random, seen))
      assert.isAbove(Math.min(seen.granted, seen.denied), 5_000)
    })
  })

  it("names the seed and the budget when a law is broken", () => {
    const broken = () =>
      lives(2_000, (random) => {
        const budget = new SuccessTokens(10, 0.1)
        return {
          about: { maxTokens: 10 },
          step: () => {
            budget.onOutcome?.(random() < 0.1 ? Outcome.success : failed)
            assert.strictEqual(budget.tryAcquire()._tag, "Granted")
          }
        }
      })
    assert.throws(broken, new RegExp(`life 0, step \\d+, of a budget {"maxTokens":10}[^]*REGO_SEED=${seed}`))
  })
})
