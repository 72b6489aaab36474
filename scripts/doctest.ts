import { join } from "node:path"
import { doctest, type Result } from "./doctest/doctest.ts"
import { findFences } from "./doctest/fences.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"
import { root } from "./lib/workspace.ts"

const quiet = process.argv.includes("--quiet")

const print = ({ errors, output, passed, place }: Result): void => {
  if (passed && quiet) return
  console.log(`${passed ? "ok  " : "FAIL"} ${place}`)
  for (const error of errors) console.log(indent(error))
  if (!passed && output !== "") console.log(`  it printed\n${indent(output, "  | ")}`)
}

/** Files by name, for a quick look at what is being written: `npm run doctest -- docs/retry.md`. */
const named = process.argv.slice(2).filter((it) => !it.startsWith("--"))
const fences = findFences(root).filter(({ file }) => named.length === 0 || named.includes(file))

const { elsewhere, results } = await doctest(fences, { folder: join(root, ".doctest") })
results.forEach(print)
for (const error of elsewhere) console.log(`FAIL outside of the examples\n${indent(error)}`)
Tally.close(Tally.sum([Tally.ofResults(results), Tally.make(0, elsewhere.length > 0 || fences.length === 0 ? 1 : 0)]))
