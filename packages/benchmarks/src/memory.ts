/**
 * How memory is measured: what a call allocates, and what is kept for a call that waits for its operation.
 */
import { Rego, Timeline } from "@rego/core"
import { Effect, Fiber, ManagedRuntime } from "effect"
import { setImmediate } from "node:timers/promises"
import type { Gate } from "./awaited.ts"
import { closedGate } from "./awaited.ts"
import type { Case, Host } from "./cases.ts"
import { keyNumber, keys, manyKeys } from "./policies.ts"
import type { Measurement } from "./results.ts"
import { bytesOf, inFlightOf } from "./results.ts"
import type { EffectSubject, PromiseSubject, Subject } from "./subjects.ts"

export const collectGarbage = (): void => {
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

export interface Sampling {
  /** so little that the collector does not run in between: the growth of the heap is then all that was allocated */
  readonly bytes: number
  readonly times: number
}

/** A young generation of a megabyte is where Node starts. */
const usual: Sampling = { bytes: 400_000, times: 5 }

/** Bytes allocated by a call. */
export const allocated = async ({ id, run }: Case, host: Host, sampling = usual): Promise<Measurement> => {
  const guess = (await allocatedBy(() => run(host, 20))) / 20
  const calls = Math.min(500, Math.max(5, Math.round(sampling.bytes / guess)))
  const rounds: Array<number> = []
  while (rounds.length < sampling.times) {
    // The difference of two runs leaves out what a run costs by itself.
    const one = await allocatedBy(() => run(host, calls))
    const two = await allocatedBy(() => run(host, calls * 2))
    rounds.push(Math.round((two - one) / calls))
  }
  return { id: bytesOf(id), unit: "bytes", calls, rounds }
}

// -----------------------------------------------------------------------------
// kept for a call in flight
// -----------------------------------------------------------------------------

/**
 * With what typed arrays keep outside of the heap. That is given back while the program goes on, and counted when the
 * collector runs the next time.
 */
const kept = (): number => {
  collectGarbage()
  collectGarbage()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}

/** Starts calls, and answers with what waits for their end. */
type Start = (host: Host, gate: Gate, count: number) => () => Promise<unknown>

const startEffects = ({ effect }: EffectSubject): Start => ({ context }, { promise }, count) => {
  const fibers: Array<Fiber.Fiber<unknown, unknown>> = new Array(count)
  const fork = Effect.runForkWith(context)
  for (let i = 0; i < count; i++) fibers[i] = fork(effect(Effect.promise(() => promise)))
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
export const inFlight = async (subject: Subject, host: Host, count: number): Promise<Measurement> => {
  const start = startOf(subject)
  await keptInFlight(start, host, 100)
  const rounds = [await keptInFlight(start, host, count)]
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

// -----------------------------------------------------------------------------
// kept by a capture
// -----------------------------------------------------------------------------

export const perCaptured = "kept/captured call"

/** Bytes kept for each call that is made inside a capture, for as long as it runs. */
export const keptByCapture = async ({ runtime }: Host, count: number): Promise<Measurement> => {
  let before = 0
  let after = 0
  const calls = Effect.gen(function*() {
    before = kept()
    for (let i = 0; i < count; i++) yield* Rego.resilient(Effect.succeed(1), keys.everything)
    after = kept()
  })
  await runtime.runPromise(Timeline.captureWith({ maxTimelines: count })(calls))
  return { id: perCaptured, unit: "bytes", calls: count, rounds: [Math.round((after - before) / count)] }
}
