/**
 * The name of a call: `"namespace.name"`, the same for every run of one operation.
 *
 * Policies, budgets, statistics and metric labels are kept per key, so a key must have few values: the operation, never
 * the user, the tenant or the row.
 *
 * **Details**
 *
 * 1 to 128 of `A-Z a-z 0-9 _ . / : -`. The namespace is what stands before the first dot; a key without a dot is a name
 * only. A key is identified by its printed text. A whole segment (between `.`, `/` and `:`) that is a UUID, six or more
 * digits, or sixteen or more hexadecimal digits with at least one digit looks like an id and is refused.
 *
 * **Gotchas**
 *
 * A call never fails because of its key: where a call site passes a key that would be refused, the call runs under the
 * overflow key of its namespace (`user-service._overflow`), with one warning.
 *
 * **Example** (Making keys)
 *
 * ```ts
 * import { PolicyKey } from "@rego/core"
 *
 * PolicyKey.make(" user-service . GetUser ") // => "user-service.GetUser"
 * PolicyKey.namespace(PolicyKey.make("user-service.GetUser")) // => "user-service"
 * PolicyKey.isValid("user-service.GetUser.1048576") // => false
 * PolicyKey.isValid("dynamo.DynamoDB_20120810.GetItem") // => true
 * ```
 *
 * @since 0.1.0
 */
import type { Brand } from "effect"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * A text that was checked by `make`.
 *
 * @category models
 * @since 0.1.0
 */
export type PolicyKey = string & Brand.Brand<"@rego/core/PolicyKey">

/**
 * What a call site may give as a key: any text. One that `make` would refuse runs under the overflow key of its
 * namespace.
 *
 * @category models
 * @since 0.1.0
 */
export type Input = string

// -----------------------------------------------------------------------------
// rules
// -----------------------------------------------------------------------------

const maxLength = 128
const allowed = /^[A-Za-z0-9_./:-]*$/
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i
const manyDigits = /^\d{6,}$/
const longHex = /^(?=.*\d)[0-9a-f]{16,}$/i

const looksLikeId = (segment: string): boolean =>
  uuid.test(segment) || manyDigits.test(segment) || longHex.test(segment)

/**
 * The text that identifies a key, however it is spelled: the whole and the two halves around the first dot are trimmed; a
 * dot with nothing behind it belongs to the name, one with nothing before it is dropped.
 *
 * @internal
 */
export const print = (input: Input): string => {
  let text = input.trim()
  for (;;) {
    const dot = text.indexOf(".")
    const name = text.slice(dot + 1).trim()
    if (dot < 0 || name === "") return text
    const space = text.slice(0, dot).trim()
    if (space !== "") return `${space}.${name}`
    text = name
  }
}

/** The rules that a printed key breaks, each with the value that broke it. */
const brokenBy = (key: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  if (key.length < 1 || key.length > maxLength) found.push(`must have 1 to ${maxLength} characters, got ${key.length}`)
  if (!allowed.test(key)) found.push("must consist of A-Z a-z 0-9 _ . / : -")
  for (const segment of key.split(/[./:]/)) {
    if (looksLikeId(segment)) {
      found.push(`must be the same for every call, but the segment ${JSON.stringify(segment)} looks like an id`)
    }
  }
  return found
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

/**
 * Makes a key, or throws a `RangeError` that names every rule the text breaks.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (input: Input): PolicyKey => {
  const key = print(input)
  const found = brokenBy(key)
  if (found.length > 0) throw new RangeError(`PolicyKey ${JSON.stringify(input)}: ${found.join("; ")}`)
  return key as PolicyKey
}

/**
 * The key of calls whose own key is refused and has no usable namespace.
 *
 * @category constructors
 * @since 0.1.0
 */
export const overflow: PolicyKey = "_overflow" as PolicyKey

/**
 * The key under which calls run whose own key is refused, or is one too many: the namespace is kept, so that a policy
 * for `user-service.*` still applies.
 *
 * @category constructors
 * @since 0.1.0
 */
export const overflowOf = (input: Input): PolicyKey => {
  const space = namespace(print(input))
  const key = `${space}.${overflow}`
  return space === "" || brokenBy(key).length > 0 ? overflow : key as PolicyKey
}

// -----------------------------------------------------------------------------
// getters
// -----------------------------------------------------------------------------

/**
 * What is wrong with a text as a key, every rule that it breaks; nothing for one that `make` would accept.
 *
 * @category getters
 * @since 0.1.0
 */
export const problems = (input: Input): ReadonlyArray<string> => brokenBy(print(input))

/**
 * Whether `make` would accept the text.
 *
 * @category guards
 * @since 0.1.0
 */
export const isValid = (input: Input): boolean => problems(input).length === 0

/**
 * What stands before the first dot, `""` for a key without one.
 *
 * @category getters
 * @since 0.1.0
 */
export const namespace = (key: string): string => {
  const dot = key.indexOf(".")
  return dot < 0 || dot === key.length - 1 ? "" : key.slice(0, dot)
}
