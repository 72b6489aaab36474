/**
 * Files that are read within a bound, and replaced as a whole or not at all.
 *
 * @internal
 */
import type * as PolicySource from "@rego/core/PolicySource"
import type { FileSystem } from "effect"
import { ByteSize, Clock, Effect, Option, Path, Random, Stream } from "effect"
import type { PlatformError } from "effect/PlatformError"

/** The code of the system says what to do, such as `ENOSPC` or `EROFS`. */
export const codeOf = ({ reason }: PlatformError): string => {
  const { cause } = reason
  return typeof cause === "object" && cause !== null && "code" in cause ? String(cause.code) : reason._tag
}

const fromPlatform = (error: PlatformError): PolicySource.Reason => {
  switch (error.reason._tag) {
    case "NotFound":
      return { _tag: "NotFound", detail: "there is no such file" }
    case "PermissionDenied":
      return { _tag: "Unauthorized", detail: "the file may not be read" }
    default:
      return { _tag: "Unavailable", detail: `the file could not be read (${codeOf(error)})` }
  }
}

/** In words, for who knows which file it is. */
export const explain = (reason: PolicySource.Reason): string =>
  reason._tag === "TooLarge" ? `the file is larger than ${reason.limit} bytes` : reason.detail

/** The size is asked for first, and not trusted: the file may grow. A pipe would be waited for forever. */
export const read = (
  fileSystem: FileSystem.FileSystem,
  path: string,
  maxBytes: number
): Effect.Effect<Uint8Array, PolicySource.Reason> => {
  const tooLarge = Effect.fail<PolicySource.Reason>({ _tag: "TooLarge", limit: maxBytes })
  return Effect.gen(function*() {
    const { size, type } = yield* Effect.mapError(fileSystem.stat(path), fromPlatform)
    if (type !== "File") {
      return yield* Effect.fail<PolicySource.Reason>({ _tag: "Malformed", detail: "it is not a file" })
    }
    if (ByteSize.toBigInt(size) > maxBytes) return yield* tooLarge
    const bytesToRead = ByteSize.bytes(maxBytes + 1)
    const chunks = yield* Effect.mapError(Stream.runCollect(fileSystem.stream(path, { bytesToRead })), fromPlatform)
    const bytes = Buffer.concat(chunks)
    return bytes.byteLength > maxBytes ? yield* tooLarge : bytes
  })
}

// -----------------------------------------------------------------------------
// replacing
// -----------------------------------------------------------------------------

const temporary = (path: string): string => `${path}.tmp-`

/** What a process leaves behind that ends while it writes. Nobody else writes for as long as this. */
const abandonedAfter = 3_600_000

const isOlder = (fileSystem: FileSystem.FileSystem, path: string, instant: number) =>
  Effect.map(
    fileSystem.stat(path),
    ({ mtime }) => Option.match(mtime, { onNone: () => false, onSome: (at) => at.getTime() < instant })
  )

const removeAbandoned = (fileSystem: FileSystem.FileSystem, paths: Path.Path, path: string) =>
  Effect.gen(function*() {
    const now = yield* Clock.currentTimeMillis
    const directory = paths.dirname(path)
    const names = yield* fileSystem.readDirectory(directory)
    const ours = names.filter((name) => name.startsWith(temporary(paths.basename(path))))
    yield* Effect.forEach(ours, (name) => {
      const file = paths.join(directory, name)
      return Effect.ignore(
        Effect.when(fileSystem.remove(file), isOlder(fileSystem, file, now - abandonedAfter))
      )
    }, { discard: true })
  })

/**
 * The bytes go into a file of their own, and to the disk, before that takes the name: whoever reads finds what was there
 * before or all of them, also after the power has failed.
 */
export const replace = (
  fileSystem: FileSystem.FileSystem,
  paths: Path.Path,
  path: string,
  bytes: Uint8Array
): Effect.Effect<void, PlatformError> =>
  Effect.gen(function*() {
    yield* fileSystem.makeDirectory(paths.dirname(path), { recursive: true })
    yield* Effect.ignore(removeAbandoned(fileSystem, paths, path))
    const file = `${temporary(path)}${(yield* Random.next).toString(36).slice(2)}`
    const write = Effect.scoped(Effect.gen(function*() {
      const handle = yield* fileSystem.open(file, { flag: "wx", mode: 0o600 })
      yield* handle.writeAll(bytes)
      yield* handle.sync
    }))
    yield* Effect.andThen(write, fileSystem.rename(file, path)).pipe(
      Effect.onError(() => Effect.ignore(fileSystem.remove(file, { force: true })))
    )
  })
