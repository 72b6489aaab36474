/**
 * Calls of grpc-js clients under the policies of their methods.
 *
 * **When to use**
 *
 * - `interceptor` for clients that are used with callbacks.
 * - `makeClient` for a client whose methods are effects and streams.
 *
 * **Details**
 *
 * The key of `/pkg.Service/Method` is `pkg.Service.Method`. Unary methods are retried and hedged. A method that streams
 * responses is so only until its first message; a method that takes a stream of requests is never, and passes through.
 * grpc-js knows nothing of a method's idempotency: state it in the policy, or with the `idempotent` option.
 *
 * Each attempt carries the time that is left (`grpc-timeout`), never more than the caller allows, and
 * `grpc-previous-rpc-attempts` unless it is the first. An attempt that lost is cancelled, and the server sees that.
 *
 * **Example** (A client with the interceptor, and no server)
 *
 * ```ts
 * import { Client, credentials } from "@grpc/grpc-js"
 * import { Backoff, PolicyLayer, Timeline } from "@rego/core"
 * import * as GrpcJs from "@rego/grpc/GrpcJs"
 * import { Effect } from "effect"
 *
 * // a generated client has a method for this
 * const get = (client: Client) =>
 *   Effect.callback<string | undefined>((resume) => {
 *     const nothing = () => Buffer.alloc(0)
 *     client.makeUnaryRequest("/acme.Users/Get", nothing, nothing, {}, (error) => resume(Effect.succeed(error?.message)))
 *   })
 *
 * const program = Effect.gen(function*() {
 *   const interceptors = [yield* GrpcJs.interceptor()]
 *   const client = new Client("127.0.0.1:1", credentials.createInsecure(), { interceptors })
 *   const message = yield* get(client)
 *   message?.slice(0, 14) // => "14 UNAVAILABLE"
 *   client.close()
 * })
 *
 * // nothing was sent, so that even what must not be repeated is tried again
 * const Policies = PolicyLayer.make({
 *   policies: {
 *     "acme.Users.Get": { retry: { backoff: Backoff.none }, timeout: { overall: "2 seconds" }, idempotent: false }
 *   }
 * })
 * const [, [timeline]] = await Effect.runPromise(Timeline.capture(program).pipe(Effect.provide(Policies)))
 * timeline?.attempts.map(({ reason }) => reason) // => ["grpc_not_sent", "grpc_not_sent", "grpc_not_sent"]
 * ```
 *
 * @since 0.1.0
 */
import type {
  CallOptions as GrpcCallOptions,
  Client as GrpcClient,
  ClientReadableStream,
  ClientUnaryCall,
  ClientWritableStream,
  Interceptor,
  InterceptorOptions,
  Metadata as GrpcMetadata,
  NextCall,
  ServiceError
} from "@grpc/grpc-js"
import { InterceptingCall, Metadata } from "@grpc/grpc-js"
import type { PolicyProvider, RegoError } from "@rego/core"
import { Clock, Context, Effect, Predicate, Scope, Stream } from "effect"
import * as Call from "./Call.ts"
import * as GrpcJsAttempt from "./GrpcJsAttempt.ts"
import type { Run } from "./GrpcJsCall.ts"
import { GrpcJsCall } from "./GrpcJsCall.ts"
import * as Opened from "./OpenedStream.ts"

export type { Method, Options } from "./Call.ts"

// -----------------------------------------------------------------------------
// methods and attempts
// -----------------------------------------------------------------------------

/** Both the definition of a method and the function that a client has for it say so much. */
interface Definition {
  readonly path: string
  readonly requestStream: boolean
  readonly responseStream: boolean
}

const methodOf = ({ path, responseStream }: Definition): Call.Method => ({
  path,
  kind: responseStream ? "server_streaming" : "unary",
  idempotent: undefined
})

/** Set for what is sent by a client of this module, so that an interceptor below it does not make a second call of it. */
const insideCall = Symbol("@rego/grpc/GrpcJs/insideCall")
const inside: object = { [insideCall]: true }

/** `call`, with what is left of a deadline of grpc-js: an instant of the clock on the wall, or none. */
const within = <A, E, R>(
  deadline: GrpcCallOptions["deadline"],
  call: (timeoutMillis: number | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> => {
  const at = Number(deadline)
  return Number.isFinite(at) ? Effect.flatMap(Clock.currentTimeMillis, (now) => call(at - now)) : call(undefined)
}

const numbered = (metadata: GrpcMetadata, previous: number): GrpcMetadata => {
  const own = metadata.clone()
  if (previous > 0) own.set(Call.previousAttemptsHeader, String(previous))
  return own
}

/** The deadline of an attempt, in the form that grpc-js takes; it says `grpc-timeout` to the server. */
const deadlineOf = ({ millisLeft }: Call.Attempt): Effect.Effect<Pick<GrpcCallOptions, "deadline">> =>
  millisLeft === undefined
    ? Effect.succeed({})
    : Effect.map(Clock.currentTimeMillis, (now) => ({ deadline: now + millisLeft }))

// -----------------------------------------------------------------------------
// interceptor
// -----------------------------------------------------------------------------

/** An attempt that is a call of the next interceptor, or of the channel. */
const attempting = (
  options: InterceptorOptions,
  nextCall: NextCall,
  metadata: GrpcMetadata,
  request: GrpcJsAttempt.Request,
  onAttempt: (call: GrpcJsAttempt.InnerCall) => void
) =>
(attempt: Call.Attempt) =>
  Effect.flatMap(deadlineOf(attempt), (deadline) =>
    GrpcJsAttempt.attempt(() => {
      const call = nextCall({ ...options, ...deadline })
      onAttempt(call)
      const started = new GrpcJsAttempt.GrpcJsAttempt(call, options.method_definition.responseStream)
      started.start(numbered(metadata, attempt.previous), request)
      return started
    }))

const made = Call.interceptors((call, context): Interceptor => (callOptions, nextCall) => {
  const definition = callOptions.method_definition
  if (definition.requestStream || insideCall in callOptions) return new InterceptingCall(nextCall(callOptions))
  const run: Run = (metadata, request, scope, onAttempt) => {
    const attempt = attempting(callOptions, nextCall, metadata, request, onAttempt)
    return Effect.runForkWith(Context.add(context, Scope.Scope, scope))(
      within(callOptions.deadline, (timeoutMillis) => call(methodOf(definition), timeoutMillis, attempt))
    )
  }
  return new InterceptingCall(new GrpcJsCall(run, definition.responseStream))
})

/**
 * An interceptor whose calls run under the policies in a context.
 *
 * **When to use**
 *
 * Use where no effect runs and a context is at hand, as from `ManagedRuntime.context`; else `interceptor`.
 *
 * @category interceptors
 * @since 0.1.0
 */
export const interceptorWith: (
  context: Context.Context<PolicyProvider.PolicyProvider>,
  options?: Call.Options
) => Interceptor = made.interceptorWith

/**
 * An interceptor for a client: every call runs under the policy of its method.
 *
 * **Details**
 *
 * Cancelling a call ends it at once, in a backoff too, and cancels what is under way. What fails for a reason of ours has
 * the status `DEADLINE_EXCEEDED` for timeouts and deadlines, `UNAVAILABLE` where a budget refused the call, and
 * `FAILED_PRECONDITION` where no policy matches and the layer was told to fail.
 *
 * **Gotchas**
 *
 * Retries of grpc-js itself (`retryPolicy` or `hedgingPolicy` in a service config) would multiply with these: a failure that
 * they have retried is not retried again. Interceptors that stand before this one in the list see a call once, those behind
 * it see each attempt. The deadline of an effect around the call does not reach it: `makeClient` is for effects.
 *
 * @category interceptors
 * @since 0.1.0
 */
export const interceptor: (
  options?: Call.Options
) => Effect.Effect<Interceptor, never, PolicyProvider.PolicyProvider> = made.interceptor

// -----------------------------------------------------------------------------
// client
// -----------------------------------------------------------------------------

/**
 * What can be said with a call: the options of grpc-js, and the metadata.
 *
 * @category options
 * @since 0.1.0
 */
export interface CallOptions extends GrpcCallOptions {
  readonly metadata?: GrpcMetadata | undefined
}

type AnyMethod = (...args: Array<any>) => unknown

/** What the callback of a unary method is given beside an error; some generators say that it may be missing. */
type ResponseOf<Method extends AnyMethod> = Parameters<Method> extends readonly [...Array<any>, infer Callback]
  ? Callback extends (...args: infer Args extends ReadonlyArray<any>) => void ? Exclude<Args[1], null | undefined>
  : never
  : never

type Effectful<Method extends AnyMethod> = ReturnType<Method> extends ClientWritableStream<any> ? never
  : ReturnType<Method> extends ClientReadableStream<infer Response> ? (
      request: Parameters<Method>[0],
      options?: CallOptions
    ) => Stream.Stream<Response, ServiceError | RegoError.RegoError>
  : ReturnType<Method> extends ClientUnaryCall ? (
      request: Parameters<Method>[0],
      options?: CallOptions
    ) => Effect.Effect<ResponseOf<Method>, ServiceError | RegoError.RegoError>
  : never

type Effectfuls<Client> = {
  readonly [Name in Exclude<keyof Client, keyof GrpcClient>]: Client[Name] extends AnyMethod ? Effectful<Client[Name]>
    : never
}

/**
 * The unary methods of a client as effects, and those that stream responses as streams. A method that takes a stream of
 * requests is not among them. Types are taken from the methods of the client, as generators declare them.
 *
 * @category models
 * @since 0.1.0
 */
export type Client<C> = {
  readonly [Name in keyof Effectfuls<C> as Effectfuls<C>[Name] extends never ? never : Name]: Effectfuls<C>[Name]
}

/** A method as a constructor of clients makes it, with the fields of its definition. */
type ClientMethod = Definition & ((...args: ReadonlyArray<unknown>) => unknown)

/** What goes with the request of one attempt. */
const sent = (
  options: CallOptions,
  attempt: Call.Attempt
): Effect.Effect<readonly [metadata: GrpcMetadata, options: GrpcCallOptions]> =>
  Effect.map(deadlineOf(attempt), (deadline) => {
    const { metadata = new Metadata(), ...given } = options
    return [numbered(metadata, attempt.previous), { ...given, ...deadline, ...inside }]
  })

const toServiceError = (error: unknown): ServiceError => error as ServiceError

const unaryMethod =
  (call: Call.Call, client: GrpcClient, method: ClientMethod) => (request: unknown, options: CallOptions = {}) =>
    within(
      options.deadline,
      (timeoutMillis) =>
        call(
          methodOf(method),
          timeoutMillis,
          (attempt) =>
            Effect.flatMap(sent(options, attempt), ([metadata, callOptions]) =>
              Effect.callback<unknown, ServiceError>((resume) => {
                const onAnswer = (error: ServiceError | null, response: unknown) =>
                  resume(error === null ? Effect.succeed(response) : Effect.fail(error))
                const unary = method.call(client, request, metadata, callOptions, onAnswer) as ClientUnaryCall
                return Effect.sync(() =>
                  unary.cancel()
                )
              }))
        )
    )

const opening = (
  start: () => ClientReadableStream<unknown>
): Effect.Effect<Opened.OpenedStream<unknown>, ServiceError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(start),
    (stream) => Effect.sync(() => stream.cancel())
  ).pipe(
    Effect.flatMap((stream) => Effect.tryPromise({ try: () => Opened.open(stream), catch: toServiceError }))
  )

const streamingMethod =
  (call: Call.Call, client: GrpcClient, method: ClientMethod) => (request: unknown, options: CallOptions = {}) =>
    Stream.unwrap(Effect.map(
      within(
        options.deadline,
        (timeoutMillis) =>
          call(
            methodOf(method),
            timeoutMillis,
            (attempt) =>
              Effect.flatMap(sent(options, attempt), ([metadata, callOptions]) =>
                opening(() =>
                  method.call(client, request, metadata, callOptions) as ClientReadableStream<unknown>
                ))
          )
      ),
      (opened) => Stream.fromAsyncIterable(Opened.messages(opened), toServiceError)
    ))

const isClientMethod = (u: unknown): u is ClientMethod =>
  typeof u === "function" && Predicate.hasProperty(u, "path") && typeof u.path === "string" &&
  Predicate.hasProperty(u, "requestStream") && Predicate.hasProperty(u, "responseStream")

/** The methods of a generated client are on a prototype of it, however far up. */
const methodsOf = (client: GrpcClient): ReadonlyArray<readonly [string, ClientMethod]> => {
  const found: Array<readonly [string, ClientMethod]> = []
  for (const name in client) {
    const method: unknown = client[name as keyof GrpcClient]
    if (isClientMethod(method) && !method.requestStream) found.push([name, method])
  }
  return found
}

/**
 * A client whose methods are effects and streams, and run under the policies of the layer that it is made in.
 *
 * **Details**
 *
 * The deadline of a call around it is kept, failures carry their timeline, and interruption cancels what is under way. An
 * interceptor of this module in the same client does not retry a second time. Closing the client is left to who made it.
 *
 * @category clients
 * @since 0.1.0
 */
export const makeClient = <C extends GrpcClient>(
  client: C,
  options: Call.Options = {}
): Effect.Effect<Client<C>, never, PolicyProvider.PolicyProvider> =>
  Call.inEffect(options, (call) => {
    const effectful = methodsOf(client).map(([name, method]) =>
      [name, (method.responseStream ? streamingMethod : unaryMethod)(call, client, method)] as const
    )
    return Object.fromEntries(effectful) as unknown as Client<C>
  })
