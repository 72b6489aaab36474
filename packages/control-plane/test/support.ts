/**
 * What the tests of this package share.
 */
import { assert } from "@effect/vitest"
import type { PolicySource } from "@rego/core"
import { Effect, Stream } from "effect"
import type { Scope } from "effect"

/** Looks again and again on the live clock: for what a real server, file system or client does in its own time. */
export const eventually = (what: string, holds: () => boolean): Effect.Effect<void> =>
  Effect.promise(async () => {
    const giveUpAt = performance.now() + 10_000
    while (!holds()) {
      if (performance.now() > giveUpAt) assert.fail(`not within 10 seconds: ${what}`)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  })

/** Real time in which nothing should happen. */
export const aWhile = Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 100)))

export interface Heard {
  readonly found: ReadonlyArray<PolicySource.Found>
  readonly documents: ReadonlyArray<unknown>
  /** the reasons of failures */
  readonly failures: ReadonlyArray<PolicySource.Reason>
  readonly last: PolicySource.Found | undefined
}

/** Runs a source until the scope closes. */
export const listen = (source: PolicySource.PolicySource["Service"]): Effect.Effect<Heard, never, Scope.Scope> => {
  const found: Array<PolicySource.Found> = []
  const heard: Heard = {
    found,
    get documents() {
      return found.flatMap((it) => it._tag === "Document" ? [it.json] : [])
    },
    get failures() {
      return found.flatMap((it) => it._tag === "Failed" ? [it.error.reason] : [])
    },
    get last() {
      return found.at(-1)
    }
  }
  return Effect.as(Effect.forkScoped(Stream.runForEach(source.found, (it) => Effect.sync(() => found.push(it)))), heard)
}

/** The message of the `RangeError` that refuses options; it names each of them. */
export const refusal = (make: () => unknown, names: ReadonlyArray<string>): string => {
  try {
    make()
  } catch (error) {
    assert.instanceOf(error, RangeError)
    const { message } = error as RangeError
    for (const name of names) assert.match(message, new RegExp(`(^|: |\n)${name}: `), name)
    return message
  }
  return assert.fail("not refused")
}
