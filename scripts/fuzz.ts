/**
 * Feeds odd inputs to everything that reads what strangers write. `--seconds 60` for all targets together (10 by default),
 * `--target headers` for one, `--seed 7`, and `--keep` to add what was found to the corpus. What breaks is always kept.
 */
import { parseArgs } from "node:util"
import { makeRandom } from "../packages/core/test/random.ts"
import { keep, read } from "./fuzz/corpus.ts"
import { fuzz } from "./fuzz/engine.ts"
import { targets } from "./fuzz/targets.ts"
import { numberOf } from "./lib/flags.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"

const { values } = parseArgs({
  options: {
    seconds: { type: "string" },
    seed: { type: "string" },
    target: { type: "string" },
    keep: { type: "boolean" }
  }
})
const seed = numberOf("seed", values.seed, 20_260_401)
const chosen = targets.filter(({ name }) => values.target === undefined || name === values.target)
const millis = numberOf("seconds", values.seconds, 10) * 1_000 / chosen.length

console.log(`seed ${seed}`)
const results: Array<{ readonly passed: boolean }> = []
for (const target of chosen) {
  const until = performance.now() + millis
  const corpus = read(target)
  const { broken, found, runs } = await fuzz(target, corpus, {
    random: makeRandom(seed),
    isOver: (runs) => runs % 16 === 0 && performance.now() > until
  })
  const verdict = broken.length === 0 ? "ok  " : "FAIL"
  console.log(`${verdict} ${target.name}: ${runs} inputs, ${corpus.length} kept, ${found.length} answers that are new`)
  for (const { error, input } of broken) console.log(indent(`${error}\nkept as ${keep(target, input, "broken-")}`))
  if (values.keep === true) { for (const input of found) keep(target, input) }
  results.push({ passed: broken.length === 0 })
}
if (chosen.length === 0) console.log(`FAIL no target ${values.target}: ${targets.map(({ name }) => name).join(", ")}`)
Tally.close(Tally.sum([Tally.ofResults(results), Tally.make(0, chosen.length === 0 ? 1 : 0)]))
