/**
 * One run of the effect inside a call, and what it can know about itself.
 *
 * **Example** (Telling the server which attempt this is)
 *
 * ```ts
 * import { Attempt, PolicyLayer, Rego } from "@rego/core"
 * import { Effect, Option } from "effect"
 *
 * const send = Effect.gen(function*() {
 *   const attempt = yield* Attempt.CurrentAttempt
 *   return Option.match(attempt, { onNone: () => "outside of a call", onSome: (a) => `retry ${a.retry}` })
 * })
 *
 * const program = Effect.gen(function*() {
 *   yield* send // => "outside of a call"
 *   yield* send.pipe(Rego.resilient("users.Get")) // => "retry 0"
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(PolicyLayer.defaults)))
 * ```
 *
 * @since 0.1.0
 */
import type { Exit } from "effect"
import { Context, Option } from "effect"
import type { PolicyKey } from "./PolicyKey.ts"

/**
 * Both count from 0; `{ retry: 0, hedge: 0 }` is the primary.
 *
 * @category models
 * @since 0.1.0
 */
export interface Id {
  readonly retry: number
  readonly hedge: number
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Attempt extends Id {
  readonly key: PolicyKey
  /** how the attempt before this one ended, as this call saw it */
  readonly previous: Option.Option<Exit.Exit<unknown, unknown>>
  /** false once the attempt is over: what was started inside and outlives it (a pooled connection) is no part of it */
  readonly active: boolean
}

/**
 * The attempt that runs the current code, `None` outside of a call.
 *
 * **Gotchas**
 *
 * Fibers that outlive their attempt keep the value they inherited, with `active` turned to `false`.
 *
 * @category references
 * @since 0.1.0
 */
export const CurrentAttempt: Context.Reference<Option.Option<Attempt>> = Context.Reference(
  "@rego/core/Attempt/CurrentAttempt",
  { defaultValue: Option.none<Attempt> }
)

/**
 * `primary`, `retry 2`, `hedge 1`, `retry 2, hedge 1`.
 *
 * @category formatting
 * @since 0.1.0
 */
export const format = ({ hedge, retry }: Id): string =>
  retry === 0 && hedge === 0
    ? "primary"
    : [retry > 0 ? `retry ${retry}` : "", hedge > 0 ? `hedge ${hedge}` : ""].filter((part) => part !== "").join(", ")
