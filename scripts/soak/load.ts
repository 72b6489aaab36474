/** What a soak does to the library: calls of every kind, a server with faults, and policies that change all the time. */
import { Budget, PolicyLayer, type PolicyProvider, PolicySource, Rego, RegoError } from "@rego/core"
import { HttpRego } from "@rego/http"
import { Cause, Effect, Exit, Layer, Logger, Queue, Stream } from "effect"
import { FetchHttpClient, HttpClient, HttpClientError } from "effect/http"
import { createServer, type RequestListener, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { setTimeout } from "node:timers"
import { makeRandom } from "../../packages/core/test/random.ts"

export interface Counts {
  calls: number
  accepted: number
  /** documents of which nothing was taken */
  refused: number
  readonly exits: Record<string, number>
  /** what must never happen, as text */
  readonly wrongs: Array<string>
}

export const makeCounts = (): Counts => ({ calls: 0, accepted: 0, refused: 0, exits: {}, wrongs: [] })

/** Enough to keep a core busy, and not so many that calls time out for want of it. */
const LOOPS = 24

type Random = () => number

// -----------------------------------------------------------------------------
// the server, and other dependencies
// -----------------------------------------------------------------------------

const faultyServer = (random: Random): Promise<Server> => {
  const onRequest: RequestListener = (request, response) => {
    const dice = random()
    if (dice < 0.1) return response.writeHead(503, { "retry-after": "0" }).end("busy")
    if (dice < 0.15) return request.socket.destroy()
    if (dice < 0.2) return void setTimeout(() => response.end("late"), 1_500)
    if (dice < 0.25) return response.writeHead(429).end("too many")
    if (dice < 0.3) return response.writeHead(404).end("unknown")
    response.end("fine")
  }
  const server = createServer(onRequest)
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)))
}

const INJECTED = "a defect of the effect"

/** In memory: fails, hangs, dies, or takes a while to let go. */
const dependency = (random: Random): Effect.Effect<string, string> =>
  Effect.suspend(() => {
    const dice = random()
    const millis = Math.floor(random() * 8)
    if (dice < 0.15) return Effect.fail("refused")
    if (dice < 0.2) return Effect.never
    if (dice < 0.22) return Effect.die(INJECTED)
    if (dice < 0.3) return Effect.onInterrupt(Effect.never, () => Effect.sleep(millis))
    return Effect.as(Effect.sleep(millis), "fine")
  })

// -----------------------------------------------------------------------------
// the policies
// -----------------------------------------------------------------------------

const below = (random: Random, n: number): number => Math.floor(random() * n)

const policyOf = (random: Random, unit: number): object => ({
  retry: { maxAttempts: 1 + below(random, 4), backoff: { type: "exponential", initial: "2 millis", max: "20 millis" } },
  timeout: { perAttempt: unit + below(random, unit), overall: 3 * unit + below(random, 3 * unit) },
  ...random() < 0.5 && { hedge: { trigger: { type: "after", delay: Math.ceil(unit / 4) + below(random, unit) } } },
  idempotent: true,
  force: true
})

const documentOf = (random: Random, revision: number): object => ({
  schemaVersion: revision % 10 === 3 ? "a version that nobody knows" : "1.0",
  revision: String(revision),
  ...random() < 0.1 && { off: ["memory.Get1"] },
  policies: {
    "memory.*": { ...policyOf(random, 40), budget: random() < 0.5 ? "lanes" : "default" },
    // a connection takes its time on a busy machine
    "web.*": random() < 0.1 ? { timeout: { overall: 0 } } : policyOf(random, 400),
    [`memory.Get${below(random, 20)}`]: { retry: { maxAttempts: 1 + below(random, 5) }, force: true }
  }
})

const makeSource = (random: Random, counts: Counts) =>
  Effect.gen(function*() {
    const queue = yield* Queue.unbounded<PolicySource.Found>()
    let revision = 0
    const publish = Effect.suspend(() => Queue.offer(queue, PolicySource.document(documentOf(random, ++revision))))
    yield* Effect.forkScoped(Effect.forever(Effect.delay(publish, "100 millis")))
    return PolicySource.make({
      name: "soak",
      found: Stream.fromQueue(queue),
      report: ({ _tag }) =>
        Effect.sync(() => {
          if (_tag === "Accepted") counts.accepted++
          else counts.refused++
        })
    })
  })

// -----------------------------------------------------------------------------
// the calls
// -----------------------------------------------------------------------------

const allowed: ReadonlySet<string> = new Set(["AttemptTimedOut", "DeadlineExceeded", "AdmissionDenied"])

const record = (counts: Counts) => (exit: Exit.Exit<unknown, unknown>): void => {
  counts.calls++
  const name = nameOf(exit)
  counts.exits[name] = (counts.exits[name] ?? 0) + 1
  if (name.startsWith("wrong")) counts.wrongs.push(name)
}

const nameOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return "success"
  const [reason] = exit.cause.reasons
  if (reason === undefined) return "wrong: an empty cause"
  if (Cause.isInterruptReason(reason)) return "interrupted"
  if (Cause.isDieReason(reason)) {
    return reason.defect === INJECTED
      ? "defect"
      : `wrong: died of ${String(reason.defect)}`
  }
  const { error } = reason
  if (RegoError.isRegoError(error)) {
    return allowed.has(error.reason._tag)
      ? error.reason._tag
      : `wrong: ${error.message}`
  }
  return error === "refused" || HttpClientError.isHttpClientError(error) ? "failure" : `wrong: ${String(error)}`
}

/** One loop of calls, one after another, for ever. */
const calling = (url: string, random: Random, counts: Counts) =>
  Effect.gen(function*() {
    const client = HttpRego.resilient(yield* HttpClient.HttpClient, { key: "web.Get" })
    const inMemory = Effect.suspend(() => dependency(random).pipe(Rego.resilient(`memory.Get${below(random, 20)}`)))
    const request = Effect.flatMap(client.get(url), (response) => response.text)
    while (true) {
      const call: Effect.Effect<string, unknown, PolicyProvider.PolicyProvider> = random() < 0.2 ? request : inMemory
      const leaves = random() < 0.1
      const run: Effect.Effect<unknown, unknown, PolicyProvider.PolicyProvider> = leaves
        ? Effect.timeoutOption(call, below(random, 30))
        : call
      record(counts)(yield* Effect.exit(run))
      yield* Effect.sleep(below(random, 10))
    }
  })

/** Keeps what would be an error of ours in the log, and prints nothing. */
const errorsOf = (counts: Counts) =>
  Logger.make<unknown, void>(({ logLevel, message }) => {
    if (logLevel === "Error" || logLevel === "Fatal") counts.wrongs.push(`wrong: logged ${String(message)}`)
  })

/** Runs until it is interrupted, and closes everything that it opened. */
export const load = (seed: number, counts: Counts): Effect.Effect<never> => {
  const random = makeRandom(seed)
  return Effect.scoped(Effect.gen(function*() {
    const server = yield* Effect.acquireRelease(
      Effect.promise(() => faultyServer(random)),
      (server) =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
    const source = yield* makeSource(random, counts)
    const Policies = PolicyLayer.live().pipe(
      Layer.provide([
        Layer.succeed(PolicySource.PolicySource, source),
        Budget.layer("lanes", Budget.concurrency({ min: 8, ratio: 0.2 }), { scope: "shared" })
      ]),
      Layer.orDie
    )
    return yield* Effect.all(Array.from({ length: LOOPS }, () => calling(url, random, counts)), {
      concurrency: "unbounded"
    }).pipe(
      Effect.andThen(Effect.never),
      Effect.provide(Layer.merge(Policies, FetchHttpClient.layer))
    )
  })).pipe(Effect.provide(Logger.layer([errorsOf(counts)])))
}
