/**
 * Simulated servers: replicas with places to work at, a queue, a speed, and ways to fail.
 *
 * A job is what an attempt asks for. Its work is a time at full speed; a replica that slows down or stands still stretches
 * what is left of it. A client that gives up may be heard (the job is dropped, wherever it is) or not (the job keeps its
 * place and is worked on in vain), and that decides whether a server comes back from an overload.
 *
 * @internal
 */
import { Duration } from "effect"
import * as Distribution from "./Distribution.ts"
import { uniform } from "./Randomness.ts"
import type { Scenario } from "./Scenario.ts"
import { Event, type VirtualTime } from "./VirtualTime.ts"

/** Why a job failed: when it was done, because nobody is there, because there is no room. */
export type Failure = "failed" | "refused" | "shed"

/** `undefined`: it succeeded */
type Answer = (failure: Failure | undefined) => void

/** What all attempts of a call have in common. */
export interface Caller {
  /** the number from which everything that the call meets is drawn */
  readonly seed: number
  /** attempts that it has sent */
  attempts: number
  /** replicas that it has tried, oldest first; kept only where they matter */
  readonly tried: Array<number>
}

export const makeCaller = (seed: number): Caller => ({ seed, attempts: 0, tried: [] })

/** Which of the draws of an attempt: each has a number of its own. */
const draws = { service: 0, failure: 1, route: 2, shared: 3, perAttempt: 4 } as const

const drawFor = (caller: Caller, attempt: number, what: number): number =>
  uniform(caller.seed, attempt * draws.perAttempt + what)

export class Job extends Event {
  /** milliseconds of work at full speed that are left */
  work = 0
  /** since when `work` is that much */
  since = 0
  waitingSince = 0
  stage: "none" | "queue" | "work" = "none"
  /** answered, or nobody waits for an answer */
  over = false
  cancelled = false
  /** where in the list of those that are worked on */
  index = -1
  readonly fails: boolean
  private readonly replica: Replica
  private readonly answer: Answer

  constructor(replica: Replica, work: number, fails: boolean, answer: Answer) {
    super()
    this.replica = replica
    this.work = work
    this.fails = fails
    this.answer = answer
  }

  happen(): void {
    this.replica.onDone(this)
  }

  end(failure: Failure | undefined): void {
    if (this.over) return
    this.over = true
    this.answer(failure)
  }

  /** The client no longer waits. */
  cancel(): void {
    if (this.over) return
    this.over = true
    this.cancelled = true
    this.replica.onCancel(this)
  }
}

interface Settings {
  readonly concurrency: number
  readonly queueLimit: number
  readonly maxWait: number
  /** whether it drops what waits, and what it has begun, when nobody waits for it any more */
  readonly dropsWaiting: boolean
  readonly stopsWork: boolean
  readonly contention: number
  readonly refuseAfter: number
}

/** A job in a queue that was dropped is skipped when its turn comes; so many may lie there before the queue is rewritten. */
const maxDropped = 1_024

class Queue {
  private jobs: Array<Job> = []
  private head = 0
  private dropped = 0

  get size(): number {
    return this.jobs.length - this.head - this.dropped
  }

  push(job: Job): void {
    this.jobs.push(job)
  }

  drop(): void {
    if (++this.dropped > maxDropped && this.dropped > this.size) this.rewrite()
  }

  private rewrite(): void {
    this.jobs = this.jobs.slice(this.head).filter((job) => !job.cancelled)
    this.head = 0
    this.dropped = 0
  }

  /** the first one; `skips`: those that were dropped are not in the line any more */
  shift(skips: boolean): Job | undefined {
    while (this.head < this.jobs.length) {
      const job = this.jobs[this.head++]!
      if (this.head > maxDropped && this.head * 2 > this.jobs.length) {
        this.jobs = this.jobs.slice(this.head)
        this.head = 0
      }
      if (!skips || !job.cancelled) return job
      this.dropped--
    }
    return undefined
  }
}

class Replica {
  readonly working: Array<Job> = []
  private readonly queue = new Queue()
  /** what slows it down now, as factors of its speed */
  private readonly slowed: Array<number> = []
  private speed = 1
  private downs = 0
  private readonly failing: Array<number> = []
  private readonly time: VirtualTime
  private readonly settings: Settings
  constructor(time: VirtualTime, settings: Settings) {
    this.time = time
    this.settings = settings
  }

  /** how likely an attempt is to fail, given how likely it is elsewhere */
  failureRate(elsewhere: number): number {
    return 1 - this.failing.reduce((left, rate) => left * (1 - rate), 1 - elsewhere)
  }

  /** Nobody goes past the queue: an answer that makes its client send again comes while places are given away. */
  submit(job: Job): void {
    const { concurrency, queueLimit } = this.settings
    if (this.downs > 0) return this.refuse(job, "refused")
    if (this.working.length < concurrency && this.queue.size === 0) return this.begin(job)
    if (this.queue.size >= queueLimit) return this.refuse(job, "shed")
    job.waitingSince = this.time.now
    job.stage = "queue"
    this.queue.push(job)
  }

  private refuse(job: Job, failure: Failure): void {
    this.time.after(this.settings.refuseAfter, () => job.end(failure))
  }

  private begin(job: Job): void {
    const { concurrency, contention } = this.settings
    if (contention > 0 && concurrency !== Infinity) job.work *= 1 + contention * this.queue.size / concurrency
    job.stage = "work"
    job.index = this.working.length
    this.working.push(job)
    job.since = this.time.now
    this.plan(job)
  }

  private plan(job: Job): void {
    if (this.speed > 0) this.time.schedule(job.work / this.speed, job)
  }

  onDone(job: Job): void {
    this.leave(job)
    this.fill()
    job.end(job.fails ? "failed" : undefined)
  }

  onCancel(job: Job): void {
    const { dropsWaiting, stopsWork } = this.settings
    if (job.stage === "queue" && dropsWaiting) this.queue.drop()
    if (job.stage !== "work" || !stopsWork) return
    this.leave(job)
    this.fill()
  }

  private leave(job: Job): void {
    this.time.cancel(job)
    const last = this.working.pop()!
    if (last !== job) {
      this.working[job.index] = last
      last.index = job.index
    }
    job.stage = "none"
  }

  private fill(): void {
    const { concurrency, dropsWaiting, maxWait } = this.settings
    while (this.working.length < concurrency && this.downs === 0) {
      const job = this.queue.shift(dropsWaiting)
      if (job === undefined) return
      if (this.time.now - job.waitingSince > maxWait) job.end("shed")
      else this.begin(job)
    }
  }

  /** `factor` of its speed, 0 for standing still; what slows it down at the same time multiplies */
  slow(factor: number): void {
    this.slowed.push(factor)
    this.changeSpeed()
  }

  recover(factor: number): void {
    this.slowed.splice(this.slowed.indexOf(factor), 1)
    this.changeSpeed()
  }

  private changeSpeed(): void {
    const { now } = this.time
    for (const job of this.working) {
      job.work = Math.max(0, job.work - (now - job.since) * this.speed)
      job.since = now
      this.time.cancel(job)
    }
    this.speed = this.slowed.reduce((speed, factor) => speed * factor, 1)
    for (const job of this.working) this.plan(job)
  }

  startFailing(rate: number): void {
    this.failing.push(rate)
  }

  stopFailing(rate: number): void {
    this.failing.splice(this.failing.indexOf(rate), 1)
  }

  /** What it worked on and what waited fails with it. */
  goDown(): void {
    this.downs++
    for (const job of this.working.slice()) {
      // the end of another one may have cancelled it
      if (job.stage !== "work") continue
      this.leave(job)
      job.end("refused")
    }
    const skips = this.settings.dropsWaiting
    for (let job = this.queue.shift(skips); job !== undefined; job = this.queue.shift(skips)) job.end("refused")
  }

  comeUp(): void {
    this.downs--
  }
}

type Episode = Scenario["episodes"][number]
type OfReplicas = Exclude<Episode, { readonly type: "load" }>

const isOfReplicas = (episode: Episode): episode is OfReplicas => episode.type !== "load"

/** All replicas, and the way of an attempt to one of them. */
export class Servers {
  readonly replicas: ReadonlyArray<Replica>
  private readonly time: VirtualTime
  private readonly server: Scenario["server"]
  private readonly service: (u: number) => number

  constructor(time: VirtualTime, { episodes, server }: Pick<Scenario, "server" | "episodes">) {
    this.time = time
    this.server = server
    this.service = Distribution.quantile(server.service)
    const settings: Settings = {
      concurrency: server.concurrency ?? Infinity,
      queueLimit: server.queue?.limit ?? Infinity,
      maxWait: server.queue?.maxWait === undefined ? Infinity : Duration.toMillis(server.queue.maxWait),
      dropsWaiting: server.cancellation !== "ignored",
      stopsWork: server.cancellation === "honoured",
      contention: server.contention,
      refuseAfter: Duration.toMillis(server.refuseAfter)
    }
    this.replicas = Array.from({ length: server.replicas }, () => new Replica(time, settings))
    for (const episode of episodes.filter(isOfReplicas)) this.plan(episode)
  }

  private plan(episode: OfReplicas): void {
    const indices = episode.replicas ?? this.replicas.keys()
    const replicas = Array.from(indices, (index) => this.replicas[index]!)
    const at = Duration.toMillis(episode.at)
    this.time.after(at, () => replicas.forEach((replica) => begin(replica, episode)))
    this.time.after(at + Duration.toMillis(episode.for), () => replicas.forEach((replica) => end(replica, episode)))
  }

  send(caller: Caller, answer: Answer): Job {
    const attempt = caller.attempts++
    const index = this.route(caller, attempt)
    const replica = this.replicas[index]!
    const { failureRate, sharedSlowness } = this.server
    const shared = sharedSlowness > 0 && attempt > 0 && drawFor(caller, 0, draws.shared) < sharedSlowness
    const work = this.service(drawFor(caller, shared ? 0 : attempt, draws.service))
    const rate = replica.failureRate(failureRate)
    const job = new Job(replica, work, rate > 0 && drawFor(caller, attempt, draws.failure) < rate, answer)
    replica.submit(job)
    return job
  }

  private route(caller: Caller, attempt: number): number {
    const { length } = this.replicas
    if (length === 1) return 0
    const u = drawFor(caller, attempt, draws.route)
    if (this.server.routing === "random") return Math.floor(u * length)
    if (caller.tried.length >= length) caller.tried.length = 0
    const left = Array.from(this.replicas.keys()).filter((index) => !caller.tried.includes(index))
    const index = left[Math.floor(u * left.length)]!
    caller.tried.push(index)
    return index
  }
}

const begin = (replica: Replica, episode: OfReplicas): void => {
  switch (episode.type) {
    case "freeze":
      return replica.slow(0)
    case "slow":
      return replica.slow(1 / episode.factor)
    case "down":
      return replica.goDown()
    case "failing":
      return replica.startFailing(episode.rate)
  }
}

const end = (replica: Replica, episode: OfReplicas): void => {
  switch (episode.type) {
    case "freeze":
      return replica.recover(0)
    case "slow":
      return replica.recover(1 / episode.factor)
    case "down":
      return replica.comeUp()
    case "failing":
      return replica.stopFailing(episode.rate)
  }
}
