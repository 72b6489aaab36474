import { mask } from "./mask.ts"

export interface Problem {
  /** The line of the code, counted from 0. */
  readonly line: number
  readonly message: string
}

export interface Rewritten {
  /** The code with its expectations asserted. Lines stay where they were. */
  readonly code: string
  readonly problems: ReadonlyArray<Problem>
}

export const assertion = "doctestEqual"

const expectation = /^\/\/\s*=>\s*(?<expected>.*)$/
const declaration =
  /^(const|let|var|using|return|throw|if|else|for|while|do|switch|case|default|try|import|export|type|interface|class|function|async function|declare|namespace|\{)(?!\w)/
const continues = /^[.)\]}?:&|+*/%<>=,-]/
const continued = /(=>|[=,([+\-*/&|?:.<])$/

const balanced = (text: string): boolean => {
  const open: Array<string> = []
  const partner: Record<string, string> = { ")": "(", "]": "[", "}": "{" }
  for (const char of text.match(/[()[\]{}]/g) ?? []) {
    if (partner[char] === undefined) open.push(char)
    else if (open.pop() !== partner[char]) return false
  }
  return open.length === 0
}

/** The line on which the statement that ends on `last` begins, or -1. */
const statementStart = (masked: ReadonlyArray<string>, last: number): number => {
  for (let first = last; first >= 0; first--) {
    const previous = masked.slice(0, first).findLast((line) => line.trim() !== "")?.trim() ?? ""
    const begins = masked[first]!.trim() !== "" && !continues.test(masked[first]!.trim())
    if (begins && !continued.test(previous) && balanced(masked.slice(first, last + 1).join("\n"))) return first
  }
  return -1
}

const objection = (head: string, statement: string, expected: string): string | undefined => {
  if (expected === "") return "`// =>` without a value"
  if (head.trim() === "") return "`// =>` stands on the last line of an expression, not below it"
  if (statement === "") return "`// =>` does not follow an expression statement"
  const keyword = declaration.exec(statement)?.[1]
  return keyword === undefined ? undefined : `\`// =>\` follows an expression, not \`${keyword}\``
}

const insertAssertion = (lines: Array<string>, first: number, last: number, column: number, expected: string): void => {
  const expression = lines[last]!.slice(0, column).trimEnd().replace(/;$/, "")
  lines[last] = `${expression}, ${expected})`
  lines[first] = lines[first]!.replace(/^\s*/, (indentation) => `${indentation}${assertion}(`)
}

/** Turns `expression // => expected` into an assertion of deep equality. */
export const rewrite = (code: string): Rewritten => {
  const { code: maskedCode, comments } = mask(code)
  const masked = maskedCode.split("\n")
  const lines = code.split("\n")
  const problems: Array<Problem> = []
  let seen = 0

  for (const { offset, text } of comments) {
    const expected = expectation.exec(text)?.groups?.["expected"]?.trim()
    if (expected === undefined) continue
    seen++
    const before = code.slice(0, offset)
    const line = before.split("\n").length - 1
    const column = offset - (before.lastIndexOf("\n") + 1)
    const first = statementStart(masked, line)
    const message = objection(masked[line]!.slice(0, column), masked[first]?.trim() ?? "", expected)
    if (message === undefined) insertAssertion(lines, first, line, column, expected)
    else problems.push({ line, message })
  }

  // what the mask took for the inside of a literal must not pass unchecked
  const written = code.match(/\/\/\s*=>/g)?.length ?? 0
  if (written > seen) problems.push({ line: 0, message: `${written - seen} \`// =>\` inside a literal or a comment` })
  return { code: lines.join("\n"), problems }
}
