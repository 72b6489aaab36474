/**
 * How it is measured. Cases are interleaved: each round runs every case once, in an order shuffled anew, so that a noisy
 * moment of the machine falls on all of them. Ratios are taken inside a round.
 */
import type { PolicyProvider } from "@rego/core"
import { Effect, Fiber } from "effect"
import type { Context } from "effect"
import { setImmediate } from "node:timers/promises"
import type { Case } from "./cases.ts"
import { quantile, seeded, shuffle } from "./statistics.ts"

export interface Settings {
  readonly seed: number
  readonly rounds: number
  /** how long a case runs in a round, about */
  readonly sliceMillis: number
  readonly inFlight: number
}

export interface Measured {
  readonly id: string
  /** calls made in each round */
  readonly calls: number
  /** nanoseconds for a call, one entry for each round */
  readonly nanos: ReadonlyArray<number>
  /** bytes allocated by a call */
  readonly bytes: number
  /** heap bytes kept by a call that waits for its operation */
  readonly inFlightBytes: number | undefined
}

type Services = Context.Context<PolicyProvider.PolicyProvider>

const warmUpRounds = 5

export const measure = async (
  cases: ReadonlyArray<Case>,
  services: Services,
  settings: Settings,
  progress: (what: string) => void
): Promise<ReadonlyArray<Measured>> => {
  progress("warming up")
  const calls = await warmUp(cases, services, settings)
  progress(`${settings.rounds} rounds of ${cases.length} cases`)
  const nanos = await rounds(cases, services, settings, calls)
  progress("bytes allocated")
  const bytes = await collect(cases, (it) => allocated(it, services))
  progress(`${settings.inFlight} calls in flight`)
  const inFlight = await collect(cases, (it) => inFlightBytes(it, services, settings.inFlight))
  return cases.map((it) => ({
    id: it.id,
    calls: calls.get(it)!,
    nanos: nanos.get(it)!,
    bytes: bytes.get(it)!,
    inFlightBytes: inFlight.get(it)
  }))
}

const collect = async <A>(cases: ReadonlyArray<Case>, f: (it: Case) => Promise<A>): Promise<Map<Case, A>> => {
  const found = new Map<Case, A>()
  for (const it of cases) found.set(it, await f(it))
  return found
}

// -----------------------------------------------------------------------------
// time
// -----------------------------------------------------------------------------

/** Nanoseconds for a call. */
const time = async (it: Case, services: Services, calls: number): Promise<number> => {
  const loop = it.loop(calls)
  const startedAt = process.hrtime.bigint()
  await Effect.runPromiseWith(services)(loop)
  const took = Number(process.hrtime.bigint() - startedAt)
  // What the calls have left for the event loop (timers, deferred work) must not fall on the next case.
  await setImmediate()
  return took / calls
}

/** Rounds that are not counted; they also find how many calls of a case fill its slice of time. */
const warmUp = async (
  cases: ReadonlyArray<Case>,
  services: Services,
  settings: Settings
): Promise<Map<Case, number>> => {
  const calls = new Map(cases.map((it) => [it, 500]))
  for (let round = 0; round < warmUpRounds; round++) {
    for (const it of cases) {
      const nanos = await time(it, services, calls.get(it)!)
      calls.set(it, Math.max(1, Math.round((settings.sliceMillis * 1e6) / nanos)))
    }
  }
  return calls
}

const rounds = async (
  cases: ReadonlyArray<Case>,
  services: Services,
  settings: Settings,
  calls: ReadonlyMap<Case, number>
): Promise<Map<Case, Array<number>>> => {
  const random = seeded(settings.seed)
  const nanos = new Map<Case, Array<number>>(cases.map((it) => [it, []]))
  for (let round = 0; round < settings.rounds; round++) {
    for (const it of shuffle(cases, random)) {
      nanos.get(it)!.push(Math.round(await time(it, services, calls.get(it)!) * 10) / 10)
    }
  }
  return nanos
}

// -----------------------------------------------------------------------------
// memory
// -----------------------------------------------------------------------------

const collectGarbage = (): void => {
  if (globalThis.gc === undefined) throw new Error("run node with --expose-gc")
  globalThis.gc()
}

const heapGrowth = async (work: () => Promise<unknown>): Promise<number> => {
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  await work()
  return process.memoryUsage().heapUsed - before
}

/** So little that the collector does not run in between: the growth of the heap is then all that was allocated. */
const sampleBytes = 400_000
const samples = 9

const allocated = async (it: Case, services: Services): Promise<number> => {
  const run = (calls: number) => heapGrowth(() => Effect.runPromiseWith(services)(it.loop(calls)))
  const guess = (await run(20)) / 20
  const calls = Math.min(500, Math.max(5, Math.round(sampleBytes / guess)))
  const growth: Array<number> = []
  for (let i = 0; i < samples; i++) {
    // The difference of two runs leaves out what a run costs by itself.
    const one = await run(calls)
    const two = await run(calls * 2)
    growth.push((two - one) / calls)
  }
  return Math.round(quantile(growth, 0.5))
}

/** Heap kept by many calls whose operation has not answered yet, each in a fiber of its own. */
const inFlightBytes = async (it: Case, services: Services, count: number): Promise<number | undefined> => {
  const { group, subject } = it
  if (group.source !== "promise" || group.shape !== "request" || subject.inFlight === false) return undefined
  let open = (_: number): void => {}
  const gate = new Promise<number>((resolve) => {
    open = resolve
  })
  const promise = () => gate
  const call = () => subject.call({ effect: Effect.promise(() => gate), promise })
  const fibers: Array<Fiber.Fiber<unknown, unknown>> = new Array(count)
  const fork = Effect.runForkWith(services)
  const kept = await heapGrowth(async () => {
    for (let i = 0; i < count; i++) fibers[i] = fork(call())
    await setImmediate()
    collectGarbage()
  })
  open(1)
  await Effect.runPromise(Fiber.awaitAll(fibers))
  return Math.round(kept / count)
}
