/**
 * The state behind `Budget.all` and `Budget.child`: both must grant, and what one granted is given back when the other
 * does not.
 *
 * @internal
 */
import { Duration, Effect } from "effect"
import type { Budget, Call, Decision, Request } from "./Budget.ts"
import type { Outcome } from "./Outcome.ts"

type Answer = Decision | Effect.Effect<Decision>

/** Both halves hear of it, even when the first has a defect. */
const each = (first: () => void, second: () => void): void => {
  try {
    first()
  } finally {
    second()
  }
}

const both = (first: Decision & { _tag: "Granted" }, second: Decision): Decision => {
  if (second._tag === "Denied") {
    first.permit.settle("unused")
    return second
  }
  return {
    _tag: "Granted",
    permit: {
      settle: (use) => each(() => first.permit.settle(use), () => second.permit.settle(use))
    }
  }
}

const askOrGiveBack = (first: Decision & { _tag: "Granted" }, ask: () => Answer): Answer => {
  try {
    return ask()
  } catch (defect) {
    first.permit.settle("unused")
    throw defect
  }
}

/** The second is asked only when the first has granted; while its answer takes time the first grant is held. */
const then = (first: Decision, ask: () => Answer): Answer => {
  if (first._tag === "Denied") return first
  const second = askOrGiveBack(first, ask)
  return Effect.isEffect(second)
    ? Effect.map(
      Effect.onExit(
        second,
        (exit) => exit._tag === "Success" ? Effect.void : Effect.sync(() => first.permit.settle("unused"))
      ),
      (decision) => both(first, decision)
    )
    : both(first, second)
}

const sequence = (first: () => Answer, second: () => Answer): Answer => {
  const answer = first()
  if (!Effect.isEffect(answer)) return then(answer, second)
  return Effect.flatMap(answer, (decision) => {
    const next = then(decision, second)
    return Effect.isEffect(next) ? next : Effect.succeed(next)
  })
}

const shorter = (a: Duration.Duration | undefined, b: Duration.Duration | undefined): Duration.Duration | undefined =>
  a === undefined ? b : b === undefined ? a : Duration.min(a, b)

const smaller = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b)

export class CombinedBudget implements Budget {
  readonly window: Duration.Duration | undefined
  readonly maxCost: number | undefined
  readonly admit: Budget["admit"]
  private readonly first: Budget
  private readonly second: Budget
  constructor(first: Budget, second: Budget) {
    this.first = first
    this.second = second
    this.maxCost = smaller(first.maxCost, second.maxCost)
    this.window = shorter(first.window, second.window)
    const { admit } = first
    const { admit: admitToo } = second
    this.admit = admit === undefined || admitToo === undefined
      ? admit ?? admitToo
      : (call) => sequence(() => admit(call), () => admitToo(call))
  }

  readonly tryAcquire = (request: Request): Answer =>
    sequence(() => this.first.tryAcquire(request), () => this.second.tryAcquire(request))

  readonly onCall = (call: Call): void => {
    each(() => this.first.onCall?.(call), () => this.second.onCall?.(call))
  }

  readonly onCallEnd = (call: Call): void => {
    each(() => this.first.onCallEnd?.(call), () => this.second.onCallEnd?.(call))
  }

  readonly onOutcome = (outcome: Outcome, now: number): void => {
    each(() => this.first.onOutcome?.(outcome, now), () => this.second.onOutcome?.(outcome, now))
  }

  get state(): Budget["state"] {
    return Effect.zipWith(this.first.state, this.second.state, (a, b) => ({ balance: Math.min(a.balance, b.balance) }))
  }
}
