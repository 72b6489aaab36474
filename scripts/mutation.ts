/**
 * Mutation tests of `packages/core/src`: does a test fail when a line is changed? `npm run mutation -- --module Retry`
 * runs Stryker on a copy of the repository, so that work can go on meanwhile.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { parseArgs } from "node:util"
import { run } from "./lib/command.ts"
import { root } from "./lib/workspace.ts"

const { values } = parseArgs({
  options: {
    module: { type: "string", multiple: true },
    tests: { type: "string", multiple: true }
  }
})

const copyTo = async (folder: string): Promise<void> => {
  rmSync(folder, { recursive: true, force: true })
  const { output } = await run("git", ["ls-files", "--cached", "--others", "--exclude-standard"])
  for (const file of output.trim().split("\n")) {
    if (!existsSync(join(root, file))) continue
    mkdirSync(dirname(join(folder, file)), { recursive: true })
    cpSync(join(root, file), join(folder, file))
  }
  // everything else is found further up, in the node_modules of the repository
  mkdirSync(join(folder, "node_modules", "@rego"), { recursive: true })
  for (const name of readdirSync(join(folder, "packages"))) {
    symlinkSync(join(folder, "packages", name), join(folder, "node_modules", "@rego", name))
  }
}

for (const module of values.module ?? []) {
  const folder = join(root, ".mutation", module)
  await copyTo(folder)
  const tests = values.tests ?? [`packages/core/test/${module}.test.ts`]
  writeFileSync(
    join(folder, "vitest.mutation.config.ts"),
    `import config from "./vitest.config.ts"\n` +
      `export default { ...config, test: { ...config.test, isolate: ${process.env["MUT_ISOLATE"] ?? "false"}, include: ${JSON.stringify(tests)} } }\n`
  )
  writeFileSync(
    join(folder, "stryker.config.json"),
    JSON.stringify({
      testRunner: "vitest",
      plugins: ["@stryker-mutator/vitest-runner"],
      vitest: { configFile: "vitest.mutation.config.ts", related: false, pool: process.env["MUT_POOL"] ?? "forks" },
      inPlace: true,
      concurrency: 1,
      coverageAnalysis: "perTest",
      mutate: [`packages/core/src/${module}.ts`],
      reporters: ["json", "clear-text"],
      jsonReporter: { fileName: join(folder, "report.json") },
      clearTextReporter: { allowColor: false, reportTests: false, allowEmojis: false },
      timeoutMS: 20_000,
      timeoutFactor: 3,
      checkers: [],
      allowConsoleColors: false
    })
  )
  const result = await run("nice", ["-n", "19", "stryker", "run", "stryker.config.json"], { cwd: folder, echo: true })
  process.exitCode = result.ok ? 0 : 1
}
