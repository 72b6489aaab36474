/**
 * Permits that hear of their end at most once, however often they are settled.
 *
 * @internal
 */
import type { Decision } from "./Budget.ts"

export const settledOnce = (onSettle: (use: "used" | "unused") => void): Decision => {
  let settled = false
  return {
    _tag: "Granted",
    permit: {
      settle: (use) => {
        if (settled) return
        settled = true
        onSettle(use)
      }
    }
  }
}

/** `refund` runs when the attempt is sure never to start. */
export const granted = (refund: () => void): Decision =>
  settledOnce((use) => {
    if (use === "unused") refund()
  })
