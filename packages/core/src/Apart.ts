/**
 * A fiber apart from whoever asks: it is interrupted, and not waited for, when its answer is late or nobody wants it any
 * more. A timeout alone waits for what cannot be interrupted, and foreign code that hangs would hold whoever asked.
 *
 * @internal
 */
import { Effect, Fiber } from "effect"

export const apart = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
  Effect.flatMap(
    Effect.forkDetach(effect, { startImmediately: true }),
    (fiber) => Effect.ensuring(Fiber.join(fiber), Effect.sync(() => fiber.interruptUnsafe()))
  )
