/**
 * The state behind `Budget.all` and `Budget.child`: both must grant, and what one granted is given back when the other
 * does not.
 *
 * @internal
 */
import { Duration, Effect } from "effect"
import type { Budget, Decision, Request } from "./Budget.ts"

type Answer = Decision | Effect.Effect<Decision>

/** Both hear of it, even when the first has a defect; where only one listens the driver has only one to tell. */
const both = <Heard extends ReadonlyArray<unknown>>(
  first: ((...heard: Heard) => void) | undefined,
  second: ((...heard: Heard) => void) | undefined
): ((...heard: Heard) => void) | undefined =>
  first === undefined || second === undefined ? first ?? second : (...heard) => {
    try {
      first(...heard)
    } finally {
      second(...heard)
    }
  }

const grantOfBoth = (first: Decision & { _tag: "Granted" }, second: Decision): Decision => {
  if (second._tag === "Denied") {
    first.permit.settle("unused")
    return second
  }
  const [one, other] = [first.permit, second.permit]
  return { _tag: "Granted", permit: { settle: both(one.settle.bind(one), other.settle.bind(other))! } }
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
      (decision) => grantOfBoth(first, decision)
    )
    : grantOfBoth(first, second)
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
  readonly onCall: Budget["onCall"]
  readonly onCallEnd: Budget["onCallEnd"]
  readonly onOutcome: Budget["onOutcome"]
  private readonly first: Budget
  private readonly second: Budget
  constructor(first: Budget, second: Budget) {
    this.first = first
    this.second = second
    this.maxCost = smaller(first.maxCost, second.maxCost)
    this.window = shorter(first.window, second.window)
    this.onCall = both(first.onCall?.bind(first), second.onCall?.bind(second))
    this.onCallEnd = both(first.onCallEnd?.bind(first), second.onCallEnd?.bind(second))
    this.onOutcome = both(first.onOutcome?.bind(first), second.onOutcome?.bind(second))
    const { admit } = first
    const { admit: admitToo } = second
    this.admit = admit === undefined || admitToo === undefined
      ? admit ?? admitToo
      : (call) => sequence(() => admit(call), () => admitToo(call))
  }

  readonly tryAcquire = (request: Request): Answer =>
    sequence(() => this.first.tryAcquire(request), () => this.second.tryAcquire(request))

  get state(): Budget["state"] {
    return Effect.zipWith(this.first.state, this.second.state, (a, b) => ({ balance: Math.min(a.balance, b.balance) }))
  }
}
