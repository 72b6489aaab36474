/**
 * Changes that a process makes to its own policies for a while: checked like policies in code, held for a given time, shown
 * in the status.
 *
 * @internal
 */
import type { Scope } from "effect"
import { Deferred, Duration, Effect, Exit, Schema } from "effect"
import * as Binder from "./Binder.ts"
import * as BootChecks from "./BootChecks.ts"
import type { Issue } from "./Issue.ts"
import { durationField, formatAll, fromSchemaError, parseOptions } from "./Issue.ts"
import * as Policy from "./Policy.ts"
import type { SwitchedKeys } from "./PolicyDocument.ts"
import type { Change, Overridden, Override, OverrideOptions } from "./PolicyProvider.ts"
import * as PolicySet from "./PolicySet.ts"
import type { ProviderState } from "./ProviderState.ts"

/** More of them are a program that forgets what it did. */
const maxOverrides = 100

const Held = Schema.Struct({ for: durationField("1 second", "7 days") })
const decodeHeld = Schema.decodeUnknownResult(Held, parseOptions)

interface Held {
  readonly overridden: Overridden
  /** done before its time when it was lifted or replaced */
  readonly over: Deferred.Deferred<void>
}

interface Checked {
  readonly change: Overridden["change"]
  readonly sections: Policy.Sections | undefined
  readonly held: Duration.Duration
}

const switchedBy = (active: ReadonlyArray<Overridden>, kind: "off" | "hedgeOff"): ReadonlyArray<SwitchedKeys> =>
  active.filter(({ change }) => change === kind).map(({ pattern, until }) => ({ pattern, until }))

/** One of the same kind and pattern takes the place of the one before. */
const nameOf = (pattern: string, change: Change): string =>
  `${typeof change === "string" ? change : "policy"} ${pattern}`

const sectionsOf = ({ change }: Overridden): Policy.Sections | undefined =>
  typeof change === "string" ? undefined : change.sections

export class Overrides {
  /** by kind and pattern, in the order in which they were made */
  private readonly active = new Map<string, Held>()
  private readonly state: ProviderState
  private readonly names: BootChecks.Names
  private readonly scope: Scope.Scope
  constructor(state: ProviderState, names: BootChecks.Names, scope: Scope.Scope) {
    this.state = state
    this.names = names
    this.scope = scope
  }

  make(pattern: string, change: Change, options: OverrideOptions): Effect.Effect<Override, Policy.PolicyInvalid> {
    return Effect.suspend(() => {
      const issues: Array<Issue> = []
      const checked = this.check(pattern, change, options, issues)
      if (checked === undefined) return Effect.fail(new Policy.PolicyInvalid({ issues }))
      return this.hold(pattern, checked)
    })
  }

  private hold(pattern: string, { change, held }: Checked): Effect.Effect<Override> {
    const name = nameOf(pattern, change)
    const until = this.state.clock.currentTimeMillisUnsafe() + Duration.toMillis(held)
    const made: Held = { overridden: { pattern, change, until }, over: Deferred.makeUnsafe() }
    const lift = Effect.sync(() => {
      if (this.active.get(name) !== made) return
      this.remove(name)
      this.apply()
    })
    this.remove(name)
    this.active.set(name, made)
    this.apply()
    const lapse = Effect.andThen(Effect.timeoutOption(Deferred.await(made.over), held), lift)
    return Effect.as(Effect.forkIn(lapse, this.scope), { lift })
  }

  private remove(name: string): void {
    const held = this.active.get(name)
    if (held === undefined) return
    this.active.delete(name)
    Deferred.doneUnsafe(held.over, Exit.void)
  }

  private apply(): void {
    const active = Array.from(this.active.values(), ({ overridden }) => overridden)
    this.state.setOverrides(active, this.overridesOf(active), {
      off: switchedBy(active, "off"),
      hedgeOff: switchedBy(active, "hedgeOff")
    })
  }

  private overridesOf(active: ReadonlyArray<Overridden>): ReadonlyArray<Binder.Override> {
    return active.flatMap((override) => {
      const sections = sectionsOf(override)
      return sections === undefined ? [] : [{ pattern: override.pattern, sections }]
    })
  }

  // ---------------------------------------------------------------------------
  // checks
  // ---------------------------------------------------------------------------

  private check(pattern: string, change: Change, options: unknown, issues: Array<Issue>): Checked | undefined {
    PolicySet.checkPattern(pattern, ["pattern"], issues)
    const held = decodeHeld(options)
    if (held._tag === "Failure") issues.push(...fromSchemaError(held.failure))
    const isSwitch = change === "off" || change === "hedgeOff"
    const sections = isSwitch ? undefined : Policy.check(change, ["change"], issues)
    if (sections !== undefined && issues.length === 0) {
      issues.push(...BootChecks.under(["change"], this.policyIssues(pattern, sections)))
    }
    if (this.active.size >= maxOverrides && !this.active.has(nameOf(pattern, change))) {
      issues.push({ path: [], message: `must not be more than ${maxOverrides} overrides at once` })
    }
    if (issues.length > 0 || held._tag === "Failure") return undefined
    return { change: isSwitch ? change : Policy.fromSections(sections!), sections, held: held.success.for }
  }

  /** As for policies in code, for everything that it is laid over, and what is laid over it; each issue once. */
  private policyIssues(pattern: string, sections: Policy.Sections): ReadonlyArray<Issue> {
    const { inForce } = this.state
    const others = inForce.overrides.filter((other) => other.pattern !== pattern)
    const laidOver = { ...inForce, overrides: [...others, { pattern, sections }] }
    const named = [...PolicySet.patterns(inForce.set), ...others.map((other) => other.pattern)].map(PolicySet.keyOf)
    const keys = new Set([PolicySet.keyOf(pattern), ...named.filter((key) => PolicySet.covers(pattern, key))])
    const found = [
      ...BootChecks.unknownNames(this.names, sections),
      ...Array.from(keys).flatMap((key) =>
        BootChecks.mergedIssues(Binder.overlaid(laidOver, key) ?? {}, (name) => this.state.budgets.sample(name))
      )
    ]
    return Array.from(new Map(found.map((issue) => [formatAll([issue]), issue])).values())
  }
}
