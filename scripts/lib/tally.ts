/** How many checks of a step passed, failed and were skipped. Every script of this folder closes with one, as a line. */
export interface Tally {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
}

export const make = (passed: number, failed: number, skipped = 0): Tally => ({ passed, failed, skipped })

export const ofResults = (results: ReadonlyArray<{ readonly passed: boolean }>): Tally => {
  const passed = results.filter((result) => result.passed).length
  return make(passed, results.length - passed)
}

export const sum = (tallies: ReadonlyArray<Tally>): Tally =>
  tallies.reduce(
    (total, next) => make(total.passed + next.passed, total.failed + next.failed, total.skipped + next.skipped),
    make(0, 0)
  )

export const format = (self: Tally): string =>
  `${self.passed} passed, ${self.failed} failed${self.skipped > 0 ? `, ${self.skipped} skipped` : ""}`

export const parse = (line: string): Tally | undefined => {
  const match = /^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$/.exec(line)
  return match === null ? undefined : make(Number(match[1]), Number(match[2]), Number(match[3] ?? 0))
}

/** A step that ends badly has a failure, whatever it counted: a crash must never look like success. */
export const orFailure = (self: Tally, ended: { readonly well: boolean }): Tally =>
  ended.well || self.failed > 0 ? self : make(self.passed, 1, self.skipped)

/** Prints the closing line and sets the exit code. */
export const close = (self: Tally): void => {
  console.log(format(self))
  process.exitCode = self.failed > 0 ? 1 : 0
}
