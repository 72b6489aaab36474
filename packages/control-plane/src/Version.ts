/**
 * The version of the package, from `package.json`, so that it is written once.
 *
 * @internal
 */
import { createRequire } from "node:module"

export const { version } = createRequire(import.meta.url)("../package.json") as { readonly version: string }
