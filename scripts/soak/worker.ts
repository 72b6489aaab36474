/** One process of a soak: load for some time, looked at every second or so. Prints its figures as one line of JSON. */
import { Cause, Effect, Exit, Fiber } from "effect"
import { clearInterval, setInterval } from "node:timers"
import { setTimeout } from "node:timers/promises"
import { load, makeCounts } from "./load.ts"
import type { Sample } from "./verdict.ts"

const [seed, minutes] = process.argv.slice(2).map(Number) as [number, number]
const millis = minutes * 60_000

const counts = makeCounts()
process.on("uncaughtException", (error) => counts.wrongs.push(`wrong: uncaught ${String(error)}`))
process.on("unhandledRejection", (error) => counts.wrongs.push(`wrong: unhandled ${String(error)}`))

const collect = globalThis.gc as () => void

const samples: Array<Sample> = []
const started = performance.now()
const look = (): void => {
  collect()
  samples.push({
    at: performance.now() - started,
    heap: process.memoryUsage().heapUsed,
    handles: process.getActiveResourcesInfo().length
  })
}

const idle = process.getActiveResourcesInfo().length
const fiber = Effect.runFork(load(seed, counts))
fiber.addObserver((exit) => {
  if (Exit.isFailure(exit) && !Cause.hasInterruptsOnly(exit.cause)) counts.wrongs.push(Cause.pretty(exit.cause))
})
const timer = setInterval(look, Math.max(500, millis / 200))
await setTimeout(millis)
clearInterval(timer)
await Effect.runPromise(Fiber.interrupt(fiber))
// losers of the last calls end, and connections that are kept alive close
await setTimeout(6_000)
const left = process.getActiveResourcesInfo().slice(idle)

console.log(JSON.stringify({ counts, samples, left }))
process.exit(0)
