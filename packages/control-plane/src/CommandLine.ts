/**
 * The command line.
 *
 * @internal
 */
import { Effect } from "effect"
import { CliConfig, Command, GlobalFlag } from "effect/cli"
import { check } from "./CheckCommand.ts"
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

/** The program, for arguments that come from `Stdio`. */
export const run = (version: string) =>
  Effect.provide(
    Command.run(rego, { version }),
    CliConfig.layer({ builtIns: [GlobalFlag.Help, GlobalFlag.Version, GlobalFlag.Completions, GlobalFlag.LogLevel] })
  )
