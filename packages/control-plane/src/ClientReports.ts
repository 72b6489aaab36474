/**
 * What clients say became of the documents that they were sent: the header `Rego-Report` of `HttpSource`.
 *
 * A client says it with each request. Its log line is written once, until it says something else; so many clients are
 * remembered as there is room for, the rest is said again.
 *
 * @internal
 */
import { Effect } from "effect"

const maxRemembered = 1_000

/** A header is foreign text: what is written to a log has this shape and no other. A revision is sent up to 200 characters. */
const shape =
  /^(?<verdict>accepted|rejected)(?:; revision="(?<revision>[\w.%~!'()*-]{1,1800})")?(?:; issues=(?<issues>\d{1,6}))?$/

const decoded = (revision: string): string => {
  try {
    return decodeURIComponent(revision)
  } catch {
    return revision
  }
}

export class ClientReports {
  private readonly said = new Map<string, string>()

  private isNew(client: string, report: string): boolean {
    if (this.said.get(client) === report) return false
    this.said.delete(client)
    this.said.set(client, report)
    const [oldest] = this.said.keys()
    if (this.said.size > maxRemembered && oldest !== undefined) this.said.delete(oldest)
    return true
  }

  hear(client: string, header: string | undefined): Effect.Effect<void> {
    const said = header === undefined ? undefined : shape.exec(header)?.groups
    if (said === undefined || header === undefined || !this.isNew(client, header)) return Effect.void
    const revision = said["revision"] === undefined ? undefined : decoded(said["revision"])
    return said["verdict"] === "rejected"
      ? Effect.logWarning("a client rejected the policies", { client, revision, issues: Number(said["issues"] ?? 0) })
      : Effect.logDebug("a client accepted the policies", { client, revision })
  }
}
