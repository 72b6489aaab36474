/**
 * One attempt of a call that the interceptor for grpc-js makes: a call of the next interceptor, or of the channel.
 *
 * @internal
 */
import type { InterceptingListener, Metadata, NextCall, StatusObject } from "@grpc/grpc-js"
import { status as Status } from "@grpc/grpc-js"
import { Effect } from "effect"
import type { Scope } from "effect"

export type InnerCall = ReturnType<NextCall>

/** What the client sends, the same for each attempt. */
export interface Request {
  readonly message: unknown
  readonly flags: number | undefined
}

/** A status that is a failure, and the headers that came before it, if any did. */
export class FailedStatus implements StatusObject {
  readonly code: Status
  readonly details: string
  readonly metadata: Metadata
  readonly headers: Metadata | undefined
  constructor(status: StatusObject, headers: Metadata | undefined) {
    this.code = status.code
    this.details = status.details
    this.metadata = status.metadata
    this.headers = headers
  }
}

/** A unary call that ends without a message gets `null` in its place; that is no message here either. */
const none = null

export class GrpcJsAttempt implements InterceptingListener {
  readonly call: InnerCall
  headers: Metadata | undefined = undefined
  /** the final status, once it has arrived */
  status: StatusObject | undefined = undefined
  private first: unknown = none
  private readonly streams: boolean
  /** where everything goes after the first message: the attempt was the one that is returned */
  private listener: InterceptingListener | undefined = undefined
  private settle: ((effect: Effect.Effect<GrpcJsAttempt, FailedStatus>) => void) | undefined = undefined

  constructor(call: InnerCall, streams: boolean) {
    this.call = call
    this.streams = streams
  }

  start(metadata: Metadata, { flags, message }: Request): void {
    this.call.start(metadata, this)
    if (flags === undefined) this.call.sendMessage(message)
    else this.call.sendMessageWithContext({ flags }, message)
    this.call.halfClose()
    if (this.streams) this.call.startRead()
  }

  /** A unary call is done with its status, a stream is open with its first message. */
  readonly done: Effect.Effect<GrpcJsAttempt, FailedStatus> = Effect.callback((resume) => {
    this.settle = resume
    this.look()
  })

  private look(): void {
    const { status } = this
    if (status !== undefined && status.code !== Status.OK && (this.first === none || !this.streams)) {
      this.settle?.(Effect.fail(new FailedStatus(status, this.headers)))
    } else if (status !== undefined || (this.streams && this.first !== none)) {
      this.settle?.(Effect.succeed(this))
    }
  }

  readonly cancel = (): void => {
    if (this.status === undefined) {
      this.call.cancelWithStatus(Status.CANCELLED, "Cancelled: not the one that is returned")
    }
  }

  /** Takes the first message out, `null` if there is none; a caller reads it as it reads any other. */
  takeFirst(): unknown {
    const message = this.first
    this.first = none
    return message
  }

  get hasFirst(): boolean {
    return this.first !== none
  }

  forwardTo(listener: InterceptingListener): void {
    this.listener = listener
  }

  // ---------------------------------------------------------------------------
  // what arrives
  // ---------------------------------------------------------------------------

  onReceiveMetadata(metadata: Metadata): void {
    this.headers = metadata
  }

  onReceiveMessage(message: unknown): void {
    if (this.listener !== undefined) return this.listener.onReceiveMessage(message)
    this.first ??= message
    this.look()
  }

  onReceiveStatus(status: StatusObject): void {
    if (this.status !== undefined) return
    this.status = status
    if (this.listener === undefined) this.look()
    else this.listener.onReceiveStatus(status)
  }
}

/** Runs until it is done; its scope cancels it. */
export const attempt = (
  start: () => GrpcJsAttempt
): Effect.Effect<GrpcJsAttempt, FailedStatus, Scope.Scope> =>
  Effect.acquireRelease(Effect.sync(start), ({ cancel }) => Effect.sync(cancel)).pipe(
    Effect.flatMap(({ done }) => done)
  )
