/**
 * Boots a layer whose policies are fetched for one key at a time.
 *
 * @internal
 */
import type { Option, Scope } from "effect"
import { Duration, Effect, Predicate, Schema } from "effect"
import type { Numbers } from "./FetchedPolicies.ts"
import { FetchedPolicies } from "./FetchedPolicies.ts"
import type { Issue } from "./Issue.ts"
import { durationField, fromSchemaError, integerField, parseOptions, rule } from "./Issue.ts"
import * as KillSwitch from "./KillSwitch.ts"
import * as Policy from "./Policy.ts"
import type { FetchOptions } from "./PolicyLayer.ts"
import * as PolicySet from "./PolicySet.ts"
import * as ProviderLayer from "./ProviderLayer.ts"

const Options = Schema.Struct({
  fetch: Schema.Unknown.pipe(Schema.check(rule(Predicate.isFunction, "a function"))),
  ttl: durationField("1 second", "7 days"),
  negativeTtl: Schema.optional(durationField("1 second", "7 days")),
  staleFor: Schema.optional(durationField(0, "3650 days")),
  timeout: Schema.optional(durationField(0, "10 seconds")),
  fetchTimeout: Schema.optional(durationField("10 millis", "5 minutes")),
  capacity: Schema.optional(integerField(1, 10_000)),
  guard: Schema.optional(Schema.Boolean),
  defaults: Schema.optional(Schema.Unknown),
  onMissing: Schema.optional(ProviderLayer.OnMissing),
  limits: Schema.optional(ProviderLayer.Limits)
})

type Options = typeof Options.Type

const decodeOptions = Schema.decodeUnknownResult(Options, parseOptions)

interface Checked {
  readonly options: Options
  readonly defaults: Policy.Sections
}

const readOptions = (given: unknown): Effect.Effect<Checked, Policy.PolicyInvalid> =>
  Effect.suspend(() => {
    const decoded = decodeOptions(given)
    const issues: Array<Issue> = decoded._tag === "Failure" ? [...fromSchemaError(decoded.failure)] : []
    const defaults = Predicate.isObject(given) && "defaults" in given && given.defaults !== undefined
      ? Policy.check(given.defaults, ["defaults"], issues)
      : {}
    return issues.length > 0 || decoded._tag === "Failure" || defaults === undefined
      ? Effect.fail(new Policy.PolicyInvalid({ issues }))
      : Effect.succeed({ options: decoded.success, defaults })
  })

const millis = (duration: Duration.Duration | undefined, otherwise: number): number =>
  duration === undefined ? otherwise : Duration.toMillis(duration)

const numbersOf = (options: Options): Numbers => ({
  ttl: Duration.toMillis(options.ttl),
  negativeTtl: millis(options.negativeTtl, Math.min(10_000, Duration.toMillis(options.ttl))),
  staleFor: millis(options.staleFor, Infinity),
  timeout: millis(options.timeout, 100),
  fetchTimeout: millis(options.fetchTimeout, 10_000),
  capacity: options.capacity ?? 1_000
})

export const build = Effect.fnUntraced(function*<E, R>(given: FetchOptions<E, R>) {
  const { defaults, options } = yield* readOptions(given)
  const context = yield* Effect.context<R | Scope.Scope>()
  const fetched = new FetchedPolicies()
  yield* Effect.addFinalizer(() => fetched.close())
  const provider = yield* ProviderLayer.make(options.limits ?? {}, {
    set: PolicySet.make({}, defaults),
    revision: "fetched",
    source: "live",
    onMissing: options.onMissing ?? "single-attempt",
    budgets: {},
    switches: KillSwitch.none
  }, fetched.bindings)
  fetched.start({
    numbers: numbersOf(options),
    fetch: (key) => Effect.provide(given.fetch(key), context) as Effect.Effect<Option.Option<unknown>, unknown>,
    names: provider.names,
    state: provider.state,
    guarded: options.guard ?? true,
    context
  })
  yield* ProviderLayer.check(provider)
  return ProviderLayer.service(provider)
})
