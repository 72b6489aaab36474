/**
 * Boots a layer of live policies: something to begin with, then the source, and what runs beside it.
 *
 * @internal
 */
import type { Scope } from "effect"
import { Cause, Deferred, Duration, Effect, Exit, Metric, Option, Queue, Random, Schema, Stream } from "effect"
import { apart } from "./Apart.ts"
import type { Accepted, Gate } from "./DocumentGate.ts"
import { durationField, fromSchemaError, parseOptions } from "./Issue.ts"
import * as KillSwitch from "./KillSwitch.ts"
import type { Saved } from "./LastKnownGood.ts"
import { LastKnownGood, StoreError } from "./LastKnownGood.ts"
import { LivePolicies } from "./LivePolicies.ts"
import { PolicyInvalid } from "./Policy.ts"
import type { LiveOptions } from "./PolicyLayer.ts"
import * as PolicyMetrics from "./PolicyMetrics.ts"
import * as PolicySet from "./PolicySet.ts"
import type { Report } from "./PolicySource.ts"
import { PolicySource, SourceError } from "./PolicySource.ts"
import type { Provider } from "./ProviderLayer.ts"
import * as ProviderLayer from "./ProviderLayer.ts"
import type { ProviderState } from "./ProviderState.ts"
import * as Rollout from "./Rollout.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

const Options = Schema.Struct({
  bundled: Schema.optional(Schema.Unknown),
  onMissing: Schema.optional(ProviderLayer.OnMissing),
  onInvalidEntry: Schema.optional(Schema.Literals(["keep-last-good", "refuse-document"])),
  guard: Schema.optional(Schema.Boolean),
  instance: Schema.optional(Schema.String.pipe(Schema.check(Schema.isMinLength(1)))),
  startupTimeout: Schema.optional(durationField(0, "5 minutes")),
  maxAge: Schema.optional(durationField("1 minute", "3650 days")),
  limits: Schema.optional(ProviderLayer.Limits)
})

type Options = typeof Options.Type

const decodeOptions = Schema.decodeUnknownResult(Options, parseOptions)

const readOptions = (options: LiveOptions): Effect.Effect<Options, PolicyInvalid> =>
  Effect.suspend(() => {
    const decoded = decodeOptions(options)
    return decoded._tag === "Success"
      ? Effect.succeed(decoded.success)
      : Effect.fail(new PolicyInvalid({ issues: fromSchemaError(decoded.failure) }))
  })

// -----------------------------------------------------------------------------
// beside the source
// -----------------------------------------------------------------------------

/** A source that answers slowly, or never, must not hold back the next document. */
const reportTimeout = Duration.seconds(10)
const maxReports = 16

/** Runs what is offered, one after the other; the oldest is dropped when too much waits. */
const worker = <A>(
  capacity: number,
  run: (value: A) => Effect.Effect<void>
): Effect.Effect<(value: A) => void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const queue = yield* Queue.sliding<A>(capacity)
    yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(queue), run)))
    return (value) => {
      Queue.offerUnsafe(queue, value)
    }
  })

const reporting = (source: PolicySource["Service"]) => (report: Report): Effect.Effect<void> =>
  apart(Effect.suspend(() => source.report(report))).pipe(
    Effect.timeoutOption(reportTimeout),
    Effect.asVoid,
    Effect.catchCause((cause) => Effect.logWarning(`PolicyLayer: the report to ${source.name} failed`, cause))
  )

const storeTimeout = Duration.seconds(30)

type Store = LastKnownGood["Service"]

/** A store with a defect, or that never answers, is a store that fails. */
const guarded = <A>(
  store: Store,
  operation: StoreError["operation"],
  timeout: Duration.Duration,
  effect: Effect.Effect<A, StoreError>
): Effect.Effect<Exit.Exit<A, StoreError>> => {
  const failed = (detail: string) => Effect.fail(new StoreError({ store: store.name, operation, detail }))
  return apart(Effect.suspend(() => effect)).pipe(
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () => failed(`no answer within ${Duration.format(timeout)}`)
    }),
    Effect.catchDefect(() => failed("a defect of the store")),
    Effect.exit
  )
}

const errorOf = (exit: Exit.Exit<unknown, StoreError>): StoreError | undefined =>
  exit._tag === "Failure" ? Option.getOrUndefined(Cause.findErrorOption(exit.cause)) : undefined

/** A document that is confirmed again and again is saved again now and then, so that it does not look old after a restart. */
const saveAgainAfter = Duration.toMillis(Duration.days(1))

const saving = (state: ProviderState, store: Store) => {
  let last: { readonly fingerprint: string; readonly at: number } | undefined = undefined
  return ({ fingerprint, json }: Accepted): Effect.Effect<void> =>
    Effect.suspend(() => {
      const now = state.clock.currentTimeMillisUnsafe()
      if (last?.fingerprint === fingerprint && now - last.at < saveAgainAfter) return Effect.void
      return Effect.flatMap(guarded(store, "save", storeTimeout, store.save(json)), (exit) => {
        const error = errorOf(exit)
        if (error === undefined) last = { fingerprint, at: now }
        return said(state, error)
      })
    })
}

/** Shown in the status, and said once until it changes. */
const said = (state: ProviderState, error: StoreError | undefined): Effect.Effect<void> => {
  const isNew = error !== undefined && state.storeError?.message !== error.message
  if (error?.message !== state.storeError?.message) state.setHealth({ storeError: error })
  return isNew ? Effect.logWarning(`PolicyLayer: ${error.message}`) : Effect.void
}

/** A bound of its own: who does not wait for the source at boot still wants what is on the disk. */
const loadTimeout = Duration.seconds(2)

const load = (state: ProviderState, store: Store, maxAge: Duration.Duration): Effect.Effect<Saved | undefined> =>
  Effect.flatMap(guarded(store, "load", loadTimeout, store.load), (exit) => {
    const saved = exit._tag === "Success" ? Option.getOrUndefined(exit.value) : undefined
    const age = saved === undefined ? 0 : state.clock.currentTimeMillisUnsafe() - saved.savedAt
    const tooOld = age > Duration.toMillis(maxAge)
    const error = tooOld
      ? new StoreError({
        store: store.name,
        operation: "load",
        detail: `it is ${Duration.format(Duration.millis(age))} old, and counts for ${Duration.format(maxAge)}`
      })
      : errorOf(exit)
    return Effect.as(said(state, error), tooOld ? undefined : saved)
  })

// -----------------------------------------------------------------------------
// the source
// -----------------------------------------------------------------------------

const longestPause = 60_000

/** A stream that ends or dies is started again: a second later, then after twice as long each time, spread. */
const listen = (live: LivePolicies, source: PolicySource["Service"]): Effect.Effect<void> => {
  let pause = 1_000
  const once = Stream.runForEach(source.found, (found) => {
    pause = 1_000
    return live.handle(found)
  })
  const ended = (exit: Exit.Exit<void>) => {
    const detail = exit._tag === "Success" ? "its stream has ended" : "its stream has died"
    const error = new SourceError({ source: source.name, reason: { _tag: "Unavailable", detail } })
    const log = exit._tag === "Success" ? Effect.void : Effect.logError(`PolicyLayer: ${error.message}`, exit.cause)
    return Effect.andThen(log, live.handle({ _tag: "Failed", error }))
  }
  const wait = Effect.flatMap(Random.next, (share) => {
    const millis = pause * (0.5 + share / 2)
    pause = Math.min(longestPause, pause * 2)
    return Effect.sleep(millis)
  })
  return Effect.forever(Effect.andThen(Effect.flatMap(Effect.exit(once), ended), wait))
}

// -----------------------------------------------------------------------------
// metrics
// -----------------------------------------------------------------------------

const ageInterval = Duration.minutes(1)

/** The age grows while nothing happens. */
const followAge = (state: ProviderState, age: Metric.Metric<number, unknown>): Effect.Effect<never> => {
  const update = Effect.flatMap(
    state.status,
    (status) =>
      Option.match(status.age, {
        onNone: () => Effect.void,
        onSome: (is) => Metric.update(age, Duration.toSeconds(is))
      })
  )
  return Effect.forever(Effect.andThen(update, Effect.sleep(ageInterval)))
}

// -----------------------------------------------------------------------------
// boot
// -----------------------------------------------------------------------------

const nothing = (onMissing: ProviderState["inForce"]["onMissing"]) => ({
  set: PolicySet.make({}),
  revision: "none",
  source: "missing" as const,
  onMissing,
  budgets: {},
  switches: KillSwitch.none
})

const gateOf = ({ names, state }: Provider, options: Options, instance: string): Gate => ({
  provided: {
    ...names,
    isBudget: (name) => state.budgets.hasWithoutDocument(name),
    budget: (name, data) => state.budgets.sampleUnder(name, data)
  },
  onInvalidEntry: options.onInvalidEntry ?? "keep-last-good",
  givesDefaults: options.onMissing === "defaults",
  instance
})

/** Whether a document of an earlier process is in force. */
const fromStore = Effect.fnUntraced(function*(
  provider: Provider,
  live: LivePolicies,
  store: Option.Option<Store>,
  maxAge: Duration.Duration
) {
  if (Option.isNone(store)) return false
  const saved = yield* load(provider.state, store.value, maxAge)
  return saved !== undefined && (yield* live.lastKnownGood(saved))
})

export const build = Effect.fnUntraced(function*(given: LiveOptions) {
  const options = yield* readOptions(given)
  const source = yield* PolicySource
  const store = yield* Effect.serviceOption(LastKnownGood)
  const provider = yield* ProviderLayer.make(options.limits ?? {}, nothing(options.onMissing ?? "single-attempt"))
  const { state } = provider
  const metrics = PolicyMetrics.of(source.name)
  const live = new LivePolicies({
    state,
    gate: gateOf(provider, options, yield* Rollout.instanceOr(options.instance)),
    guarded: options.guard ?? true,
    outlets: {
      report: yield* worker(maxReports, reporting(source)),
      save: Option.isNone(store) ? () => {} : yield* worker(1, saving(state, store.value)),
      onRejected: Metric.update(metrics.rejected, 1)
    }
  })
  if (options.bundled !== undefined) yield* ProviderLayer.refuse(live.bundled(options.bundled))
  const startupTimeout = options.startupTimeout ?? Duration.seconds(2)
  const begun = yield* fromStore(provider, live, store, options.maxAge ?? Duration.days(30))
  yield* Effect.forkScoped(listen(live, source), { startImmediately: true })
  yield* Effect.forkScoped(followAge(state, metrics.age))
  if (!begun) yield* Effect.timeoutOption(Deferred.await(live.heard), startupTimeout)
  if (state.inForce.source === "missing") yield* Effect.logWarning(`PolicyLayer: no policies from ${source.name} yet`)
  return ProviderLayer.service(provider)
})
