import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { run } from "./lib/command.ts"
import { map } from "./lib/parallel.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"
import { root } from "./lib/workspace.ts"

const BOUND_MILLIS = 60_000

const numbered = (folder: string): Array<string> =>
  existsSync(folder) ? readdirSync(folder).filter((name) => /^\d\d-.*\.ts$/.test(name)).toSorted() : []

const runExample = async (name: string): Promise<{ readonly passed: boolean; readonly report: string }> => {
  const result = await run("node", ["--conditions=@rego/source", join("examples", name)], {
    timeoutMillis: BOUND_MILLIS
  })
  const verdict = result.ok ? "ok  " : "FAIL"
  const reason = result.timedOut ? ` (still running after ${BOUND_MILLIS / 1000} s)` : ""
  const shown = !result.ok || process.argv.includes("--verbose")
  return {
    passed: result.ok,
    report: `${verdict} examples/${name}${reason}${shown ? `\n${indent(result.output)}` : ""}`
  }
}

const results = await map(numbered(join(root, "examples")), runExample)
for (const { report } of results) console.log(report)
Tally.close(Tally.sum([Tally.ofResults(results), Tally.make(0, results.length === 0 ? 1 : 0)]))
