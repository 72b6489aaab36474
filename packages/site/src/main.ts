/**
 * `npm run docs`: builds the site and follows its links. With `--serve` it stays, and shows it on this machine; a folder
 * that is named is built into.
 */
import { join } from "node:path"
import { build } from "./build.ts"
import { brokenIn } from "./checkSite.ts"
import { serve } from "./serve.ts"

const named = process.argv.slice(2).find((it) => !it.startsWith("--"))
const output = named ?? join(import.meta.dirname, "..", "dist")
const urls = await build(output)
const broken = brokenIn(output)
for (const line of broken) console.log(line)
console.log(`${urls.length} pages in ${output}, ${broken.length} broken links`)
process.exitCode = broken.length === 0 ? 0 : 1

if (process.argv.includes("--serve")) console.log((await serve(output, 4140)).url)
