/** The mutants of one file, by Stryker: they all stand in the file, and a number chooses which one is in force. */
import { Instrumenter } from "@stryker-mutator/instrumenter"

export interface Mutant {
  readonly id: string
  readonly replacement: string
  readonly location: { readonly start: Place; readonly end: Place }
}

interface Place {
  readonly line: number
  readonly column: number
}

/** Which mutant is in force, and who wants to know what is reached. It stands in the global object of vitest's process. */
export interface Switch {
  active: string
  hits: number
  limit: number
  cover: ((id: string) => void) | undefined
}

/** Stryker's own counts reached places always; this only when somebody asks, and it stops a loop that never ends. */
const header = `const sw_9fa48 = globalThis.__rego_mutation__;
function stryCov_9fa48() {
  if (++sw_9fa48.hits > sw_9fa48.limit) throw new Error("too many hits");
  if (sw_9fa48.cover !== undefined) for (let i = 0; i < arguments.length; i++) sw_9fa48.cover(arguments[i]);
}
function stryMutAct_9fa48(id) {
  if (sw_9fa48.active !== id) return false;
  if (++sw_9fa48.hits > sw_9fa48.limit) throw new Error("too many hits");
  return true;
}
`

const withHeader = (code: string): string => {
  const last = "return isActive(id);\n}"
  const end = code.indexOf(last)
  if (end < 0) throw new Error("Stryker's header has changed")
  return header + code.slice(end + last.length)
}

const silent = {
  isTraceEnabled: () => false,
  isDebugEnabled: () => false,
  isInfoEnabled: () => false,
  isWarnEnabled: () => false,
  isErrorEnabled: () => false,
  isFatalEnabled: () => false,
  trace: () => {},
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  fatal: () => {}
}

/** The numbers of several modules in one process must differ. */
const numbered = (code: string, module: string): string =>
  code.replaceAll(
    /(stryMutAct_9fa48|stryCov_9fa48)\(([^()]*)\)/g,
    (_, name: string, ids: string) => `${name}(${ids.replaceAll(/"(\d+)"/g, `"${module}:$1"`)})`
  )

export const instrument = async (
  name: string,
  content: string,
  module = "m"
): Promise<{ readonly code: string; readonly mutants: ReadonlyArray<Mutant> }> => {
  const instrumenter = new Instrumenter(silent)
  const { files: [file], mutants } = await instrumenter.instrument(
    [{ name, content, mutate: true }],
    { plugins: null, excludedMutations: [], ignorers: [] }
  )
  return {
    code: mutants.length === 0 ? content : numbered(withHeader(file!.content), module),
    // lines and columns from 1, as editors count them
    mutants: mutants.map(({ id, location, replacement }) => ({
      id: `${module}:${id}`,
      replacement,
      location: { start: counted(location.start), end: counted(location.end) }
    }))
  }
}

const counted = ({ column, line }: Place): Place => ({ line: line + 1, column: column + 1 })
