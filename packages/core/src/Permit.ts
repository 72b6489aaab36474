/**
 * Permits that hear of their end at most once, however often they are settled.
 *
 * @internal
 */
import type { Decision, Permit } from "./Budget.ts"

/**
 * A grant and its permit in one: a budget is asked in every failing call. Its fields are those of the classes that extend
 * it: those of a base class are made in a step of their own, which is a third of what a grant costs.
 */
export abstract class Grant implements Permit {
  abstract readonly _tag: "Granted"
  abstract readonly permit: Permit
  protected abstract settled: boolean

  /** Bound when it is read, because users take it out of its permit: a grant that carries a function of its own is dear. */
  get settle(): (use: "used" | "unused") => void {
    return this.settleOnce.bind(this)
  }

  private settleOnce(use: "used" | "unused"): void {
    if (this.settled) return
    this.settled = true
    this.onSettled(use)
  }

  protected abstract onSettled(use: "used" | "unused"): void
}

class CallbackGrant extends Grant {
  readonly _tag = "Granted"
  readonly permit: Permit = this
  protected settled = false
  private readonly callback: (use: "used" | "unused") => void
  constructor(callback: (use: "used" | "unused") => void) {
    super()
    this.callback = callback
  }

  protected onSettled(use: "used" | "unused"): void {
    this.callback(use)
  }
}

export const settledOnce = (onSettle: (use: "used" | "unused") => void): Grant => new CallbackGrant(onSettle)

/** A grant of which nothing is given back, whatever becomes of its attempt. */
export const spent: Decision = { _tag: "Granted", permit: { settle: () => {} } }
