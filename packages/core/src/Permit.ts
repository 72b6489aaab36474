/**
 * Permits that hear of their end at most once, however often they are settled.
 *
 * @internal
 */
import type { Permit } from "./Budget.ts"

/** A grant and its permit in one: a budget is asked in every failing call. */
export abstract class Grant implements Permit {
  readonly _tag = "Granted"
  readonly permit: Permit
  private settled = false
  constructor() {
    this.permit = this
  }

  /** A function of its own, because users take it out of its permit. */
  readonly settle = (use: "used" | "unused"): void => {
    if (this.settled) return
    this.settled = true
    this.onSettled(use)
  }

  protected abstract onSettled(use: "used" | "unused"): void
}

class CallbackGrant extends Grant {
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

/** `refund` runs when the attempt is sure never to start. */
export const granted = (refund: () => void): Grant =>
  settledOnce((use) => {
    if (use === "unused") refund()
  })
