/**
 * The large run of `packages/core/test/scenario/interleaving.test.ts`: a million failing calls by default, in virtual time.
 * `--calls 10000 --seed 7` chooses others.
 */
import { Effect } from "effect"
import { TestClock } from "effect/testing"
import { parseArgs } from "node:util"
import { interleave, wrongs } from "../packages/core/test/interleaving.ts"
import { numberOf } from "./lib/flags.ts"
import * as Tally from "./lib/tally.ts"

const { values } = parseArgs({ options: { calls: { type: "string" }, seed: { type: "string" } } })
const calls = numberOf("calls", values.calls, 1_000_000)
const seed = numberOf("seed", values.seed, 20_260_401)

const started = performance.now()
const figures = await Effect.runPromise(
  Effect.scoped(interleave({ calls, seed })).pipe(Effect.provide(TestClock.layer()))
)
const seconds = Math.round((performance.now() - started) / 1000)

console.log(`seed ${seed}, ${seconds} s`)
console.log(JSON.stringify(figures, undefined, 2))
const found = wrongs(figures)
for (const wrong of found) console.log(`FAIL ${wrong}`)
Tally.close(Tally.make(found.length === 0 ? 1 : 0, found.length))
