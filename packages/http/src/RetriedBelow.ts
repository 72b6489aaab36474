/**
 * The responses that a call has given up on although another attempt might have helped: an enclosing call is not to ask
 * for them again. A failure carries the timeline of its call for that; a response is a value, and carries nothing.
 *
 * @internal
 */
const given = new WeakSet<object>()

export const add = (response: object): void => {
  given.add(response)
}

export const has = (u: unknown): boolean => typeof u === "object" && u !== null && given.has(u)
