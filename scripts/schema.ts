import { PolicyDocument } from "@rego/core"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "./lib/workspace.ts"

/** Editors read the file; a test holds it against the schema that it is made from. */
const file = join(root, "packages/core/policy-document.schema.json")

writeFileSync(file, `${JSON.stringify(PolicyDocument.jsonSchema(), undefined, 2)}\n`)
console.log(`wrote ${file}`)
