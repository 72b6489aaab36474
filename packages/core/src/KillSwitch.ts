/**
 * Which keys get no retries or no hedges at this moment, and the calls that wait and must hear of it.
 *
 * It is asked for each extra attempt, not once for each call: switching off stops what is under way. The calls that wait for
 * an extra attempt stand in a set while they do, so that they end at once and a call that succeeds costs nothing.
 *
 * @internal
 */
import type { Clock } from "effect"
import type { SwitchedKeys, Switches } from "./PolicyDocument.ts"
import { covers } from "./PolicySet.ts"

/** What kind of extra attempt is asked for. Retries that are off take the hedges with them. */
export type Kind = "retry" | "hedge"

export interface Waiting {
  /** Something was switched off: ends the wait if it is about this call. Must not throw. */
  readonly onSwitch: () => void
}

export const none: Switches = { off: [], hedgeOff: [] }

const lists = ["off", "hedgeOff"] as const

export class KillSwitch {
  readonly waiting = new Set<Waiting>()
  /** of the document in force */
  private accepted: Switches = none
  /** of documents that were refused since, beside the accepted one: they switch nothing on that it has switched off */
  private refused: Switches = none
  private overrides: Switches = none
  private all: Switches = none

  isOff(key: string, kind: Kind, clock: Clock.Clock): boolean {
    const { hedgeOff, off } = this.all
    if (off.length === 0 && hedgeOff.length === 0) return false
    const now = clock.currentTimeMillisUnsafe()
    const covered = ({ pattern, until }: SwitchedKeys): boolean => now < until && covers(pattern, key)
    return off.some(covered) || (kind === "hedge" && hedgeOff.some(covered))
  }

  /** What has been switched off, lapsed or not. */
  get current(): Switches {
    return this.all
  }

  accept(switches: Switches): void {
    this.accepted = switches
    this.refused = none
    this.update()
  }

  /** A list that is missing says nothing: what a document before it has switched off stays off. */
  refuse(switches: { readonly [K in keyof Switches]: Switches[K] | undefined }): void {
    this.refused = {
      off: switches.off ?? this.refused.off,
      hedgeOff: switches.hedgeOff ?? this.refused.hedgeOff
    }
    this.update()
  }

  override(switches: Switches): void {
    this.overrides = switches
    this.update()
  }

  private update(): void {
    const [off, hedgeOff] = lists.map((list) => distinct([this.accepted, this.refused, this.overrides], list))
    this.all = { off: off!, hedgeOff: hedgeOff! }
    for (const call of Array.from(this.waiting)) call.onSwitch()
  }
}

/** The same pattern in several documents lapses when the last of them does. */
const distinct = (from: ReadonlyArray<Switches>, list: keyof Switches): ReadonlyArray<SwitchedKeys> => {
  const until = new Map<string, number>()
  for (const switches of from) {
    for (const entry of switches[list]) {
      until.set(entry.pattern, Math.max(entry.until, until.get(entry.pattern) ?? -Infinity))
    }
  }
  return Array.from(until, ([pattern, instant]) => ({ pattern, until: instant }))
}
