import { globSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { run } from "../lib/command.ts"
import { root } from "../lib/workspace.ts"
import { type FenceModule, sourceLine } from "./module.ts"

export interface TypeErrors {
  readonly ofModules: ReadonlyMap<string, ReadonlyArray<string>>
  /** What the compiler said of anything else: of the sources, or of its configuration. */
  readonly elsewhere: ReadonlyArray<string>
}

const published = (): Array<string> =>
  globSync("packages/*/package.json", { cwd: root })
    .filter((path) => JSON.parse(readFileSync(join(root, path), "utf8")).private !== true)
    .map((path) => join(root, dirname(path)))

const writeConfig = (folder: string): void => {
  const config = {
    extends: relative(folder, join(root, "tsconfig.base.json")),
    include: ["**/*.ts"],
    references: published().map((path) => ({ path: relative(folder, path) })),
    compilerOptions: {
      types: ["node"],
      composite: false,
      declaration: false,
      declarationMap: false,
      incremental: true,
      noEmit: true,
      noUnusedLocals: false,
      noUnusedParameters: false,
      tsBuildInfoFile: ".tsbuildinfo"
    }
  }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config, null, 2))
}

const diagnostic = /^(?<file>\S[^\n]*?)\((?<line>\d+),\d+\): (?<message>error TS.*(?:\n[ \t].*)*)/gm

/** Checks the types of all modules of the folder in one run of the compiler. */
export const typeCheck = async (modules: ReadonlyArray<FenceModule>, folder: string): Promise<TypeErrors> => {
  writeConfig(folder)
  const { ok, output } = await run("tsc", ["-b", "--pretty", "false", folder])
  const byPath = new Map(modules.map((module) => [module.path, module]))
  const ofModules = new Map<string, Array<string>>()
  const elsewhere: Array<string> = []
  for (const { groups } of output.matchAll(diagnostic)) {
    const { file = "", line = "", message = "" } = groups ?? {}
    const module = byPath.get(resolve(root, file))
    if (module === undefined) elsewhere.push(`${file}:${line}  ${message}`)
    else {
      const found = `${module.fence.file}:${sourceLine(module.fence, Number(line))}  ${message}`
      ofModules.set(module.path, [...ofModules.get(module.path) ?? [], found])
    }
  }
  if (!ok && ofModules.size === 0 && elsewhere.length === 0) elsewhere.push(output.trim())
  return { ofModules, elsewhere }
}
