/**
 * A dependency that follows a script: what it does with the first request, with the second one, and so on.
 *
 * **When to use**
 *
 * In place of a client, in a test of code that makes calls. The script reads from top to bottom like a story, and the test
 * fails with both, the story and what happened, where the two differ.
 *
 * **Details**
 *
 * Each request takes the next step. A step can say what it expects: which request, from which attempt, when. A request that
 * does not fit, or that comes after the last step, dies; a step that nobody asked for is found when the scope of the
 * downstream closes, or by `verify`. Time is read from the `Clock`, so all of it works under the `TestClock`.
 *
 * **Example** (A failure, silence, an answer)
 *
 * ```ts
 * import { Backoff, PolicyLayer, Rego } from "@rego/core"
 * import { Downstream, TimelineRows } from "@rego/testing"
 * import { Effect, Fiber } from "effect"
 * import { TestClock } from "effect/testing"
 *
 * const Policies = PolicyLayer.make({
 *   policies: {
 *     "users.Get": {
 *       retry: { backoff: Backoff.constant("10 seconds", { jitter: "none" }) },
 *       timeout: { perAttempt: "5 seconds" },
 *       idempotent: true
 *     }
 *   }
 * })
 *
 * const test = Effect.gen(function*() {
 *   const users = yield* Downstream.make("users", [
 *     Downstream.fail("503"),
 *     Downstream.hang({ attempt: { retry: 1 } }),
 *     Downstream.answer("ada", { after: "2 seconds" })
 *   ])
 *   const call = yield* users.request().pipe(Rego.resilient("users.Get"), Effect.forkChild({ startImmediately: true }))
 *   yield* TestClock.adjust("1 minute")
 *   yield* Fiber.join(call) // => "ada"
 *
 *   TimelineRows.expectRows(users.rows, [
 *     [0, "asked 1 by primary"],
 *     [0, "failed 1"],
 *     ["10 seconds", "asked 2 by retry 1"],
 *     ["15 seconds", "interrupted 2"],
 *     ["25 seconds", "asked 3 by retry 2"],
 *     ["27 seconds", "answered 3"]
 *   ])
 * })
 *
 * await Effect.runPromise(test.pipe(Effect.scoped, Effect.provide([Policies, TestClock.layer()])))
 * ```
 *
 * @since 0.1.0
 */
import { Attempt } from "@rego/core"
import type { Scope } from "effect"
import { Cause, Duration, Effect, Equal, Exit, Option } from "effect"
import { AssertionError, show } from "./AssertionError.ts"
import { nowMillis } from "./Now.ts"
import type { Between, Row } from "./TimelineRows.ts"
import { isAt, showAt } from "./TimelineRows.ts"

// -----------------------------------------------------------------------------
// model
// -----------------------------------------------------------------------------

/**
 * What every step takes.
 *
 * @category options
 * @since 0.1.0
 */
export interface StepOptions {
  /** how long it takes. Default: no time */
  readonly after?: Duration.Input | undefined
  /** goes on to its end when it is interrupted. Default false */
  readonly uninterruptible?: boolean | undefined
  /** the request that must come: equal by structure, or one that a predicate accepts */
  readonly expect?: unknown
  /** when it must come, since the downstream was made */
  readonly at?: Duration.Input | Between | undefined
  /** which attempt of a call must ask; what is left out may be any */
  readonly attempt?: Partial<Attempt.Id> | undefined
  /** for how many requests in a row it stands, from 1; `Infinity` for all that come. Default 1 */
  readonly times?: number | undefined
}

/**
 * What becomes of a request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Step<out A, out E> extends StepOptions {
  /** as a sentence, for messages */
  readonly description: string
  readonly effect: Effect.Effect<A, E>
}

/**
 * A request that came, and how it ended. Times are milliseconds since the downstream was made.
 *
 * @category models
 * @since 0.1.0
 */
export interface Arrival {
  /** from 1 */
  readonly nth: number
  readonly at: number
  readonly request: unknown
  /** `None` where nothing of a call asked */
  readonly attempt: Option.Option<Attempt.Attempt>
  /** `undefined` while it runs */
  readonly endedAt: number | undefined
  readonly endedBy: "answered" | "failed" | "died" | "interrupted" | undefined
  /** it ended by itself after its attempt had been given up */
  readonly tooLate: boolean
}

/**
 * A dependency that follows a script, and what has come of it so far.
 *
 * @category models
 * @since 0.1.0
 */
export interface Downstream<out A, out E> {
  readonly name: string
  /** Sends a request. What is handed over is compared with `expect`, and shown. */
  readonly request: (request?: unknown) => Effect.Effect<A, E>
  /** what has come until now */
  readonly arrivals: ReadonlyArray<Arrival>
  /** requests that have come and not ended */
  readonly running: number
  /** the same as rows, in the order in which it happened: `asked 1 by retry 1`, `answered 1`, `failed 1`, `interrupted 1` */
  readonly rows: ReadonlyArray<Row>
  /** the story with what became of it, for people */
  readonly story: string
  /** dies unless the whole story was told, and nothing else */
  readonly verify: Effect.Effect<void>
}

// -----------------------------------------------------------------------------
// steps
// -----------------------------------------------------------------------------

const described = (what: string, { after, times = 1, uninterruptible }: StepOptions): string =>
  [
    what,
    after === undefined ? "" : `after ${Duration.format(Duration.fromInputUnsafe(after))}`,
    uninterruptible === true ? "uninterruptibly" : "",
    times === 1 ? "" : times === Infinity ? "always" : `${times} times`
  ].filter((part) => part !== "").join(" ")

/**
 * A step of your own: whatever the effect does becomes of the request. `description` stands in messages.
 *
 * @category steps
 * @since 0.1.0
 */
export const run = <A, E>(
  description: string,
  effect: Effect.Effect<A, E>,
  options: StepOptions = {}
): Step<A, E> => {
  const { times = 1 } = options
  if (!(times === Infinity || (Number.isInteger(times) && times >= 1))) {
    throw new RangeError(`Downstream: times must be an integer from 1, or Infinity, got ${times}`)
  }
  return { ...options, description: described(description, options), effect }
}

/**
 * The request succeeds with this value.
 *
 * @category steps
 * @since 0.1.0
 */
export const answer = <A>(value: A, options?: StepOptions): Step<A, never> =>
  run(`answer ${show(value)}`, Effect.succeed(value), options)

/**
 * The request fails with this error.
 *
 * @category steps
 * @since 0.1.0
 */
export const fail = <const E>(error: E, options?: StepOptions): Step<never, E> =>
  run(`fail ${show(error)}`, Effect.fail(error), options)

/**
 * The request dies with this defect.
 *
 * @category steps
 * @since 0.1.0
 */
export const die = (defect: unknown, options?: StepOptions): Step<never, never> =>
  run(`die ${show(defect)}`, Effect.die(defect), options)

/**
 * No answer: the request runs until it is interrupted.
 *
 * @category steps
 * @since 0.1.0
 */
export const hang = (options?: Omit<StepOptions, "after" | "uninterruptible">): Step<never, never> =>
  run("hang", Effect.never, options)

// -----------------------------------------------------------------------------
// what a step expects
// -----------------------------------------------------------------------------

type Seen = Pick<Arrival, "at" | "attempt" | "request">

/** What is wrong with a request, `undefined` when it is the one that the step expects. */
const mismatch = ({ at, attempt, expect }: StepOptions, seen: Seen): string | undefined => {
  if (expect !== undefined && !accepts(expect, seen.request)) {
    return `expected the request ${typeof expect === "function" ? "that a predicate accepts" : show(expect)}`
  }
  if (attempt !== undefined && !isOfAttempt(attempt, seen.attempt)) {
    return `expected it of the attempt ${Attempt.format({ retry: 0, hedge: 0, ...attempt })}`
  }
  if (at !== undefined && !isAt(at, seen.at)) return `expected it at ${showAt(at)}`
  return undefined
}

/** A predicate that throws has not accepted: the request must not be lost with it. */
const accepts = (expect: unknown, request: unknown): boolean => {
  if (typeof expect !== "function") return Equal.equals(expect, request)
  try {
    return expect(request) === true
  } catch {
    return false
  }
}

const isOfAttempt = ({ hedge, retry }: Partial<Attempt.Id>, actual: Option.Option<Attempt.Id>): boolean =>
  Option.exists(actual, (is) => (retry ?? is.retry) === is.retry && (hedge ?? is.hedge) === is.hedge)

// -----------------------------------------------------------------------------
// telling the story
// -----------------------------------------------------------------------------

const time = (millis: number): string => Duration.format(Duration.millis(Math.round(millis)))

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

interface Told extends Mutable<Arrival> {
  /** `undefined` for one that fits nowhere */
  readonly step: number | undefined
}

const endOf = (exit: Exit.Exit<unknown, unknown>): Arrival["endedBy"] => {
  if (exit._tag === "Success") return "answered"
  if (Cause.hasInterrupts(exit.cause)) return "interrupted"
  return Cause.hasDies(exit.cause) ? "died" : "failed"
}

class Script implements Downstream<unknown, unknown> {
  readonly name: string
  readonly arrivals: Array<Told> = []
  readonly rows: Array<Row> = []
  private readonly steps: ReadonlyArray<Step<unknown, unknown>>
  private readonly startedAt: number
  /** the step that the next request takes, and how often it was taken */
  private next = 0
  private taken = 0
  private problem: string | undefined = undefined

  constructor(name: string, steps: ReadonlyArray<Step<unknown, unknown>>, startedAt: number) {
    this.name = name
    this.steps = steps
    this.startedAt = startedAt
  }

  get running(): number {
    return this.arrivals.filter(({ endedBy, step }) => step !== undefined && endedBy === undefined).length
  }

  request = (request?: unknown): Effect.Effect<unknown, unknown> =>
    Effect.gen({ self: this }, function*() {
      const attempt = Option.filter(yield* Attempt.CurrentAttempt, ({ active }) => active)
      const arrival = this.arrive({ at: (yield* nowMillis) - this.startedAt, attempt, request })
      if (arrival.step === undefined) return yield* Effect.die(new AssertionError(this.problem))
      return yield* this.play(this.steps[arrival.step]!, arrival)
    })

  private play({ after, effect, uninterruptible }: Step<unknown, unknown>, arrival: Told) {
    const played = (after === undefined ? effect : Effect.delay(effect, after)).pipe(
      Effect.onExit((exit) => Effect.map(nowMillis, (now) => this.end(arrival, exit, now - this.startedAt)))
    )
    return uninterruptible === true ? Effect.uninterruptible(played) : played
  }

  private arrive(seen: Seen): Told {
    const step = this.take(seen)
    const arrival: Told = {
      ...seen,
      step,
      nth: this.arrivals.length + 1,
      endedAt: undefined,
      endedBy: undefined,
      tooLate: false
    }
    this.arrivals.push(arrival)
    this.rows.push([seen.at, `asked ${arrival.nth}${byWhom(seen)}`])
    if (step === undefined) this.problem = this.report(this.whatIsWrong(arrival))
    return arrival
  }

  /** After the first surprise nothing is as in the story any more. */
  private take(seen: Seen): number | undefined {
    const step = this.steps[this.next]
    if (this.problem !== undefined || step === undefined || mismatch(step, seen) !== undefined) return undefined
    const index = this.next
    if (++this.taken >= (step.times ?? 1)) {
      this.next++
      this.taken = 0
    }
    return index
  }

  private whatIsWrong(arrival: Told): string {
    if (this.problem !== undefined) return `request ${arrival.nth} came after the story had been left`
    const step = this.steps[this.next]
    if (step === undefined) return `request ${arrival.nth} came, and the story expects ${this.expected()}`
    const why = mismatch(step, arrival)!
    const later = this.steps.findIndex((other, i) =>
      i > this.next && other.expect !== undefined && mismatch(other, arrival) === undefined
    )
    return later < 0
      ? `request ${arrival.nth} is not the one of step ${this.next + 1}: ${why}`
      : `request ${arrival.nth} came in the wrong order: it is the one of step ${later + 1}, and step ${
        this.next + 1
      } is next`
  }

  private expected(): string {
    const count = this.steps.reduce((sum, { times = 1 }) => sum + times, 0)
    return count === 0 ? "none" : `no more than ${count}`
  }

  private end(arrival: Told, exit: Exit.Exit<unknown, unknown>, at: number): void {
    arrival.endedAt = at
    arrival.endedBy = endOf(exit)
    arrival.tooLate = arrival.endedBy !== "interrupted" && Option.exists(arrival.attempt, ({ active }) => !active)
    this.rows.push([at, `${arrival.endedBy} ${arrival.nth}${arrival.tooLate ? " too late" : ""}`])
  }

  get verify(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const problem = this.problem ?? this.missing()
      return problem === undefined ? Effect.void : Effect.die(new AssertionError(problem))
    })
  }

  private missing(): string | undefined {
    const step = this.steps[this.next]
    const left = this.steps.slice(this.next).reduce((sum, { times = 1 }) => times === Infinity ? sum : sum + times, 0)
    // What a step without an end has answered stands for none of those after it.
    const count = left - (step?.times === Infinity ? 0 : this.taken)
    if (step === undefined || count <= 0) return undefined
    return this.report(`${count} ${count === 1 ? "request" : "requests"} never came, from step ${this.next + 1} on`)
  }

  private report(what: string): string {
    return `downstream ${JSON.stringify(this.name)}: ${what}\n${this.story}`
  }

  get story(): string {
    const told = this.steps.flatMap(({ description }, i) => {
      const arrivals = this.arrivals.filter(({ step }) => step === i).map((arrival) => `    ${became(arrival)}`)
      return [`  ${i + 1}. ${description}`, ...(arrivals.length === 0 ? ["    nobody asked"] : arrivals)]
    })
    const surprises = this.arrivals.filter(({ step }) => step === undefined).map((arrival) =>
      `  not in the story: ${became(arrival)}`
    )
    return [...told, ...surprises].join("\n")
  }
}

const byWhom = ({ attempt, request }: Seen): string =>
  `${Option.isSome(attempt) ? ` by ${Attempt.format(attempt.value)}` : ""}${
    request === undefined ? "" : `: ${show(request)}`
  }`

const became = (arrival: Told): string => {
  const { at, endedAt, endedBy, nth, step, tooLate } = arrival
  const asked = `asked ${nth} at ${time(at)}${byWhom(arrival)}`
  if (step === undefined) return asked
  return endedBy === undefined
    ? `${asked}, still runs`
    : `${asked}, ${endedBy} at ${time(endedAt!)}${tooLate ? ", too late" : ""}`
}

// -----------------------------------------------------------------------------
// constructors
// -----------------------------------------------------------------------------

type AnswerOf<S> = S extends Step<infer A, unknown> ? A : never
type ErrorOf<S> = S extends Step<unknown, infer E> ? E : never

/**
 * A dependency that follows a story.
 *
 * **Details**
 *
 * When its scope closes after a success, the whole story must have been told: the scope of the test with `it.effect`. A
 * test that has failed already fails with its own error only.
 *
 * **Example** (What a story that is not told looks like)
 *
 * ```ts
 * import { Downstream } from "@rego/testing"
 * import { Cause, Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const users = yield* Downstream.make("users", [Downstream.answer("ada", { expect: "GET /1" }), Downstream.hang()])
 *   yield* users.request("GET /1") // => "ada"
 * })
 *
 * const cause = await Effect.runPromise(Effect.flip(Effect.sandbox(Effect.scoped(test))))
 * const lines = Cause.pretty(cause).split("\n").slice(0, 5)
 * lines[0] // => "AssertionError: downstream \"users\": 1 request never came, from step 2 on"
 * lines[1] // => "  1. answer \"ada\""
 * lines[3] // => "  2. hang"
 * lines[4] // => "    nobody asked"
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <const Steps extends ReadonlyArray<Step<unknown, unknown>>>(
  name: string,
  story: Steps
): Effect.Effect<Downstream<AnswerOf<Steps[number]>, ErrorOf<Steps[number]>>, never, Scope.Scope> =>
  Effect.gen(function*() {
    const script = new Script(name, story, yield* nowMillis)
    yield* Effect.addFinalizer((exit) => Exit.isSuccess(exit) ? script.verify : Effect.void)
    return script as Downstream<any, any>
  })
