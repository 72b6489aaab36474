/**
 * The options that sources have in common, and how all of them are read: at once, with every mistake.
 *
 * @internal
 */
import {
  durationBetween,
  DurationFromInput,
  formatAll,
  fromSchemaError,
  integerBetween,
  parseOptions
} from "@rego/core/internal/Issue"
import { Duration, Schema } from "effect"
import { defaultMaxBytes, defaultMaxDepth } from "./DocumentText.ts"

const mebibyte = 1_048_576

/** A duration that is absent when it is not given. */
export const duration = (minimum: Duration.Input, maximum: Duration.Input) =>
  Schema.optional(DurationFromInput.pipe(Schema.check(durationBetween(minimum, maximum))))

export const bounds = {
  maxBytes: Schema.optional(Schema.Number.pipe(Schema.check(integerBetween(1, 100 * mebibyte)))),
  maxDepth: Schema.optional(Schema.Number.pipe(Schema.check(integerBetween(8, 256))))
}

export const backoff = Schema.optional(Schema.Struct({
  initial: duration("10 millis", "1 hour"),
  max: duration("10 millis", "1 hour")
}))

/** Throws a `RangeError` that names every option out of range. */
export const read = <S extends Schema.Constraint>(constructor: string, schema: S, options: unknown): S["Type"] => {
  const decoded = Schema.decodeUnknownResult(schema as never, parseOptions)(options)
  if (decoded._tag === "Success") return decoded.success
  throw new RangeError(`${constructor}: ${formatAll(fromSchemaError(decoded.failure))}`)
}

export const millis = (given: Duration.Duration | undefined, fallback: number): number =>
  given === undefined ? fallback : Duration.toMillis(given)

export const boundsOf = (given: {
  readonly maxBytes?: number | undefined
  readonly maxDepth?: number | undefined
}): { readonly maxBytes: number; readonly maxDepth: number } => ({
  maxBytes: given.maxBytes ?? defaultMaxBytes,
  maxDepth: given.maxDepth ?? defaultMaxDepth
})
