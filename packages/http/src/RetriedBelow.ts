/**
 * What a call has given up on although another attempt might have helped: an enclosing call is not to ask for it again. A
 * failure carries the timeline of its call for that. A response is a value, and carries nothing; nor does the error of a promise.
 *
 * @internal
 */
const given = new WeakSet<object>()

export const add = (response: object): void => {
  given.add(response)
}

export const has = (u: unknown): boolean => typeof u === "object" && u !== null && given.has(u)
