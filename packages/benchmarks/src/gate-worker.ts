/**
 * Measures for the gate, in a process of its own that has done nothing else, and sends the measurements to its parent.
 * `memory` needs a young generation of some megabytes.
 */
import type { Case, Host } from "./cases.ts"
import { cases, groups, hostOf, idOf } from "./cases.ts"
import { bytesSubjects, inFlightSubjects, timed as gated } from "./gate.ts"
import * as Loopback from "./loopback.ts"
import { allocated, inFlight } from "./memory.ts"
import type { Measurement, Settings } from "./results.ts"
import { timed } from "./runner.ts"
import { subjects } from "./subjects.ts"

const settings: Settings = {
  seed: 20260401,
  rounds: 41,
  warmUpRounds: 8,
  warmUpMillis: 100,
  sliceMillis: 6,
  longRounds: 0,
  inFlight: 5_000
}

const found = (id: string): Case => {
  const it = cases.find((it) => it.id === id)
  if (it === undefined) throw new Error(`no case ${id}`)
  return it
}

const sampling = { bytes: 800_000, times: 7 }

/** Until the latency of the key is known, so that a hedge no longer waits for more samples. */
const callsBeforeBytes = 1_000

const memory = async (host: Host): Promise<ReadonlyArray<Measurement>> => {
  const measured: Array<Measurement> = []
  for (const name of bytesSubjects) {
    const it = found(idOf(groups.request, name))
    await it.run(host, callsBeforeBytes)
    measured.push(await allocated(it, host, sampling))
  }
  for (const subject of subjects.filter(({ name }) => inFlightSubjects.includes(name))) {
    measured.push(await inFlight(subject, host, settings.inFlight))
  }
  return measured
}

const time = (host: Host): Promise<ReadonlyArray<Measurement>> => timed([gated.of, gated.to].map(found), host, settings)

const host = await hostOf(Loopback.none)
process.send?.(await (process.argv[2] === "memory" ? memory(host) : time(host)))
await host.runtime.dispose()
process.disconnect()
