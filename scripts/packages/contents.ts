import { existsSync, readFileSync } from "node:fs"
import { join, posix } from "node:path"
import type { Manifest } from "./published.ts"

interface Contents {
  readonly manifest: Manifest
  /** paths inside of the package */
  readonly files: ReadonlyArray<string>
  readonly read: (path: string) => string
}

const targets = ({ exports }: Manifest): ReadonlyArray<string> =>
  Object.values(exports)
    .flatMap((entry) => typeof entry === "string" ? [entry] : Object.values(entry))
    .map((target) => target.replace(/^\.\//, ""))

const missingEntries = ({ files, manifest }: Contents): ReadonlyArray<string> =>
  targets(manifest).filter((target) => !files.includes(target)).map((target) => `exports names ${target}: not packed`)

const builtOf = (source: string): ReadonlyArray<string> => {
  const name = source.replace(/^src\//, "dist/").replace(/\.ts$/, "")
  return [".js", ".js.map", ".d.ts", ".d.ts.map"].map((suffix) => `${name}${suffix}`)
}

/** `dist` holds what `src` is built to: no file is missing, and none is left of a module that is gone. */
const differences = ({ files }: Contents): ReadonlyArray<string> => {
  const expected = new Set(files.filter((file) => file.startsWith("src/")).flatMap(builtOf))
  const actual = new Set(files.filter((file) => file.startsWith("dist/")))
  return [
    ...[...expected].filter((file) => !actual.has(file)).map((file) => `${file} is not packed: build first`),
    ...[...actual].filter((file) => !expected.has(file)).map((file) =>
      `${file} has no source: npm run clean, and build again`
    )
  ]
}

const mapErrors = ({ files, read }: Contents): ReadonlyArray<string> =>
  files.filter((file) => file.endsWith(".map")).flatMap((file) => {
    const map: { readonly sources: ReadonlyArray<string>; readonly sourceRoot?: string } = JSON.parse(read(file))
    return map.sources
      .map((source) => posix.join(posix.dirname(file), map.sourceRoot ?? "", source))
      .filter((source) => !files.includes(source))
      .map((source) => `${file} points at ${source}: not packed`)
  })

/** What nobody should download, and what everybody should. */
const strangers = ({ files }: Contents): ReadonlyArray<string> => [
  ...files.filter((file) => /(?:^|\/)(?:test|typetest|node_modules)\/|\.tsbuildinfo$|\.test\./.test(file))
    .map((file) => `${file} is packed`),
  ...["README.md", "LICENSE"].filter((file) => !files.includes(file)).map((file) => `${file} is not packed`)
]

const sideEffectErrors = ({ files, manifest }: Contents): ReadonlyArray<string> => {
  if (manifest.sideEffects === undefined) return ["sideEffects is not stated: bundlers keep every module"]
  if (manifest.sideEffects === false) return []
  return manifest.sideEffects
    .map((path) => path.replace(/^\.\//, ""))
    .filter((path) => !files.includes(path))
    .map((path) => `sideEffects names ${path}: not packed`)
}

/** What is wrong with the files of a package, a line for each. */
export const contentErrors = (contents: Contents): ReadonlyArray<string> =>
  [missingEntries, differences, mapErrors, strangers, sideEffectErrors].flatMap((check) => check(contents))

export const readIn = (folder: string) => (path: string): string =>
  existsSync(join(folder, path)) ? readFileSync(join(folder, path), "utf8") : ""
