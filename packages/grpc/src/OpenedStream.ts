/**
 * A stream of responses whose first message has arrived.
 *
 * @internal
 */

export interface OpenedStream<A> {
  readonly first: IteratorResult<A, unknown>
  readonly rest: AsyncIterator<A, unknown>
}

/** The stream from its beginning; to be read once. */
export const messages = <A>({ first, rest }: OpenedStream<A>): AsyncIterable<A> => {
  let pending: IteratorResult<A, unknown> | undefined = first
  const iterator: AsyncIterator<A, unknown> = {
    next: () => {
      const result = pending
      pending = undefined
      return result === undefined ? rest.next() : Promise.resolve(result)
    },
    return: (value) => rest.return?.(value) ?? Promise.resolve({ done: true, value }),
    throw: (error) => rest.throw?.(error) ?? Promise.reject(error)
  }
  return { [Symbol.asyncIterator]: () => iterator }
}

/** Waits for the first message, or for an end without any. */
export const open = async <A>(messages: AsyncIterable<A>): Promise<OpenedStream<A>> => {
  const rest = messages[Symbol.asyncIterator]()
  return { first: await rest.next(), rest }
}
