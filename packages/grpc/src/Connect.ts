/**
 * Calls of Connect clients, in all of its protocols, under the policies of their methods.
 *
 * **When to use**
 *
 * - `interceptor` for a transport whose clients are used with promises.
 * - `makeClient` for a client whose methods are effects and streams.
 *
 * **Details**
 *
 * The key of `/pkg.Service/Method` is `pkg.Service.Method`. A method whose descriptor says `NO_SIDE_EFFECTS` or
 * `IDEMPOTENT` is idempotent. Unary methods are retried and hedged. A method that streams responses is so only until its
 * first message; a method that takes a stream of requests is never, and passes through.
 *
 * Each attempt carries the time that is left (`grpc-timeout` or `connect-timeout-ms`), never more than the caller allows,
 * and `grpc-previous-rpc-attempts` unless it is the first. An attempt that lost is cancelled, and the server sees that.
 *
 * **Example** (A client of effects)
 *
 * ```ts
 * import { create, createFileRegistry } from "@bufbuild/protobuf"
 * import { type GenService, serviceDesc } from "@bufbuild/protobuf/codegenv2"
 * import { type EmptySchema, file_google_protobuf_empty, FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt"
 * import { Code, ConnectError, createRouterTransport } from "@connectrpc/connect"
 * import { PolicyLayer } from "@rego/core"
 * import * as Connect from "@rego/grpc/Connect"
 * import { Effect } from "effect"
 *
 * // what protoc-gen-es generates for a service `acme.Health` with a method `Check`
 * const Empty = ".google.protobuf.Empty"
 * const proto = create(FileDescriptorProtoSchema, {
 *   name: "health.proto",
 *   package: "acme",
 *   syntax: "proto3",
 *   dependency: ["google/protobuf/empty.proto"],
 *   service: [{ name: "Health", method: [{ name: "Check", inputType: Empty, outputType: Empty }] }]
 * })
 * type Check = { methodKind: "unary"; input: typeof EmptySchema; output: typeof EmptySchema }
 * const file = createFileRegistry(proto, () => file_google_protobuf_empty).getFile("health.proto")!
 * const Health: GenService<{ check: Check }> = serviceDesc(file, 0)
 *
 * let requests = 0
 * const check = () => {
 *   if (++requests < 3) throw new ConnectError("busy", Code.Unavailable)
 *   return {}
 * }
 *
 * const program = Effect.gen(function*() {
 *   const transport = createRouterTransport((router) => router.service(Health, { check }))
 *   const client = yield* Connect.makeClient(Health, transport)
 *   yield* client.check({})
 *   requests // => 3
 * })
 *
 * const Policies = PolicyLayer.make({ policies: { "acme.Health.*": { retry: {}, timeout: { overall: "1 second" } } } })
 * await Effect.runPromise(program.pipe(Effect.provide(Policies)))
 * ```
 *
 * @since 0.1.0
 */
import type {
  DescMessage,
  DescMethod,
  DescMethodServerStreaming,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape
} from "@bufbuild/protobuf"
import type {
  CallOptions as ConnectCallOptions,
  ContextValues,
  Interceptor,
  StreamRequest,
  StreamResponse,
  Transport,
  UnaryRequest,
  UnaryResponse
} from "@connectrpc/connect"
import { ConnectError, createContextKey, createContextValues } from "@connectrpc/connect"
import type { PolicyProvider } from "@rego/core"
import { RegoError } from "@rego/core"
import { Cause, Context, Effect, Exit, Scope, Stream } from "effect"
import * as Call from "./Call.ts"
import type { OpenedStream } from "./OpenedStream.ts"
import * as Opened from "./OpenedStream.ts"
import * as Retried from "./Retried.ts"
import * as Timeout from "./Timeout.ts"

export type { Method, Options } from "./Call.ts"

// -----------------------------------------------------------------------------
// methods and attempts
// -----------------------------------------------------------------------------

/** The number of `IDEMPOTENCY_UNKNOWN`; the other levels both allow that a method runs twice. */
const unknownLevel = 0

const methodOf = (method: DescMethodUnary | DescMethodServerStreaming): Call.Method => ({
  path: `/${method.parent.typeName}/${method.name}`,
  kind: method.methodKind,
  idempotent: method.idempotency === unknownLevel ? undefined : true
})

const isUnary = (method: DescMethod): method is DescMethodUnary => method.methodKind === "unary"

const isServerStreaming = (method: DescMethod): method is DescMethodServerStreaming =>
  method.methodKind === "server_streaming"

/** Set for what is sent by a client of this module, so that an interceptor below it does not make a second call of it. */
const insideCall = createContextKey(false, { description: "@rego/grpc/Connect/insideCall" })

/** What the caller has set is read through, and never written to. */
const marked = (values: ContextValues = createContextValues()): ContextValues =>
  (Object.create(values) as ContextValues).set(insideCall, true)

const numbered = (headers: Headers, previous: number): Headers => {
  if (previous > 0) headers.set(Call.previousAttemptsHeader, String(previous))
  return headers
}

const toConnectError = (reason: unknown): ConnectError => ConnectError.from(reason)

/** Runs until its first message; its scope cancels it. */
const opening = <R extends StreamResponse>(
  start: (signal: AbortSignal) => Promise<R>
): Effect.Effect<{ readonly response: R; readonly opened: OpenedStream<unknown> }, ConnectError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new AbortController()),
    (controller) => Effect.sync(() => controller.abort())
  ).pipe(
    Effect.flatMap(({ signal }) =>
      Effect.tryPromise({
        try: async () => {
          const response = await start(signal)
          return { response, opened: await Opened.open(response.message) }
        },
        catch: toConnectError
      })
    )
  )

// -----------------------------------------------------------------------------
// interceptor
// -----------------------------------------------------------------------------

/** Outside of Effect all errors of a client are a `ConnectError`. */
const rejection = (cause: Cause.Cause<unknown>): unknown => {
  const error = Retried.leave(cause)
  return RegoError.isRegoError(error)
    ? new ConnectError(error.message, Call.codeOf(error), undefined, undefined, error)
    : error
}

/** The promise is rejected as soon as the signal aborts, whatever the attempts do when they are interrupted. */
const runPromise = <A>(
  context: Context.Context<PolicyProvider.PolicyProvider>,
  effect: Effect.Effect<A, unknown>,
  signal: AbortSignal
): Promise<A> =>
  new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason)
    const fiber = Effect.runForkWith(context)(effect)
    const onAbort = () => {
      reject(signal.reason)
      fiber.interruptUnsafe()
    }
    fiber.addObserver((exit) => {
      signal.removeEventListener("abort", onAbort)
      if (Exit.isSuccess(exit)) resolve(exit.value)
      else reject(rejection(exit.cause))
    })
    // the first step of the call may have fired the signal, or have ended the call
    if (signal.aborted) onAbort()
    else if (fiber.pollUnsafe() === undefined) signal.addEventListener("abort", onAbort, { once: true })
  })

type Next = ReturnType<Interceptor>

/** What the caller allows stands in a header already, in the words of the protocol; each attempt gets its own. */
const headersFor = (request: UnaryRequest | StreamRequest) => {
  const format = Timeout.formatOf(request.header.get("content-type"))
  const given = request.header.get(format.header)
  return {
    timeoutMillis: given === null ? undefined : format.parse(given),
    of: ({ millisLeft, previous }: Call.Attempt): Headers => {
      const headers = numbered(new Headers(request.header), previous)
      if (millisLeft !== undefined) headers.set(format.header, format.print(millisLeft))
      return headers
    }
  }
}

const unary = (call: Call.Call, request: UnaryRequest, next: Next) => {
  const headers = headersFor(request)
  return call(methodOf(request.method), headers.timeoutMillis, (attempt) =>
    Effect.tryPromise({
      try: (signal) => next({ ...request, signal, header: headers.of(attempt) }),
      catch: toConnectError
    }))
}

/** Every attempt sends the request anew, so it is read before the first one. */
const collect = <A>(messages: AsyncIterable<A>): Effect.Effect<ReadonlyArray<A>, ConnectError> =>
  Effect.tryPromise({
    try: async () => {
      const collected: Array<A> = []
      for await (const message of messages) collected.push(message)
      return collected
    },
    catch: toConnectError
  })

async function* replay<A>(messages: ReadonlyArray<A>): AsyncGenerator<A> {
  yield* messages
}

const streaming = (call: Call.Call, method: DescMethodServerStreaming, request: StreamRequest, next: Next) => {
  const headers = headersFor(request)
  return Effect.gen(function*() {
    const requests = yield* collect(request.message)
    const { opened, response } = yield* call(
      methodOf(method),
      headers.timeoutMillis,
      (attempt) =>
        opening((signal) =>
          next({ ...request, signal, header: headers.of(attempt), message: replay(requests) }) as Promise<
            StreamResponse
          >
        )
    )
    return { ...response, message: Opened.messages(opened) } as StreamResponse
  })
}

/** Connect aborts the signal of a stream when it has ended, in whatever way, and so ends what the winner holds. */
const scopeOf = (signal: AbortSignal): Scope.Scope => {
  const scope = Scope.makeUnsafe()
  if (signal.aborted) Call.close(scope)
  else signal.addEventListener("abort", () => Call.close(scope), { once: true })
  return scope
}

const made = Call.interceptors((call, context): Interceptor => (next) => (request) => {
  if (request.contextValues.get(insideCall)) return next(request)
  if (!request.stream) return runPromise(context, unary(call, request, next), request.signal)
  if (!isServerStreaming(request.method)) return next(request)
  const opened = streaming(call, request.method, request, next)
  return runPromise(context, Effect.provideService(opened, Scope.Scope, scopeOf(request.signal)), request.signal)
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
 * An interceptor for a transport: every call of its clients runs under the policy of its method.
 *
 * **Details**
 *
 * Aborting the signal of a call rejects it at once, in a backoff too, and cancels what is under way. What fails for a reason
 * of ours is a `ConnectError` with the `RegoError` as its cause: `DeadlineExceeded` for timeouts and deadlines,
 * `Unavailable` where a budget refused the call, `FailedPrecondition` where no policy matches and the layer was told to fail.
 *
 * **Gotchas**
 *
 * Interceptors that stand before it in the list see a call once, those behind it see each attempt. The deadline of an effect
 * around the call does not reach it: `makeClient` is for effects.
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
 * What can be said with a call. Interruption takes the place of a signal.
 *
 * @category options
 * @since 0.1.0
 */
export type CallOptions = Omit<ConnectCallOptions, "signal">

/**
 * The unary methods of a service as effects, and those that stream responses as streams. A method that takes a stream of
 * requests is not among them.
 *
 * @category models
 * @since 0.1.0
 */
export type Client<Service extends DescService> = {
  readonly [
    Name in keyof Service["method"] as Service["method"][Name] extends DescMethodUnary | DescMethodServerStreaming ?
      Name
      : never
  ]: Service["method"][Name] extends DescMethodUnary<infer I, infer O> ? (
      request: MessageInitShape<I>,
      options?: CallOptions
    ) => Effect.Effect<MessageShape<O>, ConnectError | RegoError.RegoError>
    : Service["method"][Name] extends DescMethodServerStreaming<infer I, infer O> ? (
        request: MessageInitShape<I>,
        options?: CallOptions
      ) => Stream.Stream<MessageShape<O>, ConnectError | RegoError.RegoError>
    : never
}

/** Connect takes zero and less for no timeout at all. */
const allowed = ({ timeoutMs = 0 }: CallOptions): number | undefined => timeoutMs > 0 ? timeoutMs : undefined

type Sent = readonly [timeoutMs: number | undefined, headers: Headers, contextValues: ContextValues]

const sent = (options: CallOptions, { millisLeft, previous }: Call.Attempt): Sent => [
  millisLeft === undefined ? options.timeoutMs : Math.max(1, Math.floor(millisLeft)),
  numbered(new Headers(options.headers), previous),
  marked(options.contextValues)
]

const unaryMethod =
  (call: Call.Call, transport: Transport, method: DescMethodUnary) =>
  (request: MessageInitShape<DescMessage>, options: CallOptions = {}) =>
    Effect.map(
      call(methodOf(method), allowed(options), (attempt) => {
        const [timeoutMs, headers, values] = sent(options, attempt)
        return Effect.tryPromise({
          try: (signal): Promise<UnaryResponse> => transport.unary(method, signal, timeoutMs, headers, request, values),
          catch: toConnectError
        })
      }),
      (response) => {
        options.onHeader?.(response.header)
        options.onTrailer?.(response.trailer)
        return response.message
      }
    )

const streamingMethod =
  (call: Call.Call, transport: Transport, method: DescMethodServerStreaming) =>
  (request: MessageInitShape<DescMessage>, options: CallOptions = {}) =>
    Stream.unwrap(Effect.map(
      call(methodOf(method), allowed(options), (attempt) => {
        const [timeoutMs, headers, values] = sent(options, attempt)
        return opening((signal) => transport.stream(method, signal, timeoutMs, headers, replay([request]), values))
      }),
      ({ opened, response }) => {
        options.onHeader?.(response.header)
        return Stream.fromAsyncIterable(Opened.messages(opened), toConnectError).pipe(
          Stream.onEnd(Effect.sync(() => options.onTrailer?.(response.trailer)))
        )
      }
    ))

const effectful = (call: Call.Call, transport: Transport, method: DescMethod) =>
  isUnary(method) ?
    unaryMethod(call, transport, method)
    : isServerStreaming(method) ?
    streamingMethod(call, transport, method)
    : undefined

/**
 * A client whose methods are effects and streams, and run under the policies of the layer that it is made in.
 *
 * **Details**
 *
 * The deadline of a call around it is kept, failures carry their timeline, and interruption cancels what is under way. An
 * interceptor of this module in the same transport does not retry a second time. A `timeoutMs` of the call, or the time that
 * the policy leaves, takes the place of the transport's `defaultTimeoutMs`.
 *
 * @category clients
 * @since 0.1.0
 */
export const makeClient = <Service extends DescService>(
  service: Service,
  transport: Transport,
  options: Call.Options = {}
): Effect.Effect<Client<Service>, never, PolicyProvider.PolicyProvider> =>
  Call.inEffect(options, (call) => {
    const methods = service.methods.map((method) => [method.localName, effectful(call, transport, method)] as const)
    return Object.fromEntries(methods.filter(([, method]) => method !== undefined)) as Client<Service>
  })
