/** Types that users see; each line is an equality, or an error that is expected. */
import type { ConnectError, Interceptor as ConnectInterceptor, Transport } from "@connectrpc/connect"
import type {
  CallOptions,
  Client,
  ClientDuplexStream,
  ClientReadableStream,
  ClientUnaryCall,
  ClientWritableStream,
  Interceptor,
  Metadata,
  ServiceError
} from "@grpc/grpc-js"
import type { PolicyProvider, RegoError } from "@rego/core"
import { GrpcStatus } from "@rego/grpc"
import * as Connect from "@rego/grpc/Connect"
import * as GrpcJs from "@rego/grpc/GrpcJs"
import type { Effect, Stream } from "effect"
import type { Answer } from "../test/acme.ts"
import { Users } from "../test/acme.ts"

type Equals<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false
declare const is: <_ extends true>() => void

type Provider = PolicyProvider.PolicyProvider

// ------------------------------------------------------------------ interceptors
is<Equals<ReturnType<typeof Connect.interceptor>, Effect.Effect<ConnectInterceptor, never, Provider>>>()
is<Equals<ReturnType<typeof GrpcJs.interceptor>, Effect.Effect<Interceptor, never, Provider>>>()

Connect.interceptor({ server: { retryable: ["ABORTED"] }, key: ({ path }) => path })
// @ts-expect-error no code has this name
GrpcJs.interceptor({ server: { retryable: ["Aborted"] } })
// @ts-expect-error OK is no failure that could be retried; it compiles as a name and is refused at run time
GrpcStatus.classifier({ retryable: ["OKAY"] })

// ------------------------------------------------------------------ Connect
declare const transport: Transport
const connect = Connect.makeClient(Users, transport)
type OfConnect = Effect.Success<typeof connect>

is<Equals<keyof OfConnect, "get" | "find" | "put" | "watch">>()
is<Equals<Effect.Services<typeof connect>, Provider>>()
is<Equals<ReturnType<OfConnect["get"]>, Effect.Effect<Answer, ConnectError | RegoError.RegoError>>>()
is<Equals<ReturnType<OfConnect["watch"]>, Stream.Stream<Answer, ConnectError | RegoError.RegoError>>>()

declare const users: OfConnect
users.get({ id: "1" }, { timeoutMs: 100 })
// @ts-expect-error the request has no such field
users.get({ name: "1" })
// @ts-expect-error interruption takes the place of a signal
users.get({ id: "1" }, { signal: AbortSignal.abort() })
// @ts-expect-error a stream of requests cannot be sent twice
users.chat({})

// ------------------------------------------------------------------ grpc-js, as three generators declare clients
interface Ask {
  readonly id: string
}
type Callback = (error: ServiceError | null, response: Answer) => void
type OptionalCallback = (error: ServiceError | null, value?: Answer) => void

/** grpc-tools and ts-proto: the form with all arguments comes last */
interface FullLast extends Client {
  get(request: Ask, callback: Callback): ClientUnaryCall
  get(request: Ask, metadata: Metadata, callback: Callback): ClientUnaryCall
  get(request: Ask, metadata: Metadata, options: Partial<CallOptions>, callback: Callback): ClientUnaryCall
  watch(request: Ask, options?: Partial<CallOptions>): ClientReadableStream<Answer>
  watch(request: Ask, metadata?: Metadata, options?: Partial<CallOptions>): ClientReadableStream<Answer>
  import(metadata: Metadata, options: Partial<CallOptions>, callback: Callback): ClientWritableStream<Ask>
  chat(metadata?: Metadata, options?: Partial<CallOptions>): ClientDuplexStream<Ask, Answer>
}

/** proto-loader-gen-types: the short form comes last, and the answer may be missing */
interface ShortLast extends Client {
  get(argument: Ask, metadata: Metadata, options: CallOptions, callback: OptionalCallback): ClientUnaryCall
  get(argument: Ask, callback: OptionalCallback): ClientUnaryCall
  watch(argument: Ask, metadata: Metadata, options?: CallOptions): ClientReadableStream<Answer>
  watch(argument: Ask, options?: CallOptions): ClientReadableStream<Answer>
  import(callback: OptionalCallback): ClientWritableStream<Ask>
  chat(options?: CallOptions): ClientDuplexStream<Ask, Answer>
}

type Get = (request: Ask, options?: GrpcJs.CallOptions) => Effect.Effect<Answer, ServiceError | RegoError.RegoError>
type Watch = (request: Ask, options?: GrpcJs.CallOptions) => Stream.Stream<Answer, ServiceError | RegoError.RegoError>

is<Equals<keyof GrpcJs.Client<FullLast>, "get" | "watch">>()
is<Equals<GrpcJs.Client<FullLast>["get"], Get>>()
is<Equals<GrpcJs.Client<FullLast>["watch"], Watch>>()

is<Equals<keyof GrpcJs.Client<ShortLast>, "get" | "watch">>()
is<Equals<GrpcJs.Client<ShortLast>["get"], Get>>()
is<Equals<GrpcJs.Client<ShortLast>["watch"], Watch>>()
