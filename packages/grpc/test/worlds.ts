/** The ways in which a call can be made, each against a server of its own, behind one interface. */
import type { Interceptor, Transport } from "@connectrpc/connect"
import { createClient } from "@connectrpc/connect"
import { createConnectTransport, createGrpcTransport, createGrpcWebTransport } from "@connectrpc/connect-node"
import { credentials, Metadata } from "@grpc/grpc-js"
import type { ClientOptions } from "@grpc/grpc-js"
import type { PolicyProvider } from "@rego/core"
import { RegoError } from "@rego/core"
import * as Connect from "@rego/grpc/Connect"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import { Effect, Exit, Stream } from "effect"
import type { Context, Scope } from "effect"
import { Users, UsersClient } from "./acme.ts"
import type { Answering, Server } from "./servers.ts"
import { connectServer, grpcJsServer } from "./servers.ts"

export type Unary = "get" | "find" | "put"

export interface CallOptions {
  readonly signal?: AbortSignal
  readonly timeoutMillis?: number
  readonly headers?: Readonly<Record<string, string>>
}

export interface Client {
  readonly unary: (method: Unary, id: string, options?: CallOptions) => Promise<string>
  readonly watch: (id: string, options?: CallOptions) => AsyncIterable<string>
}

/** What a caller sees of a failure, in any world. */
export interface Seen {
  readonly code: number | undefined
  readonly message: string
  /** the reason of a `RegoError`, on its own or as the cause of another error */
  readonly reason: string | undefined
}

export interface World {
  readonly name: string
  /** the server's side: connections of HTTP/1.1 are closed by whom they are cancelled */
  readonly serve: (answering: Answering) => Effect.Effect<Server, never, Scope.Scope>
  readonly client: (
    port: number,
    options?: Connect.Options
  ) => Effect.Effect<Client, never, PolicyProvider.PolicyProvider | Scope.Scope>
}

export const seen = (error: unknown): Seen => {
  const own = RegoError.isRegoError(error) ? error : undefined
  const cause = typeof error === "object" && error !== null && "cause" in error ? error.cause : undefined
  const rego = own ?? (RegoError.isRegoError(cause) ? cause : undefined)
  if (own !== undefined) return { code: undefined, message: own.message, reason: own.reason._tag }
  const { code, details, rawMessage } = error as { code?: number; details?: unknown; rawMessage?: string }
  const message = rawMessage ?? (typeof details === "string" ? details : String(error))
  return { code, message, reason: rego?.reason._tag }
}

// -----------------------------------------------------------------------------
// effects for those who have none
// -----------------------------------------------------------------------------

type Services = Context.Context<never>

/** Runs an effect as a promise; the signal interrupts it. */
const run = <A>(context: Services, effect: Effect.Effect<A, unknown>, signal: AbortSignal | undefined): Promise<A> =>
  new Promise((resolve, reject) => {
    const fiber = Effect.runForkWith(context)(effect)
    if (signal?.aborted === true) fiber.interruptUnsafe()
    else signal?.addEventListener("abort", () => fiber.interruptUnsafe(), { once: true })
    fiber.addObserver((exit) => {
      if (Exit.isSuccess(exit)) return resolve(exit.value)
      const reason = exit.cause.reasons[0]
      reject(reason?._tag === "Fail" ? reason.error : reason)
    })
  })

/** Reads a stream in a fiber that the signal interrupts. */
const read = <A>(context: Services, stream: Stream.Stream<A, unknown>, signal: AbortSignal | undefined) => {
  if (signal === undefined) return Stream.toAsyncIterableWith(stream, context)
  const aborted = Effect.callback<never, Error>((resume) => {
    const onAbort = () => resume(Effect.fail(new Error("aborted")))
    if (signal.aborted) onAbort()
    else signal.addEventListener("abort", onAbort, { once: true })
  })
  return Stream.toAsyncIterableWith(Stream.interruptWhen(stream, aborted), context)
}

// -----------------------------------------------------------------------------
// Connect
// -----------------------------------------------------------------------------

const ofConnect = ({ headers, signal, timeoutMillis }: CallOptions) => ({
  ...(headers === undefined ? {} : { headers }),
  ...(signal === undefined ? {} : { signal }),
  ...(timeoutMillis === undefined ? {} : { timeoutMs: timeoutMillis })
})

export async function* namesOf(answers: AsyncIterable<{ readonly name: string }>): AsyncGenerator<string> {
  for await (const { name } of answers) yield name
}

const promises = (transport: Transport): Client => {
  const client = createClient(Users, transport)
  return {
    unary: async (method, id, options = {}) => (await client[method]({ id }, ofConnect(options))).name,
    watch: (id, options = {}) => namesOf(client.watch({ id }, ofConnect(options)))
  }
}

const effects = (client: Connect.Client<typeof Users>, context: Services): Client => ({
  unary: async (method, id, { signal, ...options } = {}) =>
    (await run(context, client[method]({ id }, ofConnect(options)), signal)).name,
  watch: (id, { signal, ...options } = {}) => namesOf(read(context, client.watch({ id }, ofConnect(options)), signal))
})

type MakeTransport = (port: number, interceptors: Array<Interceptor>) => Transport

const intercepted = (name: string, httpVersion: "1.1" | "2", transport: MakeTransport): World => ({
  name: `a Connect interceptor, ${name}`,
  serve: (answering) => connectServer(answering, httpVersion),
  client: (port, options) =>
    Effect.map(Connect.interceptor(options), (interceptor) => promises(transport(port, [interceptor])))
})

const grpcTransport: MakeTransport = (port, interceptors) =>
  createGrpcTransport({ baseUrl: `http://127.0.0.1:${port}`, interceptors })

export const connectGrpc = intercepted("gRPC", "2", grpcTransport)

export const connectConnect = intercepted(
  "Connect over HTTP/2",
  "2",
  (port, interceptors) =>
    createConnectTransport({ baseUrl: `http://127.0.0.1:${port}`, httpVersion: "2", interceptors })
)

export const connectHttp1 = intercepted(
  "Connect over HTTP/1.1",
  "1.1",
  (port, interceptors) =>
    createConnectTransport({ baseUrl: `http://127.0.0.1:${port}`, httpVersion: "1.1", interceptors })
)

export const connectWeb = intercepted(
  "gRPC-Web over HTTP/1.1",
  "1.1",
  (port, interceptors) =>
    createGrpcWebTransport({ baseUrl: `http://127.0.0.1:${port}`, httpVersion: "1.1", interceptors })
)

export const connectClient: World = {
  name: "a Connect client of effects",
  serve: (answering) => connectServer(answering),
  client: (port, options) =>
    Effect.gen(function*() {
      const client = yield* Connect.makeClient(Users, grpcTransport(port, []), options)
      return effects(client, yield* Effect.context<never>())
    })
}

// -----------------------------------------------------------------------------
// grpc-js
// -----------------------------------------------------------------------------

const metadataOf = (headers: CallOptions["headers"] = {}): Metadata => {
  const metadata = new Metadata()
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value)
  return metadata
}

const deadlineOf = (timeoutMillis: number | undefined) =>
  timeoutMillis === undefined ? {} : { deadline: Date.now() + timeoutMillis }

export const grpcJsClient = (
  port: number,
  options: ClientOptions = {}
): Effect.Effect<UsersClient, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new UsersClient(`127.0.0.1:${port}`, credentials.createInsecure(), options)),
    (client) => Effect.sync(() => client.close())
  )

/** As code does that has a signal and a client of grpc-js: it cancels the call. */
const cancelledBy = <C extends { readonly cancel: () => void }>(signal: AbortSignal | undefined, call: C): C => {
  if (signal?.aborted === true) call.cancel()
  else signal?.addEventListener("abort", () => call.cancel(), { once: true })
  return call
}

export const callbacks = (client: UsersClient): Client => ({
  unary: (method, id, { headers, signal, timeoutMillis } = {}) =>
    new Promise((resolve, reject) => {
      const metadata = metadataOf(headers)
      cancelledBy(
        signal,
        client[method]({ id }, metadata, deadlineOf(timeoutMillis), (error, answer) =>
          error === null ? resolve(answer!.name) : reject(error))
      )
    }),
  watch: async function*(id, { headers, signal, timeoutMillis } = {}) {
    const stream = client.watch({ id }, metadataOf(headers), deadlineOf(timeoutMillis))
    try {
      yield* namesOf(cancelledBy(signal, stream))
    } finally {
      stream.cancel()
    }
  }
})

export const grpcJsInterceptor: World = {
  name: "a grpc-js interceptor",
  serve: grpcJsServer,
  client: (port, options) =>
    Effect.gen(function*() {
      const interceptor = yield* GrpcJs.interceptor(options)
      return callbacks(yield* grpcJsClient(port, { interceptors: [interceptor] }))
    })
}

export const grpcJsEffects: World = {
  name: "a grpc-js client of effects",
  serve: grpcJsServer,
  client: (port, options) =>
    Effect.gen(function*() {
      const client = yield* GrpcJs.makeClient(yield* grpcJsClient(port), options)
      const context = yield* Effect.context<never>()
      const ofGrpcJs = ({ headers, timeoutMillis }: CallOptions) => ({
        metadata: metadataOf(headers),
        ...deadlineOf(timeoutMillis)
      })
      return {
        unary: async (method, id, { signal, ...options } = {}) =>
          (await run(context, client[method]({ id }, ofGrpcJs(options)), signal)).name,
        watch: (id, { signal, ...options } = {}) =>
          namesOf(read(context, client.watch({ id }, ofGrpcJs(options)), signal))
      } satisfies Client
    })
}
