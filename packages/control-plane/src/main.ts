/**
 * What `rego` runs.
 *
 * @internal
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect } from "effect"
import { run } from "./cli/Rego.ts"
import { version } from "./version.ts"

NodeRuntime.runMain(Effect.provide(run(version), NodeServices.layer))
