/**
 * The last good policy document on disk, or in any `KeyValueStore` of Effect, so that a process can boot while its control
 * plane is down.
 *
 * **When to use**
 *
 * Provide one beside a policy source to `PolicyLayer.live`. `layerFile` is for a disk; `layer` is for a store that replaces
 * a value as a whole, as those in Redis or in a database do.
 *
 * **Details**
 *
 * A document is kept with a checksum and the time it was saved. What is damaged, too large, or cannot be read is an error of
 * the store, which is shown in the `status` of the provider and changes nothing for calls. The next good document replaces
 * it.
 *
 * **Gotchas**
 *
 * `KeyValueStore.layerFileSystem` writes in place: a process that ends while it writes leaves half a document, and the last
 * good one is lost. Use `layerFile`. Processes that run different documents need files of their own.
 *
 * **Example** (A file)
 *
 * ```ts
 * import * as NodeServices from "@effect/platform-node/NodeServices"
 * import { LastKnownGood } from "@rego/core"
 * import * as LastKnownGoodStore from "@rego/control-plane/LastKnownGoodStore"
 * import { Effect, FileSystem, Layer, Option, Path } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const directory = yield* (yield* FileSystem.FileSystem).makeTempDirectoryScoped()
 *   const path = (yield* Path.Path).join(directory, "policies.last-good.json")
 *
 *   const saving = Effect.flatMap(LastKnownGood.LastKnownGood, (store) => store.save({ revision: "7" }))
 *   yield* saving.pipe(Effect.provide(LastKnownGoodStore.layerFile({ path })))
 *
 *   // another process, later
 *   const loading = Effect.flatMap(LastKnownGood.LastKnownGood, (store) => store.load)
 *   const loaded = yield* loading.pipe(Effect.provide(LastKnownGoodStore.layerFile({ path })))
 *   Option.map(loaded, ({ json }) => json) // => Option.some({ revision: "7" })
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(NodeServices.layer)))
 * ```
 *
 * @since 0.1.0
 */
import * as LastKnownGood from "@rego/core/LastKnownGood"
import type { Duration } from "effect"
import { Clock, Effect, FileSystem, Layer, Option, Path, Result, Schema } from "effect"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import type { PlatformError } from "effect/PlatformError"
import type { Bounds } from "./DocumentText.ts"
import * as DocumentText from "./DocumentText.ts"
import * as FileBytes from "./FileBytes.ts"
import { OneAtATime } from "./OneAtATime.ts"
import * as SavedText from "./SavedText.ts"
import * as SourceOptions from "./SourceOptions.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * What both stores take.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommonOptions extends Bounds {
  /** how long loading and saving may take, 10 milliseconds to 1 minute. Default 5 seconds */
  readonly timeout?: Duration.Input | undefined
}

/**
 * What `layer` takes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends CommonOptions {
  /** under which the document is kept. Default `"rego/last-known-good"` */
  readonly key?: string | undefined
}

/**
 * What `layerFile` takes.
 *
 * @category options
 * @since 0.1.0
 */
export interface FileOptions extends CommonOptions {
  /** its directory is made when there is none */
  readonly path: string
}

const common = { timeout: SourceOptions.duration("10 millis", "1 minute"), ...SourceOptions.bounds }
const name = Schema.String.pipe(Schema.check(Schema.isMinLength(1)))

const OptionsSchema = Schema.Struct({ key: Schema.optional(name), ...common })
const FileOptionsSchema = Schema.Struct({ path: name, ...common })

const defaultKey = "rego/last-known-good"
const defaultTimeout = 5_000

interface Settings {
  readonly bounds: Required<{ [K in keyof Bounds]: number }>
  readonly timeout: number
}

const settingsOf = (
  given: Parameters<typeof SourceOptions.boundsOf>[0] & { readonly timeout?: Duration.Duration | undefined }
): Settings => ({
  bounds: SourceOptions.boundsOf(given),
  timeout: SourceOptions.millis(given.timeout, defaultTimeout)
})

// -----------------------------------------------------------------------------
// store
// -----------------------------------------------------------------------------

/** Where one text is kept. Both fail with what happened, in words that hold nothing of the text. */
interface Place {
  readonly name: string
  readonly read: Effect.Effect<string | undefined, string>
  readonly write: (text: string) => Effect.Effect<void, string>
}

/** Runs for as long as it may. */
type Limit = <A>(effect: Effect.Effect<A, string>) => Effect.Effect<A, string>

const late = Effect.fail("it took too long")

const makeStore = (place: Place, bounds: Settings["bounds"], limit: Limit): LastKnownGood.LastKnownGood["Service"] => {
  const guarded = <A>(operation: "load" | "save", effect: Effect.Effect<A, string>) =>
    limit(effect).pipe(
      Effect.mapError((detail) => new LastKnownGood.StoreError({ store: place.name, operation, detail }))
    )
  const load = Effect.flatMap(place.read, (text) =>
    text === undefined
      ? Effect.succeedNone
      : Effect.fromResult(Result.map(SavedText.decode(text, bounds), Option.some)))
  const save = (json: unknown) =>
    Effect.gen(function*() {
      const savedAt = yield* Clock.currentTimeMillis
      yield* place.write(yield* Effect.fromResult(SavedText.encode({ json, savedAt }, bounds)))
    })
  return LastKnownGood.LastKnownGood.of({
    name: place.name,
    load: guarded("load", load),
    save: (json) => guarded("save", save(json))
  })
}

/**
 * In the `KeyValueStore` that is provided. Throws a `RangeError` that names every option out of range.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<LastKnownGood.LastKnownGood, never, KeyValueStore.KeyValueStore> => {
  const given = SourceOptions.read("LastKnownGoodStore", OptionsSchema, options)
  const { bounds, timeout } = settingsOf(given)
  const key = given.key ?? defaultKey
  const failed = ({ message }: KeyValueStore.KeyValueStoreError) => message
  return Layer.effect(
    LastKnownGood.LastKnownGood,
    Effect.map(KeyValueStore.KeyValueStore, (store) =>
      makeStore(
        {
          name: key,
          read: Effect.mapError(store.get(key), failed),
          write: (text) => Effect.mapError(store.set(key, text), failed)
        },
        bounds,
        Effect.timeoutOrElse({ duration: timeout, orElse: () => late })
      ))
  )
}

// -----------------------------------------------------------------------------
// file
// -----------------------------------------------------------------------------

const describeWrite = (error: PlatformError): string => `the file could not be written (${FileBytes.codeOf(error)})`

const readFile = (
  fileSystem: FileSystem.FileSystem,
  path: string,
  maxBytes: number
): Effect.Effect<string | undefined, string> =>
  FileBytes.read(fileSystem, path, maxBytes).pipe(
    Effect.flatMap((bytes) => Effect.fromResult(DocumentText.decode(bytes, { maxBytes }))),
    Effect.catch((reason) => {
      if (typeof reason === "string") return Effect.fail(`it is damaged: it ${reason}`)
      return reason._tag === "NotFound" ? Effect.undefined : Effect.fail(FileBytes.explain(reason))
    })
  )

/** A disk that hangs is asked once: what asks it holds a thread of the few that the process has for files and names. */
const onDisk = (timeout: number): Limit => {
  const operations = new OneAtATime()
  return (effect) => Effect.flatMap(operations.run(effect, timeout), Option.getOrElse(() => late))
}

/**
 * In a file, which is replaced as a whole or not at all: the text is written to a temporary file beside it, which is
 * flushed to the disk and then renamed. Throws a `RangeError` that names every option out of range.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerFile = (
  options: FileOptions
): Layer.Layer<LastKnownGood.LastKnownGood, never, FileSystem.FileSystem | Path.Path> => {
  const given = SourceOptions.read("LastKnownGoodStore", FileOptionsSchema, options)
  const { bounds, timeout } = settingsOf(given)
  return Layer.effect(
    LastKnownGood.LastKnownGood,
    Effect.gen(function*() {
      const fileSystem = yield* FileSystem.FileSystem
      const paths = yield* Path.Path
      const path = paths.resolve(given.path)
      return makeStore(
        {
          name: path,
          read: readFile(fileSystem, path, SavedText.maxEnvelope(bounds)),
          write: (text) => Effect.mapError(FileBytes.replace(fileSystem, paths, path, Buffer.from(text)), describeWrite)
        },
        bounds,
        onDisk(timeout)
      )
    })
  )
}
