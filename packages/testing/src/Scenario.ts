/**
 * The world in which a policy is tried: clients, servers, and what goes wrong. A scenario is data, and stands in a file as
 * well as in code.
 *
 * **When to use**
 *
 * Start with one that comes with the package (`Scenario.shipped`), then write down your own dependency: how long it takes
 * (the percentiles of a dashboard are enough), how much it can do at once, and what it does when that is too little.
 *
 * **Details**
 *
 * - A *request* is what a user of the client waits for. It makes `fanOut` calls, and has succeeded when all of them have.
 * - Clients that are *open* send at a rate, whatever becomes of the requests: users. Clients that are *closed* wait for an
 *   answer before they send again: workers. Only open ones can overload a server for good.
 * - A *process* has a policy layer of its own: budgets and what is known of latencies are not shared.
 * - A *replica* takes `concurrency` attempts at a time; what is more waits in its queue, first in, first out.
 * - Rates are per second. Every list and number has a bound, so that a run ends.
 *
 * **Example** (A server that stands still for ten seconds)
 *
 * ```ts
 * import { Scenario } from "@rego/testing"
 *
 * const frozen = Scenario.make({
 *   name: "frozen",
 *   clients: { type: "open", rate: 270 },
 *   server: { concurrency: 30, service: { type: "exponential", mean: "100 millis" } },
 *   episodes: [{ type: "freeze", at: "30 seconds", for: "10 seconds" }],
 *   duration: "90 seconds"
 * })
 *
 * frozen.clients.processes // => 1
 * frozen.server.cancellation // => "honoured"
 * ```
 *
 * @since 0.1.0
 */
import {
  durationField,
  fromSchemaError,
  integerField,
  numberField,
  parseOptions,
  rule
} from "@rego/core/internal/Issue"
import { Duration, Effect, Option, Schema } from "effect"
import * as Distribution from "./Distribution.ts"
import { ScenarioInvalid } from "./ScenarioInvalid.ts"

export {
  /**
   * A scenario that is refused. Holds every issue, each with its path, the rule and the value.
   *
   * @category errors
   * @since 0.1.0
   */
  ScenarioInvalid
} from "./ScenarioInvalid.ts"

// -----------------------------------------------------------------------------
// input
// -----------------------------------------------------------------------------

/**
 * Clients that send at their own rate, whatever becomes of their requests, as users do.
 *
 * @category models
 * @since 0.1.0
 */
export interface OpenInput {
  readonly type: "open"
  /** requests per second of all processes together, 0.001 to 1,000,000 */
  readonly rate: number
  /** `"poisson"`: independent of each other, the default. `"even"`: at equal distances */
  readonly arrivals?: "poisson" | "even" | undefined
  /** 1 to 1,000. Default 1 */
  readonly processes?: number | undefined
  /** after so long a process is replaced by a new one, that knows nothing; 1 second or more. Default: never */
  readonly processLifetime?: Duration.Input | undefined
}

/**
 * Clients that wait for an answer before they send again, as workers do.
 *
 * @category models
 * @since 0.1.0
 */
export interface ClosedInput {
  readonly type: "closed"
  /** requests at a time, of all processes together, 1 to 100,000 */
  readonly concurrency: number
  /** between an answer and the next request. Default: none */
  readonly thinkTime?: Distribution.Input | undefined
  readonly processes?: number | undefined
  readonly processLifetime?: Duration.Input | undefined
}

/**
 * The dependency: how long it works, how much at a time, and what it does when that is not enough.
 *
 * @category models
 * @since 0.1.0
 */
export interface ServerInput {
  /** 1 to 1,000. Default 1 */
  readonly replicas?: number | undefined
  /** `"random"`, the default; or one that no attempt of the call was sent to yet, while there is one */
  readonly routing?: "random" | "other-replica" | undefined
  /** attempts that a replica works on at a time, 1 to 100,000. Default: any number */
  readonly concurrency?: number | undefined
  /** what waits beyond `concurrency`. Default: any number, for any time */
  readonly queue?: {
    /** 0 to 1,000,000; what is more is shed at once */
    readonly limit?: number | undefined
    /** what has waited longer when its turn comes is shed */
    readonly maxWait?: Duration.Input | undefined
  } | undefined
  /**
   * what it does with what nobody waits for any more. `"honoured"`, the default: drops it, wherever it is. `"before-work"`:
   * drops what has not begun, and finishes what has. `"ignored"`: works on it in vain
   */
  readonly cancellation?: "honoured" | "before-work" | "ignored" | undefined
  readonly service: Distribution.Input
  /** how likely it is, from 0 to 1, that all attempts of a call take equally long: a slow request, not a slow server. Default 0 */
  readonly sharedSlowness?: number | undefined
  /** work takes `1 + contention × waiting ÷ concurrency` times as long while others wait, 0 to 100. Default 0 */
  readonly contention?: number | undefined
  /** the share of attempts that fail when they are done, 0 to 1. Default 0 */
  readonly failureRate?: number | undefined
  /** what it takes to say no: a refused connection, an attempt that is shed. Default 1 millisecond */
  readonly refuseAfter?: Duration.Input | undefined
  /** the wait that it asks for when it sheds. Default: none */
  readonly retryAfter?: Duration.Input | undefined
}

interface Period {
  readonly at: Duration.Input
  readonly for: Duration.Input
}

interface OfReplicas extends Period {
  /** indices from 0. Default: all */
  readonly replicas?: ReadonlyArray<number> | undefined
}

/**
 * What goes wrong for a while. `freeze`: nothing is worked on, what arrives waits. `down`: what arrives is refused, and what
 * was worked on fails. `slow`: work takes `factor` times as long. `failing`: a share `rate` of the attempts fails. `load`:
 * open clients send `factor` times as much.
 *
 * @category models
 * @since 0.1.0
 */
export type EpisodeInput =
  | (OfReplicas & { readonly type: "freeze" })
  | (OfReplicas & { readonly type: "down" })
  | (OfReplicas & { readonly type: "slow"; readonly factor: number })
  | (OfReplicas & { readonly type: "failing"; readonly rate: number })
  | (Period & { readonly type: "load"; readonly factor: number })

/**
 * A scenario as people write it, in code or as JSON. What is left out has its default.
 *
 * @category models
 * @since 0.1.0
 */
export interface Input {
  readonly name: string
  readonly description?: string | undefined
  readonly clients: OpenInput | ClosedInput
  /** calls that a request makes at once, 1 to 1,000. Default 1 */
  readonly fanOut?: number | undefined
  readonly server: ServerInput
  readonly episodes?: ReadonlyArray<EpisodeInput> | undefined
  /** requests, up to 10,000,000; this or `duration` must be stated, and what comes first ends the run */
  readonly requests?: number | undefined
  /** virtual time, up to 24 hours */
  readonly duration?: Duration.Input | undefined
  /** the first requests, which are not counted. Default 0 */
  readonly warmUp?: number | undefined
  /** how finely load over time is kept. Default: a 600th of the duration, 100 milliseconds at least */
  readonly resolution?: Duration.Input | undefined
}

// -----------------------------------------------------------------------------
// schema
// -----------------------------------------------------------------------------

const withDefault = <A>(field: Schema.Codec<A, unknown> | Schema.Codec<A, any>, value: A) =>
  field.pipe(Schema.withDecodingDefaultType(Effect.succeed(value)))

const processes = withDefault(integerField(1, 1_000), 1)
const processLifetime = Schema.optional(durationField("1 second", "24 hours"))
const wait = durationField(0, "24 hours")

const Open = Schema.Struct({
  type: Schema.Literal("open"),
  rate: numberField(0.001, 1_000_000),
  arrivals: withDefault(Schema.Literals(["poisson", "even"]), "poisson"),
  processes,
  processLifetime
})

const Closed = Schema.Struct({
  type: Schema.Literal("closed"),
  concurrency: integerField(1, 100_000),
  thinkTime: Schema.optional(Distribution.Distribution),
  processes,
  processLifetime
})

const share = numberField(0, 1)

const Server = Schema.Struct({
  replicas: withDefault(integerField(1, 1_000), 1),
  routing: withDefault(Schema.Literals(["random", "other-replica"]), "random"),
  concurrency: Schema.optional(integerField(1, 100_000)),
  queue: Schema.optional(Schema.Struct({
    limit: Schema.optional(integerField(0, 1_000_000)),
    maxWait: Schema.optional(wait)
  })),
  cancellation: withDefault(Schema.Literals(["honoured", "before-work", "ignored"]), "honoured"),
  service: Distribution.Distribution,
  sharedSlowness: withDefault(share, 0),
  contention: withDefault(numberField(0, 100), 0),
  failureRate: withDefault(share, 0),
  refuseAfter: withDefault(durationField("1 micros", "1 minute"), Duration.millis(1)),
  retryAfter: Schema.optional(wait)
})

const period = { at: wait, for: wait }
const ofReplicas = { ...period, replicas: Schema.optional(Schema.Array(integerField(0, 999))) }

const Episode = Schema.Union([
  Schema.Struct({ type: Schema.Literal("freeze"), ...ofReplicas }),
  Schema.Struct({ type: Schema.Literal("down"), ...ofReplicas }),
  Schema.Struct({ type: Schema.Literal("slow"), ...ofReplicas, factor: numberField(1, 1_000) }),
  Schema.Struct({ type: Schema.Literal("failing"), ...ofReplicas, rate: share }),
  Schema.Struct({ type: Schema.Literal("load"), ...period, factor: numberField(0, 1_000) })
])

const Fields = Schema.Struct({
  name: Schema.String.pipe(Schema.check(Schema.isMinLength(1), Schema.isMaxLength(80))),
  description: Schema.optional(Schema.String),
  clients: Schema.Union([Open, Closed]),
  fanOut: withDefault(integerField(1, 1_000), 1),
  server: Server,
  episodes: withDefault(
    Schema.Array(Episode).pipe(
      Schema.check(rule<ReadonlyArray<unknown>>(({ length }) => length <= 1_000, "1,000 episodes at most"))
    ),
    []
  ),
  requests: Schema.optional(integerField(1, 10_000_000)),
  duration: Schema.optional(durationField("1 millis", "24 hours")),
  warmUp: withDefault(integerField(0, 10_000_000), 0),
  resolution: Schema.optional(durationField("1 millis", "1 hour"))
})

/**
 * A scenario with every default written out. Times are durations.
 *
 * @category models
 * @since 0.1.0
 */
export interface Scenario extends Schema.Schema.Type<typeof Fields> {}

type Problem = { readonly path: ReadonlyArray<PropertyKey>; readonly issue: string }

const endOf = (episode: Scenario["episodes"][number]): number =>
  Duration.toMillis(episode.at) + Duration.toMillis(episode.for)

const unknownReplicas = ({ episodes, server }: Scenario): ReadonlyArray<Problem> =>
  episodes.flatMap((episode, i) =>
    "replicas" in episode && episode.replicas !== undefined
      ? episode.replicas.flatMap((replica, j) =>
        replica < server.replicas
          ? []
          : [{
            path: ["episodes", i, "replicas", j],
            issue: `must be less than server.replicas, which is ${server.replicas}, got ${replica}`
          }]
      )
      : []
  )

const lateEpisodes = ({ duration, episodes }: Scenario): ReadonlyArray<Problem> =>
  duration === undefined ? [] : episodes.flatMap((episode, i) =>
    endOf(episode) <= Duration.toMillis(duration)
      ? []
      : [{ path: ["episodes", i], issue: `must end within the duration of ${Duration.format(duration)}` }]
  )

const problems = (scenario: Scenario): ReadonlyArray<Problem> => [
  ...(scenario.requests === undefined && scenario.duration === undefined
    ? [{ path: ["duration"], issue: "must be stated, or requests: a run must end" }]
    : []),
  ...(scenario.clients.type === "closed"
    ? scenario.episodes.flatMap(({ type }, i) =>
      type === "load" ? [{ path: ["episodes", i], issue: "load is of open clients, and these are closed" }] : []
    )
    : []),
  ...unknownReplicas(scenario),
  ...lateEpisodes(scenario)
]

/**
 * The schema of a scenario file.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Scenario = Fields.pipe(Schema.check(Schema.makeFilter<Scenario>((scenario) => {
  const found = problems(scenario)
  return found.length === 0 ? undefined : [...found]
})))

const read = Schema.decodeUnknownResult(Scenario, parseOptions)

const check = (input: unknown): Scenario | ScenarioInvalid => {
  const decoded = read(input)
  return decoded._tag === "Success"
    ? decoded.success
    : new ScenarioInvalid({ issues: fromSchemaError(decoded.failure) })
}

/**
 * Checks a scenario that is written in code. Throws `ScenarioInvalid` with every issue.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (input: Input): Scenario => {
  const checked = check(input)
  if (checked instanceof ScenarioInvalid) throw checked
  return checked
}

/**
 * Reads a scenario file, as JSON that was parsed.
 *
 * **Example** (Every issue at once)
 *
 * ```ts
 * import { Scenario } from "@rego/testing"
 * import { Effect } from "effect"
 *
 * const wrong = { name: "wrong", clients: { type: "open", rate: -1 }, server: { service: { type: "exponential" } } }
 * const error = await Effect.runPromise(Effect.flip(Scenario.decode(wrong)))
 *
 * error.issues.map(({ path }) => path.join(".")) // => ["clients.rate", "server.service.mean"]
 * ```
 *
 * @category decoding
 * @since 0.1.0
 */
export const decode = (json: unknown): Effect.Effect<Scenario, ScenarioInvalid> =>
  Effect.suspend(() => {
    const checked = check(json)
    return checked instanceof ScenarioInvalid ? Effect.fail(checked) : Effect.succeed(checked)
  })

/**
 * The instant in milliseconds at which everything that went wrong has ended; `None` where nothing does. More load is no
 * failure, but what it triggers is: it counts.
 *
 * @category reading
 * @since 0.1.0
 */
export const lastEnd = ({ episodes }: Scenario): Option.Option<number> =>
  episodes.length === 0 ? Option.none() : Option.some(Math.max(...episodes.map(endOf)))
