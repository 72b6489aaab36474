/**
 * Layers that decide what each key gets. Build one at the edge of the application.
 *
 * **Details**
 *
 * A key gets its exact entry, laid over the longest `prefix.*` that matches, laid over `*`, laid over `defaults`. A key
 * that no entry matches is missing: it runs once, observed, with one warning, unless `onMissing` says otherwise.
 *
 * State (budgets, abandoned attempts that still run) belongs to the layer: all calls under one layer share it,
 * two layers share nothing, and it is freed with the layer. When the layer closes it interrupts abandoned attempts and
 * waits for them for at most `shutdownTimeout`, on the live clock.
 *
 * **Gotchas**
 *
 * Provided around a single call (`effect.pipe(Effect.provide(Policies))`) its state is new each time, so that its budget
 * knows of no other call, and the call waits for its own abandoned attempts at the end. It warns when it is built more than
 * 10 times within 10 seconds. Provide it before the layers of the clients that it protects: layers side by side close in
 * parallel.
 *
 * **Example** (Policies for an application)
 *
 * ```ts
 * import { Backoff, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, ManagedRuntime } from "effect"
 *
 * const Policies = PolicyLayer.make({
 *   defaults: { timeout: { overall: "2 seconds" } },
 *   policies: {
 *     "users.*": { retry: { maxAttempts: 3, backoff: Backoff.exponential({ initial: "10 millis", max: "250 millis" }) } },
 *     "users.Create": { idempotent: false }
 *   }
 * })
 *
 * const runtime = ManagedRuntime.make(Policies)
 *
 * await runtime.runPromise(Effect.succeed("ada").pipe(Rego.resilient("users.Get"))) // => "ada"
 * await runtime.dispose()
 * ```
 *
 * @since 0.1.0
 */
import type { Duration, Option, Scope } from "effect"
import { Effect, Layer, Predicate, Schema } from "effect"
import * as FetchLayer from "./FetchLayer.ts"
import type { Issue } from "./Issue.ts"
import { fromSchemaError, parseOptions } from "./Issue.ts"
import * as KillSwitch from "./KillSwitch.ts"
import * as LiveLayer from "./LiveLayer.ts"
import * as Policy from "./Policy.ts"
import * as PolicyDocument from "./PolicyDocument.ts"
import type * as PolicyKey from "./PolicyKey.ts"
import type { PolicyProvider } from "./PolicyProvider.ts"
import * as PolicySet from "./PolicySet.ts"
import type { PolicySource } from "./PolicySource.ts"
import * as ProviderLayer from "./ProviderLayer.ts"
import type { Initial } from "./ProviderState.ts"
import * as Rollout from "./Rollout.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * What a key gets that no policy matches: one attempt, observed; `defaults` laid over `Policy.defaults`; or the error
 * `PolicyMissing`.
 *
 * @category options
 * @since 0.1.0
 */
export type OnMissing = "single-attempt" | "defaults" | "fail"

/**
 * Bounds on what a layer keeps.
 *
 * @category options
 * @since 0.1.0
 */
export interface Limits {
  /** distinct keys, 1 to 1,000,000; further ones share the overflow key of their namespace. Default 1,000 */
  readonly maxKeys?: number | undefined
  /** abandoned attempts of a key that still run, before its extra attempts are denied, 1 to 1,000,000. Default 64 */
  readonly maxAbandoned?: number | undefined
  /** attempt records of a call, 2 to 1,000: the first ones and the last are kept. Default 16 */
  readonly maxAttemptRecords?: number | undefined
  /** how long the layer waits for abandoned attempts when it closes, up to 10 minutes. Default 5 seconds */
  readonly shutdownTimeout?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// local policies
// -----------------------------------------------------------------------------

interface Source extends Initial {
  readonly limits: ProviderLayer.Limits
}

const build = Effect.fnUntraced(function*({ limits, ...initial }: Source) {
  const provider = yield* ProviderLayer.make(limits, initial)
  yield* ProviderLayer.check(provider)
  return ProviderLayer.service(provider)
})

const toLayer = <R>(source: Effect.Effect<Source, Policy.PolicyInvalid>) =>
  ProviderLayer.toLayer<R>(Effect.flatMap(source, build) as Effect.Effect<
    PolicyProvider["Service"],
    Policy.PolicyInvalid,
    R
  >)

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * The policies of `make`, by the keys that they are for.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<B extends string, C extends string, T extends string, N> {
  /** keys, `prefix.*` and `*` */
  readonly policies: { readonly [key: string]: Policy.Input<B, C, T> | Policy.Policy<N> }
  /** lies under every entry that matches; does not make a key known */
  readonly defaults?: Policy.Input<B, C, T> | Policy.Policy<N> | undefined
  /** what a key gets that no entry matches. Default `"single-attempt"` */
  readonly onMissing?: OnMissing | undefined
  /** bounds on what the layer keeps */
  readonly limits?: Limits | undefined
}

const OptionsSchema = Schema.Struct({
  policies: Schema.Record(Schema.String, Schema.Unknown),
  defaults: Schema.optional(Schema.Unknown),
  onMissing: Schema.optional(ProviderLayer.OnMissing),
  limits: Schema.optional(ProviderLayer.Limits)
})

const decodeOptions = Schema.decodeUnknownResult(OptionsSchema, parseOptions)

const checkOptions = (options: unknown): Effect.Effect<Source, Policy.PolicyInvalid> =>
  Effect.suspend(() => {
    const decoded = decodeOptions(options)
    const { defaults, policies } = (Predicate.isObject(options) ? options : {}) as Readonly<Record<string, unknown>>
    const issues: Array<Issue> = decoded._tag === "Failure" ? [...fromSchemaError(decoded.failure)] : []
    const entries = Object.fromEntries(
      Object.entries(Predicate.isObject(policies) ? policies : {}).map(([pattern, policy]) => {
        PolicySet.checkPattern(pattern, ["policies", pattern], issues)
        return [pattern, Policy.check(policy, ["policies", pattern], issues) ?? {}]
      })
    )
    const under = defaults === undefined ? {} : Policy.check(defaults, ["defaults"], issues)
    if (issues.length > 0 || decoded._tag === "Failure") return Effect.fail(new Policy.PolicyInvalid({ issues }))
    return Effect.succeed({
      set: PolicySet.make(entries, under),
      revision: "local",
      source: "local" as const,
      onMissing: decoded.success.onMissing ?? "single-attempt",
      switches: KillSwitch.none,
      budgets: {},
      limits: decoded.success.limits ?? {}
    })
  })

/**
 * Policies written in code.
 *
 * **Details**
 *
 * Fails with every issue of every policy. Names of budgets and classifiers become requirements of the layer: a literal name
 * that nobody provides does not compile, one that is no literal fails here.
 *
 * @category layers
 * @since 0.1.0
 */
export const make = <
  const B extends string = never,
  const C extends string = never,
  const T extends string = never,
  const N = never
>(options: Options<B, C, T, N>): Layer.Layer<PolicyProvider, Policy.PolicyInvalid, Policy.Names<B, C, T> | N> =>
  toLayer<Policy.Names<B, C, T> | N>(checkOptions(options)) as Layer.Layer<
    PolicyProvider,
    Policy.PolicyInvalid,
    Policy.Names<B, C, T> | N
  >

/**
 * `Policy.defaults` for every key: three attempts, no timeouts.
 *
 * @category layers
 * @since 0.1.0
 */
export const defaults: Layer.Layer<PolicyProvider> = Layer.orDie(make({ policies: {}, onMissing: "defaults" }))

const fromDecoded = (document: PolicyDocument.PolicyDocument, instance: string): Source => ({
  set: PolicySet.make(Rollout.allChosen(document.policies, instance), document.defaults),
  revision: document.revision,
  source: "local" as const,
  onMissing: "single-attempt" as const,
  switches: PolicyDocument.switchesIn(document),
  budgets: document.budgets ?? {},
  limits: {}
})

/**
 * Policies from a document: unknown JSON, as it was read from a file that ships with the application.
 *
 * **Details**
 *
 * Fails with every issue of the document. Budgets, classifiers and triggers that it names and does not define are looked up
 * among those provided to the layer. `instance` is the name by which rollouts choose; without one each start draws another.
 *
 * @category layers
 * @since 0.1.0
 */
export const fromDocument = (
  json: unknown,
  options?: { readonly instance?: string | undefined }
): Layer.Layer<PolicyProvider, Policy.PolicyInvalid> =>
  toLayer(
    Effect.zipWith(
      PolicyDocument.decode(json),
      Rollout.instanceOr(options?.instance),
      fromDecoded
    )
  )

// -----------------------------------------------------------------------------
// policies that change
// -----------------------------------------------------------------------------

/**
 * What `live` does at boot, and how careful it is with documents. All have defaults.
 *
 * @category options
 * @since 0.1.0
 */
export interface LiveOptions {
  /**
   * The document that comes with the application, as unknown JSON: the last resort, when the source does not answer and
   * nothing is known from an earlier process. It passes the gate of remote documents; one that is refused fails the layer.
   */
  readonly bundled?: unknown
  /** what a key gets that has no policy. Default `"single-attempt"` */
  readonly onMissing?: OnMissing | undefined
  /**
   * What becomes of a document with an entry that names a classifier, budget or trigger that is not known here: the entry
   * keeps its last good version (one attempt, if it has none) and the rest is taken; or all of it is refused. Default
   * `"keep-last-good"`
   */
  readonly onInvalidEntry?: "keep-last-good" | "refuse-document" | undefined
  /** whether large steps are refused unless an entry says `force: true`. Default `true` */
  readonly guard?: boolean | undefined
  /** the name by which rollouts choose, such as that of the host. Default: another one at each start */
  readonly instance?: string | undefined
  /** how long the layer waits for the first document when it has none from an earlier process, up to 5 minutes. Default 2 seconds */
  readonly startupTimeout?: Duration.Input | undefined
  /** how long the document of an earlier process counts, 1 minute to 3650 days. Default 30 days */
  readonly maxAge?: Duration.Input | undefined
  /** bounds on what the layer keeps */
  readonly limits?: Limits | undefined
}

/**
 * Policies from a source (`PolicySource`), which change while the process runs.
 *
 * **Details**
 *
 * Each document is validated, clamped and guarded, and then takes the place of the one before, for all keys at once. Calls
 * in flight keep the policy that they began with; budgets and latencies are carried over. A document that is refused changes
 * nothing, except that its kill switches are in force.
 *
 * At boot: the document of an earlier process, when a `LastKnownGood` is provided and has one; else the first one of the
 * source, within `startupTimeout`; else `bundled`; else `onMissing`. When the source goes away the last document stays in
 * force, for ever, and timelines say that it is stale.
 *
 * **Gotchas**
 *
 * Budgets, classifiers and triggers that documents may name are provided to the layer, as for `fromDocument`.
 *
 * **Example** (A source in memory)
 *
 * ```ts
 * import { PolicyLayer, PolicyProvider, PolicySource } from "@rego/core"
 * import { Effect, Fiber, Layer, Queue, Stream } from "effect"
 *
 * const document = (revision: string, maxAttempts: number) =>
 *   PolicySource.document({
 *     schemaVersion: "1.0",
 *     revision,
 *     policies: { "users.*": { retry: { maxAttempts }, timeout: { overall: "2 seconds" } } }
 *   })
 *
 * const program = Effect.gen(function*() {
 *   const found = yield* Queue.unbounded<PolicySource.Found>()
 *   yield* Queue.offer(found, document("1", 3))
 *   const source = PolicySource.make({ name: "memory", found: Stream.fromQueue(found) })
 *   const Policies = PolicyLayer.live().pipe(Layer.provide(Layer.succeed(PolicySource.PolicySource, source)))
 *
 *   yield* Effect.gen(function*() {
 *     const provider = yield* PolicyProvider.PolicyProvider
 *     const changes = yield* provider.changes.pipe(
 *       Stream.take(2),
 *       Stream.runCollect,
 *       Effect.forkChild({ startImmediately: true })
 *     )
 *     yield* Queue.offer(found, document("2", 9))
 *     const [, change] = yield* Fiber.join(changes)
 *     change?.status.revision // => "2"
 *     change?.differences // => [{ path: ["policies", "users.*", "retry", "maxAttempts"], before: 3, after: 9 }]
 *   }).pipe(Effect.provide(Policies))
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const live = (options: LiveOptions = {}): Layer.Layer<PolicyProvider, Policy.PolicyInvalid, PolicySource> =>
  ProviderLayer.toLayer(LiveLayer.build(options))

/**
 * Where `fetch` gets the policy of a key, and how long it keeps it.
 *
 * @category options
 * @since 0.1.0
 */
export interface FetchOptions<E, R> {
  /**
   * The policy of a key, as a `Policy` or as the JSON that stands under a key of a document; `None` when there is none. JSON
   * is clamped and guarded as documents are.
   */
  readonly fetch: (key: PolicyKey.PolicyKey) => Effect.Effect<Option.Option<unknown>, E, R>
  /** how long an answer counts, 1 second to 7 days; in fact up to a tenth less, at random */
  readonly ttl: Duration.Input
  /** the same for `None`. Default 10 seconds, at most `ttl` */
  readonly negativeTtl?: Duration.Input | undefined
  /** how much longer an answer stays in force when no other one can be had. Default for ever */
  readonly staleFor?: Duration.Input | undefined
  /** how long a call waits for its policy on the first sight of its key, up to 10 seconds. Default 100 millis */
  readonly timeout?: Duration.Input | undefined
  /** how long a fetch may take, 10 milliseconds to 5 minutes. Default 10 seconds */
  readonly fetchTimeout?: Duration.Input | undefined
  /** policies that are kept, 1 to 10,000; beyond, those used least recently are dropped. Default 1,000 */
  readonly capacity?: number | undefined
  /** whether large steps are refused. Default `true` */
  readonly guard?: boolean | undefined
  /** lies under every policy; does not make a key known */
  readonly defaults?: Policy.Input | undefined
  /** what a key gets that has no policy. Default `"single-attempt"` */
  readonly onMissing?: OnMissing | undefined
  /** bounds on what the layer keeps */
  readonly limits?: Limits | undefined
}

/**
 * Policies that are fetched for one key at a time, when it is called first.
 *
 * **Details**
 *
 * A first call waits for its policy for at most `timeout`, and never past its deadline; when there is none by then it runs
 * as one of a missing key, and the fetch goes on. Whoever asks meanwhile shares the fetch. After `ttl` the next call starts
 * another one, and goes on with the policy that is there. While that fails the policy stays in force, marked as stale; a
 * failure is remembered for a second, then for twice as long each time, up to a minute. At most 10 fetches run at once.
 *
 * **Gotchas**
 *
 * A fetch that was interrupted with its caller would be lost for all others, so it belongs to the layer: it sees the
 * services of the layer, and none of the call.
 *
 * **Example** (A policy from a table)
 *
 * ```ts
 * import { Policy, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Option } from "effect"
 *
 * const table: Record<string, Policy.Policy> = { "users.Get": Policy.make({ retry: { maxAttempts: 4 } }) }
 * let fetches = 0
 *
 * const Policies = PolicyLayer.fetch({
 *   fetch: (key) => Effect.sync(() => {
 *     fetches++
 *     return Option.fromUndefinedOr(table[key])
 *   }),
 *   ttl: "1 minute"
 * })
 *
 * const program = Effect.gen(function*() {
 *   for (let i = 0; i < 100; i++) yield* Rego.resilient(Effect.void, "users.Get")
 *   fetches // => 1
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(Policies)))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const fetch = <E, R>(
  options: FetchOptions<E, R>
): Layer.Layer<PolicyProvider, Policy.PolicyInvalid, Exclude<R, Scope.Scope>> =>
  ProviderLayer.toLayer<R | Scope.Scope>(FetchLayer.build(options))
