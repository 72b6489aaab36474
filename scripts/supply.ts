/**
 * What we download, and what those download who install us: licences, checksums, scripts. Reads the lock file only.
 * `--audit` asks the registry for known vulnerabilities besides.
 */
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "./lib/command.ts"
import * as Tally from "./lib/tally.ts"
import { indent } from "./lib/text.ts"
import { root } from "./lib/workspace.ts"
import { packages as published } from "./packages/published.ts"
import { readAudit } from "./supply/audit.ts"
import { lockErrors, type Rules } from "./supply/lock.ts"

const readJson = (path: string) => JSON.parse(readFileSync(join(root, path), "utf8"))

const platforms = [
  "android-arm64",
  "android-x64",
  "darwin-arm64",
  "darwin-x64",
  "linux-arm64-glibc",
  "linux-arm64-musl",
  "linux-loong64-glibc",
  "linux-loong64-musl",
  "linux-ppc64-glibc",
  "linux-ppc64-musl",
  "linux-riscv64-glibc",
  "win32-arm64",
  "win32-x64"
]

const rules: Rules = {
  permissive: new Set(["MIT", "Apache-2.0", "ISC", "0BSD", "BSD-2-Clause", "BSD-3-Clause", "BlueOak-1.0.0"]),
  exceptions: {
    "@bufbuild/protobuf": "(Apache-2.0 AND BSD-3-Clause)",
    // a licence like BSD; what reads the head of a page for Eleventy stands on it
    argparse: "Python-2.0",
    // data, read by Stryker's parser
    "caniuse-lite": "CC-BY-4.0",
    // a part of vite, which does not need it for us
    ...Object.fromEntries(
      [
        "",
        "-android-arm64",
        "-darwin-arm64",
        "-darwin-x64",
        "-freebsd-x64",
        "-linux-arm-gnueabihf",
        "-linux-arm64-gnu",
        "-linux-arm64-musl",
        "-linux-x64-gnu",
        "-linux-x64-musl",
        "-win32-arm64-msvc",
        "-win32-x64-msvc"
      ].map((suffix) => [`lightningcss${suffix}`, "MPL-2.0"])
    )
  },
  // the registry that this was made with does not have them
  gaps: new Set(platforms.map((platform) => `@dprint/${platform}`)),
  allowScripts: readJson("package.json").allowScripts
}

interface Result {
  readonly name: string
  readonly errors: ReadonlyArray<string>
}

/** Whoever installs a package of ours gets that package, its peers, and nothing else. */
const dependencyErrors = (): ReadonlyArray<string> =>
  published.flatMap(({ manifest }) =>
    Object.keys((manifest as { readonly dependencies?: object }).dependencies ?? {}).map(
      (name) => `${manifest.name} brings ${name} along: make it a peer, or drop it`
    )
  )

/** `undefined` when the registry does not answer the question. */
const audit = async (): Promise<Result | undefined> => {
  const { found, status } = readAudit((await run("npm", ["audit", "--json"])).output)
  if (found !== undefined) return { name: "npm audit", errors: found }
  console.log(`skip npm audit: the registry does not answer it (${status})`)
  return undefined
}

const lock = readJson("package-lock.json").packages
const asked = process.argv.includes("--audit")
const audited = asked ? await audit() : undefined
const results: ReadonlyArray<Result> = [
  {
    name: `the lock file (${Object.keys(lock).length} entries, ${rules.gaps.size} without a checksum)`,
    errors: lockErrors(lock, rules)
  },
  { name: "packages that bring nothing along", errors: dependencyErrors() },
  ...audited === undefined ? [] : [audited]
]
for (const { errors, name } of results) {
  console.log(`${errors.length === 0 ? "ok  " : "FAIL"} ${name}`)
  for (const error of errors) console.log(indent(error))
}
const tally = Tally.ofResults(results.map(({ errors }) => ({ passed: errors.length === 0 })))
Tally.close(Tally.make(tally.passed, tally.failed, asked && audited === undefined ? 1 : 0))
