/**
 * What attempts leave behind: scopes to close, values to discard, fibers that do not stop at once. The caller's result
 * never waits for any of it; an interrupted caller does, as in any Effect.
 *
 * @internal
 */
import { Effect, Exit, Scope } from "effect"
import type { AttemptRun } from "./AttemptRun.ts"
import type { CleanupHost } from "./CallHost.ts"

export class Cleanup {
  /** true once the caller was interrupted: from then on it waits for what ends */
  waiting = false
  /** attempts that were told to stop and did not at once */
  private abandoned: Array<AttemptRun> | undefined = undefined
  private pending = 0
  private onQuiet: (() => void) | undefined = undefined
  private readonly host: CleanupHost
  constructor(host: CleanupHost) {
    this.host = host
  }

  abandon(attempt: AttemptRun): void {
    if (this.abandoned === undefined) this.abandoned = [attempt]
    else this.abandoned.push(attempt)
  }

  /** The call is over: of those that still run nobody will say when they ended. */
  markAbandoned(): void {
    if (this.abandoned === undefined) return
    for (const attempt of this.abandoned) {
      if (attempt.fiberExit === undefined) attempt.facts.endedBy = "abandoned"
    }
  }

  /** The scope of the attempt whose exit is returned lives as long as the caller's. */
  keep(scope: Scope.Closeable, parent: Scope.Scope): void {
    this.background(Scope.addFinalizerExit(parent, (exit) => Scope.close(scope, exit)), false)
  }

  /** Ends what an attempt that is not returned has left, once its fiber has ended. */
  release(attempt: AttemptRun): void {
    const exit = attempt.fiberExit
    if (exit === undefined || attempt.left === "released") return
    // What was given up before is not waited for, and so are not its scope and its value.
    const awaited = this.waiting && attempt.left !== "abandoned"
    attempt.left = "released"
    const success = exit._tag === "Success"
    const closing = attempt.scope && Scope.closeUnsafe(attempt.scope, success ? Exit.interrupt() : exit)
    if (closing !== undefined) this.background(closing, awaited)
    const { onDiscard } = this.host
    if (success && onDiscard !== undefined) {
      this.background(Effect.suspend(() => onDiscard(exit.value as never)), awaited)
    }
  }

  private background(effect: Effect.Effect<unknown, unknown>, awaited: boolean): void {
    const fiber = Effect.runForkWith(this.host.context)(effect, { uninterruptible: true })
    fiber.addObserver((exit) => {
      if (exit._tag === "Failure") this.host.reportDefect("finalizer", exit.cause)
    })
    if (fiber.pollUnsafe() !== undefined) return
    if (!awaited) return this.host.supervisor.add(fiber)
    this.oneMore()
    fiber.addObserver(() => this.oneLess())
  }

  oneMore(): void {
    this.pending++
  }

  oneLess(): void {
    if (--this.pending === 0) this.onQuiet?.()
  }

  /** Ends when everything that was counted has ended. */
  get quiet(): Effect.Effect<void> {
    if (this.pending === 0) return Effect.void
    return Effect.callback<void>((resume) => {
      if (this.pending === 0) return resume(Effect.void)
      this.onQuiet = () => resume(Effect.void)
    })
  }
}
