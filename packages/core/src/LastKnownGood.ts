/**
 * Where the last good policy document survives a restart, so that a process can boot while its control plane is down.
 *
 * **When to use**
 *
 * Provide one to `PolicyLayer.live`. `@rego/control-plane` has one for every key-value store of Effect. In memory the last
 * good document is kept without it.
 *
 * **Details**
 *
 * The layer saves each document that it accepts, as it was found, and loads it once, at boot. What is loaded passes the
 * same gate as a document from the source. A store that fails changes nothing for calls: its error is shown in the
 * `status` of the provider.
 *
 * **Example** (A store in memory)
 *
 * ```ts
 * import { LastKnownGood } from "@rego/core"
 * import { Clock, Effect, Option } from "effect"
 *
 * let saved: LastKnownGood.Saved | undefined = undefined
 *
 * const store = LastKnownGood.LastKnownGood.of({
 *   name: "memory",
 *   load: Effect.sync(() => Option.fromUndefinedOr(saved)),
 *   save: (json) =>
 *     Effect.map(Clock.currentTimeMillis, (savedAt) => {
 *       saved = { json, savedAt }
 *     })
 * })
 *
 * const program = Effect.gen(function*() {
 *   yield* store.save({ revision: "7" })
 *   const loaded = yield* store.load
 *   Option.map(loaded, ({ json }) => json) // => Option.some({ revision: "7" })
 * })
 *
 * await Effect.runPromise(program)
 * ```
 *
 * @since 0.1.0
 */
import type { Effect, Option } from "effect"
import { Context, Data } from "effect"

/**
 * A document that was saved, and when.
 *
 * @category models
 * @since 0.1.0
 */
export interface Saved {
  /** the document, as it was found */
  readonly json: unknown
  /** milliseconds since the epoch */
  readonly savedAt: number
}

/**
 * The store could not be read or written, or what it holds is damaged.
 *
 * @category errors
 * @since 0.1.0
 */
export class StoreError extends Data.TaggedError("StoreError")<{
  readonly store: string
  readonly operation: "load" | "save"
  /** shown to people; holds no content of the document */
  readonly detail: string
}> {
  override get message(): string {
    return `last known good policy in ${this.store}: could not ${this.operation}, ${this.detail}`
  }
}

/**
 * The store: provided to `PolicyLayer.live`, which loads from it once, at boot, and saves each document that it
 * accepts. Loading is given up after 2 seconds, saving after 30.
 *
 * @category services
 * @since 0.1.0
 */
export class LastKnownGood extends Context.Service<LastKnownGood, {
  /** shown in `status` and in logs */
  readonly name: string
  /** `None` where nothing was saved yet */
  readonly load: Effect.Effect<Option.Option<Saved>, StoreError>
  /** replaces what was saved, as a whole or not at all */
  readonly save: (json: unknown) => Effect.Effect<void, StoreError>
}>()("@rego/core/LastKnownGood") {}
