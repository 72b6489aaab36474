/**
 * What stands between a client of grpc-js and the attempts of one call. It keeps the one request until the client has sent
 * it, runs the attempts, and then is the attempt that is returned: its messages are passed on as they are read.
 *
 * @internal
 */
import type { InterceptingCall, InterceptingListener, StatusObject } from "@grpc/grpc-js"
import { Metadata, status as Status } from "@grpc/grpc-js"
import { RegoError } from "@rego/core"
import type { Cause, Fiber } from "effect"
import { Exit, Scope } from "effect"
import * as Call from "./Call.ts"
import type { GrpcJsAttempt, InnerCall, Request } from "./GrpcJsAttempt.ts"
import { FailedStatus } from "./GrpcJsAttempt.ts"
import * as Retried from "./Retried.ts"

/** Starts the attempts of a call; what they hold is released with the scope. */
export type Run = (
  metadata: Metadata,
  request: Request,
  scope: Scope.Scope,
  onAttempt: (call: InnerCall) => void
) => Fiber.Fiber<GrpcJsAttempt, unknown>

type Outer = Extract<ConstructorParameters<typeof InterceptingCall>[0], { readonly start: unknown }>
type MessageContext = Parameters<Outer["sendMessageWithContext"]>[0]
type AuthContext = ReturnType<Outer["getAuthContext"]>

const statusOf = (code: Status, details: string): StatusObject => ({ code, details, metadata: new Metadata() })

/** A status has no cause that could tell what it was made of. */
const stopOf = (error: RegoError.RegoError): StatusObject => {
  const status = statusOf(Call.codeOf(error), error.message)
  Retried.addStop(status.metadata)
  return status
}

/** The status that the client sees: the last attempt's own, or ours where there is none. */
const statusOfCause = (cause: Cause.Cause<unknown>): StatusObject => {
  const error = Retried.leave(cause)
  if (error instanceof FailedStatus) return error
  if (RegoError.isRegoError(error)) return stopOf(error)
  return statusOf(Status.INTERNAL, error instanceof Error ? error.message : String(error))
}

export class GrpcJsCall implements Outer {
  private readonly run: Run
  private readonly streams: boolean
  private metadata = new Metadata()
  private listener: Partial<InterceptingListener> = {}
  private request: Request = { message: undefined, flags: undefined }
  private readonly scope = Scope.makeUnsafe()
  private fiber: Fiber.Fiber<GrpcJsAttempt, unknown> | undefined = undefined
  private returned: GrpcJsAttempt | undefined = undefined
  private isReading = false
  private ended = false
  /** the attempt that was started last, for questions about a peer */
  private latest: InnerCall | undefined = undefined

  constructor(run: Run, streams: boolean) {
    this.run = run
    this.streams = streams
  }

  // ---------------------------------------------------------------------------
  // what the client does
  // ---------------------------------------------------------------------------

  start(metadata: Metadata, listener: Partial<InterceptingListener> = {}): void {
    this.metadata = metadata
    this.listener = listener
  }

  sendMessage(message: unknown): void {
    this.sendMessageWithContext({}, message)
  }

  /** The message is kept, so that the client may go on at once. */
  sendMessageWithContext({ callback, flags }: MessageContext, message: unknown): void {
    this.request = { message, flags }
    if (callback !== undefined) process.nextTick(callback)
  }

  halfClose(): void {
    if (this.ended) return
    this.fiber = this.run(this.metadata, this.request, this.scope, this.onAttempt)
    this.fiber.addObserver((exit) => this.onEnd(exit))
  }

  startRead(): void {
    this.isReading = true
    if (this.returned !== undefined) this.read(this.returned)
  }

  cancelWithStatus(code: Status, details: string): void {
    if (this.ended) return
    if (this.returned !== undefined) return this.returned.call.cancelWithStatus(code, details)
    this.ended = true
    this.fiber?.interruptUnsafe()
    process.nextTick(() => this.deliver(statusOf(code, details), undefined))
  }

  getPeer(): string {
    return (this.returned?.call ?? this.latest)?.getPeer() ?? "unknown"
  }

  getAuthContext(): AuthContext {
    return (this.returned?.call ?? this.latest)?.getAuthContext() ?? null
  }

  private readonly onAttempt = (call: InnerCall): void => {
    this.latest = call
  }

  // ---------------------------------------------------------------------------
  // what becomes of the attempts
  // ---------------------------------------------------------------------------

  private onEnd(exit: Exit.Exit<GrpcJsAttempt, unknown>): void {
    if (this.ended) return this.release()
    if (Exit.isSuccess(exit)) return this.onDone(exit.value)
    this.ended = true
    const status = statusOfCause(exit.cause)
    this.deliver(status, status instanceof FailedStatus ? status.headers : undefined)
  }

  private onDone(attempt: GrpcJsAttempt): void {
    this.returned = attempt
    if (attempt.headers !== undefined) this.listener.onReceiveMetadata?.(attempt.headers)
    attempt.forwardTo(this)
    if (!this.streams) this.onReceiveMessage(attempt.takeFirst())
    else if (this.isReading) this.read(attempt)
    if (attempt.status !== undefined) this.onReceiveStatus(attempt.status)
  }

  private read(attempt: GrpcJsAttempt): void {
    const first = attempt.takeFirst()
    if (first === null) return attempt.call.startRead()
    this.onReceiveMessage(first)
    if (attempt.status !== undefined) this.onReceiveStatus(attempt.status)
  }

  onReceiveMetadata(): void {}

  onReceiveMessage(message: unknown): void {
    this.isReading = false
    this.listener.onReceiveMessage?.(message)
  }

  /** A stream that went well is over when all of it has been read; one that failed is over at once. */
  onReceiveStatus(status: StatusObject): void {
    if (this.ended || (status.code === Status.OK && this.returned?.hasFirst === true)) return
    this.ended = true
    this.release()
    this.listener.onReceiveStatus?.(status)
  }

  /** Ends a call that no attempt is returned from. */
  private deliver(status: StatusObject, headers: Metadata | undefined): void {
    this.release()
    if (headers !== undefined) this.listener.onReceiveMetadata?.(headers)
    if (!this.streams) this.listener.onReceiveMessage?.(null)
    const { code, details, metadata } = status
    this.listener.onReceiveStatus?.({ code, details, metadata })
  }

  private release(): void {
    Call.close(this.scope)
  }
}
