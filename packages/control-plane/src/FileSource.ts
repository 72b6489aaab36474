/**
 * Policy documents from a file, for policies that a deployment, an agent or a person puts on the disk.
 *
 * **Details**
 *
 * The directory of the file is watched, so that a file which is replaced by renaming another one over it is seen, and so is
 * the way Kubernetes replaces a mounted `ConfigMap`. Because no file system reports everything, the file is read about
 * every `interval` as well.
 *
 * A file that is written in place is half-written for a while. What is no JSON, or not there, is looked at again after
 * `settle`: it counts only when it has stayed as it was.
 *
 * **Gotchas**
 *
 * Replace the file by renaming: a reader then sees the old document or the new one, and nothing between.
 *
 * **Example** (A document from a file)
 *
 * ```ts
 * import * as NodeServices from "@effect/platform-node/NodeServices"
 * import { PolicySource } from "@rego/core"
 * import * as FileSource from "@rego/control-plane/FileSource"
 * import { Effect, FileSystem, Layer, Path, Stream } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const file = yield* FileSystem.FileSystem
 *   const path = (yield* Path.Path).join(yield* file.makeTempDirectoryScoped(), "policies.json")
 *   yield* file.writeFileString(path, `{ "schemaVersion": "1.0", "revision": "7", "policies": {} }`)
 *
 *   const source = yield* FileSource.make({ path })
 *   const found = yield* source.found.pipe(Stream.take(1), Stream.runCollect)
 *   found // => [PolicySource.document({ schemaVersion: "1.0", revision: "7", policies: {} })]
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
 * ```
 *
 * @since 0.1.0
 */
import * as PolicySource from "@rego/core/PolicySource"
import type { Duration, Scope } from "effect"
import { Effect, Exit, FileSystem, Layer, Option, Path, Queue, Result, Schedule, Schema, Stream } from "effect"
import type { Bounds } from "./DocumentText.ts"
import * as DocumentText from "./DocumentText.ts"
import * as FileBytes from "./FileBytes.ts"
import { LastText } from "./LastText.ts"
import { OneAtATime } from "./OneAtATime.ts"
import * as Refresh from "./Refresh.ts"
import * as SourceOptions from "./SourceOptions.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * Which file, and how it is watched.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Bounds {
  /** of the document */
  readonly path: string
  /** how often the file is read, whatever the file system reports, 10 milliseconds to 24 hours. Default 10 seconds */
  readonly interval?: Duration.Input | undefined
  /** whether the directory is watched. Default true */
  readonly watch?: boolean | undefined
  /** after which a file that is half-written, or not there, is looked at again, up to 10 seconds. Default 200 milliseconds */
  readonly settle?: Duration.Input | undefined
  /** how long reading may take, 10 milliseconds to 5 minutes. Default 10 seconds */
  readonly timeout?: Duration.Input | undefined
}

const OptionsSchema = Schema.Struct({
  path: Schema.String.pipe(Schema.check(Schema.isMinLength(1))),
  interval: SourceOptions.duration("10 millis", "24 hours"),
  watch: Schema.optional(Schema.Boolean),
  settle: SourceOptions.duration(0, "10 seconds"),
  timeout: SourceOptions.duration("10 millis", "5 minutes"),
  ...SourceOptions.bounds
})

const defaultInterval = 10_000
const defaultSettle = 200
const defaultTimeout = 10_000

/** A file that changes each time it is looked at is not waited for any longer. */
const maxLooks = 25

interface Settings {
  readonly path: string
  readonly bounds: Required<{ [K in keyof Bounds]: number }>
  readonly timing: Refresh.Timing
  readonly watch: boolean
  readonly settle: number
  readonly timeout: number
}

const settingsOf = (options: Options): Settings => {
  const given = SourceOptions.read("FileSource", OptionsSchema, options)
  const interval = SourceOptions.millis(given.interval, defaultInterval)
  return {
    path: given.path,
    bounds: SourceOptions.boundsOf(given),
    // reading a file that is not there costs nobody anything
    timing: { ...Refresh.defaultTiming, interval, backoff: { initial: Math.min(1_000, interval), max: interval } },
    watch: given.watch ?? true,
    settle: SourceOptions.millis(given.settle, defaultSettle),
    timeout: SourceOptions.millis(given.timeout, defaultTimeout)
  }
}

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

const malformed = (detail: string): PolicySource.Reason => ({ _tag: "Malformed", detail })

const late: PolicySource.Reason = { _tag: "Unavailable", detail: "the file was not read in time" }

type Read = Effect.Effect<string, PolicySource.Reason>

/** A disk that hangs is asked once: what asks it holds a thread of the few that the process has for files and names. */
const reader = (fileSystem: FileSystem.FileSystem, { bounds, path, timeout }: Settings): Read => {
  const reads = new OneAtATime()
  return reads.run(FileBytes.read(fileSystem, path, bounds.maxBytes), timeout).pipe(
    Effect.flatMap(Option.getOrElse(() => Exit.fail(late))),
    Effect.flatMap((bytes) => Effect.fromResult(Result.mapError(DocumentText.decode(bytes, bounds), malformed)))
  )
}

/** What may be over in a moment, because somebody is about to write the file. */
const isTransient = ({ _tag }: PolicySource.Reason): boolean => _tag === "Malformed" || _tag === "NotFound"

const lookAt = (readText: Read, settings: Settings, last: LastText) => {
  const read = Effect.result(readText)
  const failed = (reason: PolicySource.Reason): Refresh.Look => ({
    found: [PolicySource.failed(new PolicySource.SourceError({ source: settings.path, reason }))]
  })
  return Effect.gen(function*() {
    let before: string | undefined = undefined
    for (let looks = 1;; looks++) {
      const text = yield* read
      const found = Result.flatMap(text, (it) => last.read(it))
      if (Result.isSuccess(found)) return { found: [found.success] }
      const now = Result.getOrElse(text, ({ _tag }) => _tag)
      if (now === before || looks === maxLooks || !isTransient(found.failure)) return failed(found.failure)
      before = now
      yield* Effect.sleep(settings.settle)
    }
  })
}

// -----------------------------------------------------------------------------
// watching
// -----------------------------------------------------------------------------

/** Kubernetes renames the link `..data`, through which the file is seen. */
const concerns = (path: Path.Path, file: string) => (event: FileSystem.WatchEvent): boolean => {
  const name = path.basename(event.path)
  return name === path.basename(file) || name.startsWith("..")
}

/** A watch that fails, or ends, is begun again: the directory may not be there yet. */
const watch = (
  fileSystem: FileSystem.FileSystem,
  path: Path.Path,
  settings: Settings
): Effect.Effect<Queue.Dequeue<void>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const changed = yield* Refresh.signal
    const notify = Effect.asVoid(Queue.offer(changed, undefined))
    // what changed between the last look and the beginning of the watch was seen by neither
    const onReady = () => Queue.offerUnsafe(changed, undefined)
    const watching = fileSystem.watch(path.dirname(settings.path), { onReady }).pipe(
      Stream.filter(concerns(path, settings.path)),
      Stream.runForEach(() => notify)
    )
    yield* Effect.forkScoped(Effect.repeat(Effect.ignoreCause(watching), Schedule.spaced(settings.timing.interval)))
    return changed
  })

// -----------------------------------------------------------------------------
// source
// -----------------------------------------------------------------------------

/**
 * A source that reads a file. Throws a `RangeError` that names every option out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  options: Options
): Effect.Effect<PolicySource.PolicySource["Service"], never, FileSystem.FileSystem | Path.Path> => {
  const given = settingsOf(options)
  return Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const settings = { ...given, path: path.resolve(given.path) }
    const origin = Effect.gen(function*() {
      const changed = settings.watch ? yield* watch(fileSystem, path, settings) : undefined
      return { look: lookAt(reader(fileSystem, settings), settings, new LastText(settings.bounds)), changed }
    })
    return PolicySource.make({ name: settings.path, found: Refresh.stream(settings.timing, origin) })
  })
}

/**
 * The source as a layer, for `PolicyLayer.live`. Throws a `RangeError` as `make` does.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options
): Layer.Layer<PolicySource.PolicySource, never, FileSystem.FileSystem | Path.Path> =>
  Layer.effect(PolicySource.PolicySource, make(options))
