/**
 * Status codes of gRPC, and the classifier that reads them from the errors of Connect and of grpc-js. Loads neither.
 *
 * **Details**
 *
 * | code | outcome |
 * | --- | --- |
 * | UNAVAILABLE, DEADLINE_EXCEEDED | Retryable |
 * | RESOURCE_EXHAUSTED | Retryable, `throttled` |
 * | CANCELLED | Abort: somebody gave the call up |
 * | any other | NonRetryable |
 *
 * On a Retryable status `grpc-retry-pushback-ms` is an exact wait; negative or malformed, it means that there is no further
 * attempt. Without it the `google.rpc.RetryInfo` among the details is the least wait. `executed` is `"no"` where the
 * libraries tell that the request was not sent, or that the server refused the stream.
 *
 * The reason is `grpc_` and the code in lower case, or one of `grpc_not_sent`, `grpc_refused`, `grpc_connection_lost`,
 * `grpc_message_too_large`, `grpc_do_not_retry`, `retried_below`.
 *
 * **Example** (Verdicts)
 *
 * ```ts
 * import { GrpcStatus } from "@rego/grpc"
 * import { Metadata, status } from "@grpc/grpc-js"
 * import { Outcome } from "@rego/core"
 * import { Exit } from "effect"
 *
 * const classify = GrpcStatus.classifier()
 *
 * const metadata = new Metadata()
 * classify(Exit.fail({ code: status.NOT_FOUND, details: "no such user", metadata })) // => Outcome.nonRetryable({ reason: "grpc_not_found" })
 *
 * metadata.set("grpc-retry-pushback-ms", "25")
 * const busy = classify(Exit.fail({ code: status.UNAVAILABLE, details: "busy", metadata }))
 * busy // => Outcome.retryable({ reason: "grpc_unavailable", retryAfter: 25, exact: true })
 *
 * classify(Exit.fail("no error of gRPC")) // => undefined
 * ```
 *
 * @since 0.1.0
 */
import { Classifier, Outcome, RegoError } from "@rego/core"
import { Option } from "effect"
import type { Failure } from "./Failure.ts"
import * as Failures from "./Failure.ts"
import * as Retried from "./Retried.ts"

// -----------------------------------------------------------------------------
// codes
// -----------------------------------------------------------------------------

/**
 * The codes as gRPC numbers them.
 *
 * @category codes
 * @since 0.1.0
 */
export const Code = {
  OK: 0,
  CANCELLED: 1,
  UNKNOWN: 2,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16
} as const

/**
 * The name of a code, as gRPC writes it.
 *
 * @category codes
 * @since 0.1.0
 */
export type CodeName = keyof typeof Code

const names: ReadonlyMap<number, CodeName> = new Map(
  Object.entries(Code).map(([name, code]) => [code, name as CodeName])
)

/**
 * The name of a code. What gRPC does not number is `UNKNOWN`, as its specification says.
 *
 * @category codes
 * @since 0.1.0
 */
export const nameOf = (code: number): CodeName => names.get(code) ?? "UNKNOWN"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * What is special about a server: which of its codes another attempt may change.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** the codes after which another attempt may help, instead of `retryableCodes` */
  readonly retryable?: Iterable<CodeName> | undefined
  /**
   * The codes that this server sends only before it has done any work: another attempt may help, and any call may be sent
   * again. None unless given.
   */
  readonly rejectsBeforeWork?: Iterable<CodeName> | undefined
}

/**
 * UNAVAILABLE, RESOURCE_EXHAUSTED and DEADLINE_EXCEEDED.
 *
 * @category constants
 * @since 0.1.0
 */
export const retryableCodes: ReadonlyArray<CodeName> = ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"]

interface Rules {
  readonly retryable: ReadonlySet<CodeName>
  readonly rejectsBeforeWork: ReadonlySet<CodeName>
}

const isFailureName = (name: string): boolean => name !== "OK" && Object.hasOwn(Code, name)

/**
 * What is wrong with options, all of it.
 *
 * @internal
 */
export const problems = ({ rejectsBeforeWork, retryable }: Options, prefix = ""): ReadonlyArray<string> =>
  Object.entries({ retryable, rejectsBeforeWork }).flatMap(([option, names]) =>
    [...names ?? []].flatMap((name, i) =>
      isFailureName(name)
        ? []
        : [
          `${prefix}${option}[${i}] must be the name of a code that is a failure, such as "UNAVAILABLE", got ` +
          JSON.stringify(name)
        ]
    )
  )

const rulesOf = ({ rejectsBeforeWork = [], retryable = retryableCodes }: Options): Rules => ({
  retryable: new Set([...retryable, ...rejectsBeforeWork]),
  rejectsBeforeWork: new Set(rejectsBeforeWork)
})

// -----------------------------------------------------------------------------
// verdicts
// -----------------------------------------------------------------------------

const nestedStop = Outcome.nonRetryable({ reason: "nested_stop" })
const retriedBelow = Outcome.nonRetryable({ reason: "retried_below" })

const ofLocal = (local: Failures.LocalCause): Outcome.Outcome => {
  switch (local) {
    case "not_sent":
      return Outcome.retryable({ reason: "grpc_not_sent", executed: "no" })
    case "refused":
      return Outcome.retryable({ reason: "grpc_refused", executed: "no" })
    case "lost":
      return Outcome.retryable({ reason: "grpc_connection_lost" })
    case "too_large":
      return Outcome.nonRetryable({ reason: "grpc_message_too_large" })
  }
}

/** What the server asks for: pushback is exact, a `RetryInfo` is the least wait. */
const hintOf = ({ pushback, retryDelay }: Failure) =>
  pushback === undefined ? { retryAfter: retryDelay } : { retryAfter: pushback, exact: true }

const ofStatus = (failure: Failure, rules: Rules): Outcome.Outcome => {
  const name = nameOf(failure.code)
  const reason = `grpc_${name.toLowerCase()}`
  if (!rules.retryable.has(name)) {
    return name === "CANCELLED" ? Outcome.abort({ reason }) : Outcome.nonRetryable({ reason })
  }
  return Outcome.retryable({
    reason: failure.pushback === Infinity ? "grpc_do_not_retry" : reason,
    executed: rules.rejectsBeforeWork.has(name) ? "no" : "maybe",
    ...(name === "RESOURCE_EXHAUSTED" ? { throttled: true } : {}),
    ...hintOf(failure)
  })
}

/** Only one layer retries: what left an interceptor, or grpc-js, after retries there, is not asked for again. */
const verdict = (failure: Failure, rules: Rules, nested: "allow" | "refuse"): Outcome.Outcome => {
  const outcome = failure.local === undefined ? ofStatus(failure, rules) : ofLocal(failure.local)
  if (outcome._tag !== "Retryable") return outcome
  if (Retried.isStop(failure)) return nestedStop
  return nested === "refuse" && Retried.wasRetried(failure) ? retriedBelow : outcome
}

/** The first error of gRPC in a failure and what it wraps. An interceptor wraps our own stops, which are final. */
const judge = (error: unknown, rules: Rules, nested: "allow" | "refuse"): Outcome.Outcome | undefined => {
  const causes = Classifier.causesOf(error)
  if (causes.some(RegoError.isRegoError)) return nestedStop
  const failure = causes.map(Failures.from).find((found) => found !== undefined)
  return failure === undefined ? undefined : verdict(failure, rules, nested)
}

/**
 * What an interceptor or a client says of its calls.
 *
 * @internal
 */
export const protocol = (options: Options = {}): Classifier.Protocol<unknown, unknown> => {
  const rules = rulesOf(options)
  return (exit, nested) =>
    Option.getOrUndefined(
      Option.map(Classifier.findFailure(exit), (error) => judge(error, rules, nested))
    )
}

/**
 * A classifier of the errors of Connect and of grpc-js, wrapped ones included (it looks through `cause`). No opinion on
 * anything else.
 *
 * **Details**
 *
 * The interceptors and clients of this package have it as their default. In a policy it serves calls that are made by hand,
 * with `Rego.resilient`. Throws a `RangeError` with every issue for a name that is no code.
 *
 * A failure that a layer below has retried already is not retried again (`retried_below`): one of a call inside, one that
 * comes out of an interceptor of this package, and one of grpc-js's own retries.
 *
 * @category constructors
 * @since 0.1.0
 */
export const classifier = (options: Options = {}): Classifier.Classifier<unknown, unknown> => {
  const wrong = problems(options)
  if (wrong.length > 0) throw new RangeError(`GrpcStatus: ${wrong.join("; ")}`)
  return Classifier.fromProtocol(protocol(options))
}
