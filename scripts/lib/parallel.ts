import { availableParallelism } from "node:os"

/** Maps in parallel, one worker per processor, and keeps the order of the input. */
export const map = async <A, B>(items: ReadonlyArray<A>, f: (item: A) => Promise<B>): Promise<Array<B>> => {
  const results: Array<B> = []
  const pending = items.entries()
  const worker = async (): Promise<void> => {
    for (const [index, item] of pending) results[index] = await f(item)
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
  return results
}
