/**
 * Functions that a program gives as options are foreign code: one that throws is reported once, and fails no call.
 *
 * **When to use**
 *
 * In a package that brings a protocol, and takes functions from its users: which key a request has, whether it may be sent
 * again. Classifiers, budgets, triggers and schedules are guarded by the call itself.
 *
 * **Example** (A key that cannot be read)
 *
 * ```ts
 * import { Callback } from "@rego/core"
 * import { Effect } from "effect"
 *
 * const keyOf = (topic: { readonly name: string }) => `topics.${topic.name}`
 * const guarded = Callback.guard("the key option of a consumer")
 *
 * const lines: Array<string> = []
 * const report = () => void lines.push("reported")
 * const nothing = null as never
 *
 * guarded(() => keyOf({ name: "orders" }), () => "topics", report) // => "topics.orders"
 * guarded(() => keyOf(nothing), () => "topics", report) // => "topics"
 * guarded(() => keyOf(nothing), () => "topics", report) // => "topics"
 * lines // => ["reported"]
 * ```
 *
 * @since 0.1.0
 */
import { Cause, Effect } from "effect"

/**
 * Calls a function of the user's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Guard {
  /** `onDefect` answers for a function that throws; `report` is handed the line for the log, the first time only */
  <A>(f: () => A, onDefect: () => A, report: (line: Effect.Effect<void>) => void): A
}

/**
 * A guard for one option. `what` stands in the log: "a defect in the key option of an HTTP client fails no call".
 *
 * @category constructors
 * @since 0.1.0
 */
export const guard = (what: string): Guard => {
  let reported = false
  return (f, onDefect, report) => {
    try {
      return f()
    } catch (defect) {
      if (!reported) {
        reported = true
        report(Effect.logError(`rego: a defect in ${what} fails no call`, Cause.die(defect)))
      }
      return onDefect()
    }
  }
}
