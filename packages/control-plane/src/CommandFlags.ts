/**
 * Arguments and flags that several commands have.
 *
 * @internal
 */
import { Argument, Flag } from "effect/cli"

export const key = Argument.String("key").pipe(
  Argument.withDescription("The key of a call, as its call site writes it")
)

export const idempotent = Flag.Boolean("idempotent").pipe(
  Flag.withDescription("The call site says that the operation may run twice, or with --no-idempotent that it may not"),
  Flag.optional
)

export const rolledOut = Flag.Boolean("rolled-out").pipe(
  Flag.withDescription("As for an instance that every rollout has reached"),
  Flag.withDefault(false)
)

export const json = (description = "Print JSON") =>
  Flag.Boolean("json").pipe(Flag.withDescription(description), Flag.withDefault(false))
