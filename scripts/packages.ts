/**
 * Looks at the packages as those see them who install them: what is packed, what bundlers and compilers make of it, and how
 * much of it reaches a browser. Reads what `npm run check` built.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { run } from "./lib/command.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"
import { findBrowser, titleIn } from "./packages/browser.ts"
import { bundle, programOf } from "./packages/bundle.ts"
import { contentErrors, readIn } from "./packages/contents.ts"
import { pack, type Package, packages } from "./packages/published.ts"

interface Result {
  readonly name: string
  /** nothing when all is well */
  readonly errors: ReadonlyArray<string>
  /** what there is to say besides */
  readonly note?: string
  /** it was not tried: neither passed nor failed */
  readonly skipped?: boolean
}

const command = async (name: string, file: string, args: ReadonlyArray<string>): Promise<Result> => {
  const { ok, output } = await run(file, args)
  return { name, errors: ok ? [] : [output] }
}

const checkPackage = async (self: Package, folder: string): Promise<ReadonlyArray<Result>> => {
  const { name } = self.manifest
  const { filename, files } = await pack(self, folder)
  const tarball = join(folder, filename)
  return [
    {
      name: `${name}: files`,
      errors: contentErrors({
        manifest: self.manifest,
        files: files.map(({ path }) => path),
        read: readIn(self.folder)
      }),
      note: `${files.length} files, ${files.reduce((sum, { size }) => sum + size, 0)} bytes`
    },
    await command(`${name}: publint`, "publint", ["run", tarball, "--strict"]),
    await command(`${name}: attw`, "attw", [tarball, "--profile", "esm-only", "--no-color", "--no-emoji"])
  ]
}

// -----------------------------------------------------------------------------
// what reaches a browser
// -----------------------------------------------------------------------------

const used = `import { PolicyLayer, Rego } from "@rego/core"; globalThis.used = [Rego.resilient, PolicyLayer.make]`

/** Minified bytes. A limit is a twentieth above what was measured; raise it knowingly, with a line in the commit. */
const sizes = [
  { name: "Rego.resilient + PolicyLayer.make, ours", entry: used, withoutEffect: true, limit: 115_800 },
  { name: "Rego.resilient + PolicyLayer.make, with what they use of effect", entry: used, limit: 225_300 },
  {
    name: "one constructor (Outcome.retryable), ours",
    entry: `import { Outcome } from "@rego/core"; globalThis.used = Outcome.retryable`,
    withoutEffect: true,
    limit: 2_000
  }
]

const checkSize = async ({ limit, name, ...options }: typeof sizes[number]): Promise<Result> => {
  const { size } = await bundle(options.entry, options)
  return {
    name: `size: ${name}`,
    errors: size.bytes > limit ? [`${size.bytes} bytes, the limit is ${limit}`] : [],
    note: `${size.bytes} bytes minified, ${size.gzip} gzipped, limit ${limit}`
  }
}

const inBrowser = `import { done } from ${JSON.stringify(programOf("scripts/packages/consumer/core.ts"))}
done.then((text) => { document.title = text })`

const checkBrowser = async (): Promise<ReadonlyArray<Result>> => {
  const { code, imports } = await bundle(inBrowser)
  const named = [...imports, ...code.match(/["']node:\w+["']/g) ?? []]
  const bundled: Result = {
    name: "browser: a bundle of core imports nothing",
    errors: named.map((name) => `it needs ${name}`)
  }
  const browser = await findBrowser()
  if (browser === undefined) {
    return [bundled, { name: "browser: no Chromium on this machine", errors: [], skipped: true }]
  }
  const title = await titleIn(browser, code)
  const ran = title === `{"user":"ada","attempts":3}`
  return [bundled, { name: `browser: a call in ${browser}`, errors: ran ? [] : [title], note: title }]
}

const report = ({ errors, name, note, skipped }: Result): void => {
  console.log(
    `${skipped === true ? "skip" : errors.length === 0 ? "ok  " : "FAIL"} ${name}${
      note === undefined ? "" : ` (${note})`
    }`
  )
  for (const error of errors) console.log(indent(error))
}

const folder = mkdtempSync(join(tmpdir(), "rego-packages-"))
const results: Array<Result> = []
for (const self of packages) results.push(...await checkPackage(self, folder))
rmSync(folder, { recursive: true })
results.push(
  await command("knip: no unused file, export or dependency", "knip", ["--no-progress", "--no-config-hints"])
)
for (const size of sizes) results.push(await checkSize(size))
results.push(...await checkBrowser())
results.forEach(report)
const tried = results.filter(({ skipped }) => skipped !== true)
const { failed, passed } = Tally.ofResults(tried.map(({ errors }) => ({ passed: errors.length === 0 })))
Tally.close(Tally.make(passed, failed, results.length - tried.length))
