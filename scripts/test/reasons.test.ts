import { assert, describe, it } from "@effect/vitest"
import { Timeline } from "@rego/core"
import { Schema } from "effect"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { reasonsPage } from "../lib/reasons.ts"
import { root } from "../lib/workspace.ts"

const core = join(root, "packages/core/src")

/** What budgets and gates of ours say, as their sources have it. */
const denials = readdirSync(core).flatMap((file) => {
  const source = readFileSync(join(core, file), "utf8").replaceAll(/^ \*.*$/gm, "")
  return Array.from(source.matchAll(/_tag: "Denied",\s*reason: "(?<reason>\w+)"/g), ({ groups }) => groups!["reason"]!)
})

describe("docs/reasons.md", () => {
  it("is what the annotations of the schemas say", () => {
    assert.strictEqual(
      readFileSync(join(root, "docs/reasons.md"), "utf8"),
      reasonsPage(),
      "write it anew: npm run reasons"
    )
  })

  it("has every reason that a budget of ours gives", () => {
    assert.isAtLeast(denials.length, 7)
    for (const reason of denials) assert.isTrue(Schema.is(Timeline.DenialReason)(reason), reason)
  })
})
