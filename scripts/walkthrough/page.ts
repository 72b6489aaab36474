/** What a reader of a page does, one step for each fence. */
export type Step =
  | { readonly _tag: "Run"; readonly line: number; readonly code: string }
  | { readonly _tag: "Write"; readonly line: number; readonly code: string; readonly name: string }
  | { readonly _tag: "Expect"; readonly line: number; readonly code: string }

const fence = /^```(?<language>\w+)(?:[ \t]+(?<name>[\w./-]+))?[ \t]*\n(?<code>[^]*?)^```$/gm

const stepOf = (language: string, name: string | undefined): "Run" | "Write" | "Expect" | undefined => {
  if (name !== undefined) return "Write"
  if (language === "bash") return "Run"
  // the diagrams of a page stand before its first command
  return language === "text" ? "Expect" : undefined
}

export const stepsOf = (page: string): Array<Step> =>
  Array.from(page.matchAll(fence)).flatMap(({ groups, index }) => {
    const { code = "", language = "", name = "" } = groups ?? {}
    const _tag = stepOf(language, groups?.["name"])
    const line = page.slice(0, index).split("\n").length
    return _tag === undefined ? [] : [_tag === "Write" ? { _tag, line, code, name } : { _tag, line, code }]
  })

/** A page is walked through when it has a program to write. */
export const isWalkthrough = (page: string): boolean => /^```ts [\w./-]+$/m.test(page)

/** What differs from run to run: times, numbers of fibers, the bars of a timeline, how things are lined up. */
export const mask = (line: string): string =>
  line
    .replaceAll(/\[[\d:.]+\]/g, "[time]")
    .replaceAll(/\(#\d+\)/g, "(fiber)")
    .replaceAll(/\d+(?:\.\d+)?(?:ms|s)\b/g, "time")
    .replaceAll(/│[ █░▒▓·─]*│/g, "│")
    .replaceAll(/\s+/g, " ")
    .trim()

/**
 * Where the output goes on after the lines that are expected, each one found below the one before; `undefined` when one
 * of them is not there. Others may stand in between.
 */
export const after = (output: ReadonlyArray<string>, expected: ReadonlyArray<string>): number | undefined => {
  let at = 0
  for (const line of expected) {
    const found = output.findIndex((it, index) => index >= at && it === line)
    if (found === -1) return undefined
    at = found + 1
  }
  return at
}
