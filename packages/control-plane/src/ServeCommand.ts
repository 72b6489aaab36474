/**
 * `rego serve`: a small control plane.
 *
 * @internal
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Console, Duration, Effect, FileSystem, Layer, Option, Path, Schema } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { HttpRouter, HttpServer } from "effect/http"
import { createServer } from "node:http"
import { CommandFailed, misused, readJson } from "./CommandFailure.ts"
import * as DocumentText from "./DocumentText.ts"
import * as NodeSqlite from "./NodeSqlite.ts"
import * as PolicyHistory from "./PolicyHistory.ts"
import * as PolicyServer from "./PolicyServer.ts"
import { readTokenName, token, writeTokenName } from "./Tokens.ts"

const databaseName = "rego.sqlite"

const source = Argument.String("file|directory").pipe(
  Argument.withDescription(
    "A document to begin with, or a directory. The history is kept in rego.sqlite beside the document, or in the directory"
  )
)

const host = Flag.String("host").pipe(
  Flag.withDescription(
    "Address to listen on. Another one than of this machine is plain HTTP on a network: end TLS before it"
  ),
  Flag.withDefault("127.0.0.1")
)

const port = Flag.Int("port").pipe(
  Flag.withAlias("p"),
  Flag.withSchema(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 65_535 }))),
  Flag.withDescription("Port to listen on; 0 for a free one"),
  Flag.withDefault(4141)
)

const positive = Schema.Int.check(Schema.isGreaterThan(0))

const keep = Flag.Int("keep").pipe(
  Flag.withSchema(positive),
  Flag.withDescription("Publications that are kept"),
  Flag.withDefault(1_000)
)

const maxBytes = Flag.Int("max-bytes").pipe(
  Flag.withSchema(positive),
  Flag.withDescription("Largest document that may be published"),
  Flag.withDefault(DocumentText.defaultMaxBytes)
)

const maxWait = Flag.Int("max-wait").pipe(
  Flag.withSchema(positive),
  Flag.withDescription("Seconds that a request may wait for a change"),
  Flag.withDefault(60)
)

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

const revisionIn = (json: unknown): string =>
  typeof json === "object" && json !== null && "revision" in json ? String(json.revision) : ""

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
      onSome: ({ revision }) => `revision ${revision}`
    })
    yield* Console.log(`${HttpServer.formatAddress(address)}/v1/policies  ${serving}`)
    if (tokens.write === undefined) yield* Console.log(`read-only: ${writeTokenName} is not set`)
    if (tokens.read === undefined) yield* Console.log(`open for reading: ${readTokenName} is not set`)
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
