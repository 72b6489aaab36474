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

export const instrument = async (
  name: string,
  content: string
): Promise<{ readonly code: string; readonly mutants: ReadonlyArray<Mutant> }> => {
  const instrumenter = new Instrumenter(silent)
  const { files: [file], mutants } = await instrumenter.instrument(
    [{ name, content, mutate: true }],
    { plugins: null, excludedMutations: [], ignorers: [] }
  )
  return {
    code: file!.content,
    // lines and columns from 1, as editors count them
    mutants: mutants.map(({ id, location, replacement }) => ({
      id,
      replacement,
      location: { start: counted(location.start), end: counted(location.end) }
    }))
  }
}

const counted = ({ column, line }: Place): Place => ({ line: line + 1, column: column + 1 })
