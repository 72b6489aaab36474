/**
 * One run of a scenario with one seed: clients and servers in virtual time, and between them the real thing: the calls run
 * under the policy layers of their processes, through the executor of `@rego/core`. Nothing of it is modelled here.
 *
 * Clients and servers are callbacks of the event loop and not fibers. So the fibers of a run are those of the calls, and
 * most of the time goes into what is tried.
 *
 * @internal
 */
import type { PolicyProvider } from "@rego/core"
import { Attempt, RegoError } from "@rego/core"
import type { Cause, Layer } from "effect"
import { Context, Data, Duration, Effect, Exit, Fiber, Option } from "effect"
import * as Distribution from "./Distribution.ts"
import { Processes } from "./Processes.ts"
import { hash, Stream, uniform } from "./Randomness.ts"
import type { Scenario } from "./Scenario.ts"
import type { Failure } from "./ServerModel.ts"
import { makeCaller, Servers } from "./ServerModel.ts"
import { Tally } from "./Tally.ts"
import type { Event } from "./VirtualTime.ts"
import { VirtualTime } from "./VirtualTime.ts"

/**
 * A simulated server said no. `failed`: it tried and failed, at the end of its work. `refused`: nobody is there. `shed`: it
 * has no room, and has done nothing.
 */
export class ServerFailed extends Data.TaggedError("ServerFailed")<{
  readonly reason: Failure
  /** how long it asks its clients to wait */
  readonly retryAfter?: Duration.Duration | undefined
}> {}

/** The attempt that brought the answer. */
export type Answer = Attempt.Id

export type Operation = (
  send: Effect.Effect<Answer, ServerFailed>
) => Effect.Effect<Answer, unknown, PolicyProvider.PolicyProvider>

export interface Setup {
  readonly scenario: Scenario
  readonly seed: number
  readonly operation: Operation
  readonly policies: Layer.Layer<PolicyProvider.PolicyProvider, unknown, never>
  /** what the processes share */
  readonly shared: Layer.Layer<never, unknown>
}

/** Names of the random streams of a run. */
const streams = { arrivals: 1, policy: 2, calls: 3, think: 4 } as const

/** 2026-01-01T00:00:00Z: the wall clock of every run begins here. */
const epochMillis = 1_767_225_600_000

const primary: Answer = { retry: 0, hedge: 0 }

const slotMillis = ({ duration, resolution }: Scenario): number => {
  if (resolution !== undefined) return Duration.toMillis(resolution)
  return duration === undefined ? 100 : Math.max(100, Math.ceil(Duration.toMillis(duration) / 600))
}

/** A name for why a call failed: what the server said, or why we stopped. */
const nameOf = (cause: Cause.Cause<unknown>): string => {
  for (const reason of cause.reasons) {
    if (reason._tag === "Die") return "defect"
    if (reason._tag !== "Fail") continue
    if (reason.error instanceof ServerFailed) return reason.error.reason
    return RegoError.isRegoError(reason.error) ? reason.error.reason._tag : "other"
  }
  return "interrupted"
}

/** What a request has in common with its calls. */
interface Request {
  readonly counted: boolean
  readonly startedAt: number
  /** calls that have not ended */
  open: number
  failure: string | undefined
  readonly onEnd: () => void
}

const noop = (): void => {}

export class Simulation {
  readonly time = new VirtualTime(epochMillis)
  readonly tally: Tally
  private readonly setup: Setup
  private readonly servers: Servers
  private readonly processes: Processes
  private readonly arrivals: Stream
  private readonly callSeed: number
  private readonly failures: Record<Failure, Effect.Effect<never, ServerFailed>>
  private issued = 0
  private readonly unanswered = new Set<Request>()
  private stopped = false
  private nextArrival: Event | undefined = undefined
  /** what multiplies the load now */
  private readonly loadFactors: Array<number> = []

  constructor(setup: Setup) {
    const { scenario, seed } = setup
    this.setup = setup
    this.tally = new Tally(slotMillis(scenario))
    this.arrivals = new Stream(seed, streams.arrivals)
    this.callSeed = hash(seed, streams.calls)
    this.processes = new Processes(this.time, setup, new Stream(seed, streams.policy))
    this.servers = new Servers(this.time, scenario)
    const { retryAfter } = scenario.server
    this.failures = {
      failed: Effect.fail(new ServerFailed({ reason: "failed" })),
      refused: Effect.fail(new ServerFailed({ reason: "refused" })),
      shed: Effect.fail(new ServerFailed({ reason: "shed", retryAfter }))
    }
    this.begin()
  }

  get finished(): boolean {
    return this.stopped || this.processes.failure !== undefined
  }

  /** Why the policies could not be built. */
  get failure(): Cause.Cause<unknown> | undefined {
    return this.processes.failure
  }

  /** Lets up to `steps` events happen. */
  advance(steps: number): void {
    for (let i = 0; i < steps && !this.finished; i++) if (!this.time.step()) this.stop(Infinity)
    if (this.finished) this.processes.close()
  }

  /** `wait`: how much longer requests without an answer would have been waited for, if the run were to go on. */
  private stop(wait = 0): void {
    this.stopped = true
    for (const { counted, startedAt } of this.unanswered) {
      this.tally.onUnanswered(counted, this.time.now - startedAt + wait)
    }
  }

  private begin(): void {
    const { clients, duration, episodes } = this.setup.scenario
    if (duration !== undefined) this.time.after(Duration.toMillis(duration), () => this.stop())
    for (const episode of episodes) {
      if (episode.type !== "load") continue
      const { factor } = episode
      const at = Duration.toMillis(episode.at)
      this.time.after(at, () => this.changeLoad(() => this.loadFactors.push(factor)))
      this.time.after(
        at + Duration.toMillis(episode.for),
        () => this.changeLoad(() => this.loadFactors.splice(this.loadFactors.indexOf(factor), 1))
      )
    }
    if (clients.type === "open") this.planArrival()
    else for (let client = 0; client < clients.concurrency; client++) this.startClient(client)
  }

  private get exhausted(): boolean {
    return this.issued >= (this.setup.scenario.requests ?? Infinity)
  }

  // ---------------------------------------------------------------------------
  // clients
  // ---------------------------------------------------------------------------

  private changeLoad(change: () => void): void {
    change()
    if (this.nextArrival !== undefined) this.time.cancel(this.nextArrival)
    this.planArrival()
  }

  private planArrival(): void {
    const { clients } = this.setup.scenario
    if (clients.type !== "open" || this.exhausted) return
    const perMilli = this.loadFactors.reduce((rate, factor) => rate * factor, clients.rate) / 1_000
    if (perMilli <= 0) return
    const gap = clients.arrivals === "even" ? 1 / perMilli : this.arrivals.nextGap(perMilli)
    this.nextArrival = this.time.after(gap, () => this.arrive())
  }

  private arrive(): void {
    const { arrivals, processes } = this.setup.scenario.clients as Extract<Scenario["clients"], { type: "open" }>
    const process = processes === 1
      ? 0
      : arrivals === "even"
      ? this.issued % processes
      : Math.floor(this.arrivals.nextDoubleUnsafe() * processes)
    this.request(process, noop)
    this.planArrival()
  }

  private startClient(client: number): void {
    const { clients } = this.setup.scenario
    const { processes } = clients
    const think = clients.type === "closed" && clients.thinkTime !== undefined
      ? Distribution.quantile(clients.thinkTime)
      : undefined
    const seed = hash(hash(this.setup.seed, streams.think), client)
    let turn = 0
    const next = (): void => {
      if (!this.exhausted) this.request(client % processes, onEnd)
    }
    const onEnd = (): void => void this.time.after(think === undefined ? 0 : think(uniform(seed, turn++)), next)
    this.time.after(think === undefined ? 0 : think(uniform(seed, turn++)), next)
  }

  // ---------------------------------------------------------------------------
  // requests
  // ---------------------------------------------------------------------------

  private request(process: number, onEnd: () => void): void {
    const { fanOut, warmUp } = this.setup.scenario
    const number = this.issued++
    const { now } = this.time
    const request: Request = { counted: number >= warmUp, startedAt: now, open: fanOut, failure: undefined, onEnd }
    this.unanswered.add(request)
    this.tally.onRequest(request.counted, fanOut, now)
    for (let i = 0; i < fanOut; i++) this.call(request, process, hash(this.callSeed, number * fanOut + i))
  }

  private call(request: Request, process: number, seed: number): void {
    const call = this.setup.operation(this.send(request, seed))
    Effect.runForkWith(this.processes.context(process))(call).addObserver((exit) => this.onCallEnd(request, exit))
  }

  private send(request: Request, seed: number): Effect.Effect<Answer, ServerFailed> {
    const caller = makeCaller(seed)
    return Effect.callback<Answer, ServerFailed>((resume) => {
      const current = Context.get(Fiber.getCurrent()!.context, Attempt.CurrentAttempt)
      const answer: Answer = Option.isSome(current) ? current.value : primary
      this.tally.onAttempt(request.counted, answer, this.time.now)
      const job = this.servers.send(
        caller,
        (failure) => resume(failure === undefined ? Effect.succeed(answer) : this.failures[failure])
      )
      return Effect.sync(() => job.cancel())
    })
  }

  private onCallEnd(request: Request, exit: Exit.Exit<Answer, unknown>): void {
    const { now } = this.time
    if (Exit.isSuccess(exit)) this.tally.onAnswer(request.counted, exit.value, now)
    else request.failure ??= nameOf(exit.cause)
    if (--request.open > 0) return
    this.unanswered.delete(request)
    this.tally.onEnd(request.counted, request.failure, now - request.startedAt, now)
    if (this.unanswered.size === 0 && this.exhausted) this.stop()
    request.onEnd()
  }
}
