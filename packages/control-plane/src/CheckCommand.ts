/**
 * `rego check`: what would become of documents.
 *
 * @internal
 */
import * as PolicyReview from "@rego/core/PolicyReview"
import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { readJson, SaidNo } from "./CommandFailure.ts"
import * as Flags from "./CommandFlags.ts"
import * as Text from "./CommandText.ts"

interface Checked {
  readonly file: string
  readonly review: PolicyReview.Review
}

const formatClamped = ({ limit, path, value }: PolicyReview.Review["clamped"][number]): ReadonlyArray<string> => [
  PolicyReview.formatPath(path),
  `${Text.inline(value)} would be ${Text.inline(limit)}`
]

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : [`  ${title}`, ...lines]

export const render = ({ file, review }: Checked): string => {
  const { clamped, document, ignored, issues, warnings } = review
  const verdict = Option.match(document, {
    onNone: () => `refused, ${Text.count(issues.length, "issue")}`,
    onSome: ({ policies, revision }) =>
      `accepted, revision ${Text.inline(revision)}, ${Text.count(Object.keys(policies).length, "entry", "entries")}`
  })
  return [
    `${file}: ${verdict}`,
    ...issues.map((issue) => `    ${PolicyReview.formatIssue(issue)}`),
    ...section("clamped", Text.table(clamped.map(formatClamped), "    ")),
    ...section("ignored, of a newer version", ignored.map((issue) => `    ${PolicyReview.formatIssue(issue)}`)),
    ...section(
      "warnings",
      Text.table(warnings.map(({ message, pattern, rule }) => [pattern, rule, message]), "    ")
    )
  ].join("\n")
}

const issueJson = (issue: PolicyReview.Review["issues"][number]): unknown => ({
  ...issue,
  text: PolicyReview.formatIssue(issue)
})

export const toJson = ({ file, review }: Checked): unknown => ({
  file,
  accepted: Option.isSome(review.document),
  revision: Option.getOrNull(review.revision),
  issues: review.issues.map(issueJson),
  clamped: review.clamped,
  ignored: review.ignored.map(issueJson),
  warnings: review.warnings
})

/** Notes, which most policies have: they are said, and fail nothing. */
const notes: ReadonlySet<string> = new Set(["default_classifier"])

const isFine = (strict: boolean) => ({ review }: Checked): boolean =>
  Option.isSome(review.document) &&
  (!strict || (review.clamped.length === 0 && review.warnings.every(({ rule }) => notes.has(rule))))

export const check = Command.make(
  "check",
  {
    files: Argument.String("file").pipe(
      Argument.withDescription("Policy documents"),
      Argument.variadic({ min: 1 })
    ),
    strict: Flag.Boolean("strict").pipe(
      Flag.withDescription("Fail for clamped values and warnings as well (not for default_classifier)"),
      Flag.withDefault(false)
    ),
    json: Flags.json()
  },
  Effect.fn(function*({ files, json, strict }) {
    const checked = yield* Effect.forEach(
      files,
      (file) => Effect.map(readJson(file), (document) => ({ file, review: PolicyReview.review(document) }))
    )
    yield* Text.print(json ? Text.json(checked.map(toJson)) : checked.map(render).join("\n"))
    if (!checked.every(isFine(strict))) return yield* new SaidNo()
  })
).pipe(
  Command.withDescription(
    "Check policy documents as a live layer would: every issue with its path, what would be clamped, and what is allowed " +
      "and probably not meant.\n\n" +
      "Names of budgets, classifiers and triggers that a document does not define are accepted: only the process knows " +
      "them.\n\nExit codes: 0 accepted, 1 refused, 2 not readable."
  ),
  Command.withShortDescription("Check policy documents"),
  Command.withExamples([
    { command: "rego check policies.json", description: "Check one document" },
    { command: "rego check --strict policies/*.json", description: "In a pre-commit hook" }
  ])
)
