/**
 * Logs: one structured line for each call that needed more than one attempt, or failed.
 *
 * **Details**
 *
 * The message is `rego <key>: <result> after <n> attempts, <stop reason>`; everything in it also stands in annotations
 * (`rego.key`, `rego.result`, `rego.stop`, `rego.attempts`, …: `docs/logs.md` lists them), so that nobody has to take it
 * apart. A key writes at most `maxLines` lines in each `window`; what was suppressed is counted and said at its end. Lines
 * go to the loggers of the layer, in a fiber of the observer: a call waits for none.
 *
 * **Example** (A line for a call that was retried)
 *
 * ```ts
 * import { Observer, PolicyLayer, Rego, RegoLogs } from "@rego/core"
 * import { Effect, Layer, Logger } from "effect"
 *
 * const lines: Array<string> = []
 * const Lines = Logger.layer([Logger.make(({ message }) => { lines.push(String(message)) })])
 *
 * let calls = 0
 * const flaky = Effect.suspend(() => ++calls === 1 ? Effect.fail("503") : Effect.succeed("ada"))
 *
 * const program = Effect.gen(function*() {
 *   yield* flaky.pipe(Rego.resilient("users.Get"))
 *   yield* Observer.flush
 *   lines // => ["rego users.Get: success after 2 attempts"]
 * })
 *
 * const Logs = RegoLogs.layer().pipe(Layer.provide(Lines))
 * await Effect.runPromise(program.pipe(Effect.provide([PolicyLayer.defaults, Logs])))
 * ```
 *
 * @since 0.1.0
 */
import type { Layer, LogLevel, Scope } from "effect"
import { Duration, Effect, Schema } from "effect"
import type { Levels, Line } from "./CallLog.ts"
import { defaultLevels, LineLimit, lineOf } from "./CallLog.ts"
import { durationField, integerField, readOptions } from "./Issue.ts"
import * as Observer from "./Observer.ts"

/**
 * A level of Effect's logger, or `"None"` for no line at all.
 *
 * @category models
 * @since 0.1.0
 */
export type Level = LogLevel.Severity | "None"

/**
 * Which calls write a line, at which level, and how many lines there may be.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Levels by result, in place of the defaults; `"None"` writes no line. `defect` is a failure with a defect; a value that is
   * returned though no attempt succeeded counts as `failure`.
   */
  readonly levels?: {
    /** default `"Info"` */
    readonly success?: Level | undefined
    /** default `"Warn"` */
    readonly failure?: Level | undefined
    /** default `"Warn"` */
    readonly denied?: Level | undefined
    /** default `"Warn"` */
    readonly deadline?: Level | undefined
    /** default `"Error"` */
    readonly defect?: Level | undefined
    /** default `"Debug"`; only calls that had made more than one attempt */
    readonly interrupted?: Level | undefined
  } | undefined
  /** lines of one key in each window, 1 to 10,000. Default 10 */
  readonly maxLines?: number | undefined
  /** 1 second to 1 day. Default 1 minute */
  readonly window?: Duration.Input | undefined
  /** keys that have an allowance of their own, 1 to 1,000,000; further ones share one. Default 200 */
  readonly maxKeys?: number | undefined
}

const Level = Schema.optional(Schema.Literals(["Fatal", "Error", "Warn", "Info", "Debug", "Trace", "None"]))

const Options = Schema.Struct({
  levels: Schema.optional(Schema.Struct({
    success: Level,
    failure: Level,
    denied: Level,
    deadline: Level,
    defect: Level,
    interrupted: Level
  })),
  maxLines: Schema.optional(integerField(1, 10_000)),
  window: Schema.optional(durationField("1 second", "1 day")),
  maxKeys: Schema.optional(integerField(1, 1_000_000))
})

const write = ({ annotations, level, message }: Line): Effect.Effect<void> =>
  Effect.annotateLogs(Effect.logWithLevel(level)(message), annotations)

/** Absent options are as good as `undefined` ones. */
const levelsOf = (levels: Options["levels"]): Levels => {
  const given = Object.entries(levels ?? {}).filter(([, level]) => level !== undefined)
  return { ...defaultLevels, ...Object.fromEntries(given) }
}

/**
 * The observer, for `Observer.layer`. Throws a `RangeError` that names every option out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): Effect.Effect<Observer.Observer, never, Scope.Scope> => {
  const read = readOptions("RegoLogs", Options, options)
  const levels = levelsOf(read.levels)
  const window = read.window ?? Duration.minutes(1)
  return Effect.gen(function*() {
    const limit = new LineLimit(read.maxLines ?? 10, read.maxKeys ?? 200)
    const endWindow = Effect.suspend(() =>
      // A logger that dies at one line must not end the windows.
      Effect.forEach(limit.next(Duration.format(window)), (line) => Effect.ignoreCause(write(line)), { discard: true })
    )
    yield* Effect.addFinalizer(() => endWindow)
    yield* Effect.forkScoped(Effect.forever(Effect.andThen(Effect.sleep(window), endWindow)), {
      startImmediately: true
    })
    return {
      name: "logs",
      onCallEnd: (timeline) => {
        const line = lineOf(timeline, levels)
        if (line !== undefined && limit.allows(timeline.key)) return write(line)
      }
    }
  })
}

/**
 * Writes the lines for all calls made under it, beside the observers that are there.
 *
 * **Gotchas**
 *
 * Two of these layers that were made apart write two lines.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<never> =>
  Observer.layer([make(options)], { mergeWithExisting: true })
