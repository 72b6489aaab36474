/**
 * Policies that are asked for one key at a time, when a key is called first, and again when they have become old.
 *
 * A call waits for a policy at most once, on the first sight of its key, and then only while the fetch is young. One fetch
 * for a key runs at a time, whoever asks; it belongs to the layer, so that no caller can break it off. A policy that is old
 * stays in force while another one is fetched, and for as long as none can be.
 *
 * @internal
 */
import type { Context, Scope } from "effect"
import { Deferred, Duration, Effect, Exit, Fiber, Option, Predicate, Random, Semaphore } from "effect"
import type { Binding, KeyState, Options as BindingsOptions } from "./Bindings.ts"
import { Bindings } from "./Bindings.ts"
import * as BootChecks from "./BootChecks.ts"
import { clampMerged, clampOnePolicy } from "./DocumentClamp.ts"
import * as DocumentGuard from "./DocumentGuard.ts"
import type { Issue } from "./Issue.ts"
import { formatAll } from "./Issue.ts"
import * as Policy from "./Policy.ts"
import * as PolicyDiff from "./PolicyDiff.ts"
import * as PolicyDocument from "./PolicyDocument.ts"
import type * as PolicyKey from "./PolicyKey.ts"
import { SourceError } from "./PolicySource.ts"
import type { ProviderState } from "./ProviderState.ts"
import { nowMillis } from "./Time.ts"

const maxInFlight = 10
const firstPause = 1_000
const longestPause = 60_000

export interface Numbers {
  readonly ttl: number
  readonly negativeTtl: number
  readonly staleFor: number
  /** how long a call waits on the first sight of its key */
  readonly timeout: number
  readonly fetchTimeout: number
  readonly capacity: number
}

/** What is known about the policy of a key. Times are milliseconds on the monotonic line of the layer's clock. */
class Entry {
  /** an answer was there once, and has not been given up */
  known = false
  sections: Policy.Sections | undefined = undefined
  answeredAt = -Infinity
  /** when it was confirmed last, in milliseconds since the epoch */
  confirmedAt = 0
  /** ask again from then on */
  dueAt = -Infinity
  failures = 0
  fetching: Deferred.Deferred<void> | undefined = undefined
  /** calls that come after it do not wait for the fetch that runs */
  waitUntil = -Infinity
  usedAt = 0
  readonly key: PolicyKey.PolicyKey
  constructor(key: PolicyKey.PolicyKey) {
    this.key = key
  }
}

/** Looks at the age of what it finds; otherwise as any bindings. */
class AgeingBindings extends Bindings {
  private readonly fetched: FetchedPolicies
  constructor(options: BindingsOptions, fetched: FetchedPolicies) {
    super(options)
    this.fetched = fetched
  }

  override get(text: PolicyKey.Input, context: Context.Context<never>): Binding {
    const binding = super.get(text, context)
    return this.fetched.use(binding.key) ? super.get(text, context) : binding
  }
}

export interface Setting {
  readonly numbers: Numbers
  readonly fetch: (key: PolicyKey.PolicyKey) => Effect.Effect<Option.Option<unknown>, unknown>
  readonly names: BootChecks.Names
  readonly state: ProviderState
  readonly guarded: boolean
  /** of the layer */
  readonly context: Context.Context<Scope.Scope>
}

/** An answer, checked. */
type Checked =
  | { readonly _tag: "Policy"; readonly sections: Policy.Sections | undefined }
  | { readonly _tag: "Invalid"; readonly issues: ReadonlyArray<Issue> }

/** What an error is called; what it says may hold anything. */
const nameOf = (error: unknown): string =>
  Predicate.hasProperty(error, "_tag") ? String(error._tag) : error instanceof Error ? error.name : typeof error

const invalid = ({ key }: Entry, issues: ReadonlyArray<Issue>): Checked => ({
  _tag: "Invalid",
  issues: BootChecks.under(["policies", key], issues)
})

const same = (a: Policy.Sections | undefined, b: Policy.Sections | undefined): boolean =>
  PolicyDiff.between(a, b).length === 0

export class FetchedPolicies {
  private readonly entries = new Map<string, Entry>()
  private readonly running = new Set<Fiber.Fiber<unknown, unknown>>()
  private readonly permits = Semaphore.makeUnsafe(maxInFlight)
  private failing = 0
  private uses = 0
  private closed = false
  private setting: Setting | undefined = undefined

  /** What the layer is made of is made with these, and known afterwards. */
  readonly bindings = (options: BindingsOptions): Bindings => {
    const { bind, isNamed } = options.policies
    return new AgeingBindings(
      { ...options, policies: { isNamed, bind: (state, context) => this.bind(state, () => bind(state, context)) } },
      this
    )
  }

  start(setting: Setting): void {
    this.setting = setting
  }

  /** From now on the last policies stay as they are. */
  close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.closed = true
      return Fiber.interruptAll(Array.from(this.running))
    })
  }

  private get its(): Setting {
    return this.setting!
  }

  private now(): number {
    return nowMillis(this.its.state.clock)
  }

  // ---------------------------------------------------------------------------
  // looking up
  // ---------------------------------------------------------------------------

  /** The key is called. Answers whether what was known of it has just been given up. */
  use(key: string): boolean {
    const entry = this.entries.get(key)
    if (entry === undefined) return false
    entry.usedAt = ++this.uses
    if (this.closed || !entry.known || this.now() < entry.dueAt) return false
    if (this.now() >= entry.answeredAt + this.its.numbers.ttl + this.its.numbers.staleFor) {
      this.forget(entry)
      return true
    }
    this.refresh(entry)
    return false
  }

  private bind(state: KeyState, bind: () => Binding): Binding {
    const entry = this.entries.get(state.key) ?? this.admit(state.key)
    if (entry?.known === true) return this.withFacts(bind(), entry)
    if (entry !== undefined && this.now() >= entry.dueAt) this.refresh(entry)
    const binding = { ...bind(), passing: true }
    return entry?.fetching === undefined || this.now() >= entry.waitUntil
      ? binding
      : { ...binding, notReady: { policy: this.wait(entry, entry.fetching) } }
  }

  private wait({ waitUntil }: Entry, fetching: Deferred.Deferred<void>): Effect.Effect<void> {
    return Effect.suspend(() =>
      Effect.asVoid(Effect.timeoutOption(Deferred.await(fetching), Math.max(0, waitUntil - this.now())))
    )
  }

  private withFacts(binding: Binding, entry: Entry): Binding {
    const { facts } = binding
    if (facts.source === "missing") return binding
    const stale = entry.failures > 0
    binding.facts = {
      ...facts,
      source: stale ? "stale" : "live",
      confirmedAt: stale ? entry.confirmedAt : undefined
    }
    return binding
  }

  // ---------------------------------------------------------------------------
  // a bounded number of keys
  // ---------------------------------------------------------------------------

  private admit(key: PolicyKey.PolicyKey): Entry | undefined {
    const { capacity } = this.its.numbers
    if (this.entries.size >= capacity) this.evict()
    if (this.entries.size >= capacity) return undefined
    const entry = new Entry(key)
    entry.usedAt = ++this.uses
    this.entries.set(key, entry)
    return entry
  }

  /** A sixteenth at once, so that a layer with too little room does not sort its keys for each new one. */
  private evict(): void {
    const idle = Array.from(this.entries.values()).filter(({ fetching }) => fetching === undefined)
      .toSorted((a, b) => a.usedAt - b.usedAt)
    for (const entry of idle.slice(0, Math.max(1, this.its.numbers.capacity >> 4))) {
      this.entries.delete(entry.key)
      if (entry.failures > 0) this.failing--
      this.its.state.replaceKey(entry.key, undefined)
    }
  }

  private forget(entry: Entry): void {
    entry.known = false
    entry.sections = undefined
    this.its.state.replaceKey(entry.key, undefined)
  }

  // ---------------------------------------------------------------------------
  // fetching
  // ---------------------------------------------------------------------------

  private refresh(entry: Entry): void {
    if (this.closed || entry.fetching !== undefined) return
    const { context, numbers } = this.its
    entry.fetching = Deferred.makeUnsafe()
    entry.waitUntil = this.now() + numbers.timeout
    const fiber = Effect.runForkWith(context)(this.fetch(entry))
    this.running.add(fiber)
    fiber.addObserver(() => this.running.delete(fiber))
  }

  private fetch(entry: Entry): Effect.Effect<void> {
    const { fetch, numbers } = this.its
    const answer = Effect.suspend(() => fetch(entry.key)).pipe(
      Effect.timeoutOrElse({
        duration: numbers.fetchTimeout,
        orElse: () =>
          Effect.fail({ _tag: `no answer within ${Duration.format(Duration.millis(numbers.fetchTimeout))}` })
      }),
      (self) => this.permits.withPermit(self),
      Effect.exit
    )
    return Effect.flatMap(answer, (exit) => Effect.flatMap(Random.next, (share) => this.onAnswer(entry, exit, share)))
  }

  private onAnswer(
    entry: Entry,
    exit: Exit.Exit<Option.Option<unknown>, unknown>,
    share: number
  ): Effect.Effect<void> {
    const checked = exit._tag === "Success" ? this.check(entry, exit.value) : undefined
    const log = checked?._tag === "Policy"
      ? this.onPolicy(entry, checked.sections, share)
      : this.onFailure(entry, checked?.issues, exit, share)
    const { fetching } = entry
    entry.fetching = undefined
    if (fetching !== undefined) Deferred.doneUnsafe(fetching, Exit.void)
    return log
  }

  private onPolicy(entry: Entry, sections: Policy.Sections | undefined, share: number): Effect.Effect<void> {
    const { numbers, state } = this.its
    const isSwapped = entry.known && !same(entry.sections, sections)
    const isOther = isSwapped || !entry.known || entry.failures > 0
    if (entry.failures > 0) this.failing--
    entry.failures = 0
    entry.known = true
    entry.sections = sections
    entry.answeredAt = this.now()
    entry.confirmedAt = state.clock.currentTimeMillisUnsafe()
    // up to a tenth earlier, so that keys that were called first together do not come back together
    entry.dueAt = entry.answeredAt + (sections === undefined ? numbers.negativeTtl : numbers.ttl) * (1 - share / 10)
    if (isOther) state.replaceKey(entry.key, sections)
    if (isSwapped) state.tellSwapped(entry.key)
    state.setHealth({
      confirmedAt: entry.confirmedAt,
      ...(this.failing === 0 ? { lastError: undefined, rejected: undefined } : {})
    })
    return Effect.void
  }

  private onFailure(
    entry: Entry,
    issues: ReadonlyArray<Issue> | undefined,
    exit: Exit.Exit<unknown, unknown>,
    share: number
  ): Effect.Effect<void> {
    const { state } = this.its
    const isFirst = entry.failures++ === 0
    if (isFirst) this.failing++
    const pause = Math.min(longestPause, firstPause * 2 ** (entry.failures - 1))
    entry.dueAt = this.now() + pause * (1 - share / 4)
    if (isFirst) state.bindings.drop(entry.key)
    const error = issues === undefined ? this.errorOf(entry, exit) : undefined
    if (issues === undefined) state.setHealth({ lastError: error })
    else {
      state.setHealth({
        rejected: { revision: Option.none(), issues, at: state.clock.currentTimeMillisUnsafe() }
      })
    }
    if (!isFirst) return Effect.void
    return Effect.logWarning(
      error === undefined
        ? `rego ${entry.key}: its policy was refused\n${formatAll(issues!)}`
        : `rego: ${error.message}`
    )
  }

  private errorOf({ key }: Entry, exit: Exit.Exit<unknown, unknown>): SourceError {
    const error = exit._tag === "Failure" ? Option.getOrUndefined(Exit.findErrorOption(exit)) : undefined
    const detail = error === undefined ? "a defect" : nameOf(error)
    return new SourceError({ source: "fetch", reason: { _tag: "Unavailable", detail: `policy of ${key}: ${detail}` } })
  }

  // ---------------------------------------------------------------------------
  // the gate for one policy
  // ---------------------------------------------------------------------------

  private check(entry: Entry, answer: Option.Option<unknown>): Checked {
    if (Option.isNone(answer)) return { _tag: "Policy", sections: undefined }
    const read = Policy.isPolicy(answer.value)
      ? { sections: answer.value.sections, issues: [] }
      : PolicyDocument.readPolicy(clampOnePolicy(answer.value).json)
    if (read.sections === undefined) return invalid(entry, read.issues)
    const { guarded, names, state } = this.its
    const { set } = clampMerged({ [entry.key]: read.sections }, state.inForce.set.defaults, false)
    const sections = set.exact.get(entry.key) ?? read.sections
    const merged = Policy.merge(set.defaults, sections)
    const issues = [
      ...BootChecks.unknownNames(names, sections),
      ...BootChecks.mergedIssues(merged, (name) => state.budgets.sample(name)),
      ...(guarded && entry.sections !== undefined
        ? DocumentGuard.between(Policy.merge(set.defaults, entry.sections), merged)
        : [])
    ]
    return issues.length > 0 ? invalid(entry, issues) : { _tag: "Policy", sections }
  }
}
