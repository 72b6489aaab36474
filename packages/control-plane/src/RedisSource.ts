/**
 * Policy documents from a string in Redis, and a channel that says when there is another one.
 *
 * **When to use**
 *
 * Where Redis is there already, and all processes are to have a new document at once. To publish one:
 * `SET <key> <document>`, then `PUBLISH <channel> <anything>`.
 *
 * **Details**
 *
 * The source makes its own connection from the layer it is given, and makes another one when that is lost. So a Redis that
 * is down when the application boots does not keep it from booting. Messages of a channel are lost while nobody listens:
 * the key is read about every `interval` as well, and when the source has begun to listen.
 *
 * At most one command is on its way on a connection, however long the server does not answer. One that has not answered
 * five looks in a row is given up for another, because a host that is gone says nothing. At most `maxBytes` are asked for.
 *
 * **Example** (A key of a Redis on this machine)
 *
 * ```ts
 * import * as NodeRedis from "@effect/platform-node/NodeRedis"
 * import { PolicySource } from "@rego/core"
 * import * as RedisSource from "@rego/control-plane/RedisSource"
 * import { Effect } from "effect"
 *
 * const Source = RedisSource.layer({
 *   key: "policies",
 *   redis: NodeRedis.layer({ url: "redis://127.0.0.1:6379" })
 * })
 *
 * const name = Effect.map(PolicySource.PolicySource, (source) => source.name)
 * await Effect.runPromise(name.pipe(Effect.provide(Source))) // => "redis:policies"
 * ```
 *
 * @since 0.1.0
 */
import * as PolicySource from "@rego/core/PolicySource"
import type { Duration } from "effect"
import { Cause, Context, Effect, Exit, Fiber, Layer, Option, Queue, Result, Schedule, Schema, Scope } from "effect"
import * as Redis from "effect/persistence/Redis"
import type { Bounds } from "./DocumentText.ts"
import { LastText } from "./LastText.ts"
import { OneAtATime } from "./OneAtATime.ts"
import * as Refresh from "./Refresh.ts"
import * as SourceOptions from "./SourceOptions.ts"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * Which key of which Redis, and how it is read.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends Bounds {
  /** of the string that is the document */
  readonly key: string
  /** where it is said that there is another document. Default: the same name as `key` */
  readonly channel?: string | undefined
  /** makes the connection, such as `NodeRedis.layer({ url })`; built anew after a connection was lost */
  readonly redis: Layer.Layer<Redis.Redis, unknown>
  /** how often the key is read, whatever the channel says, 10 milliseconds to 24 hours. Default 30 seconds */
  readonly interval?: Duration.Input | undefined
  /** how long connecting and reading may take each, 10 milliseconds to 5 minutes. Default 5 seconds */
  readonly timeout?: Duration.Input | undefined
  /** waits after failures: the first range, and the longest, 10 milliseconds to 1 hour. Default 1 second, 1 minute */
  readonly backoff?:
    | { readonly initial?: Duration.Input | undefined; readonly max?: Duration.Input | undefined }
    | undefined
}

const name = Schema.String.pipe(Schema.check(Schema.isMinLength(1)))

/** The message does not show the value: it may hold an address with a password. */
const LayerOption = Schema.Unknown.pipe(
  Schema.check(Schema.makeFilter((input) => Layer.isLayer(input) || "must be a Layer of Redis"))
)

const OptionsSchema = Schema.Struct({
  key: name,
  channel: Schema.optional(name),
  redis: LayerOption,
  interval: SourceOptions.duration("10 millis", "24 hours"),
  timeout: SourceOptions.duration("10 millis", "5 minutes"),
  backoff: SourceOptions.backoff,
  ...SourceOptions.bounds
})

const defaultTimeout = 5_000

interface Settings {
  readonly name: string
  readonly key: string
  readonly channel: string
  readonly redis: Options["redis"]
  readonly bounds: Required<{ [K in keyof Bounds]: number }>
  readonly timing: Refresh.Timing
  readonly timeout: number
}

const settingsOf = (options: Options): Settings => {
  const given = SourceOptions.read("RedisSource", OptionsSchema, options)
  return {
    name: `redis:${given.key}`,
    key: given.key,
    channel: given.channel ?? given.key,
    redis: options.redis,
    bounds: SourceOptions.boundsOf(given),
    timing: SourceOptions.timing(given),
    timeout: SourceOptions.millis(given.timeout, defaultTimeout)
  }
}

// -----------------------------------------------------------------------------
// errors
// -----------------------------------------------------------------------------

/** Redis begins an error with a word in capitals; the rest of it may quote what was sent. */
const replyCode = /^(?<code>[A-Z]{3,20}) /

const unauthorized: ReadonlySet<string> = new Set(["NOAUTH", "WRONGPASS", "NOPERM"])

interface Failure {
  readonly reason: PolicySource.Reason
  /** the server has answered, and will on the same connection */
  readonly connected: boolean
}

const fromReply = (code: string): PolicySource.Reason => {
  const detail = `the server answered ${code}`
  if (unauthorized.has(code)) return { _tag: "Unauthorized", detail }
  return code === "WRONGTYPE"
    ? { _tag: "Malformed", detail: "the key holds no string" }
    : { _tag: "Unavailable", detail }
}

/** Errors of a client lie inside of errors of Effect. */
const messages = (error: unknown, depth = 0): ReadonlyArray<string> =>
  typeof error !== "object" || error === null || depth > 5
    ? []
    : [
      ...("message" in error && typeof error.message === "string" ? [error.message] : []),
      ...("cause" in error ? messages(error.cause, depth + 1) : [])
    ]

const failureOf = (error: unknown): Failure => {
  for (const message of messages(error)) {
    const code = replyCode.exec(message)?.groups?.["code"]
    if (code !== undefined) return { reason: fromReply(code), connected: true }
  }
  return { reason: { _tag: "Unavailable", detail: "no connection" }, connected: false }
}

const late: Failure = { reason: { _tag: "Unavailable", detail: "no answer in time" }, connected: true }

// -----------------------------------------------------------------------------
// connection
// -----------------------------------------------------------------------------

type Client = Redis.Redis["Service"]

/** Listens for as long as the scope is open. What was said while nobody listened is made up for by a look. */
const subscribe = (client: Client, settings: Settings, changed: Queue.Queue<void>) => {
  const notify = Queue.offer(changed, undefined)
  const listening = Effect.scoped(
    Effect.flatMap(
      client.subscribe(settings.channel),
      (messages) => Effect.andThen(notify, Effect.forever(Effect.andThen(Queue.take(messages), notify)))
    )
  )
  return Effect.forkScoped(
    Effect.repeat(Effect.ignoreCause(listening), Schedule.spaced(settings.timing.interval))
  )
}

/** Looks in a row without an answer, after which a connection is taken for dead: its host may be gone. */
const maxLate = 5

/**
 * One connection at a time, and one command on it: a client that is not connected keeps commands until it is. Beside it at
 * most one connection that was given up and does not close.
 */
class Connection {
  private connecting: Fiber.Fiber<Client, Failure> | undefined = undefined
  private scope: Scope.Closeable | undefined = undefined
  private leaving: Fiber.Fiber<unknown> | undefined = undefined
  /** looks in a row that this connection has not answered */
  private lates = 0
  private readonly commands = new OneAtATime()
  private readonly settings: Settings
  private readonly changed: Queue.Queue<void>
  constructor(settings: Settings, changed: Queue.Queue<void>) {
    this.settings = settings
    this.changed = changed
  }

  /** What the key holds. */
  readonly read: Effect.Effect<unknown, Failure> = Effect.suspend(() =>
    Effect.flatMap(this.client(), (client) => this.send(client)).pipe(
      Effect.tapError(({ connected }) => connected ? Effect.void : this.close())
    )
  )

  /** Waits for a connection that does not close for as long as a command may take, and no longer. */
  close(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { connecting, scope } = this
      this.commands.forget()
      this.connecting = this.scope = undefined
      this.lates = 0
      if (connecting === undefined || scope === undefined) return Effect.void
      // a client that is being connected is not always let go: it is closed when it is there
      const closing = Effect.andThen(Fiber.interrupt(connecting), Scope.close(scope, Exit.void))
      return Effect.flatMap(Effect.forkDetach(closing, { startImmediately: true }), (fiber) => {
        this.leaving = fiber
        return Effect.asVoid(Effect.timeoutOption(Fiber.await(fiber), this.settings.timeout))
      })
    })
  }

  private late(): Failure {
    this.lates++
    const isLeaving = this.leaving !== undefined && this.leaving.pollUnsafe() === undefined
    return { ...late, connected: this.lates < maxLate || isLeaving }
  }

  private client(): Effect.Effect<Client, Failure> {
    const connecting = this.connecting === undefined ? this.connect() : Effect.succeed(this.connecting)
    return Effect.flatMap(connecting, (fiber) =>
      Effect.flatMap(
        Effect.timeoutOption(Fiber.await(fiber), this.settings.timeout),
        Option.getOrElse(() => Exit.fail(this.late()))
      ))
  }

  private connect(): Effect.Effect<Fiber.Fiber<Client, Failure>> {
    return Effect.flatMap(Scope.make(), (scope) => {
      this.scope = scope
      const client = Layer.buildWithScope(Layer.fresh(this.settings.redis), scope).pipe(
        Effect.mapError(failureOf),
        Effect.catchDefect((defect) => Effect.fail(failureOf(defect))),
        Effect.mapError(({ reason }) => ({ reason, connected: false })),
        Effect.map((context) => Context.get(context, Redis.Redis)),
        Effect.tap((client) => Scope.provide(subscribe(client, this.settings, this.changed), scope))
      )
      return Effect.tap(Effect.forkDetach(client, { startImmediately: true }), (fiber) =>
        Effect.sync(() => {
          this.connecting = fiber
        }))
    })
  }

  private send(client: Client): Effect.Effect<unknown, Failure> {
    const { bounds, key, timeout } = this.settings
    const command = client.send("GETRANGE", key, "0", String(bounds.maxBytes))
    return Effect.flatMap(this.commands.run(command, timeout), (answer) => {
      if (Option.isNone(answer)) return Effect.fail(this.late())
      this.lates = 0
      return Exit.isSuccess(answer.value)
        ? Effect.succeed(answer.value.value)
        : Effect.fail(failureOf(Cause.squash(answer.value.cause)))
    })
  }
}

// -----------------------------------------------------------------------------
// source
// -----------------------------------------------------------------------------

const readValue = (
  value: unknown,
  last: LastText,
  maxBytes: number
): Result.Result<PolicySource.Found, PolicySource.Reason> => {
  if (typeof value !== "string") return Result.fail({ _tag: "Malformed", detail: "the key holds no string" })
  if (value === "") return Result.fail({ _tag: "NotFound", detail: "there is no such key, or nothing in it" })
  return Buffer.byteLength(value) > maxBytes ? Result.fail({ _tag: "TooLarge", limit: maxBytes }) : last.read(value)
}

const originOf = (settings: Settings): Effect.Effect<Refresh.Origin, never, Scope.Scope> =>
  Effect.gen(function*() {
    const changed = yield* Refresh.signal
    const connection = yield* Effect.acquireRelease(
      Effect.sync(() => new Connection(settings, changed)),
      (it) => it.close()
    )
    const last = new LastText(settings.bounds)
    const failed = (reason: PolicySource.Reason) =>
      PolicySource.failed(new PolicySource.SourceError({ source: settings.name, reason }))
    const look = Effect.match(connection.read, {
      onFailure: ({ reason }) => ({ found: [failed(reason)] }),
      onSuccess: (value) => ({
        found: [Result.getOrElse(readValue(value, last, settings.bounds.maxBytes), failed)]
      })
    })
    return { look, changed }
  })

/**
 * A source that reads a key. Throws a `RangeError` that names every option out of range.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): PolicySource.PolicySource["Service"] => {
  const settings = settingsOf(options)
  return PolicySource.make({ name: settings.name, found: Refresh.stream(settings.timing, originOf(settings)) })
}

/**
 * The source as a layer, for `PolicyLayer.live`. Throws a `RangeError` as `make` does.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<PolicySource.PolicySource> =>
  Layer.succeed(PolicySource.PolicySource, make(options))
