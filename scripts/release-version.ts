/** Makes a version of the changesets in `.changeset`: numbers, lock file and CHANGELOG.md. Publishes nothing. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "./lib/command.ts"
import { root } from "./lib/workspace.ts"
import { entryOf, insert, versionText } from "./release/changelog.ts"

const folder = join(root, ".changeset")
const changelog = join(root, "CHANGELOG.md")

const entries = readdirSync(folder)
  .filter((name) => name.endsWith(".md") && name !== "README.md")
  .toSorted()
  .map((name) => entryOf(name, readFileSync(join(folder, name), "utf8")))

const mustRun = async (command: string, args: ReadonlyArray<string>): Promise<void> => {
  const { ok, output } = await run(command, args)
  if (!ok) throw new Error(`${command} ${args.join(" ")}\n${output}`)
}

if (entries.length === 0) throw new Error("there is no changeset: nothing to release")
await mustRun("changeset", ["version"])
const { version } = JSON.parse(readFileSync(join(root, "packages/core/package.json"), "utf8"))
const text = versionText(version, new Date().toISOString().slice(0, 10), entries)
writeFileSync(changelog, insert(readFileSync(changelog, "utf8"), text))
await mustRun("npm", ["install", "--package-lock-only", "--no-audit", "--no-fund"])
console.log(`${version}: ${entries.length} changes`)
