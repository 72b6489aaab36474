import { globSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { run } from "../lib/command.ts"
import { root } from "../lib/workspace.ts"

export interface Manifest {
  readonly name: string
  readonly version: string
  readonly private?: boolean
  readonly sideEffects?: false | ReadonlyArray<string>
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>
  readonly peerDependencies?: Readonly<Record<string, string>>
}

export interface Package {
  readonly folder: string
  readonly manifest: Manifest
}

const readPackage = (path: string): Package => ({
  folder: join(root, dirname(path)),
  manifest: JSON.parse(readFileSync(join(root, path), "utf8"))
})

/** The packages that users install. */
export const packages: ReadonlyArray<Package> = globSync("packages/*/package.json", { cwd: root })
  .toSorted()
  .map(readPackage)
  .filter(({ manifest }) => manifest.private !== true)

interface Packed {
  readonly name: string
  readonly filename: string
  readonly files: ReadonlyArray<{ readonly path: string; readonly size: number }>
}

/** Packs as `npm publish` would. Without a folder nothing is written: only the list of files is made. */
export const pack = async ({ folder }: Package, into?: string): Promise<Packed> => {
  const where = into === undefined ? ["--dry-run"] : ["--pack-destination", into]
  const { ok, output } = await run("npm", ["pack", "--json", "--loglevel=error", ...where], { cwd: folder })
  if (!ok) throw new Error(`npm pack in ${folder} failed\n${output}`)
  const answer: ReadonlyArray<Packed> | Readonly<Record<string, Packed>> = JSON.parse(output)
  const [packed] = Object.values(answer)
  if (packed === undefined) throw new Error(`npm pack in ${folder} listed nothing`)
  return packed
}
