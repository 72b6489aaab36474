/**
 * What the calls of Connect and of grpc-js have in common: their key, their deadline, and what each attempt knows.
 *
 * @internal
 */
import type { Classifier, PolicyProvider, RegoError } from "@rego/core"
import { Attempt as CurrentAttempt, Callback, Deadline, PolicyKey, Rego } from "@rego/core"
import { Clock, Context, Duration, Effect, Exit, Option, Scope } from "effect"
import * as Failure from "./Failure.ts"
import * as GrpcKey from "./GrpcKey.ts"
import * as GrpcStatus from "./GrpcStatus.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * The methods that run as calls. One that takes a stream of requests is left alone: it cannot be sent twice.
 *
 * @category models
 * @since 0.1.0
 */
export interface Method {
  /** `/pkg.Service/Method` */
  readonly path: string
  readonly kind: "unary" | "server_streaming"
  /** `true` where the descriptor says `NO_SIDE_EFFECTS` or `IDEMPOTENT`; grpc-js knows no descriptors */
  readonly idempotent: boolean | undefined
}

/**
 * What a client knows about its methods. All of it is optional.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** the key of each method, or one for all; `pkg.Service.Method` unless given */
  readonly key?: PolicyKey.Input | ((method: Method) => PolicyKey.Input | undefined) | undefined
  /** whether a method may run twice; where it is unstated its descriptor counts, then the policy */
  readonly idempotent?: boolean | ((method: Method) => boolean | undefined) | undefined
  /** asked before the classifier of the policy */
  readonly classifier?: Classifier.Classifier<unknown, unknown> | undefined
  /** what is special about the server, for what status codes mean where neither of the two has an opinion */
  readonly server?: GrpcStatus.Options | undefined
}

/**
 * The options of a client, checked once. Functions of the user's are foreign code: one that throws is reported once, and the
 * careful answer is taken in its place.
 */
export interface Settings {
  readonly key: (method: Method, report: Report) => PolicyKey.Input
  readonly idempotent: (method: Method, report: Report) => boolean | undefined
  readonly classifier: Classifier.Classifier<unknown, unknown> | undefined
  readonly protocol: Classifier.Protocol<unknown, unknown>
}

type Report = (line: Effect.Effect<void>) => void

const check = ({ key, server = {} }: Options): void => {
  const problems = [
    ...(typeof key === "string"
      ? PolicyKey.problems(key).map((problem) => `key: ${JSON.stringify(key)} ${problem}`)
      : []),
    ...GrpcStatus.problems(server, "server.")
  ]
  if (problems.length > 0) throw new RangeError(`@rego/grpc: ${problems.join("; ")}`)
}

/** Throws a `RangeError` that names everything which is wrong. */
const read = (options: Options): Settings => {
  check(options)
  const { classifier, idempotent, key, server } = options
  const guardKey = Callback.guard("the key option of a gRPC client")
  const guardIdempotent = Callback.guard("the idempotent option of a gRPC client")
  const ownKey = ({ path }: Method) => GrpcKey.fromPath(path)
  const keyOf = typeof key === "function" ? key : () => key
  const isIdempotent = typeof idempotent === "function" ? idempotent : () => idempotent
  return {
    key: (method, report) => guardKey(() => keyOf(method) ?? ownKey(method), () => ownKey(method), report),
    idempotent: (method, report) =>
      guardIdempotent(() => isIdempotent(method) ?? method.idempotent, () => false, report),
    classifier,
    protocol: GrpcStatus.protocol(server)
  }
}

// -----------------------------------------------------------------------------
// attempts
// -----------------------------------------------------------------------------

/** What is sent along with one attempt. */
export interface Attempt {
  /** attempts of this call that were started before this one, hedges included */
  readonly previous: number
  /** milliseconds for the server, `undefined` for no limit */
  readonly millisLeft: number | undefined
}

/** gRFC A6: tells the server which attempt this is; absent on the first one. */
export const previousAttemptsHeader = "grpc-previous-rpc-attempts"

/**
 * The client library and the server have timers of their own for the deadline that an attempt is given, and they may be
 * earlier than the timer of the call by what clocks and rounding differ. It is the same deadline: when it passes, the attempt
 * is cut off and may still be running at the server, so that the status of whoever noticed first is no answer to be retried.
 */
const graceMillis = 10

/** A server whose own work was cancelled at the deadline may say that instead. */
const codesAtDeadline: ReadonlySet<number | undefined> = new Set([
  GrpcStatus.Code.DEADLINE_EXCEEDED,
  GrpcStatus.Code.CANCELLED
])

const isOver = (error: unknown): boolean => codesAtDeadline.has(Failure.from(error)?.code)

const isAlmostPassed = (deadline: Option.Option<Duration.Duration>): boolean =>
  Option.exists(deadline, (left) => Duration.toMillis(left) <= graceMillis)

const leaveToTimer = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.catchIf(self, isOver, (error) =>
    Effect.flatMap(
      Deadline.remaining,
      (deadline) => isAlmostPassed(deadline) ? Effect.never : Effect.fail(error as E)
    ))

// -----------------------------------------------------------------------------
// calls
// -----------------------------------------------------------------------------

const now = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

/** Milliseconds that are left of a deadline; where there is none, `undefined`. */
const millisLeft = Effect.map(Deadline.remaining, (left) => Option.getOrUndefined(Option.map(left, Duration.toMillis)))

/**
 * The timers of a policy stop at the first message of a stream, so the server of a stream is told only the deadline of who
 * called: it would end the stream at ours, in its midst.
 */
const callersMillisLeft: Effect.Effect<Effect.Effect<number | undefined>> = Effect.gen(function*() {
  const left = yield* millisLeft
  if (left === undefined) return Effect.succeed(undefined)
  const at = left + (yield* now)
  return Effect.map(now, (instant) => Math.max(0, at - instant))
})

const millisLeftFor = ({ kind }: Method): Effect.Effect<Effect.Effect<number | undefined>> =>
  kind === "unary" ? Effect.succeed(millisLeft) : callersMillisLeft

/**
 * A call of a method. `timeoutMillis` is what the caller allows, whatever the policy says; the shorter one counts.
 */
export type Call = <A, E, R>(
  method: Method,
  timeoutMillis: number | undefined,
  attempt: (attempt: Attempt) => Effect.Effect<A, E, R>
) => Effect.Effect<A, E | RegoError.RegoError, R>

const callOf = (resilient: Rego.Resilient, settings: Settings): Call => {
  const { classifier, idempotent, key, protocol } = settings
  return (method, timeoutMillis, attempt) => {
    const call = Effect.flatMap(millisLeftFor(method), (left) =>
      Effect.withFiber(({ context }) => {
        let started = 0
        const one = Effect.flatMap(left, (millis) => attempt({ previous: started++, millisLeft: millis }))
        const report: Report = (line) => Effect.runForkWith(context)(line)
        const options = { idempotent: idempotent(method, report), classifier, protocol }
        return resilient(leaveToTimer(one), key(method, report), options)
      }))
    return timeoutMillis === undefined ? call : Deadline.withDeadline(call, Math.max(0, timeoutMillis))
  }
}

// -----------------------------------------------------------------------------
// calls from outside of Effect
// -----------------------------------------------------------------------------

/**
 * The context of calls that an interceptor makes. What is bound to the place where the interceptor was made is left out: the
 * scope of a layer, or the deadline of a call around it, are none of theirs.
 */
const detached = <R>(context: Context.Context<R>): Context.Context<R> =>
  (Context.omit(Scope.Scope)(context as Context.Context<R | Scope.Scope>) as Context.Context<R>).pipe(
    Context.add(Deadline.CurrentDeadline, Option.none()),
    Context.add(CurrentAttempt.CurrentAttempt, Option.none())
  )

/**
 * A client or an interceptor for calls under the policies of the context. Throws a `RangeError` for options out of range,
 * before anything runs.
 */
export const inEffect = <A>(
  options: Options,
  make: (call: Call, context: Context.Context<PolicyProvider.PolicyProvider>) => A
): Effect.Effect<A, never, PolicyProvider.PolicyProvider> => {
  const settings = read(options)
  return Effect.contextWith((context: Context.Context<PolicyProvider.PolicyProvider>) =>
    Effect.map(Rego.makeResilient, (resilient) => make(callOf(resilient, settings), detached(context)))
  )
}

/** The two ways to an interceptor: in an effect, and with a context that is at hand. */
export const interceptors = <A>(
  make: (call: Call, context: Context.Context<PolicyProvider.PolicyProvider>) => A
) => ({
  interceptor: (options: Options = {}) => inEffect(options, make),
  interceptorWith: (context: Context.Context<PolicyProvider.PolicyProvider>, options: Options = {}): A =>
    Effect.runSyncWith(context)(inEffect(options, make))
})

/** For scopes whose finalizers never wait. */
export const close = (scope: Scope.Closeable): void => {
  const finalizers = Scope.closeUnsafe(scope, Exit.void)
  if (finalizers !== undefined) Effect.runFork(finalizers, { uninterruptible: true })
}

/** The status under which one of our own errors is known outside of Effect. */
export const codeOf = ({ reason }: RegoError.RegoError) => {
  switch (reason._tag) {
    case "AttemptTimedOut":
    case "DeadlineExceeded":
      return GrpcStatus.Code.DEADLINE_EXCEEDED
    case "AdmissionDenied":
      return GrpcStatus.Code.UNAVAILABLE
    case "PolicyMissing":
      return GrpcStatus.Code.FAILED_PRECONDITION
  }
}
