import { createRequire } from "node:module"

/** From `package.json`, so that it is written once. */
export const { version } = createRequire(import.meta.url)("../package.json") as { readonly version: string }
