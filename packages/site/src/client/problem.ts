import { Cause } from "effect"

/** The message of what went wrong, for the page. */
export const firstError = (cause: Cause.Cause<unknown>): string => {
  const error = Cause.squash(cause)
  return error instanceof Error ? error.message : String(error)
}
