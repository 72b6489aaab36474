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
  Effect.gen(function*() {
    const before = kind === "published" && Option.isSome(current)
      ? (yield* PolicyReview.reviewEffect(current.value.json)).document
      : Option.none()
    const { clamped, document, issues } = yield* PolicyReview.reviewEffect(json, {
      before: Option.getOrUndefined(before)
    })
    if (Option.isNone(document)) return yield* Effect.fail(new PolicyInvalid({ issues }))
    return { revision: document.value.revision, clamped }
  })
