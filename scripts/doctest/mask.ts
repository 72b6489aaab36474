export interface Mask {
  /** The code with every literal and comment blanked: same length, same lines, and brackets that are brackets. */
  readonly code: string
  /** The line comments, by their offsets. */
  readonly comments: ReadonlyArray<{ readonly offset: number; readonly text: string }>
}

const token = new RegExp(
  [
    /(?<comment>\/\/[^\n]*)/,
    /(?<block>\/\*[\s\S]*?\*\/)/,
    /(?<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')/,
    /(?<template>`(?:\\.|[^`\\])*`)/,
    // a slash begins a regular expression only where an expression may begin
    /(?<=(?:^|[(,=:[!&|?{};]|=>)\s*)(?<regexp>\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[dgimsuvy]*)/
  ].map((part) => part.source).join("|"),
  "gm"
)

/** Literals leave a `_`, so that a line which begins or ends with one still does. */
const blank = (literal: string, isComment: boolean): string => {
  const spaces = literal.replaceAll(/[^\n]/g, " ")
  return isComment ? spaces : `_${spaces.slice(1, -1)}_`
}

export const mask = (code: string): Mask => {
  const comments: Array<{ offset: number; text: string }> = []
  const masked = code.replaceAll(token, (literal, ...rest) => {
    const groups: Record<string, string | undefined> = rest.at(-1)
    const offset: number = rest.at(-3)
    if (groups["comment"] !== undefined) comments.push({ offset, text: literal })
    return blank(literal, literal.startsWith("//") || literal.startsWith("/*"))
  })
  return { code: masked, comments }
}
