/**
 * The command line.
 *
 * @internal
 */
import { Effect } from "effect"
import { CliConfig, CliError, Command, GlobalFlag } from "effect/cli"
import { check } from "./CheckCommand.ts"
import { Misused } from "./CommandFailure.ts"
import { diff } from "./DiffCommand.ts"
import { explain } from "./ExplainCommand.ts"
import { schema } from "./SchemaCommand.ts"
import { serve } from "./ServeCommand.ts"
import { simulateCommand } from "./SimulateCommand.ts"
import { watch } from "./WatchCommand.ts"

const rego = Command.make("rego").pipe(
  Command.withDescription(
    "Policies for resilient calls: check, compare, explain, simulate, serve and watch policy documents"
  ),
  Command.withSubcommands([check, diff, explain, schema, serve, simulateCommand, watch])
)

const isMisuse = (error: unknown): boolean =>
  CliError.isCliError(error) && error._tag === "ShowHelp" && error.errors.length > 0

/** The program, for arguments that come from `Stdio`. In every command 1 is a verdict, so misuse is not that. */
export const run = (version: string) =>
  Effect.provide(
    Effect.mapError(Command.run(rego, { version }), (error) => isMisuse(error) ? new Misused() : error),
    CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel] })
  )
