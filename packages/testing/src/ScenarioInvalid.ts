/**
 * Why a scenario is refused.
 *
 * @internal
 */
import type { Issue } from "@rego/core/internal/Issue"
import { formatAll } from "@rego/core/internal/Issue"
import { Data } from "effect"

/** Holds every issue, each with its path, the rule and the value. */
export class ScenarioInvalid extends Data.TaggedError("ScenarioInvalid")<{
  readonly issues: ReadonlyArray<Issue>
}> {
  override get message(): string {
    return formatAll(this.issues)
  }
}
