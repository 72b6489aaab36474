/**
 * What docs/control-plane.md shows is what happens. `REGO_UPDATE_DOCS=1` writes the output of its commands anew.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { defaults } from "../src/ServeCommand.ts"
import { runHere, withFiles } from "./regoBinary.ts"

const page = join(import.meta.dirname, "../../../docs/control-plane.md")
const text = readFileSync(page, "utf8")

const files = Object.fromEntries(
  Array.from(text.matchAll(/^```json (?<name>\S+)\n(?<content>[^]*?)^```$/gm), ({ groups }) => [
    groups!["name"]!,
    groups!["content"]!
  ])
)

/** Commands with what they print, in the order of the page. */
const shown = Array.from(text.matchAll(/^```console\n(?<body>[^]*?)^```$/gm), ({ groups }) => groups!["body"]!)

const commandsOf = (body: string) =>
  Array.from(body.matchAll(/^\$ rego (?<args>.*)$/gm), ({ groups }) => groups!["args"]!)

const printedBy = (args: string) =>
  Effect.map(
    runHere(args.split(" ")),
    ({ code, stderr, stdout }) => `$ rego ${args}\n${stdout}${stderr}${code === 0 ? "" : `[exit code ${code}]\n`}`
  )

/** The page names files as they are called where the reader is. */
const enter = (directory: string) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const before = process.cwd()
      process.chdir(directory)
      return before
    }),
    (before) => Effect.sync(() => process.chdir(before))
  )

describe("docs/control-plane.md", () => {
  it.live("shows what its commands print", () =>
    Effect.gen(function*() {
      assert.isAbove(shown.length, 2)
      yield* enter(yield* withFiles(files))
      const printed = yield* Effect.forEach(
        shown,
        (body) => Effect.map(Effect.forEach(commandsOf(body), printedBy), (all) => all.join(""))
      )
      if (process.env["REGO_UPDATE_DOCS"] === "1") {
        writeFileSync(page, shown.reduce((page, body, i) => page.replace(body, () => printed[i]!), text))
      } else assert.deepStrictEqual(shown, printed, "REGO_UPDATE_DOCS=1 writes them anew")
    }).pipe(Effect.scoped), 120_000)

  it("has the defaults of rego serve", () => {
    for (const [flag, value] of Object.entries(defaults)) {
      assert.match(text, new RegExp(`\\| \`--${flag}\`[^|]*\\| \`${value}\` \\|`), flag)
    }
  })
})
