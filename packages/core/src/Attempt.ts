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
import { Context, Effect, Option } from "effect"
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
 * What an attempt can know about itself while it runs.
 *
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
 * What is run in place of the effect of each attempt; it may run the effect, and has the types of it. `PolicyProvider.around`
 * puts one in force.
 *
 * @category models
 * @since 0.1.0
 */
export interface Around {
  <A, E, R>(self: Effect.Effect<A, E, R>, attempt: Attempt): Effect.Effect<A, E, R>
}

/**
 * The attempt of the driver, which keeps what is written on it.
 *
 * @internal
 */
export interface Noted extends Attempt {
  readonly note: (name: string, value: string) => void
}

/**
 * Writes an attribute on the record of the attempt that runs the current code: which replica was asked, which fault was
 * injected. It is in the timeline of the call, on the span of the attempt, and in its event `AttemptEnded`.
 *
 * **Details**
 *
 * Does nothing outside of a call, and nothing when the attempt is over. An attempt keeps the first 16 names; a name that is
 * written again gets the new value.
 *
 * **Example** (Which replica was asked)
 *
 * ```ts
 * import { Attempt, PolicyLayer, Rego } from "@rego/core"
 * import { Effect } from "effect"
 *
 * const read = Effect.as(Attempt.annotate("replica", "eu-2"), "ada")
 *
 * const program = Effect.gen(function*() {
 *   const [, timeline] = yield* read.pipe(Rego.resilientWithTimeline("users.Get"))
 *   timeline.attempts[0]?.attributes // => { replica: "eu-2" }
 * })
 *
 * await Effect.runPromise(program.pipe(Effect.provide(PolicyLayer.defaults)))
 * ```
 *
 * @category annotations
 * @since 0.1.0
 */
export const annotate = (name: string, value: string): Effect.Effect<void> =>
  Effect.map(CurrentAttempt, (attempt) => {
    if (Option.isSome(attempt) && "note" in attempt.value) (attempt.value as Noted).note(name, value)
  })

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
