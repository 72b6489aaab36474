/**
 * Reads the text of a policy document, within bounds.
 *
 * A document comes from elsewhere: it may be cut off, nested a million levels deep, or no text at all. Whatever it is,
 * reading it costs a bounded amount of memory and never throws.
 *
 * @since 0.1.0
 */
import { Result } from "effect"

/**
 * How large and how deep a document may be.
 *
 * @category options
 * @since 0.1.0
 */
export interface Bounds {
  /** bytes of UTF-8; sources take 1 to 104,857,600. Default 1,048,576 */
  readonly maxBytes?: number | undefined
  /** objects and lists inside each other; sources take 8 to 256. Default 32; a document of this version needs 8 at most */
  readonly maxDepth?: number | undefined
}

/** Bytes of a document that a source accepts, when it is not told otherwise. */
export const defaultMaxBytes = 1_048_576

/** Levels of a document that a source accepts, when it is not told otherwise. */
export const defaultMaxDepth = 32

const quote = 0x22
const backslash = 0x5c
const opening: ReadonlySet<number> = new Set([0x7b, 0x5b])
const closing: ReadonlySet<number> = new Set([0x7d, 0x5d])

/** The index behind the text that starts at `from`, at its quotation mark. */
const skipText = (text: string, from: number): number => {
  let i = from + 1
  while (i < text.length && text.charCodeAt(i) !== quote) i += text.charCodeAt(i) === backslash ? 2 : 1
  return i
}

/** Whether `text` opens more than `max` objects and lists inside each other. What follows is not looked at. */
const isDeeperThan = (text: string, max: number): boolean => {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === quote) i = skipText(text, i)
    else if (opening.has(code)) depth++
    else if (closing.has(code)) depth--
    if (depth > max) return true
  }
  return false
}

/** What the parser says quotes the text, which may be long. */
const explain = (error: unknown): string =>
  `is not JSON: ${(error instanceof Error ? error.message : String(error)).slice(0, 160)}`

/**
 * The JSON of a text, or the rule that the text broke.
 *
 * **Details**
 *
 * The depth is counted before anything is built. A key such as `__proto__` becomes a field like any other: nothing is
 * inherited from it.
 *
 * **Example** (Text that is cut off)
 *
 * ```ts
 * import * as DocumentText from "@rego/control-plane/DocumentText"
 * import { Result } from "effect"
 *
 * Result.isSuccess(DocumentText.parse(`{ "revision": "7" }`)) // => true
 * Result.isSuccess(DocumentText.parse(`{ "revision": "`)) // => false
 * DocumentText.parse("[".repeat(1_000)) // => Result.fail("is nested deeper than 32 levels")
 * ```
 *
 * @category decoding
 * @since 0.1.0
 */
export const parse = (text: string, bounds: Bounds = {}): Result.Result<unknown, string> => {
  const maxDepth = bounds.maxDepth ?? defaultMaxDepth
  if (isDeeperThan(text, maxDepth)) return Result.fail(`is nested deeper than ${maxDepth} levels`)
  return Result.try({ try: () => JSON.parse(text) as unknown, catch: explain })
}

/**
 * The text of bytes, or the rule that they broke: size, UTF-8, in this order. A byte order mark is no part of the text.
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = (bytes: Uint8Array, bounds: Bounds = {}): Result.Result<string, string> => {
  const maxBytes = bounds.maxBytes ?? defaultMaxBytes
  if (bytes.byteLength > maxBytes) return Result.fail(`is larger than ${maxBytes} bytes`)
  return Result.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () => "is not UTF-8"
  })
}

/**
 * The JSON of bytes: `decode`, then `parse`.
 *
 * @category decoding
 * @since 0.1.0
 */
export const fromBytes = (bytes: Uint8Array, bounds: Bounds = {}): Result.Result<unknown, string> =>
  Result.flatMap(decode(bytes, bounds), (text) => parse(text, bounds))

const noJson = "has no JSON"

/**
 * The text of a value that a program made, or the rule that it broke: a circle has no JSON, nor has what makes none of
 * itself.
 *
 * @internal
 */
export const print = (value: unknown): Result.Result<string, string> =>
  Result.flatMap(
    Result.try({ try: () => JSON.stringify(value) as string | undefined, catch: () => noJson }),
    (text) => text === undefined ? Result.fail(noJson) : Result.succeed(text)
  )
