/**
 * How a command ends that could not do what it was asked for, and how it reads what it is given.
 *
 * @internal
 */
import type { Issue } from "@rego/core/Policy"
import { PolicyInvalid } from "@rego/core/Policy"
import { Data, Effect, FileSystem, Result, Runtime } from "effect"
import { CliError } from "effect/cli"
import * as DocumentText from "./DocumentText.ts"
import * as FileBytes from "./FileBytes.ts"

/** `1`: the answer is no. `2`: there is no answer, because of what was given. */
export class CommandFailed extends Data.TaggedError("CommandFailed")<{
  readonly message: string
  readonly exitCode: 1 | 2
}> {
  override get [CliError.userMessage](): string {
    return this.message
  }
  override get [Runtime.errorExitCode](): number {
    return this.exitCode
  }
}

/** The report was printed, and it says no. */
export class SaidNo extends Data.TaggedError("SaidNo") {
  override readonly [Runtime.errorExitCode] = 1
  override readonly [Runtime.errorReported] = false
}

/** The help was printed, and what is wrong with the flags and arguments. */
export class Misused extends Data.TaggedError("Misused") {
  override readonly [Runtime.errorExitCode] = 2
  override readonly [Runtime.errorReported] = false
}

export const misused = (message: string): Effect.Effect<never, CommandFailed> =>
  Effect.fail(new CommandFailed({ message, exitCode: 2 }))

/** The JSON of a file, read within the bounds of every document. */
export const readJson = (path: string): Effect.Effect<unknown, CommandFailed, FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const fileSystem = yield* FileSystem.FileSystem
    const bytes = yield* Effect.catch(
      FileBytes.read(fileSystem, path, DocumentText.defaultMaxBytes),
      (reason) => misused(`${path}: ${FileBytes.explain(reason)}`)
    )
    return yield* Result.match(DocumentText.fromBytes(bytes), {
      onFailure: (rule) => misused(`${path}: ${rule}`),
      onSuccess: Effect.succeed
    })
  })

/** A document that a live layer would refuse, with every issue. */
export const refused = (
  file: string,
  issues: ReadonlyArray<Issue>,
  exitCode: 1 | 2 = 1
): Effect.Effect<never, CommandFailed> =>
  Effect.fail(
    new CommandFailed({
      message: `${file}: the document is refused\n${new PolicyInvalid({ issues }).message}`,
      exitCode
    })
  )
