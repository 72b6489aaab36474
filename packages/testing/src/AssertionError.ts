/**
 * What the kit throws: an error whose message says it all, so that any test runner shows it well.
 *
 * @internal
 */
import { Equal } from "effect"

export class AssertionError extends Error {
  override readonly name = "AssertionError"
}

const longest = 200

/** A value in a message, on one line and not too long. */
export const show = (value: unknown): string => {
  const text = showWhole(value)
  return text.length > longest ? `${text.slice(0, longest)}…` : text
}

const showWhole = (value: unknown): string => {
  if (value instanceof Error) return value.message === "" ? value.name : `${value.name}: ${value.message}`
  if (typeof value !== "object" || value === null) {
    return typeof value === "string"
      ? JSON.stringify(value)
      : String(value)
  }
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return Object.prototype.toString.call(value)
  }
}

export const fail = (message: string): never => {
  throw new AssertionError(message)
}

export const isTrue = (condition: boolean, message: string): void => {
  if (!condition) fail(message)
}

export const isAtMost = (actual: number, limit: number, what: string): void => {
  isTrue(actual <= limit, `${what}: expected at most ${limit}, got ${actual}`)
}

/** Equal by structure. */
export const equals = <A>(actual: A, expected: A, what: string): void => {
  isTrue(Equal.equals(actual, expected), `${what}: expected ${show(expected)}, got ${show(actual)}`)
}
