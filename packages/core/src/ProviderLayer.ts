/**
 * What every policy layer is made of, wherever its policies come from: limits, the state, the supervisor of what calls leave
 * behind, the service.
 *
 * @internal
 */
import { Clock, Context, Duration, Effect, Layer, Schema, Scope } from "effect"
import * as BootChecks from "./BootChecks.ts"
import * as Classifier from "./Classifier.ts"
import * as Hedge from "./Hedge.ts"
import type { Issue } from "./Issue.ts"
import { durationField, integerField } from "./Issue.ts"
import { Overrides } from "./Overrides.ts"
import { PolicyInvalid } from "./Policy.ts"
import { PolicyProvider } from "./PolicyProvider.ts"
import type { Initial, Options } from "./ProviderState.ts"
import { ProviderState } from "./ProviderState.ts"
import { Supervisor } from "./Supervisor.ts"
import { nowMillis } from "./Time.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

const count = (max: number, min = 1) => Schema.optional(integerField(min, max))

export const Limits = Schema.Struct({
  maxKeys: count(1_000_000),
  maxAbandoned: count(1_000_000),
  maxAttemptRecords: count(1_000, 2),
  shutdownTimeout: Schema.optional(durationField(0, "10 minutes"))
})

export type Limits = typeof Limits.Type

export const OnMissing = Schema.Literals(["single-attempt", "defaults", "fail"])

export const refuse = (issues: ReadonlyArray<Issue>): Effect.Effect<void, PolicyInvalid> =>
  issues.length === 0 ? Effect.void : Effect.fail(new PolicyInvalid({ issues }))

// -----------------------------------------------------------------------------
// the state and its service
// -----------------------------------------------------------------------------

/** A policy layer while it is built. */
export interface Provider {
  readonly state: ProviderState
  readonly names: BootChecks.Names
  readonly scope: Scope.Scope
}

const namesOf = (state: ProviderState, registries: Context.Context<never>): BootChecks.Names => ({
  isBudget: (name) => state.budgets.has(name),
  isClassifier: (name) => Classifier.findNamed(registries, name) !== undefined,
  isTrigger: (name) => Hedge.findNamed(registries, name) !== undefined
})

export const make = Effect.fnUntraced(function*(limits: Limits, initial: Initial, bindings?: Options["bindings"]) {
  const context = yield* Effect.context<Scope.Scope>()
  const supervisor = new Supervisor()
  yield* Effect.addFinalizer(() => supervisor.close(limits.shutdownTimeout ?? Duration.seconds(5)))
  const bounds = {
    maxKeys: limits.maxKeys ?? 1_000,
    maxAbandoned: limits.maxAbandoned ?? 64,
    maxAttemptRecords: limits.maxAttemptRecords ?? 16
  }
  const state = yield* ProviderState.make(initial, { bounds, supervisor, context, bindings })
  const provider: Provider = { state, names: namesOf(state, context), scope: Context.get(context, Scope.Scope) }
  return provider
})

/** Policies that are known at boot are checked then, every issue at once, and warned of. */
export const check = ({ names, state }: Provider): Effect.Effect<void, PolicyInvalid> =>
  Effect.suspend(() => {
    const { onMissing, set } = state.inForce
    const policies = { set, givesDefaults: onMissing === "defaults" }
    const merged = BootChecks.allMergedIssues(policies, (name) => state.budgets.sample(name))
    const warnings = Effect.forEach(BootChecks.warnings(policies), (warning) => Effect.logWarning(warning), {
      discard: true
    })
    return Effect.andThen(refuse([...BootChecks.nameIssues(policies, names), ...merged]), warnings)
  })

export const service = ({ names, scope, state }: Provider): PolicyProvider["Service"] => {
  const overrides = new Overrides(state, names, scope)
  return PolicyProvider.of({
    policy: (key) => state.policy(key),
    status: state.status,
    changes: state.changes,
    override: (pattern, change, options) => overrides.make(pattern, change, options),
    statistics: (key) => state.statistics(key),
    "~@rego/core/PolicyProvider": state.bindings
  })
}

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/** Builds within this many milliseconds count together; more of them mean that the layer is provided around calls. */
const rebuildWindow = 10_000
const maxRebuilds = 10

/** When a layer was built, for each clock: tests that share a layer have a time line each. */
class Builds {
  private readonly times = new WeakMap<Clock.Clock, Array<number>>()
  private warned = false

  /** Whether this build is the one to warn at. */
  add(clock: Clock.Clock): boolean {
    const now = nowMillis(clock)
    const times = (this.times.get(clock) ?? []).filter((at) => now - at <= rebuildWindow)
    times.push(now)
    this.times.set(clock, times.slice(-maxRebuilds - 1))
    if (this.warned || times.length <= maxRebuilds) return false
    this.warned = true
    return true
  }
}

const warnWhenRebuilt = (builds: Builds): Effect.Effect<void> =>
  Clock.clockWith((clock) =>
    builds.add(clock)
      ? Effect.logWarning(
        "PolicyLayer: built more than 10 times within 10 seconds. Provide it once, at the edge of the application: " +
          "around a single call its budgets start anew each time"
      )
      : Effect.void
  )

export const toLayer = <R = never>(
  build: Effect.Effect<PolicyProvider["Service"], PolicyInvalid, R>
): Layer.Layer<PolicyProvider, PolicyInvalid, Exclude<R, Scope.Scope>> => {
  const builds = new Builds()
  return Layer.effect(PolicyProvider, Effect.andThen(warnWhenRebuilt(builds), build)) as Layer.Layer<
    PolicyProvider,
    PolicyInvalid,
    Exclude<R, Scope.Scope>
  >
}
