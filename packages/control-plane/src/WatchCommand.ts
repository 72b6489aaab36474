/**
 * `rego watch`: what a control plane publishes, as a live layer would take it.
 *
 * @internal
 */
import type { PolicyDocument } from "@rego/core/PolicyDocument"
import * as PolicyReview from "@rego/core/PolicyReview"
import type * as PolicySource from "@rego/core/PolicySource"
import { Clock, DateTime, Effect, Option, Stream } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { FetchHttpClient } from "effect/http"
import { misused } from "./CommandFailure.ts"
import * as Flags from "./CommandFlags.ts"
import * as Text from "./CommandText.ts"
import { renderDiff } from "./DiffCommand.ts"
import * as HttpSource from "./HttpSource.ts"
import { readTokenName, token } from "./Tokens.ts"

/** What is said of one thing that was found. */
export interface Line {
  readonly at: string
  readonly event: "accepted" | "refused" | "failed"
  readonly revision: string | null
  readonly diff?: PolicyReview.Diff | undefined
  readonly clamped?: PolicyReview.Review["clamped"] | undefined
  readonly issues?: ReadonlyArray<string> | undefined
  readonly error?: string | undefined
}

export const render = ({ at, clamped = [], diff, error, event, issues = [], revision }: Line): string =>
  [
    `${at}  ${event}${revision === null ? "" : ` ${Text.inline(revision)}`}${error === undefined ? "" : `: ${error}`}`,
    ...(diff === undefined ? [] : renderDiff(diff)),
    ...clamped.map(({ limit, path, value }) =>
      `  clamped ${PolicyReview.formatPath(path)}: ${Text.inline(value)} to ${Text.inline(limit)}`
    ),
    ...issues.map((issue) => `  ${issue}`)
  ].join("\n")

const nothing: PolicyDocument = { schemaVersion: "1.0", revision: "nothing", policies: {} }

export interface State {
  readonly document: PolicyDocument
  readonly error: string | undefined
}

export const begin: State = { document: nothing, error: undefined }

const onDocument = (state: State, json: unknown, at: string): readonly [State, ReadonlyArray<Line>] => {
  const before = state.document === nothing ? undefined : state.document
  const { clamped, document, issues, revision } = PolicyReview.review(json, { before })
  return Option.match(document, {
    onNone: () => [
      { ...state, error: undefined },
      [{ at, event: "refused", revision: Option.getOrNull(revision), issues: issues.map(PolicyReview.formatIssue) }]
    ],
    onSome: (document) => [
      { document, error: undefined },
      [{
        at,
        event: "accepted",
        revision: document.revision,
        diff: PolicyReview.diff(state.document, document),
        clamped
      }]
    ]
  })
}

/** A failure that goes on is said once. */
export const onFound = (state: State, found: PolicySource.Found, at: string): readonly [State, ReadonlyArray<Line>] => {
  switch (found._tag) {
    case "Document":
      return onDocument(state, found.json, at)
    case "Unchanged":
      return [{ ...state, error: undefined }, []]
    case "Failed": {
      const error = found.error.message
      return [{ ...state, error }, error === state.error ? [] : [{ at, event: "failed", revision: null, error }]]
    }
  }
}

const now = Effect.map(Clock.currentTimeMillis, (millis) => DateTime.formatIso(DateTime.makeUnsafe(millis)))

export const watch = Command.make(
  "watch",
  {
    url: Argument.String("url").pipe(
      Argument.withDescription("Of the document, as in http://127.0.0.1:4141/v1/policies")
    ),
    interval: Flag.Int("interval").pipe(
      Flag.withDescription("Seconds between two looks at a server that does not hold its answers (default 30)"),
      Flag.withDefault(30)
    ),
    json: Flags.json("Print a line of JSON for each event")
  },
  Effect.fn(function*({ interval, json, url }) {
    const options = { url, interval: interval * 1_000, token: yield* token(readTokenName) }
    const source = yield* Effect.catchDefect(
      Effect.suspend(() => HttpSource.make(options)),
      (defect) => defect instanceof RangeError ? misused(defect.message) : Effect.die(defect)
    )
    yield* source.found.pipe(
      Stream.mapEffect((found) => Effect.map(now, (at) => [found, at] as const)),
      Stream.mapAccum(() => begin, (state, [found, at]) => {
        const [next, lines] = onFound(state, found, at)
        return [next, lines] as const
      }),
      Stream.runForEach((line) => Text.print(json ? JSON.stringify(line) : render(line)))
    )
  }, Effect.provide(FetchHttpClient.layer))
).pipe(
  Command.withDescription(
    "Print each document that a control plane publishes, with what it changes and for which keys, as a live layer would " +
      `take it.\n\n${readTokenName} in the environment is the token, where one is needed.`
  ),
  Command.withShortDescription("Print what a control plane publishes, with what it changes"),
  Command.withExamples([{
    command: "rego watch http://127.0.0.1:4141/v1/policies",
    description: "Watch a local server"
  }])
)
