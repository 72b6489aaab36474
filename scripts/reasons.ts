import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { reasonsPage } from "./lib/reasons.ts"
import { root } from "./lib/workspace.ts"

const file = join(root, "docs/reasons.md")

writeFileSync(file, reasonsPage())
console.log(`wrote ${file}`)
