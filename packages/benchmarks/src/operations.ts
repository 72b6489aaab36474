/**
 * What is called. Every operation is made anew when it is asked for, once as an effect and once as a function that
 * returns a promise, for libraries that know only those.
 */
import { Effect } from "effect"
import type { Loopback } from "./loopback.ts"

export interface Operation {
  readonly effect: () => Effect.Effect<number, unknown>
  readonly promise: () => () => Promise<number>
}

const answer = async (): Promise<number> => 1

/** Asynchronous, and answers in a microtask: as early as a network can. */
const promiseBacked: Operation = {
  effect: () => Effect.promise(() => answer()),
  promise: () => () => answer()
}

/** Never suspends, which makes everything around it look dear. */
const synchronous: Operation = {
  effect: () => Effect.sync(() => 1),
  promise: () => () => answer()
}

const unavailable = new Error("unavailable")

/** Fails twice, then answers. */
const flaky = (): () => Promise<number> => {
  let runs = 0
  return async () => {
    if (runs++ < 2) throw unavailable
    return 1
  }
}

const failing: Operation = {
  effect: () => {
    const attempt = flaky()
    return Effect.tryPromise({ try: () => attempt(), catch: (error) => error })
  },
  promise: flaky
}

/** A request over a connection that is kept alive. */
const request = ({ get }: Loopback): Operation => ({
  effect: () => Effect.promise(() => get()),
  promise: () => () => get()
})

export type Source = "promise" | "sync" | "failing" | "http"

export const operationOf = (source: Source, loopback: Loopback): Operation => {
  switch (source) {
    case "promise":
      return promiseBacked
    case "sync":
      return synchronous
    case "failing":
      return failing
    case "http":
      return request(loopback)
  }
}
