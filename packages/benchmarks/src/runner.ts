/**
 * How time is measured. Cases are interleaved: each round runs every case once, in an order shuffled anew, so that a noisy
 * moment of the machine falls on all of them. Ratios are taken inside a round.
 */
import { setImmediate } from "node:timers/promises"
import type { Case, Host } from "./cases.ts"
import type { Measurement, Settings } from "./results.ts"
import { seeded, shuffle } from "./statistics.ts"

/**
 * Processor time of the process, with what the collector does on other threads: unlike time on the wall it is not
 * lengthened by what else runs on the machine, nor by waiting for an answer.
 */
const processorNanos = (): number => {
  const { system, user } = process.cpuUsage()
  return (system + user) * 1_000
}

/** Nanoseconds for a call. */
const time = async ({ run, setUp }: Case, host: Host, calls: number): Promise<number> => {
  const takeDown = await setUp?.(host)
  try {
    const startedAt = processorNanos()
    await run(host, calls)
    return (processorNanos() - startedAt) / calls
  } finally {
    await takeDown?.()
    // What the calls have left for the event loop (timers, deferred work) must not fall on the next case.
    await setImmediate()
  }
}

const callsWithin = ({ calls }: Case, millis: number, nanosOfCall: number): number =>
  calls ?? Math.max(1, Math.round((millis * 1e6) / Math.max(1, nanosOfCall)))

const firstCalls = 500

/**
 * Rounds that are not counted, and are longer: until the optimizing compilers are done, also with what they must undo when
 * another case runs. They also find how many calls of a case fill its slice of time.
 */
const warmUp = async (cases: ReadonlyArray<Case>, host: Host, settings: Settings): Promise<Map<Case, number>> => {
  const nanos = new Map<Case, number>()
  for (let round = 0; round < settings.warmUpRounds; round++) {
    for (const it of cases) {
      const known = nanos.get(it)
      const calls = known === undefined ? it.calls ?? firstCalls : callsWithin(it, settings.warmUpMillis, known)
      nanos.set(it, await time(it, host, calls))
    }
  }
  return new Map(cases.map((it) => [it, callsWithin(it, settings.sliceMillis, nanos.get(it)!)]))
}

export const timed = async (
  cases: ReadonlyArray<Case>,
  host: Host,
  settings: Settings
): Promise<ReadonlyArray<Measurement>> => {
  const calls = await warmUp(cases, host, settings)
  const random = seeded(settings.seed)
  const rounds = new Map<Case, Array<number>>(cases.map((it) => [it, []]))
  for (let round = 0; round < settings.rounds; round++) {
    for (const it of shuffle(cases, random)) {
      rounds.get(it)!.push(Math.round(await time(it, host, calls.get(it)!) * 10) / 10)
    }
  }
  return cases.map((it) => ({ id: it.id, unit: "ns", calls: calls.get(it)!, rounds: rounds.get(it)! }))
}
