/**
 * What a change of the policies costs the calls: afterwards, and while it happens.
 */
import { PolicyLayer, PolicyProvider, PolicySource, Rego } from "@rego/core"
import { Effect, Layer, Logger, ManagedRuntime, Queue, Stream } from "effect"
import { setImmediate, setTimeout } from "node:timers/promises"
import type { Case } from "./cases.ts"
import type { Measurement } from "./results.ts"
import type { Suite } from "./scale.ts"
import { quantile } from "./statistics.ts"

export const swaps = {
  never: "swaps/policies that were never changed",
  often: "swaps/policies that were changed 1,000 times",
  quiet: "swaps/p99 of calls while nothing changes",
  busy: "swaps/p99 of calls while 10,000 policies are changed",
  quietSlowest: "swaps/slowest call while nothing changes",
  busySlowest: "swaps/slowest call while 10,000 policies are changed"
} as const

const swapCount = 1_000
const policyCount = 10_000

const keyOf = (n: number): string => `swaps.Key${n}`

const documentOf = (revision: number, size: number): unknown => ({
  schemaVersion: "1.0",
  revision: String(revision),
  policies: Object.fromEntries(
    Array.from({ length: size }, (_, n) => [keyOf(n), {
      retry: { maxAttempts: 2 + ((revision + n) % 2) },
      timeout: { perAttempt: "30 seconds", overall: "60 seconds" },
      idempotent: true
    }])
  )
})

class Live {
  private readonly found = Effect.runSync(Queue.unbounded<PolicySource.Found>())
  private readonly size: number
  private revision = 0
  readonly runtime: ManagedRuntime.ManagedRuntime<PolicyProvider.PolicyProvider, never>

  constructor(size: number) {
    this.size = size
    const source = PolicySource.make({ name: "benchmark", found: Stream.fromQueue(this.found) })
    this.runtime = ManagedRuntime.make(
      PolicyLayer.live({ limits: { maxKeys: size } }).pipe(
        Layer.provide([Layer.succeed(PolicySource.PolicySource, source), Logger.layer([])]),
        Layer.orDie
      )
    )
  }

  /**
   * The document is made before, and who waits for it looks only now and then, so that nothing but its way into force falls
   * on the calls.
   */
  async change(look: () => Promise<unknown> = rarely): Promise<void> {
    const document = documentOf(++this.revision, this.size)
    await setImmediate()
    Queue.offerUnsafe(this.found, PolicySource.document(document))
    do await look()
    while (await this.runtime.runPromise(revisionInForce) !== String(this.revision))
  }
}

const rarely = (): Promise<unknown> => setTimeout(20)

const revisionInForce = Effect.flatMap(
  PolicyProvider.PolicyProvider,
  (provider) => Effect.map(provider.status, ({ revision }) => revision)
)

const promised = Effect.promise(async () => 1)

// -----------------------------------------------------------------------------
// afterwards
// -----------------------------------------------------------------------------

const calling = ({ runtime }: Live): Case["run"] => (_, calls) =>
  runtime.runPromise(Effect.suspend(() => {
    let made = 0
    const call = () => Effect.orDie(Rego.resilient(promised, keyOf(0)))
    return Effect.whileLoop({ while: () => made++ < calls, body: call, step: () => {} })
  }))

export const openSwaps = async (): Promise<Suite> => {
  const [never, often] = [new Live(1), new Live(1)]
  await never.change()
  for (let i = 0; i < swapCount; i++) await often.change(setImmediate)
  return {
    cases: [{ id: swaps.never, run: calling(never) }, { id: swaps.often, run: calling(often) }],
    close: async () => {
      await never.runtime.dispose()
      await often.runtime.dispose()
    }
  }
}

// -----------------------------------------------------------------------------
// meanwhile
// -----------------------------------------------------------------------------

/** Calls that come with each turn of the event loop, each timed from when it came, until `done`. */
const latencies = async (live: Live, done: Promise<unknown>): Promise<ReadonlyArray<number>> => {
  const millis: Array<number> = []
  const state = { going: true }
  void done.finally(() => {
    state.going = false
  })
  for (let n = 0; state.going; n++) {
    const cameAt = performance.now()
    await setImmediate()
    await live.runtime.runPromise(Rego.resilient(promised, keyOf(n % policyCount)))
    millis.push(performance.now() - cameAt)
  }
  return millis
}

const measurement = (id: string, rounds: ReadonlyArray<number>): Measurement => ({
  id,
  unit: "ns",
  calls: 1,
  rounds: rounds.map((millis) => Math.round(millis * 1e6))
})

const p99 = (millis: ReadonlyArray<number>): number => quantile(millis, 0.99)
const slowest = (millis: ReadonlyArray<number>): number => quantile(millis, 1)

export const whileSwapping = async (rounds: number): Promise<ReadonlyArray<Measurement>> => {
  const live = new Live(policyCount)
  await live.change()
  await latencies(live, setTimeout(500))
  const quiet: Array<ReadonlyArray<number>> = []
  const busy: Array<ReadonlyArray<number>> = []
  for (let round = 0; round < rounds; round++) {
    const startedAt = performance.now()
    busy.push(await latencies(live, live.change()))
    // The slowest of many calls is slower than the slowest of few: both must have had the same time.
    quiet.push(await latencies(live, setTimeout(performance.now() - startedAt)))
  }
  await live.runtime.dispose()
  return [
    measurement(swaps.quiet, quiet.map(p99)),
    measurement(swaps.busy, busy.map(p99)),
    measurement(swaps.quietSlowest, quiet.map(slowest)),
    measurement(swaps.busySlowest, busy.map(slowest))
  ]
}
