/**
 * `rego diff`: what a change means, and for which keys.
 *
 * @internal
 */
import type { PolicyDocument } from "@rego/core/PolicyDocument"
import * as PolicyReview from "@rego/core/PolicyReview"
import { Effect, Option } from "effect"
import { Argument, Command } from "effect/cli"
import { readJson, refused, SaidNo } from "./CommandFailure.ts"
import * as Flags from "./CommandFlags.ts"
import * as Text from "./CommandText.ts"

type Difference = PolicyReview.Diff["shared"][number]

const row = ({ after, before, path }: Difference): ReadonlyArray<string> => [
  PolicyReview.formatPath(path),
  `${before === undefined ? "(none)" : Text.inline(before)} → ${after === undefined ? "(none)" : Text.inline(after)}`
]

/** Lines under a heading for each entry, and one for what all entries share. */
export const renderDiff = ({ keys, shared }: PolicyReview.Diff): ReadonlyArray<string> => [
  ...keys.flatMap(({ differences, pattern }) => [`  ${pattern}`, ...Text.table(differences.map(row), "    ")]),
  ...(shared.length === 0 ? [] : ["  shared", ...Text.table(shared.map(row), "    ")])
]

interface Compared {
  readonly before: PolicyDocument
  readonly after: PolicyDocument
  readonly diff: PolicyReview.Diff
  /** why a live layer would keep the document before */
  readonly guard: PolicyReview.Review["issues"]
}

const isEmpty = ({ keys, shared }: PolicyReview.Diff): boolean => keys.length === 0 && shared.length === 0

const render = ({ after, before, diff, guard }: Compared): string =>
  [
    `${Text.inline(before.revision)} → ${Text.inline(after.revision)}${
      isEmpty(diff) ? ": every key gets the same" : ""
    }`,
    ...renderDiff(diff),
    ...(guard.length === 0
      ? []
      : ["  refused by the guard of a live layer", ...guard.map((issue) => `    ${PolicyReview.formatIssue(issue)}`)])
  ].join("\n")

const toJson = ({ after, before, diff, guard }: Compared): unknown => ({
  before: before.revision,
  after: after.revision,
  ...diff,
  guard: guard.map((issue) => ({ ...issue, text: PolicyReview.formatIssue(issue) }))
})

const readDocument = (file: string) =>
  Effect.flatMap(readJson(file), (json) => {
    const { document, issues } = PolicyReview.review(json)
    return Option.match(document, {
      onNone: () => refused(file, issues, 2),
      onSome: (document) => Effect.succeed({ document, json })
    })
  })

export const diff = Command.make(
  "diff",
  {
    before: Argument.String("before").pipe(Argument.withDescription("The document in force")),
    after: Argument.String("after").pipe(Argument.withDescription("The document that would replace it")),
    json: Flags.json()
  },
  Effect.fn(function*({ after, before, json }) {
    const [old, next] = [yield* readDocument(before), yield* readDocument(after)]
    const compared: Compared = {
      before: old.document,
      after: next.document,
      diff: PolicyReview.diff(old.document, next.document),
      guard: PolicyReview.review(next.json, { before: old.document }).issues
    }
    yield* Text.print(json ? Text.json(toJson(compared)) : render(compared))
    if (compared.guard.length > 0) return yield* new SaidNo()
  })
).pipe(
  Command.withDescription(
    "Show what a change means and for which keys: merged policies are compared, so a change of the defaults shows at every " +
      "entry that inherits it.\n\nExit codes: 0 the change would be taken, 1 the guard of a live layer would refuse it, " +
      "2 a document is not readable or refused."
  ),
  Command.withShortDescription("Show what a change means and for which keys"),
  Command.withExamples([{ command: "rego diff policies.json policies.new.json", description: "Compare two documents" }])
)
