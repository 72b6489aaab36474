import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import type { Fence } from "./fences.ts"
import { assertion, rewrite } from "./rewrite.ts"

/** A fence, written to the disk as a module. */
export interface FenceModule {
  readonly fence: Fence
  readonly path: string
  /** What is wrong with the fence itself, as `file:line  message`. */
  readonly problems: ReadonlyArray<string>
}

const HEADER_LINES = 2

export const place = (fence: Fence): string => `${fence.file}:${fence.line}`

/** Where a line of the module stands in the document. */
export const sourceLine = (fence: Fence, moduleLine: number): number =>
  Math.max(fence.line, fence.line + moduleLine - HEADER_LINES)

const toImport = (from: string, to: string): string => {
  const path = relative(dirname(from), to)
  return path.startsWith(".") ? path : `./${path}`
}

/** Files that a page has its reader write stand beside each other, so that one can import another. */
const pathOf = (fence: Fence, folder: string): string =>
  fence.name === undefined
    ? join(folder, `${fence.file}.${fence.line}.ts`)
    : join(folder, `${fence.file}.files`, fence.name)

const writeModule = (fence: Fence, folder: string): FenceModule => {
  const path = pathOf(fence, folder)
  const equal = toImport(path, join(import.meta.dirname, "equal.ts"))
  const { code, problems } = rewrite(fence.code)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `// ${place(fence)}\nimport { ${assertion} } from "${equal}"\n${code}\n`)
  const unclosed = fence.closed ? [] : [`${place(fence)}  the fence is never closed`]
  return {
    fence,
    path,
    problems: [...unclosed, ...problems.map((p) => `${fence.file}:${fence.line + 1 + p.line}  ${p.message}`)]
  }
}

/** Empties the folder and writes one module per fence into it. */
export const writeModules = (fences: ReadonlyArray<Fence>, folder: string): Array<FenceModule> => {
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  return fences.map((fence) => writeModule(fence, folder))
}

/** Replaces every mention of a line of the module by the line of the document. */
export const inTermsOfSource = ({ fence, path }: FenceModule, text: string): string =>
  text.replaceAll(`file://${path}`, path).split(path).map((part, index) =>
    index === 0 ?
      part :
      part.replace(/^(?::(?<line>\d+)(?::\d+)?)?/, (_, line: string | undefined) =>
        line === undefined ? place(fence) : `${fence.file}:${sourceLine(fence, Number(line))}`)
  ).join("")
