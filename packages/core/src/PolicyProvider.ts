/**
 * The service that answers "which policy does this key get": what a `PolicyLayer` provides and a call requires.
 *
 * **Example** (Asking for the policy of a key)
 *
 * ```ts
 * import { PolicyLayer, PolicyProvider } from "@rego/core"
 * import { Effect, Option } from "effect"
 *
 * const Policies = PolicyLayer.make({ policies: { "users.*": { retry: { maxAttempts: 2 } } } })
 *
 * const program = Effect.gen(function*() {
 *   const provider = yield* PolicyProvider.PolicyProvider
 *   const known = yield* provider.policy("users.Get")
 *   Option.map(known, (policy) => policy.sections.retry) // => Option.some({ maxAttempts: 2 })
 *   const unknown = yield* provider.policy("orders.Get")
 *   Option.isNone(unknown) // => true
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Policies)))
 * ```
 *
 * @since 0.1.0
 */
import type { Stream } from "effect"
import { Context, DateTime, Duration, Effect, Layer, Option } from "effect"
import type { Around } from "./Attempt.ts"
import type { Bindings } from "./Bindings.ts"
import type { PolicySource } from "./CallRecord.ts"
import type * as Hedge from "./Hedge.ts"
import type { Issue } from "./Issue.ts"
import { formatAll, formatPath, show } from "./Issue.ts"
import type { StoreError } from "./LastKnownGood.ts"
import type * as Latency from "./Latency.ts"
import type { Input, Policy, PolicyInvalid } from "./Policy.ts"
import type * as PolicyKey from "./PolicyKey.ts"
import type { Clamped, SourceError } from "./PolicySource.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * Where the policies in force come from, and what is wrong with that.
 *
 * **Details**
 *
 * `source` is `"local"` for policies in code. Of those that come from a source: `"live"`, what it has now; `"stale"`, what it
 * had when it was last heard of, because it does not answer or what it has was refused; `"lkg"`, the last known good
 * document of an earlier process; `"bundled"`, the document that came with the application; `"missing"`, none at all.
 *
 * @category models
 * @since 0.1.0
 */
export interface PolicyStatus {
  /** of the policies in force; `"local"` for those in code */
  readonly revision: string
  readonly source: PolicySource
  /** since the source last confirmed what is in force; `None` where no source ever did */
  readonly age: Option.Option<Duration.Duration>
  /** why the source was not heard of; `None` since it was */
  readonly lastError: Option.Option<SourceError>
  /** why the last document could not be kept for the next boot, or the one of the last process not be read */
  readonly storeError: Option.Option<StoreError>
  /** the document that was refused last; `None` since another one was accepted */
  readonly rejected: Option.Option<Rejection>
  /** the document in force was in force before, and others since */
  readonly rolledBack: boolean
  /** values of the document in force that were moved to a limit */
  readonly clamped: ReadonlyArray<Clamped>
  /** entries of the document in force that were not taken: each keeps its last good version, else it gets one attempt */
  readonly issues: ReadonlyArray<Issue>
  /** keys and patterns that get no retries and no hedges at this moment */
  readonly off: ReadonlyArray<SwitchedOff>
  /** keys and patterns that get no hedges at this moment */
  readonly hedgeOff: ReadonlyArray<SwitchedOff>
  /** the overrides that hold, made in this process */
  readonly overrides: ReadonlyArray<Overridden>
}

/**
 * A document that was refused. Nothing of it is in force, except its kill switches.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rejection {
  /** `None` where it could not be read */
  readonly revision: Option.Option<string>
  /** at most 100 */
  readonly issues: ReadonlyArray<Issue>
  /** milliseconds since the epoch */
  readonly at: number
}

/**
 * A key or pattern that a kill switch or an override has switched off.
 *
 * @category models
 * @since 0.1.0
 */
export interface SwitchedOff {
  readonly pattern: string
  /** milliseconds since the epoch; `None` until a document says otherwise */
  readonly until: Option.Option<number>
}

/**
 * An override that is in force.
 *
 * @category models
 * @since 0.1.0
 */
export interface Overridden {
  readonly pattern: string
  readonly change: "off" | "hedgeOff" | Policy<unknown>
  /** milliseconds since the epoch */
  readonly until: number
}

/**
 * A field that is different from before. Durations are text.
 *
 * @category models
 * @since 0.1.0
 */
export interface Difference {
  /** as in a document: `["policies", "users.*", "retry", "maxAttempts"]` */
  readonly path: ReadonlyArray<PropertyKey>
  /** `undefined` where there was none */
  readonly before: unknown
  /** `undefined` where there is none any more */
  readonly after: unknown
}

/**
 * What is different from the item before, and how things stand.
 *
 * @category models
 * @since 0.1.0
 */
export interface PolicyChange {
  readonly status: PolicyStatus
  /** the revision of the item before; `None` in the first one */
  readonly previous: Option.Option<string>
  /** empty in the first item, and where only the status is another */
  readonly differences: ReadonlyArray<Difference>
}

/**
 * What `override` lays over the policies of a key: no retries and no hedges, no hedges, or a policy.
 *
 * @category models
 * @since 0.1.0
 */
export type Change = "off" | "hedgeOff" | Input | Policy<unknown>

/**
 * How long an override holds. It has no default: one that is forgotten must end by itself.
 *
 * @category options
 * @since 0.1.0
 */
export interface OverrideOptions {
  /** how long it holds, 1 second to 7 days */
  readonly for: Duration.Input
}

/**
 * An override that was set.
 *
 * @category models
 * @since 0.1.0
 */
export interface Override {
  /** ends it before its time; does nothing once it has ended */
  readonly lift: Effect.Effect<void>
}

/**
 * What is known about a key since its layer was built.
 *
 * @category models
 * @since 0.1.0
 */
export interface KeyStatistics {
  readonly key: PolicyKey.PolicyKey
  /** abandoned attempts that still run */
  readonly abandoned: number
  /** what it holds now: extra attempts of cost 1, or whatever its kind counts (`docs/budget.md`) */
  readonly budget: { readonly name: string; readonly balance: number }
  /** `None` for keys whose policy does not hedge */
  readonly hedging: Option.Option<{ readonly hedges: Hedge.Statistics; readonly latency: Latency.Snapshot }>
}

/**
 * The service that calls require, and that a `PolicyLayer` provides: the policies in force, how they stand, and the
 * means to change them in this process.
 *
 * @category services
 * @since 0.1.0
 */
export class PolicyProvider extends Context.Service<PolicyProvider, {
  /** the policy of a key as it is now, merged; `None` when no entry matches */
  readonly policy: (key: PolicyKey.Input) => Effect.Effect<Option.Option<Policy<unknown>>>
  /** how things stand now */
  readonly status: Effect.Effect<PolicyStatus>
  /**
   * How things stand, and then every change. A subscriber that is slow gets the changes that it missed as one, so that
   * nothing piles up and the last state always arrives.
   */
  readonly changes: Stream.Stream<PolicyChange>
  /**
   * Lays a change over what a key, or all keys of a `prefix.*` or `*`, get: in this process, for a while. Over exact
   * entries as well; a second one of the same kind for the same pattern replaces the first. `"off"` and `"hedgeOff"` also
   * reach calls in flight, as the kill switches of a document do.
   */
  readonly override: (
    pattern: string,
    change: Change,
    options: OverrideOptions
  ) => Effect.Effect<Override, PolicyInvalid>
  /** what is known about a key since the layer was built; `None` for one that was not called yet */
  readonly statistics: (key: PolicyKey.Input) => Effect.Effect<Option.Option<KeyStatistics>>
  /** what the driver works with; made by `PolicyLayer` only */
  readonly "~@rego/core/PolicyProvider": Bindings
}>()("@rego/core/PolicyProvider") {}

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * The provider that is there already, with something around every attempt of every call that uses it.
 *
 * **When to use**
 *
 * For faults in a test or an exercise: `Fault` of `@rego/testing` is made of it. Calls pay nothing for it where it is not
 * provided.
 *
 * **Details**
 *
 * It runs in the fiber of the attempt, inside its timeout, and the classifier judges its exit. One that throws is a defect
 * of the attempt. A second one is inside of the first.
 *
 * **Example** (A dependency that is slow)
 *
 * ```ts
 * import { PolicyLayer, PolicyProvider, Rego } from "@rego/core"
 * import { Clock, Effect, Fiber, Layer } from "effect"
 * import { TestClock } from "effect/testing"
 *
 * const Slow = PolicyProvider.around((self) => Effect.delay(self, "1 second"))
 *
 * const test = Effect.gen(function*() {
 *   const call = yield* Clock.currentTimeMillis.pipe(
 *     Rego.resilient("users.Get"),
 *     Effect.forkChild({ startImmediately: true })
 *   )
 *   yield* TestClock.adjust("1 second")
 *   yield* Fiber.join(call) // => 1_000
 * })
 *
 * const Policies = Slow.pipe(Layer.provide(PolicyLayer.defaults))
 * await Effect.runPromise(test.pipe(Effect.provide([Policies, TestClock.layer()])))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const around = (around: Around): Layer.Layer<PolicyProvider, never, PolicyProvider> =>
  Layer.effect(
    PolicyProvider,
    Effect.map(PolicyProvider, (provider) =>
      PolicyProvider.of({
        ...provider,
        "~@rego/core/PolicyProvider": provider["~@rego/core/PolicyProvider"].withAround(around)
      }))
  )

// -----------------------------------------------------------------------------
// rendering
// -----------------------------------------------------------------------------

const instant = (millis: number): string => DateTime.formatIso(DateTime.makeUnsafe(millis))

const nameOf = ({ revision, source }: PolicyStatus): string => revision === source ? source : `${revision}, ${source}`

const ageOf = ({ age, source }: PolicyStatus): string =>
  source === "live" ? "" : Option.match(age, { onNone: () => "", onSome: (is) => `, ${Duration.format(is)} old` })

const indented = (text: string): ReadonlyArray<string> => text.split("\n").map((line) => `  ${line}`)

const rejectionLines = ({ at, issues, revision }: Rejection): ReadonlyArray<string> => [
  `refused at ${instant(at)}: ${Option.getOrElse(revision, () => "a document without a revision")}`,
  ...indented(formatAll(issues))
]

const clampedLine = ({ limit, path, value }: Clamped): string =>
  `clamped ${formatPath(path)}: ${show(value)} to ${show(limit)}`

const switchedLine = (what: string) => ({ pattern, until }: SwitchedOff): string =>
  `${what} ${pattern}${Option.match(until, { onNone: () => "", onSome: (at) => ` until ${instant(at)}` })}`

const overrideLine = ({ change, pattern, until }: Overridden): string =>
  `override ${pattern} until ${instant(until)}${typeof change === "string" ? `: ${change}` : ""}`

const errorLine = (error: { readonly message: string }): string => `error: ${error.message}`

/**
 * How things stand, for a terminal or a page of an operator: a line for what is in force, then a line for each thing that is
 * not as it should be.
 *
 * @category rendering
 * @since 0.1.0
 */
export const render = (status: PolicyStatus): string =>
  [
    `policy ${nameOf(status)}${ageOf(status)}${status.rolledBack ? ", rolled back" : ""}`,
    ...Option.toArray(status.lastError).map(errorLine),
    ...Option.toArray(status.storeError).map(errorLine),
    ...Option.toArray(status.rejected).flatMap(rejectionLines),
    ...status.clamped.map(clampedLine),
    ...status.issues.map((issue) => `not taken ${formatAll([issue])}`),
    ...status.off.map(switchedLine("off")),
    ...status.hedgeOff.map(switchedLine("hedges off")),
    ...status.overrides.map(overrideLine)
  ].join("\n")

const differenceLine = ({ after, before, path }: Difference): string => {
  const name = formatPath(path)
  if (before === undefined) return `+ ${name}: ${show(after)}`
  return after === undefined ? `- ${name}: ${show(before)}` : `  ${name}: ${show(before)} to ${show(after)}`
}

/**
 * A change, for a log: how things stand, then every field that is different.
 *
 * @category rendering
 * @since 0.1.0
 */
export const renderChange = ({ differences, status }: PolicyChange): string =>
  [render(status), ...differences.map(differenceLine)].join("\n")
