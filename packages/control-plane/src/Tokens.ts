/**
 * Tokens of the command line: from the environment, because what stands on a command line is seen by every process of the
 * machine.
 *
 * @internal
 */
import { Config, Effect, Option, Redacted } from "effect"
import type { CommandFailed } from "./CommandFailure.ts"
import { misused } from "./CommandFailure.ts"

export const writeTokenName = "REGO_WRITE_TOKEN"
export const readTokenName = "REGO_READ_TOKEN"

/** Shorter ones can be guessed. */
const minLength = 16

const isToken = (text: string): boolean => text.length >= minLength && /^[\w.~+/-]+=*$/.test(text)

/** The message names the rule, and never the value. */
export const token = (name: string): Effect.Effect<Redacted.Redacted | undefined, CommandFailed> =>
  Effect.gen(function*() {
    const found = yield* Effect.orDie(Config.option(Config.Redacted(name)))
    if (Option.isNone(found)) return undefined
    return isToken(Redacted.value(found.value))
      ? found.value
      : yield* misused(`${name}: must have at least ${minLength} characters, all of A-Z a-z 0-9 . _ ~ + / -`)
  })
