/**
 * A process in small: live policies from a source, calls that never stop, and everything that can be seen of it.
 */
import { assert } from "@effect/vitest"
import { LastKnownGood, PolicyLayer, PolicyProvider, PolicySource, Rego, Timeline } from "@rego/core"
import { Clock, Context, Effect, Fiber, Layer, Logger, Metric, Option, References, Tracer } from "effect"
import type { Scope } from "effect"
import { inspect } from "node:util"
import { eventually } from "../support.ts"

export const key = "users.Get"

/** `maxAttempts` tells which document is in force. */
export const documentOf = (revision: string, maxAttempts: number, parts: object = {}) => ({
  schemaVersion: "1.0",
  revision,
  policies: {
    [key]: {
      retry: { maxAttempts, backoff: { type: "constant", delay: "1 millis", jitter: "none" } },
      timeout: { overall: "10 seconds" },
      budget: "unlimited"
    }
  },
  ...parts
})

export interface Seen {
  readonly attempts: number
  readonly source: Timeline.Timeline["policySource"]
  readonly revision: string
}

export interface Process {
  readonly status: Effect.Effect<PolicyProvider.PolicyStatus>
  readonly changes: PolicyProvider.PolicyProvider["Service"]["changes"]
  /** one call that fails each time, and what its timeline says */
  readonly call: Effect.Effect<Seen>
  /** waits until the status is as it should be, and gives it */
  readonly until: (
    what: string,
    holds: (status: PolicyProvider.PolicyStatus) => boolean
  ) => Effect.Effect<PolicyProvider.PolicyStatus>
  /** calls that never stop; each of them must succeed, whatever happens */
  readonly traffic: { readonly calls: number; readonly failures: number }
  readonly logs: ReadonlyArray<string>
  /** documents that were refused, as the metric counts them */
  readonly rejected: Effect.Effect<number>
}

export interface Options extends PolicyLayer.LiveOptions {
  readonly store?: Layer.Layer<LastKnownGood.LastKnownGood> | undefined
  readonly registries?: Layer.Layer<never> | undefined
  readonly clock?: Clock.Clock | undefined
  /** what sees the spans of the process */
  readonly tracer?: Tracer.Tracer | undefined
}

const observed = (logs: Array<string>, { clock, tracer }: Options): Layer.Layer<never> =>
  Layer.mergeAll(
    Logger.layer([Logger.make((it) => void logs.push(`${it.logLevel} ${inspect(it.message)} ${inspect(it.cause)}`))]),
    Layer.succeed(References.MinimumLogLevel, "All"),
    Layer.succeed(Metric.MetricRegistry, new Map()),
    clock === undefined ? Layer.empty : Layer.succeed(Clock.Clock, clock),
    tracer === undefined ? Layer.empty : Layer.succeed(Tracer.Tracer, tracer)
  )

const seen = (timelines: ReadonlyArray<Timeline.Timeline>): Seen => {
  const timeline = timelines[0] ?? assert.fail("no timeline")
  return { attempts: timeline.attempts.length, source: timeline.policySource, revision: timeline.policyRevision }
}

const countOf = (name: string): Effect.Effect<number> =>
  Effect.map(Metric.snapshot, (metrics) => {
    const found = metrics.find(({ id }) => id === name)
    return found?.type === "Counter" ? Number(found.state.count) : 0
  })

const runTraffic = (traffic: { calls: number; failures: number }) =>
  Effect.sync(() => traffic.calls++).pipe(
    Effect.andThen(Effect.exit(Effect.succeed("ok").pipe(Rego.resilient(key)))),
    Effect.map((exit) => exit._tag === "Success" && exit.value === "ok" ? 0 : 1),
    Effect.map((failures) => {
      traffic.failures += failures
    }),
    Effect.andThen(Effect.sleep("1 millis")),
    Effect.forever
  )

/** Lives until the scope of the test closes; by then no call of its traffic may have failed. */
export const start = <E>(
  source: Layer.Layer<PolicySource.PolicySource, E>,
  { clock, registries = Layer.empty, store = Layer.empty as never, tracer, ...options }: Options = {}
): Effect.Effect<Process, unknown, Scope.Scope> =>
  Effect.gen(function*() {
    const logs: Array<string> = []
    const traffic = { calls: 0, failures: 0 }
    const policies = PolicyLayer.live(options).pipe(Layer.provide(Layer.mergeAll(source, registries, store)))
    const context = yield* Layer.build(Layer.provideMerge(policies, observed(logs, { clock, tracer })))
    const provider = Context.get(context, PolicyProvider.PolicyProvider)
    const fiber = yield* Effect.forkScoped(Effect.provideContext(runTraffic(traffic), context))
    yield* Effect.addFinalizer(() =>
      Effect.andThen(
        Fiber.interrupt(fiber),
        Effect.sync(() => {
          assert.isAbove(traffic.calls, 0)
          assert.strictEqual(traffic.failures, 0)
        })
      )
    )
    const failing = Timeline.capture(Effect.exit(Effect.fail("no").pipe(Rego.resilient(key))))
    return {
      status: provider.status,
      changes: provider.changes,
      call: failing.pipe(Effect.map(([, timelines]) => seen(timelines)), Effect.provideContext(context)),
      until: (what, holds) =>
        Effect.gen(function*() {
          let status = yield* provider.status
          yield* eventually(what, () => holds(status = Effect.runSync(provider.status)))
          return status
        }),
      traffic,
      logs,
      rejected: Effect.provideContext(countOf("rego.policy.rejected"), context)
    }
  })

// -----------------------------------------------------------------------------
// status
// -----------------------------------------------------------------------------

type Status = PolicyProvider.PolicyStatus

export const isLive = (revision: string) => (status: Status): boolean =>
  status.source === "live" && status.revision === revision

export const reasonOf = (status: Status): PolicySource.Reason["_tag"] | undefined =>
  Option.getOrUndefined(status.lastError)?.reason._tag

/** The paths of the document that was refused. */
export const refusedPaths = ({ rejected }: Status): ReadonlyArray<string> | undefined =>
  Option.getOrUndefined(Option.map(rejected, ({ issues }) => issues.map(({ path }) => path.join("."))))
