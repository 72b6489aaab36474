import { createHash } from "node:crypto"
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { root } from "../lib/workspace.ts"
import type { Target } from "./engine.ts"

// an input is a string of characters below 256, which stands for bytes where a target reads bytes
const encoding = "latin1"

/** The inputs that are kept for a target, in the order of their names. */
export const read = ({ corpus }: Target): ReadonlyArray<string> => {
  const folder = join(root, corpus)
  if (!existsSync(folder)) return []
  return readdirSync(folder).toSorted().map((name) => readFileSync(join(folder, name), encoding))
}

/** Keeps an input under a name that its content gives it. */
export const keep = ({ corpus }: Target, input: string, prefix = ""): string => {
  const folder = join(root, corpus)
  mkdirSync(folder, { recursive: true })
  const name = `${prefix}${createHash("sha256").update(input).digest("hex").slice(0, 12)}`
  writeFileSync(join(folder, name), input, encoding)
  return join(corpus, name)
}
