/** What the runner and the part of it inside vitest say to each other. */
export type End = "failed" | "passed" | "hung"

/** What a test does without a mutant. */
export interface Measured {
  readonly name: string
  readonly millis: number
  /** turns of the event loop that it waited: where the machine is busy they count less time, but not more turns */
  readonly turns: number
  /** how often it came by a place that has a mutant */
  readonly hits: number
  readonly file: string
  /** of the first file in the list of a module that is changed */
  readonly isOwn: boolean
  /** asked only where there is no other */
  readonly isSlow: boolean
  /** not asked at all */
  readonly isUnfit: boolean
}

export interface Control {
  readonly tests: ReadonlyArray<Measured>
  /** by mutant, which tests reach it */
  readonly reach: Readonly<Record<string, ReadonlyArray<number>>>
  /** mutants that are reached while modules are imported */
  readonly loaded: ReadonlyArray<string>
}

export interface Job {
  readonly files: ReadonlyArray<string>
  /** those of them that are the first in the list of a module that is changed */
  readonly own: ReadonlyArray<string>
  readonly log: string
  /** `undefined` where this is to be found out */
  readonly control: Control | undefined
  readonly mutants: ReadonlyArray<string>
  /** whether each mutant gets an import of its own */
  readonly reimport: boolean
  /** names of tests that are not asked any more */
  readonly unfit: ReadonlyArray<string>
  /** go on without a test that was spoiled: many are in this module, and a process for each would take too long */
  readonly isLenient: boolean
  /** the one mutant that left something behind when it was among others */
  readonly isAlone: boolean
}

export type Line =
  | { readonly control: Control }
  | { readonly id: string; readonly end?: End; readonly test?: string; readonly millis?: number }
  | { readonly alive: true }
  | { readonly done: true }
  /** a test that fails without a mutant */
  | { readonly unfit: string }
  /** a test that fails without a mutant since this one was in force: the last line of its process */
  | { readonly spoiled: string; readonly by: string }

/** The run of all tests before the first mutant: no mutant has such a number. */
export const BEFORE = "before"

/** Mutants in one process: what leaks goes with it. */
export const MAX_TOGETHER = 500

/** Those that the tests reach, and no import. */
export const together = (ids: ReadonlyArray<string>, { loaded, reach }: Control): ReadonlyArray<string> => {
  const early = new Set(loaded)
  return ids.filter((id) => reach[id] !== undefined && !early.has(id))
}
