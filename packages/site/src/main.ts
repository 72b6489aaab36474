import { join } from "node:path"
import { build } from "./build.ts"
import { brokenIn } from "./checkSite.ts"

const output = process.argv[2] ?? join(import.meta.dirname, "..", "dist")
const urls = await build(output)
const broken = brokenIn(output)
for (const line of broken) console.log(line)
console.log(`${urls.length} pages in ${output}, ${broken.length} broken links`)
process.exitCode = broken.length === 0 ? 0 : 1
