/**
 * The options that sources have in common, and how all of them are read: at once, with every mistake.
 *
 * @internal
 */
import { durationField, formatAll, fromSchemaError, integerField, parseOptions } from "@rego/core/internal/Issue"
import { Duration, Schema } from "effect"
import { defaultMaxBytes, defaultMaxDepth } from "./DocumentText.ts"
import { defaultTiming } from "./Refresh.ts"
import type { Timing } from "./Refresh.ts"

const mebibyte = 1_048_576

export const duration = (minimum: Duration.Input, maximum: Duration.Input) =>
  Schema.optional(durationField(minimum, maximum))

export const bounds = {
  maxBytes: Schema.optional(integerField(1, 100 * mebibyte)),
  maxDepth: Schema.optional(integerField(8, 256))
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

export const timing = (given: {
  readonly interval?: Duration.Duration | undefined
  readonly backoff?:
    | { readonly initial?: Duration.Duration | undefined; readonly max?: Duration.Duration | undefined }
    | undefined
  readonly maxRetryAfter?: Duration.Duration | undefined
}): Timing => ({
  interval: millis(given.interval, defaultTiming.interval),
  backoff: {
    initial: millis(given.backoff?.initial, defaultTiming.backoff.initial),
    max: millis(given.backoff?.max, defaultTiming.backoff.max)
  },
  maxRetryAfter: millis(given.maxRetryAfter, defaultTiming.maxRetryAfter)
})
