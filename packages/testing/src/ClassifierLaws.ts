/**
 * What every classifier must do, whoever made it.
 *
 * **When to use**
 *
 * For a classifier of your own. Give `make` the classifier with some of the errors and values that it is for, and register a
 * test for each law: see `Law`. The laws say that its verdicts are usable, not that they are right: which error means what is
 * a table in a test of your own.
 *
 * **Example** (A classifier with two mistakes)
 *
 * ```ts
 * import { Classifier, Outcome } from "@rego/core"
 * import { ClassifierLaws, Law } from "@rego/testing"
 * import { Effect, Exit } from "effect"
 *
 * // takes an interruption for a failure of the dependency, and makes a reason of every message
 * const careless = Classifier.make<unknown, Error>((exit) => {
 *   if (exit._tag === "Success") return undefined
 *   const failure = exit.cause.reasons[0]
 *   return Outcome.retryable({ reason: failure?._tag === "Fail" ? failure.error.message : "failed" })
 * })
 *
 * const suite = ClassifierLaws.make(careless, { errors: [new Error("user 1048576 is locked")] })
 * const broken = await Effect.runPromise(Law.broken(suite))
 * broken.map(({ name }) => name)[0] // => "takes an interruption for Abort, or has no opinion"
 * broken.map(({ name }) => name)[1] // => "has reasons that are few: none holds what an error says"
 * broken.length // => 2
 * ```
 *
 * @since 0.1.0
 */
import type { Classifier } from "@rego/core"
import { Outcome, PolicyKey, RegoError } from "@rego/core"
import { Cause, Duration, Effect, Equal, Exit, Option } from "effect"
import { equals, fail, isTrue, show } from "./AssertionError.ts"
import * as Law from "./Law.ts"

/**
 * What the classifier is shown, besides what every attempt can end with.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<A, E> {
  /** errors that the effect can fail with: at least one of each kind that the classifier tells apart */
  readonly errors?: ReadonlyArray<E> | undefined
  /** values that the effect can succeed with */
  readonly values?: ReadonlyArray<A> | undefined
}

type Judge = (exit: Exit.Exit<unknown, unknown>) => unknown

interface Check {
  readonly name: string
  readonly check: (
    judge: Judge,
    exits: ReadonlyArray<Exit.Exit<unknown, unknown>>,
    options: Options<unknown, unknown>
  ) => void
}

// -----------------------------------------------------------------------------
// exits
// -----------------------------------------------------------------------------

const key = PolicyKey.make("laws.Get")

const ours: ReadonlyArray<RegoError.Reason> = [
  { _tag: "PolicyMissing" },
  { _tag: "AttemptTimedOut", perAttempt: Duration.seconds(1), attempt: { retry: 0, hedge: 0 } },
  { _tag: "DeadlineExceeded", overall: undefined, attempts: 1, lastCause: Option.none() },
  { _tag: "AdmissionDenied", budget: "default", detail: "throttled", retryAfter: Option.some(Duration.seconds(1)) }
]

/** A program may throw anything. */
const defects: ReadonlyArray<unknown> = [
  new Error("bug"),
  new TypeError(""),
  "text",
  "",
  0,
  NaN,
  null,
  undefined,
  {},
  Object.create(null),
  [],
  Object.freeze({ _tag: 1, message: null, status: "503" })
]

const interruptions: ReadonlyArray<Exit.Exit<never>> = [
  Exit.interrupt(),
  Exit.interrupt(7),
  Exit.failCause(Cause.combine(Cause.interrupt(1), Cause.interrupt(2)))
]

/** Everything that an attempt can end with, without knowing the effect, and all that is known of it. */
const exitsOf = (
  { errors = [], values = [] }: Options<unknown, unknown>
): ReadonlyArray<Exit.Exit<unknown, unknown>> => {
  const failures = [...errors, ...ours.map((reason) => new RegoError.RegoError({ key, reason }))]
  return [
    ...values.map((value) => Exit.succeed(value)),
    ...failures.map((error) => Exit.fail(error)),
    ...defects.map((defect) => Exit.die(defect)),
    ...interruptions,
    Exit.failCause(Cause.empty),
    ...failures.flatMap((error) => [
      Exit.failCause(Cause.combine(Cause.fail(error), Cause.die("a finalizer died"))),
      Exit.failCause(Cause.combine(Cause.interrupt(1), Cause.fail(error))),
      Exit.failCause(Cause.combine(Cause.fail(error), Cause.fail(failures[0])))
    ])
  ]
}

const showExit = (exit: Exit.Exit<unknown, unknown>): string =>
  exit._tag === "Success"
    ? `success ${show(exit.value)}`
    : exit.cause.reasons.map((reason) =>
      reason._tag === "Fail"
        ? `failure ${show(reason.error)}`
        : reason._tag === "Die"
        ? `defect ${show(reason.defect)}`
        : "interruption"
    ).join(" and ") || "an empty cause"

const judged = (judge: Judge, exit: Exit.Exit<unknown, unknown>): unknown => {
  try {
    return judge(exit)
  } catch (error) {
    return fail(`it throws on ${showExit(exit)}: ${show(error)}`)
  }
}

// -----------------------------------------------------------------------------
// laws
// -----------------------------------------------------------------------------

const neverThrows: Check = {
  name: "never throws, whatever an attempt ended with",
  check: (judge, exits) => {
    for (const exit of exits) judged(judge, exit)
  }
}

const problemOf = (outcome: Outcome.Outcome): string | undefined => {
  if (outcome._tag === "Success") return undefined
  if (outcome.reason === "") return "an empty reason"
  if (outcome._tag !== "Retryable") return undefined
  if (outcome.executed !== "no" && outcome.executed !== "maybe") return `executed: ${show(outcome.executed)}`
  const millis = outcome.retryAfter === undefined ? 0 : Duration.toMillis(outcome.retryAfter)
  return millis >= 0 ? undefined : `retryAfter of ${millis} ms`
}

const answersOutcomes: Check = {
  name: "answers with an Outcome, or undefined where it has no opinion",
  check: (judge, exits) => {
    for (const exit of exits) {
      const outcome = judged(judge, exit)
      if (outcome === undefined) continue
      if (!Outcome.isOutcome(outcome)) return fail(`no Outcome for ${showExit(exit)}: ${show(outcome)}`)
      const problem = problemOf(outcome)
      isTrue(problem === undefined, `the outcome for ${showExit(exit)} has ${problem}`)
    }
  }
}

const isPure: Check = {
  name: "says the same of the same exit, whatever it was asked before",
  check: (judge, exits) => {
    const first = exits.map((exit) => judged(judge, exit))
    for (const [i, exit] of [...exits.entries()].toReversed()) {
      equals(judged(judge, exit), first[i], `the verdict on ${showExit(exit)}, asked again`)
    }
  }
}

/** The fields of what an exit holds, as they are now. */
const contents = (exit: Exit.Exit<unknown, unknown>): ReadonlyArray<unknown> => {
  const held = exit._tag === "Success"
    ? [exit.value]
    : exit.cause.reasons.map((
      reason
    ) => (reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : 0))
  return held.flatMap((
    it
  ) => (typeof it === "object" && it !== null ? Reflect.ownKeys(it).map((name) => Reflect.get(it, name)) : [it]))
}

const changesNothing: Check = {
  name: "leaves what it judges as it is",
  check: (judge, exits) => {
    for (const exit of exits) {
      const before = contents(exit)
      judged(judge, exit)
      const after = contents(exit)
      isTrue(
        before.length === after.length &&
          before.every((field, i) => Object.is(field, after[i]) || Equal.equals(field, after[i])),
        `it changes ${showExit(exit)}`
      )
    }
  }
}

const abortsOnInterruption: Check = {
  name: "takes an interruption for Abort, or has no opinion",
  check: (judge) => {
    for (const exit of interruptions) {
      const outcome = judged(judge, exit)
      isTrue(
        outcome === undefined || (Outcome.isOutcome(outcome) && outcome._tag === "Abort"),
        `an interruption is nobody's failure, but the verdict is ${show(outcome)}`
      )
    }
  }
}

const longestReason = 100
const marker = "7f3a9c51e0b84d26"
const worthHiding = 8

const messagesOf = (errors: ReadonlyArray<unknown>): ReadonlyArray<string> =>
  errors.flatMap((
    error
  ) => (error instanceof Error ? [error.message] : typeof error === "string" && error.includes(" ") ? [error] : []))
    .filter((message) => message.length >= worthHiding)

const reasonsAreFew: Check = {
  name: "has reasons that are few: none holds what an error says",
  check: (judge, exits, { errors = [] }) => {
    const secrets = [marker, ...messagesOf(errors)]
    for (const exit of [...exits, Exit.die(new Error(marker)), Exit.die(marker)]) {
      const outcome = judged(judge, exit)
      if (!Outcome.isOutcome(outcome) || outcome._tag === "Success") continue
      const { reason } = outcome
      isTrue(reason.length <= longestReason, `a reason has ${reason.length} characters: ${show(reason)}`)
      const found = secrets.find((secret) => reason.includes(secret))
      isTrue(found === undefined, `a reason must be one of a few, but ${show(reason)} holds what the error says`)
    }
  }
}

const checks: ReadonlyArray<Check> = [
  neverThrows,
  answersOutcomes,
  isPure,
  changesNothing,
  abortsOnInterruption,
  reasonsAreFew
]

/**
 * A law for each thing that a classifier must do.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E>(
  classifier: Classifier.Classifier<A, E>,
  options: Options<NoInfer<A>, NoInfer<E>> = {}
): ReadonlyArray<Law.Law> => {
  const judge = classifier as unknown as Judge
  return checks.map(({ check, name }) => Law.make(name, Effect.sync(() => check(judge, exitsOf(options), options))))
}
