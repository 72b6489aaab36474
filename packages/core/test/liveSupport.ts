/** What the tests of live policies share: a source that the test writes to, and a store in memory. */
import type { Policy, PolicyLayer } from "@rego/core"
import { LastKnownGood, PolicyLayer as Layers, PolicyProvider, PolicySource } from "@rego/core"
import { Effect, Layer, Option, Queue, Scope, Stream } from "effect"
import type { Cause } from "effect"
import type { Line } from "./support.ts"
import { withLog } from "./support.ts"

export interface Memory {
  readonly source: PolicySource.PolicySource["Service"]
  readonly reports: Array<PolicySource.Report>
  /** says something, and lets the layer hear of it */
  readonly say: (found: PolicySource.Found) => Effect.Effect<void>
  readonly end: Effect.Effect<void>
  readonly die: (cause: Cause.Cause<never>) => Effect.Effect<void>
  /** how often its stream was started */
  readonly starts: number
}

/** Runs what is ready to run. */
export const settle = Effect.repeat(Effect.yieldNow, { times: 20 })

export const memory = Effect.fnUntraced(function*(
  report?: (report: PolicySource.Report) => Effect.Effect<void>
): Effect.fn.Return<Memory> {
  const reports: Array<PolicySource.Report> = []
  const current = { starts: 0, queue: yield* Queue.unbounded<PolicySource.Found, Cause.Done>() }
  const source = PolicySource.make({
    name: "memory",
    found: Stream.unwrap(Effect.gen(function*() {
      if (current.starts++ > 0) current.queue = yield* Queue.unbounded<PolicySource.Found, Cause.Done>()
      return Stream.fromQueue(current.queue)
    })),
    report: (said) =>
      Effect.suspend(() => {
        reports.push(said)
        return report === undefined ? Effect.void : report(said)
      })
  })
  return {
    source,
    reports,
    say: (found) => Effect.andThen(Queue.offer(current.queue, found), settle),
    end: Effect.suspend(() => Effect.andThen(Queue.end(current.queue), settle)),
    die: (cause) => Effect.suspend(() => Effect.andThen(Queue.failCause(current.queue, cause), settle)),
    get starts() {
      return current.starts
    }
  }
})

export const document = (parts: object) =>
  PolicySource.document({ schemaVersion: "1.0", revision: "1", policies: {}, ...parts })

export const unavailable = PolicySource.failed(
  new PolicySource.SourceError({ source: "memory", reason: { _tag: "Unavailable", detail: "connection refused" } })
)

export interface Store {
  readonly service: LastKnownGood.LastKnownGood["Service"]
  readonly saves: Array<unknown>
}

export const store = (options: {
  readonly saved?: LastKnownGood.Saved | undefined
  readonly load?: LastKnownGood.LastKnownGood["Service"]["load"] | undefined
  readonly save?: LastKnownGood.LastKnownGood["Service"]["save"] | undefined
} = {}): Store => {
  const saves: Array<unknown> = []
  return {
    saves,
    service: LastKnownGood.LastKnownGood.of({
      name: "a store",
      load: options.load ?? Effect.succeed(Option.fromUndefinedOr(options.saved)),
      save: options.save ?? ((json) =>
        Effect.sync(() => {
          saves.push(json)
        }))
    })
  }
}

export interface Live {
  readonly provider: PolicyProvider.PolicyProvider["Service"]
  readonly layer: Layer.Layer<PolicyProvider.PolicyProvider>
  readonly memory: Memory
  readonly say: Memory["say"]
  /** the source says a document */
  readonly publish: (parts: object) => Effect.Effect<void>
  readonly status: Effect.Effect<PolicyProvider.PolicyStatus>
  readonly log: Array<Line>
}

export interface LiveOptions extends PolicyLayer.LiveOptions {
  /** what the source says before the layer is built */
  readonly first?: ReadonlyArray<object> | undefined
  readonly store?: Store | undefined
  readonly report?: ((report: PolicySource.Report) => Effect.Effect<void>) | undefined
  /** registries that documents may name */
  readonly registries?: Layer.Layer<never> | undefined
}

/** A layer of live policies in the scope of the test, with its source in hand. */
export const live = (
  { first = [], registries, report, store, ...options }: LiveOptions = {}
): Effect.Effect<Live, Policy.PolicyInvalid, Scope.Scope> =>
  Effect.gen(function*() {
    const log: Array<Line> = []
    const source = yield* memory(report)
    for (const parts of first) yield* source.say(document(parts))
    const provided = Layer.succeed(PolicySource.PolicySource, source.source).pipe(
      Layer.merge(
        store === undefined ? Layer.empty : Layer.succeed(LastKnownGood.LastKnownGood, store.service)
      ),
      Layer.merge(registries ?? Layer.empty)
    )
    const context = yield* withLog(Layer.build(Layers.live(options).pipe(Layer.provide(provided))), log)
    yield* settle
    const provider = yield* Effect.provide(PolicyProvider.PolicyProvider, context)
    return {
      provider,
      layer: Layer.succeed(PolicyProvider.PolicyProvider, provider),
      memory: source,
      say: source.say,
      publish: (parts) => source.say(document(parts)),
      status: provider.status,
      log
    }
  })
