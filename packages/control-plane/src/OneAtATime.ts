/**
 * Work that cannot be called off: a command to a client that keeps it until it is connected, a promise of somebody else's,
 * a question to a disk. It is waited for, up to a limit, and not begun again while it has not ended.
 *
 * @internal
 */
import { Effect, Exit, Fiber, Option } from "effect"

export class OneAtATime {
  private pending: Fiber.Fiber<Exit.Exit<unknown, unknown>> | undefined = undefined

  /** `None` when it is late, or the one before it still is: the answer of that one is of the past. */
  run<A, E>(work: Effect.Effect<A, E>, limitMillis: number): Effect.Effect<Option.Option<Exit.Exit<A, E>>> {
    return Effect.suspend(() => this.pending === undefined ? Effect.void : this.wait(this.pending, limitMillis)).pipe(
      Effect.flatMap(() => this.pending === undefined ? this.begin(work, limitMillis) : Effect.succeedNone)
    )
  }

  /** Waits for nothing. */
  forget(): void {
    this.pending?.interruptUnsafe()
    this.pending = undefined
  }

  private begin<A, E>(work: Effect.Effect<A, E>, limitMillis: number): Effect.Effect<Option.Option<Exit.Exit<A, E>>> {
    return Effect.flatMap(Effect.forkDetach(Effect.exit(work), { startImmediately: true }), (fiber) => {
      this.pending = fiber
      return this.wait(fiber, limitMillis)
    })
  }

  private wait<A>(fiber: Fiber.Fiber<A>, limitMillis: number): Effect.Effect<Option.Option<A>> {
    return Effect.tap(Effect.timeoutOption(Fiber.join(fiber), limitMillis), (answer) =>
      Effect.sync(() => {
        if (Option.isSome(answer)) this.pending = undefined
      }))
  }
}
