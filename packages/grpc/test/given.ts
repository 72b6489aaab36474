/** A server, a client and a policy, for one test; and what happened, once it is over. */
import { assert } from "@effect/vitest"
import type { Policy, PolicyProvider } from "@rego/core"
import { PolicyLayer, Timeline } from "@rego/core"
import type { Options } from "@rego/grpc/Connect"
import { Effect, Layer } from "effect"
import type { Line } from "../../core/test/support.ts"
import { withLog } from "../../core/test/support.ts"
import type { Answering, Arrival } from "./servers.ts"
import type { Client, Seen, World } from "./worlds.ts"
import { seen } from "./worlds.ts"

export const policiesOf = (policy: Policy.Input): Layer.Layer<PolicyProvider.PolicyProvider> =>
  Layer.orDie(PolicyLayer.make({ policies: { "acme.users.v1.Users.*": { budget: "unlimited", ...policy } } }))

export interface Given {
  readonly answer: Answering
  readonly policy?: Policy.Input
  /** instead of a policy */
  readonly layer?: Layer.Layer<PolicyProvider.PolicyProvider>
  readonly options?: Options
  /** instead of the port of the server */
  readonly port?: number
}

export interface Ran<A> {
  readonly value: A
  readonly arrivals: ReadonlyArray<Arrival>
  /** of the calls that were made, in the order in which they ended */
  readonly timelines: ReadonlyArray<Timeline.Timeline>
  /** milliseconds that the body took */
  readonly millis: number
  readonly log: ReadonlyArray<Line>
}

/** Runs a body that is written as any program with promises is. */
export const given = <A>(
  world: World,
  { answer, layer, options, policy, port }: Given,
  body: (client: Client, arrivals: ReadonlyArray<Arrival>) => Promise<A>
): Effect.Effect<Ran<A>> => {
  // the warnings that such policies deserve, among others
  const log: Array<Line> = []
  return Effect.gen(function*() {
    const server = yield* world.serve(answer)
    const client = yield* world.client(port ?? server.port, options)
    const before = performance.now()
    const value = yield* Effect.promise(() => body(client, server.arrivals))
    return { value, arrivals: server.arrivals, millis: performance.now() - before }
  }).pipe(
    Effect.scoped,
    Timeline.capture,
    Effect.flatMap(([exit, timelines]) => Effect.map(exit, (ran) => ({ ...ran, timelines, log }))),
    Effect.provide(layer ?? policiesOf(policy ?? {})),
    (self) => withLog(self, log)
  )
}

/** What a caller sees of a call that must fail. */
export const failureOf = (call: Promise<unknown>): Promise<Seen> =>
  call.then(
    (value) => {
      throw new Error(`expected a failure, got ${JSON.stringify(value)}`)
    },
    seen
  )

/** All messages of a stream, and how it failed, if it did. */
export const readAll = async (
  stream: AsyncIterable<string>,
  onMessage: (names: ReadonlyArray<string>) => void = () => {}
): Promise<{ readonly names: ReadonlyArray<string>; readonly failure: Seen | undefined }> => {
  const names: Array<string> = []
  try {
    for await (const name of stream) {
      names.push(name)
      onMessage(names)
    }
    return { names, failure: undefined }
  } catch (error) {
    return { names, failure: seen(error) }
  }
}

export const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

/** Waits for what happens on the other side of a socket. */
export const until = async (holds: () => boolean, what: string): Promise<void> => {
  for (let i = 0; i < 400; i++) {
    if (holds()) return
    await sleep(5)
  }
  assert.fail(`${what}: not within 2 seconds`)
}
