/**
 * What the headers of a response ask of a client that may come again: how long to wait, and whether to try again at all.
 *
 * **Details**
 *
 * Headers are foreign input. `read` never throws; a wait is finite and never negative; what does not follow the grammar of
 * its field is no hint, as if the field were absent. Which fields are read, and in which order, is in the table of
 * `docs/server-hints.md`.
 *
 * **Example** (Three ways to ask for two seconds)
 *
 * ```ts
 * import { ServerHints } from "@rego/http"
 * import { Duration } from "effect"
 *
 * const now = Date.UTC(1994, 10, 6, 8, 49, 35)
 * const wait = (headers: ServerHints.Fields) => Duration.toMillis(ServerHints.read(headers, now).retryAfter ?? -1)
 *
 * wait({ "retry-after": "2" }) // => 2000
 * wait({ "retry-after": "Sun, 06 Nov 1994 08:49:37 GMT" }) // => 2000
 * wait({ "ratelimit": `"burst";r=0;t=2` }) // => 2000
 * ServerHints.read({ "retry-after": "soon" }, now) // => {}
 * ```
 *
 * @since 0.1.0
 */
import { Duration } from "effect"
import * as HttpDate from "./HttpDate.ts"
import * as RateLimit from "./RateLimit.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * The fields of a response by their names in lower case: Effect's `Headers`, Node's `IncomingHttpHeaders`, or
 * `Object.fromEntries(response.headers)` of a web response. What is no text is not read.
 *
 * @category models
 * @since 0.1.0
 */
export type Fields = Readonly<Record<string, unknown>>

/**
 * What a response asks of its client. Each field is absent where nothing says it.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerHints {
  /** the wait the server asks for; zero when the instant it named has passed */
  readonly retryAfter?: Duration.Duration | undefined
  /** the field that `retryAfter` was read from */
  readonly field?: string | undefined
  /** the server says itself whether to try again */
  readonly retry?: boolean | undefined
}

// -----------------------------------------------------------------------------
// values
// -----------------------------------------------------------------------------

/** Nobody who means it writes more. */
const maxLength = 1_024

/** Seconds beyond what can be counted mean this many (RFC 9111, section 1.2.2). */
const maxMillis = 2 ** 31 * 1_000

const bounded = (millis: number): number => Math.min(maxMillis, Math.max(0, Math.ceil(millis)))

/** In milliseconds from now; `undefined` for what is malformed. `now` is the server's, as far as it is known. */
type Parser = (text: string, now: number) => number | undefined

const digits = /^\d+$/
const decimal = /^\d+(?:\.\d+)?$/

const seconds: Parser = (text) => digits.test(text) ? Number(text) * 1_000 : undefined
const decimalSeconds: Parser = (text) => decimal.test(text) ? Number(text) * 1_000 : undefined
const decimalMillis: Parser = (text) => decimal.test(text) ? Number(text) : undefined

const secondsOrDate: Parser = (text, now) => {
  if (digits.test(text)) return seconds(text, now)
  const instant = HttpDate.parse(text, now)
  return instant === undefined ? undefined : instant - now
}

/** As a number of seconds these would be 31 years and 31,000 years: they are instants. */
const firstEpochSecond = 1e9
const firstEpochMillisecond = 1e12

const secondsOrEpoch: Parser = (text, now) => {
  if (!decimal.test(text)) return undefined
  const value = Number(text)
  if (value < firstEpochSecond) return value * 1_000
  return (value < firstEpochMillisecond ? value * 1_000 : value) - now
}

// -----------------------------------------------------------------------------
// lists
// -----------------------------------------------------------------------------

const trim = (text: string): string => text.replaceAll(/^[ \t]+|[ \t]+$/g, "")

/** A field that came twice arrives joined by a comma. The comma inside a date follows the name of a day. */
const separator = /(?<!day|Mon|Tue|Wed|Thu|Fri|Sat|Sun),/

const members = (value: string): Array<string> => value.split(separator).map(trim)

/** The longest wait of a list, so that nobody comes too early. One malformed member spoils the list. */
const longest = (parse: Parser): Parser => (value, now) => {
  const waits = members(value).map((member) => parse(member, now))
  return waits.every((wait) => wait !== undefined) ? Math.max(...waits) : undefined
}

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

interface WaitField {
  readonly name: string
  readonly parse: Parser
  /** the field that says how much of the quota is left */
  readonly remaining?: string
}

/** The first one that is there and well-formed counts: asked for by the server, then precise, then derived from a quota. */
const waitFields: ReadonlyArray<WaitField> = [
  { name: "retry-after-ms", parse: longest(decimalMillis) },
  { name: "x-ms-retry-after-ms", parse: longest(decimalMillis) },
  { name: "retry-after", parse: longest(secondsOrDate) },
  { name: "x-ratelimit-retry-after", parse: longest(decimalSeconds) },
  { name: "x-ratelimit-reset-after", parse: longest(decimalSeconds), remaining: "x-ratelimit-remaining" },
  { name: "ratelimit", parse: RateLimit.waitMillis },
  { name: "ratelimit-reset", parse: longest(secondsOrEpoch), remaining: "ratelimit-remaining" },
  { name: "x-ratelimit-reset", parse: longest(secondsOrEpoch), remaining: "x-ratelimit-remaining" },
  { name: "x-rate-limit-reset", parse: longest(secondsOrEpoch), remaining: "x-rate-limit-remaining" }
]

const retryFields = ["x-should-retry", "stripe-should-retry"]

const textOf = (headers: Fields, name: string): string | undefined => {
  const text = headers[name]
  return typeof text === "string" && text.length <= maxLength ? trim(text) : undefined
}

/**
 * The time at the server: instants in the headers are its own, so they are compared with its own `Date`, and a client
 * whose clock is wrong waits no longer and no shorter for it. A stored response has grown older by `Age`.
 */
const serverTime = (headers: Fields, nowMillis: number): number => {
  const date = HttpDate.parse(textOf(headers, "date") ?? "", nowMillis)
  return date === undefined ? nowMillis : date + (seconds(textOf(headers, "age") ?? "", nowMillis) ?? 0)
}

const readWait = (headers: Fields, nowMillis: number): Pick<ServerHints, "retryAfter" | "field"> => {
  const now = serverTime(headers, nowMillis)
  for (const { name, parse, remaining } of waitFields) {
    const text = textOf(headers, name)
    if (text === undefined || (remaining !== undefined && !RateLimit.isUsedUp(textOf(headers, remaining)))) continue
    const millis = parse(text, now)
    if (millis !== undefined && !Number.isNaN(millis)) {
      return { retryAfter: Duration.millis(bounded(millis)), field: name }
    }
  }
  return {}
}

/** Where fields disagree the server is spared. */
const readRetry = (headers: Fields): Pick<ServerHints, "retry"> => {
  const said = retryFields.flatMap((name) => {
    const text = textOf(headers, name)
    const values = text === undefined ? [] : members(text)
    return values.every((value) => value === "true" || value === "false") ? values : []
  })
  return said.length === 0 ? {} : { retry: !said.includes("false") }
}

/**
 * The hints in the headers of a response.
 *
 * **Details**
 *
 * `nowMillis` is the wall clock, in milliseconds since 1970; instants are compared with the server's own `Date` where the
 * response has one. A wait can be as long as 2^31 seconds: how much of it is honoured is for the policy to say
 * (`retry.maxRetryAfter`).
 *
 * @category reading
 * @since 0.1.0
 */
export const read = (headers: Fields, nowMillis: number): ServerHints => ({
  ...readWait(headers, nowMillis),
  ...readRetry(headers)
})
