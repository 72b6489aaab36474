import { run } from "./lib/command.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"

const commands = [["oxlint"], ["dprint", "check"]] as const

const results = []
for (const [command, ...args] of commands) {
  const { ok, output } = await run(command, args)
  console.log(`${ok ? "ok  " : "FAIL"} ${[command, ...args].join(" ")}${ok ? "" : `\n${indent(output)}`}`)
  results.push({ passed: ok })
}
Tally.close(Tally.ofResults(results))
