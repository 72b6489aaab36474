/**
 * The command line.
 *
 * @internal
 */
import { Command } from "effect/cli"
import { explain } from "./Explain.ts"
import { serve } from "./Serve.ts"

export const rego = Command.make("rego").pipe(
  Command.withDescription("Policies for resilient calls: check, compare, explain and serve policy documents"),
  Command.withSubcommands([explain, serve])
)
