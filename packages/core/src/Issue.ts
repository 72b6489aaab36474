/**
 * What is wrong with an input: where, which rule, and the value that broke it.
 *
 * Everything that can be refused at boot (policies, documents, budgets, keys) reports a list of these, never only the
 * first one.
 *
 * @since 0.1.0
 */
import { Duration, Effect, Option, Schema, SchemaIssue, SchemaTransformation } from "effect"

/**
 * @category models
 * @since 0.1.0
 */
export interface Issue {
  readonly path: ReadonlyArray<PropertyKey>
  /** the rule and the value that broke it, in one sentence */
  readonly message: string
}

/** Prints a path the way JavaScript reads it: `policies["a.B"].retry.maxAttempts`. */
export const formatPath = (path: ReadonlyArray<PropertyKey>): string =>
  path.map((part, i) =>
    typeof part === "number"
      ? `[${part}]`
      : /^[A-Za-z_$][\w$]*$/.test(String(part))
      ? `${i === 0 ? "" : "."}${String(part)}`
      : `[${JSON.stringify(String(part))}]`
  ).join("")

export const formatAll = (issues: ReadonlyArray<Issue>): string =>
  issues.map((issue) => issue.path.length === 0 ? issue.message : `${formatPath(issue.path)}: ${issue.message}`).join(
    "\n"
  )

const maxShownObject = 80
const maxShownText = 160
const maxMessage = 200

/** Values that have no JSON (cycles, a `toJSON` that throws, nesting deeper than the stack) are shown by their kind. */
const toText = (value: unknown): string => {
  try {
    return JSON.stringify(value) ?? String(value)
  } catch {
    return Object.prototype.toString.call(value)
  }
}

const shorten = (text: string, max: number): string => text.length > max ? `${text.slice(0, max - 3)}...` : text

/** Prints a value so that `NaN`, infinities, strings and objects can be told apart in a message. */
export const show = (value: unknown): string => {
  if (Duration.isDuration(value)) return Duration.format(value)
  if (typeof value === "string") return shorten(JSON.stringify(value), maxShownText)
  return typeof value === "object" && value !== null
    ? shorten(toText(value), maxShownObject)
    : shorten(String(value), maxShownText)
}

const units: ReadonlySet<string> = new Set([
  "weeks",
  "days",
  "hours",
  "minutes",
  "seconds",
  "milliseconds",
  "microseconds",
  "nanoseconds"
])

/** `Duration` ignores units that it does not know, so that `{ second: 5 }` would be a wait of zero. */
const isDurationObject = (input: object): boolean => {
  const entries = Object.entries(input).filter(([, value]) => value !== undefined)
  return entries.length > 0 &&
    entries.every(([unit, value]) => units.has(unit) && typeof value === "number" && !Number.isNaN(value))
}

/**
 * Reads a duration as users write it. The answer is the rule that was broken when it is not one: `Duration` itself
 * turns NaN into zero, which would make a hot loop of a typing error.
 */
export const parseDuration = (input: unknown): Duration.Duration | string => {
  if (Number.isNaN(input)) return "must be a duration, got NaN"
  if (Array.isArray(input) && !(input.length === 2 && input.every((part) => Number.isFinite(part)))) {
    return `must be a duration, got ${show(input)}`
  }
  if (typeof input === "object" && input !== null && !Array.isArray(input) && !Duration.isDuration(input)) {
    const isNaNHidden = Object.values(input).some((value) => Number.isNaN(value))
    if (!isDurationObject(input)) return `must be a duration, got ${isNaNHidden ? "NaN" : show(input)}`
  }
  const parsed = Duration.fromInput(input as Duration.Input)
  return Option.isSome(parsed)
    ? parsed.value
    : `must be a duration such as "250 millis", "2 seconds" or a number of milliseconds, got ${show(input)}`
}

const toIssue = (rule: string) => (input: unknown) => new SchemaIssue.InvalidValue({ message: rule }, input)

/** A duration in any form that people write; encoded as text, which survives a round trip exactly. */
export const DurationFromInput = Schema.Unknown.pipe(
  Schema.decodeTo(
    Schema.Duration,
    SchemaTransformation.transformEffect<Duration.Duration, unknown>({
      decode: (input) => {
        const parsed = parseDuration(input)
        return typeof parsed === "string" ? Effect.fail(toIssue(parsed)(input)) : Effect.succeed(parsed)
      },
      encode: (duration) => Effect.succeed(String(duration))
    })
  )
)

/** Checks a value with a predicate; the message names the rule and the value. */
export const rule = <A>(holds: (value: A) => boolean, text: string) =>
  Schema.makeFilter<A>((value) => holds(value) || `must be ${text}, got ${show(value)}`)

/** A finite duration between two bounds, both included. */
export const durationBetween = (minimum: Duration.Input, maximum: Duration.Input) => {
  const min = Duration.fromInputUnsafe(minimum)
  const max = Duration.fromInputUnsafe(maximum)
  return rule<Duration.Duration>(
    (d) => Duration.isFinite(d) && Duration.between(d, { minimum: min, maximum: max }),
    `between ${Duration.format(min)} and ${Duration.format(max)}`
  )
}

/** A field that takes a finite duration between two bounds in any form that people write. */
export const durationField = (minimum: Duration.Input, maximum: Duration.Input) =>
  DurationFromInput.pipe(Schema.check(durationBetween(minimum, maximum)))

/** No wait at all, or one that a timer can tell from none. */
export const zeroOrBetween = (minimum: Duration.Input, maximum: Duration.Input) => {
  const min = Duration.fromInputUnsafe(minimum)
  const max = Duration.fromInputUnsafe(maximum)
  return rule<Duration.Duration>(
    (d) => Duration.isZero(d) || (Duration.isFinite(d) && Duration.between(d, { minimum: min, maximum: max })),
    `0 or between ${Duration.format(min)} and ${Duration.format(max)}`
  )
}

/** A rule for numbers, then what JSON has to do with it: after the first "no" the second has nothing to add. */
const numberWith = (holds: (n: number) => boolean, text: string, json: Readonly<Record<string, string | number>>) =>
  Schema.Number.pipe(
    Schema.check(
      Schema.makeFilter<number>(
        (n) => holds(n) || `must be ${text}, got ${show(n)}`,
        { toJsonSchema: () => json },
        true
      ),
      Schema.isFinite()
    )
  )

/** A field that takes a number between two bounds, both included. */
export const numberField = (min: number, max: number) =>
  numberWith((n) => n >= min && n <= max, `a number between ${min} and ${max}`, { minimum: min, maximum: max })

export const integerField = (min: number, max: number) =>
  numberWith((n) => Number.isInteger(n) && n >= min && n <= max, `an integer between ${min} and ${max}`, {
    type: "integer",
    minimum: min,
    maximum: max
  })

const formatter = SchemaIssue.makeFormatterStandardSchemaV1({
  leafHook: (leaf) => {
    switch (leaf._tag) {
      case "UnexpectedKey":
        return `is not a field that is known here, got ${show(leaf.input)}`
      case "MissingKey":
        return "is required, got nothing"
      default:
        return SchemaIssue.defaultLeafHook(leaf)
    }
  }
})

/** Each branch of a union has its say: only the one that got furthest is about the mistake, and of those the first. */
const withoutEchoes = (issues: ReadonlyArray<Issue>): ReadonlyArray<Issue> => {
  const outer = new Set<string>()
  for (const { path } of issues) {
    for (let length = 0; length < path.length; length++) outer.add(formatPath(path.slice(0, length)))
  }
  const seen = new Set<string>()
  return issues.filter(({ path }) => {
    const name = formatPath(path)
    if (outer.has(name) || seen.has(name)) return false
    seen.add(name)
    return true
  })
}

/** All the issues of a schema error, in the words of this library. */
export const fromSchemaError = (error: Schema.SchemaError): ReadonlyArray<Issue> =>
  withoutEchoes(
    formatter(error.issue).issues.map((issue) => ({
      path: (issue.path ?? []).map((part) => typeof part === "object" ? part.key : part),
      message: shorten(issue.message, maxMessage)
    }))
  )

/** Every issue at once, unknown fields included, with the value in the message. */
export const parseOptions = { errors: "all", onExcessProperty: "error", reportInput: true } as const

/** Decodes the options of a constructor, or throws one `RangeError` that names every option out of range. */
export const readOptions = <S extends Schema.Constraint>(
  constructor: string,
  schema: S,
  options: unknown
): S["Type"] => {
  const decoded = Schema.decodeUnknownResult(schema as never, parseOptions)(options)
  if (decoded._tag === "Success") return decoded.success
  throw new RangeError(`${constructor}: ${formatAll(fromSchemaError(decoded.failure))}`)
}
