/**
 * The options of a client, checked once and in the form that each request asks for. Functions of the user's are foreign
 * code: one that throws is reported once, and the careful answer is taken in its place.
 *
 * @internal
 */
import { Callback, PolicyKey } from "@rego/core"
import type { Attempt, Classifier } from "@rego/core"
import { Duration, Effect, Option } from "effect"
import type { Fiber } from "effect"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as Bodies from "./Bodies.ts"
import * as HttpClassifier from "./HttpClassifier.ts"
import * as HttpKey from "./HttpKey.ts"
import type { HeaderOptions, Options } from "./HttpRego.ts"
import * as Idempotency from "./Idempotency.ts"

type AnyFiber = Fiber.Fiber<unknown, unknown>

export interface Settings {
  readonly key: (request: HttpClientRequest, fiber: AnyFiber) => PolicyKey.Input
  readonly idempotent: (request: HttpClientRequest, fiber: AnyFiber) => boolean
  readonly replayable: (request: HttpClientRequest, fiber: AnyFiber) => boolean
  readonly classifier: Classifier.Classifier<HttpClientResponse, never> | undefined
  readonly rules: Omit<HttpClassifier.Rules, "now">
  readonly mapAttempt: (request: HttpClientRequest, attempt: Attempt.Id, fiber: AnyFiber) => HttpClientRequest
  readonly headers: HeaderOptions
  readonly drain: Bodies.DrainLimits
}

// -----------------------------------------------------------------------------
// checks
// -----------------------------------------------------------------------------

/** RFC 9110, section 5.6.2 */
const token = /^[!#$%&'*+.^_`|~\dA-Za-z-]+$/

const headerProblems = (headers: HeaderOptions): ReadonlyArray<string> =>
  (["attempt", "deadline"] as const).flatMap((field) => {
    const name = headers[field]
    return name === undefined || token.test(name)
      ? []
      : [`headers.${field} must be the name of a header, got ${JSON.stringify(name)}`]
  })

const keyProblems = (key: Options["key"]): ReadonlyArray<string> =>
  typeof key === "string" ? PolicyKey.problems(key).map((problem) => `key: ${JSON.stringify(key)} ${problem}`) : []

const maxWithin = Duration.minutes(1)

const readWithin = (input: Duration.Input): Duration.Duration | undefined => {
  const within = Duration.fromInput(input)
  const usable = Option.isSome(within) && Duration.isLessThanOrEqualTo(within.value, maxWithin) &&
    !Duration.isNegative(within.value)
  return usable ? within.value : undefined
}

const defaultBytes = 65_536
const defaultWithin = "1 second"

const drainProblems = ({ bytes = defaultBytes, within = defaultWithin }: NonNullable<Options["drain"]>) => [
  ...(Number.isInteger(bytes) && bytes >= 0 ? [] : [`drain.bytes must be an integer from 0, got ${bytes}`]),
  ...(readWithin(within) === undefined ? [`drain.within must be 0 to 1 minute, got ${String(within)}`] : [])
]

const check = (options: Options): void => {
  const problems = [
    ...keyProblems(options.key),
    ...HttpClassifier.problems(options.server ?? {}, "server."),
    ...headerProblems(options.headers ?? {}),
    ...drainProblems(options.drain ?? {})
  ]
  if (problems.length > 0) throw new RangeError(`HttpRego: ${problems.join("; ")}`)
}

// -----------------------------------------------------------------------------
// reading
// -----------------------------------------------------------------------------

const guard = (option: string) => {
  const guarded = Callback.guard(`the ${option} option of an HTTP client`)
  return <A>(fiber: AnyFiber, f: () => A, onDefect: () => A): A =>
    guarded(f, onDefect, (line) => Effect.runForkWith(fiber.context)(line))
}

/** Asks a function of the user's; where it throws, or has nothing to say, the default. */
const asked = <A>(
  what: string,
  f: (request: HttpClientRequest) => A | undefined,
  byDefault: (request: HttpClientRequest) => A,
  onDefect: (request: HttpClientRequest) => A
) => {
  const guarded = guard(what)
  return (request: HttpClientRequest, fiber: AnyFiber): A =>
    guarded(fiber, () => f(request) ?? byDefault(request), () => onDefect(request))
}

const readMap = (f: Options["mapAttempt"]): Settings["mapAttempt"] => {
  if (f === undefined) return (request) => request
  const guarded = guard("mapAttempt")
  return (request, attempt, fiber) => guarded(fiber, () => f(request, attempt), () => request)
}

const readFlag = (
  what: string,
  flag: boolean | ((request: HttpClientRequest) => boolean | undefined) | undefined,
  byDefault: (request: HttpClientRequest) => boolean
) => asked(what, typeof flag === "function" ? flag : () => flag, byDefault, () => false)

const readKey = (key: Options["key"]) =>
  asked("key", typeof key === "function" ? key : () => key, HttpKey.hostAndMethod, HttpKey.hostAndMethod)

/** Throws a `RangeError` that names everything which is wrong. */
export const read = (options: Options): Settings => {
  check(options)
  const { bytes = defaultBytes, within = defaultWithin } = options.drain ?? {}
  return {
    key: readKey(options.key),
    idempotent: readFlag("idempotent", options.idempotent, Idempotency.isIdempotent),
    replayable: readFlag("replayable", options.replayable, ({ body }) => Bodies.isReplayable(body)),
    classifier: options.classifier,
    rules: HttpClassifier.rulesOf(options.server ?? {}),
    mapAttempt: readMap(options.mapAttempt),
    headers: options.headers ?? {},
    drain: { bytes, within: readWithin(within)! }
  }
}
