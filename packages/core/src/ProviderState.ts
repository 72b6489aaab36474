/**
 * The state behind a `PolicyProvider`: what is in force, what its status says, who hears of changes. Every change replaces
 * one immutable object, and the bindings with it.
 *
 * @internal
 */
import type { Scope } from "effect"
import { Clock, Context, Deferred, Duration, Effect, Exit, Option, Stream } from "effect"
import * as Binder from "./Binder.ts"
import type { Binding, Bounds, Options as BindingsOptions } from "./Bindings.ts"
import { Bindings } from "./Bindings.ts"
import type { BudgetData } from "./BudgetData.ts"
import { BudgetStates } from "./BudgetStates.ts"
import type { Issue } from "./Issue.ts"
import { KillSwitch } from "./KillSwitch.ts"
import type { StoreError } from "./LastKnownGood.ts"
import * as Observer from "./Observer.ts"
import * as Policy from "./Policy.ts"
import * as PolicyDiff from "./PolicyDiff.ts"
import type { SwitchedKeys, Switches } from "./PolicyDocument.ts"
import type * as PolicyKey from "./PolicyKey.ts"
import type { KeyStatistics, Overridden, PolicyChange, PolicyStatus, Rejection, SwitchedOff } from "./PolicyProvider.ts"
import * as PolicySet from "./PolicySet.ts"
import type { Clamped, SourceError } from "./PolicySource.ts"
import type { Steps } from "./Steps.ts"
import { runInSlices } from "./Steps.ts"
import type { Supervisor } from "./Supervisor.ts"
import { nowMillis } from "./Time.ts"

type Budgets = Readonly<Record<string, BudgetData>>

/** How things stand. */
interface Snapshot {
  readonly inForce: Binder.InForce
  readonly budgets: Budgets
  /** when the source last confirmed what is in force, in milliseconds since the epoch */
  readonly confirmedAt: number | undefined
  readonly lastError: SourceError | undefined
  readonly storeError: StoreError | undefined
  readonly rejected: Rejection | undefined
  readonly rolledBack: boolean
  readonly clamped: ReadonlyArray<Clamped>
  readonly issues: ReadonlyArray<Issue>
  readonly switches: Switches
  readonly overridden: ReadonlyArray<Overridden>
}

/** What a provider begins with: the policies of the layer. */
export type Initial = Pick<Snapshot, "budgets" | "switches"> & Omit<Binder.InForce, "overrides" | "confirmedAt">

/** Policies that take the place of those in force. */
export type Next =
  & Pick<Snapshot, "budgets" | "switches" | "confirmedAt" | "rolledBack" | "clamped" | "issues">
  & Pick<Binder.InForce, "set" | "revision" | "source">

export interface Options {
  readonly bounds: Bounds
  readonly supervisor: Supervisor
  /** what was provided to the layer, and its scope */
  readonly context: Context.Context<Scope.Scope>
  /** where keys are looked up in another way than in a set of policies */
  readonly bindings?: ((options: BindingsOptions) => Bindings) | undefined
}

const asSwitchedOff = ({ pattern, until }: SwitchedKeys): SwitchedOff => ({
  pattern,
  until: until === Infinity ? Option.none() : Option.some(until)
})

const currentAt = (now: number) => ({ until }: { readonly until: number }): boolean => now < until

const statusAt = (snapshot: Snapshot, now: number): PolicyStatus => {
  const { confirmedAt, inForce, switches } = snapshot
  return {
    revision: inForce.revision,
    source: inForce.source,
    // A clock that was set back must not make it negative.
    age: confirmedAt === undefined ? Option.none() : Option.some(Duration.millis(Math.max(0, now - confirmedAt))),
    lastError: Option.fromUndefinedOr(snapshot.lastError),
    storeError: Option.fromUndefinedOr(snapshot.storeError),
    rejected: Option.fromUndefinedOr(snapshot.rejected),
    rolledBack: snapshot.rolledBack,
    clamped: snapshot.clamped,
    issues: snapshot.issues,
    off: switches.off.filter(currentAt(now)).map(asSwitchedOff),
    hedgeOff: switches.hedgeOff.filter(currentAt(now)).map(asSwitchedOff),
    overrides: snapshot.overridden
  }
}

const sectionsOf = ({ budgets, inForce: { overrides, set }, switches }: Snapshot) => ({
  defaults: set.defaults,
  budgets,
  policies: Object.fromEntries(PolicySet.written(set)),
  overrides: Object.fromEntries(overrides.map(({ pattern, sections }) => [pattern, sections])),
  off: Object.fromEntries(switches.off.map(({ pattern, until }) => [pattern, until])),
  hedgeOff: Object.fromEntries(switches.hedgeOff.map(({ pattern, until }) => [pattern, until]))
})

const statisticsOf = (binding: Binding): Effect.Effect<KeyStatistics> =>
  Effect.zipWith(binding.budget.state, Clock.monotonicTimeNanos, ({ balance }, nanos) => ({
    key: binding.key,
    abandoned: binding.state.abandoned,
    budget: { name: binding.plan.budget, balance },
    hedging: Option.map(Option.fromUndefinedOr(binding.hedging), (hedging) => ({
      hedges: hedging.statistics,
      latency: hedging.latency.snapshot(Number(nanos) / 1e6)
    }))
  }))

const initialSnapshot = ({ budgets, onMissing, revision, set, source, switches }: Initial): Snapshot => ({
  inForce: { set, onMissing, revision, source, overrides: [], confirmedAt: undefined },
  budgets,
  confirmedAt: undefined,
  lastError: undefined,
  storeError: undefined,
  rejected: undefined,
  rolledBack: false,
  clamped: [],
  issues: [],
  switches,
  overridden: []
})

const changing = function*(before: Snapshot | undefined, snapshot: Snapshot, now: number): Steps<PolicyChange> {
  return {
    status: statusAt(snapshot, now),
    previous: before === undefined ? Option.none() : Option.some(before.inForce.revision),
    differences: before === undefined ? [] : yield* PolicyDiff.differing(sectionsOf(before), sectionsOf(snapshot))
  }
}

/** Only what is not confirmed shows its age in timelines. */
const staleSince = (source: Binder.InForce["source"], confirmedAt: number | undefined): number | undefined =>
  source === "live" ? undefined : confirmedAt

export class ProviderState {
  readonly bindings: Bindings
  readonly budgets: BudgetStates
  readonly clock: Clock.Clock
  private readonly observers: ReadonlySet<Observer.Observer>
  private snapshot: Snapshot
  private readonly switches = new KillSwitch()
  /** done when there is another snapshot */
  private changed = Deferred.makeUnsafe<void>()
  private closed = false

  private constructor(initial: Initial, options: Options) {
    const { bounds, context, supervisor } = options
    this.clock = Context.get(context, Clock.Clock)
    this.observers = Observer.observersIn(context)
    this.budgets = new BudgetStates(context, context)
    this.budgets.apply(initial.budgets, nowMillis(this.clock))
    this.switches.accept(initial.switches)
    this.snapshot = initialSnapshot(initial)
    const policies = Binder.policies({ registries: context, budgets: this.budgets }, () => this.inForce)
    const makeBindings = options.bindings ?? ((all) => new Bindings(all))
    this.bindings = makeBindings({ policies, bounds, supervisor, switches: this.switches })
  }

  static make(initial: Initial, options: Options): Effect.Effect<ProviderState, never, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.sync(() => new ProviderState(initial, options)),
      (state) => Effect.sync(() => state.close())
    )
  }

  // ---------------------------------------------------------------------------
  // changes
  // ---------------------------------------------------------------------------

  private set(change: Partial<Snapshot>): void {
    this.snapshot = { ...this.snapshot, ...change }
    this.tell()
  }

  private tell(): void {
    const { changed } = this
    this.changed = Deferred.makeUnsafe()
    Deferred.doneUnsafe(changed, Exit.void)
  }

  /** Calls go on with the last policies; who listens for changes hears that there are no more. */
  private close(): void {
    this.closed = true
    this.tell()
  }

  /**
   * Policies first, then the calls that wait are told, then whoever subscribed: what runs because of it finds everything
   * in its place.
   */
  private change(change: Partial<Snapshot>, tell: () => void): void {
    this.snapshot = { ...this.snapshot, ...change }
    this.bindings.clear()
    tell()
    this.set({ switches: this.switches.current })
  }

  get inForce(): Binder.InForce {
    return this.snapshot.inForce
  }

  get confirmedAt(): number | undefined {
    return this.snapshot.confirmedAt
  }

  get storeError(): StoreError | undefined {
    return this.snapshot.storeError
  }

  /** The source has what is in force: whatever else it had meanwhile is over. */
  confirm(source: Binder.InForce["source"], confirmedAt: number | undefined, switches: Switches): void {
    this.moveTo(source, confirmedAt)
    this.switches.accept(switches)
    this.set({ rejected: undefined, switches: this.switches.current })
  }

  /** Other policies, for all keys at once. What was wrong with the documents before is over. */
  replace({ revision, set, source, switches, ...rest }: Next): void {
    const previous = this.inForce.revision
    const inForce = { ...this.inForce, set, revision, source, confirmedAt: staleSince(source, rest.confirmedAt) }
    this.budgets.apply(rest.budgets, nowMillis(this.clock))
    this.change({ ...rest, inForce, rejected: undefined }, () => this.switches.accept(switches))
    this.tellSwapped("*", previous)
  }

  /** Other policies for a key, or for all of them (`"*"`). */
  tellSwapped(key: string, previous?: string): void {
    const { revision, source } = this.inForce
    const at = this.clock.currentTimeMillisUnsafe()
    const before = previous === undefined ? {} : { previous }
    Observer.tell(this.observers, { _tag: "PolicySwapped", key, call: 0, at, revision, source, ...before })
  }

  /** The kill switches of a document that is still looked at; who listens hears of them with the rest of it. */
  switchOff(switches: Parameters<KillSwitch["refuse"]>[0]): void {
    if (!switches.off?.length && !switches.hedgeOff?.length) return
    this.switches.refuse(switches)
    this.snapshot = { ...this.snapshot, switches: this.switches.current }
  }

  /** The kill switches of a document that was refused are in force all the same. */
  reject(rejected: Rejection, switches: Parameters<KillSwitch["refuse"]>[0]): void {
    this.switches.refuse(switches)
    this.set({ rejected, switches: this.switches.current })
  }

  /** Another policy for one key, or none. */
  replaceKey(key: string, sections: Policy.Sections | undefined): void {
    const set = PolicySet.withExact(this.inForce.set, key, sections)
    this.snapshot = { ...this.snapshot, inForce: { ...this.inForce, set } }
    this.bindings.drop(key)
    this.set({})
  }

  /** How sources and stores do. Those of single keys are taken together: each key tells for itself in its timelines. */
  setHealth(health: Partial<Pick<Snapshot, "lastError" | "storeError" | "rejected" | "confirmedAt">>): void {
    this.set(health)
  }

  setOverrides(overridden: ReadonlyArray<Overridden>, overrides: ReadonlyArray<Binder.Override>, off: Switches): void {
    this.change({ inForce: { ...this.inForce, overrides }, overridden }, () => this.switches.override(off))
  }

  /** The source was heard of, or was not; what is in force stays. */
  setSource(source: Binder.InForce["source"], confirmedAt: number | undefined): void {
    if (this.moveTo(source, confirmedAt)) this.set({})
  }

  /** Whether it is another source than before. Who listens runs when it is told: that is left to the end of the change. */
  private moveTo(source: Binder.InForce["source"], confirmedAt: number | undefined): boolean {
    const before = this.inForce.source
    const inForce = { ...this.inForce, source, confirmedAt: staleSince(source, confirmedAt) }
    this.snapshot = { ...this.snapshot, inForce, confirmedAt }
    if (source === before) return false
    this.bindings.setFacts(({ facts, key, plan }) => Binder.factsOf(inForce, key, plan, facts.source === "missing"))
    return true
  }

  // ---------------------------------------------------------------------------
  // the service
  // ---------------------------------------------------------------------------

  private readonly wallTime = Effect.sync(() => this.clock.currentTimeMillisUnsafe())

  readonly status: Effect.Effect<PolicyStatus> = Effect.map(this.wallTime, (now) => statusAt(this.snapshot, now))

  /** Each subscriber is told what is different from what it saw last: nothing waits in a queue. */
  readonly changes: Stream.Stream<PolicyChange> = Stream.unfold(
    undefined as Snapshot | undefined,
    (seen) => this.nextChange(seen)
  )

  private nextChange(seen: Snapshot | undefined): Effect.Effect<readonly [PolicyChange, Snapshot] | undefined> {
    return Effect.suspend(() => {
      const { snapshot } = this
      if (snapshot !== seen) {
        const now = this.clock.currentTimeMillisUnsafe()
        return Effect.map(runInSlices(() => changing(seen, snapshot, now)), (change) => [change, snapshot])
      }
      if (this.closed) return Effect.undefined
      return Effect.andThen(Deferred.await(this.changed), this.nextChange(seen))
    })
  }

  policy(key: PolicyKey.Input): Effect.Effect<Option.Option<Policy.Policy<unknown>>> {
    return Effect.sync(() => {
      const sections = Binder.sectionsFor(this.inForce, this.bindings.keyOf(key))
      return Option.map(Option.fromUndefinedOr(sections), Policy.fromSections)
    })
  }

  statistics(key: PolicyKey.Input): Effect.Effect<Option.Option<KeyStatistics>> {
    return Effect.flatMap(Effect.context<never>(), (context) => {
      const binding = this.bindings.find(key, context)
      return binding === undefined ? Effect.succeedNone : Effect.asSome(statisticsOf(binding))
    })
  }
}
