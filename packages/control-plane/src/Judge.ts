/**
 * What a document must pass before a control plane puts it in force: the rules by which its clients will judge it.
 *
 * @internal
 */
import { PolicyInvalid } from "@rego/core/Policy"
import * as PolicyReview from "@rego/core/PolicyReview"
import { Effect, Option } from "effect"
import type * as PolicyHistory from "./PolicyHistory.ts"

/** A document that was in force before is known to be good, however large the step back is: no guard. */
export const judge: PolicyHistory.Judge = (json, current, kind) =>
  Effect.suspend(() => {
    const before = kind === "published"
      ? Option.flatMap(current, (publication) => PolicyReview.review(publication.json).document)
      : Option.none()
    const { clamped, document, issues } = PolicyReview.review(json, { before: Option.getOrUndefined(before) })
    return Option.match(document, {
      onNone: () => Effect.fail(new PolicyInvalid({ issues })),
      onSome: ({ revision }) => Effect.succeed({ revision, clamped })
    })
  })
