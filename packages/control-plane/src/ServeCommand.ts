/**
 * `rego serve`: a small control plane.
 *
 * @internal
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Duration, Effect, FileSystem, Layer, Option, Path, Predicate } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import { CommandFailed, misused, readJson } from "./CommandFailure.ts"
import * as Text from "./CommandText.ts"
import * as DocumentText from "./DocumentText.ts"
import * as NodeSqlite from "./NodeSqlite.ts"
import * as PolicyHistory from "./PolicyHistory.ts"
import * as PolicyServer from "./PolicyServer.ts"
import { readTokenName, token, writeTokenName } from "./Tokens.ts"

const databaseName = "rego.sqlite"

/** What the flags are when they are not given; seconds for `max-wait`. */
export const defaults = {
  host: "127.0.0.1",
  port: 4141,
  keep: 1_000,
  "max-bytes": DocumentText.defaultMaxBytes,
  "max-wait": 60
} as const

const source = Argument.String("file|directory").pipe(
  Argument.withDescription(
    "A document to begin with, or a directory. The history is kept in rego.sqlite beside the document, or in the directory"
  )
)

const host = Flag.String("host").pipe(
  Flag.withDescription(
    `Address to listen on (default ${defaults.host}). Any other is plain HTTP on a network: end TLS before it`
  ),
  Flag.withDefault(defaults.host)
)

const integer = (name: "port" | "keep" | "max-bytes" | "max-wait", minimum: number, maximum: number, text: string) =>
  Flag.Int(name).pipe(
    Flag.filter(
      (n) => n >= minimum && n <= maximum,
      (n) => `must be an integer between ${minimum} and ${maximum}, got ${n}`
    ),
    Flag.withDescription(`${text} (default ${defaults[name]})`),
    Flag.withDefault(defaults[name])
  )

const port = integer("port", 0, 65_535, "Port to listen on; 0 for a free one").pipe(Flag.withAlias("p"))
const keep = integer("keep", 1, 1_000_000, "Publications that are kept")
const maxBytes = integer("max-bytes", 1, 100_000_000, "Largest document that may be published")
const maxWait = integer("max-wait", 1, 3_600, "Seconds that a request may wait for a change")

// -----------------------------------------------------------------------------
// where things are
// -----------------------------------------------------------------------------

interface Place {
  readonly database: string
  /** a document to begin with */
  readonly file: string | undefined
}

const placeOf = (given: string): Effect.Effect<Place, CommandFailed, FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const path = yield* Path.Path
    const fileSystem = yield* FileSystem.FileSystem
    const found = yield* Effect.option(fileSystem.stat(given))
    const type = Option.getOrUndefined(found)?.type
    if (type === "Directory") return { database: path.join(given, databaseName), file: undefined }
    if (type === "File") return { database: path.join(path.dirname(given), databaseName), file: given }
    return yield* misused(`${given}: there is no such file or directory`)
  })

// -----------------------------------------------------------------------------
// the document to begin with
// -----------------------------------------------------------------------------

/** What it is at all: the document is judged when it is published. */
const revisionIn = (json: unknown): string =>
  Predicate.hasProperty(json, "revision") && typeof json.revision === "string" ? json.revision : ""

/** Published once: what was published since, and rollbacks, outlive a restart. */
const begin = (file: string) =>
  Effect.gen(function*() {
    const history = yield* PolicyHistory.PolicyHistory
    const json = yield* readJson(file)
    const known = yield* Effect.option(history.find(revisionIn(json)))
    if (Option.exists(known, ({ etag }) => etag === PolicyHistory.etagOf(json))) return
    yield* history.publish(json, Option.isNone(yield* history.current) ? "absent" : "any")
  }).pipe(
    Effect.catchTag("HistoryError", ({ message }) =>
      Effect.fail(new CommandFailed({ message: `${file}: ${message}`, exitCode: 1 })))
  )

// -----------------------------------------------------------------------------
// the server
// -----------------------------------------------------------------------------

const announce = (tokens: PolicyServer.Tokens) =>
  Effect.gen(function*() {
    const { address } = yield* HttpServer.HttpServer
    const current = yield* Effect.flatMap(PolicyHistory.PolicyHistory, (history) => history.current)
    const serving = Option.match(current, {
      onNone: () => "nothing published yet",
      onSome: ({ revision }) => `revision ${Text.inline(revision)}`
    })
    yield* Text.print(`${HttpServer.formatAddress(address)}/v1/policies  ${serving}`)
    if (tokens.write === undefined) yield* Text.print(`read-only: ${writeTokenName} is not set`)
    if (tokens.read === undefined) yield* Text.print(`open for reading: ${readTokenName} is not set`)
  })

export const serve = Command.make(
  "serve",
  { source, host, port, keep, maxBytes, maxWait },
  Effect.fn(function*({ host, keep, maxBytes, maxWait, port, source }) {
    const tokens = { write: yield* token(writeTokenName), read: yield* token(readTokenName) }
    const { database, file } = yield* placeOf(source)
    const History = PolicyHistory.layer({ keep }).pipe(Layer.provide(NodeSqlite.layer(database)))
    // who asks slowly is cut off; who waits for a change has asked
    const Server = NodeHttpServer.layer(() => createServer({ headersTimeout: 10_000, requestTimeout: 30_000 }), {
      host,
      port,
      gracefulShutdownTimeout: Duration.seconds(1)
    })
    const Routes = HttpRouter.serve(
      PolicyServer.layer({ tokens, maxBytes, maxWait: Duration.seconds(maxWait) }),
      { disableLogger: true, disableListenLog: true }
    )
    const Begun = file === undefined ? Layer.empty : Layer.effectDiscard(begin(file))
    // in this order: nobody is answered before the document to begin with is judged
    yield* Layer.launch(
      Layer.effectDiscard(announce(tokens)).pipe(
        Layer.provideMerge(Routes),
        Layer.provideMerge(Server),
        Layer.provideMerge(Begun),
        Layer.provideMerge(History)
      )
    ).pipe(Effect.catchTags({
      ServeError: ({ cause }) => misused(`${host}:${port}: ${cause instanceof Error ? cause.message : String(cause)}`),
      SqlError: (error) => misused(`${database}: ${error.message}`),
      HistoryError: (error) => misused(`${database}: ${error.message}`)
    }))
  })
).pipe(
  Command.withDescription(
    `Serve policies over HTTP, with their history.\n\n` +
      `${writeTokenName} in the environment is the token for publishing; without it the server is read-only. ` +
      `${readTokenName} is the token for reading; without it everybody may read who reaches the address.`
  ),
  Command.withShortDescription("Serve policies over HTTP, with their history"),
  Command.withExamples([
    { command: "rego serve policies.json", description: "Serve a document to this machine" },
    { command: "rego serve /var/lib/rego --port 8080", description: "Serve what is published, and begin with nothing" }
  ])
)
