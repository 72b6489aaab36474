/**
 * What a document must pass before a control plane publishes it.
 *
 * @internal
 */
import { PolicyDocument } from "@rego/core"
import type { PolicyInvalid } from "@rego/core/Policy"
import { Effect } from "effect"

export const judge = (json: unknown): Effect.Effect<{ readonly revision: string }, PolicyInvalid> =>
  PolicyDocument.decode(json)
