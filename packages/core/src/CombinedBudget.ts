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

/** Both halves are settled, even when the first has a defect. */
const each = (first: () => void, second: () => void): void => {
  try {
    first()
  } finally {
    second()
  }
}

const partsOf = (budget: Budget): Iterable<Budget> => budget instanceof CombinedBudget ? budget.parts : [budget]

/** Every part hears of it, even when one before it has a defect. */
const tell = (parts: ReadonlyArray<Budget>, hear: (part: Budget) => void): void => {
  let first: { readonly defect: unknown } | undefined
  for (const part of parts) {
    try {
      hear(part)
    } catch (defect) {
      first ??= { defect }
    }
  }
  if (first !== undefined) throw first.defect
}

/** The function of a budget that hears of calls; `undefined` where no part listens, and the driver has nobody to tell. */
const listener = <Heard extends ReadonlyArray<unknown>>(
  parts: ReadonlySet<Budget>,
  of: (part: Budget) => ((...heard: Heard) => void) | undefined
): ((...heard: Heard) => void) | undefined => {
  const listening = [...parts].filter((part) => of(part) !== undefined)
  return listening.length === 0
    ? undefined
    : (...heard) => tell(listening, (part) => of(part)?.call(part, ...heard))
}

/** A budget may be foreign code without types: what is no decision is handed on, for the driver to refuse. */
const both = (first: Decision & { _tag: "Granted" }, second: Decision): Decision => {
  if (second?._tag !== "Granted") {
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
  if (first?._tag !== "Granted") return first
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

const nameDenial = (decision: Decision, budget: string): Decision & { readonly budget?: string } =>
  decision?._tag === "Denied" ? { ...decision, budget } : decision

const shorter = (a: Duration.Duration | undefined, b: Duration.Duration | undefined): Duration.Duration | undefined =>
  a === undefined ? b : b === undefined ? a : Duration.min(a, b)

const smaller = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined ? b : b === undefined ? a : Math.min(a, b)

/** The function of a budget, which may be a method of a class. */
export const admitOf = (budget: Budget): Budget["admit"] =>
  budget.admit === undefined ? undefined : (call) => budget.admit!(call)

export class CombinedBudget implements Budget {
  readonly window: Duration.Duration | undefined
  readonly maxCost: number | undefined
  readonly admit: Budget["admit"]
  readonly onCall: Budget["onCall"]
  readonly onCallEnd: Budget["onCallEnd"]
  readonly onOutcome: Budget["onOutcome"]
  /** What is not combined itself: a parent that both halves have must count a call once. */
  readonly parts: ReadonlySet<Budget>
  private readonly first: Budget
  private readonly second: Budget
  private readonly firstName: string | undefined
  constructor(first: Budget, second: Budget, firstName?: string) {
    this.firstName = firstName
    this.parts = new Set([...partsOf(first), ...partsOf(second)])
    this.onCall = listener<[Call]>(this.parts, (part) => part.onCall)
    this.onCallEnd = listener<[Call]>(this.parts, (part) => part.onCallEnd)
    this.onOutcome = listener<[Outcome, number]>(this.parts, (part) => part.onOutcome)
    this.first = first
    this.second = second
    this.maxCost = smaller(first.maxCost, second.maxCost)
    this.window = shorter(first.window, second.window)
    const [admit, admitToo] = [admitOf(first), admitOf(second)]
    this.admit = admit === undefined || admitToo === undefined
      ? admit ?? admitToo
      : (call) => sequence(() => admit(call), () => admitToo(call))
  }

  get maxHedgeCost(): number | undefined {
    return smaller(this.first.maxHedgeCost, this.second.maxHedgeCost)
  }

  readonly tryAcquire = (request: Request): Answer =>
    sequence(() => this.named(this.first.tryAcquire(request)), () => this.second.tryAcquire(request))

  /** Where the first half has a name, its refusals carry it: the record of a call says which budget it was. */
  private named(answer: Answer): Answer {
    const { firstName } = this
    if (firstName === undefined) return answer
    return Effect.isEffect(answer)
      ? Effect.map(answer, (decision) => nameDenial(decision, firstName))
      : nameDenial(answer, firstName)
  }

  get state(): Budget["state"] {
    return Effect.zipWith(this.first.state, this.second.state, (a, b) => ({ balance: Math.min(a.balance, b.balance) }))
  }
}
