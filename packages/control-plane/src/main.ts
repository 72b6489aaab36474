/**
 * What `rego` runs.
 *
 * @internal
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect } from "effect"
import { Command } from "effect/cli"
import { rego } from "./cli/Rego.ts"
import { version } from "./version.ts"

NodeRuntime.runMain(Effect.provide(Command.run(rego, { version }), NodeServices.layer))
