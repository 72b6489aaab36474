/**
 * Whether a call costs the same however many keys, calls in flight and layers there are or were.
 */
import { Rego } from "@rego/core"
import { Effect, Fiber, ManagedRuntime } from "effect"
import { closedGate } from "./awaited.ts"
import type { Case, Host } from "./cases.ts"
import { collectGarbage } from "./memory.ts"
import { keyNumber, keys, manyKeys, Policies } from "./policies.ts"
import type { Services } from "./subjects.ts"

export const scale = {
  oneKey: "scale/1 key",
  manyKeys: "scale/10,000 keys",
  fewInFlight: "scale/1,000 calls in flight",
  manyInFlight: "scale/100,000 calls in flight",
  fewBare: "scale/1,000 bare effects in flight",
  manyBare: "scale/100,000 bare effects in flight",
  besideFew: "scale/a call beside 1,000 in flight",
  besideMany: "scale/a call beside 100,000 in flight",
  firstLayer: "scale/the first layer",
  lastLayer: "scale/the layer after 1,000 that were built and closed"
} as const

export interface Suite {
  readonly cases: ReadonlyArray<Case>
  readonly close: () => Promise<void>
}

type Runtime = Host["runtime"]

const promised = Effect.promise(async () => 1)

const loop = (runtime: Runtime, calls: number, call: () => Effect.Effect<unknown, unknown, Services>): Promise<void> =>
  runtime.runPromise(Effect.suspend(() => {
    let made = 0
    return Effect.orDie(Effect.whileLoop({ while: () => made++ < calls, body: call, step: () => {} }))
  }))

// -----------------------------------------------------------------------------
// keys
// -----------------------------------------------------------------------------

const keyCount = 10_000

/** All keys are called in turn, so that each call finds its key as cold as it gets. */
const inTurn = (runtime: Runtime, texts: ReadonlyArray<string>): Case["run"] => {
  let next = 0
  return (_, calls) => loop(runtime, calls, () => Rego.resilient(promised, texts[next++ % texts.length]!))
}

const openKeys = async (): Promise<Suite> => {
  const runtime = ManagedRuntime.make(manyKeys(keyCount))
  const texts = Array.from({ length: keyCount }, (_, n) => keyNumber(n))
  for (const text of texts) await runtime.runPromise(Rego.resilient(promised, text))
  return {
    cases: [
      { id: scale.oneKey, run: inTurn(runtime, texts.slice(0, 1)) },
      { id: scale.manyKeys, run: inTurn(runtime, texts) }
    ],
    close: () => runtime.dispose()
  }
}

// -----------------------------------------------------------------------------
// calls in flight
// -----------------------------------------------------------------------------

type Operator = (self: Effect.Effect<number>) => Effect.Effect<unknown, unknown, Services>

const everythingOn: Operator = Rego.resilient(keys.everything)
const bare: Operator = (self) => self

/** All are started; the answer lets all of them be answered, and ends when they have ended. */
const start = (context: Host["context"], operator: Operator, size: number): () => Promise<void> => {
  const { open, promise } = closedGate()
  const fibers: Array<Fiber.Fiber<unknown, unknown>> = new Array(size)
  const fork = Effect.runForkWith(context)
  for (let i = 0; i < size; i++) fibers[i] = fork(operator(Effect.promise(() => promise)))
  return async () => {
    open()
    await Effect.runPromise(Fiber.awaitAll(fibers))
  }
}

const inBatches = (operator: Operator, size: number): Case["run"] => async ({ context }, calls) => {
  for (let done = 0; done < calls; done += size) await start(context, operator, size)()
}

/**
 * Calls that succeed at once, while so many others have been in flight for a while: the collector has put them away, and
 * what it has forgotten of the code meanwhile is back.
 */
const beside = (id: string, size: number): Case => {
  const run: Case["run"] = ({ runtime }, calls) => loop(runtime, calls, () => everythingOn(promised))
  return {
    id,
    calls: 20_000,
    run,
    setUp: async (host) => {
      const end = start(host.context, everythingOn, size)
      collectGarbage()
      await run(host, 60_000)
      return end
    }
  }
}

const openInFlight = async (): Promise<Suite> => ({
  cases: [
    { id: scale.fewInFlight, calls: 20_000, run: inBatches(everythingOn, 1_000) },
    { id: scale.manyInFlight, calls: 100_000, run: inBatches(everythingOn, 100_000) },
    { id: scale.fewBare, calls: 20_000, run: inBatches(bare, 1_000) },
    { id: scale.manyBare, calls: 100_000, run: inBatches(bare, 100_000) },
    beside(scale.besideFew, 1_000),
    beside(scale.besideMany, 100_000)
  ],
  close: async () => {}
})

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

const layerCount = 1_000

/** What layers leave behind that were built, used and closed, a thousand times; changes of a live one are in `swaps.ts`. */
const openLayers = async (): Promise<Suite> => {
  const first = ManagedRuntime.make(Policies)
  await first.context()
  for (let i = 0; i < layerCount; i++) {
    const runtime = ManagedRuntime.make(Policies)
    await runtime.runPromise(Rego.resilient(promised, keys.everything))
    await runtime.dispose()
  }
  const last = ManagedRuntime.make(Policies)
  await last.context()
  const calling = (runtime: Runtime): Case["run"] => (_, calls) =>
    loop(runtime, calls, () => Rego.resilient(promised, keys.everything))
  return {
    cases: [{ id: scale.firstLayer, run: calling(first) }, { id: scale.lastLayer, run: calling(last) }],
    close: async () => {
      await first.dispose()
      await last.dispose()
    }
  }
}

export interface Comparison {
  readonly name: string
  /** of its cases */
  readonly ids: ReadonlyArray<string>
  readonly open: () => Promise<Suite>
  /** a round of these takes long, so there are few */
  readonly long: boolean
}

export const comparisons: ReadonlyArray<Comparison> = [
  { name: "1 and 10,000 keys", ids: [scale.oneKey, scale.manyKeys], open: openKeys, long: false },
  {
    name: "1,000 and 100,000 calls in flight",
    ids: [scale.fewInFlight, scale.manyInFlight, scale.fewBare, scale.manyBare, scale.besideFew, scale.besideMany],
    open: openInFlight,
    long: true
  },
  { name: "1,000 layers", ids: [scale.firstLayer, scale.lastLayer], open: openLayers, long: false }
]
