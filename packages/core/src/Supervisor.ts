/**
 * The fibers that a layer still owes an end: attempts that were given up and do not stop at once, scopes that are being
 * closed, values that are being discarded. Only such fibers enter the set; it keeps nothing of their calls.
 *
 * @internal
 */
import { Clock, Duration, Effect, Fiber } from "effect"
import { liveClock } from "./Time.ts"

export class Supervisor {
  private readonly fibers = new Set<Fiber.Fiber<unknown, unknown>>()
  private closed = false

  get size(): number {
    return this.fibers.size
  }

  /** After the layer has closed, calls go on, but nobody waits for what they leave behind. */
  add(fiber: Fiber.Fiber<unknown, unknown>): void {
    if (this.closed || fiber.pollUnsafe() !== undefined) return
    this.fibers.add(fiber)
    fiber.addObserver(() => this.fibers.delete(fiber))
  }

  /** Interrupts what is left, waits for it for at most `timeout`, then leaves it and says how many. */
  close(timeout: Duration.Duration): Effect.Effect<void> {
    return Effect.suspend(() => {
      for (const fiber of Array.from(this.fibers)) fiber.interruptUnsafe()
      return this.awaitEmpty().pipe(
        Effect.timeoutOption(timeout),
        // Under `TestClock` nobody would move the time at the end of a test.
        Effect.provideService(Clock.Clock, liveClock),
        Effect.andThen(Effect.suspend(() => {
          this.closed = true
          return this.size === 0 ? Effect.void : this.report(timeout)
        }))
      )
    })
  }

  /** An attempt that ends may leave a scope to close, so the set is looked at again after each end. */
  private awaitEmpty(): Effect.Effect<void> {
    return Effect.suspend(() =>
      this.size === 0 ? Effect.void : Effect.andThen(Fiber.awaitAll(Array.from(this.fibers)), this.awaitEmpty())
    )
  }

  private report(timeout: Duration.Duration): Effect.Effect<void> {
    return Effect.logWarning(
      `PolicyLayer: ${this.size} abandoned attempts or finalizers still ran after ${
        Duration.format(timeout)
      } and were left`
    )
  }
}
