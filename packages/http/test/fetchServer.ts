/** The real servers of `support.ts`, for tests whose code is made of promises. */
import { Effect, Exit, Scope } from "effect"
import * as Support from "./support.ts"

export interface Server extends Support.Server, AsyncDisposable {
  readonly cancelled: () => number
}

export const serve = async (handler: Support.Handler): Promise<Server> => {
  const scope = Scope.makeUnsafe()
  const server = await Effect.runPromise(Scope.provide(Support.serve(handler), scope))
  return {
    ...server,
    cancelled: () => server.arrivals.filter(({ cancelled }) => cancelled).length,
    [Symbol.asyncDispose]: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

/** Answers with one status for each request; the last one stands for all that follow. */
export const answers = (...statuses: ReadonlyArray<number>): Support.Handler => (_, response, arrival) => {
  const status = statuses[Math.min(arrival, statuses.length - 1)]!
  response.writeHead(status).end(`answer ${arrival} is ${status}`)
}

/** An address at which nobody listens. */
export const nobody = async (): Promise<string> => {
  const server = await serve(() => {})
  await server[Symbol.asyncDispose]()
  return server.url
}

export const eventually = (what: string, holds: () => boolean): Promise<void> =>
  Effect.runPromise(Support.eventually(what, holds))
