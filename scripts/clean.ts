import { globSync, rmSync } from "node:fs"
import { root } from "./lib/workspace.ts"

const generated = [
  "packages/*/dist",
  ".tsbuildinfo",
  ".doctest",
  ".doctest-self-test",
  ".walkthrough",
  ".site-test",
  ".test-results",
  "coverage"
]

for (const path of globSync(generated, { cwd: root })) rmSync(path, { recursive: true, force: true })
