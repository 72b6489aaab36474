/**
 * Whole documents from a source, while the process runs: each one goes through the gate, and takes the place of the one
 * before, or changes nothing. Whatever the source does, calls go on.
 *
 * @internal
 */
import { Cause, Deferred, Effect, Option } from "effect"
import * as BootChecks from "./BootChecks.ts"
import type { Accepted, Before, Gate, Verdict } from "./DocumentGate.ts"
import * as DocumentGate from "./DocumentGate.ts"
import type { Issue } from "./Issue.ts"
import { formatAll, show } from "./Issue.ts"
import type { Saved } from "./LastKnownGood.ts"
import * as PolicyDocument from "./PolicyDocument.ts"
import type { Found, Report, SourceError } from "./PolicySource.ts"
import type { ProviderState } from "./ProviderState.ts"
import type { Steps } from "./Steps.ts"
import { runInSlices, runNow } from "./Steps.ts"

/** Revisions that are remembered, to know one that comes back. */
const maxRevisions = 100

/** Issues of one document that are kept and shown: a document that is wrong everywhere must not fill the memory. */
const maxIssues = 100

/** Warnings about policies that are remembered, to say each once. */
const maxWarned = 1_000

const bounded = (issues: ReadonlyArray<Issue>): ReadonlyArray<Issue> =>
  issues.length <= maxIssues
    ? issues
    : [...issues.slice(0, maxIssues - 1), { path: [], message: `and ${issues.length - maxIssues + 1} more` }]

/** What becomes of a document besides being in force. */
export interface Outlets {
  readonly report: (report: Report) => void
  readonly save: (accepted: Accepted) => void
  readonly onRejected: Effect.Effect<void>
}

export class LivePolicies {
  /** one document of the source was judged */
  readonly heard = Deferred.makeUnsafe<void>()
  private accepted: Accepted | undefined = undefined
  /** what the source delivered last and is in force */
  private delivered: Accepted | undefined = undefined
  private readonly revisions = new Map<string, string>()
  /** the document that the source has now was refused */
  private refused: string | undefined = undefined
  private failing: string | undefined = undefined
  private readonly warned = new Set<string>()
  private readonly state: ProviderState
  private readonly gate: Gate
  private readonly guarded: boolean
  private readonly outlets: Outlets

  constructor(options: {
    readonly state: ProviderState
    readonly gate: Gate
    readonly guarded: boolean
    readonly outlets: Outlets
  }) {
    this.state = options.state
    this.gate = options.gate
    this.guarded = options.guarded
    this.outlets = options.outlets
  }

  // ---------------------------------------------------------------------------
  // at boot
  // ---------------------------------------------------------------------------

  /** A document that came with the application is the programmer's: a bad one is refused when the layer is built. */
  bundled(json: unknown): ReadonlyArray<Issue> {
    const verdict = runNow(this.judging(json, false))
    if (verdict._tag === "Rejected") {
      return verdict.issues.map((issue) => ({ ...issue, path: ["bundled", ...issue.path] }))
    }
    this.take(verdict.accepted, "bundled", undefined)
    return []
  }

  /** Whether there is something to begin with, so that boot need not wait for the source. */
  lastKnownGood({ json, savedAt }: Saved): Effect.Effect<boolean> {
    return Effect.flatMap(runInSlices(() => this.judging(json, false)), (verdict) => {
      if (verdict._tag === "Rejected") {
        this.state.switchOff(PolicyDocument.switchesOf(json))
        return Effect.as(this.logRefused("the last known good document", verdict.issues), false)
      }
      this.take(verdict.accepted, "lkg", savedAt)
      this.remember(verdict.accepted)
      return Effect.as(this.warn(verdict.accepted), true)
    })
  }

  // ---------------------------------------------------------------------------
  // from the source
  // ---------------------------------------------------------------------------

  handle(found: Found): Effect.Effect<void> {
    switch (found._tag) {
      case "Document":
        return this.onDocument(found.json)
      case "Unchanged":
        return Effect.suspend(() => this.onUnchanged())
      case "Failed":
        return Effect.suspend(() => this.onFailed(found.error))
    }
  }

  /** What is switched off is so at once, however long the rest takes. Nothing else changes before there is a verdict. */
  private onDocument(json: unknown): Effect.Effect<void> {
    const judged = Effect.suspend(() => {
      this.state.switchOff(PolicyDocument.switchesOf(json))
      return runInSlices(() => this.judging(json, this.guarded))
    })
    return Effect.flatMap(judged, (verdict) => {
      const log = verdict._tag === "Accepted" ? this.onAccepted(verdict.accepted) : this.onRejected(json, verdict)
      this.recovered()
      return Effect.andThen(log, Deferred.succeed(this.heard, undefined))
    })
  }

  private onAccepted(accepted: Accepted): Effect.Effect<void> {
    const { clamped, document: { revision }, issues } = accepted
    const known = this.delivered?.fingerprint === accepted.fingerprint
    const rolledBack = this.revisions.has(revision) && this.accepted?.document.revision !== revision
    this.refused = undefined
    this.take(accepted, "live", this.now(), rolledBack)
    this.delivered = this.accepted
    this.remember(accepted)
    this.outlets.save(accepted)
    this.outlets.report({ _tag: "Accepted", revision, rolledBack, clamped, issues: bounded(issues) })
    return known ? Effect.void : Effect.andThen(this.logAccepted(accepted, rolledBack), this.warn(accepted))
  }

  private onRejected(
    json: unknown,
    { fingerprint, issues, revision }: Verdict & { _tag: "Rejected" }
  ): Effect.Effect<void> {
    const isNew = this.refused !== fingerprint
    this.refused = fingerprint
    const kept = bounded(issues)
    this.state.reject({ revision, issues: kept, at: this.now() }, PolicyDocument.switchesOf(json))
    this.lost()
    this.outlets.report({ _tag: "Rejected", revision, issues: kept })
    const name = Option.match(revision, { onNone: () => "a document", onSome: (text) => `revision ${text}` })
    return Effect.andThen(this.outlets.onRejected, isNew ? this.logRefused(name, kept) : Effect.void)
  }

  /** Of a document that was refused the source can say what it likes: it is not the one in force. */
  private onUnchanged(): Effect.Effect<void> {
    this.recovered()
    if (this.refused !== undefined || this.delivered === undefined) return Effect.void
    this.state.setSource("live", this.now())
    this.outlets.save(this.delivered)
    return Effect.void
  }

  private onFailed(error: SourceError): Effect.Effect<void> {
    const isNew = this.failing !== error.reason._tag
    this.failing = error.reason._tag
    this.state.setHealth({ lastError: error })
    this.lost()
    if (!isNew) return Effect.void
    return error.reason._tag === "Unauthorized"
      ? Effect.logError(`PolicyLayer: ${error.message}`)
      : Effect.logWarning(`PolicyLayer: ${error.message}`)
  }

  /** What is in force is not, or perhaps not, what the source has. */
  private lost(): void {
    if (this.state.inForce.source === "live") this.state.setSource("stale", this.state.confirmedAt)
  }

  private recovered(): void {
    if (this.failing === undefined) return
    this.failing = undefined
    this.state.setHealth({ lastError: undefined })
  }

  // ---------------------------------------------------------------------------
  // the gate, and what is in force
  // ---------------------------------------------------------------------------

  private now(): number {
    return this.state.clock.currentTimeMillisUnsafe()
  }

  /** A defect of ours in the gate is one bad document, and no reason to stop listening. */
  private *judging(json: unknown, guarded: boolean): Steps<Verdict> {
    const before: Before = {
      inForce: this.accepted?.document,
      delivered: this.delivered?.document,
      revisions: this.revisions
    }
    try {
      return yield* DocumentGate.judging(this.gate, before, json, guarded)
    } catch (defect) {
      const message = `could not be judged: ${Cause.pretty(Cause.die(defect)).split("\n")[0]}`
      return { _tag: "Rejected", fingerprint: message, revision: Option.none(), issues: [{ path: [], message }] }
    }
  }

  private take(accepted: Accepted, source: "bundled" | "lkg" | "live", confirmedAt: number | undefined, back = false) {
    const switches = PolicyDocument.switchesIn(accepted.document)
    if (this.accepted?.fingerprint === accepted.fingerprint) {
      return this.state.confirm(source, confirmedAt, switches)
    }
    const { clamped, document: { budgets = {}, revision }, issues, set } = accepted
    this.accepted = accepted
    const kept = bounded(issues)
    this.state.replace({
      set,
      budgets,
      revision,
      source,
      confirmedAt,
      rolledBack: back,
      clamped,
      issues: kept,
      switches
    })
  }

  private remember({ document: { revision }, fingerprint }: Accepted): void {
    this.revisions.delete(revision)
    this.revisions.set(revision, fingerprint)
    const [oldest] = this.revisions.keys()
    if (this.revisions.size > maxRevisions && oldest !== undefined) this.revisions.delete(oldest)
  }

  // ---------------------------------------------------------------------------
  // logs
  // ---------------------------------------------------------------------------

  private logRefused(what: string, issues: ReadonlyArray<Issue>): Effect.Effect<void> {
    return Effect.logWarning(`PolicyLayer: ${what} was refused, what was in force stays\n${formatAll(issues)}`)
  }

  private logAccepted({ clamped, document: { revision }, issues }: Accepted, rolledBack: boolean): Effect.Effect<void> {
    const notes = [
      ...clamped.map(({ limit, path, value }) => ({ path, message: `was ${show(value)}, taken as ${show(limit)}` })),
      ...issues.map((issue) => ({ ...issue, message: `${issue.message} (not taken)` }))
    ]
    const text = `PolicyLayer: revision ${revision} is in force${rolledBack ? " again (rolled_back)" : ""}`
    return notes.length === 0 ? Effect.logInfo(text) : Effect.logWarning(`${text}\n${formatAll(bounded(notes))}`)
  }

  private warn({ set }: Accepted): Effect.Effect<void> {
    return Effect.flatMap(
      runInSlices(() => BootChecks.warning({ set, givesDefaults: this.gate.givesDefaults })),
      (found) => {
        const warnings = found.filter((warning) => !this.warned.has(warning)).slice(0, maxWarned - this.warned.size)
        for (const warning of warnings) this.warned.add(warning)
        return Effect.forEach(warnings, (warning) => Effect.logWarning(warning), { discard: true })
      }
    )
  }
}
