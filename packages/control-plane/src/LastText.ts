/**
 * Tells a new document from the one that was found before.
 *
 * @internal
 */
import * as PolicySource from "@rego/core/PolicySource"
import { Result } from "effect"
import * as DocumentText from "./DocumentText.ts"

/** A parser quotes what it does not understand; an error of a source holds nothing of what was found. */
const withoutQuotation = (detail: string): string => detail.replace(/, (?:\.\.\.)?"[\s\S]*$/, "")

export class LastText {
  private text: string | undefined = undefined
  private readonly bounds: DocumentText.Bounds
  constructor(bounds: DocumentText.Bounds) {
    this.bounds = bounds
  }

  /** Text that is no document is not remembered: it is no document the next time either. */
  read(text: string): Result.Result<PolicySource.Found, PolicySource.Reason> {
    if (text === this.text) return Result.succeed(PolicySource.unchanged)
    return Result.mapBoth(DocumentText.parse(text, this.bounds), {
      onFailure: (detail): PolicySource.Reason => ({ _tag: "Malformed", detail: withoutQuotation(detail) }),
      onSuccess: (json) => {
        this.text = text
        return PolicySource.document(json)
      }
    })
  }
}
