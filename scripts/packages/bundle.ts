import { builtinModules } from "node:module"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { rolldown } from "rolldown"
import { root } from "../lib/workspace.ts"

export interface Size {
  readonly bytes: number
  readonly gzip: number
}

export interface Bundle {
  readonly code: string
  readonly size: Size
  /** what is left to import, when the bundle runs */
  readonly imports: ReadonlyArray<string>
}

const ENTRY = "\0entry"

/** The entry is text, found from the folder of the benchmarks, which has `@rego/core` and `effect` as any program has. */
const virtualEntry = (text: string) => ({
  name: "entry",
  resolveId: (id: string) => id === ENTRY ? id : undefined,
  load: (id: string) => id === ENTRY ? text : undefined
})

const isEffect = (id: string): boolean => id === "effect" || id.startsWith("effect/")

export interface Options {
  /** leave `effect` out, to weigh what is ours */
  readonly withoutEffect?: boolean
}

/** Bundles and minifies the built packages for browsers, and drops what the entry does not use. */
export const bundle = async (entry: string, options: Options = {}): Promise<Bundle> => {
  const built = await rolldown({
    input: ENTRY,
    cwd: root,
    platform: "browser",
    plugins: [virtualEntry(entry)],
    external: (id) => (options.withoutEffect === true && isEffect(id)) || isBuiltin(id),
    treeshake: true,
    logLevel: "silent"
  })
  const { output: [chunk] } = await built.generate({ format: "esm", minify: true })
  await built.close()
  return {
    code: chunk.code,
    size: { bytes: Buffer.byteLength(chunk.code), gzip: gzipSync(chunk.code, { level: 9 }).length },
    imports: [...chunk.imports, ...chunk.dynamicImports]
  }
}

const isBuiltin = (id: string): boolean => id.startsWith("node:") || builtinModules.includes(id)

/** How {@link bundle} names a file of this repository. */
export const programOf = (file: string): string => join(root, file)
