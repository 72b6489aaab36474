import { PolicyDocument, Timeline } from "@rego/core"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "./lib/workspace.ts"

/** Editors and other programs read the files; tests hold them against the schemas that they are made from. */
const schemas = {
  "policy-document.schema.json": PolicyDocument.jsonSchema(),
  "timeline.schema.json": Timeline.jsonSchema()
}

for (const [name, schema] of Object.entries(schemas)) {
  const file = join(root, "packages/core", name)
  writeFileSync(file, `${JSON.stringify(schema, undefined, 2)}\n`)
  console.log(`wrote ${file}`)
}
