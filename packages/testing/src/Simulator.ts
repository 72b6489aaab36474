/**
 * What would this policy do? Runs a scenario in virtual time, with the policy in the real executor, and reports.
 *
 * **When to use**
 *
 * Before a policy goes live, and in the CI of policies (`rego simulate`). What it says depends on the scenario: it compares
 * policies better than it predicts milliseconds.
 *
 * **Details**
 *
 * - Each call is an `Effect` under `Rego.resilient`, in the policy layer of its process: budgets, hedges, backoff and
 *   timeouts are those of `@rego/core`. Only clients, servers and time are simulated.
 * - The same seed gives the same report. Two policies meet the same arrivals, and the same slowness at the same attempt of
 *   the same request.
 * - Nothing waits: a run takes as long as computing it. It gives way to the host every few thousand events.
 * - It needs nothing from the caller's context, its clock and its loggers included.
 *
 * **Example** (A hedge against stragglers)
 *
 * ```ts
 * import { Hedge, PolicyLayer } from "@rego/core"
 * import { Scenario, Simulator } from "@rego/testing"
 * import { Effect } from "effect"
 *
 * const scenario = Scenario.make({
 *   name: "stragglers",
 *   clients: { type: "closed", concurrency: 10 },
 *   server: {
 *     service: {
 *       type: "mixture",
 *       of: [
 *         { weight: 95, times: { type: "constant", value: "5 millis" } },
 *         { weight: 5, times: { type: "constant", value: "100 millis" } }
 *       ]
 *     }
 *   },
 *   requests: 2_000
 * })
 *
 * const hedged = PolicyLayer.make({
 *   policies: {
 *     "*": {
 *       hedge: { trigger: Hedge.after("10 millis") },
 *       timeout: { overall: "1 second" },
 *       idempotent: true
 *     }
 *   }
 * })
 *
 * const before = await Effect.runPromise(
 *   Simulator.simulate(scenario, { policies: PolicyLayer.defaults, key: "users.Get", seeds: 3 })
 * )
 * const after = await Effect.runPromise(Simulator.simulate(scenario, { policies: hedged, key: "users.Get", seeds: 3 }))
 *
 * Math.round(before.metrics.p99.median) // => 100
 * Math.round(after.metrics.p99.median) // => 15
 * after.metrics.attemptsPerCall.median < 1.07 // => true
 * ```
 *
 * @since 0.1.0
 */
import type { Classifier, PolicyKey, PolicyProvider } from "@rego/core"
import { Outcome, Rego } from "@rego/core"
import type { Exit } from "effect"
import { Effect, Layer } from "effect"
import { show } from "./AssertionError.ts"
import type { Scenario } from "./Scenario.ts"
import type { Operation } from "./Simulation.ts"
import { ServerFailed, Simulation } from "./Simulation.ts"
import type { Report } from "./SimulationReport.ts"
import { fromRuns, fromTally } from "./Summary.ts"

export {
  /**
   * The error of an attempt at a simulated server: `failed`, `refused` or `shed`.
   *
   * @category errors
   * @since 0.1.0
   */
  ServerFailed
} from "./Simulation.ts"
export type {
  /**
   * The attempt that brought an answer.
   *
   * @category models
   * @since 0.1.0
   */
  Answer,
  /**
   * What a call does with one attempt at a server: `Rego.resilient`, several inside each other, or anything else.
   *
   * @category models
   * @since 0.1.0
   */
  Operation
} from "./Simulation.ts"

/**
 * What is simulated, and how often.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<S, E> {
  /** built for each process and each seed; may need what `shared` gives */
  readonly policies: Layer.Layer<PolicyProvider.PolicyProvider, E, S>
  /** under which the calls run. `operation` replaces it */
  readonly key?: PolicyKey.Input | undefined
  /** what the call site says of it. Default: nothing */
  readonly idempotent?: boolean | undefined
  /** how a call is made. Default: one `Rego.resilient` with `key`, `idempotent` and `classifier` */
  readonly operation?: Operation | undefined
  /** what the processes of a run share, such as the store of a shared budget */
  readonly shared?: Layer.Layer<S, E> | undefined
  /** how many seeds, counted from 1, or which: integers, one at least. Default 5 */
  readonly seeds?: number | ReadonlyArray<number> | undefined
}

const shedOutcome = (error: ServerFailed) =>
  Outcome.retryable({
    reason: error.reason,
    executed: "no",
    ...(error.retryAfter === undefined ? {} : { retryAfter: error.retryAfter })
  })

/**
 * How errors of simulated servers are classified where the call site says nothing else: all of them are Retryable; what was
 * refused or shed was surely not executed.
 *
 * @category classifiers
 * @since 0.1.0
 */
export const classifier: Classifier.Classifier<unknown, unknown> = (exit: Exit.Exit<unknown, unknown>) => {
  if (exit._tag === "Success") return undefined
  const error = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
  if (!(error instanceof ServerFailed)) return undefined
  return error.reason === "failed" ? Outcome.retryable({ reason: "failed" }) : shedOutcome(error)
}

const defaultKey = "simulated.Call"

const resilient = (key: PolicyKey.Input, idempotent: boolean | undefined): Operation => (send) =>
  Rego.resilient(send, key, { classifier, ...(idempotent === undefined ? {} : { idempotent }) })

/** Long enough that giving way costs nothing, short enough that a browser still draws. */
const stepsPerTurn = 4_000

const seedsOf = (seeds: number | ReadonlyArray<number> = 5): ReadonlyArray<number> => {
  const good = typeof seeds === "number"
    ? Number.isInteger(seeds) && seeds >= 1
    : seeds.length > 0 && seeds.every(Number.isInteger)
  if (!good) {
    throw new RangeError(
      `Simulator.simulate: seeds must be an integer from 1, or a list of integers, got ${show(seeds)}`
    )
  }
  return typeof seeds === "number" ? Array.from({ length: seeds }, (_, i) => i + 1) : seeds
}

const runSeed = Effect.fnUntraced(function*(scenario: Scenario, options: Options<any, any>, seed: number) {
  const simulation = new Simulation({
    scenario,
    seed,
    operation: options.operation ?? resilient(options.key ?? defaultKey, options.idempotent),
    policies: options.policies as Layer.Layer<PolicyProvider.PolicyProvider, unknown>,
    shared: options.shared ?? Layer.empty
  })
  do {
    simulation.advance(stepsPerTurn)
    yield* Effect.yieldNow
  } while (!simulation.finished)
  if (simulation.failure !== undefined) return yield* Effect.failCause(simulation.failure)
  const { tally, time } = simulation
  return { run: fromTally(scenario, seed, tally, time.now), tally }
})

/**
 * Runs a scenario once for each seed. Fails with what the policies fail with when they are built. Throws a `RangeError` for
 * seeds that are none.
 *
 * @category simulation
 * @since 0.1.0
 */
export const simulate = <S = never, E = never>(
  scenario: Scenario,
  options: Options<S, E>
): Effect.Effect<Report, E> => {
  const seeds = seedsOf(options.seeds)
  return Effect.map(
    Effect.forEach(seeds, (seed) => runSeed(scenario, options, seed)),
    (runs) => fromRuns(scenario, runs)
  ) as Effect.Effect<Report, E>
}

export type { Report }
