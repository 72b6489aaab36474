/** Everything that is measured, one part after the other. */
import type { Case, Host } from "./cases.ts"
import { cases, hostOf } from "./cases.ts"
import * as Loopback from "./loopback.ts"
import { allocated, inFlight, keptByCapture, keptByKeys, perCaptured, perKey } from "./memory.ts"
import { partCases } from "./parts.ts"
import { reportingCases } from "./reporting.ts"
import type { Measurement, Settings } from "./results.ts"
import { bytesOf, inFlightOf } from "./results.ts"
import { timed } from "./runner.ts"
import { comparisons } from "./scale.ts"
import { isWatched, subjects } from "./subjects.ts"
import { openSwaps, swaps, whileSwapping } from "./swaps.ts"

export interface Wish {
  readonly settings: Settings
  /** what to measure, by id */
  readonly chosen: (id: string) => boolean
  readonly progress: (what: string) => void
}

type Measured = ReadonlyArray<Measurement>

const within = ({ chosen }: Wish, all: ReadonlyArray<Case>): ReadonlyArray<Case> => all.filter(({ id }) => chosen(id))

const parts = (wish: Wish, host: Host): Promise<Measured> => {
  wish.progress("parts of a call")
  return timed(within(wish, partCases), host, wish.settings)
}

const reports = (wish: Wish, host: Host): Promise<Measured> => {
  wish.progress("metrics and logs")
  return timed(within(wish, reportingCases), host, wish.settings)
}

const calls = (wish: Wish, host: Host): Promise<Measured> => {
  const chosen = within(wish, cases)
  wish.progress(`${wish.settings.rounds} rounds of ${chosen.length} ways to make a call`)
  return timed(chosen, host, wish.settings)
}

const bytes = async ({ chosen, progress }: Wish, host: Host): Promise<Measured> => {
  progress("bytes allocated")
  const measured: Array<Measurement> = []
  for (const it of cases) if (chosen(bytesOf(it.id))) measured.push(await allocated(it, host))
  return measured
}

const flying = async ({ chosen, progress, settings }: Wish, host: Host): Promise<Measured> => {
  progress(`${settings.inFlight} calls in flight`)
  const measured: Array<Measurement> = []
  for (const subject of subjects) {
    if (subject.mistake !== true && !isWatched(subject) && chosen(inFlightOf(subject.name))) {
      measured.push(await inFlight(subject, host, settings.inFlight))
    }
  }
  return measured
}

const many = 10_000

const keeping = async ({ chosen, progress }: Wish, host: Host): Promise<Measured> => {
  progress(`${many} keys, ${many} captured calls`)
  const measured: Array<Measurement> = []
  if (chosen(perCaptured)) measured.push(await keptByCapture(host, many))
  if (chosen(perKey)) measured.push(await keptByKeys(many))
  return measured
}

const scale = async (wish: Wish, host: Host): Promise<Measured> => {
  const measured: Array<Measurement> = []
  const all = [...comparisons, { name: "1,000 swaps", ids: [swaps.never, swaps.often], open: openSwaps, long: false }]
  for (const { ids, long, name, open } of all) {
    if (!ids.some(wish.chosen)) continue
    wish.progress(name)
    const suite = await open()
    const settings = long ? { ...wish.settings, warmUpRounds: 1, rounds: wish.settings.longRounds } : wish.settings
    measured.push(...await timed(within(wish, suite.cases), host, settings))
    await suite.close()
  }
  return measured
}

const swapping = async ({ chosen, progress, settings }: Wish): Promise<Measured> => {
  if (!chosen(swaps.busy)) return []
  progress("10,000 policies change")
  return whileSwapping(settings.longRounds)
}

export const measureAll = async (wish: Wish): Promise<Measured> => {
  const loopback = await Loopback.open()
  const host = await hostOf(loopback)
  const measured = [
    // First, because the collector pauses for longer where much is kept, and the slowest call is one that it held up.
    ...await swapping(wish),
    ...await parts(wish, host),
    ...await calls(wish, host),
    ...await reports(wish, host),
    ...await bytes(wish, host),
    ...await flying(wish, host),
    ...await keeping(wish, host),
    ...await scale(wish, host)
  ]
  loopback.close()
  await host.runtime.dispose()
  wish.progress("done")
  return measured
}
