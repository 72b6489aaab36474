/**
 * How memory is measured: what a call allocates, and what is kept for a call that waits for its operation.
 */
import { Rego } from "@rego/core"
import { Effect, Fiber, ManagedRuntime } from "effect"
import { setImmediate } from "node:timers/promises"
import type { Gate } from "./awaited.ts"
import { closedGate } from "./awaited.ts"
import type { Case, Host } from "./cases.ts"
import { keyNumber, manyKeys } from "./policies.ts"
import type { Measurement } from "./results.ts"
import { bytesOf, inFlightOf } from "./results.ts"
import type { EffectSubject, PromiseSubject, Subject } from "./subjects.ts"

const collectGarbage = (): void => {
  if (globalThis.gc === undefined) throw new Error("run node with --expose-gc")
  globalThis.gc()
}

// -----------------------------------------------------------------------------
// allocated by a call
// -----------------------------------------------------------------------------

const allocatedBy = async (work: () => Promise<unknown>): Promise<number> => {
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  await work()
  return process.memoryUsage().heapUsed - before
}

/** So little that the collector does not run in between: the growth of the heap is then all that was allocated. */
const sampleBytes = 400_000
const samples = 9

/** Bytes allocated by a call. */
export const allocated = async ({ id, run }: Case, host: Host): Promise<Measurement> => {
  const guess = (await allocatedBy(() => run(host, 20))) / 20
  const calls = Math.min(500, Math.max(5, Math.round(sampleBytes / guess)))
  const growth: Array<number> = []
  for (let i = 0; i < samples; i++) {
    // The difference of two runs leaves out what a run costs by itself.
    const one = await allocatedBy(() => run(host, calls))
    const two = await allocatedBy(() => run(host, calls * 2))
    growth.push(Math.round((two - one) / calls))
  }
  return { id: bytesOf(id), unit: "bytes", calls, rounds: growth }
}

// -----------------------------------------------------------------------------
// kept for a call in flight
// -----------------------------------------------------------------------------

/** With what typed arrays keep outside of the heap. */
const kept = (): number => {
  collectGarbage()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

/** Starts calls, and answers with what waits for their end. */
type Start = (host: Host, gate: Gate, count: number) => () => Promise<unknown>

const startEffects = ({ effect }: EffectSubject): Start => ({ runtime }, { promise }, count) => {
  const fibers: Array<Fiber.Fiber<unknown, unknown>> = new Array(count)
  for (let i = 0; i < count; i++) fibers[i] = runtime.runFork(effect(Effect.promise(() => promise)))
  return () => Effect.runPromise(Fiber.awaitAll(fibers))
}

const startPromises = ({ promise: call }: PromiseSubject): Start => (_, { promise }, count) => {
  const promises: Array<Promise<unknown>> = new Array(count)
  for (let i = 0; i < count; i++) promises[i] = call(() => promise)
  return () => Promise.all(promises)
}

const startOf = (subject: Subject): Start => "effect" in subject ? startEffects(subject) : startPromises(subject)

const keptInFlight = async (start: Start, host: Host, count: number): Promise<number> => {
  const gate = closedGate()
  const before = kept()
  const ended = start(host, gate, count)
  await setImmediate()
  const bytes = (kept() - before) / count
  gate.open()
  await ended()
  await setImmediate()
  return Math.round(bytes)
}

/** Bytes kept by many calls whose operation has not answered yet, each on its own. */
export const inFlight = async (
  subject: Subject,
  host: Host,
  { count, times }: { readonly count: number; readonly times: number }
): Promise<Measurement> => {
  const start = startOf(subject)
  await keptInFlight(start, host, 100)
  const rounds: Array<number> = []
  for (let round = 0; round < times; round++) rounds.push(await keptInFlight(start, host, count))
  return { id: inFlightOf(subject.name), unit: "bytes", calls: count, rounds }
}

// -----------------------------------------------------------------------------
// kept for a key
// -----------------------------------------------------------------------------

export const perKey = "kept/key"

/** Bytes kept by a key that was called once, with everything on: its binding, its budget, its latency. */
export const keptByKeys = async (count: number): Promise<Measurement> => {
  const runtime = ManagedRuntime.make(manyKeys(count + 1))
  const call = (key: string) => runtime.runPromise(Rego.resilient(Effect.succeed(1), key))
  const texts = Array.from({ length: count + 1 }, (_, n) => keyNumber(n))
  await call(texts[count]!)
  const before = kept()
  for (const text of texts) await call(text)
  const bytes = (kept() - before) / count
  await runtime.dispose()
  return { id: perKey, unit: "bytes", calls: count, rounds: [Math.round(bytes)] }
}
