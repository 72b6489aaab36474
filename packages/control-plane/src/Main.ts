/**
 * What `rego` runs.
 *
 * @internal
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeServices from "@effect/platform-node/NodeServices"
import { Effect } from "effect"
import { run } from "./CommandLine.ts"
import { version } from "./Version.ts"

NodeRuntime.runMain(Effect.provide(run(version), NodeServices.layer))
