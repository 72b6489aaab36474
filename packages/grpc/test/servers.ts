/** Real servers on this machine, each of them driven by one function, and what they saw. */
import { create } from "@bufbuild/protobuf"
import type { Any } from "@bufbuild/protobuf/wkt"
import type { Code, ConnectRouter, HandlerContext } from "@connectrpc/connect"
import { ConnectError } from "@connectrpc/connect"
import { connectNodeAdapter } from "@connectrpc/connect-node"
import * as grpc from "@grpc/grpc-js"
import { Effect } from "effect"
import type { Scope } from "effect"
import { once } from "node:events"
import * as http from "node:http"
import * as http2 from "node:http2"
import type { AddressInfo, Server as NetServer, Socket } from "node:net"
import type { Answer, Ask } from "./acme.ts"
import { AnswerSchema, definitions, Users } from "./acme.ts"
import { statusBytes } from "./rpc.ts"

// -----------------------------------------------------------------------------
// what a test says, and what it asks afterwards
// -----------------------------------------------------------------------------

/** One request as the server got it. */
export class Arrival {
  readonly at = performance.now()
  readonly method: string
  readonly id: string
  /** milliseconds that the client gives, as the server's library reads them */
  readonly timeoutMillis: number | undefined
  readonly header: (name: string) => string | undefined
  private readonly gone = new AbortController()
  private ended = false
  constructor(
    method: string,
    id: string,
    timeoutMillis: number | undefined,
    header: (name: string) => string | undefined
  ) {
    this.method = method
    this.id = id
    this.timeoutMillis = timeoutMillis
    this.header = header
  }
  /** The client gave the call up before it was answered. */
  get wasCancelled(): boolean {
    return this.gone.signal.aborted
  }
  get signal(): AbortSignal {
    return this.gone.signal
  }
  readonly onEnd = (): void => {
    this.ended = true
  }
  /** The signal of a handler is aborted in the end in any case. */
  readonly onGone = (): void => {
    if (!this.ended) this.gone.abort()
  }
  /** Never answers; ends when the client has gone. */
  readonly hang = (): Promise<never> =>
    new Promise((_, reject) => {
      this.gone.signal.addEventListener("abort", () => reject(new Refusal(1, { message: "gone" })), { once: true })
    })
}

/** A status that a server answers with. */
export class Refusal extends Error {
  readonly code: number
  readonly metadata: Readonly<Record<string, string>>
  readonly details: ReadonlyArray<Any>
  constructor(code: number, options: {
    readonly message?: string
    readonly metadata?: Readonly<Record<string, string>>
    readonly details?: ReadonlyArray<Any>
  } = {}) {
    super(options.message ?? "refused")
    this.code = code
    this.metadata = options.metadata ?? {}
    this.details = options.details ?? []
  }
}

/** `n` counts the requests from 1. A unary method is answered with the first message. */
export type Answering = (arrival: Arrival, n: number) => AsyncIterable<string> | Promise<string>

export interface Server {
  readonly port: number
  readonly arrivals: ReadonlyArray<Arrival>
}

async function* messagesOf(answer: AsyncIterable<string> | Promise<string>): AsyncGenerator<string> {
  if (answer instanceof Promise) yield await answer
  else yield* answer
}

const firstOf = async (messages: AsyncGenerator<string>): Promise<string> => {
  for await (const message of messages) return message
  throw new Refusal(13, { message: "no answer" })
}

class Log {
  readonly arrivals: Array<Arrival> = []
  private readonly answering: Answering
  constructor(answering: Answering) {
    this.answering = answering
  }
  async *answer(arrival: Arrival): AsyncGenerator<string> {
    this.arrivals.push(arrival)
    try {
      yield* messagesOf(this.answering(arrival, this.arrivals.length))
    } finally {
      arrival.onEnd()
    }
  }
}

// -----------------------------------------------------------------------------
// grpc-js
// -----------------------------------------------------------------------------

type AnyCall =
  & grpc.ServerUnaryCall<Ask, Answer>
  & grpc.ServerWritableStream<Ask, Answer>
  & grpc.ServerReadableStream<Ask, Answer>

const arrivalOfGrpcJs = (method: string, call: AnyCall): Arrival => {
  const deadline = Number(call.getDeadline())
  const arrival = new Arrival(
    method,
    call.request?.id ?? "",
    Number.isFinite(deadline) ? deadline - Date.now() : undefined,
    (name) => call.metadata.get(name)[0]?.toString()
  )
  call.once("cancelled", arrival.onGone)
  return arrival
}

const toServiceError = (error: unknown) => {
  const refusal = error instanceof Refusal ? error : new Refusal(2, { message: String(error) })
  const metadata = new grpc.Metadata()
  for (const [name, value] of Object.entries(refusal.metadata)) metadata.set(name, value)
  if (refusal.details.length > 0) {
    metadata.set("grpc-status-details-bin", Buffer.from(statusBytes(...refusal.details)))
  }
  return { code: refusal.code, details: refusal.message, metadata }
}

const unaryOfGrpcJs = (log: Log, method: string) => (call: never, callback: grpc.sendUnaryData<Answer>) => {
  firstOf(log.answer(arrivalOfGrpcJs(method, call))).then(
    (name) => callback(null, create(AnswerSchema, { name })),
    (error: unknown) => callback(toServiceError(error))
  )
}

const streamOfGrpcJs = (log: Log, method: string) => async (call: AnyCall) => {
  const arrival = arrivalOfGrpcJs(method, call)
  try {
    for await (const name of log.answer(arrival)) {
      if (!call.write(create(AnswerSchema, { name }))) await once(call, "drain", { signal: arrival.signal })
    }
    call.end()
  } catch (error) {
    call.emit("error", toServiceError(error))
  }
}

/** Reads what the client sends to its end before it answers. */
const importOfGrpcJs = (log: Log, method: string) => (call: never, callback: grpc.sendUnaryData<Answer>) => {
  const stream: AnyCall = call
  stream.resume()
  stream.once("end", () => unaryOfGrpcJs(log, method)(call, callback))
}

export const grpcJsServer = (answering: Answering): Effect.Effect<Server, never, Scope.Scope> => {
  const log = new Log(answering)
  const server = new grpc.Server()
  server.addService(definitions, {
    get: unaryOfGrpcJs(log, "Get"),
    find: unaryOfGrpcJs(log, "Find"),
    put: unaryOfGrpcJs(log, "Put"),
    watch: streamOfGrpcJs(log, "Watch"),
    import: importOfGrpcJs(log, "Import"),
    chat: streamOfGrpcJs(log, "Chat")
  } as unknown as grpc.UntypedServiceImplementation)
  const bind = Effect.callback<number>((resume) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
      resume(error === null ? Effect.succeed(port) : Effect.die(error))
    })
  })
  return Effect.map(
    Effect.acquireRelease(bind, () => Effect.sync(() => server.forceShutdown())),
    (port) => ({ port, arrivals: log.arrivals })
  )
}

// -----------------------------------------------------------------------------
// Connect
// -----------------------------------------------------------------------------

const toConnectError = (error: unknown): ConnectError => {
  const refusal = error instanceof Refusal ? error : new Refusal(2, { message: String(error) })
  const made = new ConnectError(refusal.message, refusal.code as Code, { ...refusal.metadata })
  made.details = refusal.details.map(({ typeUrl, value }) => ({
    type: typeUrl.slice(typeUrl.lastIndexOf("/") + 1),
    value
  }))
  return made
}

const arrivalOfConnect = (method: string, id: string, context: HandlerContext): Arrival => {
  const arrival = new Arrival(method, id, context.timeoutMs(), (name) => context.requestHeader.get(name) ?? undefined)
  context.signal.addEventListener("abort", arrival.onGone, { once: true })
  return arrival
}

async function* answersOf(log: Log, arrival: Arrival): AsyncGenerator<{ readonly name: string }> {
  try {
    for await (const name of log.answer(arrival)) yield { name }
  } catch (error) {
    throw toConnectError(error)
  }
}

const firstAnswer = async (log: Log, arrival: Arrival): Promise<{ readonly name: string }> => {
  try {
    return { name: await firstOf(log.answer(arrival)) }
  } catch (error) {
    throw toConnectError(error)
  }
}

const routes = (log: Log) => (router: ConnectRouter) =>
  router.service(Users, {
    get: ({ id }, context) => firstAnswer(log, arrivalOfConnect("Get", id, context)),
    find: ({ id }, context) => firstAnswer(log, arrivalOfConnect("Find", id, context)),
    put: ({ id }, context) => firstAnswer(log, arrivalOfConnect("Put", id, context)),
    watch: ({ id }, context) => answersOf(log, arrivalOfConnect("Watch", id, context)),
    import: async (requests, context) => {
      for await (const _ of requests);
      return firstAnswer(log, arrivalOfConnect("Import", "", context))
    },
    chat: (_, context) => answersOf(log, arrivalOfConnect("Chat", "", context))
  })

/** A server of node, closed with its connections. */
export const listening = (server: NetServer): Effect.Effect<number, never, Scope.Scope> => {
  const sockets = new Set<Socket>()
  server.on("connection", (socket: Socket) => {
    sockets.add(socket)
    socket.once("close", () => sockets.delete(socket))
  })
  const listen = Effect.callback<number>((resume) => {
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port)))
  })
  const close = Effect.callback<void>((resume) => {
    server.close(() => resume(Effect.void))
    for (const socket of sockets) socket.destroy()
  })
  return Effect.acquireRelease(listen, () => close)
}

/** Speaks Connect, gRPC and gRPC-Web; over HTTP/2 unless told otherwise. */
export const connectServer = (
  answering: Answering,
  httpVersion: "1.1" | "2" = "2"
): Effect.Effect<Server, never, Scope.Scope> => {
  const log = new Log(answering)
  const handler = connectNodeAdapter({ routes: routes(log) })
  const server = httpVersion === "2" ? http2.createServer(handler) : http.createServer(handler)
  return Effect.map(listening(server), (port) => ({ port, arrivals: log.arrivals }))
}
